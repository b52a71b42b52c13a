"""Token sets: what a renewal may replace, and that their stored form is read exactly or not at all."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.accounts.refresher_app import burn
from byokeep.adapters.openbao.provisioning import KV_MAX_VERSIONS
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Integrity
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.secret import Secret
from byokeep.core.tokens import (
    MAX_LIFE_S,
    MAX_TOKEN,
    TokenReply,
    TokenSet,
    first_set,
    missing_scopes,
    renewed,
    scope_set,
    token,
    token_set_from,
    wider_scopes,
)
from byokeep.wire.tokens import LandedReply, pack_reply, pack_tokens, unpack_reply, unpack_tokens
from tests.support.advice import assert_advice

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BY = UUID(int=7)
ACCESS, REFRESH = "access-made-up-0123456789", "refresh-made-up-0123456789"


def tokens(**changes: Any) -> TokenSet:
    fields: dict[str, Any] = {
        "platform": "x", "issuer": "https://x.com", "app_id": "app", "access": Secret(ACCESS),
        "refresh": Secret(REFRESH), "scopes": ("a", "b"), "account_id": "17", "obtained_at": T0, "obtained_by": BY,
        "access_expires_at": T0 + timedelta(hours=2), "refresh_expires_at": None,
    }  # fmt: skip
    return TokenSet(**{**fields, **changes})


def every(one: TokenSet) -> list[Any]:
    """Its fields, which can be compared: a Secret is equal to itself alone."""
    return [getattr(one, field.name) for field in fields(one)]


def plain(one: TokenSet) -> dict[str, Any]:
    return json.loads(pack_tokens(one).reveal())


text = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60)
moments = st.integers(0, 80 * 366 * 86_400).map(lambda seconds: T0 + timedelta(seconds=seconds))
scopes = st.lists(st.sampled_from(["a", "b.c", "https://s/x", "w_y"]), max_size=4).map(
    lambda some: scope_set(tuple(some))
)


@given(
    access=text,
    refresh=st.none() | text,
    granted=st.none() | scopes,
    account=st.none() | st.sampled_from(["1", "-000x"]),
    ends=st.none() | moments,
    by=st.uuids(),
    at=moments,
)
def test_a_stored_set_reads_back_as_it_was(
    access: str, refresh: str | None, granted: tuple[str, ...] | None, account: str | None,
    ends: datetime | None, by: UUID, at: datetime,
) -> None:  # fmt: skip
    """Both tokens, scopes known, empty or unknown, ends or none: the same after the store."""
    one = tokens(
        access=Secret(access), refresh=None if refresh is None else Secret(refresh), scopes=granted, account_id=account,
        access_expires_at=ends, refresh_expires_at=None if refresh is None else ends, obtained_by=by, obtained_at=at,
    )  # fmt: skip
    packed = pack_tokens(one)
    again = unpack_tokens(packed)
    assert pack_tokens(again).reveal() == packed.reveal()
    assert again.access.reveal().decode() == access
    assert (again.refresh is None) == (refresh is None)
    assert (again.scopes, again.account_id, again.obtained_at) == (granted, account, at)
    assert (again.access_expires_at, again.obtained_by) == (ends, by)


def test_the_stored_form_is_text_only_and_shows_nothing_elsewhere() -> None:
    """The store's audit hashes texts and shows numbers: there are none. Neither repr nor errors hold a token."""
    fields = plain(tokens())
    assert all(isinstance(value, str) for value in fields.values())
    assert fields["format"] == "byokeep-token-set/1"
    assert plain(tokens(refresh=None))["refresh_token"] == "none"
    assert ACCESS not in repr(tokens())
    assert REFRESH not in repr(tokens())


BAD = [
    ("format", "byokeep-token-set/2"), ("format", ...), ("platform", "X"), ("issuer", "x.com"), ("app_id", ""),
    ("access_token", ""), ("access_token", "short"), ("access_token", "with a blank in it"), ("refresh_token", ""),
    ("scopes", ""), ("scopes", "b,a,"), ("scopes", "a,a,"), ("scopes", "a"), ("access_expires_at", "1767323045"),
    ("access_expires_at", "2026-01-02T03:04:05+00:00"), ("access_expires_at", "2026-13-02T03:04:05Z"),
    ("obtained_at", "none"), ("obtained_by", "nobody"), ("obtained_by", "{00000000-0000-0000-0000-000000000007}"),
    ("account_id", "\u0430"), ("extra", "x"), ("scopes", None), ("obtained_by", 7), ("access_token", ["a" * 20]),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD, ids=[f"{field}-{number}" for number, (field, _) in enumerate(BAD)])
