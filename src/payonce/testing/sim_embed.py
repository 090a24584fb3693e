"""The simulated embedder: a vector for each input, made of a digest of model and input alone.

So the same input always has the same vector, wherever it stands and whoever asks, and two inputs never share one. This
room must never know a socket, a clock, or who is charged.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import Any, Final

import orjson

from payonce.testing.sim_ask import AskError
from payonce.testing.sim_bill import Charge, Input, SimModel, charge, model_of

_DIMENSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class EmbedAsk:
    """What of an embeddings request the simulated model looks at."""

    model: SimModel
    inputs: tuple[Any, ...]
    dimensions: int
    base64: bool

    @property
    def charge(self) -> Charge:
        """Tokens as they are given, else about four characters each."""
        return charge(self.model, Input(sum(map(_tokens, self.inputs))), 0)


def read(body: bytes) -> EmbedAsk:
    """Reads the body of an embeddings request; AskError where OpenRouter answers 400."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise AskError(400, "Invalid JSON in request body") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("model"), str):
        raise AskError(400, "No model provided")
    given = asked.get("input")
    if not given or not isinstance(given, str | list):
        raise AskError(400, "Input must not be empty")
    single = isinstance(given, str) or isinstance(given[0], int)
    return EmbedAsk(
        model=model_of(asked["model"]),
        inputs=(given,) if single else tuple(given),
        dimensions=asked.get("dimensions") or _DIMENSIONS,
        base64=asked.get("encoding_format") == "base64",
    )


def vector(model: str, given: Any, dimensions: int) -> list[float]:
    """The embedding of one input: numbers in -1..1 that a float of four bytes holds exactly."""
    noise = hashlib.shake_128(orjson.dumps([model, given])).digest(4 * dimensions)
    return [(value - 2**23) / 2**23 for (value,) in struct.iter_unpack("<xI", _spaced(noise))]


def _spaced(noise: bytes) -> bytes:
    return b"".join(b"\0" + noise[start : start + 3] + b"\0" for start in range(0, len(noise), 4))


def result(ask: EmbedAsk, id: str, fault: str) -> bytes:  # noqa: A002
    """The answer, its members in OpenAI's order."""
    if fault == "200-error":
        return orjson.dumps({"error": {"code": 502, "message": "Provider returned error"}})
    data = []
    for index, given in enumerate(ask.inputs):
        numbers = vector(ask.model.id, given, ask.dimensions)
        shown: Any = numbers
        if ask.base64:
            shown = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    if fault in {"wrong-count", "empty"}:
        data = data[: -1 if fault == "wrong-count" else 0]
    elif fault == "twice":
        data[-1]["index"] = 0
    spent = ask.charge
    usage = {"prompt_tokens": spent.prompt_tokens, "total_tokens": spent.prompt_tokens, "cost": float(spent.cost)}
    return orjson.dumps({"object": "list", "data": data, "model": ask.model.canonical, "usage": usage, "id": id})


def _tokens(given: Any) -> int:
    return (
        len(given)
        if isinstance(given, list)
        else 1 + len(given if isinstance(given, str) else orjson.dumps(given)) // 4
    )
