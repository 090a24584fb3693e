"""Flags that several commands share, with their help. This room must never read a value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

ConfigFile = Annotated[
    Path | None, Parameter(help="The configuration file; without it PAYONCE_CONFIG, ./payonce.toml.")
]
StoreUrl = Annotated[str | None, Parameter(help="The store, as for serve: sqlite:PATH, redis://…")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Switch = Parameter(negative="")
"""A flag that is only ever switched on."""
