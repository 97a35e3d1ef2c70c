"""The package under Microsoft's worker library, on Azurite: each trigger with what the host sends, and what must fail.

The source tree is out of the way: the worker process sees the staged package and nothing else.
"""

from __future__ import annotations

import json
import shutil
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from functions_azure.settings import EVENTS_QUEUE, POISON, WAKES_QUEUE
from functions_azure.shell import TURNS_BEFORE_QUEUE
from local.emulators.http_server import LoopbackServer, Request
from shared.inbound.wakes import wake_message
from shared.refresh.records import read_state
from shared.refresh.state import Wake
from tests.support.azure_host import SALES, WORKSPACE, blob_created
from tests.support.azure_worker import Died, Worker, one_package  # noqa: F401 - fixture
from tests.support.azurite_server import KEY, Account, new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.waiting import wait_until

CONFIGURATION = f"""
[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [{{ blob_created = {{ account = "contosolake", container = "sales", prefix = "orders/" }} }}]
"""
RECORD = f"fabric-lake-views:{WORKSPACE}:{SALES}"
"""The key of the target's record."""


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


@pytest.fixture(name="config", scope="module")
def configuration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One target."""
    path = tmp_path_factory.mktemp("configuration") / "unstale.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return path


@pytest.fixture(name="environment")
def function_app_settings(account: Account, config: Path) -> dict[str, str]:
    """Those of the function app, and nothing else. Fabric is not there: within a quiet period nobody asks it."""
    return {
        "UNSTALE_CONFIG": str(config),
        "UNSTALE_STORAGE": account.connection_string,
        "UNSTALE_FABRIC_URL": "http://127.0.0.1:9",
        "UNSTALE_EVENTS__fullyQualifiedNamespace": "contoso.servicebus.windows.net",
        "UNSTALE_EVENT_HUB": "es_contoso",
        "UNSTALE_PUSH": "true",
    }


@pytest.fixture(name="worker")
def worker_process(package: Path, environment: dict[str, str]) -> Iterator[Worker]:
    """The app, indexed."""
    with Worker(package, environment) as worker:
        yield worker


def messages(account: Account, queue: str) -> list[Any]:
    """What is to be seen in a queue, taken out of it."""
    from azure.storage.queue import QueueClient

    with QueueClient.from_connection_string(account.connection_string, queue) as client:
        found = list(client.receive_messages(messages_per_page=32))
        for message in found:
            client.delete_message(message)
        return found


def owed(account: Account) -> str:
    """Why the target is to be refreshed, by its record; nothing if there is none, for nothing was taken then."""
    from azure.data.tables import TableServiceClient

    with TableServiceClient.from_connection_string(account.connection_string) as tables:
        rows = list(tables.get_table_client("unstale").query_entities("RowKey ge 'record!f' and RowKey lt 'record!g'"))
    return " ".join(str(read_state(row["body"]).owed) for row in rows)


def an_event() -> dict[str, Any]:
    """Of a blob that the target waits for, just now."""
    return blob_created("orders/1.parquet", utc_now())


def in_a_queue(event: dict[str, Any]) -> str:
    """As Event Grid puts it there."""
    return b64encode(json.dumps(event).encode()).decode()


# --- What the host is told -------------------------------------------------------------------------------------------


def test_the_host_is_told_of_every_function(worker: Worker) -> None:
    """Names and bindings as the worker passes them on, types checked, nothing asked of the network."""
    [stream] = worker.bindings["stream"]
    assert (stream["type"], stream["cardinality"], stream["eventHubName"]) == ("eventHubTrigger", "MANY", "es_contoso")
    assert (stream["connection"], stream["consumerGroup"]) == ("UNSTALE_EVENTS", "$Default")
    [events], [wakes] = worker.bindings["events"], worker.bindings["wakes"]
    assert [(each["type"], each["queueName"], each["connection"]) for each in (events, wakes)] == [
        ("queueTrigger", EVENTS_QUEUE, "UNSTALE_STORAGE"),
        ("queueTrigger", WAKES_QUEUE, "UNSTALE_STORAGE"),
    ]
    [tick] = worker.bindings["tick"]
    assert (tick["type"], tick["schedule"], tick["useMonitor"]) == ("timerTrigger", "0 * * * * *", False)
    [event_grid] = worker.bindings["event_grid"]
    assert (event_grid["type"], event_grid["direction"]) == ("eventGridTrigger", "IN")
    refresh, answer = worker.bindings["refresh"]
    assert (refresh["route"], refresh["methods"], refresh["authLevel"]) == ("refresh/{target}", ["POST"], "FUNCTION")
    assert (answer["type"], answer["direction"], answer["name"]) == ("http", "OUT", "$return")
    assert worker.bindings.keys() == {"events", "wakes", "event_grid", "tick", "refresh", "stream"}
    assert worker.sent() == []


def test_without_an_event_hub_there_is_no_function_for_one(package: Path, environment: dict[str, str]) -> None:
    """The host would report its binding as broken for ever."""
    del environment["UNSTALE_EVENTS__fullyQualifiedNamespace"]
    with Worker(package, environment) as worker:
        assert worker.bindings.keys() == {"events", "wakes", "event_grid", "tick", "refresh"}


# --- What need not come back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cloud_event", [False, True])
@pytest.mark.parametrize("way", ["base64", "text", "push"])
def test_an_event_is_stored_however_it_comes(worker: Worker, account: Account, way: str, cloud_event: bool) -> None:
    """Either schema; from the queue as Event Grid writes it, or as text; or pushed by the webhook's extension."""
    event = blob_created("orders/1.parquet", utc_now(), cloud_event=cloud_event)
    if way == "push":
        assert worker.push(event)["done"]
    else:
        assert worker.queue("events", in_a_queue(event) if way == "base64" else json.dumps(event))
    assert "new in the configuration" in owed(account)


