"""The tables of refusals, scopes, and what is kept of a sign-in, as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared import sign_in as entra
from shared.config.load import load
from shared.refresh.failure import Delivery
from shared.refresh.records import NewerRecordError
from shared.sign_in import DamagedSignInError, Kept, Remedy, Seal, SignIn
from tests.support.azure_host import TEXT

T0 = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
SIGN_IN = SignIn("one", "ada@contoso.example", ("Item.Read.All",), T0, T0)
SEAL = Seal("0698c2156c1a4e1da5b6bab6f6422fd6", b"wrapped", b"nonce")

FIRST_RELEASE = (
    b'{"format":1,"sign_in":{"session":"one","account":"ada@contoso.example","scopes":["Item.Read.All"],'
    b'"signed_in_at":"2026-11-25T09:30:00Z","renewed_at":"2026-11-25T09:30:00Z"},'
    b'"seal":{"key_version":"0698c2156c1a4e1da5b6bab6f6422fd6","wrapped":"d3JhcHBlZA==","nonce":"bm9uY2U="}}'
)
"""The first line as the first release wrote it: to be read for ever."""

ITEM_JOB = """
[targets.job]
kind = "fabric-item-job"
workspace = "4b218778-e7a5-4d73-8187-f10824047715"
item = "631e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
job_type = "DefaultJob"
"""


# --- Scopes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (TEXT, ("Lakehouse.Execute.All", "Lakehouse.Read.All")),
        (ITEM_JOB, ("Item.Execute.All", "Item.Read.All")),
        (TEXT + ITEM_JOB, ("Item.Execute.All", "Item.Read.All")),
        ("[targets.g]" + TEXT.partition("[targets.glue]")[2], ()),
    ],
    ids=["lake views", "item job", "both", "neither"],
)
def test_scopes_are_the_least_that_the_targets_need(text: str, wanted: tuple[str, ...]) -> None:
    """As the operations' documents name them."""
    assert entra.scopes(load(text).targets) == wanted


# --- What is kept


def test_what_was_written_is_read() -> None:
    """And what is sealed is handed on as it is, newlines included."""
    head = entra.write_head(SIGN_IN, SEAL)
    assert head == FIRST_RELEASE
    assert entra.read_kept(head + b"\nse\naled") == Kept(SIGN_IN, SEAL, head, b"se\naled")


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\xff\n",
        b"[" * 10_000 + b"\n",
        b'{"format":1}\n',
        FIRST_RELEASE.replace(b"0698", b"../9"),
        FIRST_RELEASE.replace(b"one", b"\xff"),
        FIRST_RELEASE.replace(b'"signed_in_at":"2026-11-25T09:30:00Z"', b'"signed_in_at":"2026-11-25T09:30:00"'),
        FIRST_RELEASE.replace(b'"renewed_at":"2026-11-25T09:30:00Z"', b'"renewed_at":"2026-11-25T09:30:00"'),
    ],
    ids=[
        "empty",
        "no text",
        "deep",
        "no field",
        "a key version that is a path",
        "a name that is no text",
        "signed in at a time without a zone",
        "renewed at a time without a zone",
    ],
)
@pytest.mark.usefixtures("without_garbage")
def test_what_is_no_sign_in_is_damaged(file: bytes) -> None:
    """Never an error of another kind."""
    with pytest.raises(DamagedSignInError):
        entra.read_kept(file)


def test_a_later_format_is_left_alone() -> None:
    """Whatever else it holds."""
    with pytest.raises(NewerRecordError, match="format 2"):
        entra.read_kept(b'{"format":2,"sign_in":7}\n')


def test_a_renewal_outdates_an_older_one_of_its_session_only() -> None:
    """A later session is never undone, whatever the clocks say."""
    later = entra.SignIn("one", SIGN_IN.account, SIGN_IN.scopes, T0, T0 + timedelta(seconds=1))
    other = entra.SignIn("two", SIGN_IN.account, SIGN_IN.scopes, T0, T0)
    assert later.outdates(SIGN_IN)
    assert not SIGN_IN.outdates(later)
    assert not SIGN_IN.outdates(SIGN_IN)
    assert not later.outdates(other)


def test_a_sign_in_is_renewed_after_a_week() -> None:
    """Not before."""
    assert not entra.renewal_is_due(SIGN_IN, T0 + timedelta(days=7, seconds=-1))
    assert entra.renewal_is_due(SIGN_IN, T0 + timedelta(days=7))


