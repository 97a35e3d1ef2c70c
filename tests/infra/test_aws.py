"""The SAM template: house rules as relations, to the code, to the configuration and between its own parts."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from functions_aws import page, settings, store
from functions_aws.telemetry import COUNTED, GAUGES, NAMESPACE, Telemetry
from infra.packaging import aws as packaging
from infra.parameters.aws import LONGEST_PARAMETER, as_many_as_fit, glue_resources, inputs
from infra.parameters.errors import ParameterError
from infra.parameters.event_patterns import SLOTS
from infra.parameters.samconfig import overrides
from local.checks import aws as live
from local.cli import infra, main
from shared.config.load import load
from shared.destinations import SIGNAL_SOURCE
from shared.inbound import eventbridge
from shared.inbound.dispatch import stays_away
from shared.inbound.messages import Asked, GlueRunEnded
from shared.platforms.glue import CAPABILITIES
from shared.refresh.engine import LogEvent
from shared.targets import GlueView
from tests.support.locks import pins
from tests.support.sam_template import (
    TEMPLATE,
    deployed,
    listed,
    policy_statements,
    refers_to,
    resources,
    statements,
    written,
)

ROOT = Path(__file__).parents[2]
DAY_SECONDS = 86_400
LONGEST_RETENTION_SECONDS = 14 * DAY_SECONDS
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def function() -> dict[str, Any]:
    """The one function."""
    [found] = resources("AWS::Lambda::Function").values()
    return found


def queues() -> tuple[dict[str, Any], dict[str, Any]]:
    """The queues that are polled, and those for dead letters."""
    found = resources("AWS::SQS::Queue")
    polled = {name: queue for name, queue in found.items() if "RedrivePolicy" in queue}
    return polled, {name: queue for name, queue in found.items() if name not in polled}


# --- Judged by others ------------------------------------------------------------------------------------------------


def test_cfn_lint_finds_nothing() -> None:
    """AWS's linter has nothing to say to the template as it is written."""
    assert linted(TEMPLATE) == ""


def test_cfn_lint_finds_nothing_in_what_is_deployed(tmp_path: Path) -> None:
    """Nor to what SAM's transform makes of it, but that the authorization reference (W3037) lacks just the four actions
    on materialized views, which the template says; and that a parameter (W2001) is used by the transform alone.
    """
    template = tmp_path / "template.json"
    template.write_text(json.dumps(deployed()), encoding="utf-8")
    said = linted(template)
    assert set(re.findall(r"W3037 '(\w+)'", said)) == {
        action.partition(":")[2].lower() for action in granted() if "MaterializedView" in action
    }
    assert set(re.findall(r"^[EW]\d+", said, flags=re.MULTILINE)) == {"W3037", "W2001"}
    assert re.findall("W2001 (.*)", said) == ["Parameter GradualRollout not used."]


def linted(template: Path) -> str:
    """What cfn-lint says."""
    command: list[str | Path] = [
        Path(sys.executable).with_name("cfn-lint"),
        "--include-checks",
        "W",
        "--",
        str(template),
    ]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


# --- Nothing lost ----------------------------------------------------------------------------------------------------


def test_a_days_outage_of_ours_dead_letters_nothing() -> None:
    """A message that fails every time is still in its queue after a day, and has not run out of retention: whether the
    function reports it and brings it back sooner, or fails as a whole.
    """
    polled, _ = queues()
    for queue in polled.values():
        receives = queue["RedrivePolicy"]["maxReceiveCount"]
        reported_seconds = sum(stays_away(number).total_seconds() for number in range(1, receives))
        for patience_seconds in (reported_seconds, queue["VisibilityTimeout"] * receives):
            assert DAY_SECONDS < patience_seconds < LONGEST_RETENTION_SECONDS - DAY_SECONDS


def test_a_message_that_is_reported_comes_back_sooner_than_a_function_that_fails_gives_it_back() -> None:
    """Or there would be no point in bringing it back."""
    polled, _ = queues()
    for queue in polled.values():
        for number in (1, queue["RedrivePolicy"]["maxReceiveCount"]):
            assert stays_away(number).total_seconds() < queue["VisibilityTimeout"]


def test_a_message_stays_hidden_for_as_long_as_lambda_may_need() -> None:
    """Six times the function's time-out, and the batch window: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html."""
    polled, _ = queues()
    for mapping in resources("AWS::Lambda::EventSourceMapping").values():
        [queue] = refers_to(mapping["EventSourceArn"])
        needed_seconds = 6 * function()["Timeout"] + mapping["MaximumBatchingWindowInSeconds"]
        assert polled[queue]["VisibilityTimeout"] >= needed_seconds


