"""`unstale check --live`, Fabric's part: items, who may run their jobs according to the documents, and who does.

Nothing is started: an item is read, its job instances are listed, the roles of its workspace are listed. Whether the
identity may *run* the job shows in its role, and in the last run of the deployment.

A managed identity can only be had beside it, so from a person's machine it is the person who looks at the items: what
the identity itself may, the record's last run shows.

    who calls               may be this machine where                     else the person looks
    managed-identity        it runs on Azure, beside the identity         yes
    service-principal       UNSTALE_CLIENT_SECRET is in this shell        yes
    user                    never: the sign-in is sealed                  yes, and the sign-in's age is told
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Final, NamedTuple

from functions_azure.settings import Settings, cloud, endpoint
from functions_azure.sources import Sources
from functions_azure.tokens import STORAGE
from functions_azure.wiring import Parts, SystemClock, make_ports
from local import azure_login
from local.checks.finding import Finding
from local.checks.rest import NoAnswerError, NotFoundError, Rest
from local.checks.sources import source_findings
from shared.config.load import Configuration
from shared.platforms.failures import MISCONFIGURED
from shared.refresh.failure import Failure
from shared.refresh.ports import Store, StoreDownError
from shared.refresh.records import NewerRecordError, read_state
from shared.refresh.state import Blocked, State
from shared.sign_in import DamagedSignInError, age
from shared.sources.groups import Group
from shared.sources.ports import Known, Seen
from shared.targets import Cloud, GlueView, ItemJob, LakeViews, Target

EVERYBODY: Final = ("managed-identity", "service-principal", "user")
"""Identities of an API that takes all of them, in the words of `fabric.identity`."""
USERS_ONLY: Final = ("user",)
"""Identities of an API that takes users alone."""

DOCUMENTED: Final[Mapping[tuple[str, str], tuple[tuple[str, ...], str]]] = {
    ("lakehouse", "refreshmaterializedlakeviews"): (EVERYBODY, "since 2026-06; the documents of 2025 know users only"),
    ("lakehouse", "tablemaintenance"): (EVERYBODY, "in preview"),
    ("dataflow", "execute"): (USERS_ONLY, "in preview"),
    ("dataflow", "applychanges"): (USERS_ONLY, "in preview"),
    ("dataflow", "refresh"): (USERS_ONLY, "in preview"),
}
"""By type of item and job, both in lower case: which identities may start it, and since when or how firmly.

https://learn.microsoft.com/rest/api/fabric/lakehouse/background-jobs/run-on-demand-refresh-materialized-lake-views
https://learn.microsoft.com/rest/api/fabric/lakehouse/background-jobs/run-on-demand-table-maintenance
https://learn.microsoft.com/rest/api/fabric/dataflow/background-jobs
"""
ANY_OTHER: Final = (EVERYBODY, "since 2025-07; the documents before know users only")
"""Whom every other job takes: https://learn.microsoft.com/rest/api/fabric/core/job-scheduler/run-on-demand-item-job."""

MAY_RUN: Final = frozenset({"Admin", "Member", "Contributor"})
"""Roles whose holder may start jobs; a viewer may execute nothing:
https://learn.microsoft.com/fabric/fundamentals/roles-workspaces."""

TENANT_SETTING: Final = (
    "an administrator of Fabric must allow the identity, or a group that it is in, the tenant setting "
    '"Service principals can call Fabric public APIs" (before: "Service principals can use Fabric APIs")'
)
"""The cure of Fabric's refusal of a principal whose token is good. Only an administrator can see or set it."""
SAYS_READER: Final = "sign in with `az login` as Member of the workspace"
"""The cure where the person who asks sees too little."""


class Caller(NamedTuple):
    """A caller of Fabric's API."""

    name: str
    """The name that findings give this caller."""
    fabric: Rest
    """Fabric's API, with tokens of this caller."""


class Callers(NamedTuple):
    """The configured identity, where this machine can be it; why it has no token, then; the person who asks."""

    identity: Caller | None
    """The identity that the function works as, where this machine can be it."""
    refused: str
    """Why the identity got no token; empty where it got one or is not at hand."""
    person: Caller
    """The person who signed in with `az login`."""

    @property
    def first(self) -> Caller:
        """The caller who sees what the function sees, else the person."""
        return self.identity or self.person


