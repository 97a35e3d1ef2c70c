"""A hundred thousand headers and pairs of tokens, and an oracle that shares nothing with the validator but its inputs.

`--fuzz 1000000` tries more; a failure prints the seed of its case, and `--fuzz-seed` tries that one alone.
"""

from __future__ import annotations

import json
import math
import random
import string
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from functions_azure.workload.keys import Gate, Key
from shared.workload.tokens import CHECKS, Expected, Pair, Seen, Signed, read_header, refusal
from tests.support.fuzzing import portions as pytest_generate_tests  # noqa: F401 - pytest calls it

PUBLISHER, CUSTOMER, STRANGER = (str(UUID(int=number << 96 | 0x4000 << 64 | number)) for number in (1, 2, 3))
CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of personal accounts, whose keys lie in the same set."""
AUDIENCE, CLIENT_ID = "api://contoso.com/unstale", "c0000000-0000-4000-8000-00000000000c"
FABRIC, CLIENT = "00000009-0000-0000-c000-000000000000", "d2450708-699c-41e3-8077-b0c8341509aa"
NOW = 1_800_000_000.0
LEEWAY = 60

GATED = 500
"""Of so many cases, one goes through the gate as well: signed, put into a header, and opened again."""


# --- Headers ---------------------------------------------------------------------------------------------------------

HEAD, MIDDLE = 'SubjectAndAppToken1.0 subjectToken="', '", appToken="'
LETTERS = string.ascii_letters + string.digits + "-_"
NEAR = [*'". =,;\\\n\x00+/', "é", "\uff11", "Bearer ", "subjectToken", "appToken", MIDDLE, HEAD]
"""What is put in, out or twice: the marks of the form, letters that look like some, and base64 of another kind."""


def a_token(chance: random.Random) -> str:
    """Three parts as of a JWT, some of them long."""
    length = chance.choice([1, 2, 8, 40, 3000])
    starts = (chance.randrange(len(LETTERS)) for _ in range(3))
    return ".".join((LETTERS * 50)[start : start + chance.randint(1, length)] for start in starts)


def a_header(chance: random.Random) -> str:
    """A header of the documented form, most often changed in a place or a few."""
    subject = a_token(chance) if chance.random() < 0.7 else ""
    made = f'{HEAD}{subject}{MIDDLE}{a_token(chance)}"'
    for _ in range(chance.choice([0, 0, 1, 1, 2, 4])):
        at, end = sorted(chance.choices(range(len(made) + 1), k=2))
        end = at + 1 if chance.random() < 0.7 else end
        put = chance.choice(["", chance.choice(NEAR), made[at:end] * 2, made[at:end].swapcase()])
        made = made[:at] + put + made[end:]
    return made


def pair_in(header: str) -> Pair | None:
    """What the documented form holds, taken apart by hand; None for anything else."""
    if len(header) > 16_384 or not header.startswith(HEAD) or not header.endswith('"'):
        return None
    subject, found, app = header[len(HEAD) : -1].partition(MIDDLE)
    if not found or not is_token(app) or (subject and not is_token(subject)):
        return None
    return Pair(subject, app)


def is_token(text: str) -> bool:
    """Three parts, none empty, of the letters of base64url."""
    parts = text.split(".")
    return len(parts) == 3 and all(part and not set(part) - set(LETTERS) for part in parts)


# --- Claims ----------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One call: what both tokens claim, for whom their keys may sign, and what the call says itself."""

    app: dict[str, Any]
    app_key: str
    subject: dict[str, Any] | None
    subject_key: str
    tenant: str
    expected: Expected


