"""The Lambda from end to end, in process: events in as AWS hands them over, and an AWS on loopback to work on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from botocore.exceptions import EndpointConnectionError
from msgspec.structs import replace

from functions_aws import app
from functions_aws.settings import SettingsError
from functions_aws.shell import NotDoneError, Shell
from functions_aws.telemetry import Telemetry
from local.emulators.aws.emulator import LocalAws
from local.emulators.aws.lambda_host import sqs_event
from local.emulators.faults import Refuse
from local.emulators.glue.emulator import GlueSettings
from local.emulators.glue.model import Run
from local.emulators.journal import Arrival, PlatformRun, count_overlaps, lost
from shared.config.load import ConfigurationError, load
from shared.inbound.wakes import wake_message
from shared.platforms import glue
from shared.redaction import Redactor
from shared.refresh.ports import StoreDownError
from shared.refresh.records import NewerRecordError
from shared.refresh.state import Situation, Wake
from tests.support.aws_host import CONFIGURATION, HandClock, Host, living_in, object_created

SERVICES = count(1)
RUN_TIME = timedelta(seconds=40)


NEW_AND_ONCE_MORE = (1, 1, 1, 1, 11, 1, 1, 1, 1, 1)
"""Minutes between ticks until a new target was refreshed, and once more a quarter of an hour later (rule 12)."""


def come_to_rest(host: Host) -> None:
    """Have both targets refreshed for being new, and once more, and let a while pass."""
    for minutes in NEW_AND_ONCE_MORE:
        host.tick()
        host.clock.move_on(minutes=minutes)
    assert [run.outcome for run in host.aws.glue.journal().entries()] == ["succeeded"] * 4
    host.clock.move_on(minutes=10)


class Rest(NamedTuple):
    """An emulated AWS at rest: what is in the table and in Glue's memory, and the time."""

    items: list[Any]
    runs: dict[str, Run]
    journal: tuple[PlatformRun, ...]
    read: dict[str, tuple[int, ...]]
    time: datetime

    @classmethod
    def of(cls, host: Host) -> Rest:
        """What this AWS has."""
        items = host.clients.dynamodb.scan(TableName=host.aws.table)["Items"]
        glue = host.aws.glue
        return cls(items, dict(glue._refreshes.runs), glue.journal().entries(), dict(glue._read), host.clock.time)

    def begin_again(self, host: Host) -> None:
        """Have a new AWS stand there, too, without the ten ticks that lead there."""
        put = [{"PutRequest": {"Item": item}} for item in self.items]
        assert len(put) <= 25, "more than one request takes"
        assert not host.clients.dynamodb.batch_write_item(RequestItems={host.aws.table: put})["UnprocessedItems"]
        host.clock.time = self.time
        host.aws.glue._refreshes.runs.update(self.runs)
        for run in self.journal:
            host.aws.glue._refreshes._journal.add(run)
        host.aws.glue._read.update(self.read)


@pytest.fixture(name="came_to_rest", scope="module")
def no_rest_yet() -> list[Rest]:
    """Empty, until a test needed a host."""
    return []


@pytest.fixture(name="host")
def make_host(capsys: pytest.CaptureFixture[str], came_to_rest: list[Rest]) -> Iterator[Host]:
    """The shell in an AWS of its own, a while after both targets were refreshed for being new, and once more."""
    clock = HandClock()
    aws = LocalAws(clock=clock.now, glue_settings=GlueSettings(run_time=RUN_TIME), refresh_events=False)
    with living_in(aws):
        for view in ("daily", "weekly"):
            aws.create_view("sales", view)
        host = Host(aws, clock, f"unstale-{next(SERVICES)}")
        if came_to_rest:
            came_to_rest[0].begin_again(host)
        else:
            come_to_rest(host)
            came_to_rest.append(Rest.of(host))
        capsys.readouterr()
        yield host


def runs(host: Host) -> list[PlatformRun]:
    """The runs that Glue saw, after those first four."""
    return list(host.aws.glue.journal().entries()[4:])


