"""`[[tell]]`: what each place needs, what is refused, with what to write instead, and who has none."""

from __future__ import annotations

import pytest

from shared.config.load import ConfigurationError, load, warnings
from shared.destinations import ENDS, KINDS, Destination
from shared.targets import Cloud

VIEW = """
[targets.daily]
kind = "glue-view"
catalog_id = "210987654321"
database = "sales"
table = "daily"
on = [{ s3_object_created = { bucket = "landing-zone" } }]
"""
LAKE = """
[targets.lake]
kind = "fabric-lake-views"
workspace = "4b218778-e7a5-4d73-8187-f10824047716"
lakehouse = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd8"
schedule = { cron = "0 6 * * *" }
"""
TOPIC = "arn:aws:sns:eu-central-1:210987654321:views"


def tell(*lines: str) -> str:
    """A place."""
    return "\n".join(["", "[[tell]]", *lines, ""])


def refusals(*lines: str) -> list[str]:
    """What is said of a place: key, what was found and what is expected."""
    with pytest.raises(ConfigurationError) as refused:
        load(VIEW + tell(*lines))
    return [f"{problem.key}: {problem.found} -> {problem.expected}" for problem in refused.value.problems]


HOOK = "https://example.com/hook"
GRID = "https://views.westeurope-1.eventgrid.azure.net/api/events"
VAULT = "https://unstale.vault.azure.net/secrets/slack"
LINEAGE = "http://127.0.0.1:5000/api/v1/lineage"


@pytest.mark.parametrize(
    ("lines", "destination"),
    [
        (['to = "eventbridge"'], Destination("eventbridge")),
        (
            ['to = "eventbridge"', 'bus = "orders"', 'on = ["late", "failed"]'],
            Destination("eventbridge", ("failed", "late"), bus="orders"),
        ),
        (['to = "sns"', f'topic = "{TOPIC}.fifo"'], Destination("sns", topic=f"{TOPIC}.fifo")),
        (
            ['to = "webhook"', f'url = "{HOOK}"', 'signing_secret = "key"'],
            Destination("webhook", url=HOOK, signing_secret="key"),
        ),
        (['to = "eventgrid"', f'topic = "{GRID}"'], Destination("eventgrid", topic=GRID)),
        (['to = "webhook"', f'url_secret = "{VAULT}"'], Destination("webhook", url_secret=VAULT)),
        (
            ['to = "webhook"', 'url_secret = "slack"', 'format = "slack"'],
            Destination("webhook", format="slack", url_secret="slack"),
        ),
        (
            ['to = "webhook"', f'url = "{LINEAGE}"', 'format = "openlineage"'],
            Destination("webhook", format="openlineage", url=LINEAGE),
        ),
    ],
)
def test_a_place_is_read(lines: list[str], destination: Destination) -> None:
    """All kinds of events by default; the order in which they are named says nothing."""
    assert load(VIEW + tell(*lines)).destinations == (destination,)


def test_lineage_tells_the_ends_of_runs_and_nothing_else() -> None:
    """A destination of another format tells what it is asked for."""
    assert Destination("webhook", format="openlineage").kinds == ENDS
    assert Destination("webhook").kinds == KINDS


ONE_OF_TWO = '"url" or "url_secret", one of the two'
A_TOPIC = (
    'the ARN of a topic, such as "arn:aws:sns:eu-central-1:123456789012:views", or the endpoint of a custom topic, '
    'such as "https://views.westeurope-1.eventgrid.azure.net/api/events"'
)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['to = "pigeon"'], 'to: "pigeon" -> one of "eventbridge", "sns", "eventgrid", "webhook"'),
        (['to = "sns"'], 'topic: nothing -> the topic, which begins with "arn:"'),
        (['to = "sns"', 'topic = "views"'], f'topic: "views" -> {A_TOPIC}'),
        (['to = "eventgrid"', f'topic = "{TOPIC}"'], f'topic: "{TOPIC}" -> the topic, which begins with "https://"'),
        (['to = "sns"', f'topic = "{GRID}"'], f'topic: "{GRID}" -> the topic, which begins with "arn:"'),
        (
            ['to = "eventgrid"', f'topic = "{GRID}"', 'format = "slack"'],
            'format: "slack" -> "cloudevents", the schema of the topic',
        ),
        (
            ['to = "webhook"', f'url_secret = "{VAULT}"', 'signing_secret = "key"'],
            "url_secret: secrets of two clouds -> both in Secrets Manager, or both in a Key Vault",
        ),
        (['to = "webhook"'], f"url: neither -> {ONE_OF_TWO}"),
        (['to = "webhook"', 'url = "https://a.b"', 'url_secret = "x"'], f"url: both -> {ONE_OF_TWO}"),
        (['to = "eventbridge"', 'url = "https://a.b"'], 'url: a key of "webhook" -> one of "bus"'),
        (
            ['to = "webhook"', 'url = "https://a.b"', 'bus = "b"'],
            'bus: a key of "eventbridge" -> one of "url", "url_secret", "signing_secret"',
        ),
        (['to = "eventbridge"', 'format = "teams"'], 'format: "teams" to "eventbridge" -> to = "webhook"'),
        (
            ['to = "eventbridge"', 'format = "openlineage"', 'on = ["failed"]'],
            'on: kinds of events -> no "on": lineage tells the end of each run, nothing else',
        ),
        (['to = "eventbridge"', 'on = ["late", "late"]'], 'on[1]: "late" again -> each kind once'),
        (
            ['to = "eventbridge"', 'on = ["started"]'],
            'on[0]: "started" -> one of "refreshed", "failed", "held", "released", "late", "recovered"',
        ),
        (['to = "eventbridge"', "on = []"], "on: an empty list -> a list with one entry at least"),
    ],
)
def test_a_place_that_cannot_be_is_refused(lines: list[str], said: str) -> None:
    """With the key, what was found and what is expected."""
    assert f"tell[0].{said}" in refusals(*lines)


