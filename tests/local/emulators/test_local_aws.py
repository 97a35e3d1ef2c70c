"""AWS on one machine: what moto answers, what Lambda's poller does, and that nothing of it is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import moto.s3.notifications
import moto.sqs.models
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from moto.core.base_backend import AccountSpecificBackend
from moto.events.models import Rule
from moto.glue.responses import GlueResponse
from moto.sqs.models import sqs_backends

from local.emulators.aws.emulator import LocalAws
from local.emulators.aws.lambda_host import Every, Function, Pump, Queue, failed_messages
from local.emulators.faults import LoseResponse, Slow
from local.emulators.glue.emulator import GlueSettings, resource_name
from local.emulators.journal import Arrival, lost
from tests.support.waiting import PATIENCE_SECONDS

# From https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html; `version-id` is there with versioning only.
PUBLISHED_EVENT = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
PUBLISHED_DETAIL = {"version", "bucket", "object", "request-id", "requester", "source-ip-address", "reason"}
PUBLISHED_OBJECT = {"key", "size", "etag", "sequencer"}


class SharedAws:
    """One emulated AWS for all tests that leave its queues empty, closed while a test has one of its own."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._aws: LocalAws | None = None

    def open(self) -> LocalAws:
        """Enter it, if it is not."""
        if self._aws is None:
            self._aws = self._stack.enter_context(LocalAws(buckets=("landing", "archive"), refresh_events=False))
            self._aws.create_view("sales", "daily")
        return self._aws

    def close(self) -> None:
        """Leave it."""
        self._aws = None
        self._stack.close()


@pytest.fixture(scope="module")
def shared_aws() -> Iterator[SharedAws]:
    """It is entered when the first test asks for it."""
    shared = SharedAws()
    yield shared
    shared.close()


@pytest.fixture
def aws(shared_aws: SharedAws) -> Iterator[LocalAws]:
    """The emulated AWS, with nothing in its events queue, and no fault left over."""
    aws = shared_aws.open()
    yield aws
    assert aws.faults.unused_faults() == ()
    received(aws)


@pytest.fixture
def no_aws(shared_aws: SharedAws) -> None:
    """Nobody has moto: the test may have it for an emulated AWS of its own."""
    shared_aws.close()


def received(aws: LocalAws) -> list[dict[str, Any]]:
    """Take what is in the events queue; in moto an event is there before the call that caused it has returned."""
    sqs, queue = aws.client("sqs"), aws.queues["events"]
    events = []
    while messages := sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10).get("Messages"):
        events += [json.loads(message["Body"]) for message in messages]
        for message in messages:
            sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])
    return events


def send(aws: LocalAws, *bodies: str, **rest: Any) -> None:
    """Put messages into the events queue."""
    for body in bodies:
        aws.client("sqs").send_message(QueueUrl=aws.queues["events"].url, MessageBody=body, **rest)


def test_an_object_makes_an_event_of_the_published_shape(aws: LocalAws) -> None:
    """What S3 tells has AWS's names, the key as it is, and the time of the put in whole seconds."""
    before = len(aws.puts())
    aws.client("s3").put_object(Bucket="landing", Key="orders/a+b c%20ü.json", Body=b"four")
    [event], [put] = received(aws), aws.puts()[before:]
    assert event.keys() == PUBLISHED_EVENT
    assert event["detail"].keys() == PUBLISHED_DETAIL
    assert event["detail"]["object"].keys() == PUBLISHED_OBJECT
    assert (event["source"], event["detail-type"], event["account"]) == ("aws.s3", "Object Created", aws.account)
    assert (event["region"], event["resources"]) == (aws.region, ["arn:aws:s3:::landing"])
    assert event["time"] == put.at.replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (put.bucket, put.key) == ("landing", "orders/a+b c%20ü.json")
    stored = event["detail"]["object"]
    assert (stored["key"], stored["size"], event["detail"]["reason"]) == (put.key, 4, "PutObject")
    assert stored["etag"] == "8cbad96aced40b3838dd9f07f6ef5772"


