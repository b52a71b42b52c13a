"""``byokeep profile`` and ``byokeep kek``: sealed browser profiles (SOP 5.3) and the keys that guard them (runbook 6.1,
7.3).

Rules: a worker does the work; a person logs in and confirms. Nothing is typed by a program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from cyclopts import App, Parameter
from rich.text import Text

from byokeep.cli.api import Listing, ask_until, call, run, segment, tell, tell_all
from byokeep.cli.names import Client, Profile, said_of
from byokeep.cli.terminal import again, clean, err, say, session, show
from byokeep.core.errors import Conflict, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.profile import next_step_of_work
from byokeep.process import is_held, is_what_it_says
from byokeep.settings import hand_off_file

Packing = Literal["portable", "full"]
Named = Annotated[str, Parameter(required=True)]  # one at least
profile: Final = App(name="profile")
_COLUMNS: Final = ("profile", "state", "generation", "proved", "platforms", "due_at", "due_cause", "next_step")
_GENERATIONS: Final = ("generation", "key_state", "kek_version", "blob_size", "browser_version", "sealed_at", "gone_at")
_WORKS: Final = ("work", "kind", "state", "reason", "result", "asked_at", "ended_at")
_TAKEN_S: Final = 90.0
_DONE_S: Final = 600.0
_CODES: Final = {
    "other_account": Conflict,
    "profile_in_use": Conflict,
    "sealed_profile_altered": Integrity,
    "superseded": Integrity,
}


@profile.command
def create(client: Client, *account: Named, packing: Packing = "portable", replaces: Profile | None = None) -> None:
    """Create a profile for accounts that are registered or connected. It is not logged in yet.

    Example: byokeep profile create $CLIENT x/acme

    Args:
        account: Platform and account, as `byokeep account list` shows them: `x/acme`. One per platform, up to 3.
        packing: What is sealed: the session as a document that any Chromium accepts, or the directory without caches.
        replaces: The retired profile that it replaces.
    """
    body = {"accounts": [_account(one) for one in account], "packing": packing, "replaces": replaces}
    made = run(call("POST", f"/v1/clients/{client}/profiles", body=body))
    tell(_flat(made), title="Profile", note="Next: " + again(f"profile login {made['profile']}"))


@profile.command
def login(profile: Profile, *, wait: bool = True) -> int:
    """Open a clean browser at the worker, so that a person can log in by hand. No program types anything.

    On the worker's host the address of the browser is printed; from elsewhere, run `byokeep profile handoff` there.

    Example: byokeep profile login $PROFILE

    Args:
        wait: Wait until the browser is ready.
    """
    asked = run(call("POST", f"/v1/profiles/{profile}/login"))
    if wait:
        try:
            asked = run(_until(profile, asked, lambda found: found["state"] != "running", within_s=_TAKEN_S,
                               saying="Starting a browser ..."))  # fmt: skip
        except KeyboardInterrupt:
            say("The login continues without you: " + again(f"profile handoff {profile}"))
            say("To end it: " + again(f"profile cancel {profile}"))
            raise
    if asked["state"] == "waiting":
        _invite(asked)
    note = "Log in there, and check that it is the right account. Then: " + again(f"profile confirm {profile} ACCOUNT")
    return _told(profile, asked, note=note)


@profile.command
def handoff(profile: Profile) -> None:
    """Print the address of the waiting browser. Works only on the worker's host, for the user that runs the worker.

    The address is printed only while its worker lives: afterwards another program may listen there.

    Example: byokeep profile handoff $PROFILE
    """
    work = run(call("GET", f"/v1/profiles/{profile}"))["work"]
    if work is None or work["kind"] != "login" or work["state"] != "waiting":
        raise Conflict("nothing_waits", next_step="Start with `byokeep profile login`.")
    found = _window(work["work"])
    if found is None:
        raise NotFound("no_address_here", next_step="Run this on the worker's host, as the user that runs the worker.")
    if session().as_json:
        show(found | {"work": work["work"]})
        return
    show({"work": work["work"], "address": found["address"]}, title="Browser")
    say(found["instructions"])
    say("Next: " + again(f"profile confirm {profile} ACCOUNT"))


@profile.command
def confirm(profile: Profile, *account: Named, wait: bool = True) -> int:
    """Confirm, as the person who looked, which accounts the waiting browser is logged in to. Then it is sealed.

    Example: byokeep profile confirm $PROFILE acme

    Args:
        account: The user name or id that you saw; for several platforms `x/acme`, one for each.
        wait: Wait until it is sealed.
    """
    found = run(call("GET", f"/v1/profiles/{profile}"))
    seen = _seen(account, [one["platform"] for one in found["accounts"]])
    done = run(call("POST", f"/v1/profiles/{profile}/confirm", body={"seen": seen}))
    if wait:
        done = run(_until(profile, done, _ended, within_s=_DONE_S, saying="Closing, packing, sealing ..."))
    step = f"incident vault status {found['incident']}" if found["incident"] else f"profile validate {profile}"
    return _told(profile, done, note="Next: " + again(step))


@profile.command
def validate(profile: Profile, *, wait: bool = True) -> int:
    """Prove the newest generation: open it read-only, identify its accounts, take pictures. Nothing is changed.

    Example: byokeep profile validate $PROFILE

    Args:
        wait: Wait for the outcome.
    """
    found = run(call("GET", f"/v1/profiles/{profile}"))
    steps = [
        f"account lane {found['client_id']} {one['platform']} {quote(one['account'])} browser"
        for one in found["accounts"]
    ]
    if found["incident"]:
        steps = [f"incident vault status {found['incident']}"]
    return _ask(profile, "validate", wait=wait, saying="Opening, identifying, taking a picture ...",
                note="\n".join("Next: " + again(step) for step in steps))  # fmt: skip


@profile.command
def rekey(profile: Profile, *, wait: bool = True) -> int:
    """Seal the newest generation again under a new key, and prove it.

    Example: byokeep profile rekey $PROFILE

    Args:
        wait: Wait for the outcome.
    """
    note = "Next: " + again(f"profile show {profile}")
    return _ask(profile, "rekey", wait=wait, saying="Sealing anew ...", note=note)


@profile.command
def restore(profile: Profile, generation: int, *, wait: bool = True) -> int:
    """Restore an older generation as the newest, under a new key. A generation whose key was in doubt is refused.

    Example: byokeep profile restore $PROFILE 3

    Args:
        generation: The generation, as `byokeep profile history` lists it.
        wait: Wait for the outcome.
    """
    if generation < 1:
        raise Rejected("no_such_generation", next_step="Generations start at 1; `byokeep profile history` lists them.")
    return _ask(profile, "restore", wait=wait, saying="Restoring ...", body={"generation": generation},
                note="Next: " + again(f"profile show {profile}"))  # fmt: skip


@profile.command
def shred(profile: Profile, *, approve: bool = False, incident: UUID | None = None, wait: bool = True) -> int:
    """Destroy a profile for good: its keys, records and blobs. An operator asks, and an approver approves.

    Example: byokeep profile shred $PROFILE

    Args:
        approve: Approve, as an approver, what an operator asked for.
        incident: The open incident that counts on this profile: another must then take its place there.
        wait: Wait for the outcome, once it is approved.
    """
    if not approve:
        asked = run(call("POST", f"/v1/profiles/{profile}/shred", body={"incident": incident} if incident else None))
        step = again(f"profile shred {profile} --approve", own_token=False)
        tell(asked, title="Work", note=f"Nothing is destroyed yet. Next, by an approver: {step}")
        if not session().as_json and (holder := _holder(profile)):
            say(f"{holder} Until then nothing can be destroyed.")
        return 0
    done = run(call("POST", f"/v1/profiles/{profile}/shred/approve"))
    if wait:
        done = run(_until(profile, done, _ended, within_s=_DONE_S, saying="Destroying ..."))
    code = _told(profile, done, note="It is destroyed for good.")
    said_of("Agreed to destroy", profile)
    return code


@profile.command
def cancel(profile: Profile) -> None:
    """Cancel what is under way for a profile. Its last good generation stays.

    Example: byokeep profile cancel $PROFILE
    """
    tell(run(call("POST", f"/v1/profiles/{profile}/cancel")), title="Work")


@profile.command(name="list")
def list_(client: Client, *, due: bool = False) -> None:
    """List a client's profiles: their state, and when they are due for a new key.

    Example: byokeep profile list $CLIENT --due

    Args:
        due: Only profiles that are due.
    """
    found = run(call("GET", f"/v1/clients/{client}/profiles", params={"due": "true" if due else None}))["profiles"]
    tell([_flat(one) for one in found], title="Profiles", columns=_COLUMNS)


@profile.command(name="show")
def show_(profile: Profile) -> None:
    """Show a profile and the latest work on it.

    Example: byokeep profile show $PROFILE
    """
    found = run(call("GET", f"/v1/profiles/{profile}"))
    if session().as_json:
        show(found)
        _proofs(found["proofs"])
        return
    work, proofs = found.pop("work"), found.pop("proofs")
    under_way = work is not None and work["ended_at"] is None  # then that is what is next
    step = found.pop("next_step")
    if found["state"] == "shredded":  # nothing of it is left that a number could speak of
        for name in ("generation", "proved", "validated_generation", "sealed_at", "validated_at"):
            found.pop(name)
    tell(_flat(found), title="Profile", note="" if under_way else step)
    if work is not None:
        say("")
        tell(work, title="Newest work", note=_after(profile, work))
    _proofs(proofs)


@profile.command
def history(profile: Profile) -> None:
    """Show a profile's sealed generations, their keys, and the work that was done on them.

    Example: byokeep profile history $PROFILE
    """
    found = run(call("GET", f"/v1/profiles/{profile}/history"))
    tell_all(found, Listing(found["generations"], "Generations", _GENERATIONS), Listing(found["work"], "Work", _WORKS))


def _ask(profile: UUID, act: str, *, wait: bool, saying: str, note: str, body: dict[str, Any] | None = None) -> int:
    asked = run(call("POST", f"/v1/profiles/{profile}/{act}", body=body))
    if wait:
        asked = run(_until(profile, asked, _ended, within_s=_DONE_S, saying=saying))
    return _told(profile, asked, note=note)


async def _until(
    profile: UUID, work: dict[str, Any], there: Callable[[Mapping[str, Any]], bool], *, within_s: float, saying: str
) -> dict[str, Any]:
    def over(work: Mapping[str, Any]) -> bool:
        return work["state"] != "asked" and there(work)

    if not over(work):
        path = f"/v1/profiles/{profile}/works/{work['work']}"
        work = await ask_until(path, over, within_s=within_s, saying=saying)
    if not over(work):
        step = "Check that a worker is running: `byokeep doctor`. The work may still continue."
        raise Unavailable("not_done_yet", next_step=step, work=work["work"])
    return work


def _ended(work: Mapping[str, Any]) -> bool:
    return work["ended_at"] is not None


def _told(profile: UUID, work: dict[str, Any], *, note: str) -> int:
    bad = work["state"] in ("failed", "expired", "cancelled")
    if bad or work["reason"]:
        note = _after(profile, work)
    proofs: list[dict[str, Any]] = []
    if work["state"] == "done" and work["kind"] != "shred":  # what it made, or what it looked at
        found = run(call("GET", f"/v1/profiles/{profile}"))
        work["generation"], proofs = found["generation"], found["proofs"] if found["proved"] else []
    if session().as_json:
        work["proofs"] = proofs
    elif work["generation"] is None:
        del work["generation"]
    tell(work, title="Work", note=note)
    _proofs(proofs)
    if not bad:
        return 0
    say("Next: " + again(f"profile show {profile}"))
    return _CODES.get(work["reason"], Conflict if work["state"] != "failed" else Rejected).exit_code


def _after(profile: UUID, work: Mapping[str, Any]) -> str:
    if work["reason"] == "profile_in_use" and (holder := _holder(profile)):
        return f"{holder} Then ask again."
    return next_step_of_work(work["state"], work["reason"], result=work["result"], profile=str(profile))


def _holder(profile: UUID) -> str:
    """Say which job has a profile open, since when, and what ends it; empty if none has."""
    held = run(call("GET", f"/v1/profiles/{profile}/history"))["opening"]
    if held is None or not held["open"]:
        return ""
    return f"A job has had it open since {clean(held['opened_at'])}; wait, or end job {held['job']} at its runner."


def _proofs(proofs: Sequence[Mapping[str, Any]]) -> None:
    """List the pictures that prove a generation, with their files at the worker's host.

    Raises:
        Integrity: ``proof_altered``: one is here, and is not the one on record.
    """
    place = session().settings.path("proofs_dir")
    if proofs and not session().as_json:
        say("")
        tell([dict(one) | {"file": str(place / one["file"])} for one in proofs], title="Proofs",
             columns=("platform", "generation", "sha256", "file"))  # fmt: skip
    if any(is_what_it_says(place / one["file"]) is False for one in proofs):
        raise Integrity("proof_altered", next_step="Do not trust it. `byokeep profile validate` makes a new one.")


def _invite(work: Mapping[str, Any]) -> None:
    """Show where the browser is, on standard error: it is for the person who sits here, not for a pipe."""
    found = _window(work["work"])
    if found is None:
        err.print(Text("The browser waits on the worker's host. There, `byokeep profile handoff` prints its address."))
        return
    err.print(Text(found["instructions"]), soft_wrap=True)


def _window(work: str) -> dict[str, Any] | None:
    file = hand_off_file(session().settings, UUID(work))
    try:
        found: Any = json.loads(file.read_text("utf-8"))
        window = {"address": str(found["address"]), "instructions": str(found["instructions"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not is_held(file):
        raise Conflict("handoff_gone", next_step="The worker that had this browser is gone. Log in again: "
                       "`byokeep profile login`.")  # fmt: skip
    return window


def _account(text: str) -> dict[str, str]:
    platform, _, account = text.partition("/")
    if not platform or not account:
        raise Rejected("bad_account", next_step="Write an account as platform/account: x/acme.")
    return {"platform": platform, "account": account}


def _seen(given: tuple[str, ...], platforms: Sequence[str]) -> dict[str, str]:
    if len(given) == len(platforms) == 1 and not given[0].startswith((f"{platforms[0]}/", f"{platforms[0]}=")):
        return {platforms[0]: given[0]}
    pairs = [one.partition("=" if "=" in one.partition("/")[0] else "/") for one in given]
    if not pairs or any(not middle or not platform or not name for platform, middle, name in pairs):
        raise Rejected("bad_account", next_step="Give what you saw, one for each platform: x/acme.")
    return {platform: name for platform, _, name in pairs}


def _flat(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a profile as one row, its accounts by name."""
    if session().as_json:
        return dict(one)
    names = [f"{account['platform']}/{account['account']}" for account in one["accounts"]]
    return {name: value for name, value in one.items() if name != "accounts"} | {"platforms": names}


