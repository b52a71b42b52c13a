"""What needs no browser: names of kept files, settings before a start, addresses, switches, and what is not there."""

from __future__ import annotations

import ast
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from byokeep import browser
from byokeep.browser import launch
from byokeep.browser.launch import ended_cleanly, new_directory, settle
from byokeep.browser.rooms import is_kept
from byokeep.core.errors import Rejected
from byokeep.core.model import Lane
from byokeep.platforms.website import SitePlace, load_website, websites

ROOM = Path(browser.__path__[0])
# Ways of Playwright to put something into a page or a file chooser.
TYPES = {"fill", "type", "press", "press_sequentially", "insert_text", "set_input_files", "select_option", "check",
         "dispatch_event", "keyboard", "set_checked"}  # fmt: skip


def test_no_function_of_ours_can_type_a_credential() -> None:
    """Automation has no way to fill a field; keys come from a person at the viewer alone."""
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in TYPES, f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "Input." in node.value:
                assert path.name == "handoff.py"


@pytest.mark.parametrize(
    "path",
    ["Default/Cookies", "Default/Local Storage/leveldb/000003.log", "Default/Preferences", "Last Version",
     "Default/IndexedDB/https_www.example.com_0.indexeddb.leveldb/MANIFEST-000001",
     "Default/Service Worker/Database/CURRENT", "Default/WebStorage/QuotaManager"],
)  # fmt: skip
def test_files_of_a_session_are_kept(path: str) -> None:
    """Cookies, stored items, databases, workers, settings."""
    assert is_kept(path)


@pytest.mark.parametrize(
    "path",
    ["Default/Login Data", "Default/Web Data", "Default/History", "Default/Cache/Cache_Data/data_0",
     "Default/Code Cache/js/index", "Default/Sessions/Session_1", "Default/Session Storage/000003.log",
     "SingletonLock", "Crashpad/settings.dat", "Default/Local Storage/leveldb/LOCK", "Default/Cookies-journal",
     "Default/Service Worker/CacheStorage/x/0", "Default/WebStorage/1/CacheStorage/index.txt", "Local State", "",
     "/etc/passwd", "Default/IndexedDB/../../x", "Default/./Cookies", "Default//Cookies", "Default/IndexedDB/",
     "Default/IndexedDB/a\nb", "Default/IndexedDB/" + "a" * 300, "default/cookies"],
)  # fmt: skip
def test_everything_else_is_left_out(path: str) -> None:
    """Saved passwords, autofill, history, caches, open tabs, locks, and paths that lead elsewhere."""
    assert not is_kept(path)


def test_settings_are_ours_before_each_start(tmp_path: Path) -> None:
    """Nothing of what is there is left: no proxy, no trust in a certificate, no word about the end, tab or lock."""
    place = tmp_path / "p"
    new_directory(place)
    assert place.stat().st_mode & 0o777 == 0o700
    (place / "Default").mkdir()
    trusted = {"ssl_cert_decisions": {"https://a.example:443,*": {"setting": 1}}}
    theirs = {
        "profile": {"exit_type": "Normal", "content_settings": {"exceptions": trusted}},
        "session": {"restore_on_startup": 5}, "proxy": {"mode": "fixed_servers", "server": "http://127.0.0.1:9"},
    }  # fmt: skip
    for name in ("Preferences", "Secure Preferences"):
        (place / "Default" / name).write_text(json.dumps(theirs))
    (place / "Default/Sessions").mkdir()
    (place / "Default/Sessions/Tabs_1").write_bytes(b"https://a.example/?token=1")
    assert ended_cleanly(place)
    (place / "SingletonLock").symlink_to("otherhost-1")
    assert not ended_cleanly(place)
    settle(place)
    said = json.loads((place / "Default/Preferences").read_text())
    assert said == launch._CHROMIUM["preferences"]
    assert said["session"]["restore_on_startup"] == 1
    assert not ended_cleanly(place)
    assert sorted(one.name for one in place.iterdir()) == ["Default"]
    assert [one.name for one in (place / "Default").iterdir()] == ["Preferences"]


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_run_whose_settings_can_not_be_read_did_not_end_cleanly(tmp_path: Path, text: str) -> None:
    """Such a directory is not packed."""
    place = tmp_path / "p"
    new_directory(place)
    (place / "Default").mkdir()
    (place / "Default/Preferences").write_text(text)
    assert not ended_cleanly(place)


