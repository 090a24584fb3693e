"""The commands, as a user types them: what they print, how they end, and that none ends in a traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import payonce.cli
from payonce import wording
from payonce.cli import VERBS, load_verb, main, output
from payonce.errors import PayonceError

pytestmark = pytest.mark.usefixtures("own_store")


# The command line itself


def test_help_in_a_fresh_process_lists_the_verbs_and_loads_no_server() -> None:
    code = (
        "import sys\nfrom payonce.cli import main\nassert main(['--help']) == 0\n"
        "print([name for name in ('httptools', 'uvicorn', 'apsw', 'moka_py', 'payonce.config') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.rstrip().endswith("[]")
    module = [sys.executable, "-m", "payonce", "--help"]
    text = subprocess.run(module, capture_output=True, text=True, check=True, timeout=60).stdout
    for name in VERBS:
        assert f" {name} " in text


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_exists_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(load_verb(name))
    assert main([name, "--help"]) == 0
    assert "Usage: payonce" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lss", "did you mean ls?"),
        ("frobnicate", "payonce --help"),
        ("--bogus", "payonce --help"),
        ("ls --limt 3", "--limit"),
        ("ls --limit x", "--limit"),
        ("show", "show"),
        ("serve now", "'now' is one word too many"),
        ("show nothex", "hexadecimal"),
        ("show b3:ab", "hexadecimal"),
        ("serve --port x", "flag --port: port: 'x'"),
        ("serve --host 0.0.0.0", "allowed_hosts"),
        ("serve --store memory: --workers 2", "sqlite:"),
        ("serve --config gone.toml", "gone.toml"),
        ("ls --store memory:", "gateway"),
        ("ls --store nosuch:x", "nosuch"),
        ("stats --since x", "24h"),
        ("why a.json b.json", "can't be read"),
    ],
)
def test_a_wrong_line_ends_with_2_and_one_line_that_helps(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("payonce: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_interrupts_are_quiet_and_our_errors_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(error: BaseException) -> Any:
        def run(_arguments: list[str]) -> int:
            raise error

        return run

    monkeypatch.setattr(payonce.cli, "_run", raising(KeyboardInterrupt()))
    assert main([]) == 130
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(payonce.cli, "_run", raising(PayonceError("two\nlines")))
    assert main([]) == 2
    assert capsys.readouterr().err == "payonce: two lines\n"


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(payonce.cli, "find_spec", lambda _name: None)
    assert main(["ls"]) == 2
    assert "pip install 'payonce[gateway]'" in capsys.readouterr().err


# serve and config


def test_serve_hands_its_flags_to_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("payonce.gateway.server.serve", lambda settings, origins: seen.append((settings, origins)) or 7)
    line = "serve --port 0 --upstream http://x/v1 --upstream b=http://y --cache all --ttl 24h --store memory:"
    assert main(line.split()) == 7
    ((settings, origins),) = seen
    assert settings.upstream == (("", "http://x/v1"), ("b", "http://y"))
    assert (settings.port, settings.cache, settings.ttl, settings.store) == (0, "all", 86400, "memory:")
    assert (origins["port"], origins["host"]) == ("flag --port", "default")


def test_config_prints_every_setting_with_its_origin(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "payonce.toml").write_text('port = 1\nstore = "x:"\n[[rule]]\nmatch = { model = "a*" }\nttl = 5\n')
    (tmp_path / "payonce.toml").chmod(0o600)
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "payonce.toml line 1" in out
    assert "environment PAYONCE_STORE" in out
    assert "rule 1: model = a*, ttl = 5" in out
    assert main(["config", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["port"] == {"value": 1, "origin": "payonce.toml line 1"}
    assert document["settings"]["upstream"]["value"] == {"": "https://openrouter.ai/api/v1"}
    assert document["rules"] == {"value": [{"model": ["a*"], "ttl": 5}], "origin": "payonce.toml line 3"}


def test_config_shows_no_password(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYONCE_STORE", "redis://user:hunter2@example/0")
    for line in (["config"], ["config", "--json"]):
        assert main(line) == 0
        assert "hunter2" not in capsys.readouterr().out


def test_config_check_says_all_that_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("port = 0\nprot = 1\nttl = 0\n")
    file.chmod(0o600)
    assert main(["config", "--check", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{file}:2", f"{file}:3"]
    assert "did you mean port?" in lines[0]
    assert main(["config", "--check", str(file), "--json"]) == 1
    assert [problem["line"] for problem in json.loads(capsys.readouterr().out)] == [2, 3]
    file.write_text("port = 0\n")
    assert main(["config", "--check", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["config", "--check", str(file)]) == 0


def test_config_check_names_variables_that_are_no_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my.toml"
    file.write_text("port = 0\n")
    monkeypatch.setenv("PAYONCE_MAX_BYTE", "canary")
    assert main(["config", "--check", str(file)]) == 1
    out = capsys.readouterr().out
    fix = "did you mean PAYONCE_MAX_BYTES?"
    assert f"environment PAYONCE_MAX_BYTE: there is no such setting; {fix}" in out and "canary" not in out
    assert main(["config", "--check", str(file), "--json"]) == 1
    told = {"variable": "PAYONCE_MAX_BYTE", "message": "there is no such setting", "fix": fix}
    assert json.loads(capsys.readouterr().out) == [told]
    assert main(["config"]) == 0, "nothing but the check fails for it"
    assert "payonce: PAYONCE_MAX_BYTE is not a setting and has no effect; " + fix in capsys.readouterr().err


# why

BODY = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}


def asked(capsys: pytest.CaptureFixture[str], a: object, b: object, *more: str) -> tuple[int, str]:
    for name, value in (("a.json", a), ("b.json", b)):
        Path(name).write_text(value if isinstance(value, str) else json.dumps(value))
    code = main(["why", "a.json", "b.json", *more])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_why_names_the_part_and_shows_both_values(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    other = BODY | {"messages": [{"role": "user", "content": long + "b"}], "user": "u"}
    code, out = asked(capsys, BODY | {"messages": [{"role": "user", "content": long + "a"}]}, other)
    assert code == 1
    assert "messages[0].content  moves the key" in out
    assert 'xa"' in out
    assert 'xb"' in out
    assert "user  does not matter" in out
    assert "two keys, because of 1 part\n" in out
    assert max(map(len, out.splitlines())) < 200


def test_why_says_when_it_is_the_same_key(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = asked(capsys, BODY, BODY | {"stream": True, "metadata": {"a": 1}})
    assert (code, out.splitlines()[-1]) == (0, "the same key")
    code, out = asked(capsys, BODY, json.dumps(BODY, indent=8), "--json")
    assert (code, json.loads(out)) == (0, {"same_key": True, "differences": [], "no_key": {}})


def test_why_says_that_a_request_has_no_key_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"model": "m", "input": "hi", "temperature": 0}
    leaning = plain | {"previous_response_id": "resp_1"}
    code, out = asked(capsys, leaning, plain, "--endpoint", "responses")
    assert code == 1
    assert "a has no key, it is never cached (server-state)" in out
    assert "send the whole conversation" in out
    assert out.splitlines()[-1] == "no key to compare"
    code, out = asked(capsys, leaning, leaning, "--endpoint", "responses", "--json")
    found = json.loads(out)
    assert (code, found["same_key"], found["no_key"]) == (1, False, {"a": "server-state", "b": "server-state"})


def test_why_reads_headers_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    a = {"headers": {"Authorization": "Bearer sk-secret", "User-Agent": "x", "X-Beta": "1"}, "body": BODY}
    b = {"headers": {"Authorization": "Bearer sk-other", "User-Agent": "y"}, "body": json.dumps(BODY)}
    code, out = asked(capsys, a, b, "--json")
    found = {item["path"]: item["matters"] for item in json.loads(out)["differences"]}
    assert (code, found) == (1, {"headers.authorization": True, "headers.user-agent": False, "headers.x-beta": True})
    assert "sk-" not in out
    monkeypatch.setenv("PAYONCE_IGNORE_HEADERS", "x-beta")
    monkeypatch.setenv("PAYONCE_SHARE", "team")
    assert asked(capsys, a, b)[0] == 0


@pytest.mark.parametrize(
    ("a", "more", "said"),
    [
        ("{", [], "not strict JSON"),
        ("[]", [], "not a JSON object"),
        ('{"a":1,"a":2}', [], "twice"),
        ({"headers": 3, "body": {}}, [], "object of strings"),
        (BODY, ["--endpoint", "chat/completion"], "did you mean chat/completions?"),
    ],
)
def test_why_refuses_what_has_no_key(a: object, more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = asked(capsys, a, BODY, *more)
    assert code == 2
    assert said in out


# how figures are written


@given(st.integers(-(10**15), 10**15))
def test_money_is_never_shown_as_nothing_nor_far_from_what_it_is(nano: int) -> None:
    shown = wording.money(nano)
    assert shown == wording.money(Decimal(nano).scaleb(-9))
    assert shown.startswith("-$" if nano < 0 else "$")
    read = Decimal(shown.replace("$", "").replace(",", ""))
    assert abs(read - Decimal(nano).scaleb(-9)) <= abs(Decimal(nano)).scaleb(-9) * Decimal("0.05")
    assert (read == 0) == (nano == 0)


def test_one_function_words_money() -> None:
    package = Path(wording.__file__).parent
    wording_too = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r'f"[^"\n]*\$\{', path.read_text()) and path.name != "pytest_plugin.py"  # a variable's name
    ]
    assert wording_too == ["wording.py"]


def test_sizes_spans_money_and_cuts() -> None:
    assert [wording.size(n) for n in (0, 1023, 1024, 1536, 1 << 30)] == ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 GiB"]
    assert [wording.span(n) for n in (0, 59, 60, 5400, 172800)] == ["0 s", "59 s", "1 min", "1.5 h", "2 d"]
    assert [wording.money(n) for n in (0, 1_500_000, 2_500_000_000)] == ["$0.00", "$0.001500", "$2.50"]
    assert [wording.money(Decimal(n)) for n in ("1234.5", "-0.0123", "-0")] == ["$1,234.50", "-$0.0123", "$0.00"]
    assert output.shortened("abc\nd", 10) == "abc\\nd"
    assert output.shortened("a" * 50 + "X" + "b" * 50, 12, 50) == "…aaaaXbbbbbbb…"
    assert wording.safe("a\x1b[0m\u202eb\tc\n") == "a\N{REPLACEMENT CHARACTER}[0m\N{REPLACEMENT CHARACTER}b\tc\n"
