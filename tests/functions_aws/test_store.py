"""The store on DynamoDB (moto): the contract of every store, and what is particular to this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from botocore.stub import Stubber

from functions_aws.clients import Clients
from functions_aws.store import BATCH_TRIES, Store
from local.emulators.aws.emulator import LocalAws
from local.emulators.aws.model import create_table
from shared.config.rules import LONGEST_KEY
from shared.refresh.ports import Conflict, Document, StoreDownError
from shared.targets import Cloud
from tests.support.aws_host import clients_to_nowhere, living_in
from tests.support.store_contract import LATER, NOON, OTHER, SECOND, VIEW, StoreContract, body

TABLES = count(1)


@pytest.fixture(name="aws", scope="module")
def emulated_aws() -> Iterator[LocalAws]:
    """An AWS for all tests of this file; each has a table of its own in it."""
    with living_in(LocalAws()) as aws:
        yield aws


@pytest.fixture(name="clients", scope="module")
def clients_in_that_aws(aws: LocalAws) -> Clients:
    """The product's own clients, built once: that is most of what a test here costs."""
    return Clients()


@pytest.fixture(name="table")
def new_table(aws: LocalAws) -> str:
    """An empty table."""
    name = f"table-{next(TABLES)}"
    create_table(aws.client("dynamodb"), name)
    return name


@pytest.fixture(name="nowhere", scope="module")
def unreachable() -> Clients:
    """Clients that reach nobody."""
    return clients_to_nowhere("dynamodb")


@pytest.fixture(name="stub")
def stubbed_dynamodb(nowhere: Clients) -> Iterator[Stubber]:
    """DynamoDB as a list of expected calls, each with its answer."""
    with Stubber(nowhere.dynamodb) as stub:
        stub.store = Store(nowhere, "t")
        yield stub
        stub.assert_no_pending_responses()


class TestDynamoStore(StoreContract):
    """The store on DynamoDB is a store."""

    @pytest.fixture
    def store(self, clients: Clients, table: str) -> Store:
        """An empty one."""
        return Store(clients, table)


def raw(aws: LocalAws, table: str) -> list[dict[str, Any]]:
    """The items as they lie in the table."""
    items: list[dict[str, Any]] = aws.client("dynamodb").scan(TableName=table)["Items"]
    return items


def test_only_what_waits_is_in_the_index(aws: LocalAws, clients: Clients, table: str) -> None:
    """A record without a time to look at has neither attribute of the index, so that the index stays sparse."""
    store = Store(clients, table)
    document = store.save(Document(VIEW), body(1), NOON + timedelta(microseconds=5))
    [item] = raw(aws, table)
    assert item == {
        "pk": {"S": VIEW},
        "sk": {"S": "record"},
        "body": {"B": body(1)},
        "version": {"N": "1"},
        "due": {"S": "due"},
        "wake_at": {"S": "2026-01-31T12:00:00.000005Z"},
    }
    store.save(document, body(1), None)
    [item] = raw(aws, table)
    assert item.keys() == {"pk", "sk", "body", "version"}


def test_history_has_a_time_to_live(aws: LocalAws, clients: Clients, table: str) -> None:
    """Lines carry the attribute that the table expires them by, in epoch seconds; records never do."""
    store = Store(clients, table)
    store.save(Document(VIEW), body(1), NOON)
    store.append(VIEW, "20260131T120000.000000Z-t", body(2), LATER)
    found = {item["sk"]["S"]: item.get("expires_at") for item in raw(aws, table)}
    assert found == {"record": None, "run#20260131T120000.000000Z-t": {"N": str(int(LATER.timestamp()))}}
    described = aws.client("dynamodb").describe_time_to_live(TableName=table)
    assert described["TimeToLiveDescription"]["AttributeName"] == "expires_at"


def test_what_is_due_is_one_request(stub: Stubber) -> None:
    """A tick asks once for what is due, however much there is, and reads no record for it."""
    expected = {
        "TableName": "t",
        "IndexName": "due",
        "KeyConditionExpression": "due = :due AND wake_at <= :now",
        "ExpressionAttributeValues": {":due": {"S": "due"}, ":now": {"S": "2026-01-31T12:00:00.000000Z"}},
        "Limit": 100,
    }
    stub.add_response("query", {"Items": [{"pk": {"S": VIEW}, "sk": {"S": "record"}}]}, expected)
    assert list(stub.store.due(NOON, 100)) == [VIEW]


def test_a_read_is_strongly_consistent(stub: Stubber) -> None:
    """Absorbing a signal without a write rests on it."""
    key = {"pk": {"S": VIEW}, "sk": {"S": "record"}}
    stub.add_response("get_item", {}, {"TableName": "t", "Key": key, "ConsistentRead": True})
    assert stub.store.load(VIEW) == Document(VIEW)


