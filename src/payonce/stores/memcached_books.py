"""The epochs on memcached servers: a book on each, raised on all, and the highest count of any of them holds.

A server's own book answers for its own entries, as they carry its generation in their names. One that was away, or lost
its book, is told what the others know. A book is known again by the server's version of it and a stamp that its writer
has put beside it, at random: versions begin anew at every restart. This room must never know an entry.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores import memcached_words as words
from payonce.stores.memcached_link import MemcachedLink
from payonce.stores.memcached_words import Answer, Book
from payonce.stores.node import Node
from payonce.stores.redis_url import Address, show
from payonce.stores.shared_medium import Epochs

_TRIES = 30
Command = tuple[str, bytes]


class Mark(NamedTuple):
    """What a book is known again by: its version on the server, and its stamp. Versions begin at the same number after
    each restart, so one that is the same says nothing by itself."""

    version: int
    stamp: int


class Held(NamedTuple):
    """A book as it was last read or written; without a mark it has to be read again before anything is made of it."""

    book: Book | None
    mark: Mark | None


class MemcachedNode(Node[MemcachedLink]):
    """One memcached, and its book as it was last read."""

    def __init__(self, address: Address, connect_timeout: float) -> None:
        super().__init__(show(address), lambda _deadline: MemcachedLink(*address, connect_timeout))
        self.seed = show(address).encode() + b"/"
        self.held = Held(None, None)
        """In one piece, since several threads read and write it."""

    @property
    def book(self) -> Book | None:
        """The book as it was last read or written."""
        return self.held.book

    @contextmanager
    def doubting(self) -> Iterator[None]:
        """Where this fails, the server may not be what it was: nothing is written over its book before it is read."""
        try:
            yield
        except StoreError:
            self.forget_mark()
            raise

    def forget_mark(self) -> None:
        """What stands on the server is not the book that is held, for all we know."""
        self.held = Held(self.held.book, None)

    def ask(
        self, commands: Sequence[Command], deadline: float, *, probe: bool = False, idle: bool = False
    ) -> list[Answer]:
        """The answers. Raises StoreError."""
        return self.use(lambda link: link.ask(commands, deadline), deadline, probe=probe, idle=idle)


class Books:
    """The books of `nodes`, as `name` on each."""

    def __init__(self, nodes: Sequence[MemcachedNode], name: str) -> None:
        self._nodes, self._name = nodes, name
        self._lock = threading.Lock()
        self._known = Epochs({}, {})
        self._merged: tuple[object, ...] = ()
        self._untold = False

    def known(self, deadline: float) -> Epochs:
        """The epochs as they were last read, if ever."""
        return self._known if self._merged else self.epochs(deadline)

    def epochs(self, deadline: float) -> Epochs:
        """The highest count that any server has for each scope; those that have less are told."""
        answered = 0
        because: StoreError | None = None
        for node, until in self._turns(deadline):
            try:
                self._poll(node, until)
                answered += 1
            except StoreError as error:
                because = error
        if not answered:
            raise because or StoreUnavailableError("there is no server: name one")
        books = tuple(node.book for node in self._nodes)
        with self._lock:
            same = bool(self._merged) and all(old is new for old, new in zip(self._merged, books, strict=True))
            if same and not self._untold:
                return self._known
            known = _highest(book for book in books if book is not None)
            if known != self._known:
                self._known = known
            self._merged = books
        self.carry(known, deadline)
        return self._known

    def raise_epochs(self, least: Mapping[str, int], now: float, deadline: float) -> Mapping[str, int]:
        """Raise them on every server that answers; one that does not has no entries to show until it is told."""
        known = self.epochs(time.monotonic() + (deadline - time.monotonic()) / 2).counts
        counts = {scope: max(n, known[scope] + 1 if known.get(scope) else 0) for scope, n in least.items()}
        failure: StoreError | None = None
        answered = False
        for node, until in self._turns(deadline):
            try:
                counts = self._raise_on(node, counts, now, until)
                answered = True
            except StoreError as error:
                failure = error
        if not answered:
            raise failure or StoreUnavailableError("there is no server: name one")
        return counts

    def _raise_on(self, node: MemcachedNode, least: Mapping[str, int], now: float, deadline: float) -> dict[str, int]:
        """The counts on this server, none of them below what is given."""
        counts: dict[str, int] = {}

        def raised(book: Book) -> Book:
            book, raised_to = words.raise_in(book, least, now)
            counts.update(raised_to)
            return book

        self._rewrite(node, raised, deadline)
        return counts

    def carry(self, known: Epochs, deadline: float) -> None:
        """Tell each server what it has lost, or was never told. One that does not answer is told later."""
        self._untold = False
        for node, until in self._turns(deadline):
            book = node.book
            if book is None or words.carry_in(book, known) is book:
                continue
            try:
                self._rewrite(node, lambda book: words.carry_in(book, known), until)
            except StoreError:
                self._untold = True

    def raised(self, deadline: float) -> Mapping[str, float]:
        """When each scope was last raised."""
        return self.epochs(deadline).raised

    def _new_book(self) -> Book:
        return Book(1 + secrets.randbelow((1 << 52) - 1), 0, dict(self._known.counts), {})

    def _rewrite(self, node: MemcachedNode, change: Callable[[Book], Book], deadline: float) -> None:
        """Change the book of `node`, a new one where there is none. If it is still the one we hold, by one exchange."""
        book, mark = node.held
        new: list[Book] = []
        stamp = _new_stamp()

        def changed(value: bytes | None) -> bytes:
            new[:] = [change(words.read_book(value) or self._new_book())]
            return words.write_book(new[0])

        old = None if book is None or mark is None else Stood(words.write_book(book), mark.version)
        with node.doubting():
            version = swap(node, self._name, changed, 0.0, deadline, old, stamp)
        node.held = Held(new[0], None if version is None else Mark(version, stamp))

    def _poll(self, node: MemcachedNode, deadline: float) -> None:
        """Read the book of `node` if it has changed; make it where there is none."""
        book, mark = node.held
        with node.doubting():
            [answer] = node.ask([words.get(self._name, "c", "f")], deadline)
            if answer.code == "HD" and book is not None and mark is not None and _mark(answer) == mark:
                return
            for _ in range(3):
                [answer] = node.ask([words.get(self._name, "v", "c", "f")], deadline)
                book = words.read_book(answer.value)
                if book is not None:
                    node.held = Held(book, _mark(answer))
                    return
                node.forget_mark()
                self._rewrite(node, lambda book: book, deadline)
        raise StoreUnavailableError(f"{node.name} forgets the epochs as soon as they are written: look at its memory")

    def generation(self, node: MemcachedNode, deadline: float) -> int:
        if node.book is None:
            self._poll(node, deadline)
        assert node.book is not None
        return node.book.generation

    def _turns(self, deadline: float) -> Iterator[tuple[MemcachedNode, float]]:
        """Every node, and until when it may be waited for: a silent one leaves time for the others."""
        for left, node in zip(range(len(self._nodes), 0, -1), self._nodes, strict=True):
            now = time.monotonic()
            yield node, now + (deadline - now) / left


class Stood(NamedTuple):
    """What stood at a name, and its version there."""

    value: bytes | None
    version: int | None


def swap(
    node: MemcachedNode,
    name: str,
    change: Callable[[bytes | None], bytes],
    ttl: float,
    deadline: float,
    old: Stood | None = None,
    stamp: int = 0,
) -> int | None:
    """Replace an item by what `change` makes of it, unless somebody else was quicker: then again. Its version then,
    None where that is not said. `old` is what is believed to stand there; it is read where nothing is. `stamp` is
    kept beside it. Raises StoreError."""
    for _ in range(_TRIES):
        if old is None:
            [answer] = node.ask([words.get(name, "v", "c")], deadline)
            old = Stood(answer.value, words.read_number(answer, "c"))
        flags = "c ME" if old.value is None else f"c C{old.version}"
        [answer] = node.ask([words.put(name, change(old.value), ttl, time.time(), number=stamp, flags=flags)], deadline)
        if answer.code == "HD":
            return words.read_number(answer, "c")
        if answer.is_error:
            raise StoreUnavailableError(f"{node.name} refused ({answer.code}): look at its memory")
        old = None
    raise StoreUnavailableError(f"{node.name}: too many change {name} at once: try again")


def _mark(answer: Answer) -> Mark | None:
    version, stamp = words.read_number(answer, "c"), words.read_number(answer, "f")
    return None if version is None or stamp is None else Mark(version, stamp)


def _new_stamp() -> int:
    return 1 + secrets.randbelow(words.NUMBERS - 1)


def _highest(books: Iterable[Book]) -> Epochs:
    highest: dict[str, int] = {}
    latest: dict[str, float] = {}
    for book in books:
        for scope, count in book.counts.items():
            highest[scope] = max(count, highest.get(scope, 0))
        for scope, at in words.raised_of(book).items():
            latest[scope] = max(at, latest.get(scope, 0.0))
    return Epochs(highest, latest)
