"""The function app's package: `build/azure` and, from it, `build/azure.zip`, which is published."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from infra.packaging import roots, sbom, stage
from infra.packaging.stage import Platform, ThirdParty, Told
from infra.parameters.places import ROOT
from shared.config import compiled, generation
from shared.config.load import load
from shared.targets import Cloud

FLEX: Final = Platform(("manylinux_2_28_x86_64", "manylinux2014_x86_64"), "3.13")
"""Flex Consumption runs on x86-64 only; the image of Python 3.13 is Debian 12 with glibc 2.36.

https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan
"""
SITE_PACKAGES: Final = Path(".python_packages", "lib", "site-packages")
"""Where the worker looks for third-party code.

https://learn.microsoft.com/azure/azure-functions/functions-reference-python#folder-structure
"""

WWWROOT: Final = PurePosixPath("/home/site/wwwroot")
"""Where the package is mounted, read-only: bytecode that it does not carry is made anew at every start.

https://learn.microsoft.com/azure/azure-functions/run-functions-from-deployment-package
"""

LOCK: Final = ROOT / "requirements" / "azure.txt"
"""The lock of what is installed, worked out for x86-64 and Python 3.13, whatever machine packages it (`make lock`)."""
PACKAGES: Final = ("shared", "functions_azure")
AT_THE_ROOT: Final = ("host.json", "function_app.py")
"""Files of `functions_azure` that the host looks for at the root of the package."""

UNUSED: Final = (
    "azure/data/tables/aio",
    "azure/storage/blob/_generated/aio",
    "azure/storage/blob/aio",
    "azure/storage/queue/_generated/aio",
    "azure/storage/queue/aio",
    "cffi",
    "charset_normalizer",
    "multidict",
    "propcache",
    "pycparser",
    "urllib3/contrib/emscripten",
    "werkzeug/debug",
    "werkzeug/middleware",
    "yarl",
)
"""Parts of the libraries that nothing which runs here needs, a fifth of the package: asynchronous clients, and `yarl`,
by which these write addresses; the compiler of `cffi`, whose results `cryptography` carries; a server's debugger; HTTP
for browsers; and `charset_normalizer`, by which `requests` guesses the encoding of a text, where we read bytes alone.
What tries to import one of the last five goes on without it. One that a new version lacks stops the packaging.
"""

GOAL_BYTES: Final = 12_000_000
"""The size of the zip above which `package` says so, a goal of ours: what grows unnoticed makes starts slower."""


def package(
    config: Path,
    folder: Path,
    *,
    third_party: ThirdParty | None = None,
    python: str = FLEX.python,
    tell: Told = print,
    made_at: datetime | None = None,
) -> Path:
    """Stage everything in `folder`, from nothing, and zip it beside it. Raises `ConfigurationError`, `PackageError`.

    `third_party` and `python` are for those who run it elsewhere than in the cloud; `made_at` is the package's
    generation, by default this moment.
    """
    content = config.read_bytes()
    targets = [target for target in load(content, str(config)).targets if target.cloud is Cloud.AZURE]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / SITE_PACKAGES).mkdir(parents=True)
    (third_party or stage.make_installer(FLEX))(LOCK, folder / SITE_PACKAGES)
    stage.remove_traces(folder / SITE_PACKAGES)
    stage.remove_parts(folder / SITE_PACKAGES, UNUSED, "infra/packaging/azure.py")
    roots.write_roots((folder / SITE_PACKAGES / "certifi" / "cacert.pem").read_text(encoding="utf-8"), folder / "roots")
    stage.copy_own(PACKAGES, folder)
    (folder / "functions_azure" / "function_app.py").unlink()
    for name in AT_THE_ROOT:
        shutil.copyfile(ROOT / "functions_azure" / name, folder / name)
    (folder / "unstale.toml").write_bytes(content)
    (folder / compiled.FILE).write_bytes(compiled.compile_configuration(content, str(config)))
    (folder / generation.FILE).write_bytes(generation.write_generation(made_at or datetime.now(UTC)))
    sbom.put("unstale for Azure", LOCK, folder / SITE_PACKAGES, folder)
    stage.compile_bytecode(folder, python, WWWROOT, tell)
    archive = folder.with_suffix(".zip")
    stage.zip_all(folder, archive)
    size, unpacked = archive.stat().st_size, stage.size_of(folder)
    tell(f"{archive}: {size / 1e6:.2f} MB ({unpacked / 1e6:.1f} MB unpacked), {len(targets)} targets of {config}")
    if size > GOAL_BYTES:
        tell(f"note: that is more than the goal of {GOAL_BYTES / 1e6:.0f} MB")
    return archive
