"""Every token of a simulated platform: its family, its generation, whether it lives, and why not.

A family is what one consent gave: an access token, a refresh token, and all that replaced them.

Rules
- Values are handed out once and kept as salted hashes.
- A dead token says why it died; the first reason stays.
- A family keeps its newest tokens only; one that was dropped is unknown from then on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from byokeep_sim.book import BookFullError
from byokeep_sim.platforms.kit import SimCase, SimRefusal

MAX_FAMILIES: Final = 10_000
MAX_FAMILY_TOKENS: Final = 1_000


class TokenKind(StrEnum):
    """What a token is for."""

    ACCESS = "access"
    REFRESH = "refresh"
    SHORT = "short"
    LONG = "long"
    PAGE = "page"


@dataclass(slots=True, kw_only=True)
class Family:
    """What came of one consent."""

    id: str
    client_id: str
    account: str
    owner: str
    scopes: tuple[str, ...]
    asked: tuple[str, ...]
    targets: tuple[str, ...]
    created_at: float
    generation: int = 0
    dead: SimCase | None = None
    used_at: float = 0.0
    tokens: list[SimToken] = field(default_factory=list)


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
        """Return why the token is of no use, None while it is."""
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
        return {
            "hash": self.digest,
            "kind": str(self.kind),
            "generation": self.generation,
            "state": state,
            "why": str(why) if why else None,
            "issued_at": round(self.issued_at),
            "expires_at": None if self.expires_at is None else round(self.expires_at),
            "uses": self.uses,
        }


@dataclass(slots=True)
class Ledger:
    """The tokens of one platform, and how often each account's were asked for."""

    digest: Callable[[str], str]
    families: list[Family] = field(default_factory=list)
    tally: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _tokens: dict[str, SimToken] = field(default_factory=dict)

    def open(
        self,
        *,
        client_id: str,
        account: str,
        owner: str,
        scopes: tuple[str, ...],
        asked: tuple[str, ...],
        targets: tuple[str, ...],
        now: float,
    ) -> Family:
        """Start a family. Raises BookFullError."""
        if len(self.families) >= MAX_FAMILIES:
            raise BookFullError(f"at most {MAX_FAMILIES} families of tokens")
        family = Family(
            id=f"family-{len(self.families) + 1}",
            client_id=client_id,
            account=account,
            owner=owner,
            scopes=scopes,
            asked=asked,
            targets=targets,
            created_at=now,
            used_at=now,
        )
        self.families.append(family)
        return family

    def put(
        self, family: Family, kind: TokenKind, value: str, *, now: float, ttl_s: float | None, target: str = ""
    ) -> SimToken:
        """Register a value that is about to be handed out; a value known already is left as it is."""
        digest = self.digest(value)
        known = self._tokens.get(digest)
        if known is not None:
            return known
        token = SimToken(
            digest=digest,
            kind=kind,
            family=family,
            generation=family.generation,
            issued_at=now,
            expires_at=None if ttl_s is None else now + ttl_s,
            target=target,
        )
        self._tokens[digest] = token
        family.tokens.append(token)
        while len(family.tokens) > MAX_FAMILY_TOKENS:
            del self._tokens[family.tokens.pop(0).digest]
        return token

    def find(self, value: str) -> SimToken | None:
        """Return the token, dead or alive."""
        return self._tokens.get(self.digest(value)) if value else None

    def usable(self, value: str, *kinds: TokenKind, now: float) -> SimToken:
        """Return a live token and count its use. Raises Refused."""
        if not value:
            raise SimRefusal(SimCase.ABSENT)
        token = self.find(value)
        if token is None or token.kind not in kinds:
            raise SimRefusal(SimCase.UNKNOWN)
        reason = token.death(now)
        if reason is not None:
            raise SimRefusal(reason)
        token.uses += 1
        token.family.used_at = now
        return token

    def consume(self, token: SimToken, *, now: float, grace_s: float, kills_family: bool) -> None:
        """Use up a one-time token; within the grace the newest consumed one passes again. Raises Refused."""
        family = token.family
        if token.consumed_at is None:
            token.consumed_at = now
            family.generation += 1
            return
        newest = max(one.generation for one in family.tokens if one.consumed_at is not None)
        if token.generation == newest and now < token.consumed_at + grace_s:
            family.generation += 1
            return
        if kills_family:
            family.dead = family.dead or SimCase.REUSED
        raise SimRefusal(SimCase.REUSED)

    def of(self, *, account: str = "", owner: str = "", client_id: str = "") -> Iterator[Family]:
        """Yield the live families that match."""
        for family in self.families:
            matches = account in ("", family.account) and owner in ("", family.owner)
            if matches and client_id in ("", family.client_id) and family.dead is None:
                yield family

    def end(self, why: SimCase, *, account: str = "", owner: str = "", client_id: str = "") -> int:
        """Kill the families that match; returns how many."""
        found = list(self.of(account=account, owner=owner, client_id=client_id))
        for family in found:
            family.dead = why
        return len(found)

    def count(self, account: str, call: str, outcome: str) -> None:
        """Count what became of a call for an account."""
        self.tally[account, call, outcome] += 1

    def calls(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the counters by account, call and outcome."""
        tree: dict[str, dict[str, dict[str, int]]] = {}
        for (account, call, outcome), number in sorted(self.tally.items()):
            tree.setdefault(account or "unknown", {}).setdefault(call, {})[outcome] = number
        return tree

    def report(self, now: float, account: str = "") -> list[dict[str, Any]]:
        """Return the families and their tokens, as hashes."""
        return [
            {
                "id": family.id,
                "client_id": family.client_id,
                "account": family.account,
                "owner": family.owner,
                "scopes": list(family.scopes),
                "generation": family.generation,
                "state": "dead" if family.dead else "live",
                "why": str(family.dead) if family.dead else None,
                "created_at": round(family.created_at),
                "tokens": [token.report(now) for token in family.tokens],
            }
            for family in self.families
            if account in ("", family.account)
        ]