def lines(printed: str) -> list[dict[str, Any]]:
    """What was written to standard output, which is JSON and nothing else."""
    return [json.loads(line) for line in printed.splitlines()]


def metrics(printed: str, name: str) -> list[float]:
    """All values that were written of one metric."""
    return [value for line in lines(printed) if "_aws" in line for value in line.get(name, ())]


def breaking(host: Host, service: str, operation: str = "", about: str = "") -> None:
    """Let calls of one operation find nobody, those whose request mentions `about`; none is all of the service's."""

    def refuse(request: Any, **_: object) -> None:
        if about in str(request.body):
            raise EndpointConnectionError(endpoint_url=request.url)

    name = ".".join(filter(None, ("before-send", service, operation)))
    getattr(host.clients, service).meta.events.register(name, refuse)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own tries follow one another at once."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)


# --- The way of an object --------------------------------------------------------------------------------------------


def test_an_object_that_is_put_ends_up_in_the_view(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Object, event, queue, handler, start, poll, success: the journal of Glue says that the run read after the put."""
    host.aws.client("s3").put_object(Bucket="landing", Key="orders/a+b c.parquet", Body=b"rows")
    queue = host.aws.queues["events"]
    messages = host.aws.client("sqs").receive_message(QueueUrl=queue.url, MessageSystemAttributeNames=["All"])
    event = sqs_event(messages["Messages"], queue.arn)
    assert host.invoke(event) == {"batchItemFailures": []}
    assert not runs(host)  # the quiet period is not over

    host.clock.move_on(seconds=40)
    host.tick()
    assert host.state("daily").situation is Situation.RUNNING
    host.clock.move_on(seconds=60)
    host.tick()

    [put] = host.aws.puts()
    [run] = runs(host)
    assert run.outcome == "succeeded"
    assert not lost([Arrival(run.resource, put.at)], [run], timedelta(seconds=10))
    assert host.state("daily").fresh_as_of == run.created_at
    assert host.state("weekly").owed is None
    printed = capsys.readouterr().out
    assert (metrics(printed, "Signals"), metrics(printed, "AbsorbedSignals")) == ([1], [0])
    assert (metrics(printed, "Starts"), metrics(printed, "Successes")) == ([1], [1])
    assert metrics(printed, "OwedAge")[-1] == 0


def coming(host: Host) -> list[datetime]:
    """The wakes of the daily view that are still to come; those before were sent, and no test delivered them."""
    return [due for due in host.state("daily").wakes if due > host.clock.now()]


def test_a_burst_is_one_write_and_one_run(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Fifty arrivals in five batches: one read a batch, one write, one wake, one run; the rest are absorbed."""
    calls: list[str] = []
    host.clients.dynamodb.meta.events.register(
        "before-send.dynamodb", lambda **named: calls.append(named["event_name"])
    )
    for batch in range(5):
        bodies = [object_created(f"orders/{batch}-{n}", host.clock.now()) for n in range(10)]
        assert host.deliver(*bodies) == []
    assert calls.count("before-send.dynamodb.PutItem") == 1
    assert calls.count("before-send.dynamodb.BatchGetItem") == 5  # the record, and which edition is current
    assert "before-send.dynamodb.GetItem" not in calls
    assert len(coming(host)) == 1
    for _ in range(4):
        host.clock.move_on(seconds=40)
        host.tick()
    assert len(runs(host)) == 1
    printed = capsys.readouterr().out
    assert (sum(metrics(printed, "Signals")), sum(metrics(printed, "AbsorbedSignals"))) == (50, 49)


def test_an_arrival_during_a_run_is_followed_by_a_second_run(host: Host) -> None:
    """The first run read its sources before; the second starts after the first ended and the interval is over."""
    host.deliver(object_created("orders/1", host.clock.now()))
    host.clock.move_on(seconds=40)
    host.tick()
    host.clock.move_on(seconds=5)
    late = host.clock.now()
    host.deliver(object_created("orders/2", late))
    for _ in range(12):
        host.clock.move_on(seconds=40)
        host.tick()
    found = runs(host)
    assert len(found) == 2
    assert count_overlaps(found) == 0
    assert not lost([Arrival(found[0].resource, late)], found, timedelta(seconds=10))


def test_a_wake_that_arrives_starts_what_is_due(host: Host) -> None:
    """The record names the wake that was sent with it; delivered when it is due, it is a look, without any tick."""
    host.deliver(object_created("orders/1", host.clock.now()))
    [due] = coming(host)
    delayed = host.aws.client("sqs").get_queue_attributes(
        QueueUrl=host.aws.queues["wakes"].url, AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )
    assert delayed["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"
    host.clock.time = due
    wake = Wake(host.configuration.by_name["daily"].key, due, "")
    assert host.deliver(wake_message(replace(wake, version="0")), queue="wakes") == []
    assert host.state("daily").situation is Situation.RUNNING


# --- Batches ---------------------------------------------------------------------------------------------------------


def test_a_bad_message_is_put_aside_alone_at_once_and_with_the_reason(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of three cannot be read: it is in the dead-letter queue, byte for byte, before the batch is acknowledged."""
    good = object_created("orders/1", host.clock.now())
    bad = good.replace('"key": "orders/1"', '"kee": "orders/1"')
    other = object_created("invoices/1", host.clock.now())
    assert host.deliver(good, bad, other) == []
    assert host.dead_letters() == [(bad, "Object missing required field `key` - at `$.detail.object`")]
    assert host.state("daily").owed
    assert host.state("weekly").owed
    printed = capsys.readouterr().out
    assert metrics(printed, "DeadLetters") == [1]
    [line] = [line for line in lines(printed) if line.get("message") == "dead letter"]
    assert (line["message_id"], line["correlation_id"]) == ("1", "request-1")


def test_only_the_bad_part_of_a_message_is_put_aside(host: Host) -> None:
    """A message may be an array of events: those that can be read are signals, the other one is the dead letter."""
    good, bad = json.loads(object_created("orders/1", host.clock.now())), {"detail-type": 5}
    assert host.deliver(json.dumps([good, bad])) == []
    [(body, why)] = host.dead_letters()
    assert json.loads(body) == [bad]
    assert why == "1 of 2 events: Expected `str`, got `int` - at `$.detail-type`"
    assert host.state("daily").owed


def test_a_signal_for_a_target_that_nobody_knows_is_a_dead_letter(host: Host) -> None:
    """It can never be carried out, so whoever sent it must learn of it."""
    signal = {"source": "loader", "detail-type": "unstale.signal", "detail": {"target": "dialy"}}
    assert host.deliver(json.dumps(signal)) == []
    [(body, why)] = host.dead_letters()
    assert (json.loads(body), "'dialy'" in why) == (signal, True)


def test_a_wake_that_cannot_be_read_goes_to_the_dead_letters_of_its_own_queue(host: Host) -> None:
    """Each queue has its own, so that a redrive brings each back to where it was."""
    assert host.deliver('{"wake": {"key": "k", "due": "soon", "version": "1"}}', queue="wakes") == []
    assert host.dead_letters() == []
    assert len(host.dead_letters("wakes")) == 1


def test_a_bad_message_that_cannot_be_put_aside_comes_back(host: Host) -> None:
    """Acknowledged is only what is kept somewhere: then it stays in its queue, and the others do not."""
    breaking(host, "sqs", "SendMessage", about="nonsense")
    assert host.deliver(object_created("orders/1", host.clock.now()), "nonsense") == [1]
    assert host.state("daily").owed


def test_a_queue_without_dead_letters_keeps_its_bad_messages(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is thrown away for want of a place to put it; the log says what is missing."""
    sqs = host.aws.client("sqs")
    sqs.set_queue_attributes(QueueUrl=host.aws.queues["events"].url, Attributes={"RedrivePolicy": ""})
    assert host.deliver("nonsense") == [0]
    assert "the queue events has no dead-letter queue" in capsys.readouterr().out


def test_trouble_of_ours_sends_back_just_the_messages_that_met_it(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store does not answer for one target: its messages come back, nobody else's, and none is a dead letter."""
    breaking(host, "dynamodb", about="daily")
    bodies = [object_created(key, host.clock.now()) for key in ("orders/1", "invoices/1", "orders/2", "elsewhere")]
    assert host.deliver(*bodies) == [0, 2]
    assert host.dead_letters() == []
    assert host.state("weekly").owed
    printed = capsys.readouterr().out
    assert metrics(printed, "ReturnedMessages") == [2]
    [line] = [line for line in lines(printed) if line.get("message") == "trouble of ours"]
    assert line["message_ids"] == ["0", "2"]
    assert "Traceback" in line["exception"]
    assert "EndpointConnectionError" in line["exception"]  # the cause is kept


def test_a_message_that_met_trouble_comes_back_after_half_a_minute(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long before its queue's visibility timeout, which is for what a whole function may need."""
    sqs, queue = host.aws.client("sqs"), host.aws.queues["events"]
    sqs.set_queue_attributes(QueueUrl=queue.url, Attributes={"VisibilityTimeout": "400"})
    sqs.send_message(QueueUrl=queue.url, MessageBody=object_created("orders/1", host.clock.now()))

    def received() -> list[Any]:
        found = sqs.receive_message(QueueUrl=queue.url, MessageSystemAttributeNames=["All"], WaitTimeSeconds=0)
        return list(found.get("Messages", ()))

    messages = received()
    breaking(host, "dynamodb")
    answer = host.invoke(sqs_event(messages, queue.arn))
    assert answer == {"batchItemFailures": [{"itemIdentifier": messages[0]["MessageId"]}]}
    host.clock.move_on(seconds=29)
    assert received() == []
    host.clock.move_on(seconds=2)
    assert [message["MessageId"] for message in received()] == [messages[0]["MessageId"]]
    assert "come back later" not in capsys.readouterr().out


def test_a_message_that_cannot_be_brought_back_sooner_is_reported_all_the_same(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then it comes back when its queue says; the log tells."""
    breaking(host, "dynamodb")
    breaking(host, "sqs", "ChangeMessageVisibilityBatch")
    assert host.deliver(object_created("orders/1", host.clock.now())) == [0]
    [line] = [line for line in lines(capsys.readouterr().out) if line.get("message") == "messages come back later"]
    assert "bringing messages back sooner" in line["detail"]["why"]


def test_a_start_that_glue_refuses_does_not_send_the_message_back(host: Host) -> None:
    """What the platform says is stored with the target, so the message is done."""
    host.deliver(object_created("orders/1", host.clock.now()))
    host.aws.faults.add(Refuse("AccessDeniedException"))
    host.clock.move_on(seconds=40)
    assert host.deliver(object_created("orders/2", host.clock.now() - timedelta(seconds=35))) == []
    assert "AccessDeniedException" in host.state("daily").last_error


def test_events_that_concern_nobody_are_acknowledged_and_counted(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kind of event that is not known is no error; nor is an object that no target names."""
    unknown = {"source": "aws.s3", "detail-type": "Object Tags Added", "time": "2026-01-31T12:00:00Z", "detail": {}}
    assert host.deliver(json.dumps(unknown), object_created("elsewhere", host.clock.now())) == []
    assert host.dead_letters() == []
    assert metrics(capsys.readouterr().out, "IgnoredEvents") == [1]


# --- Alone -----------------------------------------------------------------------------------------------------------


def test_an_event_may_come_without_a_queue(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule may call the function itself; its lines carry the event's own id."""
    event = json.loads(object_created("orders/1", host.clock.now()))
    assert host.invoke(event) == {"verdict": "done"}
    assert host.state("daily").owed
    assert {line["correlation_id"] for line in lines(capsys.readouterr().out) if "_aws" not in line} == {
        "event-orders/1"
    }


def test_a_refresh_that_is_asked_for_answers_with_how_the_target_stands(host: Host) -> None:
    """What `unstale status` would show of it now: why it is stale, and what comes next."""
    answer = host.invoke({"refresh": "daily", "full": True})
    assert (answer["name"], answer["verdict"], answer["signals_owed"]) == ("daily", "stale", 1)
    owed = host.state("daily").owed
    assert owed
    assert owed.full
    host.clock.move_on(seconds=40)
    host.tick()
    [run] = runs(host)
    assert run.full


def test_a_refresh_of_a_target_that_nobody_knows_is_an_error(host: Host) -> None:
    """The caller learns that the name is wrong; nothing is written."""
    with pytest.raises(NotDoneError, match="no target 'dialy'"):
        host.invoke({"refresh": "dialy"})
    assert host.state("daily").owed is None


def test_trouble_is_an_error_to_whoever_called(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """No queue would bring it back, so its caller must know; the log has the whole of it."""
    breaking(host, "dynamodb", "PutItem")
    with pytest.raises(NotDoneError, match="StoreDownError"):
        host.invoke({"refresh": "daily"})
    assert "Traceback" in capsys.readouterr().out


def test_a_refresh_that_is_stored_is_no_error_where_only_the_answer_fails(host: Host) -> None:
    """It will be carried out, and asking again would ask for another one."""
    breaking(host, "dynamodb", "BatchGetItem")
    answer = host.invoke({"refresh": "daily"})
    assert (answer["name"], answer["verdict"]) == ("daily", "unknown")
    assert host.state("daily").owed


def test_nor_is_it_where_the_answer_cannot_be_worked_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later release may have written a record between: the request is stored, and a caller's retry is another one."""

    def fail(*_: object) -> None:
        raise NewerRecordError("format 99")

    monkeypatch.setattr("functions_aws.shell.evidence_on", fail)
    answer = host.invoke({"refresh": "daily"})
    assert (answer["name"], answer["verdict"], answer["why"]) == ("daily", "unknown", "format 99")
    assert host.state("daily").owed


@pytest.mark.parametrize(
    "event", [None, [], "x", {}, {"Records": []}, {"Records": [{"eventSource": "aws:s3"}]}, {"Records": "x"}]
)
def test_what_nobody_can_read_is_an_error_to_whoever_called(host: Host, event: Any) -> None:
    """An input that is none of ours, a batch of another service included, is refused with the reason."""
    with pytest.raises(NotDoneError, match=r"missing|[Ee]xpected|not JSON"):
        host.invoke(event)


def test_with_no_time_left_nothing_is_sent(host: Host) -> None:
    """A call to Glue that could outlast the invocation is left to the next one; the look is not lost."""
    host.deliver(object_created("orders/1", host.clock.now()))
    host.clock.move_on(seconds=40)
    before = len(host.aws.glue.calls)
    host.invoke({"tick": True}, seconds=glue.CAPABILITIES.call_timeout.total_seconds() + 4)
    assert len(host.aws.glue.calls) == before
    assert host.state("daily").owed
    host.tick()
    assert len(host.aws.glue.calls) == before + 1


# --- The entry itself ------------------------------------------------------------------------------------------------


@pytest.fixture(name="entry")
def entry_with_a_configuration(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The environment of `app.handler`, and the path of its configuration, which is not written yet."""
    path = tmp_path / "unstale.toml"
    for name, value in host.aws.environment({}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UNSTALE_CONFIG", str(path))
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"unstale-{next(SERVICES)}")
    with patch.dict(app._made, clear=True):
        yield path


class Plenty:
    """A context with time enough."""

    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        """A minute."""
        return 60_000


def test_a_bad_configuration_never_loads(entry: Path, host: Host) -> None:
    """Every invocation fails with file, line and what to write, so messages stay; once mended, all is well (G6)."""
    entry.write_text(CONFIGURATION.replace('database = "sales"', 'datebase = "sales"', 1), encoding="utf-8")
    event = {"refresh": "daily"}
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"unstale\.toml:5: .*datebase.*did you mean \"database\""):
            app.handler(event, Plenty())
    entry.write_text(CONFIGURATION, encoding="utf-8")
    assert app.handler(event, Plenty())["name"] == "daily"
    assert host.state("daily").owed


def test_a_package_of_another_environment_takes_nothing(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of a stack and the configuration of another one: every invocation fails, so messages stay. Else the
    function would ignore events of targets that it does not know, and they would be lost.
    """
    entry.write_text(CONFIGURATION, encoding="utf-8")
    monkeypatch.setenv("UNSTALE_CONFIG_FINGERPRINT", load(CONFIGURATION.replace("invoices/", "bills/")).fingerprint)
    with pytest.raises(
        SettingsError, match=r"not of the configuration that the stack was deployed with\. make package-aws"
    ):
        app.handler({"tick": True}, Plenty())
    monkeypatch.setenv("UNSTALE_CONFIG_FINGERPRINT", load(CONFIGURATION).fingerprint)
    assert app.handler({"tick": True}, Plenty()) == {"verdict": "done"}


def test_a_missing_configuration_is_named(entry: Path) -> None:
    """So is a file that is not there."""
    with pytest.raises(FileNotFoundError, match=r"unstale\.toml"):
        app.handler({"tick": True}, Plenty())


def test_a_missing_variable_is_named(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a variable."""
    monkeypatch.delenv("UNSTALE_TABLE")
    with pytest.raises(SettingsError, match="UNSTALE_TABLE is not set"):
        app.handler({"tick": True}, Plenty())


def test_secrets_are_never_logged(
    entry: Path, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is planted in events or variables, and whatever goes wrong, is in no line and in no error."""
    secret, token = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    entry.write_text(CONFIGURATION, encoding="utf-8")
    planted = [
        object_created(f"orders/?sig={secret}&{token}", host.clock.now()),
        json.dumps({"detail-type": "unstale.signal", "detail": {"target": f"Bearer {token}"}}),
        json.dumps({"refresh": "daily", "reason": f"password={secret}\x1b[2J"}),
        f'{{"wake": {{"key": "k", "due": "{token}", "version": "{secret}"}}}}',
        json.dumps({"source": secret, "detail-type": f"Bearer {token}"}),
    ]
    messages = [
        {"MessageId": str(n), "ReceiptHandle": "r", "Body": body, "Attributes": {}, "MD5OfBody": ""}
        for n, body in enumerate(planted)
    ]
    batch = sqs_event(messages, host.aws.queues["events"].arn)
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    assert app.handler(batch, Plenty()) == {"batchItemFailures": []}
    host.aws.client("dynamodb").delete_table(TableName=host.aws.table)
    failed = app.handler(batch, Plenty())["batchItemFailures"]
    assert [failure["itemIdentifier"] for failure in failed] == ["0", "2"]
    with pytest.raises(NotDoneError) as caught:
        app.handler({"refresh": f"Bearer {token}"}, Plenty())
    printed = capsys.readouterr()
    shown = printed.out + printed.err + str(caught.value)
    assert "trouble of ours" in shown
    for hidden in (secret, token, token.split(".")[1], "\x1b"):
        assert hidden not in shown


def test_a_known_secret_is_in_nothing_that_leaves(host: Host) -> None:
    """What no shape betrays: not in the error that a caller is handed, nor in the reason beside a dead letter."""
    secret = "planted Value of a known secret"

    def down(*_: object) -> Any:
        raise StoreDownError(f"reading with {secret}")

    dead_letters = KeptDeadLetters()
    shell = Shell(
        host.configuration,
        replace(host.ports, store=SimpleNamespace(load=down, load_many=down, reads_together=True)),
        dead_letters,
        SimpleNamespace(hasten=lambda _: None),
        Telemetry("unstale-app", Redactor([secret])),
        redactor=Redactor([secret]),
    )
    with pytest.raises(NotDoneError) as caught:
        shell.answer({"refresh": "daily"}, Plenty())
    message = {"MessageId": "1", "ReceiptHandle": "r", "Body": json.dumps({"refresh": secret}), "Attributes": {}}
    shell.answer(sqs_event([message | {"MD5OfBody": ""}], host.aws.queues["events"].arn), Plenty())
    said = [str(caught.value), *dead_letters.why]
    assert len(said) == 2
    assert all("***" in each and "planted" not in each for each in said), said


def test_a_body_that_is_no_text_sends_no_other_message_back(host: Host) -> None:
    """Half a surrogate pair cannot be encoded: that message is judged for itself, and the one beside it is taken."""
    arn = host.aws.queues["events"].arn
    odd, good = (
        {"MessageId": name, "ReceiptHandle": "r", "Body": body, "Attributes": {}, "MD5OfBody": ""}
        for name, body in (("odd", "\ud800"), ("good", json.dumps({"refresh": "daily"})))
    )
    dead_letters = KeptDeadLetters()
    shell = Shell(
        host.configuration,
        host.ports,
        dead_letters,
        SimpleNamespace(hasten=lambda _: None),
        Telemetry("unstale-app"),
    )
    assert shell.answer(sqs_event([odd, good], arn), Plenty()) == {"batchItemFailures": []}
    assert [why.partition(":")[0] for why in dead_letters.why] == ["not JSON text"]


class KeptDeadLetters:
    """Dead letters that only keep their reasons."""

    def __init__(self) -> None:
        self.why: list[str] = []

    def send(self, queue: str, body: bytes, why: str) -> None:
        """Bury."""
        del queue, body
        self.why.append(why)

    def return_to(self, queue: str, body: bytes) -> None:
        """Nothing goes back here."""
        del queue, body
        raise AssertionError


def test_importing_the_entry_needs_nothing() -> None:
    """No variable, no client, no connection, and nothing that a cold start would pay dearly for.

    What reads TOML is not among it: a package has its configuration compiled.
    """
    script = """
import socket, sys
from botocore import session
def refuse(*_, **__): raise SystemExit("not at import")
socket.socket.connect = socket.getaddrinfo = session.Session.create_client = refuse
import functions_aws.app
dear = {"boto3", "pydantic", "aws_xray_sdk", "rich", "functions_azure", "azure", "local", "moto"}
dear = (dear | {"tomllib", "shared.config.load", "shared.config.rules"}) & set(sys.modules)
sys.exit(f"imported {dear}" if dear else 0)
"""
    ran = imported(script)
    assert ran.returncode == 0, ran.stderr


def test_within_lambda_the_import_builds_what_the_first_event_needs(host: Host, tmp_path: Path) -> None:
    """The shell and all clients, connected to nothing; with bad settings the import goes well, and events say why.

    Garbage is collected again afterwards, but what was built is never looked at for it.
    """
    config = tmp_path / "unstale.toml"
    config.write_text(CONFIGURATION, encoding="utf-8")
    script = """
import socket, sys
def refuse(*_, **__): raise SystemExit("not at import")
socket.socket.connect = socket.getaddrinfo = refuse
from botocore import session
built, create_client = [], session.Session.create_client
def build(*found, **named):
    built.append(found[1])
    return create_client(*found, **named)
session.Session.create_client = build
from functions_aws import app
import gc
print(sorted(built), list(app._made), gc.isenabled(), gc.get_freeze_count() > 10_000)
"""
    inside = {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "UNSTALE_CONFIG": str(config)}
    built = imported(script, host.aws.environment({}) | inside).stdout
    assert built == "['dynamodb', 'glue', 'sqs'] ['shell'] True True\n"
    assert imported(script, inside).stdout == "[] [] True True\n"


def imported(script: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with these variables and few others."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", script],
        env=environment | dict(variables or {}),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
