"""What ships is what is tested: the Lambda's package, staged once, run with the source tree out of the way."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from infra.packaging import aws, sbom, stage
from local.cli import main
from local.emulators.aws.emulator import LocalAws
from local.emulators.aws.lambda_host import sqs_event
from local.emulators.http_server import Answer, LoopbackServer, Request
from shared.config import compiled, generation
from shared.config.compiled import read_compiled
from shared.config.load import load
from tests.support.once import once
from tests.support.runtime_api import RuntimeApi
from tests.support.staged import HERE, command, installed_here, run, runtime, staged
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "local" / "demo" / "demo.toml"


@pytest.fixture(scope="module")
def package() -> Path:
    """The staged folder; the zip is beside it."""
    return once("package for AWS", lambda folder: staged(folder / "aws", CONFIG)) / "aws"


# --- What is in it ---------------------------------------------------------------------------------------------------


def test_two_packages_of_one_source_differ_in_their_generation_alone(package: Path, tmp_path: Path) -> None:
    """Staging again, elsewhere and later, gives the same bytes, but for the file that says when (rule 12)."""
    made_at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    again = staged(tmp_path / "elsewhere" / "aws", CONFIG, made_at)
    with zipfile.ZipFile(package.with_suffix(".zip")) as one, zipfile.ZipFile(again.with_suffix(".zip")) as other:
        assert one.namelist() == other.namelist()
        assert [name for name in one.namelist() if one.read(name) != other.read(name)] == [generation.FILE]
        assert generation.read_generation(other.read(generation.FILE)) == made_at
        assert generation.read_generation(one.read(generation.FILE)) > made_at


def test_the_zip_is_below_five_megabytes(package: Path) -> None:
    """The goal, with everything in it: code, bytecode, time zones, the models of the services that are called."""
    assert package.with_suffix(".zip").stat().st_size < aws.GOAL_BYTES == 5_000_000


def test_an_unused_part_that_is_gone_stops_the_packaging(package: Path) -> None:
    """What is removed is removed; a library that moved one of its parts is noticed when the package is made."""
    assert not [name for name in aws.UNUSED if (package / name).exists()]
    with pytest.raises(stage.PackageError, match="aws_lambda_powertools/event_handler is not among the libraries"):
        stage.remove_parts(package, aws.UNUSED, "the list")


def test_it_holds_what_runs_and_nothing_else(package: Path) -> None:
    """Our two packages, the locked distributions and the configuration; no tests, no other cloud, no command line."""
    with zipfile.ZipFile(package.with_suffix(".zip")) as made:
        names = made.namelist()
        assert made.read("unstale.toml") == CONFIG.read_bytes()
        assert read_compiled(made.read(compiled.FILE), CONFIG.read_bytes()) == load(CONFIG.read_bytes())
    assert names == sorted(names)
    tops = {name.partition("/")[0] for name in names}
    assert {"shared", "functions_aws", "botocore", "unstale.toml", compiled.FILE, generation.FILE, sbom.NAME} <= tops
    assert not tops & {"tests", "local", "infra", "functions_azure", "boto3", "s3transfer", "bin"}
    own = {name for name in names if name.startswith(("shared/", "functions_aws/")) and name.endswith(".py")}
    assert own == {f.relative_to(ROOT).as_posix() for p in aws.PACKAGES for f in (ROOT / p).rglob("*.py")}
    assert {each.name for each in (package / "botocore" / "data").iterdir() if each.is_dir()} == set(aws.OPERATIONS)


def test_its_list_of_parts_names_what_is_in_it(package: Path) -> None:
    """Each distribution of the package is in the list, and nothing else; the same list lies beside the zip."""
    parts = json.loads((package / sbom.NAME).read_text(encoding="utf-8"))
    found = {(each.metadata["Name"].lower(), each.version) for each in distributions(path=[str(package)])}
    assert {(each["name"].replace("-", "_"), each["version"]) for each in parts["components"]} == {
        (name.replace("-", "_"), version) for name, version in found
    }
    assert all(each.get("licenses") for each in parts["components"])
    assert package.with_suffix(".cdx.json").read_bytes() == (package / sbom.NAME).read_bytes()


def test_nothing_in_it_names_the_machine_that_built_it(package: Path) -> None:
    """Tracebacks name Lambda's folder, and no file the builder's."""
    for file in package.rglob("*"):
        if file.suffix in {".py", ".pyc", ".toml"}:
            assert str(package).encode() not in file.read_bytes(), file


def test_its_bytecode_is_taken_without_a_look_at_the_source(package: Path) -> None:
    """Every module has bytecode of the kind "unchecked hash": a package has no times to compare."""
    compiled = list(package.rglob("*.pyc"))
    sources = list(package.rglob("*.py"))
    assert len(compiled) >= 0.98 * len(sources)
    # PEP 552: the second word of the header; 1 says hash-based, 2 that it is to be checked.
    assert {int.from_bytes(file.read_bytes()[4:8], "little") for file in compiled} == {1}


def test_a_machine_without_that_python_says_so(tmp_path: Path) -> None:
    """Where there is no interpreter of Lambda's version, there is a package without bytecode, and a word about it."""
    told: list[str] = []
    aws.package(CONFIG, tmp_path / "aws", third_party=installed_here, python="3.99", tell=told.append)
    assert not list((tmp_path / "aws").rglob("*.pyc"))
    assert "no Python 3.99 here" in told[0]
    assert re.search(r"aws\.zip: \d\.\d\d MB", told[1])


