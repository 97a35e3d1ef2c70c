"""The code under test: what ships, or a copy of it in which one thing is broken."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from types import CodeType, ModuleType
from typing import Any, NamedTuple

MODULES = (
    "refresh.owed",
    "refresh.timing",
    "refresh.deployment",
    "refresh.pace",
    "refresh.planning",
    "refresh.decide",
    "refresh.proven",
    "refresh.outbox",
    "refresh.notices",
    "refresh.machine",
    "refresh.telling",
    "refresh.admission",
    "refresh.engine",
    "refresh.sweep",
    "inbound.routing",
    "inbound.dispatch",
    "sources.replies",
    "sources.iceberg",
    "sources.catalog",
    "sources.delta",
    "sources.rhythm",
    "sources.proof",
    "sources.remembering",
    "sources.looking",
    "outcomes.sending",
)
"""What decides, in the order in which each imports those before it. Values and ports are never copied."""

SHARED = Path(__file__).parents[2] / "shared"
PACKAGE = "broken"
"""The name of the package that copies are in."""


class Core(NamedTuple):
    """The modules that a simulation runs, by the last part of their names."""

    modules: Mapping[str, ModuleType]

    def __getattr__(self, name: str) -> Any:
        """`core.engine`, `core.dispatch` and so on."""
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
            raise self._not_there(found)
        return source.replace(self.old, self.new)

    def _not_there(self, found: int) -> LookupError:
        return LookupError(f"the module {self.module} has {found} times, instead of once: {self.old!r}")


class Lines(Patch):
    """The same for whole lines, however far they are indented; what stands there instead is as far as the least."""

    def apply(self, source: str) -> str:
        """The source, broken."""
        lines, old = source.splitlines(), [line.strip() for line in self.old.splitlines()]
        stripped = [line.strip() for line in lines]
        found = [place for place in range(len(lines)) if stripped[place : place + len(old)] == old]
        if len(found) != 1:
            raise self._not_there(len(found))
        (place,) = found
        margin = min(line[: -len(line.lstrip())] for line in lines[place : place + len(old)])
        lines[place : place + len(old)] = [margin + line for line in self.new.splitlines()]
        return "\n".join(lines) + "\n"


def patches(text: str) -> tuple[Patch, ...]:
    """Read `module:`, then its hunks: `- ` lines and the `+ ` lines instead, or a part of a line as `~ old => new`."""
    found: list[Patch] = []
    module = ""
    for hunk in re.findall(r"^\w+:$|^~ .*$|(?:^- .*\n?)+(?:^\+.*\n?)*", dedent(text), re.MULTILINE):
        if hunk.endswith(":") and hunk[:-1].isidentifier():
            module = hunk[:-1]
        elif hunk.startswith("~ "):
            old, new = hunk[2:].split(" =>", maxsplit=1)
            found.append(Patch(module, old, new.removeprefix(" ")))
        else:
            found.append(Lines(module, *("\n".join(_marked(hunk, mark)) for mark in "-+")))
    return tuple(found)


def _marked(hunk: str, mark: str) -> Iterator[str]:
    return (line[2:] for line in hunk.splitlines() if line.startswith(mark))


def shipped() -> Core:
    """What ships."""
    return Core({_leaf(name): import_module(f"shared.{name}") for name in MODULES})


def broken(*patches: Patch) -> Core:
    """What ships up to the first module that a patch is for; from there on copies, which import each other.

    The copies of the last call are forgotten: they have the same names, so that what is the same is compiled once.
    """
    patched = {patch.module for patch in patches}
    places = [place for place, module in enumerate(MODULES) if _leaf(module) in patched]
    assert len(places) == len(patched), f"one of {patched} is never copied"
    copied = MODULES[places[0] :]
    modules = dict(shipped().modules)
    for module in copied:
        source = (SHARED / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        for patch in patches:
            source = patch.apply(source) if patch.module == _leaf(module) else source
        modules[_leaf(module)] = _loaded(f"{PACKAGE}.{_leaf(module)}", _renamed(copied, source))
    return Core(modules)


def _leaf(module: str) -> str:
    return module.rpartition(".")[2]


def _renamed(copied: Sequence[str], source: str) -> str:
    """The source, whose imports of copied modules, and of names in them, lead to the copies."""
    for module in copied:
        source = source.replace(f"from shared.{module} import", f"from {PACKAGE}.{_leaf(module)} import")
    return re.sub(r"^from shared\.(\w+) import ([\w, ]+)$", partial(_divided, copied), source, flags=re.MULTILINE)


def _divided(copied: Sequence[str], line: re.Match[str]) -> str:
    """One import of modules from a room, as two: of the copies, and of what is not copied."""
    room, names = line[1], line[2].split(", ")
    copies = [name for name in names if f"{room}.{name}" in copied]
    kept = [name for name in names if name not in copies]
    ours = f"from {PACKAGE} import {', '.join(copies)}" if copies else ""
    return "\n".join(filter(None, (ours, f"from shared.{room} import {', '.join(kept)}" if kept else "")))


def _loaded(name: str, source: str) -> ModuleType:
    package, _, module = name.partition(".")
    parent = sys.modules.setdefault(package, ModuleType(package))
    made = ModuleType(name)
    sys.modules[name] = made  # msgspec looks annotations up here
    setattr(parent, module, made)
    run: Callable[..., None] = exec
    run(_compiled(name, source), made.__dict__)
    return made


@cache
def _compiled(name: str, source: str) -> CodeType:
    return compile(source, f"<{name}>", "exec")
