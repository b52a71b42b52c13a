"""The HTML of the simulated websites.

Rules
- Nothing of a session stands in a page's source: the page asks for it, as real ones do.
- Where an account stands in a page is each platform's own; :data:`FACES` says it as the platforms' pages do, or as
  reports of them do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import Final

Identity = Mapping[str, str]

STYLE: Final = (
    "<style>body{font:16px sans-serif;margin:16px;max-width:640px}"
    "section{border:1px solid #aaa;padding:8px;margin:8px 0}"
    ".hidden{display:none}.away{position:absolute;left:-9999px}.clear{opacity:0}</style>"
)

LOGIN: Final = """<!doctype html><html><head><title>Log in</title>STYLE</head><body><h1>Log in</h1>SAID
<form method=post action="ROOT/login"><p><input id=username name=username autocomplete=username>
<p><input id=password type=password name=password autocomplete=current-password><p><button id=go>Log in</button></form>
</body></html>"""

CHALLENGE: Final = """<!doctype html><html><head><title>One more step</title>STYLE</head><body>
<h1>Confirm that it is you</h1>
<div id=captcha-container>Type the letters: <input name=captcha></div>SAID</body></html>"""

HOME: Final = """<!doctype html><html><head><title>Settings</title>STYLE</head><body>
<div id=who></div>
<section id=card>Loading</section>
<section id=inbox><h2>Messages</h2><p class=message>MESSAGE</p><p class=email>EMAIL</p></section>
<section><textarea id=text name=text>DRAFT</textarea>
<p><button id=publish>Publish</button> <button id=like>Like</button> <output id=done></output></section>
<form method=post action="ROOT/logout"><button id=logout>Log out</button></form>
<script>
const root = 'ROOT';
const database = () => new Promise((done, failed) => { const open = indexedDB.open('app ' + root, 2);
  open.onupgradeneeded = () => open.result.createObjectStore('keys');
  open.onsuccess = () => done(open.result); open.onerror = failed; });
const stored = async () => { const db = await database(); return await new Promise(done => {
  const got = db.transaction('keys').objectStore('keys').get('vault'); got.onsuccess = () => done(got.result); }); };
const store = async value => { const db = await database(); await new Promise(done => {
  const tx = db.transaction('keys', 'readwrite'); tx.objectStore('keys').put(value, 'vault');
  tx.oncomplete = done; }); };
const tokens = async () => ({'X-Device': localStorage.getItem('device ' + root) || '',
  'X-Vault': await stored() || ''});
const act = async path => { const reply = await fetch(root + path, {method: 'POST', headers: await tokens()});
  document.getElementById('done').textContent = reply.ok ? 'done' : 'refused'; };
(async () => {
  navigator.serviceWorker.register(root + '/sw.js', {scope: root + '/'});
  const first = await fetch(root + '/api/device', {method: 'POST'});
  const got = first.ok ? await first.json() : {};
  if (first.ok) { localStorage.setItem('device ' + root, got.device); await store(got.vault); }
  sessionStorage.setItem('visits', String(1 + Number(sessionStorage.getItem('visits') || 0)));
  const reply = await fetch(root + '/api/self', {headers: await tokens()});
  if (!reply.ok) { location.replace(root + '/login'); return; }
  const said = await reply.json();
  document.getElementById('who').innerHTML = said.face;
  document.getElementById('card').textContent = said.card;
  if (said.then) setTimeout(() => { document.getElementById('who').innerHTML = said.then; }, 400);
  document.getElementById('publish').onclick = () => act('/api/posts');
  document.getElementById('like').onclick = () => act('/api/likes');
  document.body.dataset.ready = 'yes';
})();
</script></body></html>"""

LEAVE: Final = """<!doctype html><html><head><title>Log out?</title>STYLE</head><body>
<form method=post action="ROOT/logout"><button data-testid=confirmationSheetConfirm>Log out</button></form>
</body></html>"""

WORKER: Final = "self.addEventListener('fetch', event => event.respondWith(fetch(event.request)));\n"


def page(template: str, *, root: str, **words: str) -> str:
    """Fill a template; the words are HTML."""
    filled = template.replace("STYLE", STYLE).replace("ROOT", root)
    for name, word in words.items():
        filled = filled.replace(name.upper(), word)
    return filled


def _plain(document: object) -> str:
    return json.dumps(document).replace("<", "\\u003c")


def _data(place: str, document: object) -> str:
    return f'<script type="application/json" {place}>{_plain(document)}</script>'


def _skool(one: Identity) -> str:
    first, _, last = one["display_name"].partition(" ")
    own = {"id": one["id"], "name": one["username"], "first_name": first, "last_name": last}
    return _data('id="__NEXT_DATA__"', {"props": {"pageProps": {"self": own}}}) + _shown(one)


def _tiktok(one: Identity) -> str:
    user = {"uid": one["id"], "uniqueId": one["username"], "nickName": one["display_name"]}
    place = 'id="__UNIVERSAL_DATA_FOR_REHYDRATION__"'
    return _data(place, {"__DEFAULT_SCOPE__": {"webapp.app-context": {"user": user}}}) + _shown(one)


def _account(one: Identity) -> str:
    kept = {name: escape(one[name]) for name in ("id", "username", "display_name")}
    return (
        f'<div class="account" data-account-id="{kept["id"]}"><b class="display-name">{kept["display_name"]}</b> '
        f'<span class="username">{kept["username"]}</span></div>'
    )


def _shown(one: Identity) -> str:
    return f"<p>{escape(one['display_name'])} (@{escape(one['username'])})</p>"


def _in_script(before: str, document: object, after: str = "") -> Callable[[Identity], str]:
    """JSON inside a program, as pages carry it that are put together in the browser."""

    def shown(one: Identity) -> str:
        return f"<script type=text/plain>{before}{_plain(_filled(document, one))}{after}</script>{_shown(one)}"

    return shown


def _filled(document: object, one: Identity) -> object:
    if isinstance(document, dict):
        return {name: _filled(value, one) for name, value in document.items()}
    return one[document] if isinstance(document, str) and document in one else document


_PERSON: Final = {"id": "id", "username": "username", "full_name": "display_name"}
FACES: Final[Mapping[str, Callable[[Identity], str]]] = MappingProxyType(
    {
        "skool": _skool,
        "tiktok": _tiktok,
        "linkedin": _account,
        "x": _in_script("window.__INITIAL_STATE__=", {"session": {"user_id": "id"}}, ";"),
        "meta": _in_script('["CurrentUserInitialData",[],', {"USER_ID": "id", "NAME": "display_name"}, ",270]"),
        "instagram": _in_script('["PolarisViewer",[],', {"data": _PERSON}, ",7365]"),
        "youtube": _in_script('{"externalChannelId":', "id", "}"),
    }
)


def face(platform: str, one: Identity) -> str:
    """Return how an account shows itself on a platform's page."""
    return FACES.get(platform, _account)(one)


def card(one: Identity) -> str:
    """Return the account as text, as a person reads it."""
    return f"{one['display_name']} (@{one['username']})"
