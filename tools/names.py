"""The names of the API providers and social platforms in the code, made from their data files.

``python -m tools.names --write`` reads `adapters/providers/data/*.toml` and `platforms/data/*.toml` and writes the
blocks between the lines ``made from the catalog: begin`` and ``end`` of `core/model.py` and `cli/choices.py`. Without
``--write`` it says what differs. A name that stands there already keeps its place; a new one comes last. People call a
platform what the file of its own name says: its ``title``, or its published name up to a bracket.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(?P<begin> *# made from the catalog: begin\n)(?P<body>.*?)(?P<end> *# made from the catalog: end\n)", re.S
)


def described(source: Path) -> tuple[dict[str, str], set[str], set[str]]:
    """What the data files below ``source`` (`src/byokeep`) describe: titles by name; who has keys; who has OAuth."""
    titles: dict[str, str] = {}
    keyed, oauth = set(), set()
    for file in (*sorted(source.glob("adapters/providers/data/*.toml")), *sorted(source.glob("platforms/data/*.toml"))):
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        name = str(document.get("provider", file.stem))
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
            raise SystemExit(f"{file.name}: `provider` must be a word of small letters")
        if name == file.stem or name not in titles:
            titles[name] = document.get("title") or document["published_name"].partition(" (")[0]
        if file.parent.parent.name == "providers":
            keyed.add(name)
        elif "oauth" in document:
            oauth.add(name)
    return titles, keyed, oauth


def written(text: str, bodies: list[str]) -> str:
    """The text with its blocks, in order, replaced."""
    left = iter(bodies)
    return BLOCK.sub(lambda found: found["begin"] + next(left) + found["end"], text)


def names(source: Path) -> dict[Path, str]:
    """Each file below ``source`` that has blocks, and what should stand in it."""
    titles, keyed, oauth = described(source)
    model, choices = source / "core/model.py", source / "cli/choices.py"
    text = model.read_text(encoding="utf-8")
    first = BLOCK.search(text)
    known = re.findall(r'= "([a-z0-9_]+)"', first["body"]) if first else []
    order = [name for name in known if name in titles] + [name for name in titles if name not in known]
    members = "".join(f'    {name.upper()} = "{name}"\n' for name in order)
    said = [f'"{name}": {json.dumps(titles[name])}' for name in order]
    listed = [[f"Provider.{name.upper()}" for name in order if name in chosen] for chosen in (keyed, oauth)]
    sets = (
        f"TITLES: Final[Mapping[str, str]] = {{\n{_lines(said)}\n}}  # fmt: skip\n"
        f"API_PROVIDERS: Final = frozenset({{\n{_lines(listed[0])}\n}})  # fmt: skip\n"
        f"OAUTH_PLATFORMS: Final = (\n{_lines(listed[1])}\n)  # fmt: skip\n"
    )
    literals = "".join(
        f"{kind} = Literal[{', '.join(json.dumps(name) for name in sorted(chosen))}]\n"
        for kind, chosen in (("ApiProvider", keyed), ("Platform", titles.keys() - keyed), ("OAuthPlatform", oauth))
    )
    return {
        model: written(text, [members, sets]),
        choices: written(choices.read_text(encoding="utf-8"), [literals]),
    }


def _lines(pieces: list[str]) -> str:
    """The pieces as lines; none is broken."""
    joined = " ".join(f"{piece},".replace(" ", "\xa0") for piece in pieces)
    return textwrap.fill(joined, 116, initial_indent="    ", subsequent_indent="    ").replace("\xa0", " ")


def main(argv: list[str] | None = None) -> int:
    """Compare, or write with ``--write``; the exit code is 1 when something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the blocks")
    parser.add_argument("--source", type=Path, default=ROOT / "src/byokeep", help="the package")
    options = parser.parse_args(argv)
    differs = {path: text for path, text in names(options.source).items() if path.read_text(encoding="utf-8") != text}
    for path, text in differs.items():
        print(f"names: {path.name} does not say what the catalog says" + (", written" if options.write else ""))
        if options.write:
            path.write_text(text, encoding="utf-8")
    return 1 if differs and not options.write else 0


if __name__ == "__main__":
    raise SystemExit(main())
