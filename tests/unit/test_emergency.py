"""What stops something waits for a database that comes back with the reserve."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from byokeep.core.errors import Unavailable
from byokeep.http import emergency
from byokeep.http.emergency import Emergency


def sleep_by(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this module alone wait as the act says: others of the loop wait as ever."""
    monkeypatch.setattr(emergency, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": act.sleep}))


@dataclass
class Disk:
    """A reserve that counts what is asked of it."""

    is_short: bool
    is_kept: bool
    released: int = 0

    def hold(self) -> bool:
        return self.is_kept

    def kept(self) -> bool:
        return self.is_kept

    def short(self) -> bool:
        return self.is_short

    def release(self) -> int:
        self.released += 1
        return 1


@dataclass
class Act:
    """It fails so many times before it is done."""

    fails: int
    waits: list[float] = field(default_factory=list)

    async def __call__(self) -> str:
        self.fails -= 1
        if self.fails >= 0:
            raise Unavailable("database_unavailable", next_step="-")
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.mark.parametrize(
    ("disk", "released"),
    [(Disk(is_short=True, is_kept=True), 1), (Disk(is_short=False, is_kept=False), 0)],
    ids=["given back", "given back by another process"],
)
async def test_every_pause_ends_in_a_try(disk: Disk, released: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is back after seven seconds, not before, still gets the act."""
    act = Act(fails=10)
    sleep_by(act, monkeypatch)
    assert await Emergency(disk).stopping(act) == "done"
    assert (disk.released, sum(act.waits) >= 7) == (released, True)


async def test_with_room_on_the_disk_nothing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away for another reason: the caller is told at once."""
    act, disk = Act(fails=1), Disk(is_short=False, is_kept=True)
    sleep_by(act, monkeypatch)
    with pytest.raises(Unavailable):
        await Emergency(disk).stopping(act)
    assert (disk.released, act.waits) == (0, [])
