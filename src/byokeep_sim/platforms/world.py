"""What one simulated platform remembers.

Rules
- Rules of a platform are numbers, texts or truth values with a default; only a value of the same type replaces one.
- Everything has an upper bound.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from byokeep_sim.book import Book, BookFullError
from byokeep_sim.faults import BadControlError
from byokeep_sim.platforms.clock import SimClock
from byokeep_sim.platforms.kit import DAY, SimCase, SimRefusal
from byokeep_sim.platforms.ledger import Family, Ledger, SimToken, TokenKind
from byokeep_sim.platforms.people import Consent, SimAccount, SimApp

MAX_APPS: Final = 1_000
MAX_ACCOUNTS: Final = 10_000
MAX_CODES: Final = 10_000
_MAX_RULE: Final = 100 * 366 * DAY


@dataclass(slots=True, kw_only=True)
class Code:
    """An authorization code: one use, one app, one redirect, one challenge."""

    client_id: str
    redirect_uri: str
    challenge: str
    method: str
    account: str
    owner: str
    scopes: tuple[str, ...]
    asked: tuple[str, ...]
    targets: tuple[str, ...]
    wishes: Mapping[str, str]
    expires_at: float
    used: bool = False


@dataclass(slots=True)
class Windows:
    """Calls in fixed windows of time, for rate headers and quotas."""

    _seen: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)

    def add(self, what: str, who: str, *, now: float, every_s: int, cost: int = 1) -> tuple[int, int]:
        """Count; returns how much the window holds and when it ends, in seconds since 1970."""
        start = now - now % every_s
        before = self._seen.get((what, who), (start, 0))
        used = cost + (before[1] if before[0] == start else 0)
        self._seen[what, who] = (start, used)
        return used, int(start + every_s)

    def report(self) -> dict[str, dict[str, int]]:
        """Return the newest window of each counter."""
        tree: dict[str, dict[str, int]] = {}
        for (what, who), (_, used) in sorted(self._seen.items()):
            tree.setdefault(what, {})[who] = used
        return tree

    def clear(self) -> None:
        """Forget all."""
        self._seen.clear()


@dataclass(slots=True)
class World:
    """The memory of one platform."""

    name: str
    defaults: Mapping[str, int | str | bool]
    book: Book
    clock: SimClock
    rules: dict[str, int | str | bool] = field(init=False)
    ledger: Ledger = field(init=False)
    apps: dict[str, SimApp] = field(default_factory=dict)
    accounts: dict[str, SimAccount] = field(default_factory=dict)
    locks: dict[str, SimCase] = field(default_factory=dict)
    codes: OrderedDict[str, Code] = field(default_factory=OrderedDict)
    windows: Windows = field(default_factory=Windows)
    money: dict[str, int] = field(default_factory=dict)
    paid: set[tuple[int, str]] = field(default_factory=set)
    consent: Consent = field(default_factory=Consent)

    def __post_init__(self) -> None:
        self.rules = dict(self.defaults)
        self.ledger = Ledger(self.book.keys.digest)

    def reset(self) -> None:
        """Forget everything."""
        self.rules = dict(self.defaults)
        self.ledger = Ledger(self.book.keys.digest)
        self.consent = Consent()
        for memory in (self.apps, self.accounts, self.locks, self.codes, self.windows, self.money, self.paid):
            memory.clear()

    @property
    def now(self) -> float:
        """Time on the platform, seconds since 1970."""
        return self.clock.now()

    def number(self, rule: str) -> int:
        """Return a rule that is a number."""
        return int(self.rules[rule])

    def on(self, rule: str) -> bool:
        """Return a rule that is a truth value."""
        return bool(self.rules[rule])

    def set_rules(self, changes: Mapping[str, Any]) -> None:
        """Change rules, all or none. Raises BadControlError."""
        for name, value in changes.items():
            default = self.defaults.get(name)
            if default is None:
                raise BadControlError(f"rules of {self.name}: {', '.join(sorted(self.defaults))}")
            if type(value) is not type(default):
                raise BadControlError(f"{name} must be of the type of its default, {type(default).__name__}")
            if isinstance(value, int) and not 0 <= value <= _MAX_RULE:
                raise BadControlError(f"{name} must be between 0 and {_MAX_RULE}")
            if isinstance(value, str) and (len(value) > 200 or not value.isprintable()):
                raise BadControlError(f"{name} must be text of at most 200 printable characters")
        self.rules.update(changes)

    def put_app(self, app: SimApp) -> None:
        """Register a client app. Raises BookFullError."""
        if app.client_id not in self.apps and len(self.apps) >= MAX_APPS:
            raise BookFullError(f"at most {MAX_APPS} apps of a platform")
        self.apps[app.client_id] = app

    def put_account(self, account: SimAccount) -> None:
        """Seed an account or change one. Raises BookFullError."""
        if account.name not in self.accounts and len(self.accounts) >= MAX_ACCOUNTS:
            raise BookFullError(f"at most {MAX_ACCOUNTS} accounts of a platform")
        self.accounts[account.name] = account

    def put_code(self, value: str, code: Code) -> None:
        """Remember a code; the oldest one goes when there are too many."""
        self.codes[self.book.keys.digest(value)] = code
        while len(self.codes) > MAX_CODES:
            self.codes.popitem(last=False)

    def find_code(self, value: str) -> Code | None:
        """Return what is known of a code."""
        return self.codes.get(self.book.keys.digest(value)) if value else None

    def of_owner(self, owner: str) -> list[SimAccount]:
        """Return the accounts of one person, in the order they were seeded."""
        return [account for account in self.accounts.values() if account.owner == owner]

    def account_of(self, family: Family) -> SimAccount:
        """Return the account of a family. Raises Refused when it is locked or gone."""
        lock = self.locks.get(family.account)
        if lock is not None:
            raise SimRefusal(lock)
        found = self.accounts.get(family.account)
        if found is None:
            raise SimRefusal(SimCase.UNKNOWN)
        return found

    def app_of(self, family: Family) -> SimApp:
        """Return the app of a family. Raises Refused when it is gone."""
        found = self.apps.get(family.client_id)
        if found is None:
            raise SimRefusal(SimCase.BAD_CLIENT)
        return found

    def mint(self, family: Family, kind: TokenKind, value: str, ttl_s: float | None, target: str = "") -> str:
        """Register a new token value and return it."""
        self.ledger.put(family, kind, value, now=self.now, ttl_s=ttl_s, target=target)
        return value

    def usable(self, value: str, *kinds: TokenKind, scopes: tuple[str, ...] = ()) -> SimToken:
        """Return a live token that has the scopes. Raises Refused."""
        token = self.ledger.usable(value, *kinds, now=self.now)
        if not set(scopes) <= set(token.family.scopes):
            raise SimRefusal(SimCase.MISSING_SCOPE)
        return token

    def derived(self, purpose: str, size: int) -> str:
        """Return letters and digits that only this process can know, the same for the same purpose."""
        text = ""
        while len(text) < size:
            block = hmac.new(self.book.keys.salt, f"{purpose} {len(text)}".encode(), hashlib.sha256)
            text += block.hexdigest()
        return text[:size]

    def pay(self, who: str, resource: str, price: int) -> None:
        """Charge for a resource, in thousandths of a dollar; within one UTC day the same one is charged once."""
        day = int(self.now // DAY)
        if (day, resource) not in self.paid and len(self.paid) < MAX_CODES:
            self.paid.add((day, resource))
            self.money[who] = self.money.get(who, 0) + price


def random_text(size: int) -> str:
    """Return URL-safe random text of a size."""
    return secrets.token_urlsafe(size)[:size]


def random_letters(size: int) -> str:
    """Return random hexadecimal text of a size."""
    return secrets.token_hex(size)[:size]
