"""The entry point: shared flags, the command tree, and how every failure ends.

Rules
- Shared flags work anywhere before ``--``: ``--json``, ``--url``, ``--home``, ``--config``, ``--token-file``.
- Arguments that do not parse are never printed back: one of them may be a pasted key.
- Whatever happens, the process ends with one of the published exit codes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Parameter

from byokeep import __version__
from byokeep.cli import (
    account,
    alert,
    audit,
    client,
    evidence,
    job,
    key,
    kill,
    leaks,
    operator,
    servers,
)
from byokeep.cli.terminal import Session, current, err, fail
from byokeep.core.errors import ByokeepError, Rejected, Unavailable
from byokeep.settings import load

app: Final = App(
    name="byokeep",
    version=__version__,
    help="""Keep clients' API keys, tokens and browser profiles; serve them to one job only; prove it.

    Start with `byokeep demo`, or `byokeep up` and then `byokeep operator --help`.

    Exit codes: 0 done, 2 rejected input, 3 denied, 4 unavailable (nothing was done), 5 integrity, 6 conflict.
    """,
)
for room in (client, key, account, job, kill, audit, evidence, alert, operator, leaks):
    app.command(room.app)
servers.register(app)

_SHARED: Final = "Shared flags"
_SECRET_ARGUMENT: Final = re.compile(
    r"sk-|sk_|AIza|AQ\.[A-Za-z0-9_-]{20}|hv[sbr]\.|bk[odrc]_|eyJ[A-Za-z0-9_-]{10}|-----BEGIN|[A-Fa-f0-9]{32}\Z"
)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    json: Annotated[bool, Parameter(name="--json", group=_SHARED, negative=())] = False,
    url: Annotated[str | None, Parameter(group=_SHARED)] = None,
    home: Annotated[Path | None, Parameter(group=_SHARED)] = None,
    config: Annotated[Path | None, Parameter(group=_SHARED)] = None,
    token_file: Annotated[Path | None, Parameter(group=_SHARED)] = None,
) -> object:
    """Run a command.

    Args:
        json: Print one JSON document instead of tables.
        url: Address of `byokeep web`; default: the stack of --home.
        home: State directory of the embedded stack.
        config: Settings file (TOML).
        token_file: File (mode 0600) with your API token.
    """
    previous = current.get()
    settings = load(config, home=home, web_url=url, token_file=str(token_file) if token_file else None)
    current.set(Session(settings=settings, as_json=json, rest=previous.rest))
    return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit the process."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run the command line; return the exit code."""
    own, rest = _split(argv)
    as_json = "--json" in own
    try:
        _refuse_secrets(own)
        current.set(Session(settings=load(home=_home_of(own)), as_json=as_json, rest=tuple(rest)))
        result = app.meta(own, exit_on_error=False, print_error=False, result_action="return_value")
    except ByokeepError as error:
        return fail(error, as_json=as_json)
    except CycloptsError as error:
        return fail(_usage(error), as_json=as_json)
    except KeyboardInterrupt:
        err.print("stopped")
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        err.print(f"unexpected {type(error).__name__}")
        failure = Unavailable("internal_error", next_step="Nothing more was done. Please report it.")
        return fail(failure, as_json=as_json)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split at the first ``--``: what follows belongs to a child command."""
    if "--" not in argv:
        return list(argv), []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _home_of(argv: list[str]) -> str | None:
    for index, word in enumerate(argv):
        if word == "--home" and index + 1 < len(argv):
            return argv[index + 1]
        if word.startswith("--home="):
            return word.removeprefix("--home=")
    return None


def _refuse_secrets(argv: list[str]) -> None:
    for word in argv:
        value = word.split("=", 1)[-1]
        if _SECRET_ARGUMENT.search(value) or word.split("=", 1)[0] in {"--value", "--secret-value", "--token"}:
            raise Rejected(
                "secret_in_argument",
                next_step="Arguments are visible to others and stay in histories: rotate that key, then pipe the new "
                "one in, use --fd N, or type it at the prompt.",
            )


def _usage(error: CycloptsError) -> Rejected:
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
    return Rejected("usage", next_step="See `byokeep --help`, or COMMAND --help for an example.", problem=kind)


if __name__ == "__main__":
    main()
