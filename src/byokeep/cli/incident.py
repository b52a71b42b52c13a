"""``byokeep incident``: what happened and how it is answered (runbook sections 6.3 and 7), from beginning to end."""

from __future__ import annotations

from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli import alert, exposure, vault, way_back
from byokeep.cli.api import Listing, call, call_kill, requested, run, steps_of, tell, tell_all, waiting
from byokeep.cli.choices import IncidentKind, OAuthPlatform, Severity
from byokeep.cli.intake import admin_token
from byokeep.cli.kill import outliving
from byokeep.cli.names import Account, Client, Incident, Key, Profile, said_of
from byokeep.cli.servers import load
from byokeep.cli.terminal import again, clean, say, session, show
from byokeep.cli.times import moment
from byokeep.core.errors import ByokeepError, Rejected, refusing
from byokeep.envcheck.sources import read_file
from byokeep.process import harden

Step = Literal[
    "kill", "rotate", "report", "ticket", "postmortem", "release", "close", "reauth", "validate", "canary", "reopen"
]  # fmt: skip
Playbook = Literal["provider_key_leaked", "social_token_lost", "none"]
Cause = Literal["compromised", "identity_mismatch", "lockout", "missing_scope", "revoked"]
app: Final = App(name="incident")
platform: Final = App(name="platform", help="Close, look at and bring back one platform of one client.")
app.command(platform)
app.command(vault.app)
app.command(exposure.report)
app.command(exposure.app)
_ALERTS: Final = frozenset(
    {"account_reuse_suspected", "account_superseded", "platform_closed", "reenabling_failed", "tokens_maybe_superseded"}
)
_INCIDENTS: Final = ("id", "severity", "kind", "client_id", "state", "opened_at")
_RECORDS: Final = ("at", "event", "outcome", "actor", "seq")
_MOST_BYTES: Final = 32 * 1024 * 1024  # of a postmortem
_COLUMNS: Final = ("platform", "stage", "cause", "changed_at", "canary")


@app.command(name="open")
def open_(
    kind: IncidentKind, *, client: Client | None = None, key: Key | None = None, account: Account | None = None,
    profile: Profile | None = None, severity: Severity | None = None, noticed: str | None = None,
    since: str | None = None,
) -> None:  # fmt: skip
    """Open an incident. One person is enough. This stops nothing: the first step of the playbook does.

    Example: byokeep incident open suspected_leak --key ACME/openai --since 36h

    Example: byokeep incident open token_compromised --account ACME/x/acme --severity P0

    Args:
        kind: What happened. For the vault of browser profiles: `byokeep incident vault open`.
        client: The client; not needed if you name a key, an account or a profile.
        key: The key it is about.
        account: The account it is about.
        profile: The browser profile it is about.
        severity: P0 is the worst; default: P1 for leaks and exposures, P3 for drills, P2 for the rest.
        noticed: When it was noticed: 30m, 24h, or a time such as 2026-01-31T12:00:00Z; default: now.
        since: Since when it may have lasted; default: 72 hours, marked as assumed.
    """
    named = [(what, one) for what, one in (("key", key), ("account", account), ("profile", profile)) if one]
    if len(named) > 1:
        raise Rejected("object_missing", next_step="Name one of --key, --account and --profile.")
    what, one = named[0] if named else (None, None)
    body: dict[str, object] = {
        "kind": kind, "severity": severity, "noticed_at": moment(noticed), "began_at": moment(since),
        "object_kind": what, "object": one, "client_id": client,
    }  # fmt: skip
    _told(run(call("POST", "/v1/incidents", body=body)))


@app.command(name="list")
def list_(*, client: Client | None = None, all_: Annotated[bool, Parameter(name="--all", negative=())] = False) -> None:
    """List the open incidents, the worst first.

    Example: byokeep incident list --client ACME

    Args:
        client: Only incidents of this client.
        all_: Also list closed incidents.
    """
    params = {"client_id": client, "state": "all" if all_ else "open"}
    found = run(call("GET", "/v1/incidents", params=params))["incidents"]
    step = f"Next: {again('incident show ' + found[0]['id'])}" if found else ""
    tell(found, title="Incidents", columns=_INCIDENTS, note=step)


@app.command(name="show")
def show_(incident: Incident) -> None:
    """Show an incident: what it is about, the progress of its playbook, and the next step.

    Example: byokeep incident show $INCIDENT
    """
    _told(run(call("GET", f"/v1/incidents/{incident}")))


@app.command
def timeline(incident: Incident, *, after: str | None = None, limit: int = 100) -> None:
    """List every record that names an incident, oldest first. Looking is itself recorded.

    Example: byokeep incident timeline $INCIDENT

    Args:
        after: Only records later than a time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d; or where the last
            page says to continue.
        limit: At most this many records, up to 500.
    """
    params = {"after": after if after and "/" in after else moment(after), "limit": limit}
    found = run(call("GET", f"/v1/incidents/{incident}/timeline", params=params))
    rows = [one | {"event": _what(one)} for one in found["records"]]
    more = f"Next: {again(f'incident show {incident}')}"
    if found["next"]:
        more = f"There may be more: {again(f'incident timeline {incident} --after ' + found['next'])}"
    tell(rows, title="Timeline", columns=_RECORDS, note=more, whole=found)


