"""The Lambda's package: `build/aws` and, from it, `build/aws.zip`, which the SAM template names.

    unstale.toml, unstale.generation, sbom.cdx.json      the configuration, when it was made, the parts
    shared/, functions_aws/                              our code
    boto3/, botocore/, msgspec/, ...                     third-party code, at the root, where Lambda's path finds it
    roots/                                               botocore's list of roots, each certificate in a file of its own

What a cold start reads is what it costs, so the models of botocore are cut down to what is called.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from infra.packaging import roots, sbom, stage
from infra.packaging.stage import Platform, ThirdParty, Told
from infra.parameters.places import ROOT
from shared.config import compiled, generation
from shared.config.load import load
from shared.targets import Cloud

LAMBDA: Final = Platform(("manylinux_2_28_aarch64", "manylinux2014_aarch64"), "3.13")
"""python3.13 on arm64 is Amazon Linux 2023 with glibc 2.34.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
"""
TASK_ROOT: Final = PurePosixPath("/var/task")
"""The folder into which Lambda unpacks the package: tracebacks name it."""

LOCK: Final = ROOT / "requirements" / "aws.txt"
"""The lock of what is installed, worked out for arm64 and Python 3.13, whatever machine packages it (`make lock`)."""
PACKAGES: Final = ("shared", "functions_aws")
"""Our folders that run there. Neither the other cloud nor the command is among them."""

OPERATIONS: Final[Mapping[str, frozenset[str]]] = {
    "dynamodb": frozenset({"BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan"}),
    "events": frozenset({"PutEvents"}),
    "glue": frozenset(
        {
            "GetMaterializedViewRefreshTaskRun",
            "GetTables",
            "ListMaterializedViewRefreshTaskRuns",
            "StartMaterializedViewRefreshTaskRun",
            "StopMaterializedViewRefreshTaskRun",
        }
    ),
    "s3": frozenset({"PutObject"}),
    "s3tables": frozenset({"GetTableMetadataLocation", "ListTables"}),
    "secretsmanager": frozenset({"GetSecretValue"}),
    "sns": frozenset({"Publish"}),
    "sqs": frozenset(
        {
            "ChangeMessageVisibilityBatch",
            "GetQueueAttributes",
            "GetQueueUrl",
            "ListMessageMoveTasks",
            "ReceiveMessage",
            "SendMessage",
            "StartMessageMoveTask",
        }
    ),
}
"""Operations that `functions_aws` calls. botocore brings the models of four hundred services, and a client reads all
of its own: Glue's 272 operations cost a cold start more than everything else together.
"""

UNUSED: Final = (
    "aws_lambda_powertools/event_handler",
    "aws_lambda_powertools/utilities/auth_alpha",
    "aws_lambda_powertools/utilities/batch",
    "aws_lambda_powertools/utilities/circuit_breaker",
    "aws_lambda_powertools/utilities/data_classes",
    "aws_lambda_powertools/utilities/feature_flags",
    "aws_lambda_powertools/utilities/idempotency",
    "aws_lambda_powertools/utilities/kafka",
    "aws_lambda_powertools/utilities/parameters",
    "aws_lambda_powertools/utilities/parser",
    "aws_lambda_powertools/utilities/validation",
    "dateutil/zoneinfo/dateutil-zoneinfo.tar.gz",
    "urllib3/contrib/emscripten",
)
"""Parts of the libraries that nothing which runs here imports, a fifth of the package: what Powertools has beside logs
and metrics, time zones that `tzdata` has, too, and HTTP for browsers. One that a new version lacks stops the packaging.
"""

GOAL_BYTES: Final = 5_000_000
"""The size of the zip above which `package` says so. A goal of ours, no limit of AWS's, which is 250 MB unpacked: what
grows a package unnoticed grows its cold starts."""


def package(
    config: Path,
    folder: Path,
    *,
    third_party: ThirdParty | None = None,
    python: str = LAMBDA.python,
    tell: Told = print,
    made_at: datetime | None = None,
) -> Path:
    """Stage everything in `folder`, from nothing, and zip it beside it. Raises `ConfigurationError`, `PackageError`.

    `third_party` and `python` are for those who run it elsewhere than in Lambda; `made_at` is the package's generation,
    by default this moment.
    """
    content = config.read_bytes()
    targets = [target for target in load(content, str(config)).targets if target.cloud is Cloud.AWS]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (third_party or stage.make_installer(LAMBDA))(LOCK, folder)
    stage.copy_own(PACKAGES, folder)
    stage.remove_traces(folder)
    trim_botocore(folder)
    stage.remove_parts(folder, UNUSED, "infra/packaging/aws.py")
    roots.write_roots((folder / "botocore" / "cacert.pem").read_text(encoding="utf-8"), folder / "roots")
    (folder / "unstale.toml").write_bytes(content)
    (folder / compiled.FILE).write_bytes(compiled.compile_configuration(content, str(config)))
    (folder / generation.FILE).write_bytes(generation.write_generation(made_at or datetime.now(UTC)))
    sbom.put("unstale for AWS", LOCK, folder, folder)
    stage.compile_bytecode(folder, python, TASK_ROOT, tell)
    archive = folder.with_suffix(".zip")
    stage.zip_all(folder, archive)
    size, unpacked = archive.stat().st_size, stage.size_of(folder)
    tell(f"{archive}: {size / 1e6:.2f} MB ({unpacked / 1e6:.1f} MB unpacked), {len(targets)} targets of {config}")
    if size > GOAL_BYTES:
        tell(f"note: that is more than the goal of {GOAL_BYTES / 1e6:.0f} MB")
    return archive


def trim_botocore(folder: Path) -> None:
    """Leave of botocore's data what `OPERATIONS` needs, and what it reads for every client (files, not folders).

    Each model is stored unpacked: the zip compresses it anyway, and unpacking it twice would cost each cold start.
    """
    data = folder / "botocore" / "data"
    for entry in data.iterdir():
        if entry.is_dir() and entry.name not in OPERATIONS:
            shutil.rmtree(entry)
    for examples in data.rglob("examples-1.json*"):
        examples.unlink()
    for service, operations in OPERATIONS.items():
        *older, latest = sorted((data / service).iterdir())
        for version in older:
            shutil.rmtree(version)
        packed = latest / "service-2.json.gz"
        model = trim_model(json.loads(gzip.decompress(packed.read_bytes())), operations)
        packed.with_suffix("").write_text(json.dumps(model, separators=(",", ":")), encoding="utf-8")
        packed.unlink()
    endpoints = data / "endpoints.json"
    trimmed = trim_endpoints(json.loads(endpoints.read_text(encoding="utf-8")))
    endpoints.write_text(json.dumps(trimmed, separators=(",", ":")), encoding="utf-8")


def trim_model(model: Mapping[str, Any], operations: Iterable[str]) -> dict[str, Any]:
    """Leave of a service's model these operations and the shapes that they reach, without documentation."""
    kept = {name: model["operations"][name] for name in sorted(operations)}
    reached: dict[str, Any] = {}
    open_shapes = set(_shapes(kept))
    while open_shapes:
        name = open_shapes.pop()
        reached[name] = model["shapes"][name]
        open_shapes.update(set(_shapes(reached[name])) - reached.keys())
    shapes = {name: reached[name] for name in sorted(reached)}
    found: dict[str, Any] = _strip_texts({**model, "operations": kept, "shapes": shapes})
    for parameter in found.get("clientContextParams", {}).values():
        parameter["documentation"] = ""  # botocore.model.ServiceModel.client_context_parameters reads these texts
    return found


def _shapes(part: Any) -> Iterator[str]:
    """The names of the shapes that a part of a model refers to."""
    if isinstance(part, dict):
        if isinstance(part.get("shape"), str):
            yield part["shape"]
        for each in part.values():
            yield from _shapes(each)
    elif isinstance(part, list):
        for each in part:
            yield from _shapes(each)


def _strip_texts(part: Any) -> Any:
    """A part of a model without its texts; a member that is called `documentation` is no text."""
    if isinstance(part, dict):
        documented = isinstance(part.get("documentation"), str)
        return {key: _strip_texts(each) for key, each in part.items() if not (documented and key == "documentation")}
    return [_strip_texts(each) for each in part] if isinstance(part, list) else part


def trim_endpoints(endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """Leave of the list of endpoints those of the services used; Regions and partitions stay."""
    partitions = [
        {**partition, "services": {name: each for name, each in partition["services"].items() if name in OPERATIONS}}
        for partition in endpoints["partitions"]
    ]
    return {**endpoints, "partitions": partitions}
