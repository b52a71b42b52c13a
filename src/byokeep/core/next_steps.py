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
    "switch_closed": "The new value is stored. Verify it once the kill switch is released; if the one before it leaked,"
    " mark that compromised first (`byokeep key state`), or it serves again until then.",
    "reference_ended": "The reference was ended meanwhile; put the value in again.",
}
# What no repeated verification of the same value can put right.
NEEDS_NEW_KEY: Final = frozenset({"invalid_key", "leaked", "reflected", "wrong_key_kind", "secret_in_logs"})
_UNRECORDED: Final = (
    "a row was changed past byokeep; the client's kill switch is engaged. Find out who can write the database, do the"
    " change again with byokeep (or undo it so), then release: runbook section 8.2."
)
_OF_ALERT: Final = {
    "blocked_switch_closed": "a job stands still; expected after a kill that was meant, see runbook section 7. It"
    " stays open until somebody has looked what the job did (`byokeep job show`) and closes it.",
    "blocked_profile_in_use": "a job found its profile open elsewhere; wait for the other's end, or end that job."
    " One that was killed lets go after 30 s.",
    "key_no_quota": "a key is good but its balance is used up; ask the client to top up, then `byokeep key verify`.",
    "secret_reuse_revoked": "something still asks for a marked key; find the job and stop what opens it.",
    "identity_mismatch": "a job saw another account than the registered one; look at the account before anything else."
    " Its lanes are off until a person sets them again.",
    "reference_redirected": "somebody made a reference name another place past byokeep: runbook section 8.2.",
    "key_unrecorded": _UNRECORDED,
    "account_unrecorded": _UNRECORDED,
    "job_unrecorded": _UNRECORDED,
    "subject_unrecorded": "a person's or machine's row was changed past byokeep, and it signs nobody in: an admin makes"
    " the change again, and you find out who can write the database, runbook section 8.2.",
    "token_unrecorded": "a token's row was written past byokeep, and it signs nobody in: find out who can write the"
    " database, runbook section 8.2, then issue the token again.",
    "admin_recovered": "somebody with the host's credentials let an admin sign in again. Ask that admin whether it was"
    " meant; if not, disable the account and treat the host as taken. Another admin closes this.",
    "credentials_of_another_issued": "an admin issued an invitation for somebody who can sign in already. Ask both; if"
    " it was not meant, revoke what was issued. Somebody else than those two closes this.",
    "admin_stopped": "an admin took another admin's access. Ask both; if it was not meant, within a day:"
    " `byokeep operator recover NAME` on the host lets the stopped one back in, who stops the other. If in doubt,"
    " engage the kill switches. Somebody else than those two closes this.",
    "machine_token_ends": "`byokeep operator token ID --machine --save FILE`, or disable a machine that is not used.",
    "person_token_ends": "its owner issues another: `byokeep operator token --save FILE`.",
    "device_gap": "a file of the store's audit lacks lines that another has: see that its disk and path work, then"
    " `byokeep audit health`; if nobody explains it, treat it as tampering, runbook section 8.2.",
    "device_torn": "a file of the store's audit holds a cut line: after a crash that is expected, otherwise treat it as"
    " tampering, runbook section 8.2.",
    "devices_disagree": "two files of the store's audit tell different things of one request: treat it as tampering,"
    " keep both as they are, runbook section 8.2.",
    "effect_missed": "an announced effect came too late: `byokeep job requeue` sets a new time, or call it off.",
    "renewal_overdue": "an account's tokens were not renewed in time: see that a refresher runs (`byokeep doctor`).",
    "alerts_flooded": "one service raised more than 300 alerts within an hour: `byokeep audit list` says which, as the"
    " writer. Unless you know the cause, treat its host as taken; look for other critical alerts beside the flood.",
    "alert_unrecorded": "an alert was made, closed, changed or removed past byokeep: `byokeep audit list` says what it"
    " was. Find out who can write the database, then go after that alert as if it were open.",
    "client_unrecorded": _UNRECORDED,
    "switch_unrecorded": _UNRECORDED,
    "other_account": "another account answered at a platform; log in there as the right one, connect it again. One that"
    " was registered by hand is the account whose id is its name.",
    "tokens_maybe_superseded": "a consent that was not kept may have ended this account's tokens. They are renewed at"
    " once to find out: `byokeep account list`. If its owner must log in again, that is why.",
    "account_superseded": "a later consent of the same person at the platform ended this account's tokens; its owner"
    " logs in again: `byokeep account connect`. Nothing was stolen.",
    "account_taken": "another client has this account of the platform; ask both.",
    "account_was_elsewhere": "another client had this account of a platform; if it moves, `byokeep account transfer`.",
    "account_name_changed": "the account shows another name; `byokeep account show`, then `account confirm-name`.",
    "scopes_wider": "a person granted more than was asked for; look at our app at the platform.",
    "revocation_unconfirmed": "the platform may still honour a grant; the person removes our app there by hand.",
    "revocation_not_offered": "the platform ends no grant by a call; the person removes our app there by hand.",
    "replaced_tokens_left": "a renewal of the login that was replaced came late; nobody has its tokens, and they end by"
    " themselves. To end them at once, `byokeep account disconnect`, then connect again.",
    "account_check_failed": "nobody could look whose account it is; see the refresher's log, then `account verify`.",
    "account_end_failed": "a grant could not be ended; see the refresher's log; remove our app there by hand.",
    "account_missing_scope": "the owner took a permission away; log in again with every box ticked, runbook 7.2.",
    "token_life_short": "a platform gives tokens that end within a minute; ask it why, jobs find them dead.",
    "consent_finish_failed": "a consent ended by an error of ours; see the refresher's log, then begin again.",
    "store_unreachable": "the secret store does not answer: no lease, heartbeat or permit is given until it does."
    " `byokeep doctor` says what is down; start the store, or unseal it.",
    "round_failed": "a regular duty failed and is tried again; while this stays, see the logs of broker and refresher.",
    "permit_unknown": "an effect may or may not have happened: look at the platform before anybody tries it again.",
    "repeated_denials": "somebody is refused again and again: `byokeep audit list` says who and what for; ask them.",
    "bad_tokens": "wrong tokens are tried again and again: find the address in your reverse proxy's log and block it.",
    "password_guessing": "passwords are guessed: find the address in your reverse proxy's log and block it.",
    "refusals_not_recorded": "one caller is refused too often to record each time: `byokeep audit list` names it;"
    " revoke its token.",
    "token_reuse": "a token was used after its end: find out who still holds it (`byokeep audit list`), and give them a"
    " new one; if it is nobody of yours, treat it as stolen.",
    "shared_value": "two clients gave the same key: ask both, and let one of them make a key of its own.",
    "store_logins_refused": "logins with a lease were refused at the store: late, killed, or somebody tries; they got"
    " nothing. When there are many, `byokeep audit reconcile` says whose they were.",
    "lease_use_surplus": "more was done at the store under a lease than its holder did, or somebody told for it:"
    " it was signed again or its token is in other hands. Stop the client, runbook section 7.",
    "lease_use_untold": "a lease's holder did not tell what it did, so nobody can tell that it was alone: it ended"
    " without telling, was killed, could not reach the broker, or runs an older release. Expected of leases of a time"
    " in which broker, database or store were away (`byokeep audit list`): close it. Otherwise find out which; if it"
    " was none of these, treat it as `lease_use_surplus`.",
    "store_log_rekeyed": "an audit device of the store was made anew, so logins of before were held against their"
    " leases by name and number alone. If nobody of yours did it, treat the store's host as broken into.",
    "store_denials": "the store refused one of ours; run `byokeep audit reconcile`.",
    "store_audit_unread": "the store's audit could not be read; run `byokeep audit health`.",
    "cut_off_undone": "somebody let a killed client in at the store; it is cut off again. Treat the broker's identity"
    " as stolen, runbook section 7.",
    "cut_off_unexplained": "somebody cut a client off at the store past us; look for who holds the broker's identity.",
    "write_cut_off": "a process died between the store's write and our record. `byokeep audit list` soon shows the seal"
    " done again, or swept (`cut_off`); if neither comes, treat it as tampering.",
    "write_unexplained": "somebody wrote to the store past byokeep: treat it as tampering, runbook section 8.2.",
    "reconciled_by_another": "somebody with the broker's database role wrote how far the store's log was explained;"
    " it hid nothing. Treat the role as stolen: change its credentials, runbook section 8.2.",
    "store_log_begins_late": "the store's log begins later than what is still to be explained; look for the file that"
    " was moved away, runbook section 8.2.",
    "reconcile_unknown": "the store's audit could not be compared; run `byokeep audit reconcile`.",
    "audit_device_unhealthy": "a device of the store's audit does not record: `byokeep audit health` says which and"
    " why; runbook section 8.2.",
    "store_not_recording": "no device of the store's audit records, so nothing is leased or taken in; `byokeep audit"
    " health`, runbook section 8.2. It goes on by itself.",
    "no_audit_device": "the store has no audit device, so nothing is leased or taken in: declare one in its"
    " configuration, runbook section 8.2.",
    "audit_log_broken": "treat it as tampering: keep database and checkpoints as they are, run `byokeep audit verify`.",
    "audit_copy_diverged": "treat it as tampering: keep both as they are, run `byokeep audit verify`.",
    "checkpoint_refused": "keep database and checkpoints as they are, run `byokeep audit verify`.",
    "checkpoint_overdue": "no checkpoint was published in time: run `byokeep audit checkpoint` and see why it fails.",
    "clock_jump": "the machine's clock jumped: see that its time service runs and is in step.",
    "clock_skew": "the clocks of broker and database differ: see that a time service runs on both machines.",
    "disk_reserve_missing": "the disk has no room for its reserve: free some; until then a full disk can stop a kill.",
    "profile_quarantined": "a profile showed another account or none; `byokeep profile show`, then log in afresh.",
    "profile_integrity": "a sealed profile is not what was sealed: treat it as tampering, see `byokeep profile show`.",
    "destroyed_key_back": "a restore brought a destroyed key back; it is destroyed again: shred its profile again.",
    "vault_incident_opened": "`byokeep incident vault list`, then `status`: what is next stands there.",
    "session_to_end_by_hand": "no worker could end a session: log out at the platform, then `byokeep incident vault"
    " session-ended`.",
    "platform_closed": "nothing acts on a platform of a client; `byokeep incident platform status`.",
    "account_reuse_suspected": "an account may be in other hands: ask its owner whether they took the consent back. If"
    " not, treat it as theft; runbook section 7.2.",
    "account_locked": "its owner must act at the platform first, then log in again; runbook section 7.2.",
    "account_reauth": "the platform does not honour a consent any more; its owner logs in again, runbook section 7.2.",
    "account_chain_broken": "a renewal's answer was lost; the account's owner logs in again, runbook section 7.2.",
    "account_identity_mismatch": "another account answered, or one with a name made to look like the expected one;"
    " nothing acts there: `byokeep account show`, then its owner logs in again, runbook section 7.2.",
    "profile_due": "a profile is due for a new key; `byokeep profile rekey`.",
    "profile_overdue": "a profile's key is too old and its lane stands still; `byokeep profile rekey`.",
    "profile_work_failed": "work on a profile could not be done; `byokeep profile show` tells why.",
    "record_history_low": "a profile's seals are cut off again and again; find out why its jobs or the worker die, then"
    " `byokeep kek rotate CLIENT` makes room.",
    "record_history_full": "nothing more is sealed of a profile, for too many seals were cut off; find out why, then"
    " `byokeep kek rotate CLIENT` writes its records anew.",
    "kek_compromised": "a key that guards profiles may be known to others: `byokeep kek plan` tells what is to do.",
    "kek_unconfirmed": "a new key does not do what it is for; let somebody look at OpenBao before anything else.",
    **dict.fromkeys(
        (
            "kek_missing_outside",
            "kek_disabled_outside",
            "kek_unknown_outside",
            "kek_altered_outside",
            "kek_protects_outside",
            "kek_destroyed_is_back",
            "kek_history_broken",
        ),
        "a key that guards profiles is not what our records say: look who changed it at OpenBao, `byokeep kek check"
        " CLIENT`, and treat it as tampering until somebody explains it.",
    ),
    **dict.fromkeys(
        ("profile_record_missing", "profile_record_orphan", "profile_blob_missing", "profile_blob_orphan"),
        "records, files and rows of a client's profiles do not agree: `byokeep profile show`; nobody explains it: treat"
        " it as tampering, runbook section 8.2.",
    ),
    "kek_due": "a client's key is due for a new version: `byokeep kek rotate CLIENT`.",
    "kek_overdue": "a client's key is past the end of its period: `byokeep kek rotate CLIENT` now.",
    "kek_not_moved": "a change of a client's key was refused at OpenBao: `byokeep kek list`, then ask for it again.",
    "dek_history_broken": "the record of a profile's key is not complete: treat it as tampering, runbook section 8.2.",
    "orphan_not_destroyed": "a value that nothing uses could not be destroyed at the store; it is tried again. See that"
    " the store answers.",
    "webhook_secret_not_destroyed": "an old webhook secret could not be destroyed at the store; it is tried again. See"
    " that the store answers.",
    "renewal_of_another_owner": "a machine that renewed tokens has gone in the middle of it: start it again; if its"
    " disk is lost, `byokeep account refreshers`, then `byokeep account refresher-gone`.",
    "node_not_named": "a node of the store answers whose files `store_audit_files` does not name: name them.",
    "kek_rewrap_blocked": "a profile's record is not what was sealed, or its history is full: `byokeep profile show`.",
    "duplicate_key_material": "this machine's randomness repeats itself; seal nothing there before it was looked at.",
    "installation_copied": "this home is a copy or was moved: see runbook, copies, before two people open it.",
    "audit_chain_held": "sessions of the database that kept the broker's records waiting were ended: find out whose.",
    "switch_lock_held": "the kill holds; sessions of the database that stood in its way were ended: find out whose.",
    "checkpoint_mismatch": "the database is not the one that was published, and all is closed: runbook, copies.",
    "withdrawal_undone": "a restore gave back what had been withdrawn; it is withdrawn again: `byokeep kill status`.",
    "audit_record_malformed": "`byokeep audit verify` names it; find out who could write it past the database's check.",
}
_BLOCKED: Final = (  # the rest of the reason is the runner's error code
    "a job could not go on. See that the cause is gone (`byokeep doctor`) and what the job did (`byokeep job show`);"
    " run it again, then close this: it stays open until somebody has looked."
)
_UNDECIDED: Final = "Nobody could tell whether the key is good; remove the cause, then verify again."
_UNSEARCHED: Final = "Not every log could be searched for the key; see the alerts, then verify again."
_UNPROVEN: Final = "A record that proves this run is missing; see the alerts, then verify again."
_RUNNING: Final = "A worker is at it; look again. If it stays so, see that a worker runs."
_WAITS: Final = {
    "rate_limited": "The provider limits calls",
    "provider_down": "The provider does not work",
    "timeout": "The provider did not answer in time",
}


