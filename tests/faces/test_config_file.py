"""payonce.toml: where it is looked for, and that everything it gets wrong is said with its line and its fix."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.config import Settings, check, load
from payonce.config_file import find_file, parse
from payonce.config_lines import locate
from payonce.model.policy import Rule
from tests.support.settings import HOME, fault, write

pytestmark = pytest.mark.usefixtures("own_home")


def test_the_file_is_looked_for_in_order(tmp_path: Path) -> None:
    (tmp_path / "home/.config/payonce").mkdir(parents=True)
    (tmp_path / "xdg/payonce").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    environ = {"HOME": f"{tmp_path}/home"}
    assert find_file(environ, tmp_path / "here") is None
    own = write(tmp_path / "home/.config/payonce", "port = 1")
    assert find_file(environ, tmp_path / "here") == own
    xdg = write(tmp_path / "xdg/payonce", "port = 2")
    environ["XDG_CONFIG_HOME"] = f"{tmp_path}/xdg"
    assert find_file(environ, tmp_path / "here") == xdg
    here = write(tmp_path / "here", "port = 3")
    assert find_file(environ, tmp_path / "here") == here
    environ["PAYONCE_CONFIG"] = f"{tmp_path}/any.toml"
    assert find_file(environ, tmp_path / "here") == tmp_path / "any.toml"
    assert "there is no file" in fault({}, environ)
    assert load({}, environ, here).settings.port == 3


def test_a_file_that_can_not_be_trusted_or_read_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1", "x.toml")
    file.chmod(0o666)
    assert "chmod o-w" in fault({}, HOME, file)
    assert "directory" in fault({}, HOME, tmp_path)
    assert "no file" in fault({}, HOME, tmp_path / "gone.toml")
    file.write_bytes(b"share = '\xff'")
    file.chmod(0o600)
    assert "not UTF-8" in fault({}, HOME, file)


def test_an_error_of_a_file_tells_how_many_more_there_are(tmp_path: Path) -> None:
    said = fault({}, HOME, write(tmp_path, "prot = 1\nttl = 0\n"))
    assert said.startswith("payonce.toml line 1: prot: there is no such setting; did you mean port?")
    assert "1 more:  payonce config --check" in said


SICK = """\
port = 99999
hosst = "x"
upstream = [
  "https://a.example/v1",
  "ftp://b",
  3,
]
ttl = "24x"
bad = = 3
worse = [1,
  2
cache = "determinstic"
max-bytes = 3
"fast_lane" = 'no idea'
[[rule]]
match = { modl = "x", tag = 3 }
ttl = 0
prompt = 1
[[rule]]
match.endpoint = [
  "chat/completions",
  "chat/completion",
]
model = "x"
[[rule]]
match = "x"
[server]
port = 1
"""


def test_check_finds_all_problems_each_on_its_line() -> None:
    problems = {(problem.line, problem.message.split(":")[0]): problem for problem in check(SICK, "payonce.toml")}
    assert sorted(problems) == [
        (1, "port"),
        (2, "hosst"),
        (5, "upstream"),
        (6, "upstream"),
        (8, "ttl"),
        (9, "this is not TOML"),
        (10, "this is not TOML"),
        (12, "cache"),
        (13, "max-bytes"),
        (14, "fast_lane"),
        (16, "rule 1, match.modl"),
        (16, "rule 1, match.tag"),
        (17, "rule 1, ttl"),
        (18, "rule 1, prompt"),
        (22, "rule 2, match.endpoint"),
        (24, "rule 2, model"),
        (26, "rule 3, match"),
        (27, "server"),
    ]
    assert problems[2, "hosst"].fix == "did you mean host?"
    assert problems[13, "max-bytes"].fix == "did you mean max_bytes?"
    assert problems[16, "rule 1, match.modl"].fix == "did you mean model?"
    assert problems[22, "rule 2, match.endpoint"].fix == "did you mean chat/completions?"
    assert problems[24, "rule 2, model"].fix.startswith("write match = { model")
    assert all(problem.fix for problem in problems.values())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", [1]),
        ("port = 1\nport = 2\nttl = 0", [2, 3]),
        ('share = "x\nport = 0\n', [1]),
        ('share = """x\nport = 0\n', [1]),
        ("port = [1,\n2,\n\n", [1]),
        ("\n\n[[rule]\nttl = 5\n", [3, 4]),
        ("rule = 3", [1]),
        ("rule = [1]", [1]),
        ("\nrule = { ttl = 3 }", [2]),
        ("host = '0.0.0.0'", [1]),
        (f"[[rule]]\nmatch = {{ tenant = '{'ab12' * 16}' }}\ntenant_bytes = '64MiB'\ntenant_entries = 9", []),
        ("[[rule]]\nmatch = { tenant = 'd596e40501' }\nttl = 9", [2]),
        ("[[rule]]\nmatch = { tag = ['a:b', 'x y'], namespace = 'bad ns' }\nttl = 9", [2, 2]),
        (f"[[rule]]\nmatch = {{ tenant = '{'ab12' * 16}', model = 'x' }}\ntenant_bytes = 1", [3]),
        ("[[rule]]\ntenant_entries = 1", [2]),
        ("store = 'memory:'\nworkers = 2", [2]),
        ("port = 1\r\nttl = 0\r\n", [2]),
        ("[" * 3000, [1]),
    ],
)
def test_check_stays_right_where_a_file_is_broken(text: str, lines: list[int]) -> None:
    found = [problem.line for problem in check(text, "payonce.toml")]
    if text.startswith("\n\n[[rule]"):  # without its header, ttl is a setting of the file: no second problem
        lines = [3]
    assert found == lines


