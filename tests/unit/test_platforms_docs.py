"""docs/platforms.md is made from the catalog."""

from __future__ import annotations

import pytest

from byokeep.core.fault import FaultCause
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from tools import platforms_page

PAGE = platforms_page.PAGE.read_text("utf-8")


def test_the_page_is_what_the_catalog_says() -> None:
    """Nothing between the marks was written by hand or left behind."""
    assert platforms_page.faults() == []
    assert all(f"| `{name}` |" in PAGE for name in PLATFORM_DESCRIPTORS)


def test_a_page_that_says_something_else_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edited table is found, and a page without its marks is refused."""
    edited = PAGE.replace("| `skool` | `skool` | none |", "| `skool` | `skool` | code |")
    assert edited != PAGE
    assert platforms_page.page(edited) == PAGE
    with pytest.raises(ValueError, match="marks"):
        platforms_page.page("# Social platforms\n")


def test_every_word_for_a_refusal_is_explained() -> None:
    """The page's table of words is the closed list."""
    _, _, rest = PAGE.partition("\n## What a refusal means\n")
    section = rest.partition("\n## ")[0]
    words = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert words == {cause.value for cause in FaultCause}
