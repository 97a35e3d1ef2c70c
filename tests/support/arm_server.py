"""Resource Manager and Fabric on loopback, for `check --live`: they answer what the deployment's snapshot holds.

The resources are those that the Bicep compiler predicts for the example configuration, so their properties are named as
Azure's types name them; what only the cloud knows (principals, states) is filled in. Lists come one object a page, and
the next page's address is on another host, as a mistake or an attacker would have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from local.emulators.http_server import Answer, LoopbackServer, Request

SNAPSHOT = Path(__file__).parents[2] / "infra" / "azure" / "main.snapshot.json"
SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
TENANT = "00000000-0000-4000-8000-00000000000e"
APP, TOPIC = "0a4f1c2e-0000-4000-8000-00000000000a", "0a4f1c2e-0000-4000-8000-00000000000b"
PACKAGE = "0a4f1c2e-0000-4000-8000-00000000000d"
CLIENT_ID = "0a4f1c2e-0000-4000-8000-00000000000c"
ASSIGNED = re.compile(r"atScope\(\) and assignedTo\('([^']*)'\)")
NAMED = re.compile(r"resourceType eq 'Microsoft\.Storage/storageAccounts' and name eq '([^']*)'")
ELSEWHERE = "https://elsewhere.test"


def answer(status: int, body: Any) -> Answer:
    """JSON."""
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


class Server:
    """What both have in common: whom they let in, what they were asked."""

    def __init__(self, audience: str) -> None:
        self.lets_in: Callable[[str], bool] = {f"Bearer token-for-{audience}"}.__contains__
        self.asked: list[tuple[str, str]] = []
        self.refuses: dict[str, tuple[int, Any]] = {}

    def respond(self, request: Request) -> Answer:
        """GET only, with the token of this audience only."""
        assert request.method == "GET", f"check --live changes nothing: {request.method} {request.path}"
        authorization = request.headers.get("authorization", "")
        self.asked.append((request.path, authorization))
        if not self.lets_in(authorization):
            return answer(HTTPStatus.UNAUTHORIZED, {"error": {"code": "InvalidAuthenticationToken", "message": "no"}})
        for part, (status, body) in self.refuses.items():
            if part in request.path:
                return answer(status, body)
        return self.answered(request.path, dict(request.query))

    def answered(self, path: str, query: Mapping[str, str]) -> Answer:
        """The API's own part."""
        raise NotImplementedError


