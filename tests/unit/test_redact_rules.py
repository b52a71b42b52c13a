"""The rule file: what it must find, what must survive, what it refuses to be, and that no text makes it slow."""

from __future__ import annotations

import base64
import json
import random
import re
import string
from collections import defaultdict
from pathlib import Path

import hyperscan
import pytest

from byokeep_redact.automaton import Engine
from byokeep_redact.checks import Read, drawn, is_mangled, written
from byokeep_redact.engine import Redactor
from byokeep_redact.mask import MASKED, Mask, truncated
from byokeep_redact.rules import RuleError, Rules, default_rules
from tests.support.redact_samples import clean, filled, marked, secrets
from tests.support.work import counted

VECTORS = Path(__file__).parents[1] / "vectors"
RULES = default_rules()
NAMES = [rule.name for rule in RULES.rules]
SAMPLES: dict[str, list[str]] = defaultdict(list)
for _rule, _template in secrets():
    SAMPLES[_rule].append(_template)
ENGINES: list[Engine] = ["pure", "hyperscan"]
GOOD = """
version = 1
[names]
secret = 'token'
public = 'key'
[[rule]]
name = "a-rule"
kind = "token"
description = "A rule"
pattern = 'tok_[a-z]{4,}'
literals = ["tok_"]
"""


def _covered(found: list[tuple[int, int]], spans: list[tuple[int, int]], size: int) -> bool:
    seen = bytearray(size)
    for start, end in found:
        seen[start:end] = b"\1" * (end - start)
    return bool(spans) and all(all(seen[start:end]) for start, end in spans)


@pytest.fixture(scope="module", params=ENGINES)
def redactor(request: pytest.FixtureRequest) -> Redactor:
    return Redactor(key=b"k" * 32, engine=request.param)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_finds_its_samples(name: str) -> None:
    """Each rule has at least five labelled samples, names each of them, and the rules together cover them whole."""
    assert len(SAMPLES[name]) >= 5
    for template in SAMPLES[name]:
        for seed in range(2):
            data, spans = marked(filled(template, seed))
            found = list(RULES.find(data))
            assert name in {one.label for one in found}, template
            assert _covered([(one.start, one.end) for one in found], spans, len(data)), template


def test_samples_name_only_rules_there_are() -> None:
    """The corpus has no sample of a rule that is gone."""
    assert set(SAMPLES) == set(NAMES)


def test_the_redactor_masks_every_sample(redactor: Redactor) -> None:
    """Both engines mask each sample whole, leave the text around it, and masking again changes nothing."""
    for templates in SAMPLES.values():
        for template in templates:
            data, spans = marked(filled(template, "engine"))
            found = redactor.find(data)
            assert _covered([(one.start, one.end) for one in found], spans, len(data)), template
            masked = redactor.data(data)
            assert redactor.data(masked) == masked, template


def test_clean_lines_survive(redactor: Redactor) -> None:
    """No line of logs, traces, sources, locks or of our own formats is altered, whatever ids stand in it."""
    lines = [filled(template, seed).encode() for template in clean() for seed in range(4)]
    assert len(lines) >= 500
    assert [line for line in lines if redactor.data(line) != line] == []


SK = [
    "sk-<b62:48>", "sk-<b62:20>T3BlbkFJ<b62:20>", "sk-<b62:18>", "sk-<lower:32>", "sk-a<hex:31>", "sk-<id:40>",
    "SK-<upper:40>", "sk-proj-<id:8>", "sk-proj-<id:74>T3BlbkFJ<id:74>", "SK-PROJ-<upper:40>",
    "sk-svcacct-<lower:8>", "sk-service-<lower:8>", "sk-admin-<id:8>", "sk-None-<b62:8>",
    "sk-ant-api03-<id:93>AA", "sk-ant-admin01-<id:9>", "sk-ant-oat01-<id:9>", "sk-ant-sid01-<id:9>",
    "sk-ant-x-<id:9>", "sk-or-v1-<hex:64>", "sk-or-v2-<hex:9>", "sk_live_<b62:24>", "sk_test_<b62:24>",
    "rk_live_<b62:24>", "SK_LIVE_<upper:24>", "sk_V2_hgu_k<b62:10>_<b62:32>", "sk_a<hex:47>", "sk_<b62:20>",
]  # fmt: skip
SK_IN = [
    "{}", "key {} used", '{{"k":"{}"}}', "b'{}'", "https://api.example.org/v1?k={}&n=1", "a%20{}", "a\\n{}",
    "x\\u0020{}", "({})", "-k={}", "k:{},",
]  # fmt: skip


