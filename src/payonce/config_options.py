"""THE table of settings: every one has a row here, with its reader and one sentence on what it does.

Flags, PAYONCE_ variables, payonce.toml, `payonce config` and docs/config.md all read this table; the defaults stand in
`config.Settings`. This room must never know which value was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

from payonce import config_types as t
from payonce import config_urls as u

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

CACHE_MODES = ("deterministic", "all", "opt-in", "off")
HIT_USAGES = ("verbatim", "free", "zero")
CHANGED_MODELS = ("keep", "retire", "retire-fingerprint")
PROMPT_CACHES = ("auto", "respect", "off")
PROMPT_CACHE_TTLS = ("auto", "5m", "1h")
ENDPOINTS = ("chat/completions", "responses", "messages", "embeddings")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. `flag` says that `payonce serve` takes it; `note` is what its reader should know besides."""

    name: str
    read: t.Reader
    help: str
    flag: bool = False
    note: str = ""

    @property
    def flag_name(self) -> str:
        """How it is written on a command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "PAYONCE_" + self.name.upper()


_SECONDS = t.number(0.05, 86400)

_ROWS = (
    Option("host", u.listen_host, "the address to listen on", flag=True),
    Option("port", t.integer(0, 65535), "the port to listen on; 0 takes any free one", flag=True),
    Option("upstream", u.upstreams, "the URL that the path behind /v1 is appended to, or NAME=URL", flag=True),
    Option("store", u.store_url, "where answers are kept: sqlite:PATH, memory:, cassette:DIR, redis://…", flag=True),
    Option("cache", t.choice(*CACHE_MODES), "which requests are cached", flag=True),
    Option("ttl", t.seconds(1, t.YEAR), "for how many seconds an answer is fresh", flag=True),
    Option("ttl_jitter", t.number(0, 0.5), "by which fraction lifetimes are spread, so that they don't end together"),
    Option("workers", t.integer(1, 64), "how many processes serve", flag=True),
    Option(
        "stale_while_revalidate", t.seconds(0, t.YEAR), "seconds in which a stale answer is served while it is renewed"
    ),
    Option("stale_if_error", t.seconds(0, t.YEAR), "seconds in which a stale answer is served when the upstream fails"),
    Option("hit_usage", t.choice(*HIT_USAGES), "what usage a hit reports"),
    Option("convert", t.switch, "answer a stream from a stored whole answer and the reverse, where nothing is lost"),
    Option("prompt_cache", t.choice(*PROMPT_CACHES), "what is done so that the provider's prompt cache works"),
    Option("prompt_cache_ttl", t.choice(*PROMPT_CACHE_TTLS), "the lifetime asked for at cache breakpoints"),
    Option(
        "changed_models",
        t.choice(*CHANGED_MODELS),
        "what becomes of stored answers when another model answers to the same name",
    ),
    Option("max_bytes", t.size(64 * KIB, 1024 * TIB), "how large the store may grow"),
    Option(
        "tenant_bytes",
        t.size(0, 1024 * TIB),
        "how much of a local store one tenant may hold; 0: no bound",
        note="When a store is full, the tenant that holds most gives first, whatever this says.",
    ),
    Option("tenant_entries", t.integer(0, 1_000_000_000), "how many entries one tenant may hold; 0: no bound"),
    Option("memory_bytes", t.size(0, TIB), "how large the memory tier may grow, in each worker"),
    Option("max_entry_bytes", t.size(KIB, GIB), "the largest answer that is kept"),
    Option("max_batch_bytes", t.size(KIB, 4 * GIB), "the largest answer to a batch of embeddings that is kept"),
    Option("max_body_bytes", t.size(KIB, 4 * GIB), "the largest request body that is taken"),
    Option("max_flights", t.integer(1, 1_000_000), "how many upstream calls may be followed at once"),
    Option(
        "flight_wait",
        t.number(0, 3600),
        "seconds to wait for another process that makes the same call; 0: each process makes its own",
    ),
    Option("max_connections", t.integer(1, 1_000_000), "how many client connections a worker holds"),
    Option("header_timeout", _SECONDS, "seconds in which a request's headers must arrive"),
    Option("body_timeout", _SECONDS, "seconds in which a request's body must arrive"),
    Option("idle_timeout", _SECONDS, "seconds that an idle client connection is kept"),
    Option("connect_timeout", _SECONDS, "seconds for a connection to the upstream"),
    Option("first_byte_timeout", _SECONDS, "seconds until the upstream's first byte"),
    Option("between_bytes_timeout", _SECONDS, "seconds between two pieces of the upstream's answer"),
    Option("total_timeout", _SECONDS, "seconds for a whole answer"),
    Option("drain_timeout", t.number(0, 86400), "seconds in which running answers may end at shutdown"),
    Option("read_budget", t.number(0.001, 60), "seconds that a lookup may take before it counts as a miss"),
    Option("allowed_hosts", t.names(u.allowed_host), "further values that the Host header may have"),
    Option("allowed_origins", t.names(u.allowed_origin), "web origins that may call"),
    Option(
        "forward_cache_headers", t.switch, "pass X-OpenRouter-Cache headers on, so that its cache is a further tier"
    ),
    Option("ignore_headers", t.names(t.ignored_header), "request headers that don't change answers"),
    Option("share", t.share, "empty: each API key is its own tenant; a name: all callers share that tenant"),
    Option("secret_file", t.path_text, "the file with the secret that seals entries; empty: beside the store"),
    Option("fast_lane", t.switch, "answer repeated requests before anything else runs"),
    Option("ledger", t.ledger_place, "where receipts and figures are kept: auto (beside the store), off, or a path"),
    Option("ledger_bytes", t.size(MIB, TIB), "how large the ledger's file may grow"),
    Option(
        "request_log", t.path_text, "a file to which prompts are recorded, for payonce simulate and doctor; empty: none"
    ),
    Option("request_log_bytes", t.size(KIB, TIB), "how large the request log may grow"),
    Option("access_log", t.log_place, "a file for one line of JSON a request; -: standard output; off: none"),
    Option("log_level", t.choice("debug", "info", "warning", "error"), "how much is logged"),
    Option("dashboard", t.choice("auto", "token", "off"), "who may open /_payonce/: auto asks others for a token"),
    Option("show_content", t.switch, "let the dashboard show prompts and answers"),
)

OPTIONS: dict[str, Option] = {option.name: option for option in _ROWS}

RULE_SETS = (
    "cache",
    "ttl",
    "stale_while_revalidate",
    "stale_if_error",
    "prompt_cache",
    "prompt_cache_ttl",
    "hit_usage",
    "changed_models",
    "tenant_bytes",
    "tenant_entries",
)
"""What a `[[rule]]` may set."""
RULE_QUOTAS = ("tenant_bytes", "tenant_entries")
"""Of these, what holds for a tenant as a whole: such a rule matches on `tenant` and nothing else."""
RULE_MATCHES = ("model", "endpoint", "namespace", "tenant", "tag")
"""What the `match` of a `[[rule]]` may ask."""
