"""The ``byokeep`` command.

Rules
- A secret is read from standard input, a file descriptor or a prompt without echo; never from an argument or the
  environment. An argument shaped like one is refused and not printed back.
- Results go to standard output, everything else to standard error. ``--json`` prints one JSON document.
- Exit codes: 0 done, 2 rejected input, 3 denied, 4 unavailable, 5 integrity, 6 conflict,
  7 it holds and a part is still to follow.
- The SDK's install has no command line: it says what is missing and how to get it.
- Commands that run servers import them when called, so the client's install stays light.
"""

import sys

try:
    from byokeep.cli.main import main
except ModuleNotFoundError as error:
    if error.name not in ("cryptography", "cyclopts", "rich"):
        raise
    step = "Install the command line, from a checkout: pip install '/path/to/byokeep[cli]'."
    sys.stderr.write(f"unavailable: part_not_installed\n{step}\n")
    sys.exit(4)

__all__ = ["main"]
