"""The simulated provider's wire: answers, errors and lists written as OpenRouter writes them, JSON and SSE.

The order of members and the shape of the last chunks follow recorded traffic. This room must never know a socket, a
clock, or why an answer says what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from payonce.testing.sim_answer import Answer
from payonce.testing.sim_bill import SimModel

COMMENT: Final = b": OPENROUTER PROCESSING\n\n"
DONE: Final = b"data: [DONE]\n\n"
JSON_TYPE: Final = (b"content-type", b"application/json")
SSE_TYPE: Final = (b"content-type", b"text/event-stream")
HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>One moment</title></head><body><h1>Checking your browser</h1></body></html>\n"
)
_BLOCK: Final = 16384
_MARK: Final = "@@padding@@"
_NATIVE: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERROR_TYPES: Final = {
    400: "invalid_request", 401: "authentication", 404: "not_found", 429: "rate_limit_exceeded", 500: "server",
    502: "provider_unavailable", 503: "provider_unavailable", 529: "provider_overloaded",
}  # fmt: skip


def error_body(status: int, message: str) -> bytes:
    """An error in OpenRouter's shape."""
    metadata = {"error_type": _ERROR_TYPES.get(status, "unmapped")}
    return orjson.dumps({"error": {"message": message, "code": status, "metadata": metadata}})


def _inner_error() -> dict[str, Any]:
    metadata = {"error_type": "provider_unavailable", "provider_code": "sim_broken"}
    return {"code": 502, "message": "Provider returned error", "metadata": metadata}


def _native(answer: Answer) -> str | None:
    if answer.model.id.startswith("anthropic/") and answer.finish:
        return _NATIVE.get(answer.finish, answer.finish)
    return answer.finish


def usage(answer: Answer) -> dict[str, Any]:
    """The usage object, full as OpenRouter sends it. The costs are numbers on the wire; the bill keeps the Decimals."""
    charge = answer.charge
    return {
        "prompt_tokens": charge.prompt_tokens,
        "completion_tokens": charge.completion_tokens,
        "total_tokens": charge.prompt_tokens + charge.completion_tokens,
        "cost": float(charge.cost),
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "audio_tokens": 0, "video_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": float(charge.cost),
            "upstream_inference_prompt_cost": float(charge.prompt_cost),
            "upstream_inference_completions_cost": float(charge.completion_cost),
        },
        "completion_tokens_details": {
            "reasoning_tokens": charge.reasoning_tokens,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


# ---------------------------------------------------------------------------------------------- one JSON body


def result(answer: Answer, fault: str) -> list[bytes]:
    """The body of an answer that is not streamed. One piece, or many where padding makes it large."""
    if fault == "200-error":
        return [orjson.dumps({"error": _inner_error(), "user_id": None})]
    text = "".join(answer.content)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text or None,
        "refusal": answer.refusal,
        "reasoning": None,
    }
    if fault == "empty":
        message["content"] = ""
    if answer.padding:
        message["content"] = text + _MARK
    if answer.reasoning:
        thought = "".join(answer.reasoning)
        message["reasoning"] = thought
        message["reasoning_details"] = [{"type": "reasoning.text", "text": thought, "index": 0, "format": None}]
    if answer.tools:
        message["tool_calls"] = [
            {
                "id": call.id,
                "index": index,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for index, call in enumerate(answer.tools)
        ]
    choice = {
        "logprobs": None,
        "finish_reason": answer.finish,
        "native_finish_reason": _native(answer),
        "index": 0,
        "message": message,
    }
    if fault == "choice-error":
        choice["error"] = _inner_error()
    body = orjson.dumps(
        {
            "id": answer.id,
            "provider": answer.model.provider,
            "model": answer.model.canonical,
            "object": "chat.completion",
            "created": answer.created,
            "choices": [choice],
            "system_fingerprint": None,
            "usage": usage(answer),
        }
    )
    if not answer.padding:
        return [body]
    head, _, tail = body.partition(_MARK.encode())
    return [head, *_filler(answer.padding), tail]


def _filler(size: int) -> list[bytes]:
    """`size` bytes of ASCII in pieces that share one block of memory."""
    block = b"x" * _BLOCK
    return [block] * (size // _BLOCK) + [block[: size % _BLOCK]] * bool(size % _BLOCK)


# ---------------------------------------------------------------------------------------------- a stream


def events(answer: Answer, fault: str, argument: str) -> Iterator[tuple[int, bytes]]:
    """The events of a streamed answer, each with the number of tokens that it took the model to say."""
    frame = _Frame(answer)
    if fault == "200-error" and argument == "only":
        yield 0, frame.error(None)
    else:
        for delta in _deltas(answer):
            yield 1, frame.choice(delta)
        if answer.padding:
            for block in _filler(answer.padding):
                yield 0, frame.choice({"role": "assistant", "content": block.decode()})
        yield 0, frame.last(answer, fault)
        if fault == "200-error":
            yield 0, frame.error(usage(answer))
        else:
            yield 0, frame.usage(answer)
    if fault != "no-done":
        yield 0, DONE


def _deltas(answer: Answer) -> Iterable[dict[str, Any]]:
    """What each chunk adds. As recorded, every delta names the role and has content."""
    for word in answer.reasoning:
        details = [{"type": "reasoning.text", "text": word, "index": 0, "format": None}]
        yield {"role": "assistant", "content": "", "reasoning": word, "reasoning_details": details}
    for word in answer.content:
        yield {"role": "assistant", "content": word}
    if answer.refusal:
        yield {"role": "assistant", "content": None, "refusal": answer.refusal}
    for index, call in enumerate(answer.tools):
        opening = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield {"role": "assistant", "content": None, "tool_calls": [opening]}
        for piece in call.arguments:
            yield {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"index": index, "function": {"arguments": piece}}],
            }


