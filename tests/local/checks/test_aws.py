"""`unstale check --live`: each finding with its cure; judged by botocore's models, through its Stubber."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber

from functions_aws.clients import session
from infra.parameters.event_patterns import patterns_for
from local.checks.aws import ALWAYS, CALLS, check_everything
from local.checks.finding import Finding
from shared.config.load import load
from tests.support.aws_host import NOWHERE

REGION = "eu-central-1"
ACCOUNT = "123456789012"
TEXT = f"""
[targets.daily]
kind = "glue-view"
catalog_id = "{ACCOUNT}"
database = "sales"
table = "daily"
on = [{{ s3_object_created = {{ bucket = "landing", prefix = "orders/" }} }}]
"""
CONFIG = load(TEXT)
PRINCIPAL = f"arn:aws:iam::{ACCOUNT}:user/me"
QUEUE, ARN = "https://sqs.eu-central-1.amazonaws.com/123456789012/q", f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
ENVIRON = {"UNSTALE_TABLE": "table", "UNSTALE_QUEUE_URL": QUEUE, "UNSTALE_EVENTS_QUEUE_URL": QUEUE}
FUNCTION, ROLE = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:unstale:live", f"arn:aws:iam::{ACCOUNT}:role/unstale"
UUID = "0b5f4a4e-8f59-4d3f-9d7f-0d6f1c2b3a4d"
PATTERN = patterns_for(CONFIG).texts[0]


SESSION = botocore.session.get_session()
"""One for all tests, because a session reads the models of AWS's services once."""


class Account:
    """Clients of which every answer is set; botocore checks requests and answers against AWS's models."""

    def __init__(self) -> None:
        self._clients: dict[str, tuple[Any, Stubber]] = {}

    def client(self, service: str) -> Any:
        """One for each service."""
        return self._of(service)[0]

    def answers(self, service: str, method: str, answer: dict[str, Any]) -> None:
        """The next answer to this call."""
        self._of(service)[1].add_response(method, answer)

    def refuses(self, service: str, method: str, code: str) -> None:
        """The next answer to this call is an error."""
        self._of(service)[1].add_client_error(method, code, "no")

    def _of(self, service: str) -> tuple[Any, Stubber]:
        if service not in self._clients:
            made = SESSION.create_client(service, region_name=REGION)
            stubber = Stubber(made)
            stubber.activate()
            self._clients[service] = (made, stubber)
        return self._clients[service]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    """One in which nothing is said yet."""
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    return Account()


Change = Callable[[Account], None]


def furnished(account: Account, **instead: Change) -> None:
    """Everything as it should be, but for what is said instead."""
    well: dict[str, Change] = {
        "caller": lambda a: a.answers("sts", "get_caller_identity", {"Account": ACCOUNT, "Arn": PRINCIPAL}),
        "view": lambda a: a.answers("glue", "get_table", {"Table": {"Name": "daily", "IsMaterializedView": True}}),
        "head": lambda a: a.answers("s3", "head_bucket", {"BucketRegion": REGION}),
        "bucket": lambda a: a.answers("s3", "get_bucket_notification_configuration", {"EventBridgeConfiguration": {}}),
        "table": lambda a: a.answers(
            "dynamodb",
            "describe_table",
            {"Table": {"TableStatus": "ACTIVE", "GlobalSecondaryIndexes": [{"IndexName": "due"}]}},
        ),
        "queues": queues,
        "rules": rules,
        "pollers": pollers,
        "tick": tick,
        "function": function,
        "role": role,
    }
    for change in (well | instead).values():
        change(account)


def queues(account: Account, lets: str = "rule/", dead: int = 0) -> None:
    """Both, with what lies in their dead-letter queues; and both once more, for how they are connected."""
    policy = json.dumps({"Condition": {"ArnEquals": {"aws:SourceArn": [f"{lets}{name}" for name in RULES]}}})
    redrive = json.dumps({"deadLetterTargetArn": f"{ARN}-dead"})
    attributes = {"QueueArn": ARN, "RedrivePolicy": redrive, "Policy": policy}
    for _ in range(2):
        account.answers("sqs", "get_queue_attributes", {"Attributes": attributes})
        account.answers("sqs", "get_queue_attributes", {"Attributes": {"RedrivePolicy": redrive}})
        account.answers("sqs", "get_queue_url", {"QueueUrl": f"{QUEUE}-dead"})
        account.answers("sqs", "get_queue_attributes", {"Attributes": {"ApproximateNumberOfMessages": str(dead)}})
    for _ in range(2):
        account.answers("sqs", "get_queue_attributes", {"Attributes": attributes})


