"""The store on Azure Tables (Azurite): the contract of every store, and what is particular to this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.data.tables import TableClient

from functions_azure import clients as shell_clients
from functions_azure.clients import Clients, Deadline
from functions_azure.queue_messages import LONGEST_MESSAGE
from functions_azure.settings import TABLE, Settings
from functions_azure.store import (
    DUE_AT_ONCE,
    FORGOTTEN_AT_ONCE,
    LONGEST_BODY,
    PARTITIONS,
    Store,
    _due_row,
    _partition,
    _row,
)
from local.emulators.http_server import Answer, LoopbackServer, Request
from local.emulators.memory import MemoryWaker
from shared.config.load import load
from shared.config.rules import LONGEST_KEY
from shared.inbound.wakes import wake_message
from shared.platforms import fabric
from shared.refresh.engine import Engine, Ports
from shared.refresh.ports import Conflict, Document, StoreDownError
from shared.refresh.state import Wake
from shared.refresh.sweep import Sweep
from shared.targets import Cloud, ItemJob
from shared.times import sortable
from tests.support.azure_host import WORKSPACE, HandClock
from tests.support.azurite_server import Account, Azurite, new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.store_contract import LATER, NOON, OTHER, SECOND, VIEW, StoreContract, body


def clients_of(connection_string: str) -> Clients:
    """The product's own clients, by a connection string."""
    return Clients(Settings(Path("unstale.toml"), storage=connection_string), _no_credential)


def _no_credential() -> Any:
    raise AssertionError("a connection string needs no token")


@pytest.fixture(name="clients")
def product_clients(account: Account) -> Clients:
    """The product's own clients of an empty account."""
    return clients_of(account.connection_string)


@pytest.fixture(name="store")
def new_store(clients: Clients) -> Store:
    """An empty store, at noon."""
    return Store(clients, lambda: NOON)


@pytest.fixture(name="table")
def bare_table(account: Account) -> Iterator[TableClient]:
    """The table as the SDK alone sees it."""
    with TableClient.from_connection_string(account.connection_string, TABLE) as client:
        yield client


class TestTablesStore(StoreContract):
    """The store on Azure Tables is a store."""

    @pytest.fixture
    def store(self, clients: Clients) -> Store:
        """An empty one."""
        return Store(clients, lambda: NOON)


def rows(table: TableClient, kind: str) -> list[str]:
    """Names of the rows of one kind."""
    return sorted(name for row in table.list_entities() if (name := str(row["RowKey"])).startswith(kind))


def keys(number: int) -> list[str]:
    """Keys that lie in all partitions."""
    return [f"fabric-lake-views:w:l{n}" for n in range(number)]


# --- The index


def test_a_record_has_one_place_in_the_index(store: Store, table: TableClient) -> None:
    """Whatever way its `wake_at` goes, the index has one row for it, or none."""
    document = Document(OTHER)
    for wake_at in (NOON, NOON + SECOND, NOON + SECOND, NOON - SECOND, None, None, NOON):
        document = store.save(document, body(1), wake_at)
        assert len(rows(table, "due!")) == (wake_at is not None)
        assert list(store.due(LATER, 10)) == ([OTHER] if wake_at else [])


def test_a_failed_save_leaves_the_index(store: Store, table: TableClient) -> None:
    """Record and index change in one transaction: a conflict writes to neither."""
    read = store.save(Document(OTHER), body(1), NOON)
    store.save(read, body(2), NOON + SECOND)
    before = rows(table, "due!")
    with pytest.raises(Conflict):
        store.save(read, body(3), NOON + 2 * SECOND)
    with pytest.raises(Conflict):
        store.save(Document(OTHER), body(3), NOON + 3 * SECOND)
    assert rows(table, "due!") == before


def test_an_index_that_a_person_damaged_heals(store: Store, table: TableClient) -> None:
    """A record whose row in the index is gone can still be saved, and is in the index again."""
    document = store.save(Document(OTHER), body(1), NOON)
    [row] = [row for row in table.list_entities() if str(row["RowKey"]).startswith("due!")]
    table.delete_entity(row)
    saved = store.save(document, body(2), NOON + SECOND)
    assert store.load(OTHER) == saved
    assert list(store.due(LATER, 10)) == [OTHER]


def test_the_most_overdue_come_first_across_partitions(store: Store) -> None:
    """A tick that may take only some takes the most overdue of all partitions."""
    names = keys(40)
    for number, key in enumerate(names):
        store.save(Document(key), body(1), NOON - number * SECOND)
    assert list(store.due(NOON, 5)) == names[:-6:-1]


