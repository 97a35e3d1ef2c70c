"""The environment of the function app as one value; a mistake in it is refused, by the variable's name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from functions_azure.clouds import CLOUDS, PUBLIC, AzureCloud
from shared.config import generation
from shared.endpoints import refusal
from shared.redaction import SHORTEST_SECRET, secret_values
from shared.tenants import tenant_id
from shared.text import is_uuid
from shared.values import Value

PACKAGE_ROOT = Path(__file__).parent.parent

STORAGE, EVENTS = "UNSTALE_STORAGE", "UNSTALE_EVENTS"
"""Names of connections, as the host's bindings know them: a connection string, or `<name>__<property>`."""

TABLE = "unstale"
"""Name of the table with the records, as the template makes it."""
EVENTS_QUEUE, WAKES_QUEUE = "unstale-events", "unstale-wakes"
"""Names of the queues, as the template makes them and host and Event Grid know them."""
SIGN_IN_CONTAINER, SIGN_IN_BLOB, SIGN_IN_KEY = "sign-in", "user", "sign-in"
"""Where the token cache of a signed-in user is kept, and the name of the Key Vault's key that opens it."""
VAULT_VERSION = {"api-version": "7.4"}
"""Version of the Key Vault's API, for secrets and keys: generally available since 2023, and unchanged since in what is
used here."""
POISON = "-poison"
"""The suffix that the host appends to the name of a queue for the messages that it gives up."""
PAGE_BLOB = "page.json"
"""Name of the blob that holds an excerpt of the records, in the container that UNSTALE_PAGE_CONTAINER names."""
UNDELIVERED = "dead-letters"
"""The container for events that Event Grid could not deliver."""

WORKLOAD_AUDIENCE, WORKLOAD_PUBLISHER_TENANT = "UNSTALE_WORKLOAD_AUDIENCE", "UNSTALE_WORKLOAD_PUBLISHER_TENANT"
"""Variables without which no call of Fabric's is let in: `[workload]` in the configuration asks for them."""

ITEM_ROUTE = "workload/workspaces/{workspaceId}/items/{itemType}/{itemId}"
"""Route of Fabric's calls about an item, behind the prefix of `host.json`: `workload` ends the base address that is
registered with Fabric, and the rest is of its API."""
JOB_ROUTE = f"{ITEM_ROUTE}/jobTypes/{{jobType}}/instances/{{jobInstanceId}}"
"""Route of Fabric's calls about a job; a cancel has `/cancel` behind it."""

SECRETS = ("UNSTALE_CLIENT_SECRET", "IDENTITY_HEADER", "MSI_SECRET")
"""Variables whose values must never be seen in a text that leaves."""
CONNECTIONS = (STORAGE, EVENTS, "AzureWebJobsStorage")
"""Connection strings, whose keys must never be seen in a text that leaves; the rest of them may."""

_KEY = re.compile(r"(?:^|[;&?=])(?:AccountKey|SharedAccessKey|sig)=([^;&]+)", re.IGNORECASE)
"""The secret part of `Name=value;Name=value`; a shared access signature is a query of its own in there."""
_ACCOUNT = re.compile(r"(?:^|;)(?:AccountName=|(?:Table|Queue|Blob)Endpoint=https?://)([^.:/;]+)", re.IGNORECASE)
"""The parts of a connection string that name the account; one with a shared access signature has endpoints alone."""
_CONNECTED_BY = ({"accountname", "accountkey"}, {"sharedaccesssignature"}, {"usedevelopmentstorage"})
"""The parts that a connection string must name."""


GENERATION = PACKAGE_ROOT / generation.FILE
"""When the package was made; a package that nobody packaged, such as a checkout, has no such file."""

ROOTS = PACKAGE_ROOT / "roots"
"""The certificates that packaging put into files of their own (`infra.packaging.roots`); a checkout has none such."""


class SettingsError(Exception):
    """A variable is missing, or says what it must not say."""


