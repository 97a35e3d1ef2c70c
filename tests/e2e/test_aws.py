"""The deployment, all the way: the real `sam deploy` of the template into an AWS on loopback, and what it then does."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import shutil
import struct
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infra.packaging import aws as packaging
from infra.parameters import places
from infra.parameters.aws import buckets, inputs
from infra.parameters.samconfig import overrides
from local.cli import infra, main
from local.cli.deployment import read_config
from local.emulators.faults import LoseResponse, NeverEnd
from local.emulators.http_server import Answer, LoopbackServer, Request
from local.emulators.journal import PlatformRun, count_overlaps
from tests.e2e.aws_account import ACCOUNT, REGION, Account, account, clean_environment, outputs, until
from tests.infra.test_aws import ACTION_OF, BY_SERVICES, granted, many
from tests.support.staged import HERE, installed_here, staged

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("E2E_AWS" not in os.environ, reason="the SAM CLI and MiniStack are apart: make e2e-aws"),
]

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "infra" / "aws" / "template.yaml"
WHERE = Path(os.environ.get("E2E_AWS") or ROOT / "nowhere").resolve()

CONFIG = f"""
[defaults]
quiet_period   = "1s"
visibility_lag = "2s"
min_interval   = "1s"
max_wait       = "30s"

[targets.daily_revenue]
kind       = "glue-view"
catalog_id = "{ACCOUNT}"
database   = "sales"
table      = "daily_revenue"
location   = "s3://landing/views/"
on         = [{{ s3_object_created = {{ bucket = "landing", prefix = "orders, 'ä' + \\"b\\"/", suffix = ".json" }} }}]

[targets.stuck]
kind       = "glue-view"
catalog_id = "{ACCOUNT}"
database   = "sales"
table      = "stuck"
timeout    = "1m"

[targets.unheard]
kind       = "glue-view"
catalog_id = "{ACCOUNT}"
database   = "sales"
table      = "unheard"

[[tell]]
to = "eventbridge"

[[tell]]
to    = "sns"
topic = "arn:aws:sns:{REGION}:{ACCOUNT}:outcomes"

[[tell]]
to             = "webhook"
url_secret     = "outcomes/address"
signing_secret = "outcomes/key"
format         = "slack"
"""
VIEWS = ("daily_revenue", "stuck", "unheard")
KEY = "orders, 'ä' + \"b\"/1.json"


class Deployed(NamedTuple):
    """A deployment, and the variables by which its command line finds it."""

    account: Account
    outputs: Mapping[str, str]
    config: Path
    posted: list[Request]
    """What came to the webhook."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Package for this machine, write the parameters, run `sam deploy`: what the README says, but for two things.

    MiniStack has no CodeDeploy, and hands no parameters to SAM's transform, so that the default of GradualRollout is
    changed in the copy that is deployed. And its functions run on this machine, so the package is for it.
    """
    folder = tmp_path_factory.mktemp("deployment")
    config, here = _packaged(folder, CONFIG)
    posted: list[Request] = []

    def take(request: Request) -> Answer:
        posted.append(request)
        return Answer(200, {}, b"ok")

    with (
        account(WHERE, folder) as there,
        LoopbackServer(take, lambda: datetime.now(UTC)) as webhook,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in there.environment.items():
            patch.setenv(name, value)
        _outcomes(there, webhook.url)
        infra.aws(config, as_json=False, write=True, samconfig=here / "samconfig.toml")
        guided = (str(WHERE / "sam"), "deploy", "--guided", "--no-confirm-changeset")
        done = there.run(*guided, cwd=here, answers="\n" * 80)  # Enter keeps what is proposed
        assert done.returncode == 0, done.stdout + done.stderr + there.log.read_text(encoding="utf-8")[-5000:]
        _written_as_before(config, here / "samconfig.toml")
        found = outputs(there, "unstale")
        for pair in found["Environment"].removeprefix("export ").split():
            patch.setenv(*pair.split("=", 1))
        _sources(there)
        yield Deployed(there, found, config, posted)


def _packaged(folder: Path, text: str) -> tuple[Path, Path]:
    """Write the configuration and package it; gives its file, and the folder of the template."""
    here = folder / "infra" / "aws"
    here.mkdir(parents=True)
    template, changed = re.subn('Default: "true"', 'Default: "false"', TEMPLATE.read_text(encoding="utf-8"))
    assert changed == 1
    (here / "template.yaml").write_text(template, encoding="utf-8")
    shutil.copy(TEMPLATE.with_name("samconfig.example.toml"), here)
    config = folder / "unstale.toml"
    config.write_text(text, encoding="utf-8")
    staged(folder / "build" / "aws", config)
    return config, here


def _written_as_before(config: Path, samconfig: Path) -> None:
    """What `--guided` wrote back of our parameters is what they were, quotes and all."""
    table = tomllib.loads(samconfig.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
    saved = overrides(table["parameter_overrides"])
    expected = inputs(read_config(config), REGION).parameters
    assert {name: saved[name] for name in expected} == expected


def _sources(there: Account) -> None:
    for view in VIEWS:
        there.aws.create_view("sales", view)
    there.aws.faults.add(NeverEnd(), "run", resource=f"{ACCOUNT}/sales/stuck")
    there.aws.faults.add(LoseResponse(), "start", resource=f"{ACCOUNT}/sales/unheard")
    there.client("s3").create_bucket(Bucket="landing", CreateBucketConfiguration={"LocationConstraint": REGION})


def _outcomes(there: Account, webhook: str) -> None:
    """Make the topic, the secrets, and a queue for each of bus and topic, as others have them before a deployment."""
    sqs, sns, events, secrets = map(there.client, ("sqs", "sns", "events", "secretsmanager"))
    for name, secret in (("address", webhook), ("key", SIGNING_KEY)):
        secrets.create_secret(Name=f"outcomes/{name}", SecretString=secret)
    arns = {
        name: sqs.get_queue_attributes(
            QueueUrl=sqs.create_queue(QueueName=f"outcomes-by-{name}")["QueueUrl"], AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        for name in ("bus", "topic")
    }
    topic = sns.create_topic(Name="outcomes")["TopicArn"]
    attributes = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arns["topic"], Attributes=attributes)
    events.put_rule(Name="outcomes", EventPattern=json.dumps({"source": ["unstale"]}))
    events.put_targets(Rule="outcomes", Targets=[{"Id": "queue", "Arn": arns["bus"]}])


SIGNING_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""A key as Standard Webhooks writes them: 24 bytes in base64."""


