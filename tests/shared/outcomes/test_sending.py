"""Sending: in order, at least once, each destination at its own pace, and one that fails left alone for a while."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from shared.config.load import Configuration
from shared.destinations import Destination
from shared.inbound.dispatch import take
from shared.inbound.messages import Ticked
from shared.outcomes.answers import SendFailure, read_aws_error, read_status
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.sending import Office, Sending
from shared.outcomes.signing import signed_headers
from shared.refresh import records
from shared.refresh.engine import Engine
from shared.refresh.identity import Identity, Queue
from shared.refresh.outbox import note_event
from shared.refresh.ports import Conflict, Phase, StoreDownError
from shared.refresh.state import Addressee, Deployment, Edition, Outbox, Owed, Situation, State, Success
from shared.targets import Cloud, GlueView, ItemJob, LakeViews, Resource, target_of
from tests.support.core import GLUE, NOON, Bench, ScriptedPlatform, a_run, a_target, at, report, seconds

BUS, HOOK = Destination("eventbridge"), Destination("webhook", on=("late", "held"), url="https://example.com")
LATER = SendFailure("status 503")
QUICK = replace(GLUE, call_timeout=seconds(5))
"""A platform whose calls fit into an invocation of nine seconds."""


class Post:
    """Takes events, and gives the answers that a test wants."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.answer: Callable[[str, str], SendFailure | None] = lambda _to, _type: None
        self.read: Callable[[EncodedEvent], object] = lambda _letter: None

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Take an event, unless it is to fail."""
        self.read(event)
        failure = self.answer(destination.to, event.type)
        if failure is None:
            self.taken.append((destination.to, event.id.rpartition("/")[2]))
        return failure

    def to(self, kind: str) -> list[str]:
        """The numbers of the events that a kind of destination took."""
        return [number for to, number in self.taken if to == kind]


class Office1(Bench):
    """An engine that sends to two destinations."""

    def __init__(self, *destinations: Destination) -> None:
        super().__init__(platform=ScriptedPlatform(QUICK, get=[report(Phase.SUCCEEDED)]))
        self.post = Post()
        self.destinations = destinations or (BUS, HOOK)
        self.over = False
        self.put(State())

    def invocation(self) -> Engine:
        """The engine of another invocation."""
        office = Office(
            store=self.store,
            clock=self.clock,
            senders={"eventbridge": self.post, "webhook": self.post},
            source="/unstale",
            capabilities=GLUE,
            emit=self.told.append,
        )
        ports = replace(self.ports, outcomes=lambda package: Sending(office, package))
        package = replace(self.configuration.package(Cloud.AWS), destinations=self.destinations)
        return Engine(package, ports, ends_at=self.clock.monotonic() + (0 if self.over else 9))

    def look(self, time: float) -> None:
        """Look at the target at that time, and tell."""
        self.at(time)
        engine = self.invocation()
        engine.reconcile(self.target())
        engine.tell()

    def wait(self, *kinds: str) -> None:
        """Have events of these kinds wait, due now."""
        outbox = Outbox()
        for kind in kinds:
            outbox = note_event(outbox, kind, NOON, "", NOON)
        now = self.clock.now()
        self.put(State(outbox=replace(outbox, next_at=now), wake_at=now))


def waiting(bench: Bench) -> list[int]:
    """The numbers of the events that wait."""
    return [notice.number for notice in bench.state().outbox.notices]


def test_a_success_is_sent_by_the_invocation_that_sees_it() -> None:
    """To whoever wants it, with the run's line of history."""
    bench = Office1()
    run = replace(a_run(Situation.RUNNING, covering=Owed(at(-100), at(-100))), next_look_at=NOON)
    bench.put(State(run=run, last_claim_at=NOON, wake_at=NOON))
    bench.look(0)
    assert bench.post.taken == [("eventbridge", "1")]
    assert (waiting(bench), bench.state().outbox.next_at, bench.state().wake_at) == ([], None, None)


def test_each_destination_gets_what_it_wants_in_order() -> None:
    """What it does not want it has."""
    bench = Office1()
    bench.wait("refreshed", "late", "refreshed", "held")
    bench.look(0)
    assert bench.post.to("eventbridge") == ["1", "2", "3", "4"]
    assert bench.post.to("webhook") == ["2", "4"]
    assert bench.state().outbox == Outbox(last_number=4)


