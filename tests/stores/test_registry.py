"""From a URL to a store, and what is said when there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from store_faults import about_now, slot_of
from tests.support.certificates import make_certificates, url_options

from payonce import clients
from payonce.config import Settings, check
from payonce.errors import MissingExtraError, SettingsError, StoreUnavailableError, StoreUnknownError, StoreUrlError
from payonce.stores import registry
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import check_url, open_store, schemes
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
    for refuse in (open_store, check_url, lambda store: clients.options(store=store)):
        with pytest.raises(StoreUnknownError) as caught:
            refuse(url)
        assert isinstance(caught.value, MissingExtraError)
        assert caught.value.extra == extra
        assert f"pip install 'payonce[{extra}]'" in str(caught.value)
        assert "sqlite:" in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory:somewhere", "no name: write  memory:"),
        ("sqlite:", "names no file: write  sqlite:PATH"),
        ("sqlite://", "names no file"),
        ("sqlite:.", "names no file"),
        ("sqlite:///a%00b", "names no file"),
        ("sqlite:~nobody-of-that-name/c.db", "the home of nobody who is known here"),
        ("cassette:", "names no directory: write  cassette:DIR"),
        ("redis:/x", "names no server: write  redis://"),
        ("redis://h:port", "address can't be read: write  host:port"),
        ("redis://h:99999", "address can't be read"),
        ("redis://h/abc", "a database that is not a number"),
        ("redis://h?foo=1", "unknown option behind its [?]"),
        ("redis://h?ca=", "so for a rediss URL"),
        ("rediss://h?ca=", "an empty ca="),
        ("redis://u:hunter2@a,b:2", r"write  redis\+cluster://\S+  for a cluster, or  redis\+sentinel://"),
        ("rediss://a,b", r"write  rediss\+cluster://"),
        ("redis+sentinel://127.0.0.1:1", "names no service"),
        ("redis+cluster://a:1/3", "a cluster has only number 0"),
        ("memcached://a:b", "address can't be read"),
        ("memcached://u:hunter2@h", "no users and passwords"),
        ("memcached://h?item_bytes=-5", "not a number of bytes"),
    ],
)
def test_a_url_that_says_too_much_or_too_little_is_refused(url: str, said: str) -> None:
    for refuse in (check_url, open_store):
        with pytest.raises(StoreUrlError, match=said) as caught:
            refuse(url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("memory:", "sqlite:c.db", "sqlite:///nowhere/c.db", "cassette:.", "redis://h", "rediss://u:p@h:1/3"),
        *("redis+cluster://a,b:1", "rediss+sentinel://a,[::1]/main", "memcached://a,b?item_bytes=5000"),
    ],
)
def test_a_url_that_could_be_opened_is_not_refused_whatever_stands_there(url: str) -> None:
    check_url(url)
    assert Settings(store=url).store == url
    assert check(f'store = "{url}"\n', "payonce.toml") == []


def test_the_files_of_tls_are_looked_at_before_anything_connects(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    check_url(f"rediss+cluster://h?{url_options(tmp_path)}")
    (tmp_path / "both.pem").write_bytes((tmp_path / "cert.pem").read_bytes() + (tmp_path / "key.pem").read_bytes())
    check_url(f"rediss://h?cert={tmp_path}/both.pem")
    locked = ["openssl", "rsa", "-aes128", "-passout", "pass:x", "-in", "key.pem", "-out", "locked.pem"]
    subprocess.run(locked, check=True, capture_output=True, cwd=tmp_path)
    shutil.copy(tmp_path / "ext", tmp_path / "junk.pem")
    for options, said in (
        ("ca={}/gone.pem", r"ca=.*gone\.pem can't be read \(No such file"),
        ("ca={}", r"can't be read \(Is a directory"),
        ("ca={}/junk.pem", "holds no certificate: name"),
        ("cert={}/cert.pem", "no certificate with its private key: .*&key=FILE"),
        ("key={}/key.pem", "without its certificate: add  &cert=FILE"),
        ("cert={0}/cert.pem&key={0}/ca.key", "that belong together"),
        ("cert={0}/cert.pem&key={0}/locked.pem", "without a passphrase"),
        ("cert={0}/cert.pem&key={0}/gone.pem", r"key=.*gone\.pem can't be read"),
    ):
        for refuse in (check_url, open_store):
            with pytest.raises(StoreUrlError, match=said):
                refuse(f"rediss://h?{options.format(tmp_path)}")


def test_settings_refuse_a_url_and_a_files_check_names_its_line() -> None:
    with pytest.raises(SettingsError, match="Settings: store: the redis URL names several servers"):
        Settings(store="redis://a,b")
    for text, said in (
        ("redis://h:port", "address can't be read"),
        ("mongo://x", "no store is known"),
        ("sqlite:", "no file"),
    ):
        [problem] = check(f'ttl = 5\nstore = "{text}"\n', "payonce.toml")
        assert problem.line == 2
        assert said in problem.message
        assert problem.fix.startswith(("write", "use one of"))


def test_a_memory_store_too_small_for_any_entry_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least"):
        open_store("memory:", max_bytes=1000)


GUESTS = """
from payonce.errors import StoreUnavailableError
from payonce.stores.memory import MemoryStore

