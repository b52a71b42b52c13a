"""What somebody reads who looks at a picture: text by character recognition (Tesseract)."""

from __future__ import annotations

import os
import re
import subprocess


def read(picture: bytes) -> str:
    """Return the text of a PNG, in lower case, without blanks and signs: these are what recognition gets wrong."""
    command = ["tesseract", "-", "-", "--dpi", "96", "--psm", "6"]
    alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}  # its threads wait for each other longer than they work
    done = subprocess.run(command, input=picture, check=True, capture_output=True, timeout=60, env=alone)
    return plain(done.stdout.decode())


def plain(text: str) -> str:
    """Return a text in the form in which :func:`read` returns it."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