def test_a_failure_ends_the_sending_to_that_destination_for_a_while() -> None:
    """1 minute, doubling to 1 hour; the other one gets everything meanwhile, and nothing twice."""
    bench = Office1()
    bench.post.answer = lambda to, _type: LATER if to == "webhook" else None
    bench.wait("late", "held")
    now, waits = 0.0, []
    for _ in range(9):
        bench.look(now)
        until = bench.state().outbox.next_at
        assert until
        waits.append((until - at(now)).total_seconds())
        now = (until - NOON).total_seconds()
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert (bench.post.to("eventbridge"), waiting(bench)) == (["1", "2"], [1, 2])
    bench.post.answer = lambda _to, _type: None
    bench.look(now)
    assert bench.post.to("webhook") == ["1", "2"]
    assert bench.post.to("eventbridge") == ["1", "2"]
    body = bench.store.load(records.destination_key(HOOK.digest)).body
    assert records.read_as(body, Addressee) == Addressee()


def test_a_destination_is_left_alone_for_all_targets() -> None:
    """One call in vain, not one a target; and not one in each invocation."""
    bench = Office1(HOOK)
    other = a_target("other")
    bench.configuration = Configuration((bench.target(), other))
    asked: list[str] = []

    def refuse(_to: str, kind: str) -> SendFailure:
        asked.append(kind)
        return LATER

    bench.post.answer = refuse
    outbox = replace(note_event(Outbox(), "late", NOON, "", NOON), next_at=NOON)
    engine = bench.invocation()
    for name in ("daily", "other"):
        bench.put(State(outbox=outbox, wake_at=NOON), name)
        engine.reconcile(bench.target(name))
    engine.tell()
    assert len(asked) == 1
    assert {bench.state(name).outbox.next_at for name in ("daily", "other")} == {at(60)}
    bench.wait("late")
    bench.look(5)
    assert len(asked) == 1


@pytest.mark.parametrize("destinations", [(), (BUS,)], ids=["none", "one"])
def test_an_older_package_leaves_what_only_the_newer_one_sends(destinations: tuple[Destination, ...]) -> None:
    """A canary, or a rollback: the newer package's webhook gets all events, though the older one tells its own."""
    bench = Office1()
    bench.post.answer = lambda to, _type: LATER if to == "webhook" else None
    bench.wait("late", "held")
    later = Edition(2, "later", bench.configuration.generation + timedelta(days=1))
    bench.store.save(bench.store.load(records.DEPLOYMENT_KEY), records.write(Deployment(edition=later)), None)
    newest, bench.destinations = bench.destinations, destinations
    bench.look(0)
    assert waiting(bench) == [1, 2]
    assert bench.state().wake_at == at(60)
    bench.destinations, bench.post.answer = newest, lambda _to, _type: None
    generation = later.generation + timedelta(days=1)
    bench.configuration = replace(bench.configuration, generation=generation)
    bench.look(60)
    assert bench.post.to("webhook") == ["1", "2"]
    assert bench.post.to("eventbridge") == ["1", "2"]


def test_a_destination_that_failed_is_not_gone_round_to_again() -> None:
    """The save that leaves it alone is the last thing that the worker does about it."""
    bench = Office1(HOOK)
    bench.post.answer = lambda _to, _type: LATER
    bench.wait("late")
    loads = bench.loads()
    bench.look(0)
    assert loads.count(bench.target().key) == 3  # to take it, to tell it, to save how far that got


def test_an_event_says_that_its_target_waits_for_a_silence() -> None:
    """What `status` says, the record of the identity included."""
    bench = Office1(BUS)
    queue = Queue(serves_at=at(300), rate=1.0, quiet_since=at(300), silent_until=at(300))
    identity = records.identity_key(bench.target().identity)
    bench.store.save(bench.store.load(identity), records.write(Identity(starts=queue)), None)
    bodies: list[bytes] = []
    bench.post.read = lambda event: bodies.append(event.body)
    bench.wait("late")
    bench.put(replace(bench.state(), owed=Owed(at(-900), at(-900))))
    bench.look(0)
    [body] = bodies
    assert b"a refresh starts in 5 min" in body


def test_what_is_refused_for_good_is_dropped_and_logged() -> None:
    """The next event is sent all the same."""
    bench = Office1(BUS)
    bench.post.answer = lambda _to, kind: SendFailure("status 400", for_good=True) if kind == "unstale.late" else None
    bench.wait("late", "held")
    bench.look(0)
    assert (bench.post.to("eventbridge"), waiting(bench)) == (["2"], [])
    [refused] = [event for event in bench.told if event.what == "outcome refused"]
    assert (refused.fields["why"], refused.fields["to"]) == ("status 400", "eventbridge default")


