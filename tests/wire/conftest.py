"""What the tests of the wire share."""

from collections.abc import Iterator

import openai
import pytest

from payonce.testing.sim import SimulatedProvider


@pytest.fixture
def client(sim: SimulatedProvider) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK before the provider itself; it retries nothing."""
    with openai.OpenAI(base_url=sim.base_url, api_key="sk-or-a", max_retries=0) as made:
        yield made
