"""The portable packing: a session as one JSON document, version 1, that any clean Chromium takes.

Holds cookies (session-only ones included), localStorage, sessionStorage and IndexedDB, by origin. Not held: service
workers and their caches, the HTTP cache, permissions, files of a site; a page registers its worker again by itself.

Rules
- The reader refuses what the writer would not write: an unknown field, another type, a repeated name, an odd origin.
- The text is a session: it exists as a :class:`Secret` or inside the browser, and has no readable ``repr``.
- The digest says whether a session moved, and nothing of what is in it: it is keyed, or over the whole.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from byokeep.core.errors import Integrity, Rejected
from byokeep.core.secret import Secret
from byokeep.core.strict_json import read_json

FORMAT: Final = "byokeep-browser-state"
VERSION: Final = 1
MOST_BYTES: Final = 64 * 1024 * 1024
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")
_SAME_SITE: Final = frozenset({"Strict", "Lax", "None"})
_MAX_EXPIRES: Final = 253_402_300_799  # the end of the year 9999, in seconds

Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class PortableState:
    """A session. Cookies and origins are in the form that Playwright takes them, sorted."""

    cookies: tuple[Mapping[str, Any], ...] = field(repr=False)
    origins: tuple[Mapping[str, Any], ...] = field(repr=False)

    @property
    def session_only(self) -> int:
        """How many cookies live as long as the browser does."""
        return sum(one["expires"] == -1 for one in self.cookies)

    def visited(self) -> tuple[str, ...]:
        """Return the origins that hold something."""
        return tuple(one["origin"] for one in self.origins)

    def for_browser(self) -> dict[str, Any]:
        """Return what Playwright's `set_storage_state` takes: all but what lives in one tab."""
        bare = [{name: one[name] for name in one if name != "sessionStorage"} for one in self.origins]
        return {"cookies": [dict(one) for one in self.cookies], "origins": bare}


def state_of(cookies: Iterable[Mapping[str, Any]], origins: Iterable[Mapping[str, Any]]) -> PortableState:
    """Return the state of what a browser said, in order.

    Raises:
        Rejected: ``state_not_portable``: the browser holds something of a form that this version can not carry.
    """
    state = _in_order(cookies, origins)
    if not _is_state(state):
        raise Rejected("state_not_portable", next_step="Pack the whole profile instead.")
    return state


def written(state: PortableState) -> Secret:
    """Return the document. Raises Rejected(``state_too_large``)."""
    text = _canonical(state)
    if len(text) > MOST_BYTES:
        raise Rejected("state_too_large", next_step="Pack the whole profile instead.", bytes=len(text))
    return Secret(text)


def read(document: Secret) -> PortableState:
    """Return the state in a document that :func:`written` wrote.

    Raises:
        Integrity: ``state_damaged``.
    """
    try:
        text = document.reveal()
        if len(text) > MOST_BYTES:
            raise ValueError
        top = read_json(text)
        if not (isinstance(top, dict) and set(top) == {"format", "version", "cookies", "origins"}):
            raise ValueError
        if top["format"] != FORMAT or type(top["version"]) is not int or top["version"] != VERSION:
            raise ValueError
        state = PortableState(tuple(top["cookies"]), tuple(top["origins"]))
        if not _is_state(state) or _in_order(state.cookies, state.origins) != state or _canonical(state) != text:
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise Integrity("state_damaged") from None
    return state


def digest(state: PortableState, key: Secret | None = None) -> str:
    """Return SHA-256 of the session in hex, or HMAC-SHA-256 under `key`. Equal for equal sessions alone."""
    text = _canonical(state)
    if key is None:
        return hashlib.sha256(text).hexdigest()
    return hmac.new(key.reveal(), text, hashlib.sha256).hexdigest()


def _in_order(cookies: Iterable[Mapping[str, Any]], origins: Iterable[Mapping[str, Any]]) -> PortableState:
    jar = [{**one, "expires": _whole(one.get("expires"))} for one in cookies]
    places = sorted((_sorted_origin(one) for one in origins), key=lambda one: str(one.get("origin")))
    return PortableState(tuple(sorted(jar, key=_cookie_order)), tuple(places))


def _canonical(state: PortableState) -> bytes:
    document = {"format": FORMAT, "version": VERSION, "cookies": state.cookies, "origins": state.origins}
    # ASCII: a page may store half a surrogate pair, which has no UTF-8.
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _cookie_order(one: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(one.get(name, "")) for name in ("domain", "path", "name", "partitionKey"))


def _sorted_origin(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **one,
        **{
            name: sorted(one.get(name, []), key=lambda item: json.dumps(item.get("name", "")))
            for name in ("localStorage", "sessionStorage", "indexedDB")
        },
    }


def _whole(expires: Any) -> Any:
    """Chromium counts in microseconds and gives a fraction back that is not always the same."""
    return int(expires) if isinstance(expires, float) else expires


def _is_state(state: PortableState) -> bool:
    names = [one.get("origin") if isinstance(one, dict) else None for one in state.origins]
    return all(map(_is_cookie, state.cookies)) and all(map(_is_origin, state.origins)) and len(set(names)) == len(names)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return type(value) is bool


def _number(value: Any) -> bool:
    return type(value) is int and 0 < value <= 2**53


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _shaped(value: Any, needed: Mapping[str, Check], may: Mapping[str, Check] | None = None) -> bool:
    if not isinstance(value, dict) or not set(needed) <= set(value):
        return False
    known = {**needed, **(may or {})}
    return all(name in known and known[name](content) for name, content in value.items())


def _is_expires(value: Any) -> bool:
    return type(value) is int and (value == -1 or 0 <= value <= _MAX_EXPIRES)


def _is_cookie(value: Any) -> bool:
    return _shaped(
        value,
        {"name": _text, "value": _text, "domain": _text, "path": _text, "expires": _is_expires, "httpOnly": _flag,
         "secure": _flag, "sameSite": lambda said: said in _SAME_SITE},
        {"partitionKey": _text, "_crHasCrossSiteAncestor": _flag},
    )  # fmt: skip


def _is_item(value: Any) -> bool:
    return _shaped(value, {"name": _text, "value": _text})


def _is_index(value: Any) -> bool:
    return _shaped(
        value, {"name": _text, "multiEntry": _flag, "unique": _flag}, {"keyPath": _text, "keyPathArray": _texts}
    )


def _anything(value: Any) -> bool:
    return True


def _is_record(value: Any) -> bool:
    return (
        _shaped(value, {}, dict.fromkeys(("key", "keyEncoded", "value", "valueEncoded"), _anything))
        and ("value" in value) != ("valueEncoded" in value)
        and not ("key" in value and "keyEncoded" in value)
    )


def _is_store(value: Any) -> bool:
    return _shaped(
        value,
        {"name": _text, "autoIncrement": _flag, "indexes": _list_of(_is_index), "records": _list_of(_is_record)},
        {"keyPath": _text, "keyPathArray": _texts},
    )


def _is_database(value: Any) -> bool:
    return _shaped(value, {"name": _text, "version": _number, "stores": _list_of(_is_store)})


def _is_origin(value: Any) -> bool:
    items = _list_of(_is_item)
    return _shaped(
        value,
        {"origin": lambda said: isinstance(said, str) and bool(_ORIGIN.match(said)), "localStorage": items,
         "sessionStorage": items, "indexedDB": _list_of(_is_database)},
    )  # fmt: skip