def check_everything(
    configuration: Configuration, found: Settings | None, environ: Mapping[str, str] = os.environ
) -> Iterator[Finding]:
    """Item, identities, call, last run for each target; the roles for each workspace. `found` is the deployment."""
    targets = [target for target in configuration.targets if target.cloud is Cloud.AZURE]
    identity = configuration.fabric.identity
    parts = (
        Parts(found, lambda: configuration, azure_login.storage(environ), azure_login.vault(environ)) if found else None
    )
    callers = _callers(identity, parts, environ)
    client_id = environ.get("UNSTALE_CLIENT_ID", "")
    if callers.refused:
        yield Finding(f"token of the {identity}", "Entra gives none", callers.refused)
    if identity == "user" and parts:
        yield _sign_in(parts, "sign-in")
    for target in targets:
        yield from _of_target(target, identity, callers)
    for workspace in dict.fromkeys(_resource(target).workspace for target in targets):
        yield _try(
            what := f"role in workspace {workspace}", partial(_role, callers, identity, workspace, client_id, what)
        )
    yield from source_findings(targets, _look(configuration, parts, callers, found, environ))
    if found and parts:
        store = make_ports(found, configuration, parts, lambda _: None).store
        states = cache(partial(_states, store, tuple(targets)))
        for number, target in enumerate(targets):
            yield _try(what := f"last run of {target.name}", partial(_last_run, states, number, target, what))


def _resource(target: Target) -> LakeViews | ItemJob:
    """The resource of a Fabric target: lake views, or an item's job."""
    assert not isinstance(target.resource, GlueView), "the targets on Azure are Fabric's"  # noqa: S101 - as configured
    return target.resource


def _callers(identity: str, parts: Parts | None, environ: Mapping[str, str]) -> Callers:
    """A managed identity is only to be had beside it, a principal where its secret is, a user by the function alone."""
    here = cloud(environ)
    url = endpoint(environ, "UNSTALE_FABRIC_URL", here.fabric_url)
    person = Caller("you (az login)", Rest(url, azure_login.tokens(here.fabric_audience)))
    at_hand = environ.get(azure_login.AT_HAND) or (
        identity == "service-principal" and environ.get("UNSTALE_CLIENT_SECRET")
    )
    if parts is None or not at_hand:
        return Callers(None, "", person)
    first = parts.tokens.token()
    if isinstance(first, Failure):
        return Callers(None, first.message, person)
    return Callers(Caller(f"the {identity}", Rest(url, parts.tokens)), "", person)


def _sign_in(parts: Parts, what: str) -> Finding:
    """The sign-in: its user, its end, and whether Entra refuses it by now; without opening it."""
    try:
        found = parts.sign_ins.look()
    except (DamagedSignInError, NewerRecordError) as failure:
        return Finding(what, f"cannot be read: {failure}", "sign in again: unstale login")
    except StoreDownError as down:
        return Finding(what, f"could not look: {down}", "see the storage account below", known=False)
    if found is None:
        return Finding(what, "nobody is signed in", "a person whom the items know: unstale login")
    kept = found[1].sign_in
    return Finding(what, age(kept, datetime.now(UTC)), kept.refusal and "as Entra says: unstale login")


def _try(what: str, look: Callable[[], Finding]) -> Finding:
    """Make one look; a refusal is a finding that says what to sign in as."""
    try:
        return look()
    except NoAnswerError as failure:
        return Finding(what, f"could not look: {failure}", SAYS_READER, known=False)


def _look(
    configuration: Configuration,
    parts: Parts | None,
    callers: Callers,
    found: Settings | None,
    environ: Mapping[str, str],
) -> Callable[[Group, Known], Seen | Failure]:
    """Look in OneLake as the identity, where this machine can be it, else as the person.

    A signed-in user cannot look: consent is to Fabric alone.
    """
    if configuration.fabric.identity == "user":
        why = 'the signed-in user does not open OneLake: another fabric.identity, or look = "off"'
        refusal = MISCONFIGURED.failure("SignedInUser", why)
        return lambda _group, _known: refusal
    own = parts is not None and callers.identity is not None
    tokens = parts.onelake_tokens if parts and own else azure_login.tokens(STORAGE)
    url = found.onelake_url if found else endpoint(environ, "UNSTALE_ONELAKE_URL", cloud(environ).onelake_url)
    return Sources(tokens, SystemClock(), url=url).look


# --- A target --------------------------------------------------------------------------------------------------------


def _of_target(target: Target, identity: str, callers: Callers) -> Iterator[Finding]:
    """Look at a target's item, at whom the documents let start its job, and at a harmless call as the identity."""
    resource = _resource(target)
    item = resource.lakehouse if isinstance(resource, LakeViews) else resource.item
    path = f"/workspaces/{resource.workspace}/items/{item}"
    kind, finding = _item(f"item of {target.name}", path, resource, callers.first)
    yield finding
    yield _identities(f"identities for {target.name}", kind, resource, identity)
    if callers.identity is not None:
        yield _call(f"call as {callers.identity.name} for {target.name}", path, callers.identity, identity)


def _item(what: str, path: str, resource: LakeViews | ItemJob, caller: Caller) -> tuple[str, Finding]:
    """Get Item: its type, and what to say of it."""
    try:
        found = caller.fabric.get(path)
    except NotFoundError as none:
        cure = (
            "correct the ids in unstale.toml; or it is there, and hidden from whoever asks: see the workspace's roles"
        )
        return "", Finding(what, f"{caller.name} finds none: {none}", cure)
    except NoAnswerError as failure:
        return "", Finding(what, f"could not look: {failure}", SAYS_READER, known=False)
    kind, name = str(found.get("type")), str(found.get("displayName"))
    if isinstance(resource, LakeViews) and kind != "Lakehouse":
        return kind, Finding(what, f"{name} is a {kind}, no Lakehouse", "name a lakehouse, or use fabric-item-job")
    return kind, Finding(what, f"{kind} {name}")


