"""The function app from end to end, in process: what the host hands over, what becomes of it, what Fabric then sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest

from functions_azure import app, clients, settings, wiring
from functions_azure.queue_behind import TAKEN_AT_ONCE, Waiting
from functions_azure.settings import EVENTS_QUEUE, WAKES_QUEUE, Settings, SettingsError
from functions_azure.shell import PAUSES_SECONDS, REFRESH_BODY_LIMIT, TURNS_BEFORE_QUEUE, ComesBackError, persist
from local.emulators.faults import Refuse
from shared.config import compiled
from shared.config.load import load
from shared.inbound.wakes import wake_message
from shared.refresh.ports import Document, StoreDownError
from shared.refresh.state import Situation, Wake
from tests.support.azure_host import PLANTED_SECRET, SALES, TEXT, Host, blob_created, call, hosted, packed

DO_NOT_RETRY = {400, 401, 403, 413}
"""What Event Grid takes as the event's own fault: dropped, never to come again."""


@pytest.fixture(name="host")
def hosted_functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """The function app with a store and a Fabric of its own."""
    with hosted(monkeypatch) as host:
        yield host


# --- The way of a blob -----------------------------------------------------------------------------------------------


def test_a_blob_ends_up_in_the_views(host: Host) -> None:
    """Event, queue, wake, start, poll, success; the other lakehouse is left alone."""
    seen = host.starts()
    host.queue(packed(blob_created("orders/1.parquet", host.clock.now())))
    assert host.state("sales").owed is not None
    assert host.starts() == seen, "the quiet period is not over"
    host.clock.move_on(seconds=39)
    for wake in host.waker.take_due():
        host.queue(wake_message(wake), name=WAKES_QUEUE)
    assert host.state("sales").situation is Situation.RUNNING
    host.clock.move_on(seconds=61)
    for wake in host.waker.take_due():
        host.queue(wake_message(wake), name=WAKES_QUEUE)
    assert (host.state("sales").owed, host.state("sales").run) == (None, None)
    assert host.starts() == seen + 1
    assert host.state("other").owed is None


@pytest.mark.parametrize("cloud_event", [False, True])
def test_every_way_in_says_the_same(host: Host, cloud_event: bool) -> None:
    """A queue message as base64 or as text, a push, a batch of an event hub: one blob is one signal in all of them."""
    event = blob_created("orders/1.parquet", host.clock.now(), cloud_event=cloud_event)
    host.queue(packed(event))
    first = host.state("sales").owed
    assert first is not None
    writes = host.store.writes
    host.queue(json.dumps(event))
    call("event_grid", json.dumps(event))
    app.stream([func.EventHubEvent(body=json.dumps(event).encode()), func.EventHubEvent(body=packed(event))])
    assert host.state("sales").owed == first
    assert host.store.writes == writes, "a signal that is owed already is absorbed"
    assert not host.yard.buried


def test_what_concerns_nobody_is_done(host: Host) -> None:
    """An event of a blob that no target names, or of a kind that nobody acts on, is acknowledged and costs nothing."""
    host.queue(packed(blob_created("elsewhere/1", host.clock.now())))
    host.queue('{"specversion": "1.0", "type": "Microsoft.Storage.BlobDeleted", "source": "s", "id": "1"}')
    assert (host.store.reads, host.store.writes) == (0, 0)
    assert not host.yard.buried


def test_a_batch_is_one_look_at_each_target(host: Host) -> None:
    """However many events it has: one read, one write for each target that it concerns."""
    now = host.clock.now()
    events = [blob_created(f"orders/{n}", now) for n in range(100)]
    events += [blob_created(f"{n}", now, container="other") for n in range(100)]
    app.stream([func.EventHubEvent(body=json.dumps(event).encode()) for event in events])
    assert host.store.writes == 2
    assert host.state("sales").owed
    assert host.state("other").owed


def test_an_event_brings_along_what_waits_behind_it(host: Host) -> None:
    """The host calls for one message: those behind it are judged with it, and each is removed when it is done."""
    now = host.clock.now()
    host.line.waiting = behind = [packed(blob_created(f"orders/{n}", now)) for n in range(32)]
    host.queue(packed(blob_created("1", now, container="other")))
    assert host.line.removed == behind
    assert host.store.writes == 2
    assert host.state("sales").owed
    assert host.state("other").owed


