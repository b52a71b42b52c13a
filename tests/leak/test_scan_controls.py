"""The positive control: a leak search is believed only after it found everything that was planted."""

from __future__ import annotations

import dataclasses

import pytest

from byokeep_redact import scan
from byokeep_redact.canary import PROVIDERS, Canary, new_canary
from byokeep_redact.known import KnownValues
from byokeep_redact.scan import positive_control
from byokeep_redact.search import ControlResult, Limits, Sweep

FIRST = "google"


@pytest.mark.parametrize(
    "provider", [FIRST, *(pytest.param(one, marks=pytest.mark.campaign) for one in PROVIDERS if one != FIRST)]
)
def test_everything_planted_is_found(provider: str) -> None:
    """Every encoding in every kind of place is found; in a campaign for keys of every provider."""
    result = positive_control(lambda: new_canary(provider))
    assert result.missed == ()
    assert result.planted == len(scan.ENCODINGS) * 13
    assert result.passed


def test_search_that_cannot_open_archives_fails_its_control() -> None:
    """A search whose limits keep it from opening anything misses what is packed, and its reports are void."""
    result = positive_control(lambda: new_canary("anthropic"), limits=Limits(opened_bytes=0, stream_bytes=0))
    assert "old.log.gz/plain" in result.missed
    assert "text.log/gzip" in result.missed
    assert "text.log/plain" not in result.missed
    report = Sweep([Canary("x", new_canary("kie"))]).scan_bytes(b"words", source="s")
    assert report.clean
    void = dataclasses.replace(report, control=result)
    assert void.void
    assert not void.clean


def test_search_that_finds_nothing_fails_its_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken engine that never finds anything misses all that was planted."""
    monkeypatch.setattr(KnownValues, "search", lambda _self, _data: [])
    result = positive_control(lambda: new_canary("kie"))
    assert len(result.missed) == result.planted
    assert not result.passed


def test_control_that_planted_nothing_has_not_passed() -> None:
    """Zero planted and zero missed is no proof."""
    assert not ControlResult(0, ()).passed
