"""A client's person at the portal over HTTP, as a browser does that runs no script."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.support.broker import POST, Person
from tests.support.console import Shown, Visit
from tests.support.web import Desk

SESSION = "__Host-byokeep-portal"


@dataclass
class Guest(Visit):
    """A contact person's browser."""

    invited: dict[str, Any] = field(default_factory=dict)

    async def look(self) -> Shown:
        """What the invitation says, by the link as it is pasted where no script runs."""
        await self.ask("GET", "/portal/invitation")
        return await self.send(
            "/portal/invitation", link=f" https://x.example/portal/invitation#{self.invited['token']}>"
        )

    async def redeem(self, address: str = "") -> Shown:
        address = address or f"ada-{self.invited['id']}@client.example"
        await self.look()
        seen = len(POST)
        asked = await self.send("/portal/invitation/code", link=self.invited["token"], address=address)
        return asked if asked.status != 200 else await self.accept(address, await code_for(address, after=seen))

    async def accept(self, address: str, code: str) -> Shown:
        """Give the code that was mailed."""
        return await self.send("/portal/invitation/accept", link=self.invited["token"], address=address, code=code)

    @property
    def person(self) -> Person:
        """The same session as a bearer of its token."""
        return Person(UUID(self.invited["id"]), self.cookies[SESSION])


async def invited(desk: Desk, client: UUID, who: str | Person = "operator", **body: Any) -> Guest:
    """Somebody who has an invitation, and has not redeemed it."""
    status, made = await desk.call("POST", f"/v1/clients/{client}/contacts", who, body)
    assert status == 201, made
    return Guest(desk, invited=made)


async def guest(desk: Desk, client: UUID) -> Guest:
    """Somebody who has redeemed an invitation."""
    made = await invited(desk, client)
    assert (await made.redeem()).at == "/portal"
    return made


async def code_for(address: str, *, after: int = 0) -> str:
    """The newest code that was mailed to an address, once it was."""
    for _ in range(400):
        mailed = [body for to, _, body in POST[after:] if to == address]
        if mailed:
            return re.findall(r": ([A-Z2-7]{5}-[A-Z2-7]{5})", mailed[-1])[0]  # type: ignore[no-any-return]
        await asyncio.sleep(0.05)
    raise AssertionError("no code was mailed")
