"""docs/sbom.json: every package that a lock file pins, as CycloneDX. ``python -m tools.sbom`` writes it, offline.

What the server's lock file pins is required; what only the developers' file pins is optional (tests, the embedded
servers of a trial). ``--check`` writes nothing and fails when the document differs from what would be written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from byokeep import __version__
from tools.check_lock import pins_of
from tools.tree import ROOT

DOCUMENT = "docs/sbom.json"
REQUIRED = ("client", "server")
OPTIONAL = ("dev", "bootstrap")


def components_of(root: Path) -> list[dict[str, str]]:
    """The pinned packages of all lock files, by name and version."""
    found: dict[tuple[str, str], str] = {}
    for lock in (*REQUIRED, *OPTIONAL):
        scope = "required" if lock in REQUIRED else "optional"
        for name, versions in pins_of((root / "requirements" / f"{lock}.txt").read_text()).items():
            for version in versions:
                found.setdefault((name, str(version)), scope)
    return [
        {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version,
         "purl": f"pkg:pypi/{name}@{version}", "scope": scope}
        for (name, version), scope in sorted(found.items())
    ]  # fmt: skip


def document(root: Path) -> str:
    """The whole document; the same lock files give the same bytes."""
    components = components_of(root)
    own = {"type": "application", "name": "byokeep", "version": __version__, "bom-ref": "byokeep"}
    content = json.dumps(components, sort_keys=True)
    made = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, content)}",
        "metadata": {"component": own}, "components": components,
    }  # fmt: skip
    return json.dumps(made, indent=1) + "\n"


def main() -> int:
    """Write the document, or compare it."""
    parser = argparse.ArgumentParser(description="Software bill of materials, from the lock files.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the document is out of date")
    wanted, path = document(ROOT), ROOT / DOCUMENT
    if not parser.parse_args().check:
        path.write_text(wanted)
        return 0
    if path.is_file() and path.read_text() == wanted:
        return 0
    print(f"{DOCUMENT}: out of date; run python -m tools.sbom")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
