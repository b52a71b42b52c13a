"""The variables of a project at Vercel and those that its team shares, when it was deployed, and the team's policy.

Rules
- It reads over the REST API: the lists without decryption, and the team. The token goes only to Vercel's own host.
- A list with a missing page, a refusal, a limit and an outage are unknown, each with a code. What was received before
  is checked all the same.

It may not read a value or change anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from byokeep.core.canonical import strict_object
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.envcheck.sources import Collected, of_row
from byokeep.wire.address import is_loopback
from byokeep.wire.transport import NotGot, Outbound, exchange

API = "https://api.vercel.com"
_PAGES: Final = 100
_DEADLINE_S: Final = 30.0
_REFUSALS: Final = {401: "token_not_valid", 403: "not_permitted", 404: "no_such_project_or_team", 429: "rate_limited"}
_POLICY: Final = "sensitiveEnvironmentVariablePolicy"


async def collect(into: Collected, token: Secret, *, project: str, team: str) -> bool | None:
    """Take a project's variables, those that the team shares between projects, and when Production was deployed.

    Args:
        into: Gets the variables, and what could not be read.
        token: A Vercel token; it need not be allowed to read values.
        project: Id or name.
        team: Id ``team_...``, or its slug.

    Returns:
        Whether the team's policy has every new variable stored as sensitive; None if that could not be read.
    """
    whose = {"teamId" if team.startswith("team_") else "slug": team}
    async with Outbound() as http:
        own = f"/v10/projects/{quote(project, safe='')}/env"
        for path, holds, source in ((own, "envs", "Vercel"), ("/v1/env", "data", "Vercel, shared")):
            asked = whose | ({"projectId": project} if holds == "data" and project.startswith("prj_") else {})
            await _listed(http, path, asked | {"decrypt": "false"}, holds, source, token, into)
        query = urlencode(whose | {"projectId": project, "target": "production", "state": "READY", "limit": "1"})
        reply = await _get(http, f"{API}/v6/deployments?{query}", token, "Vercel, deployments", into)
        if reply is not None:
            _deployed(reply.get("deployments"), into)
        reply = await _get(http, f"{API}/v2/teams/{quote(team, safe='')}", token, "Vercel, team", into)
    policy = (reply or {}).get(_POLICY)
    if reply is not None and policy not in ("default", "on", "off"):
        into.unread.append(("Vercel, team", "policy_not_told"))
        return None
    return None if reply is None else policy == "on"


async def _listed(
    http: Outbound, path: str, asked: Mapping[str, str], holds: str, source: str, token: Secret, into: Collected
) -> None:
    """Read a list, page by page; ``holds`` is the field with its rows."""
    until = ""
    for page in range(1, _PAGES + 1):
        query = urlencode({**asked, **({"until": until} if until else {})})
        reply = await _get(http, f"{API}{path}?{query}", token, f"{source}, page {page}", into)
        if reply is None:
            return
        _rows(reply.get(holds), source, page, into)
        paging = reply.get("pagination") or {}
        if not isinstance(paging, dict):
            break
        before, until = until, str(paging.get("next") or "")
        if not until:
            return
        if until == before:
            break
    into.unread.append((source, "list_has_no_end"))


def _deployed(rows: object, into: Collected) -> None:
    """Read when the newest deployment was made. A malformed one, or one without a time, is unknown; none is none."""
    newest = rows[0] if isinstance(rows, list) and rows else None
    made = newest.get("created") if isinstance(newest, dict) else None
    if type(made) is int:
        into.deployed_ms = made
    elif rows != []:
        into.unread.append(("Vercel, deployments", "not_understood"))


def _rows(rows: object, source: str, page: int, into: Collected) -> None:
    if not isinstance(rows, list):
        into.unread.append((f"{source}, page {page}", "not_understood"))
        return
    for row in rows:
        one = of_row(row, source)
        if one is None or not one.kind:
            into.unread.append((f"{source}, page {page}", "row_not_understood"))
        else:
            into.variables.append(one)


async def _get(http: Outbound, url: str, token: Secret, source: str, into: Collected) -> dict[str, Any] | None:
    """Return the object of a reply; None, with a code among what was not read, if there is none."""
    headers = {"authorization": f"Bearer {token.reveal().decode('ascii', 'replace').strip()}"}
    loopback = is_loopback(url.split("/")[2].rpartition(":")[0], named=True)
    try:
        got = await exchange(http, "GET", url, headers=headers, loopback=loopback, deadline_s=_DEADLINE_S)
    except Rejected as error:
        into.unread.append((source, error.code))
        return None
    if isinstance(got, NotGot):
        into.unread.append((source, "cut_off_or_too_large" if got.status else "unreachable"))
        return None
    document = strict_object(got.body.reveal())
    if got.status != 200 or document is None:
        into.unread.append((source, _refusal(got.status, document)))
        return None
    return document


def _refusal(status: int, document: Mapping[str, Any] | None) -> str:
    said = (document or {}).get("error")
    code = said.get("code") if isinstance(said, dict) else None
    if code in ("challenge_required", "challenge_required_email_otp", "user_auth_required"):
        return "asks_for_a_person"
    if status == 200:
        return "not_understood"
    return _REFUSALS.get(status, "server_error" if status >= 500 else "refused")
