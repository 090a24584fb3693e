"""No spelling of a store's URL brings its password into a message, however wrong it is."""

from __future__ import annotations

import traceback
from contextlib import closing, suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.servers import redis_server

from payonce.config import Loaded, Settings, check, load
from payonce.errors import PayonceError, StoreError, StoreUrlError
from payonce.stores import memcached_url, redis_url, registry
from payonce.stores.redacted import redact
from payonce.stores.registry import check_url, open_store
from payonce.stores.server_url import ESCAPES, take_apart

CANARY = "kAnArYkAnArY"
"""Never part of anything else that is said."""

ODD = st.text(st.sampled_from("a1@:/?#&%+= \t\n'\"\\,;[]*.é"), max_size=4)
SCHEMES = st.sampled_from(
    (
        *("redis", "rediss", "Redis", "REDIS+CLUSTER", "redis+cluster", "redis+sentinel", "rediss+sentinel"),
        *("memcached", "memory", "sqlite", "cassette", "valkey", "redis-cluster", "rdis", "http"),
    )
)
OPTION = st.sampled_from(("sentinel_password", "sentinel%5Fpassword", "Sentinel_Password", "password", "db"))
EDGE = st.sampled_from(("", "", "", " ", "\n", "\t", '"', "'", "'\""))


@st.composite
def urls(draw: st.DrawFn) -> str:
    """A URL with the canary for a password, in the login or in an option's value, in any odd spelling."""
    secret = f"{draw(ODD)}{CANARY}{draw(ODD)}"
    hosts = draw(st.sampled_from(("127.0.0.1:1", "127.0.0.1", "[::1]:1", "127.0.0.1:1,127.0.0.1:2", "h:port", "[::1")))
    path = draw(st.sampled_from(("", "/", "/0", "/main", "/main/3", "/a/b/c", "/0#x")))
    if draw(st.booleans()):
        url = f"{draw(SCHEMES)}://{draw(ODD)}:{secret}@{hosts}{path}" + draw(st.sampled_from(("", "?db=1", "?foo=1")))
    else:
        url = f"{draw(SCHEMES)}://{hosts}{path}?{draw(st.sampled_from(('', 'db=1&')))}{draw(OPTION)}={secret}"
    return draw(EDGE) + url + draw(EDGE)


def said_of(url: str) -> list[str]:
    """All that is said of a store at `url` before anything connects: errors with their traces, and what is shown."""
    said = [redact(url)]

    def loaded() -> Loaded:
        return load({}, {"HOME": "/", "PAYONCE_STORE": url}, None)

    def opened() -> None:
        if not url.startswith(("sqlite", "cassette")):  # these would make what is named
            open_store(url).close()

    written = "".join(f"\\u{ord(letter):04x}" for letter in url)
    for name, tried in (
        ("check", lambda: check_url(url)),
        ("settings", lambda: Settings(store=url)),
        ("loaded", loaded),
        ("flag", lambda: load({"store": url}, {"HOME": "/"}, None)),
        ("file", lambda: check(f'store = "{written}"\n', "payonce.toml")),
        ("table", lambda: check(f'store = {{ url = "{written}" }}\n', "payonce.toml")),
        ("opened", opened),
    ):
        try:
            said.append(f"{name}: {tried()!r}")
        except PayonceError as error:
            said.append(f"{name}: {''.join(traceback.format_exception(error))}")
    return said


@given(urls())
@example(f"redis://me@corp:{CANARY}@127.0.0.1:1")
@example(f"redis://:pa?{CANARY}@127.0.0.1:1/0")
@example(f"redis://user:12?ca={CANARY}@127.0.0.1:1")
@example(f"redis+sentinel://127.0.0.1:1/m?sentinel_password=a&{CANARY}")
@example(f"redis+sentinel://127.0.0.1:1/m?sentinel_password=a@{CANARY}")
@example(f"redis://user%3A{CANARY}%40127.0.0.1:1")
@example(f"redis://127.0.0.1:1?connect_timeout={CANARY}")
@example(f"{CANARY}@127.0.0.1:1")
@settings(max_examples=400, deadline=None)
def test_a_password_is_in_nothing_that_is_said_of_its_url(url: str) -> None:
    for said in said_of(url):
        assert CANARY not in said