def test_rules_are_read_in_order_with_single_names_and_lists(tmp_path: Path) -> None:
    text = """
    [[rule]]
    match = { model = "anthropic/*", tag = ["a", "b"] }
    cache = "all"
    ttl = "24h"
    stale_while_revalidate = 60
    [[rule]]
    match.endpoint = "/embeddings"
    hit_usage = "free"
    stale_if_error = 1
    prompt_cache = "off"
    prompt_cache_ttl = "5m"
    [[rule]]
    """
    loaded = load({}, HOME, write(tmp_path, text))
    assert loaded.settings.rules == (
        Rule(model=("anthropic/*",), tag=("a", "b"), cache="all", ttl=86400, stale_while_revalidate=60),
        Rule(endpoint=("embeddings",), hit_usage="free", stale_if_error=1, prompt_cache="off", prompt_cache_ttl="5m"),
        Rule(),
    )
    assert loaded.origins["rules"] == "payonce.toml line 2"


# The line locator against tomllib, over generated documents whose lines are known.

KEYS = st.sampled_from(["a", "b-1", "C_c", "1234", '"q k"', "'l.k'", '"\\u00e9"', '"="', '""', "'#'"])
VALUES = st.recursive(
    st.sampled_from(
        [
            "1",
            "-0.5",
            "true",
            "1979-05-27 07:32:00",
            "inf",
            '"s # [ \\" ="',
            "'l \\ ]'",
            '""',
            "''",
            '"""m\nn = 1\n[x]"""',
            '"""\\""" """',
            '""""quoted""""',
            "'''x\ny''''",
            "''''''",
            '""""""',
            '"""a\\\n  b"""',
        ]
    ),
    lambda inner: (
        st.builds(
            lambda items, gap: "[" + gap + ("," + gap).join(items) + gap + "]",
            st.lists(inner, max_size=3),
            st.sampled_from(["", " ", "\n", " # ] , }\n", "\t\n\n"]),
        )
        | st.builds(
            lambda items: "{" + ", ".join(f"k{n} = {item}" for n, item in enumerate(items)) + "}",
            st.lists(inner, max_size=3),
        )
    ),
    max_leaves=6,
)
NOISE = st.sampled_from(["", "\n", "# a = 1\n", "  \t\n", '# """\n'])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[tuple[tuple[str | int, ...], int]]]:
    """A TOML text, and (path, line) of what is in it."""
    text, expected = "", []
    table: tuple[str | int, ...] = ()
    blocks = 0
    for number in range(draw(st.integers(0, 8))):
        text += draw(NOISE) + draw(st.sampled_from(["", "  "]))
        line = text.count("\n") + 1
        kind = draw(st.sampled_from(["key", "key", "dotted", "table", "array"]))
        key = draw(KEYS)
        name = next(iter(tomllib.loads(f"{key} = 0")))
        if kind == "table":
            text += f"[ t{number} . {key} ]"
            table = (f"t{number}", name)
            expected.append((table, line))
        elif kind == "array":
            text += "[[many]]"
            table = ("many", blocks)
            blocks += 1
            expected.append((table, line))
        else:
            text += f"k{number}" + (f" . {key}" if kind == "dotted" else "") + " = " + draw(VALUES)
            expected.append(((*table, f"k{number}"), line))
            if kind == "dotted":
                expected.append(((*table, f"k{number}", name), line))
        text += draw(st.sampled_from(["\n", " # end\n"]))
    return text, expected


def all_paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= all_paths(inner, (*path, key))
    return found


@given(documents())
def test_the_locator_finds_what_tomllib_finds_on_the_right_lines(made: tuple[str, list[Any]]) -> None:
    text, expected = made
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # an inline table over several lines, which TOML 1.0 does not have
        parse(text)
        return
    lines = locate(text)
    assert set(lines) == all_paths(document)
    for path, line in expected:
        assert lines[path] == line
    assert locate(text.replace("\n", "\r\n")) == lines


@given(st.text(alphabet="ab=.[]{}\"'#\\\n, 1", max_size=40))
def test_no_text_makes_the_check_fail(text: str) -> None:
    for problem in check(text, "payonce.toml"):
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.fix
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert check(text, "payonce.toml")
    else:
        assert set(locate(text)) == all_paths(document)


def test_the_quota_of_a_tenant_is_what_the_first_rule_that_sets_one_says(tmp_path: Path) -> None:
    path = tmp_path / "payonce.toml"
    a, b, c = ("a" * 64, "b" * 64, "c" * 64)
    path.write_text(
        "tenant_bytes = 100\ntenant_entries = 7\n"
        f"[[rule]]\nmatch = {{ tenant = '{a}' }}\nttl = 9\n"
        f"[[rule]]\nmatch = {{ tenant = ['{a}', '{b}'] }}\ntenant_bytes = '1KiB'\n"
        f"[[rule]]\nmatch = {{ tenant = '{a}' }}\ntenant_entries = 1\n"
    )
    path.chmod(0o600)
    quotas = load({}, {"HOME": str(tmp_path)}, path).settings.quotas
    assert [quotas.of(tenant) for tenant in (a, b, c)] == [(1024, 7), (1024, 7), (100, 7)]
    assert quotas
    assert not Settings(store="memory:").quotas
