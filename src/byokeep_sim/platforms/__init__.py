"""The simulated social platforms, by internal id.

Rules
- Paths, parameters, bodies and lifetimes follow what the platforms publish; docs/providers.md names every guess.
- A platform knows nothing of faults or logs.
- Skool is not here: it has no API, only a website.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from byokeep_sim.platforms.graph import INSTAGRAM, META
from byokeep_sim.platforms.linkedin import LINKEDIN
from byokeep_sim.platforms.model import SimPlatform
from byokeep_sim.platforms.tiktok import TIKTOK
from byokeep_sim.platforms.x import X
from byokeep_sim.platforms.youtube import YOUTUBE

PLATFORMS: Final[Mapping[str, SimPlatform]] = {one.name: one for one in (META, INSTAGRAM, TIKTOK, LINKEDIN, YOUTUBE, X)}
