"""What ships is what is tested: the function app's package as the host finds it. What it does: test_azure_worker.py."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from infra.packaging import azure, sbom, stage
from infra.packaging.azure import SITE_PACKAGES
from local.cli import main
from shared.config import compiled, generation
from shared.config.compiled import read_compiled
from shared.config.load import load
from tests.support.azure_worker import one_package  # noqa: F401 - fixture
from tests.support.locks import pins
from tests.support.staged import command, staged_azure

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "unstale.example.toml"
X86_64 = 0x3E
"""EM_X86_64 (elf.h)."""


def machines(package: Path) -> set[int]:
    """For which processors its shared libraries are."""
    libraries = list((package / SITE_PACKAGES).rglob("*.so"))
    assert libraries
    heads = [library.read_bytes()[:20] for library in libraries]
    assert all(head.startswith(b"\x7fELF") for head in heads)
    return {struct.unpack_from("<H", head, 18)[0] for head in heads}


def test_two_packages_of_one_source_differ_in_their_generation_alone(package: Path, tmp_path: Path) -> None:
    """Staging again, elsewhere and later, gives the same bytes, but for the file that says when (rule 12)."""
    again = staged_azure(tmp_path / "elsewhere" / "azure", CONFIG)
    with zipfile.ZipFile(package.with_suffix(".zip")) as one, zipfile.ZipFile(again.with_suffix(".zip")) as other:
        assert one.namelist() == other.namelist()
        assert [name for name in one.namelist() if one.read(name) != other.read(name)] == [generation.FILE]


def test_it_is_laid_out_as_the_host_looks_for_it(package: Path) -> None:
    """The entry and host.json at the root, our packages beside, third-party code where the worker puts it on the path;
    no tests, no other cloud, no command line.
    """
    with zipfile.ZipFile(package.with_suffix(".zip")) as made:
        names = made.namelist()
        assert made.read("unstale.toml") == CONFIG.read_bytes()
        assert read_compiled(made.read(compiled.FILE), CONFIG.read_bytes()) == load(CONFIG.read_bytes())
        assert json.loads(made.read("host.json"))["version"] == "2.0"
    assert names == sorted(names)
    expected = {
        ".python_packages",
        "host.json",
        "function_app.py",
        "shared",
        "functions_azure",
        "unstale.toml",
        compiled.FILE,
        sbom.NAME,
        generation.FILE,
        "roots",
    }
    assert {name.partition("/")[0] for name in names} - {"__pycache__"} == expected
    own = {name for name in names if name.startswith(("shared/", "functions_azure/")) and name.endswith(".py")}
    sources = {f.relative_to(ROOT).as_posix() for p in azure.PACKAGES for f in (ROOT / p).rglob("*.py")}
    assert own == sources - {"functions_azure/function_app.py"}
    third = {name.split("/")[3] for name in names if name.startswith(SITE_PACKAGES.as_posix())}
    assert {"azure", "msal", "requests", "msgspec", "azure_functions_runtime"} <= third
    assert not third & {"bin", "pytest", "moto", "boto3", "botocore", "local", "tests", "functions_aws"}


def test_it_is_as_small_as_it_is_meant_to_be(package: Path) -> None:
    """Parts that no import reaches are left out; one that a library moved is noticed when the package is made."""
    assert package.with_suffix(".zip").stat().st_size < azure.GOAL_BYTES == 12_000_000
    assert not [name for name in azure.UNUSED if (package / SITE_PACKAGES / name).exists()]
    with pytest.raises(stage.PackageError, match="azure/data/tables/aio is not among the libraries"):
        stage.remove_parts(package / SITE_PACKAGES, azure.UNUSED, "the list")


FIRST_EVENT = """
import function_app, sys
from functions_azure import wiring
wiring.shell({"UNSTALE_STORAGE": "AccountName=a;AccountKey=YQ==;DefaultEndpointsProtocol=https"})
import azure.storage.blob, azure.storage.queue, jwt.algorithms, msal, requests
print(sorted(name for name in sys.argv[1:] if name in sys.modules))
"""


def test_a_first_event_waits_for_nothing_that_it_does_not_need(package: Path) -> None:
    """Neither for rules of configurations nor for looks or outcome events; and no library misses what is left out."""
    spared = ("shared.config.load", "shared.config.schema", "shared.sources.looking", "shared.outcomes.sending")
    line, clean = command(package, "-W", "error", "-c", FIRST_EVENT, *spared, path=package / SITE_PACKAGES)
    done = subprocess.run(line, env=clean, cwd=package, check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_its_list_of_parts_names_what_is_in_it(package: Path) -> None:
    """Each distribution of the package is in the list, and nothing else; the same list is in the zip and beside it."""
    told = (package / sbom.NAME).read_bytes()
    found = {(each.metadata["Name"], each.version) for each in distributions(path=[str(package / SITE_PACKAGES)])}
    assert {(normal(each["name"]), each["version"]) for each in json.loads(told)["components"]} == {
        (normal(name), version) for name, version in found
    }
    with zipfile.ZipFile(package.with_suffix(".zip")) as made:
        assert made.read(sbom.NAME) == told
    assert package.with_suffix(".cdx.json").read_bytes() == told


def normal(name: str) -> str:
    """A distribution's name, of which there are several spellings (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_cloud_runs_the_library_that_the_tests_ran(package: Path) -> None:
    """From Python 3.13 on an app runs on the `azure-functions-runtime` that its package carries."""
    [found] = (package / SITE_PACKAGES).glob("azure_functions_runtime-*.dist-info")
    assert found.name == f"azure_functions_runtime-{version('azure-functions-runtime')}.dist-info"
    carried = (package / SITE_PACKAGES / "azure_functions_runtime" / "version.py").read_text(encoding="utf-8")
    assert version("azure-functions-runtime") in carried


