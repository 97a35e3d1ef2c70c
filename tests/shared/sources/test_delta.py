"""Looking at a Delta table: which files are asked for, what is news, and at what time (design, section 9, rule 4)."""

from __future__ import annotations

from typing import Any

import pytest

from shared.refresh.failure import Failure
from shared.sources import delta
from shared.sources.groups import DeltaTable
from shared.sources.memory import DeltaVersion, SourceMemory
from shared.sources.ports import Known, Observation, Seen
from tests.support.core import at
from tests.support.sources import DENIED, THROTTLED, FakeLog, data_commit, metadata_commit, optimize_commit

TABLE = DeltaTable("ws", "lh", "Tables/orders")


class Reader:
    """Looks again and again, and remembers."""

    def __init__(self, log: FakeLog) -> None:
        self.log = log
        self.version: Any = None

    def see(self) -> Seen | Failure:
        """One look, as it is."""
        return delta.look_at_table(TABLE, Known({"": SourceMemory(version=self.version)}), self.log)

    def look(self) -> Observation:
        """One look that is answered."""
        seen = self.see()
        assert isinstance(seen, Seen), seen
        observed = seen.sources[""]
        self.version = observed.version or self.version
        self.log.calls.clear() if observed.version is None else None
        return observed


@pytest.fixture
def log() -> FakeLog:
    """A young table: created, one append."""
    made = FakeLog()
    made.commit(0, metadata_commit() + b"\n" + data_commit(), 0)
    made.commit(1, data_commit(1), 10)
    return made


@pytest.fixture
def reader(log: FakeLog) -> Reader:
    """One that knows the table as it is."""
    made = Reader(log)
    made.look()
    log.calls.clear()
    return made


def test_a_table_seen_first_signals_at_its_newest_data(log: FakeLog) -> None:
    """A young table is read from its beginning; the time is the newest commit's, rounded up by the second it lost."""
    observed = Reader(log).look()
    assert observed.news_at == at(11)
    assert observed.version == DeltaVersion(1, '"1769860810.0-75"', delta._shape_further_on(metadata_commit()), 1)
    assert log.numbers() == ["_last_checkpoint", "0", "0", "1", "2"]


def test_a_table_with_a_checkpoint_is_read_from_there(log: FakeLog) -> None:
    """The first look costs no reading of a long history; where nothing after the checkpoint is data, the time is the
    newest file's.
    """
    log.files["_last_checkpoint"] = (b'{"version":41,"size":1}', at(0))
    log.commit(41, optimize_commit(), 20)
    observed = Reader(log).look()
    assert observed.news_at == at(21)
    assert log.numbers() == ["_last_checkpoint", "41", "41", "42"]


def test_a_checkpoint_that_nobody_can_read_is_none(log: FakeLog) -> None:
    """Then the table is read from its beginning."""
    log.files["_last_checkpoint"] = (b"oops", at(0))
    assert Reader(log).look().news_at == at(11)


def test_a_steady_table_costs_two_reads(reader: Reader, log: FakeLog) -> None:
    """The file last seen is confirmed by its tag, the next one is not there: no news, and an answer."""
    observed = reader.look()
    assert (observed.news_at, observed.when is not None) == (None, True)
    assert log.numbers() == ["1", "2"]


def test_data_is_news_and_maintenance_is_not(reader: Reader, log: FakeLog) -> None:
    """Commits without a change of data are passed over; the time of the news is that of the newest one with data."""
    log.commit(2, optimize_commit(), 20)
    assert reader.look().news_at is None
    log.commit(3, data_commit(), 30)
    log.commit(4, optimize_commit(), 40)
    observed = reader.look()
    assert observed.news_at == at(31)
    assert (observed.version.file, observed.version.data) == (4, 3)  # type: ignore[union-attr]


