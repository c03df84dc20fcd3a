"""Notice that a pseudonym stands for somebody else already: in a subject file of this investigator.

The templates are compared where both are open anyway, on the investigator's machine. Said is only
that they are not of one person: neither how alike two people look, nor anything of the earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from protocol import hpke
from protocol.errors import ProtocolError
from protocol.keytree import FOLLOWED
from protocol.sightings import dequantise_template
from protocol.templates import SubjectFile, Template
from runtime.calibration import Calibration, least_resemblance
from runtime.errors import OperationError
from runtime.fsio import FileProblem
from runtime.keyfiles import PassphraseMissing, get_passphrase, is_sealed, read_secret
from runtime.subject_files import SUBJECT_SUFFIX, read_subject
from runtime.terminal import warn

if TYPE_CHECKING:
    from edge_agent.enrol import Enrolled

_MOST_FILES = 2000


class PseudonymTaken(OperationError):
    """Somebody else was enrolled under this pseudonym."""


def files_of(pseudonym: str, folders: Iterable[Path]) -> dict[Path, SubjectFile]:
    """Return the subject files of a pseudonym that lie in some folders, not below them."""
    found: dict[Path, SubjectFile] = {}
    for folder in dict.fromkeys(path.absolute() for path in folders):
        for path in islice(folder.glob(f"*{SUBJECT_SUFFIX}"), _MOST_FILES):
            try:
                subject = read_subject(path)
            except (OperationError, ProtocolError):
                continue  # whatever it is, it is no earlier enrolment
            if subject.pseudonym == pseudonym:
                found.setdefault(path.resolve(), subject)
    return found


def check_pseudonym(
    made: Sequence[Enrolled],
    earlier: dict[Path, SubjectFile],
    key: Path,
    *,
    passphrase_file: Path | None,
    calibrations: Callable[[], Mapping[str, Calibration]],
) -> None:
    """Refuse a pseudonym that stands for somebody else; warn of files of which nobody can tell.

    The passphrase is asked for only if there is an earlier file.

    Args:
        made: the templates of now.
        earlier: from `files_of`.
        key: the investigator's sealing key's file.
        passphrase_file: of that key, where it is not asked for.
        calibrations: how scores of the site's models are to be read.

    Raises:
        PseudonymTaken: a file is of somebody else.
        KeyFileError: the key does not open.
    """
    if not earlier:
        return
    try:
        passphrase = get_passphrase(passphrase_file, what=str(key)) if is_sealed(key) else None
        sealing = hpke.PrivateKey(read_secret(key, passphrase, "sealing"))
    except (PassphraseMissing, FileProblem) as error:
        unknown, why = list(earlier), f" ({error})"
    else:
        least = partial(least_resemblance, calibrations())
        unknown, why = check_same_person(made, earlier, sealing, least), ""
    for file in unknown:
        warn(
            f"{file} has the same pseudonym, and whether it is the same person cannot be told "
            f"here{why}: if it is not, choose another"
        )


def check_same_person(
    made: Sequence[Enrolled],
    earlier: dict[Path, SubjectFile],
    sealing: hpke.PrivateKey,
    least: Callable[[str], float],
) -> list[Path]:
    """Check that earlier files of a pseudonym are of the person that is being enrolled.

    Args:
        made: the templates of now.
        earlier: from `files_of`.
        sealing: the investigator's key.
        least: model id to the cosine that two templates of one person reach.

    Returns:
        The files that could not be compared: another investigator's, or of other models.

    Raises:
        PseudonymTaken: one is of somebody else.
    """
    unknown = []
    for path, subject in earlier.items():
        try:
            templates = subject.open(sealing)
        except ProtocolError:
            unknown.append(path)
            continue
        try:
            alike = _alike(made, templates, least)
        finally:
            for template in templates:
                template.row.fill(0)
        if alike is None:
            unknown.append(path)
        elif not alike:
            raise PseudonymTaken(
                f"'{subject.pseudonym}' is somebody else in {path}: choose another pseudonym, so "
                "that two people never share one in queries and logs. If you are sure that it is "
                "the same person, --anyway"
            )
    return unknown


def _alike(
    made: Sequence[Enrolled], templates: Sequence[Template], least: Callable[[str], float]
) -> bool | None:
    """Whether two sets of templates are of one person; None if none are of one model."""
    told = None
    for one in made:
        for template in templates:
            same = (one.modality, one.model_id) == (template.modality, template.model)
            if not same or one.modality == FOLLOWED:  # clothes tell nobody apart
                continue
            row = dequantise_template(template.row, template.scale)
            cosine = float(np.dot(one.vector, row))
            row.fill(0)
            told = (told is not False) and cosine >= least(one.model_id)
    return told