def good(rest, *, clock, max_bytes): return MemoryStore(max_bytes, clock)
def locked(rest, *, clock, max_bytes): raise StoreUnavailableError("the drawer is locked: unlock it")
def raising(rest, *, clock, max_bytes): raise ValueError(f"there is no table {rest}")
def bare(rest): return MemoryStore(1 << 20)
def empty(rest, *, clock, max_bytes): return object()
number = 5
"""


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings stores, right ones and wrong ones."""
    (tmp_path / "drawers.py").write_text(GUESTS)
    names = ("good", "locked", "raising", "bare", "empty", "number", "unnamed")
    points = [f"{name} = drawers:{name}" for name in names] + ["gone = drawers_gone:good"]
    for package, its in (("drawers", [*points, "twice = drawers:good"]), ("other", ["twice = drawers:bare"])):
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[payonce.stores]", *its, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "drawers", raising=False)


@pytest.mark.usefixtures("guests")
def test_a_guest_package_brings_its_scheme() -> None:
    assert "good" in schemes()
    check_url("good:anything")
    with closing(open_store("good:anything")) as store:
        assert isinstance(store, MemoryStore)
    with pytest.raises(StoreUnavailableError, match="the drawer is locked: unlock it"):
        open_store("locked:")


@pytest.mark.usefixtures("guests")
@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("gone", "drawers_gone:good can't be loaded (ModuleNotFoundError: No module named 'drawers_gone')"),
        ("unnamed", "drawers:unnamed can't be loaded (AttributeError: "),
        ("bare", "drawers:bare can't be called as (rest, *, clock, max_bytes) ("),
        ("number", "drawers:number can't be called as (rest, *, clock, max_bytes) ("),
    ],
)
def test_a_guest_that_could_open_no_store_is_refused_before_anything_starts(scheme: str, said: str) -> None:
    for refuse in (check_url, open_store, lambda url: Settings(store=url)):
        with pytest.raises(StoreUnknownError) as caught:
            refuse(f"{scheme}://u:hunter2@h")
        assert f"stores for {scheme}: are brought by drawers 1.0, but {said}" in str(caught.value)
        assert "install another version of that package, or name another store" in str(caught.value)
        assert "hunter2" not in str(caught.value)
    [problem] = check(f'ttl = 5\nstore = "{scheme}:x"\n', "payonce.toml")
    assert (problem.line, said in problem.message) == (2, True)


@pytest.mark.usefixtures("guests")
def test_a_guest_that_fails_or_gives_no_store_is_named() -> None:
    with pytest.raises(StoreUnavailableError, match=r"drawers 1\.0 failed \(ValueError: there is no table …\)"):
        open_store("raising:drawer")
    with pytest.raises(StoreUnavailableError, match=r"drawers 1\.0 failed \(ValueError\)") as caught:
        open_store("raising://u:hunter2@h")
    assert "hunter2" not in str(caught.value) and caught.value.__suppress_context__
    with pytest.raises(StoreUnknownError, match="drawers:empty gives something of type object, which lacks get, put"):
        open_store("empty:")


@pytest.mark.usefixtures("guests")
def test_a_scheme_that_two_packages_bring_is_refused() -> None:
    with pytest.raises(StoreUnknownError, match=r"bring stores for twice: \(drawers 1\.0, other 1\.0\): uninstall all"):
        check_url("twice:")


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
