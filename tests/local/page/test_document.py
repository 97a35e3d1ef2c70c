"""The page as one file: what stands in it, what it may do, how large it is. The browser's part: `test_browser.py`."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from local.cli import main, page
from local.cli.deployment import side_on
from local.cli.errors import NotWellError, UsageError
from local.page.document import chart_bundle, document, values_of
from local.page.picture import WINDOWS
from local.process.store import StateFile
from shared.config.load import load
from shared.refresh import deployment
from shared.refresh.inputs import Signalled
from shared.refresh.records import write
from shared.refresh.state import Outcome, Owed, Signal, State
from shared.targets import Cloud
from tests.support.core import NOON, at, seconds
from tests.support.one_machine import LAKE
from tests.support.pages import drawn, line, many

BUNDLE = "window.vegaEmbed = () => {};"
"""In place of the library, where it does not matter."""


def values_in(text: str) -> Any:
    """The values that a page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_values_stand_in_the_page() -> None:
    """Each target with its verdict, its saw-tooth, runs and figures; the worst first."""
    late = drawn(state=State(owed=Owed(at(0), at(0))), now=4000, name="late")
    fresh = drawn(line(100, 130, 170), now=4000, name="fresh")
    values = values_in(document(values_of([fresh, late], ["a doubt"], at(4000)), BUNDLE))
    assert [(each["name"], each["verdict"]) for each in values["targets"]] == [("late", "late"), ("fresh", "fresh")]
    noon = int(NOON.timestamp())
    assert values["targets"][1]["teeth"] == [[noon + 100, noon + 100, noon + 170]]
    assert values["targets"][1]["runs"][0][:3] == [noon + 130, noon + 170, "succeeded"]
    assert values["windows"] == [window.total_seconds() for window in WINDOWS]
    assert values["doubts"] == ["a doubt"]


def test_no_request_may_leave_the_page() -> None:
    """Its own policy forbids it; only the page that is served asks, and only its own server."""
    written = document(values_of([], [], NOON), BUNDLE)
    served = document(values_of([], [], NOON, renewed=True), BUNDLE)
    assert "default-src 'none'" in written
    assert "connect-src 'none'" in written
    assert "connect-src 'self'" in served
    assert not re.search(r'(?:src|href)="(?!data:)', written)


def test_what_others_wrote_stays_text() -> None:
    """A reason or an error that looks like markup, or like a place of the template, ends no script and fills none."""
    nasty = "</script><img src=x onerror=alert(1)> {{bundle}}"
    bars = drawn(line(100, 130, 170, Outcome.FAILED, error=nasty, reasons=(nasty,)))
    text = document(values_of([bars], [nasty], NOON), BUNDLE)
    assert "<img" not in text
    assert text.count("</script>") == 4
    assert text.count(BUNDLE) == 1
    assert nasty in values_in(text)["targets"][0]["runs"][0][9]


def test_a_hundred_targets_and_ten_thousand_runs_fit_into_four_megabytes() -> None:
    """With a bundle as large as the library's own (0.9 MB with vl-convert-python 1.9)."""
    text = document(values_of(many(100, 100), [], NOON), "x" * 900_000)
    assert len(text.encode()) <= 4_000_000


def test_without_the_library_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in an extra of its own: 30 MB that only the page needs."""
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(UsageError, match=r"install unstale\[page\]"):
        chart_bundle()


def test_the_command_writes_the_page_of_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`unstale page --state`: the records and the history of that file, as `status` reads them."""
    monkeypatch.setattr(page, "chart_bundle", lambda: BUNDLE)
    config, state, into = tmp_path / "unstale.toml", tmp_path / "unstale.db", tmp_path / "page.html"
    config.write_text(f'[defaults]\nobjective = "1h"\n{LAKE}')
    configuration = load(config.read_text())
    (target,) = configuration.targets
    with StateFile(state) as file:
        side = side_on(file, Cloud.AZURE, configuration)
        now = side.ports.clock.now()
        side.engine.reconcile(target, (Signalled(Signal(now, "data")),), may_call=False)
        deployment.change(side.ports.store, lambda deployed: replace(deployed, ticked_at=now))
        side.ports.store.append(target.key, "1", write(line(100, 130, 170)), now + timedelta(days=90))
    arguments = ["page", "--config", str(config), "--state", str(state), "--into", str(into)]
    assert main(arguments) == 0
    assert "page.html" in capsys.readouterr().out
    (shown,) = values_in(into.read_text())["targets"]
    assert (shown["name"], shown["verdict"], len(shown["runs"])) == ("lake", "stale", 1)
    assert main([*arguments[:-1], str(tmp_path / "missing" / "page.html")]) == 2
    assert "--into" in capsys.readouterr().err


