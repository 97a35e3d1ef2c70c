"""Who is let in: a table of tokens, each differing from a good one in one thing, and every check needed by one of them.

Tokens are signed with a tenant's key as Entra signs them; what is wrong with a row is all that is wrong with it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from threading import Event
from typing import Any, Self

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from functions_azure.workload import keys
from functions_azure.workload.keys import (
    KEPT_SECONDS,
    REFRESH_SECONDS,
    TRY_AGAIN_SECONDS,
    Gate,
    Key,
    Keys,
    NoKeysError,
    parse_keys,
)
from local.emulators.entra.tokens import ANY_TENANT, Tokens
from local.emulators.http_server import Answer, LoopbackServer, Request
from shared.workload import tokens as workload_tokens
from shared.workload.tokens import CHECKS, FABRIC_APPS, LONGEST_HEADER, Expected, Pair
from tests.support.waiting import PATIENCE_SECONDS

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
T = int(NOW.timestamp())
PUBLISHER, CUSTOMER, NOBODY = (f"{n}0000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
AUDIENCE, CLIENT_ID = "api://contoso.com/unstale", "c0000000-0000-4000-8000-00000000000c"
EXPECTED = Expected(AUDIENCE, PUBLISHER, CLIENT_ID, frozenset({CUSTOMER}))
FABRIC, CLIENT = sorted(FABRIC_APPS)
TENANT = Tokens(lambda: NOW, PUBLISHER)
MISSING = object()

Changes = Mapping[str, Any]


def claims(subject: bool, version: str) -> dict[str, Any]:
    """Of a good token."""
    tenant = CUSTOMER if subject else PUBLISHER
    second = version == "2.0"
    return {
        "aud": CLIENT_ID if second else AUDIENCE,
        "iss": f"https://login.microsoftonline.com/{tenant}/v2.0" if second else f"https://sts.windows.net/{tenant}/",
        "iat": T - 60,
        "nbf": T - 60,
        "exp": T + 3600,
        "azp" if second else "appid": FABRIC,
        "oid": "0b1ec700-0000-4000-8000-000000000001",
        "sub": "someone",
        "tid": tenant,
        "ver": version,
        **({"scp": "user_impersonation FabricWorkloadControl"} if subject else {"idtyp": "app"}),
    }


@cache
def another_key() -> rsa.RSAPrivateKey:
    """Nobody's whom we trust."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def changed(good: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """The same with these claims, or without those that are missing."""
    return {name: value for name, value in {**good, **changes}.items() if value is not MISSING}


Sign = Callable[[dict[str, Any]], str]


def signed(key: Any = None, algorithm: str = "RS256", **headers: Any) -> Sign:
    """Sign with the tenant's key and its id, unless told otherwise."""

    def sign(content: dict[str, Any]) -> str:
        body = json.dumps(content).encode()
        made: str = jwt.api_jws.encode(body, key or TENANT._key, algorithm, {"kid": "loopback", **headers})
        return made

    return sign


def raw(header: Any, payload: Any = None, signature: bytes = b"x") -> Sign:
    """Parts of a token put together by hand; the payload is that of the good one if none is given."""

    def build(content: dict[str, Any]) -> str:
        parts = (json.dumps(header), json.dumps(content) if payload is None else payload)
        return ".".join(
            base64.urlsafe_b64encode(part if isinstance(part, bytes) else part.encode()).decode().rstrip("=")
            for part in (*parts, signature)
        )

    return build


