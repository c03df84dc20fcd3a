"""Export a query's traces to a file of the officer's own, in one of several forms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from officers.desk.camera_places import Positions, read_positions
from officers.desk.case_files import zone_of
from officers.desk.export_forms import FORMATS, unplaced
from officers.desk.forms.around import Around
from officers.desk.graded import Said, graded
from officers.desk.handing_over import hand_over
from officers.desk.phrases import phrase
from officers.desk.results import Results, trace
from officers.desk.session import Session
from officers.desk.verdicts import needed_confirmations
from protocol import hpke
from protocol.places import Places
from protocol.signing import SigningKey
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class Rendered:
    """A form filled in and written nowhere yet; the counts as in `Exported`."""

    form: str
    content: bytes = field(repr=False)
    hits: int
    undecided: int
    unplaced: tuple[str, ...]
    kept_back: int


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: stays that are hits, stays not decided, and cameras without a position.

    Args:
        kept_back: how many stays are not in it because nobody, or too few, have confirmed them.
    """

    path: Path
    hits: int
    undecided: int
    unplaced: tuple[str, ...]
    kept_back: int = 0


def positions_for(form: str, file: Path | None, places: Places | None = None) -> Positions:
    """Return where cameras are, for an export in one of `FORMATS`.

    By the officer's own list where one is given, else by the site's register of places.

    Raises:
        OperationError: there is no such form, or it is a map and no position is known.
        FileProblem, PlacesInvalid: the file cannot be used.
    """
    if form not in FORMATS:
        raise OperationError(
            phrase(
                "there is no form '{form}'; there are {formats}",
                form=form,
                formats=", ".join(sorted(FORMATS)),
            )
        )
    around = Around(positions=read_positions(file) if file is not None else {}, places=places)
    cameras = [*around.positions, *(() if places is None else places.cameras)]
    found = {name: around.position(name) for name in cameras}
    positions = {name: place for name, place in found.items() if place is not None}
    if FORMATS[form].map and not positions:
        raise OperationError(
            phrase(
                "a map needs the cameras' positions; give --cameras with a CSV file "
                "camera,lat,lon, or --places with your copy of the site's register of places"
            )
        )
    return positions


def around_of(
    session: Session,
    results: Results,
    sealing: hpke.PrivateKey,
    *,
    places: Places | None = None,
    positions: Positions | None = None,
    hits_only: bool = False,
    said: Said | None = None,
    language: str = "en",
) -> Around:
    """Return what forms need besides a query's traces.

    Args:
        sealing: the officer's, which opens case files.
        places: the site's register.
        positions: the officer's own list.
        hits_only: leave out what is not confirmed.
        said: of every case's illness, before what case files say.
        language: of the names of places.

    Raises:
        OperationError: a case file, or the rules that it names, cannot be used.
    """
    me = session.officer
    return Around(
        positions=positions or {},
        hits_only=hits_only,
        zone=zone_of(me),
        places=places,
        officer=me.name,
        graded=graded(me, trace(results).traces, results.links, sealing, places=places, said=said),
        language=language,
    )


def export(
    session: Session,
    results: Results,
    form: str,
    path: Path,
    key: SigningKey,
    *,
    around: Around,
    overwrite: bool = False,
) -> Exported:
    """Write a query's traces whole or not at all, readable by the officer alone; it is logged.

    Where the policy has several officers confirm, what too few have confirmed is no identification
    yet and leaves the system in no form.

    Args:
        session: the officer's.
        results: as opened.
        form: a name in `FORMATS`.
        path: where to.
        key: the officer's signing key: the aggregator logs who exported which file.
        around: from `around_of`.
        overwrite: replace a file that exists.

    Raises:
        FileProblem: the file exists and may not be replaced, or cannot be written.
        OperationError: it could not be logged; nothing is written then.
    """
    made = rendered(session, results, form, around=around)
    hand_over(session, results.case, form, {path: made.content}, key, overwrite=overwrite)
    return Exported(
        path,
        hits=made.hits,
        undecided=made.undecided,
        unplaced=made.unplaced,
        kept_back=made.kept_back,
    )


def rendered(session: Session, results: Results, form: str, *, around: Around) -> Rendered:
    """Fill in a form with a query's traces; what too few have confirmed is in none.

    Args:
        session: the officer's.
        results: as opened.
        form: a name in `FORMATS`.
        around: from `around_of`.
    """
    report, chosen = trace(results), FORMATS[form]
    several = needed_confirmations(results.case, session.officer.policy) > 1
    alone = around.hits_only or chosen.confirmed_alone or several
    around = replace(around, hits_only=alone)
    text = chosen(report, positions=around.positions, hits_only=alone, around=around)
    undecided = sum(len(one.candidates) + len(one.continuations) for one in report.traces)
    return Rendered(
        form,
        text.encode(),
        hits=sum(len(one.hits) for one in report.traces),
        undecided=0 if alone else undecided,
        unplaced=tuple(unplaced(report, around.positions)) if around.positions else (),
        kept_back=undecided if alone else 0,
    )
