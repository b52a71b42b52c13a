"""What of a browser's documents is a credential, and a HAR or storage state without its credentials.

A document says where its credentials stand: they are masked there, whatever they look like, and while the engine
redacts the rest it knows them, so what is repeated in an address or a body is masked as well.

Rules
- In a document names remain and values go; redacting twice changes nothing. In doubt a name says credential.
"""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import unquote

from byokeep_redact import engine
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.known import KnownValueRefused
from byokeep_redact.mask import MASKS

_TABLES: Final = files("byokeep_redact.hooks.browser").joinpath("browser.toml").read_text("utf-8")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
WORDS: Final = {name: frozenset(words) for table in tomllib.loads(_TABLES).values() for name, words in table.items()}
_ELEMENT_NAMES: Final = ("name", "id", "aria-label", "placeholder", "data-testid", "ng-model", "formcontrolname")


@lru_cache(maxsize=8192)
def is_credential(name: str) -> bool:
    """True when `name` (any case or style: `X-Api-Key`, `accessToken`, `csrf_token`) is a name for a credential."""
    words = [word.lower() for word in _WORD.findall(MASKS.sub("", name[:200]))]  # a mask says `cookie` and is none
    joined = "".join(words)
    if not words or joined in WORDS["public"]:
        return False
    if not WORDS["credential"].isdisjoint((*words, joined)) or joined.endswith(
        ("token", "secret", "password", "sessionid")
    ):
        return True
    return any(word in ("key", "keys") and words[at - 1] in WORDS["before_key"] for at, word in enumerate(words) if at)


def is_secret_element(attributes: Mapping[str, str]) -> bool:
    """True when a page element with these attributes takes or holds a password, one-time code, token or the like."""
    if attributes.get("type", "").lower() == "password":
        return True
    if not WORDS["autocomplete"].isdisjoint(attributes.get("autocomplete", "").lower().split()):
        return True
    return any(is_credential(attributes.get(name, "")) for name in _ELEMENT_NAMES)


MOST_VALUES: Final = 4000
_ADDRESSES: Final = frozenset({"url", "redirecturl", "documenturl", "location", "referer", ":path"})
_IN_ADDRESS: Final = re.compile(r"(?<=[?&#;])([^&;=?#\s]{1,200})=([^&;#\s]+)")
_FORM: Final = re.compile(r"[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*(?:&[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*)*")
_FORM_FIELD: Final = re.compile(r"(=)([^&]+)")


def redact_document(document: Any, redactor: Redactor | None = None) -> Any:
    """Return a parsed JSON document with its credentials masked. Raises RedactionFailed."""
    redactor = redactor or engine.default()
    by_place = _ByPlace(redactor)
    with failing_closed("document_not_redacted"):
        masked = by_place.node(document, "")
        with known_during(redactor, by_place.values):
            return redactor.value(masked)


@contextmanager
def failing_closed(code: str = "picture_not_taken") -> Iterator[None]:
    """Let whatever goes wrong out as RedactionFailed with a code, and nothing of what was worked on."""
    try:
        yield
    except RedactionFailed:
        raise
    except Exception:  # a defect here must let nothing raw through
        raise RedactionFailed(code) from None


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
        if isinstance(node, dict | list) and low in WORDS["stores"]:
            return self._stored(node)
        if isinstance(node, dict):
            return self._mapping(node, low)
        if isinstance(node, list):
            return [self.node(item, key) for item in node]
        if is_credential(key):
            return self._mask("field", node)
        if not isinstance(node, str):
            return node
        return self._posted(node) if low == "postdata" else self._address(node) if low in _ADDRESSES else node

    def _mapping(self, node: dict[str, Any], place: str) -> dict[str, Any]:
        out = {key: self.node(item, key) for key, item in node.items()}
        name, value, text = node.get("name"), node.get("value"), node.get("text")
        if isinstance(name, str) and isinstance(value, str):
            if place == "cookies" or not WORDS["cookie_marks"].isdisjoint(node):
                out["value"] = self._mask("cookie", value)
            elif place == "params" or _is_parameter(name):
                out["value"] = self._mask("field", value)
            elif name.lower() in _ADDRESSES:
                out["value"] = self._address(value)
        if place == "postdata" and isinstance(text, str):
            out["text"] = self._posted(text)
        if node.get("encoding") == "base64" and isinstance(text, str) and not (MASKS.search(text) or _is_text(text)):
            out["text"] = ""
        return out

    def _stored(self, node: Any) -> Any:
        """Mask every text and number below a store; what names things stays."""
        if isinstance(node, list):
            return [self._stored(item) for item in node]
        if not isinstance(node, dict):
            return self._mask("storage", node)
        return {
            name: item if name.lower() in WORDS["store_names"] else self._stored(item) for name, item in node.items()
        }

    def _address(self, text: str) -> str:
        """Mask what stands in an address under a name for a credential, however short it is."""

        def masked(found: re.Match[str]) -> str:
            raw = found[2].encode("utf-8", "surrogatepass")
            if not _is_parameter(unquote(found[1])) or self._redactor.is_mask(raw):
                return found[0]
            return f"{found[1]}={self._redactor.mask_of(raw, 'field')}"

        return _IN_ADDRESS.sub(masked, text)

    def _posted(self, text: str) -> str:
        """Leave JSON to the engine; of a form keep the names alone, and of any other body nothing."""
        if text.lstrip()[:1] in ("{", "["):
            return text
        if not _FORM.fullmatch(text):
            return str(self._mask("field", text))
        return _FORM_FIELD.sub(lambda found: found[1] + self._mask("field", found[2]), text)


def _is_parameter(name: str) -> bool:
    return name.lower() in WORDS["parameters"] or is_credential(name)


def _is_text(encoded: str) -> bool:
    try:
        base64.b64decode(encoded, validate=True).decode("utf-8")
    except ValueError:
        return False
    return True
