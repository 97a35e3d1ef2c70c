"""What Fabric sends, read; what it cannot mean, refused in its own shape of errors."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.workload.api import (
    BODY_LIMIT,
    UNAUTHORIZED,
    Answer,
    Call,
    Creation,
    answer_about_item,
    read_call,
    read_creation,
    refuse_oversized,
    refuse_unavailable,
)
from tests.support.jobs_bench import CALL, INSTANCE, ITEM, WORKSPACE

PATH = {
    "workspaceId": WORKSPACE,
    "itemType": CALL.item_type,
    "itemId": ITEM,
    "jobType": CALL.job_type,
    "jobInstanceId": INSTANCE,
}


def problem(answer: object, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> dict[str, Any]:
    """The error, which must have every field of the document."""
    assert isinstance(answer, Answer)
    assert answer.status is status
    error: dict[str, Any] = json.loads(answer.body)
    assert error.keys() == {"errorCode", "isPermanent", "message", "messageParameters", "moreDetails", "source"}
    for detail in error["moreDetails"]:
        assert detail.keys() == {"errorCode", "message", "messageParameters", "additionalParameters"}
        assert all(each.keys() == {"name", "value"} for each in detail["additionalParameters"])
    assert error["source"] in {"System", "User", "External"}
    return error


def test_a_path_is_read_with_its_ids_in_small_letters() -> None:
    """UUIDs have no case: a job is the same however it is spelled."""
    spelled = {name: value.upper() if name.endswith("Id") else value for name, value in PATH.items()}
    assert read_call(spelled, "TENANT") == CALL
    assert isinstance(read_call(spelled, ""), Call)


@pytest.mark.parametrize("name", PATH)
@pytest.mark.parametrize("value", ["", "a" * 300, "é" * 256])
def test_a_wrong_path_is_refused_by_its_names(name: str, value: str) -> None:
    """Ids that are no UUIDs, names that are none."""
    error = problem(read_call(PATH | {name: value}, "t"))
    assert (error["errorCode"], error["messageParameters"]) == ("InvalidParameter", [name])


@pytest.mark.parametrize("name", ["workspaceId", "itemId", "jobInstanceId"])
@pytest.mark.parametrize("value", ["x", ITEM + "0", ITEM + "\n", "{" + ITEM + "}", ITEM.replace("-", ""), "../" + ITEM])
def test_an_id_is_a_uuid_and_nothing_else(name: str, value: str) -> None:
    """It becomes part of a record's key."""
    assert problem(read_call(PATH | {name: value}, "t"))["messageParameters"] == [name]


@pytest.mark.parametrize(
    "body",
    [
        b'{"invokeType": "Scheduled"}',
        b'{"invokeType": "Manual", "creationPayload": null}',
        b'{"creationPayload": {}, "invokeType": "SomethingNew", "aFieldOfTomorrow": [1]}',
        b'{"invokeType": "Manual", "creationPayload": {"full": false, "executionData": {"a": [1, {"b": null}]}}}',
    ],
)
def test_a_body_is_read(body: bytes) -> None:
    """An invoke type that is added later, and a field beside the payload, are no mistakes."""
    creation = read_creation(body)
    assert isinstance(creation, Creation)
    assert creation.invoke_type == json.loads(body)["invokeType"]
    assert creation.payload.full is False


