"""Runs in several processes forked from one: each test once, its outcome and what it printed told, a death noticed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    "conftest.py": """
        import os, pytest

        @pytest.fixture(scope="session")
        def lasting(request):
            with open("made", "a") as file:
                file.write(f"{os.getpid()}\\n")
            yield
            with open("ended", "a") as file:
                file.write(f"{os.getpid()}\\n")
        """,
    "test_a.py": """
        import pytest

        @pytest.mark.parametrize("number", range(20))
        def test_passes(lasting, tmp_path, number):
            print("of a passing one")
            assert not any(tmp_path.iterdir())
        """,
    "test_b.py": """
        import warnings

        def test_fails(lasting):
            print("of the", "failing one")
            warnings.warn("told to people")
            assert 1 == 2
        """,
    "test_c.py": """
        import os

        def test_dies():
            os._exit(7)

        def test_is_not_run():
            pass
        """,
    "test_d.py": "from test_a import test_passes",
}


def test_each_test_is_run_once_and_a_death_is_a_failure(tmp_path: Path) -> None:
    """What failed is told with what it printed alone; a process's session ends with it; one that dies fails the run."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(re.sub(r"^ {8}", "", text, flags=re.MULTILINE))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.together", "-p", "no:cacheprovider", "--jobs", "2"]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{tmp_path}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "2 failed, 40 passed, 1 warning" in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 1
    assert ran.stdout.count("of the failing one") == 1
    assert "of a passing one" not in ran.stdout
    assert "told to people" in ran.stdout
    assert re.search(r"test_c.py::test_dies.*ended with 7", ran.stdout, re.DOTALL)
    made, ended = ((tmp_path / name).read_text().split() for name in ("made", "ended"))
    assert set(ended) <= set(made)
    assert len(set(made)) == len(made) <= 2, "kept from file to file"
    assert ended, "a session that ends by itself is taken down"
