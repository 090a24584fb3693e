"""Answers every call of the SDK with a value of the type that the SDK expects: `python mock.py PORT_FILE`.

Verbs, paths and types are read from the SDK's own sources, where each method says them in one call (`self._post("/…",
cast_to=…)`); values are made from the types. It runs under the Python of the suite's environment, and must never know
an endpoint by name.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import sys
import typing
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin

from openai import resources
from openai._legacy_response import HttpxBinaryResponseContent
from openai._streaming import extract_stream_chunk_type
from openai._utils import extract_type_arg, is_annotated_type, is_type_alias_type
from pydantic import BaseModel

_VERBS = {"_get": "GET", "_get_api_list": "GET", "_post": "POST", "_put": "PUT", "_patch": "PATCH", "_delete": "DELETE"}
_DEEP = 4
_FALSE_FIELDS = ("error", "incomplete_details", "last_error", "refusal")
"""Left out where they may be: an answer with one is an error or a refusal, which the cache does not keep."""


def value(type_: Any, depth: int = 0, name: str = "") -> Any:
    """A value of a type, with every optional part in it, down to a depth."""
    if is_type_alias_type(type_):
        return value(type_.__value__, depth, name)
    if is_annotated_type(type_):
        return value(extract_type_arg(type_, 0), depth, name)
    origin, arguments = get_origin(type_) or type_, get_args(type_)
    if origin is Union or type(type_).__name__ == "UnionType":
        known = [argument for argument in arguments if argument is not type(None)]
        if len(known) < len(arguments) and (depth > _DEEP or name in _FALSE_FIELDS):
            return None
        return value(known[0], depth, name)
    if origin is Literal:
        return "completed" if "completed" in arguments else arguments[0]
    if origin in (list, typing.Sequence) or getattr(origin, "__name__", "") == "Sequence":
        return [] if depth > _DEEP else [value(arguments[0], depth + 1)]
    if origin is dict:
        return {} if depth > _DEEP else {"key": value(arguments[1], depth + 1)}
    plain = {str: "text", int: 1, float: 1.5, bool: True, bytes: "text", object: {}, Any: {}, type(None): None}
    plain |= {datetime: "2026-01-02T03:04:05Z", date: "2026-01-02"}
    if origin in plain:
        return {"index": 0, "arguments": "{}"}.get(name.rpartition("_")[2], plain[origin])
    return of_model(type_, depth)


@cache
def of_model(model: Any, depth: int) -> dict[str, Any]:
    """An object of a model, or of a page of models."""
    origin, arguments = get_origin(model) or model, get_args(model)
    if not issubclass(origin, BaseModel):
        raise TypeError(f"no value is known for {model}")
    found = {}
    for name, field in origin.model_fields.items():
        kind = field.annotation
        if arguments and any(isinstance(inner, typing.TypeVar) for inner in get_args(kind)):
            kind = get_origin(kind)[arguments[0]]
        if kind is not None:
            found[field.alias or name] = value(kind, depth + 1, name)
    return found


class Route:
    """One call that the SDK makes."""

    def __init__(self, verb: str, path: str, returns: Any, events: Any) -> None:
        self.verb = verb
        path, _, self.query = path.partition("?")
        self.pattern = re.compile("".join(r"[^/]+" if part[:1] == "{" else re.escape(part) for part in _parts(path)))
        self.wide = (path.count("{"), not self.query)
        """Of two routes for one call, the less wide one is meant."""
        self.whole = _whole(returns)
        self.events = events

    def fits(self, verb: str, path: str, query: str) -> bool:
        """Whether this call is meant."""
        return verb == self.verb and self.query in query and self.pattern.fullmatch(path) is not None

    def stream(self) -> bytes:
        """A stream of one event, or of a first and a last one where the SDK tells events by a type."""
        kinds = [self.events]
        if get_origin(extract_type_arg(self.events, 0) if is_annotated_type(self.events) else self.events) is Union:
            variants = get_args(extract_type_arg(self.events, 0) if is_annotated_type(self.events) else self.events)
            kinds = [kind for kind in variants if _tag(kind).endswith((".created", ".completed"))] or list(variants[:1])
            kinds = [kind for kind in kinds if _tag(kind).count(".") == 1] or kinds[:1]
            kinds.sort(key=lambda kind: _tag(kind).endswith(".completed"))
        events = [value(kind) for kind in kinds]
        named = ["event: " + event["type"] + "\n" if "." in str(event.get("type", "")) else "" for event in events]
        lines = [f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(named, events, strict=True)]
        return "".join([*lines, "data: [DONE]\n\n"]).encode()


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"(\{[^}]*\})", path) if part]


def _whole(returns: Any) -> tuple[str, bytes]:
    """The media type and the body of an answer that the SDK reads as `returns`."""
    if returns is HttpxBinaryResponseContent:
        return "application/octet-stream", b"bytes"
    if returns in (str, type(None)):
        return "text/plain", b"text" if returns is str else b""
    return "application/json", json.dumps(value(returns)).encode()


def _tag(kind: Any) -> str:
    field = getattr(kind, "model_fields", {}).get("type") or getattr(kind, "model_fields", {}).get("event")
    return str(get_args(field.annotation)[0]) if field is not None and get_args(field.annotation) else ""


class _Call(NamedTuple):
    """One `self._post(PATH, ...)` in a source, and what the method around it says that it returns."""

    verb: str
    path: str
    named: dict[str, ast.expr]
    returns: ast.expr


def _calls(tree: ast.Module) -> Iterator[_Call]:
    for method in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        for node in ast.walk(method):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="self"), attr=name),
                    args=[ast.Constant(value=str(path)) | ast.Call(args=[ast.Constant(value=str(path))])],
                ) if name in _VERBS:
                    named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                    verb = ast.literal_eval(named["method"]) if "method" in named else _VERBS[name]
                    yield _Call(verb.upper(), path, named, method.returns or ast.Constant(None))


def _read(call: _Call, names: dict[str, Any]) -> Route:
    """A call as a route; `names` are those of the call's module."""
    kind = call.named.get("page") or call.named["cast_to"]
    if isinstance(kind, ast.Call) and ast.unparse(kind.func) != "cast":
        kind = call.returns  # it depends on the arguments
    returns = eval(ast.unparse(kind), names)
    streams = eval(ast.unparse(call.named.get("stream_cls", ast.Constant(None))), names)
    return Route(call.verb, call.path, returns, streams and extract_stream_chunk_type(streams))


