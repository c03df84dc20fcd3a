"""Which companions of a query's subjects are one person, as its officers read it.

The aggregator's matcher compared them and tells numbers; it is no custodian's word. It is sealed to
the officers of this very query, and believed only of its cameras and if the query asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from officers.desk.case import Case, CaseInvalid
from officers.desk.phrases import nphrase, phrase
from protocol import hpke
from protocol.errors import ProtocolError
from protocol.links import Companion, Links


def open_links(
    sealed: Sequence[bytes], case: Case, sealing: hpke.PrivateKey
) -> tuple[Mapping[Companion, int], tuple[str, ...]]:
    """Open which companions are one contact; return their numbers, and what is wrong or missing.

    Args:
        sealed: as the aggregator gave it: one, or none yet.
    """
    if not sealed:
        return {}, ()
    try:
        links = Links.open(sealed[-1], sealing, query_digest=case.digest)
        _check(links, case)
    except (ProtocolError, CaseInvalid) as error:
        return {}, (phrase("which contacts are one person cannot be used: {error}", error=error),)
    return links.numbers, tuple(_lacking(links))


def _check(links: Links, case: Case) -> None:
    query = case.query
    if not query.asks.linked_contacts:
        raise CaseInvalid(phrase("it links contacts, and the query does not ask for that"))
    if any(
        address.site != query.site or address.camera not in query.cameras
        for address, _ in links.numbers
    ):
        raise CaseInvalid(phrase("it is of cameras that the query does not name"))


def _lacking(links: Links) -> list[str]:
    """Say whom numbers are missing of: they count as one person for each camera and stay."""
    lacking: list[str] = []
    if links.without:
        lacking.append(
            nphrase(
                "{n} contact could not be compared with others (no template of theirs was seen): "
                "each counts as a person of their own",
                "{n} contacts could not be compared with others (no template of theirs was seen): "
                "each counts as a person of their own",
                links.without,
            )
        )
    if links.left_out:
        lacking.append(
            nphrase(
                "{n} contact who were near for the shortest time were not compared: each counts as "
                "a person of their own",
                "{n} contacts who were near for the shortest time were not compared: each counts "
                "as a person of their own",
                links.left_out,
            )
        )
    return lacking
