"""What to do next about a key that was not verified, by the reason on record.

Rules
- A sentence for each outcome of an identity call; the providers' room has no other words for them.
- Constants only: nothing of a reply or a value gets in.

It may not decide anything: the reason was decided before.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

OF_OUTCOME: Final[Mapping[str, str]] = MappingProxyType(
    {
        "verified": "Nothing to do.",
        "verified_no_quota": "The key is good but its balance is used up; ask the client to top up.",
        "invalid_key": "The provider does not know this key; ask the client for a new one.",
        "disabled": "The key was switched off at the provider; ask the client to enable or replace it.",
        "restricted_but_live": "The key is alive but may not answer the check; allow it to list models.",
        "leaked": "The provider reports this key as leaked; start the leaked-key procedure now (runbook, section 7).",
        "no_credit": "The key is known but the account has no credit; top up, then verify again.",
        "rate_limited": "The provider limits calls; verify again later.",
        "provider_down": "The provider did not work; verify again later.",
        "timeout": "The provider did not answer in time; verify again later.",
        "tls_error": "The provider's certificate could not be trusted; check the network between.",
        "redirect_refused": "The provider's address answered with a redirect; it was not followed.",
        "malformed": "The answer was not what the provider publishes; verify again or check the address.",
        "reflected": "The answer held the key itself; treat the key as exposed and replace it.",
        "forbidden": "The provider refuses this caller; check the key's permissions and address list.",
        "geo_blocked": "The provider refuses this region or plan; run from another one or enable billing.",
        "not_found": "The provider's address has no such endpoint; check the configured address.",
        "wrong_key_kind": "This key administers the account; ask the client for a plain API key.",
        "unexpected_status": "The answer says nothing about the key; verify again later.",
    }
)
_OTHERS: Final = {
    "secret_in_logs": "The key stands in a log: treat it as exposed, replace it at the provider, add the new one.",
    "superseded": "A newer value was put in meanwhile; look at that one.",
}
# What no repeated verification of the same value can put right.
NEEDS_NEW_KEY: Final = frozenset({"invalid_key", "leaked", "reflected", "wrong_key_kind", "secret_in_logs"})
_UNDECIDED: Final = "Nobody could tell whether the key is good; remove the cause, then verify again."
_UNSEARCHED: Final = "Not every log could be searched for the key; see the alerts, then verify again."
_UNPROVEN: Final = "A record that proves this run is missing; see the alerts, then verify again."
_RUNNING: Final = "A worker is at it; look again. If it stays so, see that a worker runs."


def of_run(state: str, reason: str, missing: tuple[str, ...]) -> str:
    """Return what to do about a run of SOP 5.1; empty when it is complete.

    Args:
        state: ``complete``, ``failed``, ``running`` or ``incomplete``.
        reason: Why it failed, as on record.
        missing: Evidence that is not there.
    """
    if state == "complete":
        return ""
    if state == "running":
        return _RUNNING
    if state == "failed":
        return OF_OUTCOME.get(reason) or _OTHERS.get(reason) or _UNDECIDED
    return _UNSEARCHED if "leak_check_pass" in missing else _UNPROVEN


def instead_of_evidence(state: str, reason: str, missing: tuple[str, ...], *, ref: UUID) -> str:
    """Return what leads to evidence when this run has none; arguments as :func:`of_run`, ``ref`` = the run's key."""
    what = of_run(state, reason, missing)
    if state == "running":
        return what
    after = "`byokeep key add` with a new key" if reason in NEEDS_NEW_KEY else f"`byokeep key verify {ref}`"
    return f"This run will have no evidence. {what} {after} starts a new run, which will."