def test_queues_keep_messages_as_long_as_sqs_can_and_encrypted() -> None:
    """14 days, each polled queue with dead letters of its own."""
    polled, dead = queues()
    assert len(polled) == len(dead) == 2
    for queue in [*polled.values(), *dead.values()]:
        assert queue["MessageRetentionPeriod"] == LONGEST_RETENTION_SECONDS
        assert queue["SqsManagedSseEnabled"] == {"Fn::If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}
    owners = [refers_to(queue["RedrivePolicy"]) for queue in polled.values()]
    assert set().union(*owners) == set(dead)


def test_batches_fail_in_part_and_are_never_throttled_into_the_dead_letters() -> None:
    """Every polled queue has a mapping that reports failures one by one, and no concurrency is reserved."""
    mappings = resources("AWS::Lambda::EventSourceMapping").values()
    assert {name for mapping in mappings for name in refers_to(mapping["EventSourceArn"])} == set(queues()[0])
    for mapping in mappings:
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"]["MaximumConcurrency"] >= 2
    assert "ReservedConcurrentExecutions" not in function()


def test_everything_asynchronous_has_somewhere_to_fail_to() -> None:
    """Rules, the schedule and the function's own asynchronous invocations: retried for a bounded time, then kept."""
    targets = [target for rule in resources("AWS::Events::Rule").values() for target in rule["Targets"]]
    schedules = [schedule["Target"] for schedule in resources("AWS::Scheduler::Schedule").values()]
    assert len(targets) == SLOTS + 2
    assert len(schedules) == 1
    for target in [*targets, *schedules]:
        assert refers_to(target["DeadLetterConfig"]) <= set(resources("AWS::SQS::Queue"))
        assert 60 <= target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= DAY_SECONDS
    assert refers_to(function()["DeadLetterConfig"]) <= set(queues()[0])


def test_the_function_has_time_for_a_look() -> None:
    """A call to the platform, what the store and the queue take at most, and the margin fit the time-out."""
    assert function()["Timeout"] > 4 * CAPABILITIES.call_timeout.total_seconds()


# --- Relations to the code -------------------------------------------------------------------------------------------


class Seen(dict[str, str]):
    """An environment that notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__(UNSTALE_TABLE="t", UNSTALE_QUEUE_URL="https://q")
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Note it."""
        self.asked.add(name)
        return super().get(name, default)


def test_the_variables_are_those_that_the_settings_read() -> None:
    """The template sets what `settings.read` asks for, and nothing else, but for AWS_REGION, which Lambda sets; the
    configuration is where the default is.
    """
    seen = Seen()
    settings.read(seen)
    assert set(function()["Environment"]["Variables"]) | {"UNSTALE_CONFIG", "AWS_REGION"} == seen.asked
    assert settings.read(seen).config == settings.PACKAGE_ROOT / "unstale.toml"


def test_no_secret_is_in_the_environment() -> None:
    """Names of resources and a digest, no more: nothing comes from a parameter that could hold a secret."""
    named = refers_to(function()["Environment"]["Variables"])
    kinds = ("AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SNS::Topic")
    known = {name for kind in kinds for name in resources(kind)} | {"AWS::StackName", "ConfigFingerprint", "Metrics"}
    assert named <= known
    assert not any("NoEcho" in parameter for parameter in written()["Parameters"].values())
    assert "{{resolve:" not in TEMPLATE.read_text(encoding="utf-8")


def test_the_handler_runtime_and_architecture_are_those_of_the_package() -> None:
    """What is packaged is what is deployed, for the machine that it is packaged for."""
    module, _, name = function()["Handler"].rpartition(".")
    assert callable(getattr(import_module(module), name))
    assert function()["Runtime"] == f"python{packaging.LAMBDA.python}"
    [architecture] = function()["Architectures"]
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    assert all(tag.endswith(machine) for tag in packaging.LAMBDA.tags)
    code = written()["Resources"]["Function"]["Properties"]["CodeUri"]
    assert (TEMPLATE.parent / code).resolve() == (ROOT / "build" / "aws").with_suffix(".zip")


def test_the_table_is_the_one_that_the_store_writes() -> None:
    """Keys, sparse index and time to live; it outlives the stack and can be put back to any second."""
    [(name, table)] = resources("AWS::DynamoDB::Table").items()
    source = (ROOT / "functions_aws" / "store.py").read_text(encoding="utf-8")
    [index] = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == store.INDEX
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    named = [*table["KeySchema"], *index["KeySchema"], table["TimeToLiveSpecification"]]
    assert all(f'"{key["AttributeName"]}"' in source for key in named)
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    resource = deployed()["Resources"][name]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"


def emitted(capsys: pytest.CaptureFixture[str], metrics: str) -> dict[str, set[frozenset[str]]]:
    """Every metric that the telemetry can write, with the sets of dimensions that it is written under."""
    telemetry = Telemetry("test", metrics=metrics)
    fields: dict[str, Any] = {field: 1 for counts in COUNTED.values() for field in counts.values() if field}
    with telemetry.invocation("id"):
        for what in COUNTED:
            telemetry.emit(LogEvent(what, "view", NOW, fields))
        telemetry.emit(LogEvent("saved", "view", NOW, dict.fromkeys(GAUGES, 1)))
        telemetry.emit(LogEvent("looked", "", NOW, {"outcome": "answered"}))
        telemetry.note_tick()
        telemetry.note_ignored("x")
        telemetry.note_dead_letter("id", "why")
        telemetry.note_returned(["id"], "why", None)
    found: dict[str, set[frozenset[str]]] = {}
    for line in capsys.readouterr().out.splitlines():
        for block in json.loads(line).get("_aws", {}).get("CloudWatchMetrics", ()):
            assert block["Namespace"] == NAMESPACE
            for metric in block["Metrics"]:
                found.setdefault(metric["Name"], set()).update(map(frozenset, block["Dimensions"]))
    return found


@pytest.mark.parametrize("metrics", ["per-view", "total"])
def test_alarms_and_dashboard_watch_what_is_really_told(metrics: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A metric of ours that an alarm or the dashboard names is written by the telemetry, under those dimensions."""
    found = emitted(capsys, metrics)
    ours = [alarm for alarm in resources("AWS::CloudWatch::Alarm").values() if alarm["Namespace"] == NAMESPACE]
    assert ours
    for alarm in ours:
        assert frozenset(dimension["Name"] for dimension in alarm["Dimensions"]) in found[alarm["MetricName"]]
    searches = re.findall(r"SEARCH\('\{([^}]*)\} MetricName=\\\"(\w+)\\\"", dashboard(metrics))
    assert {metric for _, metric in searches} >= {"OwedAge", "SourceAhead", "Looks"}
    for schema, metric in searches:
        namespace, *dimensions = schema.split(",")
        assert namespace == NAMESPACE
        assert frozenset(dimensions) in found[metric]
    [counted] = [w for w in widgets() if w["properties"].get("title") == "Signals and refreshes"]
    names = {metric[1] for metric in counted["properties"]["metrics"]}
    assert all(frozenset({"service"}) in found[name] for name in names)


def test_without_metrics_nothing_waits_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    """`off` writes none; the dashboard and the alarms that would watch them are not made, and the others are."""
    assert emitted(capsys, "off") == {}
    made = deployed()
    assert made["Conditions"]["WritesMetrics"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "Metrics"}, "off"]}]}
    ours = {n for n, alarm in resources("AWS::CloudWatch::Alarm").items() if alarm["Namespace"] == NAMESPACE}
    conditional = {name for name, each in made["Resources"].items() if each.get("Condition") == "WritesMetrics"}
    assert conditional == ours | set(resources("AWS::CloudWatch::Dashboard"))
    assert made["Outputs"]["DashboardUrl"]["Condition"] == "WritesMetrics"
    rest = {**made["Resources"], **made["Outputs"]}
    others = {name: each for name, each in rest.items() if each.get("Condition") != "WritesMetrics"}
    assert not refers_to(others) & conditional
    assert set(written()["Parameters"]["Metrics"]["AllowedValues"]) == set(settings.METRICS)
    assert written()["Parameters"]["Metrics"]["Default"] == settings.METRICS[0]


def test_the_function_starts_from_a_snapshot_if_somebody_wants_that() -> None:
    """SnapStart is off until its parameter says otherwise, and is of versions, which the alias names."""
    assert written()["Parameters"]["SnapStart"]["Default"] == "off"
    choice = {"Fn::If": ["StartsFromSnapshot", "PublishedVersions", "None"]}
    assert resources("AWS::Lambda::Function")["Function"]["SnapStart"] == {"ApplyOn": choice}
    assert deployed()["Conditions"]["StartsFromSnapshot"] == {"Fn::Equals": [{"Ref": "SnapStart"}, "on"]}


def dashboard(metrics: str = "per-view") -> str:
    """The body with these metrics, with what else CloudFormation fills in left as it is."""
    [found] = resources("AWS::CloudWatch::Dashboard").values()
    body, names = found["DashboardBody"]["Fn::Sub"]
    [condition, per_view, otherwise] = names["PerView"]["Fn::If"]
    assert deployed()["Conditions"][condition] == {"Fn::Equals": [{"Ref": "Metrics"}, "per-view"]}
    return str(body).replace("${PerView}", per_view if metrics == "per-view" else otherwise)


def widgets() -> list[dict[str, Any]]:
    """Those of the dashboard."""
    found: list[dict[str, Any]] = json.loads(dashboard())["widgets"]
    return found


def test_the_dashboard_says_what_is_stale_since_when_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Its query of the log asks for fields that lines of the log have."""
    [why] = [widget["properties"]["query"] for widget in widgets() if widget["type"] == "log"]
    telemetry = Telemetry("dashboard")
    with telemetry.invocation("id"):
        telemetry.emit(LogEvent("trouble", "view", NOW, {"message": "m"}))
        telemetry.note_returned(["id"], "why", None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" not in line]
    keys = {key for line in lines for key in line} | {f"detail.{key}" for line in lines for key in line["detail"]}
    asked = set(re.findall(r"[\w.]+", why.partition("fields @timestamp, ")[2].partition(" as why")[0]))
    assert {"level", "target", "message", "detail.message", "detail.why"} <= asked & keys
    assert {line["level"] for line in lines} == set(re.findall(r"'(WARNING|ERROR)'", why))
    alarms = json.dumps(next(widget for widget in widgets() if widget["type"] == "alarm"))
    assert all(f"${{{name}.Arn}}" in alarms for name in resources("AWS::CloudWatch::Alarm"))


# --- Alarms ----------------------------------------------------------------------------------------------------------


def test_every_alarm_tells_somebody_what_it_means_and_what_to_do() -> None:
    """All go to the topic, when they go off and when it is over; those about dead letters name the command."""
    alarms = resources("AWS::CloudWatch::Alarm")
    [topic] = resources("AWS::SNS::Topic")
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]
        assert re.search("unstale (status|redrive|check)|log", alarm["AlarmDescription"])
    watched = {name: alarm for name, alarm in alarms.items() if refers_to(alarm["Dimensions"]) & set(queues()[1])}
    assert len(watched) == len(queues()[1])
    assert all("unstale redrive --dry-run" in alarm["AlarmDescription"] for alarm in watched.values())


def test_what_comes_back_again_and_again_is_an_alarm() -> None:
    """The age of a queue's oldest message does not tell of it, so what we send back is counted; in each period that the
    alarm looks at there is one, however seldom a message comes back by then.
    """
    [alarm] = [a for a in resources("AWS::CloudWatch::Alarm").values() if a["MetricName"] == "ReturnedMessages"]
    [queue, *_] = queues()[0].values()
    longest = max(stays_away(number) for number in range(1, queue["RedrivePolicy"]["maxReceiveCount"]))
    assert alarm["Period"] > longest.total_seconds() + function()["Timeout"]
    assert alarm["EvaluationPeriods"] > 1
    assert (alarm["Statistic"], alarm["Threshold"], alarm["ComparisonOperator"]) == ("Sum", 0, "GreaterThanThreshold")


def test_silence_of_the_tick_is_an_alarm() -> None:
    """Where nothing is written any more, no data must not look like no trouble."""
    alarms = resources("AWS::CloudWatch::Alarm")
    assert {name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "breaching"} == {"TickMissing"}


ROLLOUT_SECONDS = 300
"""Canary10Percent5Minutes."""


def test_a_new_version_is_taken_back_when_an_alarm_goes_off() -> None:
    """The alias moves gradually, and its alarms go off in time; everything that calls the function calls the alias.
    With GradualRollout=false it moves at once, and nothing of CodeDeploy is left but its role.
    """
    [group] = resources("AWS::CodeDeploy::DeploymentGroup").values()
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    alarms = {name for alarm in group["AlarmConfiguration"]["Alarms"] for name in refers_to(alarm)}
    assert alarms
    for name in alarms:
        alarm = resources("AWS::CloudWatch::Alarm")[name]
        looks = alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
        assert alarm["Period"] * looks <= ROLLOUT_SECONDS, f"{name} goes off too late"
    aliases = set(resources("AWS::Lambda::Alias"))
    at_once = deployed("false")["Resources"]
    left = [name for name, resource in at_once.items() if "CodeDeploy" in json.dumps(resource)]
    assert left == ["DeployRole"], "a role that nobody takes on, and nothing that would"
    assert aliases <= set(at_once)
    callers = [mapping["FunctionName"] for mapping in resources("AWS::Lambda::EventSourceMapping").values()]
    callers += [schedule["Target"]["Arn"] for schedule in resources("AWS::Scheduler::Schedule").values()]
    assert {name for caller in callers for name in refers_to(caller)} == aliases


# --- Permissions -----------------------------------------------------------------------------------------------------


def test_no_action_is_a_wildcard_and_no_resource_unless_asked_for() -> None:
    """Named actions on named resources. The one `*` is behind a parameter, because whether Glue's four actions heed
    resources is not published.
    """
    for statement in statements():
        if statement["Effect"] == "Deny":
            continue
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action) for action in listed(statement["Action"]))
        assert "NotAction" not in statement
        for resource in listed(statement["Resource"]):
            if isinstance(resource, dict) and "Fn::If" in resource:
                condition, wide, named = resource["Fn::If"]
                assert (condition, wide) == ("AnyGlueResource", "*")
                assert refers_to(named) == {"GlueResources"}
            else:
                assert "*" not in json.dumps(resource)
    assert written()["Parameters"]["GlueScope"]["Default"] == "named"


