"""How the simulated vendors issue keys: list, mint and revoke with an administrator's key, as their pages say.

A key of the state *management* administers its account's keys. A vendor lists a masked label and an id; it shows the
value once, when it is minted. Only Google shows it again (`keyString`), and answers a mint with an operation: the key
is there a moment later.

The calls, and what is said of a key, are in the table ``admin`` of a vendor. ``key`` is the form of a new one.

Rules
- Google's key without a service account is a standard one, which Gemini refuses. An empty list is left out.
- Anthropic mints nothing and sets a status instead of deleting; HeyGen and kie have no such calls.
- A revoked key answers as an unknown one, as does Anthropic's archived one; its inactive one as one switched off.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from byokeep_sim.book import Book, KnownKey, SimKeyState
from byokeep_sim.platforms.world import made
from byokeep_sim.reply import SimReply, filled, ok
from byokeep_sim.vendors import Vendor

_LONGEST_S: Final = 31_536_000
_STATUSES: Final = {  # Anthropic's
    "active": SimKeyState.VALID, "inactive": SimKeyState.DISABLED, "archived": SimKeyState.REVOKED,
}  # fmt: skip


def _shown(vendor: Vendor, known: KnownKey, what: str = "row", **more: str) -> dict[str, Any]:
    """Return what a vendor says of a key, or of one that was minted."""
    status = next((word for word, state in _STATUSES.items() if state is known.state), "inactive")
    values = {"id": known.id, "name": known.name, "hint": known.hint, "status": status, **more}
    shown: dict[str, Any] = filled(vendor.table["admin"][what], values)
    return shown


def _page(vendor: Vendor, mine: Mapping[str, KnownKey], query: Mapping[str, str], size: int) -> dict[str, Any]:
    ids = [name for name, one in mine.items() if one.state is not SimKeyState.REVOKED or vendor.name == "anthropic"]
    after = query.get("after") or query.get("after_id")
    begin = ids.index(after) + 1 if after else int(query.get("offset") or query.get("pageToken") or 0)
    rows, end = [_shown(vendor, mine[name]) for name in ids[begin : begin + size]], begin + size
    if vendor.name == "google":
        return ({"keys": rows} if rows else {}) | ({"nextPageToken": str(end)} if end < len(ids) else {})
    return {"data": rows} | ({} if vendor.name == "openrouter" else {"has_more": end < len(ids)})


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


def route(vendor: Vendor, method: str, path: str) -> tuple[str, str]:
    """Return which administration call this is and the key that it names; empty for none."""
    for name, pattern in vendor.table.get("admin", {}).get("calls", {}).items():
        if found := re.fullmatch(pattern, f"{method} {path}"):
            return name, found.group(1) if found.groups() else ""
    return "", ""


def presented(headers: Mapping[str, str]) -> str:
    """Return the administrator's key of a call."""
    return headers.get("x-api-key", "") or headers.get("authorization", "").partition(" ")[2]


def answer(
    book: Book, vendor: Vendor, call: tuple[str, str], key: str, body: Mapping[str, Any], query: Mapping[str, str]
) -> SimReply:
    """Answer one administration call."""
    admin, (act, about) = book.keys.find(vendor.name, key), call
    if admin is None or admin.state is not SimKeyState.MANAGEMENT:
        return vendor.error(401 if admin is None or admin.state is SimKeyState.REVOKED else 403)
    mine = {one.id: one for one in book.keys.of_account(vendor.name, admin.account)}
    if act == "list":
        return ok(_page(vendor, mine, query, book.page))
    if act == "usage":
        return ok(_usage(book, vendor.name, query))
    if act == "mint":
        return _minted(book, vendor, admin.account, body, query.get("keyId", ""))
    if about not in mine or mine[about].state is SimKeyState.REVOKED:
        return vendor.error(404)
    if act == "value" and about in book.values and about not in book.asked:
        book.asked.add(about)
        return vendor.error(404)
    if act == "value":
        return ok({"keyString": book.values[about]}) if about in book.values else vendor.error(403)
    gone = SimKeyState.REVOKED if vendor.name != "anthropic" else _STATUSES.get(str(body.get("status")))
    if gone is None:
        return vendor.error(400)
    book.keys.change(vendor.name, about, gone)
    if vendor.name == "anthropic":
        return ok(_shown(vendor, replace(mine[about], state=gone)))
    return ok({"id": about, "deleted": True})


def _minted(book: Book, vendor: Vendor, account: str, body: Mapping[str, Any], id_: str) -> SimReply:
    lives_s, table = body.get("expires_in_seconds", 1), vendor.table["admin"]
    if vendor.name == "openai" and not (type(lives_s) is int and 1 <= lives_s <= _LONGEST_S):
        return vendor.error(400)
    bound = vendor.name != "google" or (body.get("serviceAccountEmail") and body.get("restrictions"))
    value, state = made(table["key" if bound else "standard"]), SimKeyState.VALID if bound else SimKeyState.RESTRICTED
    name = str(body.get("name") or body.get("displayName", ""))
    known = book.keys.put(vendor.name, value, state, account, name=name, id_=id_)
    if "expires_in_seconds" in body:
        book.lives_s[known.id] = lives_s
    book.minted += 1
    if "value" in table["calls"]:
        book.values[known.id] = value
    return SimReply(status=table.get("minted_status", 200), body=_shown(vendor, known, "minted", value=value))
