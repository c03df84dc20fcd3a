"""What officers do, without a terminal: each a typed call, for a command and for a page alike.

Nothing here prints, asks or waits for a key: keys come as values (`unlock`), notes and warnings are
called back (`Notice`) or stand in the result, and what a signature answers for is returned as facts
before a second call signs it. Errors are `OperationError` and `ProtocolError`.

An investigator: `scope`, `draft`, `file`, `wait`, `sealed_to_me`, `open_results`, `check_receipts`,
`decide`, `trace`, `around_of`, `export`, and `own_case`, `resume` after a restart of the
aggregator. An approver: `review`, `approve`. Both: `find_withdrawable`, `withdraw`, and of somebody
else's enrolment `look_at_enrolment`, `witness_enrolment`. Everybody: `connect`, `Session.queries`,
`look`, `facts_of`. An auditor: `fetch_logs`, `read_audit_copy`, `verify_logs`, `read_entries`.
"""

from __future__ import annotations

from officers.desk.api_client import Estimate, QuerySummary
from officers.desk.approving import Review, approve, check_useful, review
from officers.desk.audit_copy import AuditCopy, read_audit_copy
from officers.desk.audit_fetching import Fetched, fetch_logs
from officers.desk.auditing import (
    Selection,
    Verified,
    may_open_bodies,
    read_entries,
    verify_logs,
)
from officers.desk.by_example import Shown, shown_by
from officers.desk.camera_places import places_for
from officers.desk.case import Case
from officers.desk.deciding import check_decidable, decide, numbered
from officers.desk.drafting import Draft, Request, draft
from officers.desk.export_forms import Report
from officers.desk.exporting import Exported, around_of, export, positions_for
from officers.desk.facts import Fact
from officers.desk.filing import file, own_case, resume
from officers.desk.fitting import check_possible
from officers.desk.handing_over import check_free
from officers.desk.keys import Keys, open_identity, open_sealing, unlock
from officers.desk.looking import View, facts_of, look
from officers.desk.notices import Notice, Tell
from officers.desk.officer import Officer
from officers.desk.options import afterwards_minutes, contacts_asked
from officers.desk.place_list import Placed, placed_cameras
from officers.desk.receipts import Receipts, ReceiptsContradict, check_receipts
from officers.desk.results import Results, open_results, sealed_to_me, trace
from officers.desk.scoping import Scope, estimate, scope
from officers.desk.session import Session, connect
from officers.desk.waiting import Waited, settled, wait, well_settled, worth_showing
from officers.desk.windows import Window, closed_text, window
from officers.desk.withdrawing import (
    Outcome,
    Withdrawable,
    check_reason,
    find_withdrawable,
    withdraw,
)
from officers.desk.witnessing import Enrolment, look_at_enrolment, witness_enrolment
from protocol.audit import AuditorKey

__all__ = [
    "AuditCopy",
    "AuditorKey",
    "Case",
    "Draft",
    "Enrolment",
    "Estimate",
    "Exported",
    "Fact",
    "Fetched",
    "Keys",
    "Notice",
    "Officer",
    "Outcome",
    "Placed",
    "QuerySummary",
    "Receipts",
    "ReceiptsContradict",
    "Report",
    "Request",
    "Results",
    "Review",
    "Scope",
    "Selection",
    "Session",
    "Shown",
    "Tell",
    "Verified",
    "View",
    "Waited",
    "Window",
    "Withdrawable",
    "afterwards_minutes",
    "approve",
    "around_of",
    "check_decidable",
    "check_free",
    "check_possible",
    "check_reason",
    "check_receipts",
    "check_useful",
    "closed_text",
    "connect",
    "contacts_asked",
    "decide",
    "draft",
    "estimate",
    "export",
    "facts_of",
    "fetch_logs",
    "file",
    "find_withdrawable",
    "look",
    "look_at_enrolment",
    "may_open_bodies",
    "numbered",
    "open_identity",
    "open_results",
    "open_sealing",
    "own_case",
    "placed_cameras",
    "places_for",
    "positions_for",
    "read_audit_copy",
    "read_entries",
    "resume",
    "review",
    "scope",
    "sealed_to_me",
    "settled",
    "shown_by",
    "trace",
    "unlock",
    "verify_logs",
    "wait",
    "well_settled",
    "window",
    "withdraw",
    "witness_enrolment",
    "worth_showing",
]
