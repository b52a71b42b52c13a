"""Whether a webhook came from the platform that it names: its signature, its time, and that it comes only once.

Rules
- Only the raw bytes of the body count: whoever parses first verifies something else.
- No key, no signature, a duplicate signature, a wrong or old one, a repeated delivery: each is refused, none skipped.
- Signatures are compared in constant time with every live key, whether or not an earlier one matched.
- One key signs several kinds: deliveries, answers to tests of an address, Meta's signed requests. Each is recognised by
  its form, and none passes for another.
- A scheme without a timestamp cannot tell that a delivery is old; only the memory of deliveries protects there.

It may not know the time or keep a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from byokeep.core.canonical import read_json
from byokeep.core.errors import RateLimited, Rejected, Unauthenticated, refusing

MAX_BODY: Final = 1 << 20  # bytes
MIN_KEY: Final = 16  # bytes
MAX_KEYS: Final = 2  # the current and the previous one
WINDOW_S: Final = 300  # how old, or how far ahead, a timestamp may be
MAX_REMEMBERED: Final = 10_000
_TIKTOK: Final = re.compile(r"t=(\d{1,12}),\s?s=([0-9a-fA-F]{64})\Z")


class SignatureForm(StrEnum):
    """How a signature is written."""

    HEX = "hex"
    BASE64 = "base64"
    TIMED_HEX = "timed_hex"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How one sender signs.

    Args:
        header: Name of the header, lower case.
        prefix: The text before the signature.
        digest: Hash of the HMAC.
        form: ``timed_hex`` is ``t=<unix>,s=<hex>``, signed over ``<unix>.<body>``; the others sign only the body.
        challenge: How a test of the address is answered: ``hex`` or ``base64`` of the HMAC over the challenge; empty if
            there is no test or its answer needs no secret.
        documents: Whether a delivery is a JSON object; False = the sender signs nothing else with this key.
        confirmed: Whether the sender's documentation says so; False = try a real delivery before relying on it.
    """

    name: str
    header: str
    prefix: str = ""
    digest: str = "sha256"
    form: SignatureForm = SignatureForm.HEX
    challenge: str = ""
    documents: bool = True
    confirmed: bool = True


