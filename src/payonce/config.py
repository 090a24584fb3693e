"""Settings, parsed once at the edge: flag, environment, file, default, in this order, each value with its origin.

Everything behind this room takes a checked, frozen `Settings` and asks no further. This room must never know how a
setting is put into effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from payonce.config_environ import LIST, strangers
from payonce.config_file import find_file, parse, read_file
from payonce.config_lines import line_of
from payonce.config_options import GIB, MIB, OPTIONS
from payonce.config_rules import read_rules
from payonce.config_types import Problem, Wrong, did_you_mean
from payonce.config_urls import Upstreams, is_loopback
from payonce.errors import PayonceError, SettingsError, StoreUnknownError, StoreUrlError
from payonce.model.policy import (
    CacheMode,
    ChangedModels,
    HitUsage,
    Policy,
    PromptCache,
    PromptCacheTtl,
    Rule,
    quotas_of,
)
from payonce.model.quota import Quota, Quotas
from payonce.stores.redacted import redact
from payonce.stores.registry import check_url, is_shared

__all__ = ["Loaded", "Problem", "Settings", "check", "default_store", "load"]

DEFAULT = "default"


def default_store(environ: Mapping[str, str]) -> tuple[str, str]:
    """The store's URL where none is named, and a warning where there is no directory to keep one in."""
    cache, home = environ.get("XDG_CACHE_HOME", ""), environ.get("HOME", "")
    if cache.startswith("/") and _writable(Path(cache), create=True):
        return f"sqlite:{Path(cache) / 'payonce' / 'cache.db'}", ""
    if home.startswith("/") and _writable(Path(home) / ".cache", create=Path(home).is_dir()):
        return f"sqlite:{Path(home) / '.cache' / 'payonce' / 'cache.db'}", ""
    return "memory:", (
        "there is no home or cache directory to write to, so answers are kept in memory and lost at the end; "
        'set store = "sqlite:PATH" to keep them'
    )


