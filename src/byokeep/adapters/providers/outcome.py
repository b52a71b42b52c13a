"""What an identity call can come to, and what the receiver does next.

Rules
- Only these statuses and fields leave the room; a reply's text never does.
- ``verified`` needs a 2xx and a body of the expected form. A live key that was refused is a reason of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from byokeep.core.next_steps import of_outcome


class OutcomeStatus(StrEnum):
    """The closed list of outcomes."""

    VERIFIED = "verified"
    VERIFIED_NO_QUOTA = "verified_no_quota"
    INVALID_KEY = "invalid_key"
    DISABLED = "disabled"
    RESTRICTED_BUT_LIVE = "restricted_but_live"
    LEAKED = "leaked"
    NO_CREDIT = "no_credit"
    RATE_LIMITED = "rate_limited"
    PROVIDER_DOWN = "provider_down"
    TIMEOUT = "timeout"
    TLS_ERROR = "tls_error"
    REDIRECT_REFUSED = "redirect_refused"
    MALFORMED = "malformed"
    REFLECTED = "reflected"
    FORBIDDEN = "forbidden"
    GEO_BLOCKED = "geo_blocked"
    NOT_FOUND = "not_found"
    WRONG_KEY_KIND = "wrong_key_kind"
    UNEXPECTED_STATUS = "unexpected_status"


_VERIFIED: Final = frozenset({OutcomeStatus.VERIFIED, OutcomeStatus.VERIFIED_NO_QUOTA})
_ALERTS: Final = frozenset({OutcomeStatus.LEAKED, OutcomeStatus.REFLECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """The result of one identity call.

    Args:
        http_status: Status of the last answer, None when there was none.
        latency_ms: Duration of the last attempt.
        account_hash: Keyed hash of the account id, None when the provider tells none or nothing was verified.
        endpoint: Name of the call, such as ``anthropic.models``.
        attempts: GETs sent, 1 to 3.

    Raises:
        ValueError: ``verified`` without a 2xx answer.
    """

    status: OutcomeStatus
    http_status: int | None
    latency_ms: int
    account_hash: str | None
    endpoint: str
    attempts: int

    def __post_init__(self) -> None:
        if self.verified and not (self.http_status is not None and 200 <= self.http_status < 300):
            raise ValueError("only a 2xx answer verifies a key")

    @property
    def verified(self) -> bool:
        """Whether the provider confirmed the key."""
        return self.status in _VERIFIED

    @property
    def alert(self) -> bool:
        """Whether a person must hear of it at once."""
        return self.status in _ALERTS

    @property
    def next_step(self) -> str:
        """One sentence for the operator."""
        return of_outcome()[self.status]