ODD: list[Any] = [None, "", 0, 1, True, False, [], {}, [FABRIC], {"a": 1}, "app", "1.0", "2.0", "user", " ", -1, 1e300]
TENANTS = [PUBLISHER, CUSTOMER, STRANGER, CONSUMERS, "common", "{tenantid}", PUBLISHER.replace("-", "")]
ISSUERS = [f"https://sts.windows.net/{tenant}/" for tenant in TENANTS] + [
    f"https://login.microsoftonline.com/{tenant}/v2.0" for tenant in TENANTS
]
TIMES = [NOW + side * (LEEWAY + more) for side in (-1, 1) for more in (-1, -0.5, 0, 0.5, 1, 3600)]
CLAIMS: dict[str, list[Any]] = {
    "ver": ["1.0", "2.0", "3.0", 2.0],
    "aud": [AUDIENCE, CLIENT_ID, AUDIENCE + "/", AUDIENCE.upper(), [AUDIENCE]],
    "iss": [*ISSUERS, PUBLISHER],
    "tid": [*TENANTS, PUBLISHER.upper(), f"{PUBLISHER} "],
    "iat": [*TIMES, str(NOW), math.inf, 10**400],
    "nbf": [*TIMES, str(NOW), -math.inf, math.nan],
    "exp": [*TIMES, str(NOW + 3600), math.inf, math.nan, 10**400],
    "appid": [FABRIC, CLIENT, CLIENT_ID, FABRIC.upper()],
    "azp": [FABRIC, CLIENT, CLIENT_ID],
    "idtyp": ["app", "user", "App"],
    "oid": [STRANGER],
    "scp": ["FabricWorkloadControl", "user_impersonation", "a FabricWorkloadControl b", "FabricWorkloadControl2"],
}
EXPECTED = Expected(AUDIENCE, PUBLISHER, CLIENT_ID, frozenset({CUSTOMER}))
OTHERS = [
    Expected(AUDIENCE, PUBLISHER, CLIENT_ID),
    Expected(AUDIENCE, PUBLISHER, CLIENT_ID, frozenset({STRANGER})),
    Expected(AUDIENCE, f"{{{PUBLISHER}}}".upper(), CLIENT_ID, frozenset({f"{{{CUSTOMER.upper()}}}", STRANGER})),
    Expected(AUDIENCE, CUSTOMER, CLIENT_ID),
    Expected(AUDIENCE, PUBLISHER, tenants=frozenset({CUSTOMER})),
    Expected("", PUBLISHER, CLIENT_ID, frozenset({CUSTOMER})),
]
KEYS = ["https://login.microsoftonline.com/{tenantid}/v2.0", "https://sts.windows.net/{tenantid}/", *ISSUERS, ""]


def good(chance: random.Random, *, subject: bool) -> dict[str, Any]:
    """The claims of a token that is let in."""
    tenant, second = (CUSTOMER if subject else PUBLISHER), chance.random() < 0.5
    host = f"https://login.microsoftonline.com/{tenant}/v2.0" if second else f"https://sts.windows.net/{tenant}/"
    claims = {
        "ver": "2.0" if second else "1.0",
        "aud": CLIENT_ID if second else AUDIENCE,
        "iss": host,
        "tid": tenant,
        "iat": NOW - 60,
        "nbf": NOW - 60,
        "exp": NOW + 3600,
        "azp" if second else "appid": FABRIC,
        "oid": STRANGER,
    }
    return claims | ({"scp": "user_impersonation FabricWorkloadControl"} if subject else {"idtyp": "app"})


def a_case(chance: random.Random) -> Case:
    """A good call, most often changed in a thing or a few."""
    app = good(chance, subject=False)
    subject = good(chance, subject=True) if chance.random() < 0.6 else None
    tenant, keys = CUSTOMER, [KEYS[0], KEYS[0]]
    expected = EXPECTED
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        match chance.randrange(12):
            case 0:
                tenant = chance.choice([*TENANTS, "", CUSTOMER.upper(), f"{{{CUSTOMER}}}", f" {CUSTOMER}"])
            case 1:
                keys[chance.randrange(2)] = chance.choice(KEYS)
            case 2:
                expected = chance.choice(OTHERS)
            case 3:
                move(chance, chance.choice([app, app if subject is None else subject]))
            case _:
                change(chance, chance.choice([app, app if subject is None else subject]))
    return Case(app, keys[0], subject, keys[1], tenant, expected)


def move(chance: random.Random, claims: dict[str, Any]) -> None:
    """Let another tenant be the token's, consistently."""
    tenant = chance.choice(TENANTS)
    old, claims["tid"] = str(claims.get("tid")), tenant
    claims["iss"] = str(claims.get("iss")).replace(old, tenant)


def change(chance: random.Random, claims: dict[str, Any]) -> None:
    """Take a claim away, or give it another value: one that fits elsewhere, or one of another kind."""
    name = chance.choice(list(CLAIMS))
    if chance.random() < 0.15:
        claims.pop(name, None)
    else:
        claims[name] = chance.choice(CLAIMS[name] if chance.random() < 0.7 else ODD)


# --- Who is let in, once more ----------------------------------------------------------------------------------------


def lets_in(case: Case) -> bool:
    """As the documented table has it, written from the table: both tokens are good, and belong together."""
    app, subject = case.app, case.subject
    if not is_good(app, case.app_key, case.expected) or caller_of(app) not in (FABRIC, CLIENT):
        return False
    if app.get("idtyp") != "app" or "scp" in app or not is_one(app["tid"], {case.expected.publisher_tenant}):
        return False
    if not is_one(case.tenant, case.expected.tenants or {case.expected.publisher_tenant}):
        return False
    if type(app.get("oid")) is not str or app["oid"] == "":
        return False
    return subject is None or (is_good(subject, case.subject_key, case.expected) and is_behind(subject, case))


def is_behind(subject: dict[str, Any], case: Case) -> bool:
    """A user of the customer's tenant, through the same app as the app token's, in the scope of workloads."""
    if not is_one(subject["tid"], {case.tenant}) or caller_of(subject) != caller_of(case.app) or "idtyp" in subject:
        return False
    scopes = subject.get("scp")
    return type(scopes) is str and "FabricWorkloadControl" in scopes.split(" ")