def test_every_permission_has_its_reason_above_it() -> None:
    """A comment stands above each statement of a role, and above each role whose policy is AWS's own."""
    text = TEMPLATE.read_text(encoding="utf-8")
    lines = text.splitlines()
    first, last = (lines.index(f"  # --- {title} ".ljust(120, "-")) for title in (PERMISSIONS, "Alarms"))
    granted = [n for n in range(first, last) if re.match(r"\s+- (&\S+ !If|\*\S+|Sid: )", lines[n])]
    assert len(granted) >= 12
    inside = [n for n in granted if "!If" in lines[n - 2]]  # the statement of a condition that has its comment already
    for number in {*granted} - {*inside}:
        assert lines[number - 1].lstrip().startswith("#"), lines[number]
    managed = [name for name, role in resources("AWS::IAM::Role").items() if "ManagedPolicyArns" in role]
    assert managed == ["DeployRole"]
    assert lines[lines.index("  DeployRole:") - 1].startswith("  # http")


PERMISSIONS = "Permissions: all that this stack grants"


def test_the_section_that_promises_to_name_all_permissions_names_all() -> None:
    """SAM adds no role and no policy of its own: each role that CloudFormation gets stands in the section."""
    section = TEMPLATE.read_text(encoding="utf-8").partition(f"  # --- {PERMISSIONS} ")[2].partition("\n  # --- ")[0]
    roles = {name for kind in ("Role", "Policy", "ManagedPolicy") for name in resources(f"AWS::IAM::{kind}")}
    assert roles == set(re.findall(r"^  (\w+):$", section, flags=re.MULTILINE))
    group = resources("AWS::CodeDeploy::DeploymentGroup")["FunctionDeploymentGroup"]
    assert refers_to(group["ServiceRoleArn"]) == {"DeployRole"}