def wait_of(why: str, *, attempt: int, of: int, wait_s: int) -> str:
    """Return the reason on record of a run that waits for its next attempt; :func:`of_run` puts it in words.

    Args:
        why: Why the last attempt decided nothing, as a code.
        attempt: Number of the next one.
        of: How many there are at most.
        wait_s: Seconds between the two.
    """
    return f"{why}/{attempt}/{of}/{wait_s}"


def _waiting(reason: str) -> str:
    why, *numbers = reason.split("/")
    if len(numbers) != 3:
        return _RUNNING
    attempt, of, wait_s = numbers
    said = _WAITS.get(why, f"The last attempt could not be made ({why})")
    return f"{said}: attempt {attempt} of {of} follows by itself in {wait_s} s. Ctrl-C ends this wait; the key is kept."


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
        return _waiting(reason)
    if state == "failed":
        return OF_OUTCOME.get(reason) or _OTHERS.get(reason) or _UNDECIDED
    return _UNSEARCHED if "leak_check_pass" in missing else _UNPROVEN


MAYBE_ENDED: Final = (
    "That account answered, and this consent may have ended its older tokens (X, TikTok). It is renewed now; whether"
    " its owner must log in again says, within a minute: "
)
LOOK_ALIKE: Final = (
    "It is the account with the expected id, but a name of it holds {points}, made to look like the expected name."
    " Nothing was kept. Ask the owner who changed it: when the name is as before, connect again; if the new one is"
    " meant, disconnect the account and connect it under another name of ours."
)
_OF_CONNECTION: Final = {
    "consent_refused": "The person said no at the platform; begin again when they are ready.",
    "platform_said_error": "The platform answered with an error; look at our app's set-up there, then begin again.",
    "wrong_issuer": "The answer names another issuer: treat it as an attack, look at the browser it came from.",
    "bad_code": "The answer held no usable code; begin again.",
    "superseded": "The same account was begun once more; look at that one.",
    "not_answered": "Nobody answered within ten minutes; begin again.",
    "interrupted": "The refresher ended in between; begin again. Nothing was kept.",
    "exchange_refused": "The platform gave no tokens for the code. An admin gives our app's secret again"
    " (`byokeep account app set`), then an operator begins again.",
    "missing_scope": "The person did not grant everything that is needed; begin again and leave every box ticked.",
    "scopes_unknown": "The platform does not say what was granted, which is not enough; begin again.",
    "account_not_chosen": "The platform names no account that can be taken; look at the login there, then begin again.",
    "no_account": "This login opens no account of that kind; log in as somebody who manages one, then begin again.",
    "several_accounts": "This login opens several: begin again with --pick and the id of the one that is meant.",
    "pick_not_there": "The id of --pick is none of the accounts that this login opens; begin again with the right one.",
    "pick_is_another_account": "This name is another account's; connect the picked one under a name of its own.",
    "begun_before_close": "The platform was closed for this client after the consent was begun; begin again.",
    "already_connected": "This client has the account already, under the name that `held as` shows.",
    "account_taken": "This account cannot be connected here. If it moves, its present owner disconnects it first.",
    "account_was_elsewhere": "Another client had this account; if it moves, ask for it: `byokeep account transfer`.",
    "other_account": "Another account answered; nothing was kept of it. Log in at the platform as the right one."
    " If this one is meant, connect it under a name of its own.",
    "identity_unchecked": "The platform could not be asked whose account it is; begin again later.",
    "disconnected": "Somebody disconnected the account meanwhile; begin again if it is to be connected.",
    "app_changed": "An admin named another app of ours meanwhile; begin again.",
    "name_not_printable": "The account's name holds control characters; its owner changes it, then begin again.",
    "reply_repeats_secret": "The platform said a token or our app's secret as a name, id or scope; nothing was kept.",
    "renews_by_access_token": "The platform gave one value as both tokens, which is not taken.",
    "posts_unreadable": "The account's posts could not be read; look at the permissions, then begin again.",
}


