"""Whether the account that answers is the expected one.

Rules
- The id decides; names are secondary. An id is valid within one app: another app's id proves nothing.
- "Could not be checked", no account, several accounts, and no id are each a mismatch, with its own reason.
- The same id under another name is drift: it is recorded, and a person confirms it. A name that only looks the same is
  a mismatch, because impostors are made that way.
- Text for people spells every character outside printable ASCII as its code point.

It may not fetch anything.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Final

from byokeep.core.errors import Rejected
from byokeep.core.plain_text import as_latin, refuse_secret

OFFERED: Final = 40  # accounts that a person may choose from
_SHOWN: Final = 120  # characters
_COMPARED: Final = 400  # characters of a name that are searched for an impostor's
_MOST: Final = 8  # of an impostor's characters that are spelt out
_ONE_STROKE: Final = {ord("l"): "i", ord("1"): "i", ord("|"): "i", ord("0"): "o"}  # within ASCII
_PICKED: Final = re.compile(r"[!-;=?-~]{1,256}")  # an id that a person can type, and that reads like no code point
_UNSEEN: Final = frozenset({"Cf", "Cc", "Mn", "Me", "Zs", "Zl", "Zp"})


class IdentityVerdict(StrEnum):
    """The result of a comparison. Only ``match`` lets anything happen without a person."""

    MATCH = "match"
    DRIFT = "drift"
    MISMATCH = "mismatch"


class Why(StrEnum):
    """The reason of a verdict."""

    SAME = "same"
    NAME_CHANGED = "name_changed"
    LOOK_ALIKE = "look_alike"
    OTHER_ID = "other_id"
    OTHER_APP = "other_app"
    NO_ACCOUNT = "no_account"
    NO_ID = "no_id"
    SEVERAL_ACCOUNTS = "several_accounts"
    COULD_NOT_CHECK = "could_not_check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """How an account shows itself.

    Args:
        account_id: The platform's stable id, as the platform writes it.
        username, display_name: None if the platform gives none.
        link: A second id that the platform needs for listing posts, such as a playlist; not part of the identity.
    """

    account_id: str
    username: str | None
    display_name: str | None
    link: str | None = None


def printable(face: Face) -> bool:
    """Whether the names of an account hold no control character. A name that does is neither kept nor shown."""
    return not any(unicodedata.category(char) == "Cc" for char in f"{face.username or ''}{face.display_name or ''}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """How the account must show itself, as the platform described it when it was connected.

    Args:
        app_id: Public id of the app within which ``account_id`` is valid.
    """

    account_id: str
    username: str | None
    display_name: str | None
    app_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The verdict and its reason.

    Args:
        changed: Which names differ: ``username``, ``display_name``.
        code_points: For a look-alike, only the characters that are not the expected ones, as hexadecimal numbers
            (``0456``); at most eight.
    """

    verdict: IdentityVerdict
    why: Why
    changed: tuple[str, ...] = ()
    code_points: tuple[str, ...] = ()


def compare(
    expected: Fingerprint, seen: Sequence[Face] | None, *, app_id: str, several_allowed: bool = False
) -> Comparison:
    """Compare what a platform said with what it must say.

    Args:
        expected: The stored fingerprint.
        seen: The accounts that the platform named; None if it could not be asked.
        app_id: Public id of the app whose token asked.
        several_allowed: Whether one grant may give access to several accounts (pages); the expected one must be among
            them.
    """
    if seen is None:
        return _mismatch(Why.COULD_NOT_CHECK)
    if not expected.account_id or any(not face.account_id for face in seen):
        return _mismatch(Why.NO_ID)
    if not seen:
        return _mismatch(Why.NO_ACCOUNT)
    if app_id != expected.app_id:
        return _mismatch(Why.OTHER_APP)
    found = [face for face in seen if face.account_id == expected.account_id]
    if len(found) > 1 or (len(seen) > 1 and not several_allowed):
        return _mismatch(Why.SEVERAL_ACCOUNTS)
    return _names(expected, found[0]) if found else _mismatch(Why.OTHER_ID)


def choose(seen: Sequence[Face] | None, *, wanted: str | None) -> Face | Why:
    """Return the account whose fingerprint is taken at the first connection, or why there is none.

    Args:
        wanted: The id that a person picked out of several; None if nobody has.
    """
    if seen is None:
        return Why.COULD_NOT_CHECK
    if not seen:
        return Why.NO_ACCOUNT
    if any(not face.account_id for face in seen):
        return Why.NO_ID
    found = [face for face in seen if wanted in (None, face.account_id)]
    if not found:
        return Why.OTHER_ID
    return found[0] if len(found) == 1 else Why.SEVERAL_ACCOUNTS


