"""`sealtrace protocol`: hold another implementation's test vectors against this one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.conformance import FORMS, NonConformant, check_vector
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.terminal import note, reported, say

_MAX_BYTES = 16 << 20

app = typer.Typer(
    name="protocol",
    no_args_is_help=True,
    help="For who writes a second implementation: hold its test vectors against this one.",
)
vectors = typer.Typer(
    name="vectors", no_args_is_help=True, help="Test vectors, as in docs/vectors."
)
app.add_typer(vectors)


@vectors.command(
    epilog="Examples:  sealtrace protocol vectors check docs/vectors/*.json   |   "
    "sealtrace protocol vectors check --form envelope mine.json"
)
def check(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="JSON files, named after their form: " + ", ".join(FORMS) + "."
        ),
    ],
    form: Annotated[
        str, typer.Option("--form", metavar="FORM", help="The form, where the name is another.")
    ] = "",
) -> None:
    """Recompute, open and verify what test vectors say; say what does not come out.

    A vector that refers to another one finds it beside itself. Ends with 1 if one does not conform.
    """
    with reported():
        failed = 0
        for path in files:
            try:
                compared = check_vector(
                    form or path.stem,
                    read_vector(path),
                    lambda name, folder=path.parent: read_vector(folder / f"{name}.json"),  # type: ignore[misc]
                )
            except NonConformant as error:
                failed += 1
                note(f"{path}: {error}")
            else:
                say(f"{path}: conforms ({compared} compared)")
        if failed:
            raise OperationError(f"{failed} of {len(files)} vectors do not conform")


def read_vector(path: Path) -> Mapping[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        NonConformant: it holds something else.
        FileProblem: it cannot be read.
    """
    try:
        value = parse_json(read_file(path, _MAX_BYTES))
    except ValueError as error:
        raise NonConformant(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise NonConformant(f"{path.name} is not a JSON object")
    return value
