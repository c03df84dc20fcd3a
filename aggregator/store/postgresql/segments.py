"""Sealed segments in PostgreSQL: the rows of the hour (`aggregator.store.interface.Segments`).

An envelope is laid out in columns so that matching reads one block, and put together again byte
for byte. Of those that are packed (`aggregator.store.packed`) only numbers are counted here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aggregator.store.envelopes import AnyEnvelope, SealedEnvelope, put_together
from aggregator.store.interface import ReaderSource
from aggregator.store.place import StorePlace
from aggregator.store.postgresql.arrivals import Arrivals
from aggregator.store.postgresql.cursors import ENVELOPES
from aggregator.store.postgresql.known import Known
from aggregator.store.postgresql.packs import PacksRead
from aggregator.store.postgresql.sessions import Committed, Server, Session, Transaction
from aggregator.store.postgresql.tables import Tables
from aggregator.store.rows import SealedRow, ToldRow
from aggregator.store.runs import SegmentRun, runs_from_scan
from protocol.grant import Scope
from protocol.keytree import COUNTS, COVER, META, MODALITIES
from runtime.database import StorageError

_LABELS = (*MODALITIES, COVER, COUNTS, META)
_SCOPE = (
    "WHERE stream ="
    " (SELECT id FROM streams WHERE site = %s AND box = %s AND camera = %s)"
    " AND epoch = %s AND generation = %s AND slot BETWEEN %s AND %s AND id > %s"
)
_IN_SCOPE = f"FROM envelopes {_SCOPE}"
_NUMBERS = "id, version, slot, segment, sequence, count, salt"
_HEADER = "header"
_HEADER_OF_ROWS = "CASE WHEN version = 2 AND segment = 1 THEN ''::bytea ELSE header END"
"""Of what comes in runs the header is read only for what is found."""
_FIXED = 9
"""Columns before those that are there for each modality."""


@dataclass(frozen=True, slots=True)
class SegmentServer:
    """Where the segments are: the database."""

    place: StorePlace

    def open(self) -> SegmentTables:
        """Connect for reading; the connections go with what is returned.

        Raises:
            StorageError: it cannot be reached, or there is no ledger.
        """
        return self.open_with_packs()[0]

    def open_with_packs(self) -> tuple[SegmentTables, PacksRead]:
        """Connect for reading: rows, and what is known of objects.

        Raises:
            StorageError: it cannot be reached, or there is no ledger.
        """
        session = Committed(Server(self.place))
        if session.rows("SELECT to_regclass('envelopes')") == [(None,)]:
            raise StorageError(
                f"there is no ledger in {self.place.name}: the aggregator makes one when it starts"
            )
        return SegmentTables(session, self.place), PacksRead(session)


class SegmentTables(Tables):
    """Reads rows of envelopes; in a transaction it takes them in, too."""

    def __init__(self, session: Session, place: StorePlace) -> None:
        super().__init__(session)
        self._place = place

    # ------------------------------------------------------------------ reading

    @property
    def source(self) -> ReaderSource:
        """What opens these segments in another process."""
        return SegmentServer(self._place)

    def newest(self) -> int:
        self._session.settle()
        return ENVELOPES.newest(self._session)

    def models(self) -> dict[int, str]:
        return {row[0]: row[1] for row in self._peek("SELECT id, model FROM models")}

    def count(self, scope: Scope, *, after: int = 0) -> int:
        select = f"SELECT count(*) FROM known_envelopes {_SCOPE}"  # noqa: S608 - our own words
        return int(self._rows(select, _values(scope, after))[0][0])

    def scan(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SealedRow]:
        return self._scan(scope, modalities, after, _HEADER)

    def runs(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SegmentRun | SealedRow]:
        rows = self._scan(scope, modalities, after, _HEADER_OF_ROWS)
        return runs_from_scan(rows, modalities=len(modalities))

    def _scan(
        self, scope: Scope, modalities: Sequence[str], after: int, header: str
    ) -> Iterator[SealedRow]:
        columns = [_NUMBERS, header, "live", *(f"{one}_model" for one in modalities), *modalities]
        select = f"SELECT {', '.join(columns)} {_IN_SCOPE}"
        asked = len(modalities)
        self._session.settle()
        for row in self._session.each(select, _values(scope, after)):
            models, blocks = row[_FIXED : _FIXED + asked], row[_FIXED + asked :]
            yield SealedRow._make((*row[:_FIXED], models, blocks))

    def told(self, scope: Scope, *, after: int = 0, through: int) -> Iterator[ToldRow]:
        select = (
            f"SELECT id, slot, sequence, salt, cover, counts {_IN_SCOPE}"
            " AND id <= %s AND segment = 1 AND version = 2"
        )
        self._session.settle()
        for row in self._session.each(select, (*_values(scope, after), through)):
            yield ToldRow._make(row)

    def header(self, number: int) -> bytes:
        return self._block(number, "header")

    def meta(self, number: int) -> bytes:
        return self._block(number, META)

    def cover(self, number: int) -> bytes:
        return self._block(number, COVER)

    def vouch(self, number: int) -> None:
        """Do nothing: the database checks its own pages."""

    def envelope(self, number: int) -> AnyEnvelope:
        rows = self._rows(
            f"SELECT header, signature, version, live, {', '.join(_LABELS)}"  # noqa: S608 - our own words
            " FROM envelopes WHERE id = %s",
            (number,),
        )
        if not rows:
            raise KeyError(number)
        header, signature, version, live, *blocks = rows[0]
        stored = {
            label: block for label, block in zip(_LABELS, blocks, strict=True) if block is not None
        }
        return put_together(header, signature, stored, live, version=version)

    def _block(self, number: int, column: str) -> bytes:
        rows = self._rows(
            f"SELECT coalesce({column}, ''::bytea) FROM envelopes WHERE id = %s",  # noqa: S608 - our own words
            (number,),
        )
        if not rows:
            raise KeyError(number)
        return bytes(rows[0][0])


class SegmentUnit(SegmentTables):
    """The sealed segments inside a transaction."""

    def __init__(
        self, session: Transaction, place: StorePlace, arrivals: Arrivals, known: Known
    ) -> None:
        super().__init__(session, place)
        self._waiting = arrivals
        self._known = known

    def append(self, stream: int, envelope: SealedEnvelope, *, received_ms: int) -> None:
        self._waiting.add_envelope(stream, envelope, received_ms)

    def replaced(self) -> int:
        self._session.settle()
        told, self._waiting.replaced = self._waiting.replaced, 0
        return told

    def drop_replaced_live(self, stream: int, epoch: int, generation: int, slot: int) -> int:
        self._session.settle()
        where = "stream = %s AND epoch = %s AND generation = %s AND slot = %s"
        scope = (stream, epoch, generation, slot)
        return self._run(
            f"DELETE FROM envelopes WHERE {where} AND segment = 0 AND"  # noqa: S608 - our own words
            " (SELECT coalesce(sum(count) FILTER (WHERE segment = 1), 0) >="
            f" sum(count) FILTER (WHERE segment = 0) FROM known_envelopes WHERE {where})",
            (*scope, *scope),
        )

    def drop_days(self, *, before_epoch: int, most: int) -> int:
        self._session.settle()
        days = self._known.days
        days.drop("replaced_numbers", before_epoch, self._transaction, counted=False)
        return days.drop("envelopes", before_epoch, self._transaction)


def _values(scope: Scope, after: int) -> tuple[object, ...]:
    address = scope.address
    return (
        address.site,
        address.box,
        address.camera,
        scope.epoch,
        scope.generation,
        scope.first_slot,
        scope.last_slot,
        after,
    )
