"""Sums are read from the longest steps that fit, and say what the receipts say, however they are asked for."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from payonce.books import sums
from payonce.books.file import BooksFile
from payonce.books.reader import MINUTES_KEPT, Reader
from payonce.books.schema import LENGTHS
from payonce.books.words import Figures
from payonce.dashboard.overview import SPANS, Span
from payonce.errors import StoreError
from payonce.ledger.tally import HOUR
from tests.dashboard.many import fill

NOW = 1_800_000_000.0
DAY = 24 * HOUR
_STEPS = st.sampled_from([60, 300, 900, HOUR, 4 * HOUR, 6 * HOUR, DAY, 7 * DAY])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books of a month, in which each of 20,000 receipts is one request."""
    found = tmp_path_factory.mktemp("books") / "books.db"
    fill(found, 20_000, now=NOW, days=30)
    return found


@pytest.fixture(scope="module")
def reader(path: Path) -> Iterator[Reader]:
    found = Reader(BooksFile(path), lambda: NOW)
    yield found
    found.close()


@given(st.integers(0, 40 * DAY), st.integers(1, 40 * DAY), st.integers(0, 80 * DAY), _STEPS)
def test_what_is_read_covers_the_time_once_and_in_rows_that_fit(
    since: int, length: int, minutes_from: int, step: int
) -> None:
    found = sums.spans(since, since + length, minutes_from=minutes_from, step=step)
    assert found[0][1] <= since
    assert found[-1][2] >= since + length
    assert [end for _, _, end in found[:-1]] == [start for _, start, _ in found[1:]]
    for table, start, end in found:
        assert start < end
        assert start % LENGTHS[table] == end % LENGTHS[table] == 0
        assert step % LENGTHS[table] == 0 or (table == "hour" and end - HOUR < minutes_from)
        assert table != "minute" or start >= minutes_from // HOUR * HOUR


@example(ago=0, step=60)
@given(ago=st.integers(0, 29 * DAY), step=_STEPS)
def test_each_step_of_a_series_has_what_was_asked_in_it(path: Path, reader: Reader, ago: int, step: int) -> None:
    if step % HOUR:
        ago %= MINUTES_KEPT - DAY  # of what is older there are no steps as short as that
    points = reader.series(NOW - ago, NOW, step)
    asked = Counter[int]()
    grain = HOUR if NOW - ago < NOW - MINUTES_KEPT else 60
    since = int(NOW - ago) // grain * grain
    for (at,) in apsw.Connection(str(path)).execute("SELECT at FROM receipt WHERE at >= ?", (since,)):
        asked[int(float(str(at))) // step * step] += 1
    assert {point.at: point.figures.requests for point in points if point.figures.requests} == asked
    assert sum(asked.values()) == reader.total(NOW - ago, NOW).requests
    latency = Counter[int]()
    for at_step, histograms in reader.latency_series(NOW - ago, NOW, step):
        latency[at_step] += sum(sum(histogram.counts) for histogram in histograms.values())
    assert latency == asked


def test_no_time_at_all_has_no_figures(reader: Reader) -> None:
    at = NOW - NOW % 60
    assert (reader.total(at, at), reader.totals(at, at, ("model",)), reader.latency(at, at)) == (Figures(), [], {})
    assert [point.figures.requests for point in reader.series(at, at)] == [0]


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
def test_every_span_of_the_overview_is_made_of_few_rows(path: Path, reader: Reader, span: Span) -> None:
    since = NOW - span.seconds
    db = apsw.Connection(str(path))
    parts = sums.spans(since, NOW, minutes_from=int(NOW) - MINUTES_KEPT, step=DAY)
    rows = sum(
        int(str(db.execute(f"SELECT count(*) FROM {table} WHERE at >= ? AND at < ?", (start, end)).get))
        for table, start, end in parts
    )
    requests = int(str(db.execute("SELECT count(*) FROM receipt WHERE at >= ?", (parts[0][1],)).get))
    assert reader.total(since).requests == requests
    assert rows < 2000
    hours = int(str(db.execute("SELECT count(*) FROM hour WHERE at >= ?", (since,)).get))
    assert span.name != "30d" or hours > 5 * rows  # so many would have to be read without days


@pytest.mark.parametrize("version", [1, 2])
def test_books_of_a_format_before_get_what_they_lack_when_they_are_next_written(
    path: Path, tmp_path: Path, version: int
) -> None:
    old = tmp_path / "books.db"
    shutil.copy(path, old)
    db = apsw.Connection(str(old))
    for table in ("minute", "hour", "day", "receipt"):
        db.execute(f"ALTER TABLE {table} DROP COLUMN avoided_estimated").fetchall()
    if version == 1:
        db.execute("DROP TABLE day; DROP TABLE day_latency").fetchall()
    db.execute(f"PRAGMA user_version = {version}").fetchall()
    db.close()
    reader, expected = Reader(BooksFile(old), lambda: NOW), Reader(BooksFile(path), lambda: NOW)
    with pytest.raises(StoreError, match="of another version: start a gateway, which updates it"):
        reader.total(0)
    BooksFile(old).writer().close()
    assert reader.totals(0, by=("model", "outcome", "reason")) == expected.totals(0, by=("model", "outcome", "reason"))
    assert reader.latency_series(0, NOW, DAY) == expected.latency_series(0, NOW, DAY)
    assert reader.recent(limit=3) == expected.recent(limit=3)
    assert not list(tmp_path.glob("*.set-aside-*"))
    BooksFile(old).writer().close()  # once is enough
    reader.close()
    expected.close()
