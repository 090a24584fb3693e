"""Record and replay as the users of a client see it: what is asked, what is kept, what is said of what is missing."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from payonce import MissError, RecordingError, Settings, SettingsError, StoreUnavailableError
from payonce.cli import main
from payonce.core.keying import OPEN_SECRET, derive
from payonce.errors import WrongClientError
from payonce.intake import Admitted, Intake
from payonce.library import open_worlds
from payonce.secret import load_secret
from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.asgi import answer
from tests.support.gateway import until
from tests.support.process import GatewayProcess

RECORDED = Path(__file__).parents[1] / "wire" / "recordings"
URL = "https://llm.example/api/v1"
KEY = {"authorization": "Bearer sk-real-CANARY", "openai-organization": "org-CANARY", "cookie": "CANARY"}
OTHER = {"authorization": "Bearer dummy"}


def body(prompt: str = "hello", **members: Any) -> bytes:
    page = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **members}
    return json.dumps(page).encode()


class Provider:
    """Numbered answers, or what is said to answer, and every request there was."""

    def __init__(self, mod: Any) -> None:
        self.mod = mod
        self.requests: list[Any] = []
        self.content: bytes | None = None
        self.media = "application/json"
        self.status = 200
        self.ready = threading.Event()
        """No answer before this is set."""
        self.ready.set()

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        assert self.ready.wait(30)
        content = answer(len(self.requests), self.status)[1] if self.content is None else self.content
        headers = {"content-type": self.media, "set-cookie": "id=CANARY", "x-request-id": "req-CANARY"}
        return self.mod.Response(self.status, headers=headers, content=content)


def post(client: Any, content: bytes | None = None, path: str = "chat/completions", **headers: str) -> Any:
    named = {"content-type": "application/json"} | (headers or KEY)
    return client.post(f"{URL}/{path}", content=content or body(), headers=named)


@pytest.fixture(params=["httpx", "httpx2"])
def mod(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


@pytest.fixture
def provider(mod: ModuleType) -> Provider:
    return Provider(mod)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "some cassettes ü"


@pytest.fixture
def client(mod: ModuleType, provider: Provider, place: Path) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(mode: str | None = None, **arguments: Any) -> Any:
        face = importlib.import_module(f"payonce.{mod.__name__}")
        defaults = {"store": f"cassette:{place}", "transport": mod.MockTransport(provider), "mode": mode}
        made.append(face.Client(**(defaults | arguments)))
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert open_worlds() == 0


def pages(place: Path) -> list[Path]:
    return sorted(place.glob("*.json"))


# ------------------------------------------------------------------------------------------------ the modes


def test_record_asks_for_what_is_missing_and_replay_for_nothing(
    client: Callable[..., Any], provider: Provider, place: Path
) -> None:
    recorder = client("record")
    first = post(recorder, body(temperature=1))
    assert post(recorder, body(temperature=1)).content == first.content
    second = post(recorder, body("another"))
    assert len(provider.requests) == 2, "what is there is not asked for again"
    replayer = client("replay")
    assert post(replayer, body(temperature=1), **OTHER).content == first.content, "with another key, or none"
    assert post(replayer, body("another")).content == second.content
    assert len(provider.requests) == 2
    assert len(pages(place)) == 2
    everything = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert b"CANARY" not in everything


def test_refresh_asks_anew_and_off_neither_reads_nor_writes(
    client: Callable[..., Any], provider: Provider, place: Path
) -> None:
    post(client("record"))
    before = pages(place)[0].read_bytes()
    post(client("off"))
    assert pages(place)[0].read_bytes() == before
    again = post(client("refresh"))
    assert len(provider.requests) == 3
    assert pages(place)[0].read_bytes() != before
    assert post(client("replay")).content == again.content
    assert len(pages(place)) == 1


def test_what_is_no_good_answer_is_not_recorded(client: Callable[..., Any], provider: Provider, place: Path) -> None:
    provider.status = 500
    assert post(client("record")).status_code == 500
    assert pages(place) == []


def test_replay_opens_no_socket(place: Path, provider: Provider, client: Callable[..., Any], monkeypatch: Any) -> None:
    post(client("record"))

    def refuse(*_arguments: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    face = importlib.import_module(f"payonce.{provider.mod.__name__}")
    with face.Client(store=f"cassette:{place}", mode="replay") as replayer:
        assert post(replayer).status_code == 200
        with pytest.raises(MissError):
            post(replayer, body("new"))
        with pytest.raises(MissError):
            replayer.get(f"{URL}/models")
    with face.Client() as control, pytest.raises(AssertionError, match="a socket was opened"):
        control.get(f"{URL}/models")


def test_a_replay_reads_files_again_when_they_were_edited(client: Callable[..., Any], place: Path) -> None:
    post(client("record"))
    (page,) = pages(place)
    page.write_text(page.read_text().replace('"content": "answer 1"', '"content": "edited by hand"'))
    assert post(client("replay")).json()["choices"][0]["message"]["content"] == "edited by hand"


ENDPOINTS = {
    "messages": ("messages/anthropic-thinking-tools.sse", {"max_tokens": 9}),
    "responses": ("responses/openai-tools.sse", {"input": "q"}),
    "chat/completions": ("sim-tools.sse", {}),
}


@pytest.mark.parametrize("endpoint", sorted(ENDPOINTS))
def test_streams_come_back_to_the_byte_with_every_line_legible(
    client: Callable[..., Any], provider: Provider, place: Path, endpoint: str
) -> None:
    file, members = ENDPOINTS[endpoint]
    provider.content, provider.media = (RECORDED / file).read_bytes(), "text/event-stream"
    asked = body(stream=True, **members)
    assert post(client("record"), asked, endpoint).content == provider.content
    assert post(client("replay"), asked, endpoint, **OTHER).content == provider.content
    assert len(provider.requests) == 1
    (page,) = pages(place)
    assert page.name.startswith(endpoint.partition("/")[0] + "-openai-gpt-4o-mini-")
    assert page.name.endswith(".stream.json")
    events = json.loads(page.read_text())["answer"]["events"]
    assert sum(isinstance(event, dict) for event in events) > len(events) // 2
    assert page.read_text().count("\n") < len(events) + 80


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


async def test_batches_and_streams_of_tasks_over_sockets(sim: SimulatedProvider, mod: ModuleType, place: Path) -> None:
    face = importlib.import_module(f"payonce.{mod.__name__}")
    sent = {"content-type": "application/json", **OTHER}

    async def run(mode: str, inputs: list[str]) -> tuple[bytes, ...]:
        async with face.AsyncClient(store=f"cassette:{place}", mode=mode) as c:
            batch = {"model": "sim/embed", "input": inputs, "encoding_format": "float"}
            vectors = await c.post(f"{sim.base_url}/embeddings", json=batch, headers=sent)
            chat = {"model": "sim/small", "messages": [{"role": "user", "content": "q"}]}
            both = [
                c.post(f"{sim.base_url}/chat/completions", json=chat | {"stream": stream}, headers=sent)
                for stream in (True, False, True)
            ]
            return (vectors.content, *(response.content for response in await asyncio.gather(*both)))

    calls = sim.bill.calls
    recorded = await run("record", ["a", "b", "a"])
    assert sim.bill.calls == calls + 3
    assert sorted(name.name.rpartition("-")[0] for name in pages(place)) == [
        *["chat-sim-small"] * 2,
        *["embeddings-sim-embed"] * 2,
    ]
    replayed = await run("replay", ["a", "b", "a"])
    assert replayed[1:] == recorded[1:]
    assert json.loads(replayed[0])["data"] == json.loads(recorded[0])["data"]
    with pytest.raises(
        MissError, match=r'embeddings-sim-embed-[0-9a-f]{12}\.json, which differs in input \(recorded "'
    ) as caught:
        await run("replay", ["a", "new"])
    assert 'asked "new"' in str(caught.value)
    assert sim.bill.calls == calls + 3
    question = json.loads(next(path for path in pages(place) if "embed" in path.name).read_text())["request"]["body"]
    assert question == {"input": question["input"], "model": "sim/embed", "encoding_format": "float"}


def test_many_threads_record_one_file(client: Callable[..., Any], provider: Provider, place: Path) -> None:
    recorder = client("record")
    answers: list[bytes] = []
    provider.ready.clear()  # until all have asked
    threads = [threading.Thread(target=lambda: answers.append(post(recorder).content)) for _ in range(16)]
    for thread in threads:
        thread.start()

    def followers() -> int:
        world = recorder._transport.desk.lease.world
        return 0 if world is None else sum(flight.followers for flight in world.sync.tower)

    assert until(lambda: followers() == 15)
    provider.ready.set()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == len(provider.requests) == len(pages(place)) == 1


# ------------------------------------------------------------------------------------------------ what is missing


def test_a_miss_names_the_nearest_recording_and_the_part(client: Callable[..., Any], place: Path) -> None:
    recorder = client("record")
    for prompt in ("Say hello to Bob.", "Say goodbye to Alice."):
        post(recorder, body(prompt))
    replayer = client("replay")
    with pytest.raises(MissError) as caught:
        post(replayer, body("Say goodbye to Bob."))
    name = next(path.name for path in pages(place) if "goodbye" in path.read_text())
    assert str(caught.value).endswith(
        f'{name}, which differs in messages[0].content (recorded "Say goodbye to Alice.", '
        'asked "Say goodbye to Bob."); record it: run once with mode="record"'
    )
    assert name in caught.value.nearest
    for asked, path, said in (
        (body("Say hello to Bob.", temperature=0.5), "chat/completions", "temperature (recorded (absent), asked 0.5)"),
        (body("Say hello to Bob.", stream=True), "chat/completions", "stream (recorded false, asked true)"),
        (
            body("Say hello to Bob.", model="x/y"),
            "chat/completions",
            'model (recorded "openai/gpt-4o-mini", asked "x/y")',
        ),
        (body("Say hello to Bob.", max_tokens=5), "messages", "endpoint (recorded chat/completions, asked messages)"),
    ):
        with pytest.raises(MissError) as caught:
            post(replayer, asked, path)
        assert said in str(caught.value)
    with pytest.raises(MissError, match=r"headers\.anthropic-beta \(recorded \(absent\), asked tools-1\)"):
        post(replayer, body("Say hello to Bob."), **{"anthropic-beta": "tools-1"})
    with pytest.raises(MissError, match=r"namespace \(recorded \(none\), asked other\)"):
        post(replayer, body("Say hello to Bob."), **{"x-payonce-namespace": "other"})
    with pytest.raises(MissError, match=r"sample \(recorded \(none\), asked 2\)"):
        post(replayer, body("Say hello to Bob."), **{"x-payonce-sample": "2"})


def test_a_miss_shows_no_secret(client: Callable[..., Any]) -> None:
    post(client("record"), body("use sk-or-v1-CANARY000000001 now"))
    with pytest.raises(MissError) as caught:
        post(client("replay"), body("use sk-or-v1-CANARY000000002 then"))
    assert "CANARY" not in str(caught.value)
    assert 'recorded "use (scrubbed) now", asked "use (scrubbed) then"' in str(caught.value)


def test_a_miss_where_nothing_is_recorded_says_so(client: Callable[..., Any], place: Path) -> None:
    with pytest.raises(MissError, match="there is no recording to compare it with"):
        post(client("replay"))
    assert not place.exists()


def test_a_miss_on_the_usage_chunk_says_so(client: Callable[..., Any], provider: Provider) -> None:
    chunk = {"id": "gen-1", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    provider.content = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    provider.media = "text/event-stream"
    post(client("record"), body(stream=True))
    assert post(client("replay"), body(stream=True)).status_code == 200
    with pytest.raises(MissError, match=r"made with another stream_options\.include_usage"):
        post(client("replay"), body(stream=True, stream_options={"include_usage": True}))


def test_an_edited_question_is_named(client: Callable[..., Any], place: Path) -> None:
    post(client("record"), body("old"))
    (page,) = pages(place)
    page.write_text(page.read_text().replace('"content": "old"', '"content": "new"'))
    with pytest.raises(MissError, match="shows the same request under another key: it was edited"):
        post(client("replay"), body("new"))


def test_the_command_that_records_can_be_said(client: Callable[..., Any]) -> None:
    with pytest.raises(MissError, match=r"record it: run make record$"):
        post(client("replay", remedy="run make record"))


def test_a_damaged_recording_is_named_in_replay_and_made_anew_in_record(
    client: Callable[..., Any], provider: Provider, place: Path
) -> None:
    post(client("record"))
    (page,) = pages(place)
    page.write_bytes(page.read_bytes()[:200])
    with pytest.raises(RecordingError) as caught:
        post(client("replay"))
    assert page.name in str(caught.value)
    assert "was cut off" in str(caught.value)
    assert f"git checkout -- '{page}'" in str(caught.value)
    post(client("record"))
    assert len(provider.requests) == 2
    assert post(client("replay")).status_code == 200


def test_a_mode_without_its_store_is_an_error_and_a_cache_without_it_a_miss(
    client: Callable[..., Any], provider: Provider, place: Path
) -> None:
    place.write_text("in the way")
    for mode in ("record", "replay", "refresh"):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="is not a directory"):
                post(client(mode))
    assert provider.requests == []
    assert post(client(None)).status_code == 200


def test_a_directory_that_can_not_be_written_is_an_error_in_record() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "c"
        place.mkdir(mode=0o555)
        Path(folder).chmod(0o755)
        _refused(place)


def _refused(place: Path) -> None:
    code = f"""
