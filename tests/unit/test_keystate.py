"""The transition table of key states is total, one-way and closed."""

from __future__ import annotations

import itertools

import pytest

from byokeep.core.errors import Rejected
from byokeep.core.keystate import TRANSITIONS, KeyState, check_transition

LEGAL = {
    ("pre_activation", "active"), ("pre_activation", "compromised"), ("pre_activation", "destroyed"),
    ("active", "suspended"), ("active", "deactivated"), ("active", "compromised"),
    ("suspended", "active"), ("suspended", "deactivated"), ("suspended", "compromised"),
    ("deactivated", "compromised"), ("deactivated", "destroyed"), ("compromised", "destroyed"),
}  # fmt: skip


@pytest.mark.req("R2.3-7")
@pytest.mark.parametrize(("old", "new"), list(itertools.product(KeyState, KeyState)))
def test_every_pair(old: KeyState, new: KeyState) -> None:
    """Each of the 36 pairs is legal exactly when SP 800-57 says so."""
    if (old.value, new.value) in LEGAL:
        check_transition(old, new)
        assert new in TRANSITIONS[old]
    else:
        with pytest.raises(Rejected) as caught:
            check_transition(old, new)
        assert caught.value.code == "key_state"
        assert caught.value.fields == {"state_from": old.value, "state_to": new.value}
        after = sorted(state for state in TRANSITIONS[old])
        assert caught.value.next_step == (
            f"From {old.value}, the next state can be: {', '.join(after) if after else 'nothing else'}."
            " A retired key is replaced, not revived."
        )


def test_nothing_returns_to_an_earlier_phase() -> None:
    """From deactivated, compromised and destroyed there is no path back to active."""
    reached: set[KeyState] = set()
    todo = [KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED]
    while todo:
        state = todo.pop()
        reached |= TRANSITIONS[state]
        todo += [new for new in TRANSITIONS[state] if new not in reached and new is not state]
    assert not reached & {KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED}
