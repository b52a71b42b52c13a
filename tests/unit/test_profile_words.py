"""What the command line says of a profile that another has open, and of what it would replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from byokeep.cli import evidence, terminal
from byokeep.core.errors import Rejected
from byokeep.profiles import cli
from byokeep.settings import Settings

PROFILE = UUID("7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e")
JOB, SINCE = "job-1", "2026-05-01T12:00:00Z"


@pytest.fixture(autouse=True)
def _flags(tmp_path: Path) -> Any:
    mark = terminal.current.set(
        terminal.TerminalSession(Settings(home=tmp_path), False, given={"token-file": "me.token"})
    )
    yield
    terminal.current.reset(mark)


def answered(monkeypatch: pytest.MonkeyPatch, *, is_open: bool) -> None:
    async def call(method: str, path: str, **_: Any) -> dict[str, Any]:
        if path.endswith("/history"):
            return {"opening": {"open": is_open, "job": JOB, "opened_at": SINCE}}
        return work("waiting", "")

    monkeypatch.setattr(cli, "call", call)


def work(state: str, reason: str) -> dict[str, Any]:
    return {"work": "work-1", "kind": "shred", "state": state, "reason": reason, "result": "", "generation": None}


def test_who_has_it_open_is_named_and_it_is_a_conflict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 6, with the job and since when; once nobody has it open, what to do is said without one."""
    for is_open in (True, False):
        answered(monkeypatch, is_open=is_open)
        assert cli._told(PROFILE, work("failed", "profile_in_use"), note="") == 6
        said = "".join(capsys.readouterr())
        assert (JOB in said, SINCE.replace("T", " ") in said, "ask again" in said) == (is_open, is_open, True)


def test_a_destruction_says_that_it_is_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asking goes through, and says that nothing can be destroyed until the job has ended."""
    for is_open in (True, False):
        answered(monkeypatch, is_open=is_open)
        assert cli.shred(PROFILE) == 0
        assert ("Until then nothing can be destroyed" in "".join(capsys.readouterr())) is is_open


def test_what_can_not_be_meant_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """Generation 0, and a file that is there: no server is asked, the file stays as it was."""
    with pytest.raises(Rejected, match="no_such_generation") as refused:
        cli.restore(PROFILE, 0)
    assert refused.value.next_step.startswith("Generations start at 1")
    kept = tmp_path / "evidence.json"
    kept.write_bytes(b"signed")
    with pytest.raises(Rejected, match="file_exists"):
        evidence.export(PROFILE, kept)
    assert kept.read_bytes() == b"signed"
