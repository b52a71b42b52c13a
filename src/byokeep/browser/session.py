"""The portable packing: a session as one JSON document that any clean Chromium takes; taken out, put back, ended.

It holds cookies (session-only ones included), localStorage, sessionStorage and IndexedDB, by origin. It does not hold
service workers and their caches, the HTTP cache, permissions or a site's files; a page registers its worker again.

Rules
- The reader refuses what the writer would not write: an unknown field, another type, a repeated name, an odd origin.
  The text is a session: it exists as a :class:`Secret` or inside the browser, and has no readable ``repr``. The digest
  shows whether a session changed, and nothing of its content: it is keyed, or over the whole.
- Taking a session out is the last thing done with a browser. It walks the working tab through the origins, answered by
  an empty page of ours. No byte goes to the network, no script of a site runs, and its service workers are bypassed. It
  takes what tabs were at, and frames of the same sites; frames of others (advertisements) are emptied instead.
- What Playwright would silently leave out or change refuses the packing, and so does too much of it. Both are checked
  inside the page (``weigh.js``), one record after the other and no further than there is room. An error names the
  origin and one of our own words, never what was found.
- A session goes only into a clean browser, and into one tab: sessionStorage belongs to :attr:`Running.page`.
- A session is ended at the platform, and that is proved by use. It is called `revoked` only if the old session, put
  back, is refused, and was let in just before, put back in the same way, as the account that it must be: another's
  could have been sealed in its place. It is shown twice beforehand: one that was
  restored in part, or wears out by being shown, is refused although it lives on. If a platform has no logout that we
  know, or the end cannot be proved, the result says so. Whatever the result, nothing of the session stays in this
  browser.

It may act on a page only to log out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from playwright.async_api import Error, Page, Route, StorageState

from byokeep.browser.identify import IdentityOutcome, PageIdentity, from_network, identify, look
from byokeep.browser.launch import Running, resource, same_site
from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.core.vault_incident import SessionEnd
from byokeep.platforms.website import SitePlace, Website

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

    def visited(self) -> tuple[str, ...]:
        """Return the origins that hold something."""
        return tuple(one["origin"] for one in self.origins)

    def for_browser(self) -> dict[str, Any]:
        """Return what Playwright's `set_storage_state` takes: everything except what lives in one tab."""
        bare = [{name: one[name] for name in one if name != "sessionStorage"} for one in self.origins]
        return {"cookies": [dict(one) for one in self.cookies], "origins": bare}


