"""Wakes and dead letters on SQS: what is sent, what is counted, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from functions_aws.backlog import Backlogs
from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.visibility import Visibility
from functions_aws.waker import Waker
from local.emulators.aws.emulator import LocalAws
from shared.inbound import eventbridge
from shared.inbound.dead_letters import GIVEN_UP, DeadLetterSummary, Move
from shared.inbound.messages import Woken
from shared.refresh.ports import StoreDownError
from shared.refresh.state import Wake
from tests.support.aws_host import NOON, clients_to_nowhere, living_in

URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/events"
ARN = "arn:aws:sqs:eu-central-1:123456789012"
POLICY = json.dumps({"deadLetterTargetArn": f"{ARN}:events-dead", "maxReceiveCount": 1000})
WAKE = Wake("glue-view:1:sales:daily", NOON, "7")


@pytest.fixture(name="aws")
def emulated_aws() -> Iterator[LocalAws]:
    """An AWS with the queues."""
    with living_in(LocalAws(refresh_events=False)) as aws:
        yield aws


@pytest.fixture(name="nowhere")
def unreachable() -> Clients:
    """Clients that reach nobody. Each test has its own, for they keep the addresses of queues that they asked for."""
    return clients_to_nowhere("sqs")


@pytest.fixture(name="stub")
def stubbed_sqs(nowhere: Clients) -> Iterator[Stubber]:
    """SQS as a list of expected calls, each with its answer."""
    with Stubber(nowhere.sqs) as stub:
        yield stub
        stub.assert_no_pending_responses()


def expect_queue(stub: Stubber) -> None:
    """The questions where the dead letters of the events queue are."""
    asked = {"QueueUrl": URL, "AttributeNames": ["QueueArn", "RedrivePolicy"]}
    stub.add_response(
        "get_queue_attributes", {"Attributes": {"QueueArn": f"{ARN}:events", "RedrivePolicy": POLICY}}, asked
    )
    named = {"QueueName": "events-dead", "QueueOwnerAWSAccountId": "123456789012"}
    stub.add_response("get_queue_url", {"QueueUrl": f"{URL}-dead"}, named)


def expect_count(stub: Stubber, count: int) -> None:
    """How many there are."""
    asked = {"QueueUrl": f"{URL}-dead", "AttributeNames": ["ApproximateNumberOfMessages"]}
    stub.add_response("get_queue_attributes", {"Attributes": {"ApproximateNumberOfMessages": str(count)}}, asked)


# --- What waits ------------------------------------------------------------------------------------------------------


def test_an_age_that_cannot_be_asked_for_is_said(nowhere: Clients, stub: Stubber) -> None:
    """Messages wait; how long, CloudWatch does not say: the words are those of every call that fails."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "QueueArn"]
    counts = dict(zip(names, ("2", "1", f"{ARN}:wakes"), strict=True))
    stub.add_response("get_queue_attributes", {"Attributes": counts}, {"QueueUrl": URL, "AttributeNames": names})
    _, wakes = Backlogs(nowhere, "", URL).read(NOON)
    assert (wakes.queue, wakes.waiting, wakes.age) == ("wakes", 3, None)
    assert wakes.unreadable.startswith("asking for the age of the oldest: ")


# --- Wakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (timedelta(0), 0),
        (timedelta(microseconds=1), 1),
        (timedelta(seconds=30), 30),
        (timedelta(seconds=30, microseconds=1), 31),
        (Waker.reach, 900),
    ],
)
def test_a_delay_is_rounded_up(nowhere: Clients, stub: Stubber, delay: timedelta, seconds: int) -> None:
    """SQS knows whole seconds, and a wake that comes too early finds nothing to do."""
    sent: list[dict[str, Any]] = []
    stub.client.meta.events.register_first(
        "before-parameter-build.sqs.SendMessage", lambda params, **_: sent.append(params)
    )
    stub.add_response("send_message", {"MessageId": "m", "MD5OfMessageBody": "x"})
    Waker(nowhere, URL).send(WAKE, delay)
    assert (sent[-1]["QueueUrl"], sent[-1]["DelaySeconds"]) == (URL, seconds)
    assert eventbridge.read(sent[-1]["MessageBody"], NOON) == Woken(WAKE)


