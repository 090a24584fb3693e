"""Write the parts of docs/ that are tables of the code: reasons, findings, settings, headers, metrics, commands,
what is not in the key.

    python tools/gen_docs.py [--check]      (`--check` only compares)

Exit 1 when `--check` finds an old page.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import yaml

from payonce.cli import VERBS, make_app
from payonce.config import Settings
from payonce.config_options import OPTIONS
from payonce.core import header_table
from payonce.core.fields import INERT, INERT_PREFIXES
from payonce.core.header_table import Row
from payonce.dialects.tables import CHAT_IGNORED, EMBEDDINGS_IGNORED, MESSAGES_IGNORED, RESPONSES_IGNORED
from payonce.doctor.causes import CAUSES, Severity
from payonce.gateway.metrics_table import ROWS
from payonce.model.reason import REASONS, Kind

DOCS = Path(__file__).parents[1] / "docs"

_KINDS = {
    Kind.BYPASS: "The cache took no part (`fwd=bypass; detail=…`)",
    Kind.MISS: "Nothing could be served (`fwd=miss`, `fwd=stale`, `fwd=request`)",
    Kind.UNKEPT: "The answer was delivered and not kept (`fwd=miss; detail=…`)",
    Kind.REFUSED: "The gateway answered itself (`X-Payonce-Error: …`)",
    Kind.DROPPED: "An entry was lost (`payonce stats`, `/readyz`, `/metrics`)",
}


def reasons() -> str:
    """docs/reasons.md."""
    lines = [
        "# Why not cached",
        "",
        "Everything that was not a hit has one of these names, in headers, counters and commands alike.",
        "Written by `tools/gen_docs.py` from `payonce/model/reason.py`.",
    ]
    for kind, title in _KINDS.items():
        status = kind is Kind.REFUSED
        lines += ["", f"## {title}", ""]
        lines += ["| id | status | what happened | what to do |" if status else "| id | what happened | what to do |"]
        lines += ["|---|---|---|---|" if status else "|---|---|---|"]
        for reason in REASONS.values():
            if reason.kind is kind:
                middle = f" {reason.status} |" if status else ""
                lines.append(f"| `{reason.id}` |{middle} {reason.sentence} | {reason.fix} |")
    return "\n".join(lines) + "\n"


_SEVERITIES = {
    Severity.ERROR: "Errors: the provider refuses the request",
    Severity.WARNING: "Warnings: tokens are paid for again",
    Severity.NOTICE: "Notices: worth knowing; `payonce doctor` still ends with 0",
}


def findings() -> str:
    """docs/findings.md."""
    lines = [
        "# What the doctor finds",
        "",
        "Every finding of [`payonce doctor`](doctor.md) has one of these ids. The third column says what it takes",
        "to see it: one request, or two of a conversation.",
        "Written by `tools/gen_docs.py` from `payonce/doctor/causes.py`.",
    ]
    for severity, title in _SEVERITIES.items():
        lines += ["", f"## {title}", "", "| id | what it is | seen in | what to change |", "|---|---|---|---|"]
        for cause in CAUSES.values():
            if cause.severity is severity:
                lines.append(f"| `{cause.id}` | {cause.sentence} | {cause.scope.value} | {cause.fix} |")
    return "\n".join(lines) + "\n"


def settings() -> str:
    """docs/config.md."""
    defaults = {item.name: item.default for item in fields(Settings)}
    lines = [
        "# Settings",
        "",
        "Every setting is a key of `payonce.toml` and an environment variable `PAYONCE_NAME`; those marked with a flag",
        "are also flags of `payonce serve`. The order is flag, environment, file, default. `payonce config` prints",
        "each value and where it came from; `payonce config --check FILE` says what a file gets wrong, with its line,",
        "and which `PAYONCE_` variables there are no settings for. Other commands go on; `serve` warns of them.",
        "Written by `tools/gen_docs.py` from `payonce/config_options.py`.",
        "",
        "| setting | default | flag | meaning |",
        "|---|---|---|---|",
    ]
    for option in OPTIONS.values():
        default = defaults.get(option.name)
        shown = "a file in your cache directory" if option.name == "store" else f"`{_shown(default)}`"
        note = f" ({option.note})" if option.note else ""
        flag = f"`{option.flag_name}`" if option.flag else ""
        lines.append(f"| `{option.name}` | {shown} | {flag} | {option.help}{note} |")
    return "\n".join(lines) + "\n\n" + (Path(__file__).parent / "config-rules.md").read_text()


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{url}" for _, url in value) if value else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value >> 20} MiB"
    return str(value) if value != "" else "none"


def metrics() -> str:
    """The table in docs/metrics.md."""
    lines = ["| metric | type | meaning |", "|---|---|---|"]
    for row in ROWS:
        label = f"{{{row.label}}}" if row.label else ""
        closed = row.values and row.label not in {"reason", "outcome"}
        values = " Values: " + ", ".join(f"`{value}`" for value in row.values) + "." if closed else ""
        lines.append(f"| `{row.shown}{label}` | {row.type} | {row.help}{values} |")
    return "\n".join(lines)


def commands() -> str:
    """docs/commands.md."""
    whole = make_app().generate_docs()
    first = f"## payonce {next(iter(VERBS))}"
    lines = [
        "# Commands",
        "",
        "`payonce COMMAND --help` says the same. Exit status: 0 done, 1 the thing asked about does not hold, 2 usage.",
        "Written by `tools/gen_docs.py` from the commands themselves.",
        "",
        *(f"- [`{name}`](#payonce-{name}) {sentence}" for name, (_, sentence) in VERBS.items()),
        "",
    ]
    return "\n".join(lines) + "\n" + whole[whole.index(first) :].strip() + "\n"


def headers(rows: Sequence[Row], title: str) -> str:
    """A table of headers in docs/gateway.md."""
    return "\n".join([f"| {title} | meaning |", "|---|---|", *(f"| `{row.written}` | {row.meaning} |" for row in rows)])


def alerts() -> str:
    """The table of alerts in docs/metrics.md."""
    rules = yaml.safe_load((DOCS.parent / "deploy" / "prometheus" / "alerts.yaml").read_text())
    lines = ["| alert | severity | what it means, and what to look at |", "|---|---|---|"]
    found = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    lines += [
        f"| `{one['alert']}` | {one['labels']['severity']} | {one['annotations']['description']} |" for one in found
    ]
    return "\n".join(lines)


def fill(page: str, parts: Mapping[str, str]) -> str:
    """`page` with the text between each `<!-- generated: NAME -->` and the next `<!-- end -->` replaced."""
    for name, text in parts.items():
        before, _, rest = page.partition(f"<!-- generated: {name} -->\n")
        _, _, after = rest.partition("<!-- end -->")
        page = f"{before}<!-- generated: {name} -->\n{text}\n<!-- end -->{after}"
    return page


def pages() -> dict[Path, str]:
    """Every page as it should be."""
    inert = ", ".join(f"`{name}`" for name in sorted(name.decode() for name in INERT))
    inert += "; and everything that begins with " + ", ".join(f"`{prefix.decode()}`" for prefix in INERT_PREFIXES) + "."
    keys, figures, gateway = DOCS / "keys.md", DOCS / "metrics.md", DOCS / "gateway.md"
    said = {
        "request-headers": headers(header_table.REQUEST, "request header"),
        "response-headers": headers(header_table.RESPONSE, "response header"),
    }
    parts = {
        "ignored-chat": _ignored(CHAT_IGNORED),
        "ignored-responses": _ignored(RESPONSES_IGNORED),
        "ignored-messages": _ignored(MESSAGES_IGNORED),
        "ignored-embeddings": _ignored(EMBEDDINGS_IGNORED),
        "inert-headers": inert,
    }
    return {
        DOCS / "reasons.md": reasons(),
        DOCS / "findings.md": findings(),
        DOCS / "config.md": settings(),
        keys: fill(keys.read_text(), parts),
        DOCS / "commands.md": commands(),
        gateway: fill(gateway.read_text(), said),
        figures: fill(figures.read_text(), {"metrics": metrics(), "alerts": alerts()}),
    }


def _ignored(table: Mapping[str, str]) -> str:
    return "\n".join(["| field | why |", "|---|---|", *(f"| `{name}` | {why} |" for name, why in table.items())])


def main() -> int:
    """Write or compare."""
    old = [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in old:
            print(f"{path.relative_to(DOCS.parent)} is old: run  .venv/bin/python tools/gen_docs.py")
        return 1 if old else 0
    written = pages()
    for path in old:
        path.write_text(written[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
