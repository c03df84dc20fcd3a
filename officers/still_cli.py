"""`sealtrace trace still`: hand over the still of a confirmed hit as a marked file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from officers import desk
from officers.desk.handing_over import hand_over
from officers.handover_cli import Force
from officers.keyboard import CaseId, at_desk
from runtime.errors import OperationError
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import note, say


def register(app: typer.Typer) -> None:
    """Put the command among those of `sealtrace trace`."""
    app.command(epilog="Example:  sealtrace trace still 3f2a91 2 --out still.jpg")(still)


def still(
    query_id: CaseId,
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", help="Of the hit, as `trace show` lists it.", min=1)
    ],
    *,
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write (JPEG).")],
    force: Force = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write the still of a confirmed hit to a file that only you can read, marked with your name.

    Needs a policy that permits it (evidence_export). To look at stills before you confirm, use the
    queue of candidates in `sealtrace desk`, which keeps them in memory alone. The box and the
    custodians log and count each still that is opened; the aggregator logs the export.
    """
    from officers.desk.still_export import (  # noqa: PLC0415 - loads OpenCV
        FORM,
        check_exportable,
        still_to_hand_over,
    )

    with at_desk(officer, passphrase_file) as (session, keys):
        desk.check_free(to, overwrite=force)
        unlocked = desk.Keys(keys.identity(), keys.sealing())
        results = desk.open_results(session, desk.sealed_to_me(session, query_id), unlocked.sealing)
        (item,) = desk.numbered(results, [number])
        check_exportable(item, session.officer.policy)
        shown = desk.show_still(session, results, item, unlocked, tell=note)
        with closing(shown):
            if shown.absent is not None:
                raise OperationError(shown.absent)
            made = still_to_hand_over(session, results, item, shown)
        (content,) = made.files.values()
        hand_over(
            session,
            results.case,
            FORM,
            {to: content},
            unlocked.identity,
            overwrite=force,
        )
    say(f"{to}: the still of hit {number}, marked with the query and your name")
