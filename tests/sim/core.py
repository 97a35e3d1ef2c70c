"""The code under test: what ships, or a copy of it in which one thing is broken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

MODULES = ("debt", "timing", "decision", "planning", "machine", "engine", "inbox")
"""What decides, in the order in which each imports those before it. Values and ports are never copied."""

SHARED = Path(__file__).parents[2] / "shared"


class Core(NamedTuple):
    """The modules that a simulation runs, by their names within `shared`."""

    modules: Mapping[str, ModuleType]

    def __getattr__(self, name: str) -> Any:
        """`core.engine`, `core.inbox` and so on."""
        try:
            return self.modules[name]
        except KeyError:
            raise AttributeError(name) from None


class Patch(NamedTuple):
    """A text of one module, which must be there exactly once, and what stands there instead."""

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """The source, broken. Fails if the text is not there any more: then the mutant must be written anew."""
        found = source.count(self.old)
        if found != 1:
            message = f"shared/{self.module}.py has {found} times, instead of once: {self.old!r}"
            raise LookupError(message)
        return source.replace(self.old, self.new)


def shipped() -> Core:
    """What ships."""
    return Core({name: import_module(f"shared.{name}") for name in MODULES})


def broken(name: str, *patches: Patch) -> Core:
    """A copy under another name, with these patches; the copies import each other, and else from `shared`."""
    package = f"broken_{name}"
    modules: dict[str, ModuleType] = {}
    for module in MODULES:
        source = (SHARED / f"{module}.py").read_text(encoding="utf-8")
        for patch in patches:
            source = patch.apply(source) if patch.module == module else source
        modules[module] = _loaded(f"{package}.{module}", _renamed(package, source))
    return Core(modules)


def _renamed(package: str, source: str) -> str:
    for module in MODULES:
        source = source.replace(f"from shared.{module} import", f"from {package}.{module} import")
    shared_line = "from shared import decision, machine, records, timing\n"
    ours = f"from shared import records\nfrom {package} import decision, machine, timing\n"
    return source.replace(shared_line, ours)


def _loaded(name: str, source: str) -> ModuleType:
    package, _, module = name.partition(".")
    parent = sys.modules.setdefault(package, ModuleType(package))
    made = ModuleType(name)
    sys.modules[name] = made  # msgspec looks annotations up here
    setattr(parent, module, made)
    run: Callable[..., None] = exec
    run(compile(source, f"<{name}>", "exec"), made.__dict__)
    return made