def test_the_same_request_has_the_same_digest() -> None:
    """However it is ordered and spaced; and any other value is another request."""
    one, same, other = (
        read_creation(body)
        for body in (
            b'{"invokeType":"Manual","creationPayload":{"full":false,"executionData":{"a":1,"b":2}}}',
            b'{"creationPayload": {"executionData": {"b": 2, "a": 1}, "full": false},\n "invokeType": "Manual"}',
            b'{"invokeType":"Manual","creationPayload":{"full":false,"executionData":{"a":1,"b":3}}}',
        )
    )
    assert isinstance(one, Creation)
    assert isinstance(same, Creation)
    assert isinstance(other, Creation)
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("body", "at", "says"),
    [
        (b"", "$", "not JSON"),
        (b"{", "$", "not JSON"),
        (b"\xff\xfe{}", "$", "not JSON"),
        (b'{"invokeType": "\xff"}', "$", "not JSON"),
        (b"[]", "$", "Expected `object`"),
        (b"{}", "$", "missing required field `invokeType`"),
        (b'{"invokeType": 1}', "$.invokeType", "Expected `str`"),
        (b'{"invokeType": ""}', "$.invokeType", "length >= 1"),
        (b'{"invokeType": "%s"}' % (b"x" * 101), "$.invokeType", "length <= 100"),
        (b'{"invokeType": "Manual", "creationPayload": []}', "$.creationPayload", "Expected `object | null`"),
        (b'{"invokeType": "Manual", "creationPayload": {"priority": "low"}}', "$.creationPayload", "`priority`"),
        (b'{"invokeType": "Manual", "creationPayload": {"full": "yes"}}', "$.creationPayload.full", "Expected `bool`"),
        (
            b'{"invokeType": "Manual", "creationPayload": {"executionData": 1}}',
            "$.creationPayload.executionData",
            "Expected `object | null`",
        ),
        (b'{"invokeType": "Manual", "x": %s}' % (b"[" * 20_000 + b"]" * 20_000), "$", "nested too deeply"),
        (b'{"invokeType": "Manual", "x": NaN}', "$", "not JSON"),
        (b'{"invokeType": "\\ud800"}', "$", "not JSON"),
    ],
)
@pytest.mark.usefixtures("without_garbage")
def test_a_body_that_cannot_be_meant_is_refused_with_its_place(body: bytes, at: str, says: str) -> None:
    """Oversized, deep, malformed, not UTF-8, of the wrong shape; unknown keys of the payload by their names."""
    error = problem(read_creation(body))
    assert (error["errorCode"], error["source"], error["isPermanent"]) == ("InvalidRequestBody", "User", True)
    assert says in error["message"]
    assert error["moreDetails"][0]["additionalParameters"] == [{"name": "at", "value": at}]


def test_a_body_is_refused_by_its_length_alone() -> None:
    """One byte more than the limit, whatever it says; that many are decoded."""
    assert refuse_oversized(b"x" * BODY_LIMIT) is None
    answer = refuse_oversized(b"x" * (BODY_LIMIT + 1))
    assert answer
    assert answer.status == 413
    error = problem(answer, answer.status)
    assert (error["errorCode"], error["source"], error["isPermanent"]) == ("RequestBodyTooLarge", "User", True)
    assert f"{BODY_LIMIT + 1} bytes, where {BODY_LIMIT} are allowed" in error["message"]


def test_a_body_with_a_byte_order_mark_is_read() -> None:
    """.NET writes one: it is the same request with and without."""
    body = b'{"invokeType": "Manual"}'
    assert read_creation(b"\xef\xbb\xbf" + body) == read_creation(body)
    assert isinstance(read_creation(body), Creation)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_body_raises(body: bytes) -> None:
    """Whatever comes: a creation or a 400."""
    read = read_creation(body)
    assert isinstance(read, Creation) or problem(read)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["invokeType", "creationPayload", "full"]), values))
def test_no_json_raises(document: dict[str, Any]) -> None:
    """Nor does anything that looks like a body."""
    read = read_creation(json.dumps(document).encode())
    assert isinstance(read, Creation) or problem(read)


def test_trouble_of_ours_may_be_asked_again() -> None:
    """503, not permanent, after a minute; the words of an exception stay in the log."""
    answer = refuse_unavailable(RuntimeError("the key of the table is planted-secret"))
    error = problem(answer, HTTPStatus.SERVICE_UNAVAILABLE)
    assert (error["source"], error["isPermanent"], answer.headers) == ("System", False, {"Retry-After": "60"})
    assert "planted" not in error["message"]


def test_a_refusal_says_nothing() -> None:
    """One answer for whatever was wrong with the tokens."""
    assert problem(UNAUTHORIZED, HTTPStatus.UNAUTHORIZED)["messageParameters"] == []


@pytest.mark.parametrize(("method", "status"), [("POST", 201), ("PATCH", 200), ("DELETE", 200), ("GET", 200)])
def test_a_call_about_an_item_is_answered_by_its_path_alone(method: str, status: int) -> None:
    """Nothing is stored about an item, so whatever the body says is right; a path that names none is refused."""
    answer = answer_about_item(method, PATH)
    assert isinstance(answer, Answer)
    assert answer.status == status
    problem(answer_about_item(method, PATH | {"itemId": "none"}))
