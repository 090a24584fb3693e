"""Follows conversations as their exchanges end, and adds up what was found: the doctor's live side.

`Watch.saw` takes one exchange and gives what is wrong with it; `Watch.report` everything so far, like with like. Memory
is bounded: conversations, their blocks, kept text and kinds of findings. Not thread safe: it belongs to the loop that
serves. This room must never do I/O, read a clock or raise for what it was shown.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from payonce.doctor.blocks import Chain, find, render, text_of
from payonce.doctor.case import Case
from payonce.doctor.causes import WRONG, Severity
from payonce.doctor.diagnose import diagnose
from payonce.doctor.excerpts import Texts, alike
from payonce.doctor.findings import Finding, ranked
from payonce.doctor.lineage import Lineage, Lineages, Scope, common
from payonce.doctor.lints import lint_headers
from payonce.doctor.markers import lint_markers
from payonce.doctor.models import MinimumOf, PriceOf, habit_of, lost, no_minimum, no_price
from payonce.doctor.prefixes import Miss, Prefixes
from payonce.doctor.seen import Seen, Turn, take
from payonce.doctor.told import provider_says

KINDS: Final = 200
"""Kinds of findings that are added up; of more, the cheapest is dropped and counted."""
_BLOCKS_EACH: Final = 128
_POINTS: Final = 24


class Watch:
    """See the room's first paragraph. `limit` is how many conversations are followed, `text` how many characters of
    prompts are kept to show what differs. `blind` judges exchanges without usage by their requests alone."""

    def __init__(
        self,
        limit: int = 1000,
        *,
        text: int = 4 << 20,
        price_of: PriceOf = no_price,
        minimum_of: MinimumOf = no_minimum,
        blind: bool = False,
    ) -> None:
        self._lineages = Lineages(limit, limit * _BLOCKS_EACH)
        self._prefixes = Prefixes(limit)
        self._texts = Texts(text)
        self._price_of = price_of
        self._minimum_of = minimum_of
        self._blind = blind
        self._found: dict[tuple[str, ...], Finding] = {}
        self.revision = 0
        """Grows with every finding."""
        self.counts: Counter[str] = Counter()
        """`seen`, `judged` (the provider reported reads), `unknown`, `unreadable`, `dropped`."""

    def saw(self, seen: Seen) -> tuple[Finding, ...]:
        """What is wrong with an exchange that has ended, as far as can be known. A fault of ours is counted under
        `unreadable`, and finds nothing."""
        self.counts["seen"] += 1
        try:
            found = self._judge(seen)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError):
            self.counts["unreadable"] += 1
            return ()
        for finding in found:
            self._add(finding)
        return tuple(found)

    def report(self) -> list[Finding]:
        """Everything found so far, like with like, the worst first."""
        return ranked(list(self._found.values()))

    def clear(self) -> None:
        """Begin a new page: forget findings and counts, go on following."""
        self._found.clear()
        self.counts.clear()

    # ------------------------------------------------------------------------------------ one exchange

    def _judge(self, seen: Seen) -> list[Finding]:
        chain = render(seen.body, seen.dialect)
        turn = take(seen, chain)
        found = self._lints(seen, chain, turn)
        if seen.status != 200 or not len(chain):
            return found
        self.counts["unknown" if turn.read is None else "judged"] += 1
        scope = seen.tenant, seen.upstream
        lineage = self._lineages.find(scope, seen.session, chain, turn.model, _Alike(self._texts, chain, seen))
        if lineage is None:
            found += self._first(scope, seen, chain, turn)
            lineage = self._lineages.begin(scope, seen.session, turn)
            turn.points = _points(turn, ())
        else:
            found += self._next(lineage, seen, chain, turn)
            same = common(lineage.turn.digests, turn.digests)
            turn.points = _points(turn, [point for point in lineage.turn.points if point[0] < same])
            if lineage.session == seen.session:
                self._lineages.follow(lineage, turn)
            else:  # the same conversation under another name: both may go on
                earlier, lineage = lineage, self._lineages.begin(scope, seen.session, turn)
                lineage.turns, lineage.cached = earlier.turns + 1, earlier.cached
        lineage.cached = lineage.cached or bool(turn.read)
        self._prefixes.note(scope, turn)
        self._keep(chain, seen.body)
        return found

    def _lints(self, seen: Seen, chain: Chain, turn: Turn) -> list[Finding]:
        """What one request shows that no answer can excuse: retired headers, and markers in the wrong place. Where the
        provider took the request, it had nothing against its markers."""
        if seen.status == 200 and not seen.headers and not chain.marks and not chain.stray:
            return []
        found = list(lint_headers(seen.headers, seen.body))
        if seen.status != 200:
            habit = habit_of(turn.model, seen.dialect)
            markers = lint_markers(seen.body, chain, seen.dialect, habit)
            found += [finding for finding in markers if finding.severity is not Severity.NOTICE]
        return [self._about(finding, seen, turn) for finding in found]

    def _first(self, scope: Scope, seen: Seen, chain: Chain, turn: Turn) -> list[Finding]:
        minimum = self._minimum_of(turn.model)
        miss = self._prefixes.miss(scope, turn, chain, seen.body, self._texts, minimum)
        if miss is not None:
            return [self._missed(miss, seen, turn)]
        said = provider_says(seen.diagnostics)
        if said is None or not said[2] or (turn.read or 0) >= said[2]:
            return []
        detail = f"the provider says {said[1]}"
        return [self._missed(Miss(said[0], said[2], seen.number, detail=detail), seen, turn)]

    def _next(self, lineage: Lineage, seen: Seen, chain: Chain, turn: Turn) -> list[Finding]:
        return diagnose(
            Case(
                before=lineage.turn,
                now=turn,
                chain=chain,
                body=seen.body,
                texts=self._texts,
                habit=habit_of(turn.model, seen.dialect),
                minimum=self._minimum_of(turn.model),
                upstream=seen.upstream,
                turns=lineage.turns + 1,
                caches=lineage.cached,
                diagnostics=seen.diagnostics,
                price_of=self._price_of,
                blind=self._blind,
            )
        )

    def _missed(self, miss: Miss, seen: Seen, turn: Turn) -> Finding:
        long = min(miss.tokens, turn.written_1h or 0)
        short = min(miss.tokens - long, turn.written_5m or 0)
        rates = self._price_of(turn.model, seen.upstream, turn.total, turn.started)
        finding = Finding(
            miss.cause,
            where=miss.where,
            block=miss.block,
            detail=miss.detail,
            before=miss.before,
            after=miss.after,
            tokens=miss.tokens,
            cost=lost(rates, miss.tokens - long - short, short, long),
        )
        about = self._about(finding, seen, turn)
        return dataclasses.replace(about, requests=tuple(dict.fromkeys((miss.number, seen.number))))

    def _about(self, finding: Finding, seen: Seen, turn: Turn) -> Finding:
        return dataclasses.replace(
            finding, model=turn.model, upstream=seen.upstream, requests=(seen.number,), at=seen.started
        )

    # ------------------------------------------------------------------------------------ what is kept

    def _keep(self, chain: Chain, body: Mapping[str, object]) -> None:
        """Texts of blocks that are new; the static ones are used by every turn."""
        texts = self._texts
        for place, digest in enumerate(chain.digests):
            if digest in texts:
                if place < chain.static:
                    texts.use(digest)
            else:
                texts.keep(digest, text_of(find(body, chain.paths[place]))[0])

    def _add(self, finding: Finding) -> None:
        self.revision += 1
        key = finding.id, finding.upstream, finding.model, _kind(finding.where)
        held = self._found.get(key)
        self._found[key] = finding if held is None else held.plus(finding)
        if len(self._found) > KINDS:
            least = min(self._found.items(), key=lambda item: (item[1].severity in WRONG, item[1].tokens or 0))[0]
            self.counts["dropped"] += self._found.pop(least).times

    @property
    def held(self) -> dict[str, int]:
        """What is held: conversations, blocks, prefixes, characters of text, kinds of findings."""
        return {
            "conversations": len(self._lineages),
            "blocks": self._lineages.blocks,
            "prefixes": len(self._prefixes),
            "text": len(self._texts),
            "findings": len(self._found),
        }


class _Alike:
    """Whether a block of an earlier request and one of this are mostly the same text."""

    def __init__(self, texts: Texts, chain: Chain, seen: Seen) -> None:
        self._texts = texts
        self._chain = chain
        self._body = seen.body

    def __call__(self, old: int, new: int) -> bool:
        if old == new:
            return True
        before = self._texts.get(old)
        if before is None or new not in self._chain.digests:
            return False
        after = text_of(find(self._body, self._chain.paths[self._chain.digests.index(new)]))[0][: 1 << 16]
        return alike(before, after)


def _points(turn: Turn, before: list[tuple[int, int]] | tuple[()]) -> tuple[tuple[int, int], ...]:
    """Where this conversation can be read from: earlier points that still hold, and this turn's markers."""
    if not turn.held:
        return tuple(before)[-_POINTS:]
    held = min(turn.held, turn.total)
    own = {block: min(held, turn.tokens_to(block)) for block, _ in turn.marks}
    if turn.marks:
        own[turn.marks[-1][0]] = held
    return tuple(sorted({**dict(before), **own}.items()))[-_POINTS:]


def _kind(where: str) -> str:
    """A path with the places in a conversation left out, so that findings of many turns add up."""
    return re.sub(r"\[\d+\]", "[]", where) if where.startswith(("messages", "input")) else where
