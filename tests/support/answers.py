"""Answers of every kind, made up: whole ones in the three dialects, and streams that say the same in pieces."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

Draw = Any

TEXT = st.text(
    st.one_of(
        st.sampled_from('ab \n\r\t"\\{}:,é😀\u2028\u0085\x7f'),
        st.characters(exclude_categories=("Cs",), exclude_characters="\0"),  # with a NUL, there is no conversion
    ),
    max_size=20,
)
SAID = TEXT.filter(bool)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
NAME = st.from_regex(r"[a-z_]{1,9}", fullmatch=True)
COUNT = st.integers(0, 10**9)
JSON = st.recursive(
    st.none() | st.booleans() | COUNT | st.integers() | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)


def some(**members: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these members."""
    return st.fixed_dictionaries({}, optional=members)


def a(**members: Any) -> st.SearchStrategy[dict[str, Any]]:
    """All of these members; a plain value stands for itself."""
    return st.fixed_dictionaries(
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in members.items()}
    )


def both(*parts: Any) -> st.SearchStrategy[dict[str, Any]]:
    """The members of several objects in one."""
    return st.tuples(*parts).map(lambda found: {name: value for part in found for name, value in part.items()})


def or_null(what: Any) -> Any:
    return st.none() | what


# ------------------------------------------------------------------------------------------------ /chat/completions

TOKEN = a(
    token=TEXT,
    logprob=FLOAT,
    bytes=or_null(st.lists(st.integers(0, 255), max_size=3)),
    top_logprobs=st.lists(a(token=TEXT, logprob=FLOAT, bytes=st.none()), max_size=2),
)
LOGPROBS = both(a(content=or_null(st.lists(TOKEN, max_size=3))), some(refusal=or_null(st.lists(TOKEN, max_size=2))))
DETAIL = both(
    a(type=st.sampled_from(["reasoning.text", "reasoning.summary", "reasoning.encrypted"])),
    some(text=or_null(TEXT), summary=TEXT, data=TEXT, signature=or_null(TEXT), format=or_null(NAME), id=or_null(NAME)),
)
ANNOTATION = a(type="url_citation", url_citation=a(url=TEXT, title=TEXT, start_index=COUNT, end_index=COUNT))
USAGE = both(
    a(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT),
    some(
        cost=FLOAT,
        is_byok=st.booleans(),
        cost_details=a(upstream_inference_cost=or_null(FLOAT)),
        prompt_tokens_details=or_null(some(cached_tokens=COUNT, audio_tokens=COUNT)),
        completion_tokens_details=or_null(some(reasoning_tokens=COUNT)),
    ),
)
CHAT_BESIDE = both(
    a(id=st.from_regex(r"gen-[a-z0-9]{1,9}", fullmatch=True), created=COUNT, model=SAID),
    some(provider=or_null(NAME), service_tier=or_null(NAME), system_fingerprint=or_null(NAME)),
)


@st.composite
def chat_message(draw: Draw) -> dict[str, Any]:
    message = {"role": "assistant"} | draw(
        some(content=or_null(TEXT), refusal=or_null(TEXT), reasoning=or_null(TEXT), reasoning_content=or_null(TEXT))
    )
    if draw(st.booleans()):
        details = draw(st.lists(DETAIL, max_size=3))
        if draw(st.booleans()):
            details = [{**detail, "index": place} for place, detail in enumerate(details)]
        message["reasoning_details"] = details
    if draw(st.booleans()):
        message["annotations"] = draw(or_null(st.lists(ANNOTATION, max_size=2)))
    if draw(st.booleans()):
        call = a(id=SAID, type="function", function=a(name=NAME, arguments=TEXT | OBJECT.map(json.dumps)))
        message["tool_calls"] = draw(or_null(st.lists(call, max_size=3)))
        if draw(st.booleans()):
            for place, made in enumerate(message["tool_calls"] or ()):
                made["index"] = place
    return message


