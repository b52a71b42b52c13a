"""The environment guard: what it finds, what it leaves alone, what it cannot know; no value is ever shown."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from byokeep.adapters.providers.descriptor import DESCRIPTORS
from byokeep.cli import env as api
from byokeep.cli.main import run
from byokeep.core.errors import Denied, Rejected
from byokeep.envcheck.bootstrap import is_on, refuse_foreign_role, refused
from byokeep.envcheck.check import NEXT_STEPS, EnvFinding, EnvPolicy, findings, read_policy
from byokeep.envcheck.secret import by_name, in_value, in_variable, refuse_client_secrets, shown
from byokeep.envcheck.sources import Collected, Variable, dotenv
from tests.support.redact_samples import filled
from tests.support.vercel import TOKEN, Row, row, vercel

HARMLESS = (Path(__file__).parents[1] / "vectors" / "envcheck" / "harmless.env").read_text()
JOSE = b'{"alg":"HS256"}'
PRICES = base64.b64encode(b'{"basic":19,"team":49,"currency":"EUR","tax":"included"}').decode()
FLAGS = {"FEATURE_NEW_EDITOR": ("on", "off"), "FEATURE_CALENDAR": ("on", "off"), "FLAG_BETA_BANNER": ("on", "off")}
LETTERS = string.ascii_letters + string.digits
KEYS = ("client_key", "oauth_token", "session_cookie", "secret", "public_exposure")


def drawn(size: int, letters: str = LETTERS) -> str:
    return "".join(random.choices(letters, k=size))


def secrets() -> dict[str, str]:
    """One made-up secret of each of twelve kinds."""
    state = {
        "cookies": [{"name": "sessionid", "value": drawn(32), "domain": ".example.com", "path": "/"}],
        "origins": [],
    }
    return {
        "openai": f"sk-proj-{drawn(74)}", "anthropic": f"sk-ant-api03-{drawn(90)}", "google": f"AIzaSy{drawn(33)}",
        "openrouter": f"sk-or-v1-{drawn(64, '0123456789abcdef')}", "heygen": f"sk_V2_hgu_k{drawn(10)}_{drawn(32)}",
        "refresh": f"1//0g{drawn(90)}", "meta": f"EAA{drawn(120)}", "linkedin": f"AQ{drawn(180)}",
        "cookies": f"sessionid={drawn(32)}; csrftoken={drawn(32)}", "state": json.dumps(state),
        "vault": f"hvs.{drawn(95)}",
        "pem": f"-----BEGIN PRIVATE KEY-----\n{drawn(64)}\n{drawn(64)}\n-----END PRIVATE KEY-----",
    }  # fmt: skip


EXPECTED = {"openai": "client_key", "anthropic": "client_key", "google": "client_key", "openrouter": "client_key",
            "heygen": "client_key", "refresh": "oauth_token", "meta": "oauth_token", "linkedin": "oauth_token",
            "cookies": "session_cookie", "state": "session_cookie", "vault": "secret", "pem": "secret"}  # fmt: skip
NAMED = {"KIE_API_KEY": "client_key", "OPENAI_API_KEY_ACME": "client_key", "GOOGLE_REFRESH_TOKEN": "oauth_token",
         "SESSION_COOKIE": "session_cookie"}  # whose value has no shape of its own  # fmt: skip


def hidden(kind: str, value: str) -> Iterator[tuple[str, str]]:
    """A secret under harmless names: as it is, and encoded in one of three ways, or two of them inside each other."""
    which = chr(ord("A") + list(EXPECTED).index(kind))  # a name that says nothing
    yield f"GREETING_{which}", value
    yield f"BANNER_{which}", base64.b64encode(value.encode()).decode()
    inner = json.dumps({"kept": value})
    yield (
        f"LAYOUT_{which}",
        random.choice((inner, base64.b64encode(inner.encode()).decode(), quote(inner, safe=""))),
    )


def harmless() -> str:
    """The two hundred, with what is drawn by chance drawn afresh."""
    return filled(HARMLESS.replace("<prices>", PRICES), random.random())


def line(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{quoted}"\n'


def checked(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """Run ``byokeep env check`` in this process; its exit code, its document, and all that it said."""
    code = run(["env", "check", "--json", *words])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.out + said.err


@pytest.mark.req("R3.3-5", "R3.3-6", "R3.3-7")
def test_forty_planted_secrets_are_found_among_two_hundred_harmless_variables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve kinds, as they are and encoded, under harmless names, and four by name; each is named, none is shown."""
    values = secrets()
    planted = [(name, value, EXPECTED[kind]) for kind in values for name, value in hidden(kind, values[kind])]
    planted += [(name, drawn(24, string.ascii_lowercase), code) for name, code in NAMED.items()]
    assert len(planted) == 40
    random.shuffle(planted)
    file = tmp_path / ".env"
    file.write_text(harmless() + "".join(line(name, value) for name, value, _ in planted))
    policy = tmp_path / "byokeep-env.toml"
    policy.write_text("[flags]\n" + "".join(f'{name} = ["on", "off"]\n' for name in FLAGS))
    monkeypatch.chdir(tmp_path)
    code, told, said = checked(".env", capsys=capsys)
    assert (code, told["state"], told["variables"]) == (1, "findings", 240)
    assert {(one["variable"], one["code"]) for one in told["findings"]} == {(name, code) for name, _, code in planted}
    assert all(one["line"] > 200 and one["next_step"] for one in told["findings"])
    for value in [*values.values(), *(value for _, value, _ in planted)]:
        assert value not in said
        assert value[:16] not in said.replace("GREETING", "")
    code = run(["env", "check", ".env"])
    table = capsys.readouterr().out
    assert code == 1
    assert all(name in table for name, _, _ in planted)
    assert not any(value in table for value in values.values())
    file.write_text(harmless())
    code, told, _ = checked(".env", capsys=capsys)
    assert (code, told["state"], told["variables"], told["findings"]) == (0, "clean", 200, [])


