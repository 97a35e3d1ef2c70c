"""The loopback tenant, judged by `msal` itself: every way to a token that the product uses, and every way to none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msal
import pytest
import requests

from local.emulators.entra.emulator import App, Entra, Federation, Identity, TokenRequest
from local.emulators.entra.tokens import EXCHANGE, FABRIC, FABRIC_AUDIENCES, POWER_BI, Caller, TokenRefusal, Tokens
from local.emulators.faults import (
    IssueExpired,
    IssueFor,
    LoseResponse,
    RefuseToken,
    ServerError,
    Slow,
    Throttle,
)
from tests.support.revocation import revoke
from tests.support.true_authority import session_of, true_authority

OTHER_TENANT = "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a9ff"
SCOPES = [f"{FABRIC}/.default"]
SECRET = "a planted secret, ~8Q"
WITH_SECRET = App("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", secret=SECRET)
TRUSTING = "0a4f1c2e-0000-4000-8000-000000000002"
USER_ASSIGNED = Identity(
    "5e7d9b30-0000-4000-8000-000000000001",
    "5e7d9b30-0000-4000-8000-00000000000a",
    "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/unstale",
)
SYSTEM_ASSIGNED = Identity(
    "5e7d9b30-0000-4000-8000-000000000002", "5e7d9b30-0000-4000-8000-00000000000b", system_assigned=True
)


class Clock:
    """The machine's clock, and how far the tenant's is from it."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        """Tell the tenant's time."""
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    """The clock that the tenant is given."""
    return Clock()


