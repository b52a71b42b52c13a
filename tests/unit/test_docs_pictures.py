"""The pictures of the documents: each is there, shown, taken by ``make pictures``, and together they are small."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What tests/flows/test_pictures.py takes.
PICTURES = ("console-attention", "console-client", "console-key", "console-kill", "portal-home", "portal-key")


def test_each_picture_is_shown_and_is_there() -> None:
    """What documents show, what lies there and what is taken are the same pictures; each says what it shows."""
    shown: dict[str, str] = {}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for words, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            shown[str((page.parent / path).resolve().relative_to(ROOT))] = words
    assert set(shown) == {f"docs/images/{name}.png" for name in PICTURES}
    assert [path for path, words in shown.items() if len(words) < 20] == []
    there = list((ROOT / "docs/images").iterdir())
    assert {one.name for one in there} == {f"{name}.png" for name in PICTURES}
    assert all(one.read_bytes().startswith(b"\x89PNG") for one in there)
    assert sum(one.stat().st_size for one in there) < 600_000