def test_what_waits_behind_an_event_is_settled_by_itself(host: Host) -> None:
    """Done is removed, unreadable is buried and removed, and what meets trouble stays."""
    now = host.clock.now()
    good, bad = packed(blob_created("1", now, container="other")), packed(blob_created("orders/1", now))
    sales = host.configuration().by_name["sales"].key
    host.store.down_for = lambda key: key == sales
    host.line.waiting = [bad, good, b"no JSON"]
    host.queue(good)
    assert host.line.removed == [good, b"no JSON"]
    assert [body for _, body, _ in host.yard.buried] == [b"no JSON"]
    assert host.line.takes == 2, "after what fails, too, it is seen whether more waits"


def test_a_call_whose_own_message_comes_back_takes_nothing(host: Host) -> None:
    """It ends at once, so that the host brings the message back: what waits is left to other calls."""
    host.store.down_for = lambda _: True
    host.line.waiting = [packed(blob_created("1", host.clock.now()))]
    with pytest.raises(ComesBackError):
        host.queue(packed(blob_created("orders/1", host.clock.now())))
    assert (host.line.takes, len(host.line.waiting)) == (0, 1)


def test_a_call_goes_on_until_nothing_waits(host: Host) -> None:
    """Round after round, 32 at most in each; what comes while a round is judged is in the next."""
    now = host.clock.now()
    event = packed(blob_created("orders/1", now))
    late = packed(blob_created("1", now, container="other"))
    host.line.waiting = [event] * 70
    host.line.after_taking = lambda: host.line.waiting.extend([late] * (host.line.takes == 3))
    host.queue(event)
    assert host.line.removed == [event] * 70 + [late]
    assert host.line.takes == 5, "three rounds, one for what came late, and one that found nothing"
    assert host.state("other").owed


