"""The walk through what a browser records: HAR, Playwright traces, CDP events and storage state are all JSON, and each
says by its form where cookies, headers, parameters, typed text and bodies stand.

Rules: the walk knows the forms, a `Handling` decides what happens to a value. The same walk runs twice: once to learn
the credentials of an artifact, once to mask them wherever else they appear in it. Names remain, values go.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from hashlib import sha1
from typing import Any, Final, Protocol

from byokeep_redact.hooks.browser.bodies import body, posted, websocket_data
from byokeep_redact.hooks.browser.names import (
    is_credential,
    is_credential_header,
    is_credential_parameter,
    is_secret_element,
)

MAX_DEPTH: Final = 120
_TYPED: Final = {"fill", "type", "press", "keyboardType", "keyboardInsertText", "keyboardPress", "keyboardDown",
                 "keyboardUp", "setInputFiles", "pressSequentially", "insertText"}  # fmt: skip
_TYPED_LOG: Final = re.compile(r'^(\s*(?:fill|type|press|insertText|pressSequentially)\()"(.*)"(\).*)$', re.DOTALL)
_ALL_VALUES: Final = {"localstorage": "storage", "sessionstorage": "storage", "cookies": "cookie", "formdata": "field",
                      "multipartdata": "field"}  # fmt: skip
_ALL_LEAVES: Final = {"indexeddb": "storage", "credentials": "passkey", "payloads": "upload"}
_COOKIE_MARKS: Final = {"domain", "httpOnly", "sameSite", "path", "expires"}
_FILE_NAMES: Final = ("_file", "file", "_sha1", "sha1")
_DIGEST: Final = re.compile(r"[0-9a-f]{32,64}")
_FORM_MEDIA: Final = "application/x-www-form-urlencoded"
_HOLDING: Final = {"value", "raw", "text", "content", "data"}
_STORAGE_ITEM: Final = {"newValue", "oldValue"}
_PARAMETER: Final = re.compile(r"([?&#;])([A-Za-z0-9_.~\[\]%-]{1,100})=((?:\[redacted:[^\]\s]*\]|[^&#;\s\"'<>\\)`])+)")
_USERINFO: Final = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)([^/\s:@\"'<>]*):([^/\s@\"'<>]+)@", re.IGNORECASE)
_HEADER_LINE: Final = re.compile(r"^([A-Za-z0-9-]{1,80}):[ \t]*(.*?)(\r?)$", re.MULTILINE)
_COOKIE: Final = re.compile(r"([^=;,\s]+)=([^;]*)")
_COOKIE_ATTRIBUTES: Final = frozenset(
    ("path", "domain", "expires", "max-age", "samesite", "secure", "httponly", "priority", "partitioned")
)
_SCHEME: Final = re.compile(r"^([A-Za-z][A-Za-z0-9-]{0,20})[ \t]+(\S.*)$", re.DOTALL)


class Handling(Protocol):
    """What is done with what the walk comes by."""

    def value(self, kind: str, text: str) -> str:
        """A value that is a credential by where it stands; `kind` names the place."""

    def text(self, text: str) -> str:
        """Text that may hold credentials anywhere."""

    def binary(self, data: bytes) -> bytes | None:
        """Bytes that are no text; None when they may not stay."""

    def dropped(self, what: str) -> str:
        """What stands in the place of something that was left out."""


class Walk:
    """One walk through documents of one artifact. `mimes` maps names of files in an archive to their media type."""

    def __init__(self, handling: Handling, mimes: dict[str, str] | None = None) -> None:
        self.handling = handling
        self.mimes = {} if mimes is None else mimes
        self._key = secrets.token_bytes(32)

    def node(self, node: Any, key: str = "", depth: int = 0) -> Any:
        """Return `node`, the value at `key` of its parent, with everything in it handled.

        Raises ValueError when it is nested deeper than MAX_DEPTH.
        """
        if depth > MAX_DEPTH:
            raise ValueError("too_deep")
        if isinstance(node, str):
            return self.string(node, key)
        if isinstance(node, dict):
            return self._mapping(node, key, depth)
        if isinstance(node, list):
            return self._sequence(node, key, depth)
        if key and isinstance(node, int | float) and not isinstance(node, bool) and _is_secret_number(key):
            return self.handling.value("field", str(node))
        return node

    def string(self, text: str, key: str = "") -> str:
        """Return a text found at `key` with everything in it handled."""
        if not text:
            return text
        low = key.lower()
        if low in _FILE_NAMES:
            return self.renamed(text)
        if low.endswith("headerstext"):
            return self.handling.text(_HEADER_LINE.sub(self._header_line, text))
        if low in ("cookieline", "cookie", "rawcookie", "documentcookie"):
            return self.cookies(text)
        if key and is_credential(key):
            return self.handling.value("field", text)
        inner = self._json_inside(text)
        return self.handling.text(self.address(text)) if inner is None else inner

    def renamed(self, name: str) -> str:
        """Return another name for a file named by a digest of what was in it: with a digest one can try passwords."""
        stem, dot, ending = name.rpartition("/")[2].partition(".")
        if not _DIGEST.fullmatch(stem):
            return self.handling.text(self.address(name))
        return f"{name[: -len(stem + dot + ending)]}{hmac.digest(self._key, stem.encode(), sha1).hex()}{dot}{ending}"

    def address(self, text: str) -> str:
        """Return text with credentials in the addresses in it handled: parameters, fragments, user information."""
        if "://" in text:
            text = _USERINFO.sub(
                lambda found: f"{found[1]}{found[2]}:{self.handling.value('userinfo', found[3])}@", text
            )
        if "=" in text:
            text = _PARAMETER.sub(self._parameter, text)
        return text

    def header(self, name: str, value: str) -> str:
        """Return the value of the header `name` handled. Cookies keep their names, credentials their scheme."""
        low = name.lower()
        if low in ("cookie", "set-cookie", "set-cookie2", "cookie2"):
            return self.cookies(value, sent=low.startswith("cookie"))
        if is_credential_header(name):
            scheme = _SCHEME.match(value) if "auth" in low else None
            if scheme and scheme[1].lower() == "basic":
                self._basic(scheme[2])
            return f"{scheme[1]} {self.handling.value('header', scheme[2])}" if scheme else self._whole("header", value)
        return self.handling.text(self.address(value))

    def _basic(self, encoded: str) -> None:
        """The password in a Basic header may stand elsewhere by itself."""
        with contextlib.suppress(ValueError):
            password = base64.b64decode(encoded, validate=True).decode().partition(":")[2]
            self._whole("password", password)

    def cookies(self, text: str, *, sent: bool = False) -> str:
        """Return a Cookie or Set-Cookie value (or several, one a line) with values handled and names left.

        `sent` says that no attribute can be in it, so `Path=...` is a cookie like any other.
        """

        def one(found: re.Match[str]) -> str:
            if not sent and found[1].lower() in _COOKIE_ATTRIBUTES:
                return found[0]
            return f"{found[1]}={self._whole('cookie', found[2].rstrip())}"

        if "=" not in text:
            return self._whole("cookie", text)
        return "\n".join(_COOKIE.sub(one, line) for line in text.split("\n"))

    def _whole(self, kind: str, text: str) -> str:
        return self.handling.value(kind, text) if text else text

    def _header_line(self, found: re.Match[str]) -> str:
        return f"{found[1]}: {self.header(found[1], found[2])}{found[3]}"

    def _parameter(self, found: re.Match[str]) -> str:
        if not is_credential_parameter(found[2]):
            return found[0]
        return f"{found[1]}{found[2]}={self.handling.value('parameter', found[3])}"

    def _json_inside(self, text: str) -> str | None:
        """Handle JSON that stands in a string by its own names; None when it is none."""
        stripped = text.strip()
        if len(stripped) < 2 or stripped[0] + stripped[-1] not in ("{}", "[]"):
            return None
        try:
            parsed = json.loads(stripped)
        except (ValueError, RecursionError):
            return None
        if not isinstance(parsed, dict | list):
            return None
        handled = self.node(parsed)
        return text if handled == parsed else json.dumps(handled, ensure_ascii=False)

    def _sequence(self, node: list[Any], key: str, depth: int) -> list[Any]:
        low = key.lower()
        if low in _ALL_LEAVES:
            return [self._leaves(item, _ALL_LEAVES[low], depth + 1) for item in node]
        if len(node) > 1 and isinstance(node[0], str) and isinstance(node[1], dict) and node[0].isupper():
            return [
                self.handling.text(node[0]),
                self._element(node[1]),
                *(self.node(item, "", depth + 1) for item in node[2:]),
            ]
        return [self.node(item, key, depth + 1) for item in node]

    def _mapping(self, node: dict[str, Any], key: str, depth: int) -> dict[str, Any]:
        low = key.lower()
        if low.endswith("headers") and isinstance(node.get("name"), str) and isinstance(node.get("value"), str):
            header = self.header(node["name"], node["value"])
            return {self.handling.text(name): header if name == "value" else self.node(item, "", depth + 1)
                    for name, item in node.items()}  # fmt: skip
        if low.endswith("headers") and all(isinstance(value, str) for value in node.values()):
            return {self.handling.text(name): self.header(name, value) for name, value in node.items()}
        if low in _ALL_LEAVES:
            return {
                self.handling.text(name): self._leaves(item, _ALL_LEAVES[low], depth + 1) for name, item in node.items()
            }
        if low == "postdata" or ("mimeType" in node and ("text" in node or "_sha1" in node or "_file" in node)):
            return self._content(node, posting=low == "postdata", depth=depth)
        special = self._special(node, low)
        return {
            self.handling.text(name): special[name] if name in special else self.node(item, name, depth + 1)
            for name, item in node.items()
        }

    def _special(self, node: Mapping[str, Any], key: str) -> dict[str, Any]:
        """The members of a mapping that are handled by what stands beside them."""
        return self._named(node, key) | self._carried(node, key) | self._acted(node)

    def _named(self, node: Mapping[str, Any], key: str) -> dict[str, Any]:
        """A value beside its name: cookies, stored items, parameters, what a credential's name is given to."""
        found: dict[str, Any] = {}
        name, value = node.get("name"), node.get("value")
        if isinstance(name, str) and isinstance(value, str):
            if key in _ALL_VALUES or not _COOKIE_MARKS.isdisjoint(node):
                found["value"] = self._whole(_ALL_VALUES.get(key, "cookie"), value)
            elif is_credential_parameter(name):
                found["value"] = self._whole("field", value)
        held = _STORAGE_ITEM | (_HOLDING if key and is_credential(key) else set())
        for member in held & node.keys() - found.keys():
            if isinstance(node[member], str):
                found[member] = self._whole("storage" if member in _STORAGE_ITEM else "field", node[member])
        return found

    def _carried(self, node: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Bodies of protocol events and web socket messages."""
        found: dict[str, Any] = {}
        if isinstance(node.get("base64Encoded"), bool) and isinstance(node.get("body"), str):
            found["body"] = body(self, node["body"], "", base64=node["base64Encoded"])
        if "opcode" in node:
            for member in ("data", "payloadData"):
                if isinstance(node.get(member), str):
                    found[member] = websocket_data(self, node[member], binary=node["opcode"] != 1)
        if key == "postdataentries" and isinstance(node.get("bytes"), str):
            found["bytes"] = body(self, node["bytes"], _FORM_MEDIA, base64=True)
        if isinstance(node.get("postData"), str):
            found["postData"] = posted(self, node["postData"], _media_of(node.get("headers")))
        return found

    def _acted(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """What a script typed, as an action of a trace and in its log."""
        method, params, message = node.get("method"), node.get("params"), node.get("message")
        found: dict[str, Any] = {}
        if isinstance(method, str) and method in _TYPED and isinstance(params, dict):
            found["params"] = self._typed(params)
        if node.get("type") == "log" and isinstance(message, str):
            found["message"] = self.string(_TYPED_LOG.sub(self._typed_log, message))
        return found

    def _typed(self, params: dict[str, Any]) -> dict[str, Any]:
        typed = {member: self._whole("typed", params[member]) for member in ("value", "text", "key")
                 if isinstance(params.get(member), str)}  # fmt: skip
        return {self.handling.text(name): typed[name] if name in typed else self.node(item, name)
                for name, item in params.items()}  # fmt: skip

    def _typed_log(self, found: re.Match[str]) -> str:
        return f'{found[1]}"{self._whole("typed", found[2])}"{found[3]}'

    def _element(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Attributes of an element in a snapshot of a page; those that hold what a secret field shows are handled."""
        texts = {name: value for name, value in attributes.items() if isinstance(value, str)}
        secret = is_secret_element(texts)

        def one(name: str, value: Any) -> Any:
            if not isinstance(value, str):
                return self.node(value)
            if secret and name in ("value", "__playwright_value_", "content", "defaultValue"):
                return self._whole("field", value)
            return self.string(value, name if name.startswith("data-") else "")

        return {self.handling.text(name): one(name, value) for name, value in attributes.items()}

    def _leaves(self, node: Any, kind: str, depth: int) -> Any:
        """Every text and number below is a value; what names things (`name`, `keyPath`) stays."""
        if depth > MAX_DEPTH:
            raise ValueError("too_deep")
        if isinstance(node, dict):
            return {self.handling.text(name): self.node(item, "", depth + 1) if name in _STRUCTURE
                    else self._leaves(item, kind, depth + 1) for name, item in node.items()}  # fmt: skip
        if isinstance(node, list):
            return [self._leaves(item, kind, depth + 1) for item in node]
        return node if node is None or isinstance(node, bool) else self._whole(kind, str(node))

    def _content(self, node: dict[str, Any], *, posting: bool, depth: int) -> dict[str, Any]:
        """A body with its media type: content of a reply, or data that was posted."""
        media = str(node.get("mimeType", ""))
        for member in ("_sha1", "_file"):
            if isinstance(node.get(member), str):
                self.mimes[node[member]] = f"posted {media}" if posting else media
        out: dict[str, Any] = {}
        for name, item in node.items():
            if name == "text" and isinstance(item, str) and posting:
                handled: Any = posted(self, item, media)
            elif name == "text" and isinstance(item, str):
                handled = body(self, item, media, base64=node.get("encoding") == "base64")
            elif name == "params" and posting and isinstance(item, list):
                handled = [self._field(pair, depth) for pair in item]
            else:
                handled = self.node(item, name, depth + 1)
            out[self.handling.text(name)] = handled
        return out

    def _field(self, pair: Any, depth: int) -> Any:
        """A field of a form that was posted; every value counts, whatever its name."""
        if not isinstance(pair, dict):
            return self.node(pair, "", depth + 1)
        return {
            self.handling.text(name): self._whole("field", item)
            if name == "value" and isinstance(item, str)
            else self.node(item, "", depth + 1)
            for name, item in pair.items()
        }


_STRUCTURE: Final = frozenset(("name", "keyPath", "keyPathArray", "version", "autoIncrement", "multiEntry", "unique"))


def _media_of(headers: Any) -> str:
    """The content type among the headers of a protocol event."""
    if not isinstance(headers, dict):
        return ""
    return next((str(value) for name, value in headers.items() if str(name).lower() == "content-type"), "")


def _is_secret_number(key: str) -> bool:
    return key.lower() in ("otp", "pin", "totp", "mfa", "passcode", "tan") or key.lower().endswith(("otp", "pin"))
