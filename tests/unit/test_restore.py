"""What a restore believes of what is brought to it, and what it tells people to end again."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from byokeep.adapters.openbao import provisioning, snapshot
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao
from byokeep.adapters.openbao.provisioning import Desired
from byokeep.core.audit import ChainHead, Record, canonical_payload, export_line
from byokeep.core.backup import BackupManifest, BackupRefused, Part
from byokeep.core.checkpoint import LogState
from byokeep.core.errors import Conflict, Integrity
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.secret import Secret
from byokeep.process import hold
from byokeep.processes import restore
from byokeep.processes.restore import Brought
from byokeep.settings import RESTORING, Settings
from byokeep.wire.bao_http import BaoReply
from tests.support.auditlog import ACTOR
from tests.unit.test_backup import INSTALLATION, KEY, made

OWN = b"".join(f"{UUID(int=n)}\n".encode() for n in (1, 2))
# Each of the others begins something, tells of something, ends by itself, or ends what an older database has not.
ENDS_NOTHING = frozenset({
    "installation.created", "config.changed", "session.login", "session.logout",
    "token.issued", "passkey.added", "sso.linked", "operator.created", "machine.created", "access.decided",
    "client.created", "client.enrolled", "client.resumed", "client.look_set", "account.registered",
    "account.identified", "key.write", "key.stored", "key.admin_stored", "key.verified", "key.leak_checked",
    "client_key_onboarded", "client_key_onboarding_failed", "key.pinned", "key.interval_set", "key.listed",
    "key.metadata_read", "key.shared_value_found", "key.orphan_found", "key.orphan_destroyed",
    "platform_app.set", "connection.started", "connection.answered", "platform_connected",
    "platform_connect_failed", "tokens.stored", "account.verified", "account.name_changed",
    "account.name_confirmed", "tokens.refresh_started", "tokens.refreshed", "tokens.refresh_failed",
    "tokens.refresh_asked", "tokens.chain_broken", "account.reauth_needed", "refresher.declared_gone",
    "platform.reenabling_stepped", "effect.scheduled", "effect.held", "effect.missed", "effect.requeued",
    "webhook_secret.stored", "profile.created", "profile.work_asked", "profile.work_ended", "profile.confirmed",
    "profile.opened", "profile.opening_ended", "profile.seal", "profile.sealed", "profile.validated",
    "profile.restored", "profile.due", "browser_profile_created", "browser_profile_creation_failed", "kek.made",
    "kek.rotated", "kek.rewrapped", "kek.rotation_done", "kek.checked", "vault_incident.opened",
    "vault_incident.stepped", "vault_incident.session_ended", "vault_incident.closed", "incident.opened",
    "incident.stepped", "incident.changed", "incident.closed", "procedure.started", "procedure.stepped",
    "procedure.approved", "procedure.undone", "job.opened", "job.sealing", "job.closed", "job.expired",
    "lease.issued", "lease.use_told", "lease.calls_told", "permit.issued", "permit.closed", "permit.unknown",
    "switch.store_cut_off", "switch.open_requested", "switch.opened", "breakglass.requested",
    "breakglass.approved", "breakglass.issued", "breakglass.unwrapped", "breakglass.misused", "breakglass.used",
    "breakglass.expired", "breakglass.reviewed", "breakglass.closed", "breakglass.drilled", "audit.read",
    "audit.exported", "audit.verified", "audit.reconciled", "audit.hashed", "leaks.fingerprints_read",
    "checkpoint.signed", "evidence.signed", "exposure.reported",
    "due.listed", "list.exported", "leaks.scanned", "checklist.shown", "checklist.ticked", "checklist.signed",
    "access.reviewed", "due.started", "backup.created", "backup.verified", "backup.removed", "backup.restored",
    "drill.completed", "notification.sent", "alert.raised", "alert.acknowledged", "alert.closed",
})  # fmt: skip


def said(name: EventName, seq: int, outcome: Outcome = Outcome.OK, **fields: str) -> bytes:
    """A line of the copy."""
    event = Event(name=name, actor=ACTOR, outcome=outcome, client_id=UUID(int=3), object_id=None, fields=fields)
    record = Record(INSTALLATION, seq, 1, "broker", canonical_payload(event), bytes(32))
    return export_line(record, prev=bytes(32)) + b"\n"


def told(place: Path, manifest: BackupManifest, *lines: bytes, published: int = 0, base: int = 0) -> list[str]:
    (place / "copy").mkdir(parents=True, exist_ok=True)
    (place / "copy" / (f"audit-{base}.jsonl" if base else "audit.jsonl")).write_bytes(b"".join(lines))
    state = LogState(heads={INSTALLATION: ChainHead(INSTALLATION, published, bytes(32))}, base=base)
    return restore._ended_since(place, manifest, state)


def test_of_every_event_it_is_decided_whether_a_restore_undoes_it() -> None:
    """A new one fails here until somebody says which it is."""
    assert set(EventName) - restore._ENDED == ENDS_NOTHING


def test_what_ended_after_the_backup_is_told(tmp_path: Path) -> None:
    """Each ending, a quarantine as the failure that it is; not what came before, failed, or only began."""
    manifest, _ = made(tmp_path)
    for name in restore._ENDED:
        outcome = Outcome.FAILED if name.value.endswith(".quarantined") else Outcome.OK
        fields = {"state": "ended", "template": "nightly"} if name is EventName.JOB_TEMPLATE_SET else {}
        (line,) = told(tmp_path, manifest, said(name, 3, outcome, **fields), said(name, 4, outcome, **fields))
        assert line == f"{name.value} {fields.get('template', '')} client {UUID(int=3)}"
        assert told(tmp_path, manifest, said(name, 4, Outcome.DENIED, **fields)) == []
    assert told(tmp_path, manifest, said(EventName.JOB_TEMPLATE_SET, 4, template="nightly")) == []
    verified, suspended = (said(EventName.KEY_STATE_CHANGED, 4, state_to=to) for to in ("active", "suspended"))
    assert (told(tmp_path, manifest, verified), len(told(tmp_path, manifest, suspended))) == ([], 1)
    (line,) = told(tmp_path, manifest, said(EventName.SWITCH_CLOSED, 4, scope="client"))
    assert line.startswith("switch.closed client")


def test_a_copy_that_ends_before_the_backup_is_said_to_know_nothing(tmp_path: Path) -> None:
    """Without the copy, and with one that is too short or lacks a line of what was published since, people are told to
    look themselves."""
    manifest, _ = made(tmp_path)
    assert restore._ended_since(tmp_path, manifest, LogState()) == [restore._UNKNOWN]
    assert told(tmp_path, manifest, said(EventName.LOGIN, 2)) == [restore._UNKNOWN]
    assert told(tmp_path, manifest, said(EventName.LOGIN, 3)) == []
    lines = [said(EventName.LOGIN, seq) for seq in range(1, 7)]
    assert told(tmp_path, manifest, *lines, published=6) == []
    for gone in (3, 4, 5):  # the backup knows the first three
        left = lines[:gone] + lines[gone + 1 :]
        assert told(tmp_path, manifest, *left, published=6) == [restore._UNKNOWN]
    told(tmp_path, manifest, *lines)  # records that were lost fill no gap of the copy that began after a rebase
    after, before = replace(manifest, epochs=5), replace(manifest, epochs=4)
    assert told(tmp_path, after, *lines, published=6, base=4) == []
    assert told(tmp_path, before, *lines, published=6, base=4) == [restore._UNKNOWN]
    assert told(tmp_path, after, *lines[:4], published=6, base=4) == [restore._UNKNOWN]


def test_tombstones_that_lost_a_line_of_the_backup_are_refused(tmp_path: Path) -> None:
    """As long as the backup's or longer, and beginning with them; the rest is not compared."""
    manifest, _ = made(tmp_path)
    own = Part(name="checkpoints/tombstones", size=len(OWN), sha256=hashlib.sha256(OWN).hexdigest())
    manifest = replace(manifest, parts=(own,))
    file = tmp_path / "tombstones"
    for good in (OWN, OWN + OWN[:37]):
        file.write_bytes(good)
        restore._must_go_on(file, manifest)
    for bad in (b"", OWN[:37], OWN[37:] + OWN[:37], OWN[:37] + OWN[:37]):
        file.write_bytes(bad)
        with pytest.raises(BackupRefused) as refused:
            restore._must_go_on(file, manifest)
        assert refused.value.reason == "outside"


