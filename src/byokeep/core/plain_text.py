"""What a name may look like, what it reads like, and how text fields refuse what is shaped like a secret.

Rules
- There is one table of look-alikes (Unicode's confusables and a few more) and one of how secrets begin, which our own
  surface refuses wherever no secret belongs. The forms of one provider's keys are in its data file.
- A refusal names the field and never repeats the text (R1.1-4).
- A browser's session is no secret that we take in, wherever one is stored (R2.1-11).
- Nothing is repaired: text with a second spelling (another normal form, invisible characters) is refused.
- Reserved names are compared without case, blanks, marks and look-alike letters (S-VAULT-9).

This search for secrets is a fence for short labels; :mod:`byokeep_redact` is the engine for logs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Final

from byokeep.core.data_file import shipped
from byokeep.core.errors import Rejected

# For names and reasons, which people write: a beginning is enough.
SECRET_START: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk)[-_][A-Za-z0-9]|AIza[A-Za-z0-9_-]|AQ\.[A-Za-z0-9_-]|AQ[A-Za-z0-9_-]{10}|EAA[A-Za-z0-9]"
    r"|ya29\.|1//[A-Za-z0-9_-]|eyJ[A-Za-z0-9_-]|whsec_|gh[pousr]_|xox[abpr]-|hv[sbr]\.|bk[odrc]_"
    r"|-----BEGIN|[Bb]earer\s+\S|[A-Za-z0-9_-]+=[^\s;]+;|[A-Za-z]+://\S*@"
)
# For settings and arguments, which hold paths, hosts and ids: long enough that none of those match.
SECRET_SHAPED: Final = re.compile(
    r"(?<![A-Za-z0-9])sk[-_][A-Za-z0-9_-]{6}|AIza[A-Za-z0-9_-]{10}|AQ\.[A-Za-z0-9_-]{20}"
    r"|\bs\.[A-Za-z0-9]{24}|hv[sbr]\.[A-Za-z0-9]|bk[odrc]_[A-Za-z0-9_-]{20}|eyJ[A-Za-z0-9_-]{10}|-----BEGIN"
)
# What people take for these letters in common typefaces, and what Unicode's data leaves out.
_BESIDE: Final = (
    "b 044c 0184|d 0257|e 04bd 03b5|f 0493 0192|g 0581|h 0570|i 0269|k 03ba 043a|m 043c 03bc|n 043f 03b7 0578|o 03c3"
    "|p 2ca3|r 0433 ab47|t 0442 03c4|u 057d|v 0475|w 03c9|x 03c7|y 04af"
)
# Cookies as headers, as pairs with `;`, as Netscape's file, as JSON of tools, as Chromium's database (R2.1-11).
_SESSION: Final = re.compile(
    rb"(?:(?:set-)?cookie2?\s*:|# (?:netscape )?http cookie file|sqlite format 3\0"
    rb"|[!#$%&'*+.^_`|~0-9a-z-]{1,64}=[^;\s]*;\s*[!-~]+|[^\t\r\n]{1,255}\t(?:true|false)\t/[^\t]*\t(?:true|false)\t\d+\t)",
    re.IGNORECASE,
)
_SESSION_WORDS: Final = re.compile(rb'"(?:cookies|domain|hostOnly|httpOnly|sameSite|localStorage)"\s*:')
SESSION_STEP: Final = "This is a browser session, not a key. A person logs in with `byokeep profile login`."
MAX_NAME: Final = 80  # characters
_REASON: Final = re.compile(r"[a-z][a-z0-9_]{1,62}\Z")
_TICKET: Final = re.compile(r"[a-z0-9][a-z0-9_./-]{0,30}\Z")
RESERVED: Final = frozenset({"root", "admin", "system", "platform"})

_PUNCTUATION: Final = frozenset(" ._&'()-")
_LONG_RUN: Final = re.compile(r"[A-Za-z0-9_+/=-]{25,}")
_MIXED_RUN: Final = re.compile(r"[A-Za-z0-9_+/=-]{16,}")
_HEX_RUN: Final = re.compile(r"[0-9A-Fa-f]{16,}")
# Digits and signs that pass for a letter; i and l are one stroke. Two characters of other scripts have two readings.
_AS_LETTER: Final = {ord(sign): letter for sign, letter in zip("4@701!5$3|l", "aatoiisseii", strict=True)}
_READINGS: Final[tuple[dict[int, str], ...]] = ({}, {0x0440: "r"}, {0x03BD: "n"}, {0x0440: "r", 0x03BD: "n"})
_RESERVED_READ: Final = frozenset(name.translate(_AS_LETTER) for name in RESERVED)


@cache
def as_latin() -> Mapping[int, str]:
    """Return what passes for a Latin letter or digit: code point -> that letter or digit."""
    lines = (*_BESIDE.split("|"), *shipped("confusables.txt").splitlines())
    return {int(point, 16): line[0] for line in lines if line[0] != "#" for point in line.split()[1:]}


def check_name(field: str, text: str) -> str:
    """Accept a display name and return it unchanged.

    Args:
        field: Name of the field, a constant of the program.
        text: 1 to 80 letters, digits, blanks and ``. _ & ' ( ) -``, starting with a letter or digit.

    Raises:
        Rejected: ``secret_like_content``, ``bad_name`` or ``mixed_scripts``; each with ``field`` only.
    """
    refuse_secret(field, text)
    if (
        not 1 <= len(text) <= MAX_NAME
        or not text[0].isalnum()
        or text[-1] == " "
        or not all(char.isalnum() or char in _PUNCTUATION for char in text)
        or unicodedata.normalize("NFKC", text) != text
    ):
        raise Rejected(
            "bad_name",
            next_step="Use 1 to 80 letters, digits, spaces and . _ & ' ( ) -, starting with a letter or digit.",
            field=field,
        )
    scripts = {unicodedata.name(char, "UNKNOWN").partition(" ")[0] for char in text if char.isalpha()}
    if "LATIN" in scripts and scripts & {"CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE"}:
        raise Rejected("mixed_scripts", next_step="Write the name in a single alphabet.", field=field)
    return text


def refuse_secret(field: str, text: str) -> None:
    """Check that text holds nothing shaped like a secret.

    Raises:
        Rejected: ``secret_like_content`` with the field's name.
    """
    if SECRET_START.search(text) or _LONG_RUN.search(text) or _HEX_RUN.search(text) or _mixed(text):
        raise Rejected(
            "secret_like_content", next_step="Put secrets only into the value route, never into text.", field=field
        )


def is_session(value: bytes) -> bool:
    """Whether bytes that were submitted as a secret are a browser's session, in any form in which it is copied."""
    start = value[:64].lstrip()
    json = start[:1] in (b"{", b"[") and _SESSION_WORDS.search(value[:4096])
    return bool(json or _SESSION.match(start.lstrip(b"\"'")))


