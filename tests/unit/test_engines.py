"""Which tests run where no engine may start."""

from __future__ import annotations

import pytest

from byokeep.adapters.openbao.embedded import EmbeddedOpenBao
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from tests.support import engines


@pytest.mark.parametrize(
    ("module", "starts"),
    [
        ("flows/test_lease.py", True),
        ("contract/test_openbao_kv.py", True),
        ("contract/test_browser_session.py", True),
        ("e2e/test_up.py", True),
        ("contract/test_providers.py", False),
        ("closed/test_gate_vectors.py", False),
        ("unit/test_settings.py", False),
    ],
)
def test_what_starts_an_engine_is_known_by_what_it_names(module: str, starts: bool) -> None:
    """A module that names an engine, or takes a fixture of one, is left out of the fast run; the others are in it."""
    path = engines.TESTS / module
    assert path.is_file()
    assert engines.starts_engines(path) is starts


@pytest.mark.parametrize("engine", [EmbeddedOpenBao, EmbeddedPostgres])
async def test_no_engine_starts_in_a_run_without_them(engine: type, tmp_path: object) -> None:
    """The fast run fails a test that starts one all the same."""
    with engines.left_out(), pytest.raises(AssertionError, match="no engines"):
        await engine(tmp_path).start()