@pytest.mark.skipif(os.uname().machine != "x86_64" or sys.platform != "linux", reason="wheels of another machine")
def test_its_libraries_are_for_the_platform(package: Path) -> None:
    """Flex Consumption is Linux on x86-64."""
    assert machines(package) == {X86_64}


def test_nothing_in_it_names_the_machine_that_built_it(package: Path) -> None:
    """Neither the source nor the bytecode."""
    for file in package.rglob("*"):
        if file.suffix in {".py", ".pyc", ".toml", ".json"}:
            assert str(package).encode() not in file.read_bytes(), file


def test_its_bytecode_is_taken_without_a_look_at_the_source(package: Path) -> None:
    """Of the kind "unchecked hash" (PEP 552), for every module: a package has no times to compare, is mounted
    read-only, and would be compiled anew by every instance that starts.
    """
    compiled = list(package.rglob("*.pyc"))
    assert len(compiled) >= 0.98 * len(list(package.rglob("*.py")))
    assert {int.from_bytes(file.read_bytes()[4:8], "little") for file in compiled} == {1}
    line, clean = command(package, "-v", "-c", "import functions_azure.settings", path=package / SITE_PACKAGES)
    told = subprocess.run(line, env=clean, cwd=package, check=True, capture_output=True, text=True).stderr
    loaded = re.findall(r"code object from '?(.*?)'?$", told, flags=re.MULTILINE)
    assert f"{package}/functions_azure/__pycache__/settings.{sys.implementation.cache_tag}.pyc" in loaded
    assert not [path for path in loaded if path.startswith(str(package)) and not path.endswith(".pyc")]


def test_a_traceback_names_where_the_package_is(package: Path) -> None:
    """Wherever it is mounted: bytecode carries a path, and Python puts the true one in its place."""
    line, clean = command(package, "-c", "from functions_azure import settings; settings.read({})")
    clean["PYTHONPATH"] += os.pathsep + str(package / SITE_PACKAGES)
    told = subprocess.run(line, env=clean, cwd=package, check=False, capture_output=True, text=True).stderr
    assert f'File "{package}/functions_azure/settings.py"' in told
    assert "neither UNSTALE_STORAGE nor UNSTALE_STORAGE__tableServiceUri is set" in told


def test_a_bad_configuration_is_not_packaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G6: what the function would refuse is refused here, with the line, and leaves no package."""
    config = tmp_path / "unstale.toml"
    config.write_text("[targets.a]\nkind = 'fabric-lake-views'\n", encoding="utf-8")
    assert main(["package", "azure", "--config", str(config), "--into", str(tmp_path / "azure")]) == 1
    assert f"{config}:1: targets.a" in capsys.readouterr().err
    assert not (tmp_path / "azure.zip").exists()


@pytest.mark.e2e
@pytest.mark.skipif("E2E_AZURE" not in os.environ, reason="fetches wheels: make e2e-azure")
def test_the_package_for_the_cloud_is_the_one_that_was_tested(package: Path, tmp_path: Path) -> None:
    """Whatever this machine is: `make package-azure` takes wheels for x86-64 and Python 3.13, and gives the same bytes
    the second time; its modules are, byte for byte, those that the other tests ran.
    """
    made_at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    archives = [azure.package(CONFIG, tmp_path / name / "azure", made_at=made_at) for name in ("one", "two")]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    made = tmp_path / "one" / "azure"
    assert machines(made) == {X86_64}
    assert {name for name, _ in pins(azure.LOCK)} >= {"azure-functions-runtime", "msal", "azure-data-tables"}
    for file in made.rglob("*.py"):
        assert file.read_bytes() == (package / file.relative_to(made)).read_bytes(), file