def _what(one: dict[str, Any]) -> str:
    """Return an event, with the step that it is about."""
    said = one["said"]
    more = [str(said[name]) for name in ("stage", "cause", "reason") if said.get(name)]
    return " ".join([clean(one["event"]), *more])


@app.command(name="step")
def step_(
    incident: Incident, name: Step | None = None, *, accept_gaps: Annotated[bool, Parameter(negative=())] = False,
    ticket: str | None = None,
) -> None:  # fmt: skip
    """Complete the next step of an incident's playbook. The steps `kill` and `close` also do what they say.

    A leaked key: kill, rotate, report, ticket, postmortem, release. A lost token: close, reauth, validate, canary,
    reopen. A step is refused if it is not the next one, or if nothing on record proves it.

    Example: byokeep incident step $INCIDENT kill

    Example: byokeep incident step $INCIDENT ticket --ticket OPS-1234

    Args:
        name: The step; default: the next one.
        accept_gaps: For `report`: accept, on record and in your name, what the report does not know. For `rotate`:
            accept that no call can tell whether such a key is dead.
        ticket: For `ticket`: the ticket's number or address.
    """
    found = run(call("GET", f"/v1/incidents/{incident}"))
    due = found["missing"][0] if found["missing"] else None
    wanted = name or due
    if wanted is None:
        raise Rejected("unknown_step", next_step=found["next_step"])
    if wanted == due == "kill":
        with ExitStack() as both:  # each is engaged, whatever comes of the other
            for lane in ("api", "browser"):  # the switch of the whole client would end whoever revokes its key
                both.callback(_engage, found["client_id"], lane)
    body = {"step": wanted, "accept_gaps": accept_gaps, "ticket": ticket or ""}
    try:
        passed = run(call("POST", f"/v1/incidents/{incident}/step", body=body))
    except ByokeepError as error:
        if wanted != due or error.code != "platform_not_closed":
            raise
        _lose(found)
        passed = run(call("POST", f"/v1/incidents/{incident}/step", body=body))
    _told(passed)


def _engage(client_id: str, lane: str) -> None:
    stop = {"client_id": client_id, "lane": lane, "reason": "suspected_leak"}
    if living := outliving(run(call_kill("POST", "/v1/switches/close", body=stop))):
        say(living)


def _lose(found: dict[str, Any]) -> None:
    """Close the platform of an incident, unless it was closed since the incident was opened."""
    cause = {"token_revoked": "revoked", "lockout": "lockout"}.get(found["kind"], "compromised")
    body = {"client_id": found["client_id"], "platform": found["platform"], "cause": cause}
    run(call("POST", "/v1/platforms/close", body=body))


@app.command
def severity(incident: Incident, to: Severity) -> None:
    """Set the severity of an incident. Raising it takes effect at once; lowering it needs a second person's approval.

    Example: byokeep incident severity $INCIDENT P0
    """
    _told(run(call("POST", f"/v1/incidents/{incident}/severity", body={"severity": to})))


@app.command
def playbook(incident: Incident, name: Playbook, *, reason: str | None = None) -> None:
    """Choose the playbook of an incident of kind `other`, or say why none applies. It cannot be closed before.

    At P0 and P1, a second person must approve that none applies.

    Example: byokeep incident playbook $INCIDENT none --reason no_credential_involved

    Args:
        name: The playbook, if the incident is about a provider's key or an account; otherwise none.
        reason: Why none applies: a code of small letters, digits and _.
    """
    body = {"playbook": name, "reason": reason or ""}
    _told(run(call("POST", f"/v1/incidents/{incident}/playbook", body=body)))


@app.command
def postmortem(incident: Incident, *, file: Path | None = None, link: str | None = None) -> None:
    """Record the postmortem: its digest, its address, or both. A P0 or P1 incident cannot be closed without one.

    The document stays with you: only the SHA-256 of the file is kept.

    Example: byokeep incident postmortem $INCIDENT --file postmortem.md --link https://wiki.example.com/pm/12

    Args:
        file: The document.
        link: The address at which people can read it.
    """
    digest = "" if file is None else _digest(file)
    body = {"reference": link or "", "sha256": digest}
    _told(run(call("POST", f"/v1/incidents/{incident}/postmortem", body=body)))


def _digest(file: Path) -> str:
    step = "Give a readable file of 1 byte to 32 MB."
    with refusing("file_unreadable", Rejected, on=(OSError, ValueError), next_step=step):
        if not (content := read_file(file, _MOST_BYTES)):
            raise ValueError
        return sha256(content).hexdigest()


