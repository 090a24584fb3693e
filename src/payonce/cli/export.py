"""`payonce export`: the living answers of a store as JSON lines. It must never write a credential or a secret."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import Parameter

from payonce.cli.entries import open_shelf, seal_name
from payonce.cli.flags import ConfigFile, OnlyModel, OnlyNamespace, OnlyTag, SecretFile, StoreUrl
from payonce.cli.output import complain
from payonce.cli.progress import progress
from payonce.errors import PayonceError
from payonce.listing import Shelf, fitting
from payonce.model.key import Key
from payonce.model.ports import Row
from payonce.moving import fresh
from payonce.moving_lines import to_line
from payonce.wording import size


def export(
    file: Path | None = None,
    /,
    *,
    limit: Annotated[int, Parameter(help="How many to export, newest first; 0 exports all.")] = 0,
    model: OnlyModel = None,
    tag: OnlyTag = None,
    namespace: OnlyNamespace = None,
    store: StoreUrl = None,
    secret_file: SecretFile = None,
    config: ConfigFile = None,
) -> int:
    """Write stored answers as JSON lines, one an entry. What was purged or has outlived its TTL is left out.

    The lines hold questions' keys and whole answers, but no API key and no secret. Another installation can hit them
    only if it has this one's secret file (docs/moving.md).

    Parameters
    ----------
    file
        Where to write; it appears whole or not at all. A pipe or a device is written to as it is. Without a file, to
        standard output.
    """
    wanted = fitting(model, tag, namespace)
    with open_shelf(store, config, secret_file=secret_file) as shelf, _output(file) as output:
        written, left_out, amount = _write(shelf, wanted, limit, output)
    complain(f"exported {written} {'entry' if written == 1 else 'entries'}, {size(amount)}")
    if left_out:
        complain(f"left out {left_out}: purged, past their TTL, or not sealed with this installation's secret")
    if written:
        complain("another installation can hit them only with this one's secret file (docs/moving.md)")
    return 0


def _write(shelf: Shelf, wanted: Callable[[Row], bool], limit: int, output: BinaryIO) -> tuple[int, int, int]:
    """How many were written and how many of those asked for were not, and the bytes."""
    seen = written = amount = 0
    mark = seal_name(shelf.secret)

    with progress("exporting", shelf.store.volume().entries) as gauge:
        for listed in shelf.looked_at(wanted):
            seen += 1
            if listed is not None and fresh(listed.entry, shelf.clock()):
                line = to_line(Key(listed.row.slot[:-1], listed.framing == "stream"), listed.entry, mark)
                output.write(line)
                written, amount = written + 1, amount + len(line)
            gauge.show(seen, f"{written} entries, {size(amount)}")
            if written == limit > 0:
                break
    return written, seen - written, amount


@contextmanager
def _output(file: Path | None) -> Iterator[BinaryIO]:
    """The file, under another name until it is whole; readable by its owner only, as answers are nobody else's."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # /dev/null is not to become a file
            with file.open("wb") as output:
                yield output
            return
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as output:  # noqa: PTH123 - a descriptor with its mode from the start
            yield output
            output.flush()
            os.fsync(output.fileno())
        draft.replace(file)
    except OSError as error:
        raise PayonceError(f"{file} can't be written ({error.strerror}); choose another place") from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
