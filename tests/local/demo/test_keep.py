"""`unstale demo do` without a demo, and the store that can be hidden. What a kept demo does: `tests/journeys`."""

from __future__ import annotations

import re
from threading import Event

import pytest

from local.cli.errors import NotWellError, UsageError
from local.demo import keep
from local.demo.keep import HidableStore
from local.emulators.memory import MemoryStore
from shared.refresh.ports import Document, StoreDownError
from tests.support.store_contract import LATER, NOON, VIEW, StoreContract, body


@pytest.mark.parametrize("words", [[], ["nonsense"], ["file", "a", "b"]])
def test_a_deed_that_there_is_not_is_wrong_usage(words: list[str]) -> None:
    """The message lists what there is."""
    with pytest.raises(UsageError, match="file, drop-event, hang, pause, resume, hide-store, show-store"):
        keep.do(words, {"UNSTALE_DEMO_URL": "http://127.0.0.1:9/x"})


def test_without_a_demo_there_is_nothing_to_do() -> None:
    """Nobody exported its address, it is no address that a request may go to, or nobody answers there any more."""
    with pytest.raises(UsageError, match="demo --keep"):
        keep.do(["file"], {})
    with pytest.raises(UsageError, match="must be https"):
        keep.do(["file"], {"UNSTALE_DEMO_URL": "http://example.com/x"})
    with pytest.raises(NotWellError, match="Does it still run"):
        keep.do(["file"], {"UNSTALE_DEMO_URL": "http://127.0.0.1:9/x"})


class TestHidableStore(StoreContract):
    """While it is in sight it is a store like any other."""

    @pytest.fixture
    def store(self) -> HidableStore:
        """One in sight."""
        return HidableStore(MemoryStore(), Event())


def test_a_hidden_store_does_not_answer() -> None:
    """Each of its methods says how to bring it back."""
    hidden = Event()
    store = HidableStore(MemoryStore(), hidden)
    hidden.set()
    for call in (
        lambda: store.load(VIEW),
        lambda: store.save(Document(VIEW), body(1), NOON),
        lambda: store.remove(Document(VIEW)),
        lambda: list(store.due(NOON, 1)),
        lambda: store.keys("", 1),
        lambda: store.load_many([VIEW]),
        lambda: store.append(VIEW, "1", body(1), LATER),
        lambda: store.history(VIEW, 1),
    ):
        with pytest.raises(StoreDownError, match=re.escape("unstale demo do show-store")):
            call()