def hs256(content: dict[str, Any]) -> str:
    """Signed with the public key as a secret, as for a validator that lets the header choose."""
    pem = TENANT._key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = raw({"alg": "HS256", "kid": "loopback"})(content).rpartition(".")[0]
    mac = hmac.new(pem, unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def critical(content: dict[str, Any]) -> str:
    """Well signed, with something critical in its header that the library understands, and that it would not write."""
    header = {"alg": "RS256", "kid": "loopback", "crit": ["b64"], "b64": True}
    unsigned = raw(header)(content).rpartition(".")[0]
    signature = TENANT._key.sign(unsigned.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def rs256_payload(payload: bytes) -> Sign:
    """Well signed, whatever it says."""
    return lambda _: jwt.api_jws.encode(payload, TENANT._key, algorithm="RS256", headers={"kid": "loopback"})


_AS_ENTRA = signed()


@dataclass(frozen=True)
class Row:
    """One call, and which check stops it."""

    name: str
    check: str
    app: Changes = field(default_factory=dict)
    subject: Changes | None = field(default_factory=dict)
    version: str = "1.0"
    sign_app: Sign = _AS_ENTRA
    sign_subject: Sign = _AS_ENTRA
    form: str = 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}"'
    tenant: str = CUSTOMER

    def call(self) -> tuple[str, str]:
        """The header, and the tenant's."""
        app = self.sign_app(changed(claims(False, self.version), self.app))
        subject = ""
        if self.subject is not None:
            subject = self.sign_subject(changed(claims(True, self.version), self.subject))
        return self.form.format(app=app, subject=subject), self.tenant


V1, V2 = "https://sts.windows.net/{}/", "https://login.microsoftonline.com/{}/v2.0"
CONSUMERS = V2.format("9188040d-6c67-4c5b-b112-36a304b66dad")
"""The issuer of the keys for personal accounts, which lie in the common key set
(https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer)."""
GOOD = [
    Row("version 1.0", ""),
    Row("version 2.0", "", version="2.0"),
    Row("nobody behind it", "", subject=None),
    Row("nobody behind it, 2.0", "", subject=None, version="2.0"),
    Row("a tenant in capitals and braces", "", tenant=f"{{{CUSTOMER.upper()}}}"),
    Row("Fabric's client for workloads", "", {"appid": CLIENT}, {"appid": CLIENT}),
    Row("a clock within a minute", "", {"exp": T - 59, "nbf": T + 59, "iat": T + 59}),
    Row("one scope", "", subject={"scp": "FabricWorkloadControl"}),
    Row("a key of version 1.0", "", subject=None, sign_app=signed(kid="version 1.0")),
    Row("a key of the publisher's alone", "", sign_app=signed(kid="publisher")),
    Row("a key of the publisher's alone, 2.0", "", sign_app=signed(kid="publisher"), version="2.0"),
    Row("claims that nobody asked for", "", {"roles": ["x"], "xms_ds_cnf": {"deep": [1]}}),
]
OF_EITHER: list[tuple[str, str, dict[str, Any]]] = [
    ("another version", "version", {"ver": "1.1"}),
    ("a version that is a number", "version", {"ver": 1.0}),
    ("no version", "version", {"ver": MISSING}),
    ("another audience", "audience", {"aud": "https://api.fabric.microsoft.com"}),
    ("the audience of the other version", "audience", {"aud": CLIENT_ID}),
    ("the audience in a list", "audience", {"aud": [AUDIENCE]}),
    ("an audience that begins like ours", "audience", {"aud": AUDIENCE + "/more"}),
    ("no audience", "audience", {"aud": MISSING}),
    ("the issuer of another tenant", "issuer", {"iss": V1.format(NOBODY)}),
    ("the issuer of the other version", "issuer", {"iss": "2.0"}),
    ("an issuer that looks like Entra", "issuer", {"iss": "https://sts.windows.net.evil.example/"}),
    ("no issuer", "issuer", {"iss": MISSING}),
    ("a tenant that is no UUID", "issuer", {"tid": "common", "iss": V1.format("common")}),
    ("expired", "expiry", {"exp": T - 60}),
    ("an expiry that is text", "expiry", {"exp": str(T + 60)}),
    ("an expiry that is true", "expiry", {"exp": True}),
    ("no expiry", "expiry", {"exp": MISSING}),
    ("not yet valid", "beginning", {"nbf": T + 61}),
    ("a beginning that is true", "beginning", {"nbf": True}),
    ("no beginning", "beginning", {"nbf": MISSING}),
    ("issued tomorrow", "issue time", {"iat": T + 86_400}),
    ("an issue time that is true", "issue time", {"iat": True}),
    ("no issue time", "issue time", {"iat": MISSING}),
]


def _of_either() -> Iterator[Row]:
    """Each for both tokens; `iss` of the other version is that of the token's own tenant."""
    for name, check, change in OF_EITHER:
        for which, tenant in (("app", PUBLISHER), ("subject", CUSTOMER)):
            this = {key: V2.format(tenant) if value == "2.0" else value for key, value in change.items()}
            app, subject = (this, {}) if which == "app" else ({}, this)
            yield Row(f"{which}: {name}", f"{which} token: {check}", app, subject)


def _of_other_keys() -> Iterator[Row]:
    """Either token of either version, well signed by a key of another issuer."""
    for version in ("1.0", "2.0"):
        for kid in ("consumers", "elsewhere", "template"):
            by_it, name = signed(kid=kid), f"a key of {kid}, {version}"
            yield Row(f"app: {name}", "app token: issuer of the key", version=version, sign_app=by_it)
            yield Row(f"subject: {name}", "subject token: issuer of the key", version=version, sign_subject=by_it)


BAD = [
    *_of_either(),
    Row("app: not Fabric", "app token: caller", {"appid": NOBODY}, None),
    Row("app: Fabric in the claim of the other version", "app token: caller", {"appid": MISSING, "azp": FABRIC}, None),
    Row("app: no caller, 2.0", "app token: caller", {"azp": MISSING}, None, version="2.0"),
    Row("app: a caller that is a list", "app token: caller", {"appid": [FABRIC]}, None),
    Row("app: of a user", "app token: kind", {"idtyp": "user"}),
    Row("app: of no kind", "app token: kind", {"idtyp": MISSING}),
    Row("app: no object", "app token: object", {"oid": MISSING}),
    Row("app: an empty object", "app token: object", {"oid": ""}),
    Row("app: with a scope", "app token: scope", {"scp": "FabricWorkloadControl"}),
    Row("app: with an empty scope", "app token: scope", {"scp": ""}),
    Row("app: another publisher", "app token: tenant", {"tid": NOBODY, "iss": V1.format(NOBODY)}),
    Row("app: the customer's", "app token: tenant", {"tid": CUSTOMER, "iss": V1.format(CUSTOMER)}),
    Row("app: no tenant", "app token: issuer", {"tid": MISSING, "iss": V1.format(None)}),
    Row("another tenant's item", "tenant", subject=None, tenant=NOBODY),
    Row(
        "another tenant's item, on its user's behalf",
        "tenant",
        subject={"tid": NOBODY, "iss": V1.format(NOBODY)},
        tenant=NOBODY,
    ),
    Row("the publisher's item where customers are named", "tenant", subject=None, tenant=PUBLISHER),
    Row("an item of no tenant", "tenant", subject=None, tenant=""),
    Row("an item of a tenant that begins like ours", "tenant", subject=None, tenant=CUSTOMER[:-1]),
    Row("subject: another tenant", "subject token: tenant", subject={"tid": NOBODY, "iss": V1.format(NOBODY)}),
    Row(
        "subject: of the publisher's tenant",
        "subject token: tenant",
        subject={"tid": PUBLISHER, "iss": V1.format(PUBLISHER)},
    ),
    Row("subject: by another app", "subject token: caller", subject={"appid": CLIENT}),
    Row("subject: by no app", "subject token: caller", subject={"appid": MISSING}),
    Row("subject: app-only", "subject token: kind", subject={"idtyp": "app"}),
    Row("subject: of the kind user", "subject token: kind", subject={"idtyp": "user"}),
    Row("subject: no scope", "subject token: scope", subject={"scp": MISSING}),
    Row("subject: another scope", "subject token: scope", subject={"scp": "user_impersonation"}),
    Row("subject: a longer scope", "subject token: scope", subject={"scp": "FabricWorkloadControl.Read"}),
    Row("subject: scopes in a list", "subject token: scope", subject={"scp": ["FabricWorkloadControl"]}),
    # Keys of other issuers
    *_of_other_keys(),
    Row(
        "app: a key of version 1.0 under 2.0",
        "app token: issuer of the key",
        version="2.0",
        sign_app=signed(kid="version 1.0"),
    ),
    Row("subject: a key of the publisher's", "subject token: issuer of the key", sign_subject=signed(kid="publisher")),
    # Signatures, and the headers of tokens
    Row("another key", "app token: signature", sign_app=signed(another_key())),
    Row("subject: another key", "subject token: signature", sign_subject=signed(another_key())),
    Row("PS256 with the right key", "app token: signature", sign_app=signed(algorithm="PS256")),
    Row("RS512 with the right key", "app token: signature", sign_app=signed(algorithm="RS512")),
    Row("subject: RS384", "subject token: signature", sign_subject=signed(algorithm="RS384")),
    Row("HS256 with the public key", "app token: signature", sign_app=hs256),
    Row("algorithm none", "app token: signature", sign_app=raw({"alg": "none", "kid": "loopback"})),
    Row("no algorithm", "app token: signature", sign_app=raw({"kid": "loopback"})),
    Row("an unknown key id", "app token: key", sign_app=signed(kid="other")),
    Row("no key id", "app token: key", sign_app=raw({"alg": "RS256"})),
    Row("a key id that is a number", "app token: form", sign_app=raw({"alg": "RS256", "kid": 1})),
    Row("a key of its own", "app token: header", sign_app=signed(jwk={"kty": "RSA"})),
    Row("the address of a key", "app token: header", sign_app=signed(jku="https://evil.example/keys")),
    Row("the address of a certificate", "app token: header", sign_app=signed(x5u="https://evil.example/c")),
    Row("subject: a certificate of its own", "subject token: header", sign_subject=signed(x5c=["MII"])),
    Row("something critical", "app token: form", sign_app=raw({"alg": "RS256", "kid": "loopback", "crit": ["x"]})),
    Row("something critical that is understood", "app token: header", sign_app=critical),
    Row("a header that is a list", "app token: form", sign_app=raw([1])),
    Row("a header that is no JSON", "app token: form", sign_app=lambda _: "eyJhbGciOiJSUzI1NiI.e30.eA"),
    Row("claims that are a list", "app token: signature", sign_app=rs256_payload(b"[]")),
    Row("claims that are no JSON", "app token: signature", sign_app=rs256_payload(b"\xff")),
    Row("claims nested deeply", "app token: signature", sign_app=rs256_payload(b"[" * 5000 + b"]" * 5000)),
    Row("no signature", "authorization header", sign_app=lambda _: "eyJhbGciOiJSUzI1NiJ9.e30."),
    Row("detached claims", "app token: form", sign_app=raw({"alg": "RS256", "kid": "loopback", "b64": False})),
    Row("swapped", "app token: kind", form='SubjectAndAppToken1.0 subjectToken="{app}", appToken="{subject}"'),
    Row(
        "the app token twice",
        "subject token: tenant",
        form='SubjectAndAppToken1.0 subjectToken="{app}", appToken="{app}"',
    ),
    # The header of the call
    *(
        Row(name, "authorization header", form=form)
        for name, form in {
            "nothing": "",
            "a bearer token": "Bearer {app}",
            "another version of the scheme": 'SubjectAndAppToken2.0 subjectToken="{subject}", appToken="{app}"',
            "the scheme in small letters": 'subjectandapptoken1.0 subjectToken="{subject}", appToken="{app}"',
            "any letter for its dot": 'SubjectAndAppToken1x0 subjectToken="{subject}", appToken="{app}"',
            "the other order": 'SubjectAndAppToken1.0 appToken="{app}", subjectToken="{subject}"',
            "no quotes": "SubjectAndAppToken1.0 subjectToken={subject}, appToken={app}",
            "single quotes": "SubjectAndAppToken1.0 subjectToken='{subject}', appToken='{app}'",
            "escaped quotes": 'SubjectAndAppToken1.0 subjectToken=\\"{subject}\\", appToken=\\"{app}\\"',
            "no comma": 'SubjectAndAppToken1.0 subjectToken="{subject}" appToken="{app}"',
            "two spaces": 'SubjectAndAppToken1.0  subjectToken="{subject}", appToken="{app}"',
            "something before it": 'x SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}"',
            "something behind it": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}" ',
            "a line behind it": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}"\n',
            "no app token": 'SubjectAndAppToken1.0 subjectToken="{subject}"',
            "an empty app token": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken=""',
            "no subject token": 'SubjectAndAppToken1.0 appToken="{app}"',
            "two app tokens": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}", appToken="{app}"',
            "two subject tokens": 'SubjectAndAppToken1.0 subjectToken="{subject}", subjectToken="", appToken="{app}"',
            "twice": ", ".join(['SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}"'] * 2),
            "a third parameter": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}", x="y"',
            "padding": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}="',
            "four parts": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}.x"',
            "nested": 'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="appToken="{app}""',
        }.items()
    ),
    Row("huge", "authorization header", {"groups": ["g" * 36] * 400}),
]
ROWS = {row.name: row for row in BAD}


