"""`sealtrace models measure`: error rates of a bundle on a site's own pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from runtime.bundle import load_bundle
from runtime.errors import OperationError
from runtime.fsio import atomic_write
from runtime.model_keys import SIGNER_PUBLIC_NAME, read_public_key
from runtime.terminal import out as _out
from runtime.terminal import progress, reported

app = typer.Typer()
_BUNDLE = Path(".sealtrace") / "models"


@app.command(
    epilog="Examples:  sealtrace models measure people/   |   "
    "sealtrace models measure people/ --groups people.csv --json rates.json --det rates.svg"
)
def measure(
    folder: Annotated[Path, typer.Argument(help="A folder that holds a folder a person.")],
    *,
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Table with a column `person` (the folder's name) and others: rates are also "
            "given for pairs of strangers who share a value.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Score to state rates at. Default: the bundle's."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to this file.")
    ] = None,
    det: Annotated[
        Path | None, typer.Option(metavar="SVG", help="Write a DET plot to this file.")
    ] = None,
    bundle: Annotated[Path, typer.Option(help="The model bundle to measure.")] = _BUNDLE,
    trusted: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Public key that may vouch for the bundle (64 hexadecimal digits, or a file)."
            " Default: the key that `models build` made here.",
        ),
    ] = None,
) -> None:
    """Measure how often strangers match, and how often people are missed, on pictures of your own.

    Rates are counted, with 95 % intervals, by mask status, face size and group. The pictures are
    read and not kept; no template is written.
    """
    # A second of imports, which --help saves.
    from edge_agent.measuring.det_plot import det_svg  # noqa: PLC0415
    from edge_agent.measuring.pictures import read_folder  # noqa: PLC0415
    from edge_agent.measuring.report import report_json, report_rows  # noqa: PLC0415
    from edge_agent.measuring.scores import count_pairs  # noqa: PLC0415
    from edge_agent.vision.models import load_models  # noqa: PLC0415

    with reported("stopped; nothing was written"):
        keys = trusted or [str(bundle.resolve().parent / "keys" / SIGNER_PUBLIC_NAME)]
        verified = load_bundle(
            bundle,
            [read_public_key(key) for key in keys],
            roles=("face_detector", "face_embedder", "mask_status"),
        )
        at = threshold
        if at is None:
            at = verified.entry("face_embedder").threshold
        if at is None:
            raise OperationError("the bundle recommends no threshold; give one with --threshold")
        with progress("measuring") as notify:
            models = load_models(verified)
            seen = read_folder(
                folder,
                models,
                groups=groups,
                tell=lambda done, of: notify(f"picture {done} of {of}"),
            )
            notify("counting pairs")
            kinds = count_pairs(seen.faces)
            seen.faces.templates.fill(0)
        table = Table("pairs", "false match rate", "false non-match rate (of people)", "at 1e-5")
        for row in report_rows(kinds, at):
            table.add_row(*row)
        _out.print(
            f"{models.model_id} at {at:.3f}: {len(seen.faces)} pictures of {seen.people} people"
            + (f"; no face found in {len(seen.without_face)}" if seen.without_face else ""),
            highlight=False,
            soft_wrap=True,
        )
        _out.print(table)
        if json_file is not None:
            figures = report_json(
                kinds,
                model_id=models.model_id,
                threshold=at,
                people=seen.people,
                pictures=len(seen.faces),
            )
            atomic_write(json_file, (json.dumps(figures, indent=2) + "\n").encode())
        if det is not None:
            atomic_write(det, det_svg(kinds, models.model_id).encode())
