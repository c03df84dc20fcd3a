"""The `sealtrace` command: finds the roles' sub-commands and loads only the one that is run.

A board carries the edge agent alone, a custodian's machine its custodian: a sub-command whose
package or libraries are absent is listed, and says so when it is called. Failures that a person can
act on become one line; ``SEALTRACE_DEBUG=1`` shows where they arose.
"""

from __future__ import annotations

import codecs
import difflib
import errno
import gc
import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING

from runtime import process

if TYPE_CHECKING:
    import typer

GROUP = "sealtrace.commands"
DEBUG_VARIABLE = "SEALTRACE_DEBUG"
OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130
_PLAIN_LETTERS = {"✓": "ok", "✗": "not ok", "…": "..."}
_UNIX_ERRORS = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)

# One line each, here, so that `sealtrace --help` need not load them.
SUMMARIES = {
    "demo": "See it work: a small site, six cameras, a patient traced end to end.",
    "doctor": "Look whether this machine is well, whatever its role; say what to do next.",
    "protocol": "Hold another implementation's test vectors against this one.",
    "site": "Create a site: its authority, custodians, officers, policy and directory.",
    "box": "Admit, configure, replace and revoke the boxes beside cameras.",
    "image": "Build a box's card image from a stock one; look into one.",
    "flash": "Write an image to a card, safely, and verify what was written.",
    "registrar": "Run the service that lets new boxes in and renews their certificates.",
    "release": "Sign models and agents for the fleet, roll them out, update a box.",
    "models": "Build, sign and check the bundle of models that boxes run.",
    "broker": "Run the embedded MQTT broker of the demo (this machine only).",
    "edge": "Run the agent beside cameras: frames in, sealed sightings out.",
    "camera": "Find cameras, judge their picture, measure the ground before them.",
    "footage": "Recordings: what a folder holds; import it as sealed sightings.",
    "custodian": "Run a key custodian: verifies queries itself, grants exact windows.",
    "aggregator": "Run the aggregator: keeps sealed sightings, runs authorized queries.",
    "subject": "Enrol a consenting person from a photo, for a query; witness it.",
    "desk": "Work at the officers' desk, in this machine's browser.",
    "query": "File, approve, revoke and follow subject queries.",
    "trace": "Show and export what an authorized query found; confirm or reject.",
    "audit": "Verify the logs offline and read the entries sealed to you.",
}

FORMER = {"enrolment": "registrar"}
"""Names that commands had in version 1: units installed then call them. Not listed anywhere."""


class NotInstalled(Exception):
    """A sub-command's package, or a library that it needs, is not on this machine."""


def main() -> None:
    """Run the command line of this process and exit.

    What a terminal cannot show (`✓` where the locale is not UTF-8) is written in plain letters, a
    reader that has gone (`| head`) ends the program quietly, a full disk behind standard output
    is said.
    """
    process.begin()
    gc.disable()  # until what is run is loaded: that makes no garbage, and is looked through often
    codecs.register_error("sealtrace", _in_plain_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sealtrace")
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = _without_output()
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _complain("standard output cannot be written: the disk is full; free space on it")
        code = _without_output()
    sys.exit(code)


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN_LETTERS.get(letter, "?") for letter in text), error.end


def _without_output() -> int:
    """Keep the interpreter from writing once more what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILURE


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return the exit code.

    0 is success, 1 a failure that was explained on standard error, 2 a wrong command line, 130 an
    interrupt. A bug raises.
    """
    if not arguments or arguments[0] in {"--help", "-h", "help"}:
        print(_overview())  # noqa: T201 - what was asked for
        return OK if arguments else USAGE
    if arguments[0] == "--version":
        print(f"sealtrace {version('sealtrace')}")  # noqa: T201 - what was asked for
        return OK
    found = commands().get(FORMER.get(arguments[0], arguments[0]))
    if found is None:
        return _complain(f"no such command: {arguments[0]}{_suggestion(arguments[0])}", code=USAGE)
    try:
        return _dispatch(load(found), found.name, arguments[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if not _is_explained(error):
            raise
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        return _complain(_message(error), code=getattr(error, "exit_code", FAILURE))


def commands() -> dict[str, EntryPoint]:
    """Return the sub-commands that the installed distributions declare, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(point: EntryPoint) -> typer.Typer:
    """Import a sub-command.

    Raises:
        NotInstalled: its package is absent, or a library that it needs is.
        ImportError: anything else that goes wrong on import: a bug.
    """
    try:
        app: typer.Typer = point.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or importlib.util.find_spec(missing) is not None:
            raise
        raise NotInstalled(
            f"`sealtrace {point.name}` is not installed on this machine: the Python package "
            f"'{missing}' is missing; install sealtrace with all its dependencies here, or run "
            "the command where that role is installed"
        ) from error
    except ImportError as error:
        if "cannot open shared object file" not in str(error):
            raise
        raise NotInstalled(
            f"`sealtrace {point.name}` is not usable on this machine: {error}; install the system "
            "library that it names"
        ) from error
    return app


def _dispatch(app: typer.Typer, name: str, arguments: Sequence[str]) -> int:
    from typer.main import get_command  # noqa: PLC0415 - not needed for the overview

    from runtime import logs  # noqa: PLC0415 - not needed for the overview
    from runtime.config import LogConfig  # noqa: PLC0415 - not needed for the overview
    from sealtrace.help_layout import laid_out  # noqa: PLC0415 - not needed for the overview

    # Until a service sets up its own: nothing on standard output, no variables in tracebacks.
    logs.configure(LogConfig(level="warning"), role=name)
    command = laid_out(get_command(app))
    if not gc.isenabled():
        gc.freeze()  # what is loaded stays: looking for garbage passes it by from now on
        gc.enable()
    try:
        command.main(args=list(arguments), prog_name=f"sealtrace {name}")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILURE if end.code else OK
    return OK


def _is_explained(error: Exception) -> bool:
    from protocol.errors import ProtocolError  # noqa: PLC0415 - not needed for the overview
    from runtime.errors import OperationError  # noqa: PLC0415 - not needed for the overview

    if isinstance(error, OperationError | ProtocolError | NotInstalled):
        return True
    return isinstance(error, _UNIX_ERRORS) and error.filename is not None


def _message(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}; check the name and the permissions"
    return str(error) or type(error).__name__


def _complain(message: str, *, code: int = FAILURE) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - the user's one line
    return code


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, SUMMARIES, n=1)
    return f"; did you mean {near[0]}?" if near else "; `sealtrace --help` lists them"


def _overview() -> str:
    declared = commands()
    order = [*(n for n in SUMMARIES if n in declared), *sorted(declared.keys() - SUMMARIES.keys())]
    width = max(len(name) for name in [*order, "command"])
    rows = [f"  {name:<{width}}  {SUMMARIES.get(name, '')}".rstrip() for name in order]
    return "\n".join(
        [
            "Usage: sealtrace COMMAND [ARGUMENTS]...",
            "",
            "Contact tracing over city cameras that nobody can open alone.",
            "",
            "Commands:",
            *rows,
            "",
            "Options:",
            "  --help     Show this text; after a command, that command's.",
            "  --version  Show the version.",
            "",
            "Examples:",
            "  sealtrace demo --help",
            "  sealtrace edge run --config box.toml",
            "",
            f"{DEBUG_VARIABLE}=1 shows where an error arose.",
        ]
    )


if __name__ == "__main__":
    main()
