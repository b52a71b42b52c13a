"""The brake on guessing passwords: of one name from one address, of one name, and of one address.

Rules
- One name from one address is braked strictly, one name from all addresses by waits that grow, one address with all its
  names together by a bound that leaves room for the many people behind one proxy.
- Guessing one name takes nothing from another's, also from the same address. Who has logged in from an address before
  is not kept out there by guesses from elsewhere, or at other names (S-ASVS-8).
- A name that nobody has is braked like one that somebody has.
- The address is the one that ``web`` saw. Whoever reaches the broker could name another: the brake of a name holds.
- Counts live in this process and are bounded in number; restarting forgets them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

from byokeep.core.bucket import Buckets
from byokeep.core.errors import RateLimited
from byokeep.kernel.ports import Clock

FREE_FAILURES: Final = 5  # of one name from one source
NAME_FAILURES: Final = 10  # of one name from all sources
MAX_WAIT_S: Final = 900
MAX_FAILURES: Final = 100  # of one name; NIST SP 800-63B
NAME_MAX_WAIT_S: Final = 3600  # between two tries from then on
FORGET_S: Final = 86_400  # after the last wait
LOGINS_PER_MINUTE: Final = 300  # passwords checked for one source, all names together; each costs an Argon2id
REMEMBERED: Final = 50_000  # names, and names with addresses

K = TypeVar("K")
_Failures = OrderedDict[K, tuple[int, float]]  # how many, and when the next may be tried


class LoginBrake:
    """Waits that double with each failed login: of one name from one address, and of one name from all of them.

    NIST SP 800-63B asks for at most 100 failures in a row on one account, for waits that grow, and that a success
    forgets the failures from its own address. Here the waits of a name grow to 15 minutes, and from 100 failures on it
    is tried once an hour, so that nobody can keep its owner out for ever.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources = Buckets(per_minute=LOGINS_PER_MINUTE)
        self._pairs: _Failures[tuple[str, str]] = OrderedDict()
        self._names: _Failures[str] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def attempt(self, name: str, source: str) -> None:
        """Let a login be tried; it counts as failed until :meth:`succeeded`, so that many at once are no way around.

        Raises:
            RateLimited: ``too_many_requests``.
        """
        name, now = _plain(name), self._clock.monotonic()
        pair = (name, source)
        wait = _wait(self._pairs, pair, now, free=FREE_FAILURES)
        if pair not in self._known:  # who logged in from there before is not kept out by others' guesses
            # What a name's brake refuses is not counted for the address: a storm on one name leaves others their room.
            wait = max(wait, _wait(self._names, name, now, free=NAME_FAILURES)) or self._sources.take(source, now)
        if wait > 0:
            raise RateLimited("too_many_requests", next_step="Wait, then try again.", retry_after_s=int(wait) + 1)
        _count(self._pairs, pair, now, free=FREE_FAILURES)
        _count(self._names, name, now, free=NAME_FAILURES)

    def succeeded(self, name: str, source: str) -> None:
        """Forget the failures from this address, and remember that the name comes from there."""
        name = _plain(name)
        count, free_at = self._names.get(name, (0, 0.0))
        self._names[name] = (max(0, count - self._pairs.pop((name, source), (0, 0.0))[0]), free_at)
        self._known[name, source] = None
        self._known.move_to_end((name, source))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def failures(self, name: str) -> int:
        """Return how many failures of a name count at present."""
        return self._names.get(_plain(name), (0, 0.0))[0]


def _plain(name: str) -> str:
    """The name as the one who is looked up by it; two spellings may share a brake, one name never has two."""
    return name[:128].replace("\0", "").casefold()


def _wait(failures: _Failures[K], key: K, now: float, *, free: int) -> float:
    count, free_at = failures.get(key, (0, 0.0))
    return free_at - now if count >= free else 0.0


def _count(failures: _Failures[K], key: K, now: float, *, free: int) -> None:
    count, free_at = failures.pop(key, (0, now))
    count = 1 if now - free_at > FORGET_S else count + 1
    wait = MAX_WAIT_S if count < MAX_FAILURES else NAME_MAX_WAIT_S
    failures[key] = (count, now + min(wait, 2 ** min(20, max(0, count - free + 1))))
    if len(failures) > REMEMBERED:
        failures.popitem(last=False)
