"""Open what was granted, compare it, keep candidates only, wipe the rest.

docs/protocol.md, "Envelopes".

From each envelope in scope the template block alone is read and opened, straight into one buffer in
which the blocks of many envelopes lie end to end; one matrix product compares some 4,096 rows. What
else an envelope holds is opened only where something reached a threshold: in version 1 the metadata
(`aggregator.matching.candidates`), in version 2 the rows (`aggregator.matching.finder`), whose
metadata custodians release one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from aggregator.matching.candidates import Candidates
from aggregator.matching.finder import Finder, open_inside
from aggregator.matching.found import Found
from aggregator.matching.lanes import Best, Hit, Inside, Lane, ScopeKeys, Source
from aggregator.matching.probes import Probes
from aggregator.matching.refusals import OF_AN_ENVELOPE, Altered, Refusals
from aggregator.matching.report import MatchReport, keep, merge_reports
from aggregator.matching.runs import add_run
from aggregator.store import SegmentReader, SegmentRun
from aggregator.store.envelopes import model_of
from aggregator.store.rows import SealedRow
from aggregator.store.runs import NO_MODEL
from protocol.epoch_keys import EpochKeys
from protocol.errors import MalformedMessage
from protocol.grant import Scope
from protocol.keytree import LIVE
from protocol.results import Candidate
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, Blocks, nonce_of, open_block
from runtime.calibration import Calibration

__all__ = ["Altered", "MatchReport", "match_scopes", "merge_reports"]


_MOST_VOUCHED = 256
"""Of so many envelopes that do not open it is looked whether the store is to blame."""


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
        StorageDamaged: something does not open because what is in store is not what was written.
    """
    newest = reader.newest()
    matching = _Matching(reader, probes, calibrations, contacts, max_candidates)
    try:
        for keys in scopes:
            matching.scan(keys, after)
        return matching.report(max(after, newest))
    finally:
        matching.wipe()


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
        self._lane_named = {(lane.probes.modality, lane.probes.model): lane for lane in self._lanes}
        self._modalities = sorted({p.modality for p in probes})
        self._segments = self._live = self._skips = 0
        self._skipped: dict[str, int] = {}
        self._liars: dict[str, set[Scope]] = {}
        self._refusals = Refusals()
        self._candidates = Candidates(
            reader, calibrations, contacts=contacts, refusals=self._refusals
        )
        self._finder = Finder(reader, self._refusals)

    def scan(self, keys: EpochKeys, after: int) -> None:
        """Open and compare what is in store for one scope."""
        held = ScopeKeys(keys, self._liars)
        self._finder.grant(held)
        if keys.version == 1:
            for row in self._reader.scan(keys.scope, modalities=self._modalities, after=after):
                self._take_row(held, row)
            return
        for part in self._reader.runs(keys.scope, modalities=self._modalities, after=after):
            if isinstance(part, SegmentRun):
                self._take_run(held, part)
            else:
                self._take_row(held, part)

    def _take_row(self, held: ScopeKeys, row: SealedRow) -> None:
        keys = held.keys
        try:
            if row.version != keys.version:
                raise MalformedMessage(
                    f"it is of version {row.version} of the protocol, and its generation was "
                    f"announced in version {keys.version}"
                )
            if keys.version == 1:
                self._take(held, row)
            else:
                self._take_padded(held, row)
        except OF_AN_ENVELOPE as error:
            self._refusals.add(error, row.number, keys.scope)

    def _take_run(self, held: ScopeKeys, run: SegmentRun) -> None:
        """Take in segments of version 2, together what can be, one by one what does not open so."""
        sound, compared, skipped = (np.zeros(len(run), bool) for _ in range(3))
        sound[:] = True
        for modality, blocks in zip(self._modalities, run.blocks, strict=True):
            first = blocks.models[0]
            uniform = (blocks.models == first).all()  # as in most runs
            for model in [int(first)] if uniform else np.unique(blocks.models).tolist():
                if model == NO_MODEL:
                    continue
                chosen = np.flatnonzero(sound & (blocks.models == model))
                lane = self._lane_of.get((modality, model))
                if lane is None:
                    skipped[chosen] = True
                    self._skip(str(self._names.get(model, model)), len(chosen))
                    continue
                compared[chosen] = True
                for at, error in add_run(lane, held, run, blocks, chosen):
                    self._refusals.add(error, int(run.numbers[at]), held.keys.scope)
                    sound[at] = False
        # Counted is what was compared, or has nobody in it to compare.
        self._segments += int(np.count_nonzero(sound & (compared | ~skipped)))

    def _take(self, held: ScopeKeys, row: SealedRow) -> None:
        """Take in an envelope of version 1."""
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
        self._count(row)

    def _take_padded(self, held: ScopeKeys, row: SealedRow) -> None:
        """Take in an envelope of version 2: no modality need have a block in it."""
        inside, kind = None, SEGMENT
        if row.segment:
            sealed = self._wanted_of(row)
        else:
            inside, kind = open_inside(held, row), LIVE_ENVELOPE
            sealed = self._wanted_inside(inside)
        slot, sequence, salt = row.slot, row.sequence, row.salt
        source = Source(
            row.number, held, slot, 0, row.header, nonce_of(salt, sequence), inside=inside
        )
        skipped, compared = self._skips, False
        for lane, block in sealed:
            modality = lane.probes.modality
            binding = held.bindings(kind, modality, lane.space).of(slot, sequence, salt)
            lane.add_padded(held.key(slot, modality, block), block, source, binding)
            compared = True
        if compared or self._skips == skipped:  # or there is nobody in it to compare
            self._count(row)

    def _wanted_of(self, row: SealedRow) -> Iterator[tuple[Lane, bytes]]:
        """Yield the blocks of a segment that are compared; count the models that are not."""
        for modality, model, block in zip(self._modalities, row.models, row.blocks, strict=True):
            if model is None:
                continue
            lane = self._lane_of.get((modality, model))
            if lane is None:
                self._skip(str(self._names.get(model, model)))
            elif block is None:
                raise MalformedMessage(f"there is no {modality} block")
            else:
                yield lane, block

    def _wanted_inside(self, inside: Inside) -> Iterator[tuple[Lane, bytes]]:
        """Yield the blocks of an opened live envelope that are compared, as `_wanted_of`."""
        for entry, block in zip(*inside, strict=True):
            if entry.space is None or entry.label not in self._modalities:
                continue
            lane = self._lane_named.get((entry.label, model_of(entry.space)))
            if lane is None:
                self._skip(model_of(entry.space))
            else:
                yield lane, block

    def _count(self, row: SealedRow) -> None:
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
                self._skip(str(self._names.get(model, model)))
            else:
                lanes.append(lane)
        return lanes

    def _skip(self, model: str, envelopes: int = 1) -> None:
        if envelopes:
            self._skipped[model] = self._skipped.get(model, 0) + envelopes
            self._skips += envelopes

    def report(self, cursor: int) -> MatchReport:
        """Compare what is left, open what else is needed of what was found."""
        for lane in self._lanes:
            lane.flush()
        candidates: list[Candidate] = []
        found: list[Found] = []
        by_source: dict[int, list[Hit]] = {}
        for hit in self._best.hits:
            by_source.setdefault(hit.source.number, []).append(hit)
        for hits in by_source.values():
            if hits[0].source.scope.keys.version == 1:
                candidates += self._candidates.of(hits)
            else:
                found += self._finder.of(hits)
        kept = keep(candidates, found, self._max_candidates)
        rest, beyond = self._finder.rest_of_episodes(kept.found, kept.room(self._max_candidates))
        for one in self._refusals.altered[:_MOST_VOUCHED]:
            self._reader.vouch(one.number)
        return MatchReport(
            candidates=kept.candidates,
            found=(*kept.found, *rest),
            segments=self._segments,
            live_envelopes=self._live,
            sightings=sum(lane.sightings for lane in self._lanes),
            skipped_models=self._skipped,
            altered=self._refusals.altered,
            liars={name: frozenset(scopes) for name, scopes in self._liars.items()},
            malformed=sum(lane.malformed for lane in self._lanes),
            not_granted=self._refusals.not_granted,
            left_out=dict(self._best.left_out + kept.left_out + beyond),
            lying=dict(self._candidates.lying),
            cursor=cursor,
        )

    def wipe(self) -> None:
        for lane in self._lanes:
            lane.wipe()
