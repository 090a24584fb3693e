"""Asking a list of requests once each, so that their answers are in the cache: with bounded concurrency, patience with
an upstream that says "later", and nothing paid for that could not be kept.

`words` says what a request is and how it ended, `lines` reads requests, `rounds` repeats and stops, `watch` looks
whether the store keeps what is paid for, `sender` asks by the very intake and story that serve clients, so that what is
warm here is warm there. This room must never know a
command line, nor show a credential.
"""

from __future__ import annotations

from payonce.warming.lines import read_line, read_request
from payonce.warming.rounds import warm, warm_threads
from payonce.warming.sender import Sender
from payonce.warming.watch import Watch, await_store
from payonce.warming.words import (
    LONGEST_WAIT,
    TRIES,
    Done,
    OnDone,
    Request,
    Sent,
    Summary,
    Unread,
    Warmth,
)

__all__ = [
    "LONGEST_WAIT",
    "TRIES",
    "Done",
    "OnDone",
    "Request",
    "Sender",
    "Sent",
    "Summary",
    "Unread",
    "Warmth",
    "Watch",
    "await_store",
    "read_line",
    "read_request",
    "warm",
    "warm_threads",
]
