"""Finding the system's Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from byokeep import chromium
from byokeep.core.errors import Unavailable


def test_found_on_the_path_in_order_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of a known name is found; a file that cannot be run is none; the first name wins."""
    monkeypatch.setattr(chromium, "_BESIDE_PATH", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "chromium").write_text("no program")
    with pytest.raises(Unavailable) as refused:
        chromium.find_chromium()
    assert refused.value.code == "chromium_missing"
    other = tmp_path / "google-chrome"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert chromium.find_chromium() == other
    (tmp_path / "chromium").chmod(0o755)
    assert chromium.find_chromium() == tmp_path / "chromium"
