"""The simulated provider's wire, what all endpoints share: OpenRouter's errors, costs, comments, and lists of models.

This room must never know a socket, a clock, one endpoint from another, or why an answer says what it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from payonce.testing.sim_answer import Answer
from payonce.testing.sim_bill import Charge, SimModel

COMMENT: Final = b": OPENROUTER PROCESSING\n\n"
DONE: Final = b"data: [DONE]\n\n"
JSON_TYPE: Final = (b"content-type", b"application/json")
SSE_TYPE: Final = (b"content-type", b"text/event-stream")
HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>One moment</title></head><body><h1>Checking your browser</h1></body></html>\n"
)
_BLOCK: Final = 16384
_NATIVE: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERROR_TYPES: Final = {
    400: "invalid_request", 401: "authentication", 404: "not_found", 429: "rate_limit_exceeded", 500: "server",
    502: "provider_unavailable", 503: "provider_unavailable", 529: "provider_overloaded",
}  # fmt: skip


def error_type(status: int) -> str:
    """OpenRouter's name for what a status means (schema ApiErrorType)."""
    return _ERROR_TYPES.get(status, "unmapped")


def error_body(status: int, message: str) -> bytes:
    """An error in OpenRouter's shape."""
    metadata = {"error_type": error_type(status)}
    return orjson.dumps({"error": {"message": message, "code": status, "metadata": metadata}})


def inner_error() -> dict[str, Any]:
    metadata = {"error_type": "provider_unavailable", "provider_code": "sim_broken"}
    return {"code": 502, "message": "Provider returned error", "metadata": metadata}


def native(answer: Answer) -> str | None:
    if answer.model.id.startswith("anthropic/") and answer.finish:
        return _NATIVE.get(answer.finish, answer.finish)
    return answer.finish


def filler(size: int) -> list[bytes]:
    """`size` bytes of ASCII in pieces that share one block of memory."""
    block = b"x" * _BLOCK
    return [block] * (size // _BLOCK) + [block[: size % _BLOCK]] * bool(size % _BLOCK)


def padded(body: bytes, size: int, mark: str) -> list[bytes]:
    """A body in pieces, with `size` bytes in the place of `mark`; in one piece without any."""
    if not size:
        return [body]
    head, _, tail = body.partition(mark.encode())
    return [head, *filler(size), tail]


def costs(charge: Charge, read: str, said: str) -> dict[str, Any]:
    """What OpenRouter adds to a usage object: numbers on the wire; the bill keeps the Decimals."""
    return {
        "cost": float(charge.cost),
        "is_byok": False,
        "cost_details": {
            "upstream_inference_cost": float(charge.cost),
            f"upstream_inference_{read}_cost": float(charge.prompt_cost),
            f"upstream_inference_{said}_cost": float(charge.completion_cost),
        },
    }


# ---------------------------------------------------------------------------------------------- lists


def models(all_models: Iterable[SimModel]) -> bytes:
    """The list of models, prices as decimal strings."""
    data = [_model(model) for model in all_models]
    return orjson.dumps({"data": data, "total_count": len(data), "links": {"next": None}})


def _model(model: SimModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "canonical_slug": model.canonical,
        "name": model.name,
        "created": 1772323200,
        "description": "A model of the simulated provider: no model at all.",
        "pricing": {
            "prompt": format(model.prompt, "f"), "completion": format(model.completion, "f"),
            "request": "0", "image": "0", **_cache_prices(model),
        },
        "context_length": 200000,
        "architecture": {
            "modality": "text+image->text", "input_modalities": ["text", "image"], "output_modalities": ["text"],
            "tokenizer": "Other", "instruct_type": None,
        },
        "top_provider": {"context_length": 200000, "max_completion_tokens": 64000, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": [
            "max_tokens", "reasoning", "response_format", "structured_outputs", "temperature", "tool_choice", "tools",
        ],
        "default_parameters": None,
        "supported_voices": None,
        "expiration_date": None,
        "knowledge_cutoff": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }  # fmt: skip


def _cache_prices(model: SimModel) -> dict[str, str]:
    prices = (model.cache_read, model.cache_write, model.cache_write_1h)
    names = ("input_cache_read", "input_cache_write", "input_cache_write_1h")
    return {name: format(price, "f") for name, price in zip(names, prices, strict=True) if price is not None}


_UNSET: Final = (
    "upstream_id", "upstream_inference_cost", "app_id", "moderation_latency", "service_tier",
    "router", "web_search_engine", "external_user", "preset_id", "provider_responses", "user_agent", "http_referer",
    "workspace_id", "response_cache_source_id", "session_id", "request_id",
)  # fmt: skip
_NONE_OF: Final = (
    "native_tokens_completion_images", "num_media_prompt", "num_input_audio_prompt",
    "num_media_completion", "num_search_results", "num_fetches",
)  # fmt: skip


def generation(answer: Answer, *, streamed: bool) -> bytes:
    """What GET /generation tells about one answer."""
    charge, cost = answer.charge, float(answer.charge.cost)
    data = dict.fromkeys(_UNSET) | dict.fromkeys(_NONE_OF, 0)
    data |= {
        "id": answer.id, "total_cost": cost, "usage": cost,
        "created_at": datetime.fromtimestamp(answer.created, UTC).isoformat(),
        "model": answer.model.canonical, "provider_name": answer.provider,
        "streamed": streamed, "cancelled": False,
        "latency": 0, "generation_time": 0, "finish_reason": answer.finish, "native_finish_reason": native(answer),
        "tokens_prompt": charge.prompt_tokens, "tokens_completion": charge.completion_tokens,
        "native_tokens_prompt": charge.prompt_tokens, "native_tokens_completion": charge.completion_tokens,
        "native_tokens_reasoning": charge.reasoning_tokens, "native_tokens_cached": charge.input.cache_read,
        "cache_discount": _discount(answer), "origin": "", "is_byok": False, "api_type": "completions",
        "data_region": "global",
    }  # fmt: skip
    return orjson.dumps({"data": data})


def _discount(answer: Answer) -> float | None:
    """What the prompt cache saved in USD, negative where writing cost more than it saved; None without any of it."""
    given = answer.charge.input
    if given.total == given.uncached:
        return None
    return float(answer.model.prompt * given.total - answer.charge.prompt_cost)