@pytest.mark.req("R3.3-5", "R3.3-6", "R3.3-7")
@pytest.mark.parametrize("kind", [kind for kind, code in EXPECTED.items() if code != "secret"])
def test_no_process_starts_with_a_clients_secret(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its name: the variable is named, the value is not. Our own and harmless variables are let pass."""
    value = secrets()[kind]
    for name, hidden_value in hidden(kind, value):
        with pytest.raises(Denied, match="secret_in_environment") as refusal:
            refuse_client_secrets({"PATH": "/bin", name: hidden_value})
        assert name in str(refusal.value)
        assert hidden_value[:12] not in repr(refusal.value) + str(refusal.value.fields)


def test_a_whole_file_of_clients_secrets_is_refused_as_one_is() -> None:
    """However many there are: as many variables are named as a refusal has room for."""
    with pytest.raises(Denied, match="secret_in_environment") as refusal:
        refuse_client_secrets({f"OPENAI_API_KEY_{at:02}": drawn(32) for at in range(40)})
    named = str(refusal.value.fields["variables"])
    assert named.startswith("OPENAI_API_KEY_00, OPENAI_API_KEY_01, ")
    assert named.endswith(" ...")


@pytest.mark.req("R3.3-5", "R3.3-6", "R3.3-7")
@pytest.mark.parametrize(
    "command", ["web", "broker", "killswitch", "worker", "refresher", "up", "init", "breakglass host"]
)
def test_each_server_refuses_before_anything_else(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key by its name alone, a refresh token and a cookie by their shape; nothing is started and no home is made."""
    for where in ("cli.servers", "breakglass.cli"):
        monkeypatch.setattr(f"byokeep.{where}.harden", lambda: None)  # of a process that goes on
    values = {"KIE_API_KEY": drawn(32, "0123456789abcdef"), "MOTTO": secrets()["refresh"], "MOOD": secrets()["cookies"]}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
        assert run([*command.split(), "--home", str(tmp_path / "home")]) == 3
        said = capsys.readouterr()
        assert "secret_in_environment" in said.err
        assert name in said.err
        assert value not in said.out + said.err
        monkeypatch.delenv(name)
    assert not (tmp_path / "home").exists()


def test_every_providers_published_name_is_known() -> None:
    """And what their packages read by themselves; of a name that says what is about a key, nothing."""
    names = [one.published_name.upper() for one in DESCRIPTORS.values()]
    assert {by_name(name) for name in (*names, "GEMINI_API_KEY", "openaiApiKey", "OPENAI_API_KEY_2")} == {"client_key"}
    assert {by_name(name) for name in ("META_ACCESS_TOKEN", "LINKEDIN_REFRESH_TOKEN_B64", "refresh_token")} == {
        "oauth_token"
    }
    assert {by_name(name) for name in ("INSTAGRAM_COOKIES", "STORAGE_STATE_B64", "INSTAGRAM_SESSIONID")} == {
        "session_cookie"
    }
    assert {by_name(name) for name in ("VAULT_TOKEN", "VAULT_SECRET_ID", "DB_PASSWORD", "SESSION_ID")} == {"secret"}
    assert {by_name(name) for name in ("OPENAI_KEY_FILE", "STRIPE_PUBLISHABLE_KEY", "KMS_KEY_ID", "CACHE_KEY")} == {""}
    assert shown(f"sk-proj-{drawn(60)}") == shown("A\nB") == "unnamed"


ADDRESSES = {
    "https://vault.example.com": "", "https://10.0.0.7:8200/": "", "http://vault.example.com": "bad_address",
    "https://user:pw@vault.example.com": "bad_address", "https://user@vault.example.com": "bad_address",
    "https://169.254.169.254": "metadata_address", "https://[fd00:ec2::254]": "metadata_address",
    "https://metadata.google.internal": "metadata_address", "https://[::ffff:169.254.169.254]": "metadata_address",
    "https://2852039166": "bad_address", "https://0xa9fea9fe": "bad_address",
    "https://vault.example.com/v1": "bad_address",
    "https://vault.example.com?token=x": "bad_address", "vault.example.com": "bad_address", "": "bad_address",
}  # fmt: skip


@pytest.mark.req("R3.3-1")
@pytest.mark.parametrize(("value", "code"), ADDRESSES.items())
def test_the_stores_address_is_https_and_nobody_elses(value: str, code: str, tmp_path: Path, capsys: Any) -> None:
    """https alone, no user, no path, and no service that gives out identities of machines."""
    assert refused("VAULT_ADDR", value, {}) == code
    file = tmp_path / ".env.production"
    file.write_text(line("VAULT_ADDR", value) + "VAULT_AUTH_ROLE=web\nLOG_LEVEL=info\n")
    found, told, said = checked(str(file), capsys=capsys)
    assert (found, [one["code"] for one in told["findings"]]) == ((1, [code]) if code else (0, []))
    assert not value or value not in said


@pytest.mark.req("R3.3-2")
def test_a_role_is_a_name_and_no_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name passes; store tokens, JWTs and ids do not, and VAULT_TOKEN does not whatever it holds."""
    jwt = f"{base64.b64encode(b'{}').decode()}.{drawn(40)}.{drawn(43)}"
    bad = [f"hvs.{drawn(95)}", f"s.{drawn(24)}", jwt, jwt.partition(".")[0], "1234abcd-12ab-34cd-56ef-1234567890ab",
           "abcdabcd-12ab-34cd-56ef-1234567890ab", f"sk-proj-{drawn(50)}", "web production", ""]  # fmt: skip
    assert [refused("VAULT_AUTH_ROLE", one, {}) for one in ("web", "web-production", "Runtime_1")] == ["", "", ""]
    assert {refused("VAULT_AUTH_ROLE", one, {}) for one in bad if one != jwt.partition(".")[0]} == {"not_a_role_name"}
    file = tmp_path / ".env"
    for name, value in [
        *(("VAULT_AUTH_ROLE", one) for one in bad[:3]),
        ("VAULT_TOKEN", drawn(20)),
        ("BAO_TOKEN", bad[1]),
    ]:
        file.write_text(line(name, value))
        code, told, said = checked(str(file), capsys=capsys)
        assert (code, [one["variable"] for one in told["findings"]]) == (1, [name])
        assert value not in said


@pytest.mark.req("R3.3-3")
def test_a_key_is_named_and_never_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ARN, alias, id, resource name, vault address, transit path; 32 bytes in hex or base64 are key material."""
    good = ["arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "alias/content",
            "arn:aws:kms:eu-central-1:111122223333:alias/content", "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab", "projects/p/locations/eu/keyRings/r/cryptoKeys/k",
            "https://acme.vault.azure.net/keys/content", "transit/keys/content"]  # fmt: skip
    raw = random.randbytes(32)
    material = [
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    ]
    assert {refused("KMS_KEY_ID", one, {}) for one in good} == {""}
    assert {refused("KMS_KEY_ID", one, {}) for one in material} == {"looks_like_key_material"}
    assert {refused("KMS_KEY_ID", one, {}) for one in ("", "my key", "https://evil.example/keys/x")} == {
        "not_a_key_reference"
    }
    file = tmp_path / ".env"
    for value in material:
        file.write_text(f"KMS_KEY_ID={value}\n")
        code, told, said = checked(str(file), capsys=capsys)
        assert (code, [one["code"] for one in told["findings"]]) == (1, ["looks_like_key_material"])
        assert value not in said


@pytest.mark.req("R3.3-4")
def test_flags_are_of_a_closed_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A known flag with a value of its list passes; another is a finding, and off at run time."""
    assert [refused(name, value, FLAGS) for name, value in (
        ("FEATURE_CALENDAR", "on"), ("FEATURE_CALENDAR", "off"), ("FEATURE_CALENDAR", "yes"), ("FEATURE_CALENDAR", ""),
        ("FEATURE_CALENDAR", "On"), ("FEATURE_OTHER", "on"), ("NEXT_PUBLIC_FEATURE_OTHER", "on"),
    )] == ["", "", "bad_flag_value", "bad_flag_value", "bad_flag_value", "unknown_flag", "unknown_flag"]  # fmt: skip
    here = {"FEATURE_CALENDAR": "on", "FEATURE_NEW_EDITOR": "true", "FEATURE_OTHER": "on", "FLAG_BETA_BANNER": "off"}
    assert [name for name in (*here, "FEATURE_ABSENT") if is_on(name, here, FLAGS)] == ["FEATURE_CALENDAR"]
    (tmp_path / "p.toml").write_text('[flags]\nFEATURE_CALENDAR = []\n[accepted]\nOLD_TOKEN = "ends with the year"\n')
    assert read_policy(tmp_path / "p.toml") == EnvPolicy(
        {"FEATURE_CALENDAR": ("on", "off")}, {"OLD_TOKEN": "ends with the year"}
    )
    (tmp_path / ".env").write_text("FEATURE_CALENDAR=on\nFEATURE_OTHER=on\n")
    code, told, _ = checked(str(tmp_path / ".env"), "--policy", str(tmp_path / "p.toml"), capsys=capsys)
    assert (code, [(one["variable"], one["code"]) for one in told["findings"]]) == (
        1,
        [("FEATURE_OTHER", "unknown_flag")],
    )
    for text in (
        "[flags]\nA = 1\n",
        "[flgs]\n",
        '[accepted]\nA = ""\n',
        "not toml",
        "x = " + "[" * 3000,
        '[accepted]\nA = ["x"]\n',
    ):
        (tmp_path / "p.toml").write_text(text)
        with pytest.raises(Rejected, match="bad_policy"):
            read_policy(tmp_path / "p.toml")


def of(rows: list[Row], policy: EnvPolicy | None = None, after_ms: int | None = None) -> set[tuple[str, str]]:
    collected = Collected()
    collected.export("export", json.dumps({"envs": rows}).encode())
    assert collected.unread == []
    found, unknown = findings(collected.variables, policy or EnvPolicy(), after_ms)
    return {(one.variable, one.code) for one in found} | set(unknown)


@pytest.mark.req("R3.3-8")
def test_preview_and_production_have_nothing_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A role at one store, a key, a variable for all environments; files too; and no process with another's role."""
    both = ["production", "preview"]
    assert of([row("VAULT_AUTH_ROLE", both), row("VAULT_ADDR", both)]) == {
        ("VAULT_AUTH_ROLE", "shared_by_environments")
    }
    assert of([row("KMS_KEY_ID", both)]) == {("KMS_KEY_ID", "shared_by_environments")}
    apart = [row("VAULT_ADDR", both), row("VAULT_AUTH_ROLE", "production"), row("VAULT_AUTH_ROLE", ["preview"])]
    assert of(apart) == set()
    assert of([row("VAULT_AUTH_ROLE", both), row("VAULT_ADDR", "production"), row("VAULT_ADDR", "preview")]) == set()
    everywhere = [row("LOG_LEVEL", [*both, "development"], "plain", value="info")]
    assert of(everywhere) == {("LOG_LEVEL", "all_environments"), ("LOG_LEVEL", "not_sensitive")}
    files = {".env.production": ("https://a.example", "web"), ".env.preview": ("https://a.example", "web")}
    for name, (address, role) in files.items():
        (tmp_path / name).write_text(f"VAULT_ADDR={address}\nVAULT_AUTH_ROLE={role}\nKMS_KEY_ID=alias/one\n")
    code, told, _ = checked(str(tmp_path), capsys=capsys)
    assert (code, sorted(one["variable"] for one in told["findings"])) == (1, ["KMS_KEY_ID", "VAULT_AUTH_ROLE"])
    (tmp_path / ".env.preview").write_text(
        "VAULT_ADDR=https://a.example\nVAULT_AUTH_ROLE=web-preview\nKMS_KEY_ID=alias/two\n"
    )
    assert checked(str(tmp_path), capsys=capsys)[0] == 0
    (tmp_path / ".env.preview").write_text("VAULT_AUTH_ROLE=web-production\n")
    assert checked(str(tmp_path), capsys=capsys)[1]["findings"][0]["code"] == "role_of_other_environment"
    role = {"VAULT_AUTH_ROLE": "web-production"}
    refuse_foreign_role(role, "production")
    refuse_foreign_role(role | {"VERCEL_ENV": "production"}, "development")
    for environment, own in ((role | {"VERCEL_ENV": "preview"}, "production"), (role, "staging"),
                             ({"BAO_AUTH_ROLE": "dev-web"}, "production")):  # fmt: skip
        with pytest.raises(Denied, match="role_of_other_environment"):
            refuse_foreign_role(environment, own)


@pytest.mark.req("R3.3-8")
def test_a_preview_process_with_the_role_of_production_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal names the variable and the environment that the role is of."""
    monkeypatch.setattr("byokeep.cli.servers.harden", lambda: None)
    monkeypatch.setenv("VERCEL_ENV", "preview")
    monkeypatch.setenv("VAULT_AUTH_ROLE", "web-production")
    assert run(["web", "--home", str(tmp_path / "home")]) == 3
    said = capsys.readouterr().err
    assert "role_of_other_environment" in said
    assert "VAULT_AUTH_ROLE" in said


@pytest.mark.req("S-VERCEL-2")
def test_a_host_is_judged_by_type_owner_and_age() -> None:
    """Not sensitive, spanning Development, written by an integration, twice, not rotated; names where values cannot be
    read; a variable of the system is left alone."""
    assert of([row("A", "production", "encrypted"), row("B", "preview", "plain", value="x")]) == {
        ("A", "not_sensitive"), ("B", "not_sensitive")}  # fmt: skip
    assert of([row("C", "development", "encrypted"), row("D", "production", "system")]) == set()
    for other in ("preview", "production"):
        assert of([row("E", [other, "development"])]) == {("E", "spans_development")}
    assert of([row("E", ["production", "preview", "development"])]) == {("E", "all_environments")}
    assert of([row("KV_URL", "production", configurationId="icfg_1")]) == {("KV_URL", "integration_owned")}
    assert of([row("F", "production"), row("F", ["production", "preview"])]) == {("F", "duplicate")}
    assert of([row("F", "preview", gitBranch="one"), row("F", "preview")]) == set()
    assert of([row("OPENAI_API_KEY", "production"), row("NEXT_PUBLIC_STRIPE_SECRET", "preview")]) == {
        ("OPENAI_API_KEY", "client_key"), ("NEXT_PUBLIC_STRIPE_SECRET", "public_exposure")}  # fmt: skip
    old, none = row("G", "production", updatedAt=1), row("H", "production")
    del none["updatedAt"]
    aged = of([old, none, row("I", "production")], after_ms=1_780_000_000_000)
    assert aged == {("G", "not_rotated"), ("H", "age_not_known")}
    accepted = EnvPolicy(accepted=dict.fromkeys(("KV_URL", "DB_PASSWORD", "OPENAI_API_KEY", "A"), "known"))
    kept = [row("KV_URL", "production", configurationId="x"), row("DB_PASSWORD", "production")]
    kept += [row("OPENAI_API_KEY", "production"), row("A", "production", "plain", value=secrets()["openai"])]
    assert of(kept, accepted) == {("OPENAI_API_KEY", "client_key"), ("A", "client_key"), ("A", "not_sensitive")}


def ask(
    capsys: Any, monkeypatch: Any, tmp_path: Path, *words: str, token: str = TOKEN, **given: Any
) -> tuple[Any, ...]:
    """Run a check over the simulated API; exit code, findings, what was not known, and the API."""
    secret = tmp_path / "token"
    secret.write_text(token)

    async def work() -> Any:
        async with vercel(**given) as made:
            monkeypatch.setattr(api, "API", made.url)
            with secret.open("rb") as handle:
                command = ("--project", "web", "--team", "team_1", "--token-fd", str(handle.fileno()), *words)
                return (*await asyncio.to_thread(checked, *command, capsys=capsys), made)

    code, told, said, made = asyncio.run(work())
    assert token not in said
    found = {(one["variable"], one["code"]) for one in told["findings"]}
    return code, found, {(one["source"], one["reason"]) for one in told["unreadable"]}, told, made


@pytest.mark.req("R3.3-9", "S-VERCEL-3")
def test_the_policy_is_on_and_every_variable_is_sensitive(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """Over the API, page by page and without values; what is not sensitive, and a policy that is not on, are found."""
    rows = [row(f"V{at}", "production") for at in range(5)] + [row("W", "development", "encrypted")]
    code, found, unknown, told, made = ask(capsys, monkeypatch, tmp_path, rows=rows, page=2)
    assert (code, found, unknown, told["sensitive_policy"], told["variables"]) == (0, set(), set(), "on", 6)
    assert (told["without_value"], len(made.asked)) == (6, 6)
    assert all("decrypt=false" in one for one in made.asked[:-2])
    bad = [*rows, row("X", "preview", "encrypted"), row("OPENAI_API_KEY", "development", "encrypted")]
    code, found, *_ = ask(capsys, monkeypatch, tmp_path, rows=bad, page=4)
    assert (code, found) == (1, {("X", "not_sensitive"), ("OPENAI_API_KEY", "client_key")})
    for policy in ("off", "default"):
        code, found, _, told, _ = ask(capsys, monkeypatch, tmp_path, rows=rows, policy=policy)
        assert (code, found, told["sensitive_policy"]) == (1, {("-", "sensitive_policy_off")}, "not on")


@pytest.mark.req("S-VERCEL-4")
def test_what_a_team_shares_and_what_one_branch_has_is_looked_at(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """A key planted at the team, on its second page, and one for a single branch; a list that is refused is unknown."""
    kept = [row("A", "production"), row("B", "preview", gitBranch="one")]
    branch = row("OPENAI_API_KEY", "preview", gitBranch="feature/two")
    planted = {"rows": [*kept, branch], "shared": [row("C", "production"), row("ANTHROPIC_API_KEY", "production")]}
    code, found, unknown, told, made = ask(capsys, monkeypatch, tmp_path, page=1, **planted)
    assert (code, unknown, told["variables"]) == (1, set(), 5)
    assert found == {("OPENAI_API_KEY", "client_key"), ("ANTHROPIC_API_KEY", "client_key")}
    assert sum("/v1/env" in one for one in made.asked) == 2
    assert ask(capsys, monkeypatch, tmp_path, rows=kept, shared=planted["shared"][:1])[:3] == (0, set(), set())
    fault = {"/v1/env?teamId=team_1&decrypt=false": (403, {"error": {"code": "forbidden"}})}
    code, found, unknown, *_ = ask(capsys, monkeypatch, tmp_path, rows=kept, fault=fault)
    assert (code, found, unknown) == (4, set(), {("Vercel, shared, page 1", "not_permitted")})


@pytest.mark.req("S-VERCEL-1")
def test_what_was_changed_after_the_last_deployment_is_not_what_runs(
    tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    """A rotated value counts once Production was deployed after it; how that stands and is not told is unknown."""
    at = 1_790_000_000_000
    rows = [row("A", "production", updatedAt=at), row("B", "preview", updatedAt=at + 9), row("C", "production")]
    rows.append(row("D", ["production", "preview"], updatedAt=at))

    def asked(deployed: Any, **more: Any) -> tuple[Any, ...]:
        return ask(capsys, monkeypatch, tmp_path, rows=rows, deployed=deployed, **more)[:3]

    before = [{"uid": "dpl_1", "created": at - 1, "target": "production"}]
    assert asked(before) == (1, {("A", "not_deployed"), ("C", "not_deployed"), ("D", "not_deployed")}, set())
    others = [{"created": at + 2, "target": "production", "state": "ERROR"}, {"created": at + 1, "target": None}]
    assert asked([*others, *before]) == asked(before), "a build that failed, and one of a branch"
    assert asked([{"uid": "dpl_2", "created": at + 1}]) == (0, set(), set())
    assert asked([]) == (0, set(), set())  # never deployed: nothing runs
    for odd in ([{"uid": "dpl_3"}], [{"created": "yesterday"}], ["dpl_4"]):
        assert asked(odd) == (4, set(), {("Vercel, deployments", "not_understood")})
    fault = {"&state=READY&limit=1": (403, {"error": {"code": "forbidden"}})}
    assert asked(before, fault=fault) == (4, set(), {("Vercel, deployments", "not_permitted")})


FAULTS = [
    ("decrypt=false", 401, {"error": {"code": "x"}}, "token_not_valid"),
    ("decrypt=false", 403, {"error": {"code": "forbidden"}}, "not_permitted"),
    ("decrypt=false", 403, {"error": {"code": "challenge_required"}}, "asks_for_a_person"),
    ("decrypt=false", 429, {"error": {"code": "rate_limited"}}, "rate_limited"),
    ("decrypt=false", 500, {}, "server_error"), ("decrypt=false", 200, {"envs": "x"}, "not_understood"),
    ("decrypt=false", 0, None, "not_understood"), ("until=2", 502, {}, "server_error"),
    ("until=2", 200, {"envs": [], "pagination": {"next": 2}}, "list_has_no_end"),
    ("until=2", 200, {"envs": [], "pagination": "x"}, "list_has_no_end"),
    ("until=2", 200, {"envs": [{"key": "A"}]}, "row_not_understood"),
    ("/v2/teams/team_1", 403, {}, "not_permitted"), ("/v2/teams/team_1", 200, {"id": "team_1"}, "policy_not_told"),
]  # fmt: skip


@pytest.mark.req("R3.3-9")
@pytest.mark.parametrize(("where", "status", "body", "reason"), FAULTS)
def test_what_the_api_does_not_say_is_unknown(
    where: str, status: int, body: Any, reason: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    """Refusals, limits, outages, a page that is missing or never ends, rows that are none: 4, with the reason."""
    rows = [row(f"V{at}", "production") for at in range(4)]
    code, found, unknown, told, _ = ask(capsys, monkeypatch, tmp_path, rows=rows, page=2, fault={where: (status, body)})
    assert (code, found, told["state"]) == (4, set(), "unknown")
    assert reason in {why for _, why in unknown}


@pytest.mark.req("R3.3-9")
def test_nobody_there_is_unknown(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """A host that does not answer, and a token that it does not know; what was found before that stays found."""
    code, _, unknown, told, _ = ask(capsys, monkeypatch, tmp_path, token="vcp_" + "wrong000" * 7)
    assert (code, told["sensitive_policy"]) == (4, "unknown")
    assert {why for _, why in unknown} == {"not_permitted"}
    (tmp_path / ".env").write_text(f"MOTTO={secrets()['openai']}\n")
    monkeypatch.setattr(api, "API", "http://127.0.0.1:9")
    (tmp_path / "token").write_text(TOKEN)
    for words, expected in (((), 4), ((str(tmp_path / ".env"),), 1)):
        with (tmp_path / "token").open("rb") as handle:
            command = ("--project", "web", "--team", "acme", "--token-fd", str(handle.fileno()), *words)
            code, told, _ = checked(*command, capsys=capsys)
        assert code == expected
        assert {one["reason"] for one in told["unreadable"]} == {"unreachable"}


def test_files_are_read_as_programs_read_them() -> None:
    """Quotes, escapes, lines, export, comments, blanks; a line that is none and a comment are kept to be looked at."""
    text = (
        '\n# first\nexport A=1\nB = two words # said\nC="a\\nb # no \\"c\\""\nD=\'x\ny\'\nE=`z`\r\nF: yaml\nG=\nH=a#b\n'
        "lonely\nI='it's'\nJ=last"
    )
    found = [(one.name, one.value, one.line) for one in dotenv(text, "s")]
    assert found == [
        ("comment", "first", 2), ("A", "1", 3), ("B", "two words", 4), ("comment", "said", 4),
        ("C", 'a\nb # no "c"', 5), ("D", "x\ny", 6), ("E", "z", 8), ("F", "yaml", 9), ("G", "", 10),
        ("H", "a#b", 11), ("line", "lonely", 12), ("line", "I='it's'", 13), ("J", "last", 14),
    ]  # fmt: skip
    pulled = list(dotenv('# Created by Vercel CLI\nA=""\nB="[SENSITIVE]"\nC="c"\n', "s"))
    assert [(one.name, one.value) for one in pulled if not one.text] == [("A", None), ("B", None), ("C", "c")]


def test_what_cannot_be_read_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is missing, not text, too large or not understood; nothing at all; an export that is none."""
    places = {"bytes": b"A=\xff\xfe\n", "line": b"A=1\nwhat is this\n", "large": b"A=1\n" * (1 << 21)}
    for name, data in places.items():
        (tmp_path / name).write_bytes(data)
    reasons = {"bytes": "not_text", "line": "line_not_understood", "large": "too_large", "missing": "cannot_be_read"}
    for name, reason in reasons.items():
        code, told, _ = checked(str(tmp_path / name), capsys=capsys)
        assert (code, [one["reason"] for one in told["unreadable"]]) == (4, [reason])
    (tmp_path / ".envrc").write_text(f"use flake\nexport MOTTO={secrets()['google']}\n")
    code, told, _ = checked(str(tmp_path / ".envrc"), capsys=capsys)
    assert (code, told["unreadable"], told["findings"][0]["variable"]) == (1, [], "MOTTO")
    (tmp_path / "empty").mkdir()
    for words in (
        [str(tmp_path / "empty")],
        ["--export", str(tmp_path / "line")],
        ["--export", str(tmp_path / "missing")],
    ):
        assert checked(*words, capsys=capsys)[0] == 4
    for text in ('{"A": "1", "A": "2"}', '{"A": "\\ud800"}'):  # a name twice, half a character
        (tmp_path / "odd").write_text(text)
        code, told, _ = checked("--export", str(tmp_path / "odd"), capsys=capsys)
        assert (code, [one["reason"] for one in told["unreadable"]]) == (4, ["not_an_export"])
    (tmp_path / "line").write_text(f"# {secrets()['openai']}\n{secrets()['meta']}\n")
    code, told, _ = checked(str(tmp_path / "line"), capsys=capsys)
    assert (code, [(one["variable"], one["code"]) for one in told["findings"]]) == (
        1, [("comment", "client_key"), ("line", "oauth_token")])  # fmt: skip
    assert run(["env", "check"]) == 2
    assert run(["env", "check", "--project", "web"]) == 2


def test_ci_variables_and_this_process(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """GitHub's two exports and the environment of a run, without the tokens that the run itself is given."""
    value = secrets()["google"]
    (tmp_path / "vars.json").write_text(json.dumps({"SITE": "example.com", "MOTTO": value}))
    listed = [{"name": "MOTTO", "value": value, "updatedAt": "2026-01-02T03:04:05Z"}, {"name": "B", "value": "1"}]
    (tmp_path / "list.json").write_text(json.dumps(listed))
    for name in ("vars.json", "list.json"):
        code, told, _ = checked("--export", str(tmp_path / name), capsys=capsys)
        assert (code, [one["variable"] for one in told["findings"]]) == (1, ["MOTTO"])
    code, told, _ = checked("--export", str(tmp_path / "list.json"), "--rotated-after", "2026-04-19", capsys=capsys)
    assert ({one["code"] for one in told["findings"]}, told["unreadable"][0]["reason"]) == (
        {"client_key", "not_rotated"}, "age_not_known")  # fmt: skip
    monkeypatch.setenv("GITHUB_TOKEN", f"ghs_{drawn(36)}")
    code, told, _ = checked("--environment", capsys=capsys)
    assert (code, told["findings"]) == (0, [])
    monkeypatch.setenv("MOTTO", value)
    code, told, said = checked("--environment", capsys=capsys)
    assert (code, [one["variable"] for one in told["findings"]], value in said) == (1, ["MOTTO"], False)


def test_sarif_names_place_rule_and_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One result a finding, no value; a run that could not read everything is marked as unsuccessful."""
    value = secrets()["anthropic"]
    (tmp_path / ".env").write_text(f"A=1\nMOTTO={value}\n")
    out = tmp_path / "env.sarif"
    assert run(["env", "check", str(tmp_path), str(tmp_path / "gone"), "--sarif", str(out)]) == 1
    document = json.loads(out.read_text())
    made = document["runs"][0]
    assert (document["version"], made["invocations"][0]["executionSuccessful"]) == ("2.1.0", False)
    result = made["results"][0]
    assert (result["ruleId"], result["locations"][0]["physicalLocation"]["region"]) == ("client_key", {"startLine": 2})
    assert made["tool"]["driver"]["rules"][0]["help"]["text"] == NEXT_STEPS["client_key"]
    assert value not in out.read_text() + capsys.readouterr().out


def test_every_finding_has_a_next_step() -> None:
    """What the guard can say is in the table, in words of its own."""
    assert all(step.endswith(".") for step in NEXT_STEPS.values())
    one = EnvFinding(variable="A", code="client_key", source="s")
    assert one.code in NEXT_STEPS
    assert in_value("") is None
    assert in_variable("OPENAI_API_KEY", "") is None
    assert in_variable("OPENAI_API_KEY", None) is not None
    assert in_variable("KIE_API_KEY", f"/{drawn(36)}") is not None, "no path, though it begins as one"
    assert in_variable("KIE_API_KEY", "/run/secrets/kie") is None
    assert "value" not in repr(Variable(name="A", value="x", source="s"))


@pytest.mark.req("R3.3-5")
@pytest.mark.parametrize(("address", "found"), [
    ("postgres://user:hunter2@host", True), ("amqp://guest:guest@queue:5672/v", True),
    ("postgres://user:${DB_PASSWORD}@host/db", False), ("postgres://user@host/db", False),
    ("https://a.example:8080/x@y", False),
])  # fmt: skip
def test_a_weak_password_in_an_address_is_found(address: str, found: bool) -> None:
    """It opens the door as well as one drawn by chance; a placeholder, no password and a port are none."""
    seen = in_variable("DATABASE_URL", address)
    assert (seen is not None and (seen.code, seen.why) == ("secret", "password-in-address")) is found


def test_a_picture_that_begins_like_a_path_is_no_secret() -> None:
    """Its first letters may be words by chance, and a slash behind them."""
    data = drawn(110)
    assert in_value(f"data:image/gif;base64,written/{data}") is None
    assert in_value(f"data:text/plain;base64,written/{data}") is not None


LONG = 100_000
HOSTILE = {
    "resource attributes": (
        "A",
        "service.name=web,service.version=1.2.3,deployment.environment=prod,host.name=web-1,"
        "region=eu-west-1,team=core,tier=1,cloud.provider=aws,cloud.account.id=12,k8s.pod.name=a b",
    ),
    "query": ("A", "&".join(f"key{at}=value{at}" for at in range(LONG // 16)) + " x"),
    "pairs": ("A", "a=b;" * (LONG // 4) + " "),
    "blanks": ("A", "a=b" + " " * LONG + '"'),
    "signs": ("A", "a" + "=" * LONG + " "),
    "picture": ("A", f"{drawn(200)}!" * (LONG // 200)),
    "endings": ("K" + "_OLD" * (LONG // 4), "x"),
    "words": ("A_REFRESH_TOKEN" * (LONG // 15) + "\n!", "x"),
    "publics": ("_PUBLIC_API" * (LONG // 11) + "\n", "x"),
    "abouts": ("OPENAI_" + "_ID" * (LONG // 3) + "!", "x"),
    "hosts": ("VAULT_ADDR", "https://" + "a." * (LONG // 2) + "!"),
    "host": ("VAULT_ADDR", "https://" + "a-" * (LONG // 2) + "!"),
    "digits": ("KMS_KEY_ID", "0" * LONG + "!"),
    "resource": ("KMS_KEY_ID", "projects/" + "a/locations/" * (LONG // 12)),
    "role": ("VAULT_AUTH_ROLE", "dev-" * (LONG // 4) + "!"),
    "starts": ("A", "sk-" * (LONG // 3)),
    "keys": ("A", "key=" * (LONG // 4)),
    "letter": ("A", "A" * LONG),
}
HOSTILE_FILES = {
    "escapes": 'A="' + "\\a" * (LONG // 2),
    "ends": "A='" + "\\'" * (LONG // 2) + "x",
    "blanks": "A=x" + " " * LONG + "y",
    "comments": "A=x" + " #" * (LONG // 2) + "\ry",
    "before": "A=" + " " * LONG + '"\ry',
    "behind": 'A="x"' + " " * LONG + "y",
    "export": "export" + " " * LONG + "!",
    "name": "a" * LONG,
    "names": "A " * (LONG // 2),
    "open": "A='x\n" * (LONG // 5),
    "opens": "A=\"x\nB='y\nC=`z\n" * (LONG // 15),
    "returns": "A=x" + "\r" * LONG,
}
BOUNDED = """
import json, resource, sys
from byokeep.envcheck import bootstrap, secret, sources
values, files = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # of work, not of time
for case, (name, value) in values.items():
    print(case, flush=True)
    secret.in_variable(name, value), secret.by_name(name), secret.shown(name)
    bootstrap.refused(name, value, {}), bootstrap.stage_of(value)
for case, text in files.items():
    print("file", case, flush=True)
    list(sources.dotenv(text, "file"))
print("done")
"""


def test_no_text_is_more_work_than_it_is_long() -> None:
    """Names, values and files of 100 kB that were made to have a pattern try every way to cut them."""
    given = json.dumps([HOSTILE, HOSTILE_FILES])
    ended = subprocess.run([sys.executable, "-c", BOUNDED], input=given, text=True, stdout=subprocess.PIPE, check=False)
    assert ended.stdout.split("\n")[-2:] == ["done", ""]


def test_a_line_of_a_key_is_not_shown_as_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of base64 reads as a name without a value: neither it nor its age is told, the file is."""
    file = tmp_path / ".env"
    for tail in ("==", "=", "=\n"):
        last = f"{drawn(7)}Zq{drawn(35)}"
        file.write_text(f"KEY=\n{last}{tail}\n{last}{tail}\nq7{last[:9]}{tail}\nq7{last[:9]}{tail}\n")
        _, told, said = checked(str(file), "--rotated-after", "2026-04-19", capsys=capsys)
        assert last not in said
        assert last[:9] not in said
        assert [one for one in told["unreadable"] if one["reason"] == "age_not_known"] == [
            {"source": str(file), "reason": "age_not_known"}
        ]
    usual = ("NEXT_PUBLIC_SUPABASE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "KV_URL", "AWS_S3_BUCKET_2", "openaiApiKey",
             "POSTGRES_URL_NON_POOLING", "XDG_SESSION_ID", "WEBHOOK_SQS_QUEUE_URL", "npm_config_registry")  # fmt: skip
    assert [shown(one, "x") for one in usual] == list(usual)


def test_a_row_of_an_export_is_of_known_words_and_its_text_is_looked_at() -> None:
    """A type or a target may hold anything; so may the value of a row that its host encrypted, or that is its own."""
    key = secrets()["openai"]
    strange = [row("A", "production", key), row("A", [key]), row("A", "production", "plain", value="x")]
    collected = Collected()
    collected.export("export", json.dumps(strange).encode())
    assert collected.unread == [("export row 1", "row_not_understood"), ("export row 2", "row_not_understood")]
    for kind in ("system", "encrypted", "sensitive"):
        assert ("A", "client_key") in of([row("A", "production", kind) | {"value": f"of ours: {key}"}])
    cipher = base64.b64encode(bytes(at * at * 7 % 251 for at in range(150))).decode()
    assert of([row("A", "production") | {"value": cipher}, row("B", "preview", "system", value="x")]) == set()


def test_an_allowed_name_holds_no_secret() -> None:
    """A key as an alias, or as a host's name; ids and addresses of stores pass."""
    for value in (f"alias/{secrets()['openai']}", f"transit/keys/{secrets()['vault']}"):
        assert refused("KMS_KEY_ID", value, {}) == "not_a_key_reference"
    hexed = drawn(50, "0123456789abcdef")
    assert refused("VAULT_ADDR", f"https://{hexed}.example.com", {}) == "bad_address"
    for host in (
        "my-vault-public-vault-1a2b3c4d.5e6f7a8b.z1.hashicorp.cloud:8200",
        "vault-active.vault.svc.cluster.local",
    ):
        assert refused("VAULT_ADDR", f"https://{host}", {}) == ""


@pytest.mark.parametrize("escape", ["\\u0073", "\\x73", "\\163"])
def test_escapes_in_quotes_hide_nothing(escape: str) -> None:
    """What a shell or a language makes of them is looked at, whatever dotenv's readers make of it."""
    text = f'A="{escape}{secrets()["openai"][1:]}"\n'
    found, _ = findings(dotenv(text, "file"), EnvPolicy())
    assert [(one.variable, one.code) for one in found] == [("A", "client_key")]


def test_a_place_that_cannot_be_looked_at_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the system will not even say the kind of is unread, and no fault of ours; as below a closed directory."""
    code, told, _ = checked(str(tmp_path / ("x" * 300)), capsys=capsys)
    assert (code, [one["reason"] for one in told["unreadable"]]) == (4, ["cannot_be_read"])


def test_a_directory_with_the_name_of_a_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link to a directory and a directory of parts are unread; a virtual environment of that name is not meant."""
    for name in ("elsewhere", "one/.env.d", "two/.env"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "one/.env.linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "two/.env/pyvenv.cfg").touch()
    (tmp_path / ".env").write_text("LOG_LEVEL=info\n")
    code, told, _ = checked(str(tmp_path), capsys=capsys)
    assert (code, {one["source"] for one in told["unreadable"]}) == (
        4, {str(tmp_path / "one/.env.d"), str(tmp_path / "one/.env.linked")}
    )  # fmt: skip
