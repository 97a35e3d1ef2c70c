"""A signed-in user, end to end on loopback: real msal, a tenant, a Key Vault, Azurite and Fabric give the verdicts."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from functions_azure import settings as variables
from functions_azure import wiring
from functions_azure.clients import Deadline
from functions_azure.shell import ComesBackError
from functions_azure.sign_in import user
from functions_azure.sign_in.store import SignIns, SignOuts
from functions_azure.tokens import BoundedHttp
from functions_azure.wiring import Parts
from local.cli import login
from local.emulators.entra.emulator import App
from local.emulators.entra.tokens import EXCHANGE, FABRIC
from local.emulators.entra.users import CHALLENGE, Does, Wish
from local.emulators.faults import IssueExpired, IssueFor, LoseResponse, RefuseToken, ServerError, Slow, Throttle
from shared.refresh.failure import Failure
from shared.refresh.ports import StoreDownError
from shared.refresh.state import Blocked
from shared.sign_in import ITEM_SCOPES, LAKE_VIEW_SCOPES
from tests.support.azure_host import SALES, WORKSPACE
from tests.support.azurite_server import new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.revocation import revoke
from tests.support.signed_in import ADA, APP, CONSENTED, SYSTEM, SignInSetup, no_token, token, until, user_setup  # noqa: F401 - fixtures


@pytest.fixture(name="short")
def short_tokens(setup: SignInSetup) -> SignInSetup:
    """Access tokens that msal takes for spent at once, so that every call asks Entra."""
    setup.entra.token_lifetime = timedelta(minutes=4)
    return setup


def item_job(setup: SignInSetup) -> None:
    """A configuration with a job of an item."""
    setup.config.write_text(
        f'[fabric]\nidentity = "user"\n[targets.job]\nkind = "fabric-item-job"\nworkspace = "{WORKSPACE}"\n'
        f'item = "{SALES}"\njob_type = "DefaultJob"\n',
        encoding="utf-8",
    )


def wishes(setup: SignInSetup) -> list[Wish]:
    """What the person was asked to agree to."""
    asked: list[Wish] = []

    def agrees(wish: Wish) -> Does:
        asked.append(wish)
        return "signs in"

    setup.entra.users.person = agrees
    return asked


# --- Signing in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [(), ("--browser",)], ids=["device code", "browser"])
def test_a_user_signs_in_and_the_function_takes_tokens_alone(
    setup: SignInSetup, capsys: pytest.CaptureFixture[str], how: tuple[str, ...]
) -> None:
    """Exactly the scopes that the targets need are asked for and named; instances share what is kept, without Entra."""
    asked = wishes(setup)
    assert setup.unstale("login", *how) == 0
    assert [set(wish.resource_scopes) for wish in asked] == [CONSENTED]
    said = capsys.readouterr().out
    assert "asks for Lakehouse.Execute.All, Lakehouse.Read.All of" in said
    assert f"{ADA} is signed in" in said
    before = len(setup.entra.token_requests)
    first, second = token(setup.parts().tokens), token(setup.parts().tokens)
    assert first == second
    caller = setup.entra.tokens.validate(f"Bearer {first}", {FABRIC})
    assert (getattr(caller, "kind", caller), getattr(caller, "scopes", ())) == ("user", frozenset(LAKE_VIEW_SCOPES))
    assert {asked.grant for asked in setup.entra.token_requests[before:]} == {"managed_identity"}


def test_an_item_job_needs_the_generic_scopes(setup: SignInSetup, capsys: pytest.CaptureFixture[str]) -> None:
    """They do for lake views, too, so nothing else is asked for."""
    item_job(setup)
    setup.entra.apps[APP.client_id] = replace(APP, consented=frozenset(f"{FABRIC}/{scope}" for scope in ITEM_SCOPES))
    asked = wishes(setup)
    setup.signs_in()
    assert [wish.resource_scopes for wish in asked] == [[f"{FABRIC}/{scope}" for scope in ITEM_SCOPES]]


def test_the_redirect_stays_on_this_machine(setup: SignInSetup) -> None:
    """The browser is sent to Entra with PKCE, and back to a loopback address only."""
    assert setup.unstale("login", "--browser") == 0
    [url] = setup.opened
    assert url.startswith(f"{setup.entra.authority}/oauth2/v2.0/authorize?")
    assert "code_challenge_method=S256" in url
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A" in url


def test_who_since_when_until_when(setup: SignInSetup, capsys: pytest.CaptureFixture[str]) -> None:
    """`--show` reads what is kept without the key; 90 days unused are the end. `--remove` signs out."""
    assert setup.unstale("login", "--show") == 1
    assert "nobody is signed in: unstale login" in capsys.readouterr().err
    setup.signs_in()
    setup.vault.may.clear()
    capsys.readouterr()
    assert setup.unstale("login", "--show") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{ADA} signed in at 20")
    assert "0 days ago" in said
    assert setup.unstale("login", "--show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["sign_in"]
    assert (shown["account"], shown["scopes"]) == (ADA, list(LAKE_VIEW_SCOPES))
    assert setup.unstale("login", "--remove") == 0
    assert setup.unstale("login", "--remove") == 0
    assert "nobody was signed in" in capsys.readouterr().out
    assert setup.unstale("login", "--show", "--json") == 1


@pytest.fixture(name="impatient")
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that nobody uses is waited for for a second."""
    monkeypatch.setattr(login, "PATIENCE_SECONDS", 1)


