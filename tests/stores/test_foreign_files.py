"""A database of another program that is named by mistake, as store or ledger: it is refused in a sentence, and stays as
it was, to the byte. The gateway and the library go on with memory; commands end with 2."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from store_faults import about_now, slot_of
from tests.support.gateway import GatewayChild, ask

from payonce.books.file import BooksFile
from payonce.config import Settings
from payonce.errors import StoreUnavailableError
from payonce.httpx2 import AsyncClient, Client
from payonce.stores.sqlite import SqliteStore
from payonce.stores.sqlite_look import strange
from payonce.testing import FakeClock
from payonce.testing.sim import SimulatedProvider

SENTENCE = "another program's database"
MAKE = """
import os, sqlite3, sys
path, journal, extra, end = sys.argv[1:]
db = sqlite3.connect(path)
db.execute(f"PRAGMA journal_mode = {journal}")
db.execute("PRAGMA wal_autocheckpoint = 0")
db.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
db.executemany("INSERT INTO customers (name) VALUES (?)", [(f"customer {n}",) for n in range(2000)])
db.execute("CREATE INDEX by_name ON customers (name)")
db.executescript(extra)
db.commit()
if end == "kill":
    os._exit(0)  # what stands in the log has not been written back
db.close()
"""


def make(path: Path, journal: str = "DELETE", extra: str = "", end: str = "close") -> Path:
    """Another program's database, made by another SQLite in another process."""
    path.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", MAKE, str(path), journal, extra, end], check=True)
    path.chmod(0o644)
    return path


def seen(path: Path) -> dict[str, tuple[bytes, int]]:
    """The file and its log, and who may read them; an index of a log holds nothing of its own."""
    files = [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal")]
    return {file.name: (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) for file in files if file.exists()}


def is_well(path: Path) -> bool:
    """Whether its own program finds everything in it, and nothing was put aside."""
    with closing(sqlite3.connect(path)) as db:
        whole = db.execute("SELECT count(*) FROM customers").fetchone() == (2000,)
        return whole and db.execute("PRAGMA integrity_check").fetchone() == ("ok",) and not asides(path)


def asides(path: Path) -> list[Path]:
    return list(path.parent.glob("*.set-aside-*"))


@pytest.mark.parametrize(
    ("journal", "extra", "end"),
    [
        ("DELETE", "", "close"),
        ("DELETE", "PRAGMA application_id = 4711", "close"),
        ("DELETE", "PRAGMA user_version = 1", "close"),
        ("DELETE", "CREATE TABLE entries (id); CREATE TABLE notes (id)", "close"),
        ("WAL", "", "close"),
        ("WAL", "PRAGMA user_version = 9", "kill"),
    ],
)
def test_it_is_refused_and_left_as_it_is(journal: str, extra: str, end: str, tmp_path: Path) -> None:
    path = make(tmp_path / "theirs" / "crm.db", journal, extra, end)
    before = seen(path)
    assert (f"{path.name}-wal" in before) is (end == "kill")
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=SENTENCE):
            SqliteStore(path, 4 << 20, FakeClock())
        with pytest.raises(StoreUnavailableError, match=SENTENCE):
            BooksFile(path).writer()
        assert seen(path) == before
    assert is_well(path)