def _writable(directory: Path, *, create: bool) -> bool:
    """Whether files can be made in `directory`, which may have to be made first."""
    try:
        while create and not directory.exists() and directory != directory.parent:
            directory = directory.parent
        return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)
    except OSError:  # a home that is somebody else's may not even be looked into
        return False


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option of the gateway and the library; what each means stands in `config_options.OPTIONS`.

    Sizes are bytes, times are seconds. Wrong values raise `SettingsError`, a store of no known kind
    `StoreUnknownError`.
    """

    host: str = "127.0.0.1"
    port: int = 4141
    upstream: Upstreams = (("", "https://openrouter.ai/api/v1"),)
    store: str = field(default_factory=lambda: default_store(os.environ)[0])
    cache: CacheMode = "deterministic"
    ttl: int = 3600
    ttl_jitter: float = 0.1
    workers: int = 1
    stale_while_revalidate: int = 0
    stale_if_error: int = 0
    hit_usage: HitUsage = "verbatim"
    convert: bool = True
    prompt_cache: PromptCache = "auto"
    prompt_cache_ttl: PromptCacheTtl = "auto"
    changed_models: ChangedModels = "keep"
    max_bytes: int = GIB
    tenant_bytes: int = 0
    tenant_entries: int = 0
    memory_bytes: int = 64 * MIB
    max_entry_bytes: int = 8 * MIB
    max_batch_bytes: int = 64 * MIB
    max_body_bytes: int = 32 * MIB
    max_flights: int = 1024
    flight_wait: float = 30.0
    max_connections: int = 4096
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    idle_timeout: float = 75.0
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    between_bytes_timeout: float = 120.0
    total_timeout: float = 900.0
    drain_timeout: float = 30.0
    read_budget: float = 0.05
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    forward_cache_headers: bool = False
    ignore_headers: tuple[str, ...] = ()
    share: str = ""
    secret_file: str = ""
    fast_lane: bool = True
    ledger: str = "auto"
    ledger_bytes: int = 512 * MIB
    request_log: str = ""
    request_log_bytes: int = GIB
    access_log: str = "off"
    log_level: str = "info"
    dashboard: Literal["auto", "token", "off"] = "auto"
    show_content: bool = False
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in OPTIONS}
        for name, value in values.items():
            try:
                values[name] = OPTIONS[name].read(value)
            except Wrong as wrong:
                raise _error(name, wrong, "Settings") from None
        object.__setattr__(self, "store", values["store"])  # its scheme may have been spelled in capitals
        for name, conflict in _conflicts(values):
            raise _error(name, conflict, "Settings")

    def __repr__(self) -> str:
        values = {item.name: getattr(self, item.name) for item in fields(self)} | {"store": redact(self.store)}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    @property
    def portable(self) -> bool:
        """Whether what is stored must mean the same on every machine and with every API key: a cassette."""
        return self.store.startswith("cassette:")

    @property
    def policy(self) -> Policy:
        """What holds for calls that no rule is for."""
        return Policy(
            cache=self.cache,
            ttl=self.ttl,
            stale_while_revalidate=self.stale_while_revalidate,
            stale_if_error=self.stale_if_error,
            hit_usage=self.hit_usage,
            prompt_cache=self.prompt_cache,
            prompt_cache_ttl=self.prompt_cache_ttl,
            changed_models=self.changed_models,
        )

    @property
    def quotas(self) -> Quotas:
        """What each tenant may hold: by the first rule that names it and sets a quota, else by default."""
        default = Quota(self.tenant_bytes, self.tenant_entries)
        return Quotas(default, quotas_of(self.rules, default))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, where each came from (`flag --port`, `environment PAYONCE_PORT`, `payonce.toml line 7`, `default`), and
    what the operator should know although nothing is wrong."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Loaded:
    """The settings that hold, by flag, environment, file and default; a flag that is None was not given.

    Without `file`, it is the one that `PAYONCE_CONFIG` names, else ./payonce.toml, else the user's own.
    """
    values, origins = _from_file(file or find_file(environ, Path.cwd()))
    store, warning = default_store(environ)
    warnings = [f"{name} is not a setting and has no effect; {fix}" for name, fix in strangers(environ).items()]
    for name, text, origin in _given(flags, environ):
        try:
            values[name], origins[name] = OPTIONS[name].read(text), origin
        except Wrong as wrong:
            raise _error(name, wrong, origin) from None
    if "store" not in values:
        values["store"] = store
        warnings += [warning] if warning else []
    if is_shared(str(values["store"])) and not values.get("secret_file"):
        warnings.append(_NOT_SHARED)
    origins = {item.name: origins.get(item.name, DEFAULT) for item in fields(Settings)}
    for name, conflict in _conflicts(_DEFAULTS | values):
        raise _error(name, conflict, origins[name])
    return Loaded(Settings(**values), origins, tuple(warnings))


def check(text: str, name: str) -> list[Problem]:
    """Everything that a configuration file gets wrong, by line. `name` is what the file is called."""
    return _read(text, name)[2]


def _given(flags: Mapping[str, object], environ: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    """(setting, what was written, origin) of variables, then of flags, so that the later one holds."""
    for option in OPTIONS.values():
        if text := environ.get(option.variable, ""):
            yield option.name, text, f"environment {option.variable}"
    for name, value in flags.items():
        if value is None:
            continue
        if name not in OPTIONS:
            raise SettingsError(f"{name}: there is no such setting; {did_you_mean(name, OPTIONS) or LIST}")
        yield name, value, f"flag {OPTIONS[name].flag_name}"


_NOT_SHARED = (
    "entries are sealed with this machine's own secret, so no other machine can read them: to share the store, give "
    "all of them the same file and name it in secret_file"
)


def _error(name: str, wrong: Wrong, origin: str) -> PayonceError:
    return wrong.own or SettingsError(f"{origin}: {name}: {wrong.message}; {wrong.fix}")


def _conflicts(values: Mapping[str, Any]) -> Iterator[tuple[str, Wrong]]:
    """A store that can't be; and values that are right one by one, and unsafe or useless together."""
    try:
        check_url(values["store"])
    except StoreUrlError as error:
        yield "store", Wrong(error.what, error.fix)
    except StoreUnknownError as error:
        yield "store", Wrong(error.what, error.fix, own=error)
    if not is_loopback(values["host"]) and not values["allowed_hosts"]:
        yield (
            "host",
            Wrong(
                f"other machines can reach {values['host']}, and nothing says by which names they may",
                "set PAYONCE_ALLOWED_HOSTS=cache.example.com (in payonce.toml: allowed_hosts), or listen on 127.0.0.1",
            ),
        )
    if values["workers"] > 1 and values["store"].startswith("memory:"):
        yield (
            "workers",
            Wrong(
                f"{values['workers']} workers can't share a store in memory",
                'set store = "sqlite:PATH", or workers = 1',
            ),
        )


_DEFAULTS: dict[str, Any] = {item.name: item.default for item in fields(Settings)} | {"store": "sqlite:cache.db"}


def _from_file(path: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a file and their origins; an error names its first problem."""
    if path is None:
        return {}, {}
    values, origins, problems = _read(read_file(path), path.name, alone=False)
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more:  payonce config --check {path})" if len(problems) > 1 else ""
        raise SettingsError(f"{path.name} line {first.line}: {first.message}; {first.fix}{more}")
    return values, origins


def _read(text: str, name: str, *, alone: bool = True) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """The values of a file, their origins, and all its problems by line. `alone`: nothing else sets anything."""
    document, lines, problems = parse(text)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, written in document.items():
        line = line_of(lines, (key,))
        if key == "rule":
            values["rules"], found = read_rules(written, lines)
            origins["rules"] = f"{name} line {line}"
            problems += found
        elif key not in OPTIONS:
            table = "settings stand at the top of the file, in no table" if isinstance(written, dict) else LIST
            hint = did_you_mean(key, [*OPTIONS, "rule"])
            problems.append(Problem(line, f"{key}: there is no such setting", hint or table))
        else:
            origins[key] = f"{name} line {line}"
            try:
                values[key] = OPTIONS[key].read(written)
            except Wrong as wrongs:
                for wrong in wrongs.all:
                    where = line_of(lines, (key, *wrong.at))
                    problems.append(Problem(where, f"{key}: {wrong.message}", wrong.fix))
    if alone:
        problems += [
            Problem(line_of(lines, (key,)), f"{key}: {wrong.message}", wrong.fix)
            for key, wrong in _conflicts(_DEFAULTS | values)
        ]
    return values, origins, sorted(problems, key=lambda problem: problem.line)