import os, httpx2, payonce
from payonce.httpx2 import Client
if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)
calls = []
with Client(store="cassette:{place}", mode="record", transport=httpx2.MockTransport(calls.append)) as c:
    for _ in range(2):
        try: c.post("{URL}/chat/completions", json={{"model": "m"}}, headers={{"authorization": "k"}})
        except payonce.StoreUnavailableError as error: print(error)
assert not calls
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.count(f"nothing can be recorded: the directory {place} can't be written") == 2, done.stderr
    assert 'mode="replay"' in done.stdout


# ------------------------------------------------------------------------------------------------ mismatched clients


def test_a_transport_in_the_wrong_client_names_the_right_one() -> None:
    from payonce import httpx as old
    from payonce import httpx2 as new

    wrong: list[tuple[Any, str]] = [
        (httpx.Client(transport=new.CacheTransport(store="memory:")), "take payonce.httpx.CacheTransport"),
        (httpx2.Client(transport=old.CacheTransport(store="memory:")), "take payonce.httpx2.CacheTransport"),
        (httpx2.Client(transport=new.AsyncCacheTransport(store="memory:")), "take payonce.httpx2.CacheTransport there"),
    ]
    for client, said in wrong:
        for error in (WrongClientError, SettingsError):
            with pytest.raises(error, match=said):
                client.get(f"{URL}/models")
    for face in (old, new):
        with pytest.raises(SettingsError, match="use AsyncClient"):
            face.Client(transport=face.AsyncCacheTransport(store="memory:"))


