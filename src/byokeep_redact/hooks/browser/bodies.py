"""Bodies: what was posted, what came back, what went over a web socket, plain or as base64.

Rules: text is handled by its media type, and by its looks where that is missing or wrong. Bytes that are no text are
left to the handling, which drops them unless told otherwise: nobody can say what a picture shows.
"""

from __future__ import annotations

import base64 as codec
import binascii
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from byokeep_redact.hooks.browser.names import is_credential_parameter, is_secret_element

if TYPE_CHECKING:
    from byokeep_redact.hooks.browser.fields import Walk

_FORM: Final = re.compile(r"[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*(?:&[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*)*\Z")
_BOUNDARY: Final = re.compile(r"boundary=\"?([^\";,\s]{1,70})", re.IGNORECASE)
_TAG: Final = re.compile(r"<(input|meta|textarea)\b([^<>]{0,4000})>", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"([^\s=\"'<>/]+)(\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s\"'<>]+)")
_SHOWN: Final = ("value", "content")
_TEXT_BYTES: Final = bytes(byte for byte in range(256) if byte >= 32 or byte in b"\t\n\r\f\x1b")


def text_of(data: bytes) -> str | None:
    """Return bytes as text, or None when they are none: UTF-8 (or marked UTF-16) without control characters."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return text if encoding == "utf-16" or not data.translate(None, _TEXT_BYTES) else None


def body(walk: Walk, text: str, media: str, *, base64: bool) -> str:
    """Return the body of a reply handled, in the form it came in: as it is, or as base64."""
    if not base64:
        return readable(walk, text, media)
    try:
        data = codec.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        raise ValueError("bad_base64") from None
    out = stored(walk, data, media)
    return codec.b64encode(walk.handling.dropped("binary").encode() if out is None else out).decode()


def stored(walk: Walk, data: bytes, media: str) -> bytes | None:
    """Return the bytes of a body handled; None when they may not stay. `media` may begin with `posted `."""
    text = text_of(data)
    if text is None:
        return walk.handling.binary(data)
    out = posted(walk, text, media[7:]) if media.startswith("posted ") else readable(walk, text, media)
    return data if out == text else out.encode("utf-8", "surrogatepass")


def readable(walk: Walk, text: str, media: str) -> str:
    """Return text of this media type handled; forms and pages by their fields, JSON by its names."""
    if "x-www-form-urlencoded" in media:
        return form(walk, text)
    head = text[:2000].lower()
    if "html" in media or "xml" in media or "<html" in head or "<!doctype" in head or "<input" in head:
        text = _TAG.sub(lambda found: _tag(walk, found), text)
    return walk.string(text)


def posted(walk: Walk, text: str, media: str) -> str:
    """Return posted data handled: every value of a form, the named credentials of JSON, whatever rules find in text."""
    if "multipart/" in media:
        return _multipart(walk, text, media)
    if "x-www-form-urlencoded" in media or (not media and _FORM.match(text)):
        return form(walk, text)
    return readable(walk, text, media)


def form(walk: Walk, text: str) -> str:
    """Return an urlencoded form with every value handled and every name left."""

    def one(field: str) -> str:
        name, equals, value = field.partition("=")
        if not equals or not value:
            return walk.handling.text(field)
        return f"{walk.handling.text(name)}={_form_value(walk, unquote_plus(name), value)}"

    return "&".join(one(field) for field in text.split("&"))


def _form_value(walk: Walk, name: str, value: str) -> str:
    """The value is learned as it was typed, not as it was sent."""
    plain = unquote_plus(value)
    handled = walk.handling.value("password" if is_credential_parameter(name) else "field", plain)
    return value if handled == plain else handled


def _multipart(walk: Walk, text: str, media: str) -> str:
    boundary = _BOUNDARY.search(media)
    mark = f"--{boundary[1]}" if boundary else text.split("\n", 1)[0].rstrip("\r")
    if len(mark) < 3 or mark not in text:
        return walk.handling.dropped("form")
    parts = text.split(mark)
    out = [walk.handling.text(parts[0])]
    for part in parts[1:]:
        gap = "\r\n\r\n" if "\r\n\r\n" in part else "\n\n"
        head, found, value = part.partition(gap)
        if not found:
            out.append(part if part.strip() in ("", "--") else walk.handling.dropped("form"))
            continue
        ending = value[len(value.rstrip("\r\n")) :]
        plain = value[: len(value) - len(ending)]
        out.append(f"{walk.handling.text(head)}{gap}{walk.handling.value('password', plain) if plain else ''}{ending}")
    return mark.join(out)


def websocket_data(walk: Walk, data: str, *, binary: bool) -> str:
    """Return a web socket message handled; binary ones are base64 in every format that holds them."""
    return body(walk, data, "", base64=binary)


def _tag(walk: Walk, found: re.Match[str]) -> str:
    """A form field or meta element in the source of a page."""
    pairs = {match[1].lower(): match[3].strip("\"'") for match in _ATTRIBUTE.finditer(found[2])}
    if not is_secret_element(pairs):
        return found[0]

    def one(match: re.Match[str]) -> str:
        if match[1].lower() not in _SHOWN:
            return match[0]
        plain = match[3].strip("\"'")
        return f'{match[1]}{match[2]}"{walk.handling.value("field", plain)}"' if plain else match[0]

    return f"<{found[1]}{_ATTRIBUTE.sub(one, found[2])}>"
