"""The store of recordings: every promise of a store, exact bytes, stable files, no secrets, nothing hurt by damage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.errors import SettingsError, StoreUnavailableError
from payonce.model.call import Asked
from payonce.model.entry import Entry, Facts, Tokens, seal, unseal
from payonce.model.key import Key
from payonce.model.ports import About, Store
from payonce.model.scopes import of_key, of_model, scopes_of
from payonce.stores import cassette_files
from payonce.stores.cassette import ENVELOPE, CassetteStore
from payonce.stores.cassette_body import hide, show
from payonce.stores.cassette_json import SPELLINGS, parse, pretty
from payonce.stores.cassette_page import FOREVER, TENANT
from payonce.stores.cassette_place import file_name
from payonce.stores.cassette_read import DamagedError, read
from payonce.stores.registry import open_store
from payonce.testing import FakeClock, StoreContract

NOW = 1_800_000_000.0
CHILD = Path(__file__).with_name("cassette_child.py")


class TestCassetteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "cassettes"

    def open(self) -> Store:
        return CassetteStore(self.path, self.clock)

    def shared(self, store: Store) -> Store:
        return CassetteStore(self.path, self.clock)


def entry_of(key: Key, **words: Any) -> Entry:
    told = {"model": "openai/gpt-4o-mini", "namespace": "", "tags": (), "tenant": TENANT} | {
        name: words.pop(name) for name in ("model", "namespace", "tags", "tenant") if name in words
    }
    scopes = scopes_of(told["tenant"], told["model"], told["namespace"], told["tags"], key.digest)
    made: dict[str, Any] = {
        "stored_at": NOW, "ttl": 3600, "swr": 0, "sie": 0, "scopes": scopes, "epochs": (0,) * len(scopes),
        "status": 200, "headers": ((b"content-type", b"application/json"),), "body": b'{"id":"gen-1"}',
        "facts": Facts("gen-1", "m-1", "always", Tokens(10, 5, 1_500_000)), "endpoint": "chat/completions", "took": 1.0,
    }  # fmt: skip
    return Entry(**(told | made | words))


def key_of(number: int = 1, *, stream: bool = False) -> Key:
    return Key(number.to_bytes(4, "big") * 8, stream)


ASKED = Asked(
    upstream="https://openrouter.ai:443/api/v1",
    endpoint="chat/completions",
    model="openai/gpt-4o-mini",
    query="",
    namespace="",
    sample="",
    headers=((b"anthropic-version", b"2023-06-01"),),
    body=b'{"messages":[{"content":"hi","role":"user"}],"model":"openai/gpt-4o-mini"}',
)


def put(store: CassetteStore, key: Key, entry: Entry, asked: Asked = ASKED) -> bool:
    about = About(
        entry.stored_at, entry.expires_at, entry.tenant, entry.namespace, entry.endpoint, entry.model, entry.tags
    )
    return store.keep_asked(key.slot, seal(entry, key.slot, ENVELOPE), about, asked) is None


def got(store: CassetteStore, key: Key) -> Entry | None:
    blob = store.get(key.slot)
    return None if blob is None else unseal(blob, key.slot, ENVELOPE)


def files(store: CassetteStore) -> list[Path]:
    return sorted(store.place.path.glob("*.json"))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with closing(CassetteStore(tmp_path / "a b ü" / "cassettes", FakeClock(NOW))) as opened:
        yield opened


# ------------------------------------------------------------------------------------------------ to the byte

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)
pieces = st.sampled_from(
    [
        b"data: ", b"event: x", b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b": comment", b"[DONE]", b"id: 1",
        b'{"a":1.0}', b'{"a": 1e5}', b'{"a":1,"a":2}', b'{"n":12345678901234567890123}', b'"\\ud83d"', b'"\\u00e9"',
        "é\u2028\u202e".encode(), b"\xff\xfe", b"\xef\xbb\xbf", b"{", b"}", b'"', b" ", b"data:", b"\0",
    ]
)  # fmt: skip
bodies = (
    st.binary()
    | st.lists(pieces).map(b"".join)
    | st.builds(
        lambda value, ascii_, indent, end: json.dumps(value, ensure_ascii=ascii_, indent=indent).encode() + end,
        values,
        st.booleans(),
        st.sampled_from([None, 2, 4]),
        st.sampled_from([b"", b"\n", b"  \r\n"]),
    )
    | st.lists(values).map(
        lambda said: b"".join(b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n" for value in said)
    )
)


@given(bodies, st.booleans())
@settings(max_examples=400)
def test_what_is_shown_of_a_body_gives_it_back_to_the_byte(body: bytes, stream: bool) -> None:
    written = pretty(show(body, stream=stream))
    assert hide(parse(written)) == body
    assert parse(written.encode().decode()) == parse(written)


@given(bodies, st.booleans(), texts, st.lists(texts, max_size=2), st.integers(0, 2**62) | st.none())
@settings(max_examples=100)
def test_a_file_gives_back_the_entry_it_was_made_of(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, stream: bool, model: str, tags: list[str], count: int | None
) -> None:
    store = CassetteStore(tmp_path_factory.getbasetemp() / "one", FakeClock(NOW))
    key = key_of(stream=stream)
    facts = Facts(model, model, "asked", Tokens(count, None, count))
    entry = entry_of(key, body=body, model=model, tags=tuple(tags), facts=facts, namespace=model)
    assert put(store, key, entry)
    found = got(store, key)
    assert found == msgspec.structs.replace(entry, stored_at=NOW - 1, took=0.0, ttl=FOREVER)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b'{"v":[1.0,1,-0,1e5,1E+5],"n":123456789012345678901234567890}', "json"),
        (b'{\n  "id": "chatcmpl-1",\n  "choices": []\n}\n', "json"),
        (b'\n      \n{"id":"gen-1"}', "json"),
        (b'{"a":1,"a":2}', "text"),
        (b'{"a":1, "b":2}', "text"),
        (b'{"a":"\\u00e9\xc3\xa9"}', "text"),
        (b"[" * 500 + b"]" * 500, "text"),
        (b"[" * 20_000 + b"]" * 20_000, "text"),
        (b"", "text"),
        (b"plain\nlines", "text"),
        (b"\xff\xfe", "base64"),
    ],
)  # fmt: skip
def test_the_most_legible_form_that_is_exact_is_taken(body: bytes, form: str) -> None:
    shown = show(body, stream=False)
    assert form in shown
    assert hide(parse(pretty(shown))) == body


def test_numbers_are_shown_as_they_were_written() -> None:
    assert '"v": [1.0, 1, 1e5, 123456789012345678901]' in pretty(
        show(b'{"v":[1.0,1,1e5,123456789012345678901]}', stream=False)
    )


def test_a_stream_is_shown_an_event_a_line() -> None:
    body = (
        b': OPENROUTER PROCESSING\n\nevent: delta\ndata: {"t":"Hel","n":1.0}\n\n'
        b'data: {"t":"lo"}\n\ndata: {"t": "odd"}\n\ndata: [DONE]\n\n'
    )
    shown = pretty(show(body, stream=True))
    assert [line.strip().rstrip(",") for line in shown.splitlines()[2:-2]] == [
        '": OPENROUTER PROCESSING"',
        '{"event": "delta", "data": {"t": "Hel", "n": 1.0}}',
        '{"data": {"t": "lo"}}',
        r'"data: {\"t\": \"odd\"}"',
        '"data: [DONE]"',
    ]
    other = body.replace(b"\n", b"\r\n")
    assert '"line_end": "\\r\\n"' in pretty(show(other, stream=True))
    assert hide(parse(pretty(show(other, stream=True)))) == other
    for recording in sorted((Path(__file__).parents[1] / "wire" / "recordings").rglob("*.sse")):
        real = recording.read_bytes()
        assert hide(parse(pretty(show(real, stream=True)))) == real


# ------------------------------------------------------------------------------------------------ files


def test_a_file_is_what_a_person_expects(store: CassetteStore) -> None:
    put(store, key_of(), entry_of(key_of(), headers=((b"content-type", b"application/json"), (b"x-a", b"1"))))
    (file,) = files(store)
    assert file.name == "chat-openai-gpt-4o-mini-000000010000.json"
    assert json.loads(file.read_text()) == {
        "payonce": 1,
        "key": key_of().text,
        "framing": "whole",
        "recorded": "2027-01-15T07:59:59Z",
        "request": {
            "endpoint": "chat/completions",
            "model": "openai/gpt-4o-mini",
            "upstream": "https://openrouter.ai:443/api/v1",
            "headers": {"anthropic-version": "2023-06-01"},
            "body": {"messages": [{"content": "hi", "role": "user"}], "model": "openai/gpt-4o-mini"},
        },
        "facts": {
            "id": "gen-1", "model": "m-1", "usage": "always",
            "input_tokens": 10, "output_tokens": 5, "nano_dollars": 1500000,
        },
        "answer": {"headers": {"content-type": "application/json", "x-a": "1"}, "json": {"id": "gen-1"}},
    }  # fmt: skip
    assert str(store.place.path) not in file.read_text()


def test_the_same_answer_recorded_again_leaves_the_file_as_it_is(store: CassetteStore) -> None:
    entry = entry_of(key_of())
    put(store, key_of(), entry)
    (file,) = files(store)
    before = file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino
    later = msgspec.structs.replace(entry, stored_at=NOW + 9000, took=7.5, ttl=99)
    assert put(store, key_of(), later)
    assert (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino) == before
    put(store, key_of(), msgspec.structs.replace(later, body=b'{"id":"gen-2"}'))
    assert file.read_bytes() != before[0], "the check above can fail"


def test_git_sees_recordings_and_nothing_else(store: CassetteStore, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    put(store, key_of(), entry_of(key_of()))
    store.raise_epoch("model:none")
    found = subprocess.run(
        ["git", "-c", "core.quotepath=off", "status", "--porcelain", "-uall"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split("\n") == ['?? "a b ü/cassettes/chat-openai-gpt-4o-mini-000000010000.json"', ""]


@given(texts, texts | st.sampled_from(["con", "NUL", "a" * 5000, "../../x", "C:\\x", "a:b*?", "模型", ".", ""]))
def test_names_are_safe_on_every_file_system(endpoint: str, model: str) -> None:
    name = file_name(endpoint, model, key_of().slot)
    assert len(name) < 160
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert "-" in name.partition(".")[0], "no device is called so"
    assert not name.startswith(".")
    assert name.endswith("-000000010000.json")


def test_a_recording_does_not_expire(store: CassetteStore) -> None:
    put(store, key_of(), entry_of(key_of(), ttl=1))
    entry = got(store, key_of())
    assert entry is not None
    assert entry.age(NOW + 50 * 31_536_000) < entry.ttl


def test_a_purge_deletes_what_it_concerns_and_what_is_under_way(store: CassetteStore) -> None:
    one, two, three = key_of(1), key_of(2), key_of(3)
    put(store, one, entry_of(one))
    put(store, two, entry_of(two, model="b/y"))
    store.raise_epoch(of_model("b/y"))
    assert [got(store, key) is not None for key in (one, two)] == [True, False]
    assert put(store, three, entry_of(three, model="b/y")), "it was asked for before the purge"
    assert got(store, three) is None
    late = entry_of(three, model="b/y")
    born = tuple(store.epochs().get(scope, 0) for scope in late.scopes)
    assert put(store, three, msgspec.structs.replace(late, epochs=born))
    assert got(store, three) is not None
    store.raise_epoch(of_key(one.digest))
    assert [key for key in (one, two, three) if got(store, key)] == [three]
    store.raise_epoch("before", at_least=int(NOW * 1000) + 1)
    assert files(store) == []
    again = msgspec.structs.replace(late, epochs=born, stored_at=NOW + 0.5, took=0.4)
    assert put(store, three, again)
    found = got(store, three)
    assert found is not None
    assert found.stored_at * 1000 > store.epochs()["before"], "a purge by age leaves what is younger alone"


def test_recordings_of_another_machine_are_alive_whatever_was_purged_there(
    store: CassetteStore, tmp_path: Path
) -> None:
    store.raise_epoch("all")
    entry = entry_of(key_of())
    put(store, key_of(), msgspec.structs.replace(entry, epochs=(1, *entry.epochs[1:])))
    (file,) = files(store)
    elsewhere = tmp_path / "clone"
    elsewhere.mkdir()
    (elsewhere / file.name).write_bytes(file.read_bytes())
    found = got(CassetteStore(elsewhere), key_of())
    assert found is not None
    assert found.epochs == (0,) * len(entry.scopes)
    assert sorted(path.name for path in elsewhere.iterdir()) == [file.name], "reading writes nothing"


def test_what_is_not_sealed_for_a_cassette_is_kept_as_bytes(store: CassetteStore) -> None:
    foreign = seal(entry_of(key_of()), key_of().slot, bytes(32))
    assert store.put(key_of().slot, foreign, About(NOW, NOW + 10, "t", "", "chat/completions", "m"))
    assert store.get(key_of().slot) == foreign


# ------------------------------------------------------------------------------------------------ secrets


def test_no_secret_stands_in_any_file(store: CassetteStore) -> None:
    keys = [
        "sk-proj-CANARY0000000001",
        "sk-or-v1-CANARY0000000002",
        "sk-ant-api03-CANARY000003",
        "AIzaCANARY00000000000000004",
        "ghp_CANARY00000000000000000005",
        "xoxb-CANARY-0000000006",
        "AKIACANARY0000000007",
        "hf_CANARY0000000000008",
    ]
    body = json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": f"use {key} and Bearer CANARY.000000009x"} for key in keys],
        },
        separators=(",", ":"),
    )
    question = Asked(
        upstream="https://x:443/v1", endpoint="chat/completions", model="m", query="a=1&api_key=CANARY10&key=CANARY11",
        namespace="", sample="", headers=((b"x-my-auth", b"CANARY12"), (b"x-plain", b"Bearer CANARY1300000")),
        body=body.encode(),
    )  # fmt: skip
    headers = tuple(
        (name, b"CANARY14")
        for name in (
            b"set-cookie", b"authorization", b"openai-organization", b"x-request-id", b"request-id", b"cf-ray",
            b"anthropic-organization-id", b"x-session-token", b"x-api-key-id", b"x-vendor-request-id",
        )
    )  # fmt: skip
    put(store, key_of(), entry_of(key_of(), headers=((b"content-type", b"application/json"), *headers)), question)
    everything = b"".join(path.read_bytes() for path in store.place.path.rglob("*") if path.is_file())
    assert b"CANARY" not in everything
    assert everything.count(b"(scrubbed)") == 2 * len(keys) + 4
    assert b"a=1" in everything
    shown = store.shown(question)
    assert b"CANARY" not in shown.body + b"".join(value for _, value in shown.headers) + shown.query.encode()


def test_prose_about_keys_is_left_alone() -> None:
    prose = (
        b'{"content":"A bearer bond, basic understanding, risk-averse task-oriented desk-bound people, sk- prefixes"}'
    )
    question = Asked("", "chat/completions", "m", "", "", "", (), prose)
    assert CassetteStore("unused").shown(question).body == prose


def test_an_image_is_named_by_its_digest(store: CassetteStore) -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo" * 10_000
    question = Asked("", "chat/completions", "m", "", "", "", (), json.dumps({"image": image, "n": 1.0}).encode())
    put(store, key_of(), entry_of(key_of()), question)
    shown = json.loads(files(store)[0].read_text())["request"]["body"]
    assert shown["image"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert "110022 characters, b3:" in shown["image"]
    assert files(store)[0].stat().st_size < 2000


# ------------------------------------------------------------------------------------------------ edited, damaged


def test_an_answer_may_be_edited_by_hand(store: CassetteStore) -> None:
    put(store, key_of(), entry_of(key_of(), body=b'{"id":"gen-1","text":"hello","n":1.0}'))
    (file,) = files(store)
    page = file.read_text().replace('"text": "hello"', '"text": "good\\n  bye", "more": [1, 2.50]')
    file.write_text(page)
    entry = got(store, key_of())
    assert entry is not None
    assert entry.body == b'{"id":"gen-1","text":"good\\n  bye","more":[1,2.50],"n":1.0}'
    assert not store.dropped()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{", "", "is not JSON"),
        ('"payonce": 1', '"payonce": 2', "version 1"),
        ('"key": "b3:', '"key": "', "key is not b3:"),
        ('"framing": "whole"', '"framing": "hole"', "framing is neither"),
        ('"framing": "whole"', '"framing": 1', "framing is not a string"),
        ('"recorded": "2027', '"recorded": "soon', "recorded is not a time"),
        (
            '"headers": {\n      "content-type"',
            '"headers": {\n      "content-type": 1, "x"',
            "not a string on one line",
        ),
        ('"headers": {\n      "content-type"', '"headers": {\n      "x": "a\\r\\nb", "y"', "not a string on one line"),
        ('"json":', '"jason":', "has none of json, events, text, base64"),
        ('"json":', '"text": "x", "json":', "has json and text"),
        ('"json":', '"spelling": "odd", "json":', "spelling is not one of"),
        ('"json": {', '"base64": {', "base64 is not base64"),
        ('"json": {', '"events": {', "events is not a list"),
        ('"json": {', '"text": {', "text is not a string"),
        ('"id": "gen-1"\n    }', '"id": "gen-1", "id": "gen-2"}', "names a member twice"),
        ('"input_tokens": 10', '"input_tokens": 1.5', "input_tokens is not a whole number"),
        ('"input_tokens": 10', '"input_tokens": "10"', "input_tokens is not a whole number"),
        ('"facts": {', '"fact": {', "has no facts"),
        ('"answer": {', '"answer": [], "a": {', "answer is not an object"),
        ('"id": "gen-1"\n    }', '"id": "\\ud83d"}', "half of a surrogate pair"),
        ("{\n", "<<<<<<< HEAD\n{\n", "holds a merge conflict"),
    ],
)
def test_a_wrong_edit_is_named_and_costs_a_miss(
    store: CassetteStore, caplog: Any, old: str, new: str, said: str
) -> None:
    put(store, key_of(), entry_of(key_of()))
    (file,) = files(store)
    page = file.read_text()
    assert old in page
    file.write_text(page.replace(old, new, 1))
    assert store.get(key_of().slot) is None
    trouble = store.trouble(key_of().slot)
    assert said in trouble
    assert file.name in trouble
    assert "record it anew" in trouble
    assert store.dropped() == {"damaged": 1}
    assert store.get(key_of().slot) is None
    assert len(caplog.records) == 1, "one warning a file"
    assert list(store.rows()) == []
    assert put(store, key_of(), entry_of(key_of()))
    assert got(store, key_of()) is not None
    assert store.trouble(key_of().slot) == ""
    assert len(files(store)) == 1


def test_a_file_that_was_cut_anywhere_is_never_another_answer(store: CassetteStore) -> None:
    put(store, key_of(), entry_of(key_of(), body='{"id":"gen-1","text":"schön"}'.encode()))
    (file,) = files(store)
    page, whole = file.read_bytes(), got(store, key_of())
    assert whole is not None
    served = 0
    for end in range(len(page)):
        file.write_bytes(page[:end])
        found = got(store, key_of())
        served += found is not None
        assert found in (None, whole)
    assert served <= 1, "only the last line's end may be missing"
    file.write_bytes(b"")
    assert "is empty" in store.trouble(key_of().slot)
    file.write_bytes(page[:300])
    assert "was cut off" in store.trouble(key_of().slot)


@given(st.data())
@settings(max_examples=150)
def test_damage_is_said_and_nothing_else_is_raised(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = CassetteStore(tmp_path_factory.getbasetemp() / "two", FakeClock(NOW))
    put(store, key_of(stream=True), entry_of(key_of(), body=b'data: {"a":1}\n\n: x\n\ndata: [DONE]\n\n'))
    page = bytearray(files(store)[0].read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(page) - 1))
        page[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3) | st.just(b"1"))
    try:
        read(bytes(page))
    except DamagedError as error:
        assert str(error)


def test_the_name_of_a_file_does_not_make_it_an_answer(store: CassetteStore) -> None:
    put(store, key_of(1), entry_of(key_of(1)))
    (file,) = files(store)
    file.rename(file.with_name(file_name("chat/completions", "openai/gpt-4o-mini", key_of(2).slot)))
    assert got(store, key_of(2)) is None
    assert got(store, key_of(1)) is None
    put(store, key_of(2), entry_of(key_of(2)))
    assert got(store, key_of(2)) is not None


# ------------------------------------------------------------------------------------------------ places


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory into which every user may look."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailableError, match="is not a directory: write  cassette:DIR"):
        open_store(f"cassette:{tmp_path}/file")
    with pytest.raises(SettingsError, match="write  cassette:DIR"):
        open_store("cassette:")
    assert "is not a directory" in CassetteStore(tmp_path / "file" / "below").refusal()


def test_nothing_is_made_before_there_is_something_to_keep(tmp_path: Path) -> None:
    with closing(open_store(f"cassette:{tmp_path}/not/there")) as store:
        assert store.get(key_of().slot) is None
        assert list(store.rows()) == []
        assert store.epochs() == {}
        assert store.volume().entries == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [".", ".payonce"])
def test_who_may_not_write_is_told_so_and_may_read(reachable: Path, part: str) -> None:
    place = reachable / "cassettes"
    put(CassetteStore(place, FakeClock(NOW)), key_of(), entry_of(key_of()))
    place.chmod(0o777)
    (place / part).chmod(0o555)
    done = subprocess.run(
        [sys.executable, CHILD, "read_only", place, "x"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    place.chmod(0o755)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["read"] is True
    assert said["put"] is False
    assert said["dropped"] == {"store-read-only": 1}
    assert f"{place / part} can't be written: run  chmod u+w" in said["refusal"]
    assert "could not be raised" in said["purge"]


def test_recordings_of_one_request_at_once_are_one_file(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, CHILD, "mingle", tmp_path / "c", str(seed)], stdout=subprocess.PIPE, text=True
        )
        for seed in range(3)
    ]
    said = [child.communicate(timeout=120)[0] for child in children]
    assert said == ["wrong 0\n"] * 3
    store = CassetteStore(tmp_path / "c")
    assert len(files(store)) == 20
    assert sum(got(store, key_of(number)) is not None for number in range(20)) == 20
    assert [path.name for path in store.place.hidden.iterdir() if path.name.startswith("draft")] == []


@pytest.mark.parametrize("seed", range(3))
def test_after_kill_9_every_file_is_whole(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, CHILD, "record", tmp_path / "c", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(30 + 17 * seed)]
        child.send_signal(signal.SIGKILL)
    store = CassetteStore(tmp_path / "c")
    for file in files(store):
        read(file.read_bytes())
    assert all(got(store, key_of(number)) is not None for number in acknowledged)
    assert put(store, key_of(99_999), entry_of(key_of(99_999))), "the lock went with the process"


def test_watchers_are_told_of_what_was_played_and_recorded(store: CassetteStore) -> None:
    seen: list[tuple[str, str]] = []

    def watch(what: str, path: Path) -> None:
        seen.append((what, path.name))

    cassette_files.watchers.append(watch)
    try:
        put(store, key_of(), entry_of(key_of()))
        got(store, key_of())
        got(store, key_of(2))
    finally:
        cassette_files.watchers.remove(watch)
    name = files(store)[0].name
    assert seen == [("recorded", name), ("played", name)]


def test_among_ten_thousand_recordings_a_lookup_reads_one_file_and_lists_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CassetteStore(tmp_path / "c", FakeClock(NOW))
    put(store, key_of(0), entry_of(key_of(0)))
    page = files(store)[0].read_bytes()
    for number in range(1, 10_000):
        key = key_of(number)
        told = page.replace(key_of(0).text.encode(), key.text.encode()).replace(b'"hi"', b'"hi %d"' % number)
        (store.place.path / file_name("chat/completions", "openai/gpt-4o-mini", key.slot)).write_bytes(told)
    stamp = store.place.path.stat().st_mtime - 60
    os.utime(store.place.path, (stamp, stamp))
    fresh = CassetteStore(tmp_path / "c", FakeClock(NOW))
    listed: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    assert all(fresh.get(key_of(number).slot) is not None for number in range(0, 10_000, 50))
    assert fresh.get(key_of(10_001).slot) is None
    assert len(listed) == 1
    assert fresh.volume().entries == 10_000
    assert len({recording.asked.body for recording in fresh.recordings("chat/completions", "m")}) == 10_000


def test_drafts_of_killed_processes_are_swept(store: CassetteStore) -> None:
    put(store, key_of(), entry_of(key_of()))
    old, new = store.place.hidden / "draft-1-a", store.place.hidden / "draft-2-b"
    for draft in (old, new):
        draft.write_bytes(b"x")
    os.utime(old, (1, 1))
    again = CassetteStore(store.place.path)
    put(again, key_of(2), entry_of(key_of(2)))
    assert not old.exists()
    assert new.exists()


def test_spellings_are_all_different() -> None:
    assert len(set(SPELLINGS.values())) == len(SPELLINGS)