def test_what_there_is_no_time_for_is_due_at_once() -> None:
    """And sent by whoever comes next."""
    bench = Office1(BUS)
    sent: list[str] = []

    def slowly(_to: str, kind: str) -> None:
        sent.append(kind)
        bench.clock.time = at(9 * len(sent))

    bench.post.answer = slowly
    bench.wait("late", "held", "released")
    bench.look(0)
    assert (sent, bench.state().outbox.next_at) == (["unstale.late"], at(9))
    bench.look(9)
    bench.look(18)
    assert bench.post.to("eventbridge") == ["1", "2", "3"]
    assert waiting(bench) == []


def test_a_destination_that_is_new_gets_what_still_waits() -> None:
    """Its settings are another destination's: it has nothing yet, and the others nothing twice."""
    bench = Office1()
    bench.post.answer = lambda to, _type: LATER if to == "webhook" else None
    bench.wait("late")
    bench.look(0)
    bench.destinations = (BUS, replace(HOOK, url="https://example.org"))
    bench.post.answer = lambda _to, _type: None
    bench.look(60)
    assert bench.post.taken == [("eventbridge", "1"), ("webhook", "1")]
    assert waiting(bench) == []


def test_without_a_destination_what_waits_is_done_with() -> None:
    """Somebody took the last one out of the configuration."""
    bench = Bench(platform=ScriptedPlatform())
    outbox = replace(note_event(Outbox(), "late", NOON, "", NOON), next_at=NOON)
    bench.put(State(outbox=outbox, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    bench.engine.tell()
    assert bench.state().outbox == Outbox(last_number=1)


def test_who_comes_second_to_a_destinations_record_leaves_it_as_it_is() -> None:
    """Both saw it fail."""
    bench = Office1(HOOK)
    bench.post.answer = lambda _to, _type: LATER
    bench.wait("late")

    def be_first(key: str) -> None:
        if key == records.destination_key(HOOK.digest):
            raise Conflict(key)

    bench.store.before_save = be_first
    bench.look(0)
    assert bench.state().outbox.next_at == at(60)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(RuntimeError("a bug"), "RuntimeError: a bug")],
)
def test_a_bug_in_sending_delays_no_refresh(answer: Exception, why: str) -> None:
    """It is logged, and tried again in ten seconds."""
    bench = Office1(BUS)

    def fail(_to: str, _type: str) -> None:
        raise answer

    bench.post.answer = fail
    bench.wait("late")
    bench.look(0)
    assert bench.state().outbox.next_at == at(10)
    assert [event.fields["why"] for event in bench.told if event.what == "not told"] == [why]


# --- Answers and signatures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "for_good"),
    [
        *((status, None) for status in (200, 202, 204)),
        *((status, True) for status in (400, 401, 404, 410, 499)),
        *((status, False) for status in (100, 301, 307, 408, 425, 429, 500, 503)),
    ],
)
def test_a_status_says_whether_to_send_again(status: int, for_good: bool | None) -> None:
    """4xx is for good, except 408, 425 and 429."""
    found = read_status(status, "words")
    assert (found.for_good if found else None) is for_good
    assert found is None or found.why == f"status {status}: words"


@pytest.mark.parametrize(
    ("status", "code", "for_good"),
    [
        (400, "ValidationException", True),
        (400, "AccessDeniedException", True),
        (404, "NotFoundException", True),
        (400, "ThrottlingException", False),
        (400, "Throttled", False),
        (400, "RequestLimitExceeded", False),
        (400, "InternalFailure", False),
        (500, "InternalException", False),
        (0, "", False),
    ],
)
def test_an_error_of_aws_says_whether_to_send_again(status: int, code: str, for_good: bool) -> None:
    """By its code where the status says 400 to all."""
    assert read_aws_error(status, code, "words") == SendFailure(f"{code}: words", for_good)


AN_EVENT = EncodedEvent("msg_p5jXN8AQM9LWM0D4loKWxJek", "t", "s", "n", NOON, "c", b'{"test": 2432232314}', "h")


def test_a_signature_is_that_of_the_specification() -> None:
    """The example of Standard Webhooks' reference libraries."""
    secret, sent_at = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", datetime.fromisoformat("2021-02-25T15:02:10+00:00")
    headers = signed_headers(AN_EVENT, secret, sent_at)
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["a plain secret", "whsec_no base64!"])
def test_a_secret_that_is_no_base64_is_taken_as_it_is(secret: str) -> None:
    """Its own bytes sign, whatever somebody put there."""
    signed = f"{AN_EVENT.id}.{int(NOON.timestamp())}.".encode() + AN_EVENT.body
    expected = b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()
    assert signed_headers(AN_EVENT, secret, NOON)["webhook-signature"] == f"v1,{expected}"


# --- Targets that are gone -------------------------------------------------------------------------------------------