@pytest.mark.req("R8.3-1")
@pytest.mark.parametrize("engine", ENGINES)
def test_keys_that_begin_with_sk_are_masked_by_their_own_rules(engine: Engine) -> None:
    """With no other rule to help, whole keys of every kind go, short and long, in capitals, in every surrounding."""
    own = tuple(rule for rule in RULES.rules if rule.name in ("sk-family", "sk", "sk-underscore"))
    redactor = Redactor(Rules(RULES.version, own, RULES.allows, RULES._secret, RULES._public), engine=engine)
    survived = set()
    for shape in SK:
        for seed in range(5):
            key = filled(shape, seed)
            for place in SK_IN:
                data = place.format(key).encode()
                found = [(span.start, span.end) for span in redactor.find(data)]
                start = data.index(key.encode())
                if not _covered(found, [(start, start + len(key))], len(data)):
                    survived.add(shape)
    assert not survived


def _signed_formats() -> list[Path]:
    names = ["audit/good.jsonl", "audit/whole-log.jsonl", "checkpoint/checkpoint", "checkpoint/epochs.jsonl"]
    names += ["checkpoint/proof.json", "checkpoint/keys.txt", "evidence/complete.json", "evidence/keys.txt"]
    return [VECTORS / name for name in names]


@pytest.mark.req("R8.3-8")
@pytest.mark.parametrize("path", _signed_formats(), ids=lambda path: path.name)
def test_signed_formats_survive(redactor: Redactor, path: Path) -> None:
    """Audit, checkpoints, proofs, keys and evidence stay verifiable; in a JSON string no rule minds them."""
    data = path.read_bytes()
    assert redactor.data(data) == data
    assert b"\n".join(redactor.data(line) for line in data.split(b"\n")) == data
    quoted = json.dumps({"body": data.decode()}, ensure_ascii=False).encode()
    assert list(RULES.find(quoted)) == []


@pytest.mark.req("R8.3-8")
def test_a_secret_inside_a_signed_format_is_none_of_its_structure(redactor: Redactor) -> None:
    """What looks like evidence, a signature or a key of ours and is not, or says a secret, is masked."""
    secret = filled("sk-proj-<id:60>", 1)
    envelope = json.loads((VECTORS / "evidence" / "complete.json").read_bytes())
    document = json.loads(base64.b64decode(envelope["payload"]))
    document["predicate"]["note"] = secret
    told = dict(envelope, payload=base64.b64encode(json.dumps(document).encode()).decode())
    foreign = dict(envelope, payloadType="application/json")
    note = (VECTORS / "checkpoint" / "checkpoint").read_bytes()
    key = (VECTORS / "checkpoint" / "keys.txt").read_bytes().splitlines()[0]
    for text in (
        json.dumps(told, separators=(",", ":")).encode(),
        json.dumps(foreign, separators=(",", ":")).encode(),
        note.replace("— ".encode(), b"- "),
        key.replace(b"+f6d57322+", b"+f6d57323+"),
        filled("<b64:48>", 1).encode(),
    ):
        assert b"[redacted:" in redactor.data(text)


def test_every_match_holds_a_literal() -> None:
    """The words of a rule never hide a match of it."""
    for rule in RULES.rules:
        for template in SAMPLES[rule.name]:
            data, _ = marked(filled(template, "literal"))
            for match in rule.compiled.finditer(data):
                assert not rule.literals or any(word in match[0].lower() for word in rule.literals), (rule.name, match)