def test_an_event_brings_along_what_waits_and_a_death_loses_nothing_of_it(
    package: Path, environment: dict[str, str], account: Account
) -> None:
    """A call removes what waits behind its own message, once that is stored; killed before, it leaves all there."""
    from azure.storage.queue import QueueClient

    with QueueClient.from_connection_string(account.connection_string, EVENTS_QUEUE) as queue:
        for number in range(5):
            queue.send_message(json.dumps(blob_created(f"orders/{number}.parquet", utc_now())))
        with Worker(package, environment) as dying:
            dying.die_at(3)
            with pytest.raises(Died):
                dying.queue("events", in_a_queue(an_event()))
        assert queue.get_queue_properties().approximate_message_count == 5
        with Worker(package, environment) as next_one:
            assert next_one.queue("events", in_a_queue(an_event()))
        assert queue.get_queue_properties().approximate_message_count == 0
    assert "new in the configuration" in owed(account)


def test_a_death_in_a_later_round_loses_nothing_that_is_not_done(
    package: Path, environment: dict[str, str], account: Account
) -> None:
    """Of forty that wait, the first round removes 32; killed in the second one, what it did not remove is there."""
    from azure.storage.queue import QueueClient

    with QueueClient.from_connection_string(account.connection_string, EVENTS_QUEUE) as queue:
        with Worker(package, environment) as dying:
            assert dying.queue("events", in_a_queue(an_event()))  # whose signal is owed, so that the next writes little
            for number in range(40):
                queue.send_message(json.dumps(blob_created(f"orders/{number}.parquet", utc_now())))
            dying.die_at(32 + 4)  # an effect that is no removal, the write of a signal, may be among them
            with pytest.raises(Died):
                dying.queue("events", in_a_queue(an_event()))
        left = queue.get_queue_properties().approximate_message_count
        assert 4 <= (left or 0) < 8
        queue.send_message(json.dumps(an_event()))  # the others are hidden for half a minute
        with Worker(package, environment) as next_one:
            assert next_one.queue("events", in_a_queue(an_event()))
        assert queue.get_queue_properties().approximate_message_count == left
    assert "new in the configuration" in owed(account)


