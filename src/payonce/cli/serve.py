"""`payonce serve`: flags to settings, settings to the gateway. This room must never know how a request is served."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from payonce.cli.flags import ConfigFile
from payonce.cli.output import complain
from payonce.config import load
from payonce.config_options import OPTIONS


def _help(name: str) -> Parameter:
    return Parameter(help=f"{OPTIONS[name].help[:1].upper()}{OPTIONS[name].help[1:]}.", negative="")


def serve(
    *,
    host: Annotated[str | None, _help("host")] = None,
    port: Annotated[str | None, _help("port")] = None,
    upstream: Annotated[tuple[str, ...] | None, _help("upstream")] = None,
    store: Annotated[str | None, _help("store")] = None,
    cache: Annotated[str | None, _help("cache")] = None,
    ttl: Annotated[str | None, _help("ttl")] = None,
    workers: Annotated[str | None, _help("workers")] = None,
    config: ConfigFile = None,
) -> int:
    """Run the gateway.

    Point any SDK's base URL at http://HOST:PORT/api/v1. What is not given here comes from PAYONCE_ variables, from
    payonce.toml, or from the defaults: `payonce config` prints each.
    """
    flags = {
        "host": host,
        "port": port,
        "upstream": upstream or None,
        "store": store,
        "cache": cache,
        "ttl": ttl,
        "workers": workers,
    }
    loaded = load(flags, os.environ, config)
    for warning in loaded.warnings:
        complain(warning)
    from payonce.gateway.server import serve as run

    return run(loaded.settings, loaded.origins)
