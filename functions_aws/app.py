"""The Lambda's entry: `functions_aws.app.handler`; `shell.py` does the work.

Importing this module connects to nothing. Outside of Lambda it builds nothing either: the first event does. Within
Lambda, which gives an import a whole processor whatever the function's memory, it builds the shell and its clients.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

IN_LAMBDA = "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ
"""Lambda alone sets this, before it imports the handler."""

if IN_LAMBDA:
    gc.disable()  # what is made here stays, and looking for garbage in it would be a tenth of the start

from functions_aws import wiring  # noqa: E402 - as above

if TYPE_CHECKING:
    from functions_aws.shell import Shell

_made: dict[str, Shell] = {}


def handler(event: Any, context: Any) -> Any:
    """Take an SQS batch, one EventBridge event, a tick or `{"refresh": "<target>", "full": false}`.

    A batch answers with `{"batchItemFailures": [{"itemIdentifier": "<message id>"}, ...]}`, a refresh with the
    status that `unstale status` shows, anything else with `{"verdict": "done"}`. A bad configuration or a missing
    variable fails every invocation with what is wrong, and leaves the messages where they are.
    """
    return shell().answer(event, context)


def shell() -> Shell:
    """Make the shell of this process; nothing is kept of a failure, so that every invocation says what is wrong."""
    if "shell" not in _made:
        _made["shell"] = wiring.shell(os.environ)
    return _made["shell"]


def use(shell: Shell) -> None:
    """Let the handler work on other parts: the demo's, or a test's."""
    _made["shell"] = shell


if IN_LAMBDA:
    with suppress(Exception):  # what is wrong is said by every invocation, with its messages left where they are
        shell()
    gc.freeze()  # what is there now is never looked at again
    gc.enable()
