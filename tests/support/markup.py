"""Each page that ``web`` sent, as it was sent, and where it is not the HTML of the standard (html-validate)."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import npm, together

JUDGES = Path(__file__).parent / "pages"
SENT: dict[str, str] = {}  # by number, method and path; what is alike but for ids, times and words of forms is one
_KNOWN: set[str] = set()
_PLANTED = '<!DOCTYPE html><html lang="en"><head><title>A</title></head><body><p><div></div></p></body></html>'
_VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=name=\"form\" value=\")[^\"]+|\d+")


class Kept:
    """Keeps each page of HTML that passes, before a browser mends what it reads."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body: bytearray | None = None

        async def keep(message: MutableMapping[str, Any]) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                body = bytearray() if kind.startswith(b"text/html") else None
            elif body is not None:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    text = body.decode()
                    if (alike := _VARIES.sub("", text)) not in _KNOWN:
                        _KNOWN.add(alike)
                        SENT[f"{len(SENT)} {scope['method']} {scope['path']}"] = text
            await send(message)

        await self.app(scope, receive, keep)


def forget() -> None:
    """Keep only what is sent from now on."""
    SENT.clear()
    _KNOWN.clear()


@pytest.fixture(scope="session")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which axe-core and html-validate are installed, by the first process of a run that needs them."""
    place = together.shared(tmp_path_factory)
    with (place / "judges.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (ready := place / "judges-ready").exists():
            npm.installed(JUDGES, place / "judges", "judges pages with axe-core and html-validate")
            ready.touch()
    return place / "judges"


def faults_of(judges: Path, texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Where each text is not the HTML of the standard, by its name; a text that is has no entry."""
    assert texts
    names = [*texts, _PLANTED]
    place = Path(tempfile.mkdtemp(dir=judges))
    for number, text in enumerate([*texts.values(), _PLANTED]):
        (place / f"{number}.html").write_text(text)
    command = ["node_modules/.bin/html-validate", "--formatter=json", "--preset=standard,document",
               "--rule=require-sri:off", *(f"{place.name}/{number}.html" for number in range(len(names)))]  # fmt: skip
    done = subprocess.run(command, cwd=judges, check=False, capture_output=True, text=True, timeout=120)
    faults: dict[str, list[str]] = {}
    for file in json.loads(done.stdout):
        said = [f"{one['ruleId']}: {one['message']} (line {one['line']})" for one in file["messages"]]
        faults.setdefault(names[int(Path(file["filePath"]).stem)], []).extend(said)
    assert "close-order" in str(faults.pop(_PLANTED)), "it finds nothing"
    return faults