def test_a_stored_set_that_is_not_exactly_one_is_refused(field: str, value: object) -> None:
    """Another format, a missing, extra or odd field: refused, without a word of the content."""
    fields = plain(tokens())
    if value is ...:
        del fields[field]
    else:
        fields[field] = value
    with pytest.raises(Integrity) as refused:
        unpack_tokens(Secret(canonical_json(fields)))
    assert refused.value.code == "token_set_unreadable"
    assert ACCESS not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"\xff", b'{"a":"b","a":"b"}', b"{" * 9999])
def test_what_is_no_stored_set_is_refused(raw: bytes) -> None:
    """Nothing, no object, other bytes, doubled names, a spelling that is not canonical."""
    for value in (raw, pack_tokens(tokens()).reveal() + b" "):
        with pytest.raises(Integrity):
            unpack_tokens(Secret(value))


def test_a_refresh_end_without_a_refresh_token_is_no_token_set() -> None:
    """And neither are half seconds, local times or unsorted scopes."""
    for change in (
        {"refresh": None, "refresh_expires_at": T0}, {"obtained_at": T0.replace(microsecond=5)},
        {"obtained_at": T0.replace(tzinfo=None)}, {"scopes": ("b", "a")}, {"scopes": ("a b",)}, {"account_id": ""},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="token set"):
            tokens(**change)


def test_empty_never_overwrites() -> None:
    """A renewal without refresh token, scopes or account keeps ours; the access end is the new reply's or unknown."""
    later = T0 + timedelta(hours=1)
    old = tokens(refresh_expires_at=T0 + timedelta(days=90))
    new = renewed(old, TokenReply(access=Secret("b" * 20)), at=later)
    assert new.refresh is not None
    assert new.refresh.matches(REFRESH.encode())
    assert (new.scopes, new.account_id, new.refresh_expires_at) == (old.scopes, "17", old.refresh_expires_at)
    assert (new.access_expires_at, new.obtained_at, new.obtained_by) == (None, later, BY)


def test_a_rotated_refresh_token_does_not_inherit_the_end_of_the_old_one() -> None:
    """A new token without a told end has an unknown one; the same token keeps its own, counted down or not told."""
    old = tokens(refresh_expires_at=T0 + timedelta(days=90))
    other = renewed(old, TokenReply(access=Secret("b" * 20), refresh=Secret("c" * 20)), at=T0)
    assert (other.refresh_expires_at, other.refresh is old.refresh) == (None, False)
    same = renewed(old, TokenReply(access=Secret("b" * 20), refresh=Secret(REFRESH)), at=T0)
    assert same.refresh_expires_at == old.refresh_expires_at
    counted = renewed(old, TokenReply(access=Secret("b" * 20), refresh=Secret(REFRESH), refresh_life_s=60), at=T0)
    assert counted.refresh_expires_at == T0 + timedelta(seconds=60)


def test_a_renewal_that_names_another_account_is_refused() -> None:
    """A token reply of another account never replaces ours."""
    with pytest.raises(Integrity) as refused:
        renewed(tokens(), TokenReply(access=Secret("b" * 20), account_id="18"), at=T0)
    assert refused.value.code == "token_reply_of_another_account"


def test_unknown_scopes_are_never_enough() -> None:
    """What no reply has said was not granted; what was granted beside the asked is named (R5.2-16)."""
    needed = frozenset({"a", "c"})
    assert missing_scopes(tokens(), needed) == {"c"}
    assert missing_scopes(tokens(scopes=None), needed) == needed
    assert missing_scopes(tokens(scopes=()), frozenset({"a"})) == {"a"}
    assert wider_scopes(tokens(), frozenset({"a"})) == {"b"}


def test_a_platform_without_refresh_token_is_stored_as_such() -> None:
    """A first reply without one gives a set that says none, with the end of the access token."""
    reply = TokenReply(access=Secret(ACCESS), access_life_s=5_184_000, refresh_life_s=60)
    made = first_set(
        reply, platform="linkedin", issuer="https://www.linkedin.com/oauth", app_id="app", obtained_by=BY, at=T0
    )
    assert (made.refresh, made.refresh_expires_at) == (None, None)
    assert made.access_expires_at == T0 + timedelta(days=60)
    assert replace(made, scopes=("a",)).scopes == ("a",)
    made.wipe()
    assert made.access.wiped


def test_a_landed_reply_reads_back_and_a_torn_one_does_not() -> None:
    """Any bytes survive the landing place; anything else in it is refused."""
    reply = LandedReply(base=3, at=T0, status=200, body=Secret(bytes(range(256))))
    packed = pack_reply(reply)
    again = unpack_reply(packed)
    assert (again.base, again.at, again.status) == (3, T0, 200)
    assert again.body.reveal() == bytes(range(256))
    good = json.loads(packed.reveal())
    for change in ({"base": "x"}, {"format": "other"}, {"body": "!"}, {"more": "x"}, {"status": 200}, {"at": "now"}):
        with pytest.raises(Integrity) as refused:
            unpack_reply(Secret(canonical_json({**good, **change})))
        assert refused.value.code == "landed_reply_unreadable"
    with pytest.raises(Integrity):
        unpack_reply(Secret(packed.reveal()[:-9]))


