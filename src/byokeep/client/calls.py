"""The calls that a process made with its jobs' credentials, reported to the broker.

Rules
- A call is reported within :data:`SAY_EVERY_S`, with the lease it was made under. After a lost reply it is reported
  again under the same id, which changes nothing.
- When a lease's holder is done, it says how many calls there were. A process that dies says nothing, so people see that
  its calls are unknown.
- Reporting never holds up a job. What cannot be reported is dropped in the end, and is then unknown.
- At most :data:`MOST_KEPT` waiting calls are kept, of all leases together. The rest are counted.

It may not keep or send an argument: its digest is sent, and the broker keeps a keyed digest of that.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.core.secret import Secret
from byokeep.core.usage import CallResult

if TYPE_CHECKING:
    from byokeep.client.http import Broker

SAY_EVERY_S: Final = 1.0
LAST_S: Final = 5.0  # seconds for what is left when the process's connection ends
MOST_KEPT: Final = 10_000  # calls of a process that wait to be reported
_TOGETHER: Final = 100


class ToldCall(NamedTuple):
    """One call: which secret, what was called, how it ended, and its arguments."""

    secret: str
    tool: str
    outcome: CallResult
    args: bytes | None


@dataclass(slots=True)
class _OfLease:
    token: Secret
    waiting: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    count: int = 0
    done: bool = False


class CallLog:
    """What is still to be reported of one process's calls."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._leases: dict[str, _OfLease] = {}
        self._waiting = 0
        self._telling: asyncio.Task[None] | None = None

    def note(self, lease_id: str, token: Secret, call: ToldCall) -> None:
        """Note one call that was just made."""
        of = self._leases.setdefault(lease_id, _OfLease(token))
        of.count += 1
        if self._waiting < MOST_KEPT:
            self._waiting += 1
            digest = "" if call.args is None else sha256(call.args).hexdigest()
            of.waiting.append((time.monotonic(), {"id": str(uuid4()), "secret": call.secret, "tool": call.tool,
                                                  "outcome": call.outcome.value, "args": digest}))  # fmt: skip
        self._go_on()

    def done(self, lease_id: str) -> None:
        """Note that no more calls are made under a lease."""
        if (of := self._leases.get(lease_id)) is not None:
            of.done = True
            self._go_on()

    async def close(self) -> None:
        """Report what is left, for at most ``LAST_S``."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})
        for of in self._leases.values():
            of.done = True
        with suppress(ByokeepError, TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._broker.persist(self._tell)

    def stop(self) -> None:
        """Report no more."""
        if self._telling is not None:
            self._telling.cancel()

    def _go_on(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._keep_telling())

    async def _keep_telling(self) -> None:
        while any(of.waiting or of.done for of in self._leases.values()):
            await asyncio.sleep(SAY_EVERY_S)
            with suppress(ByokeepError):
                await self._tell()

    async def _tell(self) -> None:
        for lease_id, of in list(self._leases.items()):
            while of.waiting or of.done:
                some = of.waiting[:_TOGETHER]
                last = of.done and len(some) == len(of.waiting)
                calls = [call | {"age_ms": max(0, round((time.monotonic() - at) * 1000))} for at, call in some]
                body = {"calls": calls, "total": of.count if last else None}
                try:
                    await self._broker.call("POST", f"/v1/leases/{lease_id}/calls", of.token, body)
                except Unavailable:
                    raise
                except ByokeepError:
                    pass  # the broker refuses them, and always will
                told = {call["id"] for _, call in some}
                left = [one for one in of.waiting if one[1]["id"] not in told]
                self._waiting -= len(of.waiting) - len(left)
                of.waiting = left
                if last and not of.waiting:
                    self._leases.pop(lease_id, None)
                    break