@pytest.mark.parametrize("queue", [EVENTS_QUEUE, WAKES_QUEUE])
def test_a_call_ends_in_time_however_much_waits(host: Host, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm that never ends holds no call: each round begins with the time that one may need, or not at all."""
    line, body = host.lines[queue], wake_message(Wake("k", host.clock.now(), "1"))
    now = 0.0
    monkeypatch.setattr(clients, "time", SimpleNamespace(monotonic=lambda: now))

    def pass_time() -> None:
        nonlocal now
        now += 1.25
        line.waiting = [body.encode()] * 100

    pass_time()
    host.lines[queue].after_taking = pass_time
    host.queue(body, name=queue)
    assert line.takes == 3, "at 0, 1.25 and 2.5 seconds of nine; at 3.75 less than six are left"
    assert len(line.removed) == 3 * TAKEN_AT_ONCE[queue], "what was taken was judged"


def test_a_queue_that_breaks_off_leaves_the_call_done(host: Host) -> None:
    """The second round cannot be taken: all before is done, and the host removes the message that the call is for."""
    now = host.clock.now()
    host.line.waiting = [packed(blob_created(f"orders/{number}", now)) for number in range(40)]
    real = host.line.take

    def take() -> list[Waiting]:
        host.line.down = host.line.takes == 1
        return real()

    host.line.take = take  # type: ignore[method-assign]  # it breaks between two rounds
    host.queue(packed(blob_created("1", now, container="other")))
    assert (len(host.line.removed), len(host.line.waiting)) == (32, 8)
    assert host.state("other").owed


def test_a_queue_that_tells_nothing_holds_no_event_up(host: Host) -> None:
    """Nothing more is taken, and what cannot be removed comes again: the event that the call is for is done."""
    now = host.clock.now()
    host.line.down = True
    host.queue(packed(blob_created("1", now, container="other")))
    assert host.state("other").owed
    host.line.down, host.line.waiting = False, [packed(blob_created("orders/1", now))]
    host.line.down_after_taking = True
    host.queue(packed(blob_created("2", now, container="other")))
    assert host.state("sales").owed
    assert host.line.removed == []


def test_a_wake_brings_along_the_next_wakes(host: Host) -> None:
    """One at a time, each settled by itself: what meets trouble stays, and no event is taken."""
    sales = host.configuration().by_name["sales"].key
    host.store.down_for = lambda key: key == sales
    bad, good = (wake_message(Wake(key, host.clock.now(), "1")).encode() for key in (sales, "k"))
    host.line.waiting = [packed(blob_created("orders/1", host.clock.now()))]
    host.lines[WAKES_QUEUE].waiting = [bad, good, b"no JSON"]
    host.queue(good, name=WAKES_QUEUE)
    assert host.lines[WAKES_QUEUE].removed == [good, b"no JSON"]
    assert host.lines[WAKES_QUEUE].takes == 4
    assert [(queue, body) for queue, body, _ in host.yard.buried] == [(WAKES_QUEUE, b"no JSON")]
    assert len(host.line.waiting) == 1


def test_a_push_brings_nothing_along(host: Host) -> None:
    """Event Grid waits for the answer, and the queue has calls of its own."""
    host.line.waiting = [packed(blob_created("orders/1", host.clock.now()))]
    call("event_grid", json.dumps(blob_created("orders/2", host.clock.now())))
    assert host.state("sales").owed
    assert host.line.takes == 0


# --- Dead letters and trouble of ours --------------------------------------------------------------------------------

UNREADABLE = [b"", b"no JSON", b"\xff\xfe", b"[]", b'{"type": 5}', b'{"refresh": "nobody"}', b'{"refresh": "glue"}']


@pytest.mark.parametrize("body", UNREADABLE)
def test_what_cannot_be_read_is_buried_at_once(host: Host, body: bytes) -> None:
    """With the reason, in the poison queue of its queue; the host is told that it is done, so nothing comes back."""
    host.queue(body)
    host.queue(body, name=WAKES_QUEUE)
    assert [(queue, letter) for queue, letter, _ in host.yard.buried] == [(EVENTS_QUEUE, body), (WAKES_QUEUE, body)]
    assert all(why for _, _, why in host.yard.buried)


def test_a_push_that_cannot_be_read_is_buried_too(host: Host) -> None:
    """A refusal would make Event Grid send it for a day; it lies with the others of the events."""
    call("event_grid", json.dumps(blob_created("orders/1", host.clock.now()) | {"eventTime": "yesterday"}))
    [(queue, _, why)] = host.yard.buried
    assert queue == EVENTS_QUEUE
    assert "yesterday" in why


def store_down(host: Host) -> None:
    """No record can be read."""
    host.store.down_for = lambda _: True


def bad_configuration(host: Host) -> None:
    """A configuration that does not load."""
    host.configuration = lambda: load(TEXT.replace('"30s"', '"30 parsecs"'), "unstale.toml")


def bad_settings(host: Host) -> None:
    """A variable that is missing."""
    del host
    app._made.clear()


def a_bug(host: Host) -> None:
    """Anything else."""

    def surprise() -> Any:
        raise KeyError("surprise")

    host.configuration = surprise


FAULTS = [store_down, bad_configuration, bad_settings, a_bug]


@pytest.fixture(name="failure", params=FAULTS, ids=lambda each: each.__name__)
def trouble_of_ours(
    request: pytest.FixtureRequest, host: Host, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Host], None]:
    """Each kind of trouble, at its height."""
    for name in [name for name in os.environ if name.startswith("UNSTALE_")]:
        monkeypatch.delenv(name)
    made: Callable[[Host], None] = request.param
    made(host)
    return made


def test_trouble_of_ours_brings_messages_back(host: Host, failure: Callable[[Host], None]) -> None:
    """Whatever it is, the function fails, so that the host brings the message back; nothing is buried, nothing done."""
    event = blob_created("orders/1", host.clock.now())
    attempts: list[Callable[[], object]] = [
        lambda: host.queue(packed(event)),
        lambda: host.queue(wake_message(Wake("k", host.clock.now(), "1")), name=WAKES_QUEUE),
        lambda: call("event_grid", json.dumps(event)),
        host.tick,
    ]
    for attempt in attempts:
        with pytest.raises((ComesBackError, SettingsError)) as caught:
            attempt()
        assert str(caught.value)
        assert "planted" not in "".join(traceback.format_exception(caught.value))
    assert not host.yard.buried


def test_trouble_of_ours_is_never_the_events_fault(host: Host, failure: Callable[[Host], None]) -> None:
    """Over HTTP it is a 503 that says what is wrong and when to come again, never an empty 500.

    Event Grid drops an event on 400, 401, 403 and 413: its trigger has no answer of ours but success or an exception,
    which the host makes a 500; and where we answer ourselves, none of these comes from trouble of ours.
    """
    response = host.refresh("sales")
    assert response.status_code == 503
    assert response.status_code not in DO_NOT_RETRY
    assert response.headers["Retry-After"] == "30"
    error = json.loads(response.get_body())["error"]
    assert error
    assert "planted" not in error


def test_a_known_secret_is_in_nothing_that_leaves(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception that the host is handed, the answer with 503, the reason beside a dead letter."""

    def down(key: str) -> Document:
        raise StoreDownError(f"reading {key} with {PLANTED_SECRET}")

    monkeypatch.setattr(host.store, "load", down)
    monkeypatch.setattr(host.store, "load_many", down)
    said: list[str] = []
    for ask in (
        lambda: host.queue(packed(blob_created("orders/1", host.clock.now()))),
        lambda: host.queue('{"wake":{"key":"k","due":"2026-01-31T12:00:00Z","version":"1"}}', name=WAKES_QUEUE),
        host.tick,
    ):
        with pytest.raises(ComesBackError) as raised:
            ask()
        said.append(str(raised.value))
    response = host.refresh("sales")
    assert response.status_code == 503
    said.append(response.get_body().decode())
    host.queue(json.dumps({"refresh": PLANTED_SECRET}))
    said += [why for _, _, why in host.yard.buried]
    assert len(said) == 5
    assert all("***" in each and "planted" not in each for each in said), said


def test_settings_that_cannot_be_read_are_answered_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is a shell: what the environment holds is taken out all the same."""
    monkeypatch.setattr(app, "_made", {})
    monkeypatch.setenv("UNSTALE_CLIENT_SECRET", PLANTED_SECRET)
    monkeypatch.setattr(settings, "read", lambda _: (_ for _ in ()).throw(SettingsError(f"not {PLANTED_SECRET}")))
    response = app.refresh(func.HttpRequest("POST", "/", route_params={"target": "sales"}, body=b""))
    assert response.status_code == 503
    assert "not ***" in response.get_body().decode()


def test_a_bad_configuration_says_where(host: Host) -> None:
    """File, line and key reach whoever looks at the failed invocation (G6)."""
    bad_configuration(host)
    with pytest.raises(ComesBackError, match=r"unstale\.toml:3: defaults\.quiet_period: found"):
        host.tick()


def test_a_dead_letter_that_cannot_be_buried_comes_back(host: Host) -> None:
    """It must not be lost between two queues."""
    host.yard.down = True
    with pytest.raises(ComesBackError, match="queue is down"):
        host.queue(b"no JSON")


def test_only_the_bad_part_of_a_message_is_buried(host: Host) -> None:
    """A message may be an array of events: those that can be read are signals, the other one is the dead letter."""
    good, bad = blob_created("orders/1", host.clock.now()), {"type": 5}
    host.queue(packed([good, bad]))
    [(_, body, why)] = host.yard.buried
    assert json.loads(body) == [bad]
    assert why == "1 of 2 events: Expected `str`, got `int` - at `$.type`"
    assert host.state("sales").owed


def test_nothing_is_kept_of_a_failure(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """Once the variable is there, the next invocation works; no restart is needed."""
    bad_settings(host)
    monkeypatch.delenv("UNSTALE_STORAGE", raising=False)
    monkeypatch.delenv("UNSTALE_STORAGE__tableServiceUri", raising=False)
    with pytest.raises(SettingsError, match="UNSTALE_STORAGE"):
        app.shell()
    monkeypatch.setenv("UNSTALE_STORAGE", "UseDevelopmentStorage=true")
    assert app.shell() is app.shell()


def test_one_targets_trouble_is_not_anothers(host: Host) -> None:
    """A wake of one target goes through while the record of another cannot be read."""
    host.store.down_for = lambda key: SALES in key
    host.queue(packed(blob_created("1", host.clock.now(), container="other")))
    with pytest.raises(ComesBackError):
        host.queue(packed(blob_created("orders/1", host.clock.now())))
    assert host.state("other").owed


# --- Refresh over HTTP -----------------------------------------------------------------------------------------------


def content(response: func.HttpResponse) -> dict[str, Any]:
    """What it says, which is JSON always."""
    assert response.mimetype == "application/json"
    said: dict[str, Any] = json.loads(response.get_body())
    return said


@pytest.mark.parametrize("body", [b"", b"{}", b'{"full": true, "reason": "new prices"}', b" \n"])
def test_a_person_asks(host: Host, body: bytes) -> None:
    """202 with how the target stands; it is owed a refresh, full if that was asked for."""
    response = host.refresh("sales", body)
    said = content(response)
    assert response.status_code == 202
    assert (said["target"], said["verdict"], said["signals_owed"]) == ("sales", "stale", 1)
    owed = host.state("sales").owed
    assert owed is not None
    assert (owed.asked, owed.full) == (True, b"true" in body)
    assert ("new prices" in owed.reasons) == (b"new prices" in body)


def test_a_person_who_asks_probes_what_is_blocked(host: Host) -> None:
    """A repaired permission is tried at once, not after an hour."""
    host.fabric.faults.add(Refuse("InsufficientPrivileges"), "start")
    host.refresh("sales")
    host.clock.move_on(minutes=1)
    host.tick()
    assert host.state("sales").hold is not None
    response = host.refresh("sales")
    assert content(response)["situation"] == "running"
    assert host.state("sales").hold is None


@pytest.mark.parametrize("name", ["nobody", "glue", "Sales", "a b"])
def test_an_unknown_target_is_answered_with_the_known_ones(host: Host, name: str) -> None:
    """Those that this function refreshes; a target of the other cloud is none of them. Nothing is buried."""
    response = host.refresh(name)
    assert response.status_code == 404
    assert content(response)["targets"] == ["other", "sales"]
    assert not host.yard.buried


@pytest.mark.parametrize("body", [b"no", b"[]", b"5", b'{"full": "yes"}', b'{"reason": 5}', b"\xff", b"[" * 50_000])
@pytest.mark.usefixtures("without_garbage")
def test_a_body_that_cannot_be_read_is_the_callers_fault(host: Host, body: bytes) -> None:
    """400 with the reason, and nothing is owed."""
    response = host.refresh("sales", body)
    assert response.status_code == 400
    assert content(response)["error"]
    assert host.state("sales").owed is None


def test_a_body_is_refused_by_its_length_before_anything_else(host: Host) -> None:
    """413 with both lengths; nothing is read, of it or of the store. One of just the limit is looked at."""
    response = host.refresh("sales", b"x" * (REFRESH_BODY_LIMIT + 1))
    assert response.status_code == 413
    assert f"{REFRESH_BODY_LIMIT + 1} bytes, where {REFRESH_BODY_LIMIT} are allowed" in content(response)["error"]
    assert host.store.reads == 0
    assert host.refresh("sales", b" " * REFRESH_BODY_LIMIT).status_code == 202


def test_a_body_with_a_byte_order_mark_is_read(host: Host) -> None:
    """PowerShell writes one, even before nothing."""
    for body in (b'{"full": false, "reason": "month end"}', b""):
        assert host.refresh("sales", b"\xef\xbb\xbf" + body).status_code == 202
    assert "month end" in str(host.state("sales").owed)


def test_a_body_can_only_ask_for_its_own_target(host: Host) -> None:
    """Fields of other messages of ours have no meaning here."""
    wake = {"key": "k", "due": "2026-01-31T12:00:00Z", "version": "1"}
    response = host.refresh("sales", json.dumps({"refresh": "other", "tick": True, "wake": wake}).encode())
    assert response.status_code == 202
    assert (host.state("sales").owed is None, host.state("other").owed is None) == (False, True)


def test_an_answer_without_the_row_is_an_answer(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for is stored; that it cannot be read once more is no reason to ask again."""
    monkeypatch.setattr(host.store, "load_many", lambda _: 1 / 0)
    response = host.refresh("sales")
    assert (response.status_code, content(response)) == (202, {"target": "sales"})


# --- Event hubs ------------------------------------------------------------------------------------------------------


class Pauses:
    """Instead of sleeping: what happens meanwhile."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        self.seconds: list[float] = []
        self._meanwhile = list(meanwhile)

    def __call__(self, seconds: float) -> None:
        """Let the next thing happen; with nothing left to happen, the batch would wait for ever."""
        self.seconds.append(seconds)
        assert self._meanwhile, "it waits for something that never comes"
        self._meanwhile.pop(0)()


def nothing() -> None:
    """Happens."""


def no_complaints(failure: Exception) -> None:
    """Of settings, which are good."""
    raise AssertionError(failure)


def batch(host: Host, *paths: str) -> list[bytes]:
    """Events of an event hub."""
    return [json.dumps(blob_created(path, host.clock.now())).encode() for path in paths]


def test_a_batch_waits_for_a_short_trouble(host: Host) -> None:
    """A moment's trouble of the store is waited for; nothing goes to the queue."""
    store_down(host)

    def mend() -> None:
        host.store.down_for = lambda _: False

    pauses = Pauses(mend)
    persist(app.shell, batch(host, "orders/1"), pauses, no_complaints)
    assert host.state("sales").owed
    assert pauses.seconds == [PAUSES_SECONDS[0]]
    assert not host.yard.returned


def test_a_batch_goes_to_the_queue_if_the_store_stays_away(host: Host) -> None:
    """Each event that concerns the broken record, as it came, and only those; so the partition goes on."""
    host.store.down_for = lambda key: SALES in key
    bodies = batch(host, "orders/1", "elsewhere/1", "orders/2")
    other = json.dumps(blob_created("1", host.clock.now(), container="other")).encode()
    persist(app.shell, [*bodies, other, b"no JSON"], Pauses(*[nothing] * TURNS_BEFORE_QUEUE), no_complaints)
    assert host.yard.returned == [(EVENTS_QUEUE, bodies[0]), (EVENTS_QUEUE, bodies[2])]
    assert host.state("other").owed
    assert len(host.yard.buried) == 1


UNFIT = {
    "bytes that are no text": b'{"type": "\xff"}',
    "a character that XML has none of": b'{"type": "\x01"}',
    "more than a queue takes": b'{"type": "%s"}' % (b"x" * 65_536),
}


@pytest.mark.parametrize("body", UNFIT.values(), ids=list(UNFIT))
def test_what_no_queue_takes_holds_no_partition(host: Host, body: bytes) -> None:
    """Nobody can say what it is while nothing can be read: it is buried whole, and the others wait in the queue."""
    bad_configuration(host)
    [good] = batch(host, "orders/1")
    persist(app.shell, [body, good], Pauses(*[nothing] * TURNS_BEFORE_QUEUE), no_complaints)
    assert [(queue, letter) for queue, letter, _ in host.yard.buried] == [(EVENTS_QUEUE, body)]
    assert "no queue takes this" in host.yard.buried[0][2]
    assert host.yard.returned == [(EVENTS_QUEUE, good)]


def test_what_can_neither_be_queued_nor_buried_waits(host: Host) -> None:
    """Both are away: it holds its call, and is buried when they are back."""
    bad_configuration(host)
    host.yard.down = True

    def mend() -> None:
        host.yard.down = False

    persist(app.shell, [b"\xff"], Pauses(*[nothing] * 5, mend), no_complaints)
    assert [body for _, body, _ in host.yard.buried] == [b"\xff"]


def test_a_batch_never_gives_up(host: Host) -> None:
    """With the store and the queue away, it holds on, for hours: if it ended, the host would move its checkpoint on."""
    store_down(host)
    host.yard.down = True

    def mend() -> None:
        host.yard.down = False

    pauses = Pauses(*[nothing] * 100, mend)
    persist(app.shell, batch(host, "orders/1"), pauses, no_complaints)
    assert len(host.yard.returned) == 1
    assert max(pauses.seconds) == pauses.seconds[-1] == PAUSES_SECONDS[-1]


def test_a_batch_survives_a_bad_configuration(host: Host) -> None:
    """Which nobody mends within a moment: the events wait in the queue."""
    bad_configuration(host)
    persist(app.shell, batch(host, "orders/1"), Pauses(*[nothing] * TURNS_BEFORE_QUEUE), no_complaints)
    assert len(host.yard.returned) == 1


def test_a_batch_survives_bad_settings(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings there is not even a queue. It waits, and says why each time, until they are there."""
    monkeypatch.delenv("UNSTALE_STORAGE", raising=False)
    complaints: list[Exception] = []
    bad_settings(host)
    pauses = Pauses(nothing, nothing, lambda: app.use(host.shell))
    persist(app.shell, batch(host, "orders/1"), pauses, complaints.append)
    assert [type(each) for each in complaints] == [SettingsError] * 3
    assert host.state("sales").owed


def test_a_dead_letter_of_a_batch_comes_back_until_it_is_buried(host: Host) -> None:
    """What cannot be read is not lost either while the poison queue is away."""
    host.yard.down = True

    def mend() -> None:
        host.yard.down = False

    persist(app.shell, [b"no JSON", *batch(host, "orders/1")], Pauses(nothing, mend), no_complaints)
    assert [body for _, body, _ in host.yard.buried] == [b"no JSON"]
    assert not host.yard.returned
    assert host.state("sales").owed


# --- Starting --------------------------------------------------------------------------------------------------------

PROBE = """
import json, sys
import azure.functions
before = set(sys.modules)
import socket
def refuse(*_): raise AssertionError("the network")
socket.getaddrinfo = socket.socket.connect = refuse
from functions_azure.function_app import app
heavy = (
    "azure.core", "azure.data", "azure.storage", "msal", "requests", "urllib3", "shared.refresh.engine", "pydantic"
)
print(json.dumps({
    "functions": sorted(each.get_function_name() for each in app.get_functions()),
    "imported": sorted(name for name in set(sys.modules) - before if name.startswith(heavy)),
}))
"""


def probe(**environment: str) -> dict[str, Any]:
    """What importing the entry does, in a process of its own with nothing but these variables."""
    here = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env={**here, **environment}
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_indexing_needs_nothing() -> None:
    """No variable, no network, no file, no SDK: so a mistake in any of them cannot make all functions disappear.

    Without an event hub its function is left out; one whose connection is missing would be reported as broken for ever.
    """
    assert probe() == {"functions": ["events", "refresh", "tick", "wakes"], "imported": []}


@pytest.mark.parametrize("name", ["UNSTALE_EVENTS", "UNSTALE_EVENTS__fullyQualifiedNamespace"])
def test_an_event_hub_brings_its_function(name: str) -> None:
    """Either form of the connection does."""
    assert "stream" in probe(**{name: "contoso.servicebus.windows.net"})["functions"]


@pytest.mark.parametrize(("value", "there"), [("true", True), ("True", True), ("", False), ("false", False)])
def test_event_grid_finds_its_function_only_where_push_was_chosen(value: str, there: bool) -> None:
    """An address that nobody is to call is not there; the queue is, in any case."""
    functions = probe(UNSTALE_PUSH=value)["functions"]
    assert ("event_grid" in functions) is there
    assert "events" in functions


def test_what_packaging_compiled_is_read_and_another_s_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The TOML beside it counts: changed since, it is read itself, and the log says so; else it is not parsed."""
    config, beside = tmp_path / "unstale.toml", tmp_path / compiled.FILE
    config.write_bytes(TEXT.encode())
    found = Settings(config, storage="UseDevelopmentStorage=true")
    loaded = wiring.configuration(found)
    beside.write_bytes(compiled.compile_configuration(TEXT.encode() + b"# before\n", "unstale.toml"))
    assert wiring.configuration(found) == loaded
    assert "unstale.compiled was not made from" in caplog.text
    beside.write_bytes(compiled.compile_configuration(TEXT.encode(), "unstale.toml"))
    monkeypatch.setattr("shared.config.load.load", lambda *_: pytest.fail("the TOML was parsed"))
    assert wiring.configuration(found) == loaded