def nobody_answers(setup: SignInSetup) -> None:
    """The code runs out."""
    setup.entra.users.person = lambda _: "nothing"
    setup.entra.users.device_code_lifetime = timedelta(seconds=1)


def declined(setup: SignInSetup) -> None:
    """The person says no."""
    setup.entra.users.person = lambda _: "declines"


def no_public_client(setup: SignInSetup) -> None:
    """The registration is one of a web application."""
    setup.entra.apps[APP.client_id] = replace(APP, public=False)


def no_consent(setup: SignInSetup) -> None:
    """Nobody agreed to the scopes, and the user may not."""
    setup.entra.apps[APP.client_id] = replace(APP, consented=frozenset())


def other_redirect(setup: SignInSetup) -> None:
    """The redirect address is not registered."""
    setup.entra.apps[APP.client_id] = replace(APP, redirects=("https://example.com",))


def one_scope_less(setup: SignInSetup) -> None:
    """Entra gives less than was asked for."""
    setup.entra.users.withheld = frozenset({f"{FABRIC}/Lakehouse.Execute.All"})


def not_let_in(setup: SignInSetup) -> None:
    """Whoever signs in may not read the key."""
    setup.vault.may.clear()


@pytest.mark.parametrize(
    ("happens", "how", "says"),
    [
        (declined, (), "the sign-in was declined: sign in again: unstale login"),
        (declined, ("--browser",), "may not sign in to the app registration: ask an administrator"),
        (nobody_answers, (), "nobody completed the sign-in in time: sign in again: unstale login"),
        (nobody_answers, ("--browser",), "nobody completed the sign-in in time"),
        (other_redirect, ("--browser",), "nobody completed the sign-in in time"),
        (no_public_client, (), "does not allow public client flows"),
        (no_consent, (), "lacks consent for Lakehouse.Execute.All, Lakehouse.Read.All"),
        (one_scope_less, (), "Entra granted no Lakehouse.Execute.All: ask an administrator"),
        (not_let_in, (), "it cannot be kept: KeyVault Forbidden"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:20]),
)
@pytest.mark.usefixtures("impatient")
def test_a_sign_in_that_fails_says_what_to_do(
    setup: SignInSetup,
    capsys: pytest.CaptureFixture[str],
    happens: Callable[[SignInSetup], None],
    how: tuple[str, ...],
    says: str,
) -> None:
    """Exit code 1, one sentence, and nothing is kept."""
    happens(setup)
    assert setup.unstale("login", *how) == 1
    assert says in capsys.readouterr().err
    with setup.blob as blob:
        assert not blob.exists()


