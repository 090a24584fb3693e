"""From settings to what every world stands on: the only module that knows every room below.

Opens the store (a store that can't be opened is replaced by memory, with a warning: a cache fault never fails a call)
and creates or reads the secret. This room must never know HTTP, nor make a call.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import inf

from payonce.bookkeeping import Bookkeeping, books_file
from payonce.chorus import chorus
from payonce.config import Settings
from payonce.core.keying import derive
from payonce.drive.abilities import distant
from payonce.drive.tiers import Tiers
from payonce.errors import StoreError
from payonce.ledger.accounts import Accounts
from payonce.ledger.ledger import Ledger
from payonce.ledger.prices import Prices
from payonce.ledger.tally import HOUR, Tally, add_up
from payonce.ledger.worth import Worth
from payonce.model.ports import Clock, Distant, Notebook, Patience, Rationing, Spread, Store, Volume
from payonce.model.quota import SHOWN_TENANTS, Holding
from payonce.model.reason import ROUTINE, STORE_FULL, STORE_READ_ONLY
from payonce.navigator import PrefixNavigator
from payonce.optimise import Planner
from payonce.optimise.traits import Catalogue
from payonce.reckoning import Books, Reckoning
from payonce.request_log import RequestLog
from payonce.secret import SECRET_BYTES, load_secret, secret_path
from payonce.stores.memory import MemoryStore
from payonce.stores.redacted import redact
from payonce.stores.registry import open_store
from payonce.telling import Teller

log = logging.getLogger("payonce")

POLL_SECONDS = 0.25
"""How often a worker looks for purges of others, and notes its figures; a purge is seen within a second."""
LOSSES_TELL = 60.0
"""For so many seconds after an entry was lost, the store is not called well."""
_UNWRITTEN = (STORE_FULL, STORE_READ_ONLY)
SEAL_NOTE = "seal/"
"""Under such names stand the secrets (not themselves) that entries on a shared store were sealed with."""
Leaves = tuple[tuple[str, bytes], ...]
"""Records for the store's notebook: name and value."""


