"""Runs a function app under Microsoft's own worker library, as in the cloud: one app in a process of its own.

    python -m tests.functions_worker PACKAGE     a line of JSON in, a line of JSON out

The first line out lists the functions with their bindings. Then each line in names a function, its data by the kind
that the host sends (`string`, `json`, `collection_bytes`, `http`) and its metadata; each line out says how it went.
The library leaves gRPC and protobuf to its caller, and has a way in that wants neither: decoded data.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from types import SimpleNamespace
from typing import Any


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
    if kind == "http":
        texts = ("method", "url")
        fields: dict[str, Any] = {name: Datum(value[name], "string") for name in texts}
        params = {name: Datum(each, "string") for name, each in value["params"].items()}
        body = Datum(value["body"].encode(), "bytes")
        return Datum({**fields, "headers": {}, "query": {}, "params": params, "body": body}, kind)
    return Datum(value, kind)


def _http(returned: Any) -> dict[str, Any]:
    answer = returned.value
    return {
        "status": int(answer["status_code"].value),
        "headers": {name: each.value for name, each in answer["headers"].items()},
        "body": answer["body"].value.decode(),
    }


def main() -> None:
    """Serve until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # what a function prints is no answer
    worker = Worker(sys.argv[1])
    print(json.dumps({name: worker.bindings(name) for name in worker.functions}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.invoke(**json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
