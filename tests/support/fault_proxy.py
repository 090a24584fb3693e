"""A TCP proxy that goes wrong when a test says so: slow, silent, cut, in slivers, with garbage, or not there at all.

Faults are attributes and hold from the next piece of data on. Only what the server says is tampered with, unless `hole`
swallows both ways, or `twist` changes what it is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator

Garbler = Callable[[bytes], bytes]


class FaultProxy:
    """Between clients of `port` and a server on loopback."""

    def __init__(self, target: int, seed: int = 1) -> None:
        self.target = target
        self.port = 0
        self.url = ""
        """The server's, by way of the proxy; whoever made the proxy says it."""
        self.latency: float | tuple[float, float] = 0.0
        """Seconds before each piece of an answer is passed on; two numbers are a range."""
        self.hole = False
        """Everything is swallowed; connections stay open, new ones are accepted."""
        self.reset_after: int | None = None
        """Bytes of answers on a connection, before it is reset."""
        self.sliver: int | None = None
        """Answers come in pieces of so many bytes, each after `latency`."""
        self.garble: Garbler | None = None
        """What becomes of an answer."""
        self.twist: Garbler | None = None
        """What becomes of a question."""
        self.connections = 0
        self.open = 0
        self.requests = 0
        self._dice = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def heal(self) -> None:
        """No more faults."""
        self.latency, self.hole, self.reset_after, self.sliver, self.garble = 0.0, False, None, None, None
        self.twist = None

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self._loop.call_soon_threadsafe(self._cut)

    def __enter__(self) -> FaultProxy:
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="fault-proxy", daemon=True
        )
        self._thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            back, far = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(far)
            pumps = [
                asyncio.ensure_future(self._pump_out(reader, far)),
                asyncio.ensure_future(self._pump_back(back, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, far):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()
            self.open -= 1
            self._tasks.discard(task)

    async def _pump_out(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.requests += 1
            if not self.hole:
                far.write(data if self.twist is None else self.twist(data))
                await far.drain()

    async def _pump_back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await back.read(1 << 16):
            if self.garble is not None:
                data = self.garble(data)
            size = self.sliver or len(data) or 1
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                await self._delay()
                if self.hole:
                    continue
                if self.reset_after is not None and passed + len(piece) > self.reset_after:
                    writer.write(piece[: max(0, self.reset_after - passed)])
                    await asyncio.sleep(0)
                    return
                writer.write(piece)
                await writer.drain()
                passed += len(piece)

    async def _delay(self) -> None:
        latency = self.latency
        if isinstance(latency, tuple):
            latency = self._dice.uniform(*latency)
        if latency:
            await asyncio.sleep(latency)


@contextlib.contextmanager
def fault_proxy(target: int) -> Iterator[FaultProxy]:
    """A proxy in front of the server on `target`."""
    with FaultProxy(target) as proxy:
        yield proxy