def test_a_place_is_named_once() -> None:
    """Twice would be two of each letter."""
    assert refusals('to = "eventbridge"', "", "[[tell]]", 'to = "eventbridge"') == [
        "tell[1]: the same as one before -> each place once"
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0/planted",
        "https://contoso.webhook.office.com/webhookb2/planted",
        "https://prod-12.westeurope.logic.azure.com/workflows/planted",
        "https://x.environment.api.powerplatform.com/powerautomate/planted",
    ],
)
def test_an_address_that_is_a_secret_is_refused(url: str) -> None:
    """Slack's, Teams', Logic Apps' and Power Automate's: who knows the address may post. It is not repeated."""
    [said] = refusals('to = "webhook"', f'url = "{url}"')
    assert '"url_secret"' in said
    assert "planted" not in said


@pytest.mark.parametrize(
    "url", ["http://example.com/hook", "https://user:planted@example.com/", "https://example.com/?sig=planted"]
)
def test_an_address_that_letters_must_not_go_to_is_refused(url: str) -> None:
    """Plain, or with a secret in it; what it is stays unsaid."""
    [said] = refusals('to = "webhook"', f'url = "{url}"')
    assert said.startswith("tell[0].url: an address that ")
    assert "planted" not in said


def test_a_place_serves_the_targets_of_its_own_cloud() -> None:
    """`check` says which targets have none."""
    text = VIEW + LAKE + tell('to = "eventbridge"')
    configuration = load(text)
    assert configuration.package(Cloud.AWS).destinations == (Destination("eventbridge"),)
    assert configuration.package(Cloud.AZURE).destinations == ()
    [said] = warnings(text)
    assert (said.key, said.found) == ("targets.lake", "no [[tell]] for azure")
    assert said.expected == 'one of "eventgrid", "webhook", or know of it'


@pytest.mark.parametrize(
    ("destination", "clouds"),
    [
        (Destination("eventbridge"), {"aws"}),
        (Destination("sns", topic=TOPIC), {"aws"}),
        (Destination("eventgrid", topic=GRID), {"azure"}),
        (Destination("webhook", url=HOOK), {"aws", "azure"}),
        (Destination("webhook", url=HOOK, signing_secret="key"), {"aws"}),
        (Destination("webhook", url_secret=VAULT), {"azure"}),
    ],
)
def test_a_webhook_serves_both_clouds_unless_its_secret_is_in_one(destination: Destination, clouds: set[str]) -> None:
    """A secret is read where it is."""
    assert destination.clouds == clouds


def test_a_place_for_no_target_is_told() -> None:
    """There is no target on its cloud."""
    assert 'tell[0].to: found "eventbridge", for no target' in "\n".join(
        str(problem) for problem in warnings(LAKE + tell('to = "eventbridge"'))
    )


def test_without_places_nobody_misses_one() -> None:
    """Most deployments have none."""
    assert warnings(VIEW + LAKE) == ()


def test_other_settings_are_another_destination() -> None:
    """So its position begins anew."""
    assert len({Destination("eventbridge", bus=bus).digest for bus in ("", "a", "b")}) == 3
    assert Destination("webhook", url_secret="a", signing_secret="b").secrets == ("a", "b")
    titles = [
        Destination("sns", topic="t").title,
        Destination("webhook", url_secret="s").title,
        Destination("eventbridge").title,
    ]
    assert titles == ["sns t", "webhook s", "eventbridge default"]
