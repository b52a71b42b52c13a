"""Key states of NIST SP 800-57 Part 1 (Rev 5, section 7) and the one transition table.

Rules
- Phases are one-way: nothing returns to an earlier phase (S-NIST-7). Suspended is the only reversible state.
- Only an ACTIVE secret serves new work. A DEACTIVATED one serves only its own verification history.
- COMPROMISED and DESTROYED keep their metadata. A compromise found after destruction is still recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from byokeep.core.errors import Rejected


class KeyState(StrEnum):
    """The six states."""

    PRE_ACTIVATION = "pre_activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


TRANSITIONS: Final[Mapping[KeyState, frozenset[KeyState]]] = {
    KeyState.PRE_ACTIVATION: frozenset({KeyState.ACTIVE, KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.ACTIVE: frozenset({KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED}),
    KeyState.SUSPENDED: frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED}),
    KeyState.DEACTIVATED: frozenset({KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.COMPROMISED: frozenset({KeyState.DESTROYED}),
    KeyState.DESTROYED: frozenset(),
}


# A value in one of these states may still open something. One that was replaced in order, or destroyed, does not count.
# A compromised one counts until it is destroyed, because that is the one people look for.
LIVE: Final = frozenset({KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.COMPROMISED})


def check_transition(old: KeyState, new: KeyState) -> None:
    """Check that ``old -> new`` is legal.

    Raises:
        Rejected: ``key_state`` for every pair that is not in the table (R2.3-7), including a state to itself.
    """
    if new not in TRANSITIONS[old]:
        possible = ", ".join(sorted(TRANSITIONS[old])) or "nothing else"
        step = f"From {old.value}, the next state can be: {possible}. A retired key is replaced, not revived."
        raise Rejected("key_state", next_step=step, state_from=old.value, state_to=new.value)
