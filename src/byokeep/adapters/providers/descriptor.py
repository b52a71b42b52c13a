"""What each provider of API keys is, from its data file, and whether submitted bytes can be a key of it.

Rules
- A file with an unknown or a missing field does not load. Neither does one that could put a key in a URL, or a header
  anywhere but at the provider's host. The set of providers is closed and equals ``core.model.API_PROVIDERS``.
- A refusal of a key carries a code and the provider's name, never the value, its length or a part of it.
- Nothing is repaired: what would have to be stripped is refused.
- The loose pattern decides what may be stored; the strict patterns of the others say "wrong slot".
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from byokeep.core.data_file import Table
from byokeep.core.errors import Rejected
from byokeep.core.exchange import TOKEN, Exchange
from byokeep.core.model import API_PROVIDERS
from byokeep.core.plain_text import SESSION_STEP, is_session
from byokeep.core.secret import Secret

MAX_ROTATION_DAYS: Final = 90
MAX_LIFE_S: Final = 3600  # seconds, of a token that stands in for a key
# How a key is replaced: we mint and revoke; a person brings the new one and we end the old; the new one ends the old at
# once; a person does both.
MODES: Final = ("full", "assisted", "cutover", "manual")
NAMED: Final = re.compile(r"\$([a-z_]+)")  # what a call's template takes
_CALL: Final = re.compile(r"(?:GET|POST|DELETE|PATCH) /[A-Za-z0-9$_./:?=&\[\]-]+")
_SECRET_QUERY_NAMES: Final = re.compile(r"key|api[-_]?key|.*token|secret|auth.*|password", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckShape:
    """What a key may look like.

    Args:
        min_length: Shortest accepted key, in characters.
        max_length: Longest accepted key, in characters.
        accept: Loose patterns; one must match the whole key.
        recognise: Strict patterns that identify a key of this provider in another provider's slot.
    """

    min_length: int
    max_length: int
    accept: tuple[re.Pattern[str], ...]
    recognise: tuple[re.Pattern[str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingCall:
    """One call about keys: method and path, with ``$name`` for what is known; and where its reply says what. In
    its body a text of digits goes out as a number, and ``a.b[].c`` in a list of one inside an object.

    A list comes in pages: ``page`` is the field of the query that names the next one, ``more`` where a reply says that
    there is one: with its name, or with true, when it comes after the id that was last. Without ``more`` it is counted.
    ``omits``: an empty list is left out. ``life``: the field of the body that says after how many seconds a key ends
    by itself.
    """

    call: str
    body: Mapping[str, str] = field(default_factory=dict)
    items: str = ""
    id: str = ""
    name: str = ""
    hint: str = ""
    value: str = ""
    page: str = ""
    more: str = ""
    omits: bool = False
    life: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageCall(IssuingCall):
    """How an administrator's key asks what the account used, in buckets of time.

    In a bucket ``id`` is its beginning and ``rows`` its list of rows, empty = it is itself a row. In a row ``name`` is
    the model and ``value`` the fields that are added up, of ``unit``. ``since`` and ``until`` are fields of the query,
    as seconds since 1970 if ``unix``; none = the span cannot be chosen. ``sparse``: of so many buckets back from now
    one that is not listed was not used; else nobody knows of it.
    """

    unit: str
    width_s: int
    rows: str = ""
    since: str = ""
    until: str = ""
    unix: bool = False
    sparse: int = 0
    cost: str = ""  # where a row says what was spent, in US dollars


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingApi:
    """How an administrator's key makes, lists and ends keys.

    ``value``: a second call that returns a minted value. ``public``: the beginning that all its keys share.
    """

    host: str
    header: str
    prefix: str
    public: str
    list: IssuingCall
    revoke: IssuingCall
    mint: IssuingCall | None = None
    value: IssuingCall | None = None
    usage: UsageCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationShape:
    """How a provider's keys are replaced: ``mode`` is one of :data:`MODES`."""

    mode: str
    api: IssuingApi | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescriptor:
    """One provider. ``title``: what people call it; ``endpoint``: the name of the identity call in evidence."""

    provider: str
    title: str
    published_name: str
    base_url: str
    endpoint: str
    path: str
    query: Mapping[str, str]
    auth_header: str
    auth_prefix: str
    extra_headers: Mapping[str, str]
    shape: CheckShape
    rotation_days: int
    rotation: RotationShape
    docs_url: str
    keyless: Exchange | None = None


