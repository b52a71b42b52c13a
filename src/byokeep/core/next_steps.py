"""What people should do next, by the reason on record. The words are in ``next_steps.toml``.

Rules
- There is a sentence for each outcome of an identity call. The providers' room has no other words for them.
- The words are constants: nothing from a reply or a value gets in.
- The file is read when it is first needed, so that a command that does not need it does not read it.

It may not decide anything: the reason has already been decided.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Final
from uuid import UUID

from byokeep.core.data_file import shipped

# What verifying the same value again cannot put right.
NEEDS_NEW_KEY: Final = frozenset({"invalid_key", "leaked", "reflected", "wrong_key_kind", "secret_in_logs"})


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(shipped("next_steps.toml"))


def of_outcome() -> Mapping[str, str]:
    """Return what to do about each outcome of an identity call, by its name."""
    return _words()["outcome"]


def wait_of(why: str, *, attempt: int, of: int, wait_s: int) -> str:
    """Return the reason to record for a run that waits for its next attempt; :func:`of_run` puts it in words.

    Args:
        why: Why the last attempt decided nothing, as a code.
        attempt: Number of the next attempt.
        of: How many there are at most.
        wait_s: Seconds until the next one.
    """
    return f"{why}/{attempt}/{of}/{wait_s}"


def _waiting(reason: str) -> str:
    why, *numbers = reason.split("/")
    if len(numbers) != 3:
        return _words()["run"]["running"]
    attempt, of, wait_s = numbers
    outcome = of_outcome().get(why, f"The last attempt could not be made ({why})").partition(". ")[0]
    said = _words()["waits"].get(why, outcome)
    return f"{said}: attempt {attempt} of {of} follows by itself in {wait_s} s. The key is kept while it waits."


def of_run(state: str, reason: str, missing: tuple[str, ...]) -> str:
    """Return what to do about a run of SOP 5.1; empty if it is complete.

    Args:
        state: ``complete``, ``failed``, ``running`` or ``incomplete``.
        reason: Why it failed, as on record.
        missing: Evidence that is not there.
    """
    if state == "complete":
        return ""
    if state == "running":
        return _waiting(reason)
    run = _words()["run"]
    if state == "failed":
        return of_outcome().get(reason) or _words()["onboarding"].get(reason) or run["undecided"]
    return run["unsearched" if "leak_check_pass" in missing else "unproven"]


def of_rotation(
    state: str, reason: str, missing: tuple[str, ...], *, unused: bool = False, held: bool = False,
    leaked: bool = False, minted: bool = False,
) -> str:  # fmt: skip
    """Return what to do about a rotation, with names in braces for what the caller fills in.

    Args:
        state, reason, missing: As for :func:`of_run`.
        unused: It ends a new key that was taken back.
        held: Jobs hold the key, which ends when another one is made.
        leaked: The key that it ends has leaked.
        minted: A worker makes the new key.
    """
    said = {**_words()["rotation"], **_words()["unused_key" if unused else "leaked_key" if leaked else "rotation"]}
    if state == "failed":
        then = said["not_verified" if missing[:1] == ("verify",) else "failed"]
        why = of_outcome().get(reason) or said.get(f"why_{reason}") or f"{reason}."
        return said.get(reason) or f"It stopped: {why} {then}"
    if state == "undoing" and reason:
        return f"{of_outcome().get(reason) or reason}: {said['undo_refused']}"
    if state == "running" and missing[:1] in (("create",), ("soak",)) and not (minted and missing[0] == "create"):
        return said[f"{missing[0]}_held" if held else missing[0]]
    return said["unproved" if state == "complete" and missing else state]


def of_connection(state: str, reason: str) -> str:
    """Return what to do about a run of SOP 5.2; empty if it is complete. Arguments as for :func:`of_run`."""
    if state == "complete":
        return ""
    if state in ("running", "incomplete"):
        return "It waits for the person or for the refresher. Look again later, and check that a refresher is running."
    return _words()["connection"].get(reason, "The account was not connected, and nothing was kept. Start again.")


def of_consent(name: str) -> str:
    """Return what to add to the outcome of a consent: ``maybe_ended``, ``look_alike`` (with ``{points}``)."""
    return _words()["consent"][name]


def of_loss(reason: str) -> str:
    """Return what to do about an account whose grant was lost, by the reason on record."""
    return _words()["loss"].get(reason, of_look("lost"))


def of_look(found: str) -> str:
    """Return what to do about an account where a check found ``mismatch``, ``look_alike``, ``lost`` or ``unknown``."""
    return _words()["look"][found]


def no_reauth(state: str, *, renewed: bool) -> str:
    """Return why there is no date by which an account's owner must log in again.

    Args:
        state: Of the account.
        renewed: Whether its tokens are renewed.
    """
    if state == "needs_reauth":
        return "now"
    if state in ("connected", "name_changed", "mismatch"):
        return "none: the tokens are renewed" if renewed else "none: the platform gives no end"
    return "none: it is not connected"


def of_profile(state: str, missing: tuple[str, ...]) -> str:
    """Return what to do about a run of SOP 5.3; empty if it is complete.

    Args:
        state: As for :func:`of_run`.
        missing: Evidence that the newest generation lacks.
    """
    if state == "complete":
        return ""
    if "vault_write_event" in missing and state == "running":
        return "Nothing is sealed yet. Run `byokeep profile login`, log in there, then run `byokeep profile confirm`."
    return "The newest generation is not proved yet. Run `byokeep profile validate`."


def of_alert(reason: str) -> str:
    """Return what to do about an alert of this reason, in one line; empty if nothing is known beyond its name."""
    alerts = _words()["alert"]
    return alerts.get(reason, alerts["blocked"] if reason.startswith("blocked_") else "")


def instead_of_evidence(state: str, reason: str, missing: tuple[str, ...], *, ref: UUID) -> str:
    """Return what leads to evidence if this run has none, in at most 200 characters.

    Args:
        state, reason, missing: As for :func:`of_run`.
        ref: The run's key.
    """
    what = of_run(state, reason, missing)
    if state == "running":
        return what
    after = "`byokeep key add` with a new key" if reason in NEEDS_NEW_KEY else f"`byokeep key verify {ref}`"
    return f"{what} {after} starts a new run with its own evidence."