class Settings(Value, frozen=True):
    """Where things are, and as whom they are called.

    Storage is reached by `storage`, a connection string, or by its endpoints with a managed identity: the one that
    `storage_client_id` names, else the system-assigned one.
    """

    config: Path
    """The file `unstale.toml`."""
    storage: str = ""
    """A connection string, which holds a key; empty where a managed identity opens the account."""
    table_url: str = ""
    """The account's table service: state. Empty beside a connection string, as the next two are."""
    queue_url: str = ""
    """The account's queue service: events, wakes, dead letters."""
    blob_url: str = ""
    """The account's blob service: what Event Grid could not deliver, a sealed sign-in. Empty where neither is read."""
    page_container: str = ""
    """Name of the account's container that ticks write an excerpt of the records to; empty where they write none."""
    storage_client_id: str = ""
    """Client id of the user-assigned identity that opens storage; empty for the system-assigned one."""
    cloud: AzureCloud = PUBLIC
    """Microsoft's cloud that the app is in: it gives the addresses that no variable names."""
    fabric_url: str = PUBLIC.fabric_url
    """Base of Fabric's API: the only address that tokens for Fabric are sent to."""
    onelake_url: str = PUBLIC.onelake_url
    """Where Delta logs are looked at."""
    authority: str = ""
    """Entra's address for one tenant; empty where only a managed identity is used."""
    client_id: str = ""
    """Id of the app registration or of the identity that calls Fabric; empty for the system-assigned identity."""
    client_secret: str = ""
    """Secret of that app registration; empty where it trusts the managed identity."""
    key_vault_url: str = ""
    """The vault whose key opens a user's sign-in."""
    sts_url: str = ""
    """AWS's STS, where a role is assumed for followers there; empty for that of the role's Region."""
    events_url: str = ""
    """AWS's EventBridge, where these are signalled; empty likewise."""

    @property
    def account(self) -> str:
        """Name of the storage account: what the connection string says, or the first label of a host; "" for none."""
        named = _ACCOUNT.search(self.storage)
        return named[1] if named else (urlsplit(self.table_url).hostname or "").partition(".")[0]

    def __repr__(self) -> str:
        """Without what is in it: two of the fields are secrets."""
        return "Settings(...)"


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the configuration is."""
    return Path(environ.get("UNSTALE_CONFIG") or PACKAGE_ROOT / "unstale.toml")


def cloud(environ: Mapping[str, str]) -> AzureCloud:
    """The cloud that `UNSTALE_CLOUD` names; without the variable the public one. Raises `SettingsError`."""
    name = environ.get("UNSTALE_CLOUD") or "public"
    if name not in CLOUDS:
        raise SettingsError(f"UNSTALE_CLOUD is {name!r}: it must be one of {', '.join(CLOUDS)}")
    return CLOUDS[name]


def read(environ: Mapping[str, str]) -> Settings:
    """Read the variables; raises `SettingsError`."""
    storage = _connection_string(environ.get(STORAGE, ""))
    return replace(
        read_without_storage(environ),
        storage=storage,
        table_url="" if storage else _endpoint(environ, f"{STORAGE}__tableServiceUri"),
        queue_url="" if storage else _endpoint(environ, f"{STORAGE}__queueServiceUri"),
        blob_url="" if storage else endpoint(environ, f"{STORAGE}__blobServiceUri"),
        page_container=environ.get("UNSTALE_PAGE_CONTAINER", ""),
    )


def read_without_storage(environ: Mapping[str, str]) -> Settings:
    """Read what calls of Fabric and Entra need: `unstale run` keeps its state elsewhere. Raises `SettingsError`."""
    here = cloud(environ)
    tenant_id = environ.get("UNSTALE_TENANT_ID", "")
    authority = environ.get("UNSTALE_AUTHORITY") or (f"{here.login_url}/{tenant_id}" if tenant_id else "")
    return Settings(
        config=config_path(environ),
        storage_client_id=environ.get(f"{STORAGE}__clientId", ""),
        cloud=here,
        fabric_url=endpoint(environ, "UNSTALE_FABRIC_URL", here.fabric_url),
        onelake_url=endpoint(environ, "UNSTALE_ONELAKE_URL", here.onelake_url),
        authority=_safe("UNSTALE_AUTHORITY", authority) if authority else "",
        client_id=environ.get("UNSTALE_CLIENT_ID", ""),
        client_secret=environ.get("UNSTALE_CLIENT_SECRET", ""),
        key_vault_url=endpoint(environ, "UNSTALE_KEY_VAULT_URL"),
        sts_url=endpoint(environ, "AWS_ENDPOINT_URL_STS"),
        events_url=endpoint(environ, "AWS_ENDPOINT_URL_EVENTBRIDGE"),
    )


class Workload(Value, frozen=True):
    """The claims that Fabric's tokens must have, and where the keys are that sign them."""

    audience: str
    """ID URI of the workload's app registration: `aud` of tokens of version 1.0."""
    publisher_tenant: str
    """Id of the tenant that registered the workload, in small letters."""
    client_id: str
    """Id of the app registration: `aud` of tokens of version 2.0; empty where none of these are let in."""
    keys_url: str
    """Where Entra publishes the keys of all tenants."""
    issuer_v1: str
    """`iss` of tokens of version 1.0, with `{tenantid}` for the tenant."""
    issuer_v2: str
    """`iss` of tokens of version 2.0, likewise."""


