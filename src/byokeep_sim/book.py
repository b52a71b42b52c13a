"""What the simulator remembers: keys, requests, effects, accounts.

Rules
- A presented credential is kept as SHA-256 over a random salt of this process, never as a value.
- Of a request, names of query fields, form fields and headers are kept; of values only salted hashes of credentials.
  It is recorded before the answer, faults included.
- Everything has an upper bound; what would pass it is refused or the oldest entry is dropped.
- One event loop owns all of it; there are no locks.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final

from aiohttp import web

MOST: Final = 10_000  # of anything that calls add to
_CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie")
_CREDENTIAL_QUERY: Final = frozenset({"key", "api_key", "apikey", "access_token", "token"})
# Fields of OAuth calls that only the platform may see.
_SECRET_FIELDS: Final = (
    *("client_secret", "code", "code_verifier", "refresh_token", "access_token", "fb_exchange_token"),
    *("input_token", "token", "appsecret_proof"),
)


class SimKeyState(StrEnum):
    """What the vendor thinks of a key. A key nobody registered is invalid."""

    VALID = "valid"
    NO_CREDIT = "no_credit"
    BILLING_BLOCKED = "billing_blocked"
    RESTRICTED = "restricted"
    LEAKED = "leaked"
    DISABLED = "disabled"
    REVOKED = "revoked"
    RATE_LIMITED = "rate_limited"
    GEO_BLOCKED = "geo_blocked"
    MANAGEMENT = "management"
    CAP_REACHED = "cap_reached"
    MAINTENANCE = "maintenance"


class BookFullError(Exception):
    """A bound was reached; the message names it."""


def must_fit(table: Collection[Any], key: object, what: str, most: int = MOST) -> None:
    """Refuse another one when there are as many as there may be. Raises BookFullError."""
    if key not in table and len(table) >= most:
        raise BookFullError(f"at most {most} {what}")


def keep_newest(table: OrderedDict[Any, Any], key: object, value: object) -> None:
    """Put another one in the place of the oldest when there are as many as there may be."""
    table[key] = value
    while len(table) > MOST:
        table.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What the vendor knows of one key."""

    state: SimKeyState
    account: str
    id: str = ""
    name: str = ""
    hint: str = ""


@dataclass(slots=True)
class KeyBook:
    """Keys by (vendor, salted hash)."""

    salt: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _known: dict[tuple[str, str], KnownKey] = field(default_factory=dict)
    _hashes: Counter[str] = field(default_factory=Counter)

    def digest(self, value: str) -> str:
        """Return the salted hash of a value, hex."""
        return hashlib.sha256(self.salt + value.encode("utf-8", "surrogateescape")).hexdigest()

    def put(
        self, vendor: str, key: str, state: SimKeyState, account: str | None, *, name: str = "", id_: str = ""
    ) -> KnownKey:
        """Register a key or change its state; the account stays when none is given."""
        digest = self.digest(key)
        before = self._known.get((vendor, digest))
        must_fit(self._known, (vendor, digest), "keys")
        owner = account or (before.account if before else f"{vendor}-account-{digest[:8]}")
        known = KnownKey(
            state=state, account=owner, id=id_ or (before.id if before else f"key-{digest[:16]}"),
            name=name or (before.name if before else ""), hint=f"{key[:16]}...{key[-4:]}" if len(key) > 24 else "...",
        )  # fmt: skip
        if before is None:
            self._hashes[digest] += 1
        self._known[(vendor, digest)] = known
        return known

    def find(self, vendor: str, key: str) -> KnownKey | None:
        """Return what the vendor knows of this key."""
        return self._known.get((vendor, self.digest(key))) if key else None

    def of_account(self, vendor: str, account: str) -> list[KnownKey]:
        """Return an account's keys at a vendor, without those that administer it."""
        found = [one for (of, _), one in self._known.items() if (of, one.account) == (vendor, account)]
        return [one for one in found if one.state is not SimKeyState.MANAGEMENT]

    def change(self, vendor: str, id_: str, state: SimKeyState) -> None:
        """Change the state of a key by its id."""
        for (of, digest), one in self._known.items():
            if (of, one.id) == (vendor, id_):
                self._known[of, digest] = replace(one, state=state)

    def is_known(self, value: str) -> bool:
        """Whether any vendor knows this value as a key."""
        return self._hashes[self.digest(value)] > 0

    def __len__(self) -> int:
        return len(self._known)


@dataclass(slots=True)
class RequestLog:
    """The newest requests, oldest first."""

    entries: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST))
    seen: int = 0

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one entry with its number."""
        self.seen += 1
        self.entries.append({"seq": self.seen, **entry})


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One side effect on a platform."""

    id: str
    platform: str
    account: str
    kind: str


