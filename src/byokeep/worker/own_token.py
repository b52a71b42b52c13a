"""The machine token that a worker or refresher works with: it renews itself, in its file, long before its end.

Rules
- When half of the longest life is left, it asks the broker, which issues another token and lets the old one work for
  another week. Whoever read the file before, and a copy of it on another host, works on and renews its own. The second
  renewal of one token is an alert, once: each host should have a machine of its own. At most eight tokens work.
- Nothing is issued while the file cannot be written. The file holds the old token or the new one; both work.
- Whoever gave a token for two weeks or less wants it to end, so it is not renewed.
- One that cannot be renewed is an alert, two weeks before anything stops.
- In the embedded stack the supervisor renews the files, since those of runners and dispatchers are among them.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from byokeep.client.http import Broker
from byokeep.client.settings import ClientSettings, read_token
from byokeep.core.errors import ByokeepError, Denied
from byokeep.core.secret import Secret
from byokeep.kernel.app import App
from byokeep.kernel.command import open_alert
from byokeep.kernel.durable_write import draft
from byokeep.telemetry.log import code_of, get_log
from byokeep.tenancy.bootstrap import OVERLAP_S, RENEW_LEFT_S
from byokeep.tenancy.tokens import SHORT, TOKEN_DAYS

_EVERY_S: Final = 3600.0


async def keep(app: App, settings: ClientSettings) -> None:
    """Renew this process's token whenever it is due, until cancelled."""
    while True:
        try:
            await renew(settings)
        except Exception as error:  # whatever it is, as an answer of another release: the next look tries again
            get_log().error("tokens_not_renewed", code=code_of(error))
            with suppress(ByokeepError):  # the database is away: whoever needs it reports it
                async with app.db.begin(every_client=True) as tx:
                    await open_alert(tx, app, app.system(), reason="machine_token_not_renewed")
        await asyncio.sleep(_EVERY_S * (0.75 + secrets.randbelow(500) / 1000))


async def renew(settings: ClientSettings) -> bool:
    """Renew the token in a file if it is due; returns whether it was.

    Raises:
        Denied: ``not_renewed``: the broker issues none to this machine; and as :meth:`Broker.call`.
        OSError: The file cannot be written; the old token still works.
    """
    file = settings.runner_token_file
    token, broker = read_token(file), Broker(settings)
    try:
        me = await broker.call("GET", "/v1/self", token)
        since, until = (datetime.fromisoformat(str(me[name])) for name in ("token_since", "token_until"))
        if until - since <= SHORT or until - datetime.now(UTC) > timedelta(seconds=RENEW_LEFT_S):
            return False
        # The draft exists before the old token is given an end, and replaces the file once it is synced.
        with draft(file) as beside:
            body = {"days": TOKEN_DAYS, "overlap_s": OVERLAP_S}
            reply = await broker.call("POST", f"/v1/machines/{me['id']}/tokens", token, body)
            if "token" not in reply:
                raise Denied("not_renewed", next_step="An admin must issue a new token: `byokeep operator token`.")
            beside.write(Secret(str(reply.pop("token"))).reveal() + b"\n")
    finally:
        await broker.close()
        token.wipe()
    return True
