"""A bench for one engine whose looks at sources are scripted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from shared.refresh.engine import Engine
from shared.refresh.inputs import Input
from shared.refresh.ports import Phase, Started
from shared.refresh.state import State
from shared.targets import Cloud, Target
from tests.support.core import Bench, ScriptedPlatform, report


class ScriptedLooks:
    """What looks at sources, as a test says."""

    def __init__(self) -> None:
        self.found: Any = None
        self.enrolled: list[str] = []
        self.looked_before: list[str] = []
        self.looked_at: list[str] = []
        self.failures: list[Exception] = []
        self.editions: set[int] = set()

    def enrol(self, target: Target, edition: int) -> None:
        """Keep who was."""
        self.editions.add(edition)
        self.enrolled.append(target.name)

    def look_at(self, keys: Sequence[str], is_over: Callable[[], bool], edition: int) -> list[Exception]:
        """Keep what was."""
        self.editions.add(edition)
        self.looked_at += [key for key in keys if not is_over()]
        return self.failures

    def read_by(self, target: Target, claimed_at: datetime) -> dict[str, str]:
        """Some version of a source."""
        return {f"{target.name}'s source": f"as of {claimed_at:%H:%M:%S}"}

    def before_start(self, target: Target, state: State) -> Input | None:
        """As the test says."""
        assert state.owed
        self.looked_before.append(target.name)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class LookBench(Bench):
    """A bench on which looks are scripted; `make` makes its engine, which may be a broken copy."""

    def __init__(self, *targets: Target, ends_at: float = 1e9, make: Callable[..., Engine] = Engine) -> None:
        platform = ScriptedPlatform(start=[Started("r1")], get=[report(Phase.ACTIVE)])
        super().__init__(*targets, platform=platform, ends_at=ends_at)
        self.looks = ScriptedLooks()
        self.ports = replace(self.ports, looks=lambda _targets, _reconcile: self.looks)
        self.engine = make(self.configuration.package(Cloud.AWS), self.ports, ends_at=ends_at)
