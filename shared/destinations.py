"""Where outcome events go, as the configuration says it (design, section 10)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import msgspec
from msgspec.structs import replace

from shared.values import Value

KINDS = ("refreshed", "failed", "held", "released", "late", "recovered")
"""Kinds of events that others may act on; each is the last part of an event's type, `unstale.late` for example."""
ENDS = ("refreshed", "failed", "aborted")
"""The ends of runs, all that lineage tells. Only lineage tells `aborted`: what a person cancels is `held` as well."""

To = Literal["eventbridge", "sns", "eventgrid", "webhook", "azure", "aws"]
"""Kinds of places. The last two are our function on another cloud, for followers there."""
Format = Literal["cloudevents", "slack", "teams", "openlineage", "signal", "text"]
"""Ways to write an event. `signal` is what our function on another cloud reads, `text` what an alarm's mail says."""
ALARMING = ("held", "late")
"""Kinds of events beside which an alarm goes off that cannot name the view."""

CLOUDS: Mapping[str, frozenset[str]] = {
    "eventbridge": frozenset({"aws"}),
    "sns": frozenset({"aws"}),
    "eventgrid": frozenset({"azure"}),
    "webhook": frozenset({"aws", "azure"}),
    "azure": frozenset({"aws"}),
    "aws": frozenset({"azure"}),
}
"""The clouds whose function sends to each kind of place."""

SIGNAL_SOURCE = "unstale.azure"
"""`source` of the signals that the function on Azure puts on a bus of AWS; the role for it may put no others."""

VAULT = "https://"
"""Beginning of the name of a secret in a Key Vault, which is a URI; any other name is one in Secrets Manager."""


class Destination(Value, frozen=True, dict=True):
    """A place that outcome events are sent to."""

    to: To
    """The kind of place."""
    on: tuple[str, ...] = KINDS
    """The kinds of events that the place wants."""
    format: Format = "cloudevents"
    """How an event is written."""
    bus: str = ""
    """EventBridge: name or ARN of the bus; empty is the account's default bus."""
    topic: str = ""
    """SNS: ARN of the topic; Event Grid: the address of a custom topic."""
    url: str = ""
    """Webhook: the address, which holds no secret."""
    url_secret: str = ""
    """Webhook: the secret that holds the address, where the address is one: name or ARN, or URI in a Key Vault."""
    signing_secret: str = ""
    """Webhook: the secret that messages are signed with, named likewise; empty for none."""
    key_secret: str = ""
    """The function on Azure: the secret that holds its key, named likewise. Its address is `url`."""
    role: str = ""
    """The function on AWS: ARN of the role that may put signals on the default bus."""
    region: str = ""
    """The function on AWS: the Region of the bus."""
    audience: str = ""
    """The function on AWS: the audience of the token by which the role is assumed."""
    follower: str = ""
    """The function on another cloud: the name of the one target that is signalled."""
    upstreams: tuple[str, ...] = ()
    """Targets whose events are sent there; empty is all targets."""

    @cached_property
    def digest(self) -> str:
        """A digest of the settings: whose settings change is another destination, which has nothing yet."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @cached_property
    def site_digest(self) -> str:
        """A digest of the destination's address and credentials, shared by all its followers: they fail together."""
        return replace(self, follower="", upstreams=()).digest if self.follower else self.digest

    @property
    def clouds(self) -> frozenset[str]:
        """The clouds whose function sends there: a secret is read in its own cloud alone."""
        if not self.secrets:
            return CLOUDS[self.to]
        return frozenset({"azure" if self.secrets[0].startswith(VAULT) else "aws"})

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of events that are sent there."""
        return ENDS if self.format == "openlineage" else self.on

    def serves(self, name: str) -> bool:
        """Whether events of the target called `name` are sent there."""
        return not self.upstreams or name in self.upstreams

    @property
    def title(self) -> str:
        """The destination in a line of the log: never an address that is a secret."""
        if self.follower:
            return f"{self.follower} on {self.to}"
        place = self.bus or self.topic or self.url or self.url_secret or "default"
        return f"{self.to} {place}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names or ARNs of the secrets that sending to this destination reads."""
        return tuple(name for name in (self.url_secret, self.signing_secret, self.key_secret) if name)


def with_alarms(destinations: tuple[Destination, ...], topic: str) -> tuple[Destination, ...]:
    """Add the topic of the deployment's alarms, so that a mail names the view; not where the file names it already."""
    if not topic or any(each.topic == topic for each in destinations):
        return destinations
    return (*destinations, Destination("sns", ALARMING, "text", topic=topic))