class _Frame:
    """Chunks of one answer: what they all share is written once."""

    def __init__(self, answer: Answer) -> None:
        shared = {
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model.canonical,
            "provider": answer.model.provider,
        }
        self._head = b"data: " + orjson.dumps(shared)[:-1]

    def _with(self, more: dict[str, Any]) -> bytes:
        return b"%b,%b\n\n" % (self._head, orjson.dumps(more)[1:])

    def choice(self, delta: dict[str, Any], finish: str | None = None, native: str | None = None, **more: Any) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "finish_reason": finish,
            "native_finish_reason": native,
            "logprobs": None,
            **more,
        }
        return self._with({"choices": [choice]})

    def last(self, answer: Answer, fault: str) -> bytes:
        more = {"error": _inner_error()} if fault == "choice-error" else {}
        return self.choice({"role": "assistant", "content": ""}, answer.finish, _native(answer), **more)

    def usage(self, answer: Answer) -> bytes:
        return self._with({"choices": [], "usage": usage(answer)})

    def error(self, spent: dict[str, Any] | None) -> bytes:
        """As recorded: an error beside a choice whose finish_reason is null, after a chunk that had finished."""
        choice = {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "finish_reason": None,
            "native_finish_reason": None,
        }
        return self._with({"error": _inner_error(), "choices": [choice], **({"usage": spent} if spent else {})})


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
            "request": "0", "image": "0",
        },
        "context_length": 200000,
        "architecture": {
            "modality": "text->text", "input_modalities": ["text"], "output_modalities": ["text"], "tokenizer": "Other",
            "instruct_type": None,
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


_UNSET: Final = (
    "upstream_id", "cache_discount", "upstream_inference_cost", "app_id", "moderation_latency", "service_tier",
    "router", "web_search_engine", "external_user", "preset_id", "provider_responses", "user_agent", "http_referer",
    "workspace_id", "response_cache_source_id", "session_id", "request_id",
)  # fmt: skip
_NONE_OF: Final = (
    "native_tokens_completion_images", "native_tokens_cached", "num_media_prompt", "num_input_audio_prompt",
    "num_media_completion", "num_search_results", "num_fetches",
)  # fmt: skip


def generation(answer: Answer, *, streamed: bool) -> bytes:
    """What GET /generation tells about one answer."""
    charge, cost = answer.charge, float(answer.charge.cost)
    data = dict.fromkeys(_UNSET) | dict.fromkeys(_NONE_OF, 0)
    data |= {
        "id": answer.id, "total_cost": cost, "usage": cost,
        "created_at": datetime.fromtimestamp(answer.created, UTC).isoformat(),
        "model": answer.model.canonical, "provider_name": answer.model.provider,
        "streamed": streamed, "cancelled": False,
        "latency": 0, "generation_time": 0, "finish_reason": answer.finish, "native_finish_reason": _native(answer),
        "tokens_prompt": charge.prompt_tokens, "tokens_completion": charge.completion_tokens,
        "native_tokens_prompt": charge.prompt_tokens, "native_tokens_completion": charge.completion_tokens,
        "native_tokens_reasoning": charge.reasoning_tokens, "origin": "", "is_byok": False, "api_type": "completions",
        "data_region": "global",
    }  # fmt: skip
    return orjson.dumps({"data": data})
