"""Open what was granted, compare it, keep candidates only, wipe the rest.

docs/protocol.md, "Envelopes".

From each envelope in scope the template block alone is read and opened, straight into one buffer in
which the blocks of many envelopes lie end to end; one matrix product compares some 4,096 rows. The
metadata is opened only for envelopes in which something reached a threshold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.matching.lanes import Best, Hit, KeyNotReleased, Lane, ScopeKeys, Source
from aggregator.matching.plausible import why_impossible
from aggregator.matching.probes import Probes
from aggregator.matching.shares import fair_shares
from aggregator.store import SegmentReader
from aggregator.store.rows import SealedRow
from protocol.epoch_keys import EpochKeys
from protocol.errors import MalformedMessage, ScopeExceeded, SealError
from protocol.grant import Scope
from protocol.keytree import LIVE, META
from protocol.names import CameraAddress, SightingName, SlotName
from protocol.results import Candidate, row_of_version_1
from protocol.sealing import (
    Blocks,
    Header,
    nonce_of,
    open_block,
)
from protocol.sightings import BatchMeta, decode_meta
from runtime.calibration import Calibration


@dataclass(frozen=True, slots=True)
class Altered:
    """An envelope in store that does not open, or not to what its header says; others went on.

    ``keyless`` is the scope whose keys are not those of the envelope: then it may be as it came,
    and the keys false.
    """

    number: int
    camera: str
    reason: str
    keyless: Scope | None = None


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What a pass of matching found, and what it left out.

    Args:
        candidates: best score first; one a subject and sighting.
        segments: segments compared.
        live_envelopes: live envelopes compared.
        sightings: rows compared, all models together.
        skipped_models: model ids met in scope for which the query has no template, with the
            number of envelopes of each: they were not compared (ModelMismatch).
        altered: envelopes that could not be opened.
        liars: custodian to the scopes of which it released other keys than those that opened.
        malformed: rows whose template has not unit length although they "reached" a threshold.
        not_granted: envelopes whose slot or kind the keys at hand do not open.
        left_out: candidates left out because there were more than the query may bring, by camera.
        lying: candidates whose times cannot be those of their slot, by camera: left out, too.
        cursor: pass it as ``after`` to compare only what arrives from now on.
    """

    candidates: tuple[Candidate, ...] = ()
    segments: int = 0
    live_envelopes: int = 0
    sightings: int = 0
    skipped_models: Mapping[str, int] = field(default_factory=dict)
    altered: tuple[Altered, ...] = ()
    liars: Mapping[str, frozenset[Scope]] = field(default_factory=dict)
    malformed: int = 0
    not_granted: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    lying: Mapping[str, int] = field(default_factory=dict)
    cursor: int = 0


def match_scopes(
    reader: SegmentReader,
    scopes: Sequence[EpochKeys],
    probes: Sequence[Probes],
    *,
    calibrations: Mapping[str, Calibration],
    contacts: bool,
    max_candidates: int,
    after: int = 0,
) -> MatchReport:
    """Compare everything in store that ``scopes`` open with the subjects' templates.

    Args:
        reader: the sealed segments (`Store.segments`).
        scopes: keys as combined from the custodians' grants.
        probes: the subjects' templates (`aggregator.matching.probes.probes_of`).
        calibrations: model id to calibration, for likelihood ratios.
        contacts: whether candidates carry their encounters.
        max_candidates: so many are kept, the best of each camera in turn.
        after: compare only envelopes that arrived after this cursor (`MatchReport.cursor`).

    Raises:
        ModelMismatch: a probe's model id states no usable dimension.
    """
    newest = reader.newest()
    matching = _Matching(reader, probes, calibrations, contacts, max_candidates)
    try:
        for keys in scopes:
            matching.scan(keys, after)
        return matching.report(max(after, newest))
    finally:
        matching.wipe()


