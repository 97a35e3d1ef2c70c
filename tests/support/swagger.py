"""A judge of requests and answers: Microsoft's published specification of the job API (Swagger 2).

    problems = published().problems_of_request("POST", "/v1/workspaces/...", {"content-type": ...}, b"...")
    problems = published().problems_of_answer("POST", "/v1/workspaces/...", 202, {"location": ...}, b"")

Each is a list of sentences, empty if all is well. `problems_of` takes the exchanges that the emulator has kept.

Two things that the specification does not say, and where they come from: the older form of a run's address, with the
job type in the query, is "still supported" (the operations' own descriptions), so it is judged as its newer form; and
the lake views' run takes a body that names an execution definition (the public-API guide for materialized lake views).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

import jsonschema
import pytest

from local.emulators.fabric.emulator import Exchange

SPECIFICATION: Final = Path(__file__).parents[3] / "shared" / "specs" / "fabric-jobs.swagger.json"
ABSENT: Final = "the published specification of the job API is not here"

LAKE_VIEWS_PATH: Final = (
    "/workspaces/{workspaceId}/lakehouses/{lakehouseId}/jobs/refreshMaterializedLakeViews/instances"
)
LAKE_VIEWS_BODY: Final = {
    "type": "object",
    "properties": {
        "executionData": {
            "type": "object",
            "properties": {"mlvExecutionDefinitionId": {"type": "string", "format": "uuid"}},
            "required": ["mlvExecutionDefinitionId"],
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
OLD_FORM: Final = re.compile(r"(/workspaces/[^/]+/(items|lakehouses)/[^/]+/jobs)/instances")


@dataclass(frozen=True)
class Operation:
    """One operation of the specification, and the values that an address gave its path."""

    path: str
    specified: Mapping[str, Any]
    arguments: Mapping[str, str]

    def parameters(self, place: str) -> dict[str, Mapping[str, Any]]:
        """The operation's parameters in the path, the query or the body, by name."""
        return {one["name"]: one for one in self.specified.get("parameters", ()) if one["in"] == place}


@cache
def published() -> Swagger:
    """The specification; skips the test where it is not."""
    if not SPECIFICATION.exists():
        pytest.skip(ABSENT)
    return Swagger(json.loads(SPECIFICATION.read_text(encoding="utf-8")))


def assert_as_published(exchanges: Iterable[Exchange]) -> None:
    """Hold all that was asked and answered against the specification, where it is there."""
    if SPECIFICATION.exists():
        assert published().problems_of(exchanges) == []


