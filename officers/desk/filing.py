"""Sign and file a draft, and hand its templates over, sealed to the matcher's key."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from officers.desk.api_client import QuerySummary
from officers.desk.case import Case, CaseInvalid
from officers.desk.drafting import Draft
from officers.desk.own_word import check_own, check_same
from officers.desk.phrases import phrase
from officers.desk.session import Session
from officers.desk.subjects import DraftInvalid, OpenedSubject, opened_subjects, templates_for
from protocol import hpke
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey
from protocol.directory import AGGREGATOR, INVESTIGATOR, Directory
from protocol.errors import ProtocolError
from protocol.query import QUERY_KIND, Query
from protocol.signing import Signed, Unsigned
from protocol.templates import seal_templates
from runtime.errors import OperationError


class TemplatesNotSent(OperationError):
    """A query is filed, and its templates are not there yet; ``query_id``: which."""

    def __init__(self, query_id: str, error: Exception) -> None:
        super().__init__(
            phrase(
                "the query is filed as {query}, but its templates are not there yet ({error}); "
                "send them with `sealtrace query resume {query} --subject FILE`",
                query=query_id,
                error=error,
            )
        )
        self.query_id = query_id


def to_file(session: Session, draft: Draft) -> Unsigned:
    """Return what is signed to file a drafted query.

    Args:
        session: the investigator's who drafted it.
        draft: not closed yet.

    Raises:
        DraftInvalid: the draft is closed.
        MalformedMessage: it is not a query that anybody would accept.
    """
    _check_open(draft)
    unsigned = draft.query.unsigned(session.officer.name)
    Query.parse(unsigned.payload)
    return unsigned


def file(session: Session, draft: Draft, signed: Signed) -> QuerySummary:
    """File a drafted query that was signed, and hand its templates over.

    Args:
        session: the investigator's who drafted it.
        draft: not closed yet.
        signed: what `to_file` made of this very draft.

    Raises:
        DraftInvalid: the draft is closed.
        SignatureInvalid: it is not this draft that was signed, or not by the investigator.
        TemplatesNotSent: it is filed without its templates as yet.
        OperationError: it could not be filed.
    """
    me, query = session.officer, draft.query
    _check_open(draft)
    payload = check_own(me, signed, QUERY_KIND, INVESTIGATOR)
    check_same(query.unsigned(me.name).payload, payload, "draft")
    case = Case(query, signed.digest, me.name, signed.to_bytes())
    me.keep_query(query.query_id, case.signed)
    session.client.file(case.signed)
    try:
        return _send_templates(session, case, draft.subjects)
    except (OperationError, ProtocolError) as error:
        raise TemplatesNotSent(case.id, error) from error


def own_case(session: Session, query_id: str) -> Case:
    """Return a query of the officer's own, whose templates the officer can send.

    Args:
        session: an investigator's.
        query_id: the id, or its first digits.

    Raises:
        OperationError: it is somebody else's, or there is none.
        ProtocolError: it is not genuine.
    """
    case = session.case(query_id)
    if case.requester != session.officer.name:
        raise OperationError(
            phrase(
                "the query is {requester}'s, and only {requester} can send its templates",
                requester=case.requester,
            )
        )
    return case


def resume(
    session: Session, case: Case, subjects: Sequence[Path], sealing: hpke.PrivateKey
) -> QuerySummary:
    """Seal the templates of the subject files anew for a query whose matcher key is lost.

    Args:
        session: the investigator's who asked.
        case: from `own_case`.
        subjects: the files that the query was signed for.
        sealing: the investigator's key, that opens them.

    Raises:
        DraftInvalid: the subjects are not those of the query, or a file does not open.
        SignatureInvalid, CaseInvalid: the key is not the site's aggregator's for this query.
    """
    with opened_subjects(subjects, sealing) as opened:
        return _send_templates(session, case, opened)


def matcher_key_of(data: bytes, case: Case, directory: Directory) -> hpke.PublicKey:
    """Return the matcher's key for a query, verified.

    Raises:
        SignatureInvalid, MalformedMessage: the site's aggregator did not sign it.
        CaseInvalid: it is the key of another query.
    """
    signed = Signed.parse(data, kind=MATCHER_KEY_KIND)
    statement = MatcherKey.parse(signed.verify(directory.resolver(AGGREGATOR)))
    if not hmac.compare_digest(statement.query_digest, case.digest):
        raise CaseInvalid(
            phrase(
                "the aggregator answered with the matcher key of another query, so no template "
                "was sent; try again, and tell the auditors if it stays so"
            )
        )
    return statement.key


def _check_open(draft: Draft) -> None:
    asked = {one.digest for subject in draft.query.subjects for one in subject.templates}
    if not asked <= {one.digest for subject in draft.subjects for one in subject.templates}:
        raise DraftInvalid(
            phrase("the draft is closed, its templates are wiped: draft the query anew")
        )


def _send_templates(
    session: Session, case: Case, subjects: Sequence[OpenedSubject]
) -> QuerySummary:
    """Have the matcher make a key, verify it, and hand over the templates sealed to it."""
    templates = templates_for(case.query, subjects)
    session.summary(case)
    key = matcher_key_of(session.client.matcher_key(case.id), case, session.officer.directory)
    sealed = seal_templates(templates, key, query_digest=case.digest)
    return session.client.put_templates(case.id, sealed)