def test_another_schema_is_news_and_a_property_is_not(reader: Reader, log: FakeLog) -> None:
    """SET TBLPROPERTIES writes the same shape again; another schema or id is a change of what a refresh reads."""
    log.commit(2, metadata_commit(), 20)
    assert reader.look().news_at is None
    log.commit(3, metadata_commit(schema="b"), 30)
    assert reader.look().news_at == at(31)
    log.commit(4, metadata_commit("t2", schema="b"), 40)
    assert reader.look().news_at == at(41)


def test_a_recreated_table_is_news(reader: Reader, log: FakeLog) -> None:
    """Another file under the number last seen is another table; so is none with no next one: the log is listed."""
    log.commit(1, data_commit(7), 50)
    observed = reader.look()
    assert observed.news_at == at(51)
    assert log.numbers() == ["1", "list", "1", "2"]
    log.files.clear()
    log.commit(0, metadata_commit("t2"), 60)
    assert reader.look().news_at == at(61)
    assert log.numbers() == ["1", "2", "list", "0", "1"]


def test_a_cleaned_log_is_no_news(reader: Reader, log: FakeLog) -> None:
    """The file last seen is gone, and the next one is there: clean-up, and reading goes on."""
    log.commit(2, optimize_commit(), 20)
    del log.files[f"{1:020}.json"]
    observed = reader.look()
    assert (observed.news_at, observed.version.file) == (None, 2)  # type: ignore[union-attr]


def test_a_table_that_is_gone_gives_no_answer(reader: Reader, log: FakeLog) -> None:
    """Neither "unchanged" nor news: gone, or not allowed."""
    log.files.clear()
    assert reader.look() == Observation(problem=delta.GONE)
    log.gone = True
    assert reader.look() == Observation(problem=delta.GONE)
    log.gone = False
    log.files["00000000000000000005.checkpoint.parquet"] = (b"x", at(0))
    assert Reader(log).look() == Observation(problem=delta.GONE)


def test_a_log_that_begins_late_without_a_checkpoint_is_listed(log: FakeLog) -> None:
    """What is not found by name is found by listing."""
    del log.files[f"{0:020}.json"]
    log.page = 1
    log.files["00000000000000000000.crc"] = (b"x", at(0))
    assert Reader(log).look().news_at == at(11)
    assert log.numbers() == ["_last_checkpoint", "0", "list", "list", "1", "2"]


def test_a_large_compaction_is_read_to_its_end(reader: Reader, log: FakeLog) -> None:
    """64 kB without a change of data are no proof that the rest has none."""
    log.commit(2, optimize_commit(3000), 20)
    assert reader.look().news_at is None
    assert log.numbers() == ["1", "2", "2", "3"]
    log.commit(3, optimize_commit(3000) + b"\n" + data_commit(), 30)
    assert reader.look().news_at == at(31)


