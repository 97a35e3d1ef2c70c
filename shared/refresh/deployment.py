"""The record of the deployment, as the machine reads and changes it."""

from __future__ import annotations

from collections.abc import Callable

from shared.refresh import records
from shared.refresh.ports import Conflict, Store
from shared.refresh.state import Deployment

ATTEMPTS = 50
"""Turns of one change: a conflict takes one, a call takes one. Past that something is wrong, and the delivery comes
back."""


class ContendedError(Exception):
    """The record moved on at every attempt. The delivery must come back; nothing of it is lost."""


def load(store: Store) -> Deployment:
    """Read the record of the deployment; an absent one is a deployment about which nothing is known."""
    return records.read_deployment(store.load(records.DEPLOYMENT_KEY).body)


def change(store: Store, to: Callable[[Deployment], Deployment]) -> Deployment:
    """Apply `to` to whatever the record is by now, and save what comes of it, where that differs; returns it.

    Raises `StoreDownError`, or `ContendedError` where others keep changing the record.
    """
    for _ in range(ATTEMPTS):
        document = store.load(records.DEPLOYMENT_KEY)
        before = records.read_deployment(document.body)
        after = to(before)
        if after == before:
            return after
        try:
            store.save(document, records.write(after), None)
        except Conflict:
            continue
        return after
    message = f"the record of the deployment moved on {ATTEMPTS} times"
    raise ContendedError(message)
