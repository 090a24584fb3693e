"""What the scripts of the client matrix share: where to ask, and how a case is run twice and told.

A script runs in its client's own environment, against the gateway or, in process, through Payonce's HTTP client
straight to the provider; it never checks anything itself. It prints one JSON object: for every case both results and
how many upstream calls one run of it makes. The prompt of a case names it, so that the test can count those calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

ROOT = os.environ["PAYONCE_ROOT"]
"""http://127.0.0.1:PORT of the gateway, or of the provider itself in process."""
BASE = f"{ROOT}/api/v1"
KEY = os.environ["OPENROUTER_API_KEY"]
STORE = os.environ.get("PAYONCE_STORE", "")
"""The store of the cache inside the process; empty through the gateway."""
MODEL = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-sonnet-4.5"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DATA_URL = f"data:image/png;base64,{PNG}"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
    "additionalProperties": False,
}
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}

_cases: dict[str, tuple[Callable[[str], Any], int]] = {}


def case(calls: int = 1) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """A case: takes its prompt, gives what the client made of the answers; one run makes `calls` upstream calls."""

    def keep(run: Callable[[str], Any]) -> Callable[[str], Any]:
        _cases[run.__name__] = run, calls
        return run

    return keep


def caching(module: Any, *, asynchronous: bool = False) -> Any:
    """Payonce's client of `payonce.httpx2` or `payonce.httpx`; None through the gateway. It waits long for its store:
    on a busy machine the usual budget of a read is over before its thread had a turn, and the answer is paid again."""
    if not STORE:
        return None
    from payonce import Settings

    make = module.AsyncClient if asynchronous else module.Client
    return make(store=STORE, cache="deterministic", ttl=3600, settings=Settings(read_budget=20.0))


def main() -> None:
    """Runs the cases that are named, or all, each twice."""
    told: dict[str, Any] = {}
    with asyncio.Runner() as runner:  # one event loop for all: LangChain keeps connections from one call to the next
        for name, (run, calls) in _cases.items():
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            prompt = f"<{name}> What about it?"
            try:
                with contextlib.redirect_stdout(sys.stderr):  # LiteLLM talks
                    told[name] = {"calls": calls, "results": [_once(runner, run, prompt) for _ in range(2)]}
            except Exception:
                told[name] = {"calls": calls, "error": traceback.format_exc()}
    json.dump(told, sys.stdout, default=repr)


def _once(runner: asyncio.Runner, run: Callable[[str], Any], prompt: str) -> Any:
    return runner.run(run(prompt)) if inspect.iscoroutinefunction(run) else run(prompt)
