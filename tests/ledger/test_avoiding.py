"""What was not paid is worked out once; tally and books only have other names for it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from payonce.books.counting import avoid
from payonce.ledger.avoiding import Avoided, avoided, gathered
from payonce.ledger.tally import Tally
from payonce.model.entry import Tokens
from payonce.model.receipt import Saved

COUNTS = st.none() | st.integers(0, 10**6)
NAMES = {
    "avoided.calls": "avoided_calls",
    "avoided.input_tokens": "avoided_input",
    "avoided.output_tokens": "avoided_output",
    "avoided.nano_dollars": "avoided_nano",
    "avoided.nanoseconds": "avoided_ns",
    "avoided.calls_without_price": "avoided_unpriced",
    "avoided.estimated_nano_dollars": "avoided_estimated",
}


@given(st.lists(st.tuples(st.builds(Tokens, COUNTS, COUNTS, COUNTS), st.floats(0, 900), st.integers(0, 50))))
def test_tally_and_books_agree_on_what_was_avoided(calls: list[tuple[Tokens, float, int]]) -> None:
    tally, books = Tally(), Counter[str]()
    for tokens, took, times in calls:
        tally.avoided(avoided(tokens, took, times))
        avoid(books, avoided(tokens, took, times))
    assert {name: tally.counts[name] for name in NAMES} == {name: books[other] for name, other in NAMES.items()}
    assert books["avoided_nano"] == sum((tokens.cost or 0) * times for tokens, _, times in calls)
    assert books["avoided_unpriced"] == sum(times for tokens, _, times in calls if tokens.cost is None)


def test_a_batch_avoids_a_call_only_where_none_was_made() -> None:
    whole = Saved(Tokens(30, None, 900), 1, 0.5, 100, "e")
    part = Saved(Tokens(20, None, None), 0, 0.0, 100, "e")
    assert gathered(whole) == Avoided(calls=1, input=30, output=0, nano=900, ns=500_000_000, unpriced=0)
    assert gathered(part) == Avoided(calls=0, input=20, output=0, nano=0, ns=0, unpriced=0)
