"""The page of the architecture says where things are done, and is right."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
ASKED = 20  # questions, at least


def test_each_question_names_one_folder_and_at_most_three_of_its_files() -> None:
    """Every folder and file of the table exists, and no question sends a reader through more than three."""
    page = (
        (ROOT / "docs" / "architecture.md")
        .read_text("utf-8")
        .partition("### Where is it done")[2]
        .partition("The binding rules")[0]
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")
    ]
    rows = [row for row in rows if len(row) == 3 and row[0] != "how is ..." and row[0].strip("-")]
    assert len(rows) >= ASKED
    assert len({row[0] for row in rows}) == len(rows)
    for asked, folder, read in rows:
        files = [name.strip(" `") for name in read.split(",")]
        assert 1 <= len(files) <= 3, asked
        missing = [name for name in files if not (ROOT / "src" / "byokeep" / folder.strip("`") / name).is_file()]
        assert not missing, asked
