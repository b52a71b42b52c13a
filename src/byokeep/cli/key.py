"""``byokeep key``: clients' provider keys (SOP 5.1)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from shlex import quote
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import App, Parameter
from rich.text import Text

from byokeep.cli.api import Listing, ask_until, call, names, run, tell, tell_all
from byokeep.cli.choices import AdminProvider, ApiProvider, KeylessProvider, KeyStateChange, OAuthPlatform, Risk
from byokeep.cli.intake import read_secret
from byokeep.cli.names import Client, Key, said_of
from byokeep.cli.rotate import OldEnds
from byokeep.cli.terminal import again, busy, clean, err, fitted, say, session, show
from byokeep.cli.times import moment
from byokeep.cli.usage import used
from byokeep.core import next_steps
from byokeep.core.errors import ByokeepError, Integrity, Pending, Rejected, Unavailable
from byokeep.core.plain_text import holds_secret

app: Final = App(name="key")
_COLUMNS: Final = ("id", "provider", "kind", "version", "candidate", "state", "verification", "risk", "rotation_due_at")
_COMPARED_S: Final = 60.0
_INVENTORY: Final = ("client", "provider", "version", "state", "verification", "rotation_due_at", "store", "id")
_PURGE: Final = ("id", "state", "waits_for", "next_step")
_RECORDS: Final = ("seq", "at", "event", "stage", "outcome", "actor", "reason")
_SHOWN: Final = ("id", "state", "reason", "missing", "provider", "ref", "version", "serves", "verification", "evidence")
_WAIT_S: Final = 90


@app.command
def add(
    client: Client, provider: ApiProvider, *, fd: int | None = None, risk: Risk | None = None,
    rotation_days: int | None = None, old_ends: OldEnds | None = None, skip_rehearsal: bool = False,
    keyless: bool = False, at: str | None = None, wait: bool = True,
) -> int:  # fmt: skip
    """Onboard a key: store, verify at the provider, check for leaks, close with evidence.

    The key is read from standard input, from --fd, or from a prompt that does not show it.
    If a key already serves, this starts a rotation (`byokeep rotate`): the key in use keeps serving until the new one
    is proved and cut over to. A typo, or a provider that cannot be reached, takes nothing out of service.

    Exit codes: 0 verified; 2 refused by us or by the provider; 7 stored, but nobody could verify it yet.

    Example: byokeep key add $CLIENT openai < key.txt

    Example: byokeep key add $CLIENT anthropic --risk high

    Example: byokeep key add $CLIENT openai --keyless --at identity_provider_id=idp_1,service_account_id=svc_1

    Args:
        client: Name or id.
        provider: The provider of the key.
        fd: Read the key from this descriptor.
        risk: Risk class of the key; default: the client's.
        rotation_days: Days between rotations, 30 to 90; default: by provider policy and risk.
        old_ends: How long after the cutover the old key stays valid; default: its rotation's, else 24 h.
        skip_rehearsal: Cut over without a dry run of the new key.
        keyless: Store no key. The provider swaps the client's identity token for a short-lived token for each job.
            `byokeep key trust` says what to enter at the provider first.
        at: With --keyless: the provider's ids, as name=ID,name=ID.
        wait: Wait until the procedure has ended.
    """
    place = f"/v1/clients/{client}/providers/{provider}"
    if keyless or at is not None:
        if not keyless or fd is not None or rotation_days is not None:
            raise Rejected("bad_provider_ids", next_step="Use --keyless with --at, without --fd or --rotation-days.")
        how = {"risk": risk, "old_ends": old_ends, "skip_rehearsal": skip_rehearsal}
        stored = run(call("PUT", f"{place}/keyless", body={"ids": _ids(at or "")} | how))
    else:
        params = {"risk": risk, "rotation_days": rotation_days, "old_ends": old_ends,
                  "skip_rehearsal": "true" if skip_rehearsal else None}  # fmt: skip
        stored = _stored(f"{place}/value", provider, fd, params)
    say(f"Stored as version {stored['version']}; procedure {stored['sop']}.")
    serving = ""
    if stored["serves"]:
        joins = "joins the rotation that is under way," if stored.get("joined") else "starts rotation"
        say(f"A key exists already: this {joins} {stored['rotation']}.")
        serving = _serving(client, stored["serves"], "keeps serving until the new one is proved and cut over to.")
        say(serving)
    elif stored["rotation"]:
        say(f"This is the new key of rotation {stored['rotation']}. No job gets the key until this one is proved.")
    return _finish(str(stored["sop"]), wait=wait, rotation=stored["rotation"], told=serving, undecided=Pending)


@app.command
def trust(client: Client, provider: KeylessProvider) -> None:
    """Show what to enter at a provider to go keyless: the issuer, the audience and the subject to trust.

    Example: byokeep key trust $CLIENT anthropic

    Args:
        client: Name or id.
        provider: The provider.
    """
    found = run(call("GET", f"/v1/clients/{client}/providers/{provider}/keyless"))
    at = ",".join([*(f"{name}=ID" for name in found["needs"]), *(f"[{name}=ID]" for name in found["may"])])
    shown = found if session().as_json else {n: found[n] for n in ("issuer", "keys_url", "audience", "subject")}
    note = "Next: " + again(f"key add {client} {provider} --keyless --at {quote(at)}")
    tell(shown, title="Enter at the provider", note=note)


@app.command
def admin(client: Client, provider: AdminProvider, *, at: str | None = None, fd: int | None = None) -> None:
    """Store the administrator key of a client's account at a provider, so that rotations can make and revoke keys.

    The key is read from standard input, from --fd, or from a prompt that does not show it. No job can read it.

    Example: byokeep key admin $CLIENT openrouter < admin.txt

    Example: byokeep key admin $CLIENT openai --at project=proj_1,account=svc_1 < admin.txt

    Args:
        client: Name or id.
        provider: The provider of the key.
        at: Where the client's keys are in the account: openai and google need project and account. Without it, that of
            the administrator key before stays.
        fd: Read the key from this descriptor.
    """
    _refuse_key_in(at or "")
    path = f"/v1/clients/{client}/providers/{provider}/admin"
    with read_secret(prompt=f"{provider} administrator key", fd=fd, what="key") as value, busy("Storing ..."):
        stored = run(call("PUT", path, raw=value, params={"at": at}))
    shown = {name: stored[name] for name in ("id", "provider", "version", "state", "rotation_due_at")}
    note = f"Next: {again(f'rotate start {client}/{provider} --mint')}. Before the client's first key: "
    tell(shown, title="Administrator key", note=note + again(f"key add {client} {provider}"))


@app.command
def verify(ref: Key, *, wait: bool = True) -> int:
    """Verify a stored key again.

    Example: byokeep key verify $REF

    Args:
        ref: Reference id, as `byokeep key list` shows it.
        wait: Wait until the procedure has ended.
    """
    return _finish(str(run(call("POST", f"/v1/refs/{ref}/verify"))["sop"]), wait=wait)


def _stored(path: str, provider: str, fd: int | None, params: Mapping[str, Any]) -> Any:
    with read_secret(prompt=f"{provider} key", fd=fd, what="key") as value, busy("Storing ..."):
        return run(call("PUT", path, raw=value, params=params))


def _ids(at: str) -> dict[str, str]:
    _refuse_key_in(at)
    return {name: one for name, _, one in (pair.partition("=") for pair in at.split(",") if pair)}


def _refuse_key_in(at: str) -> None:
    if at and (holds_secret(at) or importlib.import_module("byokeep_redact.engine").default().find(at.encode())):
        raise Rejected(
            "bad_provider_place", next_step="--at takes ids, such as project=ID; give the key on standard input."
        )


def _finish(
    sop: str, *, wait: bool, rotation: str | None = None, told: str = "", undecided: type[ByokeepError] = Unavailable
) -> int:
    result = run(wait_for(sop)) if wait else run(call("GET", f"/v1/sops/{sop}"))
    state, step = result["state"], result.get("next_step", "")
    shown = result if session().as_json else {name: result[name] for name in _SHOWN if result.get(name)}
    show(shown, title="Onboarding")
    if state == "complete":
        of = rotation or (f"--ref {result['ref']}" if result.get("serves") else "")  # another serves: this one is new
        say("Next: " + again(f"rotate status {of}" if of else f"evidence export {sop} FILE"))
        return 0
    if not wait and state == "running":
        say("Next: " + again(f"evidence show {sop}"))
        return 0
    if not session().as_json:
        err.print(Text.assemble(("not complete: ", "bold red"), clean(result["reason"] or state)), soft_wrap=True)
        err.print(Text(fitted(step)), soft_wrap=True)
    say(onward(result, told=told))
    bad = result.get("refused", result.get("verification") in ("failed", "quarantined"))
    return Rejected.exit_code if bad else undecided.exit_code


def onward(result: Mapping[str, Any], *, own_token: bool = True, told: str = "") -> str:
    """Return what comes after a run that did not complete, with its commands.

    Args:
        result: The run.
        own_token: As :func:`again`.
        told: What was already said about the version in use; it is not repeated.
    """
    client, ref = result["client_id"], result["ref"]
    add = again(f"key add {client} {result['provider']}", own_token=own_token)
    check = again(f"key verify {ref}", own_token=own_token)
    if serves := result.get("serves"):
        step = f"once that is done: {check}" if not result.get("refused") else f"with another one: {add} < key.txt"
        said = _serving(client, serves, "keeps serving; nothing was taken out of service.")
        return f"Next, {step}" if said == told else f"{said} Next, {step}"
    if result["reason"] == "leaked":
        steps = (
            again(f"kill on --client {client} --reason suspected_leak", own_token=own_token),
            again(f"key state {ref} compromised --reason provider_reports_leak", own_token=own_token),
            again(f"audit list --client {client}", own_token=False) + "  (an auditor)",
            "the client revokes the key at the provider",
            add + " < key.txt",
            again(f"kill off --client {client} --reason key_replaced", own_token=own_token) + ", and an approver",
            again("key verify REF", own_token=own_token) + "  (use the reference that key add prints)",
        )
        return "No job gets this key. Next, in this order (runbook, section 7):\n" + "\n".join(steps)
    if result["reason"] in next_steps.NEEDS_NEW_KEY:
        return f"No job gets this key. Next, with a new one: {add} < key.txt"
    if result["reason"] == "superseded":
        return "Next: " + again(f"key show {ref}", own_token=own_token)
    return f"Until then no job gets this key. Next, once that is done: {check}"


def _serving(client: UUID | str, version: int, otherwise: str) -> str:
    """Say what the version in use does now: nothing of a client is served while its kill switch is engaged."""
    if session().as_json:
        return ""
    try:
        switches = run(call("GET", "/v1/switches"))["switches"]
    except ByokeepError:
        return f"Version {version}, unless a kill switch is engaged, {otherwise}"
    if any(one["closed"] and one["scope"] in ("global", f"client:{client}") for one in switches):
        return (
            f"A kill switch is engaged: nothing of this client is served until it is released (`byokeep kill status`)."
            f" Version {version} stays the one in use."
        )
    return f"Version {version} {otherwise}"


async def wait_for(sop: str) -> dict[str, Any]:
    """Poll a procedure until it has ended, and add what is then known about the key.

    Returns:
        The run with ``verification`` of its version. If another version serves, also ``serves``, that version, and
        ``refused``: the new one is out, not waiting.
    """
    told = ""

    def ended(run_: Mapping[str, Any]) -> bool:
        nonlocal told
        if run_["state"] == "running" and run_["reason"] and run_["next_step"] != told:
            say(told := run_["next_step"])
        return bool(run_["state"] != "running")

    saying = "Verifying at the provider, searching logs and spans ..."
    result: dict[str, Any] = await ask_until(f"/v1/sops/{sop}", ended, within_s=_WAIT_S, saying=saying)
    return result | beside(result, await call("GET", f"/v1/refs/{result['ref']}"))


def beside(run_: Mapping[str, Any], ref: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reference says about a run of it: as :func:`wait_for` adds it."""
    found = {"verification": ref["verification"]}
    if run_["version"] == ref["version"] or (ref["state"], ref["verification"]) != ("active", "verified"):
        return found
    refused = ref["candidate"] != run_["version"]
    waits = "verified" if run_["state"] == "complete" else "pending"
    return {"verification": "failed" if refused else waits, "serves": ref["version"], "refused": refused}


