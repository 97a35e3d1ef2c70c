"""The ends of runs as OpenLineage's RunEvents, with the versions of what was read and written where looking knows them.

https://openlineage.io/spec/2-0-2/OpenLineage.json; how datasets are named: https://openlineage.io/docs/spec/naming
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from shared.outcomes.events import OutcomeEvent
from shared.targets import GlueView, ItemJob, Resource

PRODUCER = "urn:unstale"
"""Maker of the events; a name, since there is no address at which a version of this product could be looked up."""
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = "https://openlineage.io/spec/facets/"

EVENT_TYPES = {"refreshed": "COMPLETE", "failed": "FAIL", "aborted": "ABORT"}
"""Lineage's words for the ends of runs."""


def run_event(outcome: OutcomeEvent) -> dict[str, Any]:
    """The RunEvent of a run that ended."""
    run = outcome.run
    facets: dict[str, Any] = {}
    if run and run.error:
        error = {"message": run.error, "programmingLanguage": "none"}
        facets["errorMessage"] = _facet("1-0-1/ErrorMessageRunFacet", error)
    job_type = {"processingType": "BATCH", "integration": "UNSTALE", "jobType": "REFRESH"}
    namespace, name = _dataset(outcome.target.resource)
    return {
        "eventType": EVENT_TYPES[outcome.kind],
        "eventTime": msgspec.to_builtins(outcome.at),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": run_id(run.token if run else outcome.id), "facets": facets},
        "job": {
            "namespace": outcome.source,
            "name": outcome.target.name,
            "facets": {"jobType": _facet("2-0-4/JobTypeJobFacet", job_type)},
        },
        "inputs": [
            {"namespace": namespace, "name": title, "facets": _version(version)}
            for title, version in (run.versions if run else {}).items()
        ],
        "outputs": [{"namespace": namespace, "name": name, "facets": _version(_written_version(outcome))}],
    }


def run_id(token: str) -> str:
    """A UUID, which lineage wants for a run: a claim's token is one without hyphens, another token gives its digest."""
    digits = token if len(token) == _DIGITS and not set(token) - set("0123456789abcdef") else _digest(token)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


_DIGITS = 32
"""Hexadecimal digits of a UUID."""


def _digest(token: str) -> str:
    """The digits of a UUID of version 8, which is for whoever makes his own (RFC 9562, 5.8)."""
    digits = hashlib.sha256(token.encode()).hexdigest()
    return f"{digits[:12]}8{digits[13:16]}8{digits[17:_DIGITS]}"


def _written_version(outcome: OutcomeEvent) -> str:
    """The version of the view after the run, which only a proof names."""
    token = outcome.run.token if outcome.run else ""
    return token.removeprefix("view-") if token.startswith("view-") else ""


def _dataset(resource: Resource) -> tuple[str, str]:
    """Namespace and name of what a refresh writes."""
    if isinstance(resource, GlueView):
        return f"glue://{resource.catalog_id}", f"{resource.database}.{resource.table}"
    item = resource.item if isinstance(resource, ItemJob) else resource.lakehouse
    return f"abfss://{resource.workspace}@onelake.dfs.fabric.microsoft.com", f"/{item}"


def _version(version: str) -> dict[str, Any]:
    return {"version": _facet("1-0-1/DatasetVersionDatasetFacet", {"datasetVersion": version})} if version else {}


def _facet(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    schema = name.rpartition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{FACETS}{name}.json#/$defs/{schema}", **fields}
