"""Parameters that the Bicep template takes from the configuration, and the files where it reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from infra.parameters.errors import ParameterError
from shared.config.load import Configuration
from shared.targets import BlobCreated, Cloud, OneLakeChanged
from shared.values import Value

LONGEST_NAME: Final = 20
"""Characters of `name` in main.bicep."""

TAKEN: Final = frozenset({"bicepconfig", "main", "push"})
"""Files of the folder that are something else."""

PARAMETERS: Final = """using 'main.bicep'

// Made once, by `unstale infra azure --write`, and yours from then on; {environment}.json is written each time.
param name = '{name}'
param sources = loadJsonContent('{environment}.json').sources
// Where the source accounts are, if not in the resource group, subscription and region of this deployment.
param placements = {{}}
// Who uses the command line: no key opens the storage, and an owner of the subscription reads no data. As
// {{ principalId: '<object id of a group>', principalType: 'Group' }}
param operators = []
param alertEmail = ''
"""

MOST_FILTERS: Final = 100
"""Event subscriptions that one account gets. A system topic takes 500, and environments share it.

https://learn.microsoft.com/azure/event-grid/quotas-limits
"""

SUBJECT: Final = "/blobServices/default/containers/"
"""https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage"""


class Filter(Value, frozen=True, order=True):
    """A filter by how the subject of an event begins and ends."""

    begins_with: str
    ends_with: str = ""

    def covers(self, other: Filter) -> bool:
        """Whether all that passes the other passes this one."""
        return other.begins_with.startswith(self.begins_with) and other.ends_with.endswith(self.ends_with)


def check_environment(name: str) -> None:
    """Raise where an environment's name cannot be that of its files."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name) or name in TAKEN:
        raise ParameterError(f"the name of an environment is letters, digits and hyphens, not {name!r}")


def write(parameters: dict[str, Any], environment: str, folder: Path) -> tuple[Path, ...]:
    """Put the parameters where the parameter file of this environment reads them; one that has none gets one."""
    is_default = environment == "default"
    file, own = folder / f"{environment}.json", folder / f"{'main' if is_default else environment}.bicepparam"
    file.write_text(json.dumps(parameters, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if own.exists():
        return (file,)
    name = "unstale" if is_default else f"unstale-{environment}".lower()[:LONGEST_NAME].rstrip("-")
    own.write_text(PARAMETERS.format(name=name, environment=environment), encoding="utf-8")
    return file, own


def inputs(configuration: Configuration) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters, and what their reader should know about them."""
    targets = [target for target in configuration.targets if target.cloud is Cloud.AZURE]
    if not targets:
        raise ParameterError("no target is on Azure (kind = fabric-...), so there is nothing to deploy there")
    sources = {source: None for target in targets for source in target.on}
    notes = list(_notes(configuration, any(isinstance(source, OneLakeChanged) for source in sources)))
    found = []
    for account, blobs in _by_account(sources).items():
        filters, coarser = filters_for(blobs)
        notes += [f"{account}: {coarser}"] if coarser else []
        directories = directories_for(blobs)
        found.append(
            {
                "account": account,
                "filters": [_parameter(each) for each in filters],
                "directories": [_parameter(each) for each in directories],
            }
        )
    return {"sources": found}, tuple(notes)


def _notes(configuration: Configuration, onelake: bool) -> Iterable[str]:  # noqa: FBT001 - one fact, named where it is given
    identity = configuration.fabric.identity
    if identity != "managed-identity":
        yield f'fabric.identity is "{identity}": say so in the parameter fabric, too'
    if onelake:
        yield "OneLake's events come through an eventstream: name its custom endpoint in the parameter stream"
    places = configuration.package(Cloud.AZURE).destinations
    topics = list(dict.fromkeys(each.topic for each in places if each.to == "eventgrid"))
    secrets = list(dict.fromkeys(name for each in places for name in each.secrets))
    if topics:
        yield f"outcome events go to {', '.join(topics)}: name each topic in the parameter tellTopics"
    if secrets:
        yield f"webhooks have the secrets {', '.join(secrets)}: name each in the parameter tellSecrets"


def _by_account(sources: Iterable[object]) -> dict[str, list[BlobCreated]]:
    blobs = [source for source in sources if isinstance(source, BlobCreated)]
    accounts = sorted({blob.account for blob in blobs})
    return {account: [blob for blob in blobs if blob.account == account] for account in accounts}


def _parameter(found: Filter) -> dict[str, str]:
    return {"subjectBeginsWith": found.begins_with, "subjectEndsWith": found.ends_with}


# --- Filters: never finer than what a target names -------------------------------------------------------------------


def filters_for(blobs: Iterable[BlobCreated], most: int = MOST_FILTERS) -> tuple[tuple[Filter, ...], str]:
    """Filters for files, written or renamed, and a note: every event of these sources passes one of the filters.

    The exact filters may be too many for the topic. Coarser ones then take their place, and the note says what passes.
    `most` is one or more.
    """
    named = list(blobs)
    for filters, coarser in (
        (map(_exact, named), ""),
        ((Filter(_container(blob)) for blob in named), "all of each container passes: the exact filters are too many"),
    ):
        found = _fewest(filters)
        if len(found) <= most:
            return found, coarser
    return (Filter(SUBJECT),), "all of the account passes: there are too many containers"


def directories_for(blobs: Iterable[BlobCreated], most: int = MOST_FILTERS) -> tuple[Filter, ...]:
    """Filters for renamed directories: all of each container, because neither suffix nor prefix says which ones count.

    The event names the directory alone. Its files have the suffix, and a renamed parent of the prefix is shorter than
    the prefix. What passes in vain is one message for each rename, which the function ignores.
    """
    found = _fewest(Filter(_container(blob)) for blob in blobs)
    return found if len(found) <= most else (Filter(SUBJECT),)


def _fewest(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    """Drop filters that another filter covers: an event that passes two is delivered twice."""
    distinct = sorted(set(filters))
    return tuple(each for each in distinct if not any(other.covers(each) for other in distinct if other != each))


def _container(blob: BlobCreated) -> str:
    return f"{SUBJECT}{blob.container}/blobs/"


def _exact(blob: BlobCreated) -> Filter:
    """Container, prefix and suffix as one filter, each as far as it is ASCII.

    Event Grid loses some other characters in subjects. The reader (`shared.inbound.eventgrid`) then takes its URL,
    which a filter cannot.
    """
    prefix = re.match(r"[\x00-\x7f]*", blob.prefix)
    suffix = re.search(r"[\x00-\x7f]*\Z", blob.suffix)
    return Filter(_container(blob) + (prefix[0] if prefix else ""), suffix[0] if suffix else "")
