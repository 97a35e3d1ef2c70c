"""What is shown of a text that others wrote."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from urllib.parse import quote

import pytest

from shared.redaction import NOTHING_KNOWN, SHORTEST_SECRET, Redactor, plain, secret_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines\x00 and\ttabs", "two lines and tabs"),
        ("Authorization: Bearer abc.def-ghi, then", "Authorization: ***, then"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln end", "token *** end"),
        ("cut eyJhbGciOiJSUzI1NiJ9 here", "cut eyJhbGciOiJSUzI1NiJ9 here"),
        ("eyJhbGciOiJSUzI1NiJ9-sig=abc&password=def", "eyJhbGciOiJSUzI1NiJ9-***&***"),
        ("eyJ" * 20 + ".a.b,", "***,"),
        ("https://a/b?sv=1&sig=aB%2Bc%3D&x=1", "https://a/b?sv=1&***&x=1"),
        ("AccountKey=abc==;EndpointSuffix=x", "***;EndpointSuffix=x"),
        ("https://f/api?code=0123456789abcdefghijkl==", "https://f/api?***"),
        ("status code=400", "status code=400"),
        ("http://user:p/a?s#s\\w@rd@proxy:80/x", "http://***@proxy:80/x"),
        ("Failed to parse: //:pass@proxy", "Failed to parse: //***@proxy"),
        ("abfss://files@lake.example/x", "abfss://files@lake.example/x"),
        ("https://a:443/b and mail to a@b", "https://a:443/b and mail to a@b"),
        ("{'client_secret': 'abc', 'error': 'x'}", "{'client_secret': '***', 'error': 'x'}"),
        ("refresh_token: 0.AX-abc; x", "refresh_token: ***; x"),
        ("Authorization: SharedKey account:c2ln", "Authorization: SharedKey ***"),
        ('"value": "' + "a" * 43 + '"', '"value": "***"'),
        ('"code": "' + "a" * 60 + '"', '"code": "***"'),
        ('"code": "AADSTS7000215"', '"code": "AADSTS7000215"'),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("x" * 501, "x" * 497 + "..."),
        ("x" * 500, "x" * 500),
    ],
)
def test_text_of_others_is_made_fit(text: str, expected: str) -> None:
    """One line, short, storable, and without secrets."""
    assert plain(text) == expected


# --- Known secrets ---------------------------------------------------------------------------------------------------


SECRET = 'aB~3\\x"y/z+é =8Q'


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        repr({"password": SECRET}),
        json.dumps({"password": SECRET}),
        quote(SECRET, safe=""),
        f"before{SECRET}after{SECRET}",
    ],
)
def test_a_known_secret_is_taken_out_however_it_is_written(shown: str) -> None:
    """As it is, in code, in JSON, in an address, within a word."""
    redactor = Redactor([SECRET])
    for safe in (redactor.clean(shown), redactor.plain(shown), redactor.lines(shown, 500, 500)):
        assert "***" in safe
        assert not any(part in safe for part in ("aB~3", "3Q", "8Q"))


def test_one_that_is_percent_encoded_is_known_in_both_forms() -> None:
    """Keys of a connection string are decoded on their way."""
    assert Redactor(["a%2Fb%3D%3D-secret"]).clean("a/b==-secret and a%2Fb%3D%3D-secret") == "*** and ***"


def test_a_secret_is_taken_out_before_a_text_is_cut() -> None:
    """Half a secret is none that is known."""
    text = "x" * 490 + "secret-secret-secret"
    assert "sec" not in Redactor(["secret-secret-secret"]).plain(text)
    assert "sec" in NOTHING_KNOWN.plain(text)


def test_the_longest_is_taken_out_first() -> None:
    """One that begins another leaves no part of it."""
    assert Redactor(["12345678", "12345678-abc"]).clean("12345678-abc") == "***"


def test_lines_stay_lines() -> None:
    """A traceback keeps its indentation; each line, and the whole, ends somewhere."""
    text = 'Traceback:\n  File "x"\n    password=abc\r\n' + "y" * 50
    assert NOTHING_KNOWN.lines(text, 30, 45) == 'Traceback:\n  File "x"\n    ***\n' + "y" * 5


def test_secrets_of_the_environment_are_those_of_its_variables_and_proxies() -> None:
    """A value that is shorter than any secret is would blot out words."""
    environ = {"A": "a-secret-value", "B": "b" * (SHORTEST_SECRET - 1), "C": "not-asked-for"}
    assert secret_values(environ, ["A", "B", "Z"]) == {"a-secret-value"}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "password", ["Qz7/ss-word", "Qz7#ss-word", "Qz7?ss-word", "Qz7\\ss-word", "12/ss-word", "Q@ss:word"]
)
def test_the_password_of_a_proxy_is_known(name: str, password: str) -> None:
    """Whole, with its user, and up to where a library sees the end of a host or port: as urllib3 shows them."""
    found = Redactor(secret_values({name: f"http://user:{password}@proxy:8080"}, []))
    first = re.split(r"[/#?\\]", password)[0]
    basic = b64encode(f"user:{password}".encode()).decode()
    for shown in (
        f"Failed to parse: 'user:{first}' is not a valid host or port",
        f"Pool(host='user', port={first}): Max retries",
        f"Failed to parse: http://user:{password}@proxy:8080",
        f"the password {password} is wrong",
        f"the password {quote(password, safe='')} is wrong",
        f"Proxy-Authorization: Basic {basic}",
    ):
        safe = found.plain(shown)
        assert "***" in safe
        assert first not in safe
        assert "ss" not in safe.replace("password", "")


@pytest.mark.parametrize("address", ["http://proxy:8080", "http://user@proxy", "proxy:80", "", "http://:@proxy"])
def test_a_proxy_without_a_password_has_no_secret(address: str) -> None:
    """Nor has one whose password is empty."""
    assert secret_values({"HTTPS_PROXY": address}, []) == set()


def test_a_short_password_of_a_proxy_is_known_beside_its_user_only() -> None:
    """Alone it could be any word."""
    found = Redactor(secret_values({"https_proxy": "http://user:job@proxy"}, []))
    assert found.clean("the job of user:job failed") == "the job of *** failed"
