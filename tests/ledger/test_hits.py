"""Hits are added up before they are entered: the figures are those of hits entered one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.books.batch import Batch
from payonce.books.journal import Journal
from payonce.books.posting import FILED, Posting
from payonce.ledger.avoiding import avoided
from payonce.ledger.hits import BUCKETS, SHOWN, Told
from payonce.ledger.ledger import MOST_SCENES, Ledger
from payonce.ledger.tally import Tally
from payonce.ledger.unread import Expired
from payonce.model import reason as why
from payonce.model.call import Ask, Call
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.receipt import Hits, Landing, Outcome, Receipt
from tests.support import words

COUNTS = st.none() | st.integers(0, 10**6)
HITS = st.lists(
    st.tuples(
        st.sampled_from(("a/x", "b/y")),
        st.sampled_from(("", "team")),
        st.builds(Tokens, COUNTS, COUNTS, COUNTS),
        st.integers(0, 500),
        st.sampled_from((0.00004, 0.00005, 0.002, 3.0, 500.0)),
        st.booleans(),
    ),
    max_size=40,
)


SPENT = Tokens(1, 2, 3)


def one(model: str = "a/x", namespace: str = "", tokens: Tokens = SPENT, size: int = 9) -> tuple[Ask, Entry]:
    asked = words.ask(intent={"model": model}, namespace=namespace)
    facts = Facts("gen-1", model, "none", tokens)
    entry = replace(words.entry(), model=model, namespace=namespace, facts=facts, body=b"x" * size, took=1.25)
    return asked, entry


class Scribe:
    """Hears what a ledger passes on."""

    def __init__(self, *, wants_each: bool = False) -> None:
        self.wants_each = wants_each
        self.each: list[Receipt] = []
        self.told: list[Told] = []
        self.others: list[Receipt] = []

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        self.others.append(receipt)

    def hit(self, receipt: Receipt, seconds: float, asked: Ask) -> None:
        self.each.append(receipt)

    def hits(self, told: Told) -> None:
        self.told.append(told)

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None: ...

    def shelved(self, told: Told, shown: list[Hits]) -> None: ...

    def unread(self, expired: Expired) -> None: ...


@given(HITS, st.sets(st.integers(0, 40)))
def test_sums_say_what_hits_one_by_one_would_say(hits: list[Any], looks: set[int]) -> None:
    scribe, plain = Scribe(), Tally()
    ledger = Ledger("w", 0, scribe)
    for number, (model, namespace, tokens, size, took, converted) in enumerate(hits):
        asked, entry = one(model, namespace, tokens, size)
        ledger.exchanged(Receipt(Outcome.HIT, entry=entry, converted=converted), took, asked)
        plain.request("hit", "", took)
        plain.served(entry, 1, converted=converted)
        plain.avoided(avoided(entry.facts.tokens, entry.took))
        if number in looks:
            _ = ledger.now  # whoever looks in between changes nothing
    assert (+ledger.now.counts, ledger.now.models, ledger.now.latency) == (+plain.counts, plain.models, plain.latency)
    assert abs(ledger.now.seconds["hit"] - plain.seconds["hit"]) <= len(hits) + 1  # each is rounded to a nanosecond
    batch = Batch()
    posting = Posting(b"k" * 32)
    journal = Journal(lambda: 120.0, 1)
    for told in scribe.told:
        journal.hits(told)
    posting.post(journal.take(1000), batch)
    booked = sum(batch.sums.values(), start=type(plain.counts)())
    for ours, theirs in (
        ("requests", "requests.hit"),
        ("converted", "requests.converted"),
        ("served_bytes", "bytes.served"),
        ("avoided_calls", "avoided.calls"),
        ("avoided_input", "avoided.input_tokens"),
        ("avoided_output", "avoided.output_tokens"),
        ("avoided_nano", "avoided.nano_dollars"),
        ("avoided_unpriced", "avoided.calls_without_price"),
    ):
        assert booked[ours] == plain.counts[theirs], ours
    assert sum(batch.latency.values()) == len(hits) == len(batch.receipts)


@given(HITS)
def test_hits_of_the_fast_lane_add_up_to_the_same(hits: list[Any]) -> None:
    scribe, plain = Scribe(), Tally()
    ledger = Ledger("w", 0, scribe)
    given_: list[Hits] = []
    for number, (model, namespace, tokens, size, _, converted) in enumerate(hits):
        asked, entry = one(model, namespace, tokens, size)
        given_.append(Hits(entry, asked.key.slot, number % 3 + 1, converted))
        plain.served(entry, number % 3 + 1, converted=converted)
        plain.avoided(avoided(entry.facts.tokens, entry.took, number % 3 + 1))
    times = sum(each.times for each in given_)
    ledger.fast_hits(given_, [times] + [0] * len(BUCKETS), times * 1000)
    plain.hits([times] + [0] * len(BUCKETS), times * 1000)
    plain.counts["requests.fast_lane"] = times
    assert (+ledger.now.counts, ledger.now.models, ledger.now.latency) == (+plain.counts, plain.models, plain.latency)
    assert ledger.now.seconds == plain.seconds


def test_many_hits_are_in_the_sums_in_full_and_shown_in_part() -> None:
    scribe = Scribe()
    ledger = Ledger("w", 0, scribe, lambda: 7.0)
    asked, entry = one()
    for _ in range(SHOWN + 50):
        ledger.exchanged(Receipt(Outcome.HIT, entry=entry), 0.001, asked)
    assert ledger.now.counts["requests.hit"] == SHOWN + 50
    (told,) = scribe.told
    assert (len(told.shown), told.shown[0].at, told.sums[0].requests) == (SHOWN, 7.0, SHOWN + 50)
    batch, posting = Batch(), Posting(b"k" * 32)
    journal = Journal(lambda: 120.0, 1)
    journal.hits(told)
    journal.hits(told)
    posting.post(journal.take(10), batch)
    assert len(batch.receipts) == FILED
    assert sum(sums["requests"] for sums in batch.sums.values()) == 2 * (SHOWN + 50)


def test_scenes_do_not_pile_up_until_somebody_looks() -> None:
    scribe = Scribe()
    ledger = Ledger("w", 0, scribe)
    for number in range(MOST_SCENES + 1):
        asked, entry = one(model=f"m/{number}")
        ledger.exchanged(Receipt(Outcome.HIT, entry=entry), 0.001, asked)
    assert len(scribe.told) == 1
    assert ledger.now.counts["requests.hit"] == MOST_SCENES + 1


def test_who_wants_each_hit_gets_it_at_once_and_other_outcomes_are_never_summed() -> None:
    asked, entry = one()
    hit, stale = Receipt(Outcome.HIT, entry=entry), Receipt(Outcome.STALE, entry=entry)
    for wants_each in (True, False):
        scribe = Scribe(wants_each=wants_each)
        ledger = Ledger("w", 0, scribe)
        ledger.exchanged(hit, 0.001, asked)
        ledger.exchanged(stale, 0.001, asked)
        ledger.exchanged(Receipt(Outcome.HIT), 0.001, asked)  # a batch, whose items are told of in another way
        assert scribe.each == ([hit] if wants_each else [])
        assert scribe.others == [stale, Receipt(Outcome.HIT)]
        assert not scribe.told
        assert ledger.now.counts["requests.hit"] == 2
        assert len(scribe.told) == 1


def test_a_clock_that_was_set_back_makes_no_sum_fall() -> None:
    ledger = Ledger("w", 0)
    asked, entry = one()
    for receipt in (Receipt(Outcome.HIT, entry=entry), Receipt(Outcome.MISS, why.ABSENT)):
        ledger.exchanged(receipt, 0.25, asked)
        before = ledger.now.seconds[receipt.outcome.value]
        ledger.exchanged(receipt, -3600.0, asked)
        assert ledger.now.seconds[receipt.outcome.value] == before == 250_000_000
