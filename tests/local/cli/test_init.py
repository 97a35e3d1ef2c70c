"""`unstale init` writes a file that `check` passes: from Glue, from Fabric, or by asking; each against its emulator."""

from __future__ import annotations

import io
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cli import init
from local.cli.discover import Lakehouse, View
from local.cli.main import main
from local.emulators.aws.emulator import LocalAws
from shared.config.load import load, warnings
from shared.targets import GlueTableChanged, GlueView, LakeViews
from tests.support.arm_server import Fabric, serving
from tests.support.aws_host import living_in
from tests.support.az import sign_in

WORKSPACE, LAKEHOUSE = "5b218778-e7a5-4d73-8187-f10824047715", "531e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
OTHER = "arn:aws:s3:::landing/orders"
"""What a view might name that is no table."""


@pytest.fixture(name="aws", scope="module")
def a_catalog() -> Iterator[LocalAws]:
    """A database with two views, one of which reads a table of a table bucket too; and one without views."""
    arn = "arn:aws:glue:eu-central-1:123456789012:table"
    with living_in(LocalAws()) as aws:
        aws.commit("sales", "orders")
        aws.create_view("sales", "daily revenue", sources=[f"{arn}/sales/orders", f"{arn}/staging/lines"])
        aws.create_view("sales", "weekly", sources=[f"{arn}/s3tablescatalog/lake/sales/orders", OTHER])
        aws.commit("staging", "lines")
        yield aws


@pytest.fixture(name="fabric")
def a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fabric]:
    """A workspace called Sales with a lakehouse, and another; `az login` signed somebody in."""
    fabric = Fabric()
    fabric.workspaces = {WORKSPACE: "Sales", LAKEHOUSE: "Other"}
    fabric.lakehouses = {LAKEHOUSE: "Sales lake (Ü)", WORKSPACE: "Sales lake Ü"}
    sign_in(tmp_path, monkeypatch)
    with serving(fabric) as [url]:
        monkeypatch.setenv("UNSTALE_FABRIC_URL", f"{url}/v1")
        yield fabric


@pytest.fixture(name="file")
def a_new_file(tmp_path: Path) -> Path:
    """Where there is none yet."""
    return tmp_path / "unstale.toml"


def run(file: Path, *arguments: str) -> int:
    """The command."""
    return main(["init", "--config", str(file), *arguments])