class Gone(Office1):
    """A target whose events wait when the configuration no longer names it."""

    def __init__(self) -> None:
        super().__init__(BUS)
        self.wait("late", "held")
        self.key = self.target().key
        self.configuration = Configuration((a_target("other"),))

    def tick(self, time: float) -> None:
        """Let a tick come at that time."""
        self.at(time)
        take(self.invocation(), self.configuration, [Ticked()])

    def record(self) -> State:
        """What is known of the target."""
        return records.read_state(self.store.load(self.key).body)


def test_a_target_that_is_gone_tells_its_events_to_the_end() -> None:
    """By the tick that forgets it, and then nothing is due for it any more; nothing is planned for it."""
    bench = Gone()
    bench.tick(0)
    assert bench.post.to("eventbridge") == ["1", "2"]
    state = bench.record()
    assert (state.outbox, state.definition, state.wake_at, state.owed) == (Outbox(last_number=2), "", None, None)
    assert list(bench.store.due(at(9999), 9)) == [a_target("other").key]


def test_a_target_that_is_gone_waits_for_a_destination_as_others_do() -> None:
    """It is due when that has its turn again, for nothing else."""
    bench = Gone()
    bench.post.answer = lambda _to, _type: LATER
    bench.tick(0)
    assert (bench.record().wake_at, bench.record().definition) == (at(60), "")
    bench.tick(30)
    bench.post.answer = lambda _to, _type: None
    bench.tick(60)
    assert bench.post.to("eventbridge") == ["1", "2"]
    assert bench.record().wake_at is None


def test_followers_of_a_target_that_is_gone_are_not_told() -> None:
    """None names it any more: those that did have changed, and are signalled for that."""
    bench = Gone()
    outbox = replace(note_event(Outbox(), "late", NOON, "", NOON), telling=Success(NOON), waiting=at(1), next_at=NOON)
    body = records.write(State(definition="d", outbox=outbox, wake_at=NOON))
    bench.store.save(bench.store.load(bench.key), body, NOON)
    bench.tick(0)
    assert (bench.record().outbox, bench.record().wake_at) == (Outbox(last_number=1), None)


@pytest.mark.parametrize("change", [{"definition": "d"}, {"failures": 1}], ids=["came back", "moved on"])
def test_who_is_overtaken_while_it_tells_of_what_is_gone_leaves_the_record(change: dict[str, Any]) -> None:
    """The events are told again."""
    bench = Gone()
    moved: list[State] = []

    def move_on(_to: str, _type: str) -> None:
        if not moved:
            moved.append(replace(bench.record(), **change))
            body = records.write(moved[0])
            if "definition" in change:
                bench.store.save(bench.store.load(bench.key), body, None)
            else:
                bench.store.before_save = conflict

    def conflict(key: str) -> None:
        if key == bench.key:
            raise Conflict(key)

    bench.post.answer = move_on
    bench.tick(0)
    assert [notice.number for notice in bench.record().outbox.notices] == [1, 2]


def test_trouble_with_one_that_is_gone_sends_no_delivery_back() -> None:
    """Nor does it keep others that are gone from being told; the log says so."""
    bench = Gone()
    load, down = bench.store.load, [False]

    def answer(_to: str, _type: str) -> None:
        down[0] = True

    def fail_for_it(key: str) -> Any:
        if key == bench.key and down[0]:
            raise StoreDownError("it is down")
        return load(key)

    bench.post.answer = answer
    bench.store.load = fail_for_it  # type: ignore[method-assign]
    bench.at(0)
    [judged] = take(bench.invocation(), bench.configuration, [Ticked()])
    assert judged.verdict == "done"
    assert [event.fields["why"] for event in bench.told if event.what == "not told"] == ["StoreDownError: it is down"]


def test_who_lost_its_turn_tells_nothing_of_what_is_gone() -> None:
    """Another worker took it over."""
    bench = Gone()
    engine = bench.invocation()
    engine.note_gone(bench.key, at(5))
    engine.tell()
    assert bench.post.taken == []


@pytest.mark.parametrize(
    "resource",
    [
        GlueView("1:s3tablescatalog/b", "sales", "a b:c"),
        LakeViews("w", "l"),
        LakeViews("w", "l", "d"),
        ItemJob("w", "i", "DefaultJob"),
    ],
)
def test_a_key_says_which_resource_it_is_of(resource: Resource) -> None:
    """The way back from the key of a record; of a job's data it has only the digest."""
    assert target_of(resource.key).resource == resource
    with_data = ItemJob("w", "i", "Run", {"a": 1})
    assert target_of(with_data.key).resource == ItemJob("w", "i", "Run")
