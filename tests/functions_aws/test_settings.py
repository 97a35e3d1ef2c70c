"""The Lambda's variables: what is missing or refused is named, and secrets are known as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions_aws import settings, wiring
from functions_aws.settings import Settings, SettingsError
from shared.config import compiled
from shared.endpoints import refusal

EXAMPLE = Path(__file__).parents[2] / "unstale.example.toml"
NEEDED = {"UNSTALE_TABLE": "t", "UNSTALE_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/wakes"}


def test_two_variables_are_enough() -> None:
    """The configuration is at the root of the package, where packaging puts it, unless a variable says otherwise."""
    root = Path(settings.__file__).parent.parent
    assert settings.read(NEEDED) == Settings(root / "unstale.toml", "t", NEEDED["UNSTALE_QUEUE_URL"])


def test_every_variable_is_read() -> None:
    """All that a deployment may set."""
    given = NEEDED | {
        "UNSTALE_CONFIG": "/opt/c.toml",
        "UNSTALE_EVENTS_QUEUE_URL": "https://e",
        "POWERTOOLS_SERVICE_NAME": "unstale-prod",
    }
    assert settings.read(given) == Settings(
        Path("/opt/c.toml"), "t", NEEDED["UNSTALE_QUEUE_URL"], "https://e", "unstale-prod"
    )


def test_metrics_are_one_of_three() -> None:
    """Those of each view by default; another word is refused with those that there are."""
    assert settings.read(NEEDED).metrics == "per-view"
    assert settings.read(NEEDED | {"UNSTALE_METRICS": "total"}).metrics == "total"
    with pytest.raises(SettingsError, match=r"UNSTALE_METRICS is 'none': it must be one of per-view, total, off"):
        settings.read(NEEDED | {"UNSTALE_METRICS": "none"})


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("value", [{}, {"": ""}])
def test_what_is_missing_is_named(name: str, value: dict[str, str]) -> None:
    """A variable that is not set, or set to nothing, is refused with its name and what it must be."""
    given = {key: text for key, text in NEEDED.items() if key != name} | ({name: ""} if value else {})
    with pytest.raises(SettingsError, match=f"{name} is not set: it must be"):
        settings.read(given)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_GLUE", "AWS_ENDPOINT_URL_DYNAMODB"])
@pytest.mark.parametrize(
    "url",
    [
        "http://example.test",
        "http://127.0.0.1@example.test",
        "ftp://127.0.0.1",
        "127.0.0.1:5000",
        "http://",
        "https://",
        "http://[::1",
        "https://:password@example.test",
    ],
)
def test_without_tls_an_endpoint_is_on_this_machine(name: str, url: str) -> None:
    """Signed requests, and what is in them, leave this machine encrypted or not at all."""
    with pytest.raises(SettingsError) as refused:
        settings.read(NEEDED | {name: url})
    assert str(refused.value) == f"{name} {refusal(url)}"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000", "https://vpce-1.example.test", ""]
)
def test_other_endpoints_are_left_to_the_sdk(url: str) -> None:
    """Emulators on loopback, private endpoints with TLS, and a variable that says nothing."""
    assert settings.read(NEEDED | {"AWS_ENDPOINT_URL": url}).table == "t"


def test_the_credentials_of_the_sdk_are_secrets() -> None:
    """What the SDK signs with is kept out of logs; a placeholder is not, or it would blot out ordinary words."""
    secret, token = "s" * 40, "t" * 300
    found = settings.secrets({"AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token, "AWS_REGION": "r" * 40})
    assert set(found) == {secret, token}
    assert settings.secrets({"AWS_SECRET_ACCESS_KEY": "none"}) == ()


def test_what_packaging_compiled_is_read_and_another_s_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The TOML beside it counts: changed since, it is read itself, and the log says so; else it is not parsed."""
    config, beside = tmp_path / "unstale.toml", tmp_path / compiled.FILE
    config.write_bytes(EXAMPLE.read_bytes())
    found = settings.read(NEEDED | {"UNSTALE_CONFIG": str(config)})
    loaded = wiring.configuration(found)
    beside.write_bytes(compiled.compile_configuration(EXAMPLE.read_bytes() + b"# before\n", "unstale.toml"))
    assert wiring.configuration(found) == loaded
    assert "unstale.compiled was not made from" in caplog.text
    beside.write_bytes(compiled.compile_configuration(EXAMPLE.read_bytes(), "unstale.toml"))
    monkeypatch.setattr("shared.config.load.load", lambda *_: pytest.fail("the TOML was parsed"))
    assert wiring.configuration(found) == loaded
