"""What was shown on a form is what is signed: the query's digest goes along and is compared."""

from __future__ import annotations

import hmac

from officers.desk import Review
from officers.desk.case import CaseInvalid
from officers.desk.phrases import phrase


def check_shown(reviewed: Review, shown: str) -> None:
    """Check that the query is the one whose digest the form carries.

    Raises:
        CaseInvalid: headquarters hand out another one now.
    """
    if not hmac.compare_digest(reviewed.view.case.digest.hex().encode(), shown.encode()):
        raise CaseInvalid(
            phrase(
                "the query that was shown is not the one that is handed out now; nothing was "
                "signed. Do not go on, tell the auditors"
            )
        )
