"""The 27 ways in which a value is known to end up in logs, and the judge that says whether it still can be read.

Rules: the judge shares no code with the engine it judges; it decodes all that it can and is never told what the engine
did. A value counts as leaked when any 12 of its bytes in a row can be got back, public starts and PEM frames apart.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import json
import re
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from typing import Final

LEAK_BYTES: Final = 12

Encoder = Callable[[bytes], bytes]


def each(template: str) -> Encoder:
    """Return the encoder that writes every byte by a template."""
    return lambda value: "".join(template.format(byte) for byte in value).encode()


def wrapped(encoded: bytes, columns: int, ending: bytes = b"\n") -> bytes:
    """Return a text in lines."""
    return ending.join(encoded[at : at + columns] for at in range(0, len(encoded), columns))


def _mixed_case(value: bytes) -> bytes:
    return b"".join(f"{byte:02X}".encode() if at % 2 else f"{byte:02x}".encode() for at, byte in enumerate(value))


def _json_in_json(value: bytes) -> bytes:
    return json.dumps(json.dumps({"token": value.decode("latin-1")})).replace("\\n", "\\u000a").encode()


def _two_fields(value: bytes) -> bytes:
    half = len(value) // 2
    first, second = value[:half].decode("latin-1"), value[half:].decode("latin-1")
    return json.dumps({"first": first, "second": second}).encode()


ENCODINGS: Final[dict[str, Encoder]] = {
    "plain": lambda value: value,
    "base64@0": base64.b64encode,
    "base64@1": lambda value: base64.b64encode(b"k" + value + b"; end"),
    "base64@2": lambda value: base64.b64encode(b"k=" + value + b"; end"),
    "base64url": base64.urlsafe_b64encode,
    "base64-nopad": lambda value: base64.b64encode(value).rstrip(b"="),
    "base64-wrapped-76": lambda value: wrapped(base64.b64encode(value), 76),
    "base64-twice": lambda value: base64.b64encode(base64.b64encode(value)),
    "hex": lambda value: value.hex().encode(),
    "hex-upper": lambda value: value.hex().upper().encode(),
    "hex-mixed-case": _mixed_case,
    "hex-separated": lambda value: value.hex(":").encode(),
    "url-all": each("%{:02X}"),
    "url-standard": lambda value: urllib.parse.quote_from_bytes(value, safe="").encode(),
    "url-double": lambda value: each("%{:02X}")(value).replace(b"%", b"%25"),
    "json-u": each("\\u{:04x}"),
    "json-in-json": _json_in_json,
    "backslash-x": each("\\x{:02x}"),
    "html-decimal": each("&#{:d};"),
    "html-hex": each("&#x{:x};"),
    "utf16le": lambda value: value.decode("latin-1").encode("utf-16-le"),
    "utf16be": lambda value: value.decode("latin-1").encode("utf-16-be"),
    "base32": base64.b32encode,
    "split-two-fields": _two_fields,
    "list-of-chars": lambda value: repr(list(value.decode("latin-1"))).encode(),
    "wrapped-lines-40": lambda value: wrapped(value, 40),
    "gzip-base64": lambda value: base64.b64encode(gzip.compress(value, mtime=0)),
}

_PUBLIC = re.compile(
    rb"\A(?:sk-[a-z]+-(?:[a-z]+\d*-|v1-)?|[A-Za-z][A-Za-z0-9]{1,5}[_.-]|eyJ[A-Za-z0-9_-]+\.)"
    rb"|-----(?:BEGIN|END) [A-Z ]+-----"
)
_CONSTANT_DER = re.compile(
    rb"MII[A-Za-z0-9+/]{3}IBADANBgkqhkiG9w0BAQEFAASC[A-Za-z0-9+/]{4}"
    rb"|MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg|MC4CAQAwBQYDK2VwBCIEI"
)
_SPACING = b" \t\r\n\0\"',:;[](){}<>\\|"
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_BASE32 = re.compile(rb"[A-Z2-7]{16,}")
_HEX = re.compile(rb"[0-9A-Fa-f]{22,}")
_SLASHED = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([0-7]{3})|(.))", re.DOTALL)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_STREAM_BYTES = 1 << 22


def private_part(value: bytes) -> list[bytes]:
    """Return the parts of `value` that tell it from others of its kind: without public starts and PEM frames."""
    return [part for part in _CONSTANT_DER.sub(b"\n", _PUBLIC.sub(b"\n", value)).split(b"\n") if len(part) > 3]


def recoverable(text: bytes, value: bytes, *, depth: int = 4) -> bool:
    """Say whether any 12 bytes in a row of `value` can be got back from `text` by undoing up to `depth` encodings."""
    parts = private_part(value)
    whole = b"".join(parts).translate(None, _SPACING)
    wanted = {whole[at : at + LEAK_BYTES] for at in range(len(whole) - LEAK_BYTES + 1)}
    wanted |= {part[at : at + LEAK_BYTES] for part in parts for at in range(len(part) - LEAK_BYTES + 1)}
    seen: set[bytes] = set()
    layers = [text]
    for _ in range(depth + 1):
        if any(_shows(form, wanted) for layer in layers for form in (layer, layer.translate(None, _SPACING))):
            return True
        seen.update(layers)
        layers = list({view for layer in layers for view in _decoded(layer)} - seen)
    return False


def _shows(text: bytes, wanted: set[bytes]) -> bool:
    return not wanted.isdisjoint(text[at : at + LEAK_BYTES] for at in range(len(text) - LEAK_BYTES + 1))


def _unslashed(match: re.Match[bytes]) -> bytes:
    four, two, octal, other = match.groups()
    if four or two:
        code = int(four or two, 16)
        return bytes([code]) if code < 256 else chr(code).encode("utf-8", "replace")
    if octal:
        return bytes([int(octal, 8) & 255])
    return {b"n": b"\n", b"t": b"\t", b"r": b"\r"}.get(other, bytes(other))


def _decoded(text: bytes) -> Iterator[bytes]:
    if b"%" in text:
        yield urllib.parse.unquote_to_bytes(text)
    if b"\\" in text:
        yield _SLASHED.sub(_unslashed, text)
    if b"&" in text:
        yield html.unescape(text.decode("latin-1")).encode("latin-1", "replace")
    for form in {text, text.translate(None, _SPACING), text.translate(None, b"\r\n")}:
        yield from _unpacked(form)
    for magic, bits in ((b"\x1f\x8b\x08", 31), (b"x\x9c", 15), (b"x\xda", 15), (b"x\x01", 15)):
        at = text.find(magic)
        while at >= 0:
            if opened := _inflated(text[at:], bits):
                yield opened
            at = text.find(magic, at + 1)


def _unpacked(text: bytes) -> Iterator[bytes]:
    for match in _BASE64.finditer(text):
        run = match[0].translate(_TO_STANDARD)
        for phase in range(4):
            piece = run[phase:]
            yield binascii.a2b_base64(piece[: len(piece) // 4 * 4])
            yield binascii.a2b_base64(piece[: (len(piece) - 2) // 4 * 4 + 2] + b"==") if len(piece) % 4 == 2 else b""
            yield binascii.a2b_base64(piece + b"=") if len(piece) % 4 == 3 else b""
    for match in _BASE32.finditer(text):
        for phase in range(8):
            piece = match[0][phase:]
            yield base64.b32decode(piece + b"A" * (-len(piece) % 8))
    for match in _HEX.finditer(text):
        for phase in range(2):
            piece = match[0][phase:]
            yield binascii.unhexlify(piece[: len(piece) // 2 * 2])


def _inflated(data: bytes, bits: int) -> bytes:
    try:
        return zlib.decompressobj(bits).decompress(data, _STREAM_BYTES)
    except zlib.error:
        return b""