# --- Served ----------------------------------------------------------------------------------------------------------


@contextmanager
def served(read: Any) -> Iterator[HTTPConnection]:
    """A connection to a server of the page."""
    with page.server(read, BUNDLE, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        connection = HTTPConnection("127.0.0.1", serving.server_port)
        try:
            yield connection
        finally:
            connection.close()
            serving.shutdown()
            thread.join()


def get(connection: HTTPConnection, path: str, **headers: str) -> tuple[int, str]:
    """Status and body."""
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_served_page_reads_its_values_anew() -> None:
    """Each time: the page that renews itself shows what is known by then."""
    moments = iter([NOON, NOON + timedelta(seconds=60)])
    with served(lambda: values_of([], [], next(moments), renewed=True)) as connection:
        status, text = get(connection, "/")
        assert (status, values_in(text)["now"]) == (200, int(NOON.timestamp()))
        status, text = get(connection, "/data.json")
        assert (status, json.loads(text)["now"]) == (200, int(NOON.timestamp()) + 60)
        assert get(connection, "/unstale.toml")[0] == 404


def test_each_cloud_is_opened_once_for_a_page_that_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page renews itself each few seconds: clients and tokens last, unless the configuration changes."""
    config = tmp_path / "unstale.toml"
    config.write_text(LAKE)
    opened: list[str] = []

    @contextmanager
    def renewed_by(read: Any, _bundle: str, _port: int) -> Iterator[Any]:
        read()
        read()
        config.write_text(f'[defaults]\nobjective = "1h"\n{LAKE}')
        read()
        yield SimpleNamespace(server_port=0, serve_forever=lambda: None)

    with StateFile(tmp_path / "unstale.db") as file:

        def open_side(cloud: Cloud, configuration: Any, _: Path) -> Any:
            opened.append(configuration.fingerprint)
            return side_on(file, cloud, configuration)

        monkeypatch.setattr("local.cli.deployment.open_side", open_side)
        monkeypatch.setattr(page, "chart_bundle", lambda: BUNDLE)
        monkeypatch.setattr(page, "server", renewed_by)
        page.serve(config, 0)
    assert len(opened) == 2


def test_another_site_cannot_read_the_page() -> None:
    """A name of somebody else's that leads to this machine (DNS rebinding) is refused."""
    with served(lambda: values_of([], [], NOON, renewed=True)) as connection:
        assert get(connection, "/data.json", Host="evil.example")[0] == 403
        assert get(connection, "/data.json", Host="localhost:80")[0] == 200


def test_what_cannot_be_read_is_said() -> None:
    """A store that is down does not end the server."""

    def read() -> dict[str, Any]:
        raise NotWellError("the table does not answer")

    with served(read) as connection:
        assert get(connection, "/data.json") == (503, "the table does not answer")
        assert get(connection, "/")[0] == 503


def test_seconds_are_what_the_script_reads() -> None:
    """Times and durations as numbers, to a tenth of a second."""
    values = values_of([drawn(line(100.04, 130, 170.5), objective=seconds(300).total_seconds())], [], NOON)
    figures = values["targets"][0]["figures"][0]
    assert figures["worst_lag"] == 70.5
    assert values["targets"][0]["objective"] == 300