def test_a_put_is_dated_when_it_is_stored(aws: LocalAws) -> None:
    """The time that the judge of losses uses lies between the call and its answer."""
    before = datetime.now(UTC)
    aws.client("s3").put_object(Bucket="landing", Key="k", Body=b"")
    assert before <= aws.puts()[-1].at <= datetime.now(UTC)


def test_every_event_is_its_own(aws: LocalAws) -> None:
    """Ids and request ids differ, and the sequencers of one key grow in the order of its puts."""
    for _ in range(5):
        aws.client("s3").put_object(Bucket="landing", Key="k", Body=b"")
    events = received(aws)
    assert len({event["id"] for event in events}) == len({event["detail"]["request-id"] for event in events}) == 5
    sequencers = [event["detail"]["object"]["sequencer"] for event in events]
    assert sequencers == sorted(set(sequencers))
    assert len({*map(len, sequencers)}) == 1


def test_events_tell_how_an_object_came(aws: LocalAws) -> None:
    """A copy and a multipart upload have reasons of their own; a deletion is no arrival."""
    s3 = aws.client("s3")
    s3.put_object(Bucket="landing", Key="k", Body=b"")
    s3.copy_object(Bucket="landing", Key="copy", CopySource="landing/k")
    upload = s3.create_multipart_upload(Bucket="landing", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="landing", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket="landing", Key="parts", UploadId=upload, MultipartUpload=parts)
    s3.delete_object(Bucket="landing", Key="k")
    told = Counter((event["detail"]["object"]["key"], event["detail"]["reason"]) for event in received(aws))
    assert told == Counter([("k", "PutObject"), ("copy", "CopyObject"), ("parts", "CompleteMultipartUpload")])


def test_a_versioned_bucket_tells_the_version(aws: LocalAws) -> None:
    """`version-id` is in the event if, and only if, the bucket keeps versions."""
    s3 = aws.client("s3")
    s3.put_bucket_versioning(Bucket="archive", VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket="archive", Key="k", Body=b"")["VersionId"]
    [event] = received(aws)
    assert event["detail"]["object"].keys() == PUBLISHED_OBJECT | {"version-id"}
    assert event["detail"]["object"]["version-id"] == version


def test_other_sources_reach_the_queue_as_they_were_sent(aws: LocalAws) -> None:
    """A custom signal and Glue's events arrive whole, account included; anything else does not arrive."""
    detail = {"target": "daily", "full": False, "reason": '"quoted" and $.odd <x>'}
    entry = {"Source": "me", "DetailType": "unstale.signal", "Detail": json.dumps(detail), "Resources": ["r"]}
    aws.client("events").put_events(Entries=[entry, entry | {"DetailType": "other"}])
    aws.publish("aws.glue", "Glue Job State Change", {"jobName": "load", "state": "SUCCEEDED"})
    aws.publish("aws.ec2", "Glue Job State Change", {})
    signal_event, job_event = received(aws)
    assert signal_event.keys() == job_event.keys() == PUBLISHED_EVENT
    assert (signal_event["source"], signal_event["resources"], signal_event["detail"]) == ("me", ["r"], detail)
    assert job_event["detail"] == {"jobName": "load", "state": "SUCCEEDED"}
    assert {event["account"] for event in (signal_event, job_event)} == {aws.account}
    for event in (signal_event, job_event):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])


def test_an_update_of_a_table_reaches_the_queue(aws: LocalAws) -> None:
    """An ordinary client's UpdateTable arrives as the catalog's event."""
    glue = aws.client("glue")
    glue.create_table(DatabaseName="sales", TableInput={"Name": "orders"})
    glue.update_table(DatabaseName="sales", TableInput={"Name": "orders"})
    [event] = received(aws)
    assert event["detail-type"] == "Glue Data Catalog Table State Change"
    assert (event["detail"]["tableName"], event["detail"]["typeOfChange"]) == ("orders", "UpdateTable")


