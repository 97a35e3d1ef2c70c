"""CloudFormation on loopback, as far as DescribeStacks goes: stacks with the outputs of `infra/aws/template.yaml`.

Answers and errors are shaped as the API reference has them; botocore's model reads them.
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from local.emulators.http_server import Answer, Request
from tests.support.sam_template import written

NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"


def environment_output(values: Mapping[str, str]) -> str:
    """The output `Environment` of the template, with these values for what it refers to."""
    text: str = written()["Outputs"]["Environment"]["Value"]["Fn::Sub"]
    return re.sub(r"\$\{([^}]+)\}", lambda found: values[found[1]], text)


class CloudFormation:
    """Stacks by name, each with its outputs; `asked` has the form of each request."""

    def __init__(self) -> None:
        self.stacks: dict[str, dict[str, str]] = {}
        self.asked: list[dict[str, str]] = []
        self.refusal = ""

    def respond(self, request: Request) -> Answer:
        """Answer one request of the query protocol."""
        form = dict(parse_qsl(request.body.decode()))
        self.asked.append({**form, "authorization": request.headers.get("authorization", "")})
        assert form["Action"] == "DescribeStacks", "the command changes nothing"
        if self.refusal:
            return _error(403, "AccessDenied", self.refusal)
        name = form["StackName"]
        if name not in self.stacks:
            return _error(400, "ValidationError", f"Stack with id {name} does not exist")
        members = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{escape(value)}</OutputValue></member>"
            for key, value in self.stacks[name].items()
        )
        stack = (
            f"<member><StackName>{name}</StackName><CreationTime>2026-01-31T12:00:00Z</CreationTime>"
            f"<StackStatus>CREATE_COMPLETE</StackStatus><Outputs>{members}</Outputs></member>"
        )
        result = f"<DescribeStacksResult><Stacks>{stack}</Stacks></DescribeStacksResult>"
        return _xml(200, f'<DescribeStacksResponse xmlns="{NAMESPACE}">{result}</DescribeStacksResponse>')


def _error(status: int, code: str, message: str) -> Answer:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return _xml(status, f'<ErrorResponse xmlns="{NAMESPACE}">{error}</ErrorResponse>')


def _xml(status: int, text: str) -> Answer:
    return Answer(status, {"Content-Type": "text/xml"}, text.encode())
