"""What one simulated platform remembers: its clock, apps, accounts, codes, tokens, rate windows and bills.

A family of tokens is what one consent gave: an access token, a refresh token, and all that replaced them.

Rules
- The clock runs as fast as the real one, from wherever it was moved to, or stands still. Lifetimes, rate windows and
  timestamps follow it; delays of faults do not, they are real seconds.
- Token values are handed out once and kept as salted hashes. A dead token says why it died; the first reason stays.
- Rules of a platform are numbers, texts or truth values with a default; only a value of the same type replaces one.
- Everything has an upper bound. A family keeps its newest tokens only, and a refresh token until it is used up; one
  that was dropped is unknown from then on.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from email.utils import formatdate
from enum import StrEnum
from typing import Any, Final

from byokeep_sim.book import MOST, Book, keep_newest, must_fit, tree_of
from byokeep_sim.faults import BadControlError
from byokeep_sim.platforms.model import DAY, Consent, SimAccount, SimApp, SimCase, SimPlatform, SimRefusal

MAX_FAMILY_TOKENS: Final = 1_000
MAX_APPS: Final = 1_000
_MAX_RULE: Final = 100 * 366 * DAY
_RANDOM: Final = re.compile(r"<(text|letters) (\d+)>")


@dataclass(slots=True)
class SimClock:
    """Seconds since 1970 on the platforms."""

    ahead_s: float = 0.0
    frozen_at: float | None = None

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self.frozen_at if self.frozen_at is not None else time.time() + self.ahead_s

    def move_to(self, moment: float) -> None:
        """Set the time, in seconds since 1970."""
        self.ahead_s = moment - time.time()
        if self.frozen_at is not None:
            self.frozen_at = moment

    def freeze(self, frozen: bool) -> None:
        """Stop the clock where it is, or let it run on from there."""
        now = self.now()
        self.frozen_at = now if frozen else None
        self.ahead_s = now - time.time()

    def reset(self) -> None:
        """Return to real time."""
        self.ahead_s, self.frozen_at = 0.0, None

    def http_date(self) -> str:
        """Return the time as an HTTP date."""
        return formatdate(self.now(), usegmt=True)


# What a token is for.
TokenKind = StrEnum("TokenKind", "ACCESS REFRESH SHORT LONG PAGE")


@dataclass(slots=True, kw_only=True)
class Consented:
    """What a person agreed to."""

    client_id: str
    account: str
    owner: str
    scopes: tuple[str, ...]
    asked: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Code(Consented):
    """An authorization code: one use, one app, one redirect, one challenge."""

    redirect_uri: str
    challenge: str
    method: str
    wishes: Mapping[str, str]
    expires_at: float
    used: bool = False


@dataclass(slots=True, kw_only=True)
class Family(Consented):
    """What came of one consent."""

    id: str
    created_at: float
    generation: int = 0
    dead: SimCase | None = None
    tokens: list[SimToken] = field(default_factory=list)

    def report(self, now: float) -> dict[str, Any]:
        """Return the family and its tokens as JSON-ready fields, as hashes."""
        names = ("id", "client_id", "account", "owner", "scopes", "generation")
        shown = {name: getattr(self, name) for name in names} | {"created_at": round(self.created_at)}
        state = {"state": "dead" if self.dead else "live", "why": self.dead}
        return shown | state | {"tokens": [token.report(now) for token in self.tokens]}


@dataclass(slots=True, kw_only=True)
class SimToken:
    """One token. ``expires_at`` is None for one that does not end by time."""

    digest: str
    kind: TokenKind
    family: Family = field(repr=False)
    generation: int
    issued_at: float
    expires_at: float | None
    target: str = ""
    consumed_at: float | None = None
    dead: SimCase | None = None
    uses: int = 0

    def death(self, now: float) -> SimCase | None:
        """Return why the token no longer works, None while it does."""
        reason = self.family.dead or self.dead
        if reason is None and self.expires_at is not None and self.expires_at <= now:
            return SimCase.EXPIRED
        return reason

    def left_s(self, now: float) -> int:
        """Return the whole seconds it still lives, 0 for one without end."""
        return max(0, round(self.expires_at - now)) if self.expires_at is not None else 0

    def report(self, now: float) -> dict[str, Any]:
        """Return the token as JSON-ready fields."""
        why = self.death(now)
        state = "consumed" if why is None and self.consumed_at is not None else "dead" if why else "live"
        shown = {name: getattr(self, name) for name in ("kind", "generation", "uses")}
        ends = None if self.expires_at is None else round(self.expires_at)
        times = {"issued_at": round(self.issued_at), "expires_at": ends}
        return {"hash": self.digest, **shown, "state": state, "why": why, **times}


@dataclass(slots=True)
class Ledger:
    """The tokens of one platform, and how often each account's were asked for."""

    digest: Callable[[str], str]
    families: list[Family] = field(default_factory=list)
    tally: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _tokens: dict[str, SimToken] = field(default_factory=dict)

    def put(self, token: SimToken) -> None:
        """Register a token that is about to be handed out; one that is already known is left as it is."""
        if token.digest in self._tokens:
            return
        self._tokens[token.digest] = token
        kept = token.family.tokens
        kept.append(token)
        while len(kept) > MAX_FAMILY_TOKENS:
            gone = next(one for one in kept if one.kind is not TokenKind.REFRESH or one.consumed_at is not None)
            kept.remove(gone)
            del self._tokens[gone.digest]

    def find(self, value: str) -> SimToken | None:
        """Return the token, dead or alive."""
        return self._tokens.get(self.digest(value)) if value else None

    def of(self, *, account: str = "", owner: str = "", client_id: str = "") -> Iterator[Family]:
        """Yield the live families that match."""
        for family in self.families:
            matches = account in ("", family.account) and owner in ("", family.owner)
            if matches and client_id in ("", family.client_id) and family.dead is None:
                yield family

    def end(self, why: SimCase, *, account: str = "", owner: str = "", client_id: str = "") -> None:
        """Kill the families that match."""
        for family in self.of(account=account, owner=owner, client_id=client_id):
            family.dead = why

    def count(self, account: str, call: str, outcome: str) -> None:
        """Count what became of a call for an account."""
        self.tally[account, call, outcome] += 1

    def calls(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the counters by account, call and outcome."""
        tree = tree_of(self.tally)
        return {"unknown": tree.pop(""), **tree} if "" in tree else tree

    def report(self, now: float, account: str = "") -> list[dict[str, Any]]:
        """Return the families and their tokens, as hashes."""
        return [one.report(now) for one in self.families if account in ("", one.account)]


class World:
    """The memory of one platform."""

    def __init__(self, platform: SimPlatform, book: Book, clock: SimClock) -> None:
        self.platform, self.book, self.clock = platform, book, clock
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.rules: dict[str, int | str | bool] = dict(self.platform.rules)
        self.consent = Consent()
        self.ledger = Ledger(self.book.keys.digest)
        self.apps: dict[str, SimApp] = {}
        self.accounts: dict[str, SimAccount] = {}
        self.locks: dict[str, SimCase] = {}
        self.codes: OrderedDict[str, Code] = OrderedDict()
        self.windows: dict[tuple[str, str], tuple[float, int]] = {}
        self.money: dict[str, int] = {}
        self.paid: set[tuple[int, str]] = set()

    @property
    def now(self) -> float:
        """Time on the platform, seconds since 1970."""
        return self.clock.now()

    def number(self, rule: str) -> int:
        """Return a rule that is a number."""
        return int(self.rules[rule])

    def on(self, rule: str) -> bool:
        """Return a rule that is a truth value, False for one that the platform does not have."""
        return bool(self.rules.get(rule))

    def set_rules(self, changes: Mapping[str, Any]) -> None:
        """Change rules, all or none. Raises BadControlError."""
        defaults = self.platform.rules
        for name, value in changes.items():
            default = defaults.get(name)
            if default is None:
                raise BadControlError(f"rules of {self.platform.name}: {', '.join(sorted(defaults))}")
            if type(value) is not type(default):
                raise BadControlError(f"{name} must be of the type of its default, {type(default).__name__}")
            if isinstance(value, int) and not 0 <= value <= _MAX_RULE:
                raise BadControlError(f"{name} must be between 0 and {_MAX_RULE}")
            if isinstance(value, str) and (len(value) > 200 or not value.isprintable()):
                raise BadControlError(f"{name} must be text of at most 200 printable characters")
        self.rules.update(changes)

    def put_app(self, app: SimApp) -> None:
        """Register a client app. Raises BookFullError."""
        must_fit(self.apps, app.client_id, "apps of a platform", MAX_APPS)
        self.apps[app.client_id] = app

    def put_account(self, account: SimAccount) -> None:
        """Seed an account or change one. Raises BookFullError."""
        must_fit(self.accounts, account.name, "accounts of a platform")
        self.accounts[account.name] = account

    def put_code(self, value: str, code: Code) -> None:
        """Remember a code; the oldest one goes when there are too many."""
        keep_newest(self.codes, self.book.keys.digest(value), code)

    def find_code(self, value: str) -> Code | None:
        """Return what is known about a code."""
        return self.codes.get(self.book.keys.digest(value)) if value else None

    def of_owner(self, owner: str) -> list[SimAccount]:
        """Return the accounts of one person, in the order they were seeded."""
        return [account for account in self.accounts.values() if account.owner == owner]

    def account_of(self, family: Family) -> SimAccount:
        """Return the account of a family. Raises SimRefusal when it is locked or gone."""
        lock = self.locks.get(family.account)
        found = self.accounts.get(family.account)
        if lock is not None or found is None:
            raise SimRefusal(lock or SimCase.UNKNOWN)
        return found

    def app_of(self, family: Family) -> SimApp:
        """Return the app of a family. Raises SimRefusal when it is gone."""
        found = self.apps.get(family.client_id)
        if found is None:
            raise SimRefusal(SimCase.BAD_CLIENT)
        return found

    def mint(self, family: Family, kind: TokenKind, ttl_s: float | None, *, value: str = "", target: str = "") -> str:
        """Register a new token of the platform's form, or with this value, and return the value."""
        value = value or made(self.platform.tokens[kind])
        token = SimToken(
            digest=self.ledger.digest(value),
            kind=kind,
            family=family,
            generation=family.generation,
            issued_at=self.now,
            expires_at=None if ttl_s is None else self.now + ttl_s,
            target=target,
        )
        self.ledger.put(token)
        return value

    def usable(self, value: str, *kinds: str, scopes: tuple[str, ...] = (), client_id: str = "") -> SimToken:
        """Return a live token that has the scopes and is this app's, and count its use. Raises SimRefusal."""
        if not value:
            raise SimRefusal(SimCase.ABSENT)
        token = self.ledger.find(value)
        if token is None or token.kind not in kinds:
            raise SimRefusal(SimCase.UNKNOWN)
        reason = token.death(self.now)
        if reason is not None:
            raise SimRefusal(reason)
        token.uses += 1
        if not set(scopes) <= set(token.family.scopes):
            raise SimRefusal(SimCase.MISSING_SCOPE)
        if client_id not in ("", token.family.client_id):
            raise SimRefusal(SimCase.UNKNOWN)
        return token

    def consume(self, token: SimToken) -> None:
        """Use up a one-time token; within the grace the newest consumed one passes again. Raises SimRefusal."""
        family = token.family
        if token.consumed_at is None:
            token.consumed_at = self.now
            family.generation += 1
            return
        newest = max(one.generation for one in family.tokens if one.consumed_at is not None)
        if token.generation == newest and self.now < token.consumed_at + self.number("grace_s"):
            family.generation += 1
            return
        if self.on("reuse_kills_family"):
            family.dead = family.dead or SimCase.REUSED
        raise SimRefusal(SimCase.REUSED)

    def derived(self, purpose: str, size: int) -> str:
        """Return letters and digits that only this process can know, the same for the same purpose."""
        text = ""
        while len(text) < size:
            block = hmac.new(self.book.keys.salt, f"{purpose} {len(text)}".encode(), hashlib.sha256)
            text += block.hexdigest()
        return text[:size]

    def used(self, what: str, who: str, every_s: int) -> tuple[int, int]:
        """Count a call in a fixed window of time; returns how many it holds and when it ends, in seconds since 1970."""
        start = self.now - self.now % every_s
        before = self.windows.get((what, who), (start, 0))
        used = 1 + (before[1] if before[0] == start else 0)
        self.windows[what, who] = (start, used)
        return used, int(start + every_s)

    def usage(self) -> dict[str, Any]:
        """Return the newest window of each counter, and what was charged."""
        windows: dict[str, dict[str, int]] = {}
        for (what, who), (_, used) in sorted(self.windows.items()):
            windows.setdefault(what, {})[who] = used
        return {"windows": windows, "thousandths_of_a_dollar": self.money}

    def open(self, code: Code) -> Family:
        """Start the family of a redeemed code. Raises BookFullError."""
        must_fit(self.ledger.families, None, "families of tokens")
        agreed = {one.name: getattr(code, one.name) for one in fields(Consented)}
        family = Family(**agreed, id=f"family-{len(self.ledger.families) + 1}", created_at=self.now)
        self.ledger.families.append(family)
        return family

    def pay(self, who: str, resource: str, price: int) -> None:
        """Charge for a resource, in thousandths of a dollar; within one UTC day the same one is charged once."""
        day = int(self.now // DAY)
        if (day, resource) not in self.paid and len(self.paid) < MOST:
            self.paid.add((day, resource))
            self.money[who] = self.money.get(who, 0) + price


def made(form: str) -> str:
    """Return random text of a form: ``<text 40>`` stands for URL-safe text, ``<letters 4>`` for hexadecimal."""
    makers = {"text": secrets.token_urlsafe, "letters": secrets.token_hex}
    return _RANDOM.sub(lambda part: makers[part[1]](int(part[2]))[: int(part[2])], form)
