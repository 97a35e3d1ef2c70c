"""The Lambda's entry: `functions_aws.app.handler`; `shell.py` does the work.

Importing this module reads no variable, builds no client and connects to nothing; the first event does. It does import
the SDK: Lambda gives the import a whole processor, whatever the function's memory, and each event needs the SDK anyway.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from functions_aws import settings, wiring
from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.shell import Shell
from functions_aws.telemetry import Telemetry
from functions_aws.visibility import Returns
from shared.redaction import Redactor


def handler(event: Any, context: Any) -> Any:
    """Take an SQS batch, one EventBridge event, a tick or `{"refresh": "<target>", "full": false}`.

    A batch answers with `{"batchItemFailures": [{"itemIdentifier": "<message id>"}, ...]}`, a refresh with the row that
    `unstale status` shows, anything else with `{"verdict": "done"}`. A bad configuration or a missing variable fails
    every invocation with what is wrong, and leaves the messages where they are.
    """
    return _shell().answer(event, context)


@cache
def _shell() -> Shell:
    """One for a process; an exception is not cached, so that every invocation says what is wrong."""
    found = settings.read(os.environ)
    configuration = wiring.configuration(found)
    redactor = Redactor(settings.secrets(os.environ))
    telemetry = Telemetry(found.service, redactor)
    clients = Clients(found.region)
    here = wiring.world(found, clients, telemetry.emit, redactor=redactor)
    return Shell(configuration, here, DeadLetters(clients), Returns(clients), telemetry, redactor=redactor)