def test_hyperscan_and_re_read_the_patterns_alike() -> None:
    """On samples, clean lines and damaged ones, both engines say the same of every rule."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    numbers = list(range(len(RULES.rules)))
    database.compile(
        expressions=[rule.pattern for rule in RULES.rules],
        ids=numbers,
        elements=len(numbers),
        flags=[hyperscan.HS_FLAG_SINGLEMATCH] * len(numbers),
    )
    chance = random.Random(3)
    texts = [marked(filled(template, "alike"))[0] for templates in SAMPLES.values() for template in templates]
    texts += [filled(template, "alike").encode() for template in clean()]
    for text in texts:
        damaged = bytearray(text)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        for data in (text, bytes(damaged)):
            seen: set[int] = set()
            database.scan(data, match_event_handler=lambda number, *_rest, into=seen: into.add(number))
            assert seen == {n for n, rule in enumerate(RULES.rules) if rule.compiled.search(data)}, data


@pytest.mark.parametrize("name", NAMES)
def test_no_text_makes_a_rule_slow(name: str) -> None:
    """32 KiB of the starts of a rule's own matches again and again are read a few times, not by its square."""
    rule = next(rule for rule in RULES.rules if rule.name == name)
    units = set(rule.literals) | {word + b"A1-" for word in rule.literals} | {b"A", b"Zq9xT4", b'"', b"\\"}
    for template in SAMPLES[name][:2]:
        data, _ = marked(filled(template, "slow"))
        units |= {data[:20], data[: len(data) // 2], data[:-1]}
    for unit in units:
        text = (unit * ((1 << 15) // len(unit) + 1))[: 1 << 15]
        with counted() as work:
            read = Read()
            for match in rule.compiled.finditer(text):
                for start, end in rule.spans(match, read):
                    RULES.allowed(name, text, start, end)
        assert work.read < 16 * len(text), unit
        assert work.calls < 16 * len(text), unit


def test_the_packaged_file_loads_and_names_are_kept() -> None:
    """There is one packaged rule file, of this version, without doubles."""
    assert Rules.load().version == 1
    assert len(set(NAMES)) == len(NAMES) >= 40


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("", "rules_empty"),
        ("version = 1\n[names]\nsecret='a'\npublic='b'\n", "rule_field_missing"),
        ("version = 1\nrule = []\n[names]\nsecret='a'\npublic='b'\n", "rules_empty"),
        ("not toml", "rules_not_toml"),
        ("x = " + "[" * 3000, "rules_not_toml"),
        ("\udcff", "rules_not_toml"),
        (GOOD.replace("version = 1", ""), "rules_version_unknown"),
        (GOOD.replace("version = 1", "version = 2"), "rules_version_unknown"),
        (GOOD.replace("version = 1", "version = true"), "rules_version_unknown"),
        (GOOD + "[other]\n", "rule_field_unknown"),
        (GOOD + "surprise = 1\n", "rule_field_unknown"),
        (GOOD.replace('kind = "token"\n', ""), "rule_field_missing"),
        (GOOD.replace('kind = "token"', "kind = 1"), "rule_field_wrong"),
        (GOOD.replace('kind = "token"', 'kind = "To ken"'), "rule_field_wrong"),
        (GOOD.replace('"a-rule"', '"A Rule"'), "rule_field_wrong"),
        (GOOD + 'check = "no-such-check"\n', "rule_field_wrong"),
        (GOOD + "value = [1]\n", "rule_field_wrong"),
        (GOOD.replace('["tok_"]', '["Tok_"]'), "rule_field_wrong"),
        (GOOD.replace("{4,}'", "{4,}('"), "rule_pattern_wrong"),
        (GOOD.replace("'tok_[a-z]{4,}'", "'[a-z]{0,}'"), "rule_matches_nothing"),
        (GOOD.replace("'tok_[a-z]{4,}'", r"'(?=tok_)tok'"), "rule_pattern_outside"),
        (GOOD.replace("'tok_[a-z]{4,}'", r"'(tok)\1'"), "rule_pattern_outside"),
        (GOOD.replace("'tok_[a-z]{4,}'", r"'tok\s'"), "rule_pattern_outside"),
        (GOOD.replace("'tok_[a-z]{4,}'", "'tok_[a-z]++'"), "rule_pattern_outside"),
        (GOOD.replace("'tok_[a-z]{4,}'", "'tok$'"), "rule_pattern_outside"),
        (GOOD.replace("'tok_[a-z]{4,}'", "'{{nothing}}'"), "rule_part_unknown"),
        (GOOD + GOOD.split("public = 'key'")[1], "rule_twice"),
        (GOOD + "[[allow]]\nname='b'\ndescription='b'\nrules=['nobody']\nvalue='x'\n", "rule_field_wrong"),
        (GOOD + "[[allow]]\nname='b'\ndescription='b'\nrules=['a-rule']\nvalue='('\n", "rule_pattern_wrong"),
        (
            GOOD + "[[allow]]\nname='b'\ndescription='b'\nrules=['a-rule']\nvalue='x'\nproof='none'\n",
            "rule_field_wrong",
        ),
        (GOOD + "[[allow]]\nname='a-rule'\ndescription='b'\nrules=['a-rule']\nvalue='x'\n", "rule_twice"),
    ],
)
def test_a_wrong_rule_file_is_refused(tmp_path: Path, change: str, code: str) -> None:
    """A file that is empty, of another version, or says anything that is not understood does not load."""
    path = tmp_path / "rules.toml"
    path.write_bytes(change.encode("utf-8", "surrogateescape"))
    with pytest.raises(RuleError) as refused:
        Rules.load(path)
    assert refused.value.code == code


def test_a_missing_rule_file_is_refused(tmp_path: Path) -> None:
    """A redactor without its rules does not start."""
    with pytest.raises(RuleError) as refused:
        Rules.load(tmp_path / "none.toml")
    assert refused.value.code == "rules_unreadable"


def test_a_good_rule_file_loads(tmp_path: Path) -> None:
    """The nearest file to the refused ones is taken, and finds."""
    path = tmp_path / "rules.toml"
    path.write_text(GOOD + "[[allow]]\nname='b'\ndescription='b'\nrules=['a-rule']\nvalue='tok_fine'\n")
    rules = Rules.load(path)
    assert [(one.start, one.end) for one in rules.find(b"tok_fine tok_secret")] == [(9, 19)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rule_of_somebody_else_s_finds_what_its_pattern_says(tmp_path: Path, engine: Engine) -> None:
    """Under the name of a packaged rule, too, which is looked for at long runs alone."""
    path = tmp_path / "rules.toml"
    path.write_text(GOOD.replace("a-rule", "long-base64").replace('literals = ["tok_"]\n', ""))
    line = b"tok_secret digest %b" % (b"0123456789abcdef" * 4)
    assert Redactor(Rules.load(path), engine=engine).data(line).startswith(b"[redacted:token:")


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("Authorization", "proxy-authorization", "Cookie", "set-cookie", "X-Api-Key")),
        *((name, True) for name in ("x-goog-api-key", "x-vault-token", "accessToken", "refresh_token", "clientSecret")),
        *(
            (name, True)
            for name in ("x-foo-token", "x-foo-key", "x-foo-secret", "password", "secret_id", "OPENAI_API_KEY")
        ),
        *((name, True) for name in ("apiKeys", "openai_api_keys", "refresh_tokens", "client-secrets", "DB_PASS")),
        *((name, False) for name in ("keys", "secrets", "total_tokens", "pass", "n_pass", "high_pass")),
        *((name, True) for name in ("dbPass", "myapp_smtp_pass")),
        *((name, False) for name in ("max_tokens", "token_type", "key", "public_key", "idempotency-key", "key_id")),
        *((name, False) for name in ("content-type", "secret_ref", "tokens", "author", "cookie_name", "monkey", "")),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    """A field named like a credential holds one, whatever the style of its name; near misses do not."""
    assert RULES.secret_name(name) is secret


def test_chance_tells_drawn_from_written() -> None:
    """Of 2,000 tokens of 24 letters and digits each is drawn; identifiers, paths, words and numbers are written."""
    chance = random.Random(5)
    letters = string.ascii_letters + string.digits
    assert all(drawn("".join(chance.choices(letters, k=24)).encode()) for _ in range(2000))
    for text in (
        b"getElementsByTagName2",
        b"/usr/lib/python3/dist-packages",
        b"invalid_request_error",
        b"2026-11-25T03-18-43",
    ):
        assert written(text) > 0


def test_what_begins_like_a_name_of_c_and_is_not_closed_is_none() -> None:
    """Of 2,000 tokens behind the head of such a name hardly one passes for it; one that nests deeply is a name."""
    chance = random.Random(5)
    for head, letters in ((b"_ZN", string.ascii_lowercase + string.digits), (b"_Z4test", string.ascii_letters)):
        assert sum(is_mangled(head + "".join(chance.choices(letters, k=20)).encode()) for _ in range(2000)) <= 2
    assert is_mangled(b"_Z" + b"N5outer" * 12 + b"E" * 12 + b"v")


def test_masks_keep_kind_and_fingerprint_only() -> None:
    """One value has one mask under one key, another under another; nothing of the value is in it."""
    mask, other = Mask(b"k" * 32), Mask(b"j" * 32)
    value = b"hunter2-hunter2"
    assert mask.of(value, "api_key") == mask.of(value, "api_key") != other.of(value, "api_key")
    assert mask.of(value, "api_key") != mask.of(value + b"x", "api_key")
    assert MASKED.fullmatch(mask.of(value, "api_key"))
    assert re.fullmatch(rb"\[redacted:api_key:[0-9a-f]{8}\]", mask.of(value, "api_key"))
    assert truncated(17) == b"[truncated:17]"
    assert Mask().of(value, "a") != Mask().of(value, "a")
    assert "k" * 8 not in repr(mask)
    with pytest.raises(ValueError, match="mask_key_too_short"):
        Mask(b"short")