ISSUERS_OF_KEYS = {
    "loopback": ANY_TENANT,
    "consumers": CONSUMERS,
    "version 1.0": "https://sts.windows.net/{tenantid}/",
    "publisher": V2.format(PUBLISHER),
    "elsewhere": "https://login.microsoftonline.us/{tenantid}/v2.0",
    "template": "{tenantid}",
}
"""Keys of one key set by their ids: the tenant's key, in the name of each of these issuers."""


def an_entry(**fields: Any) -> dict[str, Any]:
    """A key as Entra publishes it, with these fields, or without those that are missing."""
    [good] = TENANT.key_set()["keys"]
    return changed(good, fields)


def a_key_set() -> bytes:
    """All of them, as Entra publishes its own."""
    return json.dumps({"keys": [an_entry(kid=kid, issuer=issuer) for kid, issuer in ISSUERS_OF_KEYS.items()]}).encode()


class SomeKeys:
    """The key set."""

    def find(self, key_id: str) -> Key | None:
        """By its id."""
        issuer = ISSUERS_OF_KEYS.get(key_id)
        return Key(TENANT._key.public_key(), issuer) if issuer else None


def gate() -> Gate:
    """With the tenant's key, at the tests' time."""
    return Gate(EXPECTED, SomeKeys(), lambda: T)  # type: ignore[arg-type]