def test_a_wake_brings_along_what_is_due(worker: Worker, account: Account) -> None:
    """One after the other, each removed when it is done; what cannot be read is put aside, and the future waits."""
    from azure.storage.queue import QueueClient

    with QueueClient.from_connection_string(account.connection_string, WAKES_QUEUE) as queue:
        for number in range(3):
            queue.send_message(wake_message(Wake(f"fabric-lake-views:{number}", utc_now(), "")))
        queue.send_message("no JSON")
        queue.send_message(wake_message(Wake("fabric-lake-views:later", utc_now(), "")), visibility_timeout=3600)
        assert worker.queue("wakes", wake_message(Wake("fabric-lake-views:nobody", utc_now(), "")))
        assert queue.get_queue_properties().approximate_message_count == 1
    assert [json.loads(letter.content)["body"] for letter in messages(account, WAKES_QUEUE + POISON)] == ["no JSON"]


def test_a_wake_is_taken(worker: Worker, account: Account) -> None:
    """The one that an event's signal sent; one that nobody waits for and one of an unknown target do nothing."""
    assert worker.queue("events", in_a_queue(an_event()))
    waiting = Wake(RECORD, utc_now(), "of no record")
    for wake in (waiting, Wake("fabric-lake-views:nobody", utc_now(), "")):
        assert worker.queue("wakes", wake_message(wake))
    assert "new in the configuration" in owed(account)
    assert messages(account, WAKES_QUEUE + POISON) == []


@pytest.mark.parametrize("past_due", [False, True])
@pytest.mark.parametrize("status", [None, {"Last": "2026-11-25T10:00:00+00:00", "Next": "2026-11-25T10:01:00+00:00"}])
def test_a_tick_is_taken(worker: Worker, account: Account, past_due: bool, status: dict[str, str] | None) -> None:
    """With a monitor's status and without, in time and late: it plans the target, which owes its first refresh."""
    timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due}
    assert worker.invoke("tick", "json", json.dumps(timer))["done"]
    assert "new in the configuration" in owed(account)


def test_http_has_its_answers(worker: Worker) -> None:
    """202 with the row, 404 with the names, 400 for a body that cannot be read, each as JSON."""
    found = {
        "asked": worker.refresh("sales", '{"full": true, "reason": "month end"}'),
        "unknown": worker.refresh("nobody"),
        "broken": worker.refresh("sales", "{"),
    }
    assert {name: answer["status"] for name, answer in found.items()} == {"asked": 202, "unknown": 404, "broken": 400}
    assert json.loads(found["asked"]["body"])["target"] == "sales"
    assert json.loads(found["unknown"]["body"])["targets"] == ["sales"]
    assert {answer["headers"]["content-type"].partition(";")[0] for answer in found.values()} == {"application/json"}


MEGABYTES = 30
"""Of a body, the most that the host lets through without a limit being 100. Of brackets, it is 810 MB once decoded."""
MORE_KILOBYTES = 4 * 1024
"""What answering a request may take, for whatever else a process does meanwhile."""


