"""What in an environment variable is a secret: by its name, and by the shape of its value, however it is encoded.

Rules
- Shapes are the redactor's rules, searched in each layer of a value: base64, hex, URL and JSON escapes, four deep.
- Names are compared with the redactor's names of secrets and with the providers whose keys clients bring. A name alone
  is a finding if its value cannot be read.
- A process of ours does not start with a client's secret in its environment (:func:`refuse_client_secrets`).

It may not show a value, or a name that holds one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Final

from byokeep.core.errors import Denied
from byokeep.core.model import Provider
from byokeep_redact.checks import is_filler, looks_random
from byokeep_redact.decoders import Layer, decoded
from byokeep_redact.rules import default_rules

KEY, TOKEN, COOKIE, OTHER = "client_key", "oauth_token", "session_cookie", "secret"
CLIENT_SECRETS: Final = (KEY, TOKEN, COOKIE)
PUBLIC_PREFIXES: Final = (
    "NEXT_PUBLIC_", "VITE_", "REACT_APP_", "EXPO_PUBLIC_", "NUXT_PUBLIC_", "VUE_APP_", "GATSBY_", "STORYBOOK_",
    "PUBLIC_",
)  # fmt: skip
_DEPTH: Final = 4
_LEAST: Final = 6  # characters of a value that its name alone makes a secret
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}\Z")
_USUAL: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_LONG: Final = 16  # characters; from this length on a usual name may be randomly drawn
_JOINT: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]")
_ENDING: Final = re.compile(
    r"B64|BASE64|JSON|ENCODED|RAW|[0-9]{1,3}|PROD|PRODUCTION|PREVIEW|STAGING|DEV|DEVELOPMENT|TEST|OLD|NEW|PREV|"
    r"PREVIOUS|BACKUP|COPY"
)
_OTHER_NAMES: Final = ("GEMINI", "CLAUDE", "CHATGPT", "FACEBOOK", "INSTAGRAM", "THREADS", "TWITTER", "GROQ", "MISTRAL",
                       "XAI", "GROK", "ELEVENLABS", "REPLICATE", "PERPLEXITY", "DEEPSEEK")  # fmt: skip
_PROVIDERS: Final = frozenset({*(one.value.upper() for one in Provider), *_OTHER_NAMES})
_SESSION_WORDS: Final = frozenset({"SESSION", "SESSIONID"})
_KEY_WORDS: Final = frozenset({"KEY", "KEYS", "APIKEY", "TOKEN", "SECRET"})
_ABOUT: Final = re.compile(
    r".*_(?:ID|URL|URI|FILE|PATH|DIR|NAME|TTL|LIMIT|COUNT|SIZE|REF|VERSION|ENABLED|HEADER|PREFIX|DAYS|SECONDS|ARN|"
    r"ENDPOINT|SCOPES?|VERIFICATION)\Z"
)
_OAUTH: Final = re.compile(r"(?:.*_)?(?:REFRESH|ACCESS|OAUTH|BEARER)_?TOKENS?(?:_|\Z)")
_COOKIES: Final = re.compile(r"(?:.*_)?(?:COOKIES?(?:_(?:HEADER|STRING|JAR|VALUE))?|STORAGE_?STATE)\Z")
_SHOWN_TO_ALL: Final = re.compile(r"(?:.*_)?(?:PUBLIC|PUBLISHABLE|SITE|ANON)(?:_API)?_(?:KEY|TOKEN)\Z")
_SHELLS: Final = frozenset({"XDG_SESSION_ID", "TERM_SESSION_ID", "ITERM_SESSION_ID", "SHELL_SESSION_ID"})
_TOKENS: Final = frozenset({"google-access", "google-refresh", "google-client-secret", "meta", "meta-app", "tiktok",
                            "linkedin", "x-app", "x-user"})  # fmt: skip
# A value may hold `=`: there is no backtracking, or a list of pairs would be cut in every possible way.
_PAIRS: Final = re.compile(rb"\s*+(?:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}+=[^;\s\"']{1,4096}+;?+\s*+){1,200}+")
_RUN: Final = "long-base64"
_IN_ADDRESS: Final = "password-in-address"  # a weak one opens the door as well as a random one
_CLIENT_ID: Final = b".apps.googleusercontent.com"
# What of it looks like a path is not in the run that was found.
_PICTURE: Final = re.compile(rb"data:(?:image|font)/[a-z0-9.+-]{1,40};base64,[A-Za-z0-9+/]*+\Z")
_QUOTE: Final = re.compile(rb"[\\\"']+")
_SESSION: Final = re.compile(rb"(?i)sess|sid|csrf|xsrf|auth|token|jwt|login|remember|li_at|c_user|datr")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A secret that was found: its code, and what shows it, such as ``name`` or ``sk-family, base64``."""

    code: str
    why: str


def bare_name(name: str) -> str:
    """Return a name in capitals, without the prefix that makes a framework put its value into pages."""
    folded = _JOINT.sub("_", name).upper()
    return next((folded[len(one) :] for one in PUBLIC_PREFIXES if folded.startswith(one)), folded)


def is_public(name: str) -> bool:
    """Whether a framework puts the variable's value into what every visitor gets."""
    return _JOINT.sub("_", name).upper().startswith(PUBLIC_PREFIXES)


