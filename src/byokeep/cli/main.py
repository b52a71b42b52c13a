"""The entry point: shared flags, the command tree, and how every failure ends.

Rules
- Shared flags work anywhere before ``--``: ``--json``, ``--url``, ``--home``, ``--config``, ``--token-file``.
- Arguments that do not parse are never printed back: one of them may be a pasted key. What is said about them is made
  of our own names: the command's, the parameter's, the words it may be.
- Whatever happens, the process ends with one of the published exit codes.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin
from uuid import UUID

import cyclopts
from cyclopts import App, Group, Parameter

from byokeep import __version__
from byokeep.cli import redact, servers
from byokeep.cli.approve import approve
from byokeep.cli.names import resolved
from byokeep.cli.terminal import Output, TerminalSession, clean, current, err, fail
from byokeep.cli.usage import usage
from byokeep.core.errors import ByokeepError, Rejected, Unavailable
from byokeep.core.plain_text import SECRET_SHAPED
from byokeep.settings import Settings, load

_WORK: Final = Group("Clients, keys, jobs", sort_key=1)
_PROOF: Final = Group("Audit and evidence", sort_key=2)
_PEOPLE: Final = Group("People", sort_key=3)
_SERVERS: Final = Group("Servers", sort_key=4)
_OTHER: Final = Group("Other", sort_key=5)
app: Final = App(
    name="byokeep",
    version=__version__,
    console=Output(),
    default_parameter=Parameter(negative_iterable=()),
    help="""Keep clients' API keys, tokens and browser profiles. Serve each one only to the job that needs it. Prove it.

    Start with `byokeep demo`, or with `byokeep up` and then `byokeep operator --help`.

    Exit codes: 0 done, 1 found (`leaks`, `env check`, `alert list`, `checklist`), 2 rejected input, 3 denied, 4
    unavailable (nothing was done, unless it says so), 5 integrity, 6 conflict, 7 pending: it holds, a part is still to
    follow (`kill on` while the store is down, `key add` of a key that could not be verified yet), 130
    interrupted, 141 nobody read the output to its end.
    """,
)
# Each is imported when it is called: a list of commands, a server or a short command loads none of the others.
for _group, _commands in (
    (_WORK, {
        "client": ("client", "Create, list, suspend and resume clients."),
        "key": ("key", "Onboard, list and verify clients' provider keys."),
        "account": ("accounts.cli:account", "Connect platform accounts and enable their lanes."),
        "profile": (
            "profiles.cli:profile",
            "Keep browser profiles sealed: log in once, then prove, renew, restore or destroy them.",
        ),
        "kek": ("profiles.cli:kek", "Keys that guard browser profiles: list, rotate, rewrap, end, compromise."),
        "rotate": ("rotate", "See what is due for rotation; start, resume and roll back rotations of keys."),
        "job": ("job", "Run commands inside a job, and look at jobs."),
        "kill": ("kill", "Stop leases, reads and effects at once; show and release kill switches."),
        "breakglass": (
            "breakglass.cli:app",
            "Read a client's secrets for minutes: requested, approved, opened, reviewed.",
        ),
        "procedure": ("procedure", "See how far each run of a procedure is, and continue it."),
        "incident": ("incident", "Open an incident, follow its playbook, close it."),
    }),
    (_PROOF, {
        "audit": ("audit", "Read, verify, reconcile and export the audit."),
        "evidence": ("evidence", "Show, export and verify the evidence of a procedure."),
        "alert": ("alert", "List and close alerts."),
        "checklist": ("checklist", "Daily, weekly and monthly checks: run them, sign them off, see what was missed."),
        "notify": ("notify", "Notifications to people: what was sent, and whether it arrived."),
        "leaks": ("leaks", "Search files and processes for leaked secrets."),
        "env": ("env", "Check environment variables for secrets, here, in CI and at Vercel."),
    }),
    (_SERVERS, {
        "drill": ("drill", "Run recovery drills, on the host: restore a backup apart, verify it, report."),
        "backup": ("backup", "Manage backups, on the host: make, list, verify, restore; split a key."),
    }),
    (_PEOPLE, {
        "operator": ("operator", "Manage people and machines, their roles and tokens."),
    }),
):  # fmt: skip
    for _name, (_module, _help) in _commands.items():
        _target = _module if ":" in _module else f"cli.{_module}:app"
        app.command(f"byokeep.{_target}", name=_name, group=_group, help=_help)
app.command(usage, group=_WORK)
app.command(approve, group=_PEOPLE)
redact.register(app, _PROOF)
servers.register(app, _SERVERS)
app["--help"].group = app["--version"].group = _OTHER
app.meta.suppress_keyboard_interrupt = False  # it would end in silence

_WANTED: Final[dict[object, str]] = {
    int: "give a whole number",
    bool: "it takes no value",
    UUID: "an id looks like 7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e",
}
_CALLED: Final = {"coercion": "bad_value", "unused_cli_tokens": "too_many_words", "repeat_argument": "given_twice"}
_SAID: Final = (
    (cyclopts.RepeatArgumentError, "{argument} is given twice. "),
    (cyclopts.UnknownOptionError, "This command has no such option. "),
    (cyclopts.UnusedCliTokensError, "This command takes fewer arguments. "),
    (cyclopts.ValidationError, "{argument} is out of range. "),
)

_EXPOSED: Final = (
    "If one of them was the app's secret, it stands in the shell's history now and others could see it: replace it at "
    "the platform, then pipe the new one in. "
)
_SHARED: Final = Group("Shared flags", sort_key=9)
_UNREAD: Final = 141  # what a shell says of a process that SIGPIPE ended
_LOST: Final = b"unavailable: output_not_written\nFree some space for it. What was asked for may have been done.\n"
_SECRET_FLAGS: Final = frozenset({"--value", "--secret-value", "--token", "--password", "--key", "--api-key"})
# Commands whose --key takes a name.
_NAMES_A_KEY: Final = (["audit", "list"], ["incident", "open"], ["incident", "report"], ["job", "schedule"])
_TAKE_VALUES: Final = frozenset({"--url", "--home", "--config", "--token-file"})
_BARE_HEX: Final = re.compile(r"(?<![/A-Fa-f0-9-])[A-Fa-f0-9]{32}\Z")  # a key without any mark of its own


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    json: Annotated[bool, Parameter(name="--json", group=_SHARED, negative=(), show_default=False)] = False,
    url: Annotated[str | None, Parameter(group=_SHARED)] = None,
    home: Annotated[str | None, Parameter(group=_SHARED)] = None,
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
    flags = {"home": home and settings.home.absolute(), "url": url, "config": config and config.absolute(),
             "token-file": token_file and token_file.absolute()}  # fmt: skip
    given = {name: str(value) for name, value in flags.items() if value}
    current.set(TerminalSession(settings=settings, as_json=json, rest=previous.rest, given=given))
    command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    bound = resolved(bound)
    return command(*bound.args, **bound.kwargs)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit the process. If the reader has gone, it ends silently, as a signal would end it."""
    for at, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # it was closed: no file or socket of ours is to take its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if at else "r"))
        if at and isinstance(stream := getattr(sys, name), TextIOWrapper):
            with suppress(OSError):  # it leads elsewhere by now
                stream.reconfigure(errors="backslashreplace")  # no letter that it lacks ends what is done by then
    try:
        code = run(sys.argv[1:] if argv is None else argv)
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError as error:
        code = _UNREAD
        if error.errno != errno.EPIPE:  # a full disk: 1 would be a finding
            code = Unavailable.exit_code
            with suppress(OSError):  # it may stand on the same disk
                os.write(2, _LOST)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):  # what is still held back has nowhere to go, and is not to be tried again at the exit
            os.dup2(nowhere, number)
    sys.exit(code)