def merge_reports(reports: Sequence[MatchReport], *, max_candidates: int) -> MatchReport:
    """Put the reports of passes over different scopes together, best candidates first."""
    skipped: dict[str, int] = {}
    for report in reports:
        for model, count in report.skipped_models.items():
            skipped[model] = skipped.get(model, 0) + count
    liars: dict[str, frozenset[Scope]] = {}
    for report in reports:
        for custodian, scopes in report.liars.items():
            liars[custodian] = liars.get(custodian, frozenset()) | scopes
    kept, left_out = _shared([c for report in reports for c in report.candidates], max_candidates)
    lying: Counter[str] = Counter()
    for report in reports:
        left_out.update(report.left_out)
        lying.update(report.lying)
    return MatchReport(
        candidates=kept,
        segments=sum(report.segments for report in reports),
        live_envelopes=sum(report.live_envelopes for report in reports),
        sightings=sum(report.sightings for report in reports),
        skipped_models=skipped,
        altered=tuple(item for report in reports for item in report.altered),
        liars=liars,
        malformed=sum(report.malformed for report in reports),
        not_granted=sum(report.not_granted for report in reports),
        left_out=dict(left_out),
        lying=dict(lying),
        cursor=min((report.cursor for report in reports), default=0),
    )


def _best_of_each(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    best: dict[tuple[str, str, bytes], Candidate] = {}
    for candidate in candidates:
        key = (candidate.subject, candidate.address.camera, candidate.sighting_id)
        known = best.get(key)
        if known is None or candidate.strength > known.strength:
            best[key] = candidate
    return tuple(sorted(best.values(), key=_rank))


def _rank(candidate: Candidate) -> tuple[float, int, str]:
    return (-candidate.strength, candidate.first_seen_ms, candidate.subject)


def _shared(
    candidates: Sequence[Candidate], room: int
) -> tuple[tuple[Candidate, ...], Counter[str]]:
    """Return the candidates that get in, best first, and how many did not, by camera."""
    kept, gone = share_candidates(_best_of_each(candidates), room)
    return tuple(sorted(kept, key=_rank)), Counter(one.address.camera for one in gone)


def share_candidates(
    candidates: Sequence[Candidate], room: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Return the candidates that get in and those that do not (`fair_shares`)."""
    return fair_shares(
        candidates, room, camera=lambda c: (c.address, c.subject), score=lambda c: c.strength
    )


class _Matching:
    """One pass: its lanes, its best hits, its counts."""

    def __init__(
        self,
        reader: SegmentReader,
        probes: Sequence[Probes],
        calibrations: Mapping[str, Calibration],
        contacts: bool,
        max_candidates: int,
    ) -> None:
        self._reader = reader
        self._calibrations = calibrations
        self._contacts = contacts
        self._max_candidates = max_candidates
        self._best = Best(max_candidates)
        self._names = reader.models()
        numbers = {model: number for number, model in self._names.items()}
        self._lanes = [Lane(p, self._best) for p in probes]
        self._lane_of = {
            (lane.probes.modality, numbers[lane.probes.model]): lane
            for lane in self._lanes
            if lane.probes.model in numbers
        }
        self._modalities = sorted({p.modality for p in probes})
        self._segments = self._live = self._not_granted = 0
        self._skipped: dict[str, int] = {}
        self._altered: list[Altered] = []
        self._liars: dict[str, set[Scope]] = {}
        self._lying: Counter[str] = Counter()

    def scan(self, keys: EpochKeys, after: int) -> None:
        """Open and compare what is in store for one scope."""
        scope = keys.scope
        address = scope.address
        held = ScopeKeys(keys, self._liars)
        for row in self._reader.scan(scope, modalities=self._modalities, after=after):
            try:
                self._take(held, row)
            except ScopeExceeded:
                self._not_granted += 1
            except KeyNotReleased as error:
                self._altered.append(Altered(row.number, address.camera, str(error), scope))
            except (SealError, MalformedMessage) as error:
                self._altered.append(Altered(row.number, address.camera, str(error)))
            except (TypeError, ValueError, OverflowError) as error:
                reason = f"a column in store cannot be: {error}"
                self._altered.append(Altered(row.number, address.camera, reason))

    def _take(self, held: ScopeKeys, row: SealedRow) -> None:
        lanes = self._wanted(row.models)
        if not lanes:
            return
        slot, header, nonce = row.slot, row.header, nonce_of(row.salt, row.sequence)
        blocks: Mapping[str, bytes | None]
        blocks, meta = dict(zip(self._modalities, row.blocks, strict=True)), None
        if not row.segment:
            if row.live is None:
                raise MalformedMessage("there is nothing in the live envelope")
            key = held.key(slot, LIVE, row.live)
            opened = open_block(key, row.live, header=header, label=LIVE, nonce=nonce)
            found = Blocks.parse(bytes(opened))
            blocks, meta = found.templates, found.meta
        source = Source(row.number, held, slot, row.sightings, header, nonce, meta)
        for lane in lanes:
            block = blocks.get(lane.probes.modality)
            if block is None:
                raise MalformedMessage(f"there is no {lane.probes.modality} block")
            lane.add(held.key(slot, lane.probes.modality, block), block, source)
        if row.segment:
            self._segments += 1
        else:
            self._live += 1

    def _wanted(self, models: Sequence[int | None]) -> list[Lane]:
        """Return the lanes for an envelope's models; count the models that the query lacks."""
        lanes = []
        for modality, model in zip(self._modalities, models, strict=True):
            if model is None:
                continue
            lane = self._lane_of.get((modality, model))
            if lane is None:
                name = str(self._names.get(model, model))
                self._skipped[name] = self._skipped.get(name, 0) + 1
            else:
                lanes.append(lane)
        return lanes

    def report(self, cursor: int) -> MatchReport:
        """Compare what is left, open the metadata of what was found."""
        for lane in self._lanes:
            lane.flush()
        kept, left_out = _shared(list(self._candidates()), self._max_candidates)
        return MatchReport(
            candidates=kept,
            segments=self._segments,
            live_envelopes=self._live,
            sightings=sum(lane.sightings for lane in self._lanes),
            skipped_models=self._skipped,
            altered=tuple(self._altered),
            liars={name: frozenset(scopes) for name, scopes in self._liars.items()},
            malformed=sum(lane.malformed for lane in self._lanes),
            not_granted=self._not_granted,
            left_out=dict(self._best.left_out + left_out),
            lying=dict(self._lying),
            cursor=cursor,
        )

    def wipe(self) -> None:
        for lane in self._lanes:
            lane.wipe()

    def _candidates(self) -> Iterator[Candidate]:
        by_source: dict[int, list[Hit]] = {}
        for hit in self._best.hits:
            by_source.setdefault(hit.source.number, []).append(hit)
        for hits in by_source.values():
            source = hits[0].source
            address = source.scope.keys.scope.address
            try:
                meta = self._meta(source, {hit.probes for hit in hits})
            except ScopeExceeded:
                self._not_granted += 1
            except KeyNotReleased as error:
                scope = source.scope.keys.scope
                self._altered.append(Altered(source.number, address.camera, str(error), scope))
            except (SealError, MalformedMessage) as error:
                self._altered.append(Altered(source.number, address.camera, str(error)))
            else:
                if meta is not None:
                    yield from self._possible(hits, address, meta)

    def _possible(
        self, hits: Sequence[Hit], address: CameraAddress, meta: BatchMeta
    ) -> Iterator[Candidate]:
        """Yield the hits that can be true; count the others."""
        for hit in hits:
            source = hit.source
            epoch = source.scope.keys.scope.epoch
            if why_impossible(meta.sighting(hit.row), epoch=epoch, slot=source.slot):
                self._lying[address.camera] += 1
            else:
                yield self._candidate(hit, address, meta)

    def _meta(self, source: Source, probes: set[Probes]) -> BatchMeta | None:
        """Open an envelope's metadata; None when it has meanwhile been purged.

        Raises:
            SealError, MalformedMessage, ScopeExceeded: it does not open, or says something else.
        """
        header = Header.parse(source.header)
        if header.count != source.count or any(
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
            return decode_meta(bytes(opened), count=source.count)
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
            else calibration.log10_lr(hit.score, sighting.mask),
            name=SightingName.of(slot, sighting.sighting_id),
        )