def test_the_table_has_a_sparse_index_of_what_is_due(aws: LocalAws) -> None:
    """Only items with both keys of the index are in it, it gives keys only, in the order of their times."""
    items = [("a", "2026-11-21T06:00:02Z"), ("b", "2026-11-21T06:00:01Z"), ("c", None), ("d", "2026-11-21T07:00:00Z")]
    dynamodb = aws.client("dynamodb")
    for key, wake_at in items:
        due = {"due": {"S": "0"}, "wake_at": {"S": wake_at}} if wake_at else {}
        dynamodb.put_item(TableName=aws.table, Item={"pk": {"S": key}, "sk": {"S": "state"}, "x": {"S": "y"}} | due)
    found = dynamodb.query(
        TableName=aws.table,
        IndexName="due",
        KeyConditionExpression="due = :due and wake_at <= :now",
        ExpressionAttributeValues={":due": {"S": "0"}, ":now": {"S": "2026-11-21T06:30:00Z"}},
    )["Items"]
    assert [item["pk"]["S"] for item in found] == ["b", "a"]
    assert {*found[0]} == {"pk", "sk", "due", "wake_at"}
    live = dynamodb.describe_time_to_live(TableName=aws.table)["TimeToLiveDescription"]
    assert live == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that interrupt each other as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_parallel(actions: list[Callable[[], Any]]) -> list[Any]:
    """Do all at the same time and return what each gave."""
    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result() for future in [pool.submit(action) for action in actions]]


def test_a_condition_has_one_winner(aws: LocalAws, hasty_threads: None) -> None:
    """Of eight writers who want the same item at the same time exactly one gets it."""
    dynamodb = aws.client("dynamodb")
    refused = dynamodb.exceptions.ConditionalCheckFailedException  # asked for once: botocore makes such classes lazily

    def won(number: int) -> bool:
        item = {"pk": {"S": f"number {number}"}, "sk": {"S": "state"}}
        try:
            dynamodb.put_item(TableName=aws.table, Item=item, ConditionExpression="attribute_not_exists(pk)")
        except refused:
            return False
        return True

    for number in range(10):
        assert sum(in_parallel([partial(won, number)] * 8)) == 1


def test_no_message_vanishes_while_others_are_deleted(aws: LocalAws, hasty_threads: None) -> None:
    """Senders and receivers at the same time: every message is received."""
    sent = [f"{sender}.{number}" for sender in range(4) for number in range(15)]
    got: list[str] = []

    def send_all(bodies: list[str]) -> None:
        send(aws, *bodies)

    def receive_most() -> None:
        while len(got) < len(sent) - 10:
            got.extend(bodies_received(aws))

    in_parallel([*(partial(send_all, sent[n::4]) for n in range(4)), receive_most, receive_most])
    assert Counter(got + bodies_received(aws)) == Counter(sent)


def bodies_received(aws: LocalAws) -> list[str]:
    """Receive some messages from the events queue, delete them, and return what they say."""
    sqs, queue = aws.client("sqs"), aws.queues["events"]
    messages = sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])
    return [message["Body"] for message in messages]


def wait_until(condition: Callable[[], object]) -> None:
    """Give threads the time that they need, within reason."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")


def test_a_long_poll_holds_up_nobody(aws: LocalAws) -> None:
    """While one waits for a message others are served, and the message that they send ends the wait."""
    sqs, queue = aws.client("sqs"), aws.queues["events"]
    waiters: Any = sqs_backends[aws.account][aws.region].get_queue("events")._messages_lock
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sqs.receive_message, QueueUrl=queue.url, WaitTimeSeconds=20)
        wait_until(lambda: waiters._waiters)
        send(aws, "x")
        [message] = waiting.result()["Messages"]
    sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])


def test_a_lost_response_is_lost_here_too(aws: LocalAws) -> None:
    """Through the emulator's own server, too, a start is accepted and its connection dropped."""
    aws.faults.add(LoseResponse())
    glue = aws.client("glue", retries=False)
    with pytest.raises(ConnectionClosedError):
        start(glue, aws)
    assert [run.outcome for run in aws.glue.journal().entries()] == ["running"]


def start(glue: Any, aws: LocalAws) -> None:
    """Start a refresh of the view."""
    glue.start_materialized_view_refresh_task_run(CatalogId=aws.account, DatabaseName="sales", TableName="daily")


