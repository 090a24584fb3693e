"""Other processes for the tests of the cassette store: `python cassette_child.py WHAT PATH ARG`; they tell."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from test_cassette import entry_of, got, key_of, put

from payonce.errors import StoreUnavailableError
from payonce.stores.cassette import CassetteStore


def record(path: str, seed: str) -> None:
    """Record without end; print each number once it is kept. The parent kills us somewhere in it."""
    store = CassetteStore(path)
    dice = random.Random(seed)
    number = 0
    while True:
        number += 1
        assert put(store, key_of(number), entry_of(key_of(number), body=b"x" * dice.randrange(200_000)))
        print(number, flush=True)


def mingle(path: str, seed: str) -> None:
    """Record the same twenty requests as others do, each with an answer of our own."""
    store = CassetteStore(path)
    dice = random.Random(seed)
    wrong = 0
    for turn in range(200):
        number = turn if turn < 20 else dice.randrange(20)
        put(store, key_of(number), entry_of(key_of(number), body=b'{"id":"%d","by":"%s"}' % (number, seed.encode())))
        entry = got(store, key_of(number))
        wrong += entry is None or not entry.body.startswith(b'{"id":"%d",' % number)
    store.close()
    print("wrong", wrong, flush=True)


def read_only(path: str, _arg: str) -> None:
    """Use a directory in which we may not write."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    store = CassetteStore(path)
    purge = ""
    try:
        store.raise_epoch("all")
    except StoreUnavailableError as error:
        purge = str(error)
    said = {
        "read": got(store, key_of()) is not None,
        "put": put(store, key_of(2), entry_of(key_of(2))),
        "dropped": dict(store.dropped()),
        "refusal": store.refusal(),
        "purge": purge,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    {"record": record, "mingle": mingle, "read_only": read_only}[sys.argv[1]](sys.argv[2], sys.argv[3])
