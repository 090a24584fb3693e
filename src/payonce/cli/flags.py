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
OnlyModel = Annotated[str | None, Parameter(help="Only models that this glob fits, for example 'anthropic/*'.")]
OnlyTag = Annotated[str | None, Parameter(help="Only entries with this tag.")]
OnlyNamespace = Annotated[str | None, Parameter(help="Only this namespace; '' is the one without a name.")]
SecretFile = Annotated[str | None, Parameter(help="The installation's secret; without it, the one beside the store.")]
Switch = Parameter(negative="")
"""A flag that is only ever switched on."""
