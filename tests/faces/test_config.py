"""Settings: where each value comes from, and that whatever is wrong is said with its origin and its fix."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.config import Settings, check, default_store, load
from payonce.config_options import ENDPOINTS, GIB, OPTIONS, RULE_SETS
from payonce.config_types import duration
from payonce.dialects import CACHED_ENDPOINTS
from payonce.errors import SettingsError
from payonce.model.policy import Policy, Rule
from tests.support.settings import HOME, fault, write

pytestmark = pytest.mark.usefixtures("own_home")


def test_every_field_has_a_row_and_its_default_is_allowed() -> None:
    assert {field.name for field in dataclasses.fields(Settings)} == {*OPTIONS, "rules"}
    settings = Settings()
    for name, option in OPTIONS.items():
        value = getattr(settings, name)
        assert option.read(value) == value, name
    assert settings.policy == Policy()
    assert set(ENDPOINTS) == CACHED_ENDPOINTS


def test_rules_may_set_exactly_what_a_rule_holds() -> None:
    fields = [field.name for field in dataclasses.fields(Rule) if field.init]
    assert tuple(fields[5:]) == RULE_SETS


def test_without_anything_all_is_default() -> None:
    loaded = load({}, HOME, None)
    assert set(loaded.origins) == {*OPTIONS, "rules"}
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.settings.upstream == (("", "https://openrouter.ai/api/v1"),)


ports = st.none() | st.integers(0, 65535)


@given(flag=ports, variable=ports, line=ports)
def test_flag_before_environment_before_file_before_default(
    flag: int | None, variable: int | None, line: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = write(tmp_path_factory.mktemp("c"), "" if line is None else f"# settings\n\nport = {line}\n")
    environ = HOME | ({} if variable is None else {"PAYONCE_PORT": str(variable)})
    loaded = load({"port": flag}, environ, file)
    candidates = [
        (flag, "flag --port"),
        (variable, "environment PAYONCE_PORT"),
        (line, "payonce.toml line 3"),
        (4141, "default"),
    ]
    expected = next(pair for pair in candidates if pair[0] is not None)
    assert (loaded.settings.port, loaded.origins["port"]) == expected


WRITTEN: dict[str, tuple[str, str, object]] = {
    # setting: (as text, as TOML, value)
    "host": ("localhost", '"localhost"', "localhost"),
    "port": ("8080", "8080", 8080),
    "upstream": (
        "https://a.example/v1/, b=http://[::1]:8000",
        '{ "" = "https://A.example/v1/", b = "http://[::1]:8000" }',
        (("", "https://a.example/v1"), ("b", "http://[::1]:8000")),
    ),
    "store": ("sqlite:/x/y.db", '"sqlite:/x/y.db"', "sqlite:/x/y.db"),
    "cache": ("opt-in", '"opt-in"', "opt-in"),
    "ttl": ("24h", '"24h"', 86400),
    "ttl_jitter": ("0.5", "0.5", 0.5),
    "workers": ("4", "4", 4),
    "stale_while_revalidate": ("60", "60", 60),
    "stale_if_error": ("7d", '"7d"', 604800),
    "hit_usage": ("zero", '"zero"', "zero"),
    "convert": ("on", "true", True),
    "prompt_cache": ("respect", '"respect"', "respect"),
    "prompt_cache_ttl": ("1h", '"1h"', "1h"),
    "max_bytes": ("1.5GiB", '"1.5 GiB"', 3 * GIB // 2),
    "changed_models": ("retire", '"retire"', "retire"),
    "tenant_bytes": ("64MiB", '"64 MiB"', 64 << 20),
    "tenant_entries": ("1000", "1000", 1000),
    "memory_bytes": ("500MB", "500_000_000", 500_000_000),
    "max_entry_bytes": ("2048", "2048", 2048),
    "max_batch_bytes": ("4096", "4096", 4096),
    "max_body_bytes": ("4KiB", '"4KiB"', 4096),
    "max_flights": ("2", "2", 2),
    "flight_wait": ("2.5", "2.5", 2.5),
    "max_connections": ("3", "3", 3),
    "allowed_hosts": ("a.example, 10.0.0.7:4141", '["A.example", "10.0.0.7:4141"]', ("a.example", "10.0.0.7:4141")),
    "allowed_origins": ("https://a.example/", '["https://a.example"]', ("https://a.example",)),
    "forward_cache_headers": ("yes", "true", True),
    "ignore_headers": ("X-Trace, x-span", '["x-trace", "X-Span"]', ("x-trace", "x-span")),
    "share": ("team", '"team"', "team"),
    "secret_file": ("/run/secret", '"/run/secret"', "/run/secret"),
    "fast_lane": ("off", "false", False),
    "ledger": ("/tmp/ledger.db", '"/tmp/ledger.db"', "/tmp/ledger.db"),
    "ledger_bytes": ("64MiB", '"64MiB"', 64 << 20),
    "request_log": ("/tmp/log.jsonl", '"/tmp/log.jsonl"', "/tmp/log.jsonl"),
    "request_log_bytes": ("4KiB", '"4KiB"', 4096),
    "access_log": ("-", '"-"', "-"),
    "log_level": ("debug", '"debug"', "debug"),
    "dashboard": ("token", '"token"', "token"),
    "show_content": ("TRUE", "true", True),
} | {name: ("1.5", "1.5", 1.5) for name in OPTIONS if name.endswith(("_timeout", "read_budget"))}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_is_a_flag_value_a_variable_and_a_key(name: str, tmp_path: Path) -> None:
    text, toml, value = WRITTEN[name]
    option = OPTIONS[name]
    by_flag = load({name: text}, HOME, None)
    assert (getattr(by_flag.settings, name), by_flag.origins[name]) == (value, f"flag {option.flag_name}")
    by_variable = load({}, HOME | {option.variable: text}, None)
    assert (getattr(by_variable.settings, name), by_variable.origins[name]) == (value, f"environment {option.variable}")
    by_file = load({}, HOME, write(tmp_path, f"\n{name} = {toml}\n", "my.toml"))
    assert (getattr(by_file.settings, name), by_file.origins[name]) == (value, "my.toml line 2")
    assert option.read(value) == value


BAD: dict[str, list[str]] = {
    "host": ["", "a b", "http://x", "1.2.3.4:80"],
    "port": ["-1", "65536", "x", "1.5", "true"],
    "upstream": ["ftp://x", "https://", "https://u:p@x/", "https://x/?q", "https://x/#f", "api=https://x",
                 "A=https://x", "=https://x,https://y", "a=https://x,a=https://y", "https://x:99999", "https://x:0",
                 "https://a b/", ","],
    "store": ["cache.db", "/a/b", ":x"],
    "cache": ["on", "ALL", "determinstic"],
    "ttl": ["0", "31536001", "x", "1y", "-5", "1.5"],
    "ttl_jitter": ["-0.1", "0.6", "nan", "inf", "x"],
    "workers": ["0", "65"],
    "stale_while_revalidate": ["-1", "x"],
    "stale_if_error": ["-1", "31536001"],
    "hit_usage": ["none"],
    "convert": ["some"],
    "prompt_cache": ["on"],
    "prompt_cache_ttl": ["2h"],
    "max_bytes": ["0", "x", "1XB", "-1", "i"],
    "changed_models": ["drop"],
    "tenant_bytes": ["-1", "x"],
    "tenant_entries": ["-1", "1.5"],
    "memory_bytes": ["-1"],
    "max_entry_bytes": ["1"],
    "max_batch_bytes": ["1"],
    "max_body_bytes": ["1"],
    "max_flights": ["0"],
    "flight_wait": ["-1", "3601", "x", "inf"],
    "max_connections": ["0"],
    "allowed_hosts": ["a b", "http://x", "x/y"],
    "allowed_origins": ["x", "ftp://x", "https://x/y", "null", "*"],
    "forward_cache_headers": ["maybe"],
    "ignore_headers": ["a b", "Authorization", "x-api-key"],
    "share": ["a b", "x" * 65],
    "secret_file": ["a\nb"],
    "fast_lane": ["2"],
    "ledger": ["a\nb"],
    "ledger_bytes": ["1"],
    "request_log": ["a\nb"],
    "request_log_bytes": ["1"],
    "access_log": ["a\nb", "true"],
    "log_level": ["verbose"],
    "dashboard": ["on"],
    "show_content": ["x"],
}  # fmt: skip
TIMES = [name for name in OPTIONS if name.endswith(("_timeout", "read_budget"))]
BAD |= {name: ["0" if name != "drain_timeout" else "-1", "x", "inf"] for name in TIMES}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in OPTIONS for text in BAD[name]])
def test_every_wrong_value_is_refused_with_origin_and_fix(name: str, text: str, tmp_path: Path) -> None:
    option = OPTIONS[name]
    said = fault({name: text})
    assert said.startswith(f"flag {option.flag_name}: {name}: ")
    assert "; " in said
    assert "u:p@" not in said
    if text:
        assert fault({}, HOME | {option.variable: text}).startswith(f"environment {option.variable}: {name}: ")
    toml = '"' + text.replace("\n", "\\n") + '"'
    if name != "upstream" or "," not in text:
        assert fault({}, HOME, write(tmp_path, f"\n\n{name} = {toml}")).startswith(f"payonce.toml line 3: {name}: ")
    if isinstance(getattr(Settings(), name), str):
        with pytest.raises(SettingsError, match=f"Settings: {name}: "):
            Settings(**{name: text})  # type: ignore[arg-type]


@pytest.mark.parametrize(("toml"), ["true", "[]", "{}", "1979-05-27", "[1]", '[["x"]]'])
def test_values_of_another_type_are_refused_not_raised(toml: str) -> None:
    for name in OPTIONS:
        allowed = toml == "true" and isinstance(getattr(Settings(), name), bool)
        allowed |= toml == "[]" and name in ("allowed_hosts", "allowed_origins", "ignore_headers")
        problems = check(f"{name} = {toml}", "payonce.toml")
        assert [problem.line for problem in problems] == ([] if allowed else [1]), name


def test_a_variable_set_to_nothing_is_not_set() -> None:
    assert load({}, HOME | {"PAYONCE_PORT": ""}, None).origins["port"] == "default"


def test_a_variable_that_is_no_setting_is_warned_of_by_name_and_never_by_value() -> None:
    wrong = {"PAYONCE_PROT": "secret", "PAYONCE_MAX_BYTE": "secret", "PAYONCE_QQQQ": "secret"}
    loaded = load({}, HOME | wrong | {"PAYONCE_CONFIG": "", "PAYONCE_MODE": "replay"}, None)
    assert loaded.warnings == (
        "PAYONCE_MAX_BYTE is not a setting and has no effect; did you mean PAYONCE_MAX_BYTES?",
        "PAYONCE_PROT is not a setting and has no effect; did you mean PAYONCE_PORT?",
        "PAYONCE_QQQQ is not a setting and has no effect; payonce config lists all settings",
    )
    assert loaded.settings.max_bytes == load({}, HOME, None).settings.max_bytes


def test_what_kubernetes_sets_of_itself_is_let_be() -> None:
    own = ("PAYONCE_SERVICE_HOST", "PAYONCE_SERVICE_PORT_HTTP", "PAYONCE_PORT_4141_TCP", "PAYONCE_PORT_4141_TCP_ADDR",
           "PAYONCE_VALKEY_SERVICE_HOST", "PAYONCE_VALKEY_PORT", "PAYONCE_VALKEY_PORT_6379_TCP_PROTO")  # fmt: skip
    assert load({}, HOME | dict.fromkeys(own, "10.0.0.1"), None).warnings == ()


def test_an_unknown_flag_is_refused() -> None:
    assert "did you mean port?" in fault({"prot": 1})


def test_other_machines_may_only_reach_a_gateway_that_knows_its_names() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "cache.example.com"):
        assert fault({"host": host}).startswith("flag --host: host: other machines can reach")
        assert load({"host": host, "allowed_hosts": "cache.example.com"}, HOME, None).settings.host == host
    for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"):
        assert load({"host": host}, HOME, None).settings.host == host.strip("[]")
    with pytest.raises(SettingsError, match="allowed_hosts"):
        Settings(host="0.0.0.0")


def test_several_workers_can_not_share_memory() -> None:
    assert "sqlite:" in fault({"workers": 2, "store": "memory:"})
    assert fault({"store": "memory:"}, HOME | {"PAYONCE_WORKERS": "2"}).startswith(
        "environment PAYONCE_WORKERS: workers"
    )
    assert load({"store": "memory:"}, HOME, None).settings.store == "memory:"


def test_the_store_stands_in_the_cache_directory_or_in_memory_with_a_warning(tmp_path: Path) -> None:
    assert default_store({"HOME": str(tmp_path)}) == (f"sqlite:{tmp_path}/.cache/payonce/cache.db", "")
    assert (
        default_store({"HOME": "/x", "XDG_CACHE_HOME": f"{tmp_path}/a"})[0] == f"sqlite:{tmp_path}/a/payonce/cache.db"
    )
    for environ in ({}, {"HOME": ""}, {"HOME": str(tmp_path / "gone")}, {"HOME": "relative"}):
        store, warning = default_store(environ)
        assert store == "memory:"
        assert "set store" in warning
        loaded = load({}, environ, None)
        assert (loaded.settings.store, loaded.warnings) == ("memory:", (warning,))
    assert load({"store": "sqlite:x"}, {}, None).warnings == ()


def test_durations() -> None:
    assert [duration(text) for text in ("90", "90s", "30m", "24h", "7d", "2w", " 1H ")] == [
        90, 90, 1800, 86400, 604800, 1209600, 3600,
    ]  # fmt: skip
    assert [duration(text) for text in ("", "h", "-1", "1.5h", "1 h", "٣")] == [None] * 6


def test_settings_are_frozen_values() -> None:
    assert Settings(store="memory:") == Settings(store="memory:")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(store="memory:").port = 1  # type: ignore[misc]
    assert os.environ.get("HOME") is None or Settings().store