def test_a_bad_configuration_is_not_packaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G6: what the function would refuse is refused here, with the line, and leaves no package."""
    config = tmp_path / "unstale.toml"
    config.write_text("[targets.a]\nkind = 'glue-view'\n", encoding="utf-8")
    assert main(["package", "aws", "--config", str(config), "--into", str(tmp_path / "aws")]) == 1
    assert f"{config}:1: targets.a" in capsys.readouterr().err
    assert not (tmp_path / "aws.zip").exists()


def test_the_environment_must_have_what_the_lock_names(tmp_path: Path) -> None:
    """Staging from here refuses another version than the locked one."""
    lock = tmp_path / "aws.txt"
    lock.write_text("msgspec==0.0.1 \\\n    --hash=sha256:00\n", encoding="utf-8")
    with pytest.raises(stage.PackageError, match=r"msgspec is here in version .*, but aws.txt names 0.0.1"):
        installed_here(lock, tmp_path / "into")


# --- Every operation -------------------------------------------------------------------------------------------------

OPERATIONS = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import functions_aws, shared, botocore
package = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
assert all(Path(m.__file__).is_relative_to(package) for m in (functions_aws, shared, botocore)), functions_aws.__file__
from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.platform import Platform
from functions_aws.visibility import Visibility
from functions_aws.store import Store
from functions_aws.waker import Waker
from shared.config.load import load
from shared.refresh.state import Wake
from shared.refresh.ports import Document
from shared.refresh.failure import Delivery
now = datetime(2026, 11, 23, tzinfo=UTC)
clients = Clients()
store = Store(clients, "table")
read = store.load("key")
store.save(read, b"body", now)
store.remove(read)
store.append("key", "id", b"line", now)
list(store.due(now, 10)), store.keys("", 10), store.history("key", 10), store.load_many(["key"])
Waker(clients, "https://sqs/wakes").send(Wake("key", now, "1"), timedelta(seconds=1))
letters = DeadLetters(clients, ["https://sqs/events"])
letters.send("arn:aws:sqs:eu-central-1:123456789012:events", b"x", "why")
letters.summaries(), letters.redrive(), letters.moves()
Visibility(clients).hasten([{"eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:events", "receiptHandle": "h",
    "attributes": {}}])
platform = Platform(clients)
target = load(Path("unstale.toml").read_text()).targets[0]

def answered(call):  # these are sent once each, and a kept-alive connection may be cut just then
    answers = (call() for _ in range(3))
    return next(answer for answer in answers if getattr(answer, "delivery", None) is not Delivery.UNKNOWN)

run = answered(lambda: platform.start(target, full=True))
print(run, answered(lambda: platform.get(target, run.run_id)), answered(lambda: platform.list(target, now)))
answered(lambda: platform.cancel(target, run.run_id))
from functions_aws.sources import Sources
from functions_aws.wiring import SystemClock
sources = Sources(clients, SystemClock())
bucket = {"tableBucketARN": "arn:aws:s3tables:eu-central-1:123456789012:bucket/b"}
answered(lambda: sources.get_tables({"DatabaseName": "sales"}))
answered(lambda: sources.list_tables(bucket))
answered(lambda: sources.get_table_metadata_location({**bucket, "namespace": "n", "name": "t"}))
from functions_aws.tell import secrets_of, senders
from shared.destinations import Destination
from shared.outcomes.formats import EncodedEvent
sending = senders(clients, secrets_of(clients, SystemClock()), SystemClock())
event = EncodedEvent("id", "unstale.late", "/unstale", "daily", now, "application/json", b"{}", "daily is late")
topic = "arn:aws:sns:eu-central-1:123456789012:views"
for place in (Destination("eventbridge"), Destination("sns", topic=topic)):
    assert answered(lambda: sending[place.to].send(place, event)) is None
assert answered(lambda: secrets_of(clients, SystemClock()).read("hook")) == "planted secret"
from functions_aws.page import PageBucket
PageBucket(clients, "pages").put(b"{}")
"""

