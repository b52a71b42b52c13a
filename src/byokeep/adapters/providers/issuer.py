"""The calls that make, list and end a provider's keys and report its account's usage, by the table ``rotation.api`` of
its data file.

Rules
- One request for one act, never repeated here: a mint whose reply was lost may have made a key. The key has the name
  that the mint asked for, so whoever asks looks for that name first. Only the value of a key that is still being made
  is asked for again.
- The administrator's key goes to the provider's own host in one header. Paths are of a closed alphabet.
- What is minted leaves as a Secret. Of a reply nothing else is kept but ids, names and masked labels.
- Keys are listed to the end, or not at all: from a part of them nobody can tell which one is meant.
- Usage is returned for every page, or not at all. A field that is missing or not a number voids the answer.
- A key that is not there counts as ended: only a call with the key proves that it is.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from byokeep.adapters.providers.descriptor import NAMED, IssuingApi, IssuingCall, ProviderDescriptor
from byokeep.adapters.providers.identify import resolve
from byokeep.core.canonical import read_json
from byokeep.core.errors import Conflict, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.kernel.ports import MintedKey, ProviderKey, ProviderUsage
from byokeep.wire.transport import Outbound, Watch, failing, read_body

_MOST: Final = 1 << 20
_WITHIN: Final = aiohttp.ClientTimeout(total=15, ceil_threshold=math.inf)
_MASK: Final = re.compile(r"[.*\u2026]+")
_SHOWN: Final = 6  # characters that a masked label shows at least, beyond what all keys begin with
_PAGES: Final = 50
_BEING_MADE_S: Final = (0.5, 1.0, 2.0, 4.0)  # pauses until a key that is made in the background is there
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")


class ProviderIssuer:
    """Keys of the providers whose data file has these calls.

    Args:
        descriptors: By provider.
        urls: Configured overrides of addresses, for simulators.
        allow_loopback: Whether an override may be a loopback address; never in production.
    """

    def __init__(
        self, descriptors: Mapping[str, ProviderDescriptor], http: Outbound, *, urls: Mapping[str, str],
        allow_loopback: bool,
    ) -> None:  # fmt: skip
        self._descriptors, self._http, self._urls, self._loopback = descriptors, http, urls, allow_loopback

    async def mint(self, provider: str, admin: Secret, name: str, place: Mapping[str, str]) -> MintedKey:
        """Make a key with a name.

        Raises:
            Unavailable: ``provider_admin_unreachable``: not made, or not known whether.
            Conflict: ``admin_key_refused``, ``provider_admin_garbage``.
        """
        api = self._api(provider)
        if api.mint is None:
            raise Conflict("provider_mints_no_keys")
        reply = await self._call(provider, admin, api.mint, {**place, "name": name})
        key_id = name if api.value is not None else _text(reply, api.mint.id)
        if api.value is not None:
            reply = await self._shown(provider, admin, api.value, {**place, "id": key_id})
        value = _text(reply, (api.value or api.mint).value)
        life_s = int(api.mint.body[api.mint.life]) if api.mint.life else None
        return MintedKey(id=key_id, value=Secret(value), life_s=life_s)

    async def _shown(
        self, provider: str, admin: Secret, call: IssuingCall, known: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Ask for the value of a key that is still being made: to begin again would end it and make another one."""
        for pause_s in _BEING_MADE_S:
            try:
                return await self._call(provider, admin, call, known)
            except Unavailable as error:
                if error.fields.get("status") != 404:
                    raise
            await asyncio.sleep(pause_s)
        return await self._call(provider, admin, call, known)

    async def keys(self, provider: str, admin: Secret, place: Mapping[str, str]) -> list[ProviderKey]:
        """Return the account's keys as the provider lists them, of every page.

        Raises:
            Conflict: ``keys_not_all_listed``: there are more pages than are asked for; and as :meth:`mint`.
            Unavailable: As :meth:`mint`.
        """
        call, found, query = self._api(provider).list, list[ProviderKey](), dict[str, str]()
        for _ in range(_PAGES):
            reply = await self._call(provider, admin, call, place, query=query)
            rows = _at(reply, call.items)
            rows = [] if rows is None and call.omits else rows
            more = _at(reply, call.more) if call.more else bool(rows)
            if not isinstance(rows, list) or (more and not rows and not isinstance(more, str)):
                raise Conflict("provider_admin_garbage")
            found += [
                ProviderKey(
                    id=_text(row, call.id).rpartition("/")[2], name=_said(row, call.name), hint=_said(row, call.hint)
                )
                for row in rows
            ]  # fmt: skip
            if not more:
                return found
            query = {call.page: more if isinstance(more, str) else found[-1].id if call.more else str(len(found))}
        raise Conflict("keys_not_all_listed", next_step="End old keys on the provider's page, then resume.")

    async def find(
        self, provider: str, admin: Secret, value: Secret, place: Mapping[str, str], others: Sequence[Secret] = ()
    ) -> str:
        """Return the id of the one key whose masked label fits a value and none of the others; empty: cannot be told.

        Raises as :meth:`keys`.
        """
        text, *rest = (one.reveal().decode("ascii", "replace") for one in (value, *others))
        public = re.match(self._api(provider).public, text)
        least = _SHOWN + (public.end() if public else 0)
        found = [key for key in await self.keys(provider, admin, place) if _fits(key.hint, text, least)]
        if len(found) != 1 or any(_fits(found[0].hint, other, 0) for other in rest):
            return ""
        return found[0].id

    async def revoke(self, provider: str, admin: Secret, key_id: str, place: Mapping[str, str]) -> None:
        """End a key. Raises as :meth:`mint`."""
        await self._call(provider, admin, self._api(provider).revoke, {**place, "id": key_id}, missing=True)

    async def usage(
        self, provider: str, admin: Secret, place: Mapping[str, str], since: datetime, until: datetime
    ) -> ProviderUsage:
        """Return what the account used in a span of time.

        Raises:
            Conflict, Unavailable: As :meth:`keys`; ``usage_not_all_told``; ``usage_not_allowed``.
        """
        call = self._api(provider).usage
        if call is None:
            raise Conflict("provider_has_no_calls")
        told = {name: str(int(at.timestamp())) if call.unix else at.strftime("%Y-%m-%dT%H:%M:%SZ")
                for name, at in ((call.since, since), (call.until, until)) if name}  # fmt: skip
        query, buckets, counted = told, set[datetime](), Counter[tuple[str, datetime]]()
        cost = Counter[tuple[str, datetime]]() if call.cost else None
        for _ in range(_PAGES):
            reply = await self._call(provider, admin, call, place, query=query)
            for bucket in _listed(reply, call.items):
                begins = _begins(_at(bucket, call.id))
                buckets.add(begins)
                for row in _listed(bucket, call.rows) if call.rows else [bucket]:
                    counted[_said(row, call.name), begins] += sum(_whole(row, one) for one in call.value.split(","))
                    if cost is not None:
                        cost[_said(row, call.name), begins] += _millionths(row, call.cost)
            more = _said(reply, call.more) if call.more else ""
            if not more:
                at = datetime.fromtimestamp(since.timestamp() // call.width_s * call.width_s, UTC)
                while call.sparse and at < until:
                    buckets.add(at)
                    at += timedelta(seconds=call.width_s)
                return ProviderUsage(
                    unit=call.unit,
                    width_s=call.width_s,
                    back=call.sparse,
                    buckets=frozenset(buckets),
                    counted=counted,
                    cost=cost,
                )
            query = {**told, call.page: more}
        raise Conflict("usage_not_all_told", next_step="Ask for a shorter span.")

    def _api(self, provider: str) -> IssuingApi:
        api = self._descriptors[provider].rotation.api
        if api is None:
            raise Conflict("provider_has_no_calls")
        return api

    async def _call(
        self,
        provider: str,
        admin: Secret,
        call: IssuingCall,
        known: Mapping[str, str],
        *,
        missing: bool = False,
        query: Mapping[str, str] = _NOTHING,
    ) -> Mapping[str, Any]:
        descriptor, api = self._descriptors[provider], self._api(provider)
        method, _, path = _filled(call.call, known).partition(" ")
        path += "&?"["?" not in path] + urlencode(query) if query else ""
        at = replace(descriptor, base_url=f"https://{api.host}", path=path, query={})
        url, loopback = resolve(at, self._urls.get(provider), allow_loopback=self._loopback)
        key = admin.reveal().decode("ascii", "strict")
        headers = {**descriptor.extra_headers, api.header: api.prefix + key, "content-type": "application/json"}
        body = json.dumps(_body(call, known)).encode()
        data = body if method in ("POST", "PATCH") else None
        unreachable = "provider_admin_unreachable"
        with failing(unreachable, unreachable, unreachable, "provider_admin_garbage"):
            asking = self._http.ask(
                method, url, headers=headers, loopback=loopback, watch=Watch(), within=_WITHIN, data=data
            )
            async with asking as reply:
                status, read = reply.status, await read_body(reply, _MOST)
        try:
            document = read_json(read) if read.strip() else {}
        except ValueError:
            document = None
        # A provider says why it refuses: a bare status may be somebody's on the way there.
        foreign = status in (401, 403, 404) and not isinstance(_at(document, "error"), dict)
        if status == 429 or status >= 500 or foreign or (status == 404 and call is api.value):  # may not be ready yet
            raise Unavailable(unreachable, next_step="It is retried automatically.", status=status)
        if status == 404 and missing:
            return {}
        if status == 404:
            step = "Give the keys' place (`byokeep key admin --at ...`), and check that the key is of this account."
            raise Conflict("bad_provider_place", next_step=step, status=status)
        if status == 403 and call is api.usage:  # the right to make and end keys is another one
            step = "The administrator key may not read usage. Give it that right at the provider."
            raise Conflict("usage_not_allowed", next_step=step, status=status)
        if status in (401, 403):
            step = "Give another administrator key: `byokeep key admin`."
            raise Conflict("admin_key_refused", next_step=step, status=status)
        if status >= 300 or not isinstance(document, dict):
            raise Conflict("provider_admin_garbage", status=status)
        return document


def _fits(hint: str, text: str, least: int) -> bool:
    """Whether a masked label may be a key's, of which it shows at least that many characters."""
    head, *rest = _MASK.split(hint)
    return len(rest) == 1 and len(head) + len(rest[0]) >= least and text.startswith(head) and text.endswith(rest[0])


def _filled(template: str, known: Mapping[str, str]) -> str:
    """Put names and ids into a template. Raises Rejected(``bad_provider_place``): one is missing or not valid."""

    def named(found: re.Match[str]) -> str:
        value = known.get(found[1], "")
        if not _ID.match(value):
            step = f"Give {found[1]} with the administrator key: `byokeep key admin --at {found[1]}=...`."
            raise Rejected("bad_provider_place", next_step=step, field=found[1])
        return value

    return NAMED.sub(named, template)


def _body(call: IssuingCall, known: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for path, text in call.body.items():
        here, (*above, name) = said, path.split(".")
        for one in above:
            inner = here.setdefault(one.removesuffix("[]"), [{}] if one.endswith("[]") else {})
            here = inner[0] if isinstance(inner, list) else inner
        here[name] = int(text) if text.isdigit() else _filled(text, known)
    return said


def _at(reply: Any, path: str) -> Any:
    for name in path.split("."):
        reply = reply.get(name) if isinstance(reply, dict) else None
    return reply


def _text(reply: Any, path: str) -> str:
    found = _at(reply, path)
    if not isinstance(found, str) or not 0 < len(found) <= 512 or not found.isascii():
        raise Conflict("provider_admin_garbage")
    return found


def _listed(reply: Any, path: str) -> list[Any]:
    found = _at(reply, path)
    if not isinstance(found, list):
        raise Conflict("provider_admin_garbage")
    return found


def _whole(reply: Any, path: str) -> int:
    found = _at(reply, path)
    if type(found) is not int or not 0 <= found < 2**53:
        raise Conflict("provider_admin_garbage")
    return found


def _millionths(reply: Any, path: str) -> int:
    found = _at(reply, path)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 2**33:
        raise Conflict("provider_admin_garbage")
    return round(found * 1_000_000)


def _begins(said: Any) -> datetime:
    """Return when a bucket begins: seconds since 1970, a day or a time."""
    with refusing("provider_admin_garbage", Conflict, on=(TypeError, ValueError, OverflowError, OSError)):
        at = datetime.fromtimestamp(said, UTC) if type(said) is int else datetime.fromisoformat(said)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _said(reply: Any, path: str) -> str:
    found = _at(reply, path) if path else ""
    return found if isinstance(found, str) and len(found) <= 512 else ""
