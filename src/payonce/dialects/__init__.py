"""The dialects: each knows one endpoint's wire, and no cache.

`DIALECTS` maps the path behind `/v1` to the dialect that reads it. Endpoints in `CACHED_ENDPOINTS` without a dialect
pass through and say so (`detail=no-dialect`).
"""

from __future__ import annotations

from payonce.dialects.chat import ChatDialect
from payonce.dialects.embeddings import EmbeddingsDialect
from payonce.dialects.messages import MessagesDialect
from payonce.dialects.responses import ResponsesDialect
from payonce.model.ports import Dialect

CACHED_ENDPOINTS = frozenset(("chat/completions", "responses", "messages", "embeddings"))
DIALECTS: dict[str, Dialect] = {
    dialect.endpoint: dialect for dialect in (ChatDialect(), ResponsesDialect(), MessagesDialect(), EmbeddingsDialect())
}

__all__ = ["CACHED_ENDPOINTS", "DIALECTS", "ChatDialect", "EmbeddingsDialect", "MessagesDialect", "ResponsesDialect"]
