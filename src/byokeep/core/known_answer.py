"""What follows from a known answer that a process asks its cryptography for at its start (S-GCM-13).

It may not know which cryptography that is.
"""

from __future__ import annotations

from collections.abc import Callable

from byokeep.core.errors import Unavailable


def require_answer(held: Callable[[], bool], *, libraries: str) -> None:
    """Refuse to go on unless the answer held.

    Args:
        held: Asks, and says whether it held.
        libraries: Whose pinned versions to install when it did not, for people.

    Raises:
        Unavailable: ``sealing_self_test_failed``.
    """
    try:
        right = held()
    except Exception:  # of a library that is broken in ways that nobody foresaw
        right = False
    if not right:
        raise Unavailable("sealing_self_test_failed", next_step=f"Install the pinned {libraries}.")
