"""Sign and file a draft, and hand its templates over, sealed to the matcher's key."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from officers.desk.api_client import QuerySummary
from officers.desk.case import Case, CaseInvalid
from officers.desk.drafting import Draft
from officers.desk.session import Session
from officers.desk.subjects import DraftInvalid, OpenedSubject, opened_subjects, templates_for
from protocol import hpke
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey
from protocol.directory import AGGREGATOR, Directory
from protocol.errors import ProtocolError
from protocol.query import Query
from protocol.signing import Signed, SigningKey
from protocol.templates import seal_templates
from runtime.errors import OperationError


def file(session: Session, draft: Draft, key: SigningKey) -> QuerySummary:
    """Sign a drafted query, file it, and hand its templates over.

    Args:
        session: the investigator's who drafted it.
        draft: not closed yet.
        key: the investigator's signing key.

    Raises:
        DraftInvalid: the draft is closed.
        OperationError: it could not be filed, or is filed without its templates as yet.
        MalformedMessage: it is not a query that anybody would accept.
    """
    me, query = session.officer, draft.query
    _check_open(draft)
    signed = query.sign(key)
    Query.parse(signed.payload)
    case = Case(query, signed.digest, me.name, signed.to_bytes())
    me.keep_query(query.query_id, case.signed)
    session.client.file(case.signed)
    try:
        return _send_templates(session, case, draft.subjects)
    except (OperationError, ProtocolError) as error:
        raise OperationError(
            f"the query is filed as {case.id}, but its templates are not there yet ({error}); "
            f"send them with `sealtrace query resume {case.id} --subject FILE`"
        ) from error


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
            f"the query is {case.requester}'s, and only {case.requester} can send its templates"
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
            "the aggregator answered with the matcher key of another query, so no template was "
            "sent; try again, and tell the auditors if it stays so"
        )
    return statement.key


def _check_open(draft: Draft) -> None:
    asked = {one.digest for subject in draft.query.subjects for one in subject.templates}
    if not asked <= {one.digest for subject in draft.subjects for one in subject.templates}:
        raise DraftInvalid("the draft is closed, its templates are wiped: draft the query anew")


def _send_templates(
    session: Session, case: Case, subjects: Sequence[OpenedSubject]
) -> QuerySummary:
    """Have the matcher make a key, verify it, and hand over the templates sealed to it."""
    templates = templates_for(case.query, subjects)
    session.summary(case)
    key = matcher_key_of(session.client.matcher_key(case.id), case, session.officer.directory)
    sealed = seal_templates(templates, key, query_digest=case.digest)
    return session.client.put_templates(case.id, sealed)