@app.command(name="list")
def list_(client: Client) -> None:
    """List a client's references: what each one is, where, its state and due date. Never a value.

    Example: byokeep key list $CLIENT
    """
    found = run(call("GET", f"/v1/clients/{client}/refs"))["refs"]
    show([_dated(one) for one in found], title="Keys", columns=_COLUMNS)


@app.command(name="show")
def show_(ref: Key) -> None:
    """Show one reference.

    Example: byokeep key show $REF
    """
    tell(_dated(run(call("GET", f"/v1/refs/{ref}"))), title="Key")


def _dated(ref: dict[str, Any]) -> dict[str, Any]:
    """Return a reference, without the due date if it is keyless: then nothing is to be rotated."""
    keyless = ref["kind"] == "provider_api_key" and ref["provider_place"]
    return ref | ({"rotation_due_at": None} if keyless else {})


@app.command
def history(ref: Key, *, since: str | None = None, until: str | None = None, limit: int = 50) -> None:
    """Show who had access to a key, when it was last used and rotated, and its records, newest first.

    Example: byokeep key history ACME/openai --since 72h

    Args:
        since: A time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d.
        until: End of the span, in the same forms as --since.
        limit: At most this many records, up to 500.
    """
    params = {"since": moment(since), "until": moment(until), "limit": limit or None}
    found = run(call("GET", f"/v1/refs/{ref}/history", params=params))
    summary = {"id": found["ref"]["id"]} | {n: found[n] for n in ("last_used_at", "last_rotated_at", "refused")}
    records: Any = found["records"]
    note = "Who used it, job by job: " + again(f"key used {ref} --since {since or '24h'}")
    if len(records) >= (limit or 100):
        note = f"There may be more: {again(f'key history {ref} --until ' + records[-1]['at'])}\n{note}"
    tell_all(found, Listing([summary], "Key"),
             Listing(found["access"], "Had access", ("actor", "leases", "first_at", "last_at")),
             Listing([one | one.get("fields", {}) for one in records], "On record", _RECORDS, note))  # fmt: skip


