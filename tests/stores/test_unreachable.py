"""A command whose store's servers can't be used says what it tried, without the password, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.servers import free_ports, memcached, redis_server

from payonce.cli import main

COMMANDS = (
    ["ls"],
    ["stats"],
    ["show", "b3:abcdef"],
    ["doctor", "--live"],
    ["purge", "--all", "--yes"],
    ["purge", "--model", "m", "--dry-run"],
    ["export", "out.jsonl"],
)
REMEDY = "start its server or correct its URL (address, user and password, rediss:// where it speaks TLS), then run"

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def ran(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        said = capsys.readouterr()
        return status, said.out, said.err

    return ran


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "memcached"])
def test_servers_that_are_not_there_are_named_with_what_to_do(
    scheme: str, command: list[str], run: Callable[..., tuple[int, str, str]]
) -> None:
    [port] = free_ports(1)
    signed = "user:canary@" if scheme != "memcached" else ""
    status, out, err = run(*command, "--store", f"{scheme}://{signed}127.0.0.1:{port}")
    assert (status, out) == (2, "")
    shown = "***@" if signed else ""
    assert err.splitlines()[-1].startswith(f"payonce: the store {scheme}://{shown}127.0.0.1:{port} could not be used (")
    assert REMEDY in err
    assert "refused" in err
    assert "canary" not in err


def test_a_wrong_password_and_a_server_of_another_kind_are_said_too(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    with redis_server(tmp_path, "--requirepass", "right") as server:
        for url, why in (
            (f"redis://:canary@127.0.0.1:{server.port}", "invalid username-password pair"),
            (f"redis://127.0.0.1:{server.port}", "Authentication required"),
            (f"memcached://127.0.0.1:{server.port}", "memcached says"),
        ):
            status, _, err = run("ls", "--store", url)
            assert status == 2
            assert why in err and REMEDY in err and "canary" not in err
        status, _, err = run("ls", "--store", f"redis://:right@127.0.0.1:{server.port}")
        assert status == 0 and "could not be used" not in err


def test_a_server_that_is_there_is_not_complained_of(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    with memcached(tmp_path) as server:
        status, _, err = run("ls", "--store", server.url)
        purged, out, _ = run("purge", "--all", "--yes", "--store", server.url)
    assert status == purged == 0
    assert "could not be used" not in err
    assert "of about 0 entries in the store, none is served any more" in out


def test_what_is_wrong_with_a_file_is_said_in_the_files_own_words(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "cache.db").write_bytes(b"not a database" * 100)
    status, _, err = run("ls", "--store", f"sqlite:{tmp_path}/cache.db")
    assert status == 2
    assert "correct --store" in err and "server" not in err
