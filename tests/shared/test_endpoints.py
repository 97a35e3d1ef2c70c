"""Addresses that variables give: what is refused, in words that both clouds share, and without repeating a password."""

from __future__ import annotations

import pytest

from shared.endpoints import is_loopback, is_private, refusal

NO_TLS = "it must be https, or http on a loopback address"
BARE = "must be a bare address: no user, no password, no query, no fragment"
NO_ADDRESS = "is no address, such as https://example.com"

REFUSED = {
    "http://192.0.2.1:5000": f"is at http://192.0.2.1: {NO_TLS}",
    "http://example.test": f"is at http://example.test: {NO_TLS}",
    "http://localhost.example.test": f"is at http://localhost.example.test: {NO_TLS}",
    "http://127.0.0.1.example.test": f"is at http://127.0.0.1.example.test: {NO_TLS}",
    "http://0.0.0.0:5000": f"is at http://0.0.0.0: {NO_TLS}",
    "http://127.0.0.1@example.test": f"is at http://example.test: {NO_TLS}",
    "ftp://127.0.0.1": f"is at ftp://127.0.0.1: {NO_TLS}",
    "//example.test": f"is at ://example.test: {NO_TLS}",
    "127.0.0.1:5000": f"names no host: {NO_TLS}",
    "example.test": f"names no host: {NO_TLS}",
    "https://": f"names no host: {NO_TLS}",
    "http://": f"names no host: {NO_TLS}",
    "https://:443": f"names no host: {NO_TLS}",
    "https://user:secret@": f"names no host: {NO_TLS}",
    "https://:password@example.test": BARE,
    "https://user@example.test": BARE,
    "https://@example.test": BARE,
    "https://example.test?a=b": BARE,
    "https://example.test#part": BARE,
    "http://[::1": NO_ADDRESS,
    "https://example.test:port": NO_ADDRESS,
    "https://example.test:65536": NO_ADDRESS,
    "https://good.test\\@example.test": NO_ADDRESS,
    "https://example.test /": NO_ADDRESS,
    "https://exa\nmple.test": NO_ADDRESS,
    "https://ex\u0430mple.test": NO_ADDRESS,
}


@pytest.mark.parametrize(("url", "words"), REFUSED.items(), ids=ascii)
def test_an_address_that_credentials_must_not_leave_for_is_refused_in_words(url: str, words: str) -> None:
    """Plain http to another machine, no host, a password, and whatever is no address: each with its own sentence."""
    assert refusal(url) == words


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://example.test/hook?code=1", True),
        ("http://127.0.0.1:5000/hook", True),
        ("http://example.test/hook", False),
        ("https://good.test\\@example.test", False),
        ("https://", False),
        ("http://[::1", False),
    ],
)
def test_an_address_is_private_where_nobody_on_the_way_reads(url: str, *, private: bool) -> None:
    """A query is fine, as webhooks have; what libraries understand differently is not."""
    assert is_private(url) == private


def test_no_password_is_repeated() -> None:
    """What stands between the slashes and the host may be a secret, and the refusal is printed and logged."""
    for url in ("https://u:s3cret@example.test", "http://u:s3cret@example.test", "https://u:s3cret@[::1"):
        assert refusal(url)
        assert "s3cret" not in refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.test",
        "https://example.test/",
        "https://example.test:8443/v1",
        "https://[2001:db8::1]/",
        "http://127.0.0.1:5000",
        "http://localhost:5000/",
        "http://[::1]:5000",
    ],
)
def test_a_bare_address_with_tls_or_on_this_machine_is_taken(url: str) -> None:
    """Private endpoints, national clouds, and emulators on loopback."""
    assert refusal(url) == ""


def test_loopback_is_told_by_name_or_address() -> None:
    """The whole of 127/8, ::1 and localhost; no name is looked up."""
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("", "192.0.2.1", "localhost.example.test", "0.0.0.0", "::")))  # noqa: S104
