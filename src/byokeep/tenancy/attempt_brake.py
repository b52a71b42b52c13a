"""The brake on guessing passwords, mailed codes and keys, per name and address, per name, and per address.

Rules
- One name from one address is braked strictly. One name from all addresses is braked by growing waits. One address,
  with all its names together, has a limit that leaves room for the many people behind one proxy.
- Guesses at one name do not count against another, even from the same address. Whoever has logged in from an address
  before is not locked out there by guesses from elsewhere, or at other names (S-ASVS-8).
- A name that nobody has is braked like one that somebody has.
- The address is the one that ``web`` saw. Whoever can reach the broker could claim another, but the brake on a name
  still holds.
- Counts are kept in this process and bounded in number; a restart forgets them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

from byokeep.core.bucket import Buckets
from byokeep.core.errors import RateLimited
from byokeep.kernel.ports import Clock

FREE_FAILURES: Final = 5  # for one name from one source
NAME_FAILURES: Final = 10  # for one name from all sources
MAX_WAIT_S: Final = 900
MAX_FAILURES: Final = 100  # for one name; NIST SP 800-63B
NAME_MAX_WAIT_S: Final = 3600  # between two attempts from then on
FORGET_S: Final = 86_400  # after the last wait
LOGINS_PER_MINUTE: Final = 300  # passwords checked for one source, for all names together; each costs an Argon2id
REMEMBERED: Final = 50_000  # names, and names with addresses

K = TypeVar("K")
_Failures = OrderedDict[K, tuple[int, float]]  # how many, and when the next attempt is allowed


class AttemptBrake:
    """Waits that double with each failed attempt: for one name from one address, and for one name from all addresses.

    NIST SP 800-63B asks for at most 100 failures in a row on one account, for growing waits, and that a success forgets
    the failures from its own address. Here the waits for a name grow to 15 minutes, and from 100 failures on it can be
    tried once an hour, so that nobody can keep its owner out forever.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources = Buckets(per_minute=LOGINS_PER_MINUTE)
        self._pairs: _Failures[tuple[str, str]] = OrderedDict()
        self._names: _Failures[str] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def attempt(self, name: str, source: str) -> None:
        """Allow an attempt. It counts as failed until :meth:`succeeded`, so parallel attempts are no way around.

        Raises:
            RateLimited: ``too_many_requests``.
        """
        name, now = _plain(name), self._clock.monotonic()
        pair = (name, source)
        wait = _wait(self._pairs, pair, now, free=FREE_FAILURES)
        if pair not in self._known:  # whoever logged in from there before is not locked out by others' guesses
            # What a name's brake refuses does not count for the address, so a storm on one name leaves others room.
            wait = max(wait, _wait(self._names, name, now, free=NAME_FAILURES)) or self._sources.take(source, now)
        if wait > 0:
            raise RateLimited("too_many_requests", next_step="Wait, then try again.", retry_after_s=int(wait) + 1)
        _count(self._pairs, pair, now, free=FREE_FAILURES)
        _count(self._names, name, now, free=NAME_FAILURES)

    def succeeded(self, name: str, source: str) -> None:
        """Forget the failures from this address, and remember that the name has logged in from there."""
        name = _plain(name)
        count, free_at = self._names.get(name, (0, 0.0))
        self._names[name] = (max(0, count - self._pairs.pop((name, source), (0, 0.0))[0]), free_at)
        self._known[name, source] = None
        self._known.move_to_end((name, source))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def failures(self, name: str) -> int:
        """Return how many failures of a name count now."""
        return self._names.get(_plain(name), (0, 0.0))[0]


def _plain(name: str) -> str:
    """Return the name in the form that is looked up. Two spellings may share a brake; one name never has two."""
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
