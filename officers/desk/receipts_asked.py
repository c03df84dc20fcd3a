"""Ask each custodian, past the aggregator, for its receipts of what it opened for a query."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from officers.desk.case import Case
from officers.desk.officer import Officer
from officers.desk.phrases import phrase
from protocol.directory import Principal
from protocol.encoding import decode
from protocol.errors import MalformedMessage, ProtocolError
from protocol.signing import Signed
from protocol.v2.release import ROW_RELEASE_KIND, RowRelease
from runtime.errors import OperationError, explained
from runtime.http import raise_for_problem
from runtime.peers import at_once, client_of

_MAX_RECEIPTS_BYTES = 64 << 20


class _Endless(MalformedMessage):
    """A custodian's receipts do not end, or nobody reads so many."""


@dataclass(frozen=True, slots=True)
class Given:
    """The receipts that a custodian gave for a query when asked; ``silence``: why there are none.

    Args:
        signed: `RowRelease`s as the custodian signed them.
        endless: it gave more of them than anybody reads.
    """

    custodian: str
    signed: tuple[bytes, ...] = ()
    silence: str = ""
    endless: bool = False


def ask_custodians(officer: Officer, case: Case) -> list[Given]:
    """Ask every custodian, past the aggregator, for its receipts of a query.

    Raises:
        OfficerError: the officer has no certificate.
    """
    tls, path = officer.tls, f"/v1/rows/{case.digest.hex()}"

    def ask(custodian: Principal) -> Given:
        try:
            with client_of(custodian, tls) as http:
                return Given(custodian.name, _read_receipts(http, path))
        except (OperationError, ProtocolError) as error:
            silence = explained(error) or type(error).__name__
            return Given(custodian.name, silence=silence, endless=isinstance(error, _Endless))

    return at_once(officer.custodians(), ask)


def _read_receipts(http: httpx.Client, path: str) -> tuple[bytes, ...]:
    """Read all receipts of a query, page by page.

    Raises:
        PeerUnreachable, ProblemError: the custodian does not give them.
        MalformedMessage: it gives something else, or the same again and again.
    """
    receipts: list[bytes] = []
    room, from_entry = _MAX_RECEIPTS_BYTES, 0
    while True:
        answer = raise_for_problem(http.get(path, params={"from_entry": from_entry})).content
        page = decode(answer, what="receipts")
        if not isinstance(page, list) or not all(isinstance(one, bytes) for one in page):
            raise MalformedMessage(phrase("its answer is not a list of receipts"))
        if not page:
            return tuple(receipts)
        receipts += page
        last = RowRelease.parse(Signed.parse(page[-1], kind=ROW_RELEASE_KIND).payload).entry_index
        room -= len(answer)
        if last < from_entry or room < 0:
            raise _Endless(phrase("its list of receipts does not end"))
        from_entry = last + 1
