"""The SAM template as data: as it is written, and as CloudFormation gets it, for tests of relations."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cfnlint.decode import decode
from samtranslator.translator.transform import transform

TEMPLATE = Path(__file__).parents[2] / "infra" / "aws" / "template.yaml"

Resource = dict[str, Any]


@cache
def written() -> dict[str, Any]:
    """What the file says, its short forms (`!Ref`) as objects."""
    template, problems = decode(str(TEMPLATE))
    assert not problems
    assert template
    return plain(template)


@cache
def deployed(gradual_rollout: str = "true") -> dict[str, Any]:
    """What the SAM transform makes of it."""
    packaged = copy.deepcopy(written())
    packaged["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://packages/aws.zip"  # what `sam deploy` puts there
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": "eu-central-1"}):
        parameters = {"GlueResources": "arn", "SourceResources": "arn", "GradualRollout": gradual_rollout}
        made = transform(packaged, parameters, _NoManagedPolicies())
    return plain(made)


class _NoManagedPolicies:
    """The transform asks for AWS's managed policies; the template names one, of CodeDeploy, by its ARN."""

    def load(self) -> dict[str, str]:
        """None by name."""
        return {}


def plain(value: Any) -> Any:
    """Without cfn-lint's own kinds of dict and list, which remember lines."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def resources(kind: str, template: dict[str, Any] | None = None) -> dict[str, Resource]:
    """Properties of the resources of one type, by their logical name."""
    found = (template or deployed())["Resources"]
    return {name: resource.get("Properties", {}) for name, resource in found.items() if resource["Type"] == kind}


def statements() -> Iterator[Resource]:
    """What all roles grant, and what the policies of queues, table, topic and bucket allow and refuse."""
    for role in resources("AWS::IAM::Role").values():
        for policy in role.get("Policies", ()):
            yield from policy_statements(policy["PolicyDocument"])
    for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy"):
        for policy in resources(kind).values():
            yield from policy_statements(policy["PolicyDocument"])
    for table in resources("AWS::DynamoDB::Table").values():
        yield from policy_statements(table["ResourcePolicy"]["PolicyDocument"])


def policy_statements(document: Resource) -> Iterator[Resource]:
    """The statements of a policy; of one behind a condition, what it says where the condition holds."""
    for statement in document["Statement"]:
        yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def listed(value: Any) -> list[Any]:
    """One or many, as a list."""
    return value if isinstance(value, list) else [value]


def refers_to(value: Any) -> set[str]:
    """The logical names that a value refers to by `!Ref` and `!GetAtt`."""
    if isinstance(value, list):
        return {name for each in value for name in refers_to(each)}
    if not isinstance(value, dict):
        return set()
    if set(value) == {"Ref"}:
        return {value["Ref"]}
    if set(value) == {"Fn::GetAtt"}:
        got = value["Fn::GetAtt"]
        return {got[0] if isinstance(got, list) else got.partition(".")[0]}
    return {name for each in value.values() for name in refers_to(each)}
