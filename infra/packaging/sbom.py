"""The list of parts (SBOM, CycloneDX 1.6) that goes with a package and into it, for scanners of vulnerabilities.

It is made of the lock, which says what is in a package and which part wants which, and of the metadata that each part
brings, which names its licence. No time and no chance is in it, so that a package stays the same byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from shared.version import VERSION

NAME: Final = "sbom.cdx.json"
"""The file's name: scanners look for `*.cdx.json`."""

EPOCH: Final = datetime(1980, 1, 1, tzinfo=UTC)
"""The format demands a time of making; this is the one that each file of the zip has, too."""

OURS: Final = "unstale"
LONGEST_NAME: Final = 64
"""Characters of a licence's name. What is longer is the licence itself: some libraries write all of it there."""


def put(title: str, lock: Path, libraries: Path, folder: Path) -> None:
    """Write the list into a package's folder, and beside it under the package's name: build/aws.cdx.json."""
    parts = make(title, lock.read_text(encoding="utf-8"), libraries)
    for file in (folder / NAME, folder.with_suffix(".cdx.json")):
        file.write_text(parts, encoding="utf-8")


class Locked(NamedTuple):
    """An entry of a lock: a distribution, and what wants it."""

    name: str
    version: str
    wanted_by: tuple[str, ...]


def read_lock(lock: str) -> list[Locked]:
    """Read a lock as uv writes it: `name==version`, hashes, and the names of its parents behind `# via`."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return [_entry(block) for block in blocks if "==" in block]


def _entry(block: str) -> Locked:
    name, version = re.findall(r"^([\w.-]+)==([\w.]+)", block)[0]
    parents = re.findall(r"^ +#(?: via)? +([\w.-]+)(?: \(.*\))?$", block, flags=re.MULTILINE)
    # What `make lock` adds to the names in pyproject.toml has no parent there.
    return Locked(name, version, tuple(each for each in parents if each != "via") or (OURS,))


def make(title: str, lock: str, libraries: Path) -> str:
    """Make the list of parts of a package: `title` names the package, `libraries` is where its distributions are."""
    ours = Component(name=title, version=VERSION, type=ComponentType.APPLICATION, bom_ref=OURS)
    # By name as locks have it (PEP 503).
    installed = {re.sub("[-_.]+", "-", each.name).lower(): each for each in distributions(path=[str(libraries)])}
    entries = read_lock(lock)
    parts = {each.name: _part(each, installed.get(each.name)) for each in entries}
    bom = Bom(components=parts.values(), serial_number=uuid5(NAMESPACE_URL, f"{title} {VERSION}\n{lock}"))
    bom.metadata.timestamp, bom.metadata.component = EPOCH, ours
    whole = {OURS: ours, **parts}
    for parent, part in whole.items():
        bom.register_dependency(part, [parts[each.name] for each in entries if parent in each.wanted_by])
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _part(entry: Locked, installed: Distribution | None) -> Component:
    """A library, by its address in PyPI (purl): what a scanner looks up."""
    return Component(
        name=entry.name,
        version=entry.version,
        bom_ref=f"{entry.name}=={entry.version}",
        purl=PackageURL("pypi", name=entry.name, version=entry.version),
        licenses=_licenses(installed) if installed else (),
    )


def _licenses(installed: Distribution) -> Iterator[License]:
    """Licenses by the metadata: an SPDX expression (PEP 639), else a short name, else what the classifiers name."""
    told = installed.metadata
    names = [told.get("License-Expression"), told.get("License")]
    short = next((name for name in names if name and len(name) <= LONGEST_NAME and "\n" not in name), None)
    classifiers = (each for each in told.get_all("Classifier") or () if each.startswith("License ::"))
    name = short or next(classifiers, "").rpartition(" :: ")[2]
    if name:
        yield LicenseFactory().make_from_string(name)
