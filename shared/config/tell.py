"""`[[tell]]`: where outcome events go, and what must hold of each such place (design, section 10).

    to            where                            whose targets
    eventbridge   a bus of the account             AWS
    sns           a topic, FIFO ones included      AWS
    eventgrid     a custom topic                   Azure
    webhook       an address, or a secret of it    both; with a secret, those of the cloud that keeps the secret

Nothing is asked of the places here: whether a topic exists, and may be written to, `check --live` and the log say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from shared.config.parse import Mistake, quote_names, show
from shared.config.schema import TellTable
from shared.config.toml_positions import Path
from shared.destinations import CLOUDS, KINDS, VAULT, Destination
from shared.endpoints import refusal
from shared.targets import Target

KEYS: Mapping[str, tuple[str, ...]] = {
    "eventbridge": ("bus",),
    "sns": ("topic",),
    "eventgrid": ("topic",),
    "webhook": ("url", "url_secret", "signing_secret"),
}
"""The keys that say where each kind of place is."""

TOPICS = {"sns": "arn:", "eventgrid": "https://"}
"""How a topic is named in each cloud: by its ARN, or by the endpoint that events are posted to."""

SECRET_HOSTS = (
    "hooks.slack.com",
    "hooks.slack-gov.com",
    "webhook.office.com",
    "logic.azure.com",
    "api.powerplatform.com",
)
"""Hosts, and what lies below them, whose addresses carry the secret in path or query: incoming webhooks of Slack and
Teams, workflows of Logic Apps and Power Automate. Who has such an address may post."""

MESSAGES = frozenset({"slack", "teams"})
"""Formats that people read, which only the webhooks of these products take."""


def destination_of(table: TellTable) -> Destination:
    """The place that a table names."""
    return Destination(
        to=table.to,
        on=tuple(kind for kind in KINDS if kind in (table.on or KINDS)),
        format=table.format,
        bus=table.bus or "",
        topic=table.topic or "",
        url=table.url or "",
        url_secret=table.url_secret or "",
        signing_secret=table.signing_secret or "",
    )


def check_tells(tables: Sequence[TellTable]) -> Iterator[Mistake]:
    """Find the mistakes in the places of a file.

    Two tables that mean one place are told even where one spells out a default: each event would arrive twice.
    """
    seen: set[Destination] = set()
    for position, table in enumerate(tables):
        path = ("tell", position)
        yield from _keys(table, path)
        yield from _address(table, path)
        yield from _format(table, path)
        destination = destination_of(table)
        if destination in seen:
            yield Mistake(path, "the same as one before", "each place once")
        seen.add(destination)


def find_untold(tables: Sequence[TellTable], targets: Sequence[Target]) -> Iterator[Mistake]:
    """Targets of which no place hears though the file names some, and places that hear of no target."""
    if not tables:
        return
    places = [destination_of(table) for table in tables]
    for target in targets:
        if not any(target.cloud in place.clouds for place in places):
            kinds = quote_names(to for to in KEYS if target.cloud in CLOUDS[to])
            yield Mistake(("targets", target.name), f"no [[tell]] for {target.cloud}", f"one of {kinds}, or know of it")
    for position, place in enumerate(places):
        if not any(target.cloud in place.clouds for target in targets):
            yield Mistake(("tell", position, "to"), f"{show(place.to)}, for no target", "a target on its cloud")


def _keys(table: TellTable, path: Path) -> Iterator[Mistake]:
    """Keys that belong to another kind of place, and those that are missing."""
    for kind, keys in KEYS.items():
        for key in keys:
            if key not in KEYS[table.to] and getattr(table, key):
                yield Mistake((*path, key), f"a key of {show(kind)}", f"one of {quote_names(KEYS[table.to])}")
    if table.to in TOPICS and not (table.topic or "").startswith(TOPICS[table.to]):
        found = show(table.topic) if table.topic else "nothing"
        yield Mistake((*path, "topic"), found, f"the topic, which begins with {show(TOPICS[table.to])}")
    if len({secret.startswith(VAULT) for secret in destination_of(table).secrets}) > 1:
        yield Mistake((*path, "url_secret"), "secrets of two clouds", "both in Secrets Manager, or both in a Key Vault")
    if table.to == "webhook" and bool(table.url) == bool(table.url_secret):
        found = "both" if table.url else "neither"
        yield Mistake((*path, "url"), found, '"url" or "url_secret", one of the two')


def _address(table: TellTable, path: Path) -> Iterator[Mistake]:
    """An address in the file is bare, https, and of no host that is known to carry a secret in it.

    The file is packaged, printed by `check` and kept in repositories; a secret belongs where access to it is granted.
    """
    if not table.url:
        return
    why = refusal(table.url)
    if why:
        yield Mistake((*path, "url"), f"an address that {why}", 'https; one that holds a secret goes into "url_secret"')
        return
    host = urlsplit(table.url).hostname or ""
    if any(host == known or host.endswith(f".{known}") for known in SECRET_HOSTS):
        expected = '"url_secret", the name of a secret that holds it: who knows this address may post'
        yield Mistake((*path, "url"), f"an address at {host}, which is a secret", expected)


def _format(table: TellTable, path: Path) -> Iterator[Mistake]:
    """Messages for people go to webhooks alone, and lineage has its own kinds of events."""
    if table.format in MESSAGES and table.to not in {"webhook", "eventgrid"}:
        yield Mistake((*path, "format"), f"{show(table.format)} to {show(table.to)}", 'to = "webhook"')
    if table.format != "cloudevents" and table.to == "eventgrid":
        yield Mistake((*path, "format"), show(table.format), '"cloudevents", the schema of the topic')
    if table.format == "openlineage" and table.on:
        yield Mistake((*path, "on"), "kinds of events", 'no "on": lineage tells the end of each run, nothing else')
    for position, kind in enumerate(table.on or ()):
        if kind in (table.on or ())[:position]:
            yield Mistake((*path, "on", position), f"{show(kind)} again", "each kind once")
