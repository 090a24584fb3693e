"""What the tests of the faces share."""

from collections.abc import Iterator

import pytest

from tests.support.gateway import RawUpstream, answers, raw_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    """One upstream for all tests of a file, which answers well unless a test tells it otherwise."""
    with raw_upstream(answers()) as running:
        yield running