RULES = {
    "arrivals": PATTERN,
    "signals": '{"detail-type":["unstale.signal"]}',
    "ended": json.dumps({"source": ["aws.glue"], "detail-type": sorted(ALWAYS - {"unstale.signal"})}),
}


def rules(account: Account, state: str = "ENABLED", **instead: str) -> None:
    """Those that send to the queue; patterns are compared as JSON, not as text."""
    patterns = {name: pattern for name, pattern in (RULES | instead).items() if pattern}
    account.answers("events", "list_rule_names_by_target", {"RuleNames": list(patterns)})
    for name, pattern in patterns.items():
        found = {"Name": name, "Arn": f"rule/{name}", "EventPattern": json.dumps(json.loads(pattern), indent=1)}
        account.answers("events", "describe_rule", found | {"State": state})


def tick(account: Account, state: str = "ENABLED", calls: str = "") -> None:
    """The schedules of the account, on two pages; one is the tick's."""
    other = {"Name": "other", "State": "ENABLED", "Target": {"Arn": f"{FUNCTION}-2"}}
    ours = {"Name": "tick", "State": state, "Target": {"Arn": calls or FUNCTION}}
    account.answers("scheduler", "list_schedules", {"Schedules": [other], "NextToken": "more"})
    account.answers("scheduler", "list_schedules", {"Schedules": [ours]})


def pollers(account: Account, state: str = "Enabled") -> None:
    """A mapping of each queue, and that of the events queue once more, for its function."""
    for _ in range(3):
        mapping = {"UUID": UUID, "State": state, "FunctionArn": FUNCTION}
        account.answers("lambda", "list_event_source_mappings", {"EventSourceMappings": [mapping]})


def function(account: Account, fingerprint: str = CONFIG.fingerprint) -> None:
    """What is deployed."""
    variables = {"UNSTALE_CONFIG_FINGERPRINT": fingerprint} if fingerprint else {}
    answer = {"Role": ROLE, "Environment": {"Variables": variables}}
    account.answers("lambda", "get_function_configuration", answer)


def role(account: Account, refused: str = "") -> None:
    """What IAM's simulator says of each call."""
    decisions = [
        {"EvalActionName": call, "EvalDecision": "implicitDeny" if call == refused else "allowed"} for call in CALLS
    ]
    account.answers("iam", "simulate_principal_policy", {"EvaluationResults": decisions, "IsTruncated": False})


def found(account: Account, environ: dict[str, str] | None = None) -> dict[str, Finding]:
    """What the check says, by what it looked at."""
    environ = ENVIRON if environ is None else environ
    return {finding.what: finding for finding in check_everything(CONFIG, account.client, REGION, environ)}


def test_a_deployment_that_is_in_order_is_found_so(account: Account) -> None:
    """Views, buckets, table, queues, rules, pollers and role are all looked at, and nothing is missing."""
    furnished(account)
    findings = found(account)
    assert all(finding.well for finding in findings.values()), findings
    looked = {what.partition(" ")[0] for what in findings}
    everything = "caller view bucket table queue dead rules poller configuration tick role"
    assert looked == set(everything.split())
    assert next(iter(findings.values())).found == f"account {ACCOUNT}, {PRINCIPAL}, Region {REGION}"


def someone_elses(account: Account, *, hidden: bool = False) -> None:
    """A bucket that is not of the account that is expected, which S3 refuses as if it were a matter of permissions."""
    account.refuses("s3", "head_bucket", "403")
    if hidden:
        account.refuses("s3", "head_bucket", "403")
    else:
        account.answers("s3", "head_bucket", {"BucketRegion": REGION})


NOT_A_VIEW: dict[str, Any] = {"Table": {"Name": "daily"}}
NOTIFIES: dict[str, Any] = {
    "TopicConfigurations": [{"Id": "it's", "TopicArn": "arn:aws:sns:x", "Events": ["s3:ObjectCreated:*"]}]
}

