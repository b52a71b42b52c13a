"""A secret in a text that a platform says: found whole, in part and in any case; nothing else is taken for one."""

from __future__ import annotations

import pytest

from byokeep.core.identity import Face, printable
from byokeep.core.secret import Secret
from byokeep.platforms.client import repeats, token_reply
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS

TOKEN = "Ab3-" + "xYz0123456789_kLmNoPqRs" * 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TOKEN, True),
        (TOKEN.lower(), True),
        (f"scope.of.{TOKEN.upper()}.more", True),
        (TOKEN[5:25], True),
        (TOKEN[5:24], False),
        ("acme.bakery", False),
        ("", False),
        (None, False),
    ],
)
def test_a_secret_is_found_in_any_form_that_gives_it_away(text: str | None, found: bool) -> None:
    """Whole, as 20 characters of it, in upper and lower case; a shorter part and other texts are none."""
    assert repeats(["Acme", text], [None, Secret(TOKEN)]) is found


def test_short_and_wiped_secrets_are_passed_over() -> None:
    """A secret of a few characters stands in a name by chance; a wiped one can not be looked for."""
    gone = Secret(TOKEN)
    gone.wipe()
    assert not repeats([TOKEN, "bakery"], [gone, Secret("bakery")])
    assert repeats(["the short-one of all"], [Secret("short-one")])


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\x00", "a\x7f", "a\x85"])
def test_a_name_with_control_characters_is_not_printable(name: str) -> None:
    """In either name; every other character of any script is."""
    assert not printable(Face(account_id="1", username=name, display_name=None))
    assert not printable(Face(account_id="1", username=None, display_name=name))
    assert printable(Face(account_id="1", username="\u202eacme", display_name="B\u00e4ckerei \U0001f600"))


def test_a_reply_with_one_value_as_both_tokens_is_none() -> None:
    """Jobs lease the access token: it may not be what renews."""
    oauth = PLATFORM_DESCRIPTORS["x"].oauth
    assert oauth is not None
    reply = {"token_type": "bearer", "access_token": TOKEN, "refresh_token": TOKEN, "expires_in": 7200, "scope": "a b"}
    assert token_reply(oauth.reply, reply, first=True) is None
    assert token_reply(oauth.reply, reply, first=False) is None
    assert token_reply(oauth.reply, reply | {"refresh_token": TOKEN[::-1]}, first=True) is not None