def test_the_reach_is_what_sqs_takes(aws: LocalAws) -> None:
    """The longest delay is accepted; one second more would be refused."""
    Waker(Clients(), aws.queues["wakes"].url).send(WAKE, Waker.reach)
    with pytest.raises(StoreDownError, match="DelaySeconds"):
        Waker(Clients(), aws.queues["wakes"].url).send(WAKE, Waker.reach + timedelta(seconds=1))


def test_a_wake_that_cannot_be_sent_is_told_as_such(nowhere: Clients, stub: Stubber) -> None:
    """The engine saves all the same, so it must know."""
    stub.add_client_error("send_message", "AWS.SimpleQueueService.NonExistentQueue", "gone")
    with pytest.raises(StoreDownError, match="gone") as caught:
        Waker(nowhere, URL).send(WAKE, timedelta(0))
    assert isinstance(caught.value.__cause__, ClientError)


# --- Dead letters ----------------------------------------------------------------------------------------------------


def test_dead_letters_are_counted_with_age_and_reasons(aws: LocalAws) -> None:
    """How many there are in each queue, since when, and why; looking at them leaves them where they are."""
    clients = Clients()
    dead = DeadLetters(clients, (aws.queues["events"].url, aws.queues["wakes"].url))
    assert dead.summaries() == (DeadLetterSummary("events", 0), DeadLetterSummary("wakes", 0))
    before = datetime.now(UTC) - timedelta(seconds=1)
    for why in ("not JSON", "not JSON", "no target 'x'"):
        dead.send(aws.queues["events"].arn, b"{", why)
    aws.client("sqs").send_message(QueueUrl=aws.queues["wakes-dead"].url, MessageBody="moved by SQS itself")
    for _ in range(2):
        events, wakes = dead.summaries()
        assert (events.queue, events.count, set(events.reasons)) == ("events", 3, {"not JSON", "no target 'x'"})
        assert (wakes.queue, wakes.count, wakes.reasons) == ("wakes", 1, (GIVEN_UP,))
        assert events.oldest
        assert events.oldest >= before


def test_what_a_rule_could_not_deliver_says_so_itself(aws: LocalAws) -> None:
    """EventBridge puts it there with its own reason, which is no trouble of the function's."""
    attributes = {"ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not authorized", "RULE_ARN": "arn"}
    aws.client("sqs").send_message(
        QueueUrl=aws.queues["events-dead"].url,
        MessageBody="{}",
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )
    [summary] = DeadLetters(Clients(), (aws.queues["events"].url,)).summaries()
    assert summary.reasons == ("EventBridge could not deliver it: NO_PERMISSIONS not authorized",)


def test_a_queue_is_asked_only_once_where_its_dead_letters_go(aws: LocalAws) -> None:
    """A flood of bad messages costs one request each."""
    clients = Clients()
    dead = DeadLetters(clients)
    dead.send(aws.queues["events"].arn, b"a", "why")
    asked: list[str] = []
    clients.sqs.meta.events.register("before-send.sqs", lambda event_name, **_: asked.append(event_name))
    dead.send(aws.queues["events"].arn, b"b", "why")
    assert asked == ["before-send.sqs.SendMessage"]


def test_an_environment_without_the_events_queue_counts_the_other(nowhere: Clients) -> None:
    """A variable that is not set is no queue to ask about."""
    assert DeadLetters(nowhere, ("", "")).summaries() == ()


def test_a_redrive_names_where_the_messages_go(nowhere: Clients, stub: Stubber) -> None:
    """SQS does not know where those that we sent came from, so the queue itself is named."""
    expect_queue(stub)
    expect_count(stub, 2)
    stub.add_response("receive_message", {})
    move = {"SourceArn": f"{ARN}:events-dead", "DestinationArn": f"{ARN}:events"}
    stub.add_response("start_message_move_task", {"TaskHandle": "h"}, move)
    DeadLetters(nowhere, (URL,)).redrive()


