"""How a client's pages of the portal look: its colour and its logo.

Rules
- The colour is a background for white text, in both themes. One on which white is hard to read is refused when it is
  set (WCAG 2: 4.5 to 1).
- The logo is a PNG that was written again (:mod:`byokeep.core.png`), on a white background beside the client's name.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from byokeep.core import png
from byokeep.core.errors import Rejected
from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.kernel.app import WebApp
from byokeep.kernel.command import command, record

LEAST_CONTRAST: Final = 4.5
USUAL: Final = "#1f3a8a"  # portal/style.css
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}\Z")


async def set_colour(app: WebApp, actor: Actor, client_id: ClientId, colour: str) -> str:
    """Give a client's pages a colour, such as ``#1d4ed8``; returns it.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.command`.
        Rejected: ``bad_colour``; ``too_little_contrast``: white text on it is hard to read.
    """
    async with command(
        app, actor, Verb.CONTACT_INVITE, client_id=client_id, refused_as=EventName.CLIENT_LOOK_SET, on_client=True
    ) as tx:
        colour = colour.lower()
        if not _COLOUR.match(colour):
            raise Rejected("bad_colour", next_step="Write it as six hex digits, such as #1d4ed8.")
        if contrast_with_white(colour) < LEAST_CONTRAST:
            step = "White words on it would be hard to read, in the light and the dark theme: take a darker one."
            raise Rejected("too_little_contrast", next_step=step)
        await tx.all(None, "look_put", client_id=client_id, colour=colour)
        await record(tx, actor, EventName.CLIENT_LOOK_SET, client_id=client_id, object_id=client_id)
    return colour


async def colour_of(app: WebApp, client_id: ClientId) -> str:
    """Return the colour of a client's pages; empty = it has none."""
    async with app.db.begin(client_id=client_id) as tx:
        return await tx.maybe(str, "look_get", client_id=client_id) or ""


async def set_logo(app: WebApp, actor: Actor, client_id: ClientId, raw: bytes) -> int:
    """Give a client's pages a logo, a PNG; returns its size in bytes as stored. Empty = remove it.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.command`.
        Rejected: ``bad_picture``.
    """
    logo, bad = None, None
    try:
        logo = await asyncio.to_thread(png.rewritten, raw) if raw else None
    except Rejected as error:
        bad = error
    async with command(
        app, actor, Verb.CONTACT_INVITE, client_id=client_id, refused_as=EventName.CLIENT_LOOK_SET, on_client=True
    ) as tx:
        if bad is not None:
            raise bad
        await tx.all(None, "logo_put", client_id=client_id, colour=USUAL, logo=logo)
        await record(tx, actor, EventName.CLIENT_LOOK_SET, client_id=client_id, object_id=client_id)
    return len(logo or b"")


async def logo_of(app: WebApp, client_id: ClientId) -> bytes:
    """Return the logo of a client's pages, a PNG; empty = it has none."""
    async with app.db.begin(client_id=client_id) as tx:
        return await tx.maybe(bytes, "logo_get", client_id=client_id) or b""


def contrast_with_white(colour: str) -> float:
    """Return the contrast of a colour (``#rrggbb``) with white, 1 to 21, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
