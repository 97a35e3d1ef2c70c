"""`unstale check --live`, the AWS part: is everything there, allowed and connected; each finding with its cure.

It asks with the credentials of whoever runs it, changes nothing and starts nothing. Whether the function's role
suffices is asked of IAM's simulator, call by call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.event_patterns import patterns_for
from local.findings import Finding, show
from local.infra_aws import buckets, glue_resources
from local.offline import read_config
from local.usage import WrongUsage
from shared.config import Configuration
from shared.model import Cloud, GlueView, Target

CALLS = (
    "glue:GetTable",
    "glue:StartMaterializedViewRefreshTaskRun",
    "glue:GetMaterializedViewRefreshTaskRun",
    "glue:ListMaterializedViewRefreshTaskRuns",
    "glue:StopMaterializedViewRefreshTaskRun",
)
"""What a refresh takes. The simulator judges policies by the names of actions, in its reference or not."""

ABSENT = frozenset({"EntityNotFoundException", "NoSuchBucket", "404", "QueueDoesNotExist", "ResourceNotFoundException"})
"""Codes of "there is no such thing"; SQS's comes with a prefix."""


Client = Callable[[str], Any]


def check(config: Path, *, as_json: bool) -> None:
    """Print what was found; raises `NotWell` if anything is missing, or could not be looked at."""
    configuration = read_config(config)
    clouds = {target.cloud for target in configuration.targets}
    findings: list[Finding] = []
    if Cloud.AWS in clouds:
        session = boto3.session.Session()
        if not session.region_name:
            raise WrongUsage("no Region: set AWS_REGION, as the deployment's output Environment does")
        findings += looked_at(configuration, session.client, session.region_name, os.environ)
    if Cloud.AZURE in clouds:
        findings += _on_azure(configuration)
    show(findings, as_json=as_json)


def _on_azure(configuration: Configuration) -> list[Finding]:
    from functions_azure.settings import BadSettings
    from local import live_azure

    try:
        return list(live_azure.looked_at(configuration, os.environ))
    except BadSettings as bad:
        raise WrongUsage(str(bad)) from bad


