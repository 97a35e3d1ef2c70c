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
from tests.support.signed_in import ADA, APP, CONSENTED, SYSTEM, Stage, no_token, token, until, user_stage  # noqa: F401 - fixtures


@pytest.fixture(name="short")
def short_tokens(stage: Stage) -> Stage:
    """Access tokens that msal takes for spent at once, so that every call asks Entra."""
    stage.entra.token_lifetime = timedelta(minutes=4)
    return stage


def item_job(stage: Stage) -> None:
    """A configuration with a job of an item."""
    stage.config.write_text(
        f'[fabric]\nidentity = "user"\n[targets.job]\nkind = "fabric-item-job"\nworkspace = "{WORKSPACE}"\n'
        f'item = "{SALES}"\njob_type = "DefaultJob"\n',
        encoding="utf-8",
    )


def wishes(stage: Stage) -> list[Wish]:
    """What the person was asked to agree to."""
    asked: list[Wish] = []

    def agrees(wish: Wish) -> Does:
        asked.append(wish)
        return "signs in"

    stage.entra.users.person = agrees
    return asked


# --- Signing in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [(), ("--browser",)], ids=["device code", "browser"])
def test_a_user_signs_in_and_the_function_takes_tokens_alone(
    stage: Stage, capsys: pytest.CaptureFixture[str], how: tuple[str, ...]
) -> None:
    """Exactly the scopes that the targets need are asked for and named; instances share what is kept, without Entra."""
    asked = wishes(stage)
    assert stage.unstale("login", *how) == 0
    assert [set(wish.resource_scopes) for wish in asked] == [CONSENTED]
    said = capsys.readouterr().out
    assert "asks for Lakehouse.Execute.All, Lakehouse.Read.All of" in said
    assert f"{ADA} is signed in" in said
    before = len(stage.entra.token_requests)
    first, second = token(stage.parts().tokens), token(stage.parts().tokens)
    assert first == second
    caller = stage.entra.tokens.validate(f"Bearer {first}", {FABRIC})
    assert (getattr(caller, "kind", caller), getattr(caller, "scopes", ())) == ("user", frozenset(LAKE_VIEW_SCOPES))
    assert {asked.grant for asked in stage.entra.token_requests[before:]} == {"managed_identity"}


