"""What officers do, without a terminal: each a typed call, for a command and for a page alike.

Nothing here prints, asks or waits for a key: keys come as values (`unlock`), notes and warnings are
called back (`Notice`) or stand in the result, and what a signature answers for is returned as facts
before a second call signs it. Errors are `OperationError` and `ProtocolError`.

What is signed is made by one call (`to_file`, an `Unsigned`), signed by key file or passkey, and
handed in by another (`file`). An investigator: `scope`, `draft`, `to_file`, `file`, `wait`,
`sealed_to_me`, `open_results`, `check_receipts`, `to_decide`, `hand_in_decision`, or `decide` for
many, `trace`, `around_of`, `export`, and `own_case`, `resume` after a restart of the aggregator.
An approver: `review`, `compare_with_last`, `to_approve`, `approve`, `to_refuse`, `refuse`. Both:
`find_withdrawable`, `to_withdraw`, `withdraw`, and of somebody else's enrolment
`look_at_enrolment`, `witness_enrolment`. Everybody: `connect`, `Session.queries`, `look`,
`facts_of`, and for passkeys `passkeys_of`, `registered_passkey`, `to_offer_passkey`,
`offer_passkey`. An auditor: `fetch_logs`, `read_audit_copy`, `verify_logs`, `read_entries`.
"""

from __future__ import annotations

from officers.desk.api_client import Estimate, QuerySummary
from officers.desk.approving import Review, approve, check_useful, review, to_approve
from officers.desk.audit_copy import AuditCopy, read_audit_copy
from officers.desk.audit_fetching import fetch_logs
from officers.desk.audit_outcomes import Fetched
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
from officers.desk.deciding import check_decidable, decide, hand_in_decision, numbered, to_decide
from officers.desk.differences import Compared, Difference, compare_with_last
from officers.desk.drafting import Draft, Request, draft
from officers.desk.export_forms import Report
from officers.desk.exporting import Exported, around_of, export, positions_for
from officers.desk.facts import Fact
from officers.desk.filing import file, own_case, resume, to_file
from officers.desk.fitting import check_possible
from officers.desk.handing_over import check_free
from officers.desk.keys import Keys, open_identity, open_sealing, unlock
from officers.desk.looking import View, facts_of, look, voices_of
from officers.desk.notices import Notice, Tell
from officers.desk.officer import Officer
from officers.desk.options import afterwards_minutes, contacts_asked
from officers.desk.passkeys import (
    Listed,
    PasskeyInvalid,
    check_assertion,
    offer_passkey,
    passkeys_of,
    registered_passkey,
    to_offer_passkey,
)
from officers.desk.place_list import Placed, placed_cameras
from officers.desk.receipts import Receipts, ReceiptsContradict, check_receipts
from officers.desk.refusing import RefusalUseless, check_refusable, refuse, to_refuse
from officers.desk.results import Results, open_results, sealed_to_me, trace
from officers.desk.scoping import Scope, estimate, scope
from officers.desk.session import Session, connect
from officers.desk.stills import Still, no_still, show_still
from officers.desk.voices import Approved, Refused, Voices
from officers.desk.waiting import Waited, settled, wait, well_settled, worth_showing
from officers.desk.windows import Window, closed_text, window
from officers.desk.withdrawing import (
    Outcome,
    ReasonInvalid,
    Withdrawable,
    find_withdrawable,
    reason_of,
    to_withdraw,
    withdraw,
)
from officers.desk.witnessing import Enrolment, look_at_enrolment, witness_enrolment
from protocol.audit import AuditorKey

__all__ = [
    "Approved",
    "AuditCopy",
    "AuditorKey",
    "Case",
    "Compared",
    "Difference",
    "Draft",
    "Enrolment",
    "Estimate",
    "Exported",
    "Fact",
    "Fetched",
    "Keys",
    "Listed",
    "Notice",
    "Officer",
    "Outcome",
    "PasskeyInvalid",
    "Placed",
    "QuerySummary",
    "ReasonInvalid",
    "Receipts",
    "ReceiptsContradict",
    "RefusalUseless",
    "Refused",
    "Report",
    "Request",
    "Results",
    "Review",
    "Scope",
    "Selection",
    "Session",
    "Shown",
    "Still",
    "Tell",
    "Verified",
    "View",
    "Voices",
    "Waited",
    "Window",
    "Withdrawable",
    "afterwards_minutes",
    "approve",
    "around_of",
    "check_assertion",
    "check_decidable",
    "check_free",
    "check_possible",
    "check_receipts",
    "check_refusable",
    "check_useful",
    "closed_text",
    "compare_with_last",
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
    "hand_in_decision",
    "look",
    "look_at_enrolment",
    "may_open_bodies",
    "no_still",
    "numbered",
    "offer_passkey",
    "open_identity",
    "open_results",
    "open_sealing",
    "own_case",
    "passkeys_of",
    "placed_cameras",
    "places_for",
    "positions_for",
    "read_audit_copy",
    "read_entries",
    "reason_of",
    "refuse",
    "registered_passkey",
    "resume",
    "review",
    "scope",
    "sealed_to_me",
    "settled",
    "show_still",
    "shown_by",
    "to_approve",
    "to_decide",
    "to_file",
    "to_offer_passkey",
    "to_refuse",
    "to_withdraw",
    "trace",
    "unlock",
    "verify_logs",
    "voices_of",
    "wait",
    "well_settled",
    "window",
    "withdraw",
    "witness_enrolment",
    "worth_showing",
]
