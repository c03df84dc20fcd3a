"""Candidates of version 1: the metadata of a whole slot opens by the grant, for what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from aggregator.matching.lanes import Hit, Source
from aggregator.matching.plausible import why_impossible
from aggregator.matching.probes import Probes
from aggregator.matching.refusals import OF_AN_ENVELOPE, Refusals
from aggregator.store import SegmentReader
from protocol.errors import MalformedMessage
from protocol.keytree import META
from protocol.names import CameraAddress, SightingName, SlotName
from protocol.results import Candidate, row_of_version_1
from protocol.sealing import Header, open_block
from protocol.sightings import BatchMeta, decode_meta
from runtime.calibration import Calibration


class Candidates:
    """Makes candidates of hits, one envelope after the other.

    Args:
        reader: the sealed segments.
        calibrations: model id to calibration, for likelihood ratios.
        contacts: whether candidates carry their encounters.
        refusals: notes what does not open.
    """

    def __init__(
        self,
        reader: SegmentReader,
        calibrations: Mapping[str, Calibration],
        *,
        contacts: bool,
        refusals: Refusals,
    ) -> None:
        self._reader = reader
        self._calibrations = calibrations
        self._contacts = contacts
        self._refusals = refusals
        self.lying: Counter[str] = Counter()
        """Hits whose times cannot be those of their slot, by camera."""

    def of(self, hits: Sequence[Hit]) -> list[Candidate]:
        """Open the metadata of the one envelope that all of ``hits`` are of."""
        source = hits[0].source
        scope = source.scope.keys.scope
        try:
            meta = self._meta(source, {hit.probes for hit in hits})
        except OF_AN_ENVELOPE as error:
            self._refusals.add(error, source.number, scope)
            return []
        return [] if meta is None else list(self._possible(hits, scope.address, meta))

    def _possible(
        self, hits: Sequence[Hit], address: CameraAddress, meta: BatchMeta
    ) -> Iterator[Candidate]:
        """Yield the hits that can be true; count the others."""
        for hit in hits:
            source = hit.source
            epoch = source.scope.keys.scope.epoch
            if why_impossible(meta.sighting(hit.row), epoch=epoch, slot=source.slot):
                self.lying[address.camera] += 1
            else:
                yield self._candidate(hit, address, meta)

    def _meta(self, source: Source, probes: set[Probes]) -> BatchMeta | None:
        """Open an envelope's metadata; None when it has meanwhile been purged.

        Raises:
            SealError, MalformedMessage, ScopeExceeded: it does not open, or says something else.
        """
        header = Header.parse(source.header)
        if header.count != source.sightings or any(
            header.models.get(p.modality) != p.model for p in probes
        ):
            raise MalformedMessage("count or model in store are not those of the header")
        block = source.meta
        if block is None:
            try:
                block = self._reader.meta(source.number)
            except KeyError:
                return None
        opened = open_block(
            source.scope.key(source.slot, META, block),
            block,
            header=source.header,
            label=META,
            nonce=source.nonce,
        )
        try:
            return decode_meta(bytes(opened), count=source.sightings)
        finally:
            opened[:] = bytes(len(opened))

    def _candidate(self, hit: Hit, address: CameraAddress, meta: BatchMeta) -> Candidate:
        sighting = meta.sighting(hit.row)
        scope = hit.source.scope.keys.scope
        slot = SlotName(address, scope.epoch, scope.generation, hit.source.slot)
        calibration = self._calibrations.get(hit.probes.model)
        return Candidate(
            subject=hit.subject,
            address=address,
            sighting_id=sighting.sighting_id,
            row=row_of_version_1(sighting, contacts=self._contacts),
            modality=hit.probes.modality,
            model=hit.probes.model,
            score=hit.score,
            log10_lr=None
            if calibration is None
            else calibration.log10_lr(hit.score, sighting.mask, sighting.quality),
            name=SightingName.of(slot, sighting.sighting_id),
        )
