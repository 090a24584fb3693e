"""Usage objects as each provider writes them: exclusive, inclusive, overlapping. Nothing is left out, nothing added.

Sources: the prompt-caching documentation of Anthropic, OpenAI, DeepSeek and OpenRouter, and recordings of their
answers. This room must never decide what was read or written.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from payonce.testing.providers.rules import Split

Usage = dict[str, Any]


def anthropic(split: Split, output: int) -> Usage:
    """Exclusive: `input_tokens` is only what was neither read nor written."""
    return {
        "input_tokens": split.plain,
        "cache_creation_input_tokens": split.write + split.write_1h,
        "cache_read_input_tokens": split.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": split.write,
            "ephemeral_1h_input_tokens": split.write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }


def openai_chat(split: Split, output: int) -> Usage:
    """Inclusive, as on chat completions; writes are told by models that charge for them."""
    details = {"cached_tokens": split.read, "audio_tokens": 0}
    if split.write:
        details["cache_write_tokens"] = split.write
    return {
        "prompt_tokens": split.total,
        "completion_tokens": output,
        "total_tokens": split.total + output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def openai_responses(split: Split, output: int) -> Usage:
    """Inclusive, as on responses."""
    details = {"cached_tokens": split.read}
    if split.write:
        details["cache_write_tokens"] = split.write
    return {
        "input_tokens": split.total,
        "input_tokens_details": details,
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": split.total + output,
    }


def deepseek(split: Split, output: int) -> Usage:
    """Hit and miss are told apart, and add up."""
    return {
        "prompt_tokens": split.total,
        "completion_tokens": output,
        "total_tokens": split.total + output,
        "prompt_cache_hit_tokens": split.read,
        "prompt_cache_miss_tokens": split.total - split.read,
        "prompt_tokens_details": {"cached_tokens": split.read},
    }


def plain_chat(split: Split, output: int) -> Usage:
    """Inclusive, reads only: xAI and Groq."""
    return {
        "prompt_tokens": split.total,
        "completion_tokens": output,
        "total_tokens": split.total + output,
        "prompt_tokens_details": {"cached_tokens": split.read},
    }


def openrouter(
    split: Split, output: int, dialect: str, *, prompt_cost: Decimal, cost: Decimal, overlap: int = 0
) -> Usage:
    """OpenRouter's own: inclusive, with what was charged. `overlap` tokens are told as read as well as written."""
    written = split.write + split.write_1h
    if dialect == "messages":
        return anthropic(split, output) | {"cost": float(cost), "is_byok": False}
    details = {"cached_tokens": split.read + overlap, "cache_write_tokens": written, "audio_tokens": 0}
    side = "prompt" if dialect == "chat" else "input"
    other = "completions" if dialect == "chat" else "output"
    costs = {
        "upstream_inference_cost": float(cost),
        f"upstream_inference_{side}_cost": float(prompt_cost),
        f"upstream_inference_{other}_cost": float(cost - prompt_cost),
    }
    base = {"cost": float(cost), "is_byok": False, "cost_details": costs, "total_tokens": split.total + output}
    if dialect == "responses":
        return base | {
            "input_tokens": split.total, "input_tokens_details": details,
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
    return base | {
        "prompt_tokens": split.total, "prompt_tokens_details": details,
        "completion_tokens": output, "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


Emit = Callable[[Split, int], Usage]


def _openai(split: Split, output: int, dialect: str) -> Usage:
    return openai_responses(split, output) if dialect == "responses" else openai_chat(split, output)


EMITTERS: Final[dict[str, Callable[[Split, int, str], Usage]]] = {
    "anthropic": lambda split, output, _dialect: anthropic(split, output),
    "openai": _openai,
    "deepseek": lambda split, output, _dialect: deepseek(split, output),
    "plain": lambda split, output, dialect: (
        openai_responses(split, output) if dialect == "responses" else plain_chat(split, output)
    ),
}
"""The conventions by name."""
