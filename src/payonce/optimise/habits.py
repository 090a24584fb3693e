"""What is usual: cells of uses and waits by kind of conversation and of beginning, from everybody's down to one's own,
and what follows from them for a beginning that is used now.

Bounded: the least recently used cell goes first. This room must never know a body, nor follow a request.
"""

from __future__ import annotations

from collections import OrderedDict

from payonce.optimise.chances import SHORT, Cell, Hazards, blend, spread
from payonce.optimise.crowds import Crowd
from payonce.optimise.nodes import Beliefs, Node

_OFTEN = 3
"""From so many uses on, a beginning counts as one that is used often."""
_LATER = "later"
_USED = ("once", "twice", "often")
_KINDS = ("first", "first_with_tools", "later", "seen", "after_tool", "broken", "standing", *_USED)


class Habits:
    """At most `most` cells, and what is believed before they hold anything (`priors`, by kind)."""

    def __init__(self, beliefs: Beliefs, most: int) -> None:
        self.beliefs = beliefs
        self.priors = {name: spread(*getattr(beliefs, name)) for name in _KINDS}
        self._cells: OrderedDict[tuple[object, ...], Cell] = OrderedDict()
        self._most = most

    def cell(self, key: tuple[object, ...], fade: float) -> Cell:
        """The cell of this name, made where there is none."""
        cells = self._cells
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell(fade)
            if len(cells) > self._most:
                cells.popitem(last=False)
        else:
            cells.move_to_end(key)
        return cell

    def of_beginning(
        self, seed: bytes, root: bytes | None, name: str, node: Node, crowd: Crowd | None
    ) -> tuple[Hazards, list[Cell], bool]:
        """When a beginning is used again that is used now; the cells that learn from its wait; and whether such ones of
        this tenant came back before. `root` is the system prompt it stands behind, `crowd` who passed the place
        before it."""
        beliefs = self.beliefs
        often = min(node.uses, _OFTEN)
        node.habits = node.habits or Cell(fade=0.9)
        cells = [self.cell((name, often), 0.995), self.cell((seed, name, often), 0.99)]
        weights = [beliefs.everybody, beliefs.tenant]
        if root is not None:
            cells.append(self.cell((seed, root, name, often), 0.98))
            weights.append(beliefs.place)
        cells.append(node.habits)
        weights.append(beliefs.beginning)
        levels = list(zip(cells, weights, strict=True))
        gaps = self.cell((seed, name, "gaps"), 0.99)
        hazards = blend(self._before(seed, name, node.uses), levels, self._late(gaps))
        if crowd is not None:
            share = crowd.known(beliefs.crowd)
            passed = blend(crowd.hazards(node.uses), levels)
            hazards = tuple(a + share * (b - a) for a, b in zip(hazards, passed, strict=True))
        return hazards, [*cells, gaps], self._came_back(seed, name, often)

    def _came_back(self, seed: bytes, name: str, often: int) -> bool:
        """Whether such a beginning of this tenant, used as often or less, was seen to be used again."""
        cells = (self._cells.get((seed, name, uses)) for uses in range(1, often + 1))
        return any(cell is not None and cell.any_ended() for cell in cells)

    def _late(self, gaps: Cell) -> float:
        """How likely a beginning that surely is used again, and wasn't in five minutes, is used within the hour: what
        is believed, by how many of this tenant's pauses between two uses were that long."""
        late, share = self.beliefs.late, self.beliefs.late_share
        seen = sum(gaps.ends[SHORT:]) + self.beliefs.gaps * share
        return min(0.95, late * seen / ((sum(gaps.ends) + self.beliefs.gaps) * share))

    def _before(self, seed: bytes, name: str, uses: int) -> Hazards:
        """What is believed of a beginning used so often: at least what was seen of those used less often, since what
        comes back is rather used again than what has not."""
        often = min(uses, _OFTEN)
        prior = self._prior(name, often)
        if not 1 < uses <= 2 * _OFTEN:
            return prior
        less = blend(self._prior(name, often - 1), [(self.cell((seed, name, often - 1), 0.99), self.beliefs.fewer)])
        return tuple(map(max, prior, less))

    def _prior(self, name: str, often: int) -> Hazards:
        """Tools and system prompts are written to be used again, what a user says is not."""
        standing = often == 1 and name != _LATER
        return self.priors["standing" if standing else _USED[often - 1]]
