"""LiteLLM's proxy beside the gateway, both answering hits. It is installed once, into a directory git ignores.

Its settings are the fair ones: one worker like ours, a time to live, no limit on messages, no lookups on start.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import bodies, gateway
from benchmarks.client import chat
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin
from benchmarks.parts import Bench
from benchmarks.parts.hits import NUMBER, assert_hit
from benchmarks.process import Server, free_port
from benchmarks.rounds import Arm, Row, interleaved, throughput_row
from benchmarks.wrk import Load, LoadError, Run

_HOME = Path(__file__).parents[1] / ".bench" / "litellm"
_NAME = "LiteLLM proxy"
_PATH = "/v1/chat/completions"
_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/bench-model, api_base: "{base}", api_key: sk-none}}
litellm_settings:
  cache: true
  cache_params: {{type: local, ttl: 86400, max_messages: null, supported_call_types: [acompletion]}}
  enable_caching_on_provider_specific_optional_params: true
"""
_ENV = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR"}
# It does not start without a key of its own; the one that the load sends is that key.
_ENV["LITELLM_MASTER_KEY"] = bodies.API_KEY


def _installed() -> str:
    """The version that is there, after an attempt to install it; empty where it can't be had."""
    python = _HOME / "bin" / "python"
    probe = [str(python), "-c", "import importlib.metadata as m; print(m.version('litellm'))"]
    try:
        if not (_HOME / "bin" / "litellm").exists():
            subprocess.run([sys.executable, "-m", "venv", str(_HOME)], check=True)
            install = [str(python), "-m", "pip", "install", "-q", "litellm[proxy]"]
            subprocess.run(install, check=True, capture_output=True, timeout=1800)
        return subprocess.run(probe, check=True, capture_output=True, text=True).stdout.strip()
    except (subprocess.SubprocessError, OSError):
        return ""


def _proxy(home: Path, base: str) -> Server:
    home.mkdir()
    config = home / "config.yaml"
    config.write_text(_CONFIG.format(model=bodies.MODEL, base=base))
    port = free_port()
    command = [str(_HOME / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    return Server("LiteLLM", [*command, "--num_workers", "1"], port, SERVER_CORE, log=home / "log", env=_ENV)


def measure(bench: Bench) -> list[Row]:
    """One row: requests per CPU-second of hits."""
    what = "hit, body repeated, new X-Request-Id"
    bench.say("LiteLLM: installing it if it is not there yet (minutes)")
    version = _installed()
    if not version:
        note = "LiteLLM could not be installed here"
        return [Row("litellm", what, "requests per CPU-s", [], [], _NAME, note=note)]
    with Origin(bench.home / "origin", LOAD_CORE) as origin:
        peer = _proxy(bench.home / "litellm", f"http://127.0.0.1:{origin.port}/v1")
        try:
            peer.start(patience=180)
            with Gateway(bench.home / "gateway", origin.base, SERVER_CORE) as ours:
                assert_hit(ours.port, gateway.HIT_HEADER)
                _assert_kept(peer.port, origin)
                asked = origin.asked()

                def untouched(_: Run) -> None:
                    if origin.asked() != asked:
                        raise LoadError("the upstream was asked while hits were measured")

                mine = Arm(ours, lambda _: Load("traced", str(NUMBER), bench.template()), check=untouched)
                load = Load("traced", str(NUMBER), bench.template(), path=_PATH)
                pairs = list(
                    interleaved(
                        mine, Arm(peer, lambda _: load, check=untouched), bench.rounds, bench.seconds, bench.say
                    )
                )
        finally:
            peer.stop()
    return [throughput_row("litellm", what, pairs, f"{_NAME} {version}", None)]


def _assert_kept(port: int, origin: Origin) -> None:
    """LiteLLM asks the upstream once for three identical requests."""
    before = origin.asked()
    body = bodies.numbered(bodies.request_template(), NUMBER)
    for _ in range(3):
        chat(port, _PATH, body, bodies.HEADERS)
    if origin.asked() - before > 1:
        raise LoadError("LiteLLM did not keep the answer")