def of_connection(state: str, reason: str) -> str:
    """Return what to do about a run of SOP 5.2; empty when it is complete. Arguments as for :func:`of_run`."""
    if state == "complete":
        return ""
    if state in ("running", "incomplete"):
        return "It waits for the person, or for the refresher; look again, and see that a refresher runs."
    return _OF_CONNECTION.get(reason, "It was not connected, and nothing was kept; begin again.")


_OF_LOSS: Final = {
    "reuse_suspected": "A one-time token was refused that nobody of ours had used. Ask the owner whether they took the"
    " consent back: if so they log in again. If not, treat it as theft: they end the app's access and other sessions at"
    " the platform first, you look for who read the token (`byokeep audit reconcile`), then they log in again.",
    "locked": "The platform has locked the account or wants something of its owner: they act there first, then they log"
    " in again.",
    "superseded": "A later consent of the same person at the platform, which was not kept, ended these tokens. Nothing"
    " was stolen; the owner logs in again.",
    "chain_broken": "The answer to a renewal was lost, and the token is spent; the owner logs in again.",
    "compromised": "The platform was closed for this client, and no older token is trusted; the owner logs in again.",
}


def of_loss(reason: str) -> str:
    """Return what to do about an account whose grant was lost, by the reason on record."""
    return _OF_LOSS.get(reason, OF_LOOK["lost"])


