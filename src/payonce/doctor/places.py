"""A place in a request, said without any of its text: for readers who may not see prompts.

The members of a tool's schema or of a tool call's input are named by the client, so a path that goes into them tells
something of the prompt. This room must never let a name through that is not the API's own.
"""

from __future__ import annotations

import re
from typing import Final

# fmt: off
NAMES: Final = (
    "anthropic-beta", "anthropic_beta", "arguments", "betas", "cache_control", "citations", "content",
    "context_management", "defer_loading", "description", "file", "function", "headers", "image", "image_url", "input",
    "input_audio", "input_file", "input_image", "input_schema", "input_text", "instructions", "messages", "model",
    "name", "output", "output_config", "output_text", "parallel_tool_calls", "parameters", "prompt_cache_breakpoint",
    "prompt_cache_key", "prompt_cache_options", "properties", "provider", "reasoning", "reasoning_effort", "required",
    "response_format", "role", "service_tier", "session_id", "source", "speed", "strict", "system", "text", "thinking",
    "tool_call_id", "tool_calls", "tool_choice", "tool_use_id", "tools", "ttl", "type", "user", "verbosity",
)
# fmt: on
"""Members of requests, as the providers' references name them."""
_STEP: Final = re.compile(rf"(?:^|\.)(?:{'|'.join(map(re.escape, NAMES))})(?=[.\[]|$)(?:\[\d{{1,9}}\](?=[.\[]|$))*")


def public(where: str) -> str:
    """As much of a JSON path as the API's own names make up, then `…` for what the client has named:
    `tools[1].function.parameters.properties…`."""
    end = 0
    while (step := _STEP.match(where, end)) is not None and step.end() > end:
        end = step.end()
    return where if end == len(where) else where[:end] + "…"
