"""A platform that nobody here wrote: its data file alone, in a copy of the package, goes from names to posts."""

# ruff: noqa: S608 - made-up names
from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.postgres import FreshDatabase
from tools import names

pytest_plugins = ["tests.support.postgres_fixtures"]

SOURCE = Path(__file__).parents[2] / "src"
PLAZA = """
provider = "plaza"
published_name = "Plaza"
lanes = ["api"]
docs_url = "https://plaza.example/docs"
domains = ["plaza.example"]

[oauth]
issuer = "https://plaza.example"
mix_up = "redirect"
pkce = "s256"
client_auth = "basic_or_public"

[oauth.authorize]
url = "https://www.plaza.example/authorize"
scope_separator = " "
fixed = { response_type = "code", duration = "permanent" }

[oauth.scopes]
connect = ["identity"]
read = ["history"]
publish = ["submit"]
engage = ["submit"]

[oauth.refresh]
model = "fixed"
due_from = 80
due_to = 90
alarm_days = 14

[oauth.reply]
refresh = "refresh_token"
scope = "scope"
needed = ["access_token", "expires_in", "scope"]

[oauth.calls.exchange]
method = "POST"
url = "https://www.plaza.example/token"
form = { grant_type = "authorization_code", code = "{code}", code_verifier = "{verifier}" }

[oauth.calls.refresh]
method = "POST"
url = "https://www.plaza.example/token"
form = { grant_type = "refresh_token", refresh_token = "{refresh_token}" }

[oauth.calls.revoke]
method = "POST"
url = "https://www.plaza.example/revoke"
form = { token = "{refresh_token}" }

[oauth.identity]
at = ""
id = "id"
username = "name"
display_name = "title"

[oauth.identity.call]
method = "GET"
url = "https://api.plaza.example/me"
bearer = true

[oauth.posts]
at = "data"
id = "id"
scope = "history"

[oauth.posts.call]
method = "GET"
url = "https://api.plaza.example/user/{username}/submitted"
bearer = true

[oauth.health]
limit = "60 a minute"
usd_micros = 0
quota_units = 0
every_s = 3600

[oauth.errors]
rules = [{ surface = "oauth", where = { error = ["invalid_grant"] }, statuses = [400], cause = "revoked" }]
"""
CONNECT = """
import asyncio, json, sys
from secrets import token_urlsafe
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID
from aiohttp import web
from byokeep.platforms.consent import PlatformApp, TokenPlace, authorization_url, new_verifier
from byokeep.platforms.client import PlatformClient
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from byokeep.adapters.postgres.migrations import migrate
from byokeep.core.model import PLATFORMS, Provider
from byokeep.core.secret import Secret
from byokeep_sim.site import Site
from byokeep.wire.transport import Outbound

asked = []

async def answer(request):
    asked.append(request.path)
    if request.path.endswith("/token"):
        return web.json_response({"access_token": token_urlsafe(24), "refresh_token": token_urlsafe(24),
                                  "expires_in": 3600, "scope": "identity history", "token_type": "bearer"})
    if request.path.endswith("/me"):
        return web.json_response({"id": "t2_77", "name": "acme", "title": "Acme"})
    return web.json_response({"data": [{"id": "p1"}]})

async def main():
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = "http://127.0.0.1:%d" % runner.addresses[0][1]
    back = "http://127.0.0.1:1/back"
    ours = PlatformApp(client_id="app", client_secret=Secret(b"secret-of-ours"), redirect_uri=back)
    login, verifier = PLATFORM_DESCRIPTORS["plaza"].oauth, new_verifier()
    scopes = login.scopes_for("read", "publish")
    url = authorization_url(login, ours, TokenPlace(base=base), state="s" * 43, verifier=verifier, scopes=scopes)
    query = dict(parse_qsl(urlsplit(url).query))
    async with Outbound() as http:
        client = PlatformClient(login, ours, http, TokenPlace(base=base),
                                clock=lambda: datetime.now(UTC))
        code = Secret(b"a-code")
        tokens = await client.exchange(code, verifier, by=UUID(int=7))
        (face,) = await client.identify(tokens)
        posts = await client.look(tokens, face)
    await runner.cleanup()
    print(json.dumps({"scope": query["scope"], "asked": asked, "username": face.username, "posts": posts.count,
                      "name": Provider("plaza").value, "platform": "plaza" in PLATFORMS}))

migrate(sys.argv[1])
asyncio.run(main())
"""

