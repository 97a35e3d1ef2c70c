"""Runs a function app under Microsoft's own worker library, as in the cloud: one app in a process of its own.

    python -S -P functions_worker.py PACKAGE     a line of JSON in, a line of JSON out

It needs nothing of this project. The first line out lists the functions with their bindings. Then each line in is an
invocation or an order:

    {"name", "kind", "value", "metadata"}  a function, its data by the kind that the host sends, and what comes with it
    {"ahead": seconds}                     how far the product's clock is ahead of the machine's
    {"at": "<time>"}                       the product's clock stands there, and moves on a little with each reading
    {"patience": factor}                   how much longer than in the cloud an invocation and a storage call may take
    {"pauses": seconds}                    the longest that a batch of an event hub pauses between two tries
    {"die_at": n}                          the process ends when its n-th effect from now was done, the answer unseen
    {"sent": true}                         the requests that left the process since this was asked last
    {"unanswered": true}                   for how many seconds each request waited that got no answer, since then
    {"lead": [host, port]}                 the name of that host leads to a port of this machine
    {"peak": true}                         the most memory that the process had so far, in kilobytes

The body of a request over HTTP may be a list of texts, each with how often it is repeated.

The library leaves gRPC and protobuf to its caller, and has a way in that wants neither: decoded data.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import socket
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from itertools import count
from types import SimpleNamespace
from typing import Any

READING = timedelta(microseconds=10)
"""How far a clock that stands still moves on with each reading."""
BOUNDS = (
    "functions_azure.shell.INVOCATION_SECONDS",
    "functions_azure.shell.ENGINE_SECONDS",
    "functions_azure.clients.READ_SECONDS",
)
"""The product's bounds by the real clock, which do not hold where the machine is busy with other things."""


class Message(SimpleNamespace):
    """What the library builds of a class of messages: an object with the given fields."""


class BindingInfo(Message):
    """The one that it compares with: directions and data types, numbered as they are where the decorators come from."""

    out, inout, undefined = 1, 2, 0


MESSAGES = SimpleNamespace(
    BindingInfo=BindingInfo,
    FunctionMetadataResponse=Message,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    RpcRetryOptions=Message,
    StatusResult=type("StatusResult", (Message,), {"Success": 1, "Failure": 0}),
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
)


class Worker:
    """An app, indexed."""

    def __init__(self, package: str) -> None:
        import azure_functions_runtime as library

        sys.path.insert(0, package)
        self._loop = asyncio.new_event_loop()
        library.start_threadpool_executor()
        asked = SimpleNamespace(capabilities={}, function_app_directory=package)
        answer = self._ask(library.worker_init_request, worker_init_request=asked)
        if not answer.result.status:
            raise RuntimeError(answer.result.exception.message)
        found = self._ask(library.functions_metadata_request).function_metadata_results
        self.functions = {each.name: each for each in found}

    def _ask(self, entry: Any, **content: Any) -> Any:
        properties = {"protos": MESSAGES, "host": "127.0.0.1"}
        return self._loop.run_until_complete(
            entry(SimpleNamespace(request=SimpleNamespace(**content), properties=properties))
        )

    def bindings(self, name: str) -> list[dict[str, Any]]:
        """As the host gets them."""
        return [json.loads(raw) for raw in self.functions[name].raw_bindings]

    def invoke(self, name: str, kind: str, value: Any, metadata: dict[str, Any]) -> dict[str, Any]:
        """Call a function as the host would; `metadata` as JSON, except for text."""
        from azure_functions_runtime.bindings.datumdef import Datum
        from azure_functions_runtime.native_invocation import invocation_request_native

        [argument] = [each["name"] for each in self.bindings(name) if each["type"].endswith("Trigger")]
        told = {
            key: Datum(each, "string") if isinstance(each, str) else Datum(json.dumps(each), "json")
            for key, each in metadata.items()
        }
        done, returned, _, error, trace = self._loop.run_until_complete(
            invocation_request_native(
                str(uuid.uuid4()), self.functions[name].function_id, [(argument, _datum(kind, value))], told
            )
        )
        return {"done": done, "error": error, "trace": trace, "http": _http(returned) if returned else None}


