"""What can't work is refused before anything is begun: one sentence, exit code 2, nothing changed and nothing answered.
What the gateway does without, a server that is away for one, doesn't keep it from starting."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from payonce.cli import main
from tests.support.gateway import GatewayChild, ask
from tests.support.servers import free_ports

pytestmark = pytest.mark.usefixtures("own_store")

USELESS = [
    ("redis://h:port", "address can't be read"),
    ("redis://a,b", "redis+cluster"),
    ("redis+sentinel://127.0.0.1:1", "no service"),
    ("rediss://h?ca=/nonexistent", "ca=/nonexistent can't be read"),
    ("memcached://h?item_bytes=-5", "item_bytes"),
    ("memory:x", "write memory:"),
    ("sqlite:", "write sqlite:PATH"),
    ("mongo://x", "no store is known"),
]


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a command that must not be carried out."""
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("payonce: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize(("url", "said"), USELESS)
def test_every_command_that_takes_a_store_refuses_one_that_can_not_be(
    url: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("serve --port 0", "serve --port 0 --workers 2", "ls", "tokens", "why 0123456789abcdef", "stats"):
        assert said in refused(f"{line} --store {url}", capsys), line
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("since", ["-5h", "yesterday", "0h", "--json"])
@pytest.mark.parametrize("command", ["stats", "doctor --live"])
def test_a_length_of_time_that_is_none_is_refused_with_one_that_is(
    command: str, since: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(f"{command} --since {since}", capsys)
    assert f"--since: '{since}' is not a length of time; write, for example, " in said


@pytest.mark.parametrize(("url", "said"), USELESS)
def test_config_check_names_the_line_of_a_store_that_can_not_be(
    url: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("my.toml")
    file.write_text(f'ttl = 60\nstore = "{url}"\n')
    file.chmod(0o600)
    assert main(["config", "--check", "my.toml"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("my.toml:2: store: ")
    assert said in " ".join(out.split())
    file.write_text('ttl = 60\nstore = "redis://localhost:6379"\n')
    assert main(["config", "--check", "my.toml"]) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_secret_that_is_none_is_refused_before_the_gateway_answers(
    workers: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, open_to_all = Path("notes.txt"), Path("secret")
    foreign.write_text("not thirty-two bytes")
    open_to_all.write_bytes(bytes(32))
    open_to_all.chmod(0o644)
    for file, said in ((foreign, "is no secret, which has 32 bytes"), (open_to_all, "chmod 600 secret")):
        monkeypatch.setenv("PAYONCE_SECRET_FILE", str(file))
        assert said in refused(f"serve --port 0 --workers {workers}", capsys)
    assert foreign.read_text() == "not thirty-two bytes"


def test_several_workers_need_a_store_that_opens_and_one_does_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert "give the store another path" in refused("serve --port 0 --workers 2 --store sqlite:file/c.db", capsys)
    with GatewayChild(tmp_path, "--port", "0", "--store", "sqlite:file/c.db") as child:
        assert child.get("/healthz").status == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_is_away_keeps_no_gateway_from_starting(workers: str, tmp_path: Path) -> None:
    [away, upstream] = free_ports(2)
    options = ("--port", "0", "--workers", workers, "--upstream", f"http://127.0.0.1:{upstream}/v1")
    with GatewayChild(tmp_path, *options, "--store", f"redis://127.0.0.1:{away}") as child:
        assert child.post(ask("hi")).status == 502


def test_the_simulated_provider_refuses_what_it_can_not_do(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ("--port 99999", "--port: 99999 is not usable; write a whole number from 0 to 65535"),
        ("--port=-1", "from 0 to 65535"),
        ("--port 0 --first-token=-1", "--first-token: -1.0 is out of range"),
        ("--port 0 --first-token nan", "--first-token"),
        ("--port 0 --tokens-per-second=-1", "--tokens-per-second"),
    ):
        assert said in refused(f"sim {words}", capsys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "is in use" in refused(f"sim --port {taken.getsockname()[1]}", capsys)


def test_new_tokens_are_not_made_for_a_store_that_can_not_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokens"]) == 0
    [file] = Path.cwd().glob("*.dashboard")
    before = file.read_bytes()
    for url, said in USELESS:
        capsys.readouterr()
        assert said in refused(f"tokens --store {url}", capsys)
    assert [path.name for path in Path.cwd().iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_nothing_is_told_apart_by_nothing_nor_since_now(capsys: pytest.CaptureFixture[str]) -> None:
    for line, said in (
        ("stats --by=", "--by: '' can't be told apart"),
        ("stats --by=model,", "--by: ''"),
        ("stats --since 0h", "--since: '0h'"),
        ("doctor --live --since 0m", "--since: '0m'"),
    ):
        assert said in refused(line, capsys)


def test_the_process_says_nothing_else_of_it(tmp_path: Path) -> None:
    """As a user sees it: no greeting, no log, no traceback."""
    command = [sys.executable, "-m", "payonce", "serve", "--port", "0", "--store", "redis://h:port"]
    done = subprocess.run(command, env=os.environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
