"""Names that others rely on, as they were in release 1: dashboards, alarms, queries, scripts, templates.

Each list is a text file in `tests/golden/release-1/lists`, one name a line, written by the code of that release. A test
finds out what the product says today, mostly by running it, and fails when a name of the list is gone. New names are
welcome; they are not added to these lists, but to those of the release that brings them.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from functions_aws import settings as aws_settings
from functions_aws.telemetry import COUNTED, GAUGES, Telemetry
from functions_azure import settings as azure_settings
from functions_azure.correlation import NAMES, correlate
from functions_azure.telemetry import Telemetry as AzureTelemetry
from local.cli import main
from shared.refresh.engine import LogEvent
from shared.refresh.ports import Phase
from shared.refresh.state import Hold, Outcome, Situation
from shared.targets import Cloud, GlueView, ItemJob, LakeViews, Resource, Source
from shared.workload.job import JobStatus
from tests.simulation import world as sim_world
from tests.simulation.history import WORLDS, play
from tests.support.jobs_bench import JobsBench

ROOT = Path(__file__).parent.parent
LISTS = Path(__file__).parent / "golden" / "release-1" / "lists"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SERVICES = count(1)
HISTORIES = 300
"""Histories of the simulator that are played at most until each event of the list was logged; about 30 are needed."""


def then(name: str) -> set[str]:
    """The list of the release."""
    return set((LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def assert_nothing_is_gone(name: str, today: set[str]) -> None:
    """Every name of the list is still there."""
    gone = sorted(then(name) - today)
    assert not gone, f"{name} of release 1 that the product no longer has: {gone}"


def test_a_name_that_is_gone_is_told() -> None:
    """Neither an empty list nor a missing name passes."""
    assert all(len(then(file.stem)) > 3 for file in LISTS.glob("*.txt"))
    with pytest.raises(AssertionError, match="paused"):
        assert_nothing_is_gone("stored-values", then("stored-values") - {"hold paused"})


# --- Metrics ---------------------------------------------------------------------------------------------------------


def metrics(lines: list[dict[str, Any]]) -> set[str]:
    """`<namespace> <dimensions> <name> <unit>` of each metric in lines of CloudWatch's embedded metric format."""
    return {
        f"{told['Namespace']} {'+'.join(dimensions)} {metric['Name']} {metric['Unit']}"
        for line in lines
        if "_aws" in line
        for told in line["_aws"]["CloudWatchMetrics"]
        for dimensions in told["Dimensions"]
        for metric in told["Metrics"]
    }


def lines_of_aws(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Everything that the Lambda can log and count, once each."""
    tells = Telemetry(f"names-{next(SERVICES)}")  # a logger writes to the standard output of whoever made it first
    with tells.invocation("id"):
        for what, fields in COUNTED.items():
            tells.emit(LogEvent(what, "daily", NOON, dict.fromkeys(filter(None, fields.values()), 1.0)))
        tells.emit(LogEvent("saved", "daily", NOON, dict.fromkeys(GAUGES, 1.0)))
        tells.note_ignored("a kind")
        tells.note_tick()
        tells.note_dead_letter("m", "why")
        tells.note_returned(["m"], "why", LookupError("cause"))
        tells.note_late_return("why")
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def lines_of_azure(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Everything that the function app can log, once each, in an invocation of Fabric's."""
    tells = AzureTelemetry()
    with caplog.at_level(logging.DEBUG, "unstale"), correlate(dict.fromkeys(NAMES, "id")):
        tells.emit(LogEvent("trouble", "daily", NOON, {"code": "c"}))
        tells.note_ignored("a kind")
        tells.note_dead_letter("q", "why")
        tells.note_refusal("signature")
        tells.note_returned(1, "why", None)
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "unstale"]


def fields(lines: list[dict[str, Any]]) -> set[str]:
    """`<message>: <field>` of each line, and of what is in its `detail`; a line about a target may have any message."""
    found = set()
    for line in lines:
        message = "*" if "target" in line else line["message"]
        found |= {f"{message}: {name}" for name in line}
        if message != "*":
            found |= {f"{message}: detail.{name}" for name in line.get("detail", ())}
    return found