def test_nothing_is_moved_where_nothing_lies(nowhere: Clients, stub: Stubber) -> None:
    """A move of nothing would only stand in the way of the next one."""
    expect_queue(stub)
    expect_count(stub, 0)
    DeadLetters(nowhere, (URL,)).redrive()


def test_a_move_is_followed(nowhere: Clients, stub: Stubber) -> None:
    """How many are back, of how many, and why not if not."""
    expect_queue(stub)
    task = {
        "Status": "FAILED",
        "ApproximateNumberOfMessagesMoved": 1,
        "ApproximateNumberOfMessagesToMove": 2,
        "FailureReason": "AccessDenied",
    }
    asked = {"SourceArn": f"{ARN}:events-dead", "MaxResults": 1}
    stub.add_response("list_message_move_tasks", {"Results": [task]}, asked)
    assert DeadLetters(nowhere, (URL,)).moves() == (Move("events", "FAILED", 1, 2, "AccessDenied"),)


@pytest.mark.parametrize("call", ["summaries", "redrive", "moves"])
def test_what_cannot_be_asked_is_told_as_such(nowhere: Clients, stub: Stubber, call: str) -> None:
    """Not knowing is not the same as none: freshness would be claimed wrongly."""
    stub.add_client_error("get_queue_attributes", "AccessDenied", "not allowed")
    with pytest.raises(StoreDownError, match="not allowed"):
        getattr(DeadLetters(nowhere, (URL,)), call)()


# --- Messages that come back -----------------------------------------------------------------------------------------


def returned(*receives: int) -> list[dict[str, Any]]:
    """Records of a batch that were received so often."""
    return [
        {
            "receiptHandle": f"handle-{place}",
            "eventSourceARN": f"{ARN}:events",
            "attributes": {"ApproximateReceiveCount": str(count)},
        }
        for place, count in enumerate(receives)
    ]


def changed(stub: Stubber, places: range, seconds: int, refused: str = "") -> None:
    """Expect one call for the records at these places; with a code, the last of them is refused."""
    entries = [
        {"Id": str(number), "ReceiptHandle": f"handle-{place}", "VisibilityTimeout": seconds}
        for number, place in enumerate(places)
    ]
    failed = [{"Id": str(len(entries) - 1), "SenderFault": True, "Code": refused}] if refused else []
    done = [{"Id": entry["Id"]} for entry in entries[: len(entries) - len(failed)]]
    answer = {"Successful": done, "Failed": failed}
    stub.add_response("change_message_visibility_batch", answer, {"QueueUrl": URL, "Entries": entries})


def expect_url(stub: Stubber) -> None:
    """The question where the queue is."""
    named = {"QueueName": "events", "QueueOwnerAWSAccountId": "123456789012"}
    stub.add_response("get_queue_url", {"QueueUrl": URL}, named)


def test_messages_come_back_by_tens_and_later_when_they_came_often(nowhere: Clients, stub: Stubber) -> None:
    """Half a minute for the young, five minutes for the old, ten a call; where the queue is, is asked once."""
    returns = Visibility(nowhere)
    expect_url(stub)
    changed(stub, range(10), 30)
    changed(stub, range(10, 12), 30)
    returns.hasten(returned(*[1] * 11, 59))
    changed(stub, range(2), 300)
    returns.hasten(returned(60, 999))
    returns.hasten([])


def test_what_sqs_does_not_bring_back_sooner_is_told(nowhere: Clients, stub: Stubber) -> None:
    """Nothing is kept of a question that failed; then how many and why, after the others were asked for."""
    stub.add_client_error("get_queue_url", "AccessDenied", "not allowed")
    with pytest.raises(StoreDownError, match="not allowed"):
        Visibility(nowhere).hasten(returned(1))
    expect_url(stub)
    changed(stub, range(10), 30, refused="ReceiptHandleIsInvalid")
    changed(stub, range(10, 11), 30)
    with pytest.raises(StoreDownError, match="1 messages do not come back sooner: ReceiptHandleIsInvalid"):
        Visibility(nowhere).hasten(returned(*[1] * 11))
