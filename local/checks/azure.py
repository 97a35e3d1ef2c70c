"""`unstale check --live`, the Azure part: is everything there, allowed and connected; each finding with its cure.

Resource Manager is asked as whoever signed in to the Azure CLI, who needs to be Reader of the deployment and of the
source accounts. Nothing is changed or started.

The order is that in which one mends things: the identity's calls to Fabric, the storage account and what lies in it,
the function app and its roles, then each source account: its system topic, the subscriptions that let through what the
configuration names, and the roles of the topic at the place where they deliver.

    blob ──> system topic ──> subscription, its filter ──> events queue ──> app ──> Fabric
                   its role ──────────────────────────────────^    its roles ──^

Looks are small functions that raise `NoAnswerError`; `_try` turns that into a finding with its cure, so that one
refusal never hides what comes after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from functions_azure import settings as variables
from functions_azure.clouds import CLOUDS
from functions_azure.dead_letters import DeadLetters
from functions_azure.settings import Settings, SettingsError
from functions_azure.wiring import Parts
from infra.parameters.azure import Filter, directories_for, filters_for
from local import azure_login
from local.checks import fabric
from local.checks.finding import Finding
from local.checks.rest import NoAnswerError, NotFoundError, Rest
from shared.config.load import Configuration
from shared.refresh.ports import StoreDownError
from shared.targets import BlobCreated, Cloud, OneLakeChanged, Target

SUBSCRIPTIONS, RESOURCES, STORAGE, EVENT_GRID, ROLES, WEB = (
    {"api-version": version}
    for version in ("2022-12-01", "2021-04-01", "2024-01-01", "2025-02-15", "2022-04-01", "2024-04-01")
)
"""Versions of the API by resource provider; https://learn.microsoft.com/rest/api/azure."""

QUEUES: Final = tuple(
    name + end for name in (variables.EVENTS_QUEUE, variables.WAKES_QUEUE) for end in ("", variables.POISON)
)
"""The queues of the deployment, each with the one into which the host moves what it gives up."""
FUNCTIONS: Final = frozenset({"events", "wakes", "tick", "refresh"})
"""Functions that every deployment has; the host finds them in the package. Fewer are a package of another version, or
one that failed to load: the app runs then, and does nothing."""
FILE_TYPES: Final = frozenset({"Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed"})
"""Event types that the subscription of a source's files, filtered by prefix and suffix, must let through."""
DIRECTORY_TYPES: Final = frozenset({"Microsoft.Storage.DirectoryRenamed"})
"""The event type that the subscription of a source's directories must let through: some writers commit by renaming a
directory of files at once, and its name has no suffix."""

HOST_ROLES: Final[Mapping[str, str]] = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
}
"""Roles of the app at its own storage, by id, as infra/azure/roles.bicep grants them. Built-in roles have one id in
every tenant: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles."""
SENDS: Final = {"c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender"}
"""The role of a topic at the queue of events."""
BURIES: Final = {"ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor"}
"""The role of a topic at the container of what it could not deliver."""
STREAMS: Final = {"2b629674-e913-4c01-ae53-ef4638d8f975": "Azure Event Hubs Data Sender"}
"""The role of a topic at an event hub."""
RECEIVES: Final = {"a638d3c7-ab3a-418d-83e6-5f17a39d4fde": "Azure Event Hubs Data Receiver"}
"""The role of the app at that event hub."""

DEPLOY: Final = "deploy: az deployment group create --parameters infra/azure/main.bicepparam"
"""The cure of whatever the template creates and is not there."""
ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
"""The form of a storage account's name: https://learn.microsoft.com/azure/storage/common/storage-account-overview."""


