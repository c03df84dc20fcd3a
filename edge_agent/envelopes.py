"""Make a camera's envelopes, each in the version that its generation was announced in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent import version1, version2
from edge_agent.batch import draw_salt
from edge_agent.epochs import EpochKeys
from protocol.sealing import Header as HeaderOfVersion1
from protocol.signing import SigningKey
from protocol.v2 import VERSION
from protocol.v2.counts import Counts
from protocol.v2.header import Header
from protocol.v2.rows import Coverage
from protocol.v2.sightings import Sighting


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into an envelope of one slot.

    ``coverage`` and ``counts`` are for segments of version 2; ``counts`` is None where the policy
    permits none.
    """

    kind: str
    sightings: Sequence[Sighting]
    slot: int
    coverage: Coverage | None = None
    counts: Counts | None = None


@dataclass(frozen=True, slots=True)
class EnvelopeMaker:
    """Seals for one camera and signs as its board.

    Args:
        models: modality to model of the templates that are made.
        board: signs.
        origin: of the pictures (`protocol.epoch`).
        time_source: how their times are known (`protocol.v2.header`).
    """

    models: Mapping[str, str]
    board: SigningKey
    origin: str
    time_source: str

    def make(
        self,
        contents: Contents,
        keys: EpochKeys,
        sequence: int,
        *,
        sealed_at_ms: int,
        replaces: Sequence[int] = (),
    ) -> bytes:
        """Seal an envelope.

        Args:
            contents: what is in it.
            keys: of its generation.
            sequence: its number.
            sealed_at_ms: now.
            replaces: numbers of the live envelopes that a segment takes the place of, ascending.

        Raises:
            ScopeExceeded: the slot's keys are gone.
        """
        kind, slot = contents.kind, contents.slot
        if keys.version < VERSION:
            first = HeaderOfVersion1(
                kind=kind,
                address=keys.address,
                epoch=keys.epoch,
                generation=keys.generation,
                slot=slot,
                sequence=sequence,
                count=len(contents.sightings),
                models=self.models,
                sealed_at_ms=sealed_at_ms,
                salt=draw_salt(kind),
            )
            plain = [version1.as_version_1(one) for one in contents.sightings]
            return version1.sealed(first, plain, keys.slot_keys(slot), self.board)
        header = Header(
            kind=kind,
            name=keys.slot_name(slot),
            sequence=sequence,
            origin=self.origin,
            time_source=self.time_source,
            sealed_at_ms=sealed_at_ms,
            salt=draw_salt(kind),
            replaces=version2.ranges_of(replaces),
            blocks=(),
        )
        return version2.sealed(
            header,
            contents.sightings,
            keys,
            self.board,
            models=self.models,
            coverage=contents.coverage,
            counts=contents.counts,
        )