CASES: dict[str, tuple[dict[str, Change], str, str, str]] = {
    "no view": (
        {"view": lambda a: a.answers("glue", "get_table", NOT_A_VIEW)},
        "view of daily",
        "no materialized view",
        "CREATE MATERIALIZED VIEW",
    ),
    "nothing there": (
        {"view": lambda a: a.refuses("glue", "get_table", "EntityNotFoundException")},
        "view of daily",
        "there is none",
        "CREATE MATERIALIZED VIEW",
    ),
    "no table": (
        {"table": lambda a: a.refuses("dynamodb", "describe_table", "ResourceNotFoundException")},
        "table table",
        "there is none",
        "deploy, then paste",
    ),
    "not allowed to look": (
        {"view": lambda a: a.refuses("glue", "get_table", "AccessDeniedException")},
        "view of daily",
        "could not look",
        "allow whoever runs this GetTable",
    ),
    "silent bucket": (
        {"bucket": lambda a: a.answers("s3", "get_bucket_notification_configuration", NOTIFIES)},
        "bucket landing",
        "does not send",
        "aws s3api put-bucket-notification-configuration --bucket landing",
    ),
    "no index": (
        {"table": lambda a: a.answers("dynamodb", "describe_table", {"Table": {"TableStatus": "ACTIVE"}})},
        "table table",
        "no index due",
        "sam deploy",
    ),
    "old rules": (
        {"rules": lambda a: rules(a, arrivals='{"source":["aws.s3"]}')},
        "rules",
        "1 of 2 patterns",
        "unstale infra aws --write",
    ),
    "no way for signals": (
        {"rules": lambda a: rules(a, signals="")},
        "rules",
        "1 of 2 patterns",
        "unstale infra aws --write",
    ),
    "no way for hints": (
        {"rules": lambda a: rules(a, ended="")},
        "rules",
        "none for: Glue Materialized View Refresh Task Failed",
        "drift",
    ),
    "dead letters": (
        {"queues": lambda a: queues(a, dead=3)},
        "dead letters of events",
        "3",
        "unstale redrive --dry-run",
    ),
    "another configuration": (
        {"function": lambda a: function(a, "0123456789abcdef01234567")},
        "configuration",
        f"is another: 0123456789abcdef01234567; the file's is {CONFIG.fingerprint}",
        "sam deploy",
    ),
    "no fingerprint": (
        {"function": lambda a: function(a, "")},
        "configuration",
        "without a fingerprint",
        "sam deploy",
    ),
    "bucket of another Region": (
        {
            "head": lambda a: a.answers("s3", "head_bucket", {"BucketRegion": "us-west-2"}),
            "bucket": lambda _: None,
        },
        "bucket landing",
        "not connected: it is in us-west-2",
        f"in us-west-2 a rule for its events with the default bus of account {ACCOUNT} in {REGION} as its target",
    ),
    "bucket of another account": (
        {"head": someone_elses, "bucket": lambda _: None},
        "bucket landing",
        "not connected: it belongs to another account",
        "aws events put-permission",
    ),
    "bucket of who knows whom": (
        {"head": lambda a: someone_elses(a, hidden=True), "bucket": lambda _: None},
        "bucket landing",
        "could not look",
        "s3:ListBucket",
    ),
    "no such bucket": (
        {"head": lambda a: a.refuses("s3", "head_bucket", "404"), "bucket": lambda _: None},
        "bucket landing",
        "there is none",
        "correct its name",
    ),
    "switched off": (
        {"rules": lambda a: rules(a, state="DISABLED")},
        "rules",
        "disabled: arrivals, signals, ended",
        "aws events enable-rule --name signals",
    ),
    "rules that may not send": (
        {"queues": lambda a: queues(a, lets="rule/of-another-stack/")},
        "rules",
        "does not let send: arrivals, signals, ended",
        "drift",
    ),
    "tick of nobody": ({"tick": lambda a: tick(a, calls=ROLE)}, "tick", "no schedule calls the function", "sam deploy"),
    "tick off": ({"tick": lambda a: tick(a, "DISABLED")}, "tick", "the schedule tick is disabled", "enable it"),
    "poller off": (
        {"pollers": lambda a: pollers(a, "Disabled")},
        "poller of events",
        "disabled",
        "update-event-source-mapping --uuid 0b5f4a4e",
    ),
    "role too small": (
        {"role": lambda a: role(a, "glue:StopMaterializedViewRefreshTaskRun")},
        "role for daily",
        "may not: glue:StopMaterializedViewRefreshTaskRun",
        "GlueScope=any",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_whatever_is_missing_is_named_with_its_cure(
    account: Account, case: tuple[dict[str, Change], str, str, str]
) -> None:
    """One thing is wrong: it is said which, and what to do; the rest is well."""
    instead, what, says, cure = case
    furnished(account, **instead)
    findings = found(account)
    ill = {name for name, finding in findings.items() if not finding.well}
    assert what in ill
    assert ill <= {what, "poller of wakes", "dead letters of wakes"}
    assert says in findings[what].found
    assert cure in findings[what].cure


def test_the_cure_for_a_bucket_keeps_what_it_notifies(account: Account) -> None:
    """A put replaces all notifications of a bucket, so the command carries those that are there, quoted for a shell."""
    furnished(account, bucket=CASES["silent bucket"][0]["bucket"])
    cure = found(account)["bucket landing"].cure
    text = cure.partition("--notification-configuration '")[2].removesuffix("'").replace("'\\''", "'")
    assert json.loads(text) == NOTIFIES | {"EventBridgeConfiguration": {}}


def test_actions_that_the_simulator_does_not_take_are_left_out_and_said_so(account: Account) -> None:
    """The authorization reference lists no action on materialized views: then the one that it lists is asked for."""

    def unknown(account: Account) -> None:
        account.refuses("iam", "simulate_principal_policy", "InvalidInput")
        allowed = [{"EvalActionName": CALLS[0], "EvalDecision": "allowed"}]
        account.answers("iam", "simulate_principal_policy", {"EvaluationResults": allowed, "IsTruncated": False})

    furnished(account, role=unknown)
    finding = found(account)["role for daily"]
    assert finding.well
    assert finding.found.startswith("may: glue:GetTable; IAM's simulator does not know glue:Start")


def test_before_the_deployment_it_says_so(account: Account) -> None:
    """Without the variables the views and buckets are looked at all the same, and the next step is to deploy."""
    furnished(account)
    findings = found(account, {})
    assert list(findings) == ["caller", "view of daily", "bucket landing", "deployment"]
    assert "deploy" in findings["deployment"].cure


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch"])
def test_bad_credentials_are_said_once(account: Account, code: str) -> None:
    """Every other question would meet the same error, so none is asked."""
    account.refuses("sts", "get_caller_identity", code)
    [finding] = found(account).values()
    assert (finding.what, finding.known) == ("caller", False)
    assert code in finding.found
    assert "aws sts get-caller-identity" in finding.cure


def test_no_credentials_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent without them."""
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    [finding] = check_everything(CONFIG, session(REGION).create_client, REGION, ENVIRON)
    assert "Unable to locate credentials" in finding.found


def test_the_wrong_account_is_said_as_that(account: Account) -> None:
    """Whoever asks as another account than the deployment's hears of that, and is not told to create what is there."""
    furnished(
        account,
        caller=lambda a: a.answers("sts", "get_caller_identity", {"Account": "210987654321", "Arn": PRINCIPAL}),
        view=lambda a: a.refuses("glue", "get_table", "EntityNotFoundException"),
        head=someone_elses,
        bucket=lambda _: None,
    )
    findings = found(account)
    assert list(findings) == ["caller", "view of daily", "bucket landing", "deployment"]
    for what in ("view of daily", "deployment"):
        assert f"account {ACCOUNT}, and you ask as account 210987654321" in findings[what].found
        assert f"credentials of account {ACCOUNT} (AWS_PROFILE)" in findings[what].cure
    assert "CREATE MATERIALIZED VIEW" not in findings["view of daily"].cure


def test_a_view_of_another_account_that_may_be_seen_is_well(account: Account) -> None:
    """Glue answers for the catalog of another account where that lets us in."""
    elsewhere = load(TEXT.replace(f'catalog_id = "{ACCOUNT}"', 'catalog_id = "210987654321"'))
    furnished(account)
    findings = {finding.what: finding for finding in check_everything(elsewhere, account.client, REGION, {})}
    assert findings["view of daily"].well


def test_the_wrong_region_is_said_as_that(account: Account) -> None:
    """The addresses of the queues say where the deployment is."""
    furnished(account)
    there = {name: value.replace(REGION, "us-west-2") for name, value in ENVIRON.items()}
    findings = found(account, there)
    assert list(findings)[-1] == "deployment"
    assert "in Region us-west-2, and eu-central-1 is asked" in findings["deployment"].found
    assert findings["deployment"].cure == "export AWS_REGION=us-west-2"


def test_senders_that_are_named_are_a_pattern_of_their_own(account: Account) -> None:
    """A stack that lets anybody's signals in is not what a file with signal_sources says."""
    senders = f'[deployment]\nsignal_sources = [{{ account = "{ACCOUNT}", source = "etl" }}]\n'
    narrower = load(senders + TEXT)
    pattern = json.dumps({"detail-type": ["unstale.signal"], "account": [ACCOUNT], "source": ["etl"]})
    for given, well in (({}, False), ({"signals": pattern}, True)):
        there = Account()
        furnished(there, rules=lambda a, given=given: rules(a, **given))  # type: ignore[misc]
        findings = {finding.what: finding for finding in check_everything(narrower, there.client, REGION, ENVIRON)}
        assert findings["rules"].well is well
