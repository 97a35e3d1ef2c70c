"""The Lambda's package: `build/aws` and, from it, `build/aws.zip`, which the SAM template names."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Final

from infra.packaging import sbom, stage
from infra.packaging.stage import ROOT, Platform, ThirdParty, Told
from shared.config.load import load
from shared.targets import Cloud

LAMBDA: Final = Platform(("manylinux_2_28_aarch64", "manylinux2014_aarch64"), "3.13")
"""python3.13 on arm64 is Amazon Linux 2023 with glibc 2.34.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
"""
TASK_ROOT: Final = PurePosixPath("/var/task")
"""Where Lambda unpacks it."""

LOCK: Final = ROOT / "requirements" / "aws.txt"
PACKAGES: Final = ("shared", "functions_aws")

SERVICES: Final = ("dynamodb", "glue", "sqs")
"""What `functions_aws.clients` builds clients of; botocore brings the models of four hundred."""

GOAL_BYTES: Final = 6_000_000


def package(
    config: Path,
    folder: Path,
    *,
    third_party: ThirdParty | None = None,
    python: str = LAMBDA.python,
    tell: Told = print,
) -> Path:
    """Stage everything in `folder`, from nothing, and zip it beside it. Raises `ConfigurationError`, `CannotPackage`.

    `third_party` and `python` are for those who run it elsewhere than in Lambda.
    """
    content = config.read_bytes()
    targets = [target for target in load(content, str(config)).targets if target.cloud is Cloud.AWS]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (third_party or stage.from_index(LAMBDA))(LOCK, folder)
    stage.own(PACKAGES, folder)
    stage.without_traces(folder)
    trim_botocore(folder)
    (folder / "unstale.toml").write_bytes(content)
    sbom.put("unstale for AWS", LOCK, folder, folder)
    stage.with_bytecode(folder, python, TASK_ROOT, tell)
    archive = folder.with_suffix(".zip")
    stage.zipped(folder, archive)
    size, unpacked = archive.stat().st_size, stage.size_of(folder)
    tell(f"{archive}: {size / 1e6:.2f} MB ({unpacked / 1e6:.1f} MB unpacked), {len(targets)} targets of {config}")
    if size > GOAL_BYTES:
        tell(f"note: that is more than the goal of {GOAL_BYTES / 1e6:.0f} MB")
    return archive


def trim_botocore(folder: Path) -> None:
    """Leave the models of the services used, and what botocore reads for every client (files, not folders)."""
    for entry in (folder / "botocore" / "data").iterdir():
        if entry.is_dir() and entry.name not in SERVICES:
            shutil.rmtree(entry)
    for examples in (folder / "botocore" / "data").rglob("examples-1.json*"):
        examples.unlink()
