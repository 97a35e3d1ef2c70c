"""The store on one DynamoDB table, whose keys are `pk` (S) and `sk` (S).

    pk      sk              attributes
    <key>   record          body (B), version (N); wake_at (S) and due = "due" (S) while there is something to look at
    <key>   run#<entry id>  body (B), expires_at (N, epoch seconds: the table's time to live)

Index `due`: hash `due`, range `wake_at`, keys only. Only records that wait have both, so a tick reads what is due and
nothing else. All of them lie in one partition of the index, which takes a thousand writes a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from functions_aws.clients import Clients, ask
from shared.refresh.ports import Document, StoreDownError
from shared.times import sortable

RECORD = "record"
"""The range key of a record."""
HISTORY = "run#"
"""The beginning of the range key of a line of history."""
INDEX = "due"
"""The index's name, and the one value of its hash key."""

DUE_AT_ONCE = 250
"""Keys that one Query of the index reads: some 40 KB, five read units."""
BATCH = 100
"""The most that BatchGetItem takes."""
BATCH_TRIES = 5
"""BatchGetItem may leave keys unread, by size or when throttled; the pauses between tries double from 0.1 s."""

Item = Mapping[str, Any]


class Store:
    """Records, their index and their history on one DynamoDB table: `shared.refresh.ports.Store`.

    Each method is one operation of DynamoDB's, named in its docstring. A version is a number that grows by one with
    each save, so that a condition on it is all the concurrency control there is.
    """

    reads_together = True  # BatchGetItem

    def __init__(self, clients: Clients, table: str) -> None:
        self._clients = clients
        self._table = table

    def load(self, key: str) -> Document:
        """GetItem, strongly consistent."""
        answer = ask(
            f"reading {key}",
            lambda: self._clients.dynamodb.get_item(TableName=self._table, Key=_record_key(key), ConsistentRead=True),
        )
        return _document(key, answer.get("Item", {}))

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """PutItem, on the condition that the record is still at the version that was read."""
        version, unmoved = int(document.version or "0") + 1, _if_unmoved(document)
        item = _record_key(document.key) | {"body": {"B": body}, "version": {"N": str(version)}}
        if wake_at is not None:
            item |= {"due": {"S": INDEX}, "wake_at": {"S": sortable(wake_at)}}
        ask(
            f"saving {document.key}",
            lambda: self._clients.dynamodb.put_item(TableName=self._table, Item=item, **unmoved),
        )
        return Document(document.key, str(version), body)

    def remove(self, document: Document) -> None:
        """DeleteItem, on the same condition. Only jobs of Fabric's are ever removed: the Lambda has no leave to."""
        ask(
            f"removing {document.key}",
            lambda: self._clients.dynamodb.delete_item(
                TableName=self._table,
                Key=_record_key(document.key),
                ConditionExpression="version = :read",
                ExpressionAttributeValues={":read": {"N": document.version or "0"}},
            ),
        )

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """Query of the index, most overdue first, page after page.

        The index may lag a little behind the table: what it shows too long costs one read.
        """
        return islice(self._due(now, min(limit or DUE_AT_ONCE, DUE_AT_ONCE)), limit)

    def _due(self, now: datetime, size: int) -> Iterator[str]:
        """The keys of what is due, `size` with each Query; a page begins behind the last key of the one before."""
        query = partial(
            self._clients.dynamodb.query,
            TableName=self._table,
            IndexName=INDEX,
            KeyConditionExpression="due = :due AND wake_at <= :now",
            ExpressionAttributeValues={":due": {"S": INDEX}, ":now": {"S": sortable(now)}},
            Limit=size,
        )
        start: Item = {}
        while True:
            answer = ask("asking what is due", partial(query, **start))
            yield from (item["pk"]["S"] for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """Scan, a page of at most 1 MB, in DynamoDB's own order. It reads the history, too: for once in a while.

        The loop asks only after a new configuration, for records that no target names any more. The cursor is the key
        to go on after; a page may be empty, and still not the last.
        """
        start = {"ExclusiveStartKey": json.loads(cursor)} if cursor else {}
        answer = ask(
            "listing the records",
            lambda: self._clients.dynamodb.scan(
                TableName=self._table,
                FilterExpression="sk = :record",
                ExpressionAttributeValues={":record": {"S": RECORD}},
                ProjectionExpression="pk",
                **start,
            ),
        )
        found = [item["pk"]["S"] for item in answer["Items"]]
        more = _record_key(found[limit - 1]) if len(found) > limit else answer.get("LastEvaluatedKey")
        return found[:limit], json.dumps(more) if more else ""

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """BatchGetItem, strongly consistent, in the order of `keys`."""
        wanted = list(keys)
        once = list(dict.fromkeys(wanted))  # BatchGetItem refuses a key that it is given twice
        parts = (once[start : start + BATCH] for start in range(0, len(once), BATCH))
        found = {item["pk"]["S"]: item for part in parts for item in self._load_batch(part)}
        return [_document(key, found.get(key, {})) for key in wanted]

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """PutItem; DynamoDB deletes it within days after `expires_at`."""
        line = {
            "pk": {"S": key},
            "sk": {"S": HISTORY + entry_id},
            "body": {"B": body},
            "expires_at": {"N": str(int(expires_at.timestamp()))},
        }
        ask(
            f"appending to the history of {key}",
            lambda: self._clients.dynamodb.put_item(TableName=self._table, Item=line),
        )

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """Query backwards, one page: at most 1 MB, which is some thousand lines."""
        answer = ask(
            f"reading the history of {key}",
            lambda: self._clients.dynamodb.query(
                TableName=self._table,
                KeyConditionExpression="pk = :key AND begins_with(sk, :history)",
                ExpressionAttributeValues={":key": {"S": key}, ":history": {"S": HISTORY}},
                ScanIndexForward=False,
                Limit=limit,
            ),
        )
        return [item["body"]["B"] for item in answer["Items"]]

    def _load_batch(self, keys: Iterable[str]) -> Iterator[Item]:
        """Send one BatchGetItem, and again for what it left out."""
        left: dict[str, Any] = {self._table: {"Keys": [_record_key(key) for key in keys], "ConsistentRead": True}}
        for tried in range(BATCH_TRIES):
            answer = ask("reading many records", partial(self._get_batch, left))
            yield from answer["Responses"].get(self._table, ())
            left = answer.get("UnprocessedKeys", {})
            if not left:
                return
            time.sleep(0.1 * 2**tried)
        raise StoreDownError(f"reading many records: some were left unread {BATCH_TRIES} times")

    def _get_batch(self, items: dict[str, Any]) -> Any:
        """Send one BatchGetItem. The client is made here, inside of `ask`: without a Region there is none."""
        return self._clients.dynamodb.batch_get_item(RequestItems=items)


def _record_key(key: str) -> dict[str, Any]:
    """Name a record as DynamoDB's operations do."""
    return {"pk": {"S": key}, "sk": {"S": RECORD}}


def _document(key: str, item: Item) -> Document:
    """Read an item; an empty one is a record that is not there."""
    return Document(key, item["version"]["N"], item["body"]["B"]) if item else Document(key)


def _if_unmoved(document: Document) -> dict[str, Any]:
    """Make the condition of a save: the record is still absent, or still at the version that was read."""
    if not document.version:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "version = :read",
        "ExpressionAttributeValues": {":read": {"N": document.version}},
    }