def check_everything(configuration: Configuration, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check everything, in the order of repair. Raises `SettingsError` for an address that is not safe.

    Where nothing says which deployment is meant, Fabric's part is looked at all the same: it needs no deployment.
    """
    management = variables.cloud(environ).management_url
    url = variables.endpoint(environ, "UNSTALE_MANAGEMENT_URL", management)
    azure = Azure(Rest(url, azure_login.tokens(management)))
    try:
        found = variables.read(environ)
    except SettingsError as bad:
        yield from fabric.check_everything(configuration, None, environ)
        yield Finding("deployment", str(bad), f"{DEPLOY}; then paste its output environment into this shell")
        return
    caller = _try("caller", partial(_caller, azure, found.account))
    yield caller
    yield from _cloud(found)
    if not azure.lets_in:  # said once: who is not signed in can ask nobody anything
        return
    yield from fabric.check_everything(configuration, found, environ)
    if caller.known:
        yield from _deployment(azure, configuration, found, environ)


class Azure:
    """Answers of Resource Manager that several findings share."""

    def __init__(self, arm: Rest) -> None:
        """Remember each answer: several findings hang on one account, topic or app."""
        self.arm = arm
        self.account = cache(self._account)
        self.topics = cache(self._topics)
        self.site = cache(self._site)
        self.lets_in = True

    def subscriptions(self) -> Mapping[str, Mapping[str, Any]]:
        """The subscriptions that whoever is signed in may read, by id; notes where nobody is signed in."""
        try:
            return {str(each["subscriptionId"]): each for each in self.arm.every("/subscriptions", **SUBSCRIPTIONS)}
        except NoAnswerError as failure:
            self.lets_in = failure.status not in {0, HTTPStatus.UNAUTHORIZED}
            raise

    def _account(self, name: str) -> str:
        """The id of a storage account, wherever it is: their names are unique. Raises `NotFoundError`."""
        for subscription in self.arm.every("/subscriptions", **SUBSCRIPTIONS):
            wanted = f"resourceType eq 'Microsoft.Storage/storageAccounts' and name eq '{name}'"
            path = f"/subscriptions/{subscription['subscriptionId']}/resources"
            for found in self.arm.every(path, **RESOURCES, **{"$filter": wanted}):
                return str(found["id"])
        raise NotFoundError("in none of the subscriptions that you may read")

    def _topics(self, subscription: str) -> list[dict[str, Any]]:
        """All system topics of a subscription."""
        return list(self.arm.every(f"{subscription}/providers/Microsoft.EventGrid/systemTopics", **EVENT_GRID))

    def _site(self, account: str) -> dict[str, Any]:
        """The app whose package is in this account. Raises `NotFoundError`."""
        group, name = account.partition("/providers/")[0], account.rpartition("/")[2]
        for listed in self.arm.every(f"{group}/providers/Microsoft.Web/sites", **WEB):
            site = self.arm.get(str(listed["id"]), **WEB)
            deployment = (site.get("properties", {}).get("functionAppConfig") or {}).get("deployment") or {}
            if f"//{name}." in str((deployment.get("storage") or {}).get("value")):
                return site
        raise NotFoundError("no app in the resource group takes its package from this account")

    def roles(self, scope: str, principal: str) -> set[str]:
        """Ids of the roles that a principal has there, or above, itself or through a group."""
        wanted = {"$filter": f"atScope() and assignedTo('{principal}')"}
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
        found = self.arm.every(path, **ROLES, **wanted)
        return {str(each["properties"]["roleDefinitionId"]).rpartition("/")[2].lower() for each in found}


def _try(what: str, look: Callable[[], Finding]) -> Finding:
    """A look that may not be allowed, or find nothing."""
    try:
        return look()
    except NotFoundError as none:
        return Finding(what, f"there is none: {none}", DEPLOY)
    except NoAnswerError as failure:
        cure = "sign in with `az login`, as Reader of the deployment and of the source accounts"
        return Finding(what, f"could not look: {failure}", cure, known=False)


# --- The deployment --------------------------------------------------------------------------------------------------


def _caller(azure: Azure, account: str) -> Finding:
    """Say where is looked: the tenant, the subscription and the storage account of the deployment.

    https://learn.microsoft.com/rest/api/resources/subscriptions/list
    """
    readable = azure.subscriptions()
    if not readable:
        cure = "az login, and Reader of the subscription that was deployed to"
        return Finding("caller", "whoever is signed in may read no subscription", cure, known=False)
    names = {key: f"subscription {each.get('displayName') or key} ({key})" for key, each in readable.items()}
    try:
        subscription = azure.account(account).split("/")[2]
    except NotFoundError:
        where = "; ".join(f"tenant {readable[key].get('tenantId')}, {name}" for key, name in names.items())
        cure = "az login to the tenant of the deployment, or paste the output environment of this one"
        return Finding("caller", f"storage account {account} is in none of what you may read: {where}", cure)
    tenant = readable[subscription].get("tenantId")
    return Finding("caller", f"tenant {tenant}, {names[subscription]}, storage account {account}")


def _cloud(found: Settings) -> Iterator[Finding]:
    """Say so where the storage account lies in another cloud than the one that the addresses are taken from."""
    host = urlsplit(found.table_url).hostname or ""
    named = {name for name, cloud in CLOUDS.items() if host.endswith(f".{cloud.storage_suffix}")}
    if named and CLOUDS[min(named)] != found.cloud:
        what = f"{host} is in the cloud {min(named)}, UNSTALE_CLOUD names another"
        yield Finding("cloud", what, "paste the deployment's output environment into this shell again")


def _deployment(
    azure: Azure, configuration: Configuration, found: Settings, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Look at the deployment's storage account and all that lies in it, then at the app and at the sources."""
    name = found.account
    what = f"storage account {name or '?'}"
    if not ACCOUNT.fullmatch(name):
        yield Finding(what, "its address names no storage account of Azure's", DEPLOY, known=False)
        return
    here = _try(what, lambda: Finding(what, azure.account(name)))
    yield here
    if here.well:
        account = azure.account(name)
        yield from (_try(each, partial(look, azure, account, each)) for each, look in _PARTS.items())
        yield _dead_letters(Parts(found, lambda: configuration, azure_login.storage(environ)))
        yield from _app_findings(azure, account, _functions(environ))
    else:
        account = ""
    yield from _sources(azure, configuration, account, environ)


def _dead_letters(parts: Parts) -> Finding:
    """Count what nobody could read, as `status` does: in the poison queues and in the container."""
    what = "dead letters"
    try:
        count = sum(summary.count for summary in DeadLetters(parts.clients).summaries())
    except StoreDownError as down:
        cure = "be one of the parameter operators, as for unstale status: docs/azure.md"
        return Finding(what, f"could not look: {down}", cure, known=False)
    cure = "unstale redrive --dry-run says why; once the cause is mended: unstale redrive" if count else ""
    return Finding(what, f"{count}", cure)


def _queues(azure: Azure, account: str, what: str) -> Finding:
    """The queues of the host: those of messages and those of what it gave up, each with its own name."""
    there = {str(each["name"]) for each in azure.arm.every(f"{account}/queueServices/default/queues", **STORAGE)}
    missing = [name for name in QUEUES if name not in there]
    return Finding(what, f"missing: {', '.join(missing)}", DEPLOY) if missing else Finding(what, ", ".join(QUEUES))


def _table(azure: Azure, account: str, what: str) -> Finding:
    """The table of the records; `NotFoundError` where it is missing."""
    azure.arm.get(f"{account}/tableServices/default/tables/{variables.TABLE}", **STORAGE)
    return Finding(what, variables.TABLE)


def _container(azure: Azure, account: str, what: str) -> Finding:
    """The container of the dead letters; `NotFoundError` where it is missing."""
    azure.arm.get(f"{account}/blobServices/default/containers/{variables.UNDELIVERED}", **STORAGE)
    return Finding(what, variables.UNDELIVERED)


_PARTS: Mapping[str, Callable[[Azure, str, str], Finding]] = {
    "queues": _queues,
    "state table": _table,
    "dead-letter container": _container,
}
"""The parts of the storage account, and how each is looked at."""


# --- The app ---------------------------------------------------------------------------------------------------------


def _functions(environ: Mapping[str, str]) -> frozenset[str]:
    """Functions that the host must have found in the package, by the variables of the deployment."""
    stream = {"stream"} if variables.event_hub(environ) else set()
    pushed = {"event_grid"} if variables.is_pushed(environ) else set()
    return FUNCTIONS | stream | pushed


def _app_findings(azure: Azure, account: str, functions: frozenset[str]) -> Iterator[Finding]:
    """Look at the function app that takes its package from this account, and at the roles of its identity."""
    what = "function app"
    try:
        site = azure.site(account)
    except NoAnswerError as failure:
        yield _try(what, partial(_raise, failure))
        return
    yield _try(what, partial(_state, azure, site, what, functions))
    yield _try("roles of the app", partial(_app_roles, azure, site, account))


def _raise(failure: NoAnswerError) -> Finding:
    """Fail as a look failed before, so that `_try` words both the same way and gives the same cure."""
    raise failure


def _state(azure: Azure, site: Mapping[str, Any], what: str, wanted: Iterable[str]) -> Finding:
    """Whether the function app runs, and which functions the host found in the package.

    A timer or trigger that somebody disabled in the portal is a function that is missing, for whoever waits for it.
    """
    name = str(site["name"])
    state = str(site["properties"].get("state"))
    if state != "Running":
        group = str(site["id"]).split("/")[4]
        return Finding(what, f"{name}: {state}", f"az functionapp start --resource-group {group} --name {name}")
    functions = list(azure.arm.every(f"{site['id']}/functions", **WEB))
    off = {_last(each["name"]) for each in functions if each.get("properties", {}).get("isDisabled")}
    missing = sorted(set(wanted) - ({_last(each["name"]) for each in functions} - off))
    if missing:
        cure = "publish build/azure.zip; if it was, the log of the app says why the host found no such function"
        return Finding(what, f"{name}: no function {', '.join(missing)}", cure)
    return Finding(what, f"{name}: runs, {len(functions)} functions")


def _last(name: object) -> str:
    """The last segment of a resource's id or name."""
    return str(name).rpartition("/")[2]


def _app_roles(azure: Azure, site: Mapping[str, Any], account: str) -> Finding:
    """The roles that the app's identity needs for its own storage account."""
    what, principal = "roles of the app", _principal(site)
    if not principal:
        return Finding(what, "it has no identity", DEPLOY)
    return _missing_role(azure, what, principal, {account: HOST_ROLES})


def _principal(site: Mapping[str, Any]) -> str:
    """Object id of the app's identity, empty for none: that by which it reads secrets, not the package's."""
    identity = site.get("identity") or {}
    own = str(site["properties"].get("keyVaultReferenceIdentity") or "").lower()
    assigned = (identity.get("userAssignedIdentities") or {}).items()
    found = [str(each["principalId"]) for name, each in assigned if name.lower() == own or not own]
    return next(iter(found), str(identity.get("principalId") or ""))


def _missing_role(azure: Azure, what: str, principal: str, wanted: Mapping[str, Mapping[str, str]]) -> Finding:
    """The first role that a principal lacks at one of the scopes, with the command that grants it.

    The command names the principal by its object id: so it needs no right to look anybody up in the directory.
    """
    for scope, roles in wanted.items():
        there = azure.roles(scope, principal)
        for role, name in roles.items():
            if role not in there:
                cure = (
                    f"az role assignment create --role '{name}' --scope {scope} --assignee-object-id {principal}"
                    " --assignee-principal-type ServicePrincipal"
                )
                return Finding(what, f"{principal} is not {name} of {_last(scope)}", cure)
    return Finding(what, "; ".join(name for roles in wanted.values() for name in roles.values()))


# --- The sources -----------------------------------------------------------------------------------------------------


def _sources(azure: Azure, configuration: Configuration, account: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at each account whose blobs are sources, and at the event hub of OneLake's events."""
    sources = {source for target in configuration.targets if target.cloud is Cloud.AZURE for source in target.on}
    hub = environ.get(f"{variables.EVENTS}__fullyQualifiedNamespace", "")
    targets = [t for t in configuration.targets if any(isinstance(source, OneLakeChanged) for source in t.on)]
    if targets:
        yield _onelake(hub, looked_at=all(_is_looked_at(target) for target in targets))
    blobs = sorted((each for each in sources if isinstance(each, BlobCreated)), key=repr)
    for name in sorted({blob.account for blob in blobs}):
        ours = OwnDestination(account, hub.partition(".")[0])
        yield from _source(azure, name, [blob for blob in blobs if blob.account == name], ours)


def _is_looked_at(target: Target) -> bool:
    """Whether looks find all that lands in OneLake for the target: each source there is a table."""
    tables = all(source.is_table for source in target.on if isinstance(source, OneLakeChanged))
    return tables and target.policy.look is not None


def _onelake(hub: str, *, looked_at: bool) -> Finding:
    """OneLake's events come through an eventstream, which no API of Azure shows: say what is configured here.

    Where each source is a table that is looked at, nothing needs to come: an event only makes a refresh earlier.
    """
    what = "OneLake's events"
    if hub:
        return Finding(what, f"come through {hub}, if the eventstream sends them: only Fabric's own page shows that")
    if looked_at:
        return Finding(what, "none come, and looks find it: an eventstream would only make refreshes earlier")
    cure = "make an eventstream with a custom endpoint, name it in the parameter stream (infra/azure), deploy"
    return Finding(what, "UNSTALE_EVENTS__fullyQualifiedNamespace is not set: none come", cure)


class OwnDestination:
    """Where events of blobs are to end: the events queue of our account, or our event hub."""

    def __init__(self, account: str, namespace: str) -> None:
        """Our storage account by its id, and the namespace of our event hub, if there is one."""
        self.account = account
        self._namespace = namespace

    def takes(self, subscription: Mapping[str, Any]) -> bool:
        """Whether a subscription delivers to us, by the id of its destination."""
        destination = _destination(subscription)
        properties = destination.get("properties") or {}
        resource = _resource_id(subscription).lower()
        if destination.get("endpointType") == "StorageQueue":
            return resource == self.account.lower() and properties.get("queueName") == variables.EVENTS_QUEUE
        return bool(self._namespace) and f"/namespaces/{self._namespace.lower()}/eventhubs/" in resource


def _destination(subscription: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a subscription delivers to, by its own identity or without one."""
    by_identity = subscription["properties"].get("deliveryWithResourceIdentity") or {}
    found: Mapping[str, Any] = by_identity.get("destination") or subscription["properties"].get("destination") or {}
    return found


def _source(azure: Azure, name: str, blobs: list[BlobCreated], ours: OwnDestination) -> Iterator[Finding]:
    """System topic, subscriptions and roles of one account; after the first that is missing there is nothing to see."""
    what = f"system topic of {name}"
    here = _try(what, partial(_topic_finding, azure, name, what))
    yield here
    if not here.well or not ours.account:
        return
    topic = _topic(azure, name)
    assert topic is not None, "it was found above"  # noqa: S101 - `_topic_finding` is not well without one
    try:
        subscriptions = [
            each for each in azure.arm.every(f"{topic['id']}/eventSubscriptions", **EVENT_GRID) if ours.takes(each)
        ]
    except NoAnswerError as failure:
        yield _try(f"events of {name}", partial(_raise, failure))
        return
    yield _let_through(f"events of {name}", blobs, subscriptions)
    if subscriptions:
        principal = str((topic.get("identity") or {}).get("principalId"))
        wanted = _topic_roles(ours.account, subscriptions)
        yield _try(what := f"roles of the topic of {name}", partial(_missing_role, azure, what, principal, wanted))
    for hub in sorted({_resource_id(each) for each in subscriptions if "/eventhubs/" in _resource_id(each).lower()}):
        yield _try(what := f"roles of the app at {_last(hub)}", partial(_receives, azure, ours.account, hub, what))


def _resource_id(subscription: Mapping[str, Any]) -> str:
    """The id of the account or event hub that a subscription delivers to."""
    return str((_destination(subscription).get("properties") or {}).get("resourceId"))


def _receives(azure: Azure, account: str, hub: str, what: str) -> Finding:
    """The host reads the hub, and looks at its namespace in order to scale."""
    return _missing_role(azure, what, _principal(azure.site(account)), {hub.rpartition("/eventhubs/")[0]: RECEIVES})


def _topic(azure: Azure, name: str) -> dict[str, Any] | None:
    """The system topic of a source account, if any subscription has one."""
    account = azure.account(name)
    subscription = "/".join(account.split("/")[:3])
    topics = azure.topics(subscription)
    return next((each for each in topics if str(each["properties"]["source"]).lower() == account.lower()), None)


def _topic_finding(azure: Azure, name: str, what: str) -> Finding:
    """Whether the account has a system topic, which is where its events begin."""
    topic = _topic(azure, name)
    if topic is None:
        cure = f"{DEPLOY}; placements says where the account is, if not in the group of the deployment"
        return Finding(what, "there is none: no event of this account goes anywhere", cure)
    if not (topic.get("identity") or {}).get("principalId"):
        group = str(topic["id"]).split("/")[4]
        cure = (
            f"az eventgrid system-topic update --identity systemassigned -g {group} -n {topic['name']}; then {DEPLOY}"
        )
        return Finding(what, f"{topic['name']} has no system-assigned identity to deliver with", cure)
    return Finding(what, str(topic["name"]))


def _let_through(what: str, blobs: Iterable[BlobCreated], subscriptions: list[dict[str, Any]]) -> Finding:
    """Whether every event that a target names passes a subscription that works.

    Coarser is well: the function drops what no target names. So a filter of a person's own making may be wider.
    """
    if not subscriptions:
        return Finding(what, "no subscription of the topic delivers to us", DEPLOY)
    broken = [_ill(each) for each in subscriptions if _ill(each)]
    if broken:
        return Finding(what, "; ".join(broken), DEPLOY)
    shut = dict.fromkeys(name for blob in blobs for name in _list_shut(blob, subscriptions))
    if shut:
        return Finding(what, f"no filter lets through {', '.join(shut)}", f"unstale infra azure --write, then {DEPLOY}")
    return Finding(what, f"{len(subscriptions)} subscriptions let through all that targets name")


def _list_shut(blob: BlobCreated, subscriptions: list[dict[str, Any]]) -> Iterator[str]:
    """The parts of a source that no subscription lets through: its files, or directories renamed into place."""
    [files], [directories] = filters_for([blob])[0], directories_for([blob])
    if not any(_passes(each, files, FILE_TYPES) for each in subscriptions):
        yield f"{blob.container}/{blob.prefix}*{blob.suffix}"
    if not any(_passes(each, directories, DIRECTORY_TYPES) for each in subscriptions):
        yield f"renamed directories of {blob.container}"


def _ill(subscription: Mapping[str, Any]) -> str:
    """The fault of a subscription, whatever passes its filter."""
    properties = subscription["properties"]
    name = subscription["name"]
    state = properties.get("provisioningState", "Succeeded")
    if state != "Succeeded":
        return f"{name} is {state}"
    if not (properties.get("deadLetterWithResourceIdentity") or properties.get("deadLetterDestination")):
        return f"{name} has no place for dead letters: what cannot be delivered for a day is dropped"
    return ""


def _passes(subscription: Mapping[str, Any], wanted: Filter, kinds: frozenset[str]) -> bool:
    """Whether all events of these kinds that the wanted filter passes pass this subscription's, too.

    Advanced filters are not read: what they let through cannot be told from here, so they count as shut.
    """
    found = subscription["properties"].get("filter") or {}
    begins, ends = found.get("subjectBeginsWith") or "", found.get("subjectEndsWith") or ""
    if not found.get("isSubjectCaseSensitive"):
        begins, ends = begins.lower(), ends.lower()
        wanted = Filter(wanted.begins_with.lower(), wanted.ends_with.lower())
    types = found.get("includedEventTypes")
    every_kind = types is None or set(types) >= kinds
    return every_kind and not found.get("advancedFilters") and Filter(begins, ends).covers(wanted)


def _topic_roles(account: str, subscriptions: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, str]]:
    """The roles that the topic's identity needs, by scope: to deliver, and to put away what it cannot deliver."""
    wanted: dict[str, Mapping[str, str]] = {}
    for destination in map(_destination, subscriptions):
        if destination.get("endpointType") == "StorageQueue":
            wanted[f"{account}/queueServices/default/queues/{variables.EVENTS_QUEUE}"] = SENDS
        else:
            wanted[str(destination["properties"]["resourceId"])] = STREAMS
    wanted[f"{account}/blobServices/default/containers/{variables.UNDELIVERED}"] = BURIES
    return wanted
