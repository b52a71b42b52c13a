"""The samples of the self-test: made-up secrets in every shape, live values in every encoding, and ids that must stay.

Rules: each sample names its class and shape, the parts of it that are secret, and those that must survive. What all
keys of a kind share (``sk-proj-``) is no secret. Every run draws fresh values, and a printed seed draws the same again;
a live value is registered in the project's own way before its sample is emitted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import string
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from byokeep_redact.encodings import ENCODINGS

ALNUM: Final = string.ascii_letters + string.digits
URL_SAFE: Final = ALNUM + "-_"
UPPER: Final = string.ascii_uppercase + string.digits
HEX: Final = "0123456789abcdef"


def fresh_seed() -> str:
    """Return a new seed: 16 hexadecimal characters."""
    return secrets.token_hex(8)


class ValueGenerator:
    """A stream of values that follows from ``seed`` and ``purpose`` alone. They open nothing anywhere."""

    def __init__(self, seed: str, purpose: str) -> None:
        self._name = f"{seed}/{purpose}"
        self._drawn = 0

    def octets(self, count: int) -> bytes:
        """Return ``count`` bytes."""
        self._drawn += 1
        return hashlib.shake_256(f"{self._name}/{self._drawn}".encode()).digest(count)

    def text(self, alphabet: str, count: int) -> str:
        """Return ``count`` characters of ``alphabet``."""
        drawn = self.octets(2 * count)
        return "".join(
            alphabet[int.from_bytes(drawn[at : at + 2], "big") % len(alphabet)] for at in range(0, 2 * count, 2)
        )

    def secret(self, count: int = 43) -> str:
        """Return a token as most issuers make them: letters and digits, both cases."""
        return self.text(ALNUM, count)

    def uuid(self) -> str:
        """Return a random UUID (version 4)."""
        text = self.octets(16).hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


SK, BEARER, BASE64, COOKIE, TOKEN = "sk-like", "bearer", "base64", "cookie", "token"
SURVIVE: Final = "must-survive"
ENCODED: Final = "encodings"
EVASION: Final = "evasions"
COST: Final = "cost"
KINDS: Final = ("prefixed", "opaque", "cookie", "pem")
MEGABYTE: Final = 1 << 20
LONG: Final = "longer-than-limit"
HEADERS: Final = "span-headers"


@dataclass(frozen=True, slots=True)
class Sample:
    """One text to be emitted.

    Attributes:
        group: Class of the sample, e.g. ``sk-like``.
        shape: What it looks like, e.g. ``in-url``; printed when it leaks.
        text: What is emitted.
        secrets: Parts of which no 12 bytes in a row may be recoverable from what came out.
        keep: Parts that must come out as they went in.
    """

    group: str
    shape: str
    text: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    keep: tuple[str, ...] = ()


def shapes(seed: str, group: str) -> list[Sample]:
    """Return every sample of one class. Raises KeyError for a class this module does not know."""
    draw = ValueGenerator(seed, group)
    made = [(shape, text, tuple(part.encode() for part in secret)) for shape, text, *secret in MADE[group](draw)]
    return [Sample(group, shape, text, secret) for shape, text, secret in made]


# what a family yields: shape, text, secret parts
_Made = Iterator[tuple[str, ...]]

_SK_PREFIXES: Final = {
    "sk": ("sk-", ALNUM, 48), "sk-hex": ("sk-", HEX, 48), "sk-svcacct": ("sk-svcacct-", URL_SAFE, 74),
    "sk-admin": ("sk-admin-", URL_SAFE, 58),
    "sk-ant-api": ("sk-ant-api03-", URL_SAFE, 93), "sk-ant-admin": ("sk-ant-admin01-", URL_SAFE, 93),
    "sk-or": ("sk-or-v1-", HEX, 64), "sk_live": ("sk_live_", ALNUM, 24), "sk_test": ("sk_test_", ALNUM, 24),
    "rk_live": ("rk_live_", ALNUM, 24), "sk_v2": ("sk_V2_hgu_k", ALNUM, 43), "upper-case": ("SK-PROJ-", UPPER, 74),
    "unknown-vendor": ("sk-newco-", URL_SAFE, 40),
}  # fmt: skip
_SK_PLACES: Final = {
    "in-url-query": "GET https://api.example.com/v1/models?key={}&page=2 200",
    "in-url-path": "GET https://api.example.com/v1/keys/{}/usage 404",
    "in-url-userinfo": "connecting to https://user:{}@proxy.example.com:8443/",
    "in-json": '{{"model": "gpt", "api_key": "{}", "n": 1}}',
    "in-dict-repr": "config {{'retries': 3, 'key': '{}'}}",
    "in-env-line": "OPENAI_API_KEY={}",
    "in-shell-flag": "run --api-key={} --verbose",
    "in-yaml": "  api_key: {}  # rotated",
    "in-backticks": "please use `{}` for now",
    "in-html": '<input name="k" value="{}">',
    "in-csv": '2,"{}",active',
    "after-colon": "Incorrect API key provided:{}.",
    "in-header": "x-api-key: {}",
}


def _sk_like(draw: ValueGenerator) -> _Made:
    for shape, (prefix, alphabet, count) in _SK_PREFIXES.items():
        body = draw.text(alphabet, count)
        yield shape, f"using {prefix}{body} now", body
    for shape, place in _SK_PLACES.items():
        first, second = draw.text(ALNUM, 74), draw.text(ALNUM, 74)
        yield shape, place.format(f"sk-proj-{first}T3BlbkFJ{second}"), first, second
    body = draw.secret(48)
    yield "in-bytes-repr", f"body {f'sk-{body}'.encode()!r}", body
    body = draw.secret(74)
    yield "percent-encoded", f"callback?state=sk%2Dproj%2D{body}&x=1", body


_BEARER: Final = {
    "bearer-lower": "authorization: bearer {}", "bearer-upper": "AUTHORIZATION: BEARER {}",
    "bearer": "Authorization: Bearer {}", "no-header-name": "sent Bearer {} upstream",
    "double-space": "Authorization: Bearer  {}", "tab": "Authorization: Bearer\t{}",
    "newline-folded": "Authorization: Bearer\r\n {}", "dpop": "Authorization: DPoP {}",
    "token-equals": 'Authorization: Token token="{}"', "token": "Authorization: Token {}",
    "proxy": "Proxy-Authorization: Bearer {}", "curl": "curl -H 'Authorization: Bearer {}' https://api.example.com/",
    "in-json": '{{"headers": {{"authorization": "Bearer {}"}}}}',
    "in-tuple-list": "[(b'host', b'api.example.com'), (b'authorization', b'Bearer {}')]",
    "quoted": 'Authorization: "Bearer {}"', "apikey-scheme": "Authorization: ApiKey {}",
}  # fmt: skip


def _bearer(draw: ValueGenerator) -> _Made:
    for shape, place in _BEARER.items():
        token = draw.secret()
        yield shape, place.format(token), token
    password = draw.secret(30)
    for shape, place in {"basic": "Authorization: Basic {}", "basic-lower": "authorization: basic {}"}.items():
        encoded = base64.b64encode(f"service:{password}".encode()).decode()
        yield shape, place.format(encoded), encoded, password


def _base64(draw: ValueGenerator) -> _Made:
    def long(count: int = 96) -> str:
        return base64.b64encode(draw.octets(count)).decode()

    text = long()
    yield "standard", f"payload {text} end", text
    text = base64.urlsafe_b64encode(draw.octets(96)).decode()
    yield "url-safe", f"payload {text} end", text
    text = long(97).rstrip("=")
    yield "no-padding", f"payload {text} end", text
    lines = textwrap.wrap(long(228), 76)
    yield "wrapped-76", "payload\n" + "\n".join(lines) + "\nend", *lines
    text = long(120)
    yield "data-uri", f'<img src="data:application/octet-stream;base64,{text}">', text
    text = long()
    yield "in-json", json.dumps({"id": 7, "blob": text}), text
    text = long()
    yield "in-bytes-repr", f"read {text.encode()!r}", text
    lines = textwrap.wrap(long(1200), 64)
    for shape, kind in {"pem": "PRIVATE KEY", "pem-rsa": "RSA PRIVATE KEY", "pem-ec": "EC PRIVATE KEY"}.items():
        lines = textwrap.wrap(long(600), 64)
        text = "\n".join(lines)
        yield shape, f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----", *lines
    lines = textwrap.wrap(long(600), 64)
    text = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----"])
    yield "pem-in-json", json.dumps({"type": "service_account", "private_key": text}), *lines


_COOKIE: Final = {
    "cookie-header": "Cookie: theme=dark; sessionid={}; csrftoken={}",
    "cookie-header-lower": "cookie: auth_token={}; ct0={}",
    "set-cookie": "Set-Cookie: sessionid={}; Path=/; HttpOnly; SameSite=Lax\r\nSet-Cookie: li_at={}; Secure",
    "document-cookie": "document.cookie = \"sid={}; Path=/\"; document.cookie = 'xs={}'",
    "netscape-jar": (
        "# Netscape HTTP Cookie File\n.example.com\tTRUE\t/\tTRUE\t1893456000\tauth_token\t{}\n"
        "#HttpOnly_.example.com\tTRUE\t/\tTRUE\t1893456000\tct0\t{}"
    ),
    "morsel-repr": "<SimpleCookie: sessionid='{}' li_at='{}'>",
    "jar-repr": "<RequestsCookieJar[<Cookie sessionid={} for example.com/>, <Cookie xs={} for .example.com/>]>",
    "header-dict": "{{'accept': '*/*', 'cookie': 'sessionid={}; xs={}'}}",
    "in-tuple-list": "[(b'cookie', b'sessionid={}'), (b'set-cookie', b'xs={}; Path=/')]",
}


def _cookie(draw: ValueGenerator) -> _Made:
    for shape, place in _COOKIE.items():
        one, two = draw.secret(40), draw.text(HEX, 40)
        yield shape, place.format(one, two), one, two
    one, two = draw.secret(40), draw.secret(60)
    jar = [{"name": "sessionid", "value": one, "domain": ".example.com", "path": "/", "httpOnly": True}]
    held = [{"origin": "https://example.com", "localStorage": [{"name": "access_token", "value": two}]}]
    yield "storage-state", json.dumps({"cookies": jar, "origins": held}), one, two
    one = draw.secret(40)
    entry = {"cookies": [{"name": "xs", "value": one}], "headers": [{"name": "Cookie", "value": f"xs={one}"}]}
    yield "har-request", json.dumps({"request": {"method": "GET", **entry}}), one


def _token(draw: ValueGenerator) -> _Made:
    def part(count: int) -> str:
        return base64.urlsafe_b64encode(draw.octets(count)).decode().rstrip("=")

    for shape, prefix, alphabet, count in (
        ("openbao-service", "s.", ALNUM, 24), ("openbao-batch", "b.", URL_SAFE, 90),
        ("vault-service", "hvs.", URL_SAFE, 90), ("webhook", "whsec_", ALNUM, 32), ("meta", "EAA", ALNUM, 140),
        ("google-api-key", "AIza", URL_SAFE, 35), ("google-aq", "AQ.Ab8RN6", URL_SAFE, 44),
        ("google-access", "ya29.", URL_SAFE, 120), ("google-refresh", "1//", URL_SAFE, 90),
        ("google-client-secret", "GOCSPX-", URL_SAFE, 28),
    ):  # fmt: skip
        body = draw.text(alphabet[:62], 1) + draw.text(alphabet, count - 2) + draw.text(alphabet[:62], 1)
        yield shape, f"token {prefix}{body} expires in 3600", body
    claims, mark = part(90), part(64)
    head = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"JWT"}').decode().rstrip("=")
    yield "jwt", f"id_token {head}.eyJ{claims}.{mark} ok", claims, mark
    for name in ("access_token", "refresh_token", "client_secret", "code"):
        value = draw.secret()
        yield f"url-{name}", f"GET https://api.example.com/cb?state=1&{name}={value}#top", value
    for name in ("access_token", "refresh_token", "client_secret", "code_verifier", "password"):
        value = draw.secret()
        yield f"json-{name}", json.dumps({"expires_in": 3600, name: value}), value


MADE: Final[dict[str, Callable[[ValueGenerator], _Made]]] = {
    SK: _sk_like, BEARER: _bearer, BASE64: _base64, COOKIE: _cookie, TOKEN: _token,
}  # fmt: skip


def survivors(seed: str) -> list[Sample]:
    """Return what a redactor may not touch: ids, digests, roots, checkpoints, times, addresses."""
    draw = ValueGenerator(seed, SURVIVE)
    digest, again = (hashlib.sha256(draw.octets(9)).hexdigest() for _ in range(2))
    commit = hashlib.sha1(draw.octets(9), usedforsecurity=False).hexdigest()
    roots = [base64.b64encode(draw.octets(32)).decode() for _ in range(3)]
    ids = {
        "uuid": ("client {} enrolled", draw.uuid()),
        "uuid-in-json": ('{{"client_id": "{}", "state": "active"}}', draw.uuid()),
        "uuid-in-url": ("GET /v1/clients/{}/providers 200", draw.uuid()),
        "request-id": ("request_id={} status=404", draw.uuid()),
        "request-id-hex": ("X-Request-Id: {}", draw.text(HEX, 32)),
        "sha256": ("digest {} written", digest), "sha256-image": ("pulled app@sha256:{}", again),
        "git-commit": ("at commit {}", commit), "git-short": ("at commit {}", draw.text(HEX, 7)),
        "merkle-root": ("root {} of size 18446", roots[0]),
        "merkle-root-json": ('{{"size": 18446, "root": "{}"}}', roots[1]),
        "checkpoint": ("byokeep.example/audit\n18446\n{}\n", roots[2]),
        "traceparent": ("traceparent: {}", f"00-{draw.text(HEX, 32)}-{draw.text(HEX, 16)}-01"),
        "trace-id": ('{{"trace": "{}"}}', draw.text(HEX, 32)), "span-id": ('{{"span": "{}"}}', draw.text(HEX, 16)),
        "timestamp": ("at {} UTC", "2026-03-01T12:34:56.789012Z"),
        "timestamp-offset": ("{}", "2026-03-01T12:34:56+00:00"),
        "epoch": ("start_ns={}", "1772368496789012345"),
        "url": ("GET {} 200", "https://api.example.com/v1/jobs?state=open&page=2"),
        "url-fragment": ("see {}", "https://docs.example.com/guide/keys.html#rotation"),
        "ipv6": ("peer [{}]:8420", "2001:db8:85a3:8d3:1319:8a2e:370:7348"), "mac": ("nic {}", "00:1b:44:11:3a:b7"),
        "version": ("byokeep {} on Python 3.11", "1.20.300-rc.1+build.77"),
        "path": ("wrote {}", "/var/lib/byokeep/checkpoints/2026/03/checkpoint-000018446.txt"),
        "event": ("{}", "key_enrolled provider=openai state=active attempt=2 of=5"),
        "traceback-line": ("{}", 'File "/srv/app/byokeep/flows/keystate.py", line 212, in apply_transition'),
        "prose": ("{}", "the bearer of this message may skip the basic checks; cookies are served with tea at five"),
    }  # fmt: skip
    return [Sample(SURVIVE, shape, place.format(kept), keep=(kept,)) for shape, (place, kept) in ids.items()]


@dataclass(frozen=True, slots=True)
class RegisteredValues:
    """A value to register, and the sample that holds it. ``kind`` is one of KINDS."""

    kind: str
    value: bytes = field(repr=False)
    sample: Sample


def value_of(draw: ValueGenerator, kind: str) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """Return the value to register, what an application would emit of it, and its secret parts."""
    if kind == "prefixed":
        first, second = draw.text(URL_SAFE, 74).encode(), draw.text(URL_SAFE, 74).encode()
        value = b"sk-proj-" + first + b"T3BlbkFJ" + second
        return value, value, (first, second)
    if kind == "pem":
        lines = tuple(line.encode() for line in textwrap.wrap(base64.b64encode(draw.octets(138)).decode(), 64))
        value = b"\n".join([b"-----BEGIN PRIVATE KEY-----", *lines, b"-----END PRIVATE KEY-----"])
        return value, value, lines
    value = draw.text(URL_SAFE, 64).encode()
    return value, b"sessionid=%s; Path=/" % value if kind == "cookie" else value, (value,)


def encoded(seed: str, kinds: Sequence[str] = KINDS) -> list[RegisteredValues]:
    """Return every encoding of a fresh value of every kind."""
    draw, made = ValueGenerator(seed, ENCODED), []
    for name, encode in ENCODINGS.items():
        for kind in kinds:
            value, emitted, parts = value_of(draw, kind)
            text = f"body {encode(emitted).decode('latin-1')} end"
            made.append(RegisteredValues(kind, value, Sample(ENCODED, f"{name}/{kind}", text, parts)))
    return made


def evading(seed: str, ways: Sequence[str]) -> list[RegisteredValues]:
    """Return a fresh opaque value for each way of slipping by; the sample's text is the bare value."""
    draw, made = ValueGenerator(seed, EVASION), []
    for way in ways:
        value, _emitted, parts = value_of(draw, "opaque")
        made.append(RegisteredValues("opaque", value, Sample(EVASION, way, value.decode(), parts)))
    return made