class Ground:
    """What every world stands on: secret, stores, tiers and figures of one process. Its owner keeps it in step with
    other processes, by `tiers.refresh` and `note`."""

    def __init__(self, settings: Settings, clock: Clock = time.time, teller: Teller | None = None) -> None:
        self.settings = settings
        self.clock = clock
        self.teller = teller
        self.warnings: list[str] = []
        self.fault: StoreError | None = None
        """Why the store could not be opened, and memory stands in its place."""
        self.secret = self._secret()
        front, behind = self._stores()
        self.tiers = Tiers(front, behind, derive(self.secret, "envelope"), clock=clock)
        self.tenant_secret = derive(self.secret, "tenant")
        worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.worth = Worth(Prices(clock=clock))
        self.books = self._bookkeeping()
        self.scribe = chorus(self.books.journal if self.books is not None else None, teller)
        self.ledger = Ledger(worker, int(clock()) // HOUR * HOUR, self.scribe, clock, self.worth)
        self.before_note: list[Callable[[], None]] = []
        self.books_lock: AbstractContextManager[object] = nullcontext()
        """What to hold while the ledger is written; never while the navigator settles, which takes it itself."""
        self._noted_losses: Counter[str] = Counter()
        self._lost_at = -inf
        self._introduced_at = 0.0
        self.request_log = (
            RequestLog(settings.request_log, settings.request_log_bytes) if settings.request_log else None
        )
        if settings.portable and settings.share:
            self.warnings.append("share has no effect: all callers of a cassette are one tenant")
        self.navigator: PrefixNavigator
        self.tiers.refresh()

    def _bookkeeping(self) -> Bookkeeping | None:
        """Who writes receipts down, if anybody does."""
        file, keeper = books_file(self.settings), self.tiers.keeper
        if file is None:
            return None
        shared = keeper if isinstance(keeper, Distant) and isinstance(keeper, Notebook) else None
        books = Bookkeeping(file, self.settings, self.secret, self.clock, shared, self.tiers.complain, self.worth)
        books.start()
        return books

    def _steering(self, books: Books) -> PrefixNavigator:
        """Who steers the calls of this world, and has `books` enter what they cost."""
        catalogue = Catalogue()
        reckoning = Reckoning(
            Accounts(books, self.worth.prices),
            books,
            lambda model: catalogue.traits(model).minimum or None,
            worker=self.ledger.worker,
            now=self.clock(),
            file=self.scribe.billed if self.scribe is not None else None,
        )
        return PrefixNavigator(
            Planner(),
            reckoning,
            clock=self.clock,
            limit=self.settings.max_entry_bytes,
            heeds=lambda model: catalogue.traits(model).kind not in {"unknown", "none"},
            request_log=self.request_log,
        )

    def volume(self) -> Volume:
        """How full the store is; empty where it can't say. May wait for the store."""
        if self.trouble():
            return Volume(0, 0, 0)
        try:
            return self.tiers.keeper.volume()
        except StoreError as error:
            self.tiers.complain(error)
            return Volume(0, 0, 0)

    def holdings(self) -> Sequence[Holding]:
        """What the tenants that are shown hold; none where the store can't say. May wait for the store."""
        keeper = self.tiers.keeper
        if not isinstance(keeper, Rationing) or self.trouble():
            return ()
        try:
            return keeper.holdings(SHOWN_TENANTS)
        except StoreError as error:
            self.tiers.complain(error)
            return ()

    def dropped(self) -> Counter[str]:
        """What this process lost on the way to its stores, by reason id."""
        return Counter(self.tiers.dropped) + Counter(self.tiers.keeper.dropped())

    def _leaves(self, *, last: bool = False) -> Leaves:
        """What is new in the figures and in the doctor's findings, as records to note."""
        self.settle()
        if last:
            with self.books_lock:
                owing = self.ledger.owing
            self.navigator.await_prices(owing=owing)
            self.settle()
        with self.books_lock:
            leaf = self.ledger.leaf(self.clock())
        pages = (leaf, self.navigator.page(last=last))
        return tuple(page for page in pages if page is not None)

    def settle(self) -> None:
        """Enter in the figures what was only counted so far."""
        self.navigator.settle()
        with self.books_lock:
            for settle in self.before_note:
                settle()
            self._note_losses()

    def trouble(self) -> str:
        """Why the store is not asked at the moment, in words; empty where it is."""
        far = distant(self.tiers.behind)
        return far.trouble() if far is not None else ""

    def missing(self) -> str:
        """Which of the store's servers do not answer, where others do, in words."""
        keeper = self.tiers.keeper
        return keeper.missing() if isinstance(keeper, Spread) and not self.trouble() else ""

    def ailments(self) -> list[str]:
        """What is wrong at the moment, in sentences; none of it makes a call fail. Losses that are past are in
        `dropped`."""
        said = list(self.warnings)
        if trouble := self.trouble():
            said.append(f"the store's server does not answer, so nothing is served from the cache: {trouble}")
        elif self.tiers.unread:
            said.append(f"the store could not be read when it was last asked: {self.tiers.unread}")
        if missing := self.missing():
            said.append(f"some of the store's servers do not answer, so what stands there is not served: {missing}")
        if not self.settings.portable and (unkept := self.tiers.declines(b"", 0)) in _UNWRITTEN:
            said.append(f"nothing new is kept, what the store has is served: {unkept.sentence}; {unkept.fix}")
        if self.books is not None and (fault := self.books.clerk.fault):
            said.append(f"the ledger can't be written, so figures are lost and no call is: {fault}")
        if self.clock() - self._lost_at < LOSSES_TELL:
            said.append("entries were lost or could not be read within the last minute; payonce stats says how many")
        return said

    def _note_losses(self) -> None:
        counted = Counter({"dropped." + reason: count for reason, count in self.dropped().items()})
        counted.update({"models." + kind: count for kind, count in self.tiers.changes.counts.items()})
        for name, count in (counted - self._noted_losses).items():
            self.ledger.now.counts[name] += count
            self.ledger.fresh = True
            kind, _, reason = name.partition(".")
            if kind == "dropped" and reason not in ROUTINE:
                self._lost_at = self.clock()
        self._noted_losses = counted

    def _introduce(self, keeper: Notebook) -> None:
        """Say on a shared store under which secret this process seals, and find those who do it under another one."""
        now = self.clock()
        ours = SEAL_NOTE + derive(self.tiers.secret, "name").hex()[:16]
        seals = {title: at for title, at in keeper.notes().items() if title.startswith(SEAL_NOTE) and at.isdigit()}
        others = [title for title, at in seals.items() if title != ours and now - int(at) < 2 * HOUR]
        keeper.note(ours, b"%d" % now)
        first, self._introduced_at = not self._introduced_at, now
        if first and others:
            self.warnings.append(
                f"other machines on {redact(self.settings.store)} use another secret, so nothing is shared with them: "
                f"give all of them the same file, and name it in secret_file (here it is {secret_path(self.settings)})"
            )
            log.warning("%s", self.warnings[-1])

    def _note(self, leaves: Leaves) -> None:
        if self.request_log is not None:
            self.request_log.flush()
        if self.teller is not None:
            self.teller.flush()
        keeper = self.tiers.keeper
        if not isinstance(keeper, Notebook):
            return
        try:
            if leaves and self.clock() - self._introduced_at > HOUR and distant(keeper) is not None:
                self._introduce(keeper)
            for leaf in leaves:
                keeper.note(*leaf)
        except StoreError as error:
            self.tiers.complain(error)

    def _add_up(self, leaves: Leaves) -> Tally:
        self._note(leaves)
        keeper = self.tiers.keeper
        try:
            return add_up(keeper.notes() if isinstance(keeper, Notebook) else {})
        except StoreError as error:
            self.tiers.complain(error)
            return Tally()

    def _shut(self, leaves: Leaves) -> None:
        self._note(leaves)
        if self.teller is not None:
            self.teller.flush(last=True)
        if self.books is not None:
            self.books.stop()
        for store in (self.tiers.behind, self.tiers.front):
            if store is not None:
                store.close()

    def _secret(self) -> bytes:
        try:
            return load_secret(self.settings)
        except OSError as error:
            self.warnings.append(
                f"the secret can't be kept ({error.strerror}), so nothing stored now can be read after a restart; "
                "set secret_file to a path that can be written"
            )
            return secrets.token_bytes(SECRET_BYTES)

    def _stores(self) -> tuple[Store, Store | None]:
        settings = self.settings
        front = MemoryStore(max(settings.memory_bytes, 1 << 16), clock=self.clock)
        try:
            store = open_store(settings.store, clock=self.clock, max_bytes=settings.max_bytes)
        except StoreError as error:
            if settings.workers > 1:
                raise
            self.fault = error
            self.warnings.append(f"{redact(settings.store)} can't be opened, answers are kept in memory only: {error}")
            return front, None
        if (far := distant(store)) is not None:
            far.pace(settings.read_budget)
        if isinstance(store, Rationing):
            store.ration(settings.quotas)
        if isinstance(store, Patience) and store.slow:
            return front, store
        front.close()
        return store, None