def test_it_is_refused_while_its_program_writes_to_it(tmp_path: Path) -> None:
    path = make(tmp_path / "theirs" / "crm.db", "WAL")
    busy = (
        "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\ndb.execute('BEGIN IMMEDIATE')\n"
    )
    busy += "db.execute(\"INSERT INTO customers (name) VALUES ('one more')\")\nprint('begun', flush=True)\ninput()\n"
    busy += "db.execute('ROLLBACK')"
    with subprocess.Popen(
        [sys.executable, "-c", busy, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None and program.stdin is not None
        assert program.stdout.readline() == b"begun\n"
        before = seen(path)
        with pytest.raises(StoreUnavailableError, match=SENTENCE):
            SqliteStore(path, 4 << 20, FakeClock())
        assert seen(path) == before
        program.stdin.write(b"\n")
    assert program.returncode == 0
    assert is_well(path)


def test_our_own_files_in_each_others_places_are_left_alone_too(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with closing(SqliteStore(path, 4 << 20, FakeClock())) as store:
        store.put(slot_of(1), b"1", about_now(FakeClock()()))
        assert store.flush()
    books = BooksFile(tmp_path / "books.db")
    books.writer().close()
    before = seen(path), seen(tmp_path / "books.db")
    with pytest.raises(StoreUnavailableError, match=SENTENCE):
        BooksFile(path).writer()
    with pytest.raises(StoreUnavailableError, match=SENTENCE):
        SqliteStore(tmp_path / "books.db", 4 << 20, FakeClock())
    assert (seen(path), seen(tmp_path / "books.db")) == before


def test_a_control_a_damaged_file_of_ours_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    SqliteStore(path, 4 << 20, FakeClock()).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 4711")
        db.commit()
    SqliteStore(path, 4 << 20, FakeClock()).close()
    assert len(asides(path)) == 1, "what is in it says that it is ours, whatever its number says"


def test_a_gateway_goes_on_with_memory(sim: SimulatedProvider, tmp_path: Path) -> None:
    path = make(tmp_path / "theirs" / "crm.db")
    before = seen(path)
    arguments = ("--port", "0", "--cache", "all", "--upstream", sim.base_url, "--store", f"sqlite:{path}")
    with GatewayChild(tmp_path, *arguments) as gateway:
        first, second = gateway.post(ask("q")), gateway.post(ask("q"))
        assert (first.status, first.hit, second.status, second.hit) == (200, False, 200, True)
        page = gateway.get("/readyz").json()
        assert page["status"] == "degraded"
        assert any(SENTENCE in note and "memory" in note for note in page["notes"])
    assert SENTENCE in gateway.err.decode() + gateway.out.decode()
    assert seen(path) == before
    assert is_well(path)


def test_a_gateway_whose_ledger_it_is_told_to_be_goes_on(sim: SimulatedProvider, tmp_path: Path) -> None:
    path = make(tmp_path / "theirs" / "crm.db")
    before = seen(path)
    arguments = ("--port", "0", "--cache", "all", "--upstream", sim.base_url, "--store", f"sqlite:{tmp_path}/c.db")
    with GatewayChild(tmp_path, *arguments, PAYONCE_LEDGER=str(path)) as gateway:
        assert gateway.post(ask("q")).status == gateway.post(ask("q")).status == 200
    assert SENTENCE in gateway.err.decode()
    assert seen(path) == before
    assert is_well(path)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_clients_of_the_library_go_on_with_memory(
    asynchronous: bool, sim: SimulatedProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make(tmp_path / "theirs" / "crm.db")
    before = seen(path)
    settings = Settings(store=f"sqlite:{path}", secret_file=str(tmp_path / "secret"))
    url, headers = f"{sim.base_url}/chat/completions", {"authorization": "Bearer k"}
    if asynchronous:
        async with AsyncClient(cache="all", settings=settings) as client:
            answers = [await client.post(url, json=ask("q"), headers=headers) for _ in range(2)]
    else:
        with Client(cache="all", settings=settings) as here:
            answers = [here.post(url, json=ask("q"), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["x-openrouter-cache-status"] for answer in answers] == ["MISS", "HIT"]
    assert SENTENCE in caplog.text
    assert seen(path) == before
    assert is_well(path)


@pytest.mark.parametrize("end", ["close", "kill"])
def test_commands_end_with_2_and_name_it(end: str, tmp_path: Path) -> None:
    path = make(tmp_path / "theirs" / "crm.db", "WAL", "", end)
    before = seen(path)
    requests = tmp_path / "requests.jsonl"
    requests.write_text(json.dumps(ask("q")) + "\n")
    for command in (
        ("ls",),
        ("show", "00" * 32),
        ("stats",),
        ("purge", "--all", "--yes"),
        ("export", str(tmp_path / "out.jsonl")),
        ("import", str(requests)),
        ("warm", str(requests), "--upstream", "http://127.0.0.1:9/v1", "--key-env", ""),
        ("doctor", "--live"),
    ):
        done = payonce(tmp_path, *command, "--store", f"sqlite:{path}")
        assert done.returncode == 2, command
        assert SENTENCE in done.stderr, command
        assert "Traceback" not in done.stderr
        assert seen(path) == before, command
    assert is_well(path)


def payonce(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "payonce", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, cwd=home, check=False)


TOGGLE = """
import os, sys
while True:
    open(sys.argv[1], "wb").write(b"x")
    os.unlink(sys.argv[1])
"""


def test_a_log_that_another_process_makes_and_removes_meanwhile_disturbs_nobody(tmp_path: Path) -> None:
    """A look that asked twice, whether it is there and how long it is, fell between some three times in these."""
    path = make(tmp_path / "theirs.db")
    other = subprocess.Popen([sys.executable, "-c", TOGGLE, str(path) + "-wal"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(4000):
            assert strange(path) in {"it is another program's database", ""}
        assert other.poll() is None
    finally:
        other.kill()
        other.wait(10)