class Arm(Server):
    """Resource Manager, with what `main.bicep` deploys; a test changes `resources` and `grants`."""

    def __init__(self, storage_account: str) -> None:
        super().__init__("https://management.azure.com")
        text = SNAPSHOT.read_text(encoding="utf-8")
        [deployed] = set(re.findall(r"storageAccounts/(unstale\w+)", text))
        predicted = json.loads(text.replace(deployed, storage_account))["predictedResources"]
        self.grants = [_grant(each) for each in predicted if each["type"].endswith("/roleAssignments")]
        self.resources = {each["id"].lower(): each for each in predicted if each["id"].startswith("/")}
        [topic], [site] = self.of_type("Microsoft.EventGrid/systemTopics"), self.of_type("Microsoft.Web/sites")
        topic["identity"]["principalId"] = TOPIC
        assigned = site["identity"]["userAssignedIdentities"]
        assigned[site["properties"]["keyVaultReferenceIdentity"]] |= {"principalId": APP, "clientId": CLIENT_ID}
        [package] = [each for name, each in assigned.items() if name.endswith("-package")]
        package["principalId"] = PACKAGE
        site["properties"]["state"] = "Running"
        where = f"https://{storage_account}.blob.core.windows.net/package"
        site["properties"]["functionAppConfig"]["deployment"]["storage"]["value"] = where
        for name in ("events", "wakes", "tick", "refresh"):
            self.add({"id": f"{site['id']}/functions/{name}", "type": "Microsoft.Web/sites/functions"})
        self.add({"id": topic["properties"]["source"], "type": "Microsoft.Storage/storageAccounts"})

    def add(self, resource: dict[str, Any]) -> None:
        """One more; it has the name that its id says."""
        parts = resource["id"].split("/providers/")[-1].split("/")
        self.resources[resource["id"].lower()] = {"name": "/".join(parts[2::2]), "properties": {}} | resource

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Those of one type."""
        return [each for each in self.resources.values() if each["type"].lower() == kind.lower()]

    def answered(self, path: str, query: Mapping[str, str]) -> Answer:
        """A list, a look-up, a resource, or that there is none."""
        assert query.get("api-version"), f"{path} without api-version"
        found = self._listed(path.lower(), query.get("$filter", ""))
        if found is not None:
            return _page(path, query, found)
        if path.lower() in self.resources:
            return answer(HTTPStatus.OK, _told(self.resources[path.lower()]))
        error = {"code": "ResourceNotFound", "message": f"The Resource '{path}' was not found."}
        return answer(HTTPStatus.NOT_FOUND, {"error": error})

    def _listed(self, path: str, wanted: str) -> list[dict[str, Any]] | None:
        if path == "/subscriptions":
            return [{"subscriptionId": SUBSCRIPTION, "tenantId": TENANT, "displayName": "data"}]
        if path.endswith("/resources"):
            named = NAMED.fullmatch(wanted)
            assert named, wanted
            accounts = self.of_type("Microsoft.Storage/storageAccounts")
            return [each for each in accounts if each["id"].endswith(f"/{named[1]}")]
        if path.endswith("/providers/microsoft.authorization/roleassignments"):
            return self._grants(path.removesuffix("/providers/microsoft.authorization/roleassignments"), wanted)
        scope, _, kind = path.partition("/providers/")
        if len(kind.split("/")) % 2 == 0:
            return [each for identity, each in self.resources.items() if _is_in(identity, scope, kind)]
        return None

    def _grants(self, scope: str, wanted: str) -> list[dict[str, Any]]:
        named = ASSIGNED.fullmatch(wanted)
        assert named, wanted
        return [
            {
                "id": "x",
                "properties": {"roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role}"},
            }
            for role, principal, there in self.grants
            if principal == named[1] and scope.startswith(there)
        ]


def _is_in(identity: str, scope: str, kind: str) -> bool:
    """Whether a resource is of this collection, directly; a list over a subscription passes over resource groups."""
    parent, _, _ = identity.rpartition("/")
    return identity.startswith(scope) and parent.endswith(f"/providers/{kind}")


def _grant(resource: Mapping[str, Any]) -> tuple[str, str, str]:
    """Role, principal and scope of a predicted assignment."""
    scope = re.search(r"extensionResourceId\('([^']*)'", resource["id"])
    assert scope
    principal = resource["properties"]["principalId"]
    whose = PACKAGE if "/unstale-package'" in principal else APP if "userAssignedIdentities" in principal else TOPIC
    return resource["properties"]["roleDefinitionId"].rpartition("/")[2], whose, scope[1].lower()


def _told(resource: Mapping[str, Any]) -> dict[str, Any]:
    """As Azure names it: queues and tables and subscriptions by their own name, functions by `app/function`."""
    name = resource["name"] if resource["type"].endswith("/functions") else resource["name"].rpartition("/")[2]
    return {**resource, "name": name}


def _page(path: str, query: Mapping[str, str], found: list[dict[str, Any]]) -> Answer:
    at = int(query.get("$skiptoken", "0"))
    value = [_told(each) if "type" in each else each for each in found[at : at + 1]]
    more = {**query, "$skiptoken": str(at + 1)}
    following = {"nextLink": f"{ELSEWHERE}{path}?{urlencode(more)}"} if at + 1 < len(found) else {}
    return answer(HTTPStatus.OK, {"value": value, **following})


class Fabric(Server):
    """Items, their job instances, and who has which role in a workspace."""

    def __init__(self) -> None:
        super().__init__("https://api.fabric.microsoft.com")
        self.items: dict[str, str] = {}
        self.workspaces: dict[str, str] = {}
        self.lakehouses: dict[str, str] = {}
        self.roles: list[dict[str, Any]] = [_assignment("Contributor", CLIENT_ID)]

    def answered(self, path: str, query: Mapping[str, str]) -> Answer:
        """By the end of the path."""
        if path.endswith("/workspaces"):
            return _page(path, query, [{"id": key, "displayName": name} for key, name in self.workspaces.items()])
        if path.endswith("/lakehouses"):
            return _page(path, query, [{"id": key, "displayName": name} for key, name in self.lakehouses.items()])
        if path.endswith("/roleAssignments"):
            return answer(HTTPStatus.OK, {"value": self.roles})
        if path.endswith("/jobs/instances"):
            return answer(HTTPStatus.OK, {"value": [{"id": APP, "status": "Completed"}]})
        item = path.rpartition("/")[2]
        if item not in self.items:
            return answer(HTTPStatus.NOT_FOUND, {"errorCode": "ItemNotFound", "message": "no such item"})
        workspace = path.split("/")[3]
        found = {"id": item, "displayName": "Sales", "type": self.items[item], "workspaceId": workspace}
        return answer(HTTPStatus.OK, found)


def _assignment(role: str, app_id: str) -> dict[str, Any]:
    principal = {
        "id": APP,
        "displayName": "unstale",
        "type": "ServicePrincipal",
        "servicePrincipalDetails": {"aadAppId": app_id},
    }
    return {"id": APP, "principal": principal, "role": role}


@contextmanager
def serving(*servers: Server) -> Iterator[list[str]]:
    """Their addresses, while they answer."""
    with ExitStack() as stack:
        yield [stack.enter_context(LoopbackServer(each.respond, lambda: datetime.now(UTC))).url for each in servers]
