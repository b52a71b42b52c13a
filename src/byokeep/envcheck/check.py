"""What is wrong with variables: one finding for each, with the code and what to do.

Rules
- Everything is judged by value if it can be read, and by name, type, targets and age if it cannot.
- A policy file names the flags that exist, and variables that somebody accepts, with a reason. It overrides what a name
  or a type says, never what a value is.
- Production and Preview share no role at one store and no key. No variable goes to Development and elsewhere.

It may not show a value.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

from byokeep.core.data_file import Table
from byokeep.core.errors import Rejected
from byokeep.envcheck.bootstrap import ALLOWED, FLAG_VALUES, ROLES, Flags, refused, stage_of
from byokeep.envcheck.secret import OTHER, bare_name, in_value, in_variable, is_public, shown
from byokeep.envcheck.sources import DEVELOPMENT, EVERYWHERE, PREVIEW, PRODUCTION, Variable, read_file

NEXT_STEPS: Final[Mapping[str, str]] = MappingProxyType(
    tomllib.loads(resources.files("byokeep.envcheck").joinpath("findings.toml").read_text("utf-8"))
)
_LIFTED: Final = frozenset({"secret", "public_exposure", "integration_owned"})  # judged only by name or owner


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvFinding:
    """Something wrong with one variable. ``why``: what shows it."""

    variable: str
    code: str
    source: str
    line: int = 0
    targets: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class EnvPolicy:
    """What a policy file says: the flags that exist with their values, and accepted variables with a reason each."""

    flags: Flags = field(default_factory=dict)
    accepted: Mapping[str, str] = field(default_factory=dict)


def read_policy(path: Path) -> EnvPolicy:
    """Read a policy file.

    Raises:
        Rejected: ``policy_unreadable``, ``bad_policy`` with what is wrong.
    """
    try:
        top = Table("policy", tomllib.loads(read_file(path).decode()))
        flags, accepted = top.optional("flags"), top.templates("accepted")
        known = {name: flags.texts(name) or FLAG_VALUES for name in flags.names()} if flags else {}
        top.done()
        if not all(re.search(r"\w{3}", reason) for reason in accepted.values()):
            raise ValueError("policy.accepted must give a reason for each variable")
    except OSError:
        raise Rejected("policy_unreadable", next_step="Check the path of the policy file.") from None
    except (ValueError, RecursionError) as error:
        said = str(error) if str(error).startswith("policy") else "it is not TOML"
        raise Rejected("bad_policy", next_step=f"Fix the policy file: {said}.") from None
    return EnvPolicy(known, accepted)


def findings(
    variables: Iterable[Variable],
    policy: EnvPolicy,
    rotated_after_ms: int | None = None,
    deployed_ms: int | None = None,
) -> tuple[list[EnvFinding], list[tuple[str, str]]]:
    """Return what is wrong, and what could not be determined: (variable, code).

    Args:
        variables: All of them; some are judged together.
        policy: The flags that exist, and what is accepted.
        rotated_after_ms: Variables unchanged since then are a finding; None = age is not looked at.
        deployed_ms: Production variables changed since then are not what runs there; None = not looked at.
    """
    kept = [one for one in variables if one.kind != "system"]
    found = [_finding(one, code, why) for one in kept for code, why in _of_one(one, policy)]
    systems = [(one, in_value(one.raw, encrypted=True)) for one in variables if one.kind == "system" and one.raw]
    found += [_finding(one, seen.code, seen.why) for one, seen in systems if seen is not None]
    found += [_finding(one, code) for one, code in (*_twice(kept), *_shared(kept))]
    found += [
        _finding(one, "not_deployed")
        for one in kept if PRODUCTION in one.targets and (one.updated_ms or 0) > (deployed_ms or one.updated_ms or 0)
    ]  # fmt: skip
    if rotated_after_ms is None:
        return found, []
    aged = [one for one in kept if not one.text]
    found += [_finding(one, "not_rotated") for one in aged if (one.updated_ms or rotated_after_ms) < rotated_after_ms]
    # A line of a file has no age, so the file is named, once.
    unknown = [one.source if one.line else shown(one.name, one.value) for one in aged if one.updated_ms is None]
    return found, [(one, "age_not_known") for one in dict.fromkeys(unknown)]


def _finding(one: Variable, code: str, why: str = "") -> EnvFinding:
    return EnvFinding(variable=shown(one.name, one.value), code=code, source=one.source, line=one.line,
                  targets=tuple(sorted(one.targets)), why=why)  # fmt: skip


def _of_one(one: Variable, policy: EnvPolicy) -> Iterator[tuple[str, str]]:
    if one.text:
        seen = in_value(one.value or "")
        if seen is not None:
            yield seen.code, seen.why
        return
    for code, why in _by_itself(one, policy):
        if not (one.name in policy.accepted and code in _LIFTED and why in ("name", "integration")):
            yield code, why
    if one.kind:
        yield from _at_the_host(one)


def _by_itself(one: Variable, policy: EnvPolicy) -> Iterator[tuple[str, str]]:
    named = in_value(one.name)
    if named is not None:
        yield named.code, f"name: {named.why}"
    plain = bare_name(one.name)
    seen = None if plain in ALLOWED else in_variable(one.name, one.value)
    if one.raw and (seen is None or seen.code == OTHER or seen.why == "name"):
        seen = in_value(one.raw, encrypted=True) or seen
    if seen is not None:
        exposed = is_public(one.name)
        why = f"{seen.code}, {seen.why}" if exposed and seen.code != OTHER else seen.why
        yield ("public_exposure" if exposed else seen.code), why
    elif is_public(one.name) and plain in ALLOWED:
        yield "public_exposure", "bootstrap"
    if code := refused(one.name, one.value, policy.flags):
        yield code, ""
    if plain in ROLES and one.targets and (stage := stage_of(one.value or "")) and one.targets != {stage}:
        yield "role_of_other_environment", ""
    if one.owner:
        yield "integration_owned", "integration"


def _at_the_host(one: Variable) -> Iterator[tuple[str, str]]:
    """Look at type and targets; values need not be readable for that."""
    if one.targets >= EVERYWHERE:
        yield "all_environments", ""
    elif DEVELOPMENT in one.targets and len(one.targets) > 1:
        yield "spans_development", ""
    if one.targets != {DEVELOPMENT} and one.kind != "sensitive":
        yield "not_sensitive", one.kind


def _twice(variables: list[Variable]) -> Iterator[tuple[Variable, str]]:
    """Yield what overrides a variable of the same name that reaches the same environment."""
    places = [
        (one, (one.name, one.source, one.branch, target))
        for one in variables if not one.text for target in (one.targets if one.kind else {""})
    ]  # fmt: skip
    times = Counter(place for _, place in places)
    for one in dict.fromkeys(one for one, place in places if times[place] > 1):
        yield one, "duplicate"


def _shared(variables: list[Variable]) -> Iterator[tuple[Variable, str]]:
    """Yield roles and keys that Production and Preview have in common."""

    def common(name: str) -> list[Variable]:
        named = [one for one in variables if one.name == name and not one.text]
        live, tried = ([one for one in named if target in one.targets] for target in (PRODUCTION, PREVIEW))
        values = {one.value for one in live if one.value is not None}
        return [one for one in tried if one in live or (one.value is not None and one.value in values)]

    for prefix in ("VAULT", "BAO"):
        if common(f"{prefix}_ADDR") or not any(one.name == f"{prefix}_ADDR" for one in variables):
            yield from ((one, "shared_by_environments") for one in common(f"{prefix}_AUTH_ROLE"))
    yield from ((one, "shared_by_environments") for one in common("KMS_KEY_ID"))


def unread_values(variables: Iterable[Variable]) -> int:
    """Return how many variables were judged without their value, which their host does not show."""
    return sum(one.value is None and one.kind != "system" for one in variables)