def state_of(cookies: Iterable[Mapping[str, Any]], origins: Iterable[Mapping[str, Any]]) -> PortableState:
    """Return the state from what a browser said, in order.

    Raises:
        Rejected: ``state_not_portable``: the browser holds something of a form that this version cannot carry.
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
    with refusing("state_damaged"):
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
    # ASCII: a page may store half a surrogate pair, which has no UTF-8 form.
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
    """Round a time: Chromium counts in microseconds and returns a fraction that varies."""
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


def _shape(needed: Mapping[str, Check], may: Mapping[str, Check] | None = None) -> Check:
    known = {**needed, **(may or {})}

    def check(value: Any) -> bool:
        names = isinstance(value, dict) and set(needed) <= set(value) <= set(known)
        return names and all(known[name](content) for name, content in value.items())

    return check


def _is_expires(value: Any) -> bool:
    return type(value) is int and (value == -1 or 0 <= value <= _MAX_EXPIRES)


def _anything(value: Any) -> bool:
    return True


_record: Final = _shape({}, dict.fromkeys(("key", "keyEncoded", "value", "valueEncoded"), _anything))


def _is_record(value: Any) -> bool:
    kept = _record(value) and ("value" in value) != ("valueEncoded" in value)
    return kept and not ("key" in value and "keyEncoded" in value)


_path: Final = {"keyPath": _text, "keyPathArray": _texts}
_index: Final = _shape({"name": _text, "multiEntry": _flag, "unique": _flag}, _path)
_store: Final = _shape(
    {"name": _text, "autoIncrement": _flag, "indexes": _list_of(_index), "records": _list_of(_is_record)}, _path
)
_database: Final = _shape({"name": _text, "version": _number, "stores": _list_of(_store)})
_items: Final = _list_of(_shape({"name": _text, "value": _text}))
_is_cookie: Final = _shape(
    {"name": _text, "value": _text, "domain": _text, "path": _text, "expires": _is_expires, "httpOnly": _flag,
     "secure": _flag, "sameSite": lambda said: said in _SAME_SITE},
    {"partitionKey": _text, "_crHasCrossSiteAncestor": _flag},
)  # fmt: skip
_is_origin: Final = _shape(
    {"origin": lambda said: isinstance(said, str) and bool(_ORIGIN.match(said)), "localStorage": _items,
     "sessionStorage": _items, "indexedDB": _list_of(_database)},
)  # fmt: skip


DEEPEST: Final = 100  # nested lists and objects; the browser's protocol gives up at some three hundred
_WEIGH: Final = resource("weigh.js")


async def weighed(page: Page, origin: str, *, most: int) -> int:
    """Return how many bytes are held by the origin that a tab is at.

    Args:
        page: On an empty page of `origin`, where no script of the site runs.
        most: How many bytes there is room for.

    Raises:
        Rejected: ``state_not_portable``, ``state_too_large``, with ``origin`` and ``found``.
    """
    said = await page.evaluate(_WEIGH, {"most": most, "deepest": DEEPEST})
    word = said.get("word")
    if word is None:
        return int(said["weight"])
    code = "state_too_large" if word == "many" else "state_not_portable"
    raise Rejected(code, next_step="Pack the whole profile instead.", origin=origin, found=word)


_MOST_ORIGINS: Final = 200
_EMPTY: Final = "<!doctype html><title></title>"
_TAB: Final = "() => Object.keys(sessionStorage).map(name => ({name, value: sessionStorage.getItem(name)}))"
_FILL_TAB: Final = "items => { for (const one of items) sessionStorage.setItem(one.name, one.value); }"


async def taken(running: Running, *, also: Iterable[str] = ()) -> PortableState:
    """Return the session of a running browser.

    Args:
        also: Origins that hold something but were not visited in this run: those of the last packing.

    Raises:
        Rejected: ``state_not_portable``, ``state_too_large``, with the origin and what was found there;
            ``too_many_origins``.
        Unavailable: ``browser_failed``.
    """
    own = {*running.visited, *also}
    foreign = {one for one in running.framed - own if not any(map(partial(same_site, one), own))}
    origins = sorted({*own, *running.framed} - foreign)
    if len(origins) > _MOST_ORIGINS:
        raise Rejected("too_many_origins", next_step="Pack the whole profile instead.", origins=len(origins))
    async with _failing("browser_failed"):
        tabs: dict[str, list[dict[str, str]]] = {}
        weight = 0
        await emptied(running.page, foreign)
        async with _empty_pages(running.page) as visit:
            for origin in origins:
                await visit(origin)
                weight += await weighed(running.page, origin, most=MOST_BYTES - weight)
                tabs[origin] = await running.page.evaluate(_TAB)
        said = await running.context.storage_state(indexed_db=True)
        return state_of(cast("list[dict[str, Any]]", said["cookies"]), _origins(said, tabs))


async def restored(running: Running, state: PortableState) -> None:
    """Put a session into a browser that holds none; cookies that have expired meanwhile are left out.

    Raises:
        Conflict: ``profile_not_clean``: something is already in it.
        Unavailable: ``browser_failed``.
    """
    async with _failing("browser_failed"):
        if await running.context.cookies() or running.visited or running.framed:
            raise Conflict("profile_not_clean", next_step="Restore into a new directory.")
        document = state.for_browser()
        now = time.time()
        document["cookies"] = [one for one in document["cookies"] if one["expires"] == -1 or one["expires"] > now]
        await running.context.set_storage_state(cast("StorageState", document))
        async with _empty_pages(running.page) as visit:
            for one in state.origins:
                if one["sessionStorage"]:
                    await visit(one["origin"])
                    await running.page.evaluate(_FILL_TAB, one["sessionStorage"])


async def emptied(page: Page, origins: Iterable[str]) -> None:
    """Leave nothing stored for these origins. Raises playwright.async_api.Error, TimeoutError."""
    async with asyncio.timeout(_STEP_S):  # a page whose script never ends hears nothing
        session: Any = await page.context.new_cdp_session(page)
    for origin in sorted(origins):
        async with asyncio.timeout(_STEP_S):
            await session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    async with asyncio.timeout(_STEP_S):
        await session.detach()


def _origins(said: Any, tabs: dict[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    found = {one["origin"]: {**one, "sessionStorage": tabs.get(one["origin"], [])} for one in said["origins"]}
    for origin, items in tabs.items():
        if items and origin not in found:
            found[origin] = {"origin": origin, "localStorage": [], "indexedDB": [], "sessionStorage": items}
    return list(found.values())


@contextlib.asynccontextmanager
async def _empty_pages(page: Page) -> AsyncIterator[Any]:
    """Yield a function that takes `page` to an origin without asking the network."""

    async def empty(route: Route) -> None:
        await route.fulfill(body=_EMPTY, content_type="text/html")

    async def visit(origin: str) -> None:
        await page.goto(origin + "/", wait_until="load")

    # A service worker would answer instead of us, with a page of the site and its scripts.
    async with asyncio.timeout(_STEP_S):
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        await session.send("Network.setBypassServiceWorker", {"bypass": True})

    async def left() -> None:
        async with asyncio.timeout(_STEP_S):  # a page may loop as one leaves it
            await page.unroute("**/*", empty)
            await session.send("Network.setBypassServiceWorker", {"bypass": False})
            await session.detach()

    await page.route("**/*", empty)
    try:
        yield visit
        await page.goto("about:blank")
    except BaseException:  # which says more than what comes now
        with contextlib.suppress(Error, TimeoutError):
            await left()
        raise
    await left()


@contextlib.asynccontextmanager
async def _failing(code: str) -> AsyncIterator[None]:
    try:
        yield
    except ByokeepError:
        raise
    except Exception:  # Playwright's text holds addresses and values of the page
        raise Unavailable(code) from None


_STEP_S: Final = 15.0
_TAKEN_S: Final = 5.0
_SHOWN_BEFORE: Final = 2


async def logged_out(
    running: Running, website: Website, place: SitePlace, session: PortableState, account_id: str
) -> SessionEnd:
    """End `session`, which was taken out of this browser, whoever it is, and clear the browser.

    Returns ``revoked`` if it was the account's and was refused when shown again; ``unsupported``: no way to end it;
    ``failed``: not proved, as is that of another account.

    Raises:
        Unavailable: ``browser_not_cleared``: something may be left; close it and wipe its directory.
    """
    ended = SessionEnd.FAILED
    try:
        if website.logout is None:
            ended = SessionEnd.UNSUPPORTED
        elif await _ended(running, website, place, session, account_id):
            ended = SessionEnd.REVOKED
    finally:
        await _cleared(running, session)
    return ended


async def _ended(running: Running, website: Website, place: SitePlace, session: PortableState, account_id: str) -> bool:
    """Whether the session was let in as the account before the logout, and is refused after it."""
    ours = True
    try:
        for _ in range(_SHOWN_BEFORE):
            seen = await _shown(running, website, place, session)
            if seen.outcome is IdentityOutcome.LOGGED_OUT:
                return False  # nothing is let in that could be ended
            ours = ours and seen.face is not None and seen.face.account_id == account_id
        # Not seen to be ours, it ends all the same: a website may call our account by another id. Only a plain "log in"
        # is a refusal.
        return (
            await _left(running.page, website, place)
            and (await _shown(running, website, place, session)).outcome is IdentityOutcome.LOGGED_OUT
            and ours
        )
    except (Error, Conflict, Unavailable):
        return False


async def _shown(running: Running, website: Website, place: SitePlace, session: PortableState) -> PageIdentity:
    """Put the session into the browser as an opening does, and say what the platform makes of it."""
    await _cleared(running, session)
    await restored(running, session)
    return await identify(running.page, website, place)


async def _left(page: Page, website: Website, place: SitePlace) -> bool:
    """Go through the logout; returns whether every step of it was there."""
    logout = website.logout
    if logout is None:
        return False
    try:
        async with from_network(page, website, place):
            await page.goto(place.at(logout.page), wait_until="load", timeout=_STEP_S * 1000)
            for selector in logout.clicks:
                await page.locator(selector).click(timeout=_STEP_S * 1000)
            # A click returns before its request has left; the page shows when the site has accepted it.
            until = asyncio.get_running_loop().time() + _TAKEN_S
            while (await look(page, website, place)).outcome is not IdentityOutcome.LOGGED_OUT:
                if asyncio.get_running_loop().time() > until:
                    break
                await asyncio.sleep(0.1)
    except (Error, TimeoutError):
        return False
    return True


async def _cleared(running: Running, session: PortableState) -> None:
    """Leave nothing in the browser: no cookie, no storage, no tab that ran a page."""
    try:
        page = await running.context.new_page()
        for old in running.context.pages:
            if old is not page:
                await old.close()
        await running.context.clear_cookies()
        await emptied(page, {*running.visited, *running.framed, *session.visited()})
        if await running.context.cookies():
            raise Unavailable("browser_not_cleared")
        running.visited.clear()
        running.framed.clear()
    except Unavailable:
        raise
    except Exception:  # whatever happened, it is not known to be gone
        raise Unavailable("browser_not_cleared") from None