# --- The table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.name)
def test_the_good_are_let_in(row: Row) -> None:
    """Both versions of tokens, with somebody behind the call and without."""
    assert gate().refusal(*row.call()) == ""


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.name)
def test_the_bad_are_not(row: Row) -> None:
    """Each differs from a good one in one thing, and the check that is for that thing stops it."""
    assert gate().refusal(*row.call()).partition(" (")[0] == row.check


def test_the_table_is_long_enough_and_names_each_row_once() -> None:
    """At least forty."""
    assert len(ROWS) == len(BAD) > 40


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_is_needed(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched off alone, it lets in at least one of the rows that it is for."""
    monkeypatch.setattr(workload_tokens, "CHECKS", {name: holds for name, holds in CHECKS.items() if name != check})
    let_in = [row.name for row in BAD if row.check == check and gate().refusal(*row.call()) == ""]
    assert let_in, f"nothing in the table needs the check {check!r}"


def lax_header(value: str) -> Pair | None:
    """What a header would be read by if any form did."""
    found = dict(re.findall(r"(subjectToken|appToken)=[\\\"']*([\w.-]+)", value))
    return Pair(found.get("subjectToken", ""), found["appToken"]) if "appToken" in found else None


SHELLS: list[tuple[str, Callable[[pytest.MonkeyPatch], object], set[str]]] = [
    (
        "the form of the header",
        lambda patch: patch.setattr(keys, "read_header", lax_header),
        {"no quotes", "two app tokens", "twice", "something behind it", "the other order", "huge", "escaped quotes"},
    ),
    ("its length", lambda patch: patch.setattr(workload_tokens, "LONGEST_HEADER", 10**6), {"huge"}),
    (
        "RS256 only",
        lambda patch: patch.setattr(keys, "ALGORITHMS", ["RS256", "RS384", "RS512", "PS256"]),
        {"PS256 with the right key", "RS512 with the right key", "subject: RS384"},
    ),
    (
        "the signature",
        lambda patch: patch.setitem(keys._SIGNATURE_ONLY, "verify_signature", False),
        {"another key", "subject: another key", "HS256 with the public key", "algorithm none"},
    ),
    (
        "the key's id",
        lambda patch: patch.setattr(SomeKeys, "find", lambda *_: Key(TENANT._key.public_key(), ANY_TENANT)),
        {"an unknown key id"},
    ),
    (
        "no key of its own",
        lambda patch: patch.setattr(keys, "points_nowhere", lambda _: True),
        {
            "a key of its own",
            "the address of a key",
            "the address of a certificate",
            "subject: a certificate of its own",
            "something critical that is understood",
        },
    ),
]
POINTERS = {
    "jwk": "a key of its own",
    "jku": "the address of a key",
    "x5u": "the address of a certificate",
    "x5c": "subject: a certificate of its own",
    "crit": "something critical that is understood",
}
"""Each field that the header of a token must not have, and a row that nothing else refuses."""


@pytest.mark.parametrize(("what", "switch_off", "let_in"), SHELLS, ids=[what for what, _, _ in SHELLS])
def test_each_check_around_the_claims_is_needed(
    what: str, switch_off: Callable[[pytest.MonkeyPatch], object], let_in: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Switched off alone, it lets these rows in."""
    assert all(gate().refusal(*ROWS[name].call()) for name in let_in), what
    switch_off(monkeypatch)
    assert {name for name in let_in if gate().refusal(*ROWS[name].call()) == ""} == let_in


@pytest.mark.parametrize(("field", "row"), POINTERS.items())
def test_each_field_that_points_somewhere_is_needed(field: str, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlooked alone, it lets its row in."""
    really = workload_tokens.points_nowhere
    monkeypatch.setattr(keys, "points_nowhere", lambda header: really({k: header[k] for k in header if k != field}))
    let_in = [name for name in POINTERS.values() if gate().refusal(*ROWS[name].call()) == ""]
    assert let_in == [row]


def test_where_no_tenant_is_named_the_publishers_own_is_let_in() -> None:
    """And no other."""
    own = Gate(Expected(AUDIENCE, PUBLISHER, CLIENT_ID), SomeKeys(), lambda: T)  # type: ignore[arg-type]
    assert own.refusal(*Row("", "", subject=None, tenant=PUBLISHER).call()) == ""
    assert own.refusal(*GOOD[0].call()) == "tenant"


def test_the_publishers_tenant_may_be_written_as_it_likes() -> None:
    """In capitals, in braces."""
    expected = Expected(AUDIENCE, f"{{{PUBLISHER.upper()}}}", CLIENT_ID, frozenset({f"{{{CUSTOMER.upper()}}}"}))
    assert Gate(expected, SomeKeys(), lambda: T).refusal(*GOOD[0].call()) == ""  # type: ignore[arg-type]


def test_without_a_client_id_no_token_of_version_2_is_let_in() -> None:
    """An empty audience is nobody's."""
    closed = Gate(Expected(AUDIENCE, PUBLISHER), SomeKeys(), lambda: T)  # type: ignore[arg-type]
    row = replace(GOOD[1], app={"aud": ""})
    assert closed.refusal(*row.call()) == "app token: audience"


# --- Whatever comes --------------------------------------------------------------------------------------------------

parts = st.sampled_from(
    ['SubjectAndAppToken1.0 subjectToken="', '", appToken="', '"', ",", " ", "Bearer ", "=", "\\", "\x00", "é"]
) | st.text(max_size=12)
segments = st.binary(max_size=60).map(lambda some: base64.urlsafe_b64encode(some).decode().rstrip("="))
objects = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "ver", "aud", "iss", "exp", "nbf", "tid", "scp"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.text(max_size=3)),
)