@app.command(name="used")
def used_(ref: Key, *, since: str = "24h", until: str | None = None, limit: int = 100) -> None:
    """Show what used a key: leases, their jobs' permits, and the calls that runners reported, newest first.

    Spans in which something is unknown are named: unknown is not zero.

    Example: byokeep key used ACME/openai --since 24h

    Args:
        since: A time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d; at most 93 days.
        until: End of the span, in the same forms as --since.
        limit: At most this many uses, up to 500.
    """
    params = {"since": moment(since), "until": moment(until), "limit": limit or None}
    found = run(call("GET", f"/v1/refs/{ref}/used", params=params))
    used(str(ref), found, since=since)


@app.command
def state(
    ref: Key, to: KeyStateChange, *, reason: str, yes: Annotated[bool, Parameter(negative=())] = False
) -> None:  # fmt: skip
    """Move a key to another state. A compromised or destroyed key never comes back, so you are asked to confirm.

    `compromised` opens an incident, notifies people, and prints the playbook.

    Example: byokeep key state $REF compromised --reason seen_in_chat

    Args:
        to: The new state; some changes are refused.
        reason: A code of 2 to 63 characters: small letters, digits and _, a letter first; such as `seen_in_chat`.
        yes: Do not ask for confirmation.
    """
    if to in ("compromised", "destroyed") and not yes and sys.stdin.isatty():
        whose = clean(names([str(ref)]).get(str(ref), ref))
        told = fitted(f"No job gets this key any longer, and it never serves again: {whose}")
        err.print(Text(f"{told}\nType {to} to continue: "), end="", soft_wrap=True)  # not into the result
        if sys.stdin.readline().strip() != to:
            raise Rejected("not_confirmed", next_step="Nothing was changed.")
    moved = run(call("POST", f"/v1/refs/{ref}/state", body={"to": to, "reason": reason}))
    after = again(f"key add {moved['client_id']} {moved['provider']}") + " < key.txt"
    told = f"No job gets it now. Next, with a new key of the client: {after}"
    if moved["state"] == "compromised":
        told = "\n".join((told, *_playbook(str(moved["client_id"]), str(ref))))
    tell(moved, title="Key", note="" if moved["state"] == "active" else told)
    said_of(f"Now {moved['state']}", ref)


