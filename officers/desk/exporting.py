"""Export a trace to a file of the officer's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from officers.desk.camera_places import Positions, read_positions
from officers.desk.export_forms import FORMATS, Report, unplaced
from runtime.errors import OperationError
from runtime.fsio import atomic_write


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: stays that are hits, stays not decided, and cameras without a position."""

    path: Path
    hits: int
    undecided: int
    unplaced: tuple[str, ...]


def positions_for(form: str, file: Path | None) -> Positions:
    """Return where cameras are, for an export in one of `FORMATS`; empty without a file.

    Raises:
        OperationError: there is no such form, or it is a map and no position is given.
        FileProblem, PlacesInvalid: the file cannot be used.
    """
    if form not in FORMATS:
        raise OperationError(f"there is no form '{form}'; there are {', '.join(sorted(FORMATS))}")
    positions = read_positions(file) if file is not None else {}
    if form == "geojson" and not positions:
        raise OperationError(
            "a map needs the cameras' positions; give --cameras with a CSV file camera,lat,lon"
        )
    return positions


def export(
    report: Report,
    form: str,
    path: Path,
    *,
    positions: Positions,
    hits_only: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a trace whole or not at all, readable by its owner alone.

    Args:
        report: the traces.
        form: a name in `FORMATS`.
        path: where to.
        positions: from `positions_for`.
        hits_only: leave out what is not confirmed.
        overwrite: replace a file that exists.

    Raises:
        FileProblem: the file exists and may not be replaced, or cannot be written.
    """
    text = FORMATS[form](report, positions=positions, hits_only=hits_only)
    write_export(path, text, overwrite=overwrite)
    return Exported(
        path,
        hits=sum(len(trace.hits) for trace in report.traces),
        undecided=0
        if hits_only
        else sum(len(trace.candidates) + len(trace.continuations) for trace in report.traces),
        unplaced=tuple(unplaced(report, positions)) if positions else (),
    )


def write_export(path: Path, text: str, *, overwrite: bool) -> None:
    """Write an export, whole or not at all, readable by its owner alone.

    Raises:
        FileProblem: the file exists and may not be replaced, or cannot be written.
    """
    atomic_write(path, text.encode(), 0o600, overwrite=overwrite)
