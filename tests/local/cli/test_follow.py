"""`refresh --wait` follows a refresh to its end, `status --watch` goes on; errors have one shape of JSON."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.httpsession import URLLib3Session

from functions_aws import clients
from local.cli import refresh, status
from local.cli.errors import NotWellError
from local.cli.main import main, parser
from local.emulators.aws.emulator import LocalAws
from local.emulators.faults import FailRun
from local.emulators.glue.emulator import GlueSettings
from shared.refresh.evidence import PAST_DUE
from tests.support.aws_host import CONFIGURATION, HandClock, Host, living_in

TEXT = f'[defaults]\nlook = "off"\nquiet_period = "5s"\n{CONFIGURATION}'


class Scene:
    """The real handler in an account on a clock by hand, which moves on whenever the command sleeps."""

    def __init__(self, aws: LocalAws, clock: HandClock, path: Path) -> None:
        self.aws, self.clock, self.path = aws, clock, path
        self.host = Host(aws, clock, "follow")
        while clock.now() < datetime.now(UTC):  # new targets are refreshed, and once more after a quarter of an hour
            clock.move_on(minutes=5)
            self.host.tick()
        assert all(self.host.state(name).fresh_as_of for name in ("daily", "weekly"))

    def tick(self, *_: object) -> None:
        """Twenty seconds later the timer fires."""
        self.clock.move_on(seconds=20)
        self.host.tick()

    def wait(self, sleep: Callable[[float], object] | None = None) -> None:
        """The command, followed."""
        refresh.refresh(self.path, "daily", full=False, wait=True, sleep=sleep or self.tick)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Two views that are fresh; the file is the deployed one, but for its durations."""
    clock = HandClock(datetime.now(UTC) - timedelta(hours=1))
    path = tmp_path / "unstale.toml"
    path.write_text(TEXT, encoding="utf-8")
    with living_in(LocalAws(clock=clock.now, glue_settings=GlueSettings(run_time=timedelta(seconds=30)))) as aws:
        for view in ("daily", "weekly"):
            aws.create_view("sales", view)
        yield Scene(aws, clock, path)


def test_a_refresh_is_followed_to_its_success(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Each change is a line in a pipe; the last says how long it took."""
    capsys.readouterr()
    scene.wait()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("daily: ")]
    assert lines[0] == "daily: asked"
    assert any(line.startswith("daily: a refresh is running") for line in lines)
    assert lines[-1].startswith("daily: succeeded after ")
    assert len(lines) == len(set(lines))


def test_a_refresh_that_fails_ends_with_the_platforms_words(scene: Scene) -> None:
    """It did not succeed: not well, whatever a later try brings."""
    scene.aws.faults.add(FailRun("executor lost"), "run")
    with pytest.raises(NotWellError, match=r"daily: failed after .*executor lost"):
        scene.wait()


def test_a_pause_is_said_at_once(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the target and of all: nothing will start. Nobody waits for nothing."""
    config = ["--config", str(scene.path)]
    for pause, resume in ((["pause", "daily"], ["resume", "daily"]), (["pause", "--all"], ["resume", "--all"])):
        assert main([*pause, *config]) == 0
        capsys.readouterr()
        assert main(["refresh", "daily", *config]) == 0
        assert "daily: asked, but nothing will start: " in capsys.readouterr().out
        assert main(["refresh", "daily", "--wait", *config]) == 1
        assert main([*resume, *config]) == 0


def test_a_hold_that_comes_ends_the_waiting(scene: Scene) -> None:
    """A person's pause, say, with how it ends."""

    def pause(_: float) -> None:
        assert main(["pause", "daily", "--config", str(scene.path)]) == 0

    with pytest.raises(NotWellError, match="unstale resume daily"):
        scene.wait(pause)


def test_nobody_waits_for_a_function_that_is_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is past due by minutes is left alone."""
    monkeypatch.setattr(refresh, "PAST_DUE", timedelta(0) - PAST_DUE)
    with pytest.raises(NotWellError, match="nobody came for"):
        scene.wait(lambda _: None)


def test_watching_goes_on_while_things_are_not_well(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until Ctrl-C; what cannot be asked is said, and asked for again. Clients are opened once, and anew after they got
    no answer, since whoever renewed his credentials meanwhile has others.
    """
    opened: list[int] = []
    away: list[int] = []
    naps: list[float] = []
    session, send = clients.session, URLLib3Session.send

    def open_session(region: str) -> Any:
        opened.append(len(naps))
        return session(region)

    def send_unless_away(self: URLLib3Session, request: Any) -> Any:
        if len(naps) in away:
            raise EndpointConnectionError(endpoint_url=request.url)
        return send(self, request)

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(clients, "session", open_session)
    monkeypatch.setattr(URLLib3Session, "send", send_unless_away)
    away.append(2)
    with pytest.raises(KeyboardInterrupt):
        status.watch(scene.path, as_json=False, seconds=7, sleep=nap)
    said = capsys.readouterr().out
    assert naps == [7] * 4
    assert said.count("every 7 s; Ctrl-C ends it") == 4
    assert said.count("Could not connect to the endpoint URL") == 1
    assert opened == [0, 3]


# --- Errors in JSON ---------------------------------------------------------------------------------------------------


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, dict[str, Any]]:
    """Exit code, and the one object that was printed."""
    capsys.readouterr()
    try:
        code: int | str | None = main(list(arguments))
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    assert printed.err, "people are told, too"
    return code, json.loads(printed.out)["error"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["status", "--json", "--config", "nowhere.toml"], 2, "unstale init"),
        (["history", "--json"], 2, "the following arguments are required: TARGET"),
        (["history", "daily", "--json", "--limit", "0"], 2, "0 is less than 1"),
        (["frobnicate", "--json"], 2, "invalid choice"),
        (["plan", "--json"], 2, "name one file of events"),
    ],
)
def test_errors_have_one_shape(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, word: str) -> None:
    """Message, exit code, and the places of what is wrong in a file; also for arguments that do not read."""
    found, error = error_of(capsys, *arguments)
    assert (found, error["exit_code"], error["problems"]) == (code, code, [])
    assert word in error["message"]


def test_what_is_wrong_in_a_file_is_told_by_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Line and key of each."""
    file = tmp_path / "bad.toml"
    file.write_text(TEXT.replace('table = "daily"', 'tabel = "daily"'), encoding="utf-8")
    code, error = error_of(capsys, "check", "--json", "--config", str(file))
    assert (code, error["exit_code"]) == (1, 1)
    assert {(problem["key"], problem["line"]) for problem in error["problems"]} >= {("targets.daily.tabel", 9)}


def options(command: argparse.ArgumentParser) -> list[str]:
    """The long options of a command."""
    return [option for action in command._actions for option in action.option_strings if option.startswith("--")]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """And each option of each, in a script that the shell reads."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    [commands] = [action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert len(commands) > 10
    for name, command in commands.items():
        assert re.search(rf"\b{name}\b", script), name
        assert all(option in script for option in options(command)), name