def as_segment(content: object) -> str:
    """JSON, as a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


tokens = st.tuples(segments | objects.map(as_segment), segments | objects.map(as_segment), segments).map(".".join)
headers = st.lists(parts, max_size=12).map("".join) | st.builds(
    'SubjectAndAppToken1.0 subjectToken="{}", appToken="{}"'.format, st.just("") | tokens, tokens
)


@given(headers, st.text(max_size=40))
def test_no_header_raises_and_none_is_let_in(header: str, tenant: str) -> None:
    """Whatever it is made of: the name of a check, and nothing else."""
    assert gate().refusal(header, tenant)


@given(objects, objects)
def test_no_claims_raise_however_well_they_are_signed(app: dict[str, Any], subject: dict[str, Any]) -> None:
    """A check meets a claim of the wrong type."""
    row = Row("", "", app, subject)
    refused = gate().refusal(*row.call())
    assert refused == "" or refused in CHECKS


# --- Keys ------------------------------------------------------------------------------------------------------------


class KeyServer:
    """Entra's keys on loopback: counts who asks, and can be away or talk nonsense."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], Answer | None] = lambda: Answer(200, body=a_key_set())
        self.paths: set[str] = set()
        self._server = LoopbackServer(self._respond, lambda: NOW)

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"{self._server.url}/common/discovery/v2.0/keys"

    def _respond(self, request: Request) -> Answer | None:
        self.asked += 1
        self.paths.add(request.path)
        return self.answer()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