def load(provider: str, document: Mapping[str, Any]) -> ProviderDescriptor:
    """Build a descriptor from a parsed data file.

    Raises:
        ValueError: The file breaks a rule of this module; the message names the field.
    """
    top = Table(provider, document)
    base = urlsplit(top.take("base_url", str))
    identity, auth, shape = top.table("identity"), top.table("auth"), top.table("shape")
    if base.scheme != "https" or not base.hostname or base.username or base.query or base.path not in ("", "/"):
        raise ValueError(f"{provider}: base_url must be https://host")
    accept, recognise = (
        tuple(re.compile(pattern, re.ASCII) for pattern in shape.texts(name)) for name in ("accept", "recognise")
    )
    found = top.fill(
        ProviderDescriptor,
        provider=provider,
        base_url=f"https://{base.netloc}",
        endpoint=identity.take("name", str),
        path=identity.take("path", str),
        query=identity.templates("query"),
        auth_header=auth.take("header", str).lower(),
        auth_prefix=auth.take("prefix", str),
        extra_headers=auth.templates("extra"),
        shape=shape.fill(CheckShape, accept=accept, recognise=recognise),
    )
    identity.done()
    auth.done()
    if "?" in found.path or not found.path.startswith("/"):
        raise ValueError(f"{provider}: the identity path takes no query")
    if any(_SECRET_QUERY_NAMES.fullmatch(name) for name in found.query):
        raise ValueError(f"{provider}: a credential may not be a query parameter")
    api = found.rotation.api
    if found.rotation.mode not in MODES or (api is None) is (found.rotation.mode in MODES[:2]):
        raise ValueError(f"{provider}: rotation.mode is one of {', '.join(MODES)}; the first two have an api")
    calls = [] if api is None else [one.call for one in (api.list, api.revoke, api.mint, api.value, api.usage) if one]
    if any(not _CALL.fullmatch(call) for call in calls):
        raise ValueError(f"{provider}: a call is a method and a path")
    mint = None if api is None else api.mint
    if mint is not None and mint.life and not mint.body.get(mint.life, "").isdigit():
        raise ValueError(f"{provider}: life names a field of the body that says seconds")
    if found.keyless is not None:
        _check_exchange(provider, found.keyless)
    if not 1 <= found.rotation_days <= MAX_ROTATION_DAYS:
        raise ValueError(f"{provider}: rotation_days must be 1 to {MAX_ROTATION_DAYS}")
    return found


def _check_exchange(provider: str, exchange: Exchange) -> None:
    ids = {f"${name}" for name in (*exchange.needs, *exchange.may)}
    named = [text for text in exchange.body.values() if text[:1] == "$"]
    if not exchange.url.startswith("https://") or not 1 <= exchange.life_s <= MAX_LIFE_S:
        raise ValueError(f"{provider}: a swap goes to https://, for a token of 1 to {MAX_LIFE_S} seconds")
    if named.count(TOKEN) != 1 or {*named} - {TOKEN} != ids:
        raise ValueError(f"{provider}: a swap sends the identity token once, and each id that is declared")


def exchanges(urls: Mapping[str, str]) -> dict[str, Exchange]:
    """Return how identity tokens are exchanged, by provider; ``urls`` are addresses of simulators."""
    found = {name: one.keyless for name, one in DESCRIPTORS.items() if one.keyless is not None}
    for name, base in urls.items():
        if name in found:
            found[name] = replace(found[name], url=base.rstrip("/") + urlsplit(found[name].url).path)
    return found


def _load_all() -> Mapping[str, ProviderDescriptor]:
    folder = resources.files("byokeep.adapters.providers").joinpath("data")
    found = {}
    for provider in sorted(API_PROVIDERS):
        text = folder.joinpath(f"{provider}.toml").read_text(encoding="utf-8")
        found[str(provider)] = load(str(provider), tomllib.loads(text))
    return MappingProxyType(found)


def acts(descriptor: ProviderDescriptor) -> frozenset[str]:
    """Return what an administrator's key can do: ``mint`` and ``revoke`` keys, report ``usage``."""
    api = descriptor.rotation.api
    if api is None:
        return frozenset()
    return frozenset({"revoke"} | ({"mint"} if api.mint else set()) | ({"usage"} if api.usage else set()))


def place_names(descriptor: ProviderDescriptor) -> tuple[str, ...]:
    """Return what says where in an account the keys are, such as ``project``: what those calls take beyond a key's."""
    api = descriptor.rotation.api
    calls = [one for one in (api.list, api.mint, api.value, api.revoke) if one is not None] if api else []
    found = NAMED.findall(" ".join(text for one in calls for text in (one.call, *one.body.values())))
    return tuple(name for name in dict.fromkeys(found) if name not in ("id", "name"))


DESCRIPTORS: Final[Mapping[str, ProviderDescriptor]] = _load_all()


_NEXT_STEPS: Final = {
    "empty_value": "Submit the key: nothing, or only spaces, arrived.",
    "too_short": "Copy the whole key from the provider's page.",
    "too_long": "Submit the key alone, without anything around it.",
    "control_characters": "Copy the key again as plain text: it holds control characters.",
    "whitespace_inside": "Remove the spaces. A header name such as Bearer is not part of the key.",
    "not_ascii": "Copy the key again as plain text: a program replaced some of its characters.",
    "invisible_characters": "Copy the key again as plain text: it holds invisible characters.",
    "code_fence": "Submit the key alone, without the code fence.",
    "quoted": "Submit the key without the quotes around it.",
    "json_not_key": "Submit only the key: this is a JSON document.",
    "pem_not_key": "Submit an API key: this is a PEM block.",
    "trailing_newline": "Submit the key without the line break.",
    "format_mismatch": "Check that the key belongs to this provider and was copied completely.",
    "use_profile_vault": SESSION_STEP,
    "unknown_provider": "Use the provider's exact id.",
}
_QUOTES: Final = (b'"', b"'", b"`")
_INVISIBLE: Final = frozenset({"Cf", "Zs", "Zl", "Zp", "Mn"})