async def test_a_sync_transport_in_an_async_client_names_the_right_one() -> None:
    from payonce import httpx2 as new

    client = httpx2.AsyncClient(transport=new.CacheTransport(store="memory:"))
    with pytest.raises(WrongClientError, match=r"take payonce\.httpx2\.AsyncCacheTransport there"):
        await client.get(f"{URL}/models")
    with pytest.raises(WrongClientError, match="AsyncCacheTransport"):
        async with httpx2.AsyncClient(transport=new.CacheTransport(store="memory:")):
            pass


def test_the_sdks_name_the_client_they_want() -> None:
    import anthropic
    import openai

    from payonce import httpx as old
    from payonce import httpx2 as new

    with pytest.raises(TypeError, match=r"this SDK uses `httpx2`"):
        anthropic.Anthropic(api_key="k", http_client=old.Client(store="memory:"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"payonce\.httpx2\.AsyncClient"):
        openai.OpenAI(api_key="k", http_client=new.AsyncClient(store="memory:"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"payonce\.httpx2\.Client"):
        openai.AsyncOpenAI(api_key="k", http_client=new.Client(store="memory:"))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ gateway and commands


async def test_a_gateway_records_what_the_library_replays(tmp_path: Path) -> None:
    place = tmp_path / "c"
    with running_sim() as sim:
        port = int(sim.base_url.split(":")[2].split("/")[0])
        chat = {"model": "sim/small", "temperature": 0, "messages": [{"role": "user", "content": "q"}]}
        async with GatewayProcess(port, tmp_path, store=f"cassette:{place}") as gateway, httpx2.AsyncClient() as c:
            where = f"http://127.0.0.1:{gateway.port}/api/v1/chat/completions"
            answers = [await c.post(where, json=chat, headers={"authorization": f"Bearer {key}"}) for key in "ab"]
        assert [response.headers["x-openrouter-cache-status"] for response in answers] == ["MISS", "HIT"]
        from payonce.httpx2 import Client

        with Client(store=f"cassette:{place}", mode="replay") as replayer:
            found = replayer.post(f"{sim.base_url}/chat/completions", json=chat, headers={"authorization": "Bearer c"})
        assert found.content == answers[0].content
        assert sim.bill.calls == 1
    assert len(pages(place)) == 1


def test_commands_read_a_cassette(client: Callable[..., Any], place: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(place.parent))
    recorder = client("record", tags=["red"])
    post(recorder, body("one"))
    post(client("record"), body("two"))
    store = ["--store", f"cassette:{place}"]
    assert main(["ls", "--json", *store]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [item["model"] for item in listed] == ["openai/gpt-4o-mini"] * 2
    assert listed[0]["expires_in"] > 90 * 365 * 86400
    assert main(["show", listed[0]["key"], *store]) == 0
    assert "answer 2" in capsys.readouterr().out
    assert main(["purge", "--tag", "red", *store]) == 0
    assert len(pages(place)) == 1
    assert not (place.parent / ".cache").exists(), "no secret is made for a cassette"


def test_recordings_go_to_a_database_and_come_back(
    client: Callable[..., Any], provider: Provider, place: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    provider.content = (
        b'{"id":"gen-1","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"content":"\xc3\xbc"}}]}\n'
    )
    recorded = post(client("record"))
    assert main(["export", "a.jsonl", "--store", f"cassette:{place}"]) == 0
    Path("open.secret").write_bytes(OPEN_SECRET)
    Path("open.secret").chmod(0o600)
    database = ["--store", "sqlite:b.db", "--secret-file", "open.secret"]
    assert main(["import", "a.jsonl", *database]) == 0
    settings = Settings(store="sqlite:b.db", secret_file="open.secret", share="cassette", cache="all", read_budget=20.0)
    with client(None, store=None, settings=settings) as c:
        assert post(c, authorization="Bearer any").content == recorded.content
    assert len(provider.requests) == 1
    assert main(["export", "b.jsonl", *database]) == 0
    for _ in range(2):
        assert main(["import", "b.jsonl", "--store", "cassette:back"]) == 0
    (page,) = pages(Path("back"))
    (first,) = pages(place)
    assert page.name == first.name
    old, new = json.loads(first.read_text()), json.loads(page.read_text())
    assert new["answer"] == old["answer"]
    assert new["recorded"] == old["recorded"]
    with client("replay", store="cassette:back") as c:
        assert post(c).content == recorded.content


def test_the_key_of_a_recording_is_that_of_no_machine(tmp_path: Path) -> None:
    settings = Settings(store=f"cassette:{tmp_path}", secret_file=str(tmp_path / "none"))
    assert load_secret(settings) == OPEN_SECRET
    door = Intake(settings, derive(load_secret(settings), "tenant"))
    headers = ((b"authorization", b"Bearer x"), (b"content-type", b"application/json"))
    found = door.admit("", "chat/completions", b"", headers, body(temperature=0))
    assert isinstance(found, Admitted)
    assert (
        found.ask.key.text == "b3:0c795ec25307da33d05424ea0889b2046a554b7fe6b3ca98339fd16ecb30a16d"
    )  # whoever changes it makes everybody's recordings useless
