"""Shared stores in the whole: commands, the library, forks, secrets that differ, and no password anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import httpx2
import pytest
from store_faults import about_now
from tests.support.gateway import PATIENCE, GatewayChild, ask, running_gateway, until
from tests.support.servers import Memcached, RedisServer, free_ports, memcached, redis_server

from payonce.cli import main
from payonce.config import Settings, load
from payonce.dashboard.handlers import DATA, PAGES
from payonce.errors import PayonceError
from payonce.httpx2 import Client
from payonce.stores.registry import open_store
from payonce.testing.contract import slot_of
from payonce.testing.sim import SimulatedProvider

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(params=["redis", "memcached"])
def any_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | Memcached]:
    with redis_server(tmp_path) if request.param == "redis" else memcached(tmp_path) as running:
        yield running


def payonce(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "payonce", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, cwd=home)


def test_commands_list_count_and_purge_what_gateways_on_other_machines_have_stored(
    sim: SimulatedProvider, any_server: RedisServer | Memcached, tmp_path: Path
) -> None:
    store = ("--store", any_server.url)
    with GatewayChild(tmp_path, *store, "--upstream", sim.base_url, "--cache", "all", "--port", "0") as gateway:
        for number in range(5):
            assert gateway.post(ask(f"{number}")).status == 200
            assert until(lambda number=number: gateway.post(ask(f"{number}")).hit)

        def listed() -> list[dict[str, object]]:
            done = payonce(tmp_path, "ls", *store, "--json")
            assert done.returncode == 0, done.stderr
            page = json.loads(done.stdout)
            return page if isinstance(page, list) else page["entries"]

        assert until(lambda: len(listed()) == 5, 30), "the last one may have come from what waits to be written"
        assert until(lambda: json.loads(payonce(tmp_path, "stats", *store, "--json").stdout)["requests"] >= 10, 30)
        figures = json.loads(payonce(tmp_path, "stats", *store, "--json").stdout)
        assert figures["store"]["entries"] == 5
        done = payonce(tmp_path, "purge", *store, "--model", "sim/small")
        assert done.returncode == 0, done.stderr
        purged = time.monotonic()
        assert listed() == []

        def is_gone() -> bool:
            asked = time.monotonic()
            hit = gateway.post(ask("0")).hit
            assert not hit or asked <= purged + 1.0
            return not hit

        assert until(is_gone)


def test_a_command_on_a_server_that_is_down_says_so_and_purges_nothing(tmp_path: Path) -> None:
    [port] = free_ports(1)
    done = payonce(tmp_path, "purge", "--store", f"redis://user:hunter2@127.0.0.1:{port}", "--all", "--yes")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert str(port) in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_the_library_shares_a_store_with_the_gateway(
    sim: SimulatedProvider, any_server: RedisServer | Memcached, tmp_path: Path
) -> None:
    secret = str(tmp_path / "secret")
    url = f"{sim.base_url}/chat/completions"
    headers = {"authorization": "Bearer sk-or-test"}
    settings = Settings(store=any_server.url, secret_file=secret, read_budget=PATIENCE)
    with Client(cache="all", settings=settings) as one:
        first = one.post(url, json=ask("library"), headers=headers)
        assert first.status_code == 200
        world_flush(any_server.url)
    with Client(cache="all", settings=settings) as two:
        assert until(lambda: two.post(url, json=ask("library"), headers=headers).headers.get("age") is not None)
        second: httpx2.Response = two.post(url, json=ask("library"), headers=headers)
        assert second.content == first.content


def world_flush(url: str) -> None:
    with closing(open_store(url)) as store:
        assert until(lambda: store.volume().entries == 1)


def test_secrets_that_differ_are_noticed(sim: SimulatedProvider, server: RedisServer, tmp_path: Path) -> None:
    def gateway(name: str):  # type: ignore[no-untyped-def]
        return running_gateway(sim.base_url, store=server.url, secret_file=str(tmp_path / name))

    with gateway("a") as one, gateway("a") as same:
        assert one.post(ask("x")).status == same.post(ask("x")).status == 200
        assert until(lambda: b"seal/" in b"".join(field for field in note_titles(server)), 20)
        assert one.gateway.world.warnings == same.gateway.world.warnings == []
        with gateway("b") as other:
            assert not other.post(ask("x")).hit
            assert until(lambda: bool(other.gateway.world.warnings), 20)
            assert "secret_file" in other.gateway.world.warnings[0]


def test_a_secret_that_nobody_uses_any_more_is_no_cause_for_a_warning(
    sim: SimulatedProvider, server: RedisServer, tmp_path: Path
) -> None:
    with closing(open_store(server.url)) as store:
        store.note("seal/0123456789abcdef", b"%d" % (time.time() - 3 * 3600))
        assert store.flush()
    with running_gateway(sim.base_url, store=server.url, secret_file=str(tmp_path / "a")) as one:
        assert one.post(ask("x")).status == 200
        assert until(lambda: len([title for title in note_titles(server) if title.startswith(b"seal/")]) == 2, 20)
        assert one.gateway.world.warnings == []


def test_memcached_needs_no_redis_client() -> None:
    code = "import sys, payonce.stores.memcached; print('redis' in sys.modules, 'hiredis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def note_titles(server: RedisServer) -> list[bytes]:
    client = server.client()
    try:
        return [title for name in client.scan_iter(match="payonce:n:*") for title in client.hkeys(name)]
    finally:
        client.close()


def test_who_shares_a_store_without_naming_a_secret_is_told(tmp_path: Path) -> None:
    for url in ("redis://h", "rediss+cluster://h", "memcached://h"):
        assert any("secret_file" in text for text in load({"store": url}, {"HOME": str(tmp_path)}, None).warnings)
        named = load({"store": url, "secret_file": "s"}, {"HOME": str(tmp_path)}, None)
        assert not any("secret_file" in text for text in named.warnings)
    assert load({"store": "sqlite:x.db"}, {"HOME": str(tmp_path)}, None).warnings == ()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(any_server: RedisServer | Memcached) -> None:
    now = time.time()
    with closing(open_store(any_server.url)) as store:
        store.put(slot_of("before"), b"before", about_now(now))
        assert store.flush()
        pid = os.fork()
        if not pid:
            done = False
            try:
                done = store.get(slot_of("before")) == b"before"
                done &= store.put(slot_of("child"), b"child", about_now(now)) and store.flush()
                done &= store.raise_epoch("all") == 1
                store.close()
            finally:
                os._exit(0 if done else 1)
        for number in range(300):
            assert store.put(slot_of(number), b"%d" % number, about_now(now))
            assert store.get(slot_of("before")) == b"before"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert store.flush()
        assert store.get(slot_of("child")) == b"child"
        assert [store.get(slot_of(number)) for number in range(300)] == [b"%d" % number for number in range(300)]
        assert dict(store.epochs()) == {"all": 1}


CANARY = "kAnArYkAnArY"
LOOKS = ("ls", "stats --json", "show b3:abcdef", "purge --all --yes", "doctor --live", "config", "config --json")


@pytest.mark.parametrize("login", ["me@corp:{}", "user:my {}", ":{}@", "nobody:{}-wrong", "user:{}%2F%3F"])
def test_a_password_is_in_no_log_page_or_message_of_a_gateway(
    sim: SimulatedProvider, server: RedisServer, tmp_path: Path, login: str
) -> None:
    """Whether it is the right one or not: spelled so that it is accepted, and easily overlooked."""
    user, _, password = unquote(login.format(CANARY)).partition(":")
    if "wrong" not in login:
        server.say("ACL", "SETUSER", user or "default", "on", f">{password}", "~*", "&*", "+@all")
    else:
        server.say("CONFIG", "SET", "requirepass", "another")
    url = f"redis://{login.format(CANARY)}@127.0.0.1:{server.port}"
    options = ("--upstream", sim.base_url, "--cache", "all", "--port", "0")
    with GatewayChild(tmp_path, *options, PAYONCE_STORE=url, PAYONCE_LOG_LEVEL="debug") as gateway:
        banner = gateway.process.stdout.readline()
        for number in range(10):
            assert gateway.post(ask(f"{number}")).status == 200
        if "wrong" not in login:
            assert until(lambda: gateway.post(ask("0")).hit), "it is the right password"
        places = ["/readyz", "/metrics", "/healthz", *(f"/_payonce/{page}" for page in PAGES if "/" not in page)]
        places += [f"/_payonce/api/{page}" for page in DATA if "/" not in page]
        pages = {place: gateway.get(place).body for place in places}
    assert b"127.0.0.1:%d" % server.port in pages["/_payonce/api/health"], "it is shown where the store is"
    for page in pages.values():
        assert CANARY.encode() not in page
    assert banner.startswith(b"store redis://***@127.0.0.1:")
    assert CANARY.encode() not in banner + gateway.out + gateway.err


def test_a_password_is_in_nothing_that_a_command_or_a_client_says(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    [port] = free_ports(1)
    rest = f"{{}}@127.0.0.1:{port}"
    logins = ("me@corp:{}", "u:my {}", ":pa?{}", ":pa/{}", "u:{}#", "u:{}%2", "u:1?ca={}")
    urls = [f"redis://{rest.format(login.format(CANARY))}" for login in logins]
    schemes = ("Redis", "valkey", "memcached", '"redis', " redis")
    urls += [f"{scheme}://{rest.format(f'u:{CANARY}')}" for scheme in schemes]
    urls += [f"{urls[0]}\n", f"{urls[0]}'"]
    urls += [f"redis+sentinel://127.0.0.1:{port}/m?sentinel{mark}password={CANARY}" for mark in ("_", "%5F")]
    urls += [f"{urls[-1]} &{CANARY}", f"memcached://127.0.0.1:{port}?{CANARY}"]
    for url in urls:
        monkeypatch.setenv("PAYONCE_STORE", url)
        for words in LOOKS:
            main(words.split())
        main(["ls", url])
        main(["ls", "--stor", url])
        main([url])
        written = "".join(f"\\u{ord(letter):04x}" for letter in url)
        (own_home / "x.toml").write_text(f'store = "{written}"\n')
        (own_home / "x.toml").chmod(0o600)
        main(["config", "--check", "x.toml"])
        main(["config", "--check", "x.toml", "--json"])
        main(["config", "--config", "x.toml"])
        try:
            with Client(store=url) as client:
                assert CANARY not in repr(client)
                client.post("http://127.0.0.1:9/v1/chat/completions", json=ask())
        except (PayonceError, httpx2.ConnectError) as error:
            assert CANARY not in "".join(traceback.format_exception(error))
        said = capfd.readouterr()
        assert "payonce:" in said.err
        assert CANARY not in said.out + said.err + caplog.text, url
