"""Never pay twice for the same tokens: a response cache for language-model APIs.

The lobby: everything that is meant to be used stands here, and is imported when it is first touched.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payonce.config import Settings
    from payonce.errors import (
        MissError,
        MissingClientError,
        MissingExtraError,
        PayonceError,
        RecordingError,
        SettingsError,
        StoreError,
        StoreUnavailableError,
        StoreUnknownError,
    )
    from payonce.stores.registry import open_store

__version__ = "0.1.0"

_ROOMS = {
    "MissError": "payonce.errors",
    "MissingClientError": "payonce.errors",
    "MissingExtraError": "payonce.errors",
    "PayonceError": "payonce.errors",
    "RecordingError": "payonce.errors",
    "Settings": "payonce.config",
    "SettingsError": "payonce.errors",
    "StoreError": "payonce.errors",
    "StoreUnavailableError": "payonce.errors",
    "StoreUnknownError": "payonce.errors",
    "open_store": "payonce.stores.registry",
}

__all__ = [
    "MissError",
    "MissingClientError",
    "MissingExtraError",
    "PayonceError",
    "RecordingError",
    "Settings",
    "SettingsError",
    "StoreError",
    "StoreUnavailableError",
    "StoreUnknownError",
    "__version__",
    "open_store",
]


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'payonce' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return __all__
