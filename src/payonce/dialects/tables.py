"""Which fields of a request don't change its answer, for each dialect, and why.

Everything that is not in these tables is part of the key, whatever it is. One test a row shows the key stay, and
docs/keys.md is checked against them. This room must never hold anything but tables.
"""

from __future__ import annotations

CHAT_IGNORED: dict[str, str] = {
    "stream": "only the framing: streams and whole answers are kept side by side under one key",
    "stream_options": "only the framing: whether a usage chunk is sent is compared when an entry is served",
    "usage": "a no-op: OpenRouter always sends usage",
    "user": "names the end user, for abuse reports",
    "safety_identifier": "names the end user, for abuse reports",
    "metadata": "the client's own labels",
    "trace": "the client's own labels",
    "session_id": "routes a conversation to the same host; the answer means the same",
    "prompt_cache_key": "routes to a host with a warm prompt cache",
    "prompt_cache_options": "what the prompt cache costs",
    "prompt_cache_retention": "how long the prompt cache lives",
    "cache_control": "marks the prompt for the provider's cache; changes the price only",
}

_SHARED = (
    "stream",
    "user",
    "safety_identifier",
    "metadata",
    "trace",
    "session_id",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "cache_control",
)
RESPONSES_IGNORED: dict[str, str] = {name: CHAT_IGNORED[name] for name in _SHARED}

MESSAGES_IGNORED: dict[str, str] = {
    "stream": CHAT_IGNORED["stream"],
    "user": CHAT_IGNORED["user"],
    "metadata": "names the end user (`user_id`), for abuse reports",
    "trace": CHAT_IGNORED["trace"],
    "session_id": CHAT_IGNORED["session_id"],
    "cache_control": CHAT_IGNORED["cache_control"],
}

EMBEDDINGS_IGNORED: dict[str, str] = {"user": CHAT_IGNORED["user"]}
