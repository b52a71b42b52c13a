"""How the simulated vendors issue keys: list, mint and revoke with an administrator's key, as their pages say.

A key of the state *management* administers its account's keys. A vendor lists a masked label and an id; it shows the
value once, when it is minted. Only Google shows it again (`keyString`), and answers a mint with an operation: the key
is there a moment later.

Rules
- Google's key without a service account is a standard one, which Gemini refuses. An empty list is left out.
- Anthropic mints nothing and sets a status instead of deleting; HeyGen and kie have no such calls.
- A revoked key answers as an unknown one; Anthropic's inactive one as one that is switched off.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from byokeep_sim.book import Book, KnownKey, SimKeyState
from byokeep_sim.reply import SimReply

_LONGEST_S: Final = 31_536_000
_PROJECT: Final = r"/projects/[A-Za-z0-9_-]+"
_GOOGLE: Final = rf"/v2{_PROJECT}/locations/global/keys"
_PATHS: Final[Mapping[str, Mapping[str, str]]] = {
    "openrouter": {
        "usage": r"GET /api/v1/activity",
        "list": r"GET /api/v1/keys", "mint": r"POST /api/v1/keys", "revoke": r"DELETE /api/v1/keys/(.+)",
    },
    "openai": {
        "usage": r"GET /v1/organization/usage/completions",
        "list": rf"GET /v1/organization{_PROJECT}/api_keys",
        "mint": rf"POST /v1/organization{_PROJECT}/service_accounts/[A-Za-z0-9_-]+/api_keys",
        "revoke": rf"DELETE /v1/organization{_PROJECT}/api_keys/(.+)",
    },
    "anthropic": {
        "usage": r"GET /v1/organizations/usage_report/messages",
        "list": r"GET /v1/organizations/api_keys", "revoke": r"POST /v1/organizations/api_keys/(.+)",
    },
    "google": {
        "list": rf"GET {_GOOGLE}", "mint": rf"POST {_GOOGLE}", "value": rf"GET {_GOOGLE}/([^/]+)/keyString",
        "revoke": rf"DELETE {_GOOGLE}/([^/]+)",
    },
}  # fmt: skip


def _new_value(vendor: str) -> str:
    text = "".join(secrets.choice("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789") for _ in range(64))
    made = {
        "openrouter": f"sk-or-v1-{secrets.token_hex(32)}", "openai": f"sk-svcacct-{text[:20]}T3BlbkFJ{text[20:40]}",
        "google": f"AQ.Ab8RN6{text[:44]}", "standard": f"AIza{text[:35]}",
    }  # fmt: skip
    return made[vendor]


def _row(vendor: str, key_id: str, key: KnownKey) -> dict[str, Any]:
    shown: dict[str, dict[str, Any]] = {
        "openrouter": {"hash": key_id, "name": key.name, "label": key.hint, "disabled": False},
        "openai": {"id": key_id, "name": key.name, "redacted_value": key.hint},
        "anthropic": {
            "id": key_id, "type": "api_key", "name": key.name, "partial_key_hint": key.hint,
            "status": "active" if key.state is SimKeyState.VALID else "inactive",
        },
        "google": {"name": f"projects/1/locations/global/keys/{key_id}", "uid": key_id, "displayName": key.name},
    }  # fmt: skip
    return shown[vendor]


def _page(vendor: str, mine: Mapping[str, KnownKey], query: Mapping[str, str], size: int) -> dict[str, Any]:
    ids = [name for name, one in mine.items() if one.state is not SimKeyState.REVOKED]
    after = query.get("after") or query.get("after_id")
    begin = ids.index(after) + 1 if after else int(query.get("offset") or query.get("pageToken") or 0)
    rows, end = [_row(vendor, name, mine[name]) for name in ids[begin : begin + size]], begin + size
    if vendor == "google":
        return ({"keys": rows} if rows else {}) | ({"nextPageToken": str(end)} if end < len(ids) else {})
    return {"data": rows} | ({} if vendor == "openrouter" else {"has_more": end < len(ids)})


def _usage(book: Book, vendor: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return what was used: hour by hour, one page at a time; OpenRouter reports the days that are over."""
    used = book.usage.get(vendor, {})
    if vendor == "openrouter":
        days = Counter[tuple[str, str]]()
        for at, models in used.items():
            day = datetime.fromtimestamp(at, UTC).date()
            for model, many in models.items() if day < datetime.now(UTC).date() else ():
                days[str(day), model] += many
        return {
            "data": [
                {"date": day, "model": model, "requests": n, "usage": n / 1000} for (day, model), n in days.items()
            ]
        }
    openai = vendor == "openai"
    begins, ends = (query["start_time"], query["end_time"]) if openai else (
        query["starting_at"], query["ending_at"])  # fmt: skip
    first, last = (int(one) if openai else int(datetime.fromisoformat(one).timestamp()) for one in (begins, ends))
    hours = [at for at in range(first - first % 3600, last, 3600) if at not in book.untold]
    page = int(query.get("page", "0"))
    shown = hours[page : page + book.page]
    more = str(page + book.page) if page + book.page < len(hours) else None
    return {"data": [_hour(vendor, at, used.get(at, {})) for at in shown], "has_more": bool(more), "next_page": more}


