"""docs/openapi/ and docs/errors.md are what both surfaces say of themselves: ``python -m tools.openapi [--write]``.

A change of a route, a field or a status is a change of these documents, so it shows in the diff that somebody reviews.
Every reference in them leads somewhere, and no two operations have one id.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from tools import error_codes
from tools.tree import ROOT, Fault, report

sys.path.insert(0, str(ROOT / "src"))


def documents() -> dict[str, dict[str, Any]]:
    """Each document by its file, of applications behind which nothing stands."""
    from byokeep.broker.app import described  # noqa: PLC0415 - found by the path above
    from byokeep.core.model import Environment  # noqa: PLC0415
    from byokeep.kernel.app import ServiceLimits  # noqa: PLC0415
    from byokeep.web.app import create_app  # noqa: PLC0415

    ports: Any = SimpleNamespace(environment=Environment.DEVELOPMENT, clock=None, limits=ServiceLimits())
    nobody: Any = None
    web = create_app(ports, nobody, broker_address="http://broker", broker_document=described)
    return {"docs/openapi/broker.json": described(), "docs/openapi/web.json": web.openapi()}


def text_of(document: Mapping[str, Any]) -> str:
    """A document as its file has it."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def faults_of(name: str, document: Mapping[str, Any]) -> Iterator[Fault]:
    """References that lead nowhere, schemas that nothing names, ids that two operations share, replies of any shape."""
    named = set(references(document))
    for schema in document["components"].get("schemas", {}):
        if f"#/components/schemas/{schema}" not in named:
            yield Fault(name, 0, f"nothing names the schema {schema}")
    for reference in sorted(named):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
        if found is None:
            yield Fault(name, 0, f"{reference} leads nowhere")
    seen: set[str] = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if operation["operationId"] in seen:
                yield Fault(name, 0, f"two operations are called {operation['operationId']}")
            seen.add(operation["operationId"])
            for status, answer in operation["responses"].items():
                schemas = [one.get("schema") for one in answer.get("content", {}).values()]
                if status not in ("204",) and "$ref" not in answer and not (schemas and all(schemas)):
                    yield Fault(name, 0, f"{method.upper()} {path} says nothing of its reply {status}")


def references(node: object) -> Iterator[str]:
    """Every ``$ref`` in a document."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def main() -> int:
    """Compare, or write."""
    faults: list[Fault] = []
    looked_at = 0
    pages = {}
    for name, document in documents().items():
        pages[name] = text_of(document)
        looked_at += sum(len(item) for item in document["paths"].values())
        faults += faults_of(name, document)
    pages[error_codes.PAGE], unknown = error_codes.page(sys.modules.copy())
    for name, text in pages.items():
        path = ROOT / name
        if "--write" in sys.argv[1:]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            faults.append(
                Fault(name, 0, "differs from what the processes say of themselves; run python -m tools.openapi --write")
            )
    return report("openapi", faults + unknown, looked_at)


if __name__ == "__main__":
    raise SystemExit(main())