def workload(environ: Mapping[str, str]) -> Workload:
    """Read the variables that `[workload]` needs; raises `SettingsError`. No token says where keys come from."""
    missing = [name for name in (WORKLOAD_AUDIENCE, WORKLOAD_PUBLISHER_TENANT) if not environ.get(name)]
    if missing:
        raise SettingsError(f"the configuration has [workload], but {' and '.join(missing)} is not set")
    publisher = tenant_id(environ[WORKLOAD_PUBLISHER_TENANT])
    if not is_uuid(publisher):
        raise SettingsError(f"{WORKLOAD_PUBLISHER_TENANT} must be the id of a tenant, a UUID, as tokens name it")
    here = cloud(environ)
    authority = urlsplit(endpoint(environ, "UNSTALE_AUTHORITY", here.login_url))
    return Workload(
        audience=environ[WORKLOAD_AUDIENCE],
        publisher_tenant=publisher,
        client_id=environ.get("UNSTALE_WORKLOAD_CLIENT_ID", ""),
        keys_url=f"{authority.scheme}://{authority.netloc}/common/discovery/v2.0/keys",
        issuer_v1=here.issuer_v1,
        issuer_v2=here.issuer_v2,
    )


def serves_workload(environ: Mapping[str, str]) -> bool:
    """Whether the configuration has `[workload]`; asked when functions are indexed, so the file is only skimmed.

    One that cannot be read, or is no TOML, fails every invocation with what is wrong; these endpoints, too, if it looks
    as if it had them.
    """
    try:
        text = config_path(environ).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False
    try:
        return "workload" in tomllib.loads(text)
    except (ValueError, RecursionError):
        return any(line.lstrip().startswith(("[workload]", "[[workload.jobs]]")) for line in text.splitlines())


def is_pushed(environ: Mapping[str, str]) -> bool:
    """Whether Event Grid calls the function itself, beside the queue; asked when functions are indexed."""
    return environ.get("UNSTALE_PUSH", "").lower() == "true"


class EventHub(Value, frozen=True):
    """The event hub that the host reads for us."""

    name: str
    """Name of the hub within the namespace that the connection names."""
    consumer_group: str
    """The group under which the host keeps its checkpoints: no other reader may use it."""


def event_hub(environ: Mapping[str, str]) -> EventHub | None:
    """The event hub, where a connection to one is set; asked before anything else, when functions are indexed.

    A connection string that has an `EntityPath`, such as a Fabric eventstream's, overrules the name (the host's
    EventHubClientFactory).
    """
    if not (environ.get(EVENTS) or environ.get(f"{EVENTS}__fullyQualifiedNamespace")):
        return None
    return EventHub(
        environ.get("UNSTALE_EVENT_HUB") or EVENTS_QUEUE, environ.get("UNSTALE_EVENT_HUB_CONSUMER_GROUP") or "$Default"
    )


def secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what no text may show that leaves: the values of secret variables, and the keys in others."""
    keys = {key for name in CONNECTIONS for key in _KEY.findall(environ.get(name, "")) if len(key) >= SHORTEST_SECRET}
    return tuple(sorted(secret_values(environ, SECRETS) | keys))


def endpoint(environ: Mapping[str, str], name: str, default: str = "") -> str:
    """An address from a variable, "" where it may be missing; raises `SettingsError`, because tokens leave for it."""
    value = environ.get(name) or default
    return _safe(name, value) if value else ""


def _connection_string(value: str) -> str:
    """A connection string that the SDKs can read; they would try at the first call. Its mistakes are not shown."""
    parts = [part.partition("=") for part in value.split(";") if part]
    names = {name.lower() for name, _, _ in parts}
    if value and not (all(sign for _, sign, _ in parts) and any(needed <= names for needed in _CONNECTED_BY)):
        raise SettingsError(f"{STORAGE} is no connection string, such as AccountName=...;AccountKey=...")
    return value


def _endpoint(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise SettingsError(f"neither {STORAGE} nor {name} is set: one must say where the storage account is")
    return _safe(name, value)


def _safe(name: str, url: str) -> str:
    """Return an address without the slash at its end, if tokens may leave for it. Raises `SettingsError`."""
    why = refusal(url)
    if why:
        raise SettingsError(f"{name} {why}")
    return url.rstrip("/")