@pytest.fixture(name="server")
def key_server() -> Iterator[KeyServer]:
    """One with the tenant's key."""
    with KeyServer() as server:
        yield server


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        """Where it stands."""
        return self.at


def test_keys_are_fetched_once_and_kept(server: KeyServer) -> None:
    """However many calls come; again after half a day."""
    time = Time()
    keys = Keys(server.url, clock=time)
    assert server.asked == 0, "nothing is asked before the first key is"
    assert all(keys.find("loopback") for _ in range(20))
    assert server.asked == 1
    time.at += REFRESH_SECONDS + 1
    assert keys.find("loopback")
    assert server.asked == 2


def test_an_unknown_key_id_is_asked_for_once_an_interval(server: KeyServer) -> None:
    """Whoever sends many costs one request; and a key that is new is found."""
    time = Time()
    keys = Keys(server.url, clock=time)
    assert [keys.find(f"k{number}") for number in range(20)] == [None] * 20
    assert server.asked == 1
    fresh = {"keys": [{**each, "kid": "fresh"} for each in TENANT.key_set()["keys"]]}
    server.answer = lambda: Answer(200, body=json.dumps(fresh).encode())
    assert keys.find("fresh") is None
    time.at += TRY_AGAIN_SECONDS
    assert keys.find("fresh")
    assert keys.find("loopback") is None, "what Entra took back is good no more"
    assert server.asked == 2


