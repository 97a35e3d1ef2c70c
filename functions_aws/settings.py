"""The environment of the Lambda as one value; a mistake in it is refused, by the variable's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.config import generation
from shared.endpoints import refusal
from shared.redaction import secret_values
from shared.values import Value

PACKAGE_ROOT = Path(__file__).parent.parent

SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
"""Variables of the SDK whose values must never be seen in a log."""


METRICS = ("per-view", "total", "off")
"""Metrics that are written: counts, and how each view stands; counts, and how all views stand together, which is what
alarms watch; or none. The first is the default."""

GENERATION = PACKAGE_ROOT / generation.FILE
"""When the package was made; a package that nobody packaged, such as a checkout, has no such file."""

ROOTS = PACKAGE_ROOT / "roots"
"""The certificates that packaging put into files of their own (`infra.packaging.roots`); a checkout has none such."""


class SettingsError(Exception):
    """A variable is missing, or says what it must not say."""


class Settings(Value, frozen=True):
    """The variables of one deployment, read and checked."""

    config: Path
    """Path of the configuration; in the package it lies at the root."""
    table: str
    """Name of the DynamoDB table with the records."""
    queue_url: str
    """URL of the SQS queue for wakes."""
    events_queue_url: str = ""
    """URL of the SQS queue for events. Only the command needs it, to count and redrive that queue's dead letters."""
    service: str = "unstale"
    """The dimension `service` of all metrics: the stack's name, where the template sets it."""
    fingerprint: str = ""
    """Digest of the configuration that the rules were made from; empty where nobody deployed them."""
    alarm_topic: str = ""
    """ARN of the topic of the stack's alarms, where somebody gets mail from it; empty where nobody does."""
    page_bucket: str = ""
    """Name of the bucket that ticks write an excerpt of the records to; empty where they write none."""
    metrics: str = "per-view"
    """The metrics that are written, one of `METRICS`."""
    region: str = ""
    """The Region of all calls; empty where the SDK is to find it by itself."""


def read(environ: Mapping[str, str]) -> Settings:
    """Read the variables; raises `SettingsError`."""
    refuse_unsafe_endpoints(environ)
    return Settings(
        config=Path(environ.get("UNSTALE_CONFIG") or PACKAGE_ROOT / "unstale.toml"),
        table=_require(environ, "UNSTALE_TABLE", "the name of the DynamoDB table"),
        queue_url=_require(environ, "UNSTALE_QUEUE_URL", "the URL of the SQS queue for wakes"),
        events_queue_url=environ.get("UNSTALE_EVENTS_QUEUE_URL", ""),
        service=environ.get("POWERTOOLS_SERVICE_NAME") or "unstale",
        fingerprint=environ.get("UNSTALE_CONFIG_FINGERPRINT", ""),
        alarm_topic=environ.get("UNSTALE_ALARM_TOPIC", ""),
        page_bucket=environ.get("UNSTALE_PAGE_BUCKET", ""),
        metrics=_one_of(METRICS, environ, "UNSTALE_METRICS"),
        region=environ.get("AWS_REGION", ""),
    )


def secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what no text may show that leaves: the values of secret variables."""
    return tuple(sorted(secret_values(environ, SECRETS)))


def _require(environ: Mapping[str, str], name: str, what: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: it must be {what}")
    return value


def _one_of(allowed: Sequence[str], environ: Mapping[str, str], name: str) -> str:
    """The value of a variable that takes few; the first of them where it is not set."""
    value = environ.get(name) or allowed[0]
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}: it must be one of {', '.join(allowed)}")
    return value


def refuse_unsafe_endpoints(environ: Mapping[str, str]) -> None:
    """Refuse an endpoint that signed requests must not leave for.

    The SDK honours AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_<SERVICE>; https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html.
    """
    for name, value in environ.items():
        if name.startswith("AWS_ENDPOINT_URL") and value and (why := refusal(value)):
            raise SettingsError(f"{name} {why}")
