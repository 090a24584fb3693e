"""What a store promises of its epochs: they only ever rise, and are forgotten only when nothing depends on them.

This room must never import pytest, nor know one store.
"""

from __future__ import annotations

from contextlib import closing

from payonce.model.ports import BulkRaising, Chronicle
from payonce.testing.contract_place import StorePlace, check


class EpochPromises(StorePlace):
    """Epochs, and when they were raised."""

    def test_an_epoch_only_ever_rises(self) -> None:
        with self.opened() as store:
            check(dict(store.epochs()) == {}, "a new store has no epochs")
            check(store.raise_epoch("all") == 1, "the first count is 1")
            check(store.raise_epoch("all") == 2, "an epoch counts up by one")
            check(store.raise_epoch("all", at_least=9) == 9, "an epoch rises to at_least")
            check(store.raise_epoch("all", at_least=4) == 10, "an epoch never falls")
            check(store.raise_epoch("model:a/b", at_least=3) == 3, "scopes count for themselves")
            check(dict(store.epochs()) == {"all": 10, "model:a/b": 3}, "epochs() sees every raise at once")

    def test_many_epochs_are_raised_at_once_as_one_by_one(self) -> None:
        with self.opened() as store:
            if not isinstance(store, BulkRaising):
                return
            keys = [f"key:{number:064x}" for number in range(2048)]
            store.raise_epoch("tag:a")
            store.raise_epochs([*keys, "tag:a"])
            before = dict(store.epochs())
            check(set(before) == {*keys, "tag:a"}, "each of them is raised")
            check(before["tag:a"] == 2, "an epoch counts up by one")
            store.raise_epochs(keys[:3])
            after = store.epochs()
            check(all(after[key] > before[key] for key in keys[:3]), "again, they count on")
            check(all(after[key] == before[key] for key in keys[3:]), "and no other does")
            other = self.shared(store)
            if other is not None:
                with closing(other):
                    check(dict(other.epochs()) == dict(after), "all see them")

    def test_epochs_of_single_keys_are_forgotten_after_two_days(self) -> None:
        with self.opened() as store:
            store.raise_epoch("key:one")
            store.raise_epoch("tenant:t")
            self.clock.advance(2 * 86400 - 10)
            store.raise_epoch("key:two")
            check(set(store.epochs()) == {"key:one", "key:two", "tenant:t"}, "a fresh epoch of a key is kept")
            self.clock.advance(20)
            store.raise_epoch("all")
            check(set(store.epochs()) == {"key:two", "tenant:t", "all"}, "an old epoch of a key is forgotten")

    def test_a_chronicle_says_when_it_was_purged_and_never_forgets_that_it_was(self) -> None:
        with self.opened() as store:
            if not isinstance(store, Chronicle):
                return
            check(dict(store.raised()) == {}, "a new store was never purged")
            first = self.clock()
            store.raise_epoch("key:one")
            store.raise_epoch("all")
            self.clock.advance(10)
            store.raise_epoch("all")
            check(
                dict(store.raised()) == {"key:one": first, "all": first + 10}, "the latest raise of each scope counts"
            )
            self.clock.advance(2 * 86400)
            store.raise_epoch("tenant:t")
            raised = {"key:": first, "all": first + 10, "tenant:t": first + 10 + 2 * 86400}
            check(dict(store.raised()) == raised, "a forgotten key is remembered as some key")