@st.composite
def chat_whole(draw: Draw) -> dict[str, Any]:
    """A whole answer."""
    choices = []
    for place in range(draw(st.integers(1, 3))):
        choice = {"index": place, "message": draw(chat_message()), "finish_reason": draw(NAME)}
        choices.append(choice | draw(some(native_finish_reason=or_null(NAME), logprobs=or_null(LOGPROBS))))
    whole = {"object": "chat.completion", **draw(CHAT_BESIDE), "choices": choices}
    return whole | draw(some(usage=USAGE))


def pieces(draw: Draw, said: str) -> list[str]:
    """A text in pieces, empty ones among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(said)), max_size=3)))
    return [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]


@st.composite
def chat_deltas(draw: Draw) -> list[dict[str, Any]]:
    """What one choice says, in order: deltas, the first with the role, some with logprobs."""
    parts: list[dict[str, Any]] = []
    for name in ("reasoning", "reasoning_content", "content", "refusal"):
        if draw(st.booleans()):
            parts += [{name: piece} for piece in pieces(draw, draw(TEXT))]
    for place in range(draw(st.integers(0, 2))):
        same = {"type": "reasoning.text", "index": place} | draw(some(format=or_null(NAME), id=or_null(NAME)))
        more = [{**same, "text": piece} for piece in pieces(draw, draw(TEXT))]
        more += [{**same, "signature": draw(SAID)}] if draw(st.booleans()) else []
        parts += [{"reasoning_details": [detail]} for detail in more]
    for place in range(draw(st.integers(0, 2))):
        first, *more = pieces(draw, draw(OBJECT.map(json.dumps)))
        function = {"name": draw(NAME), "arguments": first}
        parts.append({"tool_calls": [{"index": place, "id": draw(SAID), "type": "function", "function": function}]})
        parts += [{"tool_calls": [{"index": place, "function": {"arguments": piece}}]} for piece in more]
    if draw(st.booleans()):
        parts.append({"annotations": draw(st.lists(ANNOTATION, max_size=2))})
    role, again = {"role": "assistant"}, draw(st.booleans())
    start = role | draw(some(content=st.just("") | st.none(), refusal=st.none(), reasoning=st.none()))
    return [start, *({**part, **(role if again else {})} for part in parts)]


@st.composite
def chat_stream(draw: Draw) -> list[dict[str, Any]]:
    """The chunks of a stream whose choices begin in order and end with a finish reason each; usage comes last."""
    beside = {"object": "chat.completion.chunk", **draw(CHAT_BESIDE)}
    queues = []
    for place in range(draw(st.integers(1, 2))):
        beside_choice = {"native_finish_reason": None} if draw(st.booleans()) else {}
        with_logprobs = draw(st.booleans())
        queue = []
        for number, delta in enumerate(draw(chat_deltas())):
            choice = {"index": place, "delta": delta, "finish_reason": None, **beside_choice}
            if with_logprobs:
                choice["logprobs"] = draw(or_null(LOGPROBS)) if number else None
            queue.append(choice)
        end = {"index": place, "delta": draw(st.sampled_from([{}, {"content": ""}])), "finish_reason": "stop"}
        queue.append(end | ({"native_finish_reason": "end"} if beside_choice else {}))
        queues.append(queue)
    order = [queue.pop(0) for queue in queues]
    while any(queues):
        order.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    chunks = [{**beside, "choices": [choice]} for choice in order]
    chunks += [{**beside, "choices": []}]
    if draw(st.booleans()):
        repeated = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
        chunks[-1]["choices"] = [repeated]
    if draw(st.booleans()):
        chunks = [{**chunk, "usage": None, "obfuscation": "x"} for chunk in chunks]
    chunks[-1]["usage"] = draw(USAGE)
    return chunks


# ------------------------------------------------------------------------------------------------ /messages

MESSAGE_USAGE = both(
    a(input_tokens=COUNT, output_tokens=COUNT),
    some(
        cache_creation_input_tokens=or_null(COUNT),
        cache_read_input_tokens=or_null(COUNT),
        cache_creation=or_null(a(ephemeral_5m_input_tokens=COUNT, ephemeral_1h_input_tokens=COUNT)),
        server_tool_use=or_null(a(web_search_requests=COUNT, web_fetch_requests=COUNT)),
        output_tokens_details=st.none() | a(thinking_tokens=COUNT),
        service_tier=or_null(st.just("standard")),
        inference_geo=or_null(NAME),
        cost=FLOAT,
        is_byok=st.booleans(),
        cost_details=a(upstream_inference_cost=FLOAT),
    ),
)
CITATION = a(
    type="web_search_result_location",
    **dict.fromkeys(("cited_text", "url", "title", "encrypted_index"), TEXT),
)
CALL = a(type=st.sampled_from(["tool_use", "server_tool_use"]), id=SAID, name=NAME, input=OBJECT)
RESULT = a(type="web_search_result", title=TEXT, url=TEXT, encrypted_content=TEXT, page_age=or_null(TEXT))
BLOCK = st.one_of(
    both(a(type="text", text=TEXT), some(citations=or_null(st.lists(CITATION, max_size=2)))),
    a(type="thinking", thinking=TEXT, signature=TEXT),
    a(type="redacted_thinking", data=TEXT),
    CALL,
    a(type="web_search_tool_result", tool_use_id=SAID, content=st.lists(RESULT, max_size=2)),
)
MESSAGE = both(
    a(id=SAID, type="message", role="assistant", model=SAID, content=st.lists(BLOCK, max_size=4)),
    a(stop_reason=st.sampled_from(["end_turn", "tool_use", "max_tokens"]), stop_sequence=or_null(TEXT)),
    some(
        stop_details=st.none(),
        container=or_null(a(id=SAID, expires_at=st.sampled_from(["2026-01-02T03:04:05Z", "x"]))),
        provider=NAME,
    ),
    a(usage=MESSAGE_USAGE),
)


def in_pieces(draw: Draw, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A stream of messages with its text deltas cut up, and with pings."""
    made = []
    for part in parts:
        delta = part.get("delta", {})
        name = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}.get(
            delta.get("type")
        )
        texts = pieces(draw, delta[name]) if name else [None]
        made += [{**part, "delta": {**delta, name: said}} if name else part for said in texts]
        if draw(st.integers(0, 9)) == 0:
            made.append({"type": "ping"})
    return made


