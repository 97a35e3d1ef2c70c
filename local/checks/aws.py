"""`unstale check --live`, the AWS part: is everything there, allowed and connected; each finding with its cure.

It asks with the credentials of whoever runs it, changes nothing and starts nothing. Whether the function's role
suffices is asked of IAM's simulator, call by call.

    a bucket ──> the default bus ──> rules ──> events queue ──> poller ──┐
                                                  wakes queue ──> poller ──┤
                                                             schedule ──┴──> function, its role ──> Glue
    each arrow, and each thing at its ends, is one look and one finding: ok, MISSING, or "?" where nobody could look

Looks are small functions that let the SDK's errors through; `_try` turns an error into a finding with its cure, so that
one refusal never hides what comes after it.

First comes who asks and where, since most of what seems to be missing is in another account or Region; then the views
and buckets that the configuration names; then the deployment: its table, its queues and their dead letters, the rules
that feed them, the pollers and the schedule that call the function, and the role that it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from infra.parameters.aws import buckets, glue_resources
from infra.parameters.event_patterns import patterns_for, signal_pattern
from local.checks.finding import Finding
from local.checks.sources import Look, source_findings
from shared.config.load import Configuration
from shared.targets import Cloud, GlueView, Target
from shared.values import Value

CALLS: Final[tuple[str, ...]] = (
    "glue:GetTable",
    "glue:StartMaterializedViewRefreshTaskRun",
    "glue:GetMaterializedViewRefreshTaskRun",
    "glue:ListMaterializedViewRefreshTaskRuns",
    "glue:StopMaterializedViewRefreshTaskRun",
)
"""The calls that a refresh takes.

