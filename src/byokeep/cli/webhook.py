"""``byokeep account webhook``: the secrets that senders use to sign what they send to a client's server."""

from __future__ import annotations

from typing import Final

from cyclopts import App

from byokeep.cli.api import call, run, tell
from byokeep.cli.choices import WebhookSender
from byokeep.cli.intake import read_secret
from byokeep.cli.names import Client, said_of
from byokeep.cli.terminal import busy, say
from byokeep.core.times import seconds

app: Final = App(name="webhook", help="Signing secrets of webhooks, for each client and sender.")
_COLUMNS: Final = (
    "provider", "version", "state", "verification", "previous_version", "previous_until", "rotation_due_at",
)  # fmt: skip


@app.command(name="set")
def set_(client: Client, sender: WebhookSender, *, keep_previous: str = "0s", fd: int | None = None) -> None:
    """Store a signing secret. Jobs that declare the sender verify with it at once.

    The secret is read from standard input, from --fd, or from a prompt that does not show it.

    Example: byokeep account webhook set $CLIENT tiktok < secret.txt

    Example: byokeep account webhook set $CLIENT meta --keep-previous 24h < secret.txt

    Args:
        client: Name or id.
        sender: The sender that signs.
        keep_previous: How long the previous secret stays valid as well: a number with s, m, h or d; at most 30d.
        fd: Read the secret from this descriptor.
    """
    params = {"keep_previous_s": str(seconds(keep_previous))}
    with read_secret(prompt=f"{sender} webhook secret", fd=fd, what="signing secret") as value, busy("Storing ..."):
        stored = run(call("PUT", f"/v1/clients/{client}/providers/{sender}/webhook", raw=value, params=params))
    say(f"Stored as version {stored['version']}.")
    tell({name: stored[name] for name in _COLUMNS}, title="Webhook secret")


@app.command(name="list")
def list_(client: Client) -> None:
    """List a client's signing secrets: where each one is, its state, and older ones still valid. Never a value.

    The state is `active` from the start. The verification stays `pending`, because there is nobody to ask.

    Example: byokeep account webhook list $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}/webhooks"))["webhooks"], title="Webhook secrets", columns=_COLUMNS)


@app.command
def retire(client: Client, sender: WebhookSender, *, reason: str, previous_only: bool = False) -> None:
    """Retire a signing secret: deliveries signed with it are refused.

    Example: byokeep account webhook retire $CLIENT tiktok --reason not_used

    Args:
        reason: A code of 2 to 63 characters: small letters, digits and _, a letter first; such as `not_used`.
        previous_only: End only the secret before the current one.
    """
    body = {"reason": reason, "previous_only": previous_only}
    found = run(call("POST", f"/v1/clients/{client}/providers/{sender}/webhook/retire", body=body))
    tell({name: found[name] for name in _COLUMNS}, title="Webhook secret")
    said_of(f"Ended: {sender} of", client)
