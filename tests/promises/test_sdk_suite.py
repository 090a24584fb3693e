"""The OpenAI SDK's own tests of the endpoints that are cached, and a few others, direct and twice through the gateway.

`make sdk-suite` runs all of them. Where the distribution can't be had, this fails: a promise that is not looked at is
not kept.
"""

from __future__ import annotations

import pytest

from tests.sdk_suite import __main__ as suite

TESTS = [f"api_resources/{name}" for name in ("test_embeddings.py", "test_models.py", "test_responses.py", "chat")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_test_of_the_sdk_passes_direct_and_fails_through_the_gateway() -> None:
    direct, through = suite.compare(TESTS)
    cold, warm = through
    assert suite.broken(direct, through) == {}
    assert len(direct.passed) > 300
    assert not direct.skipped
    assert direct.failed == {}, "the mock server answers as the SDK expects"
    assert warm.asked <= cold.asked < direct.asked, "the cache took part"


def test_a_test_that_fails_through_the_gateway_would_be_named() -> None:
    direct = suite.Outcome(passed={"a", "b", "c"})
    cold, warm = suite.Outcome(passed={"a", "b"}, failed={"c": "404"}), suite.Outcome(passed={"b", "c"})
    assert suite.broken(direct, [cold, warm]) == {"c": "404", "a": "it was not run"}