LOAD = """
from byokeep.core.errors import Rejected
try:
    import byokeep.platforms.descriptor
except Rejected as refused:
    print(refused, refused.next_step)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, as somebody who adds a platform has it."""
    shutil.copytree(SOURCE / "byokeep", tmp_path / "byokeep", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "byokeep/platforms/data/plaza.toml").write_text(PLAZA)
    return tmp_path


def python(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], env={"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin"}, capture_output=True,
        text=True, check=False, timeout=100,
    )  # fmt: skip


def _row(database: FreshDatabase, name: str) -> None:
    database.sql(
        "BEGIN; INSERT INTO byokeep.client (id, name, created_by)"
        f" VALUES ('{name}', 'Client {name[-1]}', gen_random_uuid());"
        " INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, created_by)"
        f" VALUES (gen_random_uuid(), '{name}', 'plaza', 'acme', 'acme', 'Acme', gen_random_uuid());"
        " INSERT INTO byokeep.platform_app (login, provider, environment, app_id, redirect_uri, secret_version, set_by)"
        " VALUES ('plaza', 'plaza', 'development', 'app', 'http://127.0.0.1:1/back', 0, gen_random_uuid()); COMMIT;"
    )


def test_a_platform_is_its_data_file(package: Path, postgres: FreshDatabase) -> None:
    """Names, a database of before, consent, tokens, identity and posts: no other file was written by hand."""
    with pytest.raises(Exception, match="postgres_admin_failed"):
        _row(postgres, "00000000-0000-4000-8000-000000000001")
    assert names.main(["--write", "--source", str(package / "byokeep")]) == 0
    ran = python(package, "-c", CONNECT, postgres.url("byokeep_owner"))
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said == {
        "scope": said["scope"], "username": "acme", "posts": 1, "name": "plaza", "platform": True,
        "asked": ["/www.plaza.example/token", "/api.plaza.example/me", "/api.plaza.example/user/acme/submitted"],
    }  # fmt: skip
    assert set(said["scope"].split()) == {"identity", "history", "submit"}
    _row(postgres, "00000000-0000-4000-8000-000000000002")
    helped = python(package, "-m", "byokeep.cli", "account", "add", "--help")
    assert "plaza" in helped.stdout, helped.stderr


def test_a_provider_of_keys_is_named_by_its_data_file(package: Path) -> None:
    """The file of a provider gives its name, what people call it, and the word of the command line."""
    (package / "byokeep/adapters/providers/data/nova.toml").write_text('title = "Nova AI"')
    assert names.main(["--write", "--source", str(package / "byokeep")]) == 0
    say = "from byokeep.core import model as m; from byokeep.cli import choices as c; print(m.TITLES['nova'],"
    ran = python(package, "-c", say + " 'nova' in m.API_PROVIDERS, 'nova' in c.ApiProvider.__args__)")
    assert ran.stdout == "Nova AI True True\n", ran.stderr


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (None, "platform_file_wrong", "make names"),
        (('"plaza.example"', '"x.com"'), "platform_file_wrong", "no domain of its own"),
        (('"https://api.plaza.example/me"', '"https://elsewhere.example/me"'), "platform_file_wrong", "domains"),
        (('lanes = ["api"]', 'lanes = ["api"]\nsurprise = 1'), "platform_file_wrong", "surprise"),
    ],
)
def test_what_is_wrong_with_a_file_has_a_code(
    package: Path, change: tuple[str, str] | None, code: str, says: str
) -> None:
    """The command says which file and what to do, where it once said `internal_error`."""
    if change is not None:
        file = package / "byokeep/platforms/data/plaza.toml"
        file.write_text(PLAZA.replace(*change))
        assert names.main(["--write", "--source", str(package / "byokeep")]) == 0
    ran = python(package, "-c", LOAD)
    assert ran.stdout.startswith(f"{code} platform=plaza "), ran.stderr
    assert says in ran.stdout


def test_the_names_in_the_code_are_those_of_the_files() -> None:
    """Nobody has added or taken away a file without `make names`."""
    assert names.main([]) == 0