def test_the_canary_would_be_seen() -> None:
    assert any(CANARY in said for said in said_of(f"redis://127.0.0.1/{CANARY}")), "no password stands there"
    assert any(CANARY in said for said in said_of(f"sqlite:/nowhere/{CANARY}"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:1/0", "redis://***@host:1/0"),
        ("redis://:secret@host", "redis://***@host"),
        ("redis://me@corp:secret@host", "redis://***@host"),
        ("redis://u:my secret@host", "redis://***@host"),
        ("redis://u:se/cr@et@host", "redis:…"),
        ("redis://u:se?cret@host/0", "redis:…"),
        ("Redis://u:secret@h,[::1]:3?db=1&prefix=a:", "redis://***@h,[::1]:3?db=1&prefix=a:"),
        ("redis://host/0?password=secret&db=1", "redis:…"),
        ("redis+sentinel://h/s?sentinel%5Fpassword=a b", "redis+sentinel://h/s?sentinel_password=***"),
        ("rediss://u:p@h?ca=our ca.pem&connect_timeout=2.5", "rediss://***@h?ca=our ca.pem&connect_timeout=2.5"),
        ("memcached://a:1,b:2?item_bytes=5000", "memcached://a:1,b:2?item_bytes=5000"),
        ('"redis://u:secret@h"', "…"),
        ("user:secret@h", "user:…"),
        ("secret", "…"),
        ("sqlite:a/b:c.db", "sqlite:a/b:c.db"),
        ("sqlite:///home/me@corp/c.db", "sqlite:///home/me@corp/c.db"),
        ("sqlite:///c.db?key=secret", "sqlite:///c.db?***"),
        ("sqlite://u:secret@h/c.db", "sqlite:…"),
        ("memory:", "memory:"),
    ],
)
def test_what_is_harmless_is_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_every_option_there_is_may_stand_in_a_url_that_is_shown() -> None:
    for name in (*redis_url._OPTIONS, *memcached_url._OPTIONS):
        assert redact(f"redis://h?{name}=1") in (f"redis://h?{name}=1", f"redis://h?{name}=***")


@pytest.mark.parametrize(
    "url",
    [
        *("redis://:pa/ss@h", "redis://:pa?ss@h", "redis://:12?ss@h", "redis://u:12/ss@h"),
        *("redis+sentinel://h/m?sentinel_password=a@b", "redis+sentinel://h/m?sentinel_password=a&b"),
    ],
)
def test_a_url_with_a_password_that_is_not_escaped_is_told_what_to_escape(url: str) -> None:
    with pytest.raises(StoreUrlError) as caught:
        check_url(url)
    assert ESCAPES in str(caught.value)


def test_a_plus_in_any_password_is_a_plus_and_what_is_escaped_is_unescaped() -> None:
    options = "sentinel_user=s+t&sentinel_password=c+d%26%40%2B"
    place = redis_url.read_url("redis+sentinel", f"//u+v:a+%2F%3F%25%40%20b@h/m?{options}")
    assert (place.login.user, place.login.password) == ("u+v", "a+/?%@ b")
    assert (place.sentinel_login.user, place.sentinel_login.password) == ("s+t", "c+d&@+")


def test_a_login_with_an_at_sign_and_a_scheme_in_capitals_are_understood() -> None:
    place = redis_url.read_url("redis", "//me@corp:a b@h")
    assert (place.login.user, place.login.password, place.addresses) == ("me@corp", "a b", (("h", 6379),))
    assert Settings(store="Redis://u:p@h").store == "redis://u:p@h"
    assert Settings(store="SQLite:/nowhere/Cache.db").store == "sqlite:/nowhere/Cache.db"
    assert load({"store": "MEMORY:"}, {"HOME": "/"}, None).settings.store == "memory:"
    assert check('store = "Memory:"\nworkers = 2\n', "payonce.toml")[0].message.endswith("share a store in memory")


@pytest.mark.parametrize("url", [f" redis://u:{CANARY}@h", f'"redis://u:{CANARY}@h"', f"redis://u:{CANARY}@h\n"])
def test_quotes_and_blanks_around_a_url_are_named(url: str) -> None:
    with pytest.raises(PayonceError, match="begins or ends with a blank, a line's end or a quote; leave that out"):
        load({}, {"HOME": "/", "PAYONCE_STORE": url}, None)


def test_one_rule_takes_a_url_apart_for_who_reads_and_who_shows_it() -> None:
    found = take_apart("//a:b@c@h:1,i/x?p=q%26&r")
    assert found is not None
    assert (found.login, found.hosts, found.path, found.options) == ("a:b@c", "h:1,i", "/x", (("p", "q&"), ("r", "")))
    assert "b@c" not in repr(found) and "q&" not in repr(found)


@pytest.mark.parametrize("secret", [CANARY, CANARY + "x" * 200])
def test_a_server_that_repeats_what_it_was_told_at_the_login_is_not_repeated(tmp_path, secret: str) -> None:
    with (
        redis_server(tmp_path, "--rename-command", "AUTH", "ELSEWHAT") as server,
        closing(open_store(f"redis://user:{secret}@127.0.0.1:{server.port}")) as store,
    ):
        with pytest.raises(StoreError, match="unknown command 'AUTH'") as caught:
            store.epochs()
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert CANARY not in repr(vars(store)) + repr(vars(store._live.medium))
        with suppress(StoreError):
            store.raise_epoch("all")
        assert CANARY not in str(registry.unusable(f"redis://user:{secret}@h", caught.value))
