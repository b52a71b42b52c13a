"""Whether a run of letters and digits was drawn by chance or written by people: names, words, paths, numbers.

Rule: an estimate, used only to refuse what a rule matched; it never makes a secret of anything.
"""

from __future__ import annotations

from typing import Final

_SAMPLE: Final = 256


def _class(byte: int) -> int:
    if 97 <= byte <= 122:
        return 1
    if 65 <= byte <= 90:
        return 2
    return 3 if 48 <= byte <= 57 else 4


def drawn(text: bytes) -> bool:
    """Return whether `text` looks drawn by chance. Only its first 256 bytes are looked at."""
    sample = text[:_SAMPLE]
    if len(sample) < 8:
        return False
    classes = [_class(byte) for byte in sample]
    changes = sum(left != right for left, right in zip(classes, classes[1:], strict=False))
    return changes / (len(sample) - 1) >= 0.36 and len(set(sample)) >= min(8, len(sample) // 2)