@app.command
def interval(ref: Key, days: int, *, reason: str) -> None:
    """Set after how many days a key is due for rotation, 30 to 90, counted from when its value arrived.

    The interval also holds for later values of the key. An overdue key stays overdue: replace it with `byokeep key
    add`.

    Example: byokeep key interval $REF 45 --reason client_wish

    Args:
        days: 30 to 90. A key of high risk is rotated every 30 days.
        reason: A code: small letters, digits and _, such as `client_wish`.
    """
    chosen = run(call("POST", f"/v1/refs/{ref}/interval", body={"days": days, "reason": reason}))
    tell(chosen, title="Key", note=f"Due {chosen['rotation_due_at'][:10]}.")


def _playbook(client: str, ref: str) -> list[str]:
    """Return the incident of a key and the steps that lead it, as commands; nothing if unknown."""
    with suppress(ByokeepError):
        found = run(call("GET", "/v1/incidents", params={"client_id": client, "state": "open"}))["incidents"]
        for one in (one for one in found if one["object_id"] == ref):
            steps = run(call("GET", f"/v1/incidents/{one['id']}"))["missing"]
            return [f"Incident {one['severity']}. Its playbook, in this order:",
                    *(again(f"incident step {one['id']} {name}") for name in steps)]  # fmt: skip
    return []


