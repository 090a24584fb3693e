"""What the page for operators says runs: the script, the compose file's settings and flags, versioned namespaces."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from payonce.config import load
from payonce.config_options import OPTIONS
from payonce.testing.sim import SimulatedProvider
from tests.support.gateway import PATH, GatewayChild, ask, until
from tests.support.servers import REDIS, VALKEY, RedisServer, binary, free_ports, hold, release

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPERATORS = ROOT / "docs" / "operators.md"


def ports_with_a_bus(count: int) -> list[int]:
    """Ports whose cluster bus (10,000 above) is free too, and below the range from which the system hands out."""
    found: list[int] = []
    while len(found) < count:
        [port] = free_ports(1)
        if port < 22_000 and hold(port + 10_000):
            found.append(port)
        else:
            release(port)
    return found


def post(port: int, text: str, **headers: str) -> tuple[str, bytes]:
    """Ask a gateway: the cache status, and the body."""

    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    fields = {"content-type": "application/json", "authorization": "Bearer sk-or-test"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        client.request("POST", PATH, json.dumps(ask(text)), fields)
        answer = client.getresponse()
        return answer.getheader("x-openrouter-cache-status", ""), answer.read()
    finally:
        client.close()


class Script:
    """deploy/cluster.sh with programs, ports and a directory of a test's own."""

    def __init__(self, folder: Path, kind: str, upstream: str = "http://127.0.0.1:9/v1") -> None:
        self.nodes, self.gateways = ports_with_a_bus(6), free_ports(3)
        self.place = folder / "cluster"
        program = folder / "payonce"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m payonce "$@"\n')
        program.chmod(0o755)
        self.said = {
            "SERVER": binary(kind),
            "CLI": binary("redis-cli"),
            "PAYONCE": str(program),
            "NODES": " ".join(map(str, self.nodes)),
            "GATEWAYS": " ".join(map(str, self.gateways)),
            "PAYONCE_UPSTREAM": upstream,
            "PAYONCE_READ_BUDGET": "2",
            "HOME": str(folder),
        }

    def run(self, *words: str, **said: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(DEPLOY / "cluster.sh"), *words],
            env=os.environ | self.said | said,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def start(self) -> list[int]:
        """Start it; its processes."""
        begun = self.run("start", str(self.place))
        assert begun.returncode == 0, begun.stdout + begun.stderr
        assert all(map(_listens, (*self.nodes, *self.gateways)))
        pids = [int(file.read_text()) for file in self.place.glob("*.pid")]
        assert len(pids) == 9
        return pids

    def stop(self) -> None:
        ended = self.run("stop", str(self.place))
        assert ended.returncode == 0, ended.stderr
        assert self.left() == []

    def left(self) -> list[object]:
        """Ports that something listens on, and files of processes."""
        return [*filter(_listens, (*self.nodes, *self.gateways)), *self.place.glob("*.pid")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [VALKEY, REDIS])
def test_the_script_starts_three_gateways_on_a_cluster_stops_them_and_starts_them_again(
    kind: str, tmp_path: Path, sim: SimulatedProvider
) -> None:
    script = Script(tmp_path, kind, sim.base_url)
    try:
        pids = script.start()
        assert post(script.gateways[0], "who is it?")[0] == "MISS"

        def all_have_it() -> bool:
            answers = [post(port, "who is it?") for port in script.gateways]
            return len(set(answers)) == 1 and answers[0][0] == "HIT"

        assert until(all_have_it, 30), "what one has stored all serve"
        again = script.run("start", str(script.place))
        assert (again.returncode, "runs already" in again.stderr) == (1, True)
        script.stop()
        assert not any(map(_lives, pids))
        if kind == REDIS:
            script.start()
            assert post(script.gateways[0], "who is it?")[0] == "MISS", "an empty cache"
    finally:
        script.stop()


def test_a_start_that_fails_leaves_nothing_running_and_says_why(tmp_path: Path) -> None:
    script = Script(tmp_path, REDIS)
    with socket.create_server(("127.0.0.1", script.nodes[-1] + 10_000)):
        failed = script.run("start", str(script.place))
    assert failed.returncode == 1
    assert f"node-{script.nodes[-1]} does not run as it should" in failed.stderr
    assert "ailed listening on port" in failed.stderr and "nothing is left running" in failed.stderr
    assert script.left() == []
    with ExitStack() as stack:
        stack.callback(RedisServer(tmp_path, kind=REDIS, port=script.nodes[0]).stop)
        theirs = script.run("start", str(script.place))
        assert theirs.returncode == 1
        assert f"port {script.nodes[0]} is another server's" in theirs.stderr
        assert _listens(script.nodes[0]), "and it is left alone"