kek: Final = App(name="kek")
_KEK_COLUMNS: Final = (
    "kek", "version", "state", "dependents", "check", "urgency", "rotation_due_at", "protect_until", "process_until",
)  # fmt: skip
_ROTATIONS: Final = ("kek", "from_version", "to_version", "state", "moved", "remaining", "started_at", "ended_at")
_DEPENDENTS: Final = ("client", "profile", "generation", "accounts", "key_state", "kek_version", "artifact")


@kek.command
def status() -> int:
    """List every key version: what depends on it, when it is due, and whether OpenBao shows the same.

    Exit code 5 if a version differs from OpenBao, 4 if one could not be compared.

    Example: byokeep kek status
    """
    found: Any = run(call("GET", "/v1/keks"))
    tell_all(found, Listing(found["keks"], "Keys that guard profiles", _KEK_COLUMNS),
             Listing(found["rotations"] or None, "Rotations", _ROTATIONS))  # fmt: skip
    checks = {one["check"] for one in found["keks"]}
    if checks - {"match", "unknown"}:
        return Integrity.exit_code
    return Unavailable.exit_code if "unknown" in checks else 0


@kek.command
def check(client: Client) -> None:
    """Have a worker compare a client's key with OpenBao. `byokeep kek status` shows the result.

    Example: byokeep kek check $CLIENT
    """
    tell(run(call("POST", f"/v1/clients/{client}/kek/check")), title="Asked", note="Then: " + again("kek status"))


