"""Reads command lines of `az`, a JSON array a line, and has the real azure-cli parse each: runs where that is.

azure-cli does all that it does for a command up to its parsed arguments, and is stopped there: nothing is sent.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from azure.cli.core import get_default_cli
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS


class ParsedError(Exception):
    """The arguments are parsed, and nothing more is to be done."""


def parse(arguments: list[str]) -> dict[str, Any]:
    """The values that azure-cli takes from a command line; the process ends for one that it does not know."""
    found: dict[str, Any] = {}

    def stop(_cli: Any, **parsed: Any) -> NoReturn:
        found.update(vars(parsed["args"]))
        raise ParsedError

    cli = get_default_cli()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
    cli.exception_handler = lambda _: 1
    cli.invoke(arguments)
    return {name: value for name, value in found.items() if isinstance(value, str | list)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(parse(json.loads(line)), default=str))
