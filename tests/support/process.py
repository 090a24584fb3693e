"""A gateway in a process of its own, as `payonce serve` starts it, with a bug planted if a test wants one."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from types import TracebackType

from tests.support.gateway import PATIENCE

SEEDED = Path(__file__).with_name("seeded.py")


class GatewayProcess:
    """`async with` starts it in front of the upstream on that loopback port; leaving stops it and keeps its log."""

    def __init__(self, upstream: int, folder: Path, *arguments: str, bug: str = "none", store: str = "") -> None:
        self.arguments = [
            *(sys.executable, str(SEEDED), bug, "serve", "--port", "0", "--cache", "all"),
            *("--upstream", f"http://127.0.0.1:{upstream}/api/v1", "--store", store or f"sqlite:{folder}/cache.db"),
            *arguments,
        ]
        self.port = 0
        self.log = b""
        self.status: int | None = None

    async def __aenter__(self) -> GatewayProcess:
        self._process = await asyncio.create_subprocess_exec(
            *self.arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PAYONCE_READ_BUDGET": f"{PATIENCE}"} | os.environ,
        )
        assert self._process.stdout is not None
        greeting = (await asyncio.wait_for(self._process.stdout.readline(), 60)).decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", greeting)
        if found is None:
            _, log = await self._process.communicate()
            raise RuntimeError(greeting + log.decode())
        self.port = int(found[1])
        return self

    async def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        await self._process.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        _, self.log = await asyncio.wait_for(self._process.communicate(), 60)
        self.status = self._process.returncode