@kek.command
def rotate(client: Client, *, reason: str = "scheduled", past: int | None = None) -> None:
    """Make the next version of a client's key. A worker makes it, then rewraps every wrapped key; blobs do not change.

    Example: byokeep kek rotate $CLIENT

    Args:
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
        past: The newest version that `kek_unknown_outside` names. It then counts as compromised; see docs/keys.md.
    """
    asked = run(call("POST", f"/v1/clients/{client}/kek/rotate", body={"reason": reason, "past": past}))
    tell(asked, title="Asked", note="It is done when nothing remains: " + again("kek status"))


@kek.command
def rewrap(client: Client) -> None:
    """Hand a worker what a rotation left on older versions. This also continues by itself.

    Example: byokeep kek rewrap $CLIENT
    """
    tell(run(call("POST", f"/v1/clients/{client}/kek/rewrap")), title="Rotation", columns=_ROTATIONS)


@kek.command
def dependents(kek: str, version: int | None = None) -> None:
    """Show what depends on a key, or on one version of it: artifacts, clients, profiles, accounts.

    Example: byokeep kek dependents development-$CLIENT 1

    Args:
        kek: The key, as `byokeep kek status` shows it.
        version: One version; default: all.
    """
    found: Any = run(call("GET", f"/v1/keks/{segment(kek)}/dependents", params={"version": version}))
    if not found["dependents"]:
        say("Nothing depends on it.")
    tell_all(found, Listing(found["dependents"] or None, f"Depends on it: {found['count']}", _DEPENDENTS))


