"""Export and import: nothing is lost or invented on the way, no purge is undone, and no line is trusted unread."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.cli import main
from payonce.config import Settings
from payonce.core.keying import derive
from payonce.model.entry import Entry, Facts, Tokens, seal, unseal
from payonce.model.key import Key
from payonce.model.ports import About, Store
from payonce.model.scopes import KEY_SCOPE_SECONDS, of_key, scopes_of
from payonce.moving import SKEW_SECONDS, Importer, Verdict
from payonce.moving_lines import Damage, Moved, from_line, to_line
from payonce.secret import load_secret
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store

NOW = 1_800_000_000.0
SECRET = bytes(range(32))
OTHER = bytes(32)

pytestmark = pytest.mark.usefixtures("own_home")


def entry_of(key: Key, **words: Any) -> Entry:
    told: dict[str, Any] = {"tenant": "t1", "model": "a/x", "namespace": "", "tags": ()} | {
        name: words.pop(name) for name in ("tenant", "model", "namespace", "tags") if name in words
    }
    made: dict[str, Any] = {
        "stored_at": NOW - 100, "ttl": 3600, "swr": 0, "sie": 0,
        "scopes": scopes_of(told["tenant"], told["model"], told["namespace"], told["tags"], key.digest),
        "epochs": (), "status": 200, "headers": ((b"content-type", b"application/json"),), "body": b'{"id":"gen-1"}',
        "facts": Facts("gen-1", "a/x-2026", "always", Tokens(10, 5, 1_500_000)),
        "endpoint": "chat/completions", "took": 1.25,
    }  # fmt: skip
    return Entry(**(told | made | words))


def key_of(number: int, *, stream: bool = False) -> Key:
    return Key(bytes([number, 0xAB]) + bytes(30), stream)


# The line


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
tokens = st.none() | st.integers(0, 2**63 - 1)
values = st.binary(max_size=20).filter(lambda value: not set(b"\r\n\0") & set(value))
bodies = st.binary(max_size=300) | st.text(st.characters(codec="utf-8"), max_size=300).map(str.encode)
seconds = st.floats(0, 1e9, allow_nan=False)


@st.composite
def moved(draw: st.DrawFn) -> tuple[Key, Entry]:
    key = Key(draw(st.binary(min_size=32, max_size=32)), draw(st.booleans()))
    entry = entry_of(
        key,
        tenant=draw(names), model=draw(names), namespace=draw(names), tags=tuple(draw(st.lists(names, max_size=3))),
        stored_at=NOW - draw(st.floats(0, 3000)), ttl=draw(st.integers(3001, 31_536_000)),
        swr=draw(st.integers(0, 31_536_000)), sie=draw(st.integers(0, 31_536_000)), took=draw(seconds),
        headers=tuple(draw(st.lists(st.tuples(st.sampled_from([b"content-type", b"x-a"]), values), max_size=3))),
        body=draw(bodies),
        facts=Facts(draw(names), draw(names), draw(names), Tokens(draw(tokens), draw(tokens), draw(tokens))),
    )  # fmt: skip
    return key, entry


@given(moved())
def test_a_line_gives_back_the_entry(case: tuple[Key, Entry]) -> None:
    line = to_line(*case, "mark")
    assert line.count(b"\n") == 1
    assert from_line(line) == Moved(case[0], "mark", case[1])


@given(bodies)
def test_a_body_is_text_where_it_can_be(body: bytes) -> None:
    document = json.loads(to_line(key_of(1), entry_of(key_of(1), body=body), ""))
    try:
        text = body.decode()
    except UnicodeDecodeError:
        assert "body" not in document
    else:
        assert document["body"] == text
        assert "body_base64" not in document


@given(st.lists(moved(), max_size=4))
@settings(max_examples=30)
def test_what_goes_from_a_store_to_an_empty_one_is_equal(cases: list[tuple[Key, Entry]]) -> None:
    store = MemoryStore(1 << 20, clock=lambda: NOW)
    importer = Importer(store, OTHER, lambda: NOW)
    latest = {key.slot: (key, entry) for key, entry in sorted(cases, key=lambda case: case[1].stored_at)}
    for key, entry in latest.values():
        line = from_line(to_line(key, entry, ""))
        assert isinstance(line, Moved)
        assert importer.take(line) is Verdict.IMPORTED
        assert importer.take(line) is Verdict.PRESENT
    for key, entry in latest.values():
        found = unseal(store.get(key.slot) or b"", key.slot, OTHER)
        assert found == msgspec.structs.replace(entry, epochs=(0,) * len(entry.scopes))
    assert {row.slot: (row.about.stored_at, row.about.expires_at) for row in store.rows()} == {
        slot: (entry.stored_at, entry.expires_at) for slot, (_, entry) in latest.items()
    }
    store.close()


@given(st.binary(max_size=200))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    assert isinstance(from_line(line), Damage)


@given(moved(), st.data())
def test_a_cut_line_is_damaged(case: tuple[Key, Entry], data: st.DataObject) -> None:
    line = to_line(*case, "mark")
    assert isinstance(from_line(line[: data.draw(st.integers(0, len(line) - 2))]), Damage)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"version": 2, "new": 1}, "version 2"),
        ({"key": "b3:12"}, "key"),
        ({"key": "b3:" + "é" * 64}, "key"),
        ({"framing": "half"}, "framing"),
        ({"status": 500}, "status 500"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": 10**12}, "ttl"),
        ({"stored_at": "today"}, "stored_at"),
        ({"body_base64": ""}, "body"),
        ({"body": None}, "body"),
        ({"headers": [["set-cookie", "a=b"]]}, "header"),
        ({"headers": [["x-a", "b\r\nset-cookie: c"]]}, "header"),
        ({"headers": [["X-A", "b"]]}, "header"),
        ({"headers": [["x-a", "\u20ac"]]}, "latin-1"),
        ({"scopes": ["all"]}, "scopes"),
        ({"tenant": "someone else"}, "scopes"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_line_that_is_not_right_says_what_is_wrong(change: dict[str, Any], said: str) -> None:
    document = json.loads(to_line(key_of(1), entry_of(key_of(1)), "")) | change
    found = from_line(json.dumps(document).encode())
    assert isinstance(found, Damage)
    assert said in found.because


# What may come in


def take(store: Store, entry: Entry, key: Key = key_of(1), now: float = NOW) -> Verdict:  # noqa: B008 - frozen
    return Importer(store, SECRET, lambda: now).take(Moved(key, "", entry))


@pytest.fixture(params=["memory", "sqlite"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, list[float]]]:
    """A store, and the time of its clock."""
    clock = [NOW - 1000]
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/target.db"
    store = open_store(url, clock=lambda: clock[0], max_bytes=1 << 24)
    yield store, clock
    store.close()


SCOPES = scopes_of("t1", "a/x", "n", ("red",), key_of(1).digest)


@pytest.mark.parametrize("scope", SCOPES)
def test_no_purge_is_undone_by_an_older_entry(scope: str, target: tuple[Store, list[float]]) -> None:
    store, clock = target
    store.raise_epoch(scope)
    purged_at, clock[0] = clock[0], NOW
    words: dict[str, Any] = {"namespace": "n", "tags": ("red",)}
    for stored_at, verdict in (
        (purged_at - 1, Verdict.PURGED),
        (purged_at + 1, Verdict.PURGED),  # it was under way when the purge came
        (purged_at + 1.25 + SKEW_SECONDS, Verdict.PURGED),  # the clocks may differ
        (purged_at + 1.3 + SKEW_SECONDS, Verdict.IMPORTED),
    ):
        entry = entry_of(key_of(1), stored_at=stored_at, **words)
        assert take(store, entry) is verdict, stored_at
        if verdict is Verdict.PURGED:
            assert store.get(key_of(1).slot) is None
    found = unseal(store.get(key_of(1).slot) or b"", key_of(1).slot, SECRET)
    assert found is not None
    assert dict(zip(found.scopes, found.epochs, strict=True)) == dict.fromkeys(SCOPES, 0) | {scope: 1}
    assert take(store, entry_of(key_of(2), stored_at=purged_at - 1, tenant="t2", model="b"), key_of(2)) is (
        Verdict.PURGED if scope == "all" else Verdict.IMPORTED
    )


def test_a_purge_by_age_holds_for_what_is_brought_in(target: tuple[Store, list[float]]) -> None:
    store, clock = target
    clock[0] = NOW
    store.raise_epoch("before", at_least=int((NOW - 500) * 1000))
    assert take(store, entry_of(key_of(1), stored_at=NOW - 501)) is Verdict.PURGED
    assert take(store, entry_of(key_of(1), stored_at=NOW - 400)) is Verdict.IMPORTED


def test_a_forgotten_purge_of_a_key_still_holds(target: tuple[Store, list[float]]) -> None:
    store, clock = target
    store.raise_epoch(of_key(key_of(1).digest))
    purged_at = clock[0]
    clock[0] += KEY_SCOPE_SECONDS + 10
    store.raise_epoch("tag:another")
    assert of_key(key_of(1).digest) not in store.epochs()
    entry = entry_of(key_of(1), stored_at=purged_at - 1, ttl=864000)
    assert take(store, entry, now=clock[0]) is Verdict.PURGED
    assert take(store, msgspec.structs.replace(entry, stored_at=purged_at + 100), now=clock[0]) is Verdict.IMPORTED


class Silent:
    """A store that can't say when it was purged."""

    def __init__(self, store: Store) -> None:
        for name in ("get", "put", "epochs", "flush"):
            setattr(self, name, getattr(store, name))


