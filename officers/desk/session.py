"""An officer at work: connected to the aggregator, and holding what it says against signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from officers.desk.api_client import AggregatorClient, QuerySummary
from officers.desk.camera_places import keep_register, kept_register
from officers.desk.case import Case, CaseInvalid, open_case
from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.phrases import phrase
from protocol.authorization import parse_signed_query
from protocol.errors import ProtocolError
from runtime.errors import OperationError
from runtime.http import PeerUnreachable

_ID = re.compile(r"[0-9a-f]{32}")
_ID_START = re.compile(r"[0-9a-f]{4,31}")


class QueryNotFound(OperationError):
    """No query, or more than one, begins with what was given."""


@dataclass(frozen=True, slots=True)
class Session:
    """An officer who is connected to the aggregator; ``tell`` takes notes and warnings."""

    officer: Officer
    client: AggregatorClient
    tell: Tell = unheard

    def full_id(self, text: str) -> str:
        """Return the id of the one query that begins with ``text``.

        Raises:
            QueryNotFound: there is none, or there are several.
        """
        given = check_id(text)
        if _ID.fullmatch(given):
            return given
        found = [one.id for one in self.client.queries() if one.id.startswith(given)]
        if len(found) == 1:
            return found[0]
        raise QueryNotFound(
            phrase(
                "several queries begin with '{given}'; `sealtrace query list` shows the ids",
                given=given,
            )
            if found
            else phrase(
                "no query begins with '{given}'; `sealtrace query list` shows the ids",
                given=given,
            )
        )

    def case(self, text: str) -> Case:
        """Fetch a query and verify it, also against the copy kept here of what one signed.

        Args:
            text: the query's id, or its first digits.

        Raises:
            QueryNotFound: there is none, or there are several.
            SignatureInvalid, MalformedMessage, CaseInvalid: it is not what it should be.
        """
        query_id = self.full_id(text)
        data = self.client.signed_query(query_id)
        case = open_case(data, query_id, self.officer.directory)
        kept = self.officer.kept_query(case.query.query_id)
        if kept is not None and parse_signed_query(kept).digest != case.digest:
            raise CaseInvalid(
                phrase(
                    "the aggregator hands out another query as {id} than the one that you signed "
                    "or approved under this id: do not go on, tell the auditors",
                    id=case.id[:12],
                )
            )
        return case

    def summary(self, case: Case) -> QuerySummary:
        """Return where a query stands, said of the very query that was verified.

        Raises:
            QueryNotFound: the aggregator speaks of another one.
        """
        summary = self.client.query(case.id)
        if summary.digest != case.digest.hex():
            raise QueryNotFound(
                phrase(
                    "what the aggregator says of the query's state is about another query than "
                    "the one it handed out: do not go on, tell the auditors"
                )
            )
        return summary

    def queries(self, state: str | None = None) -> list[QuerySummary]:
        """Return the site's queries, newest first, as the aggregator tells them."""
        return [one for one in self.client.queries() if state in {None, one.state}]


@contextmanager
def connect(officer: Officer, tell: Tell = unheard) -> Iterator[Session]:
    """Connect an officer, and take a newer directory if the aggregator has one.

    Raises:
        OfficerError: no aggregator is known, or the officer has no certificate.
        PeerUnreachable: the aggregator does not answer.
    """
    with AggregatorClient(officer.aggregator_url(), officer.tls) as client:
        session = Session(officer, client, tell)
        refresh_directory(session)
        refresh_places(session)
        yield session


def refresh_directory(session: Session) -> None:
    """Take in the aggregator's directory and admissions if newer than ours; keep ours if unusable.

    Raises:
        PeerUnreachable: the aggregator does not answer.
    """
    try:
        session.officer.take_directory(session.client.directory())
        admissions = session.client.admissions()
        if admissions is not None:
            session.officer.take_directory(admissions)
    except PeerUnreachable:
        raise
    except (OperationError, ProtocolError) as error:
        words = phrase(
            "the directory that the aggregator holds is not taken: {error}",
            error=error,
        )
        session.tell(Notice(words, warning=True))


def refresh_places(session: Session) -> None:
    """Fetch the register of places that the directory names, unless it is here already.

    What is not the one that the directory names is not kept. Whoever needs the register says that
    it is missing (`camera_places.places_for`).

    Raises:
        PeerUnreachable: the aggregator does not answer.
    """
    officer = session.officer
    if officer.directory.places is None or kept_register(officer) is not None:
        return
    try:
        data = session.client.places()
        if data is not None:
            keep_register(officer, data)
    except PeerUnreachable:
        raise
    except (OperationError, ProtocolError) as error:
        words = phrase(
            "the register of places that the aggregator holds is not taken: {error}",
            error=error,
        )
        session.tell(Notice(words, warning=True))


def check_id(text: str) -> str:
    """Return the id, or the beginning of one, in lower case.

    Raises:
        QueryNotFound: it is neither.
    """
    given = text.strip().lower()
    if _ID.fullmatch(given) or _ID_START.fullmatch(given):
        return given
    raise QueryNotFound(
        phrase(
            "{text!r} is not a query's id (32 hexadecimal digits, or the first 4 or more of "
            "them); `sealtrace query list` shows the ids",
            text=text,
        )
    )