@app.command(name="close")
def close_incident(incident: Incident) -> None:
    """Close an incident once its playbook is complete and, at P0 and P1, its postmortem is recorded.

    Example: byokeep incident close $INCIDENT
    """
    _told(run(call("POST", f"/v1/incidents/{incident}/close")))


def _told(found: dict[str, Any]) -> None:
    note = f"Next: {found['next_step']}"
    if not session().as_json:
        since = f"{clean(found.pop('began_at'))}{' (assumed: unknown)' if found.pop('began_assumed') else ''}"
        about = " ".join(filter(None, (found.pop("object_kind"), found["object_id"], found.pop("platform"))))
        found |= {"since": since, "object_id": about or None, "done": steps_of(found)}
        found["missing"] = ", ".join(found["missing"]) or None
        del found["next_step"], found["steps"]
        found = {name: one for name, one in found.items() if one not in (None, "")}
    tell(found, title="Incident", note=note)


@app.command
def rotate_leases(*, admin_token_fd: int | None = None) -> None:
    """Replace the signing key of leases, and have the store trust no other. For a stolen broker identity.

    Everything signed before is worthless at once, even if it was dated ahead. For two minutes no job gets a secret.
    This needs the provisioner's rights: with the embedded store, its identity and the recovery keys on this host; with
    your own store, an admin token.

    Example: byokeep incident rotate-leases

    Args:
        admin_token_fd: Descriptor with the admin token of your own store.
    """
    harden()
    settings = session().settings
    with admin_token(admin_token_fd, needed=not settings.embedded_store) as token:
        version = run(load("byokeep.processes.platform_secrets").rotate_leases(settings, token))
    show({"version": version}, title="Signing key of leases", note="In two minutes the broker signs with it. "
         "Next: a new secret id for the broker, then open what was closed.")  # fmt: skip


@platform.command
def close(client: Client, platform: OAuthPlatform, *, reason: Cause) -> None:
    """Stop every act on a platform for a client. One person is enough. Returns once nothing new can start.

    Example: byokeep incident platform close $CLIENT x --reason compromised

    Args:
        client: Whose platform.
        platform: Which platform; the client's other platforms keep working.
        reason: What is known: compromised, revoked, lockout, missing_scope or identity_mismatch. The first two and the
            last put every account connected there out of use until it has logged in again.
    """
    closed = run(call("POST", "/v1/platforms/close", body={"client_id": client, "platform": platform, "cause": reason}))
    note = (
        "It comes back after a person logs in at the platform, which checks identity and permissions, and a canary.\n"
        "Each account that `byokeep account list` calls needs_reauth has a login of its own, begun from now on.\n"
        f"{way_back.of_client(client)}\nAfter the logins: {again(f'incident platform canary {client} {platform}')}"
    )
    tell(closed, title="Platform", note=note)
    said_of(f"Closed: {platform} of", client)


@platform.command
def status(client: Client) -> None:
    """Show the state of each platform that a client lost, and the canaries that wait for an approver.

    Example: byokeep incident platform status $CLIENT
    """
    found: Any = run(call("GET", f"/v1/clients/{client}/platforms"))
    platforms = found["platforms"]
    notes = [way_back.of_client(client, lost=platforms)]
    if platforms and all(one["stage"] == "open" for one in platforms) and not session().as_json:
        notes.append(alert.to_close(_ALERTS, client_id=str(client)))
    lost = [{**one, "canary": _canary(one)} for one in platforms]
    tell_all(found, Listing(lost, "Platforms", _COLUMNS, "\n".join(filter(None, notes))),
             waiting(found["requests"], "incident platform approve"))  # fmt: skip


def _canary(one: dict[str, Any]) -> str:
    if one["stage"] != "canary":
        return "open again" if one["stage"] == "open" else "not begun"
    under_way = one["taken"] - one["done"]
    more = f", {under_way} under way" if under_way else ""
    return f"stage {one['number'] + 1} of {one['of']}: {one['done']} of {one['acts']} acts done{more}"


@platform.command
def canary(client: Client, platform: OAuthPlatform, *, reason: str = "access_is_ours_again") -> None:
    """Ask to let acts through again, a few at first. An approver must approve within 15 minutes.

    You can ask once the account is connected again and its permissions are confirmed. No step can be skipped: a stage
    ends when all its acts have succeeded, and a failed act closes the platform again.

    Example: byokeep incident platform canary $CLIENT x --reason access_is_ours_again

    Args:
        client: Whose platform.
        platform: Which one.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    body = {"client_id": str(client), "platform": platform, "reason": reason}
    asked: Any = run(call("POST", "/v1/platforms/canary-requests", body=body))
    requested(asked, f"incident platform approve {asked['id']}")


@platform.command
def approve(request: UUID) -> None:
    """Approve the start of the canary, as the second person.

    Example: byokeep incident platform approve $REQUEST
    """
    tell(run(call("POST", f"/v1/platforms/canary-requests/{request}/approve")), title="Platform")
