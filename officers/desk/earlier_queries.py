"""Notice that a pseudonym stood for something else in an earlier query of the same investigator."""

from __future__ import annotations

from collections.abc import Iterator

from officers.desk.notices import Notice
from officers.desk.officer import Officer
from officers.desk.phrases import day, phrase
from officers.desk.wording import short_id
from protocol.authorization import parse_signed_query
from protocol.errors import ProtocolError
from protocol.query import Query


def reused_notices(officer: Officer, query: Query) -> list[Notice]:
    """Warn of each subject who was asked for before, on another consent and by another enrolment.

    Read from the queries that are kept on this machine, those of the officer's own. That both are
    the same person cannot be told here: a query holds no template.
    """
    told: dict[str, Notice] = {}
    for earlier in _kept(officer):
        for before in earlier.subjects:
            for now in query.subjects:
                same = now.pseudonym == before.pseudonym
                if not same or now.consent_reference == before.consent_reference:
                    continue
                shared = {one.digest for one in now.templates} & {
                    one.digest for one in before.templates
                }
                if not shared:
                    told[now.pseudonym] = Notice(
                        phrase(
                            "'{pseudonym}' was asked for before, on {day} (query {short_id}) on "
                            "another consent or order, '{consent_reference}': if that was "
                            "somebody else, enrol under another pseudonym",
                            pseudonym=now.pseudonym,
                            day=day(earlier.requested_at_ms),
                            short_id=short_id(earlier.query_id.hex()),
                            consent_reference=before.consent_reference,
                        ),
                        warning=True,
                    )
    return list(told.values())


def _kept(officer: Officer) -> Iterator[Query]:
    """Yield the queries of the officer's own that are kept here, oldest first."""
    queries = []
    for query_id in officer.kept_ids():
        try:
            data = officer.kept_query(bytes.fromhex(query_id))
            signed = None if data is None else parse_signed_query(data)
            if signed is not None and signed.signer == officer.name:
                queries.append(Query.parse(signed.payload))
        except (ProtocolError, ValueError):
            continue  # of an older form, or no query: nothing is decided by it
    yield from sorted(queries, key=lambda one: one.requested_at_ms)
