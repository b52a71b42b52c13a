"""Holds what the servers answer against what they say of themselves: every reply of the stands passes here.

The documents are read where they lie: that the servers say the same is a check of the tree (`python -m tools.openapi`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

DOCUMENTS = Path(__file__).parents[2] / "docs" / "openapi"


class Surface:
    """One OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        # A word before a parameter: /v1/accounts/transfers is no account.
        self._paths = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), item)
            for path, item in sorted(document["paths"].items(), key=lambda one: one[0].replace("{", "\x7f"))
        ]
        self._validators: dict[str, Any] = {}

    def check(self, method: str, path: str, status: int, media: str, body: bytes) -> None:
        """Fail when a reply's status, media type or body is not what the document says of it.

        Raises:
            AssertionError: It is not; a path or method that the document does not know is no route.
        """
        path = path.partition("?")[0]
        item = next((item for pattern, item in self._paths if pattern.fullmatch(path)), {})
        operation = item.get(method.lower())
        if operation is None:
            return
        said = f"{method} {path} answered {status}"
        answer = operation["responses"].get(str(status))
        assert answer is not None, f"{said}, which is not documented"
        if "$ref" in answer:
            answer = self._document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        content = answer.get("content", {})
        if not content:
            assert not body, f"{said} with a body"
            return
        media = media.partition(";")[0].strip()
        assert media in content, f"{said} as {media}"
        if media.endswith("json"):
            for error in self._validator(content[media]["schema"]).iter_errors(json.loads(body)):
                raise AssertionError(f"{said}: {error.message} at {list(error.instance_path)}")

    def _validator(self, schema: Mapping[str, Any]) -> Any:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": self._document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[key]


@cache
def surfaces() -> dict[str, Surface]:
    """The surfaces by their process."""
    return {file.stem: Surface(json.loads(file.read_text())) for file in DOCUMENTS.glob("*.json")}
