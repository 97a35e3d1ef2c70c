"""The compiled configuration: the same values as the TOML's, or none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from shared.config import compiled
from shared.config.compiled import compile_configuration, read_compiled, read_configuration
from shared.config.load import ConfigurationError, load
from shared.targets import Cloud, Target

EXAMPLE = Path(__file__).parents[3] / "unstale.example.toml"
TWO_CLOUDS = Path(__file__).parents[2] / "golden" / "config" / "good" / "two-clouds.toml"
JOB = b"""
[targets.job]
kind = "fabric-item-job"
workspace = "4b218778-e7a5-4d73-8187-f10824047715"
item = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
job_type = "DefaultJob"
execution_data = { tables = ["a", { deep = [1, 2.5, true] }] }
quiet_period = "20s"
"""


def test_what_is_compiled_is_what_the_toml_says() -> None:
    """All values, and what follows from them, of the example, which has about everything, of data sent as it is, and of
    targets that follow each other across clouds.
    """
    for content in (EXAMPLE.read_bytes(), JOB, TWO_CLOUDS.read_bytes()):
        made = compile_configuration(content, "unstale.toml")
        read, loaded = read_compiled(made, content), load(content)
        assert read == loaded
        assert read is not None
        assert read.fingerprint == loaded.fingerprint
        assert [target.definition for target in read.targets] == [target.definition for target in loaded.targets]
        assert compile_configuration(content, "unstale.toml") == made


def test_the_fingerprint_is_read_and_not_reckoned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reckoning it takes several times as long as all else; the function's package has it as it was compiled."""
    content, made_at = TWO_CLOUDS.read_bytes(), datetime(2026, 11, 29, tzinfo=UTC)
    loaded, made = load(content), compile_configuration(content, "unstale.toml")
    fingerprint = loaded.fingerprint
    monkeypatch.setattr(Target, "definition", property(lambda _: pytest.fail("the fingerprint was reckoned")))
    read = read_compiled(made, content)
    assert read is not None
    packaged = read.of_package(made_at, ())
    assert packaged == replace(loaded, generation=made_at, destinations=())
    assert packaged.package(Cloud.AWS).fingerprint == fingerprint
    assert packaged.package(Cloud.AWS) is packaged.package(Cloud.AWS)


def test_a_bad_configuration_is_not_compiled() -> None:
    """It is refused as when it is loaded, with its line."""
    with pytest.raises(ConfigurationError, match=r"here\.toml:8: targets\.job\.quiet_period"):
        compile_configuration(JOB.replace(b'"20s"', b"20"), "here.toml")


def test_what_was_compiled_from_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another TOML, be it by a space; another release; a file that was cut or changed, holds no values, or is none."""
    content = EXAMPLE.read_bytes()
    made = compile_configuration(content, "unstale.toml")
    assert read_compiled(made, content) == load(content)
    assert read_compiled(made, content + b" ") is None
    assert read_compiled(made[:-1], content) is None
    assert read_compiled(b"", content) is None
    changed = made.replace(b"glue_table_changed", b"glue_tAble_changed")
    assert changed != made
    assert read_compiled(changed, content) is None
    head, values = compiled.first_line(content, b"[]"), b"[]"
    assert read_compiled(head + values, content) is None
    monkeypatch.setattr(compiled, "VERSION", "0.0.0")
    assert read_compiled(made, content) is None


def test_the_toml_is_read_only_where_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was compiled from it, it is not even parsed; without that, or with another, it is judged as ever."""
    content, bad = EXAMPLE.read_bytes(), EXAMPLE.read_bytes() + b"\n[unheard]\n"
    made = compile_configuration(content, "unstale.toml")
    loaded = load(content)
    assert read_configuration(content, None, "unstale.toml") == (loaded, "")
    unused = "unstale.compiled was not made from unstale.toml by this release, so unstale.toml is read"
    assert read_configuration(content, b"something else", "unstale.toml") == (loaded, unused)
    with pytest.raises(ConfigurationError, match="unheard"):
        read_configuration(bad, made, "unstale.toml")
    monkeypatch.setattr("shared.config.load.load", lambda *_: pytest.fail("the TOML was read"))
    assert read_configuration(content, made, "unstale.toml") == (loaded, "")