def run(argv: list[str]) -> int:
    """Run the command line; return the exit code."""
    own, rest = _split(argv)
    as_json = "--json" in own
    current.set(TerminalSession(settings=Settings(), as_json=as_json, rest=tuple(rest)))
    try:
        _refuse_secrets(own)
        _refuse_unknown(own)
        if rest and _words(own)[:2] != ["job", "run"]:
            step = "Only `byokeep job run` takes something after --."
            raise Rejected("usage", next_step=step, problem="too_many_words")
        result = app.meta(own, exit_on_error=False, print_error=False, result_action="return_value")
    except ByokeepError as error:
        return fail(error, as_json=as_json)
    except cyclopts.CycloptsError as error:
        return fail(_usage(error), as_json=as_json)
    except KeyboardInterrupt:
        step = "What was sent may have been done all the same: look before you repeat it."
        fail(Unavailable("interrupted", next_step=step), as_json=as_json)
        return 130
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ENOSPC):
            raise  # of the output: see `main`
        return fail(_unforeseen(error), as_json=as_json)
    except Exception as error:
        return fail(_unforeseen(error), as_json=as_json)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _unforeseen(error: Exception) -> Unavailable:
    """Return what to say about what no command foresaw: a file that the system refused is nothing to report."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | Path):
        err.print(f"unexpected {type(error).__name__}")
        return Unavailable("internal_error", next_step="Nothing further was done. Please report this.")
    what = f"{clean(error.filename)} could not be used: check who owns it, its mode and its disk."
    step = f"{what} What was begun may be done in part."
    return Unavailable("system_refused", next_step=step, reason=errno.errorcode.get(error.errno or 0, "unknown"))


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split at the first ``--``: what follows belongs to a child command."""
    if "--" not in argv:
        return list(argv), []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _words(argv: list[str]) -> list[str]:
    """Return what is neither an option nor an option's value, of the options that may precede a command."""
    return [word for before, word in zip(["", *argv], argv, strict=False)
            if not word.startswith("-") and before not in _TAKE_VALUES]  # fmt: skip


