"""The simulated social platforms, by internal id.

Rules
- Paths, parameters, bodies and lifetimes follow what the platforms publish; docs/providers.md names every guess.
- A platform knows nothing of faults or logs.
- Skool is not here: it has no API, only a website.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from byokeep_sim.platforms import instagram, linkedin, meta, tiktok, x, youtube
from byokeep_sim.platforms.kit import SimPlatform

PLATFORMS: Final[Mapping[str, SimPlatform]] = MappingProxyType(
    {m.PLATFORM.name: m.PLATFORM for m in (meta, instagram, tiktok, linkedin, youtube, x)}
)
