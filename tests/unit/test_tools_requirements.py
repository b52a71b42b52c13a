"""A claim counts only when a test that runs makes it and asserts something."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.requirements import DOCUMENT, IDS, NOTES, claims_of, main

PATH = "tests/unit/test_x.py"
CLAIM = '@pytest.mark.req("R1-1")\n'


@pytest.mark.parametrize(
    "body",
    [
        "def test_x():\n    assert 1",
        "async def test_x():\n    assert 1",
        "def test_x():\n    with pytest.raises(ValueError):\n        int('x')",
        "def test_x():\n    assert_clean(1)",
        "def test_x():\n    page.expect_denied(1)",
    ],
)
def test_an_asserting_test_is_counted(body: str) -> None:
    """Each of the ways to assert makes the claim count."""
    claims, faults = claims_of(PATH, CLAIM + body)
    assert faults == []
    assert [(claim.id, claim.test) for claim in claims] == [("R1-1", f"{PATH}::test_x")]


def test_an_assertion_in_a_function_of_the_same_file_counts() -> None:
    """A called function of the same file is looked into, one that calls itself too."""
    text = CLAIM + "def test_x():\n    go()\n\ndef go():\n    check()\n    go()\n\ndef check():\n    assert 1\n"
    claims, faults = claims_of(PATH, text)
    assert (len(claims), faults) == (1, [])


def test_several_ids_in_one_claim_all_count() -> None:
    """One marker may name several ids, and a test may carry several markers."""
    text = '@pytest.mark.req("A", "B")\n@mark.req("C")\ndef test_x():\n    assert 1\n'
    assert sorted(claim.id for claim in claims_of(PATH, text)[0]) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (PATH, CLAIM + "def test_x():\n    run()\n", "asserts nothing"),
        (PATH, CLAIM + "def test_x():\n    run()\n\ndef run():\n    run()\n", "asserts nothing"),
        (PATH, CLAIM + "def helper():\n    assert 1\n", "not a test"),
        ("tests/unit/support.py", CLAIM + "def test_x():\n    assert 1\n", "not a test"),
        (PATH, "@pytest.mark.req(ID)\ndef test_x():\n    assert 1\n", "plain strings"),
        (PATH, "@pytest.mark.req()\ndef test_x():\n    assert 1\n", "plain strings"),
        (PATH, 'pytestmark = pytest.mark.req("R1-1")\n', "decorator"),
        (PATH, CLAIM + "class TestX:\n    def test_x(self):\n        assert 1\n", "decorator"),
    ],
)
def test_an_empty_claim_is_a_fault(path: str, text: str, words: str) -> None:
    """A claim that nothing stands behind is not counted, and is named."""
    claims, faults = claims_of(path, text)
    assert claims == []
    assert [words in fault.text for fault in faults] == [True]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with two requirements, one of them claimed."""
    for folder in ("docs", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / IDS).write_text("# head\nR1-1\tIt works | well.\tcore\nR1-2\tIt stops.\tlater\n")
    (tmp_path / "tests" / "test_x.py").write_text(CLAIM + "def test_x():\n    assert 1\n")
    return tmp_path


def test_the_document_says_what_the_tests_say(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The written document holds each row, its tests and the totals, and then passes the check."""
    assert main([], root) == 0
    text = (root / DOCUMENT).read_text()
    assert "1 of 1 covered" in text
    assert "0 of 1 covered" in text
    assert "| R1-1 | It works \\| well. | `test_x.py::test_x` |  |" in text
    assert "requirements, core: 1 of 1 covered" in capsys.readouterr().out
    assert main(["--check"], root) == 0


def test_a_document_out_of_date_fails_the_check(root: Path) -> None:
    """The check fails without a document, and after a test has changed; it writes nothing."""
    assert main(["--check"], root) == 1
    assert not (root / DOCUMENT).exists()
    main([], root)
    (root / "tests" / "test_x.py").write_text("")
    assert main(["--check"], root) == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tests/test_y.py", '@pytest.mark.req("R9-9")\ndef test_y():\n    assert 1\n', "does not exist"),
        (NOTES, "R9-9\tno reason\n", "does not exist"),
        (NOTES, "R1-1\tno reason\n", "is covered"),
        (NOTES, "R1-2\n", "columns"),
        (IDS, "", "holds no requirement"),
        (IDS, "R1-1\tA.\tcore\nR1-1\tB.\tcore\n", "twice"),
        (IDS, "R1-1\tA.\tsoon\n", "scope"),
    ],
)
def test_a_table_that_does_not_fit_fails(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, words: str
) -> None:
    """Unknown ids, doubles, stale reasons and an empty table are faults."""
    (root / name).write_text(text)
    assert main([], root) == 1
    assert words in capsys.readouterr().out


def test_a_reason_is_shown(root: Path) -> None:
    """The reason for an uncovered row stands in the document."""
    (root / NOTES).write_text("R1-2\tneeds a second node\n")
    assert main([], root) == 0
    assert "| R1-2 | It stops. |  | needs a second node |" in (root / DOCUMENT).read_text()
