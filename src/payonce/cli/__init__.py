"""The commands: one file a verb, imported when it is called; parse, call, print.

Here stand the table of verbs, and how a run ends: 0 done, 1 the thing asked about does not hold, 2 usage. This room
must never know what a verb does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any

from payonce.errors import MissingExtraError, PayonceError

if TYPE_CHECKING:
    from cyclopts import App

VERBS: dict[str, tuple[str, str]] = {
    "serve": ("payonce.cli.serve:serve", "Run the gateway."),
    "demo": ("payonce.cli.demo:demo", "See it work against a simulated provider; needs no API key."),
    "sim": ("payonce.cli.sim:sim", "Run the simulated provider alone."),
    "config": ("payonce.cli.config:config", "Print each setting and where it came from, or check a file."),
    "ls": ("payonce.cli.ls:ls", "List the stored answers, newest first."),
    "show": ("payonce.cli.show:show", "Show one stored answer."),
    "purge": ("payonce.cli.purge:purge", "Purge stored answers by key, model, tag, namespace, tenant or age."),
    "warm": ("payonce.cli.warm:warm", "Ask every request of a file once, so that its answers are in the cache."),
    "export": ("payonce.cli.export:export", "Write stored answers to a file of JSON lines."),
    "import": ("payonce.cli.bring_in:bring_in", "Bring the answers of such a file into a store."),
    "stats": ("payonce.cli.stats:stats", "What the cache did and saved."),
    "simulate": ("payonce.cli.simulate:simulate", "What recorded requests cost, and would cost with Payonce."),
    "doctor": ("payonce.cli.doctor:doctor", "Why a prompt cache is not hit, what that costs, and what to change."),
    "probe": (
        "payonce.cli.probe:probe_model",
        "Ask a provider whether its prompt cache works, and from which length on.",
    ),
    "tokens": ("payonce.cli.tokens:tokens", "Make new tokens for the dashboard and show them, this once."),
    "why": ("payonce.cli.why:why", "Which part of two requests makes their keys differ."),
}
"""Every verb: where it is, and what it does in one sentence."""

_ROOT_FLAGS = ("--help", "-h", "--version")


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; what is Payonce's to say about an error is said in one line."""
    arguments = list(sys.argv[1:] if tokens is None else tokens)
    if tokens is None and arguments[:1] == ["serve"]:
        _stop_at_once()
    try:
        return _run(arguments)
    except PayonceError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough; Python would complain while it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    if find_spec("cyclopts") is None or find_spec("rich") is None:
        raise MissingExtraError("The payonce command", "gateway")
    if arguments and arguments[0] not in VERBS and arguments[0] not in _ROOT_FLAGS:
        return _fail(_unknown(arguments[0]))
    from cyclopts import CycloptsError, UnusedCliTokensError

    try:
        result = make_app()(
            arguments or ["--help"], exit_on_error=False, print_error=False, result_action="return_value"
        )
    except UnusedCliTokensError as error:
        return _fail(
            f"{_public((error.unused_tokens or [''])[0])!r} is one word too many  (payonce {arguments[0]} --help)"
        )
    except CycloptsError as error:
        said = str(error)
        for word in arguments:
            said = said.replace(repr(word)[1:-1], _public(word)).replace(word, _public(word))
        return _fail(f"{said}  (payonce {arguments[0]} --help)" if arguments else said)
    return result if isinstance(result, int) else 0


def _stop_at_once() -> None:
    """Until the gateway serves, which it takes a second to begin, nothing is at stake: a signal ends it on the spot,
    without a traceback. A container's first process would not hear SIGTERM at all without a handler."""
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
        signal.signal(number, partial(_leave, status))


def _leave(status: int, _number: int, _frame: FrameType | None) -> None:
    os._exit(status)


def make_app() -> App:
    """The command line, with every verb registered and none imported."""
    from cyclopts import App

    app = App(
        name="payonce",
        help="Never pay twice for the same tokens: a response cache for language-model APIs.",
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    for name, (target, sentence) in VERBS.items():
        app.command(target, name=name, help=sentence)
    return app


def load_verb(name: str) -> Any:
    """The function behind a verb."""
    module, _, function = VERBS[name][0].partition(":")
    return getattr(import_module(module), function)


def _version() -> str:
    from importlib.metadata import version

    return version("payonce")


def _public(word: str) -> str:
    """A word of the command line, as it may be shown: one that may hold a store's password is not."""
    from payonce.stores.redacted import redact

    if "://" not in word and "@" not in word:
        return word
    name, sign, url = word.partition("=") if word.startswith("-") else ("", "", word)
    return f"{name}{sign}{redact(url)}"


def _unknown(word: str) -> str:
    from payonce.config_types import did_you_mean

    what = "option" if word.startswith("-") else "command"
    return f"there is no {what} {_public(word)!r}; {did_you_mean(word, VERBS) or 'payonce --help lists the commands'}"


def _fail(message: str) -> int:
    """One line on stderr, and the exit code of a usage error."""
    print(f"payonce: {' '.join(message.split())}", file=sys.stderr)
    return 2
