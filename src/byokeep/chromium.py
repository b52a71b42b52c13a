"""Where this machine's Chromium is. It comes with the operating system; Playwright's own download is never used.

Rules: one place knows the names; found by looking, so there is no setting for it; nothing is started here.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from byokeep.core.errors import Unavailable

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_BESIDE_PATH: Final = ("/usr/bin", "/usr/local/bin", "/snap/bin")  # a service's PATH may be short


def find_chromium() -> Path:
    """Return the path of the browser to start.

    Raises:
        Unavailable: ``chromium_missing``, there is none under any of ``NAMES``.
    """
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *_BESIDE_PATH))
    for name in NAMES:
        if found := shutil.which(name, path=places):
            return Path(found)
    raise Unavailable("chromium_missing", next_step="Install it: apt-get install chromium")