def shown(name: str, value: str | None = None) -> str:
    """Return a variable's name as it may be printed; an odd one, or one that may be a secret itself, may not.

    The last line of a key in base64 looks like a name without a value.
    """
    usual = _USUAL.fullmatch(name) is not None
    random = (len(name) >= _LONG or not usual) and looks_random(name.encode("utf-8", "surrogateescape"))
    bare = not usual and value is not None and not value.strip("=")
    return name if _NAME.match(name) and not random and not bare and in_value(name) is None else "unnamed"


def by_name(name: str) -> str:
    """Return the code that a variable's name alone gives; empty if the name suggests no secret."""
    parts = bare_name(name).split("_")
    while len(parts) > 1 and _ENDING.fullmatch(parts[-1]):
        parts.pop()
    plain = "_".join(parts)
    if _SHOWN_TO_ALL.match(plain) or plain in _SHELLS:
        return ""
    if _COOKIES.match(plain):
        return COOKIE
    words = set(parts)
    theirs = bool(words & _PROVIDERS) and (not _ABOUT.match(plain) or plain.endswith("SESSION_ID"))
    if theirs and words & _SESSION_WORDS:
        return COOKIE
    if _OAUTH.match(plain) and (theirs or "REFRESH" in plain) and not _ABOUT.match(plain):
        return TOKEN
    if theirs and words & _KEY_WORDS:
        return KEY
    return OTHER if default_rules().secret_name(plain) else ""


def in_variable(name: str, value: str | None) -> Sighting | None:
    """Return what is secret in a variable; a value of ``None`` means that it cannot be read."""
    seen = in_value(value) if value else None
    if seen is not None and (seen.code != OTHER or _SHOWN_TO_ALL.match(bare_name(name))):
        return seen if not seen.why.startswith(_RUN) else None
    code = by_name(name)
    if code and (value is None or (len(value) >= _LEAST and not _is_filler(value))):
        return Sighting(code, "name") if seen is None or code != OTHER else seen
    return seen


def _is_filler(value: str) -> bool:
    """Whether it is a placeholder, a number, a path or an address; what was randomly drawn is not."""
    data = value.encode("utf-8", "surrogateescape")
    return is_filler(data) and not looks_random(data)


def in_value(value: str, *, encrypted: bool = False) -> Sighting | None:
    """Return the secret that a value is or holds; a client's before any other.

    Args:
        encrypted: It may be a ciphertext: a random-looking part alone is no secret.
    """
    every = _sightings(value.encode("utf-8", "surrogateescape"))
    seen = [one for one in every if not (encrypted and one.why.startswith(_RUN))]
    return next((one for one in seen if one.code != OTHER), seen[0] if seen else None)


def _sightings(value: bytes) -> Iterator[Sighting]:
    todo = [Layer(value, 0, lambda at: at)]
    while todo:
        layer = todo.pop(0)
        how = layer.chain(0, 1)[1] if layer.data else ()
        how_encoded = "".join(f", {name}" for name in how if name)
        if _is_session(layer.data):
            yield Sighting(COOKIE, f"cookies{how_encoded}")
        for one in default_rules().find(layer.data):
            part = layer.data[one.start : one.end]
            known = one.label == _RUN and layer.depth < _DEPTH and _is_known_run(layer.data, one.start, one.end)
            if (looks_random(part) and not known) or one.label == _IN_ADDRESS:
                yield Sighting(_code(one.label, one.kind), f"{one.label}{how_encoded}")
        if layer.depth < _DEPTH:
            todo += decoded(layer)


def _code(rule: str, kind: str) -> str:
    if kind in ("cookie", "storage"):
        return COOKIE
    if rule in _TOKENS:
        return TOKEN
    return KEY if kind == "api_key" and rule != "aws-key-id" else OTHER


def _is_session(data: bytes) -> bool:
    """Whether data is what a browser sends as cookies, and one of them is a session's."""
    texts = (text for text in _QUOTE.split(data) if _PAIRS.fullmatch(text))
    pairs = (one.strip().partition(b"=") for text in texts for one in text.split(b";"))
    return any(_SESSION.search(name) and looks_random(value) for name, _, value in pairs)


def _is_known_run(data: bytes, start: int, end: int) -> bool:
    """Whether a random-looking run of letters is a client id, a picture, or base64 of text, which is searched too."""
    if data.startswith(_CLIENT_ID, end) or _PICTURE.match(data, 0, start):
        return True
    letters = data[start:end].rstrip(b"=")
    plain = base64.b64decode(letters[: len(letters) // 4 * 4], altchars=b"-_")
    return plain.isascii() and plain.decode("ascii").replace("\n", " ").isprintable()


_STEP: Final = (
    "A process of byokeep starts with no client's secret in its environment, where every child and dump has it. Unset "
    "it, onboard it with `byokeep key add`, and replace it at its provider if others could see it."
)


def refuse_client_secrets(environment: Mapping[str, str]) -> None:
    """Let a process start unless its environment holds a client's provider key, OAuth token or session cookie.

    Raises:
        Denied: ``secret_in_environment``, with the names of the variables.
    """
    found = {shown(name) for name, value in environment.items()
             if (seen := in_variable(name, value)) is not None and seen.code in CLIENT_SECRETS}  # fmt: skip
    if found:
        named = shorten(", ".join(sorted(found)), 200, placeholder=" ...")  # what an error may carry
        raise Denied("secret_in_environment", next_step=_STEP, variables=named)