def test_a_page_of_history_alone_is_not_the_end(stub: Stubber) -> None:
    """A scan may answer with no record and go on all the same."""
    middle = {"pk": {"S": VIEW}, "sk": {"S": "run#1"}}
    scan = {
        "TableName": "t",
        "FilterExpression": "sk = :record",
        "ExpressionAttributeValues": {":record": {"S": "record"}},
        "ProjectionExpression": "pk",
    }
    stub.add_response("scan", {"Items": [], "LastEvaluatedKey": middle}, scan)
    page, cursor = stub.store.keys("", 10)
    assert (list(page), bool(cursor)) == ([], True)
    stub.add_response("scan", {"Items": [{"pk": {"S": OTHER}}]}, scan | {"ExclusiveStartKey": middle})
    assert stub.store.keys(cursor, 10) == ([OTHER], "")


def _left(*keys: str) -> dict[str, Any]:
    return {"t": {"Keys": [{"pk": {"S": key}, "sk": {"S": "record"}} for key in keys], "ConsistentRead": True}}


def _item(key: str) -> dict[str, Any]:
    return {"pk": {"S": key}, "version": {"N": "1"}, "body": {"B": body(1)}}


def test_what_a_batch_leaves_out_is_read_again(stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    """BatchGetItem may answer with a part; asked for twice, a key is read once."""
    pauses: list[float] = []
    monkeypatch.setattr("functions_aws.store.time.sleep", pauses.append)
    answer = {"Responses": {"t": [_item(VIEW)]}, "UnprocessedKeys": _left(OTHER)}
    stub.add_response("batch_get_item", answer, {"RequestItems": _left(VIEW, OTHER)})
    stub.add_response("batch_get_item", {"Responses": {"t": [_item(OTHER)]}}, {"RequestItems": _left(OTHER)})
    found = stub.store.load_many([VIEW, OTHER, VIEW])
    assert [document.key for document in found] == [VIEW, OTHER, VIEW]
    assert all(document.version for document in found)
    assert pauses == [0.1]


def test_a_batch_that_is_never_whole_is_a_store_that_is_down(stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was not read is never taken for one that is not there."""
    monkeypatch.setattr("functions_aws.store.time.sleep", lambda _: None)
    for _ in range(BATCH_TRIES):
        stub.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": _left(VIEW)})
    with pytest.raises(StoreDownError, match="left unread"):
        stub.store.load_many([VIEW])


CALLS: dict[str, tuple[str, Callable[[Store], object]]] = {
    "load": ("get_item", lambda store: store.load(VIEW)),
    "save": ("put_item", lambda store: store.save(Document(VIEW), body(1), NOON)),
    "due": ("query", lambda store: list(store.due(NOON, 1))),
    "keys": ("scan", lambda store: store.keys("", 1)),
    "load_many": ("batch_get_item", lambda store: store.load_many([VIEW])),
    "append": ("put_item", lambda store: store.append(VIEW, "1", body(1), LATER)),
    "history": ("query", lambda store: store.history(VIEW, 1)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "InternalServerError", "ResourceNotFoundException", "Unheard"]
)
def test_a_refusal_is_a_store_that_is_down(stub: Stubber, name: str, code: str) -> None:
    """Whatever DynamoDB answers instead of doing it, the delivery comes back; the cause is kept."""
    operation, call = CALLS[name]
    stub.add_client_error(operation, code, "not now")
    with pytest.raises(StoreDownError, match=f"{code}.*not now") as caught:
        call(stub.store)
    assert isinstance(caught.value.__cause__, ClientError)


@pytest.mark.parametrize("name", CALLS)
def test_no_answer_is_a_store_that_is_down(nowhere: Clients, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise where nobody answers at all."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    with pytest.raises(StoreDownError) as caught:
        CALLS[name][1](Store(nowhere, "t"))
    assert isinstance(caught.value.__cause__, EndpointConnectionError)


def test_a_write_that_is_sent_again_after_it_took_effect_is_a_conflict(aws: LocalAws, table: str) -> None:
    """The SDK repeats a write whose answer was lost; its first try makes the second fail, the record has the body."""
    clients = Clients()  # of its own, because it is tampered with
    store = Store(clients, table)
    lost = [True]

    def lose(request: Any, **_: object) -> None:
        if lost and lost.pop():
            clients.dynamodb._endpoint.http_session.send(request)
            raise ConnectionClosedError(endpoint_url=request.url)

    clients.dynamodb.meta.events.register("before-send.dynamodb.PutItem", lose)
    with pytest.raises(Conflict) as caught:
        store.save(Document(VIEW), body(1), NOON + SECOND)
    assert isinstance(caught.value.__cause__, ClientError)
    assert store.load(VIEW).body == body(1)


def test_the_longest_key_that_a_configuration_may_have_is_stored(clients: Clients, table: str) -> None:
    """2,048 bytes of a partition key are taken, one more is refused by DynamoDB: the configuration refuses it first."""
    store, key = Store(clients, table), "k" * LONGEST_KEY[Cloud.AWS]
    store.save(Document(key), b"x", NOON)
    store.append(key, "20260131T120000.000000Z-" + "f" * 32, b"y", LATER)
    assert (store.load(key).body, list(store.history(key, 9))) == (b"x", [b"y"])
    with pytest.raises(StoreDownError, match="2048"):
        store.save(Document(key + "k"), b"x", NOON)
