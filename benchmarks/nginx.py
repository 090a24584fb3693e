"""nginx in its two parts: the peer (proxy_cache and plain proxy_pass) and the cheap upstream behind both arms.

Each is a process of its own with its own configuration in a temporary directory, never the system's service. The peer
has the settings that were fastest here: files kept open, no sendfile for answers this small.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import bodies
from benchmarks.client import Client
from benchmarks.process import Server, free_port

HIT_HEADER = "X-Cache"

_COMMON = """\
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/json;
  sendfile off;
  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_body_buffer_size 64k;
  client_max_body_size 64m;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
"""

_UPSTREAM = """\
  server {{
    listen 127.0.0.1:{port};
    location = {models_path} {{ return 200 '{models}'; }}
    location = /count {{ stub_status; }}
    location / {{ return 200 '{answer}'; }}
  }}
}}
"""

_PEER = """\
  open_file_cache max=300000 inactive=600s;
  open_file_cache_valid 600s;
  proxy_cache_path {home}/cache levels=1:2 keys_zone=bench:256m max_size=40g inactive=7d use_temp_path=off;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_buffer_size 16k;
  proxy_buffers 8 16k;
  upstream up {{
    server 127.0.0.1:{upstream};
    keepalive 64;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://up;
      proxy_cache bench;
      proxy_cache_methods POST;
      proxy_cache_key "$request_uri|$http_authorization|$request_body";
      proxy_cache_valid 200 7d;
      proxy_cache_lock on;
      add_header {hit_header} $upstream_cache_status;
    }}
  }}
  server {{
    listen 127.0.0.1:{plain};
    location / {{ proxy_pass http://up; }}
  }}
}}
"""


def _command(home: Path, rest: str) -> list[str]:
    """Write the configuration into `home`; the command that runs it."""
    home.mkdir(parents=True)
    config = home / "nginx.conf"
    config.write_text(_COMMON.format(home=home) + rest)
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if binary is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx-light")
    # Started by root, its worker would drop to an account that can't write into a temporary directory: keep root.
    user = ["-g", "user root;"] if home.owner() == "root" else []
    return [binary, "-e", f"{home}/start.log", "-p", str(home), "-c", str(config), *user]


class Origin(Server):
    """The upstream: it answers at once from its configuration, and counts what it was asked."""

    def __init__(self, home: Path, core: int) -> None:
        port = free_port()
        rest = _UPSTREAM.format(
            port=port, models_path=bodies.MODELS_PATH, models=bodies.models(), answer=bodies.answer()
        )
        super().__init__("upstream", _command(home, rest), port, core, log=home / "log")
        self._own = 0

    @property
    def base(self) -> str:
        """What the gateway is given as `--upstream`."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    def asked(self) -> int:
        """How many requests it has answered, our own questions about that not counted."""
        with Client(self.port) as client:
            text = client.ask("GET", "/count").body.decode()
        self._own += 1
        return int(text.splitlines()[2].split()[2]) - self._own


class Peer(Server):
    """nginx as a cache on `port` and as a plain proxy on `plain_port`."""

    def __init__(self, home: Path, upstream: int, core: int) -> None:
        port, self.plain_port = free_port(), free_port()
        rest = _PEER.format(home=home, port=port, plain=self.plain_port, upstream=upstream, hit_header=HIT_HEADER)
        super().__init__("nginx", _command(home, rest), port, core, log=home / "log")
        self._cache = home / "cache"

    def stored(self) -> int:
        """How many answers its cache directory holds."""
        return sum(1 for path in self._cache.rglob("*") if path.is_file())
