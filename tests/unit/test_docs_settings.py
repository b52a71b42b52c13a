"""docs/settings.md lists exactly the settings there are, with their defaults."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from byokeep.settings import GROUPS, NUMBER_SETTINGS, TABLES, TEXT_SETTINGS, Settings, load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(\w+)` \| (?:`([^`]*)`)?([^|]*)\| (\S[^|]*) \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, str]]:
    """Setting -> its default as code, and what else the cell says."""
    found = ROW.findall(PAGE.read_text())
    assert len({name for name, *_ in found}) == len(found), "a setting stands in the table twice"
    return {name: (code, other.strip()) for name, code, other, _ in found}


def test_the_page_names_every_setting_and_no_other() -> None:
    """A setting without a row and a row without a setting are both found."""
    names = {spec.name for spec in fields(Settings)} - {"sources"}
    assert set(rows()) == names
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(names), "each stands in one group"


def test_the_page_gives_the_defaults_of_the_program() -> None:
    """What the table calls the default is what a start without any setting uses."""
    plain = Settings()
    for name, (code, other) in rows().items():
        if name == "home":
            assert other == "see below"
            continue
        value = getattr(plain, name)
        assert code == ("{}" if value == {} else str(value)), name
        assert other == "", name


def test_every_setting_but_the_tables_can_come_from_the_environment() -> None:
    """The page says so; a setting that the environment could not give would make it wrong."""
    assert {*TEXT_SETTINGS, *NUMBER_SETTINGS} == set(rows()) - set(TABLES)


def test_the_example_of_the_page_is_accepted(tmp_path: Path) -> None:
    """Somebody who copies the example gets a valid file."""
    example = re.search(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert example
    file = tmp_path / "config.toml"
    file.write_text(example[1])
    assert load(file).environment == "production"