def check_format(provider: str, value: bytes, *, accept_shape_mismatch: bool = False) -> None:
    """Refuse bytes that cannot be a key of this provider.

    Args:
        provider: Internal provider id, exactly as in ``DESCRIPTORS``.
        value: The submitted bytes.
        accept_shape_mismatch: An operator gave a reason for storing an unusual key. Lifts ``format_mismatch`` only.

    Raises:
        Rejected: ``unknown_provider``, or one of ``empty_value``, ``too_short``, ``too_long``,
            ``control_characters``, ``whitespace_inside``, ``not_ascii``, ``invisible_characters``, ``code_fence``,
            ``quoted``, ``json_not_key``, ``pem_not_key``, ``trailing_newline``, ``use_profile_vault``,
            ``format_mismatch``.
    """
    descriptor = DESCRIPTORS.get(provider)
    if descriptor is None:
        raise Rejected("unknown_provider", next_step=_NEXT_STEPS["unknown_provider"])
    code = _not_a_key(value, descriptor) or _bad_characters(value) or _bad_length(value, descriptor)
    if code:
        _refuse(code, provider)
    if accept_shape_mismatch:
        return
    text = value.decode("ascii")
    _refuse_other(text, provider)
    if not any(pattern.fullmatch(text) for pattern in descriptor.shape.accept):
        if re.match(r"\w+=[^=]", text):
            step = "Give the key alone, without NAME= before it."
            raise Rejected("format_mismatch", next_step=step, provider=provider)
        _refuse("format_mismatch", provider)


def check_secret(provider: str, value: Secret) -> None:
    """Do as :func:`check_format` does with a wrapped value; no frame of a refusal holds it in the clear."""
    _unseen(check_format, provider, value)


def check_admin(provider: str, value: Secret) -> None:
    """Refuse a wrapped administrator's key, of printable characters, that is a key of another provider.

    Raises:
        Rejected: ``format_mismatch``.
    """
    _unseen(lambda name, text: _refuse_other(text.decode("ascii"), name), provider, value)


def _unseen(check: Callable[[str, bytes], None], provider: str, value: Secret) -> None:
    refused = None
    try:
        check(provider, value.reveal())
    except Rejected as error:
        refused = error.with_traceback(None)
    if refused is not None:
        raise refused


def _refuse_other(text: str, provider: str) -> None:
    if other := _of_another(text, provider):
        step = f"It has the form of a key of {other}. Choose that provider, or give a key of this one."
        raise Rejected("format_mismatch", next_step=step, provider=provider)


def _refuse(code: str, provider: str) -> NoReturn:
    raise Rejected(code, next_step=_NEXT_STEPS[code], provider=provider) from None


def _not_a_key(value: bytes, descriptor: ProviderDescriptor) -> str:
    start = value[:64].lstrip()
    if is_session(value):
        return "use_profile_vault"
    if not value.strip():
        return "empty_value" if len(value) <= descriptor.shape.max_length else "too_long"
    if start.startswith(b"```"):
        return "code_fence"
    if start[:1] in _QUOTES or value[-64:].rstrip()[-1:] in _QUOTES:
        return "quoted"
    if start.startswith(b"-----BEGIN"):
        return "pem_not_key"
    if start.startswith((b"{", b"[")):
        return "json_not_key"
    # Four bytes per character, so that a look-alike text of the right length gets the specific refusal.
    return "too_long" if len(value) > 4 * descriptor.shape.max_length else ""


def _bad_characters(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "not_ascii"
    odd = {unicodedata.category(c) for c in text if ord(c) > 127}
    if odd & _INVISIBLE:
        return "invisible_characters"
    if odd:
        return "not_ascii"
    if "```" in text:
        return "code_fence"
    if text.endswith(("\n", "\r")) and not any(ord(c) < 32 for c in text.rstrip("\r\n")):
        return "trailing_newline"
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        return "control_characters"
    return "whitespace_inside" if " " in text else ""


def _bad_length(value: bytes, descriptor: ProviderDescriptor) -> str:
    if len(value) > descriptor.shape.max_length:
        return "too_long"
    return "too_short" if len(value) < descriptor.shape.min_length else ""


def _of_another(text: str, provider: str) -> str:
    """Return the other provider whose key this certainly is; empty if it is nobody's."""
    others = (name for name, one in DESCRIPTORS.items() if any(it.fullmatch(text) for it in one.shape.recognise))
    return next((name for name in others if name != provider), "")
