"""What is sent and what is answered: one 2 KB chat request with a number in it, one 1.7 KB completion.

The texts hold no quote, backslash or dollar sign, so that they can stand in an nginx configuration as they are.
"""

from __future__ import annotations

import json
import secrets

MARK = "@@@@@@@@@@@@"
"""Where the number of a request stands in the template; the load generator puts twelve digits there."""

MODEL = "bench/model"
PATH = "/api/v1/chat/completions"
MODELS_PATH = "/api/v1/models"
API_KEY = f"sk-bench-{secrets.token_hex(32)}"
"""As long as a real one; made anew for each run, and good for nothing but the servers that the run starts."""
AUTHORIZATION = f"Bearer {API_KEY}"
HEADERS = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}

_REQUEST_BYTES = 2048
_ANSWER_BYTES = 1740
_WORDS = "a cache keeps what was paid for so that nobody has to pay for the very same tokens once more "


def _filled(shape: dict[str, object], slot: dict[str, object], field: str, size: int) -> str:
    """The JSON of `shape`, `size` bytes long, with text put into `slot[field]`."""
    lacking = size - len(_spelled(shape))
    slot[field] = str(slot[field]) + (_WORDS * (lacking // len(_WORDS) + 1))[:lacking]
    return _spelled(shape)


def _spelled(shape: dict[str, object]) -> str:
    """Without spaces, as the SDKs of OpenAI and Anthropic (httpx, `JSON.stringify`) write what they send."""
    return json.dumps(shape, separators=(",", ":"))


def request_template(size: int = _REQUEST_BYTES, *, stream: bool = False) -> str:
    """A chat request of `size` bytes with `MARK` in the question."""
    system: dict[str, object] = {"role": "system", "content": ""}
    user: dict[str, object] = {"role": "user", "content": f"Question {MARK}: what does a cache keep?"}
    shape: dict[str, object] = {"model": MODEL, "temperature": 0, "messages": [system, user]}
    if stream:
        shape["stream"] = True
    return _filled(shape, system, "content", size)


def numbered(template: str, number: int) -> bytes:
    """The request with this number, byte for byte as load.lua makes it."""
    return template.replace(MARK, f"{number:012d}").encode()


def answer(size: int = _ANSWER_BYTES) -> str:
    """A whole chat completion of `size` bytes that any cache may keep."""
    message: dict[str, object] = {"role": "assistant", "content": ""}
    shape: dict[str, object] = {
        "id": "gen-bench-0000000001",
        "object": "chat.completion",
        "created": 1700000000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 480, "completion_tokens": 320, "total_tokens": 800},
    }
    return _filled(shape, message, "content", size)


def models(size: int = _ANSWER_BYTES) -> str:
    """A list of models of `size` bytes."""
    model: dict[str, object] = {"id": MODEL, "object": "model", "description": ""}
    return _filled({"object": "list", "data": [model]}, model, "description", size)