def told(there: Account, name: str) -> list[dict[str, Any]]:
    """The outcome events that lie in one of the two queues, each as the CloudEvent that it is."""
    sqs = there.client("sqs")
    url, found = sqs.get_queue_url(QueueName=f"outcomes-by-{name}")["QueueUrl"], []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
        found += [json.loads(message["Body"]) for message in messages]
    for each in found if name == "bus" else ():
        assert (each["source"], each["detail-type"]) == ("unstale", each["detail"]["type"])
    return [each["detail"] if name == "bus" else each for each in found]


def _sending(there: Account, bucket: str) -> None:
    """Make a bucket that sends its events to EventBridge."""
    s3 = there.client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})


def unstale(deployed: Deployed, capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    """Exit code and output of the command, on the deployment."""
    capsys.readouterr()
    code = main([*command, "--config", str(deployed.config)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def runs(there: Account, view: str) -> list[PlatformRun]:
    """What Glue ran for a view."""
    resource = f"{ACCOUNT}/sales/{view}"
    return [run for run in there.aws.glue.journal().entries() if run.resource == resource]


def row(deployed: Deployed, capsys: pytest.CaptureFixture[str], name: str) -> dict[str, Any]:
    """A line of `unstale status --json`."""
    _, text = unstale(deployed, capsys, "status", "--json")
    [found] = [each for each in json.loads(text)["targets"] if each["name"] == name]
    assert isinstance(found, dict)
    return found


def test_check_live_says_what_is_missing_and_its_cure_cures(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bucket that does not send its events is found, exit code 1; the command that is given turns it on, and keeps
    what the bucket notified before.
    """
    code, text = unstale(deployed, capsys, "check", "--live", "--json")
    findings = {finding["what"]: finding for finding in json.loads(text.partition("\nunstale:")[0])["findings"]}
    assert code == 1
    bucket = findings["bucket landing"]
    assert not bucket["well"]
    wanted = re.search("--notification-configuration '(.*)'", bucket["cure"])
    assert wanted
    deployed.account.client("s3").put_bucket_notification_configuration(
        Bucket="landing", NotificationConfiguration=json.loads(wanted[1])
    )
    _, text = unstale(deployed, capsys, "check", "--live", "--json")
    findings = {finding["what"]: finding for finding in json.loads(text.partition("\nunstale:")[0])["findings"]}
    ill = [finding for finding in findings.values() if not finding["well"]]
    assert findings["bucket landing"]["well"]
    assert findings["rules"]["well"], findings["rules"]
    assert {"view of daily_revenue", "view of stuck", "poller of events", "poller of wakes", "role for stuck"} <= set(
        findings
    )
    assert {finding["what"] for finding in ill} == {"sources of stuck", "sources of unheard"}, ill
    assert {finding["found"] for finding in ill} == {"the view names none"}


def test_the_tick_fires_and_plans_what_is_new(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    """Scheduler calls the function every minute: the first time it signals every target once, and each has a run."""
    for name in VIEWS:
        until(lambda name=name: runs(deployed.account, name), f"a run of {name}", timedelta(minutes=3))  # type: ignore[misc]
    until(lambda: row(deployed, capsys, "daily_revenue")["fresh_as_of"], "daily_revenue is fresh")
    assert {"dynamodb:Query", "dynamodb:Scan"} <= deployed.account.recorder.called


def test_an_object_becomes_a_refresh(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    """S3 -> EventBridge -> SQS -> Lambda -> DynamoDB -> wake -> Glue, and back to `fresh`; the view's own files do
    nothing, and neither does another key.
    """
    there = deployed.account
    before = len(runs(there, "daily_revenue"))
    for key in ("views/part-0.json", "other/1.json", KEY):
        there.client("s3").put_object(Bucket="landing", Key=key, Body=b"rows")
    until(lambda: len(runs(there, "daily_revenue")) > before, "a refresh")
    until(lambda: row(deployed, capsys, "daily_revenue")["verdict"] == "fresh", "a fresh view")
    [run] = runs(there, "daily_revenue")[before:]
    assert (run.outcome, run.foreign) == ("succeeded", False)
    _, text = unstale(deployed, capsys, "history", "daily_revenue", "--json")
    assert json.loads(text)["runs"][0]["reasons"] == [f"s3://landing/{KEY}"]


def test_a_direct_invocation_answers(deployed: Deployed) -> None:
    """`{"refresh": ...}` gives the row of the target and is followed by a run."""
    before = len(runs(deployed.account, "daily_revenue"))
    answer = deployed.account.client("lambda").invoke(
        FunctionName=deployed.outputs["Function"], Payload=b'{"refresh": "daily_revenue", "full": true}'
    )
    payload = json.loads(answer["Payload"].read())
    assert payload["name"] == "daily_revenue", payload
    until(lambda: len(runs(deployed.account, "daily_revenue")) > before, "a run")


def test_a_custom_event_becomes_a_run(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    """`unstale.signal` with a target and a reason, through the rule that is always there."""
    detail = json.dumps({"target": "daily_revenue", "reason": "loader"})
    entry = {"Source": "loader", "DetailType": "unstale.signal", "Detail": detail}
    deployed.account.client("events").put_events(Entries=[entry])
    until(lambda: "loader" in last_reasons(deployed, capsys), "a run for it")


def last_reasons(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Those of the latest run of `daily_revenue`."""
    _, text = unstale(deployed, capsys, "history", "daily_revenue", "--json")
    reasons = json.loads(text)["runs"][0]["reasons"]
    assert isinstance(reasons, list)
    return reasons


def test_what_met_trouble_of_ours_comes_back_after_half_a_minute(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table does not answer when a message arrives: it comes back, through the poller, long before the queue's
    visibility timeout of 400 s is over, and ends in a run that names it.
    """
    there = deployed.account
    signal = {"detail-type": "unstale.signal", "detail": {"target": "daily_revenue", "reason": "after trouble"}}
    there.recorder.down.add("dynamodb")
    queue = os.environ["UNSTALE_EVENTS_QUEUE_URL"]
    sent = there.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(signal))
    until(lambda: sent["MessageId"] in there.log.read_text(encoding="utf-8"), "the message, reported as failed")
    there.recorder.down.clear()
    again = "a run for the message that came back"
    until(lambda: "after trouble" in last_reasons(deployed, capsys), again, timedelta(seconds=120))


def test_a_poison_message_is_put_aside_and_comes_back(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    """A message that nobody can read reaches the dead letters at once; `redrive --dry-run` shows how many, since when
    and why, `redrive` brings it back, which is seen by its being put aside once more, and `status` knows of it.
    """
    there, sqs = deployed.account, deployed.account.client("sqs")
    queue = os.environ["UNSTALE_EVENTS_QUEUE_URL"]
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]["RedrivePolicy"])
    dead = sqs.get_queue_url(QueueName=policy["deadLetterTargetArn"].rpartition(":")[2])["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="poison")

    def lying() -> list[Any]:
        found = sqs.receive_message(QueueUrl=dead, VisibilityTimeout=0, MessageSystemAttributeNames=["All"])
        return list(found.get("Messages", ()))

    [letter] = until(lying, "a dead letter")
    assert letter["Body"] == "poison"
    code, text = unstale(deployed, capsys, "redrive", "--dry-run")
    assert code == 1
    assert "not JSON" in text
    assert unstale(deployed, capsys, "status")[0] == 1
    code, text = unstale(deployed, capsys, "redrive")
    assert code == 0, text
    assert "1 of 1 moved back, completed" in text
    again = until(
        lambda: [each for each in lying() if each["MessageId"] != letter["MessageId"]], "the letter, put aside again"
    )
    assert [each["Body"] for each in again] == ["poison"]
    until(lambda: there.log.read_text(encoding="utf-8").count('"dead letter"') >= 2, "both in the log")
    sqs.purge_queue(QueueUrl=dead)


def test_a_lost_answer_is_looked_up_and_a_run_past_its_time_is_stopped(deployed: Deployed) -> None:
    """Of the first runs, one never ends, and is stopped on the platform after the minute that it has; and one start's
    answer is lost, so that its run is looked for there, and no other is sent meanwhile.
    """
    there = deployed.account
    for call in ("Stop{}", "List{}s"):
        name = "glue:" + call.format("MaterializedViewRefreshTaskRun")
        until(lambda name=name: name in there.recorder.called, name, timedelta(minutes=5))  # type: ignore[misc]
    assert not there.aws.faults.unused_faults()
    until(lambda: runs(there, "stuck")[0].outcome == "stopped", "the end of the run that was stopped")
    found = runs(there, "unheard")
    assert [run.outcome for run in found][:1] == ["succeeded"]
    assert count_overlaps(found) == 0


def test_what_became_of_views_lies_in_a_queue(deployed: Deployed) -> None:
    """By a rule of the bus and by a subscription of the topic: CloudEvents of the refreshes above, each at
    least once and none left out; and the webhook got them as messages for people, signed.
    """
    here = deployed.account
    found: dict[str, list[dict[str, Any]]] = {"bus": [], "topic": []}

    def is_refreshed(name: str) -> bool:
        found[name] += told(here, name)
        return "unstale.refreshed" in {each["type"] for each in found[name] if each["subject"] == "daily_revenue"}

    for name, events in found.items():
        until(lambda name=name: is_refreshed(name), f"an outcome event by the {name}")  # type: ignore[misc]
        assert {each["specversion"] for each in events} == {"1.0"}
        assert {each["subject"] for each in events} <= set(VIEWS)
        numbers = {int(each["id"].rpartition("/")[2]) for each in events if each["subject"] == "daily_revenue"}
        assert numbers == set(range(1, max(numbers) + 1))
    refreshed = next(each for each in found["bus"] if each["type"] == "unstale.refreshed")
    assert (refreshed["data"]["run"]["outcome"], refreshed["data"]["name"]) == ("succeeded", refreshed["subject"])
    until(lambda: deployed.posted, "a message at the webhook")
    first = deployed.posted[0]
    assert json.loads(first.body)["blocks"][0]["type"] == "header"
    signed = f"{first.headers['webhook-id']}.{first.headers['webhook-timestamp']}.".encode() + first.body
    key = base64.b64decode(SIGNING_KEY.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert first.headers["webhook-signature"] == f"v1,{expected}"


NOT_HERE = {"s3tables:ListTables", "s3tables:GetTableMetadataLocation", "s3:PutObject"}
"""What looks at sources in table buckets ask for, which MiniStack has not; and a page that is written, which is off."""


def test_the_role_grants_what_was_called_no_more_and_no_fewer(deployed: Deployed) -> None:
    """Every call of the function that the record has is granted, and every grant was used; but for those that AWS's own
    services use in the function's name.
    """
    called = {ACTION_OF.get(call, call) for call in deployed.account.recorder.called}
    assert granted() - BY_SERVICES - NOT_HERE == called - BY_SERVICES


def test_sam_finds_nothing_wrong(tmp_path: Path) -> None:
    """`sam validate --lint` on the template as it is."""
    done = subprocess.run(
        [WHERE / "sam", "validate", "--lint", "--template", TEMPLATE, "--region", REGION],
        env=clean_environment(),
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_for_lambda_is_for_arm64_and_does_not_vary(tmp_path: Path) -> None:
    """Whatever this machine is: `make package-aws` takes wheels for arm64, and gives the same bytes the second time."""
    made_at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    config = ROOT / "unstale.example.toml"
    archives = [packaging.package(config, tmp_path / name / "aws", made_at=made_at) for name in ("one", "two")]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert archives[0].stat().st_size < packaging.GOAL_BYTES
    libraries = list((tmp_path / "one").rglob("*.so"))
    assert libraries
    for library in libraries:
        assert struct.unpack_from("<H", library.read_bytes(), 18) == (0xB7,)  # EM_AARCH64


BY_COMMAND = f"""
[defaults]
look = "off"
quiet_period = "1s"
visibility_lag = "2s"
min_interval = "1s"

[targets.by_command]
kind       = "glue-view"
catalog_id = "{ACCOUNT}"
database   = "sales"
table      = "by_command"
on         = [{{ s3_object_created = {{ bucket = "by-command" }} }}]
"""


def test_one_command_deploys_and_looks(
    deployed: Deployed, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`unstale deploy aws`: a stack of its own by the real `sam deploy`, `check --live` without a finding, the first
    tick waited for, and `status` of a view that was then asked to be refreshed; exit code 0. A template that `sam`
    refuses ends it with the step.
    """
    there = deployed.account
    config, _ = _packaged(tmp_path, BY_COMMAND)
    (tmp_path / "pyproject.toml").touch()  # a clone, for whoever asks where templates and package are
    there.aws.create_view("sales", "by_command")
    _sending(there, "by-command")
    monkeypatch.setattr(places, "ROOT", tmp_path)
    for_this_machine = partial(packaging.package, third_party=installed_here, python=HERE)
    monkeypatch.setattr(packaging, "package", for_this_machine)
    monkeypatch.setenv("PATH", f"{WHERE}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SAM_CLI_TELEMETRY", "0")
    for name in [name for name in os.environ if name.startswith("UNSTALE_")]:
        monkeypatch.delenv(name)
    command = ["deploy", "aws", "--environment", "by-command", "--config", str(config)]
    code = main(command)
    printed = capfd.readouterr()
    assert code == 0, printed
    assert printed.out.count("\n# step ") + printed.out.startswith("# step ") == 4
    assert outputs(there, "unstale-by-command")["Function"]
    assert re.search(r"^by_command +(stale|fresh) ", printed.out, flags=re.MULTILINE), printed.out
    template = tmp_path / "infra" / "aws" / "template.yaml"
    template.write_text(template.read_text(encoding="utf-8").replace("Resources:", "Resourcen:", 1), encoding="utf-8")
    assert main(command) == 1
    assert "step 2 of 4 failed (deploy the stack" in capfd.readouterr().err


PROMPT = '[defaults]\nquiet_period = "1s"\nvisibility_lag = "2s"\nmin_interval = "1s"\n'


def test_a_thousand_targets_on_three_hundred_buckets_are_one_stack(deployed: Deployed, tmp_path: Path) -> None:
    """`sam deploy` takes the parameters of an environment that size, and an object in the last of its buckets becomes
    a refresh of the view that waits for it. No tick comes meanwhile: the first would start a thousand refreshes.
    """
    there, view = deployed.account, "view_299"
    config, here = _packaged(tmp_path, PROMPT + many(1000, 300, catalog=ACCOUNT))
    template = (here / "template.yaml").read_text(encoding="utf-8")
    assert "rate(1 minute)" in template
    (here / "template.yaml").write_text(template.replace("rate(1 minute)", "rate(1 day)"), encoding="utf-8")
    there.aws.create_view("sales", view)
    infra.aws(config, as_json=False, write=True, environment="many", samconfig=here / "samconfig.toml")
    command = (str(WHERE / "sam"), "deploy", "--config-env", "many", "--no-confirm-changeset")
    done = there.run(*command, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    found = outputs(there, "unstale-many")
    assert found["BucketsThatMustSend"].endswith(" more")
    bucket = max(buckets(read_config(config)))
    _sending(there, bucket)
    there.client("s3").put_object(Bucket=bucket, Key="landing/299/1.json", Body=b"rows")
    until(lambda: runs(there, view), "a refresh of the view that waits for that bucket", timedelta(minutes=5))
