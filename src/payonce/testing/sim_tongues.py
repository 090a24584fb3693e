"""The tongues of the simulated provider: which endpoint is read and written by which room.

This room must never know a socket or what is answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from payonce.testing.sim_answer import Answer
from payonce.testing.sim_ask import Ask, AskError, members
from payonce.testing.sim_chat import ChatTongue
from payonce.testing.sim_messages import MessagesTongue
from payonce.testing.sim_responses import ResponsesTongue


class Tongue(Protocol):
    """How one endpoint is read and written."""

    @property
    def native(self) -> bool:
        """Whether it is Anthropic's own, with its keys and headers, and not OpenRouter's."""
        ...

    @property
    def comment(self) -> bytes:
        """What keeps a stream alive before its first event; empty where nothing does."""
        ...

    def read(self, asked: dict[str, Any]) -> Ask:
        """What a request asks; AskError, or what reading another shape raises, where it is not taken."""
        ...

    def error(self, status: int, message: str, id: str) -> bytes:  # noqa: A002
        """The body of an error."""
        ...

    def result(self, answer: Answer, ask: Ask, fault: str) -> list[bytes]:
        """The body of an answer that is not streamed, in pieces."""
        ...

    def events(self, answer: Answer, ask: Ask, fault: str, argument: str) -> Iterator[tuple[int, bytes]]:
        """The events of a streamed answer, each with the number of tokens that it took the model to say."""
        ...


_CHAT: Final = ChatTongue()
TONGUES: Final[dict[str, Tongue]] = {
    "/api/v1/chat/completions": _CHAT,
    "/api/v1/messages": MessagesTongue(native=False),
    "/api/v1/responses": ResponsesTongue(),
    "/anthropic/v1/messages": MessagesTongue(native=True),
}


def tongue_of(path: str) -> Tongue:
    """The tongue of a path, in which its errors are told; elsewhere that is OpenRouter's general one."""
    return TONGUES.get(path, _CHAT)


def read(tongue: Tongue, headers: Mapping[str, str], body: bytes) -> Ask:
    """What a request asks; AskError where it is none that the provider takes."""
    if tongue.native and "anthropic-version" not in headers:
        raise AskError(400, "anthropic-version: header is required")
    asked = members(body)
    try:
        return tongue.read(asked)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise AskError(400, f"Invalid request: {error}") from None
