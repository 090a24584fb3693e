"""Other processes for the tests of the SQLite store: `python store_child.py WHAT PATH ARG`; they say what they did."""

from __future__ import annotations

import random
import sys
import time

from store_faults import about_now, slot_of, value_of

from payonce.stores.sqlite import SqliteStore


def acknowledge(path: str, run: str) -> None:
    """Put without end; after each flush print the names that are now on disk. The parent kills us somewhere in it."""
    begun = time.process_time()
    store = SqliteStore(path, 1 << 30)
    print("open", time.process_time() - begun, flush=True)
    dice = random.Random(run)
    number = 0
    while True:
        names = [f"{run}-{number + step}" for step in range(dice.randrange(1, 60))]
        number += len(names)
        for name in names:
            store.put(slot_of(name), value_of(name, dice.randrange(20, 9000)), about_now(time.time(), tenant=name[-1]))
        if store.flush():
            print("kept", *names, flush=True)


def mingle(path: str, seed: str) -> None:
    """Random work on slots that other processes use too."""
    store = SqliteStore(path, 300_000)
    dice = random.Random(seed)
    wrong = 0
    for turn in range(400):
        name = dice.randrange(300)
        act = dice.random()
        if act < 0.5:
            store.put(slot_of(name), value_of(name, 600), about_now(time.time(), tenant=f"t{name % 3}"))
        elif act < 0.6:
            store.delete(slot_of(name))
        elif act < 0.62:
            store.raise_epoch("all")
        wrong += store.get(slot_of(name)) not in {None, value_of(name, 600)}
        if turn % 40 == 0:
            store.flush()
    store.close()
    print("wrong", wrong, "epoch", flush=True)


def join(path: str, name: str) -> None:
    """Open at the same moment as others, and keep one entry."""
    sys.stdin.readline()
    store = SqliteStore(path, 1 << 20)
    kept = store.put(slot_of(name), value_of(name), about_now(time.time())) and store.flush()
    sys.stdin.readline()
    store.put(slot_of(name + "+"), value_of(name + "+"), about_now(time.time()))
    kept = store.flush() and kept
    store.close()
    print("kept" if kept else "lost", flush=True)


if __name__ == "__main__":
    {"acknowledge": acknowledge, "mingle": mingle, "join": join}[sys.argv[1]](sys.argv[2], sys.argv[3])