def routes() -> tuple[list[Route], list[str]]:
    """Every call that is written in the SDK's resources; and those of which no type could be had."""
    known: dict[tuple[str, str], Route] = {}
    unknown: list[str] = []
    for info in pkgutil.walk_packages(resources.__path__, "openai.resources."):
        module = importlib.import_module(info.name)
        for call in _calls(ast.parse(Path(str(module.__file__)).read_text())):
            if (call.verb, call.path) in known:
                continue
            try:
                known[call.verb, call.path] = _read(call, vars(module))
            except Exception as error:
                unknown.append(f"{call.verb} {call.path}: {error!r}")
    return sorted(known.values(), key=lambda route: route.wide), unknown


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    known: ClassVar[list[Route]] = []
    counts: ClassVar[Counter[str]] = Counter()

    def answer(self) -> None:
        """Answer one call."""
        body = self._body()
        path, _, query = self.path.partition("?")
        self.counts[f"{self.command} {path}"] += 1
        if path == "/_mock/counts":
            return self._send(200, "application/json", json.dumps(self.counts).encode())
        for route in self.known:
            if route.fits(self.command, path, query):
                if route.events is not None and re.search(rb'"stream":\s?true|name="stream"\r\n\r\ntrue', body):
                    return self._send(200, "text/event-stream", route.stream())
                return self._send(200, *route.whole)
        return self._send(404, "application/json", b'{"error": {"message": "no such method", "code": "404"}}')

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = answer  # noqa: N815 - the host's names

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, media: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", media)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-request-id", "req_mock")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *given: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Many connections at once."""

    daemon_threads = True
    request_queue_size = 128


def main(port_file: str) -> None:
    """Serve until killed; the port, and what is not served, go into `port_file`."""
    Handler.known, unknown = routes()
    server = Server(("127.0.0.1", 0), Handler)
    draft = Path(port_file + ".draft")
    draft.write_text(json.dumps({"port": server.server_port, "routes": len(Handler.known), "unknown": unknown}))
    draft.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
