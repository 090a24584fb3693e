"""What was awaited from another process is counted as avoided, not as a call."""

from __future__ import annotations

from payonce.ledger.ledger import Ledger
from payonce.ledger.tally import summary
from payonce.model import reason as why
from payonce.model.receipt import Came, Landing, Waited
from tests.support.words import FACTS


def test_an_answer_of_another_process_is_no_call_and_avoids_one_for_each_who_reads_it() -> None:
    ledger = Ledger("w", 0)
    ledger.landed(Landing(FACTS, None, 1.5, waited=Waited(2.5, Came.BROUGHT)), 3)
    figures = summary(ledger.now)
    assert (figures["upstream_calls"], figures["stored"], figures["avoided"]["calls"]) == (0, 0, 4)
    assert figures["paid"]["input_tokens"] == 0
    assert figures["waits"] == {"brought": 1, "seconds": 2.5}


def test_a_call_that_was_made_after_all_is_one() -> None:
    ledger = Ledger("w", 0)
    ledger.landed(Landing(FACTS, None, 1.5, waited=Waited(0.5, Came.NOTHING)), 0)
    ledger.landed(Landing(None, why.STATUS, 1.5, waited=Waited(30.0, Came.IN_VAIN)), 0)
    figures = summary(ledger.now)
    assert figures["upstream_calls"] == 2
    assert figures["waits"] == {"nothing": 1, "in_vain": 1, "seconds": 30.5}