@kek.command(name="history")
def kek_history(kek: str, version: int) -> None:
    """Show who moved a version to which state, when and why.

    Example: byokeep kek history development-$CLIENT 1

    Args:
        kek: The key, as `byokeep kek status` shows it.
    """
    found: Any = run(call("GET", f"/v1/keks/{segment(kek)}/versions/{version}/history"))
    columns = ("from", "to", "reason", "at", "by")
    tell_all(found, Listing(found["moves"], f"Version {version}, {found['state']}", columns))


@kek.command
def disable(kek: str, version: int, *, reason: str = "not_needed") -> None:
    """Disable an old version and all before it, as the second person: they no longer open anything. Its row stays.

    This is refused, with the count, while anything depends on it.

    Example: byokeep kek disable development-$CLIENT 1

    Args:
        kek: The key, as `byokeep kek status` shows it.
        reason: A code, kept in the audit.
    """
    path = f"/v1/keks/{segment(kek)}/versions/{version}/end"
    asked = run(call("POST", path, body={"reason": reason}))
    note = "It has this state until a worker has ended it at OpenBao. Then it is destroyed: " + again("kek status")
    tell(asked, title="Asked", note=note)


@kek.command
def compromise(kek: str, version: int, *, reason: str) -> None:
    """Mark a version as compromised: it protects nothing, and every key it ever wrapped must be replaced.

    Example: byokeep kek compromise development-$CLIENT 1 --reason artifact_store_exposure

    Args:
        kek: The key, as `byokeep kek status` shows it.
        reason: A code, kept in the audit.
    """
    path = f"/v1/keks/{segment(kek)}/versions/{version}/compromise"
    _planned(run(call("POST", path, body={"reason": reason})))


@kek.command
def plan(kek: str, version: int) -> None:
    """Show what a compromise leaves to do, until nothing remains.

    Example: byokeep kek plan development-$CLIENT 1

    Args:
        kek: The key, as `byokeep kek status` shows it.
    """
    _planned(run(call("GET", f"/v1/keks/{segment(kek)}/versions/{version}/plan")))


def _planned(found: Any) -> None:
    note = "Nothing remains." if found["done"] else _after_compromise(found)
    tell_all(found, Listing(found["left"], f"Remaining: {found['remaining']} of {found['found']}", _DEPENDENTS, note))


def _after_compromise(found: Any) -> str:
    """Say what comes next, client by client: a version that may protect, then a new login for each profile."""
    steps = []
    for client in sorted({one["client_id"] for one in found["left"]}):
        rotate = again(f"kek rotate {client}")
        steps.append(rotate + ", then " + again(f"incident vault open --client {client} --cause suspected_leak"))
    first = "Nothing is sealed while it is the newest version, and each profile needs a new login. Next: "
    return first + "; ".join(steps) + "."