def test_metrics_keep_their_names(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And their dimensions and units: alarms and dashboards would go silent."""
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    assert_nothing_is_gone("metrics-aws", metrics(lines_of_aws(capsys)))


def test_log_lines_keep_their_fields(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both shells: queries name them."""
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    lines = [line for line in lines_of_aws(capsys) if "_aws" not in line]
    assert_nothing_is_gone("log-fields-aws", fields(lines))
    assert_nothing_is_gone("log-fields-azure", fields(lines_of_azure(caplog)))


def test_what_is_logged_keeps_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is run through histories and jobs; each event comes with the fields it had."""
    wanted, seen = then("log-events"), set[str]()

    def tell(happened: LogEvent) -> None:
        seen.add(happened.what)
        seen.update(f"{happened.what}: {field}" for field in happened.fields)

    monkeypatch.setattr(sim_world, "_silent", tell)
    play_jobs(tell)
    for seed in range(HISTORIES):
        play(seed, WORLDS[seed % len(WORLDS)])
        if wanted <= seen:
            break
    assert_nothing_is_gone("log-events", seen)


def play_jobs(tell: Callable[[LogEvent], None]) -> None:
    """One of Fabric's jobs is completed, one fails, one is withdrawn."""
    for how in ("completed", "failed", "withdrawn"):
        bench = JobsBench()
        bench.fabric.outcomes += [Phase.FAILED] * 20 if how == "failed" else []
        bench.create()
        if how == "withdrawn":
            bench.cancel()
        bench.wait(1200, until_over=True)
        for event in bench.events:
            tell(event)


# --- Environment -----------------------------------------------------------------------------------------------------


class Recorder(dict[str, str]):
    """An environment that knows which of its variables were asked for."""

    def __init__(self, **known: str) -> None:
        super().__init__(known)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Read a variable."""
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        """Likewise."""
        self.asked.add(name)
        return super().__getitem__(name)


def asked_by_shells() -> dict[str, set[str]]:
    """Variables that the settings of each shell ask for."""
    aws = Recorder(UNSTALE_TABLE="t", UNSTALE_QUEUE_URL="q")
    aws_settings.read(aws)
    aws_settings.secrets(aws)
    base = "UNSTALE_STORAGE__"
    azure = Recorder(**{f"{base}{name}ServiceUri": "https://a.example" for name in ("table", "queue", "blob")})
    tenant = "1b218778-e7a5-4d73-8187-f10824047715"
    azure.update(UNSTALE_WORKLOAD_AUDIENCE="a", UNSTALE_WORKLOAD_PUBLISHER_TENANT=tenant, UNSTALE_EVENTS="e")
    for read in (azure_settings.read, azure_settings.workload, azure_settings.secrets, azure_settings.event_hub):
        read(azure)
    azure.pop("UNSTALE_EVENTS")
    azure_settings.event_hub(azure)
    return {"functions_aws": aws.asked, "functions_azure": azure.asked}


def texts(folder: Path) -> Iterator[str]:
    """The string literals of a room, docstrings aside: those are whole sentences and never equal a name."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_variables_keep_their_names() -> None:
    """Those that a shell reads, by asking it; those that a command reads, by the names in its room."""
    today = {f"{room} {name}" for room, names in asked_by_shells().items() for name in names}
    assert_nothing_is_gone("variables", today | {f"local {text}" for text in texts(ROOT / "local")})


# --- The command line ------------------------------------------------------------------------------------------------


class Parsed(Exception):  # noqa: N818 - it carries the parser out of the command
    """Thrown in the place of parsing."""


def command_parser(monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser of `unstale`, caught when it is about to parse."""
    caught: list[argparse.ArgumentParser] = []

    def catch(parser: argparse.ArgumentParser, *_: Any) -> None:
        caught.append(parser)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", catch)
        with pytest.raises(Parsed):
            main([])
    return caught[0]


def options(parser: argparse.ArgumentParser, command: str) -> Iterator[str]:
    """`<command> <option> [default or choices]`, for the command and for those below it."""
    yield command
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from options(below, f"{command} {name}")
            continue
        more = f" {'|'.join(action.choices)}" if action.choices else ""
        takes = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        for name in action.option_strings or [f"<{action.nargs or 'one'}>"]:
            yield f"{command} {name}{takes}{more}"


def test_commands_and_options_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts call them. An argument that may be left out now may still be given."""
    today = set(options(command_parser(monkeypatch), "unstale"))
    assert_nothing_is_gone("commands", today | {line.replace("<?>", "<one>") for line in today})


def test_exit_codes_keep_their_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 done, 1 not well, 2 wrong usage, 130 ended by Ctrl-C."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text((ROOT / "unstale.example.toml").read_text(encoding="utf-8"), encoding="utf-8")
    bad.write_text("nonsense = 1\n", encoding="utf-8")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    today = {
        f"check of a good file: {exit_code('check', '--config', str(good))}",
        f"check of a bad file: {exit_code('check', '--config', str(bad))}",
        f"pause without a target: {exit_code('pause', '--config', str(good))}",
        f"an unknown option: {exit_code('check', '--nonsense')}",
    }
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", interrupted)
        patch.setattr(Path, "read_text", interrupted)
        today.add(f"Ctrl-C: {exit_code('check', '--config', str(good))}")
    assert_nothing_is_gone("exit-codes", today)


def exit_code(*words: str) -> int:
    """Run the command; argparse itself leaves by an exception."""
    try:
        return main(words)
    except SystemExit as left:
        return int(left.code or 0)


# --- Stored words ----------------------------------------------------------------------------------------------------


def stored_values() -> set[str]:
    """`<what> <word>` of all that is stored by a word: enumerations by their values, unions by their tags."""
    enumerations: Mapping[str, Any] = {
        "situation": Situation,
        "outcome": Outcome,
        "job status": JobStatus,
        "cloud": Cloud,
    }
    found = {f"{what} {word.value}" for what, words in enumerations.items() for word in words}
    for union in (Hold, Resource, Source):
        for kind in union.__args__:
            config = kind.__struct_config__
            found.add(f"{config.tag_field} {config.tag}")
    return found


def test_stored_words_stay() -> None:
    """A record that says one must be understood; names of members in code may change."""
    assert_nothing_is_gone("stored-values", stored_values())


def test_keys_of_records_stay() -> None:
    """Under another key a record is not found, and its target begins anew."""
    today = {
        GlueView("123456789012", "sales", "dai/ly").key,
        LakeViews("w", "l").key,
        LakeViews("w", "l", "e").key,
        ItemJob("w", "i", "RunNotebook").key,
        ItemJob("w", "i", "RunNotebook", {"b": 1, "a": [2]}, [{"name": "p"}]).key,
    }
    assert_nothing_is_gone("keys", today)


def test_lists_were_written_in_order() -> None:
    """Sorted and without doubles, so that two releases are compared by eye."""
    for file in LISTS.glob("*.txt"):
        lines = file.read_text(encoding="utf-8").splitlines()
        assert lines == sorted(set(lines)), file.name
        assert not [line for line in lines if re.search(r"\s$", line)]