@dataclass(slots=True)
class Effects:
    """Counts side effects. An idempotency key makes a repeat return the first effect."""

    total: int = 0
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    recent: OrderedDict[str, Effect] = field(default_factory=OrderedDict)
    posts: OrderedDict[str, Effect] = field(default_factory=OrderedDict)
    _once: OrderedDict[tuple[str, str, str, str], Effect] = field(default_factory=OrderedDict)

    def replay(self, platform: str, account: str, kind: str, idempotency_key: str) -> Effect | None:
        """Return the effect that this idempotency key already caused."""
        return self._once.get((platform, account, kind, idempotency_key)) if idempotency_key else None

    def add(self, platform: str, account: str, kind: str, idempotency_key: str = "") -> Effect:
        """Count a new effect. Raises BookFullError."""
        where = (platform, account, kind)
        must_fit(self.counts, where, "counters")
        self.total += 1
        self.counts[where] += 1
        effect = Effect(id=f"{kind}-{self.total}", platform=platform, account=account, kind=kind)
        keep_newest(self.recent, effect.id, effect)
        if kind == "publish":
            keep_newest(self.posts, effect.id, effect)
        if idempotency_key:
            keep_newest(self._once, (*where, idempotency_key), effect)
        return effect

    def report(self) -> dict[str, Any]:
        """Return totals per platform, account and kind, and the newest ids."""
        ids = [asdict(effect) for effect in self.recent.values()]
        return {"total": self.total, "by_platform": tree_of(self.counts), "ids": ids}


def tree_of(counts: Mapping[tuple[str, str, str], int]) -> dict[str, dict[str, dict[str, int]]]:
    """Return counters by three names as nested objects, sorted."""
    tree: dict[str, dict[str, dict[str, int]]] = {}
    for (first, second, third), count in sorted(counts.items()):
        tree.setdefault(first, {}).setdefault(second, {})[third] = count
    return tree


@dataclass(slots=True)
class Accounts:
    """Who an account of a platform says it is."""

    _set: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def put(self, platform: str, account: str, identity: dict[str, str]) -> None:
        """Set the identity. Raises BookFullError."""
        must_fit(self._set, (platform, account), "accounts")
        self._set[(platform, account)] = identity

    def get(self, platform: str, account: str) -> dict[str, str]:
        """Return the identity; one that nobody set is derived from the account's name."""
        default = {"id": f"{platform}-{account}", "username": account, "display_name": f"{account} on {platform}"}
        return dict(self._set.get((platform, account), default))


@dataclass(slots=True)
class Book:
    """All memory of one simulator."""

    keys: KeyBook = field(default_factory=KeyBook)
    log: RequestLog = field(default_factory=RequestLog)
    effects: Effects = field(default_factory=Effects)
    accounts: Accounts = field(default_factory=Accounts)
    minted: int = 0
    late: int = 0  # calls that a vendor still takes with keys that it has ended
    page: int = 100  # keys in one page of a list
    values: dict[str, str] = field(default_factory=dict, repr=False)  # those that a vendor shows again
    asked: set[str] = field(default_factory=set)  # keys whose value was asked for while they were being made
    lives_s: dict[str, int] = field(default_factory=dict)  # of keys that were asked to expire by themselves
    usage: dict[str, dict[int, dict[str, int]]] = field(default_factory=dict)  # vendor, hour, model: how many
    untold: set[int] = field(default_factory=set)  # hours that no vendor reports

    def reset(self) -> None:
        """Forget everything but the salt, so that earlier hashes still compare."""
        anew = Book(keys=KeyBook(self.keys.salt))
        for one in fields(self):
            setattr(self, one.name, getattr(anew, one.name))

    def state_of(self, known: KnownKey) -> SimKeyState:
        """Return what a vendor makes of a key that is shown now."""
        late = self.late > 0 and known.state in (SimKeyState.REVOKED, SimKeyState.DISABLED)
        self.late -= late
        return SimKeyState.VALID if late else known.state

    async def record(self, request: web.Request, vendor: str, key: str = "", **more: Any) -> None:
        """Log one request; ``more`` are further JSON-ready fields."""
        body = await request.read()
        credentials = [{"header": name, "hash": self.keys.digest(value)} for name, value in self._credentials(request)]
        entry = {
            "vendor": vendor,
            "method": request.method,
            "host": request.host[:255],
            "path": self._safe_path(request.path, key),
            "query_names": sorted(request.query.keys())[:50],
            "header_names": sorted({name.lower() for name in request.headers})[:100],
            "auth": credentials[0] if credentials else None,
            "other_auth": credentials[1:],
            "key_in_url": self._key_in_url(request, key),
            "body_length": len(body),
        }
        self.log.add(entry | more)

    def secrets_of(self, **sources: Mapping[str, str]) -> list[dict[str, str]]:
        """Return place, name and hash of each secret field; a source is a place, such as ``form``, and its fields."""
        return [
            {"in": place, "name": name, "hash": self.keys.digest(fields[name])}
            for place, fields in sources.items()
            for name in _SECRET_FIELDS
            if fields.get(name)
        ]

    def _credentials(self, request: web.Request) -> list[tuple[str, str]]:
        found = []
        for name, value in request.headers.items():
            bare = value.partition(" ")[2] if value.lower().startswith(("bearer ", "basic ")) else value
            if name.lower() in _CREDENTIAL_HEADERS or self.keys.is_known(bare):
                found.append((name.lower(), bare))
        return found[:10]

    def _key_in_url(self, request: web.Request, key: str) -> bool:
        values = [*request.path.split("/"), *request.query.values()]
        named = any(name.lower() in _CREDENTIAL_QUERY for name in request.query)
        return named or any(v and self.keys.is_known(v) for v in values) or bool(key and key in request.path_qs)

    def _safe_path(self, path: str, key: str) -> str:
        parts = ["[key]" if part and (part == key or self.keys.is_known(part)) else part for part in path.split("/")]
        return "/".join(parts)[:512]