def _datum(kind: str, value: Any) -> Any:
    from azure_functions_runtime.bindings.datumdef import Datum

    if kind == "collection_bytes":
        return Datum(SimpleNamespace(bytes=[each.encode() for each in value]), kind)
    if kind == "collection_string":
        return Datum(SimpleNamespace(string=value), kind)
    if kind == "http":
        texts = {name: Datum(value[name], "string") for name in ("method", "url")}
        named = {
            name: {key: Datum(each, "string") for key, each in value.get(name, {}).items()}
            for name in ("params", "headers", "query")
        }
        body = value["body"]
        text = body if isinstance(body, str) else "".join(part * times for part, times in body)
        return Datum({**texts, **named, "body": Datum(text.encode(), "bytes")}, kind)
    return Datum(value, kind)


def _http(returned: Any) -> dict[str, Any]:
    answer = returned.value
    return {
        "status": int(answer["status_code"].value),
        "headers": {name: each.value for name, each in answer["headers"].items()},
        "body": answer["body"].value.decode(),
    }


class Requests:
    """What leaves the process, whichever SDK sends it; and where the process is to die.

    A request that only reads is no effect: dying after it is dying after the effect before it.
    """

    DIED = 77
    """The exit status of a death that was ordered."""

    def __init__(self) -> None:
        adapter_class: Any = import_module("requests.adapters").HTTPAdapter
        self.sent: list[str] = []
        self._unanswered: list[float] = []
        self._left = -1
        really = adapter_class.send

        def send(adapter: Any, request: Any, *args: Any, **options: Any) -> Any:
            try:
                answer = really(adapter, request, *args, **options)
            except import_module("requests").ReadTimeout:
                self._unanswered.append(options["timeout"][1])
                raise
            self.sent.append(f"{request.method} {request.url.partition('?')[0]}")
            self._left -= request.method != "GET"
            if self._left == 0:
                os._exit(self.DIED)
            return answer

        adapter_class.send = send

    def die_at(self, number: int) -> None:
        """Count from now."""
        self._left = number

    def told(self) -> list[str]:
        """Those since the last time."""
        sent, self.sent = self.sent, []
        return sent

    def waited(self) -> list[float]:
        """Those since the last time."""
        waited, self._unanswered = self._unanswered, []
        return waited


def set_patience(factor: float) -> None:
    """Bound by the real clock, invocations and storage calls would fail where the machine is busy with other things."""
    for place in BOUNDS:
        name, _, bound = place.rpartition(".")
        module: Any = import_module(name)
        setattr(module, bound, getattr(module, bound) * factor)


def set_pauses(most_seconds: float) -> None:
    """Shorten the pauses, however long they would be."""
    app: Any = import_module("functions_azure.app")
    app.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, most_seconds)))


def set_time(moment: str) -> None:
    """Let the product's clock stand still, but for what keeps two readings apart."""
    clock_class: Any = import_module("functions_azure.wiring").SystemClock
    moments = (datetime.fromisoformat(moment) + number * READING for number in count(1))
    clock_class.now = lambda _: next(moments)
    clock_class.monotonic = lambda _: next(moments).timestamp()


def set_ahead(seconds: float) -> None:
    """Turn the clock that the product reads. Sockets and storage stay on the machine's."""
    clock_class: Any = import_module("functions_azure.wiring").SystemClock
    if not hasattr(clock_class, "ahead"):
        now, monotonic = clock_class.now, clock_class.monotonic
        clock_class.now = lambda clock: now() + timedelta(seconds=clock.ahead)
        clock_class.monotonic = lambda clock: monotonic() + clock.ahead
    clock_class.ahead = seconds


def lead(where: tuple[str, int]) -> None:
    """Let a host's name lead to a port of this machine; the name that a certificate must have stays."""
    (host, port), ask = where, socket.getaddrinfo
    names: Any = socket

    def look_up(name: Any, service: Any, *options: Any, **named: Any) -> Any:
        there = ("127.0.0.1", port) if name == host else (name, service)
        return ask(*there, *options, **named)

    names.getaddrinfo = look_up


def main() -> None:
    """Serve until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # what a function prints is no answer
    logging.basicConfig(level=logging.INFO)  # the worker has a handler, too, which sends to the host
    worker, requests = Worker(sys.argv[1]), Requests()
    orders: dict[str, Callable[[Any], Any]] = {
        "ahead": set_ahead,
        "at": set_time,
        "patience": set_patience,
        "pauses": set_pauses,
        "die_at": requests.die_at,
        "sent": lambda _: requests.told(),
        "unanswered": lambda _: requests.waited(),
        "lead": lead,
        "peak": lambda _: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps({name: worker.bindings(name) for name in worker.functions}), file=out, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        order = next(iter(asked.keys() & orders), None)
        answer = orders[order](asked[order]) if order else worker.invoke(**asked)
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