def test_the_views_of_a_database_come_with_the_tables_that_they_read(
    aws: LocalAws, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is a target, refreshed by Glue's events and by looking; `check` passes it, and it says what to do next."""
    assert run(file, "--glue-database", "sales") == 0
    said = capsys.readouterr().out
    assert f"{file}: 2 targets" in said
    assert f"unstale check --live --config {file}" in said
    assert "unstale package aws" in said
    assert main(["check", "--config", str(file)]) == 0
    configuration = load(file.read_bytes())
    daily, weekly = configuration.targets
    assert (daily.name, daily.resource) == ("daily_revenue", GlueView("123456789012", "sales", "daily revenue"))
    assert daily.on == (GlueTableChanged("sales", "orders"), GlueTableChanged("staging", "lines"))
    assert weekly.on == (), "no event tells of a table bucket: it is looked at"
    assert f"# It names what cannot be looked at: {OTHER}" in file.read_text(encoding="utf-8")
    doubts = {problem.expected for problem in warnings(file.read_bytes())}
    assert doubts <= {"your own: this one is the example's, and nobody's"}, "moto's account is the example's"


def test_editors_are_led_to_the_schema(aws: LocalAws, file: Path) -> None:
    """By the first line, and a file beside it."""
    assert run(file, "--glue-database", "sales") == 0
    first, *_ = file.read_text(encoding="utf-8").splitlines()
    mark, _, place = first.partition(" ")
    assert mark == "#:schema"
    assert json.loads((file.parent / place).read_text(encoding="utf-8"))["title"] == "unstale.toml"


def test_the_lakehouses_of_a_workspace_come_by_name(
    fabric: Fabric, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the token of az login; two of nearly one name are two targets; no doubt is left."""
    assert run(file, "--fabric-workspace", "Sales") == 0
    assert "unstale package azure" in capsys.readouterr().out
    configuration = load(file.read_bytes())
    assert [target.name for target in configuration.targets] == ["Sales_lake", "Sales_lake_2"]
    assert configuration.targets[0].resource == LakeViews(WORKSPACE, LAKEHOUSE)
    assert configuration.targets[0].schedule is not None
    assert warnings(file.read_bytes()) == ()
    assert "# lakehouse Sales lake (Ü) of workspace Sales" in file.read_text(encoding="utf-8")
    assert {authorization for _, authorization in fabric.asked} == {"Bearer token-for-https://api.fabric.microsoft.com"}


def test_both_clouds_may_be_in_one_file(aws: LocalAws, fabric: Fabric, file: Path) -> None:
    """By saying both."""
    assert run(file, "--fabric-workspace", WORKSPACE, "--glue-database", "sales") == 0
    assert len(load(file.read_bytes()).targets) == 4


def test_nothing_that_is_there_is_replaced(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be somebody's work."""
    file.write_text("mine", encoding="utf-8")
    assert run(file, "--glue-database", "sales") == 2
    assert "is there already, and stays as it is" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--glue-database", "seles"], 2, "no Glue database 'seles' in this account and Region"),
        (
            ["--glue-database", "staging"],
            2,
            "none of the 1 tables of the Glue database 'staging' is a",
        ),
        ([], 2, "name a database with --glue-database, or a workspace with --fabric-workspace"),
    ],
)
def test_what_is_not_there_is_a_sentence(
    aws: LocalAws, file: Path, capsys: pytest.CaptureFixture[str], *, arguments: list[str], code: int, word: str
) -> None:
    """And no file."""
    assert run(file, *arguments) == code
    assert word in capsys.readouterr().err
    assert not file.exists()


def test_a_workspace_that_is_not_there_is_a_sentence(
    fabric: Fabric, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the names of those that are; one without lakehouses; an answer that does not come."""
    assert run(file, "--fabric-workspace", "Seles") == 2
    assert "0 workspaces are called 'Seles'; you may see 'Other', 'Sales'" in capsys.readouterr().err
    fabric.lakehouses = {}
    assert run(file, "--fabric-workspace", "Sales") == 2
    assert "has no lakehouse that you may see" in capsys.readouterr().err
    fabric.refuses["/lakehouses"] = (403, {"errorCode": "InsufficientPrivileges", "message": "no"})
    assert run(file, "--fabric-workspace", "Sales") == 1
    assert "InsufficientPrivileges" in capsys.readouterr().err
    fabric.workspaces = {}
    assert run(file, "--fabric-workspace", "Sales") == 2
    assert "you may see none" in capsys.readouterr().err


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(
    ("typed", "code", "word"),
    [
        ("glue\nsales\n", 0, "2 targets"),
        ("Fabric\nSales\n", 0, "2 targets"),
        ("snowflake\n", 2, "'snowflake' is neither glue nor fabric"),
        ("glue\n\n", 2, "without a name there is nothing to look for"),
        ("", 2, "is neither glue nor fabric"),
    ],
)
def test_without_options_it_asks(
    aws: LocalAws,
    fabric: Fabric,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    code: int,
    word: str,
) -> None:
    """Two questions; what cannot be understood is wrong usage."""
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert run(file) == code
    said = capsys.readouterr()
    assert word in said.out + said.err


def test_names_from_elsewhere_stay_text() -> None:
    """Quotes, new lines and braces in names of others make no other file."""
    nasty = 'a"b\n[targets.x] {y}'
    views = [View("123456789012", "d", "t", unreadable=(nasty,))]
    text = init.text_of(views, [Lakehouse(WORKSPACE, nasty, LAKEHOUSE, nasty)])
    found = tomllib.loads(text)["targets"]
    assert set(found) == {"t", "a_b_targets_x_y"}
    assert load(text).targets
