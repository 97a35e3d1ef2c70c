"""Records as bytes: what one release writes, the next must read, and an older one must leave alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.refresh import records
from shared.refresh.identity import Identity
from shared.refresh.state import (
    Blocked,
    Cancelled,
    Deployment,
    Edition,
    Ended,
    Outcome,
    Owed,
    Paused,
    Rollout,
    Run,
    Situation,
    State,
)
from shared.workload.job import Final, Job, JobStatus, read_job

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
GOLDEN = Path(__file__).parents[2] / "golden" / "records"
OWED = Owed(NOON, NOON + timedelta(seconds=7, microseconds=500_000), 3, full=True, asked=True, reasons=("s3://a/b",))
RUN = Run(
    "token",
    NOON,
    Situation.CANCELLING,
    NOON + timedelta(minutes=1),
    run_id="5d1c6a3e-9f40-4c5e-9d0a-3b1b6f0e7c21",
    full=True,
    covering=OWED,
    prior_claim_at=NOON - timedelta(hours=1),
    created_at=NOON,
    cancel_asked=True,
    cancel_again_at=NOON + timedelta(minutes=5),
    status="InProgress",
)
OF_A_JOB = Owed(NOON, NOON, asked=True, reasons=("Fabric job j1",), jobs={"j1": NOON}, others=False)
TYPICAL: dict[str, State | Deployment | Ended | Job] = {
    "idle": State(fresh_as_of=NOON, full_as_of=NOON, last_claim_at=NOON, planned_until=NOON, definition="a.b"),
    "running": State(owed=OWED, run=RUN, failures=2, not_before=NOON, wake_at=NOON, wakes=(NOON,), last_error="no"),
    "blocked": State(owed=OWED, hold=Blocked(NOON, "AccessDenied: no", NOON + timedelta(minutes=5))),
    "cancelled": State(owed=OWED, hold=Cancelled(NOON)),
    "jobs": State(owed=OF_A_JOB, run=Run("token", NOON, Situation.CANCELLING, NOON, "r", withdrawn=("j2",))),
    "paused": State(hold=Paused(NOON), refusals=1),
    "deployment": Deployment(
        NOON, Edition(3, "fingerprint", NOON), Rollout("key", failed=True), NOON, NOON, {"aws": NOON}
    ),
    "job": Job("key", "place", "request", NOON, "Manual", cancel_asked_at=NOON),
    "job-over": Job(
        "key",
        "place",
        "request",
        NOON,
        "Scheduled",
        started_at=NOON,
        final=Final(JobStatus.FAILED, NOON, ("Code", "why")),
    ),
    "ended-jobs": Ended("token", Outcome.CANCELLED, NOON, NOON, run_id="r", jobs=("j1", "j2")),
    "ended": Ended("token", Outcome.SUCCEEDED, NOON, NOON, run_id="r", signals=3, reasons=("why",), dpu_seconds=1.5),
}
OLDER = {"format-1": {**TYPICAL, "deployment": Deployment(NOON, quiet_until={"aws": NOON})}}
"""What records of older formats are read as, where that is not what they would be today: editions are new since."""
READ = {
    "deployment": records.read_deployment,
    "ended": records.read_ended,
    "ended-jobs": records.read_ended,
    "job": read_job,
    "job-over": read_job,
}


@pytest.mark.parametrize("file", sorted(GOLDEN.rglob("*.json")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_records_of_every_release_are_read_for_ever(file: Path) -> None:
    """The bytes in the folder were written by the release of that format; they never change."""
    assert READ.get(file.stem, records.read_state)(file.read_bytes()) == OLDER.get(file.parent.name, TYPICAL)[file.stem]


@pytest.mark.parametrize("number", range(1, records.FORMAT + 1))
def test_every_typical_record_has_its_golden_bytes(number: int) -> None:
    """In each format that a release has written: a folder that is not found would make the test above empty."""
    assert {file.stem for file in GOLDEN.glob(f"format-{number}/*.json")} == TYPICAL.keys()


@pytest.mark.parametrize("name", TYPICAL)
def test_what_is_written_is_what_is_read(name: str) -> None:
    """Nothing gets lost on the way through the bytes."""
    value = TYPICAL[name]
    assert READ.get(name, records.read_state)(records.write(value)) == value


def test_an_absent_record_is_a_state_of_which_nothing_is_known() -> None:
    """A store answers with an empty body."""
    assert records.read_state(b"") == State()
    assert records.read_deployment(b"") == Deployment()


@pytest.mark.parametrize("read", [records.read_state, records.read_deployment, records.read_ended, read_job])
def test_a_newer_record_is_left_alone(read: object) -> None:
    """An older release must not guess what a newer one meant."""
    newer = b'{"format":%d,"record":{"something":"new"}}' % (records.FORMAT + 1)
    with pytest.raises(
        records.NewerRecordError, match=r"^the record has format 3, this release writes 2: a later release wrote it$"
    ):
        read(newer)  # type: ignore[operator]


def test_each_kind_of_record_has_keys_of_its_own() -> None:
    """They are stored: neither they nor what is told of them may change."""
    keys = {
        "deployment": records.DEPLOYMENT_KEY,
        "deployment:identity:role": records.identity_key("role"),
        "workload-job:item:instance": records.job_key("item", "instance"),
        "group:glue:sales%3A1:a%2Fb": records.group_key("glue", "sales:1", "a/b"),
        "destination:0a1b": records.destination_key("0a1b"),
    }
    assert list(keys) == list(keys.values())
    assert all(map(records.is_other, keys))
    assert [key for key in keys if records.is_job(key)] == ["workload-job:item:instance"]
    assert [key for key in keys if records.is_group(key)] == ["group:glue:sales%3A1:a%2Fb"]
    assert records.group_parts("group:glue:sales%3A1:a%2Fb") == ("glue", "sales:1", "a/b")
    assert not records.is_other("glue-view:1:sales:daily")


def test_an_absent_identity_is_one_of_which_nothing_is_known() -> None:
    """As an absent state; one that is there is read."""
    assert records.read_identity(b"") == Identity()
    assert records.read_identity(records.write(Identity(claims=()))) == Identity()


def test_the_format_is_always_written() -> None:
    """Without it, a later release could not tell."""
    assert records.write(State()) == b'{"format":2,"record":{}}'


times = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone beside
owed_values = st.builds(Owed, times, times, st.integers(1, 10**9), full=st.booleans(), asked=st.booleans())
states = st.builds(
    State,
    owed=st.none() | owed_values,
    run=st.none() | st.builds(Run, st.text(max_size=9), times, st.sampled_from(list(Situation)), times),
    fresh_as_of=st.none() | times,
    hold=st.none()
    | st.builds(Paused, times)
    | st.builds(Cancelled, times)
    | st.builds(Blocked, times, st.text(), times),
    last_error=st.text(),
    wakes=st.lists(times, max_size=2).map(tuple),
)


@settings(deadline=None)
@given(states)
def test_any_state_survives_the_bytes(state: State) -> None:
    """Whatever the reasons and errors say, in whatever script."""
    assert records.read_state(records.write(state)) == state
