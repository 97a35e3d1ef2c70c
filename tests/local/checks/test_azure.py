"""`unstale check --live` on Azure: what the template deploys is found to be in order; what is missing has its cure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.storage.queue import QueueClient
from microsoft_fabric_api.client import FabricClient

from functions_azure import settings as variables
from functions_azure.clients import Clients
from functions_azure.settings import Settings
from functions_azure.store import Store
from local.checks import azure as live_azure
from local.cli import main
from local.emulators.entra.emulator import App, Entra, Identity
from local.emulators.entra.tokens import FABRIC, Caller
from local.emulators.fabric.onelake import OneLake
from local.emulators.faults import Refuse
from shared.config.load import load
from shared.refresh.records import write
from shared.refresh.state import Blocked, State
from tests.support.arm_server import APP, CLIENT_ID, TENANT, TOPIC, Arm, Fabric, answer, serving
from tests.support.arm_server import SUBSCRIPTION as DEPLOYED_TO
from tests.support.az import sign_in
from tests.support.azure_host import function_names
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures

WORKSPACE, LAKEHOUSE = "4b218778-e7a5-4d73-8187-f10824047715", "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
FLOW = "531e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
CONFIG = f"""
[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{LAKEHOUSE}"
on = [{{ blob_created = {{ account = "contosolake", container = "sales", prefix = "orders/", suffix = ".parquet" }} }}]
"""
TABLE = f'on = [{{ onelake_changed = {{ workspace = "{WORKSPACE}", item = "{FLOW}", path = "Tables/a" }} }}, '
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@dataclass
class Cloud:
    """Everything that `check --live` asks, in order until a test changes it."""

    arm: Arm
    fabric: Fabric
    onelake: OneLake
    fabric_url: str
    config: Path
    store: Store
    capsys: pytest.CaptureFixture[str]

    def finds(self) -> dict[str, dict[str, Any]]:
        """The findings, by what was looked at; the exit code says whether all is well."""
        code = main(["check", "--live", "--json", "--config", str(self.config)])
        found = json.loads(self.capsys.readouterr().out)["findings"]
        assert code == int(not all(each["well"] for each in found))
        return {each["what"]: each for each in found}

    def knows(self, state: State) -> None:
        """Put the record of the target into the deployment's table."""
        [target] = load(self.config.read_text(encoding="utf-8")).targets
        self.store.save(self.store.load(target.key), write(state), None)


def opens_onelake(token: str) -> bool:
    """Whether it is the person's token for storage, as `az` gives it here."""
    return token.rstrip("/") == "token-for-https://storage.azure.com"


@pytest.fixture(name="cloud")
def a_cloud_in_order(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cloud]:
    """The deployment of the example configuration, with the identity in Fabric, and a run that succeeded."""
    arm, fabric = Arm(account.name), Fabric()
    fabric.items[LAKEHOUSE] = "Lakehouse"
    sign_in(tmp_path, monkeypatch)
    config = tmp_path / "unstale.toml"
    config.write_text(CONFIG, encoding="utf-8")
    settings = Settings(config, storage=account.connection_string)
    store = Store(Clients(settings, lambda: pytest.fail("no token")), lambda: NOW)
    with serving(arm, fabric) as (arm_url, fabric_url), OneLake(accepts=opens_onelake) as onelake:
        monkeypatch.setenv("UNSTALE_ONELAKE_URL", onelake.url)
        monkeypatch.setenv("UNSTALE_STORAGE", account.connection_string)
        monkeypatch.setenv("UNSTALE_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("UNSTALE_MANAGEMENT_URL", arm_url)
        monkeypatch.setenv("UNSTALE_FABRIC_URL", f"{fabric_url}/v1")
        cloud = Cloud(arm, fabric, onelake, fabric_url, config, store, capsys)
        cloud.knows(State(fresh_as_of=NOW - timedelta(hours=1)))
        yield cloud


def test_what_the_template_deploys_is_in_order(cloud: Cloud) -> None:
    """Everything is looked at, and nothing is missing: judged on the resources that the Bicep compiler predicts."""
    found = cloud.finds()
    assert all(each["well"] for each in found.values()), found
    assert found["caller"]["found"] == (
        f"tenant {TENANT}, subscription data ({DEPLOYED_TO}), storage account {found_account(found).split()[-1]}"
    )
    assert list(found) == [
        "caller",
        "item of sales",
        "identities for sales",
        f"role in workspace {WORKSPACE}",
        "source blobs of contosolake/sales/orders/ of sales",
        "last run of sales",
        found_account(found),
        "queues",
        "state table",
        "dead-letter container",
        "dead letters",
        "function app",
        "roles of the app",
        "system topic of contosolake",
        "events of contosolake",
        "roles of the topic of contosolake",
    ]
    assert "managed-identity, service-principal, user (since 2026-06" in found["identities for sales"]["found"]


def test_dead_letters_count(cloud: Cloud, account: Account) -> None:
    """Signals may be among them, so all is not well; what cannot be counted is not known."""
    dead = QueueClient.from_connection_string(account.connection_string, variables.EVENTS_QUEUE + variables.POISON)
    dead.send_message("what nobody can read")
    found = cloud.finds()["dead letters"]
    assert (found["well"], found["found"]) == (False, "1")
    assert "unstale redrive" in found["cure"]
    dead.delete_queue()
    found = cloud.finds()["dead letters"]
    assert not found["well"]
    assert found["found"].startswith("could not look: ")


@pytest.mark.parametrize("refused", ["token", "subscriptions"])
def test_who_may_read_nothing_is_told_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """One sentence and its cure, instead of one for each thing that could not be looked at."""
    if refused == "token":
        cloud.arm.lets_in = lambda _: False
    else:
        monkeypatch.setattr(cloud.arm, "answered", lambda path, query: answer(200, {"value": []}))
    found = cloud.finds()
    assert (list(found) == ["caller"]) == (refused == "token")
    assert not found["caller"]["well"]
    assert "az login" in found["caller"]["cure"]
    assert not any(what.startswith("storage account") for what in found)


def found_account(found: dict[str, Any]) -> str:
    """The finding that names our storage account."""
    [what] = [what for what in found if what.startswith("storage account ")]
    return what


def test_the_fake_answers_as_microsofts_client_expects(cloud: Cloud) -> None:
    """Items and role assignments are read by Fabric's own client, so that the fake is no invention."""

    class Credential:
        """A token for Fabric."""

        def get_token(self, *_: str, **__: Any) -> AccessToken:
            """The one that the fake lets in."""
            return AccessToken("token-for-https://api.fabric.microsoft.com", 4102444800)

    client = FabricClient(Credential(), f"{cloud.fabric_url}/", retry_total=0)
    item = client.core.items.get_item(WORKSPACE, LAKEHOUSE, enforce_https=False)
    assert (item.type, str(item.workspace_id)) == ("Lakehouse", WORKSPACE)
    [role] = client.core.workspaces.list_workspace_role_assignments(WORKSPACE, enforce_https=False)
    assert (role.role, role.principal.service_principal_details.aad_app_id) == ("Contributor", CLIENT_ID)
    theirs = {path for path, _ in cloud.fabric.asked}
    cloud.fabric.asked.clear()
    cloud.finds()
    assert theirs <= {path for path, _ in cloud.fabric.asked}


Change = Callable[[Cloud], None]


def gone(part: str) -> Change:
    """Nothing is there whose id has this in it."""

    def change(cloud: Cloud) -> None:
        for identity in [each for each in cloud.arm.resources if part.lower() in each]:
            del cloud.arm.resources[identity]

    return change


def ungranted(principal: str, part: str) -> Change:
    """A principal without its roles at a scope."""

    def change(cloud: Cloud) -> None:
        cloud.arm.grants = [each for each in cloud.arm.grants if each[1] != principal or part not in each[2]]

    return change


def properties(kind: str, **changed: Any) -> Change:
    """Every resource of a type says something else."""

    def change(cloud: Cloud) -> None:
        for resource in cloud.arm.of_type(kind):
            resource["properties"] |= changed

    return change


FILES, DIRECTORIES = sorted(live_azure.FILE_TYPES), sorted(live_azure.DIRECTORY_TYPES)


def filtered(kinds: list[str] = FILES, **changed: Any) -> Change:
    """The filter of the subscription for files, or for directories, is another one."""

    def change(cloud: Cloud) -> None:
        filters = [each["properties"]["filter"] for each in cloud.arm.of_type(SUBSCRIPTION)]
        [found] = [each for each in filters if each["includedEventTypes"] == kinds]
        found |= changed

    return change


def without_identity(cloud: Cloud) -> None:
    """A topic that somebody else made."""
    [topic] = cloud.arm.of_type("Microsoft.EventGrid/systemTopics")
    topic["identity"] = {"type": "None"}


def is_a(kind: str) -> Change:
    """The item is of another type."""
    return lambda cloud: cloud.fabric.items.update({LAKEHOUSE: kind})


def has_role(role: str, client_id: str = CLIENT_ID, kind: str = "ServicePrincipal") -> Change:
    """Somebody has a role in the workspace."""

    def change(cloud: Cloud) -> None:
        principal = {"id": client_id, "type": kind, "servicePrincipalDetails": {"aadAppId": client_id}}
        cloud.fabric.roles = [{"principal": principal, "role": role}]

    return change


def refused(part: str, status: int, code: str) -> Change:
    """Fabric or Resource Manager refuses some path."""

    def change(cloud: Cloud) -> None:
        body = {"error": {"code": code, "message": "no"}, "errorCode": code, "message": "no"}
        cloud.arm.refuses[part] = cloud.fabric.refuses[part] = (status, body)

    return change


SUBSCRIPTION = "Microsoft.EventGrid/systemTopics/eventSubscriptions"
ROLE = f"role in workspace {WORKSPACE}"
BLOCKED = State(hold=Blocked(since=NOW, reason="InsufficientPrivileges: no", probe_at=NOW))

CASES: dict[str, tuple[Change, str, str, str]] = {
    "no item": (lambda cloud: cloud.fabric.items.clear(), "item of sales", "ItemNotFound", "correct the ids"),
    "no lakehouse": (is_a("Notebook"), "item of sales", "is a Notebook, no Lakehouse", "name a lakehouse"),
    "viewer": (has_role("Viewer"), ROLE, "is Viewer", "as Contributor"),
    "no role": (has_role("Admin", "somebody-else"), ROLE, "has none", "as Contributor"),
    "perhaps by a group": (has_role("Member", "g", "Group"), ROLE, "a group may have one", "as Contributor"),
    "no right to see roles": (refused(f"{WORKSPACE}/roleAssignments", 403, "X"), ROLE, "could not look", "as Member"),
    "blocked": (lambda cloud: cloud.knows(BLOCKED), "last run of sales", "InsufficientPrivileges", "unstale resume"),
    "never ran": (
        lambda cloud: cloud.knows(State()),
        "last run of sales",
        "none has succeeded",
        "unstale refresh sales",
    ),
    "no queue": (gone("queues/unstale-wakes-poison"), "queues", "unstale-wakes-poison", "deploy"),
    "no table": (gone("tables/unstale"), "state table", "there is none", "deploy"),
    "no container": (gone("containers/dead-letters"), "dead-letter container", "there is none", "deploy"),
    "no app": (gone("Microsoft.Web/sites"), "function app", "no app in the resource group", "deploy"),
    "stopped": (
        properties("Microsoft.Web/sites", state="Stopped"),
        "function app",
        "Stopped",
        "az functionapp start --resource-group unstale",
    ),
    "not published": (gone("/functions/"), "function app", "no function events", "publish build/azure.zip"),
    "switched off": (
        properties("Microsoft.Web/sites/functions", isDisabled=True),
        "function app",
        "no function events",
        "publish",
    ),
    "no host role": (
        ungranted(APP, "storageaccounts"),
        "roles of the app",
        "is not Storage Blob Data Owner",
        "az role",
    ),
    "no topic": (gone("Microsoft.EventGrid"), "system topic of contosolake", "there is none", "placements"),
    "topic without identity": (
        without_identity,
        "system topic of contosolake",
        "no system-assigned identity",
        "az eventgrid system-topic update --identity systemassigned -g contoso-lake",
    ),
    "no account": (gone("storageAccounts/contosolake"), "system topic of contosolake", "in none of the", "deploy"),
    "no subscription": (gone("/eventSubscriptions/"), "events of contosolake", "no subscription", "deploy"),
    "another prefix": (
        filtered(subjectBeginsWith="/blobServices/default/containers/sales/blobs/orders/2026"),
        "events of contosolake",
        "no filter lets through sales/orders/*.parquet",
        "unstale infra azure --write",
    ),
    "another suffix": (filtered(subjectEndsWith=".json"), "events of contosolake", "no filter", "unstale infra"),
    "case": (
        filtered(isSubjectCaseSensitive=True, subjectEndsWith=".PARQUET"),
        "events of contosolake",
        "no filter",
        "unstale infra",
    ),
    "fewer types": (
        filtered(includedEventTypes=["Microsoft.Storage.BlobDeleted"]),
        "events of contosolake",
        "no filter",
        "unstale infra",
    ),
    "directories by prefix": (
        filtered(DIRECTORIES, subjectBeginsWith="/blobServices/default/containers/sales/blobs/orders/"),
        "events of contosolake",
        "no filter lets through renamed directories of sales",
        "unstale infra azure --write",
    ),
    "directories by suffix": (
        filtered(DIRECTORIES, subjectEndsWith=".parquet"),
        "events of contosolake",
        "no filter lets through renamed directories of sales",
        "unstale infra azure --write",
    ),
    "one subscription for all, as an older template has it": (
        filtered(DIRECTORIES, subjectEndsWith=".parquet", includedEventTypes=[*FILES, *DIRECTORIES]),
        "events of contosolake",
        "no filter lets through renamed directories of sales",
        "unstale infra azure --write",
    ),
    "advanced filters": (
        filtered(advancedFilters=[{"operatorType": "StringIn", "key": "data.api", "values": ["PutBlob"]}]),
        "events of contosolake",
        "no filter",
        "unstale infra",
    ),
    "failed subscription": (
        properties(SUBSCRIPTION, provisioningState="Failed"),
        "events of contosolake",
        "is Failed",
        "deploy",
    ),
    "no dead letters": (
        properties(SUBSCRIPTION, deadLetterWithResourceIdentity=None),
        "events of contosolake",
        "no place for dead letters",
        "deploy",
    ),
    "may not deliver": (
        ungranted(TOPIC, "queues/"),
        "roles of the topic of contosolake",
        "is not Storage Queue Data Message Sender of unstale-events",
        "az role assignment create --role 'Storage Queue Data Message Sender'",
    ),
    "may not bury": (
        ungranted(TOPIC, "containers/"),
        "roles of the topic of contosolake",
        "is not Storage Blob Data Contributor of dead-letters",
        "az role assignment create",
    ),
    "may not look": (
        refused("/systemTopics", 403, "AuthorizationFailed"),
        "system topic of contosolake",
        "could not look: AuthorizationFailed",
        "as Reader",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_whatever_is_missing_is_named_with_its_cure(cloud: Cloud, case: tuple[Change, str, str, str]) -> None:
    """One thing is wrong: it is said which, and what to do; the rest is well, and the exit code is 1."""
    change, what, says, cure = case
    change(cloud)
    found = cloud.finds()
    assert [name for name, each in found.items() if not each["well"]] == [what]
    assert says in found[what]["found"]
    assert cure in found[what]["cure"]


def test_a_dataflow_is_for_users_only(cloud: Cloud) -> None:
    """The documents let no principal start it: said before anything fails, with who is configured."""
    cloud.config.write_text(
        f'[targets.flow]\nkind = "fabric-item-job"\nworkspace = "{WORKSPACE}"\nitem = "{FLOW}"\njob_type = "Execute"\n',
        encoding="utf-8",
    )
    cloud.fabric.items[FLOW] = "Dataflow"
    cloud.knows(State(fresh_as_of=NOW))
    found = cloud.finds()
    assert [name for name, each in found.items() if not each["well"]] == ["identities for flow"]
    assert found["identities for flow"]["found"] == "user (in preview); configured: managed-identity"
    assert 'fabric.identity = "user"' in found["identities for flow"]["cure"]


def test_onelake_needs_an_event_hub(cloud: Cloud) -> None:
    """What lands in OneLake comes through an eventstream only."""
    cloud.config.write_text(CONFIG.replace("on = [", TABLE.replace("Tables/a", "Files/a")), encoding="utf-8")
    found = cloud.finds()
    assert "eventstream" in found["OneLake's events"]["cure"]
    assert found["source Files/a of sales"]["found"] == "cannot be looked at: files, of which only events tell"


def test_tables_are_read_in_onelake(cloud: Cloud) -> None:
    """One look at each, as the person who asks; and then no eventstream is a must, for looks find what lands there."""
    cloud.config.write_text(CONFIG.replace("on = [", TABLE), encoding="utf-8")
    cloud.onelake.append(WORKSPACE, FLOW, "Tables/a")
    found = cloud.finds()
    assert all(each["well"] for each in found.values()), found
    assert found["source Tables/a of sales"]["found"].startswith("version 0, since ")
    assert "looks find it" in found["OneLake's events"]["found"]
    cloud.onelake.faults.add(Refuse("Forbidden"), "look")
    found = cloud.finds()
    assert "OneLake data role" in found["Tables/a"]["cure"]
    cloud.onelake.delete(WORKSPACE)
    found = cloud.finds()
    assert "Contributor" in found["source Tables/a of sales"]["cure"]


def test_a_signed_in_user_opens_no_onelake(cloud: Cloud) -> None:
    """The consent is to Fabric alone, so the function cannot look: said, with what to do."""
    configured(cloud, "user")
    text = cloud.config.read_text(encoding="utf-8")
    cloud.config.write_text(text.replace("on = [", TABLE), encoding="utf-8")
    assert "signed-in user does not open OneLake" in cloud.finds()["Tables/a"]["found"]


# --- As the identity itself, where this machine can be it

SECRET = "a-secret-of-the-app"
PRINCIPAL = App(CLIENT_ID, "0a4f1c2e-0000-4000-8000-00000000000d", secret=SECRET)
ASSIGNED = Identity(CLIENT_ID, APP, resource_id="/subscriptions/s/identities/unstale")


@pytest.fixture(name="entra")
def a_tenant(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """Entra on loopback, whose tokens Fabric takes beside the person's."""
    with Entra(lambda: datetime.now(UTC), apps=[PRINCIPAL], identities=[ASSIGNED]) as entra:
        person = cloud.fabric.lets_in
        cloud.fabric.lets_in = lambda text: person(text) or isinstance(entra.tokens.validate(text, {FABRIC}), Caller)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", entra.certificate)
        monkeypatch.setenv("UNSTALE_AUTHORITY", entra.authority)
        for name, value in entra.identity_environment.items():
            monkeypatch.setenv(name, value)
        yield entra


def configured(cloud: Cloud, identity: str) -> None:
    """As whom Fabric is called."""
    cloud.config.write_text(f'[fabric]\nidentity = "{identity}"\n{CONFIG}', encoding="utf-8")


IDENTITIES = ("managed-identity", "service-principal")


@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_call_as_the_identity_shows_whether_it_succeeds(
    cloud: Cloud, entra: Entra, monkeypatch: pytest.MonkeyPatch, identity: str
) -> None:
    """With the token that the function would have: item and runs are read, nothing is started."""
    configured(cloud, identity)
    monkeypatch.setenv("UNSTALE_CLIENT_SECRET", SECRET)
    found = cloud.finds()
    assert all(each["well"] for each in found.values()), found
    assert found[f"call as the {identity} for sales"]["found"] == "succeeds, 1 runs are listed"
    assert [request.audience for request in entra.token_requests] == [FABRIC]


REFUSALS = [
    (401, {"errorCode": "Unauthorized", "message": "The caller is not authenticated"}, "tenant setting"),
    (403, {"errorCode": "InsufficientPrivileges", "message": "no"}, "Contributor of the workspace"),
    (403, None, "tenant setting"),
    (404, {"errorCode": "ItemNotFound", "message": "no"}, "Contributor of the workspace"),
    (400, {"errorCode": "X", "message": "The operation is not supported for the principal type"}, '"user"'),
    (500, {"errorCode": "UnknownError", "message": "no"}, "try again"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal[0]} {refusal[2]}")
def test_a_refusal_of_the_identity_names_setting_or_role(
    cloud: Cloud, entra: Entra, refusal: tuple[int, Any, str]
) -> None:
    """What an administrator of Fabric, or of the workspace, has to do."""
    status, body, cure = refusal
    cloud.fabric.refuses["/jobs/instances"] = (status, body)
    found = cloud.finds()
    what = "call as the managed-identity for sales"
    assert [name for name, each in found.items() if not each["well"]] == [what]
    assert cure in found[what]["cure"]


def test_a_user_who_is_not_signed_in_is_no_traceback(cloud: Cloud) -> None:
    """It is said that nobody is; who may start the job is looked up all the same, and it is a user."""
    configured(cloud, "user")
    found = cloud.finds()
    assert [name for name, each in found.items() if not each["well"]] == ["sign-in"]
    assert "unstale login" in found["sign-in"]["cure"]
    assert found["identities for sales"]["found"].endswith("configured: user")


def test_an_identity_that_gets_no_token_is_no_traceback(
    cloud: Cloud, entra: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong secret: said, with Entra's words and what to look at; the person's eyes do for the rest."""
    configured(cloud, "service-principal")
    monkeypatch.setenv("UNSTALE_CLIENT_SECRET", "a-wrong-secret-of-the-app")
    found = cloud.finds()
    assert "UNSTALE_CLIENT_SECRET" in found["token of the service-principal"]["cure"]
    assert found["item of sales"]["well"]


def test_with_an_event_hub_its_own_roles_are_looked_at(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic sends to the hub, the app receives from it, and the function for it is there."""
    monkeypatch.setenv("UNSTALE_EVENTS__fullyQualifiedNamespace", "unstale-x.servicebus.windows.net")
    namespace = "/subscriptions/s/resourceGroups/unstale/providers/Microsoft.EventHub/namespaces/unstale-x"
    hub = f"{namespace}/eventhubs/unstale-events"
    destination = {"endpointType": "EventHub", "properties": {"resourceId": hub}}
    for subscription in cloud.arm.of_type(SUBSCRIPTION):
        subscription["properties"]["deliveryWithResourceIdentity"]["destination"] = destination
    ill = {name: each["cure"] for name, each in cloud.finds().items() if not each["well"]}
    assert set(ill) == {"function app", "roles of the topic of contosolake", "roles of the app at unstale-events"}
    assert f"--role 'Azure Event Hubs Data Sender' --scope {hub} " in ill["roles of the topic of contosolake"]
    assert f"--role 'Azure Event Hubs Data Receiver' --scope {namespace} " in ill["roles of the app at unstale-events"]
    [site] = cloud.arm.of_type("Microsoft.Web/sites")
    cloud.arm.add({"id": f"{site['id']}/functions/stream", "type": "Microsoft.Web/sites/functions"})
    cloud.arm.grants += [(role, TOPIC, hub.lower()) for role in live_azure.STREAMS]
    cloud.arm.grants += [(role, APP, namespace.lower()) for role in live_azure.RECEIVES]
    assert all(each["well"] for each in cloud.finds().values())


def test_where_event_grid_calls_the_function_it_must_be_there(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only there: without push the package has no such function, and nobody misses it."""
    monkeypatch.setenv("UNSTALE_PUSH", "true")
    assert "no function event_grid" in cloud.finds()["function app"]["found"]
    [site] = cloud.arm.of_type("Microsoft.Web/sites")
    cloud.arm.add({"id": f"{site['id']}/functions/event_grid", "type": "Microsoft.Web/sites/functions"})
    assert cloud.finds()["function app"]["well"]


def test_roles_are_those_of_the_identity_that_the_app_works_as(cloud: Cloud) -> None:
    """The site has a second one, for its package, which comes first or last; its roles are not looked for."""
    [site] = cloud.arm.of_type("Microsoft.Web/sites")
    assigned = site["identity"]["userAssignedIdentities"]
    assert len(assigned) == 2
    site["identity"]["userAssignedIdentities"] = dict(reversed(assigned.items()))
    assert cloud.finds()["roles of the app"]["well"]


def test_a_storage_account_of_another_cloud_is_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasted from another deployment: tokens are asked for one cloud, and the account lies in another."""
    monkeypatch.delenv("UNSTALE_STORAGE")
    for kind in ("table", "queue"):
        monkeypatch.setenv(f"UNSTALE_STORAGE__{kind}ServiceUri", f"https://unstalex.{kind}.core.usgovcloudapi.net")
    ours = variables.read(os.environ)
    [told] = live_azure._cloud(ours)
    assert "unstalex.table.core.usgovcloudapi.net is in the cloud usgov" in told.found
    monkeypatch.setenv("UNSTALE_CLOUD", "usgov")
    assert list(live_azure._cloud(variables.read(os.environ))) == []


def test_resource_manager_is_the_one_of_the_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address and the audience of its tokens."""
    monkeypatch.setenv("UNSTALE_CLOUD", "usgov")
    cloud.arm.lets_in = lambda authorization: authorization.endswith("usgovcloudapi.net")
    cloud.finds()
    assert {token for _, token in cloud.arm.asked} == {"Bearer token-for-https://management.usgovcloudapi.net"}
    assert {token for _, token in cloud.fabric.asked} == {"Bearer token-for-https://api.fabric.microsoft.us"}


def test_before_the_deployment_it_says_so(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fabric is looked at all the same, and the next step is to deploy."""
    monkeypatch.delenv("UNSTALE_STORAGE")
    found = cloud.finds()
    files = "source blobs of contosolake/sales/orders/ of sales"
    assert list(found) == ["item of sales", "identities for sales", ROLE, files, "deployment"]
    assert "output environment" in found["deployment"]["cure"]


def test_no_sign_in_is_no_traceback(cloud: Cloud, tmp_path: Path) -> None:
    """Nobody could look, and what to do is said; nothing was sent."""
    (tmp_path / "az").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    found = cloud.finds()
    assert list(found) == ["caller"]
    assert "az login" in found["caller"]["cure"]
    assert not cloud.arm.asked
    assert not cloud.fabric.asked


@pytest.mark.parametrize("variable", ["UNSTALE_MANAGEMENT_URL", "UNSTALE_FABRIC_URL"])
def test_tokens_leave_for_safe_addresses_only(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    """Plain http is for loopback, as for every other address: that is told, and nothing is asked."""
    monkeypatch.setenv(variable, "http://management.test")
    assert main(["check", "--live", "--config", str(cloud.config)]) == 1
    assert f"{variable} is at http://management.test" in capsys.readouterr().out
    assert not cloud.arm.asked
    assert not cloud.fabric.asked


def test_the_table_shows_what_is_missing_and_how_to_mend_it(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """For people."""
    gone("tables/unstale")(cloud)
    assert main(["check", "--live", "--config", str(cloud.config)]) == 1
    out = capsys.readouterr().out
    assert "MISSING" in out
    assert "  cure: deploy: az deployment group create" in out


def test_roles_are_those_of_the_template() -> None:
    """What is looked for is what roles.bicep grants, by id; and the event types are those of the subscriptions."""
    text = (Path(__file__).parents[3] / "infra/azure/roles.bicep").read_text(encoding="utf-8")
    of_the_hub = {*live_azure.STREAMS, *live_azure.RECEIVES}
    looked_for = {*live_azure.HOST_ROLES, *live_azure.SENDS, *live_azure.BURIES, *of_the_hub}
    assert all(role in text for role in looked_for)
    assert function_names() >= live_azure.FUNCTIONS
    kinds = {frozenset(each["properties"]["filter"]["includedEventTypes"]) for each in Arm("u0").of_type(SUBSCRIPTION)}
    assert kinds == {live_azure.FILE_TYPES, live_azure.DIRECTORY_TYPES}
