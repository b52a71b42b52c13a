"""The process that holds what a recovery drill restored: without a network where the system allows it.

Rules
- It is given the settings file of the drill's home and nothing else: no credential of another installation, and its own
  admit it nowhere else, for the restore made them anew.
- Store, database and broker are its children or itself, so none of them has a network that it has not; they listen on
  sockets of files. Whoever started it looks at its namespace by itself.

It may not ask a provider or a platform anything: whoever started it does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from byokeep.browser.namespace import leave_network
from byokeep.process import harden
from byokeep.settings import load

if __name__ == "__main__":
    harden()
    leave_network()  # first: while the process has one thread
    from byokeep.processes.serve import serve

    serve("drill", load(Path(sys.argv[1])))
