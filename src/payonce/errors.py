"""Every error Payonce raises, as one tree; each message ends with what to do.

PayonceError
├── SettingsError        a flag, an environment variable or payonce.toml says something that can't be done
├── MissingExtraError    an optional dependency is not installed
└── StoreError           a store can't do what was asked
    ├── StoreUnavailableError    it can't be opened or written: disk full, read-only, locked
    └── StoreUnknownError        no store is registered under that URL scheme

This room must never know a store, a transport or a vendor.
"""


class PayonceError(Exception):
    """The root: `except PayonceError` catches whatever Payonce itself raises."""


class SettingsError(PayonceError):
    """A setting is wrong. The message names the setting, its origin (flag, variable, file and line) and the fix."""


class MissingExtraError(PayonceError):
    """A feature needs an extra that is not installed. The message holds the `pip install` line."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed: run  pip install 'payonce[{extra}]'")
        self.extra = extra


class StoreError(PayonceError):
    """A store can't do what was asked."""


class StoreUnavailableError(StoreError):
    """The store can't be opened or written."""


class StoreUnknownError(StoreError):
    """No store is registered under that URL scheme."""