class Counter(logging.Handler):
    """Counts the requests that the SDK sends, by what `urllib3` says of each."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the request."""
        if ' HTTP/1.1"' in record.getMessage():
            self.requests.append(record.getMessage())


@pytest.fixture(name="counter")
def request_counter() -> Iterator[Counter]:
    """Counts all requests of this process."""
    counter, logger = Counter(), logging.getLogger("urllib3.connectionpool")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(counter)
    yield counter
    logger.removeHandler(counter)
    logger.setLevel(level)


def test_looking_for_what_is_due_costs_one_read_a_partition(store: Store, counter: Counter) -> None:
    """However many targets there are: none is read that is not due, so a tick of idle targets is ten reads at most."""
    for number, key in enumerate(keys(60)):
        store.save(Document(key), body(1), LATER + number * SECOND)
    counter.requests.clear()
    assert list(store.due(NOON, 100)) == []
    assert len(counter.requests) == PARTITIONS <= 9


def test_a_thousand_that_stay_due_are_read_once(
    store: Store, table: TableClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row of the index is read once, in twelve requests at most; ten times as many cost no more than ten times."""
    asked = _queries(store, monkeypatch)
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, key in enumerate(keys(1000)):
        due = _row(key, _due_row(key, sortable(NOON - number * SECOND)))
        rows.setdefault(due["PartitionKey"], []).append(due)
    for all_rows in rows.values():
        for start in range(0, len(all_rows), 100):
            table.submit_transaction([("create", row) for row in all_rows[start : start + 100]])
    assert list(store.due(NOON)) == keys(1000)[::-1]
    assert (len(asked), sum(asked)) == (PARTITIONS, 1000)
    monkeypatch.setattr("functions_azure.store.DUE_AT_ONCE", DUE_AT_ONCE // 10)
    asked.clear()
    assert list(store.due(NOON)) == keys(1000)[::-1]
    assert len(asked) <= 10 * PARTITIONS
    assert sum(asked) == 1000


def _queries(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each query of the table answers with, from now on."""
    query, counts = store._clients.table.query_entities, list[int]()

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        for page in query(*args, **options).by_page():
            found = list(page)
            counts.append(len(found))
            yield from found

    monkeypatch.setattr(store._clients.table, "query_entities", counted)
    return counts


def test_a_tick_of_idle_targets_is_ten_reads_and_a_write(store: Store, counter: Counter) -> None:
    """The deployment's record, and what is due in each partition: nothing for a target that waits.

    The write says that the tick came, which it does each minute, so a tick without one proves nothing.
    """
    targets = '[defaults]\nquiet_period = "10m"\n' + "".join(
        f'[targets.t{n}]\nkind = "fabric-lake-views"\n'
        f'workspace = "4b218778-e7a5-4d73-8187-f10824047715"\nlakehouse = "431e8d7b-4a95-4c02-8ccd-{n:012}"\n'
        for n in range(30)
    )
    clock = HandClock()
    ports = Ports(Cloud.AZURE, store, Idle(), MemoryWaker(clock), clock, lambda: "token", lambda _: None)
    engine = Engine(load(targets).package(Cloud.AZURE), ports)
    Sweep(engine).tick()
    counter.requests.clear()
    clock.move_on(minutes=1)
    Sweep(engine).tick()
    writes = [request for request in counter.requests if '"GET ' not in request]
    assert len(counter.requests) - len(writes) == 1 + PARTITIONS <= 10
    assert len(writes) == 1


class Idle:
    """A platform that nobody calls."""

    capabilities = fabric.CAPABILITIES

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_a_save_is_one_request(store: Store, counter: Counter) -> None:
    """Also one that moves the record in the index: the loop's claim must be quick."""
    document = store.save(Document(OTHER), body(1), NOON)
    counter.requests.clear()
    store.save(document, body(1), NOON + SECOND)
    assert len(counter.requests) == 1


# --- Keys and bodies


ODD_KEYS = [
    "a/b",
    "a\\b",
    "a#b",
    "a?b",
    "a%2Fb",
    "a'b",
    'a"b',
    "a!b",
    "a~b",
    "a b",
    "a\x00b",
    "a\x9fb",
    "ключ",
    "a=21b",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_key_can_be_kept(store: Store, key: str) -> None:
    """What a table refuses in a key, or a URL changes, comes back as it was; and no two keys become one."""
    store.save(Document(key), body(1), NOON)
    store.save(Document("a"), body(2), NOON)
    store.append(key, "1", body(3), LATER)
    assert store.load(key).body == body(1)
    assert sorted(store.due(NOON, 10)) == sorted(["a", key])
    assert [document.key for document in store.load_many([key])] == [key]
    assert (list(store.history(key, 5)), list(store.history("a", 5))) == ([body(3)], [])


def test_escaped_keys_stay_apart(store: Store) -> None:
    """A key that looks like another one's escaped form is a key of its own, in the same partition, too."""
    pairs = [(f"{number}!", f"{number}=21") for number in range(200)]
    together = [pair for pair in pairs if _partition(pair[0]) == _partition(pair[1])][:5]
    assert together
    for key in (key for pair in together for key in pair):
        store.save(Document(key), key.encode(), None)
    assert [store.load(key).body for pair in together for key in pair] == [k.encode() for p in together for k in p]


def test_what_does_not_fit_is_refused_in_words(store: Store) -> None:
    """A body or a key beyond what a row holds is refused before it is sent, with both numbers."""
    store.save(Document(OTHER), b"x" * LONGEST_BODY, None)
    assert len(store.load(OTHER).body) == LONGEST_BODY
    with pytest.raises(ValueError, match=r"60001 bytes.*60000"):
        store.save(Document(OTHER), b"x" * (LONGEST_BODY + 1), None)
    with pytest.raises(ValueError, match=r"607 characters.*512"):
        store.save(Document("k" * 600), b"", None)


# --- History


def test_an_entry_that_continues_another_is_newer(store: Store) -> None:
    """The order of the lines is that of their ids, character by character, whatever their length."""
    for entry_id in ("1", "12", "1-x", "2", ""):
        store.append(OTHER, entry_id, entry_id.encode(), LATER)
    assert list(store.history(OTHER, 10)) == [b"2", b"12", b"1-x", b"1", b""]


def test_old_history_is_forgotten(store: Store, clients: Clients, table: TableClient) -> None:
    """A line whose time is over goes, with its row in the index, when the next one comes; the others stay."""
    store.append(OTHER, "1", body(1), NOON + SECOND)
    store.append(OTHER, "2", body(2), LATER)
    later = Store(clients, lambda: NOON + timedelta(seconds=2))
    later.append(OTHER, "3", body(3), LATER)
    assert list(later.history(OTHER, 10)) == [body(3), body(2)]
    assert (len(rows(table, "run!")), len(rows(table, "old!"))) == (2, 2)


def test_a_line_appended_again_is_forgotten_in_the_end(store: Store, clients: Clients, table: TableClient) -> None:
    """A save that is done again may name another end of life; whichever comes first, nothing is left behind."""
    store.append(OTHER, "1", body(1), NOON + SECOND)
    store.append(OTHER, "1", body(1), NOON + 2 * SECOND)
    Store(clients, lambda: NOON + 2 * SECOND).append(OTHER, "2", body(2), LATER)
    Store(clients, lambda: NOON + 3 * SECOND).append(OTHER, "3", body(2), LATER)
    assert (len(rows(table, "run!")), len(rows(table, "old!"))) == (2, 2)


def test_forgetting_is_bounded(store: Store, clients: Clients, table: TableClient) -> None:
    """One append removes some lines, never all that have piled up: it must be over in time."""
    for number in range(FORGOTTEN_AT_ONCE + 3):
        store.append(OTHER, f"{number:03}", body(1), NOON + SECOND)
    later = Store(clients, lambda: NOON + timedelta(days=1))
    later.append(OTHER, "x", body(2), LATER)
    assert len(rows(table, "run!")) == 3 + 1
    later.append(OTHER, "y", body(2), LATER)
    assert (len(rows(table, "run!")), len(rows(table, "old!"))) == (2, 2)


def test_forgetting_fails_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be removed holds nothing up, but is told: the line that was to be kept is kept."""
    from azure.core.exceptions import HttpResponseError

    def refuse(*_args: Any, **_options: Any) -> None:
        raise HttpResponseError("no deletions today")

    monkeypatch.setattr(store._clients.table, "delete_entity", refuse)
    store.append(OTHER, "1", body(1), NOON - SECOND)
    store.append(OTHER, "2", body(2), LATER)
    assert list(store.history(OTHER, 10)) == [body(2), body(1)]
    assert "no deletions today" in caplog.text


# --- Trouble


def test_a_missing_table_is_no_absent_record(azurite: Azurite) -> None:
    """A record is absent if the table says so, not if there is no table: else a typo would begin everything anew."""
    fresh = azurite.account()
    with TableClient.from_connection_string(fresh.connection_string, TABLE) as client:
        client.delete_table()
    store = Store(clients_of(fresh.connection_string), lambda: NOON)
    attempts: list[Callable[[], object]] = [
        lambda: store.load(VIEW),
        lambda: store.save(Document(VIEW), body(1), NOON),
        lambda: list(store.due(NOON, 1)),
        lambda: store.keys("", 1),
        lambda: store.load_many([VIEW]),
        lambda: store.append(VIEW, "1", b"", LATER),
        lambda: store.history(VIEW, 1),
    ]
    for attempt in attempts:
        with pytest.raises(StoreDownError, match="does not exist"):
            attempt()


def tables_at(url: str) -> Store:
    """A store on whatever answers there."""
    key = "AccountName=a;AccountKey=aGFsbG8="
    return Store(clients_of(f"DefaultEndpointsProtocol=http;{key};TableEndpoint={url}/a"), lambda: NOON)


def now() -> datetime:
    """A loopback server wants a clock."""
    return NOON


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500, 503])
def test_whatever_the_table_refuses_is_the_store_being_down(status: int) -> None:
    """With or without an error that can be read; nothing but what the table says of the record is a conflict.

    No retry of the SDK's own comes in between, whatever Retry-After says: it would outlast the invocation.
    """
    asked: list[Request] = []

    def respond(request: Request) -> Answer:
        asked.append(request)
        return Answer(status, {"Retry-After": "60"}, b"<html>no</html>")

    with LoopbackServer(respond, now) as server, pytest.raises(StoreDownError):
        tables_at(server.url).load(VIEW)
    assert len(asked) == 1


def test_a_broken_connection_is_tried_once_more(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that lay idle are cut without a word; that costs a moment, not an invocation."""
    store = Store(clients_of(account.connection_string), lambda: NOON)
    store.save(Document(OTHER), body(1), NOON)
    broken = iter([True, False])

    def respond(request: Request) -> Answer | None:
        return None if next(broken) else Answer(404, {}, b'{"odata.error":{"code":"ResourceNotFound"}}')

    with LoopbackServer(respond, now) as server:
        assert tables_at(server.url).load(VIEW) == Document(VIEW)


def test_a_save_that_is_sent_twice_is_a_conflict(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first answer was lost, the second says that the record moved on: the loop then reads its own write."""
    from azure.core.exceptions import ServiceResponseError

    document = store.save(Document(OTHER), body(1), NOON)
    submit, lost = store._clients.table.submit_transaction, iter([True, False])

    def once_lost(*args: Any, **options: Any) -> Any:
        answer = submit(*args, **options)
        if next(lost):
            raise ServiceResponseError("the connection broke")
        return answer

    monkeypatch.setattr(store._clients.table, "submit_transaction", once_lost)
    with pytest.raises(Conflict):
        store.save(document, body(2), NOON)
    assert store.load(OTHER).body == body(2)


def test_a_call_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that does not answer holds an invocation up until its deadline and no longer; past it nothing is sent."""
    monkeypatch.setattr(shell_clients, "READ_SECONDS", 1800.0)
    asked: list[Request] = []

    def respond(request: Request) -> Answer:
        asked.append(request)
        return Answer(200, slow_seconds=3600)

    with LoopbackServer(respond, now) as server:
        store = tables_at(server.url)
        store._deadline = Deadline(0.5)
        with pytest.raises(StoreDownError):
            store.load(VIEW)
        sent = len(asked)
        store._deadline = Deadline(0)
        with pytest.raises(StoreDownError, match="no time is left"):
            store.load(VIEW)
    assert 0 < len(asked) == sent


def test_the_longest_key_that_a_configuration_may_have_is_stored(store: Store) -> None:
    """The row that forgets a line of history has the longest name: 512 characters are taken, one more is refused."""
    key, entry_id = "k" * LONGEST_KEY[Cloud.AZURE], "20260131T120000.000000Z-" + "f" * 32
    store.save(Document(key), b"x", NOON)
    store.append(key, entry_id, b"y", LATER)
    assert (store.load(key).body, list(store.history(key, 9))) == (b"x", [b"y"])
    with pytest.raises(ValueError, match="513 characters"):
        store.append(key + "k", entry_id, b"y", LATER)


def test_no_job_of_fabric_has_a_longer_key_or_a_wake_that_a_queue_refuses() -> None:
    """With the longest type, and with data the longest but one, its key fits, and 64 KiB are far away."""
    job, without = ItemJob(WORKSPACE, WORKSPACE, "j" * 255, {"a": 1}), ItemJob(WORKSPACE, WORKSPACE, "j" * 256)
    assert len(without.key) < len(job.key) == LONGEST_KEY[Cloud.AZURE]
    assert len(wake_message(Wake(job.key, NOON, "v" * 200)).encode()) < LONGEST_MESSAGE