# fragments that make a careless expression or decoder backtrack, and one longer than any line may be
_FILLERS: Final[dict[str, Callable[[ValueGenerator], str]]] = {
    LONG: lambda _draw: "lorem ipsum ",  # first, so that it is part of every run
    "one-letter": lambda _draw: "a",
    "prefixes": lambda _draw: "sk-",
    "bearers": lambda _draw: "Bearer ",
    "escapes": lambda _draw: "\\u0041%2541&#65;",
    "base64": lambda draw: draw.text(URL_SAFE, 4096),
    "pairs": lambda _draw: '"token": ',
    "pem-heads": lambda _draw: "-----BEGIN PRIVATE KEY-----\n",
}


def costly(seed: str) -> list[RegisteredValues]:
    """Return adversarial lines of 1 MB, and one of 3 MB, each with a live value at its end."""
    draw, made = ValueGenerator(seed, COST), []
    for shape, filler in _FILLERS.items():
        value, _emitted, parts = value_of(draw, "opaque")
        piece, size = filler(draw), MEGABYTE * (3 if shape == LONG else 1)
        text = (piece * (size // len(piece) + 1))[: size - len(value) - 1] + " " + value.decode()
        made.append(RegisteredValues("opaque", value, Sample(COST, shape, text, parts)))
    return made


_REQUEST: Final = (
    "authorization", "proxy-authorization", "cookie", "x-api-key", "x-goog-api-key", "x-vault-token", "x-acme-token",
    "x-acme-key", "x-acme-secret", "api-key", "x-auth-token", "x-csrf-token",
)  # fmt: skip
_RESPONSE: Final = ("set-cookie", "x-vault-token", "x-acme-session-token")
_ADDRESSES: Final = {
    "url.full": "https://api.example.com/v1/models?key={}&page=2", "url.query": "alt=json&access_token={}",
    "http.url": "https://api.example.com/cb?code={}&state=1", "http.target": "/v1/models?api_key={}",
    "url.full.fragment": "https://app.example.com/cb#access_token={}&token_type=bearer",
    "url.full.userinfo": "https://svc:{}@proxy.example.com/",
}  # fmt: skip


def header_samples(seed: str) -> list[Sample]:
    """Return a sample for each captured header and each attribute that holds an address; ``shape`` is its name."""
    draw, made = ValueGenerator(seed, HEADERS), []
    for direction, names in (("request", _REQUEST), ("response", _RESPONSE)):
        for name in names:
            value = draw.secret()
            text = {"cookie": f"sid={value}", "set-cookie": f"sid={value}; Path=/", "authorization": f"Bearer {value}"}
            made.append((f"http.{direction}.header.{name}", text.get(name, value), value))
    for name, place in _ADDRESSES.items():
        value = draw.secret()
        made.append((name, place.format(value), value))
    return [Sample(HEADERS, shape, text, (value.encode(),)) for shape, text, value in made]
