"""Queries that entries of a log name by digest, put in from the entries that have them in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.errors import ProtocolError
from protocol.query import MAX_QUERY_BYTES, QUERY_KIND
from protocol.signing import Signed

_QUERY = "query"
_DIGEST_BYTES = 32


class NamedQueries:
    """The queries of one log, read from its first entry on."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def filled_in(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an entry's body with its query in full.

        One that names a query of which no entry before it has more stays as it is: whoever reads it
        finds no query in it.
        """
        said = body.get(_QUERY)
        if not isinstance(said, bytes):
            return body
        if len(said) == _DIGEST_BYTES:
            return {**body, _QUERY: self._known.get(said, said)}
        try:
            signed = Signed.parse(said, kind=QUERY_KIND, max_bytes=MAX_QUERY_BYTES)
        except ProtocolError:
            return body  # a finding where the entry is checked
        self._known.setdefault(signed.digest, said)
        return body
