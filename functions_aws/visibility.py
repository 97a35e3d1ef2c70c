"""Messages that come back sooner than their queue's visibility timeout says, which is what a whole function may need.

A function may change it for what it reports as failed: AWS's own framework for .NET does.
https://github.com/aws/aws-dotnet-messaging/pull/151
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from functions_aws.clients import Clients, ask
from shared.inbound.dispatch import stays_away
from shared.refresh.ports import StoreDownError

MOST_A_CALL = 10
"""Entries of one ChangeMessageVisibilityBatch."""

Record = Mapping[str, Any]


class Visibility:
    """The way back of messages that met trouble of ours, sooner than their queue would bring them.

    How soon, says `shared.inbound.dispatch.stays_away`: half a minute at first, five minutes if the trouble goes on.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def hasten(self, records: Sequence[Record]) -> None:
        """ChangeMessageVisibilityBatch, for records of one queue.

        Raises `StoreDownError`: then some come back when their queue says, which is later, and no harm.
        """
        parts = [records[start : start + MOST_A_CALL] for start in range(0, len(records), MOST_A_CALL)]
        refused = ask("bringing messages back sooner", lambda: [code for part in parts for code in self._change(part)])
        if refused:
            raise StoreDownError(f"{len(refused)} messages do not come back sooner: {', '.join(sorted(set(refused)))}")

    def _change(self, records: Sequence[Record]) -> list[str]:
        """Send one batch, and give the codes of the entries that SQS refused."""
        entries = [
            {
                "Id": str(number),
                "ReceiptHandle": record["receiptHandle"],
                "VisibilityTimeout": int(stays_away(_receives(record)).total_seconds()),
            }
            for number, record in enumerate(records)
        ]
        url = self._clients.queue_url(records[0]["eventSourceARN"])
        answer = self._clients.sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
        return [failed["Code"] for failed in answer.get("Failed", ())]


def _receives(record: Record) -> int:
    """Read how often a message was received, this time included."""
    return int(record["attributes"].get("ApproximateReceiveCount", 1))
