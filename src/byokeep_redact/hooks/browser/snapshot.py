"""What a page shows, read from one DOMSnapshot of Chromium: which elements must be covered.

Rules: an element is covered if it is a field for secrets, or if its text, taken together with whatever stands in it and
is not covered yet, shows a secret; the innermost such element is chosen. What is in a closed shadow root is
covered with its host. Pure: it takes a snapshot and gives node ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from byokeep_redact.hooks.browser.credential_names import is_secret_element

COVERED_FIELDS: Final = (
    "input[type=password i], [autocomplete~=one-time-code i], [autocomplete~=current-password i],"
    " [autocomplete~=new-password i]"
)
_FIELDS: Final = {"INPUT", "TEXTAREA", "SELECT", "OUTPUT"}
_PICTURES: Final = {"IMG", "CANVAS", "SVG", "svg", "PICTURE", "OBJECT", "EMBED"}
_PICTURE_NAMES: Final = re.compile(
    r"(?:^|[^a-z])(?:qr|qrcode|otp|totp|2fa|mfa|secret|barcode|recovery)(?:[^a-z]|$)|qr-?code", re.I
)
_NOT_SHOWN: Final = {"SCRIPT", "STYLE", "TEMPLATE", "NOSCRIPT", "HEAD", "TITLE", "META", "LINK"}
_INLINE: Final = {
    "A", "ABBR", "B", "BDI", "BDO", "CODE", "DATA", "EM", "FONT", "I", "KBD", "LABEL", "MARK", "Q", "S", "SAMP",
    "SMALL", "SPAN", "STRONG", "SUB", "SUP", "TIME", "TT", "U", "VAR", "WBR", "tspan",
}  # fmt: skip
_ELEMENT, _TEXT = 1, 3


def nodes_to_cover(
    view: dict[str, Any], mark: str, *, shows: Callable[[str], bool] | None = None, typed: dict[str, str] | None = None
) -> list[int]:
    """Return the backend ids of the nodes that must be covered and do not carry the attribute `mark` yet.

    shows: says whether a text shows a secret. typed: takes what stands in fields for secrets.
    """
    found: list[int] = []
    for document in view["documents"]:
        _SnapshotDocument(document, view["strings"], mark, found, shows, typed).search()
    return list(dict.fromkeys(found))


class _SnapshotDocument:
    def __init__(
        self, document: dict[str, Any], strings: list[str], mark: str, found: list[int],
        shows: Callable[[str], bool] | None, typed: dict[str, str] | None,
    ) -> None:  # fmt: skip
        self._strings, self._mark, self._found, self._shows, self._secrets = strings, mark, found, shows, typed
        nodes = document["nodes"]
        self._parents: list[int] = nodes["parentIndex"]
        self._types: list[int] = nodes["nodeType"]
        self._names = [self._string(at) for at in nodes["nodeName"]]
        self._values: list[int] = nodes["nodeValue"]
        self._ids: list[int] = nodes["backendNodeId"]
        self._attributes: list[list[int]] = nodes["attributes"]
        self._shadow = {at: self._string(kind) for at, kind in _pairs(nodes["shadowRootType"])}
        self._typed = {
            at: self._string(text) for member in ("textValue", "inputValue") for at, text in _pairs(nodes[member])
        }
        pseudo = {at for at, _ in _pairs(nodes["pseudoType"])}
        layout = document["layout"]
        painted = {at: self._string(text) for at, text in zip(layout["nodeIndex"], layout["text"], strict=True)}
        self._painted = painted.keys()
        self._generated = {at: text for at, text in painted.items() if at in pseudo or self._names[at][:2] == "::"}
        self._children: list[list[int]] = [[] for _ in self._parents]
        self._hidden: set[int] = set()
        for at, parent in enumerate(self._parents):
            if parent >= 0:
                self._children[parent].append(at)
            if self._names[at] in _NOT_SHOWN or parent in self._hidden:
                self._hidden.add(at)

    def _string(self, at: int) -> str:
        return self._strings[at] if at >= 0 else ""

    def search(self) -> None:
        """Cover the fields first, then whatever still shows something."""
        covered: set[int] = set()
        for at in range(len(self._parents)):
            attributes = self._attributes_of(at)
            if self._mark in attributes:
                covered.add(at)
            if self._must_cover(at, attributes):
                if self._secrets is not None and (typed := self._typed.get(at) or attributes.get("value")):
                    self._secrets[typed] = "password"
                if at in self._painted:
                    self._cover(at, covered)
        if self._shows is not None:
            for at, parent in enumerate(self._parents):
                if parent < 0:
                    self._innermost(at, covered)

    def _must_cover(self, at: int, attributes: dict[str, str]) -> bool:
        name = self._names[at]
        if name in _PICTURES:
            said = (
                attributes.get(member, "") for member in ("id", "class", "alt", "aria-label", "title", "data-testid")
            )
            return any(_PICTURE_NAMES.search(text) for text in said)
        return name in _FIELDS and is_secret_element(attributes)

    def _attributes_of(self, at: int) -> dict[str, str]:
        listed = self._attributes[at]
        return {self._string(listed[i]).lower(): self._string(listed[i + 1]) for i in range(0, len(listed) - 1, 2)}

    def _cover(self, at: int, covered: set[int]) -> None:
        """Cover the node itself if it can be, else the nearest around it that can."""
        while at >= 0 and not self._can_be_covered(at):
            at = self._parents[at]
        if at < 0:
            raise ValueError("nothing_to_cover")
        if at not in covered:
            covered.add(at)
            self._found.append(self._ids[at])

    def _can_be_covered(self, at: int) -> bool:
        """Options and what has `display: contents` are painted by others; a closed shadow root lets no selector in."""
        name = self._names[at]
        element = self._types[at] == _ELEMENT and name[:2] != "::" and name not in ("OPTION", "OPTGROUP")
        return element and at in self._painted and self._shadow.get(at, "open") == "open"

    def _innermost(self, root: int, covered: set[int]) -> None:
        """Post-order without recursion: a page may be nested deeper than Python's stack."""
        if not self._shown(self._text(root, covered)):
            return
        # Indices are in document order, so children come after their parents.
        for at in range(len(self._parents) - 1, root - 1, -1):
            if at not in self._hidden and at not in covered and self._shown(self._text(at, covered)):
                self._cover(at, covered)

    def _shown(self, text: str) -> bool:
        return bool(text.strip()) and self._shows is not None and self._shows(text)

    def _text(self, at: int, covered: set[int]) -> str:
        """The text of a node and all below it that is not covered, in order; blocks stand on lines of their own."""
        out: list[str] = []
        open_nodes: list[int | str] = [at]
        while open_nodes:
            node = open_nodes.pop()
            if isinstance(node, str):
                out.append(node)
                continue
            name = self._names[node]
            if node in covered or node in self._hidden:
                continue
            gap = "" if self._types[node] != _ELEMENT or name in _INLINE or name.startswith("::") else "\n"
            out.append(gap)
            if self._types[node] == _TEXT and (node in self._painted or self._names[self._parents[node]] == "OPTION"):
                out.append(self._string(self._values[node]))
            out.append(self._generated.get(node, ""))
            if name in _FIELDS and node in self._painted:
                attributes = self._attributes_of(node)
                out.append(self._typed.get(node) or attributes.get("value") or attributes.get("placeholder", ""))
            open_nodes.append(gap)
            open_nodes += reversed(self._children[node])
        return "".join(out)


def _pairs(rare: dict[str, Any]) -> list[tuple[int, int]]:
    """Chromium's sparse lists: positions and values apart."""
    return list(zip(rare["index"], rare["value"], strict=True))
