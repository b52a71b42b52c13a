"""Says whether submitted bytes can be a key of a provider at all, before anything is stored.

Rules
- A refusal carries a code and the provider's name, never the value, its length or a part of it.
- Nothing is repaired here: what would have to be stripped is refused.
- The loose pattern decides what may be stored; the strict patterns of the others say "wrong slot".
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NoReturn

from byokeep.adapters.providers.descriptor import DESCRIPTORS, ProviderDescriptor
from byokeep.core.errors import Rejected

_NEXT_STEPS: Final = {
    "empty_value": "Submit the key; nothing or only blanks arrived.",
    "too_short": "Copy the whole key from the provider's page.",
    "too_long": "Submit the key alone, without anything around it.",
    "control_characters": "Copy the key again as plain text; it holds control characters.",
    "whitespace_inside": "Remove the blanks; a header name such as Bearer is not part of the key.",
    "not_ascii": "Copy the key again as plain text; a program replaced some of its characters.",
    "invisible_characters": "Copy the key again as plain text; it holds characters that cannot be seen.",
    "code_fence": "Submit the key alone, without the code fence.",
    "quoted": "Submit the key without the quotes around it.",
    "json_not_key": "Submit the key alone; this is a JSON document.",
    "pem_not_key": "This is a PEM block, not an API key.",
    "trailing_newline": "Submit the key without the line end.",
    "format_mismatch": "Check that the key belongs to this provider and was copied whole.",
    "use_profile_vault": "This is a browser session, not a key; a person logs in with `byokeep profile login`.",
    "unknown_provider": "Use the provider's exact id.",
}
# Cookies as headers, as pairs with `;`, as Netscape's file, as JSON of tools, as Chromium's database (R2.1-11).
_SESSION: Final = re.compile(
    rb"(?:(?:set-)?cookie2?\s*:|# (?:netscape )?http cookie file|sqlite format 3\0"
    rb"|[!#$%&'*+.^_`|~0-9a-z-]{1,64}=[^;\s]*;\s*[!-~]+|[^\t\r\n]{1,255}\t(?:true|false)\t/[^\t]*\t(?:true|false)\t\d+\t)",
    re.IGNORECASE,
)
_SESSION_WORDS: Final = re.compile(rb'"(?:cookies|domain|hostOnly|httpOnly|sameSite|localStorage)"\s*:')
_QUOTES: Final = (b'"', b"'", b"`")
_INVISIBLE: Final = frozenset({"Cf", "Zs", "Zl", "Zp", "Mn"})


def check_format(provider: str, value: bytes, *, accept_shape_mismatch: bool = False) -> None:
    """Refuse bytes that can not be a key of this provider.

    Args:
        provider: Internal provider id, exactly as in ``DESCRIPTORS``.
        value: The submitted bytes.
        accept_shape_mismatch: An operator gave a reason for storing an unusual key. Lifts ``format_mismatch`` only.

    Raises:
        Rejected: ``unknown_provider``, or one of ``empty_value``, ``too_short``, ``too_long``,
            ``control_characters``, ``whitespace_inside``, ``not_ascii``, ``invisible_characters``, ``code_fence``,
            ``quoted``, ``json_not_key``, ``pem_not_key``, ``trailing_newline``, ``use_profile_vault``,
            ``format_mismatch``.
    """
    descriptor = DESCRIPTORS.get(provider)
    if descriptor is None:
        raise Rejected("unknown_provider", next_step=_NEXT_STEPS["unknown_provider"])
    code = _not_a_key(value, descriptor) or _bad_characters(value) or _bad_length(value, descriptor)
    if code:
        _refuse(code, provider)
    if not accept_shape_mismatch and not _shape_fits(value.decode("ascii"), descriptor):
        _refuse("format_mismatch", provider)


def _refuse(code: str, provider: str) -> NoReturn:
    raise Rejected(code, next_step=_NEXT_STEPS[code], provider=provider) from None


def _not_a_key(value: bytes, descriptor: ProviderDescriptor) -> str:
    start = value[:64].lstrip()
    if _SESSION.match(start.lstrip(b"\"'")) or (start[:1] in (b"{", b"[") and _SESSION_WORDS.search(value[:4096])):
        return "use_profile_vault"
    if not value.strip():
        return "empty_value" if len(value) <= descriptor.shape.max_length else "too_long"
    if start.startswith(b"```"):
        return "code_fence"
    if start[:1] in _QUOTES or value[-64:].rstrip()[-1:] in _QUOTES:
        return "quoted"
    if start.startswith(b"-----BEGIN"):
        return "pem_not_key"
    if start.startswith((b"{", b"[")):
        return "json_not_key"
    # Four bytes for each character: a confusable text of the right length is told what is wrong with it.
    return "too_long" if len(value) > 4 * descriptor.shape.max_length else ""


def _bad_characters(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "not_ascii"
    odd = {unicodedata.category(c) for c in text if ord(c) > 127}
    if odd & _INVISIBLE:
        return "invisible_characters"
    if odd:
        return "not_ascii"
    if "```" in text:
        return "code_fence"
    if text.endswith(("\n", "\r")) and not any(ord(c) < 32 for c in text.rstrip("\r\n")):
        return "trailing_newline"
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        return "control_characters"
    return "whitespace_inside" if " " in text else ""


def _bad_length(value: bytes, descriptor: ProviderDescriptor) -> str:
    if len(value) > descriptor.shape.max_length:
        return "too_long"
    return "too_short" if len(value) < descriptor.shape.min_length else ""


def _shape_fits(text: str, descriptor: ProviderDescriptor) -> bool:
    own = any(pattern.fullmatch(text) for pattern in descriptor.shape.accept)
    others = (d for d in DESCRIPTORS.values() if d.provider != descriptor.provider)
    return own and not any(pattern.fullmatch(text) for other in others for pattern in other.shape.recognise)