def test_where_the_time_of_a_purge_is_unknown_nothing_that_it_may_concern_comes_in() -> None:
    store = MemoryStore(1 << 20, clock=lambda: NOW)
    silent: Any = Silent(store)
    entry = entry_of(key_of(1), stored_at=NOW - 10, ttl=864000)
    old = msgspec.structs.replace(entry, stored_at=NOW - KEY_SCOPE_SECONDS - 1)
    assert take(silent, old) is Verdict.PURGED
    assert take(silent, entry) is Verdict.IMPORTED
    store.raise_epoch("model:a/x")
    assert take(silent, entry) is Verdict.PURGED
    store.close()


def test_a_purge_while_entries_come_in_holds(target: tuple[Store, list[float]]) -> None:
    store, clock = target
    clock[0] = NOW
    importer = Importer(store, SECRET, lambda: NOW)
    assert importer.take(Moved(key_of(1), "", entry_of(key_of(1)))) is Verdict.IMPORTED
    store.raise_epoch("all")
    assert importer.take(Moved(key_of(2), "", entry_of(key_of(2)))) is Verdict.PURGED
    assert importer.take(Moved(key_of(1), "", entry_of(key_of(1)))) is Verdict.PURGED


def test_an_entry_keeps_its_age_and_its_end(target: tuple[Store, list[float]]) -> None:
    store, clock = target
    clock[0] = NOW
    assert take(store, entry_of(key_of(1), stored_at=NOW - 3600)) is Verdict.EXPIRED
    assert take(store, entry_of(key_of(1), stored_at=NOW - 3600, swr=9000, sie=9000)) is Verdict.EXPIRED
    assert take(store, entry_of(key_of(1), stored_at=NOW + SKEW_SECONDS + 1)) is Verdict.FUTURE
    assert take(store, entry_of(key_of(1), stored_at=NOW + 5)) is Verdict.IMPORTED
    found = unseal(store.get(key_of(1).slot) or b"", key_of(1).slot, SECRET)
    assert found is not None
    assert found.stored_at == NOW


