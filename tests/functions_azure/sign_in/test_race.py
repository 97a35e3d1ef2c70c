"""Two instances renew at the same moment, killed at every effect: what is kept opens, and is never replaced by older.

Each request over the network is an effect. The verdict is the tenant's, which numbers its refresh tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests

from functions_azure.sign_in.store import SignIns
from functions_azure.tokens import EntraTokens
from local.emulators.entra.users import Users
from shared.refresh.failure import Failure
from tests.support.azurite_server import new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.signed_in import SignInSetup, user_setup  # noqa: F401 - a fixture

EFFECTS = 7
"""Of a renewal by a new process: read the file and how often somebody signed out, token for the vault, unwrap, Entra's
addresses, renew, save."""


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Wire:
    """Every request of the process; `plan` is called with its number, before and after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan: Callable[[int, str], object] = lambda _number, _when: None
        self.count = 0
        self._inside = False
        send = requests.Session.send

        def counted(session: requests.Session, request: Any, **options: Any) -> requests.Response:
            if self._inside:
                return send(session, request, **options)
            self.count += 1
            number = self.count
            self._tell(number, "before")
            response = send(session, request, **options)
            try:
                self._tell(number, "after")
            except Killed:
                response.close()  # as the end of a process does
                raise
            return response

        monkeypatch.setattr(requests.Session, "send", counted)

    def _tell(self, number: int, when: str) -> None:
        """What happens in between is not counted."""
        self._inside = True
        try:
            self.plan(number, when)
        finally:
            self._inside = False


@pytest.fixture(name="wire")
def watched_wire(setup: SignInSetup, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """The network, with somebody signed in, and a tenant whose clock moves on with each token."""
    issued = Users._issue

    def ticking(self: Users, *args: Any) -> Any:
        setup.clock.ahead += timedelta(seconds=1)
        return issued(self, *args)

    monkeypatch.setattr(Users, "_issue", ticking)
    setup.entra.token_lifetime = timedelta(minutes=4)
    setup.signs_in()
    return Wire(monkeypatch)


@pytest.fixture(name="judge")
def reader_of_the_file(setup: SignInSetup) -> SignIns:
    """Somebody who only reads it."""
    return setup.parts().sign_ins


def instance(setup: SignInSetup) -> EntraTokens:
    """A new process that will renew, because its access token is spent."""
    return setup.parts().tokens


def kept(setup: SignInSetup, judge: SignIns) -> int:
    """The number of the refresh token in the file, opened as anybody with the key can."""
    looked = judge.look()
    assert looked
    cache = json.loads(judge.open(*looked).cache)
    [refresh] = cache["RefreshToken"].values()
    return next(each.number for each in setup.entra.users.refreshes if each.value == refresh["secret"])


def newest(setup: SignInSetup) -> int:
    """The number of the last refresh token that the tenant issued."""
    return setup.entra.users.refreshes[-1].number


def test_a_renewal_has_these_effects(setup: SignInSetup, wire: Wire, judge: SignIns) -> None:
    """What the other tests count is what happens."""
    instance(setup).token()
    assert wire.count == EFFECTS
    assert kept(setup, judge) == newest(setup)


@pytest.mark.parametrize("at", range(1, EFFECTS + 1))
def test_another_instance_renews_in_between(setup: SignInSetup, wire: Wire, judge: SignIns, at: int) -> None:
    """Wherever the other one comes in, both have their token, and the newest refresh token is the one that is kept."""
    other: list[str | Failure] = []
    wire.plan = lambda number, when: other.append(instance(setup).token()) if (number, when) == (at, "before") else None
    mine = instance(setup).token()
    wire.plan = lambda _number, _when: None
    assert isinstance(mine, str)
    assert [type(found) for found in other] == [str]
    assert kept(setup, judge) == newest(setup)


@pytest.mark.parametrize("at", range(1, EFFECTS + 1))
@pytest.mark.parametrize("revoked", [False, True])
def test_a_login_in_between_is_not_undone(setup: SignInSetup, wire: Wire, at: int, revoked: bool) -> None:
    """Though the instance's token may have been issued later: it belongs to the session before."""
    sessions: list[str] = []

    def plan(number: int, when: str) -> None:
        if (number, when) == (at, "before"):
            if revoked:
                setup.entra.users.change_password()
            setup.signs_in()
            sessions.append(session(setup))

    wire.plan = plan
    instance(setup).token()
    wire.plan = lambda _number, _when: None
    assert [session(setup)] == sessions
    assert isinstance(instance(setup).token(), str)


@pytest.mark.parametrize("at", range(1, EFFECTS + 1))
def test_a_sign_out_in_between_is_not_undone(setup: SignInSetup, wire: Wire, at: int) -> None:
    """Whoever renews does not bring back what somebody removed."""

    def plan(number: int, when: str) -> None:
        if (number, when) == (at, "before"):
            assert setup.unstale("login", "--remove") == 0

    wire.plan = plan
    instance(setup).token()
    wire.plan = lambda _number, _when: None
    with setup.blob as blob:
        assert not blob.exists()
    assert isinstance(instance(setup).token(), Failure)


def session(setup: SignInSetup) -> str:
    """Of which `unstale login` the file is."""
    found: str = json.loads(setup.file().partition(b"\n")[0])["sign_in"]["session"]
    return found


@pytest.mark.parametrize("at", range(1, EFFECTS + 1))
def test_killed_at_any_effect(setup: SignInSetup, wire: Wire, judge: SignIns, at: int) -> None:
    """With another instance renewing at any effect before that, or none: the file opens, and never goes back.

    What was issued to the killed one, and not kept, is lost with it; that does not matter, because the tenant does not
    revoke the token that it was got with.
    """
    for when in ("before", "after"):
        for other_at in range(at + 1):
            killed(setup, wire, judge, (at, when), other_at)


def killed(setup: SignInSetup, wire: Wire, judge: SignIns, at: tuple[int, str], other_at: int) -> None:
    """One history."""
    had = [kept(setup, judge)]

    def plan(number: int, when: str) -> None:
        if (number, when) == (other_at, "before"):
            assert isinstance(instance(setup).token(), str)
            had.append(kept(setup, judge))
        if (number, when) == at:
            had.append(kept(setup, judge))
            raise Killed

    wire.count, wire.plan = 0, plan
    with pytest.raises(Killed):
        instance(setup).token()
    wire.plan = lambda _number, _when: None
    had.append(kept(setup, judge))
    assert had == sorted(had), (at, other_at)
    assert isinstance(instance(setup).token(), str)
    assert kept(setup, judge) == newest(setup)
