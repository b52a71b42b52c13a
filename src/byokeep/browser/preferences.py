"""The browser's own settings file: what we write before each start, and what it says about the last end.

Rules
- Written before the first start and before every other one: a profile can not bring settings of its own for these.
- ``exit_type`` is taken out before a start. Chromium writes it late, so after a kill the word of the run before would
  still stand there and pass for a clean end.
- The tabs of the last run are forgotten: a browser that opens pages by itself would act before identity was looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any, Final

from byokeep.core.errors import Integrity, Rejected

PREFERENCES: Final = "Default/Preferences"
SINGLETONS: Final = ("SingletonLock", "SingletonCookie", "SingletonSocket")
_FORGOTTEN: Final = ("Default/Sessions", "Default/Sessions_Encrypted", "Default/Session Storage", "DevToolsActivePort")
_MOST: Final = 4 * 1024 * 1024
# Session-only cookies live on over a restart only with "continue where you left off" (1).
_OURS: Final[dict[str, Any]] = {
    "session": {"restore_on_startup": 1},
    "credentials_enable_service": False,
    "credentials_enable_autosignin": False,
    "profile": {"password_manager_enabled": False, "password_manager_leak_detection": False},
    "autofill": {"enabled": False, "profile_enabled": False, "credit_card_enabled": False},
    "payments": {"can_make_payment_enabled": False},
    "signin": {"allowed": False, "allowed_on_next_startup": False},
    "safebrowsing": {"enabled": False, "enhanced": False, "scout_reporting_enabled": False},
    "search": {"suggest_enabled": False},
    "net": {"network_prediction_options": 2},
    "translate": {"enabled": False},
    "alternate_error_pages": {"enabled": False},
    "spellcheck": {"use_spelling_service": False},
    "download_restrictions": 3,
    "browser": {"enable_spellchecking": False, "has_seen_welcome_page": True},
}


def new_directory(directory: Path) -> None:
    """Make an empty directory for a browser, mode 0700. Raises FileExistsError."""
    directory.mkdir(mode=0o700)
    directory.chmod(0o700)  # whatever the umask was


def settle(directory: Path) -> None:
    """Make a directory fit for a start: ours and closed to others, locks and open tabs gone, our settings in.

    Raises:
        Rejected: ``profile_directory_open``: it is a link, another user's, or others may look into it.
        Integrity: ``profile_damaged``: its settings can not be read.
    """
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise Rejected("profile_directory_open", next_step="A profile's directory is its owner's alone, mode 0700.")
    for name in (*SINGLETONS, *_FORGOTTEN):
        _remove(directory / name)
    (directory / "Default").mkdir(mode=0o700, exist_ok=True)
    settings = _read(directory)
    _lay_over(settings, _OURS)
    settings.get("profile", {}).pop("exit_type", None)
    _write(directory / PREFERENCES, json.dumps(settings).encode())


def ended_cleanly(directory: Path) -> bool:
    """Whether the last run on `directory` ended as it should: it said so itself, and left no lock behind."""
    if any(os.path.lexists(directory / name) for name in SINGLETONS):
        return False
    try:
        profile = _read(directory).get("profile", {})
    except Integrity:
        return False
    return isinstance(profile, dict) and profile.get("exit_type") == "Normal"


def _read(directory: Path) -> dict[str, Any]:
    place = directory / PREFERENCES
    if not os.path.lexists(place):
        return {}
    try:
        if place.is_symlink() or place.stat().st_size > _MOST:
            raise ValueError
        settings = json.loads(place.read_bytes())
        if not isinstance(settings, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise Integrity("profile_damaged") from None
    return settings


def _lay_over(settings: dict[str, Any], ours: dict[str, Any]) -> None:
    for name, value in ours.items():
        if isinstance(value, dict):
            if not isinstance(settings.get(name), dict):
                settings[name] = {}
            _lay_over(settings[name], value)
        else:
            settings[name] = value


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _write(place: Path, data: bytes) -> None:
    place.unlink(missing_ok=True)
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
