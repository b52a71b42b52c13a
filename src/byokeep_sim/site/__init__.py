"""The websites of the simulated platforms: what a person's browser sees, for the browser lane.

``https://HOST/PATH`` of a platform is ``URL/web/PLATFORM/HOST/PATH`` here.

Rules
- Logged in is who has both cookies, the lasting one and the one that lives with the browser, and both tokens that the
  page keeps, in localStorage and in IndexedDB. They are handed out once, at the login.
- A lie is a page that a careless reader takes for the right account's. Lies are switched on under ``/_sim/site``.
- Pressing a button is an effect and counts; looking is none.
"""

from __future__ import annotations

from byokeep_sim.site.site import Site

__all__ = ["Site"]
