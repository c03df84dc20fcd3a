"""What each finding of an audit means, and what to do about it: the auditor's guide, as phrases."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.phrases import Phrase, phrase
from protocol.findings import Finding, FindingKind, Report

_ASK_KEEPER = phrase("Ask whoever keeps that log.")
_REVOKE = phrase("That custodian misbehaves: have the authority revoke it.")
_FETCH = phrase("Fetch again. If it stays so, ask whoever keeps that log.")
_BOTH_COPIES = phrase(
    "Secure both copies and compare them with the other auditors: both histories stand under the "
    "keeper's own signature."
)
_COUNTS_FOR_NOTHING = phrase(
    "It counts for nothing. Ask the officer, and the operator of the aggregator."
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kind of finding means in a sentence, and what an auditor does then."""

    means: Phrase
    do: Phrase


MEANINGS: dict[FindingKind, Meaning] = {
    FindingKind.ENTRY_ALTERED: Meaning(
        phrase("Entries are not those that the log signed for: somebody changed the past."),
        phrase(
            "Its keeper, or whoever has its disk, did it. Have the machine secured, and keep your "
            "copy."
        ),
    ),
    FindingKind.ENTRY_MALFORMED: Meaning(phrase("An entry is of no known kind."), _ASK_KEEPER),
    FindingKind.LOG_INCONSISTENT: Meaning(
        phrase("Entries that the log had signed for are missing, or its history was rewritten."),
        phrase(
            "Secure your copy and compare it with the other auditors. An old backup that was put "
            "back looks like this too: ask its keeper."
        ),
    ),
    FindingKind.LOG_FORKED: Meaning(
        phrase("The log has two different histories: its keeper deceives somebody."), _BOTH_COPIES
    ),
    FindingKind.CHECKPOINT_INVALID: Meaning(
        phrase("The log did not sign what it is said to have signed, or a witness did not."),
        _ASK_KEEPER,
    ),
    FindingKind.COSIGNATURES_MISSING: Meaning(
        phrase(
            "Too few others have stood behind these entries for too long: somebody else may have "
            "been shown another history."
        ),
        phrase(
            "Have the roles that are down started, and fetch again. One that is gone for good has "
            "to be revoked. If all are up, the aggregator may be keeping something from them."
        ),
    ),
    FindingKind.NOT_YET_COSIGNED: Meaning(
        phrase("Not enough others stand behind the last entries yet."),
        phrase(
            "Fetch again once all roles are up. Until then do not take these entries for the only "
            "history there is."
        ),
    ),
    FindingKind.WITNESS_SILENT: Meaning(
        phrase("A role did not say what it has seen of the other logs."),
        phrase("Fetch again when it can be reached. Its software may be older."),
    ),
    FindingKind.COPY_BEHIND: Meaning(
        phrase("Another role has seen more of this log than your copy holds."),
        phrase("Fetch again. If it stays so, the log hides entries from you."),
    ),
    FindingKind.KEY_SHARED: Meaning(
        phrase("Two names in the directory have one key: one party counts as two."),
        phrase("Have the authority revoke all but one."),
    ),
    FindingKind.EDITION_CONTRADICTED: Meaning(
        phrase("Different directories, admissions or policies of one version are about."),
        phrase(
            "Compare their digests with the authority: it signed two (a backup of the site that "
            "was put back?), or a role lies."
        ),
    ),
    FindingKind.ID_REUSED: Meaning(
        phrase("One id stands for two things: whoever goes by the id sees one of them."),
        phrase(
            "The keeper of the log hides one behind the other. The digests tell them apart: ask "
            "the keeper, and the officer who asked."
        ),
    ),
    FindingKind.NOT_YET_SIGNED: Meaning(
        phrase("The log has not signed for its last entries yet."),
        phrase("Fetch again in a few minutes."),
    ),
    FindingKind.LOG_MISSING: Meaning(
        phrase("There is no copy of a log here: what others say of it cannot be checked."),
        phrase("Fetch again when that role can be reached. If it stays silent for days, ask why."),
    ),
    FindingKind.LOG_UNKNOWN: Meaning(
        phrase("A log of somebody whom the directory does not list."), phrase("Ask the authority.")
    ),
    FindingKind.ACTOR_FALSE: Meaning(
        phrase("An entry speaks for another keeper, or tells what its keeper has no part in."),
        _ASK_KEEPER,
    ),
    FindingKind.TIME_WRONG: Meaning(
        phrase("Entries go back in time, or contradict the clocks of witnesses."),
        phrase(
            "A clock was wrong, or entries were written later than they say: ask whoever keeps "
            "that log."
        ),
    ),
    FindingKind.BODY_UNREADABLE: Meaning(
        phrase("An entry does not open for you, or is not what its kind says."),
        phrase(
            "If it is older than your duty, let an auditor of that time read it. Else it was "
            "altered: ask whoever keeps that log."
        ),
    ),
    FindingKind.SIGNATURE_FALSE: Meaning(
        phrase("Something was logged as an officer's that the officer did not sign."),
        phrase(
            "The log's keeper forged it, or the officer's key was replaced: ask the officer, then "
            "the authority."
        ),
    ),
    FindingKind.APPROVED_AFTER_REFUSAL: Meaning(
        phrase("An approver approved a query that the same approver had refused before."),
        phrase("They may change their mind. If it happens often, ask why."),
    ),
    FindingKind.REFUSED_OWN_APPROVAL: Meaning(
        phrase("An approver refused a query that the same approver had approved."),
        phrase(
            "An approval is taken back by a withdrawal: ask the approver whether that was meant."
        ),
    ),
    FindingKind.DECISION_UNAUTHORIZED: Meaning(
        phrase("An officer decided on a candidate whom the query does not name for that."),
        _COUNTS_FOR_NOTHING,
    ),
    FindingKind.EXPORT_UNAUTHORIZED: Meaning(
        phrase("An officer exported results that are not sealed to that officer."),
        _COUNTS_FOR_NOTHING,
    ),
    FindingKind.POLICY_UNKNOWN: Meaning(
        phrase("Keys were given under a policy that is not among your copies."),
        phrase("Fetch again, or ask the authority for that policy."),
    ),
    FindingKind.GRANT_UNAUTHORIZED: Meaning(
        phrase("A custodian gave keys for what was not approved, had expired or is forbidden."),
        _REVOKE,
    ),
    FindingKind.GRANT_AFTER_WITHDRAWAL: Meaning(
        phrase("A custodian gave keys after a withdrawal had reached it."), _REVOKE
    ),
    FindingKind.GRANT_OUTSIDE_QUERY: Meaning(
        phrase("A custodian gave keys for a camera, time or kind of data that nobody asked for."),
        _REVOKE,
    ),
    FindingKind.GRANT_AFTER_DESTRUCTION: Meaning(
        phrase("A custodian gave keys of a day that it should have destroyed: it kept them."),
        _REVOKE,
    ),
    FindingKind.DAY_KEY_MADE_AGAIN: Meaning(
        phrase("A custodian made a new key for a day whose key it had destroyed."),
        phrase("Its key file was replaced, or its software altered: ask its operator."),
    ),
    FindingKind.GRANT_NOT_LOGGED: Meaning(
        phrase("The aggregator was given keys that the custodian's log does not tell of."), _REVOKE
    ),
    FindingKind.GRANT_FALSE: Meaning(
        phrase("The aggregator refused a custodian's keys: they opened nothing."),
        phrase(
            "Ask that custodian why. A box that lies as well can put the blame on the wrong one."
        ),
    ),
    FindingKind.GRANT_NOT_RECEIVED: Meaning(
        phrase("A custodian gave keys, and the aggregator's log does not say that they came."),
        phrase("The answer was lost, or the aggregator hides it: ask its operator."),
    ),
    FindingKind.QUERY_NOT_FILED: Meaning(
        phrase("Keys were given for a query that the aggregator's log does not hold."),
        phrase("The aggregator hides queries: ask its operator, and the officer who asked."),
    ),
    FindingKind.OPENED_WITHOUT_GRANT: Meaning(
        phrase("A custodian opened single sightings or stills before anybody had granted it."),
        phrase("It opens what nobody asked it for: ask its operator."),
    ),
    FindingKind.OPENED_BEYOND_QUERY: Meaning(
        phrase("More was opened than the query permits, or for somebody else."),
        phrase(
            "The custodian does not count: ask its operator, and ask the officers who confirm the "
            "query's hits for their receipts."
        ),
    ),
    FindingKind.OPENED_MISCOUNTED: Meaning(
        phrase("A custodian's count of what it opened does not follow from its own log."),
        phrase(
            "An entry is missing, or its database was put back from a backup: ask its operator."
        ),
    ),
    FindingKind.STILLS_UNASKED: Meaning(
        phrase("A still was sent or opened, and no log says that an officer asked a box for it."),
        phrase(
            "The aggregator's log is not whole: ask its operator, and the officers whose stills "
            "were opened how they came to them."
        ),
    ),
    FindingKind.LINKED_UNASKED: Meaning(
        phrase(
            "People near a subject were compared with one another, and nobody had asked for it."
        ),
        phrase("The aggregator is dishonest, or was taken over: have it looked into."),
    ),
    FindingKind.MATCH_WITHOUT_GRANT: Meaning(
        phrase("The aggregator compared sightings without enough custodians behind it."),
        phrase("It used keys that it should not have: have it looked into."),
    ),
}
"""Every kind has its meaning; a test holds it."""

UNKNOWN = Meaning(
    phrase("A finding that this version of the desk has no words for."),
    phrase("Look it up in the guide for the auditor."),
)

_REWRITTEN = frozenset(
    {
        FindingKind.ENTRY_ALTERED,
        FindingKind.LOG_INCONSISTENT,
        FindingKind.LOG_FORKED,
        FindingKind.EDITION_CONTRADICTED,
    }
)


def meaning_of(kind: FindingKind) -> Meaning:
    """Return what a kind of finding means."""
    return MEANINGS.get(kind, UNKNOWN)


def alarming(report: Report) -> tuple[Finding, ...]:
    """Return the findings by which a log is not what it was: they come before everything else.

    While there is one, nothing else that the logs tell can be taken for the only truth.
    """
    return tuple(found for found in report.wrong if found.kind in _REWRITTEN)
