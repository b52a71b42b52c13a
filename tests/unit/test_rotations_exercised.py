"""Every rotation that exists runs in the tests of each build: what nobody practised fails when it is needed."""

from __future__ import annotations

import ast
import shlex
import tomllib
from pathlib import Path

import pytest

from byokeep.operations.internal import ROTATE_INTERNAL
from byokeep.procedures import PROCEDURES

TESTS = Path(__file__).parents[1]
OWN = "e2e/test_cli_stack.py::test_the_platforms_own_secrets_are_rotated_under_load"
# What is rotated, and the test that rotates it on real servers.
EXERCISED = {
    "provider_api_key": "flows/test_rotation.py::test_a_key_is_rotated_step_by_step",
    "webhook_signing_secret": "flows/test_webhook_secrets.py::test_while_one_secret_replaces_another_both_verify",
    "oauth_tokens": "flows/test_platform_months.py::test_every_platform_from_the_first_login_to_the_next",
    "data_key": "flows/test_profile_keys.py::test_a_rekey_is_a_new_key_and_a_new_blob_and_is_proved",
    "key_encryption_key": "flows/test_kek.py::test_a_rotation_ends_when_every_wrap_has_moved",
    "lease_signing_key": "contract/test_openbao_lease.py::test_a_planned_rotation_refuses_nothing_that_was_signed",
    "audit_signing_key": "flows/test_audit_flows.py::test_both_eras_verify_after_the_log_key_was_rotated",
    "service_token": "flows/test_own_tokens.py::test_a_worker_renews_its_token_and_two_hosts_do_not_quarrel",
} | {step.name: OWN for step in ROTATE_INTERNAL.steps}


def left_out(tests: Path) -> set[str]:
    """What is rotated by no test that each build runs: it is gone, skipped, or of the long runs."""
    missing = set()
    for what, named in EXERCISED.items():
        file, _, name = named.partition("::")
        tree = ast.parse((tests / file).read_text(encoding="utf-8"))
        marks = [ast.unparse(one) for one in ast.walk(tree) if isinstance(one, ast.Assign)]
        found = [
            one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name
        ]
        said = " ".join([ast.unparse(one) for test in found for one in test.decorator_list] + [
            mark for mark in marks if mark.startswith("pytestmark")
        ])  # fmt: skip
        called = {ast.unparse(one.func) for test in found for one in ast.walk(test) if isinstance(one, ast.Call)}
        given_up = {"pytest.skip", "pytest.xfail", "pytest.importorskip"} & called
        if not found or given_up or any(word in said for word in ("skip", "xfail", "campaign")):
            missing.add(what)
    return missing


def left_aside() -> list[str]:
    """What a build's two runs leave out, by the options of every run and by the recipes."""
    options = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    words = [*options]
    for target in ("test", "test-long"):
        assert f"make {target} " in (TESTS.parent / ".ci/run").read_text()
        recipe = (TESTS.parent / "Makefile").read_text().partition(f"\n{target}:")[2].partition("\n\n")[0]
        assert "-m pytest" in recipe
        words += shlex.split(recipe.partition("-m pytest")[2].partition("||")[0])
    return [f"{word} {words[at + 1]}" for at, word in enumerate(words) if word in ("-m", "-k")] + [
        word for word in words if word.startswith(("--deselect", "--ignore", "tests/"))
    ]


@pytest.mark.req("S-OWASP-21")
def test_every_rotation_is_exercised_by_each_build(tmp_path: Path) -> None:
    """Each has its test, and each part of the platform's own; one that is gone, skipped or put off is named."""
    assert left_out(TESTS) == set()
    assert left_aside() == ["-m not campaign", "-m not long and not campaign", "-m long and not campaign"]
    assert {name for name in PROCEDURES if "rotate" in name} == {
        "rotate_key", "rotate_key_cutover", "rotate_key_leaked", "rotate_key_minted", "rotate_internal"
    }  # fmt: skip
    for file in {named.partition("::")[0] for named in EXERCISED.values()}:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        text = (TESTS / file).read_text(encoding="utf-8")
        for was, put in (
            ("test_a_key_is_rotated_step_by_step", "test_later"),
            ("async def test_a_rotation_ends", "@pytest.mark.campaign\nasync def test_a_rotation_ends"),
            ("    old_keys = read_keys(await keys_file(broker))\n", "    pytest.skip('later')\n"),
        ):
            text = text.replace(was, put)
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert left_out(tmp_path) == {"provider_api_key", "key_encryption_key", "audit_signing_key"}
