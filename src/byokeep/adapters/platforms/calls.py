"""Turn a call of a descriptor into an HTTP request and send it; what goes with it: state, challenge, echo of a secret.

Rules
- Places are filled from a closed set of values; a place without a value means that the call cannot be made.
- What is put into a path or a query is percent-encoded as one piece; it cannot add a segment or a parameter.
- Before sending, the request is looked at once more: no secret stands in a URL that was not declared to carry it.
- A verifier serves one flow; only its challenge travels with the browser. A platform without challenges is declared so.
- A text that a platform says repeats a secret when it holds the whole of it or any run of 20 characters, in any case.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, quote_plus, urlencode, urlsplit

from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.platforms.descriptor import PLACE, ClientAuth, DescribedCall, OAuth, Pkce, PlatformDescriptor, Surface
from byokeep.wire.outbound import Got, NotGot, Outbound, exchange, loopback_base

_BYTES: Final = 48  # 64 characters, within the 43 to 128 of RFC 7636


def new_verifier() -> Secret:
    """Return a code verifier of 64 characters."""
    return Secret(secrets.token_urlsafe(_BYTES))


def challenge(form: Pkce, verifier: Secret) -> str:
    """Return the challenge of a verifier in a platform's form.

    Raises:
        ValueError: The platform has no challenges.
    """
    digest = hashlib.sha256(verifier.reveal()).digest()
    if form is Pkce.S256:
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if form is Pkce.HEX:
        return digest.hex()
    raise ValueError("no challenge here")


def appsecret_proof(client_secret: Secret, access_token: Secret) -> str:
    """Return Meta's proof that the caller knows the app's secret: HMAC-SHA256 over the access token, in hexadecimal."""
    return hmac.digest(client_secret.reveal(), access_token.reveal(), "sha256").hex()


READ_DEADLINE_S: Final = 15.0
# A token endpoint gets long: giving up early is what loses a token that was rotated already.
TOKEN_DEADLINE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformApp:
    """Our app at a platform.

    Args:
        client_id: Its public id.
        client_secret: None for a public app, where the platform knows such.
        redirect_uri: The address that is registered for this platform alone.
    """

    client_id: str
    client_secret: Secret | None = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """Where a platform is reached. ``base``: address of a simulator on this machine, None for the platform itself."""

    base: str | None = None

    def at(self, url: str) -> str:
        """Return the address of a call.

        Raises:
            Rejected: ``bad_base_url``, ``host_not_allowed``.
        """
        if self.base is None:
            return url
        split = urlsplit(url)
        return f"{loopback_base(self.base)}/{split.netloc}{split.path}"


Values = Mapping[str, str | Secret | None]


def oauth_of(descriptor: PlatformDescriptor) -> OAuth:
    """Return a platform's OAuth.

    Raises:
        Rejected: ``platform_without_oauth``: declared so, the browser lane is offered instead (R2.1-8).
    """
    if descriptor.oauth is None:
        raise Rejected(
            "platform_without_oauth",
            next_step="This platform has no OAuth; enable its browser lane and seal a profile.",
            platform=descriptor.id,
        )
    return descriptor.oauth


def fillable(call: DescribedCall, values: Values) -> bool:
    """Whether every place of the call has a value."""
    texts = [call.url, *call.query.values(), *call.form.values()]
    return all(values.get(place) is not None for text in texts for place in PLACE.findall(text))


async def send(
    http: Outbound, oauth: OAuth, call: DescribedCall, app: PlatformApp, place: TokenPlace, values: Values
) -> Got | NotGot:
    """Make a call.

    Args:
        values: What the places hold; the app's own are added here.

    Raises:
        Rejected: ``call_lacks_a_value``, ``secret_in_url``, ``app_without_secret``, and what :class:`TokenPlace` and
            :func:`~byokeep.wire.outbound.exchange` raise. Nothing was sent then.
    """
    known: dict[str, str | Secret | None] = {
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "redirect_uri": app.redirect_uri,
        **values,
    }
    if "{proof}" in call.query.values():
        known["proof"] = _proof(app, values)
    if not fillable(call, known):
        raise Rejected("call_lacks_a_value", call=call.name)
    url = _url(call, place, known)
    _guard(call, url, known)
    form = {name: _filled(text, known) for name, text in call.form.items()}
    headers = dict(call.headers)
    if call.surface is Surface.OAUTH and call.form:
        headers |= _client(oauth, app, form)
    if call.bearer:
        headers["authorization"] = "Bearer " + _plain(known["access_token"])
    content = urlencode(form).encode() if form else (call.json or "").encode()
    if content:
        headers["content-type"] = "application/x-www-form-urlencoded" if form else "application/json"
    return await exchange(
        http,
        call.method,
        url,
        headers=headers,
        content=content,
        loopback=place.base is not None,
        deadline_s=TOKEN_DEADLINE_S if call.surface is Surface.OAUTH else READ_DEADLINE_S,
    )


def _client(oauth: OAuth, app: PlatformApp, form: dict[str, str]) -> dict[str, str]:
    """Show the app at the token endpoint, where its form fields do not."""
    if oauth.client_auth is ClientAuth.FORM:
        return {}
    if app.client_secret is None:
        form["client_id"] = app.client_id
        return {}
    # RFC 6749 2.3.1: both parts are form-encoded before they are joined.
    pair = f"{quote_plus(app.client_id)}:{quote_plus(_plain(app.client_secret))}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _proof(app: PlatformApp, values: Values) -> str:
    access = values.get("access_token")
    if app.client_secret is None or not isinstance(access, Secret):
        raise Rejected("app_without_secret")
    return appsecret_proof(app.client_secret, access)


def _url(call: DescribedCall, place: TokenPlace, values: Values) -> str:
    path = PLACE.sub(lambda found: _segment(call, _plain(values[found[1]])), call.url)
    query = {name: _filled(text, values) for name, text in call.query.items()}
    return place.at(path) + (f"?{urlencode(query, quote_via=quote)}" if query else "")


def _segment(call: DescribedCall, text: str) -> str:
    if text in ("", ".", ".."):
        raise Rejected("call_lacks_a_value", call=call.name)
    return quote(text, safe="")


def _filled(text: str, values: Values) -> str:
    return PLACE.sub(lambda found: _plain(values[found[1]]), text)


def _plain(value: str | Secret | None) -> str:
    if value is None:
        raise Rejected("call_lacks_a_value")
    return value.reveal().decode() if isinstance(value, Secret) else value


def _guard(call: DescribedCall, url: str, values: Values) -> None:
    if call.secret_in_query:
        return
    secrets = [_plain(value) for value in values.values() if isinstance(value, Secret)]
    if any(one in url or quote(one, safe="") in url for one in secrets):
        raise Rejected("secret_in_url", call=call.name)


_RUN: Final = 20
_SHORTEST: Final = 8  # what is shorter stands in a text by chance


def repeats(texts: Iterable[str | None], secrets: Iterable[Secret | None]) -> bool:
    """Whether any text holds a secret, or a long part of one; a secret that was wiped is passed over."""
    said = [text.lower() for text in texts if text]
    runs = {text[at : at + _RUN] for text in said for at in range(len(text) - _RUN + 1)}
    for secret in secrets:
        if secret is None or secret.wiped:
            continue
        held = secret.reveal().decode("utf-8", "replace").lower()
        if len(held) < _SHORTEST:
            continue
        if any(held in text for text in said) or any(
            held[at : at + _RUN] in runs for at in range(len(held) - _RUN + 1)
        ):
            return True
    return False