def caller_of(claims: dict[str, Any]) -> Any:
    """Version 1.0 has `appid`, version 2.0 `azp`."""
    return claims.get({"1.0": "appid", "2.0": "azp"}[claims["ver"]])


def is_good(claims: dict[str, Any], key: str, expected: Expected) -> bool:
    """For us, from the tenant that it names, by a key of that tenant's issuer, in its time."""
    version, tenant = claims.get("ver"), str(claims.get("tid"))
    if version not in ("1.0", "2.0") or not is_uuid(claims.get("tid")):
        return False
    first, second = f"https://sts.windows.net/{tenant}/", f"https://login.microsoftonline.com/{tenant}/v2.0"
    issuer, audience = (first, expected.audience) if version == "1.0" else (second, expected.client_id)
    signs_for = key.replace("{tenantid}", tenant)
    if claims.get("iss") != issuer or signs_for not in ([second] if version == "2.0" else [first, second]):
        return False
    if audience == "" or claims.get("aud") != audience:
        return False
    times: list[Any] = [claims.get(name) for name in ("exp", "nbf", "iat")]
    if any(type(time) not in (int, float) for time in times):
        return False
    ends, begins, made = times
    return bool(ends > NOW - LEEWAY and begins <= NOW + LEEWAY and made <= NOW + LEEWAY)


def is_one(tenant: str, tenants: Collection[str]) -> bool:
    """Whether it is one of them, by the number that a UUID is, however it is written; what is none is no tenant."""
    return number_of(tenant) in {number_of(each) for each in tenants} - {None}


def number_of(text: str) -> int | None:
    """A UUID's number; None for any other text."""
    try:
        return UUID(text.strip()).int if set("{-}") & set(text) else None
    except ValueError:
        return None


def is_uuid(text: Any) -> bool:
    """As Entra writes them, in any case."""
    if type(text) is not str or len(text) != 36:
        return False
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


# --- The two, compared -----------------------------------------------------------------------------------------------


@cache
def a_key() -> rsa.RSAPrivateKey:
    """Who signs in these tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class OneKey:
    """A key set that answers any id, which names the issuer that the key may sign for."""

    @staticmethod
    def find(kid: str) -> Key | None:
        """The same key for everybody."""
        return Key(a_key().public_key(), kid)


def through_the_gate(case: Case) -> str:
    """What the gate says of the call, with both tokens signed by keys whose ids are their issuers."""
    gate = Gate(case.expected, OneKey(), lambda: NOW)  # type: ignore[arg-type]
    app = signed(case.app, case.app_key)
    subject = "" if case.subject is None else signed(case.subject, case.subject_key)
    return gate.refusal(f'{HEAD}{subject}{MIDDLE}{app}"', case.tenant)


def signed(claims: dict[str, Any], kid: str) -> str:
    """A token with these claims, whatever they are."""
    token: str = jwt.api_jws.encode(json.dumps(claims).encode(), a_key(), "RS256", {"kid": kid})
    return token


def test_the_validator_and_the_oracle_agree(first: int, count: int) -> None:
    """Of each header both take out the same tokens, and each call both let in, or neither does."""
    let_in = 0
    for seed in range(first, first + count):
        chance = random.Random(seed)
        header, case = a_header(chance), a_case(chance)
        assert read_header(header) == pair_in(header), f"--fuzz-seed {seed}: {header!r:.300}"
        subject = None if case.subject is None else Signed(case.subject, case.subject_key)
        seen = Seen(Signed(case.app, case.app_key), subject, case.tenant, NOW, case.expected)
        found = refusal(seen)
        let_in += not found
        assert (not found) is lets_in(case), f"--fuzz-seed {seed}: {found!r} for {case}"
        if seed % GATED == 0:
            assert through_the_gate(case) == found, f"--fuzz-seed {seed}: {case}"
    assert count == 1 or 0.1 < let_in / count < 0.5, "the generator makes too few calls of one of the two kinds"


@pytest.mark.parametrize("check", ["app token: issuer of the key", "subject token: tenant", "app token: expiry"])
def test_the_oracle_finds_a_check_that_is_missing(check: str) -> None:
    """Within two thousand cases: without one check, some call is let in that the oracle refuses."""
    fewer = {name: holds for name, holds in CHECKS.items() if name != check}
    cases = (a_case(random.Random(seed)) for seed in range(2_000))
    assert any(not refusal(seen_of(case), fewer) and not lets_in(case) for case in cases)


def seen_of(case: Case) -> Seen:
    """The call as the validator gets it."""
    subject = None if case.subject is None else Signed(case.subject, case.subject_key)
    return Seen(Signed(case.app, case.app_key), subject, case.tenant, NOW, case.expected)