def holds_secret(text: str) -> bool:
    """Whether ids that a program made (``name=id,name=id``) begin like a secret, or hold one."""
    ids = [part.rpartition("=")[2] for part in text.split(",")]
    return bool(SECRET_SHAPED.search(text)) or any(SECRET_START.match(one) for one in ids)


def _mixed(text: str) -> bool:
    """Whether an unbroken run mixes digits and both cases as generated keys do and words do not."""
    for run in _MIXED_RUN.findall(text):
        kinds = [any(test(char) for char in run) for test in (str.isdigit, str.islower, str.isupper)]
        if all(kinds) and sum(char.isdigit() for char in run) >= 3:
            return True
    return False


def check_reason(reason: str, *, example: str) -> None:
    """Accept a reason that people give for an act: a code, so that a record can hold nothing else.

    Args:
        reason: The reason as given.
        example: A code that fits the act.

    Raises:
        Rejected: ``bad_reason``, with the rule; ``secret_like_content``: some keys have no other characters either.
    """
    if not _REASON.match(reason):
        rule = "A reason is a code of 2 to 63 characters: lower-case letters, digits and _, starting with a letter"
        raise Rejected("bad_reason", next_step=f"{rule}; such as {example}.", field="reason")
    for word in reason.split("_"):
        refuse_secret("reason", word)


def check_ticket(text: str) -> str:
    """Return a ticket's id as it is stored: in lower case.

    Raises:
        Rejected: ``bad_ticket``, ``secret_like_content``.
    """
    refuse_secret("ticket", text)
    if not _TICKET.match(text.lower()):
        raise Rejected("bad_ticket", next_step="Give the ticket's id, such as INC-42: letters, digits and _ . / -")
    return text.lower()


def check_not_reserved(name: str) -> None:
    """Check that a name cannot be taken for one of ours.

    Raises:
        Rejected: ``reserved_name``.
    """
    if not _RESERVED_READ.isdisjoint(_foldings(name)):
        raise Rejected("reserved_name", next_step="Choose another name.", field="name")


def _foldings(text: str) -> set[str]:
    """Return what a hurried reader could take the text for."""
    found = set()
    for reading in _READINGS:
        one = text.translate(reading)
        for whole in (one, one.translate(as_latin())):  # first case-folded, then as they are
            plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", whole).casefold())
            read = plain.translate(reading).translate(as_latin()).casefold().translate(_AS_LETTER)
            found.add("".join(char for char in read if char.isalnum() and char.isascii()))
    return found
