"""How a package comes about, on either cloud: locked third-party code, own code, bytecode, a zip.

The zip of the same files is the same zip, byte for byte: one order, one time, one set of permissions. So two packages
of one source differ in `unstale.generation` alone, and whoever compares two sees at once what is different in them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from infra.parameters.places import ROOT

EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can tell."""

TRACES: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of pip's own in a `.dist-info`. METADATA stays: scanners for vulnerabilities read it."""

Told = Callable[[str], object]
"""Says a line to whoever packages: a note, or the size in the end."""


class Platform(NamedTuple):
    """Where a package runs: the tags of wheels that fit, and the version of Python."""

    tags: tuple[str, ...]
    python: str


ThirdParty = Callable[[Path, Path], None]
"""Puts what a lock names into a folder."""


class PackageError(Exception):
    """Why there is no package."""


# --- Third-party code ------------------------------------------------------------------------------------------------


def make_installer(platform: Platform) -> ThirdParty:
    """Wheels for another machine, by hash, from wherever pip is set up to look."""

    def install(lock: Path, into: Path) -> None:
        tags = (option for tag in platform.tags for option in ("--platform", tag))
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        exact = ["--require-hashes", "--only-binary", ":all:", "--no-compile", "--implementation", "cp"]
        where = ["--python-version", platform.python, *tags, "--target", str(into), "--requirement", str(lock)]
        done = subprocess.run([*pip, *exact, *where], check=False, capture_output=True, text=True)
        if done.returncode:
            raise PackageError(f"pip could not install {lock.name}:\n{done.stderr}")

    return install


# --- Own code and bytecode -------------------------------------------------------------------------------------------


def copy_own(packages: Iterable[str], into: Path) -> None:
    """Copy our modules into a package; nothing but modules is in these folders."""
    for package in packages:
        for file in sorted((ROOT / package).rglob("*.py")):
            target = into / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def remove_traces(folder: Path) -> None:
    """Remove what running does not need: commands, type stubs, notes of the installation."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for file in list(folder.rglob("*")):
        if file.suffix == ".pyi" or (file.parent.suffix == ".dist-info" and file.name in TRACES):
            file.unlink()


def remove_parts(folder: Path, unused: Iterable[str], listed_in: str) -> None:
    """Remove parts of libraries that no import reaches. Raises `PackageError` if one is not there."""
    for name in unused:
        part = folder / name
        if not part.exists():
            raise PackageError(f"{name} is not among the libraries: {listed_in} names it as unused")
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()


def compile_bytecode(folder: Path, version: str, runs_in: PurePosixPath, tell: Told) -> None:
    """Compile for this version of Python, where there is one; without bytecode, every start compiles anew."""
    python = interpreter(version)
    if python:
        run_compileall(folder, python, runs_in)
    else:
        tell(f"note: no Python {version} here, so the package has no bytecode: it works, and starts more slowly")


def interpreter(version: str) -> Path | None:
    """A Python of this version on this machine; a pyenv shim exists for versions that are not active, too."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    on_path = shutil.which(f"python{version}")
    candidates = [Path(sys.executable), *([Path(on_path)] if on_path else []), *installed]
    return next((path for path in candidates if _version(path) == version), None)


def _version(python: Path) -> str:
    tell = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-I", "-c", tell], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def run_compileall(folder: Path, python: Path, runs_in: PurePosixPath) -> None:
    """Bytecode that is never checked against the source's time, because a package has none; tracebacks name `runs_in`.

    One process, one order and one hash seed, so that the same source gives the same bytes.
    """
    command: list[str | Path] = [python, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    where = ["-s", str(folder), "-p", str(runs_in), str(folder)]
    done = subprocess.run(
        [*command, *where],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    if done.returncode:
        raise PackageError(f"cannot compile:\n{done.stdout}{done.stderr}")


# --- The zip ---------------------------------------------------------------------------------------------------------


def zip_all(folder: Path, archive: Path) -> None:
    """All files in one order, with one time and with fixed permissions."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for file in _files(folder):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), EPOCH)
            entry.create_system = 3  # Unix, on Windows too, so that the permissions count
            entry.external_attr = (0o755 if file.suffix == ".so" else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, file.read_bytes(), compresslevel=9)


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.as_posix()))


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in _files(folder))