def test_a_slow_answer_holds_up_nobody(no_aws: None) -> None:
    """While Glue is slow with one, others are served; leaving ends the wait."""
    with LocalAws() as aws, ThreadPoolExecutor(1) as pool:
        aws.create_view("sales", "daily")
        aws.faults.add(Slow(seconds=600))
        slow = pool.submit(start, aws.client("glue", retries=False), aws)
        wait_until(lambda: aws.glue.journal().entries())
        aws.client("s3").put_object(Bucket="landing", Key="k", Body=b"")
        assert not slow.done()
        aws.__exit__(None, None, None)
        assert slow.exception(timeout=PATIENCE_SECONDS) is None


def test_the_journals_show_what_is_lost(no_aws: None) -> None:
    """From puts and runs alone: what came before a run is in the view, what came during it is lost; the run is told."""
    settings = GlueSettings(starting=timedelta(milliseconds=50), run_time=timedelta(milliseconds=300))
    with LocalAws(glue_settings=settings) as aws:
        aws.create_view("sales", "daily")
        s3, view = aws.client("s3"), resource_name(aws.account, "sales", "daily")
        s3.put_object(Bucket="landing", Key="before", Body=b"")
        start(aws.client("glue"), aws)
        s3.put_object(Bucket="landing", Key="during", Body=b"")
        wait_until(lambda: aws.glue.journal().entries()[0].outcome == "succeeded")
        arrivals = {Arrival(view, put.at): put.key for put in aws.puts()}
        assert [arrivals[missed] for missed in lost(arrivals, aws.glue.journal().entries())] == ["during"]
        told: list[str] = []
        while len(told) < 5:
            told += [event["detail-type"] for event in received(aws)]
    assert Counter(told) == {
        "Object Created": 2,
        "Glue Materialized View Refresh Task Started": 1,
        "Glue Materialized View Refresh Task Succeeded": 1,
        "Glue Data Catalog Table State Change": 1,
    }


def test_an_emulated_aws_goes_by_the_clock_it_is_given(no_aws: None) -> None:
    """Turned by a quarter of an hour, a delayed message is there and a run has ended; all events tell that time."""
    times = [datetime(2026, 11, 21, 6, 0, 0, 700_000, tzinfo=UTC)]
    settings = GlueSettings(run_time=timedelta(minutes=10))
    with LocalAws(clock=lambda: times[-1], glue_settings=settings, refresh_events=False) as aws:
        aws.create_view("sales", "daily")
        start(aws.client("glue"), aws)
        send(aws, '{"time": "2026-11-21T06:00:00Z"}', DelaySeconds=900)
        times.append(times[0] + timedelta(minutes=14, seconds=59))
        assert received(aws) == []
        assert aws.glue.journal().entries()[0].outcome == "succeeded"
        times.append(times[0] + timedelta(minutes=15))
        aws.client("s3").put_object(Bucket="landing", Key="k", Body=b"")
        entry = {"Source": "me", "DetailType": "unstale.signal", "Detail": "{}"}
        aws.client("events").put_events(Entries=[entry])
        told = sorted(event["time"] for event in received(aws))
    assert told == ["2026-11-21T06:00:00Z", "2026-11-21T06:15:00Z", "2026-11-21T06:15:00Z"]


def test_someone_else_has_a_client_too(aws: LocalAws) -> None:
    """What a foreign client starts is foreign in the journal."""
    aws.create_view("sales", "hourly", catalog=f"{aws.account}:s3tablescatalog/lake")
    names = {"CatalogId": f"{aws.account}:s3tablescatalog/lake", "DatabaseName": "sales", "TableName": "hourly"}
    aws.client("glue", foreign=True).start_materialized_view_refresh_task_run(**names)
    assert [run.foreign for run in aws.glue.journal().entries() if run.resource.endswith("hourly")] == [True]


# From https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html.
PUBLISHED_RECORD = {
    "messageId",
    "receiptHandle",
    "body",
    "attributes",
    "messageAttributes",
    "md5OfBody",
    "eventSource",
    "eventSourceARN",
    "awsRegion",
}
PUBLISHED_ATTRIBUTES = {
    "ApproximateReceiveCount",
    "SentTimestamp",
    "SenderId",
    "ApproximateFirstReceiveTimestamp",
}


