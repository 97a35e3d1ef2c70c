"""The configuration as frozen values: all that a function works by. How the file is read stands in `load`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

import msgspec
from msgspec.structs import replace

from shared.config.followers import followers_across
from shared.destinations import Destination
from shared.places import Listeners, Place, by_output, listeners
from shared.targets import Cloud, Limits, Package, Target, Workload
from shared.values import Value

FABRIC_PACE = Limits(starts_per_minute=50, polls_per_minute=50)
"""Calls a minute and user: https://learn.microsoft.com/en-us/fabric/fundamentals/job-scheduler."""


class FabricSettings(Value, frozen=True):
    """How Microsoft Fabric is called: as whom, with which form of its addresses, and how fast."""

    identity: Literal["managed-identity", "service-principal", "user"] = "managed-identity"
    """The identity that calls Fabric."""
    url_form: Literal["query", "path"] = "query"
    """Which of the two documented forms the addresses of calls have."""
    pace: Limits = FABRIC_PACE
    """How many calls a minute, and runs at a time, the identity is allowed."""


class SignalSource(Value, frozen=True):
    """A sender of custom events: an AWS account, and the source that its events name."""

    account: str
    """The id of the AWS account, 12 digits."""
    source: str
    """The `source` of its events, as EventBridge has it."""


class DeploymentSettings(Value, frozen=True):
    """Settings that hold for the deployment as a whole."""

    stack: str = ""
    """The CloudFormation stack, `subscription/group/deployment` on Azure, or both; empty where the file names none."""
    signal_sources: tuple[SignalSource, ...] = ()
    """Accounts and sources that may send `unstale.signal`; empty is anybody who may put events on the bus."""
    max_starts_per_day: int | None = None
    """Starts of all targets together on one day of UTC; None is no limit."""


class Configuration(Value, frozen=True, dict=True):
    """The targets to keep fresh, and how, free of contradictions; without `workload` Fabric's endpoints are off."""

    targets: tuple[Target, ...]
    """All targets, of both clouds, in the order of the file."""
    fabric: FabricSettings = FabricSettings()
    """How Microsoft Fabric is called."""
    workload: Workload | None = None
    """The jobs that Fabric may ask for; None: the endpoints are off."""
    glue: Limits = Limits()
    """How many calls a minute, and runs at a time, the Lambda's role is allowed."""
    deployment: DeploymentSettings = DeploymentSettings()
    """Settings of the deployment as a whole."""
    destinations: tuple[Destination, ...] = ()
    """Where outcome events go, of both clouds, in the order of the file."""
    across: Mapping[Cloud, Destination] = {}
    """How the function on the other cloud reaches the one on each cloud, where the file says so."""
    generation: datetime = datetime.min.replace(tzinfo=UTC)
    """When the package was made that has this configuration (`shared.config.generation`); not part of the file."""

    @cached_property
    def by_name(self) -> Mapping[str, Target]:
        """The targets by the name that the file gives them."""
        return {target.name: target for target in self.targets}

    @cached_property
    def by_output(self) -> Mapping[Place, Sequence[Target]]:
        """The targets by the table or item that they refresh (see `places`)."""
        return by_output(self.targets)

    @cached_property
    def listeners(self) -> Mapping[Place, Listeners]:
        """The sources by the place that they name, each with its target (see `places`)."""
        return listeners(self.targets)

    @cached_property
    def senders(self) -> frozenset[tuple[str, str]]:
        """Accounts and sources whose custom events may ask for a refresh; empty: all may."""
        return frozenset((sender.account, sender.source) for sender in self.deployment.signal_sources)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that planning depends on: which resources there are, with which sources and schedules."""
        known = sorted((target.key, target.definition) for target in self.targets)
        return hashlib.sha256(msgspec.json.encode(known)).hexdigest()[:24]

    def with_fingerprint(self, fingerprint: str) -> Configuration:
        """The same configuration, whose fingerprint is known from when the very same values were compiled."""
        self.__dict__["fingerprint"] = fingerprint
        return self

    def of_package(self, generation: datetime, destinations: tuple[Destination, ...]) -> Configuration:
        """The same targets in a package that was made then, and whose function tells these places."""
        made = replace(self, generation=generation, destinations=destinations)
        return made.with_fingerprint(self.fingerprint)

    def build(self) -> None:
        """Build the indexes that routing looks into now, so that no event waits for it."""
        _ = self.by_name, self.by_output, self.listeners, self.senders

    def followers(self, name: str) -> tuple[Target, ...]:
        """The targets that a refresh of this one signals."""
        return tuple(target for target in self.targets if name in target.after)

    def package(self, cloud: Cloud) -> Package:
        """The targets of one cloud, as the machine needs them; each invocation gets the same, with its indexes."""
        if cloud not in self._packages:
            self._packages[cloud] = self._make_package(cloud)
        return self._packages[cloud]

    @cached_property
    def _packages(self) -> dict[Cloud, Package]:
        """The packages that were made."""
        return {}

    def _make_package(self, cloud: Cloud) -> Package:
        pace = self.glue if cloud is Cloud.AWS else self.fabric.pace
        limits = replace(pace, max_starts_per_day=self.deployment.max_starts_per_day)
        targets = tuple(target for target in self.targets if target.cloud is cloud)
        told = (each for each in self.destinations if cloud in each.clouds)
        followers = followers_across(self.across, self.targets, cloud)
        return Package(targets, self.fingerprint, self.generation, (*told, *followers), limits)
