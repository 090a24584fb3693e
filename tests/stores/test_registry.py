"""From a URL to a store, and what is said when there is none."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from store_faults import about_now, slot_of

from payonce import clients
from payonce.errors import MissingExtraError, SettingsError, StoreUnavailableError, StoreUnknownError
from payonce.stores import registry
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import known_scheme, open_store, redact, schemes
from payonce.stores.sqlite import SqliteStore
from payonce.testing import FakeClock


def test_what_is_built_is_known_and_nothing_else() -> None:
    redis = [f"redis{s}{kind}" for s in ("", "s") for kind in ("", "+cluster", "+sentinel")]
    assert set(schemes()) == {"memory", "sqlite", "memcached", "cassette", *redis}


def test_a_memory_store_opens_with_the_given_clock_and_bound() -> None:
    clock = FakeClock()
    with closing(open_store("memory:", clock=clock, max_bytes=1 << 20)) as store:
        assert isinstance(store, MemoryStore)
        assert store.volume().limit_bytes == 1 << 20
        store.put(slot_of(1), b"x", about_now(clock(), ttl=1))
        clock.advance(2)
        assert store.get(slot_of(1)) is None


@pytest.mark.parametrize("form", ["sqlite:{}", "sqlite://{}", "SQLite:{}"])
def test_a_sqlite_store_opens_by_path_and_by_url(tmp_path: Path, form: str) -> None:
    path = tmp_path / "deep" / "er" / "store 1.db"
    with closing(open_store(form.format(path))) as store:
        assert isinstance(store, SqliteStore)
        assert path.exists()


def test_a_tilde_means_the_home_directory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with closing(open_store("sqlite:~/cache/p.db")):
        assert (tmp_path / "cache" / "p.db").exists()


@pytest.mark.parametrize("url", ["mongo://localhost", "mysql://u:secret@h/0", "nothing", "", "redos:h:1"])
def test_an_unknown_scheme_is_refused_with_the_known_ones_and_without_the_password(url: str) -> None:
    with pytest.raises(StoreUnknownError, match=r"memory:, .*sqlite:") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("redis://localhost", "redis"),
        ("rediss://u:secret@h/0", "redis"),
        ("redis+cluster://h", "redis"),
        ("rediss+sentinel://h/s", "redis"),
        ("memcached://h:1", "memcached"),
    ],
)
def test_a_scheme_of_an_extra_names_the_extra(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "is_installed", lambda name: False)
    assert url.partition(":")[0] not in schemes()
    for refuse in (open_store, known_scheme, lambda store: clients.options(store=store)):
        with pytest.raises(StoreUnknownError) as caught:
            refuse(url)
        assert isinstance(caught.value, MissingExtraError)
        assert caught.value.extra == extra
        assert f"pip install 'payonce[{extra}]'" in str(caught.value)
        assert "sqlite:" in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["memory:somewhere", "sqlite:", "sqlite://"])
def test_a_url_that_says_too_much_or_too_little_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="write"):
        open_store(url)


def test_a_memory_store_too_small_for_any_entry_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least"):
        open_store("memory:", max_bytes=1000)


def test_a_guest_package_brings_its_scheme(monkeypatch) -> None:
    point = EntryPoint("guest", "payonce.stores.memory:open_memory", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group, name=None: [point] if name in {None, "guest"} else [])
    assert "guest" in schemes()
    with closing(open_store("guest:")) as store:
        assert isinstance(store, MemoryStore)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:1/0", "redis://user:***@host:1/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://u:se/cr@et@host", "redis://u:***@host"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("redis+sentinel://h/s?sentinel_password=secret", "redis+sentinel://h/s?sentinel_password=***"),
        ("sqlite:a/b:c.db", "sqlite:a/b:c.db"),
        ("memory:", "memory:"),
    ],
)
def test_passwords_are_not_said_aloud(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_store_is_imported_only_when_it_is_opened() -> None:
    code = (
        "import sys, payonce.stores.registry, payonce.testing;"
        "print(*(name in sys.modules for name in ('apsw', 'moka_py', 'pytest')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("apsw.sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreUnavailableError, match=r"3\.51\.3"):
        open_store(f"sqlite:{tmp_path}/p.db")
