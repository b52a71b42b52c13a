"""Names in the place of ids, where a person reads.

Rules
- ``--json`` gets ids as they came. Without an answer to the question the ids are shown.
- The server is asked for names of ids that it just sent; a machine's token asks nothing, for it may not.
- A command that may have ended the token it was given asks with the new one: an ended token shown again is an alarm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from byokeep.cli.api import call, own_token, run
from byokeep.cli.terminal import session, show
from byokeep.core.errors import ByokeepError
from byokeep.core.secret import Secret

_SHOWN_AS: Final = {
    "client_id": "client", "object_id": "object", "subject_id": "subject", "dispatcher_id": "dispatcher",
    "runner_id": "runner", "actor": "actor", "object": "object", "scope": "scope", "clients": "clients",
    "client": "client", "by": "by", "asked_by": "asked_by", "changed_by": "changed_by", "closed_by": "closed_by",
    "confirmed_by": "confirmed_by", "created_by": "created_by", "opened_by": "opened_by", "sealed_by": "sealed_by",
    "requested_by": "requested_by", "session_by": "session_by", "set_by": "set_by", "started_by": "started_by",
    "what": "what",
}  # fmt: skip
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST: Final = 300  # ids in one question
_OF_MACHINES: Final = (b"bkd_", b"bkr_", b"bkc_")


def tell(
    data: Any, *, title: str = "", columns: Sequence[str] = (), note: str = "", token: Secret | None = None
) -> None:
    """Print a result as :func:`byokeep.cli.terminal.show` does, with names. ``columns`` are those of the result.

    Args:
        token: Asks for the names; the caller's own unless it is given.
    """
    if session().as_json:
        show(data)
        return
    rows = [data] if isinstance(data, Mapping) else list(data)
    names = _ask(sorted({one for row in rows for one in _ids(row)})[:_MOST], token)
    told = [_named(row, names) for row in rows]
    wanted = tuple(_SHOWN_AS.get(name, name) for name in columns)
    show(told[0] if isinstance(data, Mapping) else told, title=title, columns=wanted, note=note)


def _ids(row: Mapping[str, Any]) -> Iterator[str]:
    for field in _SHOWN_AS:
        value = row.get(field)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield from _ID.findall(text)


def _ask(ids: list[str], token: Secret | None) -> Mapping[str, str]:
    try:
        asks = own_token() if token is None else token
        if not ids or asks.reveal().startswith(_OF_MACHINES):
            return {}
        found: Mapping[str, str] = run(call("POST", "/v1/names", body={"ids": ids}, token=asks))["names"]
    except (ByokeepError, TypeError, KeyError):
        return {}
    return found


def _named(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for field, value in row.items():
        shown_as = _SHOWN_AS.get(field)
        if shown_as is None:
            told[field] = value
        elif shown_as == field or shown_as not in row:
            told[shown_as] = _name(value, names)
    return told


def _name(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_name(one, names) for one in value]
    if not isinstance(value, str):
        return value
    # A scope is words with an id in it: client:ID:platform:x
    return _ID.sub(lambda found: names.get(found[0], found[0]), value)
