"""Every client asks twice: the second answer is the first, and the provider is asked once.

Through `payonce serve` over real sockets, and with Payonce's HTTP client inside the client's process where the client
takes one. What each client does is in scripts/; how to set it up is in docs/clients.md.
"""

from __future__ import annotations

import re

import pytest

from tests.clients.driving import SCRIPTS, Place, check_cases, python

CLIENTS = {"openai": "main", "anthropic": "main"}
IN_PROCESS = ("openai", "anthropic")


def cases_of(client: str) -> set[str]:
    """The names of a script's cases, read from its text: none can be lost without a trace."""
    source = (SCRIPTS / f"{client}_cases.py").read_text()
    return set(re.findall(r"^@case\(.*\)\n(?:async )?def (\w+)", source, re.MULTILINE))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_answered_twice_and_its_provider_asked_once(gateway: Place, client: str) -> None:
    gateway.provider.reset()
    output = gateway.run(python(CLIENTS[client]), SCRIPTS / f"{client}_cases.py")
    check_cases(gateway, output, cases_of(client))


@pytest.mark.parametrize("client", IN_PROCESS)
def test_the_same_holds_for_the_cache_inside_the_process(in_process: Place, client: str) -> None:
    in_process.provider.reset()
    output = in_process.run(python(CLIENTS[client]), SCRIPTS / f"{client}_cases.py")
    check_cases(in_process, output, cases_of(client))


def test_without_the_cache_the_same_cases_are_seen_to_fail(in_process: Place) -> None:
    in_process.provider.reset()
    bare = Place(in_process.root, in_process.provider, in_process.home)
    output = bare.run(python("main"), SCRIPTS / "openai_cases.py", "chat", "chat_stream")
    with pytest.raises(AssertionError, match="2 upstream calls in place of 1"):
        check_cases(bare, output, {"chat", "chat_stream"})
