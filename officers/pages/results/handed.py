"""What leaves the desk as files: signed and logged, then in memory until the browser has it."""

from __future__ import annotations

from officers.desk import Case
from officers.desk.files_at_hand import FilesAtHand
from officers.desk.handing_over import Prepared, hand_in_export
from officers.desk.report.making import FORM
from officers.pages.at import At
from protocol.signing import Signed


def shelf(here: At) -> FilesAtHand:
    """Return the files that wait to be fetched."""
    return here.house.kept("files at hand", FilesAtHand)


def hand_over(here: At, case: Case, prepared: Prepared, signed: Signed) -> str:
    """Have it logged, then keep the files for the browser; return the page that gives them.

    Raises:
        SignatureInvalid, OperationError: as `hand_in_export`; nothing is given then.
    """
    with here.session() as session:
        hand_in_export(session, case, prepared, signed)
    files = dict(prepared.files)
    if prepared.form == FORM:
        (stem,) = {name.rsplit(".", 1)[0] for name in files}
        files[f"{stem}.sig"] = signed.to_bytes()
    token = shelf(here).put(case.id, prepared.form, files)
    return f"/queries/{case.id}/report/ready/{token}"
