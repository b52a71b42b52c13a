"""byokeep on an agency's own OpenBao (TLS) and PostgreSQL (SCRAM), as separate processes with separate identities."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.secret import Secret
from byokeep.processes import platform_secrets
from byokeep.settings import Settings, load
from byokeep_redact.canary import new_canary
from byokeep_sim import Sim, start
from tests.support.cli import Ran, Shell, ended, pipe_with
from tests.support.external import (
    ROLES,
    Authority,
    Database,
    Store,
    false_store_with,
    free_port,
    give_passwords,
    their_database,
    their_store,
)
from tests.support.stack import PROVIDERS, until

pytestmark = pytest.mark.timeout(400)  # whole stacks start; how fast is a benchmark
FILES = {  # which of the identities each process is given
    "web": ("web.approle", "byokeep_web.pgpass"),
    "broker": ("broker.approle", "byokeep_broker.pgpass"),
    "worker": ("worker.token", "account-hash.key", "byokeep_worker.pgpass"),
    "refresher": ("worker.token", "account-hash.key", "byokeep_worker.pgpass"),
    "jobs": ("dispatcher.token", "runner.token"),
}


@dataclass
class Site:
    """The agency's servers, and the places of our processes."""

    place: Path
    authority: Authority
    store: Store
    database: Database
    sim: Sim
    broker_port: int
    web_port: int

    def settings(self, name: str, **changed: object) -> Path:
        """Write a process's settings file; ``credentials_dir`` is its own unless changed."""
        given: dict[str, object] = {
            "home": str(self.place / "homes" / name), "environment": "staging",
            "store_address": self.store.address, "store_ca_file": str(self.store.ca),
            "store_audit_files": self.store.audit_files, "database_url": self.database.url,
            "web_listen": f"127.0.0.1:{self.web_port}", "broker_listen": f"127.0.0.1:{self.broker_port}",
            "web_url": f"http://127.0.0.1:{self.web_port}", "broker_url": f"http://127.0.0.1:{self.broker_port}",
            "log_dir": str(self.place / "logs"), "credentials_dir": str(self.place / name),
            "checkpoint_dir": str(self.place / "checkpoints"),
            "lease_cidrs": "127.0.0.0/8", "store_calls_per_second": 500,
        } | changed  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
        urls = [f'{provider} = "{self.sim.base_url(provider)}"' for provider in PROVIDERS]
        file = self.place / f"{name}.toml"
        file.write_text("\n".join([*lines, "[provider_urls]", *urls]) + "\n")
        return file

    async def run(self, *words: str, **given: object) -> Ran:
        """Run a command with the settings of a person's machine, which has the identities for jobs."""
        at = words.index("--") if "--" in words else len(words)
        config = ("--config", str(self.place / "jobs.toml"))
        return await Shell(self.place / "homes" / "jobs").run(*words[:at], *config, *words[at:], **given)  # type: ignore[arg-type]

    async def init(self, **changed: object) -> Ran:
        """``byokeep init`` with the store's admin token on a descriptor."""
        config = self.settings("init", **changed)
        with pipe_with(self.store.admin_token.encode() + b"\n") as fd:
            shell = Shell(self.place / "homes" / "init")
            words = ("init", "--config", str(config), "--admin-token-fd", str(fd), "--json")
            return await shell.run(*words, fds=[fd])