def shown(text: str | None) -> str:
    """Return a name as printable ASCII, with everything else as ``<U+0430>``; ``-`` for no name.

    It is cut at 120 characters. A digest stands for the rest, so that whoever confirms what is shown confirms all of
    it.
    """
    if text is None:
        return "-"
    parts = [char if " " <= char <= "~" and char not in "<>" else f"<U+{ord(char):04X}>" for char in text[:_SHOWN]]
    if len(text) > _SHOWN:
        whole = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        parts.append(f"<+{len(text) - _SHOWN} {whole[:16]}>")
    return "".join(parts)


def offer(seen: Sequence[Face]) -> tuple[str, ...]:
    """Return what a person may pick from, each as ``ID NAME``: printable ASCII, without a blank in the id.

    At most 40, in the platform's order. An id that nobody can type is left out. A name shaped like a secret is shown as
    ``-``, like no name.
    """
    return tuple(f"{one.account_id} {_label(one)}" for one in seen if _PICKED.fullmatch(one.account_id))[:OFFERED]


def _label(face: Face) -> str:
    name = face.display_name or face.username
    try:
        refuse_secret("display_name", name or "")
    except Rejected:
        return shown(None)
    return shown(name)


def spelt(code_points: str) -> str:
    """Return code points as people read them: ``0456,0430`` as ``<U+0456><U+0430>``."""
    return "".join(f"<U+{point.upper()}>" for point in code_points.split(",") if point)


def look_alike(first: str, second: str) -> bool:
    """Whether two different texts could be mistaken for each other at a glance."""
    return first != second and reads_alike(first, second)


def reads_alike(first: str, second: str) -> bool:
    """Whether two names read the same: equal, or different only in case and in letters that look alike."""
    return any(one == other for one, other in zip(_skeletons(first), _skeletons(second), strict=True))


def _mismatch(why: Why) -> Comparison:
    return Comparison(verdict=IdentityVerdict.MISMATCH, why=why)


def _names(expected: Fingerprint, face: Face) -> Comparison:
    pairs = (("username", expected.username, face.username), ("display_name", expected.display_name, face.display_name))
    # None on our side means that the platform never gave the name. A name that it no longer gives has changed.
    different = [(field, was, now) for field, was, now in pairs if was is not None and was != now]
    changed = tuple(field for field, _, _ in different)
    if not changed:
        return Comparison(verdict=IdentityVerdict.MATCH, why=Why.SAME)
    twins = [(was, now) for _, was, now in different if now is not None and _stands_in(was, now)]
    if twins:
        points = tuple(dict.fromkeys(point for was, now in twins for point in _odd(was, now)))[:_MOST]
        return Comparison(verdict=IdentityVerdict.MISMATCH, why=Why.LOOK_ALIKE, changed=changed, code_points=points)
    return Comparison(verdict=IdentityVerdict.DRIFT, why=Why.NAME_CHANGED, changed=changed)


def _stands_in(was: str, now: str) -> bool:
    """Whether ``now`` is made to be read as ``was``. A difference only in case or encoding is not a disguise."""
    plain_was, plain_now = (unicodedata.normalize("NFC", text).casefold() for text in (was, now))
    return plain_was != plain_now and look_alike(was, now)


def _odd(was: str, now: str) -> list[str]:
    """Return the characters of ``now`` that are not in ``was``; if it only lacks some, those."""
    was, now = was[:_COMPARED], now[:_COMPARED]
    steps = [step for step in SequenceMatcher(None, was, now, autojunk=False).get_opcodes() if step[0] != "equal"]
    there = "".join(now[step[3] : step[4]] for step in steps)
    return [f"{ord(char):04x}" for char in there or "".join(was[step[1] : step[2]] for step in steps)]


def _skeletons(text: str) -> tuple[str, str]:
    """What a text is read as (UTS #39): first with its letters case-folded, then with its letters as they are."""
    as_it_stands = unicodedata.normalize("NFKC", text.translate(as_latin())).translate(as_latin())
    return _bare(unicodedata.normalize("NFKC", text).casefold()), _bare(as_it_stands.casefold())


def _bare(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).translate(as_latin()).casefold().translate(_ONE_STROKE)
    return "".join(char for char in plain if unicodedata.category(char) not in _UNSEEN).replace("rn", "m")
