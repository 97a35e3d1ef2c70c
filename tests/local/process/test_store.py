"""The store in an SQLite file: the contract of every store, and what is particular to a file that processes share."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from local.process import store as module
from local.process.store import FORMAT, StateFile, Store, UnusableFileError
from shared.refresh.ports import Conflict, Document, StoreDownError
from shared.targets import Cloud
from tests.support.core import HandClock
from tests.support.store_contract import LATER, NOON, OTHER, VIEW, StoreContract, body
from tests.support.waiting import PATIENCE_SECONDS

ROUNDS = 25
"""Saves of each process in the race of three."""


@pytest.fixture(name="path")
def where_the_state_is(tmp_path: Path) -> Path:
    """A path at which there is no file yet."""
    return tmp_path / "unstale.db"


@pytest.fixture(name="file")
def open_file(path: Path) -> Iterator[StateFile]:
    """The state, opened for the first time."""
    with StateFile(path) as file:
        yield file


def store_in(file: StateFile, cloud: Cloud = Cloud.AWS) -> Store:
    """The store of one cloud, whose clock stands at noon."""
    return Store(file, cloud, HandClock())


class TestSqliteStore(StoreContract):
    """The store in a file is a store."""

    @pytest.fixture
    def store(self, file: StateFile) -> Store:
        """An empty one, in a file of its own."""
        return store_in(file)


def test_clouds_do_not_see_each_others_records(file: StateFile) -> None:
    """One file serves both: neither engine forgets what the other one's configuration names."""
    aws, azure = store_in(file), store_in(file, Cloud.AZURE)
    aws.save(Document("deployment"), body(1), NOON)
    azure.save(Document("deployment"), body(2), NOON)
    azure.append(VIEW, "1", body(3), LATER)
    assert (aws.load("deployment").body, azure.load("deployment").body) == (body(1), body(2))
    assert aws.keys("", 10) == (["deployment"], "")
    assert list(aws.due(NOON, 10)) == ["deployment"]
    assert list(aws.history(VIEW, 10)) == []


def test_what_was_saved_is_there_after_a_restart(path: Path) -> None:
    """Whoever opens the file next reads what was saved, at the same version."""
    with StateFile(path) as file:
        saved = store_in(file).save(Document(VIEW), body(1), NOON)
    with StateFile(path) as file:
        assert store_in(file).load(VIEW) == saved
        assert list(store_in(file).due(NOON, 10)) == [VIEW]


def test_a_version_never_comes_back(file: StateFile) -> None:
    """Not even that of a record that was removed and made anew: who froze with the old one in hand saves nothing."""
    store = store_in(file)
    old = store.save(Document(VIEW), body(1), None)
    store.remove(old)
    store.save(Document(VIEW), body(1), None)
    with pytest.raises(Conflict):
        store.save(old, body(2), None)


def test_lines_of_history_go_when_their_time_is_over(file: StateFile) -> None:
    """The next line takes them away, of whatever target: the file stays bounded."""
    clock = HandClock()
    store = Store(file, Cloud.AWS, clock)
    store.append(VIEW, "1", body(1), NOON + timedelta(hours=1))
    store.append(OTHER, "1", body(2), NOON + timedelta(hours=3))
    clock.time = NOON + timedelta(hours=2)
    store.append(OTHER, "2", body(3), NOON + timedelta(hours=4))
    assert list(store.history(VIEW, 10)) == []
    assert list(store.history(OTHER, 10)) == [body(3), body(2)]


def test_writes_of_others_can_be_noticed(path: Path, file: StateFile) -> None:
    """A number changes with another process's write, and not with ours."""
    store = store_in(file)
    document = store.save(Document(VIEW), body(1), None)
    before = file.changes_of_others()
    store.save(document, body(2), None)
    assert file.changes_of_others() == before
    with StateFile(path) as other:
        store_in(other).save(Document(OTHER), body(1), None)
        assert file.changes_of_others() != before


# --- Several processes -----------------------------------------------------------------------------------------------

RACE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from local.process.store import StateFile, Store
from shared.refresh.ports import Conflict
from shared.targets import Cloud
from tests.support.core import HandClock

path, rounds = Path(sys.argv[1]), int(sys.argv[2])
with StateFile(path) as file:
    store = Store(file, Cloud.AWS, HandClock())
    won = 0
    while won < rounds:
        document = store.load("counter")
        try:
            store.save(document, b"%d" % (int(document.body or b"0") + 1), datetime.now(UTC))
        except Conflict:
            continue
        won += 1
"""


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start an interpreter that runs this code."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_processes_at_once_none_loses_a_write(path: Path) -> None:
    """Three processes make the file and count up in one record: each save that was told as done is in the sum."""
    racers = [start_python(RACE, path, ROUNDS) for _ in range(3)]
    for racer in racers:
        _, said = racer.communicate(timeout=PATIENCE_SECONDS)
        assert (racer.returncode, said) == (0, "")
    with StateFile(path) as file:
        assert store_in(file).load("counter").body == b"%d" % (3 * ROUNDS)


DIES = """
import os, sys
from pathlib import Path
from local.process.store import StateFile, Store
from shared.refresh.ports import Document
from shared.targets import Cloud
from tests.support.core import HandClock