def test_a_newer_answer_wins_and_a_dead_one_gives_way(target: tuple[Store, list[float]]) -> None:
    store, clock = target
    clock[0] = NOW
    assert take(store, entry_of(key_of(1), stored_at=NOW - 50, body=b"newer")) is Verdict.IMPORTED
    assert take(store, entry_of(key_of(1), stored_at=NOW - 60, body=b"older")) is Verdict.PRESENT
    assert take(store, entry_of(key_of(1), stored_at=NOW - 40, body=b"newest")) is Verdict.IMPORTED
    found = unseal(store.get(key_of(1).slot) or b"", key_of(1).slot, SECRET)
    assert found is not None
    assert found.body == b"newest"
    assert Importer(store, OTHER, lambda: NOW).take(Moved(key_of(1), "", entry_of(key_of(1)))) is Verdict.IMPORTED


# The commands


class Shop:
    """A store on disk, with its secret."""

    def __init__(self, name: str) -> None:
        self.url = f"sqlite:{name}.db"
        self.secret = derive(load_secret(Settings(store=self.url)), "envelope")

    def put(self, number: int, *, age: float = 10, **words: Any) -> tuple[Key, Entry]:
        key = key_of(number, stream=words.pop("stream", False))
        entry = entry_of(key, stored_at=time.time() - age, **words)
        with self.opened() as store:
            counts = store.epochs()
            entry = msgspec.structs.replace(entry, epochs=tuple(counts.get(scope, 0) for scope in entry.scopes))
            about = About(
                entry.stored_at,
                entry.expires_at,
                entry.tenant,
                entry.namespace,
                entry.endpoint,
                entry.model,
                entry.tags,
            )
            assert store.put(key.slot, seal(entry, key.slot, self.secret), about)
        return key, entry

    def entries(self) -> dict[bytes, Entry | None]:
        with self.opened() as store:
            return {row.slot: unseal(store.get(row.slot) or b"", row.slot, self.secret) for row in store.rows()}

    def opened(self) -> Any:
        from contextlib import closing

        return closing(open_store(self.url))