def _identities(what: str, kind: str, resource: LakeViews | ItemJob, identity: str) -> Finding:
    """Whom the documents name for this job, and who is configured.

    Documents change, and tenants get what they say at different times, so the finding says since when they say it.
    """
    job = "refreshmaterializedlakeviews" if isinstance(resource, LakeViews) else resource.job_type.lower()
    kind = "lakehouse" if isinstance(resource, LakeViews) else kind.lower()
    accepted, note = DOCUMENTED.get((kind, job), ANY_OTHER)
    said = f"{', '.join(accepted)} ({note}); configured: {identity}"
    if identity in accepted:
        return Finding(what, said)
    return Finding(what, said, f'fabric.identity = "{accepted[0]}" in unstale.toml, then deploy and publish')


def _call(what: str, path: str, caller: Caller, identity: str) -> Finding:
    """List Item Job Instances as the identity itself: it starts nothing, and is what the function does too."""
    try:
        listed = sum(1 for _ in caller.fabric.every(f"{path}/jobs/instances"))
    except NoAnswerError as failure:
        return Finding(what, f"refused: {failure}", cure_for(failure, identity), known=failure.status != 0)
    return Finding(what, f"succeeds, {listed} runs are listed")


def cure_for(failure: NoAnswerError, identity: str) -> str:
    """The cure that a refusal asks for. Fabric's codes say little: a 401 for a good token is the tenant's setting."""
    if "principal type" in str(failure).lower():
        return 'the tenant or region takes users only for this call: fabric.identity = "user"'
    if failure.status == 401:  # noqa: PLR2004 - as HTTP writes it
        return "unstale login" if identity == "user" else TENANT_SETTING
    if isinstance(failure, NotFoundError) or failure.status == 403:  # noqa: PLR2004 - as HTTP writes it
        role = "make the identity Contributor of the workspace (Manage access)"
        return role if identity == "user" else f"{role}; if it is, {TENANT_SETTING}"
    return "try again; if it stays so, the message says what is wrong"


# --- A workspace -----------------------------------------------------------------------------------------------------


def _role(callers: Callers, identity: str, workspace: str, client_id: str, what: str) -> Finding:
    """List Workspace Role Assignments, which takes a Member: the identity itself may seldom do that, a person may."""
    if identity == "user":
        return Finding(what, "of the signed-in user: a call as the user shows it")
    found = list(callers.person.fabric.every(f"/workspaces/{workspace}/roleAssignments"))
    cure = "Manage access of the workspace: add the identity as Contributor"
    roles = [str(each.get("role")) for each in found if client_id and client_id.lower() in _ids(each)]
    if roles:
        well = bool(MAY_RUN & set(roles))
        return Finding(what, f"the {identity} is {', '.join(roles)}", "" if well else cure)
    if any(str(each.get("principal", {}).get("type")) == "Group" for each in found):
        return Finding(what, f"the {identity} has none of its own; a group may have one", cure, known=False)
    said = f"the {identity} {client_id} has none" if client_id else "UNSTALE_CLIENT_ID does not say who to look for"
    return Finding(what, said, cure, known=bool(client_id))


def _ids(assignment: Mapping[str, Any]) -> set[str]:
    """Object id and client id of a principal."""
    principal = assignment.get("principal") or {}
    details = principal.get("servicePrincipalDetails") or {}
    return {str(principal.get("id")).lower(), str(details.get("aadAppId")).lower()}


# --- What the deployment knows ---------------------------------------------------------------------------------------


def _states(store: Store, targets: tuple[Target, ...]) -> list[State]:
    """The records of all targets, read as whoever is at the command line."""
    try:
        return [read_state(document.body) for document in store.load_many([target.key for target in targets])]
    except StoreDownError as down:
        raise NoAnswerError(str(down)) from down


def _last_run(states: Callable[[], list[State]], number: int, target: Target, what: str) -> Finding:
    """The surest answer to whether the identity may run the job: it did, or it was refused."""
    try:
        state = states()[number]
    except NoAnswerError as failure:
        cure = "give yourself the data roles of the storage account: the parameter operators (infra/azure)"
        return Finding(what, f"could not look: {failure}", cure, known=False)
    if isinstance(state.hold, Blocked):
        return Finding(what, f"blocked: {state.hold.reason}", f"mend that, then unstale resume {target.name}")
    if state.fresh_as_of:
        return Finding(what, f"succeeded, claimed at {state.fresh_as_of:%Y-%m-%d %H:%M:%S}Z")
    cure = f"unstale refresh {target.name}, then unstale history {target.name}"
    return Finding(what, "none has succeeded yet", cure, known=False)
