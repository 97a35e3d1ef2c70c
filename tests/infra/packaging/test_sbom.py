"""The list of parts that goes with each package: whole, valid, and the same whenever it is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.packaging import aws, azure, sbom
from shared.version import VERSION
from tests.support.locks import pins


@pytest.fixture(name="folder", scope="module", params=[aws.LOCK, azure.LOCK], ids=["aws", "azure"])
def a_package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lock, and a folder with what it names: the metadata alone, as a package keeps it."""
    folder = tmp_path_factory.mktemp("libraries")
    for name, version in pins(request.param):
        about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n"
        (about / "METADATA").write_text(metadata, encoding="utf-8")
    return request.param, folder


@pytest.fixture(name="parts")
def the_list(folder: tuple[Path, Path]) -> dict[str, Any]:
    """The list of the package, decoded."""
    lock, libraries = folder
    return json.loads(sbom.make("unstale", lock.read_text(encoding="utf-8"), libraries))


def test_it_is_valid_and_never_varies(folder: tuple[Path, Path]) -> None:
    """By the schema of CycloneDX 1.6, which tools read; made twice, the bytes are the same."""
    lock, libraries = folder
    text = sbom.make("unstale", lock.read_text(encoding="utf-8"), libraries)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert sbom.make("unstale", lock.read_text(encoding="utf-8"), libraries) == text


def test_it_names_each_library_of_the_lock(folder: tuple[Path, Path], parts: dict[str, Any]) -> None:
    """With version, licence, and the address by which scanners look it up."""
    found = {(each["name"], each["version"]) for each in parts["components"]}
    assert found == set(pins(folder[0]))
    for each in parts["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        assert each["licenses"] == [{"license": {"id": "MIT"}}]


def test_each_library_is_wanted_by_something(parts: dict[str, Any]) -> None:
    """From ourselves, in our version, a chain of wants reaches all of them."""
    assert parts["metadata"]["component"]["version"] == VERSION
    wants = {each["ref"]: each.get("dependsOn", []) for each in parts["dependencies"]}
    reached, waiting = set[str](), [sbom.OURS]
    while waiting:
        reference = waiting.pop()
        waiting += [each for each in wants[reference] if each not in reached]
        reached.add(reference)
    assert reached == {sbom.OURS, *(each["bom-ref"] for each in parts["components"])}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: Apache-2.0 OR BSD-3-Clause\n", {"expression": "Apache-2.0 OR BSD-3-Clause"}),
        ("License: Apache-2.0\n", {"license": {"id": "Apache-2.0"}}),
        ("License: " + "The whole text. " * 9 + "\n", None),
        ("Classifier: License :: OSI Approved :: BSD License\n", {"license": {"name": "BSD License"}}),
        ("", None),
    ],
)
def test_a_licence_is_what_the_metadata_says(tmp_path: Path, metadata: str, expected: dict[str, Any] | None) -> None:
    """An expression, a short name, or a classifier; a whole licence text is none."""
    about = tmp_path / "some_part-1.0.dist-info"
    about.mkdir()
    text = f"Metadata-Version: 2.1\nName: Some.Part\nVersion: 1.0\n{metadata}"
    (about / "METADATA").write_text(text, encoding="utf-8")
    lock = "some-part==1.0 \\\n    --hash=sha256:00\n    # via unstale (pyproject.toml)\n"
    [part] = json.loads(sbom.make("unstale", lock, tmp_path))["components"]
    assert part.get("licenses") == (None if expected is None else [expected])
