"""Takes the templates of the sightings that a query names as examples out of where they lie sealed.

docs/protocol.md, "Queries", "By example". Only what has been granted opens, for as long as matching
compares; nothing of it is kept or handed on. What cannot be taken is told in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aggregator.matching.kernel import is_unit
from aggregator.matching.lanes import ScopeKeys
from aggregator.matching.refusals import OF_AN_ENVELOPE
from aggregator.matching.taking import OpenEnvelope, open_envelope, take_rows, wipe
from aggregator.store import SegmentReader
from aggregator.store.rows import EpochName, SealedRow
from protocol.epoch_keys import EpochKeys
from protocol.keytree import NEEDS_CONSENT
from protocol.names import SightingName
from protocol.policy import CONSENT
from protocol.query import Query, Subject
from protocol.templates import Template
from protocol.v2.rows import ABSENT

NOT_OPENED = "its quarter hour has not been opened"


@dataclass(slots=True)
class Taken:
    """The templates that examples gave, until they are wiped.

    Args:
        templates: pseudonym to those of its examples.
        names: of the examples that gave one.
        missing: of the others, why they gave none.
    """

    templates: dict[str, list[Template]] = field(default_factory=dict)
    names: set[SightingName] = field(default_factory=set)
    missing: dict[SightingName, str] = field(default_factory=dict)

    def wipe(self) -> None:
        """Overwrite the templates."""
        for listed in self.templates.values():
            wipe(listed)


def take_examples(
    reader: SegmentReader, held: Mapping[EpochName, EpochKeys], query: Query
) -> Taken:
    """Open what a query's examples are to be compared by, as far as it has been granted.

    Args:
        reader: the sealed segments.
        held: what has been granted, by announcement.
        query: whose modalities and spaces count.
    """
    taken = Taken()
    try:
        for subject in query.subjects:
            for name in subject.examples:
                templates, why = take_one(reader, held, query, name, query.modalities)
                if templates:
                    why = _why_not_theirs(query, subject, templates)
                if templates and not why:
                    taken.templates.setdefault(subject.pseudonym, []).extend(templates)
                    taken.names.add(name)
                else:
                    wipe(templates)
                    taken.missing[name] = why
    except BaseException:
        taken.wipe()
        raise
    return taken


def take_one(
    reader: SegmentReader,
    held: Mapping[EpochName, EpochKeys],
    query: Query,
    name: SightingName,
    modalities: Sequence[str],
) -> tuple[list[Template], str]:
    """Open the templates of one sighting; the caller wipes them.

    Args:
        query: whose thresholds say which spaces count.
        modalities: which templates are wanted.

    Returns:
        The templates; or none, and why.
    """
    keys = held.get((name.box, name.camera, name.epoch, name.generation))
    if keys is None or name.slot not in keys.slots():
        return [], NOT_OPENED
    if keys.version == 1:
        return [], "it was sealed in version 1, which gives no examples"
    one = _Example(reader, ScopeKeys(keys), query, name, modalities)
    return one.templates(), one.why


def _why_not_theirs(query: Query, subject: Subject, templates: Sequence[Template]) -> str:
    """Say why an example cannot be held against the subject's own templates; empty if it can be.

    With consent those say who the subject is. What is of another kind or space than all of them
    resembles none of them, and could be anybody's.
    """
    own = {(one.modality, one.model) for one in subject.templates}
    shown = {(one.modality, one.model) for one in templates}
    if not own or query.legal_basis != CONSENT:
        return ""
    alone = {(kind, model) for kind, model in shown - own if kind in NEEDS_CONSENT}
    if alone or not shown & own:
        kind, model = min(alone or shown)
        return f"its {kind} is of {model}, of which the subject has no template to hold it against"
    return ""


class _Example:
    """One example: looked for in each envelope of its slot, until one holds it.

    ``why`` is why there is no template of it.
    """

    def __init__(
        self,
        reader: SegmentReader,
        held: ScopeKeys,
        query: Query,
        name: SightingName,
        modalities: Sequence[str],
    ) -> None:
        self._reader = reader
        self._held = held
        self._modalities = tuple(sorted(modalities))
        self._thresholds = query.thresholds
        self._name = name
        self.why = "no such sighting is stored in its quarter hour"

    def templates(self) -> list[Template]:
        """Return its templates of the modalities that are asked for; none where there are none."""
        slot = self._name.slot
        scope = replace(self._held.keys.scope, first_slot=slot, last_slot=slot)
        for row in self._reader.scan(scope, modalities=self._modalities):
            try:
                if found := self._of(row):
                    return found
            except KeyError:
                continue  # it has meanwhile been dropped
            except OF_AN_ENVELOPE as error:
                self.why = f"an envelope of its quarter hour does not open: {error}"
        return []

    def _of(self, row: SealedRow) -> list[Template]:
        """Return its templates if it is in an envelope. Errors are those of opening one."""
        envelope = open_envelope(self._reader, self._held, row, self._modalities)
        if envelope is None:
            return []
        wanted = np.frombuffer(self._name.sighting_id, np.uint8)
        places = np.flatnonzero((envelope.rows.ids == wanted).all(axis=1))
        if not places.size:
            return []
        self.why = f"it has no template of {' or '.join(self._modalities)}"
        taken: list[Template] = []
        try:
            taken.extend(self._taken(envelope, int(places[0])))
        except BaseException:
            wipe(taken)
            raise
        return taken

    def _taken(self, envelope: OpenEnvelope, number: int) -> Iterator[Template]:
        """Open the blocks in which a sighting has a row, and copy that row alone."""
        for block in envelope.blocks:
            modality, model, rows = block.modality, block.model, envelope.rows
            place = rows.places[modality][number] if modality in rows.places else ABSENT
            if place == ABSENT:
                continue
            if model not in self._thresholds:
                self.why = f"its {modality} is of {model}, for which the query has no threshold"
                continue
            (template,) = take_rows(self._held, envelope.row, block, [int(place)])
            if is_unit(template.row, template.scale):
                yield template
            else:
                self.why = f"its {modality} template is none: it has not unit length"