OF_LOOK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mismatch": "Another account answered, or a job saw one: nothing acts there. Look at the account first.",
        "look_alike": "The id is the expected one, but a name is made to look like the expected one: `said` shows its"
        " odd characters. Ask the owner who changed it; when it is as before, connect again.",
        "lost": "The platform does not honour this consent any more: its owner must log in again.",
        "unknown": "Nobody could tell whose account it is, which counts as failed: reason says why. Remove the cause, "
        "then verify again.",
    }
)


def no_reauth(state: str, *, renewed: bool) -> str:
    """Return why there is no day on which an account's owner must log in again.

    Args:
        state: Of the account.
        renewed: Whether its tokens are renewed.
    """
    if state == "needs_reauth":
        return "now"
    if state in ("connected", "name_changed", "mismatch"):
        return "none: the tokens are renewed" if renewed else "none: the platform names no end"
    return "none: it is not connected"


def of_profile(state: str, missing: tuple[str, ...]) -> str:
    """Return what to do about a run of SOP 5.3; empty when it is complete.

    Args:
        state: As for :func:`of_run`.
        missing: Evidence that is not there for the newest generation.
    """
    if state == "complete":
        return ""
    if "vault_write_event" in missing and state == "running":
        return "Nothing is sealed yet: `byokeep profile login`, log in there, `byokeep profile confirm`."
    return "The newest generation is not proved yet: `byokeep profile validate`."


def of_alert(reason: str) -> str:
    """Return what to do about an alert of this reason, in one line; empty when nothing is known beyond its name."""
    return _OF_ALERT.get(reason, _BLOCKED if reason.startswith("blocked_") else "")


def instead_of_evidence(state: str, reason: str, missing: tuple[str, ...], *, ref: UUID) -> str:
    """Return what leads to evidence when this run has none, in at most 200 characters.

    Args:
        state, reason, missing: As for :func:`of_run`.
        ref: The run's key.
    """
    what = of_run(state, reason, missing)
    if state == "running":
        return what
    after = "`byokeep key add` with a new key" if reason in NEEDS_NEW_KEY else f"`byokeep key verify {ref}`"
    return f"{what} {after} starts a new run with evidence of its own."