def test_the_sandbox_is_off_for_root_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A normal user gets Chromium's sandbox; no switch turns it off, and the keyring is never asked."""
    for user, on in ((0, False), (1000, True)):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        assert launch.sandboxed() is on
    switches = launch._CHROMIUM["switches"]
    assert "--no-sandbox" not in switches
    assert "--password-store=basic" in switches
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/bus")
    monkeypatch.setenv("DISPLAY", ":1")
    start = launch.Start(directory=tmp_path / "p", scratch=tmp_path / "s")
    named = launch.environment(start)
    assert not {"DBUS_SESSION_BUS_ADDRESS", "DISPLAY"} & set(named)
    assert named["TMPDIR"] == named["HOME"] == str(tmp_path / "s")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://www.skool.com/settings?x=1#y", ("www.skool.com", "/settings")),
        ("https://WWW.SKOOL.COM", ("www.skool.com", "/")),
        ("http://www.skool.com/settings", None),
        ("https://www.skool.com:8443/settings", None),
        ("https://www.skool.com@evil.example/settings", None),
        ("https://www.skool.com.evil.example/settings", ("www.skool.com.evil.example", "/settings")),
        ("data:text/html,https://www.skool.com/settings", None),
        ("about:blank", None),
    ],
)
def test_a_page_is_a_websites_by_scheme_and_host(address: str, found: tuple[str, str] | None) -> None:
    """Another scheme, port, user or host is another page."""
    assert SitePlace().host_and_path(address) == found


def test_a_simulators_page_stands_for_host_and_path() -> None:
    """Only under its own address; the platform's real one is no page of it then."""
    place = SitePlace(base="http://127.0.0.1:80/web/skool/")
    assert place.at("https://www.skool.com/settings") == "http://127.0.0.1:80/web/skool/www.skool.com/settings"
    assert place.host_and_path("http://127.0.0.1:80/web/skool/www.skool.com/a?b") == ("www.skool.com", "/a")
    for other in ("http://localhost:80/web/skool/www.skool.com/a", "https://www.skool.com/a", "http://127.0.0.1:80/x"):
        assert place.host_and_path(other) is None


def test_every_browser_lane_has_a_website_that_says_what_is_unverified() -> None:
    """Each platform's file loads, and none claims to be documented."""
    found = websites()
    assert {"skool", "x", "meta"} <= set(found)
    assert all(one.unverified for one in found.values())
    assert Lane.BROWSER == "browser"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('page = "https://www.skool.com/settings"', 'page = "http://www.skool.com/settings"'),
        ('page = "https://www.skool.com/settings"', 'page = "https://evil.example/settings"'),
        ('page = "https://www.skool.com/settings"', 'page = "https://www.skool.com/settings?token=1"'),
        ('hosts = ["www.skool.com"]', "hosts = []"),
        ('hosts = ["www.skool.com"]', 'hosts = ["*"]'),
        ('selector = "script#__NEXT_DATA__"', 'selector = ""'),
        ('id = ["id"]', ""),
        ('id = ["id"]', 'id = ["id"]\npassword = "x"'),
        ('region = "#card"', 'region = ""'),
        ('reading = "json"', 'reading = "guess"'),
    ],
)
def test_an_operators_file_that_breaks_a_rule_does_not_load(tmp_path: Path, old: str, new: str) -> None:
    """Another scheme or host, a query, no id, an unknown field; a sound file takes the place of ours."""
    text = _ours("skool")
    assert text.count(old) >= 1
    (tmp_path / "skool.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(Rejected) as caught:
        websites(tmp_path)
    assert (caught.value.code, caught.value.fields["login"]) == ("bad_website_file", "skool")
    (tmp_path / "skool.toml").write_text(text.replace("#card", "#profile"))
    assert websites(tmp_path)["skool"].proof.region == "#profile"


def test_an_element_has_no_marker() -> None:
    """A marker stands before JSON, nowhere else."""
    document: dict[str, Any] = tomllib.loads(_ours("linkedin"))
    document["account"]["marker"] = "x"
    with pytest.raises(ValueError, match="marker"):
        load_website("linkedin", document)


def _ours(name: str) -> str:
    return resources.files("byokeep.platforms").joinpath(f"websites/{name}.toml").read_text("utf-8")