def test_a_handler_gets_records_of_the_published_shape(aws: LocalAws) -> None:
    """Names and types of a record are those of AWS, and the context is what Lambda gives."""
    seen: list[tuple[Any, Any]] = []
    attributes = {"kind": {"DataType": "String", "StringValue": "x"}}
    send(aws, "hello", MessageAttributes=attributes)
    function = aws.function(lambda event, context: seen.append((event, context)), name="worker")
    with aws.pump("events", function):
        wait_until(lambda: seen)
    [(event, context)] = seen
    [record] = event["Records"]
    assert record.keys() == PUBLISHED_RECORD
    assert record["attributes"].keys() >= PUBLISHED_ATTRIBUTES
    assert all(isinstance(value, str) for value in record["attributes"].values())
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert (record["body"], record["eventSource"], record["awsRegion"]) == ("hello", "aws:sqs", aws.region)
    assert record["eventSourceARN"] == aws.queues["events"].arn
    assert record["messageAttributes"]["kind"]["stringValue"] == "x"
    assert record["messageAttributes"]["kind"]["dataType"] == "String"
    assert context.function_name == "worker"
    assert context.invoked_function_arn.endswith(":function:worker")
    assert 0 < context.get_remaining_time_in_millis() <= 60_000
    assert {type(context.memory_limit_in_mb), type(context.aws_request_id)} == {str}
    assert received(aws) == []


def test_only_reported_messages_come_again(no_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch what succeeded is deleted, what is reported comes again, until it goes to the dead-letter queue.

    A profile of the user's that does not exist has nothing to do with it.
    """
    monkeypatch.setenv("AWS_PROFILE", "none-such")
    seen: Counter[str] = Counter()

    def handler(event: Any, _: Any) -> Any:
        seen.update(record["body"] for record in event["Records"])
        bad = [record["messageId"] for record in event["Records"] if record["body"] == "bad"]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in bad]}

    with LocalAws(visibility_timeout=timedelta(0), most_receives=3, refresh_events=False) as aws:
        send(aws, "good", "bad", "better")
        with aws.pump("events", aws.function(handler)):
            wait_until(lambda: dead(aws) == ["bad"])
    assert seen == {"good": 1, "better": 1, "bad": 3}


def dead(aws: LocalAws) -> list[str]:
    """What is in the dead-letter queue of events; it stays there."""
    found = aws.client("sqs").receive_message(QueueUrl=aws.queues["events-dead"].url, VisibilityTimeout=0)
    return [message["Body"] for message in found.get("Messages", [])]


def test_a_failed_invocation_leaves_its_batch_in_the_queue(no_aws: None, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that raises fails its whole batch, which comes again; the error is kept and logged."""
    batches: list[list[str]] = []

    def handler(event: Any, _: Any) -> None:
        batches.append([record["body"] for record in event["Records"]])
        if len(batches) == 1:
            raise OSError("the store is down")

    with LocalAws(visibility_timeout=timedelta(0), refresh_events=False) as aws:
        send(aws, "a", "b")
        function = aws.function(handler)
        with aws.pump("events", function):
            wait_until(lambda: len(batches) == 2)
        assert received(aws) == []
    assert batches[0] == batches[1] == ["a", "b"]
    assert function.invocations == 2
    assert [str(error) for error in function.errors] == ["the store is down"]
    assert "the store is down" in caplog.text


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [({}, [10, 3]), ({"batch_size": 4}, [4, 4, 4, 1]), ({"batch_size": 13, "window": timedelta(seconds=1)}, [13])],
)
def test_batches_are_as_large_as_they_may_be(aws: LocalAws, settings: dict[str, Any], sizes: list[int]) -> None:
    """A batch has up to its size; more than ten messages need a window."""
    send(aws, *map(str, range(13)))
    seen: list[int] = []
    function = aws.function(lambda event, _: seen.append(len(event["Records"])))
    with aws.pump("events", function, **settings):
        wait_until(lambda: sum(seen) == 13)
    assert seen == sizes
    assert received(aws) == []


