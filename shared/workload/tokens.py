"""Whom Fabric's calls are from: what a token must say, one small check for each row of the documented table.

    Authorization: SubjectAndAppToken1.0 subjectToken="<JWT, or nothing>", appToken="<JWT>"

The app token proves that it is Fabric who calls, for our publisher's tenant; the subject token, on whose behalf. There
is none where nobody stands behind a call: a schedule, a service principal, the system. Signatures are for the shell.
https://learn.microsoft.com/fabric/workload-development-kit/back-end-authentication
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from shared.refresh.timing import CLOCK_DIFFERENCE
from shared.tenants import tenant_id
from shared.text import is_uuid
from shared.values import Value

LONGEST_HEADER = 16 * 1024
"""Characters. The host takes 32 KiB of headers in all (Kestrel's MaxRequestHeadersTotalSize); a token has some two."""
LEEWAY_SECONDS = CLOCK_DIFFERENCE.total_seconds()
"""Between Entra's clock and ours: as much as Fabric's own sample allows."""

FABRIC_APPS = frozenset({"00000009-0000-0000-c000-000000000000", "d2450708-699c-41e3-8077-b0c8341509aa"})
"""Microsoft Fabric, and Fabric's client for workloads: the same ids in every tenant (back-end-authentication)."""
SCOPE = "FabricWorkloadControl"
"""The scope that a user's token must have to call a workload (the same page)."""

_JWT = r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"
_HEADER = re.compile(rf'SubjectAndAppToken1\.0 subjectToken="((?:{_JWT})?)", appToken="({_JWT})"')

Claims = Mapping[str, Any]


class Pair(NamedTuple):
    """The tokens of one header; `subject` is empty where there is none."""

    subject: str
    app: str


class Expected(Value, frozen=True):
    """The claims that tokens must have. `audience` is the app's ID URI, of version 1.0; `client_id` its id, of 2.0."""

    audience: str
    publisher_tenant: str
    client_id: str = ""
    tenants: frozenset[str] = frozenset()
    """Ids of the tenants whose items may have jobs here; none: the publisher's own."""
    issuer_v1: str = "https://sts.windows.net/{tenantid}/"
    """`iss` of tokens of version 1.0, of the cloud that the app is in; the default is the public cloud's."""
    issuer_v2: str = "https://login.microsoftonline.com/{tenantid}/v2.0"
    """`iss` of tokens of version 2.0, likewise (https://learn.microsoft.com/entra/identity-platform/access-tokens)."""


class Signed(NamedTuple):
    """The claims of a token whose signature is good, and the issuer that its key may sign for."""

    claims: Claims
    key_issuer: str


class Seen(NamedTuple):
    """The credentials that a call brought; `now` is epoch seconds, `tenant` is the header `x-ms-client-tenant-id`."""

    app: Signed
    subject: Signed | None
    tenant: str
    now: float
    expected: Expected


Check = Callable[[Seen], bool]


def read_header(value: str) -> Pair | None:
    """The two tokens; None for anything that is not exactly the documented form."""
    found = _HEADER.fullmatch(value) if len(value) <= LONGEST_HEADER else None
    return Pair(found[1], found[2]) if found else None


def refusal(seen: Seen, checks: Mapping[str, Check] | None = None) -> str:
    """The name of the first check that fails; empty if the call is let in."""
    return next((name for name, holds in (checks or CHECKS).items() if not holds(seen)), "")


# --- Of the header of a token ----------------------------------------------------------------------------------------


def points_nowhere(header: Claims) -> bool:
    """Whether a token's header names no key or address of its own, and nothing that must be understood.

    Keys come from Entra's key server alone.
    """
    return not header.keys() & {"jku", "jwk", "x5u", "x5c", "crit"}


# --- Of either token -------------------------------------------------------------------------------------------------


def _version(claims: Claims, _seen: Seen) -> bool:
    return claims.get("ver") in ("1.0", "2.0")


def _audience(claims: Claims, seen: Seen) -> bool:
    wanted = seen.expected.client_id if claims.get("ver") == "2.0" else seen.expected.audience
    return bool(wanted) and claims.get("aud") == wanted


def _issuer(claims: Claims, seen: Seen) -> bool:
    """`iss` is that of the tenant that the token names, by a UUID."""
    tenant = claims.get("tid")
    form = seen.expected.issuer_v2 if claims.get("ver") == "2.0" else seen.expected.issuer_v1
    if not isinstance(tenant, str) or not is_uuid(tenant):
        return False
    return claims.get("iss") == form.replace("{tenantid}", tenant)


def _signs(signed: Signed, seen: Seen) -> bool:
    """The key may sign for the issuer that the token names.

    The keys of all tenants lie in one set with keys of other issuers, such as the tenant of personal accounts. The
    issuer of a key is written as in version 2.0, with `{tenantid}` where it is any; so a token of version 1.0, whose
    `iss` is of another form, is held to it by its tenant.
    https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-signing-key-issuer
    """
    tenant = str(signed.claims.get("tid"))
    of_key = signed.key_issuer.replace("{tenantid}", tenant)
    if signed.claims.get("ver") != "2.0":
        forms = (seen.expected.issuer_v1, seen.expected.issuer_v2)
        return of_key in {form.replace("{tenantid}", tenant) for form in forms}
    return of_key == signed.claims.get("iss")


def _expires(claims: Claims, seen: Seen) -> bool:
    return _is_time(claims.get("exp")) and claims["exp"] > seen.now - LEEWAY_SECONDS


def _begins(claims: Claims, seen: Seen) -> bool:
    return _is_time(claims.get("nbf")) and claims["nbf"] <= seen.now + LEEWAY_SECONDS


def _is_issued(claims: Claims, seen: Seen) -> bool:
    return _is_time(claims.get("iat")) and claims["iat"] <= seen.now + LEEWAY_SECONDS


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _caller(claims: Claims) -> object:
    """The app that asked for a token: `appid` in version 1.0, `azp` in 2.0."""
    return claims.get("azp" if claims.get("ver") == "2.0" else "appid")


# --- Of the app token ------------------------------------------------------------------------------------------------


def _from_fabric(seen: Seen) -> bool:
    caller = _caller(seen.app.claims)
    return isinstance(caller, str) and caller in FABRIC_APPS


def _app_only(seen: Seen) -> bool:
    return seen.app.claims.get("idtyp") == "app"


def _has_object(seen: Seen) -> bool:
    oid = seen.app.claims.get("oid")
    return isinstance(oid, str) and bool(oid)


def _without_scope(seen: Seen) -> bool:
    return "scp" not in seen.app.claims


def _of_publisher(seen: Seen) -> bool:
    return _tenant(seen.app.claims) == tenant_id(seen.expected.publisher_tenant)


def _tenant(claims: Claims) -> str:
    """The tenant that a token names; empty where there is none."""
    tenant = claims.get("tid")
    return tenant_id(tenant) if isinstance(tenant, str) else ""


def _lets_in(seen: Seen) -> bool:
    """The call is for an item of a tenant that is let in: a stranger's jobs would fill the targets' lists of them."""
    allowed = seen.expected.tenants or {seen.expected.publisher_tenant}
    return tenant_id(seen.tenant) in {tenant_id(tenant) for tenant in allowed}


# --- Of the subject token --------------------------------------------------------------------------------------------


def _of_customer(claims: Claims, seen: Seen) -> bool:
    return _tenant(claims) == tenant_id(seen.tenant)


def _from_the_same(claims: Claims, seen: Seen) -> bool:
    return _caller(claims) == _caller(seen.app.claims)


def _of_a_user(claims: Claims, _seen: Seen) -> bool:
    return "idtyp" not in claims


def _in_scope(claims: Claims, _seen: Seen) -> bool:
    scopes = claims.get("scp")
    return isinstance(scopes, str) and SCOPE in scopes.split(" ")


_Judge = Callable[[Claims, Seen], bool]


def _app(judge: _Judge, seen: Seen) -> bool:
    return judge(seen.app.claims, seen)


def _subject(judge: _Judge, seen: Seen) -> bool:
    """Calls without a subject token pass: there is nothing to check."""
    return seen.subject is None or judge(seen.subject.claims, seen)


_EITHER: Mapping[str, _Judge] = {
    "version": _version,
    "audience": _audience,
    "issuer": _issuer,
    "expiry": _expires,
    "beginning": _begins,
    "issue time": _is_issued,
}
_SUBJECTS: Mapping[str, _Judge] = {
    "tenant": _of_customer,
    "caller": _from_the_same,
    "kind": _of_a_user,
    "scope": _in_scope,
}

CHECKS: Mapping[str, Check] = {
    **{f"app token: {name}": partial(_app, judge) for name, judge in _EITHER.items()},
    "app token: issuer of the key": lambda seen: _signs(seen.app, seen),
    "app token: caller": _from_fabric,
    "app token: kind": _app_only,
    "app token: object": _has_object,
    "app token: scope": _without_scope,
    "app token: tenant": _of_publisher,
    "tenant": _lets_in,
    **{f"subject token: {name}": partial(_subject, judge) for name, judge in {**_EITHER, **_SUBJECTS}.items()},
    "subject token: issuer of the key": lambda seen: seen.subject is None or _signs(seen.subject, seen),
}
"""The checks of a call by name; a call is let in if all of them hold.

Each is needed: taken out alone, it lets somebody in (`tests/shared/workload/test_tokens.py`).
"""