RUN_ID = "0b5f4a4e-8f59-4d3f-9d7f-0d6f1c2b3a4d"
ARN = "arn:aws:sqs:eu-central-1:123456789012:"
ANSWERS: dict[str, dict[str, Any]] = {
    "DynamoDB_20120810.GetItem": {},
    "DynamoDB_20120810.PutItem": {},
    "DynamoDB_20120810.DeleteItem": {},
    "DynamoDB_20120810.Query": {"Items": []},
    "DynamoDB_20120810.Scan": {"Items": []},
    "DynamoDB_20120810.BatchGetItem": {"Responses": {}},
    "AmazonSQS.SendMessage": {"MessageId": "m", "MD5OfMessageBody": "d"},
    "AmazonSQS.GetQueueUrl": {"QueueUrl": "https://sqs/dead"},
    "AmazonSQS.GetQueueAttributes": {
        "Attributes": {
            "QueueArn": f"{ARN}events",
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": f"{ARN}dead", "maxReceiveCount": 1000}),
            "ApproximateNumberOfMessages": "1",
        }
    },
    "AmazonSQS.ReceiveMessage": {"Messages": []},
    "AmazonSQS.ChangeMessageVisibilityBatch": {"Successful": [{"Id": "0"}], "Failed": []},
    "AmazonSQS.StartMessageMoveTask": {"TaskHandle": "h"},
    "AmazonSQS.ListMessageMoveTasks": {"Results": []},
    "AWSGlue.StartMaterializedViewRefreshTaskRun": {"MaterializedViewRefreshTaskRunId": RUN_ID},
    "AWSGlue.GetMaterializedViewRefreshTaskRun": {"MaterializedViewRefreshTaskRun": {"Status": "RUNNING"}},
    "AWSGlue.ListMaterializedViewRefreshTaskRuns": {"MaterializedViewRefreshTaskRuns": []},
    "AWSGlue.StopMaterializedViewRefreshTaskRun": {},
    "AWSGlue.GetTables": {"TableList": []},
    "AWSEvents.PutEvents": {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]},
    "secretsmanager.GetSecretValue": {"SecretString": "planted secret"},
    "SNS.Publish": {"MessageId": "m"},
    "S3.PutObject": {},
    "S3Tables.ListTables": {"tables": []},
    "S3Tables.GetTableMetadataLocation": {"versionToken": "1", "warehouseLocation": "s3://lake"},
}
"""By X-Amz-Target, which SNS, S3 and S3 Tables have none of: the least that each may answer."""


def operation_of(request: Request) -> str:
    """What is asked for: by the target's header, of SNS by a field of its form, of the others by the path."""
    if request.method == "PUT":
        return "S3.PutObject"
    if target := request.headers.get("x-amz-target"):
        return target
    if form := dict(parse_qsl(request.body.decode())):
        return f"SNS.{form['Action']}"
    of_table = request.path.endswith("/metadata-location")
    return "S3Tables.GetTableMetadataLocation" if of_table else "S3Tables.ListTables"


def answer_of(operation: str) -> Answer:
    """The answer in the protocol of the service: XML of SNS, nothing but headers of S3, JSON of all others."""
    if operation == "S3.PutObject":
        return Answer(200, {}, b"")
    fields = ANSWERS[operation]
    service, _, name = operation.partition(".")
    if service == "SNS":
        inside = "".join(f"<{field}>{value}</{field}>" for field, value in fields.items())
        text = f'<{name}Response xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><{name}Result>{inside}</{name}Result>'
        text += f"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{name}Response>"
        return Answer(200, {"Content-Type": "text/xml"}, text.encode())
    return Answer(200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(fields).encode())


