"""What the redactors and scanners are measured on: a JSON log with secrets in one line of a hundred, each labelled.

Every value is drawn afresh from a seed and opens nothing. The shapes are those of the providers' real keys, check
strings included, so that a scanner which looks for them strictly has its chance.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_WORD: Final = string.ascii_letters + string.digits
_URL: Final = _WORD + "-_"
_HEX: Final = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log; ``value`` is the secret in it, empty for a clean line."""

    text: bytes
    kind: str = ""
    value: bytes = b""


class Source:
    """Lines from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def draw(self, count: int, of: str = _WORD) -> str:
        return "".join(self.random.choices(of, k=count))

    def uuid(self) -> str:
        return "-".join(self.draw(n, _HEX) for n in (8, 4, 4, 4, 12))

    def clean(self, number: int) -> Line:
        """A line without a secret: ids, digests, checkpoints, times, paths - what must survive."""
        said: dict[str, object] = {
            "at": f"2026-11-25T03:{number // 60 % 60:02}:{number % 60:02}.{self.draw(6, string.digits)}Z",
            "level": "info", "event": self.random.choice(("request", "lease_issued", "permit_closed", "round_done")),
            "process": "broker", "actor": self.uuid(), "tenant": self.uuid(), "request_id": self.uuid(),
        }  # fmt: skip
        said |= self.random.choice(_CLEAN)(self)
        return Line(json.dumps(said).encode())

    def secret(self, number: int) -> Line:
        """A line with one secret."""
        kind = self.random.choice(tuple(_SECRETS))
        fields, value = _SECRETS[kind](self)
        said = json.loads(self.clean(number).text) | fields
        return Line(json.dumps(said).encode(), kind, value.encode())

    def log(self, size: int, one_in: int = 100) -> Iterator[Line]:
        """Lines of ``size`` bytes in all, a secret in one of ``one_in``."""
        number = 0
        while size > 0:
            number += 1
            line = self.secret(number) if number % one_in == 0 else self.clean(number)
            size -= len(line.text) + 1
            yield line


_CLEAN: Final[tuple[Callable[[Source], dict[str, object]], ...]] = (
    lambda s: {"route": "/v1/jobs/{job_id}/leases", "status": 200, "took_ms": s.random.random() * 9},
    lambda s: {"digest": "sha256:" + s.draw(64, _HEX), "size": s.random.randrange(1 << 30)},
    lambda s: {"root": base64.b64encode(s.random.randbytes(32)).decode(), "epoch": s.random.randrange(1 << 20)},
    lambda s: {"traceparent": f"00-{s.draw(32, _HEX)}-{s.draw(16, _HEX)}-01"},
    lambda s: {"commit": s.draw(40, _HEX), "path": f"src/{s.draw(8)}/{s.draw(12)}.py"},
    lambda s: {"url": f"https://api.example.com/v1/items/{s.uuid()}?page={s.random.randrange(99)}&sort=desc"},
    lambda s: {"agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0"},
    lambda s: {"error": "ConnectionResetError", "place": f"adapters.postgres.database:{s.random.randrange(400)}"},
)


def _said(text: str, value: str) -> tuple[dict[str, object], str]:
    return {"message": text.replace("{}", value)}, value


def _jwt(source: Source) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"JWT"}').rstrip(b"=").decode()
    body = (
        base64.urlsafe_b64encode(json.dumps({"sub": source.uuid(), "exp": 1795000000}).encode()).rstrip(b"=").decode()
    )
    return f"{head}.{body}.{source.draw(86, _URL)}"


def _pem(source: Source) -> tuple[dict[str, object], str]:
    body = base64.b64encode(source.random.randbytes(96)).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    frame = "PRIVATE KEY"
    return {"message": f"-----BEGIN {frame}-----\n{lines}\n-----END {frame}-----"}, body


_SECRETS: Final[dict[str, Callable[[Source], tuple[dict[str, object], str]]]] = {
    "openai": lambda s: _said("using key {}", f"sk-proj-{s.draw(74, _URL)}T3BlbkFJ{s.draw(74, _URL)}"),
    "anthropic": lambda s: _said("Invalid key: {}", f"sk-ant-api03-{s.draw(93, _URL)}AA"),
    "openrouter": lambda s: _said("refused {}", f"sk-or-v1-{s.draw(64, _HEX)}"),
    "gemini": lambda s: _said("GET https://generativelanguage.example/v1/models?key={} 200", f"AIza{s.draw(35, _URL)}"),
    "gemini-new": lambda s: _said("auth {}", f"AQ.Ab8RN6{s.draw(44, _URL)}"),
    "heygen": lambda s: _said("key={}", f"sk_V2_hgu_k{s.draw(10)}_{s.draw(32)}"),
    "kie-header": lambda s: _said("Authorization: Bearer {}", s.draw(32, _HEX)),
    "meta": lambda s: _said("token {} expired", f"EAA{s.draw(180)}"),
    "google-access": lambda s: _said("refreshed {}", f"ya29.a0{s.draw(160, _URL)}"),
    "google-refresh": lambda s: _said("stored {}", f"1//0{s.draw(97, _URL)}"),
    "jwt": lambda s: _said("lease {}", _jwt(s)),
    "pem": _pem,
    "webhook": lambda s: _said("signing with {}", f"whsec_{s.draw(32)}"),
    "vault": lambda s: _said("login as {}", f"hvs.{s.draw(90)}"),
    "openbao": lambda s: _said("X-Vault-Token: {}", f"s.{s.draw(24)}"),
    "bearer": lambda s: _said("> authorization: Bearer {}", s.draw(43, _URL)),
    "cookie": lambda s: _said("Cookie: lang=en; sessionid={}; theme=dark", s.draw(32)),
    "set-cookie": lambda s: _said("Set-Cookie: sid={}; Path=/; HttpOnly", s.draw(40, _URL)),
    "access-token": lambda s: ({"reply": json.dumps({"access_token": (v := s.draw(64, _URL)), "expires_in": 7200})}, v),
    "refresh-form": lambda s: _said("POST grant_type=refresh_token&refresh_token={}", s.draw(60, _URL)),
    "password-url": lambda s: _said("postgresql://app:{}@db.internal:5432/app", s.draw(24)),
    "base64": lambda s: _said("blob {}", base64.b64encode(s.random.randbytes(96)).decode()),
}
