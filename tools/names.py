"""The names of the social platforms in the code, made from their data files.

``python -m tools.names --write`` reads `platforms/data/*.toml` and writes the blocks between the lines
``made from the catalog: begin`` and ``end`` of `core/model.py` and `cli/choices.py`. Without ``--write`` it says what
differs. A name that stands there already keeps its place; a new one comes last.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(?P<begin> *# made from the catalog: begin\n)(?P<body>.*?)(?P<end> *# made from the catalog: end\n)", re.S
)


def platforms_of(source: Path) -> dict[str, bool]:
    """The platforms that the data files below ``source`` (`src/byokeep`) describe, and whether one has an API."""
    found: dict[str, bool] = {}
    for file in sorted((source / "platforms/data").glob("*.toml")):
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        name = str(document["provider"])
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
            raise SystemExit(f"{file.name}: `provider` must be a word of small letters")
        found[name] = found.get(name, False) or "oauth" in document
    return found


def written(text: str, bodies: list[str]) -> str:
    """The text with its blocks, in order, replaced."""
    left = iter(bodies)
    return BLOCK.sub(lambda found: found["begin"] + next(left) + found["end"], text)


def names(source: Path) -> dict[Path, str]:
    """Each file below ``source`` that has blocks, and what should stand in it."""
    described = platforms_of(source)
    model, choices = source / "core/model.py", source / "cli/choices.py"
    text = model.read_text(encoding="utf-8")
    first = BLOCK.search(text)
    known = re.findall(r'= "([a-z0-9_]+)"', first["body"]) if first else []
    order = [name for name in known if name in described] + [name for name in described if name not in known]
    listed = ", ".join(f"Provider.{name.upper()}" for name in order if described[name])
    members = "".join(f'    {name.upper()} = "{name}"\n' for name in order)
    oauth = f"OAUTH_PLATFORMS: Final = ({listed})  # fmt: skip\n"
    every, apis = sorted(described), sorted(name for name in described if described[name])
    words = [", ".join(f'"{name}"' for name in chosen) for chosen in (every, apis)]
    literals = f"Platform = Literal[{words[0]}]\nOAuthPlatform = Literal[{words[1]}]\n"
    return {
        model: written(text, [members, oauth]),
        choices: written(choices.read_text(encoding="utf-8"), [literals]),
    }


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
