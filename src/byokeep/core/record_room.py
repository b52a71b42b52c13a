"""How many versions of a profile's record may come after one that must stay: the store drops the oldest by itself.

Rules
- The store keeps so many versions and counts destroyed ones, too: what cut-off seals wrote pushes good records out.
- Who writes a version first makes sure that every record that must stay is still there afterwards; else it is refused,
  and nothing was written. The compare-and-set makes the number that was looked at the number that is written.
- A seal leaves room for a rotation of the client's key, which writes the records that must stay anew.
- Half of a seal's room is far more than sealing needs that is not cut off: who comes to it is told, before it is full.

It may not ask a store.
"""

from __future__ import annotations

from typing import Final

from byokeep.core.errors import Conflict

KEPT: Final = 20  # versions of a record that the store keeps
FOR_ROTATION: Final = 6  # of these, left for a rotation of the key: the newest generation and those beside it, and more

LOW: Final = (KEPT - FOR_ROTATION) // 2  # versions after the oldest that must stay, from which on people are told
FULL: Final = "record_history_full"


def check_seal(*, newest: int, stays: int) -> None:
    """Let a seal write the version after ``newest``.

    Args:
        newest: The newest version in the store.
        stays: The oldest version that must stay; 0 = none.

    Raises:
        Conflict: ``record_history_full``.
    """
    _check(newest, stays, KEPT - FOR_ROTATION)


def check_rewrap(*, newest: int, stays: int) -> None:
    """Let a rotation write the version after ``newest``. Arguments and errors as :func:`check_seal`."""
    _check(newest, stays, KEPT)


def is_low(*, newest: int, stays: int) -> bool:
    """Whether so many seals were cut off that people are to be told. Arguments as :func:`check_seal`."""
    return bool(stays) and newest + 1 - stays >= LOW


def _check(newest: int, stays: int, kept: int) -> None:
    if stays and newest + 1 - stays >= kept:
        raise Conflict(
            FULL,
            next_step="Too many seals were cut off; find out why. `byokeep kek rotate CLIENT` writes the records anew.",
        )