path, when = Path(sys.argv[1]), sys.argv[2]
file = StateFile(path)
store = Store(file, Cloud.AWS, HandClock())
saved = store.save(Document("view"), b"told", None)
os.write(1, saved.version.encode())
if when == "in a write":
    file._connection.execute("BEGIN IMMEDIATE")
    file._connection.execute("UPDATE record SET body = ?", (b"never told",))
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("when", ["after a write", "in a write"])
def test_a_killed_process_leaves_what_it_was_told_is_saved(path: Path, when: str) -> None:
    """... and nothing of a write that it was in: the next process opens the file as if nothing had happened."""
    dying = start_python(DIES, path, when)
    version, _ = dying.communicate(timeout=PATIENCE_SECONDS)
    assert dying.returncode == -9
    with StateFile(path) as file:
        assert store_in(file).load("view") == Document("view", version, b"told")
        store_in(file).save(Document("view", version), b"goes on", None)


# --- Files that cannot be used ---------------------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_reads_the_file(path: Path, file: StateFile) -> None:
    """The file, its log and its index; reasons and errors in them are nobody else's."""
    store_in(file).save(Document(VIEW), body(1), None)
    assert {each.name: mode_of(each) for each in path.parent.iterdir()} == {
        "unstale.db": 0o600,
        "unstale.db-wal": 0o600,
        "unstale.db-shm": 0o600,
    }


def test_a_file_that_others_may_read_is_closed_to_them(path: Path) -> None:
    """Such as one that was copied there, or made beforehand."""
    path.touch(mode=0o644)
    with StateFile(path):
        assert mode_of(path) == 0o600


def test_a_file_of_a_later_release_is_left_alone(path: Path) -> None:
    """What it says is not understood here: the file is named, and what to do."""
    with StateFile(path) as file:
        store_in(file).save(Document(VIEW), body(1), None)
        file.execute("raising", f"PRAGMA user_version = {FORMAT + 1}")
    before = path.read_bytes()
    with pytest.raises(
        UnusableFileError, match=rf"unstale.db has format {FORMAT + 1}.*knows {FORMAT} at most.*--state"
    ):
        StateFile(path)
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    """Another program's SQLite file gets no tables of ours."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.commit()
    with pytest.raises(UnusableFileError, match="SQLite file of something else"):
        StateFile(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_what_is_no_database_is_left_alone(path: Path) -> None:
    """Such as a file named by mistake."""
    path.write_text("[targets]\n" * 1000)
    with pytest.raises(UnusableFileError, match="no SQLite file"):
        StateFile(path)
    assert path.read_text().startswith("[targets]\n")


def test_a_path_without_its_folder_is_refused(tmp_path: Path) -> None:
    """The message names the path and the option."""
    with pytest.raises(UnusableFileError, match=r"cannot open .*missing/unstale.db: No such file.*--state"):
        StateFile(tmp_path / "missing" / "unstale.db")


# --- A store that is down --------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Store, Document], object]] = {
    "save": lambda store, read: store.save(read, body(2), NOON),
    "create": lambda store, _: store.save(Document(OTHER), body(2), NOON),
    "remove": lambda store, read: store.remove(read),
    "append": lambda store, _: store.append(VIEW, "2", body(2), LATER),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_locked_file_is_a_store_that_is_down(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the file for longer than is waited: nothing is saved, and reads go on."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    with StateFile(path) as file, closing(sqlite3.connect(path, isolation_level=None)) as other:
        store = store_in(file)
        read = store.save(Document(VIEW), body(1), None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreDownError, match=r"database is locked.*unstale.db") as caught:
            WRITES[name](store, read)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert store.load(VIEW) == read
        other.execute("ROLLBACK")
        WRITES[name](store, read)


def test_a_full_disk_is_a_store_that_is_down(file: StateFile) -> None:
    """What does not fit is not saved, what is there can be read, and once there is room the same save passes."""
    store = store_in(file)
    read = store.save(Document(VIEW), body(1), None)
    pages = file._pragma("page_count")
    file.execute("a small disk", f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreDownError, match="disk is full"):
        store.save(read, b"x" * 100_000, NOON)
    assert store.load(VIEW) == read
    assert list(store.due(LATER, 10)) == []
    file.execute("a larger disk", f"PRAGMA max_page_count = {pages + 100}")
    assert store.save(read, b"x" * 100_000, NOON).body == b"x" * 100_000


def test_a_closed_file_is_a_store_that_is_down(path: Path) -> None:
    """A thread that is late when the process ends gets the port's exception, like any other trouble of the store."""
    file = StateFile(path)
    file.close()
    with pytest.raises(StoreDownError, match="closed"):
        store_in(file).load(VIEW)


def test_a_disk_that_takes_no_more_bytes_is_a_store_that_is_down(path: Path) -> None:
    """The same with the operating system's own refusal, as a quota gives it: nothing of the failed save is kept."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from local.process.store import StateFile, Store\nfrom shared.refresh.ports import Document, StoreDownError\n"
        "from shared.targets import Cloud\nfrom tests.support.core import HandClock\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = Store(StateFile(Path(sys.argv[1])), Cloud.AWS, HandClock())\n"
        "read = store.save(Document('view'), b'small', None)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try:\n    store.save(read, b'x' * 1_000_000, None)\n"
        "except StoreDownError as down:\n    print(type(down).__name__, store.load('view').body)\n"
    )
    child = start_python(code, path)
    said, errors = child.communicate(timeout=PATIENCE_SECONDS)
    assert (said, errors) == ("StoreDownError b'small'\n", "")
    with StateFile(path) as file:
        assert store_in(file).load("view").body == b"small"


def test_nobody_waits_for_ever_for_the_other_threads(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread before may wait seconds for a file that another program holds: eight of them were forty seconds, in
    which a process that was told to end did not.
    """
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    with file._lock:
        with pytest.raises(StoreDownError, match="reading deployment: other calls have waited for"):
            store_in(file).load("deployment")
        with pytest.raises(StoreDownError, match="asking for changes"):
            file.changes_of_others()
    assert store_in(file).load("deployment") == Document("deployment")