def test_an_unknown_key_id_holds_up_nobody_else(server: KeyServer) -> None:
    """While the key server takes its time about it, known keys are found."""
    time, asked, go_on = Time(), Event(), Event()
    keys = Keys(server.url, clock=time)
    assert keys.find("loopback")
    time.at += TRY_AGAIN_SECONDS

    def slow() -> Answer:
        asked.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return Answer(500)

    server.answer = slow
    with ThreadPoolExecutor(1) as pool:
        unknown = pool.submit(keys.find, "unknown")
        assert asked.wait(PATIENCE_SECONDS)
        assert keys.find("loopback")
        assert not unknown.done()
        go_on.set()
        assert unknown.result() is None


def nonsense() -> list[Callable[[], Answer | None]]:
    """What a key server must not be believed, or is not there for."""
    [good] = TENANT.key_set()["keys"]
    others = json.dumps({"keys": [an_entry(kid="other")]}).encode()
    bodies = [b"", b"<html>", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [1]}', b'{"keys": [{}]}']
    bodies += [json.dumps({"keys": [each]}).encode() for each in ({**good, "use": "enc"}, {**good, "n": "!"})]
    bodies += [b'{"keys": ' + b"[" * 5000, b" " * keys.ANSWER_LIMIT + others, b"\xff"]
    answers: list[Callable[[], Answer | None]] = [lambda body=body: Answer(200, body=body) for body in bodies]  # type: ignore[misc]
    elsewhere = {"Location": "/elsewhere"}
    return [*answers, lambda: None, lambda: Answer(500, body=others), lambda: Answer(302, elsewhere, others)]


