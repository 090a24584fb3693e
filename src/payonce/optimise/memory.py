"""What the planner remembers of requests it has seen: a tree of prefixes, the conversations in it, and their habits.

Each block of a request is a place in the tree, by its hash; those where requests end, may part or were marked hold a
`Node`. A new request is followed down the tree as far as it is known: that tells which conversation it continues, and
which shared beginnings it uses again. Everything is bounded, the least recently used goes first. This room must never
hold a text, nor decide where a marker stands.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from payonce.optimise.chances import Hazards, Waits, blend, chances, rhythm
from payonce.optimise.crowds import Crowd
from payonce.optimise.habits import Habits
from payonce.optimise.nodes import Beginning, Beliefs, Node, Sight, Talk
from payonce.optimise.prefix import Place, Prefix, openings


class Memory:
    """The tree. `places` bounds the blocks remembered, `waits` the open exposures, `cells` the habits of kinds."""

    def __init__(
        self, beliefs: Beliefs | None = None, *, places: int = 40_000, waits: int = 20_000, cells: int = 5_000
    ) -> None:
        self.beliefs = beliefs or Beliefs()
        self._tree: OrderedDict[bytes, Node | None] = OrderedDict()
        self._talks: OrderedDict[tuple[bytes, int], Talk] = OrderedDict()
        self._waits = Waits(waits)
        self._most_places = places
        self._most_talks = cells
        self._habits = Habits(self.beliefs, cells)
        self._clock = float("-inf")

    def arrive(self, prefix: Prefix, seed: bytes, now: float, identity: str) -> tuple[Sight, float]:
        """Follow a request down the tree and leave its trace; `identity` names the conversation if it is a new one.
        Gives the clock too, which never goes back."""
        now = self._clock = max(self._clock, now)
        self._waits.advance(now)
        known = self._known(prefix)
        nodes = self._on_the_way(prefix, known)
        talk, continued = self._conversation(prefix, seed, nodes, known, now, identity)
        follows = continued and talk.end is not None and any(node is talk.end for node in nodes.values())
        self._part(prefix, known, nodes)
        beginnings = self._beginnings(prefix, seed, nodes, now, follows=follows)
        kind, prior = self._kind(prefix, talk, continued=continued)
        root = prefix.digests[prefix.system - 1] if prefix.system else seed
        cell = self._habits.cell
        shared = (
            cell(("tail", kind), 0.995),
            cell((seed, "pace"), 0.98),
            cell((seed, kind), 0.99),
            cell((seed, root, kind), 0.98),
        )
        b = self.beliefs
        hazards = blend(
            prior, [(shared[0], b.everybody), (shared[1], b.pace), (shared[2], b.tenant), (shared[3], b.place)]
        )
        own = blend(hazards, [(talk.habits, b.own)])
        tail = rhythm(chances(hazards), chances(own))
        self._remember(prefix)
        if prefix.digests:
            end = self.node(prefix, len(prefix) - 1, nodes)
            end.talk = talk
            if end.turn is not None and end.turn.open:
                self._waits.end(end.turn, now)
            talk.end = end
            end.turn = talk.turn = self._waits.begin(now, (*shared, talk.habits))
        return Sight(known, nodes, beginnings, talk, continued, tail, kind, shared[2].any_ended()), now

    def node(self, prefix: Prefix, at: int, nodes: dict[int, Node]) -> Node:
        """The node at a block, made where there is none."""
        node = nodes.get(at)
        if node is None:
            node = nodes[at] = self._tree.get(prefix.digests[at]) or Node()
            self._tree[prefix.digests[at]] = node
        return node

    # ---------------------------------------------------------------------------------------------- the tree

    def _known(self, prefix: Prefix) -> int:
        tree = self._tree
        for at in range(len(prefix) - 1, -1, -1):
            if prefix.digests[at] in tree:
                return at
        return -1

    def _on_the_way(self, prefix: Prefix, known: int) -> dict[int, Node]:
        get = self._tree.get
        found = ((at, get(prefix.digests[at])) for at in range(known + 1))
        return {at: node for at, node in found if node is not None}

    def _remember(self, prefix: Prefix) -> None:
        tree = self._tree
        for digest in prefix.digests:
            if digest in tree:
                tree.move_to_end(digest)
            else:
                tree[digest] = None
        while len(tree) > self._most_places:
            tree.popitem(last=False)

    def _part(self, prefix: Prefix, known: int, nodes: dict[int, Node]) -> None:
        """Where a request leaves a way that others took and that has no node yet, make one: there they part."""
        if known < 0 or known == len(prefix) - 1 or (known in nodes and nodes[known].talk is not None):
            return
        at = next((at for at in range(known, -1, -1) if prefix.able[at]), -1)
        if at >= 0 and at not in nodes:
            node = self.node(prefix, at, nodes)
            node.uses = 1

    # ---------------------------------------------------------------------------------- conversations and habits

    def _conversation(
        self, prefix: Prefix, seed: bytes, nodes: dict[int, Node], known: int, now: float, identity: str
    ) -> tuple[Talk, bool]:
        """The conversation that a request goes on with, else a new one; its last turn has found its successor."""
        ends = [at for at, node in nodes.items() if node.talk is not None and at <= known]
        continued = bool(ends)
        talk: Talk | None = None
        if ends:
            end = nodes[max(ends)]
            talk = end.talk
            if end.turn is not None:
                self._waits.end(end.turn, now)
        if talk is None:
            talk = self._broken(prefix, seed, now)
        if talk is None:
            talk = Talk(identity)
        talk.broken = talk.turns > 0 and not continued
        talk.turns += 1
        self._talks[seed, prefix.talk[-1] if prefix.talk else 0] = talk
        self._talks.move_to_end((seed, prefix.talk[-1] if prefix.talk else 0))
        while len(self._talks) > self._most_talks:
            self._talks.popitem(last=False)
        return talk, continued

    def _broken(self, prefix: Prefix, seed: bytes, now: float) -> Talk | None:
        """The conversation whose messages are the same, though something before them changed."""
        for told in reversed(prefix.talk[:-1]):
            talk = self._talks.get((seed, told))
            if talk is not None:
                if talk.turn is not None:
                    self._waits.fail(talk.turn, now)
                return talk
        return None

    def _kind(self, prefix: Prefix, talk: Talk, *, continued: bool) -> tuple[str, Hazards]:
        if talk.broken:
            return "broken", self._habits.priors["broken"]
        if prefix.last == "tool":
            return ("seen tool" if continued else "tool"), self._habits.priors["after_tool" if continued else "later"]
        if continued:
            return "seen", self._habits.priors["seen"]
        if prefix.turns:
            return "later", self._habits.priors["later"]
        return (
            ("first tools", self._habits.priors["first_with_tools"])
            if prefix.calls
            else ("first", self._habits.priors["first"])
        )

    def _beginnings(
        self, prefix: Prefix, seed: bytes, nodes: dict[int, Node], now: float, *, follows: bool
    ) -> list[Beginning]:
        """Every place where others may part from the way is used again. What it waits for are others than the
        conversation that used it last, whose next turn finds more; that turn only ends the watch."""
        above = self._tree.setdefault(seed, None) or Node()
        self._tree[seed] = above
        self._tree.move_to_end(seed)
        found = []
        for at in _candidates(prefix, nodes):
            node = self.node(prefix, at, nodes)
            if node.wait is not None:
                node.paced(now - node.wait.start)
                (self._waits.drop if follows else self._waits.end)(node.wait, now)
            if not follows or not node.uses:
                above.crowd = above.crowd or Crowd()
                above.crowd.arrive(now, node, node.uses)
                node.uses += 1
            name = prefix.names[at] if at < prefix.opening else "later"
            root = prefix.digests[prefix.system - 1] if at >= prefix.system > 0 else None
            hazards, cells, backed = self._habits.of_beginning(seed, root, name, node, above.crowd)
            node.wait = self._waits.begin(now, cells)
            found.append(Beginning(at, node, chances(hazards, unread=0.7), backed))
            above = node
        return found


def _one_message(places: list[Place]) -> bool:
    """Whether two blocks are parts of one message."""
    return len(places) > 1 and len(places[0]) > 1 and places[0][:-1] == places[1][:-1]


def _candidates(prefix: Prefix, nodes: dict[int, Node]) -> Iterable[int]:
    """The blocks where others may part: by the body's structure, and where they were seen to."""
    system, turn = [], []
    found = set()
    for at in openings(prefix):
        if at < prefix.tools:
            found.add(at)
        elif at < prefix.system:
            system.append(at)
        else:
            turn.append(at)
    found.update(system[:1] + system[-2:])
    found.update(turn[:1] + turn[-2:])
    if prefix.turns and _one_message(prefix.places[-2:]):
        found.add(len(prefix) - 2)  # what ends the last message may be left out of it next time
    parted = [at for at, node in nodes.items() if node.wait is not None or (node.uses and node.talk is None)]
    found.update(parted[:2] + parted[-4:])
    return sorted(at for at in found if prefix.able[at])