def test_an_item_job_needs_the_generic_scopes(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """They do for lake views, too, so nothing else is asked for."""
    item_job(stage)
    stage.entra.apps[APP.client_id] = replace(APP, consented=frozenset(f"{FABRIC}/{scope}" for scope in ITEM_SCOPES))
    asked = wishes(stage)
    stage.signs_in()
    assert [wish.resource_scopes for wish in asked] == [[f"{FABRIC}/{scope}" for scope in ITEM_SCOPES]]


def test_the_redirect_stays_on_this_machine(stage: Stage) -> None:
    """The browser is sent to Entra with PKCE, and back to a loopback address only."""
    assert stage.unstale("login", "--browser") == 0
    [url] = stage.opened
    assert url.startswith(f"{stage.entra.authority}/oauth2/v2.0/authorize?")
    assert "code_challenge_method=S256" in url
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A" in url


def test_who_since_when_until_when(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """`--show` reads what is kept without the key; 90 days unused are the end. `--remove` signs out."""
    assert stage.unstale("login", "--show") == 1
    assert "nobody is signed in: unstale login" in capsys.readouterr().err
    stage.signs_in()
    stage.vault.may.clear()
    capsys.readouterr()
    assert stage.unstale("login", "--show") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{ADA} signed in at 20")
    assert "0 days ago" in said
    assert stage.unstale("login", "--show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["sign_in"]
    assert (shown["account"], shown["scopes"]) == (ADA, list(LAKE_VIEW_SCOPES))
    assert stage.unstale("login", "--remove") == 0
    assert stage.unstale("login", "--remove") == 0
    assert "nobody was signed in" in capsys.readouterr().out
    assert stage.unstale("login", "--show", "--json") == 1


@pytest.fixture(name="impatient")
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that nobody uses is waited for for a second."""
    monkeypatch.setattr(login, "PATIENCE_SECONDS", 1)


def nobody_answers(stage: Stage) -> None:
    """The code runs out."""
    stage.entra.users.person = lambda _: "nothing"
    stage.entra.users.device_code_lifetime = timedelta(seconds=1)


def declined(stage: Stage) -> None:
    """The person says no."""
    stage.entra.users.person = lambda _: "declines"


def no_public_client(stage: Stage) -> None:
    """The registration is one of a web application."""
    stage.entra.apps[APP.client_id] = replace(APP, public=False)


def no_consent(stage: Stage) -> None:
    """Nobody agreed to the scopes, and the user may not."""
    stage.entra.apps[APP.client_id] = replace(APP, consented=frozenset())


def other_redirect(stage: Stage) -> None:
    """The redirect address is not registered."""
    stage.entra.apps[APP.client_id] = replace(APP, redirects=("https://example.com",))


def one_scope_less(stage: Stage) -> None:
    """Entra gives less than was asked for."""
    stage.entra.users.withheld = frozenset({f"{FABRIC}/Lakehouse.Execute.All"})


def not_let_in(stage: Stage) -> None:
    """Whoever signs in may not read the key."""
    stage.vault.may.clear()


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
    stage: Stage,
    capsys: pytest.CaptureFixture[str],
    happens: Callable[[Stage], None],
    how: tuple[str, ...],
    says: str,
) -> None:
    """Exit code 1, one sentence, and nothing is kept."""
    happens(stage)
    assert stage.unstale("login", *how) == 1
    assert says in capsys.readouterr().err
    with stage.blob as blob:
        assert not blob.exists()


@pytest.mark.parametrize("name", ["UNSTALE_KEY_VAULT_URL", "UNSTALE_AUTHORITY"])
def test_no_token_leaves_this_machine_without_tls(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As for every other address."""
    monkeypatch.setenv(name, "http://vault.example.com")
    assert stage.unstale("login") == 2
    assert "must be https, or http on a loopback address" in capsys.readouterr().err


def test_by_its_endpoint_the_file_is_at_the_same_place(stage: Stage) -> None:
    """With an identity instead of a connection string; nothing is sent for that."""
    endpoints = {
        f"UNSTALE_STORAGE__{kind}ServiceUri": f"https://a.{kind}.example" for kind in ("table", "queue", "blob")
    }
    found = variables.read({**stage.environment, "UNSTALE_STORAGE": "", **endpoints})
    parts = Parts(found, lambda: wiring.configuration(found))
    assert parts.clients.sign_in.url == "https://a.blob.example/sign-in/user"
    assert isinstance(parts.user, user.SignedInUser)


def test_only_a_configuration_with_a_user_signs_one_in(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong usage: another identity, or a variable that is missing."""
    monkeypatch.delenv("UNSTALE_KEY_VAULT_URL")
    assert stage.unstale("login") == 2
    assert "UNSTALE_KEY_VAULT_URL is not set" in capsys.readouterr().err
    assert stage.unstale("login", "--show") == 1, "who only looks needs no key"
    stage.config.write_text(stage.config.read_text(encoding="utf-8").replace('"user"', '"managed-identity"'))
    assert stage.unstale("login") == 2


# --- Acting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["managed-identity", "service-principal", "user"])
def test_each_identity_refreshes_as_itself(stage: Stage, monkeypatch: pytest.MonkeyPatch, identity: str) -> None:
    """The whole way, from the tick to the journal of Fabric; only a user needs anybody to sign in."""
    principal = App("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", secret="planted")
    stage.entra.apps[principal.client_id] = principal
    stage.config.write_text(stage.config.read_text(encoding="utf-8").replace('"user"', f'"{identity}"'))
    if identity == "user":
        stage.signs_in()
    elif identity == "service-principal":
        stage.environment |= {"UNSTALE_CLIENT_ID": principal.client_id, "UNSTALE_CLIENT_SECRET": "planted"}
    else:
        del stage.environment["UNSTALE_CLIENT_ID"]
    begin(stage)
    expected = {
        "managed-identity": SYSTEM.object_id,
        "service-principal": principal.object_id,
        "user": stage.entra.users.user.object_id,
    }
    callers = {exchange.caller.object_id for exchange in stage.fabric.exchanges if exchange.caller}
    assert callers == {expected[identity]}
    assert len(stage.fabric.journal().entries()) == 2


def test_nobody_signed_in_blocks_and_heals(stage: Stage) -> None:
    """The sentence, nothing else; and `unstale login` is all that is needed."""
    begin(stage)
    assert blocked(stage) == "NotSignedIn: nobody is signed in: unstale login"
    stage.signs_in()
    heals(stage)


def begin(stage: Stage) -> None:
    """The first tick has what is new owed; the next one, its quiet period over, starts; the last one starts the
    other target, whose place in the queue of the identity is a second later.

    A tick may fail for a sign-in that cannot be renewed, after it has done its work.
    """
    for seconds in (60, 60, 5):
        with suppress(ComesBackError):
            turn(stage, seconds=seconds)


def turn(stage: Stage, **later: float) -> None:
    """A tick of a process that was just started."""
    stage.clock.ahead += timedelta(**later)
    stage.shell().tick()


def idle(stage: Stage) -> None:
    """Everything is fresh."""
    begin(stage)
    names = ("sales", "other")
    until(lambda: all(stage.state(name).fresh_as_of for name in names), lambda: turn(stage, minutes=2), 10)


def blocked(stage: Stage) -> str:
    """Why the target is."""
    hold = stage.state().hold
    assert isinstance(hold, Blocked), hold
    return hold.reason


def heals(stage: Stage) -> None:
    """The wake that `unstale login` sent, and nothing else, brings the target back within the minute."""
    assert stage.state().hold is not None
    stage.clock.ahead += timedelta(seconds=60)
    stage.shell().tick()
    assert stage.state().hold is None
    assert stage.state().run is not None


def password_changed(stage: Stage) -> None:
    """Revokes the refresh token."""
    stage.entra.users.change_password()


def ended_by_age(stage: Stage) -> None:
    """A policy's sign-in frequency."""
    stage.entra.users.expire()


def challenged(stage: Stage) -> None:
    """Conditional access wants claims."""
    stage.entra.users.demand()


def unused_for_too_long(stage: Stage) -> None:
    """Ninety days."""
    stage.clock.ahead += timedelta(days=91)


REFUSALS = [
    (password_changed, f"invalid_grant/bad_token: the sign-in of {ADA} was revoked: the password was changed"),
    (ended_by_age, f"invalid_grant/token_expired: the sign-in of {ADA} lay unused for too long, or a policy ended"),
    (unused_for_too_long, f"invalid_grant/token_expired: the sign-in of {ADA} lay unused for too long"),
    (challenged, f"interaction_required/basic_action: {ADA} is asked for something that only a person can do"),
    (no_consent, "invalid_grant/consent_required: the app registration lacks consent for Lakehouse.Execute.All"),
]


@pytest.mark.parametrize(("happens", "says"), REFUSALS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_person_must_mend_blocks_with_the_sentence_and_heals_by_the_next_login(
    short: Stage, capsys: pytest.CaptureFixture[str], happens: Callable[[Stage], None], says: str
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


def test_a_running_process_finds_a_new_sign_in_by_itself(short: Stage) -> None:
    """One that looked a moment ago, and whose refresh token was revoked since, looks again before it says so."""
    short.signs_in()
    tokens = short.parts().tokens
    token(tokens)
    short.entra.users.change_password()
    short.signs_in()
    token(tokens)


def test_a_file_that_is_damaged_under_a_running_process(stage: Stage) -> None:
    """It says so from its next look on, every time; and goes on once somebody signs in."""
    stage.signs_in()
    tokens = stage.parts().tokens
    token(tokens)
    stage.put(b"garbage")
    tokens.forget(token(tokens))
    assert [no_token(tokens).code for _ in range(2)] == ["SignInDamaged"] * 2
    stage.signs_in()
    token(tokens)


def test_the_next_sign_in_brings_what_a_policy_asked_for(short: Stage) -> None:
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
def test_what_passes_is_waited_for(short: Stage, fault: Any) -> None:
    """Trouble of Entra's own: nothing was sent, nothing is blocked, nothing noted."""
    short.signs_in()
    short.entra.faults.add(fault, "token", APP.client_id)
    failure = no_token(short.parts().tokens)
    assert (failure.retry_safe, failure.permanent) == (True, False)
    assert short.unstale("login", "--show") == 0
    token(short.parts().tokens)


@pytest.mark.parametrize("fault", [IssueExpired(), IssueFor(EXCHANGE)], ids=["expired", "wrong audience"])
def test_a_useless_token_is_replaced(short: Stage, fault: Any) -> None:
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


def test_a_revoked_token_is_replaced(stage: Stage) -> None:
    """Access tokens that a resource refuses although their time is not over; the refresh token is still good."""
    stage.signs_in()
    revoke(stage.entra.tokens, stage.entra.users.user.object_id)
    begin(stage)
    assert len(stage.fabric.journal().entries()) == 2


def test_a_configuration_that_needs_more_asks_for_it(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Without consent it says for what; with it, nobody needs to sign in again."""
    stage.signs_in()
    item_job(stage)
    failure = no_token(stage.parts().tokens)
    assert "lacks consent for Item.Execute.All, Item.Read.All, or it was withdrawn: ask" in failure.message
    wanted = frozenset(f"{FABRIC}/{scope}" for scope in ITEM_SCOPES)
    stage.entra.apps[APP.client_id] = replace(APP, consented=wanted)
    caller = stage.entra.tokens.validate(f"Bearer {token(stage.parts().tokens)}", {FABRIC})
    assert getattr(caller, "scopes", caller) == frozenset(ITEM_SCOPES)
    capsys.readouterr()
    assert stage.unstale("login", "--show") == 0
    assert "for Item.Execute.All, Item.Read.All" in capsys.readouterr().out


def test_a_token_without_the_scope_blocks_with_fabrics_words(short: Stage) -> None:
    """No other token would do."""
    short.signs_in()
    one_scope_less(short)
    begin(short)
    assert blocked(short).startswith("InsufficientScopes: The caller does not have sufficient scopes")
    assert not short.fabric.journal().entries()


def test_threads_share_what_one_of_them_gets(short: Stage) -> None:
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


def test_a_call_keeps_its_deadline(short: Stage) -> None:
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


def test_a_save_that_fails_is_made_up_for(short: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_old_copy_does_not_undo_a_sign_out(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may write the blob puts back what was there: nobody is signed in, and the log says why.

    Also if it was hidden while somebody signed out. A new sign-in counts again.
    """
    stage.signs_in()
    parts = stage.parts()
    blob = parts.clients.sign_in
    copy = blob.download_blob().readall()
    for hidden in (False, True):
        if hidden:
            blob.delete_blob()
        assert stage.unstale("login", "--remove") == 0
        blob.upload_blob(copy, overwrite=True)
        with caplog.at_level(logging.WARNING, "unstale"):
            assert parts.sign_ins.look() is None
        assert "before somebody signed out" in caplog.text
        caplog.clear()
        assert stage.unstale("login", "--show") == 1
        failure = stage.parts().tokens.token()
        assert isinstance(failure, Failure)
        stage.signs_in()
        assert isinstance(token(stage.parts().tokens), str)
        copy = blob.download_blob().readall()


def test_two_who_sign_out_at_once_are_both_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number is written under the ETag of its row."""
    clients = stage.parts().clients
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


def test_an_accounts_name_does_nothing_to_a_terminal(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a tenant lets people call themselves is shown with its control characters escaped."""
    stage.signs_in()
    sign_ins = stage.parts().sign_ins
    found = sign_ins.look()
    assert found
    named = structs.replace(found[1].sign_in, account="ada\x1b[2J\u202e@contoso.example", refusal="no\x07")
    sign_ins.begin(named, "{}")
    capsys.readouterr()
    stage.unstale("login", "--show")
    said = capsys.readouterr().out
    assert "ada\\x1b[2J\\u202e@contoso.example" in said
    assert "no\\x07" in said


def test_a_sign_out_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next look at what is kept, by a process whose own token would still be good."""
    stage.signs_in()
    tokens = stage.parts().tokens
    token(tokens)
    assert stage.unstale("login", "--remove") == 0
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
def test_damage_is_noticed_and_mended_by_the_next_login(stage: Stage, damage: Callable[[bytes], bytes]) -> None:
    """Whatever byte of it: the head is under the seal as the cache is."""
    stage.signs_in()
    file = stage.file()
    assert damage(file) != file
    stage.put(damage(file))
    failure = no_token(stage.parts().tokens)
    assert failure.permanent
    assert "unstale login" in failure.message
    stage.signs_in()
    token(stage.parts().tokens)


def test_what_a_later_release_wrote_is_left_alone(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Both run during an update: the older one waits, and signs nobody in over it."""
    stage.signs_in()
    newer = stage.file().replace(b'{"format":1', b'{"format":2')
    stage.put(newer)
    failure = no_token(stage.parts().tokens)
    assert (failure.code, failure.permanent) == ("NewerSignIn", False)
    assert stage.unstale("login") == 1
    assert stage.unstale("login", "--show") == 1
    assert "a later one wrote it" in capsys.readouterr().err
    assert stage.file() == newer


def gone(stage: Stage) -> None:
    """Deleted, though not purged."""
    stage.vault.deleted = True


def disabled(stage: Stage) -> None:
    """Of no use for now."""
    stage.vault.enabled = False


def without_its_role(stage: Stage) -> None:
    """The identity may not unwrap."""
    stage.vault.may[SYSTEM.object_id] = frozenset({"get"})


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
    stage: Stage, happens: Callable[[Stage], None], says: str
) -> None:
    """And once the key is back, nobody needs to sign in."""
    stage.signs_in()
    happens(stage)
    begin(stage)
    assert says in blocked(stage)
    stage.vault.deleted, stage.vault.enabled = False, True
    stage.vault.may[SYSTEM.object_id] = frozenset({"get", "unwrapKey"})
    turn(stage, hours=2)
    turn(stage, seconds=5)
    assert stage.state().hold is None


def test_a_rotated_key_still_opens_what_it_sealed(stage: Stage) -> None:
    """And the next sign-in is sealed with the new version."""
    stage.signs_in()
    before = json.loads(stage.file().partition(b"\n")[0])["seal"]["key_version"]
    stage.vault.rotate()
    token(stage.parts().tokens)
    stage.signs_in()
    assert json.loads(stage.file().partition(b"\n")[0])["seal"]["key_version"] != before
    token(stage.parts().tokens)


def test_a_vault_that_is_not_there_is_waited_for(stage: Stage) -> None:
    """No connection is no reason to block."""
    stage.signs_in()
    stage.environment["UNSTALE_KEY_VAULT_URL"] = "http://127.0.0.1:9"
    assert not no_token(stage.parts().tokens).permanent


# --- Renewal ---------------------------------------------------------------------------------------------------------


def test_an_idle_sign_in_is_renewed_every_week(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """By ticks alone, for ever: after four months without any work it is as good as new."""
    stage.signs_in()
    idle(stage)
    began = len(stage.entra.users.refreshes)
    turn(stage, days=6)
    assert len(stage.entra.users.refreshes) == began
    for week in range(1, 17):
        turn(stage, days=7)
        assert len(stage.entra.users.refreshes) == began + week
    capsys.readouterr()
    assert stage.unstale("login", "--show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["sign_in"]
    assert shown["renewed_at"] > shown["signed_in_at"]
    token(stage.parts().tokens)


def test_a_process_asks_for_a_renewal_now_and_then(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every tick: what is kept is read once in six hours, but for what tokens need."""
    stage.signs_in()
    shell, reads = stage.shell(), []
    look = SignIns.look

    def noting(self: SignIns) -> Any:
        reads.append(1)
        return look(self)

    monkeypatch.setattr(SignIns, "look", noting)
    for _ in range(5):
        stage.clock.ahead += timedelta(minutes=1)
        shell.tick()
    assert len(reads) == 2, "one for the renewal, one for the token"


def test_a_renewal_that_is_refused_is_heard_of(stage: Stage) -> None:
    """Nothing is due, so no target can say it: ticks fail, which raises an alert, and `status` says why.

    Every tick does, for the alert counts them, though Entra is asked once; until somebody signs in.
    """
    stage.signs_in()
    idle(stage)
    stage.entra.users.change_password()
    stage.clock.ahead += timedelta(days=8)
    shell, asked = stage.shell(), len(stage.entra.token_requests)
    for _ in range(3):
        with pytest.raises(ComesBackError, match="was revoked"):
            shell.tick()
    assert [each.outcome for each in stage.entra.token_requests[asked:] if each.client_id == APP.client_id] == [
        "invalid_grant"
    ]
    assert stage.state().hold is None
    assert stage.unstale("status") == 1
    stage.signs_in()
    shell.tick()
    assert stage.unstale("login", "--show") == 0


def test_a_renewal_that_fails_for_now_is_tried_by_the_next_tick(stage: Stage) -> None:
    """Entra's own trouble; then the week begins anew."""
    stage.signs_in()
    idle(stage)
    stage.clock.ahead += timedelta(days=8)
    shell = stage.shell()
    stage.entra.faults.add(LoseResponse(), "token", APP.client_id)
    with pytest.raises(ComesBackError, match="ConnectionError"):
        shell.tick()
    began = len(stage.entra.users.refreshes)
    shell.tick()
    shell.tick()
    assert len(stage.entra.users.refreshes) == began + 1


# --- Seen from outside -----------------------------------------------------------------------------------------------


def test_status_tells_the_age_of_the_sign_in(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the table, and as data; that nobody is signed in is not well."""
    assert stage.unstale("status", "--json") == 1
    assert json.loads(capsys.readouterr().out)["sign_in"] is None
    stage.signs_in()
    stage.shell().tick()
    capsys.readouterr()
    assert stage.unstale("status") == 0
    assert f"{ADA} signed in at 20" in capsys.readouterr().out
    assert stage.unstale("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sign_in"]["account"] == ADA


def test_status_shows_the_targets_though_the_sign_in_is_damaged(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with one does not hide the others."""
    stage.put(b"garbage")
    assert stage.unstale("status", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert len(said["targets"]) == 2
    assert "cannot be read" in said["sign_in"]["error"]


def test_storage_that_is_away_fails_the_tick(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a sign-in is due for its renewal is not known then; the next tick asks again."""
    stage.signs_in()

    def down(_: SignIns) -> Any:
        raise StoreDownError("reading the sign-in: nobody there")

    shell = stage.shell()
    with monkeypatch.context() as patch:
        patch.setattr(SignIns, "look", down)
        with pytest.raises(ComesBackError, match="reading the sign-in"):
            shell.tick()
    shell.tick()


def test_a_blocked_target_raises_the_alert(short: Stage, caplog: pytest.LogCaptureFixture) -> None:
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
def test_a_cold_start_pays_for_a_user_only_where_there_is_one(stage: Stage, identity: str) -> None:
    """A tick and a token of another identity import nothing of it; and the same look finds all of it for a user."""
    stage.config.write_text(stage.config.read_text(encoding="utf-8").replace('"user"', f'"{identity}"'))
    here = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), **stage.environment}
    if identity == "managed-identity":
        del here["UNSTALE_CLIENT_ID"]
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env=here)
    imported = set(json.loads(run.stdout.splitlines()[-1]))
    assert {"msal", "azure.data.tables", "shared.refresh.engine"} <= imported
    assert imported & OF_A_USER == (OF_A_USER if identity == "user" else set())
