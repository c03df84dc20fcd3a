"""Keep the streams' positions in the store, and in memory while nothing goes wrong."""

from __future__ import annotations

from collections.abc import Callable

from aggregator.ingest.sequence import Begun, Gap, Numbers, Position
from aggregator.store import Ledger, LedgerReading
from aggregator.store.rows import GapRow, StreamRow
from protocol.names import CameraAddress
from protocol.telemetry import MAX_MISSING

STALLED_MS = 10 * 60_000


class Positions:
    """The positions of all streams, loaded when first asked for.

    Every change goes to the given ledger, inside its owner's transaction. When that is undone,
    call `forget`: what is in memory would be ahead of the store.
    """

    def __init__(self, started_ms: int) -> None:
        self._started_ms = started_ms
        self._by_address: dict[CameraAddress, Position] = {}
        self._changed: dict[int, tuple[Position, int]] = {}

    def forget(self) -> None:
        """Drop what is in memory; it is read again from the store."""
        self._by_address.clear()
        self._changed.clear()

    def of(self, ledger: Ledger, address: CameraAddress) -> Position:
        """Return the position of ``address``, adding the stream when it is new."""
        position = self._by_address.get(address)
        if position is None:
            row = ledger.stream(address) or ledger.add_stream(address)
            position = self._by_address[address] = self._position(ledger, row)
        return position

    def forget_boxes(self, is_gone: Callable[[str], bool]) -> None:
        """Drop what is in memory of some boxes: another process goes on with them."""
        for address in [one for one in self._by_address if is_gone(one.box)]:
            gone = self._by_address.pop(address)
            self._changed.pop(gone.stream, None)

    def load(
        self, ledger: LedgerReading, site: str, is_ours: Callable[[str], bool] = lambda _box: True
    ) -> None:
        """Read the streams of ``site`` that are in the store, of those boxes."""
        for address in ledger.addresses(site):
            if not is_ours(address.box):
                continue
            row = ledger.stream(address)
            if row is not None:
                self._by_address[address] = self._position(ledger, row)

    def _position(self, ledger: LedgerReading, row: StreamRow) -> Position:
        gaps = [
            Gap(gap.number, gap.first, gap.last, gap.opened_ms, gap.reported_ms, gap.lost)
            for gap in row.gaps
        ]
        return Position(
            row.number,
            row.run,
            row.highest,
            Begun(row.generation, row.live_generation, row.floor_generation),
            gaps,
            self._started_ms,
            ledger.recorded_generations(row.number),
        )

    def known(self, address: CameraAddress) -> Position | None:
        """Return the position of ``address`` if it is in memory."""
        return self._by_address.get(address)

    def all(self) -> list[tuple[CameraAddress, Position]]:
        """Return the positions in memory."""
        return list(self._by_address.items())

    # ------------------------------------------------------------------ changes

    def advance(
        self, ledger: Ledger, position: Position, *, said: Numbers, now_ms: int, anew: bool = False
    ) -> None:
        """Take in a message ahead of all others; what was skipped becomes a gap."""
        if said.sequence > position.highest + 1:
            self._open(ledger, position, position.highest + 1, said.sequence - 1, now_ms)
        position.highest = said.sequence
        position.begin(said, anew=anew)
        self._changed[position.stream] = (position, now_ms)

    def restart(self, ledger: Ledger, position: Position, *, said: Numbers, now_ms: int) -> None:
        """Begin a new run with a message; what the old one still missed is lost."""
        ledger.lose_gaps(position.stream)
        position.run += 1
        position.highest = -1
        position.gaps.clear()
        self.advance(ledger, position, said=said, now_ms=now_ms, anew=True)

    def fill(self, ledger: Ledger, position: Position, *, said: Numbers, now_ms: int) -> Gap | None:
        """Take a message out of its gap; return the gap when that closed one already reported.

        The caller has made sure that it lies in one.
        """
        sequence = said.sequence
        if position.begin(said):
            self._changed[position.stream] = (position, now_ms)
        gap = position.gap_with(sequence)
        assert gap is not None  # noqa: S101 - Place.FILLS says so
        at = position.gaps.index(gap)
        position.filled_ms = now_ms
        if len(gap) == 1:
            del position.gaps[at]
            if gap.reported_ms is None:
                ledger.drop_gap(gap.number)
                return None
            ledger.close_gap(gap.number, now_ms)
            return gap
        if sequence == gap.first:
            gap.first += 1
        elif sequence == gap.last:
            gap.last -= 1
        else:
            rest = Gap(0, sequence + 1, gap.last, gap.opened_ms, gap.reported_ms, gap.lost)
            gap.last = sequence - 1
            self._insert(ledger, position, rest)
            position.gaps.insert(at + 1, rest)
        ledger.shrink_gap(gap.number, gap.first, gap.last)
        return None

    def report(self, ledger: Ledger, gap: Gap, *, now_ms: int) -> None:
        """Note that a gap has been reported."""
        gap.reported_ms = now_ms
        ledger.report_gap(gap.number, now_ms)

    def give_up(self, ledger: Ledger, position: Position, *, now_ms: int) -> list[Gap]:
        """Stop waiting for the oldest missing messages of a stream that no receipt could cover.

        A receipt names at most ``MAX_MISSING`` messages. When more are missing and none of them
        has come for ten minutes, the box does not have them (its outbox was full, or our store is
        new): the lowest gaps are given up, so that the box hears again what it may forget.
        """
        given_up: list[Gap] = []
        if now_ms - position.filled_ms < STALLED_MS:
            return given_up
        waited_for = position.waited_for()
        for gap in position.gaps:
            if waited_for <= MAX_MISSING:
                break
            if not gap.lost and now_ms - gap.opened_ms >= STALLED_MS:
                gap.lost = True
                waited_for -= len(gap)
                given_up.append(gap)
                ledger.lose_gap(gap.number)
        return given_up

    def _open(
        self,
        ledger: Ledger,
        position: Position,
        first: int,
        last: int,
        now_ms: int,
    ) -> None:
        gap = Gap(0, first, last, now_ms)
        self._insert(ledger, position, gap)
        position.gaps.append(gap)
        position.filled_ms = max(position.filled_ms, now_ms)

    @staticmethod
    def _insert(ledger: Ledger, position: Position, gap: Gap) -> None:
        row = GapRow(0, gap.first, gap.last, gap.opened_ms, gap.reported_ms, gap.lost)
        gap.number = ledger.add_gap(position.stream, position.run, row)

    def save(self, ledger: Ledger) -> None:
        """Write the positions that have changed; call it at the end of each transaction."""
        ledger.move_streams(
            (
                StreamRow(
                    number=at.stream,
                    run=at.run,
                    highest=at.highest,
                    generation=at.begun.newest,
                    live_generation=at.begun.live,
                    floor_generation=at.begun.floor,
                ),
                now_ms,
            )
            for at, now_ms in self._changed.values()
        )
        self._changed.clear()