def test_what_is_longer_than_bearable_is_data(reader: Reader, log: FakeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is read up to a limit before it is taken for data."""
    monkeypatch.setattr(delta, "COMMIT_LIMIT", 100_000)
    log.commit(2, optimize_commit(3000), 20)
    assert reader.look().news_at == at(21)


@pytest.mark.parametrize("body", [b"", b"\nnot json\n", b'{"add":{"path":"x"}}', b'{"add":7}'])
def test_what_cannot_be_read_is_data(reader: Reader, log: FakeLog, body: bytes) -> None:
    """An empty file, text, and an action without `dataChange`: the safe side is a refresh."""
    log.commit(2, body, 20)
    assert reader.look().news_at is not None


def test_a_file_that_ends_meanwhile_is_data(reader: Reader, log: FakeLog) -> None:
    """The rest of a commit that answers with anything but bytes leaves its kind open."""
    body = optimize_commit(3000)
    log.commit(2, body, 20)
    whole, served = log.get_file, []

    def shrinking(table: DeltaTable, name: str, first: int, last: int, etag: str) -> Any:
        if first:
            log.commit(2, body[:100], 20)
            served.append(first)
        return whole(table, name, first, last, etag)

    log.get_file = shrinking  # type: ignore[assignment]
    assert reader.look().news_at is not None
    assert served == [delta.FIRST_PART]


def test_a_trace_that_is_cut_off_is_no_look(reader: Reader, log: FakeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept as far as it came, with its news, but gives no `when`; the next look goes on from there."""
    monkeypatch.setattr(delta, "STEPS", 2)
    for number in range(2, 7):
        log.commit(number, data_commit(), 10.0 * number)
    observed = reader.look()
    assert (observed.complete, observed.when, observed.news_at) == (False, None, at(31))
    assert reader.look().complete is False
    observed = reader.look()
    assert (observed.complete, observed.news_at) == (True, at(61))


@pytest.mark.parametrize("name", ["00000000000000000001.json", "list"])
def test_a_look_that_fails_says_nothing(reader: Reader, log: FakeLog, name: str) -> None:
    """A failure of the first request, or of the list, is one of the look."""
    log.commit(1, data_commit(7), 50)
    log.failures[name] = DENIED
    assert reader.see() == DENIED


@pytest.mark.parametrize("name", ["_last_checkpoint", "00000000000000000000.json"])
def test_a_first_look_that_fails_says_nothing(log: FakeLog, name: str) -> None:
    """The same for the first look of all."""
    log.failures[name] = DENIED
    assert Reader(log).see() == DENIED


def test_a_confirmation_that_fails_says_nothing(reader: Reader, log: FakeLog) -> None:
    """Neither does one whose second question fails."""
    del log.files[f"{1:020}.json"]
    log.failures[f"{2:020}.json"] = DENIED
    assert reader.see() == DENIED


@pytest.mark.parametrize("failure", [DENIED, THROTTLED])
def test_what_was_read_before_a_failure_counts(reader: Reader, log: FakeLog, failure: Failure) -> None:
    """News that were seen are told, though the look gives no answer; a throttled one says so."""
    log.commit(2, data_commit(), 20)
    log.failures[f"{3:020}.json"] = failure
    seen = reader.see()
    assert isinstance(seen, Seen)
    observed = seen.sources[""]
    assert (observed.news_at, observed.when, observed.problem) == (at(21), None, str(failure))
    assert seen.throttled is (failure is THROTTLED)


def test_a_failure_in_the_middle_of_a_commit_counts_as_one(reader: Reader, log: FakeLog) -> None:
    """The commit is read again by the next look."""
    log.commit(2, optimize_commit(3000), 20)
    whole = log.get_file

    def failing(table: DeltaTable, name: str, first: int, last: int, etag: str) -> Any:
        return DENIED if first else whole(table, name, first, last, etag)

    log.get_file = failing  # type: ignore[assignment]
    observed = reader.look()
    assert (observed.problem, observed.version.file) == (str(DENIED), 1)  # type: ignore[union-attr]


def test_a_list_without_end_is_a_failure(reader: Reader, log: FakeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a list must not be taken for the whole."""
    monkeypatch.setattr(delta, "LIST_PAGES", 1)
    log.page = 1
    log.commit(1, data_commit(7), 50)
    seen = reader.see()
    assert isinstance(seen, Failure)
    assert seen.code == "EndlessListing"


def test_a_list_that_nobody_can_read_names_nothing(reader: Reader, log: FakeLog) -> None:
    """What does not read as a list shows no file."""
    assert list(delta._versions(b"oops")) == []


def test_requests_name_file_and_folder() -> None:
    """Twenty digits; the folder of the log with the item first, as OneLake wants it."""
    assert delta.file_path(TABLE, delta.file_name(7)) == "/ws/lh/Tables/orders/_delta_log/00000000000000000007.json"
    assert delta.list_path(TABLE, "") == (
        "/ws?resource=filesystem&recursive=false&directory=lh%2FTables%2Forders%2F_delta_log"
        "&maxResults=5000&getShortcutMetadata=true"
    )
    assert delta.list_path(TABLE, "a=").endswith("&continuation=a%3D")