def environment(url: str) -> dict[str, str]:
    """Variables of a function whose AWS is at this address."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "UNSTALELOCALPRODUCT1",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_the_trimmed_package_can_call_every_operation(package: Path) -> None:
    """Each AWS operation that the product makes goes out from the trimmed package, and its answer is read."""
    called: set[str] = set()

    def respond(request: Request) -> Answer:
        operation = operation_of(request)
        called.add(operation)
        return answer_of(operation)

    with LoopbackServer(respond, lambda: datetime.now(UTC)) as server:
        done = run(package, OPERATIONS, environment(server.url))
    assert done.returncode == 0, done.stderr
    assert RUN_ID in done.stdout
    assert called == set(ANSWERS)


OF_THE_COMMAND = {"cloudwatch"}
"""Services that only the command calls, with the whole SDK beside it: `status` asks how long messages wait."""


def test_the_list_of_operations_is_complete() -> None:
    """Whatever `functions_aws` calls on a client of the SDK is among the operations above."""
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "functions_aws").glob("*.py"))
    services = set(re.findall(r'_client\("(\w+)"', source)) - OF_THE_COMMAND
    assert services == set(aws.OPERATIONS)
    named = "|".join(services)
    methods = re.findall(rf"\b(?:_?clients|self)\.(?:{named})\.(\w+)\(", source)
    methods += re.findall(r'_ask\(Operation\.\w+, "(\w+)"', source)
    known = {operation.partition(".")[2] for operation in ANSWERS}
    assert {method.replace("_", "") for method in methods} == {operation.lower() for operation in known}
    assert set().union(*aws.OPERATIONS.values()) == known


def test_the_package_knows_no_operation_that_nobody_calls(package: Path) -> None:
    """Models and endpoints are those of the services called: reading the whole of them is most of a cold start."""
    data = package / "botocore" / "data"
    for service, operations in aws.OPERATIONS.items():
        [model] = data.joinpath(service).glob("*/service-2.json*")
        found = json.loads(model.read_text(encoding="utf-8"))
        assert set(found["operations"]) == operations
        # A table of Glue's is made of some seventy, a call that puts an object into S3 of some sixty.
        assert len(found["shapes"]) < 40 + 25 * len(operations)
        assert not re.search(r'"documentation":"[^"]', model.read_text(encoding="utf-8"))
    partitions = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))["partitions"]
    assert {partition["partition"] for partition in partitions} >= {"aws", "aws-cn", "aws-us-gov"}
    assert all(set(partition["services"]) <= set(aws.OPERATIONS) for partition in partitions)
    assert (data / "endpoints.json").stat().st_size < 100_000


def test_a_trimmed_model_keeps_what_its_operations_reach() -> None:
    """Input, output and errors, at any depth and in circles; a member that is named like a text stays."""
    model: dict[str, Any] = {
        "metadata": {"documentation": "text"},
        "operations": {
            "Kept": {"input": {"shape": "In"}, "errors": [{"shape": "Bad"}], "documentation": "text"},
            "Left": {"input": {"shape": "Other"}},
        },
        "shapes": {
            "In": {"type": "structure", "members": {"documentation": {"shape": "Text"}, "next": {"shape": "In"}}},
            "Text": {"type": "string", "documentation": "text"},
            "Bad": {"type": "structure", "members": {}},
            "Other": {"type": "string"},
        },
    }
    trimmed = aws.trim_model(model, ["Kept"])
    assert trimmed["operations"] == {"Kept": {"input": {"shape": "In"}, "errors": [{"shape": "Bad"}]}}
    assert list(trimmed["shapes"]) == ["Bad", "In", "Text"]
    assert trimmed["shapes"]["In"] == model["shapes"]["In"]
    assert trimmed["metadata"] == {}


# --- Under Lambda's own bootstrap ------------------------------------------------------------------------------------


@contextmanager
def lambda_running(package: Path, folder: Path, variables: dict[str, str]) -> Iterator[tuple[RuntimeApi, Path]]:
    """The package under awslambdaric, as Lambda starts it; gives the runtime API, and where the log is."""
    line, clean = command(package, "-m", "awslambdaric", "functions_aws.app.handler", path=runtime(folder / "runtime"))
    log = folder / "log"
    with RuntimeApi() as api, log.open("wb") as out:
        settings = {
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "unstale",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "LAMBDA_TASK_ROOT": str(package),
        }
        process = subprocess.Popen(line, env={**clean, **variables, **settings}, cwd=package, stdout=out, stderr=out)
        try:
            yield api, log
        finally:
            process.kill()
            process.wait(timeout=PATIENCE_SECONDS)


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The lines of JSON in a log."""
    text = log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in text if line.startswith("{")]


