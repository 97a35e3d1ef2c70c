"""What is shown of a text that others wrote."""

from __future__ import annotations

import pytest

from shared.redaction import plain


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
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("x" * 501, "x" * 497 + "..."),
        ("x" * 500, "x" * 500),
    ],
)
def test_text_of_others_is_made_fit(text: str, expected: str) -> None:
    """One line, short, storable, and without secrets."""
    assert plain(text) == expected
