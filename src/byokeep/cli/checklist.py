"""``byokeep checklist``: the daily, weekly and monthly checks, filled in by looking, signed off by a person.

Rules
- It ends with 0 if every item is ok, 1 if one failed, 4 if nobody could tell: unknown is not ok.
- The page is one file for a printer or a folder: nothing in it is fetched, nothing runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import Any, Final, Literal

from cyclopts import App

from byokeep.cli.api import Listing, call, ids_of, names, run, tell, tell_all, web_url
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import CLEAN, FOUND, UNKNOWN, again, clean, say
from byokeep.core.errors import Rejected, refusing
from byokeep.core.policy import GRANTS, Verb

app: Final = App(name="checklist")
Kind = Literal["daily", "weekly", "monthly"]
_ITEMS: Final = ("item", "state", "code", "found")
_DUE: Final = ("due_at", "state", "name", "client", "cause", "command")
_ACCESS: Final = ("at", "event", "subject_id", "what", "client_id", "by", "readers")
_UNUSED: Final = ("kind", "name", "client", "since", "command")
_PATH: Final = re.compile("^kv/clients/[^/]+/")  # the client has a column of its own
_STYLE: Final = (
    "body{font:11pt sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #888;padding:.3em .6em;text-align:left;vertical-align:top}.line{margin-top:3em}"
    "thead{display:table-header-group}tr{break-inside:avoid}td:first-child{white-space:nowrap}"
    "@page{margin:2cm;@bottom-right{content:counter(page) ' of ' counter(pages)}}"
)


@app.command
def daily(*, page: Path | None = None) -> int:
    """Check the store, its audit devices, disks, leaks and usage, as they are now.

    Exit codes: 0 every item is ok, 1 an item failed, 4 an item could not be checked.

    Example: byokeep checklist daily

    Args:
        page: Also write the checklist to this new file, as HTML to print.
    """
    return _fill("daily", page)


@app.command
def weekly(*, page: Path | None = None) -> int:
    """List what is due, what has become accessible since the last review, and what nobody used.

    Exit codes: 0 every item is ok, 1 an item failed, 4 an item could not be checked.

    Example: byokeep checklist weekly --page review.html

    Args:
        page: Also write the checklist to this new file, as HTML to print.
    """
    return _fill("weekly", page)


@app.command
def monthly(*, page: Path | None = None) -> int:
    """Check that a recovery drill has passed in time, and that the platform's own secrets were rotated.

    Exit codes: 0 every item is ok, 1 an item failed, 4 an item could not be checked.

    Example: byokeep checklist monthly

    Args:
        page: Also write the checklist to this new file, as HTML to print.
    """
    return _fill("monthly", page)


@app.command
def sign(kind: Kind, *, seen: str, ticket: list[str] | None = None, period: str | None = None) -> None:
    """Sign off a checklist as you saw it. An item that is not ok needs a ticket; a missed period stays missed.

    Example: byokeep checklist sign daily --seen $DIGEST --ticket leak_scan=OPS-12

    Args:
        kind: Which checklist.
        seen: The digest that was printed with the checklist.
        ticket: For an item that is not ok, the ticket that deals with it: ITEM=TICKET. Repeat the option as needed.
        period: First day of the day, week or month; only the current one can be signed.
    """
    tickets = dict(one.partition("=")[::2] for one in ticket or [])
    if len(tickets) < len(ticket or []):
        raise Rejected("bad_ticket", next_step="An item has two tickets: name only the one that deals with it.")
    if not re.fullmatch("[0-9a-f]{64}", seen):
        raise Rejected("bad_digest", next_step=f"Give the whole digest that `byokeep checklist {kind}` printed.")
    step = "Give the first day of the period, such as 2026-01-31, or leave it out."
    with refusing("bad_date", Rejected, on=ValueError, next_step=step):
        date.fromisoformat(period or "2026-01-01")
    if not all(tickets.values()):
        raise Rejected("bad_ticket", next_step="Write each as ITEM=TICKET, such as leak_scan=OPS-12.")
    body = {"checklist": kind, "seen": seen, "tickets": tickets, "period": period or None}
    signed = run(call("POST", "/v1/checklists/sign", body=body))
    tell({name: signed[name] for name in ("checklist", "period", "signed_at", "signed_by", "digest")}, title="Signed")


@app.command(name="list")
def list_(kind: Kind | None = None) -> None:
    """List the last days, weeks and months: signed off and by whom, missed, or still to do.

    Example: byokeep checklist list weekly

    Args:
        kind: Only this checklist.
    """
    found = run(call("GET", "/v1/checklists"))
    shown = {one: rows for one, rows in found.items() if kind in (None, one)}
    columns = ("checklist", "period", "state", "signed_by", "signed_at", "not_ok")
    rows = [{"checklist": one} | row | ({} if row["signed_at"] else {"not_ok": None})
            for one, periods in shown.items() for row in periods]  # fmt: skip
    tell_all(shown, Listing(rows, "Checklists", columns))


def _fill(kind: Kind, page: Path | None) -> int:
    keep = None if page is None else new_file(page)
    found = run(call("POST", "/v1/checklists/fill", body={"checklist": kind}))
    access = [one | {"subject_id": one["object_id"] if one["kind"] == "role" else None,
                     "what": _PATH.sub("", one["what"])} for one in found["access"]]  # fmt: skip
    items = [{"item": one["name"], "found": _figures(one["figures"]), **one} for one in found["items"]]
    bad = [one for one in items if one["state"] != "ok"]
    if keep is not None:
        keep(_page(found, items, access).encode())
        say(f"Written: {page}")
    steps = [f"{one['item']}: {one['next_step']}" for one in bad]
    if found["signed_at"] is not None:
        by = names(ids_of([found])).get(found["signed_by"], found["signed_by"])
        steps.append(f"It was signed by {by}, {clean(found['signed_at'])}.")
    elif GRANTS[Verb.CHECKLIST_SIGN].intersection(run(call("GET", "/v1/self"))["roles"]):
        tickets = "".join(f" --ticket {one['item']}=TICKET" for one in bad)
        steps.append(f"To sign off what you see: {again(f'checklist sign {kind} --seen ' + found['digest'] + tickets)}")
    else:
        steps.append("An admin, an operator or an auditor signs it off.")
    tell_all(
        found, Listing(found["due"] or None, "Due within 14 days", _DUE),
        Listing(access or None, "New since the last review", _ACCESS),
        Listing(found["unused"] or None, "Not used for 90 days", _UNUSED),
        Listing(items, f"{kind.capitalize()} checklist, {found['period']}", _ITEMS, "\n".join(steps)),
    )  # fmt: skip
    if any(one["state"] == "failed" for one in bad):
        return FOUND
    return UNKNOWN if bad or not items else CLEAN


def _figures(figures: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def _page(
    found: Mapping[str, Any], items: Sequence[Mapping[str, Any]], access: Sequence[Mapping[str, Any]]
) -> str:  # fmt: skip
    """Return the checklist as one HTML document."""
    known = names(ids_of([found, *access]))
    who = known.get(found["signed_by"], found["signed_by"])
    by = f"{who}, {clean(found['signed_at'])}" if found["signed_at"] else "_" * 50
    span = {"daily": "", "weekly": "week from ", "monthly": "month from "}[found["checklist"]]
    title = f"{found['checklist'].capitalize()} checklist, {span}{found['period']}"
    lists = (("Due", _DUE, found["due"]), ("New since the last review", _ACCESS, access),
             ("Not used for 90 days", _UNUSED, found["unused"]))  # fmt: skip
    at = f"Installation at {escape(web_url().partition('://')[2])}, looked at {clean(found['made_at'])}"
    at += f" by {escape(clean(run(call('GET', '/v1/self')).get('name')))}"
    rows = [{"ticket": None, **one} for one in items]
    parts = [f"<h1>{escape(title)}</h1><p>{at}</p>", _table((*_ITEMS, "next_step", "ticket"), rows, known)]
    parts += [f"<h2>{head}</h2>{_table(columns, rows, known)}" for head, columns, rows in lists if rows]
    parts.append(f"<p>Digest {found['digest']}</p><p class=line>Signed, date: {escape(by)}</p>")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f"<!DOCTYPE html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], known: Mapping[str, str]) -> str:
    head = "".join(f"<th>{escape(name.removesuffix('_id').replace('_', ' '))}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_shown(row[name], known)}</td>" for name in columns) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(value: Any, known: Mapping[str, str]) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(one, known) for one in value)
    return "" if value is None else re.sub("`(.+?)`", r"<code>\1</code>", escape(clean(known.get(value, value))))
