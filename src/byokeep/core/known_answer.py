"""The known-answer test of its cryptography that a process runs when it starts (S-GCM-13).

It may not know which cryptography that is.
"""

from __future__ import annotations

from collections.abc import Callable

from byokeep.core.errors import Unavailable


def require_answer(held: Callable[[], bool], *, libraries: str) -> None:
    """Refuse to go on unless the answer was right.

    Args:
        held: Runs the test, and says whether the answer was right.
        libraries: Whose pinned versions people should install if it was not.

    Raises:
        Unavailable: ``sealing_self_test_failed``.
    """
    try:
        right = held()
    except Exception:  # a library may be broken in ways that nobody foresaw
        right = False
    if not right:
        raise Unavailable("sealing_self_test_failed", next_step=f"Install the pinned {libraries}.")