def test_the_age_is_told() -> None:
    """With what Entra refused, if it did."""
    told = entra.age(SIGN_IN, T0 + timedelta(days=3))
    assert told == (
        "ada@contoso.example signed in at 2026-11-25 09:30Z, 3 days ago; last renewed at 2026-11-25 09:30Z, "
        "lasts unused until 2027-02-23 at the latest"
    )
    refused = entra.SignIn("one", "a", (), T0, T0, "no: unstale login")
    assert entra.age(refused, T0).endswith(". Refused since: no: unstale login")


# --- Refusals


@pytest.mark.parametrize(
    ("error", "suberror", "remedy"),
    [
        ("invalid_grant", "", Remedy.SIGN_IN),
        ("invalid_grant", "bad_token", Remedy.SIGN_IN),
        ("invalid_grant", "token_expired", Remedy.SIGN_IN),
        ("invalid_grant", "user_password_expired", Remedy.SIGN_IN),
        ("invalid_grant", "consent_required", Remedy.ADMINISTRATOR),
        ("invalid_grant", "message_only", Remedy.ADMINISTRATOR),
        ("invalid_grant", "protection_policy_required", Remedy.ADMINISTRATOR),
        ("invalid_grant", "a suberror of next year", Remedy.SIGN_IN),
        ("interaction_required", "", Remedy.SIGN_IN),
        ("interaction_required", "basic_action", Remedy.SIGN_IN),
        ("interaction_required", "additional_action", Remedy.ADMINISTRATOR),
        ("login_required", "", Remedy.SIGN_IN),
        ("consent_required", "", Remedy.ADMINISTRATOR),
        ("invalid_client", "", Remedy.ADMINISTRATOR),
        ("an error of next year", "", Remedy.ADMINISTRATOR),
        ("temporarily_unavailable", "", Remedy.WAIT),
        ("server_error", "message_only", Remedy.WAIT),
    ],
)
def test_what_is_to_be_done(error: str, suberror: str, remedy: Remedy) -> None:
    """Wait, sign in again, or ask an administrator; whatever needed the token was not sent."""
    found = entra.refuse_token(error, suberror, "AADSTS1: no.", "ada@contoso.example", ("Item.Read.All",))
    assert (found.delivery, found.permanent) == (Delivery.NOT_SENT, remedy is not Remedy.WAIT)
    assert (str(remedy) in found.message) == (remedy is not Remedy.WAIT)
    assert found.message.endswith(". Entra says: AADSTS1: no.")
    assert "{" not in found.message


def test_every_row_can_be_told() -> None:
    """Without an account and without a word of Entra's, too."""
    for error, suberror in [*((error, "") for error in entra.ERRORS), *(("x", sub) for sub in entra.SUBERRORS)]:
        told = entra.refuse_token(error, suberror, "", "", ("A", "B")).message
        assert "unstale login" in told
        assert "{" not in told


def test_a_refusal_is_one_sentence_with_the_command() -> None:
    """What the target is blocked with."""
    assert str(entra.refuse_token("invalid_grant", "bad_token", "", "ada", ())) == (
        "invalid_grant/bad_token: the sign-in of ada was revoked: the password was changed, or somebody ended all "
        "sessions: sign in again: unstale login"
    )


def test_damage_needs_another_sign_in() -> None:
    """With what is wrong."""
    assert str(entra.report_damage("its seal does not fit")) == (
        "SignInDamaged: what is kept of the sign-in is damaged: sign in again: unstale login. its seal does not fit"
    )


@pytest.mark.parametrize(
    ("status", "code", "permanent", "says"),
    [
        (404, "KeyNotFound", True, "the key of the sign-in is gone"),
        (403, "Forbidden", True, "is the key enabled"),
        (401, "Unauthorized", True, "in this tenant"),
        (400, "BadParameter", True, "damaged: sign in again: unstale login"),
        (409, "Conflict", True, "the Key Vault refuses"),
        (429, "Throttled", False, "trouble of its own"),
        (503, "", False, "trouble of its own"),
    ],
)
def test_what_the_key_vault_says(status: int, code: str, permanent: bool, says: str) -> None:
    """Trouble of its own is waited for; all else needs a person, and says which."""
    found = entra.report_vault(status, code, "")
    assert (found.code, found.permanent, found.delivery) == (f"KeyVault {code or status}", permanent, Delivery.NOT_SENT)
    assert says in found.message
    assert entra.report_vault(status, code, "so it is").message.endswith(" It says: so it is")
