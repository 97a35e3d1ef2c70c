"""What the SAM template grants for outcome events: exactly the places and secrets that the configuration names."""

from __future__ import annotations

from typing import Any

from infra.parameters.aws import inputs
from shared.config.load import load
from tests.shared.config.test_compiled import TWO_CLOUDS
from tests.shared.config.test_tell import TOPIC, VIEW, tell
from tests.support.sam_template import resources, written

TELL = {"TellBuses": "", "TellTopics": "", "TellSecrets": ""}


def parameters(*tells: str) -> dict[str, str]:
    """What is written for the template."""
    found = inputs(load(VIEW + "".join(tells)), "eu-central-1").parameters
    return {name: found[name] for name in TELL}


def test_without_places_nothing_is_granted() -> None:
    """The parameters are empty, and so are their defaults."""
    assert parameters() == TELL
    assert {name: written()["Parameters"][name]["Default"] for name in TELL} == TELL


def test_each_place_and_each_secret_is_named_once() -> None:
    """By ARN: a name is one of the account and Region, with the six characters that nobody knows."""
    arn = "arn:aws:secretsmanager:eu-west-1:210987654321:secret:slack-AbCdEf"
    found = parameters(
        tell('to = "eventbridge"', 'on = ["late"]'),
        tell('to = "eventbridge"', 'on = ["held"]'),
        tell('to = "eventbridge"', 'bus = "orders"'),
        tell('to = "sns"', f'topic = "{TOPIC}"'),
        tell('to = "webhook"', f'url_secret = "{arn}"', 'signing_secret = "unstale/key"'),
    )
    assert found == {
        "TellBuses": "arn:aws:events:eu-central-1:210987654321:event-bus/default,"
        "arn:aws:events:eu-central-1:210987654321:event-bus/orders",
        "TellTopics": TOPIC,
        "TellSecrets": f"{arn},arn:aws:secretsmanager:eu-central-1:210987654321:secret:unstale/key-??????",
    }


def test_the_key_of_the_function_on_azure_is_a_secret_that_is_read() -> None:
    """Once, however many followers there are; and the rule lets the signals of the function on Azure through."""
    named = '[deployment]\nsignal_sources = [{ account = "210987654321", source = "contoso.etl" }]\n'
    found = inputs(load(named + TWO_CLOUDS.read_text(encoding="utf-8")), "eu-central-1").parameters
    assert found["TellSecrets"] == "arn:aws:secretsmanager:eu-central-1:123456789012:secret:unstale/azure-??????"
    assert (found["TellBuses"], found["TellTopics"]) == ("", "")
    assert '"unstale.azure"' in found["SignalPattern"]


def test_the_role_may_tell_those_and_nothing_else() -> None:
    """Only where there are any; onto a bus only with our own source."""
    statements: list[Any] = resources("AWS::IAM::Role")["FunctionRole"]["Policies"][0]["PolicyDocument"]["Statement"]
    found = {
        one["Fn::If"][0]: one["Fn::If"][1]
        for one in statements
        if one.get("Fn::If", [""])[0] in {"TellsBuses", "TellsTopics", "ReadsSecrets"}
    }
    assert {name: (one["Action"], one["Resource"]["Ref"]) for name, one in found.items()} == {
        "TellsBuses": ("events:PutEvents", "TellBuses"),
        "TellsTopics": ("sns:Publish", "TellTopics"),
        "ReadsSecrets": ("secretsmanager:GetSecretValue", "TellSecrets"),
    }
    assert found["TellsBuses"]["Condition"] == {"StringEquals": {"events:source": "unstale"}}