class Swagger:
    """One specification."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Read no more than what is asked about later."""
        self._document = document

    def problems_of(self, exchanges: Iterable[Exchange]) -> list[str]:
        """Judge what an emulator has kept, but for answers that did not come from the API, or never came."""
        problems = []
        for exchange in exchanges:
            request, answer = exchange.request, exchange.answer
            url = request.path + ("?" + "&".join(f"{n}={quote(v, safe='')}" for n, v in request.query)) * bool(
                request.query
            )
            if exchange.call:
                problems += self.problems_of_request(request.method, url, request.headers, request.body)
                if answer and not exchange.outside:
                    problems += self.problems_of_answer(request.method, url, answer.status, answer.headers, answer.body)
        return problems

    def problems_of_request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> list[str]:
        """Judge a request; `url` is a whole address or just its path and query."""
        path, query = self._newer_form(method, url)
        operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {url}: no such operation"]
        problems = _problems_of_values("path", operation.parameters("path"), operation.arguments)
        problems += _problems_of_values("query", operation.parameters("query"), query)
        problems += self._problems_of_body(operation, headers, body)
        return [f"{method} {url}: {problem}" for problem in problems]

    def problems_of_answer(
        self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> list[str]:
        """Judge an answer to a request to `url`."""
        path, _ = self._newer_form(method, url)
        operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {url}: no such operation"]
        answers = operation.specified["responses"]
        if status < 400 and str(status) not in answers:
            return [f"{method} {url}: {status} is not an answer of this operation"]
        specified = answers.get(str(status), answers["default"])
        problems = self._problems_of_json(specified.get("schema"), _lower(headers), body, nulls=True)
        problems += _problems_of_headers(specified.get("headers", {}), _lower(headers), required=status == 202)
        return [f"{method} {url}: {status}: {problem}" for problem in problems]

    def _newer_form(self, method: str, url: str) -> tuple[str, dict[str, str]]:
        """The path without the base, and the query; a run's older form becomes the newer one."""
        parts = urlsplit(url)
        path = parts.path.removeprefix(self._document["basePath"])
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        old = OLD_FORM.fullmatch(path)
        if method == "POST" and old and "jobType" in query:
            job_type = query.pop("jobType")
            if old[2] == "lakehouses":
                job_type = job_type[:1].lower() + job_type[1:]
            path = f"{old[1]}/{quote(job_type, safe='')}/instances"
        return path, query

    def _operation(self, method: str, path: str) -> Operation | None:
        for template, operations in self._document["paths"].items():
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
            match = re.fullmatch(pattern, path)
            if match and method.lower() in operations:
                arguments = {name: unquote(value) for name, value in match.groupdict().items()}
                return Operation(template, operations[method.lower()], arguments)
        return None

    def _problems_of_body(self, operation: Operation, headers: Mapping[str, str], body: bytes) -> list[str]:
        specified = next(iter(operation.parameters("body").values()), None)
        schema = specified["schema"] if specified else LAKE_VIEWS_BODY if operation.path == LAKE_VIEWS_PATH else None
        if not body:
            return ["a body is required"] if specified and specified["required"] else []
        return self._problems_of_json(schema, _lower(headers), body, nulls=False)

    def _problems_of_json(
        self, schema: Mapping[str, Any] | None, headers: Mapping[str, str], body: bytes, *, nulls: bool
    ) -> list[str]:
        if schema is None:
            return [f"unexpected body {body[:80]!r}"] if body else []
        if not headers.get("content-type", "").startswith("application/json"):
            return [f"content type is {headers.get('content-type')}"]
        try:
            value = json.loads(body)
        except ValueError:
            return [f"not JSON: {body[:80]!r}"]
        validator = jsonschema.Draft202012Validator(
            self._plain(schema, nulls=nulls), format_checker=jsonschema.FormatChecker()
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def _plain(self, schema: Mapping[str, Any], *, nulls: bool) -> dict[str, Any]:
        """A schema without references and parents, closed to properties that it does not name.

        Answers show optional properties that have no value as null, which the live service does, too. An object without
        properties stands for any value (AutoRest's reading).
        """
        merged = self._merged(schema)
        if "items" in merged:
            return {"type": "array", "items": self._plain(merged["items"], nulls=nulls)}
        properties = merged.get("properties")
        if properties is None:
            return {} if merged.get("type") == "object" else merged
        required = merged.get("required", [])
        plain = {name: self._plain(one, nulls=nulls) for name, one in properties.items()}
        if nulls:
            plain |= {name: {"anyOf": [plain[name], {"type": "null"}]} for name in plain.keys() - required}
        return {"type": "object", "properties": plain, "required": required, "additionalProperties": False}

    def _merged(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        merged = {name: value for name, value in schema.items() if name not in ("$ref", "allOf")}
        parents = list(schema.get("allOf", ()))
        if "$ref" in schema:
            parents.append(self._document["definitions"][schema["$ref"].removeprefix("#/definitions/")])
        for parent in map(self._merged, parents):
            properties = parent.get("properties", {}) | merged.get("properties", {})
            required = sorted({*parent.get("required", ()), *merged.get("required", ())})
            merged = parent | merged | ({"properties": properties, "required": required} if properties else {})
        return merged


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _problems_of_values(place: str, specified: Mapping[str, Mapping[str, Any]], given: Mapping[str, str]) -> list[str]:
    problems = [f"unknown in the {place}: {name}" for name in sorted(given.keys() - specified.keys())]
    for name, one in specified.items():
        if name not in given:
            problems += [f"missing in the {place}: {name}"] if one["required"] else []
            continue
        schema = {key: one[key] for key in ("type", "format") if key in one}
        validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
        problems += [f"{name} in the {place}: {error.message}" for error in validator.iter_errors(given[name])]
    return problems


def _problems_of_headers(
    specified: Mapping[str, Mapping[str, Any]], given: Mapping[str, str], *, required: bool
) -> list[str]:
    problems = []
    for name, one in specified.items():
        value = given.get(name.lower())
        if value is None:
            problems += [f"header {name} is missing"] if required else []
        elif one["type"] == "integer" and not value.isdecimal():
            problems.append(f"header {name} is {value!r}")
    return problems