@pytest.mark.parametrize("kind", ["link", "fifo", "copy/audit.jsonl"])
def test_no_link_and_no_pipe_is_taken_from_outside(tmp_path: Path, kind: str) -> None:
    """What is neither file nor directory is refused before it is read, and not copied if it comes later."""
    manifest, _ = made(tmp_path)
    place = tmp_path / "outside"
    (place / "copy").mkdir(parents=True)
    (place / "tombstones").touch()
    (place / "epochs.jsonl").touch()
    what = Brought(identity=place, seal_key=place, recovery_keys=(), checkpoints=place)
    assert restore._outside(place, manifest, what).size == 0
    odd = place / kind
    odd.symlink_to("/etc/passwd") if kind == "link" else os.mkfifo(odd)
    with pytest.raises(BackupRefused) as refused:
        restore._outside(place, manifest, what)
    assert refused.value.reason == "outside"
    with pytest.raises((BackupRefused, OSError)):
        restore._copy(str(odd), str(tmp_path / "copied"))
    assert not (tmp_path / "copied").exists()


def test_another_backup_in_the_place_of_the_checked_one_is_not_written(tmp_path: Path) -> None:
    """A file that was changed between the two readings is refused before a part of it lies in the home."""
    (checked, _), (_, other) = made(tmp_path), made(tmp_path, seed=2)
    file, home = tmp_path / "other.age", tmp_path / "home"
    file.write_bytes(other)
    home.mkdir(0o700)
    brought = Brought(identity=file, seal_key=file, recovery_keys=(), checkpoints=None)
    with pytest.raises(BackupRefused) as refused:
        restore._place(Settings(home=home), file, [KEY], brought, checked)
    assert refused.value.reason == "part_altered"
    assert [path.name for path in home.rglob("*")] == ["restore"]