def test_a_batch_waits_for_more_while_its_window_is_open(aws: LocalAws) -> None:
    """What arrives within the window joins the batch; stopping ends the wait, and what was received is delivered."""
    seen: list[int] = []
    function = aws.function(lambda event, _: seen.append(len(event["Records"])))
    send(aws, "first")
    with aws.pump("events", function, window=timedelta(minutes=5), batch_size=3):
        wait_until(lambda: not visible(aws))
        send(aws, "second", "third")
        wait_until(lambda: seen)
        send(aws, "fourth")
        wait_until(lambda: not visible(aws))
    assert seen == [3, 1]


def visible(aws: LocalAws) -> int:
    """How many messages of the events queue nobody has received."""
    attributes = aws.client("sqs").get_queue_attributes(
        QueueUrl=aws.queues["events"].url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


def test_workers_take_batches_at_the_same_time(aws: LocalAws) -> None:
    """Two workers are in the handler at once."""
    together = threading.Barrier(2)
    function = aws.function(lambda *_: together.wait(timeout=PATIENCE_SECONDS) and None)
    send(aws, "a", "b")
    with aws.pump("events", function, batch_size=1, workers=2):
        wait_until(lambda: function.invocations == 2 and not together.n_waiting)
    assert function.errors == []


def test_large_batches_need_a_window(aws: LocalAws) -> None:
    """AWS refuses a batch of more than ten without a window of a second; so does the poller."""
    with pytest.raises(ValueError, match="window"):
        aws.pump("events", aws.function(print), batch_size=11, window=timedelta(milliseconds=999))


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (None, ""),
        ({}, ""),
        ({"batchItemFailures": []}, ""),
        ({"batchItemFailures": None}, ""),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, "a"),
        ({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}, "ab"),
        ({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": ""}]}, "abc"),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, "abc"),
        ({"batchItemFailures": [{"itemIdentifier": "z"}]}, "abc"),
        ({"batchItemFailures": [{"itemidentifier": "a"}]}, "abc"),
        ({"batchItemFailures": ["a"]}, "abc"),
        ({"statusCode": 200}, "abc"),
        ("ok", "abc"),
    ],
)
def test_an_answer_says_what_failed(answer: Any, failed: str) -> None:
    """The rules of ReportBatchItemFailures, as AWS writes them; what is no report fails the batch."""
    assert failed_messages(answer, {"a", "b", "c"}) == {*failed}


def test_a_function_speaks_json() -> None:
    """What a handler does to its event stays with it, and an answer that is no JSON is an error."""
    event = {"a": [1]}
    assert Function(lambda event, _: event["a"].append(2) or event, arn="f").invoke(event) == {"a": [1, 2]}
    assert event == {"a": [1]}
    with pytest.raises(TypeError):
        Function(lambda *_: {1, 2}, arn="f").invoke(event)


