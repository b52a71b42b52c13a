"""Writes the vectors of the portable browser state: ``python -m tests.vectors.make_browser_state``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from byokeep.browser.session import PortableState, digest, written
from byokeep.core.secret import Secret

PAGE = Path(__file__).parent / "browser-state" / "cases.json"
PASSPHRASE = "byokeep vectors"
KEY = hashlib.sha256(PASSPHRASE.encode()).digest()
COOKIES: tuple[dict[str, Any], ...] = (
    {"name": "client_id", "value": "two", "domain": ".a.example", "path": "/", "expires": -1, "httpOnly": True,
     "secure": True, "sameSite": "Lax"},
    {"name": "sid", "value": "one", "domain": ".a.example", "path": "/", "expires": 1800000000, "httpOnly": True,
     "secure": True, "sameSite": "None", "partitionKey": "https://b.example"},
)  # fmt: skip
ORIGINS: tuple[dict[str, Any], ...] = (
    {
        "origin": "https://a.example",
        "localStorage": [{"name": "device", "value": "d\u00e9\ud800"}],
        "sessionStorage": [{"name": "visits", "value": "1"}],
        "indexedDB": [
            {"name": "app", "version": 2, "stores": [
                {"name": "keys", "autoIncrement": False, "indexes": [], "records": [{"key": 1, "value": {"a": 1.5}}]}
            ]}
        ],
    },
)  # fmt: skip
FAULTS = (
    ("another version", '"version":1', '"version":2'),
    ("a version that is no number", '"version":1', '"version":true'),
    ("another format", '"format":"byokeep-browser-state"', '"format":"other"'),
    ("an unknown field", '"version":1', '"version":1,"more":1'),
    ("a field twice", '"version":1', '"version":1,"version":1'),
    ("a blank more", '"version":1', '"version": 1'),
    ("an unknown field of a cookie", '"httpOnly":true', '"httpOnly":true,"more":1'),
    ("an odd site rule", '"sameSite":"Lax"', '"sameSite":"Odd"'),
    ("a number of another type", '"expires":-1', '"expires":-1.0'),
    ("an end before the first second", '"expires":-1', '"expires":-2'),
    ("no origin", '"origin":"https://a.example"', '"origin":"file:///a"'),
    ("a path in an origin", '"origin":"https://a.example"', '"origin":"https://a.example/b"'),
    ("a value in two forms", '"value":{"a":1.5}', '"value":{"a":1.5},"valueEncoded":{}'),
    ("cookies out of order", '"name":"client_id"', '"name":"zzz"'),
)


def made() -> dict[str, Any]:
    """The vectors."""
    full, empty = PortableState(COOKIES, ORIGINS), PortableState((), ())
    text = written(full).reveal().decode()
    good = [
        {"document": written(one).reveal().decode(), "sha256": digest(one), "hmac": digest(one, Secret(KEY)),
         "cookies": len(one.cookies), "session_only": one.session_only, "origins": list(one.visited())}
        for one in (full, empty)
    ]  # fmt: skip
    assert all(old in text for _, old, _ in FAULTS)
    bad = [{"why": why, "document": text.replace(old, new, 1)} for why, old, new in FAULTS]
    return {"key_is_sha256_of": PASSPHRASE, "good": good, "bad": [*bad, {"why": "cut off", "document": text[:-1]}]}


if __name__ == "__main__":
    PAGE.write_text(json.dumps(made(), indent=1) + "\n")
