"""The six simulated vendors, by internal provider id.

Rules
- Status codes, bodies and headers follow what the vendors publish; a guess is marked as one in docs/providers.md.
- A vendor knows nothing of faults, logs or effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from byokeep_sim.reply import Vendor
from byokeep_sim.vendors import anthropic, google, heygen, kie, openai, openrouter

VENDORS: Final[Mapping[str, Vendor]] = MappingProxyType(
    {m.VENDOR.name: m.VENDOR for m in (anthropic, openai, google, openrouter, kie, heygen)}
)
