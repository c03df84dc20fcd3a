"""From hits of version 2 to the rows that are to be opened: those found, and their episodes'.

The block of rows is opened, under the slot's ``cover`` key, for envelopes in which something was
found and for those of the same camera around them, for as long as the box went on following the
same person. No metadata opens here: custodians release it row by row (`protocol.v2.release`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from aggregator.matching.found import Found
from aggregator.matching.lanes import Hit, Inside, ScopeKeys
from aggregator.matching.refusals import OF_AN_ENVELOPE, Refusals
from aggregator.store import SegmentReader
from aggregator.store.rows import SealedRow
from protocol.errors import MalformedMessage, ScopeExceeded
from protocol.keytree import COVER, LIVE, META
from protocol.names import SightingName
from protocol.sealing import LIVE_ENVELOPE, SEAL_OVERHEAD, nonce_of, open_block
from protocol.v2.envelopes import inner_blocks
from protocol.v2.header import Header
from protocol.v2.rows import Rows

Generation = tuple[str, str, int, int]
"""Box, camera, epoch, generation."""


@dataclass(frozen=True, slots=True)
class Place:
    """An envelope in store: which, of which slot, its header, and what a live one opened to."""

    number: int
    slot: int
    header: bytes
    inside: Inside | None


def open_inside(held: ScopeKeys, row: SealedRow) -> Inside:
    """Open a live envelope of version 2: the blocks in it, sealed, and their entries.

    Raises:
        ScopeExceeded: the running slot was not granted.
        SealError, MalformedMessage: it does not open.
    """
    if row.live is None:
        raise MalformedMessage("there is nothing in the live envelope")
    opened = open_block(
        held.key(row.slot, LIVE, row.live),
        row.live,
        header=held.bindings(LIVE_ENVELOPE, LIVE).of(row.slot, row.sequence, row.salt),
        label="",
        nonce=nonce_of(row.salt, row.sequence),
    )
    return inner_blocks(opened)


def open_rows(reader: SegmentReader, held: ScopeKeys, place: Place) -> Rows:
    """Open the rows of an envelope under the slot's ``cover`` key.

    Raises:
        KeyError: it has meanwhile been dropped.
        ScopeExceeded: not granted.
        SealError, MalformedMessage: they do not open, or under another header.
    """
    header = Header.parse(place.header)
    block = reader.cover(place.number) if place.inside is None else _block(place.inside, COVER)
    opened = open_block(
        held.key(place.slot, COVER, block),
        block,
        header=header.binding(COVER),
        label="",
        nonce=header.nonce,
    )
    try:
        return Rows.parse(opened)
    finally:
        opened[:] = bytes(len(opened))


class Finder:
    """Finds the rows of one pass.

    Args:
        reader: the sealed segments.
        refusals: notes what does not open.
    """

    def __init__(self, reader: SegmentReader, refusals: Refusals) -> None:
        self._reader = reader
        self._refusals = refusals
        self._scopes: dict[Generation, list[ScopeKeys]] = {}

    def grant(self, held: ScopeKeys) -> None:
        """Note the keys of a scope: within them episodes are followed."""
        self._scopes.setdefault(_generation_of(held), []).append(held)

    def of(self, hits: Sequence[Hit]) -> list[Found]:
        """Name the rows of the one envelope that all of ``hits`` are of."""
        source = hits[0].source
        try:
            return list(self._found(hits))
        except KeyError:
            return []  # it has meanwhile been dropped
        except OF_AN_ENVELOPE as error:
            self._refusals.add(error, source.number, source.scope.keys.scope)
            return []

    def rest_of_episodes(
        self, found: Sequence[Found], room: int
    ) -> tuple[list[Found], Counter[str]]:
        """Name the other rows of the episodes of what was found.

        Args:
            found: best first.
            room: for so many rows.

        Returns:
            The rows, those of the best first and from its slot outwards, and by camera how many, at
            least, there was no room for.
        """
        episodes = {
            generation: _Episodes(self, self._scopes[generation], list(members), most=room)
            for generation, members in groupby(sorted(found, key=_generation), key=_generation)
        }
        known = {(one.subject, one.name) for one in found}
        rest: list[Found] = []
        left_out: Counter[str] = Counter()
        followed: set[tuple[str, bytes, SightingName]] = set()
        for one in found:
            if (one.subject, one.episode, replace(one.name, sighting_id=b"")) in followed:
                continue
            for part in episodes[_generation(one)].around(one):
                slot = replace(part.name, sighting_id=b"")
                followed.add((one.subject, one.episode, slot))
                if (one.subject, part.name) in known:
                    continue
                known.add((one.subject, part.name))
                if len(rest) >= room:
                    left_out[part.name.camera] += 1
                else:
                    rest.append(
                        replace(
                            one,
                            name=part.name,
                            score=None,
                            header=part.header,
                            sealed=part.sealed,
                            through=one.name.sighting_id,
                        )
                    )
        return rest, left_out

    def parts(self, held: ScopeKeys, slot: int, wanted: npt.NDArray[np.uint64]) -> Iterator[Part]:
        """Yield the rows of some episodes that are in store of a slot; note what does not open.

        Live envelopes are passed over where the running slot was not granted.

        Args:
            wanted: (e,) uint64, the episodes.
        """
        scope = replace(held.keys.scope, first_slot=slot, last_slot=slot)
        for row in self._reader.scan(scope, modalities=()):
            try:
                inside = None if row.segment else open_inside(held, row)
                place = Place(row.number, slot, row.header, inside)
                rows = open_rows(self._reader, held, place)
                numbers = np.flatnonzero(np.isin(_numbered(rows.episodes), wanted)).tolist()
                if numbers:
                    yield from self._parts(held, place, rows, numbers)
            except (KeyError, ScopeExceeded):
                continue
            except OF_AN_ENVELOPE as error:
                self._refusals.add(error, row.number, scope)

    def _found(self, hits: Sequence[Hit]) -> Iterator[Found]:
        source = hits[0].source
        header = source.header or self._reader.header(source.number)
        place = Place(source.number, source.slot, header, source.inside)
        rows = open_rows(self._reader, source.scope, place)
        numbers = [0] * len(hits)
        for modality in {hit.probes.modality for hit in hits}:
            mine = [at for at, hit in enumerate(hits) if hit.probes.modality == modality]
            owners = rows.sighting_at(modality, np.array([hits[at].row for at in mine]))
            for at, owner in zip(mine, owners.tolist(), strict=True):
                numbers[at] = owner
        parts = self._parts(source.scope, place, rows, numbers)
        for hit, part in zip(hits, parts, strict=True):
            yield Found(
                subject=hit.subject,
                name=part.name,
                episode=part.episode,
                score=hit.score,
                modality=hit.probes.modality,
                space=hit.probes.model,
                header=part.header,
                sealed=part.sealed,
            )

    def _parts(
        self, held: ScopeKeys, place: Place, rows: Rows, numbers: Sequence[int]
    ) -> Iterator[Part]:
        """Yield sightings of an envelope by their numbers, with their sealed metadata."""
        inside = place.inside
        metadata = self._reader.meta(place.number) if inside is None else _block(inside, META)
        for number in numbers:
            span = rows.span_of(number)
            if span.stop > len(metadata) or span.stop - span.start < SEAL_OVERHEAD:
                raise MalformedMessage("rows: the metadata ends before they say")
            yield Part(
                SightingName(*_generation_of(held), place.slot, rows.id_of(number)),
                rows.episodes[number].tobytes(),
                place.header,
                metadata[span],
            )


@dataclass(frozen=True, slots=True)
class Part:
    """One row as it lies in store: of which sighting and episode, in which envelope, sealed."""

    name: SightingName
    episode: bytes
    header: bytes
    sealed: bytes


class _Episodes:
    """The rows of some episodes of one generation, slot by slot, each slot opened once.

    Args:
        scopes: what was granted of the generation.
        found: whose episodes.
        most: of one episode in one slot that many rows are remembered, and those that were found.
    """

    def __init__(
        self, finder: Finder, scopes: Sequence[ScopeKeys], found: Sequence[Found], *, most: int
    ) -> None:
        self._finder = finder
        self._scopes = scopes
        episodes = b"".join({one.episode for one in found})
        self._wanted = np.frombuffer(episodes, np.uint64)
        self._most = most + len(found)
        self._slots: dict[int, Mapping[bytes, Sequence[Part]]] = {}

    def around(self, one: Found) -> list[Part]:
        """Return the rows of an episode, from the slot of what was found outwards.

        In each direction it ends at the first slot that has no row of it, or was not granted, and
        when there are more than anybody asks for.
        """
        middle = one.name.slot
        parts = list(self._at(middle).get(one.episode, ()))
        for step in (-1, 1):
            slot = middle + step
            while len(parts) < self._most and (more := self._at(slot).get(one.episode)):
                parts += more
                slot += step
        return sorted(parts, key=lambda part: abs(part.name.slot - middle))

    def _at(self, slot: int) -> Mapping[bytes, Sequence[Part]]:
        known = self._slots.get(slot)
        if known is None:
            known = self._slots[slot] = self._open(slot)
        return known

    def _open(self, slot: int) -> dict[bytes, list[Part]]:
        parts: dict[bytes, dict[SightingName, Part]] = {}
        for held in self._scopes:
            if slot not in held.keys.slots():
                continue
            for part in self._finder.parts(held, slot, self._wanted):
                mine = parts.setdefault(part.episode, {})
                if len(mine) < self._most:
                    mine.setdefault(part.name, part)
        return {episode: list(mine.values()) for episode, mine in parts.items()}


def _block(inside: Inside, label: str) -> bytes:
    """Return a block of an opened live envelope, sealed; it has rows and metadata."""
    entries, blocks = inside
    return blocks[[entry.label for entry in entries].index(label)]


def _numbered(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return (n, 8) bytes as (n,) numbers, for comparing."""
    return np.ascontiguousarray(ids).view(np.uint64).reshape(-1)


def _generation(one: Found) -> Generation:
    name = one.name
    return (name.box, name.camera, name.epoch, name.generation)


def _generation_of(held: ScopeKeys) -> Generation:
    scope = held.keys.scope
    return (scope.address.box, scope.address.camera, scope.epoch, scope.generation)
