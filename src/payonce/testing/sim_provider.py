"""The simulated provider as an ASGI app: its routes, its bill, and what it remembers of what it was asked.

What it does as a whole is said in sim.py; what it answers is worded in the rooms of its endpoints. This room must never
know Payonce: it stands for the other side.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from payonce.testing import sim_embed as embed
from payonce.testing import sim_wire as wire
from payonce.testing.sim_answer import Answer, Origin, answer, generation_id
from payonce.testing.sim_ask import Ask, AskError
from payonce.testing.sim_bill import MODELS, Bill, Books, tenant_of
from payonce.testing.sim_cache import NATIVE, CacheMeter
from payonce.testing.sim_call import Call, api_key, joined, jump, lifespan, read_body
from payonce.testing.sim_faults import UNBILLED, Fault, delivery, from_model, parse
from payonce.testing.sim_instead import answer_instead
from payonce.testing.sim_meter import Meter, PlainMeter
from payonce.testing.sim_reply import ClientLeftError, Receive, Reply, Scope, Send
from payonce.testing.sim_tongues import TONGUES, Tongue, read, tongue_of

_KEPT_GENERATIONS: Final = 10_000


class SimulatedProvider:
    """The provider as an ASGI app, and what it can tell about what it was asked.

    `first_token` is in seconds and `tokens_per_second` 0 means at once; `answer_tokens` is the length of prose that no
    limit cuts; `comments` is the number of keep-alive comments before the first event. `record=False` keeps no
    requests, for long runs. `clock` gives seconds since 1970. `meter` counts input; the one by default knows no prompt
    cache, `CacheMeter()` has the strict models of the providers' own. `base_url` is set by `running_sim`.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        first_token: float = 0.0,
        tokens_per_second: float = 0.0,
        answer_tokens: int = 24,
        comments: int = 2,
        record: bool = True,
        clock: Callable[[], float] = time.time,
        meter: Meter | None = None,
    ) -> None:
        self.base_url = ""
        self.calls: list[Call] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.left_early = 0
        self._seed = seed
        self._first_token = first_token
        self._per_token = 1.0 / tokens_per_second if tokens_per_second > 0 else 0.0
        self._answer_tokens = answer_tokens
        self._comments = comments
        self._record = record
        self._ahead = 0.0
        self._clock: Callable[[], float] = lambda: clock() + self._ahead
        self._plain = PlainMeter()
        self._meter: Meter = meter or self._plain
        self._numbers = itertools.count(1)
        self._books = Books()
        self._faults: deque[Fault | None] = deque()
        self._generations: OrderedDict[str, tuple[Answer, bool]] = OrderedDict()

    # ------------------------------------------------------------------------------------ what a test says and asks

    @property
    def bill(self) -> Bill:
        """What was charged until now. A call is charged when it is accepted, whether or not the client stays."""
        return self._books.bill()

    def fault_next(self, fault: str | None, times: int = 1) -> None:
        """Gives the next `times` requests that ask for no fault themselves this one; None lets them pass."""
        self._faults.extend([parse(fault) if fault is not None else None] * times)

    def script(self, faults: Iterable[str | None]) -> None:
        """Queues one fault, or None, for each of the next requests."""
        for fault in faults:
            self.fault_next(fault)

    def advance(self, seconds: float) -> float:
        """Let the provider's clock jump ahead, so that what its caches keep grows older; the time it then shows."""
        self._ahead += max(0.0, seconds)
        return self._clock()

    def reset(self) -> None:
        """Empties the bill, the calls, the counters and the queue of faults. Numbers go on: no answer comes twice."""
        self.calls.clear()
        self._faults.clear()
        self._generations.clear()
        self._books = Books()
        self.max_in_flight, self.left_early = self.in_flight, 0

    def statement(self) -> dict[str, Any]:
        """The bill and the counters, as `GET /_sim/bill` gives them; costs are decimal strings."""
        counters = {"in_flight": self.in_flight, "max_in_flight": self.max_in_flight, "left_early": self.left_early}
        return self.bill.as_json() | counters

    # ------------------------------------------------------------------------------------ one request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        if scope["type"] != "http":
            raise ValueError(f"the simulated provider speaks HTTP only, not {scope['type']}")
        body = await read_body(receive)
        if body is None:
            return None
        path, number = scope["path"], 0
        if not path.startswith("/_sim/"):
            number = next(self._numbers)
            if self._record:
                query = scope["query_string"].decode("latin-1")
                self.calls.append(Call(number, scope["method"], path, query, tuple(scope["headers"]), body))
        now = self._clock()
        tongue = tongue_of(path)
        id_, header = generation_id(self._seed, number, int(now)), b"x-generation-id"
        if tongue.native:
            id_, header = f"msg_{id_[-20:]}", b"request-id"
        reply = Reply(scope, receive, send, id_, header)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await self._route(scope, body, reply, number, now)
        except AskError as error:
            await reply.json(error.status, tongue.error(error.status, str(error), reply.id))
        except ClientLeftError:
            self.left_early += 1
        finally:
            self.in_flight -= 1

    async def _route(self, scope: Scope, body: bytes, reply: Reply, number: int, now: float) -> None:
        headers = joined(scope["headers"])
        match scope["method"], scope["path"]:
            case "POST", path if path in TONGUES:
                await self._say(TONGUES[path], headers, body, reply, number, now)
            case "POST", "/api/v1/embeddings":
                await self._embed(headers, body, reply)
            case "GET", "/api/v1/models":
                await reply.json(200, wire.models(MODELS.values()))
            case "GET", "/api/v1/generation":
                api_key(headers)
                wanted = parse_qs(scope["query_string"].decode("latin-1")).get("id", [""])[0]
                if wanted not in self._generations:
                    raise AskError(404, f"Generation {wanted} not found")
                known, streamed = self._generations[wanted]
                await reply.json(200, wire.generation(known, streamed=streamed))
            case "GET", "/_sim/bill":
                await reply.json(200, orjson.dumps(self.statement()))
            case "POST", "/_sim/clock":
                await reply.json(200, orjson.dumps({"now": self.advance(jump(scope["query_string"]))}))
            case "POST", "/_sim/reset":
                self.reset()
                await reply.json(200, b"{}")
            case _:
                raise AskError(404, "Not Found")

    async def _say(
        self, tongue: Tongue, headers: Mapping[str, str], body: bytes, reply: Reply, number: int, now: float
    ) -> None:
        """One answer of the model, in the words of its endpoint."""
        self._books.requests += 1
        key = api_key(headers, native=tongue.native)
        ask = read(tongue, headers, body)
        fault = self._fault(headers, ask.model.id)
        name = fault.name if fault else ""
        meter = self._plain if name in UNBILLED else self._meter
        told = {**headers, NATIVE: "true"} if tongue.native else headers
        given = meter.charge(ask.endpoint, ask.body, told, now)
        if isinstance(meter, CacheMeter):
            given = meter.diagnosed(given, ask.body, told, reply.id)
        origin = Origin(reply.id, int(now), number, self._seed)
        made = answer(ask, given, fault, origin, tokens=self._answer_tokens)
        if name not in UNBILLED:
            self._books.enter(tenant_of(key), made.charge)
        self._remember(made, streamed=ask.stream)
        reply.delivery = delivery(fault)
        if fault is not None and await answer_instead(
            fault, tongue, reply, stream=ask.stream, now=now, first_token=self._first_token
        ):
            return
        if ask.stream:
            await reply.stream(self._timed(made, ask, tongue, fault, meter))
        else:
            await reply.pause(self._first_token + self._per_token * made.charge.completion_tokens)
            meter.began(given, self._clock())
            await reply.whole(200, tongue.result(made, ask, name), wire.JSON_TYPE)

    def _remember(self, made: Answer, *, streamed: bool) -> None:
        self._generations[made.id] = made, streamed
        if len(self._generations) > _KEPT_GENERATIONS:
            self._generations.popitem(last=False)

    async def _embed(self, headers: Mapping[str, str], body: bytes, reply: Reply) -> None:
        self._books.requests += 1
        key = api_key(headers)
        wanted = embed.read(body)
        fault = self._fault(headers, wanted.model.id)
        name = fault.name if fault else ""
        if name not in UNBILLED:
            self._books.enter(tenant_of(key), wanted.charge)
        reply.delivery = delivery(fault)
        if fault is not None and await answer_instead(
            fault, tongue_of(""), reply, stream=False, now=self._clock(), first_token=self._first_token
        ):
            return
        await reply.pause(self._first_token)
        await reply.whole(200, [embed.result(wanted, reply.id, name)], wire.JSON_TYPE)

    def _fault(self, headers: Mapping[str, str], model: str) -> Fault | None:
        try:
            asked = headers.get("x-sim-fault")
            fault = parse(asked) if asked is not None else from_model(model)
        except ValueError as error:
            raise AskError(400, str(error)) from None
        if fault is None and self._faults:
            return self._faults.popleft()
        return fault

    def _timed(
        self, made: Answer, ask: Ask, tongue: Tongue, fault: Fault | None, meter: Meter
    ) -> Iterator[tuple[float, bytes]]:
        """The events of a stream, each with the seconds before it: comments while the model thinks, then its pace."""
        comments = self._comments if tongue.comment else 0
        wait = self._first_token / max(1, comments)
        for n in range(comments):
            yield (wait if n else 0.0), tongue.comment
        pause, began = wait, False
        name, argument = (fault.name, fault.argument) if fault else ("", "")
        for tokens, event in tongue.events(made, ask, name, argument):
            yield pause, event
            pause = tokens * self._per_token
            if not began:
                began = True
                meter.began(made.charge.input, self._clock())
