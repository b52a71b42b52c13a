"""What a project's settings name, tried before anything is run: one fault is said once, and not by every class.

Rules: the functions are imported in a process of their own, as the stages will import them, so that the project's
logging is not set up in the judge's; nothing that an import printed or raised is repeated but the names of modules.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from byokeep_redact.errors import Rejected
from byokeep_redact.pack.own import load_own

_MARK: Final = "leak-pack: "
_IMPORT_S: Final = 60


def faults(references: Mapping[str, str], corpus: str, root: Path, environment: Mapping[str, str]) -> list[str]:
    """Say which settings name something that can not be used; an empty list when all can.

    Args:
        references: Name of a setting -> ``module:function``; an empty one is not set.
        corpus: Path of a corpus, or empty.
        root: Where the modules are imported from.
        environment: Variables of the process that imports them.
    """
    found = [
        f"{setting} = {reference}: {why}"
        for setting, reference in references.items()
        if reference and (why := _tried(reference, root, environment))
    ]
    try:
        if corpus:
            load_own(Path(corpus), "")
    except Rejected as error:
        entry = error.fields["entry"]
        why = "cannot be read, or is no TOML of the form that it must have" if entry == "file" else f"{entry} is wrong"
        found.append(f"secrets_leak_corpus = {corpus}: {why}")
    return found


def _tried(reference: str, root: Path, environment: Mapping[str, str]) -> str:
    """Import a function in a process of its own; say why it can not be used, or nothing."""
    command = [sys.executable, "-m", __name__, reference]
    try:
        ran = subprocess.run(
            command, cwd=root, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, timeout=_IMPORT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not imported within {_IMPORT_S} seconds"
    said = [line.partition(_MARK)[2] for line in ran.stdout.decode("utf-8", "replace").split("\n") if _MARK in line]
    return said[-1] if said else f"its import ended the process with exit code {ran.returncode}"


def why_not(reference: str) -> str:
    """Say why ``module:function`` can not be used; nothing when it can."""
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        return "must be module:function"
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        missing = error.name or module
        return f"there is no module {missing}" if module.startswith(missing) else f"{module} needs a module {missing}"
    except Exception as error:
        return f"importing {module} raises {type(error).__name__}"
    if found is None:
        return f"module {module} has no {name}"
    return "" if callable(found) else f"{name} in {module} is not a function"


if __name__ == "__main__":
    sys.stdout.write(f"\n{_MARK}{why_not(sys.argv[1])}\n")