def weak(exponent: int) -> str:
    """An exponent as a key set has it."""
    return base64.urlsafe_b64encode(exponent.to_bytes((exponent.bit_length() + 7) // 8)).decode().rstrip("=")


@cache
def small_key() -> rsa.RSAPublicKey:
    """Half as many bits as are safe."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505 - to be refused


UNUSED = {
    "without an id": an_entry(kid=MISSING),
    "with an id that is a number": an_entry(kid=7),
    "with an empty id": an_entry(kid=""),
    "without an issuer": an_entry(issuer=MISSING),
    "with an issuer that is a list": an_entry(issuer=[ANY_TENANT]),
    "for RS512": an_entry(alg="RS512"),
    "for HS256": an_entry(alg="HS256"),
    "for an algorithm that is a list": an_entry(alg=["RS256"]),
    "for encryption": an_entry(use="enc"),
    "for wrapping keys": an_entry(key_ops=["wrapKey"]),
    "for nothing": an_entry(key_ops=[]),
    "for an operation that is no list": an_entry(key_ops="verify"),
    "with an exponent of 3": an_entry(e=weak(3)),
    "with an even exponent": an_entry(e=weak(65_538)),
    "with a huge exponent": an_entry(e=weak(2**257 + 1)),
    "with 1,024 bits": an_entry(n=jwt.algorithms.RSAAlgorithm.to_jwk(small_key(), as_dict=True)["n"]),
    "that is private": an_entry(
        **{**jwt.algorithms.RSAAlgorithm.to_jwk(TENANT._key, as_dict=True), "key_ops": ["verify"]}
    ),
    "without a modulus": an_entry(n=MISSING),
    "with a modulus that is a number": an_entry(n=5),
    "of no kind": an_entry(kty=MISSING),
    "that is symmetric": {"kty": "oct", "kid": "loopback", "k": "AAAA", "issuer": ANY_TENANT},
    "that is text": "loopback",
    "that is null": None,
}


@pytest.mark.parametrize("entry", UNUSED.values(), ids=UNUSED)
def test_a_key_that_is_not_used_takes_no_other_with_it(entry: Any) -> None:
    """Before it and behind it the good ones stay; alone it is no key set."""
    good = {name: an_entry(kid=name) for name in ("first", "last")}
    found = parse_keys(json.dumps({"keys": [good["first"], entry, good["last"]]}).encode())
    assert {name: key.issuer for name, key in found.items()} == dict.fromkeys(good, ANY_TENANT)
    with pytest.raises(ValueError, match="key set"):
        parse_keys(json.dumps({"keys": [entry]}).encode())


@pytest.mark.parametrize("fields", [{"key_ops": ["verify"]}, {"alg": MISSING}, {"use": MISSING}, {"key_ops": MISSING}])
def test_what_a_key_need_not_say(fields: Changes) -> None:
    """What it is for may be left out, or said in another field (RFC 7517, section 4)."""
    assert parse_keys(json.dumps({"keys": [an_entry(**fields)]}).encode()).keys() == {"loopback"}


def test_of_two_keys_with_one_id_neither_is_used() -> None:
    """They contradict each other, even if one of them could not be used; a third is not concerned."""
    others = [an_entry(issuer=CONSUMERS), an_entry(use="enc")]
    for other in others:
        keys = [an_entry(), other, an_entry(kid="third")]
        assert parse_keys(json.dumps({"keys": keys}).encode()).keys() == {"third"}


def test_the_issuer_of_a_key_is_that_of_the_key_set(server: KeyServer) -> None:
    """Over HTTP: a token of the publisher's tenant that the key of personal accounts signed is not let in."""
    keys = [an_entry(), an_entry(kid="consumers", issuer=CONSUMERS)]
    server.answer = lambda: Answer(200, body=json.dumps({"keys": keys}).encode())
    watched = Gate(EXPECTED, Keys(server.url), lambda: T)
    assert watched.refusal(*GOOD[0].call()) == ""
    for version in ("1.0", "2.0"):
        row = ROWS[f"app: a key of consumers, {version}"]
        assert watched.refusal(*row.call()) == row.check


def test_keys_come_while_another_thread_asks_for_the_first(server: KeyServer) -> None:
    """Two calls meet a new worker: the second waits for the answer to the first, and both find the key."""
    asked, go_on = Event(), Event()
    good = server.answer

    def slow() -> Answer | None:
        asked.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return good()

    server.answer = slow
    keys = Keys(server.url)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(keys.find, "loopback")
        assert asked.wait(PATIENCE_SECONDS)
        second = pool.submit(keys.find, "loopback")
        go_on.set()
        assert first.result()
        assert second.result()
    assert server.asked == 1


def test_the_key_server_holds_up_nobody_but_the_call_that_asks(server: KeyServer) -> None:
    """Known keys, stale ones too, are found while it takes its time, and an unknown id is refused at once."""
    time, asked, go_on = Time(), Event(), Event()
    keys = Keys(server.url, clock=time)
    assert keys.find("loopback")
    time.at += REFRESH_SECONDS + 1

    def slow() -> Answer:
        asked.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return Answer(500)

    server.answer = slow
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keys.find, "loopback")
        assert asked.wait(PATIENCE_SECONDS)
        assert keys.find("loopback")
        assert keys.find("unknown") is None
        assert not asking.done()
        go_on.set()
        assert asking.result()


def test_keys_are_served_on_while_the_key_server_is_away_but_not_for_ever(server: KeyServer) -> None:
    """Down, or talking nonsense: the keys that are known stay good for a day more; it is asked now and then."""
    time = Time()
    keys = Keys(server.url, clock=time)
    assert keys.find("loopback")
    time.at += REFRESH_SECONDS
    for answer in nonsense():
        server.answer = answer
        time.at += TRY_AGAIN_SECONDS
        before = server.asked
        assert keys.find("loopback")
        assert keys.find("loopback")
        assert server.asked == before + 1
    time.at = 1000.0 + KEPT_SECONDS + 1
    with pytest.raises(NoKeysError):
        keys.find("loopback")


def test_without_keys_nobody_is_judged(server: KeyServer) -> None:
    """Trouble of ours, not a refusal: Fabric asks again; and so do we, at most once an interval."""
    server.answer = lambda: Answer(500)
    time = Time()
    watched = Gate(EXPECTED, Keys(server.url, clock=time), lambda: T)
    for _ in range(3):
        with pytest.raises(NoKeysError):
            watched.refusal(*GOOD[0].call())
    assert server.asked == 1
    server.answer = lambda: Answer(200, body=a_key_set())
    time.at += TRY_AGAIN_SECONDS
    assert watched.refusal(*GOOD[0].call()) == ""


def test_keys_come_from_one_place(server: KeyServer) -> None:
    """Whatever the rows name: nobody else is asked (the network guard would say so), and that path only."""
    open_gate = Gate(EXPECTED, Keys(server.url), lambda: T)
    for row in [*GOOD, *BAD]:
        assert open_gate.refusal(*row.call()).partition(" (")[0] == row.check
    assert server.paths == {"/common/discovery/v2.0/keys"}
    assert server.asked == 1


def test_a_header_of_the_longest_length_is_read() -> None:
    """The bound is well above what Entra issues."""
    row = replace(GOOD[0], app={"groups": ["g" * 36] * 100})
    assert 6000 < len(row.call()[0]) < LONGEST_HEADER
    assert gate().refusal(*row.call()) == ""
