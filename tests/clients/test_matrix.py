"""Every client asks twice: the second answer is the first, and the provider is asked once.

Through `payonce serve` over real sockets, and with Payonce's HTTP client inside the client's process where the client
takes one (LangChain's ChatAnthropic takes none). Each script has an API key of its own: clients of one key share what
they ask. What each client does is in scripts/ and js/; how to set it up is in docs/clients.md.
"""

from __future__ import annotations

import re

import pytest

from tests.clients.driving import JS, SCRIPTS, Place, check_cases, python

CLIENTS = {
    "openai": "main",
    "anthropic": "main",
    "openrouter": "main",
    "pydantic_ai": "main",
    "langchain": "main",
    "litellm": "litellm",
    "instructor": "instructor",
}
IN_PROCESS = ("openai", "anthropic", "openrouter", "pydantic_ai", "langchain", "instructor")


def cases_of(client: str) -> set[str]:
    """The names of a script's cases, read from its text: none can be lost without a trace."""
    source = (SCRIPTS / f"{client}_cases.py").read_text()
    return set(re.findall(r"^ *@case\(.*\)\n *(?:async )?def (\w+)", source, re.MULTILINE))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_answered_twice_and_its_provider_asked_once(gateway: Place, client: str) -> None:
    gateway.provider.reset()
    output = gateway.run(python(CLIENTS[client]), SCRIPTS / f"{client}_cases.py", OPENROUTER_API_KEY=f"sk-{client}")
    check_cases(gateway, output, cases_of(client))


@pytest.mark.parametrize("client", ["openai", "ai"])
def test_a_javascript_client_is_answered_twice_and_its_provider_asked_once(gateway: Place, client: str) -> None:
    gateway.provider.reset()
    script = JS / f"{client}_cases.mjs"
    wanted = set(re.findall(r"^  (\w+): \[", script.read_text(), re.MULTILINE))
    check_cases(gateway, gateway.run("node", script, OPENROUTER_API_KEY=f"sk-js-{client}"), wanted)


@pytest.mark.parametrize("client", IN_PROCESS)
def test_the_same_holds_for_the_cache_inside_the_process(in_process: Place, client: str) -> None:
    in_process.provider.reset()
    output = in_process.run(python(CLIENTS[client]), SCRIPTS / f"{client}_cases.py")
    wanted = {name for name in cases_of(client) if not (client == "langchain" and name.startswith("claude"))}
    check_cases(in_process, output, wanted)


def test_without_the_cache_the_same_cases_are_seen_to_fail(in_process: Place) -> None:
    in_process.provider.reset()
    bare = Place(in_process.root, in_process.provider, in_process.home)
    output = bare.run(python("main"), SCRIPTS / "openai_cases.py", "chat", "chat_stream")
    with pytest.raises(AssertionError, match="2 upstream calls in place of 1"):
        check_cases(bare, output, {"chat", "chat_stream"})
