"""Every error Payonce raises, as one tree; each message ends with what to do.

PayonceError
├── SettingsError        a flag, an environment variable or payonce.toml says something that can't be done
│   ├── WrongClientError     a transport in a client that it is not for (an AttributeError too)
│   └── StoreUrlError        a store's URL names no store that could be opened
├── MissingExtraError    an optional dependency is not installed
├── MissingClientError   a face for an HTTP client that is not installed (an ImportError too)
├── MissError            mode "replay" was asked for something that is not recorded
└── StoreError           a store can't do what was asked
    ├── StoreUnavailableError    it can't be opened or written: disk full, read-only, locked
    ├── RecordingError           a recording is there, and can't be read
    └── StoreUnknownError        no store is registered under that URL scheme
        └── StoreExtraError      an extra brings it (a MissingExtraError too)

This room must never know a store, a transport or a vendor.
"""


class PayonceError(Exception):
    """The root: `except PayonceError` catches whatever Payonce itself raises."""


class SettingsError(PayonceError):
    """A setting is wrong. The message names the setting, its origin (flag, variable, file and line) and the fix."""


class WrongClientError(SettingsError, AttributeError):
    """A transport was given to a client that it is not for: the other HTTP package's, or async where sync is meant."""


class StoreUrlError(SettingsError):
    """A store's URL can't be used: `what` is wrong with it, `fix` says what to do. Both without a password."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"store: {what}: {fix}")
        self.what = what
        self.fix = fix


class MissingExtraError(PayonceError):
    """A feature needs an extra that is not installed. The message holds the `pip install` line."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed: run  pip install 'payonce[{extra}]'")
        self.extra = extra


class MissingClientError(PayonceError, ImportError):
    """The HTTP client that a face is for is not installed."""

    def __init__(self, module: str, package: str, sdks: str, other: str) -> None:
        super().__init__(
            f"payonce.{module} needs {module}, which is not installed: run  pip install '{package}', "
            f"or use payonce.{other} if your SDK is {sdks}",
            name=module,
        )


class MissError(PayonceError):
    """Mode "replay" never calls upstream, and nothing is recorded for a request.

    `key`, `model` and `endpoint` name the request (empty where it has none), `nearest` what is known of the nearest
    recording, and in which part it differs. The message says what to do.
    """

    def __init__(
        self,
        what: str,
        *,
        key: str = "",
        model: str = "",
        endpoint: str = "",
        nearest: str = "",
        remedy: str = 'run once with mode="record"',
    ) -> None:
        named = [f"{name} {value}" for name, value in (("model", model), ("endpoint", endpoint), ("key", key)) if value]
        said = f'mode "replay" calls no upstream, and {what}' + (f" ({', '.join(named)})" if named else "")
        said += f"; {nearest}" if nearest else ""
        super().__init__(f"{said}; record it: {remedy}")
        self.key = key
        self.model = model
        self.endpoint = endpoint
        self.nearest = nearest


class StoreError(PayonceError):
    """A store can't do what was asked."""


class StoreUnavailableError(StoreError):
    """The store can't be opened or written."""


class StoreFullError(StoreUnavailableError):
    """The store's server answers, and has no room for what is to be written. The message says what to do."""


class NoneIdleError(StoreUnavailableError):
    """No connection is idle: one would have to be made first."""


class RecordingError(StoreError):
    """A recording that mode "replay" was asked for is there, and can't be read. The message names file and fix."""


class StoreUnknownError(StoreError):
    """No store is registered under that URL scheme. `what` is wrong, `fix` says what to do."""

    def __init__(self, what: str, fix: str) -> None:
        PayonceError.__init__(self, f"{what}: {fix}")
        self.what = what
        self.fix = fix


class StoreExtraError(StoreUnknownError, MissingExtraError):
    """An extra brings the store of that URL scheme."""

    def __init__(self, what: str, extra: str, otherwise: str) -> None:
        StoreUnknownError.__init__(self, what, f"run  pip install 'payonce[{extra}]', {otherwise}")
        self.extra = extra