The authorization reference lists the first alone, and whether IAM's simulator takes names that it does not list is not
published: where it refuses them, the first alone is asked for.
"""

ALWAYS = frozenset(
    {
        "unstale.signal",
        "Glue Materialized View Refresh Task Succeeded",
        "Glue Materialized View Refresh Task Failed",
    }
)
"""Detail types of the rules that the template has whatever the configuration says."""

DEPLOY = "deploy, then paste the output Environment of the stack into this shell"
"""The cure where nothing says which deployment is meant."""
CREATE = "CREATE MATERIALIZED VIEW in Spark, or correct its name in the configuration"
"""The cure where a view is missing."""
CREDENTIALS = "credentials as for the AWS CLI, and the network: aws sts get-caller-identity must answer"
"""The cure where AWS does not accept whoever asks."""
REPAIR = (
    "sam deploy; where that finds no changes, somebody changed it by hand: "
    "aws cloudformation detect-stack-drift --stack-name <stack> begins to look for it"
)
"""A deployment brings back only what it changes (CloudFormation's guide on drift)."""

ABSENT = frozenset({"EntityNotFoundException", "NoSuchBucket", "404", "QueueDoesNotExist", "ResourceNotFoundException"})
"""Codes of "there is no such thing"; SQS's comes with a prefix. Whatever is missing is cured by making it, whatever is
refused by a right, so the two must be told apart."""

FORBIDDEN = frozenset({"403", "AccessDenied"})
"""Codes of S3's refusals; the answer to a HEAD has no body, so that its status is all that is known."""


ALLOWS = {"HeadBucket": "s3:ListBucket", "GetBucketNotificationConfiguration": "s3:GetBucketNotification"}
"""Operations that IAM knows by another name; a cure must name the permission, and not the call."""

Client = Callable[[str], Any]
"""From the name of a service to its client, as `boto3.session.Session.client` is one."""


class Caller(Value, frozen=True):
    """The caller and its place: an account, the ARN of a user or role in it, and a Region."""

    account: str
    """The account whose credentials are used."""
    principal: str
    """The ARN of the user or role."""
    region: str
    """The Region that is asked."""


def check_everything(
    configuration: Configuration,
    client: Client,
    region: str,
    environ: Mapping[str, str],
    look: Look | None = None,
) -> Iterator[Finding]:
    """Look at who asks, and then at everything, in the order in which one mends it.

    Without credentials nothing else is asked: each answer would be the same error. `look` asks sources for versions.
    """
    client = cache(client)
    try:
        answer = client("sts").get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        yield Finding("caller", f"AWS does not say who you are: {error}", CREDENTIALS, known=False)
        return
    caller = Caller(answer["Account"], answer["Arn"], region)
    yield Finding("caller", f"account {caller.account}, {caller.principal}, Region {region}")
    for target in configuration.targets:
        if target.cloud is Cloud.AWS:
            yield _view_for(caller, client("glue"), target)
    if look:
        yield from source_findings([t for t in configuration.targets if t.cloud is Cloud.AWS], look)
    for bucket in buckets(configuration):
        yield _try(f"bucket {bucket}", partial(_bucket, caller, client("s3"), bucket))
    yield from _deployment(configuration, client, caller, environ)


def _deployment(
    configuration: Configuration, client: Client, caller: Caller, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Look at the stack's resources, unless they are in another account or Region than the one that is asked."""
    table, queues = environ.get("UNSTALE_TABLE", ""), _queues(environ)
    if not (table and all(queues.values())):
        unset = "UNSTALE_TABLE, UNSTALE_QUEUE_URL and UNSTALE_EVENTS_QUEUE_URL are not all set"
        yield Finding("deployment", unset, DEPLOY)
        return
    if elsewhere := _elsewhere(caller, queues["events"]):
        yield elsewhere
        return
    yield _try(f"table {table}", partial(_table, client("dynamodb"), table), DEPLOY)
    for name, url in queues.items():
        yield _try(f"queue for {name}", partial(_queue, client("sqs"), name, url), DEPLOY)
        yield _try(f"dead letters of {name}", partial(_dead_letters, client("sqs"), name, url), DEPLOY)
    yield from _connections(configuration, client, caller.region, queues)


def _elsewhere(caller: Caller, url: str) -> Finding | None:
    """Say where the deployment is by the address of its queue, https://sqs.<region>.amazonaws.com/<account>/<name>.

    In a wrong account or Region each look would say that its thing is missing. That is said once, and is all.
    """
    parts = urlsplit(url)
    account, host = parts.path.split("/")[1], (parts.hostname or "").split(".")
    region = host[1] if host[0] == "sqs" else ""
    if account.isdigit() and account != caller.account:
        found = f"the queues are in account {account}, and you ask as account {caller.account}"
        return Finding("deployment", found, f"credentials of account {account} (AWS_PROFILE), or: {DEPLOY}")
    if region and region != caller.region:
        found = f"the queues are in Region {region}, and {caller.region} is asked"
        return Finding("deployment", found, f"export AWS_REGION={region}")
    return None


def _try(
    what: str, look: Callable[[], Finding], absent: str = "create it, or correct its name in the configuration"
) -> Finding:
    """A look that may not be allowed, or find nothing, which `absent` cures."""
    try:
        return look()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code.rpartition(".")[2] in ABSENT or code.endswith("NonExistentQueue"):
            return Finding(what, "there is none", absent)
        allow = f"allow whoever runs this {ALLOWS.get(error.operation_name, error.operation_name)}"
        return Finding(what, f"could not look: {error}", allow, known=False)
    except BotoCoreError as error:
        cure = "network, Region and credentials, as for the AWS CLI"
        return Finding(what, f"could not look: {error}", cure, known=False)


# --- What the deployment depends on ----------------------------------------------------------------------------------


def _view_for(caller: Caller, glue: Any, target: Target) -> Finding:
    """Look at a view; where it is in another account's catalog and not to be seen, that is what is said.

    Glue answers alike for a view that is not there and one that Lake Formation hides, so neither is claimed of a view
    elsewhere.
    """
    what, view = f"view of {target.name}", target.resource
    assert isinstance(view, GlueView), "the targets on AWS are views"  # noqa: S101 - the configuration takes no other
    account = view.catalog_id.partition(":")[0]
    found = _try(what, partial(_view, glue, what, view), CREATE)
    if account != caller.account and (found.cure == CREATE or not found.known):
        cure = f"credentials of account {account} (AWS_PROFILE), or correct catalog_id in the configuration"
        return Finding(what, f"not to be seen: account {account}, and you ask as account {caller.account}", cure)
    return found


def _view(glue: Any, what: str, view: GlueView) -> Finding:
    """GetTable says whether a table is a materialized view; a refresh of any other table would fail each time."""
    table = glue.get_table(CatalogId=view.catalog_id, DatabaseName=view.database, Name=view.table)["Table"]
    if not (table.get("IsMaterializedView") or table.get("TableType") == "MATERIALIZED_VIEW"):
        return Finding(what, "a table, but no materialized view", "CREATE MATERIALIZED VIEW in Spark, or name another")
    every = table.get("ViewDefinition", {}).get("RefreshSeconds")
    also = f"; Glue refreshes it by itself too, every {every} s" if every else ""
    return Finding(what, f"a materialized view{also}")


def _bucket(caller: Caller, s3: Any, bucket: str) -> Finding:
    """HeadBucket and GetBucketNotificationConfiguration say whether events reach the bus of this account and Region."""
    what = f"bucket {bucket}"
    if apart := _apart(caller, s3, bucket):
        return Finding(what, f"not connected: {apart[0]}", apart[1])
    found = s3.get_bucket_notification_configuration(Bucket=bucket)
    found.pop("ResponseMetadata", None)
    if "EventBridgeConfiguration" in found:
        return Finding(what, "sends to EventBridge")
    # A put replaces all notifications of a bucket, so the command keeps those that are there.
    wanted = json.dumps(found | {"EventBridgeConfiguration": {}}).replace("'", "'\\''")
    cure = f"aws s3api put-bucket-notification-configuration --bucket {bucket} --notification-configuration '{wanted}'"
    return Finding(what, "does not send its events to EventBridge", cure)


def _apart(caller: Caller, s3: Any, bucket: str) -> tuple[str, str] | None:
    """Say why a bucket cannot reach the bus of this account and Region by itself, and the cure; None if it can.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html
    """
    bus = f"the default bus of account {caller.account} in {caller.region} as its target"
    try:
        head = s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=caller.account)
    except ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) not in FORBIDDEN:
            raise
        s3.head_bucket(Bucket=bucket)  # refused, too: then whose it is cannot be told, and the error is
        cure = f"in its account a rule for its events with {bus}, and there aws events put-permission; or a schedule"
        return "it belongs to another account, and S3 tells only the bus of its own", cure
    region = head.get("BucketRegion") or caller.region
    if region != caller.region:
        cure = f"in {region} a rule for its events with {bus} (is it there, nothing is left to do); or a schedule"
        return f"it is in {region}, and S3 tells only the bus of its own Region", cure
    return None


