"""``byokeep incident``: a platform was lost (runbook 7.2), or the vault of browser profiles may be open (7.3)."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal
from uuid import UUID

from cyclopts import App

from byokeep.cli import alert, exposure, vault, way_back
from byokeep.cli.api import Listing, call, requested, run, tell, tell_all, waiting
from byokeep.cli.choices import OAuthPlatform
from byokeep.cli.intake import read_secret
from byokeep.cli.names import Client, said_of
from byokeep.cli.servers import load
from byokeep.cli.terminal import again, session, show
from byokeep.core.errors import Rejected

Cause = Literal["compromised", "identity_mismatch", "lockout", "missing_scope", "revoked"]
app: Final = App(name="incident")
platform: Final = App(name="platform", help="Close, look at and bring back one platform of one client.")
app.command(platform)
app.command(vault.app)
app.command(exposure.report)
_ALERTS: Final = frozenset(
    {"account_reuse_suspected", "account_superseded", "platform_closed", "reenabling_failed", "tokens_maybe_superseded"}
)
_COLUMNS: Final = ("platform", "stage", "cause", "changed_at", "canary")


@app.command
def rotate_leases(*, admin_token_fd: int | None = None) -> None:
    """Give the leases a new signing key and let the store believe no other: the answer to a stolen broker identity.

    Whatever was signed before is worthless at once, also for a time to come. For two minutes no job gets a secret.
    It takes the provisioner's rights: with the embedded store its identity and the recovery keys on this host, with a
    store of your own an admin token.

    Example: byokeep incident rotate-leases

    Args:
        admin_token_fd: Descriptor with the admin token of a store of your own.
    """
    settings = session().settings
    if admin_token_fd is None and not settings.embedded_store:
        raise Rejected("admin_token_missing", next_step="Give --admin-token-fd 3 3< FILE.")
    token = None if admin_token_fd is None else read_secret(prompt="Admin token", fd=admin_token_fd)
    try:
        version = asyncio.run(load("byokeep.processes.platform_secrets").rotate_leases(settings, token))
    finally:
        if token is not None:
            token.wipe()
    show({"version": version}, title="Signing key of leases", note="In two minutes the broker signs with it. "
         "Next: a new secret id for the broker, then open what was closed.")  # fmt: skip


@platform.command
def close(client: Client, platform: OAuthPlatform, *, reason: Cause) -> None:
    """Stop every act on a platform for a client. One person is enough; returns when nothing can start any more.

    Example: byokeep incident platform close $CLIENT x --reason compromised

    Args:
        client: Whose platform.
        platform: Which one; the client's other platforms go on.
        reason: What is known: compromised, revoked, lockout, missing_scope or identity_mismatch. The first two and the
            last put each connected account there out of use until its own login.
    """
    closed = run(call("POST", "/v1/platforms/close", body={"client_id": client, "platform": platform, "cause": reason}))
    note = (
        "It comes back by a person's login at the platform, which checks identity and permissions, and then a canary.\n"
        "Each account that `byokeep account list` calls needs_reauth has a login of its own, begun from now on.\n"
        f"{way_back.of_client(client)}\nAfter the logins: {again(f'incident platform canary {client} {platform}')}"
    )
    tell(closed, title="Platform", note=note)
    said_of(f"Closed: {platform} of", client)


@platform.command
def status(client: Client) -> None:
    """Show where the platforms stand that a client lost, and the canaries that wait for an approver.

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
    """Ask for acts to be let through again, a few first; an approver must confirm, within 15 minutes.

    It can be asked for when the account has been connected again and its permissions were found there. No step can
    be skipped: each stage ends when all its acts have succeeded, and one that fails closes the platform again.

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
    """Let the canary begin, as the second person.

    Example: byokeep incident platform approve $REQUEST
    """
    tell(run(call("POST", f"/v1/platforms/canary-requests/{request}/approve")), title="Platform")