def looked_at(
    configuration: Configuration, client: Client, region: str, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Everything, in the order in which one mends it."""
    targets = [target for target in configuration.targets if target.cloud is Cloud.AWS]
    for target in targets:
        yield _asked(f"view of {target.name}", partial(_view, client("glue"), target))
    for bucket in buckets(configuration):
        yield _asked(f"bucket {bucket}", partial(_bucket, client("s3"), bucket))
    table, queues = environ.get("UNSTALE_TABLE", ""), _queues(environ)
    if not (table and all(queues.values())):
        cure = "deploy, then paste the output Environment of the stack into this shell"
        yield Finding(
            "deployment", "UNSTALE_TABLE, UNSTALE_QUEUE_URL and UNSTALE_EVENTS_QUEUE_URL are not all set", cure
        )
        return
    yield _asked(f"table {table}", partial(_table, client("dynamodb"), table))
    for name, url in queues.items():
        yield _asked(f"queue for {name}", partial(_queue, client("sqs"), url))
    yield from _wiring(configuration, client, region, queues)


def _asked(what: str, look: Callable[[], Finding]) -> Finding:
    """A look that may not be allowed, or find nothing."""
    try:
        return look()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code.rpartition(".")[2] in ABSENT or code.endswith("NonExistentQueue"):
            return Finding(what, "there is none", "create it, or correct its name in the configuration")
        return Finding(what, f"could not look: {error}", f"allow whoever runs this {error.operation_name}", known=False)
    except BotoCoreError as error:
        return Finding(what, f"could not look: {error}", "credentials and a Region, as for the AWS CLI", known=False)


# --- What the deployment depends on ----------------------------------------------------------------------------------


def _view(glue: Any, target: Target) -> Finding:
    """GetTable says whether a table is a materialized view."""
    what, view = f"view of {target.name}", target.resource
    assert isinstance(view, GlueView), "the targets on AWS are views"  # noqa: S101
    table = glue.get_table(CatalogId=view.catalog_id, DatabaseName=view.database, Name=view.table)["Table"]
    if not (table.get("IsMaterializedView") or table.get("TableType") == "MATERIALIZED_VIEW"):
        return Finding(what, "a table, but no materialized view", "CREATE MATERIALIZED VIEW in Spark, or name another")
    every = table.get("ViewDefinition", {}).get("RefreshSeconds")
    also = f"; Glue refreshes it by itself too, every {every} s" if every else ""
    return Finding(what, f"a materialized view{also}")


def _bucket(s3: Any, bucket: str) -> Finding:
    """GetBucketNotificationConfiguration; the command keeps the notifications that are there, which a put replaces."""
    found = s3.get_bucket_notification_configuration(Bucket=bucket)
    found.pop("ResponseMetadata", None)
    if "EventBridgeConfiguration" in found:
        return Finding(f"bucket {bucket}", "sends to EventBridge")
    wanted = json.dumps(found | {"EventBridgeConfiguration": {}}).replace("'", "'\\''")
    cure = f"aws s3api put-bucket-notification-configuration --bucket {bucket} --notification-configuration '{wanted}'"
    return Finding(f"bucket {bucket}", "does not send its events to EventBridge", cure)


def _table(dynamodb: Any, table: str) -> Finding:
    found = dynamodb.describe_table(TableName=table)["Table"]
    names = [index["IndexName"] for index in found.get("GlobalSecondaryIndexes", ())]
    if "due" not in names:
        return Finding(f"table {table}", "has no index due", "deploy again: sam deploy")
    return Finding(f"table {table}", found["TableStatus"].lower())


def _queues(environ: Mapping[str, str]) -> dict[str, str]:
    return {"events": environ.get("UNSTALE_EVENTS_QUEUE_URL", ""), "wakes": environ.get("UNSTALE_QUEUE_URL", "")}


def _queue(sqs: Any, url: str) -> Finding:
    name = url.rpartition("/")[2]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    what = f"queue {name}"
    if "RedrivePolicy" not in attributes:
        return Finding(what, "has no dead-letter queue", "deploy again: sam deploy")
    return Finding(what, f"{attributes.get('ApproximateNumberOfMessages', '?')} messages wait")


# --- How it is connected ---------------------------------------------------------------------------------------------


def _wiring(configuration: Configuration, client: Client, region: str, queues: Mapping[str, str]) -> Iterator[Finding]:
    arns: dict[str, str] = {}
    for name, url in queues.items():
        try:
            answer = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        except (ClientError, BotoCoreError):
            return  # said above
        arns[name] = answer["Attributes"]["QueueArn"]
    yield _asked("rules", partial(_rules, client("events"), configuration, arns["events"]))
    for name, arn in arns.items():
        yield _asked(f"poller of {name}", partial(_poller, client("lambda"), name, arn))
    yield from _role_findings(configuration, client, region, arns["events"])


def _rules(events: Any, configuration: Configuration, arn: str) -> Finding:
    """The patterns that the configuration gives now, against those of the enabled rules that send to the queue."""
    wanted = {_canonical(text) for text in patterns_for(configuration).texts}
    names = [name for page in _pages(events.list_rule_names_by_target, "RuleNames", TargetArn=arn) for name in page]
    rules = [events.describe_rule(Name=name) for name in names]
    enabled = {_canonical(rule.get("EventPattern", "{}")) for rule in rules if rule.get("State") == "ENABLED"}
    if missing := wanted - enabled:
        found = f"{len(missing)} of {len(wanted)} patterns of the configuration have no rule"
        return Finding("rules", found, "unstale infra aws --write, then sam deploy")
    return Finding("rules", f"{len(rules)} send to the events queue")


def _canonical(pattern: str) -> str:
    return json.dumps(json.loads(pattern), sort_keys=True)


def _pages(call: Callable[..., Any], key: str, **parameters: Any) -> Iterator[list[Any]]:
    token: dict[str, str] = {}
    while True:
        answer = call(**parameters, **token)
        yield answer.get(key, [])
        if not answer.get("NextToken"):
            return
        token = {"NextToken": answer["NextToken"]}


def _poller(function: Any, name: str, arn: str) -> Finding:
    """ListEventSourceMappings of the queue."""
    mappings = function.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    states = sorted({str(mapping.get("State")) for mapping in mappings})
    what = f"poller of {name}"
    if not mappings:
        return Finding(what, "no function takes from the queue", "deploy again: sam deploy")
    if "Enabled" not in states:
        uuid = mappings[0]["UUID"]
        return Finding(
            what, ", ".join(states).lower(), f"aws lambda update-event-source-mapping --uuid {uuid} --enabled"
        )
    return Finding(what, "enabled")


def _role_findings(configuration: Configuration, client: Client, region: str, arn: str) -> Iterator[Finding]:
    try:
        role = _role_of(client("lambda"), arn)
    except (ClientError, BotoCoreError) as error:
        yield Finding("role", f"could not look: {error}", "allow whoever runs this lambda:GetFunction", known=False)
        return
    if role:
        for target in configuration.targets:
            if isinstance(target.resource, GlueView):
                yield _asked(f"role for {target.name}", partial(_allowed, client("iam"), role, target, region))


def _role_of(function: Any, arn: str) -> str:
    """The role of the function that takes from the queue."""
    for mapping in function.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]:
        return str(function.get_function_configuration(FunctionName=mapping["FunctionArn"])["Role"])
    return ""


def _allowed(iam: Any, role: str, target: Target, region: str) -> Finding:
    """SimulatePrincipalPolicy: each call on each of the view's resources. Lake Formation's grants are not in it."""
    view = target.resource
    assert isinstance(view, GlueView), "the targets on AWS are views"  # noqa: S101
    resources, _ = glue_resources([view], region)
    results = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=list(CALLS), ResourceArns=list(resources))
    refused = sorted(set(_refused(results["EvaluationResults"])))
    what = f"role for {target.name}"
    if refused:
        cure = "unstale infra aws --write, then sam deploy; if it stays so: the parameter GlueScope=any"
        return Finding(what, f"may not: {', '.join(refused)}", cure)
    return Finding(what, f"may: {', '.join(CALLS)}")


def _refused(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for result in results:
        per_resource = result.get("ResourceSpecificResults") or [result]
        decisions = {each.get("EvalResourceDecision") or each.get("EvalDecision") for each in per_resource}
        if decisions != {"allowed"}:
            yield str(result["EvalActionName"])
