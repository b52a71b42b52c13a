"""Redact a HAR, a storage state or events of the browser's protocol: JSON that says where its credentials stand.

Cookies, headers, parameters, form fields and stored items are masked where they stand, whatever they look like. While
the engine redacts the rest it knows these values, so what is repeated in an address or a body is masked there as well.
Rules: names remain, values go; bytes that are no text are left out; redacting twice changes nothing. It may not write
files: the caller keeps the document that is returned.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from byokeep_redact import engine
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.browser.credential_names import is_credential
from byokeep_redact.known import KnownValueRefused

MOST_VALUES: Final = 4000
_STORES: Final = frozenset(("localstorage", "sessionstorage", "indexeddb", "credentials"))
_STORE_NAMES: Final = frozenset(("name", "keypath", "keypatharray", "version", "autoincrement", "multientry", "unique"))
_COOKIE_MARKS: Final = frozenset(("domain", "httpOnly", "sameSite", "path", "expires"))
# Short names that mean a credential in an address or a form, and anything at all elsewhere.
_PARAMETERS: Final = frozenset(("code", "key", "state", "ticket", "verifier", "id_hint", "login_hint", "hash"))
_FORM: Final = re.compile(r"[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*(?:&[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*)*")
_FORM_FIELD: Final = re.compile(r"(=)([^&]+)")


def redact_document(document: Any, redactor: Redactor | None = None) -> Any:
    """Return a parsed JSON document with its credentials masked. Raises RedactionFailed."""
    redactor = redactor or engine.default()
    by_place = _ByPlace(redactor)
    try:
        masked = by_place.node(document, "")
        with known_during(redactor, by_place.values):
            return redactor.value(masked)
    except RedactionFailed:
        raise
    except Exception:  # a defect here must not let a raw document through
        raise RedactionFailed("document_not_redacted") from None


@contextmanager
def known_during(redactor: Redactor, values: Mapping[str, str]) -> Iterator[list[str]]:
    """Let the redactor know `values` (each with its kind) during the block; give those too weak to be known.

    Raises ValueError when there are more than MOST_VALUES.
    """
    if len(values) > MOST_VALUES:
        raise ValueError("too_many_credentials")
    weak = []
    with ExitStack() as held:
        for value, kind in values.items():
            try:
                held.enter_context(redactor.register(value, kind))
            except KnownValueRefused:
                weak.append(value)
        yield weak


class _ByPlace:
    """Masks what is a credential by where it stands, and remembers it in `values`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.values: dict[str, str] = {}

    def _mask(self, kind: str, value: Any) -> Any:
        text = str(value)
        raw = text.encode("utf-8", "surrogatepass")
        if value is None or isinstance(value, bool) or not text or self._redactor.is_mask(raw):
            return value
        if text[0] not in "{[":  # pieces of a document's punctuation would be found everywhere
            self.values[text] = kind
        return self._redactor.mask_of(raw, kind)

    def node(self, node: Any, key: str) -> Any:
        """Return the value at `key` of its parent with everything in it handled."""
        low = key.lower()
        if isinstance(node, dict | list) and low in _STORES:
            return self._stored(node)
        if isinstance(node, dict):
            return self._mapping(node, low)
        if isinstance(node, list):
            return [self.node(item, key) for item in node]
        if is_credential(key):
            return self._mask("field", node)
        return self._posted(node) if low == "postdata" and isinstance(node, str) else node

    def _mapping(self, node: dict[str, Any], place: str) -> dict[str, Any]:
        out = {key: self.node(item, key) for key, item in node.items()}
        name, value, text = node.get("name"), node.get("value"), node.get("text")
        if isinstance(name, str) and isinstance(value, str):
            if place == "cookies" or not _COOKIE_MARKS.isdisjoint(node):
                out["value"] = self._mask("cookie", value)
            elif place == "params" or name.lower() in _PARAMETERS or is_credential(name):
                out["value"] = self._mask("field", value)
        if place == "postdata" and isinstance(text, str):
            out["text"] = self._posted(text)
        if node.get("encoding") == "base64" and isinstance(text, str) and not _is_text(text):
            out["text"] = ""
        return out

    def _stored(self, node: Any) -> Any:
        """Mask every text and number below a store; what names things stays."""
        if isinstance(node, list):
            return [self._stored(item) for item in node]
        if not isinstance(node, dict):
            return self._mask("storage", node)
        return {name: item if name.lower() in _STORE_NAMES else self._stored(item) for name, item in node.items()}

    def _posted(self, text: str) -> str:
        """Leave JSON to the engine; of a form keep the names alone, and of any other body nothing."""
        if text.lstrip()[:1] in ("{", "["):
            return text
        if not _FORM.fullmatch(text):
            return str(self._mask("field", text))
        return _FORM_FIELD.sub(lambda found: found[1] + self._mask("field", found[2]), text)


def _is_text(encoded: str) -> bool:
    try:
        base64.b64decode(encoded, validate=True).decode("utf-8")
    except ValueError:
        return False
    return True