def _refuse_secrets(argv: list[str]) -> None:
    names_a_key = _words(argv)[:2] in _NAMES_A_KEY
    for word in argv:
        flag, _, value = word.partition("=") if word.startswith("-") else ("", "", word)
        given = flag in _SECRET_FLAGS and not (flag == "--key" and names_a_key)
        if given or SECRET_SHAPED.search(value) or _BARE_HEX.search(value):
            raise Rejected(
                "secret_in_argument",
                next_step="Arguments are visible to others and stay in histories: replace that key at its provider, "
                "then pipe the new one in, use --fd N, or type it at the prompt.",
            )


def _refuse_unknown(argv: list[str]) -> None:
    """Refuse help for a first word that is no command: the general help would pass for its help."""
    words = _words(argv)
    if words and words[0] not in app and {"--help", "-h"} & set(argv):
        known = ", ".join(sorted(name for name in app if not name.startswith("-")))
        raise Rejected("usage", next_step=f"Commands: {known}. See `byokeep --help`.", problem="unknown_command")


def _usage(error: cyclopts.CycloptsError) -> Rejected:
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
    kind = _CALLED.get(kind, kind)
    about = {}
    if error.argument is not None and (name := error.argument.name):
        is_option = name.startswith("-") and not error.argument.field_info.is_positional
        about["argument"] = name if is_option else name.lstrip("-").upper().replace("-", "_")
    command = " ".join(["byokeep", *(error.command_chain or ())])
    hint = _hint(error, about.get("argument", ""))
    if command == "byokeep job run" and isinstance(error, cyclopts.UnusedCliTokensError | cyclopts.UnknownOptionError):
        hint += "Put the command to run after --, e.g. `-- python post.py`. "
    if command == "byokeep account app set" and isinstance(error, cyclopts.UnusedCliTokensError):
        hint += _EXPOSED
    return Rejected("usage", next_step=f"{hint}See `{command} --help`.", problem=kind, **about)


def _hint(error: cyclopts.CycloptsError, argument: str) -> str:
    """Say what is wrong, only in our own words and names."""
    if isinstance(error, cyclopts.UnknownCommandError) and error.app is not None:
        known = sorted(name for name in error.app if not name.startswith("-"))
        return _meant(error, known) + "Commands: " + ", ".join(known) + ". "
    if isinstance(error, cyclopts.CoercionError):
        return f"{argument or 'A value'} cannot be read: {_WANTED.get(error.target_type) or _words_of(error)}. "
    if isinstance(error, cyclopts.MissingArgumentError) and error.argument is not None:
        words = get_args(error.argument.hint) if get_origin(error.argument.hint) is Literal else ()
        return f"{argument} or its value is missing. " + ("Use one of " + ", ".join(words) + ". " if words else "")
    return next((text.format(argument=argument or "A value") for kind, text in _SAID if isinstance(error, kind)), "")


def _meant(error: cyclopts.UnknownCommandError, known: list[str]) -> str:
    """Name the command that an unknown word is close to; the word itself is not repeated."""
    import difflib  # noqa: PLC0415 - a word that is known needs none

    word = next(iter(error.unused_tokens or ()), "")
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.66)
    return f"Did you mean {close[0]}? " if close else ""


def _words_of(error: cyclopts.CoercionError) -> str:
    wanted = error.target_type
    return "use one of " + ", ".join(get_args(wanted)) if get_origin(wanted) is Literal else "see the help for its form"


if __name__ == "__main__":
    main()