@pytest.fixture
def a() -> Shop:
    return Shop("a")


@pytest.fixture
def b() -> Shop:
    return Shop("b")


def told(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*line, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_export_and_import_carry_what_is_alive(a: Shop, b: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    a.put(1, tags=("red",))
    a.put(2, model="b/y", namespace="n", body=b"\xff\x00\xfe")
    a.put(3, stream=True, body=b"data: caf\xc3\xa9\n\n")
    a.put(4, age=3700)
    a.put(5, tenant="2" * 64)
    assert main(["purge", "--tenant", "2" * 64, "--store", a.url]) == 0
    assert main(["export", "out.jsonl", "--store", a.url]) == 0
    captured = capsys.readouterr()
    assert "exported 3 entries" in captured.err
    assert "left out 2" in captured.err
    assert "secret file" in captured.err
    assert oct(Path("out.jsonl").stat().st_mode & 0o777) == "0o600"
    assert [path.name for path in Path.cwd().glob(".out*")] == []
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [line["key"][3:5] for line in lines] == ["03", "02", "01"]
    assert [line["framing"] for line in lines] == ["stream", "whole", "whole"]
    assert lines[0]["body"] == "data: café\n\n"
    assert lines[1]["body_base64"] == "/wD+"
    assert load_secret(Settings(store=a.url)).hex() not in Path("out.jsonl").read_text()

    code, figures = told(capsys, "import", "out.jsonl", "--store", b.url)
    assert (code, figures["imported"], figures["of_another_secret"]) == (0, 3, 3)
    originals = a.entries()
    assert b.entries() == {
        slot: msgspec.structs.replace(originals[slot] or entry_of(key_of(9)), epochs=(0,) * len(entry.scopes))
        for slot, entry in b.entries().items()
        if entry is not None
    }
    code, figures = told(capsys, "import", "out.jsonl", "--store", b.url)
    assert (code, figures["imported"], figures["present"]) == (0, 0, 3)


def test_export_filters_as_ls_does(a: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    a.put(1, tags=("red",))
    a.put(2, model="b/y", namespace="n")
    a.put(3)
    for more, found in (
        (["--tag", "red"], ["01"]),
        (["--model", "b/*"], ["02"]),
        (["--namespace", ""], ["03", "01"]),
        (["--limit", "1"], ["03"]),
    ):
        assert main(["export", "out.jsonl", "--store", a.url, *more]) == 0
        lines = Path("out.jsonl").read_text().splitlines()
        assert [json.loads(line)["key"][3:5] for line in lines] == found


def test_a_pipe_from_store_to_store(
    a: Shop, b: Shop, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    a.put(1)
    assert main(["export", "--store", a.url]) == 0
    piped = io.TextIOWrapper(io.BytesIO(capfdbinary.readouterr().out))
    monkeypatch.setattr(sys, "stdin", piped)
    assert main(["import", "--store", b.url]) == 0
    assert len(b.entries()) == 1


def test_with_the_same_secret_nothing_is_foreign(a: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a.put(1)
    assert main(["export", "out.jsonl", "--store", a.url]) == 0
    line = ["import", "out.jsonl", "--store", "sqlite:c.db", "--secret-file", str(tmp_path / "a.db.secret")]
    code, figures = told(capsys, *line)
    assert (code, figures["imported"], figures["of_another_secret"]) == (0, 1, 0)
    assert not Path("c.db.secret").exists()


def test_damaged_lines_are_named_and_the_rest_comes_in(a: Shop, b: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 5):
        a.put(number)
    assert main(["export", "out.jsonl", "--store", a.url]) == 0
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    Path("out.jsonl").write_bytes(lines[0] + b"nonsense\n\n" + lines[1] + lines[2] + lines[3][:-40])
    assert main(["import", "out.jsonl", "--store", b.url]) == 1
    captured = capsys.readouterr()
    assert "line 2 is damaged" in captured.err
    assert "line 6 is damaged: the export was cut off in it" in captured.err
    assert "imported 3" in captured.out
    assert "damaged 2: lines 2, 6" in captured.out
    assert len(b.entries()) == 3


def test_an_import_undoes_no_purge(a: Shop, b: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    a.put(1)
    assert main(["export", "out.jsonl", "--store", a.url]) == 0
    assert main(["purge", "--model", "a/x", "--store", b.url]) == 0
    code, figures = told(capsys, "import", "out.jsonl", "--store", b.url)
    assert (code, figures["imported"], figures["purged"]) == (0, 0, 1)
    assert main(["import", "out.jsonl", "--store", b.url]) == 0
    assert "left out 1: not shown to be younger than every purge" in capsys.readouterr().out


def test_what_the_store_does_not_take_is_no_success(
    a: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a.put(1, body=b"x" * 100_000)
    a.put(2)
    assert main(["export", "out.jsonl", "--store", a.url]) == 0
    monkeypatch.setenv("PAYONCE_MAX_BYTES", "256KiB")
    code, figures = told(capsys, "import", "out.jsonl", "--store", "sqlite:small.db")
    assert (code, figures["imported"], figures["refused"], figures["lost"]) == (1, 1, 1, 0)


def test_a_pipe_or_a_device_is_written_to_and_stays_what_it_is(a: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    a.put(1)
    os.mkfifo("pipe")
    end = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert main(["export", "pipe", "--store", a.url]) == 0
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    assert json.loads(os.read(end, 1 << 16))["key"] == f"b3:{key_of(1).digest.hex()}"
    os.close(end)
    main_end, device = os.openpty()
    name = os.ttyname(device)
    assert main(["export", name, "--store", a.url]) == 0
    assert stat.S_ISCHR(Path(name).stat().st_mode)
    assert b'"key":"b3:' in os.read(main_end, 1 << 12)
    os.close(main_end)
    os.close(device)


def test_an_export_that_fails_leaves_the_old_file(
    a: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a.put(1)
    Path("out.jsonl").write_text("old\n")

    def stop(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("payonce.cli.export.to_line", stop)
    assert main(["export", "out.jsonl", "--store", a.url]) == 130
    assert Path("out.jsonl").read_text() == "old\n"
    assert [path.name for path in Path.cwd().glob(".out*")] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import gone.jsonl", "can't be read"),
        ("export nowhere/out.jsonl", "can't be written"),
        ("export out.jsonl --store memory:", "gateway"),
        ("import out.jsonl --secret-file nowhere/x/", "secret"),
    ],
)
def test_what_can_not_be_done_is_one_sentence(
    line: str, said: str, a: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a.put(1)
    Path("out.jsonl").write_text("")
    Path("nowhere").write_text("")
    monkeypatch.setenv("PAYONCE_STORE", a.url)
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_terminal_sees_a_bar(a: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    a.put(1)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["export", "out.jsonl", "--store", a.url]) == 0
    assert "exporting" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
