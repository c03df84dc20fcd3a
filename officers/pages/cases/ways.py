"""Where one goes on from a query: by duty, and only where there is something to do."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk import View, Voices
from officers.desk.api_client import ENDED
from officers.pages.at import At
from protocol.directory import APPROVER, AUDITOR


@dataclass(frozen=True, slots=True)
class WayOn:
    """A link to a page about the query."""

    path: str
    words: str


def ways_on(here: At, view: View, voices: Voices) -> list[WayOn]:
    """Return the pages about a query that this officer has something to do on."""
    me, case, base = here.officer.name, view.case, f"/queries/{view.case.id}"
    ended = view.summary.state in ENDED
    withdrawn = me in {one.officer for one in view.summary.withdrawals}
    given = me in {one.approver for one in voices.approvals}
    ways = []
    if APPROVER in here.duties and case.requester != me and not (ended or given):
        ways.append(WayOn(f"{base}/decide", here.text("Approve or refuse…")))
    if me in case.officers:
        ways += [
            WayOn(f"{base}/candidates", here.text("Candidates")),
            WayOn(f"{base}/trace", here.text("Trace")),
            WayOn(f"{base}/contacts", here.text("Contacts")),
            WayOn(f"{base}/report", here.text("Report")),
        ]
    if AUDITOR in here.duties:
        ways.append(WayOn(f"/audit/queries/{case.id}", here.text("Its life in the logs")))
    if any(one.consent_document or one.witnessed for one in case.query.subjects):
        ways.append(WayOn(f"/documents/{case.id}", here.text("Hold a document against it")))
    if not withdrawn and (case.requester == me or given):
        words = here.text("Withdraw the query…")
        if case.requester != me:
            words = here.text("Withdraw my approval…")
        ways.append(WayOn(f"{base}/withdraw", words))
    return ways