def test_a_home_in_use_is_not_empty(tmp_path: Path) -> None:
    """A file of a restore beside a living stack does not make the stack's files those of that restore."""
    (tmp_path / RESTORING).touch()
    restore._must_be_empty(tmp_path)
    with (tmp_path / "byokeep.pid").open("w") as held:
        hold(held.fileno())
        with pytest.raises(Conflict, match="home_not_empty"):
            restore._must_be_empty(tmp_path)


async def test_servers_of_a_killed_restore_write_nothing_into_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is told to end takes its time and still writes its file: it has ended before the home is emptied."""
    home, data = tmp_path / "home", tmp_path / "home" / "postgres" / "data"
    data.mkdir(parents=True)
    (home / RESTORING).touch()
    late = home / "openbao" / "data" / "vault.db"
    (tmp_path / "server").write_text(
        "import pathlib, signal, sys, time\n"
        f"late = pathlib.Path({str(late)!r})\n"
        "def end(*_):\n"
        "    time.sleep(0.3)\n"
        "    late.parent.mkdir(parents=True)\n"
        "    late.touch()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    shutil.copy("/bin/sleep", tmp_path / "postgres")
    found: list[Any] = []

    def place(*_: object) -> None:
        found.extend([store.poll(), database.poll(), late.exists()])
        raise BackupRefused("damaged")

    monkeypatch.setattr(restore, "_place", place)
    words = [sys.executable, "server", f"-config={home}/openbao/config.hcl"]
    with (
        subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE) as store,
        subprocess.Popen([tmp_path / "postgres", "60"], cwd=data) as database,
    ):
        assert store.stdout is not None
        store.stdout.readline()
        brought = Brought(identity=home, seal_key=home, recovery_keys=(), checkpoints=None)
        about = restore.Restored(manifest=made(tmp_path)[0], behind=None)
        try:
            with pytest.raises(BackupRefused):
                await restore._restore(Settings(home=home), home, [], brought, about, (b"", ""))
        finally:
            store.kill()
            database.kill()
    assert found == [0, -signal.SIGKILL, False]


async def test_a_root_token_that_may_be_alive_ends_a_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else went well, and the roots of the backup's time are not seen to have ended: it has failed."""

    class Store:
        """Answers with one key of evidence."""

        def __init__(self, _: str) -> None:
            pass

        async def __aenter__(self) -> Store:
            return self

        async def __aexit__(self, *_: object) -> None:
            return None

        async def request(self, *_: object, **__: object) -> BaoReply:
            return BaoReply(200, {"keys": {"1": {"public_key": ""}}}, "")

    async def done(*_: object, **__: object) -> Any:
        return Secret("x"), 1.0

    async def alive(*_: object) -> None:
        raise Integrity("root_token_alive")

    monkeypatch.setattr(snapshot, "BaoHttp", Store)
    for name in ("log_in", "must_open", "_held"):
        monkeypatch.setattr(snapshot, name, done)
    for name in ("generate_root", "provision", "rotate_secret_ids", "rotate_leases"):
        monkeypatch.setattr(provisioning, name, done)
    monkeypatch.setattr(provisioning, "retire_roots", alive)
    with pytest.raises(Integrity, match="root_token_alive"):
        await snapshot.renew_rights(EmbeddedOpenBao(tmp_path), Desired(installation_id=INSTALLATION), UUID(int=1), ())