def _table(dynamodb: Any, table: str) -> Finding:
    """DescribeTable: the state table, with the index by which what is due is found."""
    found = dynamodb.describe_table(TableName=table)["Table"]
    names = [index["IndexName"] for index in found.get("GlobalSecondaryIndexes", ())]
    if "due" not in names:
        return Finding(f"table {table}", "has no index due", REPAIR)
    return Finding(f"table {table}", found["TableStatus"].lower())


def _queues(environ: Mapping[str, str]) -> dict[str, str]:
    """The addresses of both queues, by the names that findings use."""
    return {"events": environ.get("UNSTALE_EVENTS_QUEUE_URL", ""), "wakes": environ.get("UNSTALE_QUEUE_URL", "")}


def _queue(sqs: Any, name: str, url: str) -> Finding:
    """GetQueueAttributes: a queue must name where its dead letters go, or they are lost after their retention."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    what, queue = f"queue for {name}", url.rpartition("/")[2]
    if "RedrivePolicy" not in attributes:
        return Finding(what, f"{queue} has no dead-letter queue", REPAIR)
    return Finding(what, f"{queue}: {attributes.get('ApproximateNumberOfMessages', '?')} messages wait")


def _dead_letters(sqs: Any, name: str, url: str) -> Finding:
    """Count what lies in the dead-letter queue that a queue names. SQS counts approximately; none is none."""
    policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    *_, account, queue = json.loads(policy)["deadLetterTargetArn"].split(":")
    dead = sqs.get_queue_url(QueueName=queue, QueueOwnerAWSAccountId=account)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    count = int(attributes["ApproximateNumberOfMessages"])
    cure = "unstale redrive --dry-run says why; once the cause is mended: unstale redrive" if count else ""
    return Finding(f"dead letters of {name}", f"{count}", cure)


# --- How it is connected ---------------------------------------------------------------------------------------------


def _connections(
    configuration: Configuration, client: Client, region: str, queues: Mapping[str, str]
) -> Iterator[Finding]:
    """Look at what connects the parts: rules to the queue of events, pollers to the function, the schedule to it.

    A queue that could not be read is a finding already, and what hangs on it is left out.
    """
    found: dict[str, Mapping[str, str]] = {}
    for name, url in queues.items():
        try:
            answer = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "Policy"])
        except (ClientError, BotoCoreError):
            return  # said above
        found[name] = answer["Attributes"]
    yield _try("rules", partial(_rules, client("events"), configuration, found["events"]))
    for name, attributes in found.items():
        yield _try(f"poller of {name}", partial(_poller, client("lambda"), name, attributes["QueueArn"]))
    yield from _function_findings(configuration, client, region, found["events"]["QueueArn"])


def _rules(events: Any, configuration: Configuration, queue: Mapping[str, str]) -> Finding:
    """The patterns that the configuration gives now, against those of the enabled rules that the queue lets send.

    Rules are found from the queue's end: whatever sends to it counts, under any name and from any stack.
    """
    senders = signal_pattern(configuration.deployment.signal_sources)
    wanted = {_canonical(text) for text in (*patterns_for(configuration).texts, senders)}
    pages = _pages(events.list_rule_names_by_target, "RuleNames", TargetArn=queue["QueueArn"])
    rules = [events.describe_rule(Name=name) for page in pages for name in page]
    found = {_canonical(rule.get("EventPattern", "{}")) for rule in rules}
    if missing := wanted - found:
        what = f"{len(missing)} of {len(wanted)} patterns of the configuration have no rule"
        return Finding("rules", what, "unstale infra aws --write, then sam deploy")
    if absent := ALWAYS.difference(*(json.loads(pattern).get("detail-type", ()) for pattern in found)):
        return Finding("rules", f"none for: {', '.join(sorted(absent))}", REPAIR)
    if disabled := [rule["Name"] for rule in rules if rule.get("State") != "ENABLED"]:
        cure = "; ".join(f"aws events enable-rule --name {name}" for name in disabled)
        return Finding("rules", f"disabled: {', '.join(disabled)}", cure)
    if silent := [rule["Name"] for rule in rules if rule["Arn"] not in queue.get("Policy", "")]:
        return Finding("rules", f"the policy of the events queue does not let send: {', '.join(silent)}", REPAIR)
    return Finding("rules", f"{len(rules)} send to the events queue")


def _canonical(pattern: str) -> str:
    """A spelling of a pattern, so that two of the same meaning are equal."""
    return json.dumps(json.loads(pattern), sort_keys=True)


def _pages(call: Callable[..., Any], key: str, **parameters: Any) -> Iterator[list[Any]]:
    """Follow NextToken through a list operation; each page is the list under `key`."""
    token: dict[str, str] = {}
    while True:
        answer = call(**parameters, **token)
        yield answer.get(key, [])
        if not answer.get("NextToken"):
            return
        token = {"NextToken": answer["NextToken"]}


def _poller(function: Any, name: str, arn: str) -> Finding:
    """ListEventSourceMappings of the queue: a mapping that is off takes nothing, and nothing else complains of that."""
    mappings = function.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    states = sorted({str(mapping.get("State")) for mapping in mappings})
    what = f"poller of {name}"
    if not mappings:
        return Finding(what, "no function takes from the queue", REPAIR)
    if "Enabled" not in states:
        uuid = mappings[0]["UUID"]
        return Finding(
            what, ", ".join(states).lower(), f"aws lambda update-event-source-mapping --uuid {uuid} --enabled"
        )
    return Finding(what, "enabled")


def _function_findings(configuration: Configuration, client: Client, region: str, arn: str) -> Iterator[Finding]:
    """Check the function that takes from the queue: its configuration, who calls it, and what its role may."""
    try:
        function = _function_of(client("lambda"), arn)
    except ClientError as error:
        cure = f"allow whoever runs this {error.operation_name}"
        yield Finding("function", f"could not look: {error}", cure, known=False)
        return
    except BotoCoreError:
        return  # said above, of the pollers
    if not function:
        return  # likewise
    yield _deployed_configuration(configuration, function)
    yield _try("tick", partial(_tick, client("scheduler"), function["FunctionArn"]))
    for target in configuration.targets:
        if isinstance(target.resource, GlueView):
            yield _try(
                f"role for {target.name}", partial(_role_finding, client("iam"), function["Role"], target, region)
            )


def _function_of(function: Any, arn: str) -> Mapping[str, Any]:
    """GetFunctionConfiguration of the alias that takes from the queue, with its ARN; empty where there is none."""
    for mapping in function.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]:
        alias = mapping["FunctionArn"]
        return {**function.get_function_configuration(FunctionName=alias), "FunctionArn": alias}
    return {}


def _deployed_configuration(configuration: Configuration, function: Mapping[str, Any]) -> Finding:
    """Compare the fingerprint that the deployed function has with the file's.

    The stack sets it beside the package, so one that differs is a package without its parameters, or the other way
    round.
    """
    variables = function.get("Environment", {}).get("Variables", {})
    deployed = variables.get("UNSTALE_CONFIG_FINGERPRINT", "")
    if deployed == configuration.fingerprint:
        return Finding("configuration", "the deployed one is the file's")
    file, there = configuration.fingerprint, deployed or "one without a fingerprint"
    found = f"the deployed one is another: {there}; the file's is {file}"
    return Finding("configuration", found, "make package-aws, then sam deploy; or name the file that is deployed")


def _tick(scheduler: Any, function: str) -> Finding:
    """ListSchedules: the one that calls the function."""
    pages = _pages(scheduler.list_schedules, "Schedules")
    found = [schedule for page in pages for schedule in page if schedule.get("Target", {}).get("Arn") == function]
    if not found:
        return Finding("tick", "no schedule calls the function", REPAIR)
    if not any(schedule.get("State") == "ENABLED" for schedule in found):
        cure = "enable it: EventBridge > Scheduler > Schedules in the console"
        return Finding("tick", f"the schedule {found[0]['Name']} is disabled", cure)
    return Finding("tick", f"the schedule {found[0]['Name']} calls the function")


def _role_finding(iam: Any, role: str, target: Target, region: str) -> Finding:
    """SimulatePrincipalPolicy: each call on each of the view's resources. Lake Formation's grants are not in it.

    Nor are policies of the organization. So "may" is not the last word; the target's last run is.
    """
    view = target.resource
    assert isinstance(view, GlueView), "the targets on AWS are views"  # noqa: S101 - the configuration takes no other
    resources, _ = glue_resources([view], region)
    what, asked = f"role for {target.name}", CALLS
    try:
        results = _simulate(iam, role, resources, asked)
    except iam.exceptions.InvalidInputException:
        asked = CALLS[:1]
        results = _simulate(iam, role, resources, asked)
    refused = sorted(set(_refusals(results)))
    if refused:
        cure = "unstale infra aws --write, then sam deploy; if it stays so: the parameter GlueScope=any"
        return Finding(what, f"may not: {', '.join(refused)}", cure)
    unknown = f"; IAM's simulator does not know {', '.join(CALLS[1:])}" if asked != CALLS else ""
    return Finding(what, f"may: {', '.join(asked)}{unknown}")


def _simulate(iam: Any, role: str, resources: Iterable[str], calls: Iterable[str]) -> list[Mapping[str, Any]]:
    """Ask IAM's simulator for every call on every resource, page by page."""
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=role, ActionNames=list(calls), ResourceArns=list(resources)
    )
    return [result for page in pages for result in page["EvaluationResults"]]


def _refusals(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Names of the calls that IAM would refuse on at least one of the resources."""
    for result in results:
        per_resource = result.get("ResourceSpecificResults") or [result]
        decisions = {each.get("EvalResourceDecision") or each.get("EvalDecision") for each in per_resource}
        if decisions != {"allowed"}:
            yield str(result["EvalActionName"])
