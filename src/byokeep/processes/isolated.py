"""The process that holds what a recovery drill restored: without a network if the system allows it.

Rules
- It is given the settings file of the drill's home and nothing else: no credential of another installation. Its own
  credentials work nowhere else, because the restore made new ones.
- Store, database and broker are its children or itself, so none of them has a network that it lacks. They listen on
  sockets of files. It writes in its home which namespace it is in: nobody else may look into a hardened process.

It may not ask a provider or a platform anything: whoever started it does.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Final

from byokeep.browser.namespace import leave_network
from byokeep.process import harden
from byokeep.settings import load

NETWORK: Final = "network"  # in the home of the drill


def leave_and_tell(home: Path) -> None:
    """Leave the network if the system allows it, and write in ``home`` which one this process has."""
    leave_network()  # first, while the process has one thread
    with contextlib.suppress(OSError):  # then nobody knows
        (home / NETWORK).write_text(str(Path("/proc/self/ns/net").readlink()))


if __name__ == "__main__":
    harden()
    leave_and_tell(Path(sys.argv[1]).parent)
    from byokeep.processes.serve import serve

    serve("drill", load(Path(sys.argv[1])))