OBJECT = json.loads((ROOT / "tests/golden/eventbridge/s3_object_created/event.json").read_text(encoding="utf-8"))


def arrival(at: datetime) -> dict[str, Any]:
    """An object that the first target of the demo waits for."""
    detail = OBJECT["detail"] | {
        "bucket": {"name": "landing"},
        "object": OBJECT["detail"]["object"] | {"key": "orders/1"},
    }
    return OBJECT | {"time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "detail": detail}


@pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is for Linux")
def test_the_package_runs_under_lambdas_bootstrap(package: Path, tmp_path: Path) -> None:
    """Started by awslambdaric with nothing of the source tree in sight: an S3 event in an SQS batch is stored, a tick
    is taken, a direct invocation answers with the target's row, a malformed event goes to the dead letters alone, and
    an error is reported as Lambda reports errors, after which the next invocation works.
    """
    secret = "planted-secret-planted-secret"
    with LocalAws() as emulated:
        emulated.create_view("sales", "daily_revenue")
        sqs, queue = emulated.client("sqs"), emulated.queues["events"]
        for body in (json.dumps(arrival(datetime.now(UTC))), "not JSON"):
            sqs.send_message(QueueUrl=queue.url, MessageBody=body)
        received = sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])[
            "Messages"
        ]
        variables = emulated.environment({}) | {"AWS_SECRET_ACCESS_KEY": secret}
        with lambda_running(package, tmp_path, variables) as (api, log):
            assert api.invoke(sqs_event(received, queue.arn)).answer == {"batchItemFailures": []}
            dead = sqs.receive_message(
                QueueUrl=emulated.queues["events-dead"].url, MessageAttributeNames=["All"], MaxNumberOfMessages=10
            )["Messages"]
            assert [message["Body"] for message in dead] == ["not JSON"]
            assert api.invoke({"tick": True}).answer == {"verdict": "done"}
            row = api.invoke({"refresh": "daily_revenue"}).answer
            assert row["name"] == "daily_revenue"
            assert row["signals_owed"] >= 1
            failed = api.invoke({"refresh": "nobody"})
            assert failed.error["errorType"] == "NotDoneError"
            assert "nobody" in failed.error["errorMessage"]
            assert api.invoke({"tick": True}).answer == {"verdict": "done"}
        lines = lines_of(log)
    messages = {line.get("message") for line in lines}
    assert {"saved", "dead letter"} <= messages
    assert any("_aws" in line and "Ticks" in line for line in lines)
    assert secret not in log.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is for Linux")
def test_a_bad_configuration_fails_every_invocation_with_what_is_wrong(package: Path, tmp_path: Path) -> None:
    """G6: the error that Lambda shows names file and line, and messages stay where they are."""
    config = tmp_path / "bad.toml"
    config.write_text("[targets.a]\nkind = 'glue-view'\n", encoding="utf-8")
    variables = environment("http://127.0.0.1:9") | {
        "UNSTALE_CONFIG": str(config),
        "UNSTALE_TABLE": "t",
        "UNSTALE_QUEUE_URL": "https://q",
    }
    with lambda_running(package, tmp_path, variables) as (api, _):
        for _ in range(2):
            failed = api.invoke({"tick": True})
            assert failed.error["errorType"] == "ConfigurationError"
            assert f"{config}:1: targets.a" in failed.error["errorMessage"]


def test_the_package_is_really_without_the_source_tree(package: Path, tmp_path: Path) -> None:
    """The judge can fail: without one of its parts the package does not work, although this environment has it."""
    broken = tmp_path / "broken"
    shutil.copytree(package, broken)
    shutil.rmtree(broken / "msgspec")
    done = run(broken, "import functions_aws.app", {})
    assert "No module named 'msgspec'" in done.stderr
    assert HERE in sys.version