def test_a_huge_body_is_refused_before_it_is_decoded(worker: Worker) -> None:
    """413, and the process needs no more memory than its body has, which the worker hands over whole."""
    size = MEGABYTES * 1024 * 1024
    assert worker.refresh("sales", [("x", 2 * size)])["status"] == 413  # from now on the process has room for a body
    before = worker.peak()
    assert worker.refresh("sales", [("[[]", 1), (",[]", size // 3), ("]", 1)])["status"] == 413
    assert worker.peak() - before < MORE_KILOBYTES


@pytest.mark.parametrize("kind", ["collection_bytes", "collection_string"])
def test_a_batch_of_an_event_hub_is_stored(worker: Worker, account: Account, kind: str) -> None:
    """Whole, as the extension sends it; what cannot be read does not keep the others from it."""
    bodies = [json.dumps(blob_created(f"orders/{number}", utc_now())) for number in range(50)]
    bodies.insert(7, "no JSON")
    assert worker.batch(bodies, kind) == {"done": True, "error": None, "trace": None, "http": None}
    [letter] = messages(account, EVENTS_QUEUE + POISON)
    assert json.loads(letter.content)["body"] == "no JSON"
    assert "new in the configuration" in owed(account)


UNREADABLE = {
    "no JSON": "no JSON",
    "no event": '{"nonsense": 1}',
    "a list": "[]",
    "a time that is none": json.dumps(blob_created("orders/1", utc_now()) | {"eventTime": "yesterday"}),
    "an unknown target": '{"refresh": "nobody"}',
}


@pytest.mark.parametrize("queue", ["events", "wakes"])
@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_put_aside_at_once(worker: Worker, account: Account, queue: str, body: str) -> None:
    """At the first try, whole, with the reason; and the call does not fail, so that the host does not try it again."""
    assert worker.queue(queue, body)
    [letter] = messages(account, f"unstale-{queue}{POISON}")
    sealed = json.loads(letter.content)
    assert sealed["body"] == body
    assert sealed["why"]


def test_what_cannot_be_read_of_a_push_is_put_aside(worker: Worker, account: Account) -> None:
    """An exception would be a 500, and Event Grid would send the same again, for a day."""
    for time_of_it in ("time", "eventTime"):
        event = blob_created("orders/1", utc_now(), cloud_event=time_of_it == "time")
        assert worker.push(event | {time_of_it: "yesterday"})["done"]
    letters = messages(account, EVENTS_QUEUE + POISON)
    assert ["yesterday" in json.loads(letter.content)["why"] for letter in letters] == [True, True]


IGNORED = {
    "another container": blob_created("orders/1", utc_now(), container="other"),
    "a blob that went": blob_created("orders/1", utc_now()) | {"eventType": "Microsoft.Storage.BlobDeleted"},
    "a kind of tomorrow": {"specversion": "1.0", "type": "Contoso.New", "source": "/x", "id": "1", "data": {}},
}


@pytest.mark.parametrize("event", IGNORED.values(), ids=IGNORED.keys())
def test_what_is_nobodys_is_passed_over(worker: Worker, account: Account, event: dict[str, Any]) -> None:
    """Filters are coarse, so such events come; they are neither kept nor put aside."""
    assert worker.queue("events", in_a_queue(event))
    assert worker.push(event)["done"]
    assert messages(account, EVENTS_QUEUE + POISON) == []


# --- What must come back ---------------------------------------------------------------------------------------------


def away(account: Account, *, queues: bool = False) -> None:
    """The table is gone and, if it is to be, all queues."""
    from azure.data.tables import TableServiceClient
    from azure.storage.queue import QueueServiceClient

    with TableServiceClient.from_connection_string(account.connection_string) as tables:
        tables.delete_table("unstale")
    if queues:
        with QueueServiceClient.from_connection_string(account.connection_string) as service:
            for queue in list(service.list_queues()):
                service.delete_queue(queue)


def table_back_again(account: Account) -> None:
    """Empty."""
    from azure.data.tables import TableServiceClient

    with TableServiceClient.from_connection_string(account.connection_string) as tables:
        tables.create_table("unstale")


def test_trouble_of_ours_fails_the_invocation(worker: Worker, account: Account) -> None:
    """The table is gone: the host hears of a failure, with words and without secrets, and brings the message back."""
    assert worker.queue("events", in_a_queue(an_event()))
    away(account)
    assert not worker.queue("events", in_a_queue(an_event()))
    assert not worker.queue("wakes", wake_message(Wake(RECORD, utc_now(), "")))
    assert not worker.tick()
    failed = worker.push(an_event())
    assert "ComesBackError" in failed["error"]
    response = worker.refresh("sales")
    assert (response["status"], response["headers"]["Retry-After"]) == (503, "30")
    assert "does not exist" in json.loads(response["body"])["error"]
    for text in (failed["error"], failed["trace"], response["body"], worker.log):
        assert KEY not in text
        assert "AccountKey" not in text
    assert messages(account, EVENTS_QUEUE + POISON) == []


def test_what_cannot_be_put_aside_comes_back(worker: Worker, account: Account) -> None:
    """An unreadable message is not dropped because the poison queue is not there."""
    away(account, queues=True)
    assert not worker.queue("events", "no JSON")
    assert "ComesBackError" in worker.push({"nonsense": 1})["error"]


def test_a_batch_of_an_event_hub_waits_in_the_queue(worker: Worker, account: Account) -> None:
    """The checkpoint moves on whatever the call says: so it ends only once what cannot be stored is in the queue."""
    away(account)
    bodies = [json.dumps(an_event()), "no JSON"]
    assert worker.batch(bodies)["done"]
    assert [message.content for message in messages(account, EVENTS_QUEUE)] == bodies[:1]
    [letter] = messages(account, EVENTS_QUEUE + POISON)
    assert json.loads(letter.content)["body"] == "no JSON"


def test_a_batch_of_an_event_hub_that_can_go_nowhere_holds_its_call(worker: Worker, account: Account) -> None:
    """Neither table nor queue: the call does not end. Once the table is back, the events are stored, and it does."""
    away(account, queues=True)
    worker.shorten_pauses(0.05)
    done: list[dict[str, Any]] = []
    call = threading.Thread(target=lambda: done.append(worker.batch([json.dumps(an_event())])))
    call.start()
    wait_until(lambda: worker.log.count("sending to unstale-events") > TURNS_BEFORE_QUEUE)
    assert call.is_alive()
    table_back_again(account)
    wait_until(lambda: not call.is_alive())
    assert [answer["done"] for answer in done] == [True]
    assert "new in the configuration" in owed(account)


def test_a_batch_whose_worker_dies_is_put_into_the_queue_again(
    package: Path, environment: dict[str, str], account: Account
) -> None:
    """Killed between two events of a batch, the checkpoint stays: the host delivers it again, and none is missing."""
    away(account)
    bodies = [json.dumps(blob_created(f"orders/{number}.parquet", utc_now())) for number in range(3)]
    with Worker(package, environment) as dying:
        dying.die_at(4)  # the first two tries ask the table once each: those are reads, the effects are in the queue
        with pytest.raises(Died):
            dying.batch(bodies * 2)
    with Worker(package, environment) as next_one:
        assert next_one.batch(bodies * 2)["done"]
    found = [message.content for message in messages(account, EVENTS_QUEUE)]
    assert len(found) == 4 + 6
    assert set(found) == set(bodies)


def test_a_store_that_does_not_answer_is_left_within_ten_seconds(
    account: Account, package: Path, environment: dict[str, str]
) -> None:
    """Told to stop, the host leaves a call ten seconds: so long does none wait, whoever does not answer."""
    over = threading.Event()

    def silent(_: Request) -> None:
        over.wait()

    with LoopbackServer(silent, utc_now) as server:
        tables = f"TableEndpoint={server.url}/{account.name}"
        moved = account.connection_string.partition("TableEndpoint=")[0] + tables
        with Worker(package, environment | {"UNSTALE_STORAGE": moved}, patience=1) as slow:
            assert not slow.queue("events", in_a_queue(an_event()))
            assert 0 < sum(slow.unanswered()) < 10
        over.set()


def test_a_bad_configuration_fails_every_invocation_with_its_line(
    package: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Functions are indexed all the same, so that the failure is seen, and events wait."""
    bad = tmp_path / "bad.toml"
    bad.write_text('[defaults]\nquiet_period = "1 parsec"\n' + CONFIGURATION, encoding="utf-8")
    with Worker(package, environment | {"UNSTALE_CONFIG": str(bad)}) as worker:
        assert len(worker.bindings) == 6
        failed = worker.invoke("tick", "json", "{}")
        assert "bad.toml:2: defaults.quiet_period" in failed["error"]
        assert not worker.queue("events", in_a_queue(an_event()))
        assert "bad.toml:2" in worker.push(an_event())["error"]
        assert worker.refresh("sales")["status"] == 503


# --- The judge -------------------------------------------------------------------------------------------------------


def test_the_package_is_really_without_the_source_tree(package: Path, tmp_path: Path, config: Path) -> None:
    """The judge can fail: without one of its parts the package is not indexed, although this environment has it."""
    broken = tmp_path / "broken"
    shutil.copytree(package, broken)
    shutil.rmtree(broken / ".python_packages/lib/site-packages/msgspec")
    with (
        pytest.raises(Died, match="No module named 'msgspec'"),
        Worker(broken, {"UNSTALE_CONFIG": str(config)}) as worker,
    ):
        assert not worker.bindings