DAY = 86_400


def test_a_first_set_holds_what_the_reply_said() -> None:
    """Every field of the reply gets into the set, ends counted from its receipt; no refresh token has no end."""
    reply = TokenReply(
        access=Secret(ACCESS), refresh=Secret(REFRESH), scopes=("a",), account_id="9", access_life_s=60,
        refresh_life_s=DAY,
    )  # fmt: skip
    known = {"platform": "x", "issuer": "https://x.com", "app_id": "app", "obtained_by": BY}
    made = first_set(reply, **known, at=T0.replace(microsecond=5))
    assert every(made) == every(tokens(
        access=reply.access, refresh=reply.refresh, scopes=("a",), account_id="9",
        access_expires_at=T0 + timedelta(seconds=60), refresh_expires_at=T0 + timedelta(days=1),
    ))  # fmt: skip
    assert first_set(replace(reply, refresh=None), **known, at=T0).refresh_expires_at is None


def test_a_renewed_set_holds_what_the_reply_said() -> None:
    """Access token, its end, scopes and a name for the account are the reply's where it has them."""
    old = tokens(account_id=None, refresh_expires_at=T0 + timedelta(days=9), consent_expires_at=T0 + timedelta(days=99))
    later = T0 + timedelta(hours=1)
    reply = TokenReply(
        access=Secret("n" * 20), refresh=Secret("r" * 20), scopes=("c",), account_id="9", access_life_s=60,
        refresh_life_s=DAY,
    )  # fmt: skip
    assert every(renewed(old, reply, at=later.replace(microsecond=9))) == every(replace(
        old, access=reply.access, refresh=reply.refresh, scopes=("c",), account_id="9", obtained_at=later,
        access_expires_at=later + timedelta(seconds=60), refresh_expires_at=later + timedelta(days=1),
    ))  # fmt: skip
    bare = renewed(tokens(refresh=None), TokenReply(access=Secret("n" * 20), refresh_life_s=DAY), at=later)
    assert (bare.refresh, bare.refresh_expires_at) == (None, None)
    with pytest.raises(Integrity, match=r"^token_reply_of_another_account platform=x$"):
        renewed(tokens(), replace(reply, account_id="18"), at=later)


def test_a_life_is_believed_within_limits() -> None:
    """A second is a life, and so is the longest; nothing, less than nothing and more than that are unknown."""
    reply = TokenReply(access=Secret("n" * 20))
    for life_s, known in ((1, True), (MAX_LIFE_S, True), (0, False), (-1, False), (MAX_LIFE_S + 1, False)):
        end = renewed(tokens(), replace(reply, access_life_s=life_s), at=T0).access_expires_at
        assert end == (T0 + timedelta(seconds=life_s) if known else None), life_s


def test_every_end_survives_the_store_and_what_is_unreadable_says_what_to_do() -> None:
    """Ends of refresh token and consent are stored as they are; the longest token is taken, a longer one is not."""
    one = tokens(refresh_expires_at=T0 + timedelta(days=1), consent_expires_at=T0 + timedelta(days=2))
    again = unpack_tokens(pack_tokens(one))
    assert (again.refresh_expires_at, again.consent_expires_at) == (one.refresh_expires_at, one.consent_expires_at)
    assert plain(one)["consent_expires_at"] == "2026-01-04T03:04:05Z"
    assert token("t" * MAX_TOKEN).matches(b"t" * MAX_TOKEN)
    for bad in ("t" * (MAX_TOKEN + 1), "t" * 7, "with blank", "t" * 9 + "\x7f", "\u0430" * 9, b"t" * 9, None):
        with pytest.raises(ValueError, match=r"^token$"):
            token(bad)
    with pytest.raises(Integrity, match=r"^token_set_unreadable\b") as caught:
        token_set_from({})
    assert_advice(caught.value, "Connect the account again")
    with pytest.raises(ValueError, match=r"^token set: scopes$"):
        scope_set(("a,b",))


@pytest.mark.asyncio
async def test_all_that_the_store_keeps_of_a_grant_is_destroyed() -> None:
    """As many versions as the store is told to keep of a place, not only the last of them."""
    custody, place = AsyncMock(), SecretRef(ClientId(UUID(int=1)), Provider.X, SecretPart.TOKENS, UUID(int=2))
    custody.newest.return_value = 25
    await burn(custody, place)
    custody.destroy.assert_awaited_once_with(place, list(range(26 - KV_MAX_VERSIONS, 26)))