# ------------------------------------------------------------------------------------------------ /responses

PART = st.one_of(
    both(
        a(
            type="output_text",
            text=TEXT,
            annotations=st.lists(
                a(type="url_citation", url=TEXT, title=TEXT, start_index=COUNT, end_index=COUNT), max_size=2
            ),
        ),
        some(
            logprobs=st.lists(
                a(token=TEXT, logprob=FLOAT, bytes=st.lists(COUNT, max_size=2), top_logprobs=st.just([])), max_size=2
            )
        ),
    ),
    a(type="refusal", refusal=TEXT),
)
DONE_STATUS = some(status=st.just("completed"))
ITEM = st.one_of(
    both(a(type="message", role="assistant", content=st.lists(PART, max_size=3)), DONE_STATUS),
    both(a(type="function_call", name=NAME, arguments=TEXT), DONE_STATUS),
    both(
        a(type="reasoning", summary=st.lists(a(type="summary_text", text=TEXT), max_size=2)),
        some(
            content=or_null(st.lists(a(type="reasoning_text", text=TEXT), max_size=2)),
            encrypted_content=or_null(TEXT),
            format=NAME,
            signature=or_null(TEXT),
        ),
        DONE_STATUS,
    ),
)


def _numbered(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"id": f"it_{place}", **item, **({"call_id": f"call_{place}"} if item["type"] == "function_call" else {})}
        for place, item in enumerate(items)
    ]


RESPONSE = both(
    a(id=SAID, object="response", created_at=COUNT, model=SAID, status="completed", error=st.none()),
    a(output=st.lists(ITEM, min_size=1, max_size=3).map(_numbered), parallel_tool_calls=st.booleans(), tools=[]),
    a(usage=both(a(input_tokens=COUNT, output_tokens=COUNT, total_tokens=COUNT), some(cost=FLOAT))),
    some(
        completed_at=or_null(COUNT),
        temperature=or_null(FLOAT),
        metadata=or_null(st.dictionaries(NAME, TEXT, max_size=2)),
        incomplete_details=st.none(),
    ),
)