def _hour(vendor: str, at: int, models: Mapping[str, int]) -> dict[str, Any]:
    if vendor == "openai":
        rows = [{"model": model, "num_model_requests": many} for model, many in models.items()]
        return {"object": "bucket", "start_time": at, "end_time": at + 3600, "results": rows}
    counts = "uncached_input_tokens", "cache_read_input_tokens", "output_tokens"
    rows = [{"model": model} | dict.fromkeys(counts, many) for model, many in models.items()]
    begins, ends = (datetime.fromtimestamp(one, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for one in (at, at + 3600))
    return {"starting_at": begins, "ending_at": ends, "results": rows}


def route(vendor: str, method: str, path: str) -> tuple[str, str]:
    """Return which administration call this is and the key that it names; empty for none."""
    for name, pattern in _PATHS.get(vendor, {}).items():
        if found := re.fullmatch(pattern, f"{method} {path}"):
            return name, found.group(1) if found.groups() else ""
    return "", ""


def presented(headers: Mapping[str, str]) -> str:
    """Return the administrator's key of a call."""
    return headers.get("x-api-key", "") or headers.get("authorization", "").partition(" ")[2]


def answer(
    book: Book, vendor: str, call: tuple[str, str], key: str, body: Mapping[str, Any],
    query: Mapping[str, str], error: Callable[[int], SimReply],
) -> SimReply:  # fmt: skip
    """Answer one administration call."""
    admin = book.keys.find(vendor, key)
    if admin is None or admin.state is not SimKeyState.MANAGEMENT:
        return error(401 if admin is None or admin.state is SimKeyState.REVOKED else 403)
    act, about = call
    mine = {one.id: one for one in book.keys.of_account(vendor, admin.account)}
    if act == "list":
        return SimReply(status=200, body=_page(vendor, mine, query, book.page))
    if act == "usage":
        return SimReply(status=200, body=_usage(book, vendor, query))
    if act == "mint":
        lives_s = body.get("expires_in_seconds", 1)
        if vendor == "openai" and not (type(lives_s) is int and 1 <= lives_s <= _LONGEST_S):
            return error(400)
        bound = vendor != "google" or (body.get("serviceAccountEmail") and body.get("restrictions"))
        value = _new_value(vendor if bound else "standard")
        name, state = str(body.get("name") or body.get("displayName", "")), SimKeyState.VALID
        state = state if bound else SimKeyState.RESTRICTED
        made = book.keys.put(vendor, value, state, admin.account, name=name, id_=query.get("keyId", ""))
        if "expires_in_seconds" in body:
            book.lives_s[made.id] = lives_s
        book.minted += 1
        if vendor == "google":
            book.values[made.id] = value
            return SimReply(status=200, body={"name": f"operations/akmf.{made.id}", "done": False})
        row = _row(vendor, made.id, made)
        shown = {"key": value, "data": row} if vendor == "openrouter" else {**row, "value": value}
        return SimReply(status=201 if vendor == "openrouter" else 200, body=shown)
    if about not in mine or mine[about].state is SimKeyState.REVOKED:
        return error(404)
    if act == "value" and about in book.values and about not in book.asked:
        book.asked.add(about)
        return error(404)
    if act == "value":
        return SimReply(status=200, body={"keyString": book.values[about]}) if about in book.values else error(403)
    gone = SimKeyState.DISABLED if vendor == "anthropic" else SimKeyState.REVOKED
    if vendor == "anthropic" and body.get("status") not in ("inactive", "archived"):
        return error(400)
    book.keys.change(vendor, about, gone)
    return SimReply(status=200, body={"id": about, "deleted": True})
