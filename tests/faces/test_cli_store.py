"""The commands that read a store: they show what is alive, purge what is named, and obey nothing that is stored."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from payonce.cli import main
from payonce.config import Settings
from payonce.core.keying import derive
from payonce.ledger.avoiding import avoided
from payonce.ledger.ledger import Ledger
from payonce.model.entry import Entry, Facts, Tokens, seal, unseal
from payonce.model.key import Key
from payonce.model.ports import About, Notebook, Store
from payonce.model.scopes import scopes_of
from payonce.secret import load_secret
from payonce.stores.registry import open_store
from payonce.stores.sqlite import SqliteStore

STREAM = b': OPENROUTER PROCESSING\n\ndata: {"id":"gen-1"}\n\ndata: [DONE]\n\n'
WHOLE = b'{"id":"gen-1","choices":[{"message":{"content":"\\u001b[31mred"}}]}'

pytestmark = pytest.mark.usefixtures("own_store")


class Shop:
    """A store on disk, filled the way a gateway fills it."""

    def __init__(self, store: Store, secret: bytes) -> None:
        self.store = store
        self.secret = secret

    def put(self, number: int, *, age: float = 0, stream: bool = False, **words: Any) -> Key:
        """One entry; `number` begins its key."""
        key = Key(bytes([number, 0xAB]) + bytes(30), stream)
        told = {"tenant": "t1", "model": "a/x", "namespace": "", "tags": ()} | words
        scopes = scopes_of(told["tenant"], told["model"], told["namespace"], told["tags"], key.digest)
        counts = self.store.epochs()
        stored_at = time.time() - age
        entry = Entry(
            stored_at=stored_at,
            ttl=864000,
            swr=0,
            sie=0,
            scopes=scopes,
            epochs=tuple(counts.get(scope, 0) for scope in scopes),
            status=200,
            headers=((b"content-type", b"application/json"),),
            body=STREAM if stream else WHOLE,
            facts=Facts("gen-1", "a/x-2026", "always", Tokens(10, 5, 1_500_000)),
            endpoint="chat/completions",
            took=1.25,
            **told,
        )
        about = About(
            stored_at, entry.expires_at, told["tenant"], told["namespace"], entry.endpoint, told["model"], told["tags"]
        )
        assert self.store.put(key.slot, seal(entry, key.slot, self.secret), about)
        assert self.store.flush()
        return key


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    settings = Settings(store=f"sqlite:{tmp_path}/cache.db")
    secret = derive(load_secret(settings), "envelope")
    store = open_store(settings.store)
    yield Shop(store, secret)
    store.close()


def listed(capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["ls", "--json", *more]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def numbers(capsys: pytest.CaptureFixture[str], *more: str) -> list[int]:
    return [int(entry["key"][3:5], 16) for entry in listed(capsys, *more)]


# ls and show


def test_ls_lists_what_is_alive_newest_first(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.put(1, age=100, model="a/x", tags=("red", "blue"))
    shop.put(2, age=50, model="b/y", namespace="n")
    shop.put(3, stream=True)
    assert numbers(capsys) == [3, 2, 1]
    assert numbers(capsys, "--limit", "2") == [3, 2]
    assert numbers(capsys, "--model", "b/*") == [2]
    assert numbers(capsys, "--tag", "blue") == [1]
    assert numbers(capsys, "--namespace", "n") == [2]
    assert numbers(capsys, "--namespace", "") == [3, 1]
    (entry,) = listed(capsys, "--tag", "red")
    assert (entry["framing"], entry["tags"], entry["tenant"]) == ("whole", ["red", "blue"], "t1")
    assert 99 < entry["age"] < 160
    assert entry["expires_in"] > 863000
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "key",
        "age",
        "expires",
        "in",
        "size",
        "model",
        "endpoint",
        "framing",
        "namespace",
        "tags",
    ]
    assert lines[1].startswith("b3:03ab")
    shop.store.raise_epoch("model:a/x")
    assert numbers(capsys) == [2]


def test_ls_leaves_out_what_does_not_prove_itself(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    key = shop.put(1)
    about = About(time.time(), time.time() + 99, "t1", "", "chat/completions", "a/x")
    planted = Key(bytes([2]) * 32, stream=False)
    shop.store.put(planted.slot, shop.store.get(key.slot) or b"", about)
    shop.store.flush()
    assert numbers(capsys) == [1]


@pytest.mark.parametrize("line", ["ls", "stats", "export", "purge --all --dry-run", "doctor --live"])
def test_who_only_looks_makes_no_store(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line.split(), "--store", f"sqlite:{tmp_path}/typo.db"]) == 0
    assert f"there is no sqlite:{tmp_path}/typo.db yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_who_only_looks_leaves_the_files_of_others_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as theirs:
        theirs.execute("CREATE TABLE mine (a)")
        theirs.execute("PRAGMA user_version = 1")
    (tmp_path / "notes.txt").write_text("no database at all, and long enough to be looked at " * 20)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name, said in (("theirs.db", "another program's database"), ("notes.txt", "file is not a database")):
        assert main(["ls", "--store", f"sqlite:{tmp_path}/{name}"]) == 2
        assert main(["purge", "--all", "--yes", "--store", f"sqlite:{tmp_path}/{name}"]) == 2
        assert said in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_store_that_a_gateway_has_open_is_looked_at(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.put(1)  # most of it is still in the write-ahead log
    assert numbers(capsys) == [1]


def test_ls_refuses_a_negative_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--limit", "-1"]) == 2
    assert "0 lists all" in capsys.readouterr().err


def test_an_unused_store_is_empty_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert "no gateway has used this store" in captured.err
    assert captured.err.count("\n") == 1


def test_show_prints_facts_headers_and_body_and_obeys_no_escape(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    key = shop.put(1, tags=("red",))
    shop.put(1, stream=True)
    assert main(["show", key.text[:8]]) == 0
    out = capsys.readouterr().out
    for part in (
        key.text,
        "a/x-2026",
        "content-type: application/json",
        "[1] {",
        "[2] [DONE]",
        "10 in, 5 out",
        "$0.001500",
    ):
        assert part in out
    assert "\x1b" not in out
    assert main(["show", key.text, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["key"] == key.text
    assert {entry["framing"]: entry["body"] for entry in document["entries"]} == {
        "whole": WHOLE.decode(),
        "stream": STREAM.decode(),
    }


def test_show_raw_writes_the_stored_bytes(shop: Shop, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    key = shop.put(1, stream=True)
    assert main(["show", key.text[3:], "--raw"]) == 0
    assert capfdbinary.readouterr().out == STREAM


def test_show_tells_apart_absent_and_ambiguous(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    one = shop.put(1)
    other = Key(one.digest[:31] + b"\xff", stream=False)
    entry_about = next(shop.store.rows()).about
    entry = unseal(shop.store.get(one.slot) or b"", one.slot, shop.secret)
    assert entry is not None
    shop.store.put(other.slot, seal(entry, other.slot, shop.secret), entry_about)
    shop.store.flush()
    assert main(["show", "01ab"]) == 2
    said = capsys.readouterr().err
    assert one.text in said
    assert other.text in said
    assert main(["show", "b3:ffff"]) == 1


# purge

TENANTS = ("446d19fd" + "0e" * 28, "446d19fa" + "1c" * 28)
CASES: list[tuple[list[str], list[int]]] = [
    (["--model", "a/x"], [2]),
    (["--tag", "red"], [3, 2]),
    (["--namespace", "n"], [3, 1]),
    (["--namespace", ""], [2]),
    (["--tenant", TENANTS[1]], [2, 1]),
    (["--tenant", TENANTS[1][:16]], [2, 1]),
    (["--tenant", TENANTS[1][:8].upper()], [2, 1]),
    (["--older-than", "30m"], [3, 2]),
    (["--older-than", "1h"], [3, 2]),
    (["--older-than", "3h"], [3, 2, 1]),
    (["--key", "b3:02ab"], [3, 1]),
    (["--key", "02ab" + "00" * 30], [3, 1]),
    (["--all"], []),
    (["--all", "--yes"], []),
]


@pytest.mark.parametrize(("selector", "left"), CASES)
def test_purge_takes_exactly_what_is_selected(
    selector: list[str], left: list[int], shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.put(1, age=7200, tags=("red",))
    shop.put(2, age=600, model="b/y", namespace="n")
    shop.put(3, age=5, tenant=TENANTS[1])
    assert main(["purge", *selector, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["entries"], told["dry_run"]) == (3 - len(left), True)
    assert numbers(capsys) == [3, 2, 1]
    assert main(["purge", *selector, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is False
    assert shop.store.epochs()[told["scope"]] == told["epoch"]
    assert numbers(capsys) == left
    shop.put(4)
    assert 4 in numbers(capsys)


def test_purging_a_key_takes_both_framings_and_their_bytes(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    key = shop.put(1)
    shop.put(1, stream=True)
    assert main(["purge", "--key", key.text]) == 0
    out = capsys.readouterr().out
    assert "purged key:" in out and "the answers under this key" in out and "\n2 entries deleted\n" in out
    reopened = open_store(f"sqlite:{Path.cwd()}/cache.db")
    assert list(reopened.rows()) == []
    reopened.close()


def test_a_purge_says_what_is_retired_and_counts_only_where_it_needs_no_look(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        shop.put(number)
    began = int(time.time())

    def looked(*_: object) -> None:
        raise AssertionError("a purge looked at the entries")

    monkeypatch.setattr(SqliteStore, "rows", looked)
    assert main(["purge", "--model", "a/x"]) == 0
    out = capsys.readouterr().out
    told = re.search(r"purged model:a/x: every answer to requests for a/x, asked for until (.*) UTC", out)
    assert told is not None
    assert began <= datetime.fromisoformat(told[1] + "+00:00").timestamp() <= time.time()
    assert "not counted, as a purge looks at none of them; --dry-run counts before" in out
    assert main(["purge", "--tag", "red", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] is None
    assert main(["purge", "--older-than", "1h"]) == 0
    assert "every answer, stored until" in capsys.readouterr().out
    assert main(["purge", "--all", "--yes"]) == 0
    assert "\nof 3 entries in the store, none is served any more\n" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="looked at the entries"):
        main(["purge", "--model", "a/x", "--dry-run"])  # which counts


def test_a_purge_of_recordings_says_how_many_files_it_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = f"cassette:{tmp_path}/tape"
    with closing(open_store(tape)) as store:
        recorder = Shop(store, derive(load_secret(Settings(store=tape)), "envelope"))
        for number in range(3):
            recorder.put(number, tags=("red",) if number else ("blue",))
    assert main(["purge", "--tag", "red", "--store", tape]) == 0
    assert "\n2 entries deleted\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ([], 2, "exactly one"),
        (["--all", "--tag", "x"], 2, "exactly one"),
        (["--model", "a/*"], 2, "glob"),
        (["--tag", ""], 2, "this tag has no name"),
        (["--tag", "x y"], 2, "no tag can be called 'x y'"),
        (["--namespace", "bad ns"], 2, "no namespace can be called 'bad ns'"),
        (["--tenant", ""], 2, "64 hexadecimal digits"),
        (["--tenant", "sk-or-v1-abc"], 2, "64 hexadecimal digits"),
        (["--tenant", "446d19f"], 2, "the first 8 at least"),
        (["--tenant", "446d19fd0e4f"], 2, "nothing in the store is of a tenant that begins with 446d19fd0e4f"),
        (["--tenant", "446d19fd0e4f", "--dry-run"], 2, "payonce ls --json"),
        (["--older-than", "soon"], 2, "30m"),
        (["--key", "xyz"], 2, "hexadecimal"),
        (["--key", "abcd"], 1, "nothing is stored"),
    ],
)
def test_purge_refuses_what_it_can_not_mean(
    line: list[str], code: int, said: str, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.put(1)
    assert main(["purge", *line]) == code
    assert said in capsys.readouterr().err
    assert numbers(capsys) == [1]


def test_the_beginning_of_a_tenant_purges_it_only_where_it_is_one_tenant_s(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    near = TENANTS[0][:20] + "f" * 44
    shop.put(1, tenant=TENANTS[0])
    shop.put(2, tenant=near)
    assert main(["purge", "--tenant", TENANTS[0][:12]]) == 2
    said = capsys.readouterr().err
    assert "any of 2 tenants" in said and near in said and TENANTS[0] in said
    assert numbers(capsys) == [2, 1]
    assert main(["purge", "--tenant", near[:22], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scope"] == f"tenant:{near}"
    assert numbers(capsys) == [1]
    assert main(["purge", "--tenant", "0" * 64]) == 0, "a whole one may have answers under way"


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, [1]), ("", 1, [1]), ("y\n", 0, [])])
def test_purge_all_asks_on_a_terminal(
    answer: str,
    code: int,
    left: list[int],
    shop: Shop,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

    shop.put(1)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["purge", "--all"]) == code
    assert "go on?" in capsys.readouterr().err
    assert numbers(capsys) == left
    assert main(["purge", "--all", "--yes"]) == 0
    assert "go on?" not in capsys.readouterr().err


def test_an_older_purge_by_age_does_not_widen_a_newer_one(shop: Shop) -> None:
    assert main(["purge", "--older-than", "1h"]) == 0
    before = shop.store.epochs()["before"]
    assert main(["purge", "--older-than", "2h"]) == 0
    assert shop.store.epochs()["before"] == before


# stats


def test_stats_show_the_tenants_that_are_near_their_quota(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        shop.put(number, tenant="t1" if number else "t2")
    shop.store.flush()
    assert main(["stats", "--json"]) == 0
    told = {tenant["tenant"]: tenant for tenant in json.loads(capsys.readouterr().out)["tenants"]}
    assert {name: (tenant["entries"], tenant["quota_share"]) for name, tenant in told.items()} == {
        "t1": (8, None),
        "t2": (1, None),
    }
    assert all(tenant["bytes"] > 300 for tenant in told.values())
    monkeypatch.setenv("PAYONCE_TENANT_ENTRIES", "10")
    assert main(["stats"]) == 0
    shown = capsys.readouterr().out
    assert "t1" in shown
    assert "80%" in shown
    assert "t2" not in shown, "a control: a tenth of a quota is not near it"


def test_stats_add_up_what_gateways_noted(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.put(1)
    assert isinstance(shop.store, Notebook)
    for worker, hour in (("a", int(time.time()) // 3600 * 3600), ("b", 3600)):
        ledger = Ledger(worker, hour)
        ledger.now.request("hit", "", 0.001)
        ledger.now.request("miss", "absent", 0.5)
        ledger.now.avoided(avoided(Tokens(10, 5, 2_000_000), 1.5))
        ledger.fresh = True
        leaf = ledger.leaf(hour)
        assert leaf is not None
        shop.store.note(*leaf)
    assert shop.store.flush()
    assert main(["stats", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["outcomes"]["hit"] == 2
    assert figures["avoided"]["dollars"] == "0.004"
    assert figures["reasons"] == {"absent": 2}
    assert figures["store"]["entries"] == 1
    assert main(["stats", "--since", "24h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 2
    assert main(["stats"]) == 0
    out = capsys.readouterr().out
    assert "nothing is stored under this key" in out
    assert "50.0%" in out
