"""A shell that knows one command, so that a hundred commands need one process: `$ unstale status`, then its exit code.

A person, or `pexpect` in place of one, types lines into it. Nothing of the command knows that it is not bash.
"""

from __future__ import annotations

import shlex
import sys

from local.cli import main


def run(line: str) -> int:
    """One line, as bash would run it."""
    words = shlex.split(line)
    if words[:1] != ["unstale"]:
        print(f"{line}: not found")
        return 127
    try:
        return main(words[1:])
    except SystemExit as ended:
        return int(ended.code or 0)


def loop() -> None:
    """Read lines until there are no more; an exit code other than 0 is shown below what was printed."""
    echoes = not sys.stdin.isatty()
    while True:
        try:
            line = input("$ ")
        except EOFError:
            return
        if echoes:
            print(line, flush=True)
        code = run(line)
        sys.stderr.flush()
        print(f"[exit code {code}]" if code else "", flush=True)


if __name__ == "__main__":
    loop()
