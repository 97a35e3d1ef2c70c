"""What every `Store` must do, once: each implementation has a class that inherits the suite and gives it its `store`.

    class TestDynamoStore(StoreContract):
        @pytest.fixture
        def store(self) -> Store: ...

The tests only rely on what the port promises, so that a store may keep its index and history as it likes.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from shared.refresh.ports import Conflict, Document, Store

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LATER = NOON + timedelta(days=90)
VIEW = "glue-view:123456789012%3As3tablescatalog%2Fbucket:sales:daily_revenue"
OTHER = "fabric-lake-views:4b218778-e7a5-4d73-8187-f10824047715:431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
LONGER = f"{OTHER}:0f0f0f0f-e7a5-4d73-8187-f10824047715"


def body(number: int) -> bytes:
    """Some record, as the core would write one."""
    return b'{"format":1,"record":{"failures":%d}}' % number


def all_keys(store: Store, limit: int) -> list[str]:
    """Every page of `keys`."""
    found: list[str] = []
    cursor = ""
    while True:
        page, cursor = store.keys(cursor, limit)
        assert len(page) <= limit
        found.extend(page)
        if not cursor:
            return found


class StoreContract:
    """The suite; not collected by itself."""

    @pytest.fixture
    def store(self) -> Store:
        """An empty store."""
        raise NotImplementedError

    # --- Records

    def test_an_absent_record_is_an_empty_document(self, store: Store) -> None:
        """Nothing is known of a record that nobody saved: no version, no body."""
        assert store.load(VIEW) == Document(VIEW)

    def test_what_is_saved_is_what_is_read(self, store: Store) -> None:
        """A save answers with the document as the next load reads it."""
        saved = store.save(Document(VIEW), body(1), None)
        assert (saved.key, saved.body) == (VIEW, body(1))
        assert saved.version
        assert store.load(VIEW) == saved

    def test_a_saved_document_can_be_saved_again(self, store: Store) -> None:
        """What a save or a load answered is what the next save needs."""
        store.save(store.save(Document(VIEW), body(1), None), body(2), NOON)
        assert store.save(store.load(VIEW), body(3), None).body == body(3)
        assert store.load(VIEW).body == body(3)

    def test_every_save_changes_the_version(self, store: Store) -> None:
        """Also one that writes what is there already: a version never comes back (rule 13 leans on it)."""
        versions = [(document := store.save(Document(VIEW), body(1), NOON)).version]
        for _ in range(3):
            document = store.save(document, body(1), NOON)
            versions.append(document.version)
        assert len(set(versions)) == 4

    def test_a_stale_save_is_a_conflict(self, store: Store) -> None:
        """Whoever read the record before it moved on writes nothing: neither the body nor the index."""
        read = store.save(Document(VIEW), body(1), None)
        store.save(read, body(2), None)
        with pytest.raises(Conflict):
            store.save(read, body(3), NOON)
        assert store.load(VIEW).body == body(2)
        assert list(store.due(LATER, 10)) == []

    def test_creating_twice_is_a_conflict(self, store: Store) -> None:
        """An empty version means that the record must not be there yet."""
        store.save(Document(VIEW), body(1), None)
        with pytest.raises(Conflict):
            store.save(Document(VIEW), body(2), None)
        assert store.load(VIEW).body == body(1)

    def test_saving_what_is_not_there_any_more_is_a_conflict(self, store: Store) -> None:
        """A version of another record does not create one."""
        elsewhere = store.save(Document(OTHER), body(1), None)
        with pytest.raises(Conflict):
            store.save(Document(VIEW, elsewhere.version, elsewhere.body), body(2), None)
        assert store.load(VIEW) == Document(VIEW)

    def test_of_many_who_save_at_once_one_wins(self, store: Store) -> None:
        """The claim rests on this: of all who read the same version, one saves, and all others learn of it."""
        document, workers = Document(VIEW), 8
        for _ in range(5):
            barrier = Barrier(workers)

            def attempt(number: int, document: Document = document, barrier: Barrier = barrier) -> bytes | None:
                barrier.wait()
                try:
                    return store.save(document, body(number), NOON).body
                except Conflict:
                    return None

            with ThreadPoolExecutor(workers) as pool:
                won = [result for result in pool.map(attempt, range(workers)) if result]
            document = store.load(VIEW)
            assert won == [document.body]

    @pytest.mark.parametrize("size", [0, 20_000])
    def test_bodies_come_back_byte_for_byte(self, store: Store, size: int) -> None:
        """A record with the longest reasons, in any script, is read as it was written."""
        text = '{"format":1,"record":{"last_error":"Пёс 漢字 😀 \\u0000 \\\\ ' + "x" * size + '"}}'
        store.save(Document(VIEW), text.encode(), NOON)
        assert store.load(VIEW).body == text.encode()

    def test_keys_are_kept_apart(self, store: Store) -> None:
        """One key being the beginning of another, or differing in case, makes no difference."""
        keys = [VIEW, OTHER, LONGER, LONGER.upper(), "deployment", "glue-view:1:a%23b%3Fc:%20d"]
        for number, key in enumerate(keys):
            store.save(Document(key), body(number), None)
        assert [store.load(key).body for key in keys] == [body(number) for number in range(len(keys))]

    # --- Removing

    @pytest.mark.parametrize("wake_at", [None, NOON])
    def test_what_is_removed_is_not_there_any_more(self, store: Store, wake_at: datetime | None) -> None:
        """Neither to be read, nor listed, nor due; and it can be made anew."""
        document = store.save(Document(VIEW), body(1), wake_at)
        store.remove(document)
        assert store.load(VIEW) == Document(VIEW)
        assert list(store.due(LATER, 10)) == []
        assert all_keys(store, 10) == []
        assert store.save(Document(VIEW), body(2), NOON).body == body(2)
        assert list(store.due(NOON, 10)) == [VIEW]

    def test_only_what_was_read_is_removed(self, store: Store) -> None:
        """One that moved on stays; and one that is gone, or was never there, is a conflict."""
        read = store.save(Document(VIEW), body(1), NOON)
        moved_on = store.save(read, body(2), NOON)
        with pytest.raises(Conflict):
            store.remove(read)
        assert store.load(VIEW) == moved_on
        assert list(store.due(NOON, 10)) == [VIEW]
        store.remove(moved_on)
        for gone in (moved_on, Document(VIEW)):
            with pytest.raises(Conflict):
                store.remove(gone)

    def test_history_outlives_its_record(self, store: Store) -> None:
        """It forgets in its own time."""
        document = store.save(Document(VIEW), body(1), NOON)
        store.append(VIEW, "20260131T120000.000000Z-t", body(2), LATER)
        store.remove(document)
        assert list(store.history(VIEW, 10)) == [body(2)]

    # --- What is due

    def test_due_is_what_should_have_been_looked_at_by_now(self, store: Store) -> None:
        """`wake_at` itself counts as due, one microsecond later does not, and no `wake_at` is never due."""
        store.save(Document(VIEW), body(1), NOON)
        store.save(Document(OTHER), body(2), NOON + timedelta(microseconds=1))
        store.save(Document("deployment"), body(3), None)
        assert list(store.due(NOON - timedelta(microseconds=1), 10)) == []
        assert list(store.due(NOON, 10)) == [VIEW]
        assert list(store.due(NOON + timedelta(microseconds=1), 10)) == [VIEW, OTHER]

    def test_the_most_overdue_come_first(self, store: Store) -> None:
        """So that a tick that may take only some leaves none behind for ever."""
        times = {f"glue-view:1:sales:v{number}": NOON - number * SECOND for number in (3, 1, 4, 2, 5)}
        for key, wake_at in times.items():
            store.save(Document(key), body(1), wake_at)
        expected = sorted(times, key=lambda key: times[key])
        assert list(store.due(NOON, 10)) == expected
        assert list(store.due(NOON, 2)) == expected[:2]

    @pytest.mark.parametrize("due_at_once", [1, 3, 100])
    def test_what_is_due_is_read_page_after_page(
        self, store: Store, due_at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However long a page is, all that is due comes once, in order; also where several are due at one time."""
        monkeypatch.setattr(sys.modules[type(store).__module__], "DUE_AT_ONCE", due_at_once, raising=False)
        times = {f"glue-view:1:sales:v{number:02}": NOON - number // 3 * SECOND for number in range(13)}
        for key, wake_at in times.items():
            store.save(Document(key), body(1), wake_at)
        store.save(Document(VIEW), body(1), NOON + SECOND)
        expected = sorted(times, key=lambda key: (times[key], key))
        assert list(store.due(NOON)) == expected
        assert [list(store.due(NOON, limit)) for limit in (1, 4, 12)] == [expected[:1], expected[:4], expected[:12]]

    def test_what_is_saved_meanwhile_hides_nothing(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A caller that saves each record as it comes meets all of them: the next page begins where this one ended."""
        monkeypatch.setattr(sys.modules[type(store).__module__], "DUE_AT_ONCE", 2, raising=False)
        keys = [f"glue-view:1:sales:v{number}" for number in range(9)]
        for number, key in enumerate(keys):
            store.save(Document(key), body(1), NOON + number * SECOND)
        met = []
        for key in store.due(NOON + 8 * SECOND):
            met.append(key)
            store.save(store.load(key), body(2), LATER)
        assert met == keys

    def test_a_save_moves_the_record_in_the_index(self, store: Store) -> None:
        """The index says what the last save said, and nothing of the saves before."""
        document = store.save(Document(VIEW), body(1), NOON)
        document = store.save(document, body(2), NOON + SECOND)
        assert list(store.due(NOON, 10)) == []
        assert list(store.due(NOON + SECOND, 10)) == [VIEW]
        store.save(document, body(3), None)
        assert list(store.due(LATER, 10)) == []

    # --- All of them

    @pytest.mark.parametrize("limit", [1, 3, 4, 100])
    def test_pages_hold_every_key_once(self, store: Store, limit: int) -> None:
        """Pages end, hold no more than was asked for, and name records only: no history, no helper rows."""
        keys = {VIEW, OTHER, LONGER, "deployment"}
        for key in keys:
            store.save(Document(key), body(1), None)
            store.append(key, "20260131T120000.000000Z-t", body(2), LATER)
        assert sorted(all_keys(store, limit)) == sorted(keys)

    def test_an_empty_store_has_an_empty_page(self, store: Store) -> None:
        """No key and no further page."""
        assert all_keys(store, 10) == []

    def test_many_are_read_in_order(self, store: Store) -> None:
        """More than one page of any cloud's batch read, in the order asked, absent ones as empty documents."""
        keys = [f"glue-view:1:sales:v{number:03}" for number in range(205)]
        for number, key in enumerate(keys):
            if number % 4:
                store.save(Document(key), body(number), None)
        wanted = keys[::-1]
        found = store.load_many(key for key in wanted)
        assert [document.key for document in found] == wanted
        assert list(found) == [store.load(key) for key in wanted]

    # --- History

    def test_history_is_newest_first(self, store: Store) -> None:
        """By `entry_id`, as many as asked for, whatever the order in which they came."""
        for hour in (2, 1, 3):
            store.append(VIEW, f"20260131T{hour:02}0000.000000Z-t", body(hour), LATER)
        assert list(store.history(VIEW, 10)) == [body(3), body(2), body(1)]
        assert list(store.history(VIEW, 2)) == [body(3), body(2)]

    def test_the_same_entry_replaces_itself(self, store: Store) -> None:
        """A save that is done again leaves one line."""
        store.append(VIEW, "20260131T120000.000000Z-t", body(1), LATER)
        store.append(VIEW, "20260131T120000.000000Z-t", body(2), LATER)
        assert list(store.history(VIEW, 10)) == [body(2)]

    def test_history_belongs_to_one_key(self, store: Store) -> None:
        """Also where one key is the beginning of another; and a record is no line of history."""
        store.save(Document(OTHER), body(0), NOON)
        store.append(OTHER, "20260131T120000.000000Z-t", body(1), LATER)
        store.append(LONGER, "20260131T120001.000000Z-t", body(2), LATER)
        assert list(store.history(OTHER, 10)) == [body(1)]
        assert list(store.history(LONGER, 10)) == [body(2)]
        assert list(store.history(VIEW, 10)) == []

    def test_history_is_not_due(self, store: Store) -> None:
        """A line of history is not looked at, does not make a record, and does not touch one."""
        document = store.save(Document(VIEW), body(1), None)
        store.append(VIEW, "20260131T120000.000000Z-t", body(2), LATER)
        store.append(OTHER, "20260131T120000.000000Z-t", body(2), LATER)
        assert list(store.due(LATER + SECOND, 10)) == []
        assert store.load(VIEW) == document
        assert store.load(OTHER) == Document(OTHER)
