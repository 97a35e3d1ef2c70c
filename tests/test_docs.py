"""The pages for users are current, complete, and lead to where they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from local.cli.main import parser
from tests.support import options_page

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"])
WANTED = {
    "concepts",
    "on-call",
    "options",
    "commands",
    "aws",
    "azure",
    "deploy",
    "fabric",
    "run",
    "security",
    "proof",
    "developers",
}
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")
ONE_SCREEN = 80
"""Lines of a large terminal; the page that is read at three in the morning and the first one that is read at all."""


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_options_are_those_of_the_schema() -> None:
    """`python -m tests.support.options_page` makes the page anew."""
    assert options_page.PAGE.read_text(encoding="utf-8") == options_page.page()


def test_there_is_a_page_for_each_need_and_the_first_page_leads_there() -> None:
    """Concepts, on call, options, each cloud, security, proof, developers."""
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} >= WANTED
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(WANTED) if f"docs/{name}.md" not in readme] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading where it names one."""
    for place, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / place) if place else page
        assert target.exists(), place
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{place}{anchor}"


@pytest.mark.parametrize("name", ["README.md", "docs/on-call.md"])
def test_what_is_read_first_is_one_screen(name: str) -> None:
    """And the first page has a picture."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= ONE_SCREEN
    assert name != "README.md" or "──>" in text


def test_each_command_has_its_line() -> None:
    """On the page of commands."""
    [commands] = [action.choices for action in parser()._actions if action.choices]
    assert isinstance(commands, dict)
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert [name for name in commands if f"`unstale {name}" not in text] == []


def test_what_proves_it_is_there() -> None:
    """Each file and folder that the page of proofs names."""
    text = (ROOT / "docs/proof.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|shared)/[\w/.-]+)`", text)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_windows_is_said_where_one_installs() -> None:
    """It means WSL."""
    assert "WSL" in (ROOT / "docs/commands.md").read_text(encoding="utf-8")
