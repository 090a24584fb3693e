"""The gateway and the library keep books: each answer says under which id its receipt is filed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2

from payonce.books.file import BooksFile
from payonce.books.reader import Reader
from payonce.config import Settings
from payonce.httpx2 import Client
from payonce.testing.sim import running_sim
from tests.support import words
from tests.support.gateway import PATIENCE, running_gateway, until


def test_every_answer_of_the_gateway_names_its_receipt(tmp_path: Path) -> None:
    with running_sim() as sim, running_gateway(sim.base_url, store=f"sqlite:{tmp_path / 'c.db'}") as gateway:
        books = gateway.gateway.world.books
        assert books is not None
        body = words.chat(model="sim/small")
        replies = [gateway.post(body) for _ in range(3)]
        replies.append(gateway.post(body, X_OpenRouter_Cache="false"))
        replies.append(gateway.post(words.chat(model="sim/small", stream=True, max_tokens=5)))
        replies.append(gateway.post(body + b" oh no"))
        ids = [reply["x-payonce-request-id"] for reply in replies]
        assert len(set(ids)) == len(replies)
        assert until(lambda: all(books.reader.receipt(name) for name in ids), 30)
        found = [books.reader.receipt(name) for name in ids]
        assert [each and each.outcome for each in found] == ["miss", "hit", "hit", "bypass", "miss", "bypass"]
        assert [each and each.reason for each in found] == ["absent", "", "", "client-off", "absent", "bad-json"]
        first = found[0]
        assert first is not None
        assert first.call is not None
        assert first.call.request == ids[0]
        assert until(lambda: books.reader.total(0).fast == 1, 30)


def test_a_fast_hit_repeated_within_a_second_is_one_receipt(tmp_path: Path) -> None:
    with running_sim() as sim, running_gateway(sim.base_url, store=f"sqlite:{tmp_path / 'c.db'}") as gateway:
        books = gateway.gateway.world.books
        assert books is not None
        body = words.chat(model="sim/small")
        ids = [gateway.post(body)["x-payonce-request-id"] for _ in range(60)]
        assert until(lambda: books.reader.total(0).requests == 60, 30)
        for name in dict.fromkeys(ids):
            filed = books.reader.receipt(name)
            assert filed is not None
            assert filed.times == ids.count(name)
        assert sum(each.times for each in books.reader.recent(limit=60)) == 60


def test_what_has_no_receipt_names_none(tmp_path: Path) -> None:
    with running_sim() as sim, running_gateway(sim.base_url, store=f"sqlite:{tmp_path / 'c.db'}") as gateway:
        body = words.chat(model="sim/small")
        told = gateway.post(body)
        assert len(told["x-payonce-request-id"]) == 16 and int(told["x-payonce-request-id"], 16)
        nameless = [
            gateway.post(body, X_Payonce_Sample="x"),
            gateway.post(body, host="elsewhere.example"),
            gateway.post(body, "/api/v1/completions"),
        ]
        assert [reply["x-payonce-request-id"] for reply in nameless] == [""] * 3


def test_without_books_no_answer_names_a_receipt() -> None:
    with running_sim() as sim, running_gateway(sim.base_url, ledger="off") as gateway:
        assert [gateway.post(words.chat(model="sim/small"))["x-payonce-request-id"] for _ in range(3)] == [""] * 3


def test_the_library_keeps_books_too(tmp_path: Path) -> None:
    question: dict[str, Any] = {
        "content": words.chat(model="sim/small"),
        "headers": {"content-type": "application/json", "authorization": "Bearer sk-x"},
    }
    with running_sim() as sim:
        patient = Settings(read_budget=PATIENCE)
        with Client(store=f"sqlite:{tmp_path / 'c.db'}", cache="all", settings=patient) as client:
            for _ in range(4):
                reply: httpx2.Response = client.post(f"{sim.base_url}/chat/completions", **question)
                assert reply.status_code == 200
        reader = Reader(BooksFile(tmp_path / "c.db.ledger"), time.time)
        total = reader.total(0)
        assert (total.hits, total.misses, total.calls) == (3, 1, 1)
        assert total.paid_nano == round(sim.bill.cost * 10**9)
        assert total.avoided_nano == 3 * total.paid_nano
        reader.close()
