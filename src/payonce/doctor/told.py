"""What a provider itself says of a cache miss, in the doctor's words.

Sources: Anthropic, "Prompt caching", diagnostics (`diagnostics.cache_miss_reason`); OpenAI, "Prompt caching"
(`prompt_cache_diagnostics`). This room must never compare requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from payonce.doctor import causes as why
from payonce.doctor.causes import Cause

_ANTHROPIC: Final = {
    "model_changed": why.MODEL_CHANGED,
    "system_changed": why.SYSTEM_CHANGED,
    "tools_changed": why.TOOL_CHANGED,
    "messages_changed": why.HISTORY_REWRITTEN,
}
_OPENAI: Final = {
    "model_changed": why.MODEL_CHANGED,
    "prompt_cache_key_changed": why.CACHE_KEY_CHANGED,
    "service_tier_changed": why.PARAMETER_CHANGED,
    "tools_changed": why.TOOL_CHANGED,
    "text_format_changed": why.PARAMETER_CHANGED,
    "reasoning_effort_changed": why.PARAMETER_CHANGED,
    "verbosity_changed": why.PARAMETER_CHANGED,
    "context_compacted": why.HISTORY_REWRITTEN,
    "input_changed": why.HISTORY_REWRITTEN,
}


def diagnostics_in(document: object) -> Mapping[str, Any] | None:
    """The provider's own account of a cache miss, in a decoded answer or in one event of a stream; None where it gives
    none. To be put into `Seen.diagnostics`."""
    if not isinstance(document, Mapping):
        return None
    for holder in (document, document.get("message"), document.get("response")):
        if isinstance(holder, Mapping):
            for name in ("diagnostics", "prompt_cache_diagnostics"):
                if isinstance(found := holder.get(name), Mapping):
                    return found
    return None


def provider_says(diagnostics: Mapping[str, Any] | None) -> tuple[Cause, str, int | None] | None:
    """The cause that a provider itself names, its word for it, and the tokens it says were missed.

    Anthropic's `diagnostics.cache_miss_reason.type`, or OpenAI's `prompt_cache_diagnostics.reason`; None where it says
    nothing, or that it can't tell.
    """
    if not diagnostics:
        return None
    reason = diagnostics.get("cache_miss_reason")
    if isinstance(reason, Mapping):
        word, tokens = str(reason.get("type")), reason.get("cache_missed_input_tokens")
        cause = _ANTHROPIC.get(word)
    else:
        word, tokens = str(diagnostics.get("reason")), diagnostics.get("cache_missed_tokens")
        cause = _OPENAI.get(word) if diagnostics.get("type") == "cache_miss" else None
    return None if cause is None else (cause, word, tokens if isinstance(tokens, int) else None)
