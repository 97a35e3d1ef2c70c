"""The clouds of `unstale demo --keep`, for all journeys: each types its commands in a second terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kept_demo import Demo, running_demo


@pytest.fixture(name="demo", scope="session")
def a_kept_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo; at the end Ctrl-C ends all of it with code 0, and nothing is left."""
    with running_demo(tmp_path_factory.mktemp("demo")) as demo:
        demo.wait(lambda found: all(each["fresh_as_of"] for each in found.values()))
        yield demo
        demo.end()
    assert any("nothing of it is left" in line for line in demo.shown)
    assert not any("Traceback" in line for line in demo.shown)


@pytest.fixture(scope="session")
def demo_by_day(request: pytest.FixtureRequest) -> Demo:
    """The same demo, for the journeys that make it in there only where somebody asks for it."""
    if not request.config.getoption("--playground"):
        pytest.skip("a minute more: --playground")
    demo: Demo = request.getfixturevalue("demo")
    return demo