@pytest.mark.parametrize("name", ["UNSTALE_KEY_VAULT_URL", "UNSTALE_AUTHORITY"])
def test_no_token_leaves_this_machine_without_tls(
    setup: SignInSetup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As for every other address."""
    monkeypatch.setenv(name, "http://vault.example.com")
    assert setup.unstale("login") == 2
    assert "must be https, or http on a loopback address" in capsys.readouterr().err


def test_by_its_endpoint_the_file_is_at_the_same_place(setup: SignInSetup) -> None:
    """With an identity instead of a connection string; nothing is sent for that."""
    endpoints = {
        f"UNSTALE_STORAGE__{kind}ServiceUri": f"https://a.{kind}.example" for kind in ("table", "queue", "blob")
    }
    found = variables.read({**setup.environment, "UNSTALE_STORAGE": "", **endpoints})
    parts = Parts(found, lambda: wiring.configuration(found))
    assert parts.clients.sign_in.url == "https://a.blob.example/sign-in/user"
    assert isinstance(parts.user, user.SignedInUser)


def test_only_a_configuration_with_a_user_signs_one_in(
    setup: SignInSetup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong usage: another identity, or a variable that is missing."""
    monkeypatch.delenv("UNSTALE_KEY_VAULT_URL")
    assert setup.unstale("login") == 2
    assert "UNSTALE_KEY_VAULT_URL is not set" in capsys.readouterr().err
    assert setup.unstale("login", "--show") == 1, "who only looks needs no key"
    setup.config.write_text(setup.config.read_text(encoding="utf-8").replace('"user"', '"managed-identity"'))
    assert setup.unstale("login") == 2


# --- Acting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["managed-identity", "service-principal", "user"])
def test_each_identity_refreshes_as_itself(setup: SignInSetup, monkeypatch: pytest.MonkeyPatch, identity: str) -> None:
    """The whole way, from the tick to the journal of Fabric; only a user needs anybody to sign in."""
    principal = App("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", secret="planted")
    setup.entra.apps[principal.client_id] = principal
    setup.config.write_text(setup.config.read_text(encoding="utf-8").replace('"user"', f'"{identity}"'))
    if identity == "user":
        setup.signs_in()
    elif identity == "service-principal":
        setup.environment |= {"UNSTALE_CLIENT_ID": principal.client_id, "UNSTALE_CLIENT_SECRET": "planted"}
    else:
        del setup.environment["UNSTALE_CLIENT_ID"]
    begin(setup)
    expected = {
        "managed-identity": SYSTEM.object_id,
        "service-principal": principal.object_id,
        "user": setup.entra.users.user.object_id,
    }
    callers = {exchange.caller.object_id for exchange in setup.fabric.exchanges if exchange.caller}
    assert callers == {expected[identity]}
    assert len(setup.fabric.journal().entries()) == 2


def test_nobody_signed_in_blocks_and_heals(setup: SignInSetup) -> None:
    """The sentence, nothing else; and `unstale login` is all that is needed."""
    begin(setup)
    assert blocked(setup) == "NotSignedIn: nobody is signed in: unstale login"
    setup.signs_in()
    heals(setup)


def begin(setup: SignInSetup) -> None:
    """The first tick has what is new owed; the next one, its quiet period over, starts; the last one starts the
    other target, whose place in the queue of the identity is a second later.

    A tick may fail for a sign-in that cannot be renewed, after it has done its work.
    """
    for seconds in (60, 60, 5):
        with suppress(ComesBackError):
            turn(setup, seconds=seconds)


def turn(setup: SignInSetup, **later: float) -> None:
    """A tick of a process that was just started."""
    setup.clock.ahead += timedelta(**later)
    setup.shell().tick()


def idle(setup: SignInSetup) -> None:
    """Everything is fresh."""
    begin(setup)
    names = ("sales", "other")
    until(lambda: all(setup.state(name).fresh_as_of for name in names), lambda: turn(setup, minutes=2), 10)


def blocked(setup: SignInSetup) -> str:
    """Why the target is."""
    hold = setup.state().hold
    assert isinstance(hold, Blocked), hold
    return hold.reason


def heals(setup: SignInSetup) -> None:
    """The wake that `unstale login` sent, and nothing else, brings the target back within the minute."""
    assert setup.state().hold is not None
    setup.clock.ahead += timedelta(seconds=60)
    setup.shell().tick()
    assert setup.state().hold is None
    assert setup.state().run is not None


def password_changed(setup: SignInSetup) -> None:
    """Revokes the refresh token."""
    setup.entra.users.change_password()


def ended_by_age(setup: SignInSetup) -> None:
    """A policy's sign-in frequency."""
    setup.entra.users.expire()


def challenged(setup: SignInSetup) -> None:
    """Conditional access wants claims."""
    setup.entra.users.demand()


def unused_for_too_long(setup: SignInSetup) -> None:
    """Ninety days."""
    setup.clock.ahead += timedelta(days=91)


REFUSALS = [
    (password_changed, f"invalid_grant/bad_token: the sign-in of {ADA} was revoked: the password was changed"),
    (ended_by_age, f"invalid_grant/token_expired: the sign-in of {ADA} lay unused for too long, or a policy ended"),
    (unused_for_too_long, f"invalid_grant/token_expired: the sign-in of {ADA} lay unused for too long"),
    (challenged, f"interaction_required/basic_action: {ADA} is asked for something that only a person can do"),
    (no_consent, "invalid_grant/consent_required: the app registration lacks consent for Lakehouse.Execute.All"),
]


@pytest.mark.parametrize(("happens", "says"), REFUSALS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_person_must_mend_blocks_with_the_sentence_and_heals_by_the_next_login(
    short: SignInSetup, capsys: pytest.CaptureFixture[str], happens: Callable[[SignInSetup], None], says: str
) -> None:
    """Of running processes, too: they look at what is kept once they were refused. `status` says the same."""
    short.signs_in()
    instance = short.parts()
    token(instance.tokens)
    happens(short)
    begin(short)
    assert blocked(short).startswith(says)
    assert "unstale login" in blocked(short)
    assert no_token(instance.tokens).permanent
    capsys.readouterr()
    assert short.unstale("status") == 1
    assert says.partition(": ")[2] in capsys.readouterr().out
    assert short.unstale("login", "--show") == 1
    short.entra.apps[APP.client_id] = APP
    short.signs_in()
    token(instance.tokens)
    heals(short)
    assert short.unstale("login", "--show") == 0


def test_a_running_process_finds_a_new_sign_in_by_itself(short: SignInSetup) -> None:
    """One that looked a moment ago, and whose refresh token was revoked since, looks again before it says so."""
    short.signs_in()
    tokens = short.parts().tokens
    token(tokens)
    short.entra.users.change_password()
    short.signs_in()
    token(tokens)


def test_a_file_that_is_damaged_under_a_running_process(setup: SignInSetup) -> None:
    """It says so from its next look on, every time; and goes on once somebody signs in."""
    setup.signs_in()
    tokens = setup.parts().tokens
    token(tokens)
    setup.put(b"garbage")
    tokens.forget(token(tokens))
    assert [no_token(tokens).code for _ in range(2)] == ["SignInDamaged"] * 2
    setup.signs_in()
    token(tokens)


def test_the_next_sign_in_brings_what_a_policy_asked_for(short: SignInSetup) -> None:
    """A challenge's claims reach Entra again, or it would refuse the new sign-in as well."""
    short.signs_in()
    short.entra.users.demand()
    asked = wishes(short)
    no_token(short.parts().tokens)
    short.signs_in()
    assert [wish.claims for wish in asked] == [CHALLENGE]
    token(short.parts().tokens)


@pytest.mark.parametrize(
    "fault", [Throttle(1), ServerError(503), LoseResponse(), RefuseToken("temporarily_unavailable")], ids=str
)
def test_what_passes_is_waited_for(short: SignInSetup, fault: Any) -> None:
    """Trouble of Entra's own: nothing was sent, nothing is blocked, nothing noted."""
    short.signs_in()
    short.entra.faults.add(fault, "token", APP.client_id)
    failure = no_token(short.parts().tokens)
    assert (failure.retry_safe, failure.permanent) == (True, False)
    assert short.unstale("login", "--show") == 0
    token(short.parts().tokens)


@pytest.mark.parametrize("fault", [IssueExpired(), IssueFor(EXCHANGE)], ids=["expired", "wrong audience"])
def test_a_useless_token_is_replaced(short: SignInSetup, fault: Any) -> None:
    """Fabric's 401 makes it be forgotten here and where it is kept; one more is asked for, once."""
    short.signs_in()
    short.entra.token_lifetime = timedelta(hours=1)
    short.entra.faults.add(fault, "token", APP.client_id)
    begin(short)
    assert len(short.fabric.journal().entries()) == 2
    statuses = [exchange.answer.status for exchange in short.fabric.exchanges if exchange.answer]
    assert statuses.count(401) == 1
    token(short.parts().tokens)
    assert len([asked for asked in short.entra.token_requests if asked.grant == "refresh_token"]) == 2


def test_a_revoked_token_is_replaced(setup: SignInSetup) -> None:
    """Access tokens that a resource refuses although their time is not over; the refresh token is still good."""
    setup.signs_in()
    revoke(setup.entra.tokens, setup.entra.users.user.object_id)
    begin(setup)
    assert len(setup.fabric.journal().entries()) == 2


def test_a_configuration_that_needs_more_asks_for_it(setup: SignInSetup, capsys: pytest.CaptureFixture[str]) -> None:
    """Without consent it says for what; with it, nobody needs to sign in again."""
    setup.signs_in()
    item_job(setup)
    failure = no_token(setup.parts().tokens)
    assert "lacks consent for Item.Execute.All, Item.Read.All, or it was withdrawn: ask" in failure.message
    wanted = frozenset(f"{FABRIC}/{scope}" for scope in ITEM_SCOPES)
    setup.entra.apps[APP.client_id] = replace(APP, consented=wanted)
    caller = setup.entra.tokens.validate(f"Bearer {token(setup.parts().tokens)}", {FABRIC})
    assert getattr(caller, "scopes", caller) == frozenset(ITEM_SCOPES)
    capsys.readouterr()
    assert setup.unstale("login", "--show") == 0
    assert "for Item.Execute.All, Item.Read.All" in capsys.readouterr().out


def test_a_token_without_the_scope_blocks_with_fabrics_words(short: SignInSetup) -> None:
    """No other token would do."""
    short.signs_in()
    one_scope_less(short)
    begin(short)
    assert blocked(short).startswith("InsufficientScopes: The caller does not have sufficient scopes")
    assert not short.fabric.journal().entries()


def test_threads_share_what_one_of_them_gets(short: SignInSetup) -> None:
    """Many invocations run in one process, and each would renew: one does at a time, and each gets a good one."""
    short.signs_in()
    tokens, found = short.parts().tokens, list[str | Failure]()
    short.entra.token_lifetime = timedelta(hours=1)
    threads = [threading.Thread(target=lambda: found.append(tokens.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len([asked for asked in short.entra.token_requests if asked.grant == "refresh_token"]) == 1


def test_a_call_keeps_its_deadline(short: SignInSetup) -> None:
    """A tenant that does not answer holds up neither the invocation that asks, nor those that wait for it."""
    short.signs_in()
    parts, found = short.parts(), list[str | Failure]()
    token(parts.tokens)
    short.entra.faults.add(Slow(30), "token", APP.client_id)

    def work(seconds: float) -> None:
        parts.http.deadline = Deadline(seconds)
        found.append(parts.tokens.token())

    first = threading.Thread(target=work, args=(1.5,))
    first.start()
    until(parts.user._turn.locked, lambda: time.sleep(0.01), 500)
    work(0.2)
    first.join()
    assert [getattr(each, "code", each) for each in found] == ["NoTimeLeft", "ReadTimeout"]
    assert not any(each.permanent for each in found if isinstance(each, Failure))


def test_a_save_that_fails_is_made_up_for(short: SignInSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refresh token that was got is kept by the next call, without another one; nobody had its access token."""
    short.signs_in()
    tokens = short.parts().tokens
    short.entra.token_lifetime = timedelta(hours=1)
    put = SignIns._put

    def down(*_: Any, **__: Any) -> str:
        raise StoreDownError("saving the sign-in: nobody there")

    monkeypatch.setattr(SignIns, "_put", down)
    assert no_token(tokens).retry_safe
    monkeypatch.setattr(SignIns, "_put", put)
    token(tokens)
    newest = short.entra.users.refreshes[-1]
    assert newest.number == 1
    looked = short.parts().sign_ins.look()
    assert looked
    assert newest.value in short.parts().sign_ins.open(*looked).cache


def test_an_old_copy_does_not_undo_a_sign_out(setup: SignInSetup, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may write the blob puts back what was there: nobody is signed in, and the log says why.

    Also if it was hidden while somebody signed out. A new sign-in counts again.
    """
    setup.signs_in()
    parts = setup.parts()
    blob = parts.clients.sign_in
    copy = blob.download_blob().readall()
    for hidden in (False, True):
        if hidden:
            blob.delete_blob()
        assert setup.unstale("login", "--remove") == 0
        blob.upload_blob(copy, overwrite=True)
        with caplog.at_level(logging.WARNING, "unstale"):
            assert parts.sign_ins.look() is None
        assert "before somebody signed out" in caplog.text
        caplog.clear()
        assert setup.unstale("login", "--show") == 1
        failure = setup.parts().tokens.token()
        assert isinstance(failure, Failure)
        setup.signs_in()
        assert isinstance(token(setup.parts().tokens), str)
        copy = blob.download_blob().readall()


def test_two_who_sign_out_at_once_are_both_counted(setup: SignInSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number is written under the ETag of its row."""
    clients = setup.parts().clients
    mine, other = (SignOuts(clients, BoundedHttp()) for _ in range(2))
    for expected in (2, 4):
        read = SignOuts._read
        both = iter([other.add])

        def meanwhile(sign_outs: SignOuts, read: Any = read, both: Any = both) -> Any:
            found = read(sign_outs)
            for add in both:
                add()
            return found

        with monkeypatch.context() as patched:
            patched.setattr(SignOuts, "_read", meanwhile)
            mine.add()
        assert mine.count() == expected


def test_an_accounts_name_does_nothing_to_a_terminal(setup: SignInSetup, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a tenant lets people call themselves is shown with its control characters escaped."""
    setup.signs_in()
    sign_ins = setup.parts().sign_ins
    found = sign_ins.look()
    assert found
    named = structs.replace(found[1].sign_in, account="ada\x1b[2J\u202e@contoso.example", refusal="no\x07")
    sign_ins.begin(named, "{}")
    capsys.readouterr()
    setup.unstale("login", "--show")
    said = capsys.readouterr().out
    assert "ada\\x1b[2J\\u202e@contoso.example" in said
    assert "no\\x07" in said


def test_a_sign_out_is_noticed(setup: SignInSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next look at what is kept, by a process whose own token would still be good."""
    setup.signs_in()
    tokens = setup.parts().tokens
    token(tokens)
    assert setup.unstale("login", "--remove") == 0
    token(tokens)
    monkeypatch.setattr(time, "monotonic", lambda clock=time.monotonic: clock() + user.LOOK_SECONDS)
    assert no_token(tokens).code == "NotSignedIn"


# --- What is kept ----------------------------------------------------------------------------------------------------


def flipped(file: bytes, at: int) -> bytes:
    """One bit of one byte is another one."""
    return file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no JSON": lambda _: b"garbage\nmore garbage",
    "no field": lambda _: b'{"format":1}\n',
    "half": lambda file: file[: len(file) // 2],
    "the name": lambda file: file.replace(b"ada@", b"eve@"),
    "the time": lambda file: file.replace(b'"signed_in_at":"2', b'"signed_in_at":"3'),
    "the seal": lambda file: flipped(file, -3 % len(file)),
    "the cache": lambda file: flipped(file, file.index(b"\n") + 9),
    "the wrapped key": lambda file: file.replace(b'"wrapped":"', b'"wrapped":"AAAA', 1),
    "another key's": lambda file: file.replace(b'"key_version":"', b'"key_version":"0'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed_and_mended_by_the_next_login(setup: SignInSetup, damage: Callable[[bytes], bytes]) -> None:
    """Whatever byte of it: the head is under the seal as the cache is."""
    setup.signs_in()
    file = setup.file()
    assert damage(file) != file
    setup.put(damage(file))
    failure = no_token(setup.parts().tokens)
    assert failure.permanent
    assert "unstale login" in failure.message
    setup.signs_in()
    token(setup.parts().tokens)


def test_what_a_later_release_wrote_is_left_alone(setup: SignInSetup, capsys: pytest.CaptureFixture[str]) -> None:
    """Both run during an update: the older one waits, and signs nobody in over it."""
    setup.signs_in()
    newer = setup.file().replace(b'{"format":1', b'{"format":2')
    setup.put(newer)
    failure = no_token(setup.parts().tokens)
    assert (failure.code, failure.permanent) == ("NewerSignIn", False)
    assert setup.unstale("login") == 1
    assert setup.unstale("login", "--show") == 1
    assert "a later one wrote it" in capsys.readouterr().err
    assert setup.file() == newer


def gone(setup: SignInSetup) -> None:
    """Deleted, though not purged."""
    setup.vault.deleted = True


def disabled(setup: SignInSetup) -> None:
    """Of no use for now."""
    setup.vault.enabled = False


def without_its_role(setup: SignInSetup) -> None:
    """The identity may not unwrap."""
    setup.vault.may[SYSTEM.object_id] = frozenset({"get"})


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (gone, "the key of the sign-in is gone: recover it (az keyvault key recover)"),
        (disabled, "is the key enabled"),
        (without_its_role, "does the identity have its role on it"),
    ],
    ids=["gone", "disabled", "without its role"],
)
def test_a_key_that_cannot_be_used_blocks_and_says_so(
    setup: SignInSetup, happens: Callable[[SignInSetup], None], says: str
) -> None:
    """And once the key is back, nobody needs to sign in."""
    setup.signs_in()
    happens(setup)
    begin(setup)
    assert says in blocked(setup)
    setup.vault.deleted, setup.vault.enabled = False, True
    setup.vault.may[SYSTEM.object_id] = frozenset({"get", "unwrapKey"})
    turn(setup, hours=2)
    turn(setup, seconds=5)
    assert setup.state().hold is None


def test_a_rotated_key_still_opens_what_it_sealed(setup: SignInSetup) -> None:
    """And the next sign-in is sealed with the new version."""
    setup.signs_in()
    before = json.loads(setup.file().partition(b"\n")[0])["seal"]["key_version"]
    setup.vault.rotate()
    token(setup.parts().tokens)
    setup.signs_in()
    assert json.loads(setup.file().partition(b"\n")[0])["seal"]["key_version"] != before
    token(setup.parts().tokens)


def test_a_vault_that_is_not_there_is_waited_for(setup: SignInSetup) -> None:
    """No connection is no reason to block."""
    setup.signs_in()
    setup.environment["UNSTALE_KEY_VAULT_URL"] = "http://127.0.0.1:9"
    assert not no_token(setup.parts().tokens).permanent


# --- Renewal ---------------------------------------------------------------------------------------------------------


def test_an_idle_sign_in_is_renewed_every_week(setup: SignInSetup, capsys: pytest.CaptureFixture[str]) -> None:
    """By ticks alone, for ever: after four months without any work it is as good as new."""
    setup.signs_in()
    idle(setup)
    began = len(setup.entra.users.refreshes)
    turn(setup, days=6)
    assert len(setup.entra.users.refreshes) == began
    for week in range(1, 17):
        turn(setup, days=7)
        assert len(setup.entra.users.refreshes) == began + week
    capsys.readouterr()
    assert setup.unstale("login", "--show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["sign_in"]
    assert shown["renewed_at"] > shown["signed_in_at"]
    token(setup.parts().tokens)


def test_a_process_asks_for_a_renewal_now_and_then(setup: SignInSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every tick: what is kept is read once in six hours, but for what tokens need."""
    setup.signs_in()
    shell, reads = setup.shell(), []
    look = SignIns.look

    def noting(self: SignIns) -> Any:
        reads.append(1)
        return look(self)

    monkeypatch.setattr(SignIns, "look", noting)
    for _ in range(5):
        setup.clock.ahead += timedelta(minutes=1)
        shell.tick()
    assert len(reads) == 2, "one for the renewal, one for the token"


def test_a_renewal_that_is_refused_is_heard_of(setup: SignInSetup) -> None:
    """Nothing is due, so no target can say it: ticks fail, which raises an alert, and `status` says why.

    Every tick does, for the alert counts them, though Entra is asked once; until somebody signs in.
    """
    setup.signs_in()
    idle(setup)
    setup.entra.users.change_password()
    setup.clock.ahead += timedelta(days=8)
    shell, asked = setup.shell(), len(setup.entra.token_requests)
    for _ in range(3):
        with pytest.raises(ComesBackError, match="was revoked"):
            shell.tick()
    assert [each.outcome for each in setup.entra.token_requests[asked:] if each.client_id == APP.client_id] == [
        "invalid_grant"
    ]
    assert setup.state().hold is None
    assert setup.unstale("status") == 1
    setup.signs_in()
    shell.tick()
    assert setup.unstale("login", "--show") == 0


def test_a_renewal_that_fails_for_now_is_tried_by_the_next_tick(setup: SignInSetup) -> None:
    """Entra's own trouble; then the week begins anew."""
    setup.signs_in()
    idle(setup)
    setup.clock.ahead += timedelta(days=8)
    shell = setup.shell()
    setup.entra.faults.add(LoseResponse(), "token", APP.client_id)
    with pytest.raises(ComesBackError, match="ConnectionError"):
        shell.tick()
    began = len(setup.entra.users.refreshes)
    shell.tick()
    shell.tick()
    assert len(setup.entra.users.refreshes) == began + 1


# --- Seen from outside -----------------------------------------------------------------------------------------------


def test_status_tells_the_age_of_the_sign_in(setup: SignInSetup, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the table, and as data; that nobody is signed in is not well."""
    assert setup.unstale("status", "--json") == 1
    assert json.loads(capsys.readouterr().out)["sign_in"] is None
    setup.signs_in()
    setup.shell().tick()
    capsys.readouterr()
    assert setup.unstale("status") == 0
    assert f"{ADA} signed in at 20" in capsys.readouterr().out
    assert setup.unstale("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sign_in"]["account"] == ADA


def test_status_shows_the_targets_though_the_sign_in_is_damaged(
    setup: SignInSetup, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with one does not hide the others."""
    setup.put(b"garbage")
    assert setup.unstale("status", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert len(said["targets"]) == 2
    assert "cannot be read" in said["sign_in"]["error"]


def test_storage_that_is_away_fails_the_tick(setup: SignInSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a sign-in is due for its renewal is not known then; the next tick asks again."""
    setup.signs_in()

    def down(_: SignIns) -> Any:
        raise StoreDownError("reading the sign-in: nobody there")

    shell = setup.shell()
    with monkeypatch.context() as patch:
        patch.setattr(SignIns, "look", down)
        with pytest.raises(ComesBackError, match="reading the sign-in"):
            shell.tick()
    shell.tick()


def test_a_blocked_target_raises_the_alert(short: SignInSetup, caplog: pytest.LogCaptureFixture) -> None:
    """The line that the alert TargetHeld counts (alerts.bicep): "saved" with held 1, beside the reason."""
    short.signs_in()
    short.entra.users.change_password()
    with caplog.at_level(logging.INFO, logger="unstale"):
        begin(short)
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "unstale"]
    assert any(line["message"] == "saved" and line["detail"]["held"] == 1 for line in lines)
    assert any(line["message"] == "held" and "unstale login" in line["detail"]["reason"] for line in lines)


# --- Starting --------------------------------------------------------------------------------------------------------

PROBE = """
import json, os, sys
from contextlib import suppress
from functions_azure import wiring
shell = wiring.shell(os.environ)
with suppress(Exception):
    shell.tick()
parts = wiring.Parts(wiring.settings.read(os.environ), lambda: wiring.configuration(wiring.settings.read(os.environ)))
parts.tokens.token()
print(json.dumps(sorted(sys.modules)))
"""
OF_A_USER = {
    "azure.storage.blob",
    "functions_azure.sign_in.key_vault",
    "functions_azure.sign_in.store",
    "functions_azure.sign_in.user",
    "shared.sign_in",
}
"""`cryptography` is no difference: the SDK's queue client imports it for everybody."""


@pytest.mark.parametrize("identity", ["managed-identity", "user"])
def test_a_cold_start_pays_for_a_user_only_where_there_is_one(setup: SignInSetup, identity: str) -> None:
    """A tick and a token of another identity import nothing of it; and the same look finds all of it for a user."""
    setup.config.write_text(setup.config.read_text(encoding="utf-8").replace('"user"', f'"{identity}"'))
    here = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), **setup.environment}
    if identity == "managed-identity":
        del here["UNSTALE_CLIENT_ID"]
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env=here)
    imported = set(json.loads(run.stdout.splitlines()[-1]))
    assert {"msal", "azure.data.tables", "shared.refresh.engine"} <= imported
    assert imported & OF_A_USER == (OF_A_USER if identity == "user" else set())
