"""A small ext4 file system in a file, so that a test can read every block of the disk, deleted ones too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep


@dataclass
class LoopDisk:
    """A mounted disk and the file that it is."""

    mounted: Path
    image: Path

    def found(self, *canaries: Canary) -> set[str]:
        """Return which canaries stand anywhere on the raw disk, in any encoding, deleted or not."""
        subprocess.run(["sync", "-f", str(self.mounted)], check=True)
        os.sync()
        report = Sweep(canaries).scan_file(self.image)
        assert not report.unreadable or report.findings, "the disk could not be read to its end"
        return {finding.label for finding in report.findings}


@contextmanager
def loop_disk(place: Path, megabytes: int = 48) -> Iterator[LoopDisk]:
    """Make and mount one; fails where that is not allowed."""
    image, mounted = place / "disk.img", place / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
    made = subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=False, capture_output=True)
    assert made.returncode == 0, (
        "these tests mount a disk image: run them as root, with CAP_SYS_ADMIN and a loop device"
    )
    try:
        yield LoopDisk(mounted, image)
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)
