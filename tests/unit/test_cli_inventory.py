"""How ``byokeep key inventory`` ends: only what was compared and agrees ends with nothing."""

from __future__ import annotations

from typing import Any

import pytest

from byokeep.cli import key


@pytest.mark.req("R2.3-8")
@pytest.mark.parametrize(("result", "code"), [("match", 0), ("findings", 5), ("unknown", 4), ("odd", 4)])
def test_what_differs_or_is_not_known_is_no_success(monkeypatch: pytest.MonkeyPatch, result: str, code: int) -> None:
    """Something strange ends with 5; what could not be compared, or a word that nobody knows, with 4."""
    printed: list[Any] = []
    found = {"result": result, "items": [], "apps": [], "keys": [], "orphans": [], "findings": [], "checked": []}
    monkeypatch.setattr(key, "call", lambda *_: None)
    monkeypatch.setattr(key, "run", lambda _: found)
    monkeypatch.setattr(key, "tell_all", lambda document, *_: printed.append(document))
    assert key.inventory(fresh=False) == code
    assert printed == [found]
