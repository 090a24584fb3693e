"""LangChain: ChatOpenAI over chat and responses, and ChatAnthropic, which takes no HTTP client of ours."""

from __future__ import annotations

from typing import Any

from cases import BASE, CLAUDE, DATA_URL, KEY, MODEL, ROOT, STORE, caching, case, main
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

import payonce.httpx2


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def weather(place: str) -> str:
    """The weather there."""
    return f"rain in {place}"


def model(**more: Any) -> ChatOpenAI:
    clients = {
        "http_client": caching(payonce.httpx2),
        "http_async_client": caching(payonce.httpx2, asynchronous=True),
    }
    return ChatOpenAI(base_url=BASE, api_key=SecretStr(KEY), model=MODEL, temperature=0, **clients, **more)


def claude() -> ChatAnthropic:
    return ChatAnthropic(
        base_url=f"{ROOT}/anthropic", api_key=SecretStr(KEY), model_name=CLAUDE, max_tokens=999,
        default_headers={"X-OpenRouter-Cache": "true"},
    )  # fmt: skip


def told(message: Any) -> Any:
    """The message without the id of the run, which is the client's own."""
    found = message.model_dump()
    if str(found.get("id")).startswith(("run", "lc_run")):
        found["id"] = None
    return found


@case()
def invoke(prompt: str) -> Any:
    return told(model().invoke(prompt))


@case()
async def ainvoke(prompt: str) -> Any:
    return told(await model().ainvoke(prompt))


@case()
def stream(prompt: str) -> Any:
    return [told(chunk) for chunk in model().stream(prompt)]


@case()
async def astream(prompt: str) -> Any:
    return [told(chunk) async for chunk in model().astream(prompt)]


@case(calls=2)
def tools(prompt: str) -> Any:
    return _tools(model().bind_tools([weather]), prompt)


def _tools(bound: Any, prompt: str) -> Any:
    talk: list[Any] = [HumanMessage(prompt)]
    asked = bound.invoke(talk)
    assert asked.tool_calls
    talk.append(asked)
    talk += [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in asked.tool_calls]
    return [told(asked), told(bound.invoke(talk))]


@case()
def structured(prompt: str) -> Any:
    found = model().with_structured_output(City).invoke(prompt)
    assert isinstance(found, City)
    return found.model_dump()


@case()
def vision(prompt: str) -> Any:
    content: Any = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
    return told(model().invoke([HumanMessage(content)]))


@case()
def responses(prompt: str) -> Any:
    return told(model(use_responses_api=True).invoke(prompt))


@case()
def responses_stream(prompt: str) -> Any:
    return [told(chunk) for chunk in model(use_responses_api=True).stream(prompt)]


@case()
def embeddings(prompt: str) -> Any:
    made = OpenAIEmbeddings(
        base_url=BASE, api_key=SecretStr(KEY), model="sim/embed", check_embedding_ctx_length=False,
        http_client=caching(payonce.httpx2),
    )  # fmt: skip
    return made.embed_documents([prompt, f"{prompt} Again."])


if not STORE:

    @case()
    def claude_invoke(prompt: str) -> Any:
        return told(claude().invoke(prompt))

    @case()
    def claude_stream(prompt: str) -> Any:
        return [told(chunk) for chunk in claude().stream(prompt)]

    @case(calls=2)
    def claude_tools(prompt: str) -> Any:
        return _tools(claude().bind_tools([weather]), prompt)

    @case()
    def claude_structured(prompt: str) -> Any:
        found = claude().with_structured_output(City).invoke(prompt)
        assert isinstance(found, City)
        return found.model_dump()


if __name__ == "__main__":
    main()