def test_nobody_waits_for_a_fired_function() -> None:
    """A schedule is not told of an error; the function keeps it."""
    function = Function(lambda *_: 1 // 0, arn="f")
    function.fire({})
    assert [type(error) for error in function.errors] == [ZeroDivisionError]


def test_an_action_is_repeated_until_its_context_is_left() -> None:
    """It runs at once and again, on a thread that is gone afterwards; its error is not swallowed."""
    done: list[int] = []
    threads = set(threading.enumerate())
    with Every(timedelta(milliseconds=1), lambda: done.append(1)):
        wait_until(lambda: len(done) > 2)
    assert set(threading.enumerate()) <= threads
    failing = Every(timedelta(0), lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"), failing:
        wait_until(lambda: failing._error)


def test_a_poller_that_fails_says_so(aws: LocalAws) -> None:
    """A poller that cannot poll ends, and leaving raises its error."""
    pump = Pump(aws.client("sqs"), Queue(aws.url + "/0/none", aws.queues["events"].arn), aws.function(print))
    with pytest.raises(RuntimeError, match="NonExistentQueue"), pump:
        wait_until(lambda: pump._error)


def test_a_process_can_live_in_an_emulated_aws(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its variables a client without any argument is in it, whatever the user's own variables say."""
    own = {
        "AWS_PROFILE": "none-such",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
        "UNSTALE_TABLE": "x",
        "A": "b",
    }
    environment = aws.environment(own)
    assert environment["A"] == "b"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    described = boto3.session.Session().client("dynamodb").describe_table(TableName=os.environ["UNSTALE_TABLE"])
    assert described["Table"]["TableArn"].split(":")[3] == aws.region
    assert os.environ["UNSTALE_QUEUE_URL"] == aws.queues["wakes"].url


def test_an_emulated_aws_leaves_nothing_behind(no_aws: None, capfd: pytest.CaptureFixture[str]) -> None:
    """Leaving, by an interruption as well, ends every thread, closes the port, empties moto and puts it back."""
    before = hooks()
    threads = set(threading.enumerate())
    aws = LocalAws()
    with pytest.raises(KeyboardInterrupt), aws, aws.pump("wakes", aws.function(print)):
        raise KeyboardInterrupt
    assert set(threading.enumerate()) == threads
    assert hooks() == before
    assert not sqs_backends[aws.account][aws.region].queues
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(aws.url.rpartition(":")[2])))
    assert capfd.readouterr() == ("", "")


def hooks() -> list[Any]:
    """What an emulated AWS changes in moto."""
    of_glue = [value for name, value in vars(GlueResponse).items() if name != "__doc__"]
    send_event, condition = moto.s3.notifications._send_event_bridge_message, vars(moto.sqs.models)["Condition"]
    clocks = [vars(moto.sqs.models)["unix_time_millis"], vars(moto.sqs.models)["unix_time"]]
    return [*clocks, send_event, condition, Rule.send_to_targets, AccountSpecificBackend.get_session, *of_glue]


def test_a_bug_of_the_emulated_aws_is_not_swallowed(no_aws: None) -> None:
    """What moto raises is a 500 to the caller, and is raised again when the emulator is left."""
    aws = LocalAws()
    with pytest.raises(RuntimeError, match="NotImplementedError"), aws, pytest.raises(ClientError):
        aws.client("glue").get_dashboard_url(ResourceId="x", ResourceType="SESSION")


INTERRUPTED = """
import time
from local.emulators.aws.emulator import LocalAws
try:
    with LocalAws() as aws, aws.pump("events", aws.function(print)):
        aws.client("s3").put_object(Bucket="landing", Key="k", Body=b"")
        print("ready", flush=True)
        while True:
            time.sleep(0.1)  # in steps: a signal that comes just before a sleep is seen only after it
except KeyboardInterrupt:
    raise SystemExit(130) from None
"""


def test_an_interrupted_process_ends_cleanly(tmp_path: Path) -> None:
    """Ctrl-C ends the process at once, with no traceback and no file."""
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            while b"ready" not in (line := process.stdout.readline()):
                assert line, process.communicate()[1].decode()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, b"")
    assert list(tmp_path.iterdir()) == []


def test_an_event_that_is_lost_is_told_to_nobody() -> None:
    """Best-effort events may get lost: what a test says of an event never reaches the queue, and others do."""
    with LocalAws() as aws:
        aws.loses = lambda event: event["detail"].get("tableName") == "orders"
        for table in ("orders", "returns"):
            aws.publish("aws.glue", "Glue Data Catalog Table State Change", {"tableName": table})
        sqs = aws.client("sqs")
        found = sqs.receive_message(QueueUrl=aws.queues["events"].url, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(message["Body"])["detail"]["tableName"] for message in found] == ["returns"]


def test_the_catalog_goes_by_the_clock_that_is_given() -> None:
    """A table's time and the Date of each answer are the demo's, else a look would take its news for tomorrow's."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with LocalAws(clock=lambda: noon) as aws:
        aws.commit("sales", "orders")
        aws.commit("sales", "orders")
        answer = aws.client("glue").get_tables(DatabaseName="sales")
    assert answer["TableList"][0]["UpdateTime"] == noon
    assert answer["ResponseMetadata"]["HTTPHeaders"]["date"] == "Sat, 31 Jan 2026 12:00:00 GMT"