@app.command
def inventory(*, fresh: bool = True) -> int:
    """List every secret and key: class, owner, state, age, due date. Never a value. All places are compared.

    Exit code 5 if something is there that should not be, or is missing; 4 if a place could not be compared.

    Example: byokeep key inventory --json

    Args:
        fresh: Have workers compare the places of browser profiles now, instead of showing their last comparison.
    """
    found = run(_compared() if fresh else call("GET", "/v1/inventory"))
    tell_all(
        found, Listing(found["items"], "Inventory", _INVENTORY), Listing(found["apps"] or None, "Secrets of our apps"),
        Listing(found["keys"] or None, "Keys of browser profiles"),
        Listing(found["orphans"] or None, "Stored without a record: a sweep ends what was cut off, `byokeep key purge`"
                " the rest"),
        Listing(found["findings"] or None, "Rows, records and blobs of profiles that differ"),
        Listing([one for one in found["checked"] if one["check"] == "unknown"] or None, "Not compared"),
    )  # fmt: skip
    ends = {"match": 0, "findings": Integrity.exit_code}
    return ends.get(str(found["result"]), Unavailable.exit_code)


@app.command
def purge(client: Client, provider: ApiProvider | OAuthPlatform) -> None:
    """Ask to destroy what the store holds without a record, for a client at a provider. An approver must approve.

    This covers keys, signing secrets of webhooks and administrator keys. After a restore none of it is removed by
    itself: first compare `byokeep key inventory` with restored.json.

    Example: byokeep key purge $CLIENT openai
    """
    tell(run(call("POST", f"/v1/clients/{client}/providers/{provider}/purge")), title="Purge", columns=_PURGE)


async def _compared() -> Any:
    """Ask for comparisons, and return the inventory once they are there or the wait is over."""
    asked = await call("POST", "/v1/inventory/checks")

    def late(found: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [one for one in found["checked"] if (one["checked_at"] or "") < asked["asked_at"]]

    saying = "Comparing rows, records and blobs ..."
    found = await ask_until("/v1/inventory", lambda found: not late(found), within_s=_COMPARED_S, saying=saying)
    for one in late(found):
        one["check"] = "unknown"
        found["result"] = "findings" if found["result"] == "findings" else "unknown"
    return found
