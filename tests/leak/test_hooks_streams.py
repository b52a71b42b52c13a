"""Children, prints and crash reports: what passes a filtered descriptor."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from byokeep.redact.engine import RedactionFailed, Redactor
from byokeep.redact.hooks.streams import DescriptorHook, filtered
from tests.support.speech import guarded, leaks, opaque, program, shaped


async def test_a_crash_report_is_filtered_and_arrives() -> None:
    """faulthandler's report of a killed interpreter arrives through the filter, with its frames."""
    body = """
import faulthandler, byokeep.redact
GUARD.uninstall(); byokeep.redact.install(faulthandler=True)
def {name}(): faulthandler._sigsegv()
print('REACHED', flush=True); {name}()
"""
    value = shaped()
    name = "f_" + value.replace("-", "_")
    said = await program(body.replace("{name}", name), value, on=True, known=False)
    assert "Segmentation fault" in said
    assert "most recent call first" in said


@pytest.mark.req("R1.2-5")
async def test_children_and_prints_pass_the_filter(tmp_path: Any) -> None:
    """A child's standard error, and all that is written to a descriptor of this process, comes out cleaned."""
    value = opaque()
    child = [sys.executable, "-c", "import sys; sys.stderr.write('seen ' + sys.stdin.read() + ' end')"]
    for on in (True, False):
        with guarded(on, value) as installed, (tmp_path / f"{on}").open("wb+") as out:
            redactor = installed.redactor if installed else None
            if redactor is None:
                subprocess.run(child, input=value.encode(), stderr=out, check=True)
            else:
                with filtered(out.fileno(), redactor) as stderr:
                    running = await asyncio.create_subprocess_exec(*child, stdin=asyncio.subprocess.PIPE, stderr=stderr)
                    await running.communicate(value.encode())
                hook = DescriptorHook([out.fileno()], redactor)
                hook.place()
                os.write(out.fileno(), b"printed " + value.encode() + b" unended")
                hook.remove()
            os.write(out.fileno(), b"|after")
            said = (tmp_path / f"{on}").read_text()
        assert said.startswith("seen ")
        assert said.endswith("|after")
        assert leaks(said, value) is not on


@pytest.mark.req("R1.2-5")
async def test_bytes_that_can_not_be_cleaned_are_dropped(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the redactor fails, a stream says ``redaction_error`` and goes on."""
    value = opaque()

    def fails(*_: object) -> None:
        raise RedactionFailed("redaction_failed")

    with guarded() as installed, (tmp_path / "out").open("wb+") as out:
        assert installed is not None
        with monkeypatch.context() as broken, filtered(out.fileno(), installed.redactor) as stream:
            for name in ("text", "data", "value", "find"):
                broken.setattr(Redactor, name, fails)
            os.write(stream, b"seen " + value.encode() + b"\n")
            for _ in range(100):
                if (tmp_path / "out").read_text():
                    break
                await asyncio.sleep(0.05)
    said = (tmp_path / "out").read_text()
    assert "redaction_error" in said
    assert not leaks(said, value)