_SCHEMES: Final = (
    Scheme(name="meta", header="x-hub-signature-256", prefix="sha256="),
    Scheme(name="tiktok", header="tiktok-signature", form=SignatureForm.TIMED_HEX),
    Scheme(name="linkedin", header="x-li-signature", challenge="hex", confirmed=False),
    # A feed, in XML.
    Scheme(name="youtube", header="x-hub-signature", prefix="sha1=", digest="sha1", documents=False, confirmed=False),
    Scheme(
        name="x", header="x-twitter-webhooks-signature", prefix="sha256=", form=SignatureForm.BASE64, challenge="base64"
    ),
    Scheme(name="heygen", header="signature", confirmed=False),
)
SCHEMES: Final[Mapping[str, Scheme]] = MappingProxyType({scheme.name: scheme for scheme in _SCHEMES})


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that was verified.

    Args:
        id: Digest of what was signed; the same delivery sent again has the same one.
        sent_at: Unix seconds that the signature covers; None for a scheme without a timestamp.
        key: Which of the given keys matched, from 0.
    """

    id: bytes
    sent_at: int | None
    key: int


@dataclass(frozen=True, slots=True)
class Removal:
    """A person's removal of the app, as Meta reports it.

    Args:
        id: Digest of what was signed; the same call sent again has the same one.
        user: The account id of the person.
    """

    id: bytes
    user: str


class SeenDeliveries:
    """A bounded memory of deliveries, so that none counts twice.

    A scheme with a timestamp needs memory only for its window. If it is full, deliveries are refused rather than
    forgotten. Without a timestamp the oldest is forgotten first.

    Args:
        most: How many deliveries are remembered, at least 1.
    """

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        if most < 1:
            raise ValueError("a memory holds at least one delivery")
        self._most = most
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._forgot = float("-inf")  # a delivery valid until then may have been forgotten

    def __len__(self) -> int:
        return len(self._until)

    def claim(self, delivery: bytes, *, now: float, until: float | None) -> None:
        """Remember a delivery.

        Args:
            now: Unix seconds.
            until: When the delivery becomes too old, in Unix seconds; None = never.

        Raises:
            Unauthenticated: ``webhook_replayed``; ``webhook_too_old``: a clock that ran ahead for a while made this
                memory forget deliveries of that time, so nobody can tell whether it came before.
            RateLimited: ``webhook_memory_full``.
        """
        if delivery in self._until:
            raise Unauthenticated("webhook_replayed")
        if until is not None and until <= self._forgot:
            raise Unauthenticated("webhook_too_old")
        if len(self._until) >= self._most:
            self._drop_old(now)
        if len(self._until) >= self._most:
            if until is not None:
                raise RateLimited(
                    "webhook_memory_full", next_step="The sender will deliver again. Give the memory more room."
                )
            self._until.popitem(last=False)
        self._until[delivery] = float("inf") if until is None else until

    def forget(self, delivery: bytes) -> None:
        """Forget a delivery, so that it passes again, because handling it failed."""
        self._until.pop(delivery, None)

    def _drop_old(self, now: float) -> None:
        for delivery in [one for one, until in self._until.items() if until < now]:
            self._forgot = max(self._forgot, self._until.pop(delivery))


def verify(
    scheme: Scheme, headers: Iterable[tuple[str, str]], body: bytes, keys: Sequence[bytes], *, now: float
) -> Delivery:
    """Verify a delivery; :meth:`SeenDeliveries.claim` is the caller's next step.

    Args:
        headers: All headers as they came, including duplicates: a duplicate signature is refused.
        body: The raw bytes.
        keys: One key, or two while a secret is being replaced.
        now: Unix seconds.

    Raises:
        Unauthenticated: ``webhook_no_key``, ``webhook_unsigned``, ``webhook_signature_malformed``,
            ``webhook_signature_wrong``, ``webhook_too_old``, ``webhook_from_the_future``, ``webhook_other_kind``: it is
            signed but not a delivery.
        Rejected: ``webhook_too_large``.
    """
    if not 1 <= len(keys) <= MAX_KEYS or any(len(key) < MIN_KEY for key in keys):
        raise Unauthenticated("webhook_no_key", next_step="Store the platform's webhook secret for this client.")
    if len(body) > MAX_BODY:
        raise Rejected("webhook_too_large", maximum=MAX_BODY)
    given, sent_at = _signature(scheme, headers)
    signed = body if sent_at is None else b"%d." % sent_at + body
    fits = [hmac.compare_digest(hmac.digest(key, signed, scheme.digest), given) for key in keys]
    if not any(fits):
        raise Unauthenticated("webhook_signature_wrong")
    if sent_at is not None and now - sent_at > WINDOW_S:
        raise Unauthenticated("webhook_too_old")
    if sent_at is not None and sent_at - now > WINDOW_S:
        raise Unauthenticated("webhook_from_the_future")
    if scheme.documents and not _is_object(body):
        raise Unauthenticated("webhook_other_kind")
    return Delivery(hashlib.sha256(scheme.name.encode() + b"\0" + signed).digest(), sent_at, fits.index(True))


def answer(scheme: Scheme, challenge: str, key: bytes) -> str:
    """Return the answer to a platform's test of our address.

    Raises:
        Rejected: ``webhook_no_challenge`` (the platform tests in another way), ``webhook_bad_challenge``.
        Unauthenticated: ``webhook_no_key``.
    """
    if not scheme.challenge:
        raise Rejected("webhook_no_challenge")
    # Whoever chooses the text chooses what is signed, so it must not pass for a delivery, which is an object.
    if not re.fullmatch(r"[A-Za-z0-9_=+/.-]{1,256}", challenge):
        raise Rejected("webhook_bad_challenge")
    if len(key) < MIN_KEY:
        raise Unauthenticated("webhook_no_key")
    made = hmac.digest(key, challenge.encode(), scheme.digest)
    return made.hex() if scheme.challenge == "hex" else scheme.prefix + base64.b64encode(made).decode()


def removed_user(signed_request: str, keys: Sequence[bytes], memory: SeenDeliveries, *, now: float) -> Removal:
    """Return who, according to Meta, removed the app. Each call passes once.

    Args:
        signed_request: The form field of that name: ``<signature>.<payload>``, both base64url; the signature is over
            the payload as text.
        keys: One key, or two while a secret is being replaced.
        memory: Where the call is remembered; call :meth:`SeenDeliveries.forget` if handling it failed.
        now: Unix seconds.

    Raises:
        Unauthenticated: As :func:`verify`, or ``webhook_replayed``.
        RateLimited: ``webhook_memory_full``.
    """
    if not 1 <= len(keys) <= MAX_KEYS or any(len(key) < MIN_KEY for key in keys):
        raise Unauthenticated("webhook_no_key", next_step="Store the app's secret.")
    parts = re.fullmatch(r"([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{1,2000})", signed_request)
    if parts is None:
        raise Unauthenticated("webhook_signature_malformed")
    given, payload = base64.urlsafe_b64decode(parts[1] + "="), parts[2].encode()
    fits = [hmac.compare_digest(hmac.digest(key, payload, "sha256"), given) for key in keys]
    if not any(fits):
        raise Unauthenticated("webhook_signature_wrong")
    with refusing("webhook_signature_malformed", Unauthenticated):
        document = read_json(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        kind, made, user = document["algorithm"], document["issued_at"], document["user_id"]
    if kind != "HMAC-SHA256" or type(made) is not int or not re.fullmatch(r"\d{1,32}", str(user)):
        raise Unauthenticated("webhook_signature_malformed")
    if abs(now - made) > WINDOW_S:
        raise Unauthenticated("webhook_too_old" if now > made else "webhook_from_the_future")
    found = Removal(hashlib.sha256(b"removal\0" + payload).digest(), str(user))
    memory.claim(found.id, now=now, until=made + WINDOW_S)
    return found


def _is_object(body: bytes) -> bool:
    try:
        return type(read_json(body.decode())) is dict
    except ValueError:
        return False


def _signature(scheme: Scheme, headers: Iterable[tuple[str, str]]) -> tuple[bytes, int | None]:
    found = [value.strip() for name, value in headers if name.lower() == scheme.header]
    if not found:
        raise Unauthenticated("webhook_unsigned")
    if len(found) != 1 or len(found[0]) > 256 or not found[0].startswith(scheme.prefix):
        raise Unauthenticated("webhook_signature_malformed")
    text, sent_at = found[0][len(scheme.prefix) :], None
    if scheme.form is SignatureForm.TIMED_HEX:
        parts = _TIKTOK.match(text)
        if parts is None or str(int(parts[1])) != parts[1]:
            raise Unauthenticated("webhook_signature_malformed")
        sent_at, text = int(parts[1]), parts[2]
    with refusing("webhook_signature_malformed", Unauthenticated):
        given = (
            base64.b64decode(text, validate=True) if scheme.form is SignatureForm.BASE64 else binascii.unhexlify(text)
        )
    if len(given) != hashlib.new(scheme.digest, usedforsecurity=False).digest_size:
        raise Unauthenticated("webhook_signature_malformed")
    return given, sent_at
