"""`[across]`: how the function on one cloud reaches the one on the other, for targets that come after one over there.

a target on aws ends    ->  [across.azure]  ->  its followers on azure
a target on azure ends  ->  [across.aws]    ->  its followers on aws
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from msgspec import UnsetType

from shared.config.followers import crossings
from shared.config.parse import Mistake, show
from shared.config.schema import AcrossTable
from shared.destinations import VAULT, Destination
from shared.endpoints import refusal
from shared.targets import Cloud, Target

MOST_FOLLOWERS = 100
"""Followers of one target on the other cloud: its record, which has 60 kB on Azure, says how far each was told."""


def sites_of(table: AcrossTable | UnsetType) -> dict[Cloud, Destination]:
    """The function on each cloud that the other function can reach, by the cloud."""
    found: dict[Cloud, Destination] = {}
    if table and table.azure:
        azure = table.azure
        url = azure.url.rstrip("/")
        found[Cloud.AZURE] = Destination("azure", ("refreshed",), "signal", url=url, key_secret=azure.key_secret)
    if table and table.aws:
        aws = table.aws
        found[Cloud.AWS] = Destination(
            "aws", ("refreshed",), "signal", role=aws.role, region=aws.region, audience=aws.audience
        )
    return found


def check_across(table: AcrossTable | UnsetType) -> Iterator[Mistake]:
    """Find the mistakes in how the functions reach each other."""
    if table and table.azure:
        path = ("across", "azure")
        why = refusal(table.azure.url)
        below = urlsplit(table.azure.url).path.strip("/") if not why else ""
        if why or below:
            found = f"an address that {why}" if why else f"an address with the path {show(below)}"
            yield Mistake((*path, "url"), found, "https, and the function app's host alone")
        if table.azure.key_secret.startswith(VAULT):
            yield Mistake(
                (*path, "key_secret"), "a secret in a Key Vault", "one in Secrets Manager: the function on aws reads it"
            )


def find_unreachable(targets: Sequence[Target], sites: Mapping[Cloud, Destination]) -> Iterator[Mistake]:
    """Upstream targets on the other cloud, whose function has no way to the follower's."""
    for upstream, follower in crossings(targets):
        if follower.cloud not in sites:
            path = ("targets", follower.name, "after", follower.after.index(upstream.name))
            way = f"[across.{follower.cloud}], which says how the function on {upstream.cloud} reaches that one"
            found = f"{show(upstream.name)}, which is on {upstream.cloud}"
            yield Mistake(path, found, f"a target on {follower.cloud}, or {way}")


def find_crowds(targets: Sequence[Target]) -> Iterator[Mistake]:
    """Targets that more follow from the other cloud than their records have room for."""
    for name, count in Counter(upstream.name for upstream, _ in crossings(targets)).items():
        if count > MOST_FOLLOWERS:
            found = f"{count} targets on the other cloud that come after it"
            cure = f"at most {MOST_FOLLOWERS}: have one of them come after it, and the others after that one"
            yield Mistake(("targets", name), found, cure)


def find_idle_ways(table: AcrossTable | UnsetType, targets: Sequence[Target]) -> Iterator[Mistake]:
    """Ways to a cloud on which no target comes after one of the other cloud."""
    taken = {follower.cloud for _, follower in crossings(targets)}
    for cloud in sites_of(table):
        if cloud not in taken:
            yield Mistake(("across", str(cloud)), "a way that nobody takes", f"a target on {cloud} after one elsewhere")
