"""What an identity call can come to, and what the receiver does next.

Rules
- Only these statuses and fields leave the room; a reply's text never does.
- ``verified`` needs a 2xx and a body of the expected form. A live key that was refused is a reason of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


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

NEXT_STEPS: Final[Mapping[OutcomeStatus, str]] = MappingProxyType(
    {
        OutcomeStatus.VERIFIED: "Nothing to do.",
        OutcomeStatus.VERIFIED_NO_QUOTA: "The key is good but its balance is used up; ask the client to top up.",
        OutcomeStatus.INVALID_KEY: "The provider does not know this key; ask the client for a new one.",
        OutcomeStatus.DISABLED: "The key was switched off at the provider; ask the client to enable or replace it.",
        OutcomeStatus.RESTRICTED_BUT_LIVE: "The key is alive but may not answer the check; allow it to list models.",
        OutcomeStatus.LEAKED: "The provider reports this key as leaked; start the leaked-key procedure now.",
        OutcomeStatus.NO_CREDIT: "The key is known but the account has no credit; top up, then verify again.",
        OutcomeStatus.RATE_LIMITED: "The provider limits calls; verify again later.",
        OutcomeStatus.PROVIDER_DOWN: "The provider did not work; verify again later.",
        OutcomeStatus.TIMEOUT: "The provider did not answer in time; verify again later.",
        OutcomeStatus.TLS_ERROR: "The provider's certificate could not be trusted; check the network between.",
        OutcomeStatus.REDIRECT_REFUSED: "The provider's address answered with a redirect; it was not followed.",
        OutcomeStatus.MALFORMED: "The answer was not what the provider publishes; verify again or check the address.",
        OutcomeStatus.REFLECTED: "The answer held the key itself; treat the key as exposed and replace it.",
        OutcomeStatus.FORBIDDEN: "The provider refuses this caller; check the key's permissions and address list.",
        OutcomeStatus.GEO_BLOCKED: "The provider refuses this region or plan; run from another one or enable billing.",
        OutcomeStatus.NOT_FOUND: "The provider's address has no such endpoint; check the configured address.",
        OutcomeStatus.WRONG_KEY_KIND: "This key administers the account; ask the client for a plain API key.",
        OutcomeStatus.UNEXPECTED_STATUS: "The answer says nothing about the key; verify again later.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
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
        return NEXT_STEPS[self.status]