def test_a_permissions_boundary_bounds_every_role() -> None:
    """The one that the parameter names; none where it is empty."""
    roles = resources("AWS::IAM::Role")
    assert len(roles) == 4
    bounds = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
    assert all(role["PermissionsBoundary"] == bounds for role in roles.values())
    assert written()["Parameters"]["PermissionsBoundary"]["Default"] == ""


def test_one_identity_of_azure_may_signal_and_do_nothing_else() -> None:
    """Trusted are the tenant's tokens of that audience and subject; what they open is one action on one bus, under the
    source and of the kind that the function on Azure sends. Without an identity there is no such role.
    """
    role = deployed()["Resources"]["SignalRole"]
    assert role["Condition"] == "SignalledFromAzure"
    assert written()["Conditions"]["SignalledFromAzure"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AzurePrincipal"}, ""]}]
    }
    assert all(written()["Parameters"][name]["Default"] == "" for name in ("AzureTenant", "AzurePrincipal"))
    trust = json.loads(role["Properties"]["AssumeRolePolicyDocument"]["Fn::Sub"])
    provider = "sts.windows.net/${AzureTenant}/"
    assert trust["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:oidc-provider/{provider}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {f"{provider}:aud": "${AzureAudience}", f"{provider}:sub": "${AzurePrincipal}"}
            },
        }
    ]
    [policy] = role["Properties"]["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "events:PutEvents"
    bus = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default"
    assert statement["Resource"] == {"Fn::Sub": bus}
    only = {"events:source": SIGNAL_SOURCE, "events:detail-type": eventbridge.SIGNAL}
    assert statement["Condition"] == {"StringEquals": only}
    assert written()["Outputs"]["SignalRole"]["Condition"] == "SignalledFromAzure"


def test_queues_table_and_topic_refuse_plain_transport() -> None:
    """All that the stack stores, and that its service would serve without TLS, refuses everybody without TLS."""
    refused: dict[str, set[str]] = {}
    for kind, listing in (("AWS::SQS::QueuePolicy", "Queues"), ("AWS::SNS::TopicPolicy", "Topics")):
        for policy in resources(kind).values():
            [refusal] = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Deny"]
            assert refers_to(refusal["Resource"]) == refers_to(policy[listing])
            refused.setdefault(kind, set()).update(refers_to(policy[listing]))
            assert in_plain_text(refusal)
    assert refused["AWS::SQS::QueuePolicy"] == set(resources("AWS::SQS::Queue"))
    assert refused["AWS::SNS::TopicPolicy"] == set(resources("AWS::SNS::Topic"))
    [bucket] = resources("AWS::S3::BucketPolicy").values()
    [refusal] = bucket["PolicyDocument"]["Statement"]
    assert in_plain_text(refusal)
    for table in resources("AWS::DynamoDB::Table").values():
        [refusal] = table["ResourcePolicy"]["PolicyDocument"]["Statement"]
        assert refusal["Effect"] == "Deny"
        assert in_plain_text(refusal)


def in_plain_text(statement: dict[str, Any]) -> bool:
    """Whether a statement is about everybody who comes without TLS."""
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    return bool(statement["Principal"] == "*" and statement["Condition"] == condition)


def test_cloudwatch_may_tell_the_topic() -> None:
    """The topic's policy takes the place of SNS's own, so it lets the alarms of this account in."""
    [policy] = resources("AWS::SNS::TopicPolicy").values()
    [allowed] = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_one_key_of_ones_own_keeps_all_that_is_stored() -> None:
    """With the parameter, queues, table, topic, log and variables are under that key, and who uses them may use it."""
    key = {"Fn::If": ["HasKey", {"Ref": "EncryptionKey"}, {"Ref": "AWS::NoValue"}]}
    kept = {"SQS::Queue": "KmsMasterKeyId", "SNS::Topic": "KmsMasterKeyId", "Logs::LogGroup": "KmsKeyId"}
    for kind, name in (kept | {"Lambda::Function": "KmsKeyArn"}).items():
        found = resources(f"AWS::{kind}")
        assert found
        assert all(properties[name] == key for properties in found.values()), kind
    [table] = resources("AWS::DynamoDB::Table").values()
    assert refers_to(table["SSESpecification"]["Fn::If"][1]) == {"EncryptionKey"}
    for role in ("FunctionRole", "TickRole"):
        [policy] = resources("AWS::IAM::Role")[role]["Policies"]
        conditional = [one["Fn::If"] for one in policy["PolicyDocument"]["Statement"] if "Fn::If" in one]
        [using] = [one for one in conditional if one[0] == "HasKey"]
        assert using[2] == {"Ref": "AWS::NoValue"}
        assert using[1]["Resource"] == {"Ref": "EncryptionKey"}
        assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(using[1]["Action"])
    assert written()["Parameters"]["EncryptionKey"]["Default"] == ""


def test_the_page_has_a_private_bucket_that_is_there_only_where_it_is_wanted() -> None:
    """Off by default. Nothing of it is public; the function writes one object, and reads none."""
    assert written()["Parameters"]["WritePage"]["Default"] == "false"
    [(name, bucket)] = resources("AWS::S3::Bucket").items()
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert refers_to(bucket["BucketEncryption"]) == {"EncryptionKey", "AWS::NoValue"}
    made = deployed()["Resources"]
    for each in (name, "PageBucketPolicy"):
        assert made[each]["Condition"] == "WritesPage"
    variable = function()["Environment"]["Variables"]["UNSTALE_PAGE_BUCKET"]
    assert variable == {"Fn::If": ["WritesPage", {"Ref": name}, ""]}
    [statement] = [one for one in statements() if "s3:PutObject" in listed(one["Action"])]
    assert statement["Resource"] == {"Fn::Sub": f"${{{name}.Arn}}/{page.KEY}"}
    output = written()["Outputs"]["PageEnvironment"]
    assert (output["Condition"], output["Value"]) == (
        "WritesPage",
        {"Fn::Sub": f"export UNSTALE_PAGE_BUCKET=${{{name}}}"},
    )


def test_beside_the_alarms_of_a_view_the_function_tells_which_one() -> None:
    """Only where somebody gets mail from the topic: that topic alone, and a variable that names it."""
    assert function()["Environment"]["Variables"]["UNSTALE_ALARM_TOPIC"] == {
        "Fn::If": ["SendsEmail", {"Ref": "Alarms"}, ""]
    }
    [policy] = resources("AWS::IAM::Role")["FunctionRole"]["Policies"]
    conditional = [one["Fn::If"] for one in policy["PolicyDocument"]["Statement"] if "Fn::If" in one]
    [telling] = [one[1] for one in conditional if one[0] == "SendsEmail"]
    assert (telling["Action"], telling["Resource"]) == ("sns:Publish", {"Ref": "Alarms"})


BY_SERVICES = {
    # The poller uses the function's role: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    # ... and so does the log: https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    # Asked of whoever starts a refresh: https://docs.aws.amazon.com/lake-formation/latest/dg/materialized-views.html
    "glue:GetTable",
    # ... and SQS, DynamoDB and Lambda use a key of one's own in the function's name.
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:DescribeKey",
}
"""What is granted although our code does not call it."""


def granted() -> set[str]:
    """What the function's role may do."""
    [policy] = resources("AWS::IAM::Role")["FunctionRole"]["Policies"]
    return {action for one in policy_statements(policy["PolicyDocument"]) for action in listed(one["Action"])}


ACTION_OF = {"sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility"}
"""Operations that IAM knows by another name: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html."""


def test_the_role_grants_only_what_the_code_calls() -> None:
    """Each action is an operation that `functions_aws` calls, or one of the few that AWS's services need. That none is
    missing is shown where it is deployed: by the record of calls of the end-to-end stage.
    """
    operations = {operation.replace("_", "").lower() for operation in called_methods()}
    operation_of = {action: operation for operation, action in ACTION_OF.items()}
    for action in granted() - BY_SERVICES:
        assert operation_of.get(action, action).partition(":")[2].lower() in operations


def test_sources_are_looked_at_by_resource_and_only_their_metadata() -> None:
    """What looks reads the tables that the parameter names, whatever scope the refreshes have, and never any data."""
    [policy] = resources("AWS::IAM::Role")["FunctionRole"]["Policies"]
    looking = [one for one in policy_statements(policy["PolicyDocument"]) if one.get("Sid") == "LookAtSources"]
    assert [one["Resource"] for one in looking] == [{"Ref": "SourceResources"}]
    of_catalogs = {action for action in granted() if action.startswith(("glue:GetTable", "s3tables:"))}
    assert of_catalogs == {action for one in looking for action in one["Action"]}
    assert of_catalogs == {
        "glue:GetTable",
        "glue:GetTables",
        "s3tables:ListTables",
        "s3tables:GetTableMetadataLocation",
    }
    assert {action for action in granted() if action.startswith("s3:")} == {"s3:PutObject"}, (
        "the written page's, if any"
    )


def called_methods() -> set[str]:
    """Names of attributes and texts in `functions_aws`, among which are the methods of the SDK's clients."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "functions_aws").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return texts | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_only_the_rules_of_the_stack_may_send_to_the_events_queue() -> None:
    """The queue's policy names every rule by its ARN, and the account."""
    found = [
        one for policy in resources("AWS::SQS::QueuePolicy").values() for one in policy["PolicyDocument"]["Statement"]
    ]
    [statement] = [one for one in found if one["Effect"] == "Allow"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    sources = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert refers_to(sources) - {"AWS::NoValue"} == set(resources("AWS::Events::Rule"))
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    rules = resources("AWS::Events::Rule").values()
    sent_to = {name for rule in rules for target in rule["Targets"] for name in refers_to(target)}
    assert sent_to == refers_to(statement["Resource"])


def test_the_rules_that_stand_whatever_the_configuration_says_send_what_is_read() -> None:
    """Signals of one's own, and Glue's events about refreshes: each kind that a rule lets through is one that the
    reader of events makes something of (the names in Glue's detail are as in its other events).
    """
    rules = resources("AWS::Events::Rule")
    assert rules["Signals"]["EventPattern"] == {"Ref": "SignalPattern"}
    patterns = [rules["RefreshEnded"]["EventPattern"], json.loads(written()["Parameters"]["SignalPattern"]["Default"])]
    kinds = [kind for pattern in patterns for kind in pattern["detail-type"]]
    assert set(kinds) == live.ALWAYS
    detail = {"databaseName": "sales", "tableName": "daily", "target": "daily"}
    for kind in kinds:
        event = {"source": "aws.glue", "detail-type": kind, "time": "2026-11-23T00:00:00Z", "detail": detail}
        assert isinstance(eventbridge.read(event, NOW), GlueRunEnded | Asked), kind


# --- Several environments --------------------------------------------------------------------------------------------


def test_no_name_is_fixed() -> None:
    """Two stacks of one account share no name: what has one has the stack's in it, the schedule's is made up."""
    for name, resource in deployed()["Resources"].items():
        if resource["Type"] == "AWS::Lambda::Alias":
            continue  # a name within the function's
        given = [value for key, value in resource.get("Properties", {}).items() if key in NAMES]
        assert all("AWS::StackName" in json.dumps(value) or refers_to(value) for value in given), name
    assert written()["Resources"]["Function"]["Properties"]["Events"]["Tick"]["Properties"]["OmitName"] is True


NAMES = {
    "Name",
    "QueueName",
    "TableName",
    "TopicName",
    "RoleName",
    "RuleName",
    "LogGroupName",
    "AlarmName",
    "DashboardName",
}


def test_logs_end() -> None:
    """The function has a log group of its own, with a retention, and writes JSON."""
    logging = function()["LoggingConfig"]
    assert refers_to(logging["LogGroup"]) == set(resources("AWS::Logs::LogGroup"))
    assert logging["LogFormat"] == "JSON"
    assert all("RetentionInDays" in group for group in resources("AWS::Logs::LogGroup").values())


def test_no_level_of_the_log_leaves_metrics_out() -> None:
    """A line of metrics has no level, and Lambda takes such lines for INFO: a higher level would silence the alarms.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    """
    assert refers_to(function()["LoggingConfig"]["ApplicationLogLevel"]) == {"LogLevel"}
    assert set(written()["Parameters"]["LogLevel"]["AllowedValues"]) <= {"TRACE", "DEBUG", "INFO"}


def test_parameters_and_outputs_are_described() -> None:
    """Each says in a sentence what it is for, and no two say the same but the patterns after the first."""
    described = written()["Parameters"] | written()["Outputs"]
    said = {name: each["Description"].strip() for name, each in described.items()}
    for name, text in said.items():
        assert re.fullmatch(r"[A-Z`].{20,}\.", text, flags=re.DOTALL), name
    repeated = [name for name, text in said.items() if list(said.values()).count(text) > 1]
    assert repeated == [f"EventPattern{number}" for number in range(2, SLOTS + 1)]


def test_the_refresh_by_hand_works_with_both_versions_of_the_aws_cli(tmp_path: Path) -> None:
    """The output, typed into a shell, hands the AWS CLI its payload as bytes: version 2 takes any other payload for
    base64, and the option that says otherwise is unknown to version 1. Both were tried so (1.46.3 and 2.36.7).
    """
    said = (
        written()["Outputs"]["Refresh"]["Value"]["Fn::Sub"]
        .replace("${Function}", "unstale")
        .replace("<target>", "daily")
    )
    assert "--cli-binary-format" not in said
    cli = tmp_path / "aws"
    cli.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\ncat\n', encoding="utf-8")
    cli.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", said], env=path, check=True, capture_output=True, text=True)
    *arguments, payload = done.stdout.splitlines()
    named = dict(zip(arguments[2:-1:2], arguments[3:-1:2], strict=True))
    assert (arguments[:2], arguments[-1]) == (["lambda", "invoke"], "/dev/stdout")
    assert named == {"--function-name": "unstale:live", "--payload": "fileb:///dev/stdin"}
    assert json.loads(payload) == {"refresh": "daily"}


# --- The parameters follow the configuration -------------------------------------------------------------------------

CONFIG = """
[targets.daily]
kind = "glue-view"
catalog_id = "123456789012"
database = "Sales"
table = "it's, \\"daily\\" é*"
on = [{ s3_object_created = { bucket = "landing", prefix = "o'r\\"d\\\\ers, é/", suffix = ".json" } }]

[targets.lake]
kind = "glue-view"
catalog_id = "123456789012:s3tablescatalog/bucket-1"
database = "ns"
table = "view"
schedule = { cron = "0 6 * * *" }
"""


def test_the_template_takes_what_the_configuration_gives() -> None:
    """`infra aws` writes the parameters of the group that says so, and all that have no default."""
    groups = written()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    found = inputs(load(CONFIG), "eu-central-1")
    assert set(found.parameters) == set(groups[0]["Parameters"])
    assert {name for group in groups for name in group["Parameters"]} == set(written()["Parameters"])
    needed = {name for name, parameter in written()["Parameters"].items() if "Default" not in parameter}
    assert needed <= set(found.parameters)
    assert all(len(value) <= 4096 for value in found.parameters.values())
    assert found.notes == ()


def test_the_role_is_for_the_catalogs_databases_and_views_named() -> None:
    """ARNs as Glue's guide has them, in the file's spelling and in Glue's, with no wildcard for what can be written."""
    views = [GlueView("123456789012", "Sales", "Daily"), GlueView("123456789012:s3tablescatalog/b-1", "ns", "v*")]
    arns, notes = glue_resources(views, "cn-north-1")
    prefix = "arn:aws-cn:glue:cn-north-1:123456789012"
    assert notes == ()
    assert set(arns) == {
        f"{prefix}:catalog",
        f"{prefix}:database/Sales",
        f"{prefix}:database/sales",
        f"{prefix}:table/Sales/Daily",
        f"{prefix}:table/sales/daily",
        f"{prefix}:catalog/s3tablescatalog",
        f"{prefix}:catalog/s3tablescatalog/b-1",
        f"{prefix}:database/s3tablescatalog/b-1/ns",
        f"{prefix}:table/s3tablescatalog/b-1/ns/v${{*}}",
    }


@pytest.mark.parametrize(("views", "databases"), [(300, 1), (300, 300)])
def test_a_role_too_large_to_name_all_is_wider_and_said_so(views: int, databases: int) -> None:
    """What does not fit a parameter is granted by database, then by account; never less than needed."""
    found = [GlueView("123456789012", f"database_{n % databases}", f"view_{n}") for n in range(views)]
    arns, notes = glue_resources(found, "eu-central-1")
    assert len(notes) == 1
    assert len(",".join(arns)) <= LONGEST_PARAMETER
    patterns = [re.compile(re.escape(arn).replace(r"\*", ".*")) for arn in arns]
    for view in found:
        for part in ("catalog", f"database/{view.database}", f"table/{view.database}/{view.table}"):
            assert any(pattern.fullmatch(f"arn:aws:glue:eu-central-1:123456789012:{part}") for pattern in patterns)


def many(targets: int, buckets: int, *, catalog: str = "123456789012") -> str:
    """A file of so many views, each behind a prefix of its own in one of so many buckets with long names."""
    view = '[targets.view_{0}]\nkind = "glue-view"\ncatalog_id = "{1}"\ndatabase = "sales"\ntable = "view_{0}"\n'
    on = 'on = [{{ s3_object_created = {{ bucket = "{0}", prefix = "landing/{1}/" }} }}]\n'
    names = [f"bucket-of-a-team-{number:04}-" + "x" * 40 for number in range(buckets)]
    return "".join(view.format(n, catalog) + on.format(names[n % buckets], n) for n in range(targets))


@pytest.mark.parametrize(("targets", "buckets"), [(1, 1), (65, 65), (196, 196), (1000, 300), (1000, 1000)])
def test_every_parameter_is_held_to_what_cloudformation_takes(targets: int, buckets: int) -> None:
    """4,096 bytes a parameter and 2,048 a pattern, at any size; what is left out is said, with the way on."""
    found = inputs(load(many(targets, buckets)), "eu-central-1")
    for name, value in found.parameters.items():
        assert len(value.encode()) <= (2048 if "Pattern" in name else LONGEST_PARAMETER), name
    assert bool(found.notes) == (targets > 65)
    assert all("several stacks: several files" in note for note in found.notes[-1:])


def test_the_buckets_that_do_not_fit_are_counted() -> None:
    """That parameter only informs, so it is shortened; each name in it is whole."""
    names = [f"bucket-{number:04}-" + "x" * 50 for number in range(300)]
    *shown, rest = as_many_as_fit(names).split(",")
    assert shown == names[: len(shown)]
    assert rest == f"and {300 - len(shown)} more"
    assert len(as_many_as_fit(names)) <= LONGEST_PARAMETER < len(",".join(names[: len(shown) + 2]))
    assert as_many_as_fit(names[:3]) == ",".join(names[:3])
    assert as_many_as_fit(()) == ""


def test_what_cannot_be_shortened_is_refused_with_the_way_on() -> None:
    """A pattern of senders names all of them or lets in whom nobody named, so that one too many is a mistake."""
    senders = ", ".join(f'{{ account = "{number:012}", source = "etl" }}' for number in range(60))
    with pytest.raises(ParameterError, match=r"^SignalPattern takes \d+ bytes, of 2048 at most: deploy several stacks"):
        inputs(load(f"[deployment]\nsignal_sources = [{senders}]\n{CONFIG}"), "eu-central-1")


SAMCONFIG = """# ours
version = 0.1

[default.global.parameters]
stack_name = "x" # why
region = "eu-west-1"

[default.deploy.parameters]
resolve_s3 = true
parameter_overrides = {overrides}
confirm_changeset = true # last
"""

FORMS = [
    '"AlarmEmail=\\"a b@c\\" LogRetentionDays=\\"14\\" EventPattern1=\\"old\\""',
    '["AlarmEmail=\'a b@c\'", "LogRetentionDays=14"]',
    '"ParameterKey=AlarmEmail,ParameterValue=\\"a b@c\\" ParameterKey=LogRetentionDays,ParameterValue=14"',
    '{ AlarmEmail = "a b@c", LogRetentionDays = 14, EventPattern1 = "old" }',
]


@pytest.mark.parametrize("form", FORMS, ids=["guided", "list", "keys", "table"])
def test_writing_keeps_everything_that_is_not_ours(tmp_path: Path, form: str) -> None:
    """`--write` replaces our parameters and nothing else, whatever form the others are in; twice is as good as once."""
    config, samconfig = tmp_path / "unstale.toml", tmp_path / "samconfig.toml"
    config.write_text(CONFIG, encoding="utf-8")
    samconfig.write_text(SAMCONFIG.format(overrides=form), encoding="utf-8")
    infra.aws(config, as_json=False, write=True, samconfig=samconfig)
    once = samconfig.read_text(encoding="utf-8")
    infra.aws(config, as_json=False, write=True, samconfig=samconfig)
    assert samconfig.read_text(encoding="utf-8") == once
    assert once.partition("parameter_overrides")[0] == SAMCONFIG.partition("parameter_overrides")[0]
    assert once.endswith("confirm_changeset = true # last\n")
    read = overrides(tomlkit.parse(once)["default"]["deploy"]["parameters"]["parameter_overrides"])
    expected = inputs(load(CONFIG), "eu-west-1").parameters
    assert read == {"AlarmEmail": "a b@c", "LogRetentionDays": "14", **expected}


def test_another_configuration_is_not_rolled_out_gradually(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two versions side by side the older one ignores events of targets that it does not know. So what
    changed is deployed at once, until somebody says otherwise; the first one, and the same one, change nothing.
    """
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    config, samconfig = tmp_path / "unstale.toml", tmp_path / "samconfig.toml"
    samconfig.write_bytes((ROOT / "infra/aws/samconfig.example.toml").read_bytes())

    def written_for(text: str) -> tuple[str | None, bool]:
        config.write_text(text, encoding="utf-8")
        capsys.readouterr()
        infra.aws(config, as_json=False, write=True, samconfig=samconfig)
        table = tomlkit.parse(samconfig.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
        return overrides(table["parameter_overrides"]).get("GradualRollout"), "changed" in capsys.readouterr().out

    changed = CONFIG.replace("landing", "elsewhere")
    assert written_for(CONFIG) == (None, False)
    assert written_for(CONFIG) == (None, False)
    assert written_for(changed) == ("false", True)
    assert written_for(changed) == ("false", False)
    samconfig.write_text(samconfig.read_text(encoding="utf-8").replace('Rollout="false"', 'Rollout="true"'))
    assert written_for(changed) == ("true", False)
    assert written_for(CONFIG) == ("false", True)


def test_a_parameter_that_is_no_more_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SignalSource was replaced by the file's signal_sources: who has it set hears where its value goes now."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    config, samconfig = tmp_path / "unstale.toml", tmp_path / "samconfig.toml"
    config.write_text(CONFIG, encoding="utf-8")
    samconfig.write_text(SAMCONFIG.format(overrides='["SignalSource=loader"]'), encoding="utf-8")
    infra.aws(config, as_json=False, write=True, samconfig=samconfig)
    assert "SignalSource=loader is not read any more: name" in capsys.readouterr().out


def test_an_environment_more_is_a_stack_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing for an environment that is not there yet makes it, beside the others, with a stack name of its own."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    config, samconfig = tmp_path / "unstale.toml", tmp_path / "samconfig.toml"
    config.write_text(CONFIG, encoding="utf-8")
    samconfig.write_bytes((ROOT / "infra/aws/samconfig.example.toml").read_bytes())
    infra.aws(config, as_json=True, write=True, environment="staging", samconfig=samconfig)
    document = tomlkit.parse(samconfig.read_text(encoding="utf-8")).unwrap()
    names = {name: document[name]["global"]["parameters"]["stack_name"] for name in ("default", "staging")}
    assert len(set(names.values())) == 2
    assert document["staging"]["deploy"]["parameters"]["region"] == "eu-north-1"


def test_the_first_is_made_from_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its comments, and without the lines that speak of the example; the second time it is the user's own."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    config, samconfig = tmp_path / "unstale.toml", tmp_path / "samconfig.toml"
    config.write_text(CONFIG, encoding="utf-8")
    shutil.copy(ROOT / "infra/aws/samconfig.example.toml", tmp_path)
    infra.aws(config, as_json=True, write=True, samconfig=samconfig)
    text = samconfig.read_text(encoding="utf-8")
    assert text.startswith("# How `sam deploy` deploys")
    assert "parameter_overrides" in text
    samconfig.write_text(text.replace('"unstale"', '"mine"'), encoding="utf-8")
    infra.aws(config, as_json=True, write=True, samconfig=samconfig)
    assert 'stack_name = "mine"' in samconfig.read_text(encoding="utf-8")


def test_infra_says_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a target on AWS there is nothing to deploy: wrong usage, not an empty stack."""
    config = tmp_path / "unstale.toml"
    job = 'kind = "fabric-item-job"\nworkspace = "{0}"\nitem = "{0}"\njob_type = "DefaultJob"\n'
    config.write_text("[targets.a]\n" + job.format("4b218778-e7a5-4d73-8187-f10824047715"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_REGION", "eu-central-1")
        assert main(["infra", "aws", "--config", str(config)]) == 2
        assert "no target is on AWS" in capsys.readouterr().err
        assert main(["infra", "aws", "--write", "--environment", "x y", "--config", str(config)]) == 2
    assert "letters, digits, hyphens and underscores, not 'x y'" in capsys.readouterr().err


def test_the_package_carries_what_the_tests_run() -> None:
    """What the package's lock names, the developers' lock names in the same version."""
    dev = dict(pins(ROOT / "requirements" / "dev.txt"))
    carried = dict(pins(packaging.LOCK))
    assert carried
    assert {name: dev[name] for name in carried} == carried
