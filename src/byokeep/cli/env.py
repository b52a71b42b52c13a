"""``byokeep env``: what environment variables hold here, in files, in CI and at Vercel, and what they must not.

At Vercel these are the variables of a project and those that its team shares, when it was deployed, and the team's
policy.

Rules
- Exit codes as for all searches: 0 clean, 1 found, 4 unknown. If nothing was looked at, it is not clean.
- No value is printed or kept, nor a name that holds one. A Vercel token is read from standard input or a descriptor.
- Vercel is read over its REST API: the lists without decryption, and the team. The token goes only to Vercel's own
  host.
- A list with a missing page, a refusal, a limit and an outage are unknown, each with a code. What was received before
  is checked all the same.

It may not read a value or change anything.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from cyclopts import App, Parameter

from byokeep.cli.api import run
from byokeep.cli.intake import read_secret
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import CLEAN, FOUND, STATES, UNKNOWN, show_all
from byokeep.cli.times import moment
from byokeep.core.canonical import strict_object
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.envcheck.check import NEXT_STEPS, EnvFinding, EnvPolicy, findings, read_policy, unread_values
from byokeep.envcheck.sources import MOST, Collected, of_row, read_file
from byokeep.wire.address import is_loopback
from byokeep.wire.transport import NotGot, Outbound, exchange
from byokeep_redact.sarif import log

_POLICY_FILE: Final = Path("byokeep-env.toml")
app: Final = App(name="env")


@app.command
def check(
    *files: Path, export: Annotated[list[Path] | None, Parameter(allow_leading_hyphen=True)] = None,
    environment: bool = False, project: str | None = None,
    team: str | None = None, token_fd: int | None = None, rotated_after: str | None = None, policy: Path | None = None,
    sarif: Path | None = None, replace: bool = False,
) -> int:  # fmt: skip
    """Check environment variables: no client's key, token or cookie, and nothing shared that must be separate.

    It finds secrets by name and by shape, also inside base64, URLs and JSON; wrong values of VAULT_ADDR,
    VAULT_AUTH_ROLE, KMS_KEY_ID and feature flags; secrets in variables that a framework puts into pages (NEXT_PUBLIC_,
    VITE_); and duplicates. At Vercel it also finds variables that are not sensitive, set for all environments, shared
    by Production and Preview, or written by an integration. No value is shown.

    Exit codes: 0 clean, 1 found, 4 unknown: something could not be read, or there was nothing to check.

    Example: byokeep env check .env .env.production

    Example: vercel env ls --format json | byokeep env check --export -

    Example: byokeep env check --project web --team acme --rotated-after 2026-04-19 < vercel-token

    Example: byokeep env check --environment --sarif env.sarif

    Args:
        files: Dotenv files; for a directory, all `.env*` files below it.
        export: JSON of `vercel env ls --format json`, `gh variable list --json name,value,updatedAt` or GitHub's
            `toJSON(vars)`; - is standard input. Repeat the option as needed.
        environment: Check the variables of this process, as in CI.
        project: A project at Vercel, read over its API; needs --team and a token on standard input.
        team: The project's team: its id or slug.
        token_fd: Read the token from this descriptor instead of standard input.
        rotated_after: Report variables not changed since this time, such as 2026-04-19 or 30d.
        policy: File that lists feature flags and accepted variables; default: byokeep-env.toml here, if it exists.
        sarif: Write the result to this new file as SARIF 2.1.0.
        replace: Overwrite the file of --sarif if it exists.
    """
    _check_words(files or export or environment or project, project, team, export, token_fd)
    keep = None if sarif is None else new_file(sarif, replace=replace)
    since = moment(rotated_after)
    path = policy or (_POLICY_FILE if _POLICY_FILE.exists() else None)
    allowed = read_policy(path) if path else EnvPolicy()
    collected = _collected(files, export or (), environment=environment)
    settled = _ask(collected, project, team, token_fd) if project and team else None
    after_ms = int(datetime.fromisoformat(since).timestamp() * 1000) if since else None
    found, unknown = findings(collected.variables, allowed, after_ms, collected.deployed_ms)
    if settled is False:
        found.append(EnvFinding(variable="-", code="sensitive_policy_off", source="Vercel, team"))
    unread = [*collected.unread, *unknown]
    if not collected.variables and not unread:
        unread.append(("-", "nothing_there_to_check"))
    if keep is not None:
        keep(json.dumps(_sarif(found, unread), indent=1).encode() + b"\n")
    code = FOUND if found else UNKNOWN if unread else CLEAN
    told = {True: "on", False: "not on", None: "unknown"}[settled] if project else "not looked at"
    totals = {"state": STATES[code], "found": len(found), "unknown": len(unread),
              "variables": sum(not one.text for one in collected.variables),
              "without_value": unread_values(collected.variables), "sensitive_policy": told}  # fmt: skip
    _print(found, unread, totals)
    return code


def _check_words(
    asked: object, project: str | None, team: str | None, export: Sequence[Path] | None, token_fd: int | None
) -> None:
    if not asked:
        raise Rejected("nothing_to_check", next_step="Name files, or use --export, --environment or --project.")
    if (project is None) is not (team is None) or "" in (project, team):
        step = "--project and --team go together, and neither is empty: the policy is the team's."
        raise Rejected("no_team_named", next_step=step)
    if project is not None and token_fd is None and any(str(one) == "-" for one in export or ()):
        raise Rejected("one_standard_input", next_step="Give the token with --token-fd 3 3< FILE.")


def _collected(files: Sequence[Path], exports: Sequence[Path], *, environment: bool) -> Collected:
    collected = Collected()
    for file in files:
        collected.file(file)
    for export in exports:
        try:
            data = sys.stdin.buffer.read(MOST + 1) if str(export) == "-" else read_file(export)
            if len(data) > MOST:
                raise ValueError("too_large")
        except (OSError, ValueError) as error:
            why = str(error) if type(error) is ValueError else "cannot_be_read"
            collected.unread.append((str(export), why))
            continue
        collected.export("standard input" if str(export) == "-" else str(export), data)
    if environment:
        collected.process(os.environ)
    return collected


def _ask(collected: Collected, project: str, team: str, token_fd: int | None) -> bool | None:
    with read_secret(prompt="Token of Vercel", fd=token_fd, what="token") as token:
        return run(collect(collected, token, project=project, team=team))


def _print(found: Sequence[EnvFinding], unread: Sequence[tuple[str, str]], totals: dict[str, Any]) -> None:
    told = [asdict(one) | {"next_step": NEXT_STEPS[one.code]} for one in found]
    rows = [{"variable": one.variable, "finding": one.code, "by": one.why, "where": _place(one)} for one in found]
    steps = [{"finding": code, "next": NEXT_STEPS[code]} for code in dict.fromkeys(one.code for one in found)]
    unknown = [{"source": one, "reason": why} for one, why in unread]
    show_all({**totals, "findings": told, "unreadable": unknown}, ("Found", rows), ("What to do", steps),
             ("Not known", unknown), ("Environment", totals))  # fmt: skip


def _place(one: EnvFinding) -> str:
    place = f"{one.source}:{one.line}" if one.line else one.source
    return f"{place} ({', '.join(one.targets)})" if one.targets else place


def _sarif(found: Sequence[EnvFinding], unread: Sequence[tuple[str, str]]) -> dict[str, Any]:
    codes = sorted({one.code for one in found})
    rules = [{"id": code, "shortDescription": {"text": code.replace("_", " ")}, "help": {"text": NEXT_STEPS[code]}}
             for code in codes]  # fmt: skip
    results = [
        {
            "ruleId": one.code, "ruleIndex": codes.index(one.code), "level": "error",
            "message": {"text": f"{one.variable}: {one.code.replace('_', ' ')}. {NEXT_STEPS[one.code]}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(one.source)},
                                                "region": {"startLine": one.line or 1}}}],
            "partialFingerprints": {"byokeepVariable/v1": f"{one.code}/{one.variable}"},
        } for one in found
    ]  # fmt: skip
    return log(rules, results, [f"{one}: {why}" for one, why in unread], nothing=False)


# The variables at Vercel, over its REST API.
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