def test_the_script_says_how_it_is_used_and_what_it_lacks(tmp_path: Path) -> None:
    script = Script(tmp_path, REDIS)
    for words in ((), ("start",), ("stop",), ("start", "a", "b"), ("begin", "a")):
        done = script.run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "sh deploy/cluster.sh start DIRECTORY" in done.stderr
    for name, package in (("SERVER", "valkey-server"), ("CLI", "valkey-tools"), ("PAYONCE", "pip install")):
        lacking = script.run("start", str(script.place), **{name: "no-such-program"})
        assert (lacking.returncode, lacking.stderr.count("\n")) == (2, 1)
        assert "there is no no-such-program: install" in lacking.stderr
        assert package in lacking.stderr
    assert not script.place.exists()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def filled(text: object) -> str:
    """As compose would: variables of the caller put in."""
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda named: {"PAYONCE_VALKEY_PASSWORD": "pw"}.get(named[1], "1000"), str(text))


def test_the_compose_files_settings_are_settings_and_together_make_sense(tmp_path: Path) -> None:
    services = compose()["services"]
    gateways = [service for name, service in services.items() if name.startswith("gateway-")]
    assert len(gateways) == 3
    for service in gateways:
        environment = {name: filled(value) for name, value in service["environment"].items()}
        assert set(environment) <= {option.variable for option in OPTIONS.values()}
        loaded = load({}, environment | {"HOME": str(tmp_path)}, None)
        assert not loaded.warnings, loaded.warnings
        assert loaded.settings.store.startswith("redis+cluster://:pw@")
        assert [loaded.settings.host, loaded.settings.port] == ["0.0.0.0", 4141]
        [published] = service["ports"]
        address, outer, inner = published.split(":")
        assert (address, inner) == ("127.0.0.1", str(loaded.settings.port))
        assert f"127.0.0.1:{outer}" in loaded.settings.allowed_hosts
        assert service["depends_on"] == ["join"]
        assert (ROOT / "deploy" / service["build"]["context"] / "Dockerfile").is_file()


def test_the_compose_files_cluster_is_one(tmp_path: Path) -> None:
    """Each node's command starts a real server; addresses, entry points and the joining command name the same six."""
    services = compose()["services"]
    nodes = {name: service for name, service in services.items() if name.startswith("valkey-")}
    addresses = [service["networks"]["cache"]["ipv4_address"] for service in nodes.values()]
    assert len(set(addresses)) == 6
    joining = filled(services["join"]["command"][-1])
    assert re.findall(r"(172\.28\.0\.\d+):6379", joining) == addresses
    store = services["gateway-1"]["environment"]["PAYONCE_STORE"]
    assert set(re.findall(r"(172\.28\.0\.\d+):6379", store)) <= set(addresses)
    assert subprocess.run(["sh", "-n", "-c", joining], check=False).returncode == 0
    [port] = ports_with_a_bus(1)
    command = [filled(word) for word in nodes["valkey-1"]["command"]]
    command[0] = binary(VALKEY)
    command[command.index("--port") + 1] = str(port)
    with ExitStack() as stack:
        server = _Started([*command, "--bind", "127.0.0.1"], port, tmp_path)
        stack.callback(server.stop)
        info = server.say("CLUSTER", "INFO", password="pw")
        assert b"cluster_enabled" in info or b"cluster_state" in info or "cluster_state" in str(info)
        assert server.say("CONFIG", "GET", "maxmemory-policy", password="pw")[1] == b"allkeys-lru"


class _Started(RedisServer):
    """A server whose whole command is given."""

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        super(RedisServer, self).__init__(command, port, folder)


def test_the_dockerfile_takes_only_what_is_there() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    [extras] = re.findall(r"'\.\[([a-z,]+)\]'", text)
    known = re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert set(extras.split(",")) <= set(known)
    [command] = re.findall(r"^CMD (\[.+\])$", text, re.MULTILINE)
    assert json.loads(command) == ["payonce", "serve"]


def test_a_namespace_with_a_version_is_a_new_cache_and_the_old_one_can_go(
    tmp_path: Path, sim: SimulatedProvider
) -> None:

    page = OPERATORS.read_text()
    assert "X-Payonce-Namespace: support-v12" in page
    [purge] = re.findall(r"^payonce (purge --namespace .+)$", page, re.MULTILINE)
    options = ("--port", "0", "--cache", "all", "--store", f"sqlite:{tmp_path}/c.db")
    with GatewayChild(tmp_path, *options, "--upstream", sim.base_url) as gateway:

        def asked(namespace: str) -> str:
            return post(gateway.port, "refund?", x_payonce_namespace=namespace)[0]

        assert [asked("support-v11"), asked("support-v11")] == ["MISS", "HIT"]
        assert [asked("support-v12"), asked("support-v12")] == ["MISS", "HIT"], "a new version begins empty"
        environment = os.environ | {"PAYONCE_STORE": f"sqlite:{tmp_path}/c.db", "HOME": str(tmp_path)}
        command = [sys.executable, "-m", "payonce", *purge.split()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert until(lambda: asked("support-v11") == "MISS"), "the old one is gone"
        assert asked("support-v12") == "HIT", "and nothing else"