@pytest.fixture
def entra(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """A tenant with both kinds of apps and of identities, and the environment of a Functions app around it."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "MSI_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"):
        monkeypatch.delenv(name, raising=False)
    with Entra(clock, apps=[WITH_SECRET], identities=[USER_ASSIGNED, SYSTEM_ASSIGNED]) as tenant:
        federation = Federation(tenant.tokens.issuer, USER_ASSIGNED.object_id)
        tenant.apps[TRUSTING] = App(TRUSTING, "0a4f1c2e-0000-4000-8000-00000000000b", federations=(federation,))
        for name, value in tenant.identity_environment.items():
            monkeypatch.setenv(name, value)
        yield tenant
        assert not tenant.unplanned_requests


@pytest.fixture
def http(entra: Entra) -> Iterator[requests.Session]:
    """The session that answers for the true authority from this machine."""
    with session_of(entra) as session:
        yield session


def _application(entra: Entra, http: requests.Session, credential: Any, client_id: str = WITH_SECRET.client_id) -> Any:
    return msal.ConfidentialClientApplication(
        client_id, authority=true_authority(entra), client_credential=credential, http_client=http
    )


def _identity_client(http: requests.Session, identity: Any = None) -> Any:
    return msal.ManagedIdentityClient(identity or msal.SystemAssignedManagedIdentity(), http_client=http)


def _judged(entra: Entra, result: dict[str, Any]) -> Caller | TokenRefusal:
    return entra.tokens.validate(f"Bearer {result['access_token']}", FABRIC_AUDIENCES)


# --- Ways to a token -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked_for", "identity"),
    [
        (msal.SystemAssignedManagedIdentity(), SYSTEM_ASSIGNED),
        (msal.UserAssignedManagedIdentity(client_id=USER_ASSIGNED.client_id), USER_ASSIGNED),
        (msal.UserAssignedManagedIdentity(object_id=USER_ASSIGNED.object_id), USER_ASSIGNED),
        (msal.UserAssignedManagedIdentity(resource_id=USER_ASSIGNED.resource_id), USER_ASSIGNED),
    ],
    ids=["system", "client id", "object id", "resource id"],
)
def test_managed_identity(entra: Entra, http: requests.Session, asked_for: Any, identity: Identity) -> None:
    """A token for the system-assigned identity, and for a user-assigned one by each of its names."""
    result = _identity_client(http, asked_for).acquire_token_for_client(resource=FABRIC)
    assert _judged(entra, result) == Caller(identity.object_id, identity.client_id, "managed-identity")
    assert 86_300 < result["expires_in"] <= 86_400
    assert entra.token_requests == (TokenRequest("managed_identity", identity.client_id, FABRIC, "issued"),)


def test_service_principal_with_a_secret(entra: Entra, http: requests.Session) -> None:
    """A token with a secret, over the true authority rerouted to this machine, and keeps it."""
    app = _application(entra, http, SECRET)
    first, second = app.acquire_token_for_client(SCOPES), app.acquire_token_for_client(SCOPES)
    assert _judged(entra, first) == Caller(WITH_SECRET.object_id, WITH_SECRET.client_id)
    assert first["access_token"] == second["access_token"]
    assert second["token_source"] == "cache"
    assert entra.token_requests == (TokenRequest("client_credentials", WITH_SECRET.client_id, FABRIC, "issued"),)


def test_federated_credential_of_a_managed_identity(entra: Entra, http: requests.Session) -> None:
    """An app without a secret trusts a managed identity: its token is the assertion, asked for once and checked."""

    def assertion() -> str:
        identity = msal.UserAssignedManagedIdentity(client_id=USER_ASSIGNED.client_id)
        return str(_identity_client(http, identity).acquire_token_for_client(resource=EXCHANGE)["access_token"])

    app = _application(entra, http, {"client_assertion": assertion}, TRUSTING)
    assert _judged(entra, app.acquire_token_for_client(SCOPES)) == Caller(entra.apps[TRUSTING].object_id, TRUSTING)
    app.acquire_token_for_client(SCOPES)
    assert [(asked.grant, asked.audience) for asked in entra.token_requests] == [
        ("managed_identity", EXCHANGE),
        ("client_credentials", FABRIC),
    ]


@pytest.mark.parametrize("trust", ["verify", "environment", "oidc"])
def test_https_on_loopback(entra: Entra, monkeypatch: pytest.MonkeyPatch, trust: str) -> None:
    """The authority is reached over https with the certificate of the run: given to msal, in the environment, or as
    an OpenID authority.
    """
    options: dict[str, Any] = {"authority": entra.authority, "instance_discovery": False}
    if trust == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", entra.certificate)
    else:
        options["verify"] = entra.certificate
    if trust == "oidc":
        options = {"oidc_authority": f"{entra.authority}/v2.0", "verify": entra.certificate}
    app = msal.ConfidentialClientApplication(WITH_SECRET.client_id, client_credential=SECRET, **options)
    assert _judged(entra, app.acquire_token_for_client(SCOPES)) == Caller(WITH_SECRET.object_id, WITH_SECRET.client_id)
    app.http_client.close()


def test_certificate_is_not_trusted_unasked(entra: Entra) -> None:
    """Without its certificate nobody takes the tenant for what it says to be."""
    with requests.Session() as session, pytest.raises(requests.exceptions.SSLError):
        session.get(f"{entra.authority}/v2.0/.well-known/openid-configuration")


def test_loopback_authority_is_known_to_instance_discovery(entra: Entra, http: requests.Session) -> None:
    """With instance discovery left on, a rerouted session is told that the loopback authority is a good one."""
    http.verify = entra.certificate
    app = msal.ConfidentialClientApplication(
        WITH_SECRET.client_id, authority=entra.authority, client_credential=SECRET, http_client=http
    )
    assert _judged(entra, app.acquire_token_for_client(SCOPES)) == Caller(WITH_SECRET.object_id, WITH_SECRET.client_id)


def test_keys_are_published(entra: Entra, http: requests.Session) -> None:
    """Whoever verifies tokens finds the key where the OpenID configuration says, and tokens verify with it."""
    configuration = http.get(f"{true_authority(entra)}/v2.0/.well-known/openid-configuration", timeout=60).json()
    (key,) = http.get(configuration["jwks_uri"], timeout=60).json()["keys"]
    token = entra.tokens.issue(SYSTEM_ASSIGNED.caller, FABRIC, timedelta(hours=1))
    claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"], audience=FABRIC)
    assert (claims["oid"], claims["tid"]) == (SYSTEM_ASSIGNED.object_id, entra.tenant_id)
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]


# --- Ways to none ----------------------------------------------------------------------------------------------------


def test_wrong_secret(entra: Entra, http: requests.Session) -> None:
    """A wrong secret is `invalid_client`, with the number that Entra gives it, and no secret is kept."""
    result = _application(entra, http, "wrong").acquire_token_for_client(SCOPES)
    assert (result["error"], result["error_codes"]) == ("invalid_client", [7000215])
    assert "wrong" not in repr(entra.token_requests)


def test_unknown_app(entra: Entra, http: requests.Session) -> None:
    """An app that is not registered is `unauthorized_client`."""
    result = _application(entra, http, SECRET, "0a4f1c2e-0000-4000-8000-0000000000ff").acquire_token_for_client(SCOPES)
    assert result["error"] == "unauthorized_client"


@pytest.mark.parametrize(
    ("scope", "error"),
    [(f"{FABRIC}/Item.Read.All", "invalid_scope"), ("https://elsewhere.example/.default", "invalid_resource")],
)
def test_wrong_scope(entra: Entra, http: requests.Session, scope: str, error: str) -> None:
    """Only `<resource>/.default` of a resource that the tenant knows is granted to an application."""
    assert _application(entra, http, SECRET).acquire_token_for_client([scope])["error"] == error


def test_unknown_tenant(entra: Entra, http: requests.Session) -> None:
    """An authority whose tenant does not exist is refused by msal itself."""
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        msal.ConfidentialClientApplication(
            WITH_SECRET.client_id,
            authority=true_authority(entra).replace("c1d2a7b0", "ffffffff"),
            client_credential=SECRET,
            http_client=http,
        )


def test_unknown_authority(entra: Entra, http: requests.Session) -> None:
    """An authority that is neither the true one nor ours is not known to instance discovery."""
    with pytest.raises(ValueError, match="invalid_instance"):
        msal.ConfidentialClientApplication(
            WITH_SECRET.client_id,
            authority=f"https://login.elsewhere.example/{entra.tenant_id}",
            client_credential=SECRET,
            http_client=http,
        )


def test_assertions_that_prove_nothing(entra: Entra, http: requests.Session, clock: Clock) -> None:
    """An assertion counts only if this tenant signed it, in its time, for the exchange, for a trusted identity."""
    trusted = USER_ASSIGNED.caller
    stranger = entra.tokens.issue(SYSTEM_ASSIGNED.caller, EXCHANGE, timedelta(hours=1))
    for_fabric = entra.tokens.issue(trusted, FABRIC, timedelta(hours=1))
    expired = entra.tokens.issue(trusted, EXCHANGE, -timedelta(hours=1))
    forged = jwt.encode(jwt.decode(stranger, options={"verify_signature": False}), "k" * 32, algorithm="HS256")
    foreign = Tokens(clock, OTHER_TENANT).issue(trusted, EXCHANGE, timedelta(hours=1))
    for assertion, number in (
        (stranger, 700213),
        (for_fabric, 700213),
        (expired, 700024),
        (forged, 700027),
        (foreign, 700027),
    ):
        credential = {"client_assertion": lambda assertion=assertion: assertion}
        result = _application(entra, http, credential, TRUSTING).acquire_token_for_client(SCOPES)
        assert (result["error"], result["error_codes"]) == ("invalid_client", [number])


def test_identity_that_is_not_assigned(entra: Entra, http: requests.Session) -> None:
    """An identity that the app does not have is refused, not replaced by another one."""
    stranger = msal.UserAssignedManagedIdentity(client_id="5e7d9b30-0000-4000-8000-0000000000ff")
    result = _identity_client(http, stranger).acquire_token_for_client(resource=FABRIC)
    assert "No User Assigned or Delegated Managed Identity found" in result["error_description"]
    entra.directory.identities = (USER_ASSIGNED,)
    assert "error" in _identity_client(http).acquire_token_for_client(resource=FABRIC)


def test_identity_endpoint_wants_its_header_and_version(entra: Entra, http: requests.Session) -> None:
    """Who does not know the header of the environment, or speaks another version, gets nothing."""
    url, header = entra.identity_environment["IDENTITY_ENDPOINT"], entra.identity_environment["IDENTITY_HEADER"]
    wanted = {"resource": FABRIC, "api-version": "2019-08-01"}
    assert http.get(url, params=wanted, timeout=60).status_code == 401
    told = {"X-IDENTITY-HEADER": header}
    assert http.get(url, params={**wanted, "api-version": "2017-09-01"}, headers=told, timeout=60).status_code == 400
    assert http.get(url, params={**wanted, "resource": "x"}, headers=told, timeout=60).status_code == 500
    assert http.get(url, params=wanted, headers=told, timeout=60).status_code == 200


# --- Tokens that are no good -----------------------------------------------------------------------------------------


def test_validate_says_why(entra: Entra, clock: Clock) -> None:
    """A header is judged by form, signature, time and audience; both names of Fabric are good."""
    caller = SYSTEM_ASSIGNED.caller
    hour = timedelta(hours=1)

    def said(token: str) -> Caller | TokenRefusal:
        return entra.tokens.validate(f"Bearer {token}", FABRIC_AUDIENCES)

    assert said(entra.tokens.issue(caller, FABRIC, hour)) == caller
    assert said(entra.tokens.issue(caller, FABRIC + "/", hour)) == caller
    assert said(entra.tokens.issue(caller, POWER_BI, hour)) == caller
    assert said(entra.tokens.issue(caller, EXCHANGE, hour)) is TokenRefusal.AUDIENCE
    assert said("nonsense") is TokenRefusal.MALFORMED
    assert said("") is TokenRefusal.MISSING
    assert entra.tokens.validate("Basic YTpi", FABRIC_AUDIENCES) is TokenRefusal.MISSING
    forged = jwt.encode({"aud": FABRIC}, "k" * 32, algorithm="HS256")
    assert said(forged) is TokenRefusal.MALFORMED
    assert said(Tokens(clock, OTHER_TENANT).issue(caller, FABRIC, hour)) is TokenRefusal.SIGNATURE
    clock.ahead = timedelta(minutes=2)
    early = entra.tokens.issue(caller, FABRIC, hour)
    clock.ahead = timedelta(0)
    assert said(early) is TokenRefusal.NOT_YET


def test_tokens_live_on_the_clock_given(entra: Entra, http: requests.Session, clock: Clock) -> None:
    """A token is good until its lifetime is over on the tenant's clock, and not after."""
    result = _application(entra, http, SECRET).acquire_token_for_client(SCOPES)
    clock.ahead = entra.token_lifetime - timedelta(seconds=10)
    assert isinstance(_judged(entra, result), Caller)
    clock.ahead = entra.token_lifetime
    assert _judged(entra, result) is TokenRefusal.EXPIRED


def test_lifetime_is_told_in_the_machines_time(entra: Entra, http: requests.Session, clock: Clock) -> None:
    """For msal a token of an identity lasts a day by the clock of the machine, wherever that of the tenant is."""
    clock.ahead = timedelta(days=-40)
    result = _identity_client(http).acquire_token_for_client(resource=FABRIC)
    assert 86_300 < result["expires_in"] <= 86_400
    assert isinstance(_judged(entra, result), Caller)


def test_revoked_until_renewed(entra: Entra, http: requests.Session) -> None:
    """A revoked token is refused, one that is issued afterwards is not, and other identities keep theirs."""
    app, identity = _application(entra, http, SECRET), _identity_client(http)
    mine, other = app.acquire_token_for_client(SCOPES), identity.acquire_token_for_client(resource=FABRIC)
    revoke(entra.tokens, WITH_SECRET.object_id)
    assert _judged(entra, mine) is TokenRefusal.REVOKED
    assert isinstance(_judged(entra, other), Caller)
    app.remove_tokens_for_client()
    assert isinstance(_judged(entra, app.acquire_token_for_client(SCOPES)), Caller)
    revoke(entra.tokens)
    assert _judged(entra, other) is TokenRefusal.REVOKED


@pytest.mark.parametrize("way", ["secret", "identity"])
@pytest.mark.parametrize(
    ("fault", "refusal"), [(IssueExpired(), TokenRefusal.EXPIRED), (IssueFor(EXCHANGE), TokenRefusal.AUDIENCE)]
)
def test_useless_tokens_by_script(
    entra: Entra, http: requests.Session, way: str, fault: IssueExpired | IssueFor, refusal: TokenRefusal
) -> None:
    """A script makes the tenant issue an expired token, or one for another audience, that msal takes for good, once."""
    entra.faults.add(fault, "token", WITH_SECRET.client_id if way == "secret" else SYSTEM_ASSIGNED.client_id)
    for expected in (refusal, Caller):
        if way == "secret":
            result = _application(entra, http, SECRET).acquire_token_for_client(SCOPES)
        else:
            result = _identity_client(http).acquire_token_for_client(resource=FABRIC)
        assert result["expires_in"] > 3000
        said = _judged(entra, result)
        assert said is expected or isinstance(said, Caller)
        assert isinstance(said, Caller) == (expected is Caller)
    assert not entra.faults.unused_faults()


# --- Trouble by script -----------------------------------------------------------------------------------------------


def test_scripted_refusal(entra: Entra, http: requests.Session) -> None:
    """A script refuses with OAuth's error, Microsoft's suberror and number, as msal reports them."""
    entra.faults.add(RefuseToken("invalid_grant", "token_expired", 700082), "token")
    result = _application(entra, http, SECRET).acquire_token_for_client(SCOPES)
    assert (result["error"], result["suberror"], result["error_codes"]) == ("invalid_grant", "token_expired", [700082])
    entra.faults.add(RefuseToken("invalid_client"), "token")
    assert "error" in _identity_client(http).acquire_token_for_client(resource=FABRIC)
    assert [asked.outcome for asked in entra.token_requests] == ["invalid_grant", "invalid_client"]


def test_scripted_server_error(entra: Entra, http: requests.Session) -> None:
    """A 5xx has a page of HTML; msal then raises: its own error for an application, a JSON error for an identity."""
    entra.faults.add(ServerError(503), "token", times=2)
    with pytest.raises(msal.exceptions.MsalServiceError, match="503"):
        _application(entra, http, SECRET).acquire_token_for_client(SCOPES)
    with pytest.raises(ValueError, match="Expecting value"):
        _identity_client(http).acquire_token_for_client(resource=FABRIC)


def test_scripted_throttle(entra: Entra, http: requests.Session) -> None:
    """A throttled request says how long to wait, and msal keeps to it: the second call sends nothing."""
    entra.faults.add(Throttle(7), "token")
    app = _application(entra, http, SECRET)
    for _ in range(2):
        assert app.acquire_token_for_client(SCOPES)["error"] == "temporarily_unavailable"
    assert len(entra.token_requests) == 1
    entra.faults.add(Throttle(7), "token")
    refused = http.post(f"{true_authority(entra)}/oauth2/v2.0/token", data={}, timeout=60)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")


def test_scripted_loss(entra: Entra, http: requests.Session) -> None:
    """A lost answer is a dropped connection, on both ways."""
    entra.faults.add(LoseResponse(), "token", times=2)
    with pytest.raises(requests.ConnectionError):
        _application(entra, http, SECRET).acquire_token_for_client(SCOPES)
    with pytest.raises(requests.ConnectionError):
        _identity_client(http).acquire_token_for_client(resource=FABRIC)


def test_scripted_slowness(entra: Entra, http: requests.Session) -> None:
    """A slow endpoint answers after the caller has given up, and ends with the test all the same."""
    entra.faults.add(Slow(60), "token")
    url, header = entra.identity_environment["IDENTITY_ENDPOINT"], entra.identity_environment["IDENTITY_HEADER"]
    with pytest.raises(requests.ReadTimeout):
        http.get(
            url,
            params={"resource": FABRIC, "api-version": "2019-08-01"},
            headers={"X-IDENTITY-HEADER": header},
            timeout=0.2,
        )


def test_unknown_paths_are_reported(clock: Clock) -> None:
    """What no identity platform answers is a 404 and is kept, so that a test can say that nothing of it happened."""
    with Entra(clock) as tenant, session_of(tenant) as session:
        assert session.get(f"{true_authority(tenant)}/oauth2/token", timeout=60).status_code == 404
        assert session.post(f"{true_authority(tenant)}/discovery/v2.0/keys", timeout=60).status_code == 404
        assert tenant.unplanned_requests == (
            f"GET /{tenant.tenant_id}/oauth2/token",
            f"POST /{tenant.tenant_id}/discovery/v2.0/keys",
        )
        assert tenant.token_requests == ()


def test_grants_that_are_not_offered(entra: Entra, http: requests.Session) -> None:
    """A grant that the tenant does not know is `unsupported_grant_type`."""
    answer = http.post(f"{true_authority(entra)}/oauth2/v2.0/token", data={"grant_type": "password"}, timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


# --- Users -----------------------------------------------------------------------------------------------------------

PUBLIC = App(
    "0a4f1c2e-0000-4000-8000-000000000003",
    "0a4f1c2e-0000-4000-8000-00000000000c",
    public=True,
    redirects=("http://localhost",),
    consented=frozenset({f"{FABRIC}/Item.Read.All"}),
)
WANTED = [f"{FABRIC}/Item.Read.All"]


@pytest.fixture(name="public")
def public_client(entra: Entra, http: requests.Session) -> Any:
    """The app of a command line, by msal."""
    entra.apps[PUBLIC.client_id] = PUBLIC
    return msal.PublicClientApplication(PUBLIC.client_id, authority=true_authority(entra), http_client=http)


def test_device_code(entra: Entra, public: Any) -> None:
    """The user's token says whose it is and what was delegated; msal has an account, and takes the next one alone."""
    flow = public.initiate_device_flow(WANTED)
    assert public.acquire_token_by_device_flow(flow)["id_token_claims"]["preferred_username"] == "ada@contoso.example"
    [account] = public.get_accounts()
    result = public.acquire_token_silent_with_error(WANTED, account, force_refresh=True)
    user = entra.users.user
    assert _judged(entra, result) == Caller(user.object_id, PUBLIC.client_id, "user", frozenset({"Item.Read.All"}))
    assert [refresh.number for refresh in entra.users.refreshes] == [0, 1]
    again = public.acquire_token_by_device_flow(flow)
    assert again["error"] == "bad_verification_code", "a code is good for one sign-in"


def test_authorization_code_needs_its_verifier_and_redirect(entra: Entra, public: Any, http: requests.Session) -> None:
    """PKCE: whoever has the code alone has nothing; and a code is good once."""
    flow = public.initiate_auth_code_flow(WANTED, redirect_uri="http://localhost:5000", response_mode="form_post")
    page = http.get(flow["auth_uri"], timeout=60).text
    fields = {name: page.split(f'name="{name}" value="')[1].split('"')[0] for name in ("code", "state")}
    stolen = {**flow, "code_verifier": "a" * 64}
    assert public.acquire_token_by_auth_code_flow(stolen, fields)["error_codes"] == [50148]
    assert "access_token" in public.acquire_token_by_auth_code_flow(flow, fields)
    assert public.acquire_token_by_auth_code_flow(flow, fields)["error_codes"] == [70008]


def test_an_authorization_without_pkce_is_refused(entra: Entra, public: Any, http: requests.Session) -> None:
    """A browser is shown the error, at the redirect address."""
    query = {
        "client_id": PUBLIC.client_id,
        "response_type": "code",
        "response_mode": "form_post",
        "redirect_uri": "http://localhost:5000",
        "scope": WANTED[0],
    }
    page = http.get(f"{true_authority(entra)}/oauth2/v2.0/authorize", params=query, timeout=60).text
    assert 'value="invalid_request"' in page


def test_what_ends_a_refresh_token(entra: Entra, clock: Clock, public: Any) -> None:
    """Ninety days without use, measured from the last; a use gives another one and leaves the old one good."""

    def refreshed(number: int) -> dict[str, Any]:
        found: dict[str, Any] = public.acquire_token_by_refresh_token(entra.users.refreshes[number].value, WANTED)
        return found

    public.acquire_token_by_device_flow(public.initiate_device_flow(WANTED))
    clock.ahead = timedelta(days=89)
    assert "access_token" in refreshed(0)
    assert "access_token" in refreshed(0)
    clock.ahead = timedelta(days=91)
    assert refreshed(0)["error_codes"] == [700082]
    assert "access_token" in refreshed(1)
    entra.users.change_password()
    assert (refreshed(2)["error"], refreshed(2)["suberror"]) == ("invalid_grant", "bad_token")


def test_a_refresh_token_of_another_app_is_refused(entra: Entra, public: Any, http: requests.Session) -> None:
    """It is bound to the app that it was issued to."""
    public.acquire_token_by_device_flow(public.initiate_device_flow(WANTED))
    other = App("0a4f1c2e-0000-4000-8000-0000000000aa", "o", public=True, consented=PUBLIC.consented)
    entra.apps[other.client_id] = other
    thief = msal.PublicClientApplication(other.client_id, authority=true_authority(entra), http_client=http)
    stolen = entra.users.refreshes[0].value
    assert thief.acquire_token_by_refresh_token(stolen, WANTED)["error"] == "invalid_grant"
