"""Whether a browser may be open for a client: asked again and again by whoever holds one open (R7.3-1).

Rules
- Switches of everything, of the browser lane, of the client and of its browser lane: one that is closed, or can not be
  read, closes the browser.
- The way out of a break-in (runbook 7.3) goes through the worker's own browsers while the lane is off: they ask for the
  client's scopes alone.

It may not close a browser: who opened it does.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.kernel.app import App
from byokeep.tenancy.scopes import browser_scopes, client_scopes, require_open

POLL_S: Final = 1.0  # seconds between two questions; with what a browser needs to close, well below 5


async def require_browser_open(app: App, client_id: UUID, *, incident: bool = False) -> None:
    """Let pass while a browser of this client may stay open.

    Args:
        app: Of any process.
        client_id: Whose profile it is.
        incident: The browser does the work of a break-in's procedure, for which the lane is off.

    Raises:
        Denied: ``switch_closed``, ``switch_unknown``: close it now.
        Unavailable: Could not be asked, which counts as closed.
    """
    scopes = client_scopes(client_id) if incident else browser_scopes(client_id)
    found = await app.db.read(dict, "switches_of", {"scopes": scopes, "installation_id": app.installation_id})
    require_open(found[0])