@asynccontextmanager
async def process(site: Site, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of our processes by its settings file."""
    (site.place / "homes" / name).mkdir(parents=True, exist_ok=True)
    made = await Shell(site.place / "homes" / name).start(name, "--config", str(site.settings(name)))
    try:
        yield made
        assert made.returncode is None, "the process ended by itself"
        made.terminate()
        assert await asyncio.wait_for(made.wait(), 20) == 0
    finally:
        await ended(made)


async def ready(url: str) -> bool:
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(f"{url}/readyz") as reply:
                return reply.status == 200
        except aiohttp.ClientError:
            return False


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    """Their servers, provisioned by ``byokeep init``; our processes are not running yet."""
    place = Path(tempfile.mkdtemp(prefix="byk-"))
    place.chmod(0o711)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        authority = Authority(place)
        sim = await start()
        stack.push_async_callback(sim.stop)
        store = await stack.enter_async_context(their_store(place / "bao", authority))
        database = stack.enter_context(their_database(place / "pg"))
        made = Site(place, authority, store, database, sim, free_port(), free_port())
        sql = await Shell(place / "homes" / "init").run("init", "--database-sql")
        assert sql.code == 0, sql.said
        database.psql(sql.out)
        give_passwords(database)
        ran = await made.init()
        assert ran.code == 0, ran.said
        assert ran.document["audit_devices"] == ["first", "second"]
        for name, files in FILES.items():
            (place / name).mkdir(mode=0o700)
            for file in files:
                shutil.copy2(place / "init" / file, place / name / file)
        made.settings("jobs")
        yield made


@pytest.fixture(scope="module")
async def running(site: Site) -> AsyncIterator[Site]:
    """Broker, web, worker and refresher of the site."""
    async with AsyncExitStack() as stack:
        for name in ("broker", "web", "worker", "refresher"):
            await stack.enter_async_context(process(site, name))
        for port in (site.broker_port, site.web_port):
            await until(lambda port=port: ready(f"http://127.0.0.1:{port}"), 60, "a process is not ready")
        yield site


async def person(site: Site, role: str) -> Path:
    """Make a person with the first admin's token; returns the token's file."""
    first, file = await first_admin(site), site.place / f"{role}.token"
    if not file.exists():
        words = ("operator", "create", role, "--role", role, "--all-clients", "--json")
        made = await site.run(*words, token=first)
        assert made.code == 0, made.said
        issued = await site.run("operator", "token", made.document["id"], "--save", str(file), token=first)
        assert issued.code == 0, issued.said
        await signed_in(site, role, file)
    return file


async def first_admin(site: Site) -> Path:
    """Use the invitation that the installation left, once; returns the file of a session."""
    first = site.place / "init" / "admin.token"
    if not (site.place / "first-admin.invitation").exists():
        shutil.copyfile(first, site.place / "first-admin.invitation")
        await signed_in(site, "first-admin", first)
    return first


async def signed_in(site: Site, name: str, file: Path) -> None:
    """Turn an invitation's file into that of a session, as its holder would."""
    word, session = b"a long enough pass phrase\n", site.place / f"{name}.session"
    for step in (("operator", "password"), ("operator", "login", name, "--save", str(session))):
        ran = await site.run(*step, token=file, stdin=word)
        assert ran.code == 0, ran.said
    session.replace(file)


async def onboarded(site: Site) -> tuple[str, bytes]:
    """A client with a verified key."""
    first = await first_admin(site)
    client = await site.run("client", "create", f"Client {new_canary('kie')[:6].decode()}", "--json", token=first)
    assert client.code == 0, client.said
    key = new_canary("openai")
    async with aiohttp.ClientSession() as http:
        known = {"provider": "openai", "key": key.decode(), "state": "valid"}
        (await http.post(f"{site.sim.url}/_sim/keys", json=known)).raise_for_status()
    token = await person(site, "operator")
    added = await site.run("key", "add", client.document["id"], "openai", token=token, stdin=key)
    assert added.code == 0, added.said
    return client.document["id"], key


async def test_onboard_work_and_audit_on_their_servers(running: Site, tmp_path: Path) -> None:
    """A key comes in, a job uses it, the audit verifies and reconciles with their own log."""
    client, key = await onboarded(running)
    copy = tmp_path / "copy"
    job = ("job", "run", "--client", client, "--secret", "openai", "--", "cp", "{openai}", str(copy))
    ran = await running.run(*job)
    assert ran.code == 0, ran.said
    assert copy.read_bytes() == key
    auditor = await person(running, "auditor")
    verified = await running.run("audit", "verify", "--json", token=auditor)
    assert (verified.code, verified.document["state"]) == (0, "ok"), verified.said
    health = await running.run("audit", "health", "--json", token=auditor)
    assert {one["name"]: one["state"] for one in health.document} == {"first": "healthy", "second": "healthy"}
    await asyncio.sleep(11)  # younger requests are judged by the next reconciliation
    report = await running.run("audit", "reconcile", "--minutes", "10", "--json", token=auditor)
    reasons = {one["reason"] for one in report.document["findings"]}
    assert reasons <= {"unlisted_request", "store_setup_changed"}, report.said  # the test reads as their root
    assert report.document["logins"] > 0
    assert key not in (running.place / "bao" / "first.jsonl").read_bytes()
    operator = await person(running, "operator")
    killed = await running.run("kill", "on", "--client", client, "--reason", "drill", "--json", token=operator)
    assert (killed.code, killed.document["store_cut_off"]) == (0, True), killed.said


async def test_the_doctor_is_satisfied_by_separate_processes(running: Site) -> None:
    """Without `byokeep up` all is well but the administrator's token, which lives; a store may be away."""

    async def asked(name: str) -> tuple[Ran, dict[str, Any]]:
        place = str(running.place / name)
        config = running.settings(f"{name}-doctor", credentials_dir=place, web_url="", broker_url="")
        ran = await Shell(running.place / "homes" / name).run("doctor", "--json", "--config", str(config))
        return ran, {row["check"]: row for row in ran.document}

    async def begun() -> bool:
        _, rows = await asked("broker")
        off_in = rows["core dumps"]["figures"].get("off_in", 0)
        return rows["worker rounds"]["state"] == "ok" and off_in >= 4

    await until(begun, 90, "the worker's rounds have not begun, or not all four processes have started")
    for name in ("broker", "web"):
        ran, rows = await asked(name)
        assert {name for name, row in rows.items() if row["state"] != "ok"} == {"root token"}, ran.said
        assert (ran.code, rows["root token"]["code"]) == (4, "alive")
        assert rows["TLS"]["figures"]["store_days"] > 50
        assert rows["core dumps"]["figures"]["off_in"] >= 4
    elsewhere = running.settings("broker-doctor", store_address=f"https://127.0.0.1:{free_port()}")
    ran = await Shell(running.place / "homes" / "broker").run("doctor", "--json", "--config", str(elsewhere))
    assert ran.code == 4


async def test_settings_reach_the_store(running: Site) -> None:
    """Networks and caps of the settings stand at the store; a network that is not ours shuts the lease out."""
    role = await running.store.read("auth/lease/cel/role/use-openai")
    assert "bound_cidrs: ['127.0.0.0/8']}" in role["cel_program"]["expression"]
    quota = await running.store.read("sys/quotas/rate-limit/byokeep-login")
    assert quota["rate"] == 500
    client, _ = await onboarded(running)
    job = ("job", "run", "--client", client, "--secret", "openai", "--", "true")
    assert (await running.init(lease_cidrs="192.0.2.0/24")).code == 0
    try:
        assert (await running.run(*job)).code in (3, 4)
    finally:
        assert (await running.init()).code == 0
    assert (await running.run(*job)).code == 0


async def test_init_again_changes_no_identity(running: Site) -> None:
    """A repeated init keeps installation, credentials and data."""
    before = {file.name: file.read_bytes() for file in (running.place / "init").iterdir()}
    again = await running.init()
    assert again.code == 0, again.said
    after = {file.name: file.read_bytes() for file in (running.place / "init").iterdir()}
    assert {name for name in before if before[name] != after[name]} == set()


async def test_init_without_the_key_of_account_digests_makes_no_other(running: Site) -> None:
    """From an empty directory of credentials, with whose key every account would seem to be another one."""
    ran = await running.init(credentials_dir=str(running.place / "empty"))
    assert (ran.code, ran.document["error"]["code"]) == (4, "credentials_missing"), ran.said
    assert "account-hash.key" in ran.document["error"]["next_step"]
    assert not {"account-hash.key", "worker.token"} & {file.name for file in (running.place / "empty").iterdir()}


async def test_a_process_without_its_identity_does_not_start(site: Site) -> None:
    """Web's credentials do not make a broker, and the other way round."""
    for name, other in (("web", "broker"), ("broker", "web")):
        config = site.settings(f"{name}-bare", credentials_dir=str(site.place / other))
        ran = await Shell(site.place / "homes" / name, loaded=True).run(name, "--json", "--config", str(config))
        assert (ran.code, ran.document["error"]["code"]) == (4, "credentials_missing"), ran.said


@pytest.mark.req("R2.2-5")
async def test_database_logins_are_rotated_while_everything_serves(
    running: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation that fails half-way changes nothing and says so; one that goes well loses no request."""
    settings, admin = load(running.settings("init")), Secret(running.store.admin_token)
    auditor, known = await person(running, "auditor"), sessions(running)
    for name in ("secret_ids", "signing_keys"):  # whose turn it is in another test; the processes have copies

        async def one(*_: object, **__: object) -> int:
            return 1

        monkeypatch.setattr(platform_secrets, f"rotate_{name}", one)
    before = {file.name: file.read_bytes() for file in (running.place / "init").glob("*.pgpass")}
    assert len(before) == len(ROLES) - 1  # all but the auditor's, which is a person's
    assert known >= {f"byokeep_{name}" for name in ("web", "broker", "worker")}
    assert sessions(running, "usename !~ '_[0-9a-f]{12}$'") == set(), "a process does not use its login"
    running.database.psql("ALTER ROLE byokeep_logins NOLOGIN")
    with pytest.raises(Conflict, match="rotation_failed"):
        await platform_secrets.rotate_internal(settings, admin)
    running.database.psql("ALTER ROLE byokeep_logins LOGIN")
    assert {file.name: file.read_bytes() for file in (running.place / "init").glob("*.pgpass")} == before
    alerts = await running.run("alert", "list", "--json", token=auditor)
    assert "internal_rotation_failed" in {one["reason"] for one in alerts.document}
    failed = running.database.psql("SELECT count(*) FROM byokeep.audit_record WHERE outcome = 'failed' AND convert_from"
                                   "(payload, 'UTF8') LIKE '%rotation_failed%database_logins%'", "byokeep")  # fmt: skip
    assert failed == "1\n"

    lost: list[object] = []
    over, served = asyncio.Event(), 0

    async def serve(url: str) -> None:
        nonlocal served
        head = {"Authorization": f"Bearer {auditor.read_text().strip()}"}
        async with aiohttp.ClientSession(headers=head) as http:
            while not over.is_set():
                async with http.get(url) as reply:
                    served += 1
                    if reply.status != 200:
                        lost.append((url, reply.status, await reply.text()))
                await asyncio.sleep(0.05)

    urls = [f"http://127.0.0.1:{running.web_port}/v1/clients", f"http://127.0.0.1:{running.broker_port}/readyz"]
    serving = [asyncio.create_task(serve(url)) for url in urls * 3]
    done = await platform_secrets.rotate_internal(settings, admin)  # what was refused goes on
    assert done.run.state == "complete"
    hand_out(running)
    goal = served + 100
    await until(lambda: served > goal, 60, "nothing is served")
    over.set()
    await asyncio.gather(*serving)
    assert lost == []
    olds = {name.decode() for content in before.values() if b"worker" not in (name := content.split(b":")[3])}
    listed = ", ".join(f"'{old}'" for old in olds)
    for old in olds:  # a day goes by, and the queue's connections of an hour ago went
        running.database.psql(f"ALTER ROLE {old} VALID UNTIL 'yesterday'")
    await platform_secrets.rotate_internal(settings, admin)
    hand_out(running)
    assert running.database.psql(f"SELECT count(*) FROM pg_roles WHERE rolname IN ({listed})") == "0\n"  # noqa: S608
    await onboarded(running)
    await they_end_now(running, monkeypatch, settings, admin)
    (running.place / "init" / "byokeep_logins.pgpass").write_bytes(b"")  # a file for it rotates it no more
    rows = await platform_secrets.platform_secrets(settings)
    logins = [row for row in rows if row["secret"].startswith("database login of")]
    assert {row["owner"] for row in rows} == {"operations"}
    assert [row["how"].split(":")[0] for row in logins] == ["rotate internal"] * 5 + ["yours"]
    due = await running.run("rotate", "due", "--kind", "platform_secret", "--until", "90d", "--json", token=auditor)
    assert "database_logins" in {one["name"] for one in due.document["items"]}
    words = {line.rpartition(b":")[2].strip() for content in before.values() for line in content.splitlines()}
    words |= {line.rpartition(b":")[2] for file in (running.place / "init").glob("*.pgpass")
              for line in file.read_bytes().splitlines()}  # fmt: skip
    holding = {file for file in running.place.rglob("*") if file.is_file() and file.suffix != ".pgpass"
               for content in [file.read_bytes()] if any(word in content for word in words)}  # fmt: skip
    assert holding == set()


async def they_end_now(site: Site, monkeypatch: pytest.MonkeyPatch, settings: Settings, admin: Secret) -> None:
    """One was stolen: the old logins end first, on record, though the store is away or their step was done."""
    graces: list[timedelta] = []

    async def away(*_: object, **__: object) -> int:
        raise Unavailable("store_sealed")

    async def renewed(_: Settings, *, grace: timedelta) -> int:  # which ends the queue of a worker that runs
        graces.append(grace)
        return len(ROLES) - 1

    async def renewed_there(*_: object, **__: object) -> int:
        return 1

    recorded = (
        "SELECT count(*) FROM byokeep.audit_record WHERE event = 'config.changed' AND convert_from(payload, 'UTF8')"
        " LIKE '%database-logins%'"
    )
    site.database.psql("CREATE ROLE byokeep_web_0123456789ab NOLOGIN")  # one that could not be dropped
    with monkeypatch.context() as patched:
        patched.setattr(platform_secrets, "renew_logins", renewed)
        for name in ("rotate_secret_ids", "rotate_signing_keys"):
            patched.setattr(platform_secrets, name, away)
            with pytest.raises(Unavailable):
                await platform_secrets.rotate_internal(settings, admin, grace=timedelta(0))
            patched.setattr(platform_secrets, name, renewed_there)
        assert graces == [timedelta(0)] * 2
        await platform_secrets.rotate_internal(settings, admin, grace=timedelta(0))
        assert graces == [timedelta(0)] * 3, "the step does it once more"
    assert site.database.psql(recorded, "byokeep") == "3\n"
    site.database.psql("DROP ROLE byokeep_web_0123456789ab")
    alerts = await site.run("alert", "list", "--json", token=await person(site, "auditor"))
    assert "database_login_owns" in {one["reason"] for one in alerts.document}


def sessions(site: Site, which: str = "true") -> set[str]:
    """The roles of the sessions at their database."""
    asked = f"SELECT DISTINCT regexp_replace(usename, '_[0-9a-f]{{12}}$', '') FROM pg_stat_activity WHERE {which}"  # noqa: S608
    return set(site.database.psql(f"{asked} AND usename LIKE 'byokeep%'").split())


def hand_out(site: Site) -> None:
    """What whoever runs several hosts does within a day: the new files go to each."""
    for name, files in FILES.items():
        for file in files:
            if file.endswith(".pgpass"):
                fresh = site.place / name / f"{file}.fresh"
                shutil.copy2(site.place / "init" / file, fresh)
                fresh.replace(site.place / name / file)


@pytest.mark.req("S-OWASP-5")
@pytest.mark.parametrize("fault", ["self_signed", "wrong_host", "expired", "other_issuer"])
async def test_a_store_that_can_not_prove_its_name_gets_nothing(site: Site, fault: str, tmp_path: Path) -> None:
    """No request, and so no token, is sent to a store whose certificate does not hold; exit code 4."""
    authority = Authority(tmp_path) if fault == "other_issuer" else site.authority
    hosts = ("other.example.org",) if fault == "wrong_host" else ("127.0.0.1",)
    cert, key = authority.issue(fault, *hosts, expired=fault == "expired", own=fault == "self_signed")
    async with false_store_with(cert, key) as (address, heard):
        ran = await site.init(store_address=address)
        assert (ran.code, ran.document["error"]["code"]) == (4, "store_tls_failed"), ran.said
        for name in ("web", "broker"):
            config = site.settings(f"{name}-false", store_address=address, credentials_dir=str(site.place / name))
            started = await Shell(site.place / "homes" / name, loaded=True).run(name, "--json", "--config", str(config))
            assert (started.code, "Traceback" in started.said) == (4, False), started.said
    assert heard == []


@pytest.mark.req("S-OWASP-5")
async def test_the_false_store_hears_who_trusts_it(site: Site) -> None:
    """Positive control: with a certificate that holds, the same stand is sent the request; its answer is refused."""
    cert, key = site.authority.issue("holds", "127.0.0.1")
    async with false_store_with(cert, key) as (address, heard):
        ran = await site.init(store_address=address)
    assert ran.code != 0
    assert heard


@pytest.mark.req("S-OWASP-5")
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("store_address", "http://bao.example.org:8200"),
        ("store_address", "http://10.0.0.5:8200"),
        ("broker_url", "http://broker.example.org:8421"),
        ("web_url", "http://10.0.0.5:8420"),
        ("database_url", "postgresql+psycopg://10.0.0.5/byokeep"),
        ("database_url", "postgresql+psycopg://10.0.0.5/byokeep?sslmode=require"),
    ],
)
async def test_plain_connections_to_other_hosts_are_refused(site: Site, setting: str, value: str) -> None:
    """Every process and every command refuses to start with an address that is not protected; exit code 2."""
    ran = await site.init(**{setting: value})
    assert (ran.code, ran.document["error"]["code"]) == (2, "insecure_address"), ran.said
    assert ran.document["error"]["setting"] == setting
    config = site.settings("plain", **{setting: value})
    shell = Shell(site.place / "homes" / "plain", loaded=True)
    for words in (("broker",), ("web",), ("worker",), ("refresher",), ("client", "list")):
        started = await shell.run(*words, "--json", "--config", str(config))
        assert (started.code, started.document["error"]["code"]) == (2, "insecure_address")
