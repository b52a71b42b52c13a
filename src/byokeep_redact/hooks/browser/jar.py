"""Cookie jars as text: the Netscape form that curl, wget and yt-dlp write, and files of Set-Cookie lines.

Rules: names and attributes remain, values go; a line of no known form is treated as text that may hold anything.
"""

from __future__ import annotations

import re
from typing import Final

from byokeep_redact.hooks.browser.fields import Walk

NETSCAPE: Final = re.compile(
    r"^(#HttpOnly_)?[^\s#][^\t\n]*\t(?:TRUE|FALSE)\t[^\t\n]*\t(?:TRUE|FALSE)\t-?\d*\t[^\t\n]*\t", re.M
)
HEADER: Final = re.compile(r"^(set-cookie3?|cookie2?):[ \t]*\S+?=", re.IGNORECASE | re.MULTILINE)
_FIELDS: Final = 7


def jar_lines(text: str, walk: Walk) -> str:
    """Return the text of a jar with the values of its cookies handled."""
    return "".join(_line(line, walk) for line in text.splitlines(keepends=True))


def _line(line: str, walk: Walk) -> str:
    bare = line.rstrip("\r\n")
    ending = line[len(bare) :]
    fields = bare.split("\t", _FIELDS - 1)
    if len(fields) == _FIELDS and NETSCAPE.match(line):
        value = walk.handling.value("cookie", fields[-1]) if fields[-1] else ""
        return "\t".join([walk.handling.text("\t".join(fields[:-1])), value]) + ending
    name, colon, rest = bare.partition(":")
    if colon and HEADER.match(bare):
        return f"{name}:{walk.cookies(rest, sent=name.lower().startswith('cookie'))}{ending}"
    return walk.string(bare) + ending
