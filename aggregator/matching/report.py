"""What a pass of matching found, and how finds of either version share the room that there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aggregator.matching.coverage import Told
from aggregator.matching.found import Found
from aggregator.matching.refusals import Altered
from aggregator.matching.shares import fair_shares
from protocol.grant import Scope
from protocol.names import slot_start_ms
from protocol.results import Candidate


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What a pass of matching found, and what it left out.

    Args:
        candidates: of version 1; best score first, one a subject and sighting.
        found: of version 2: rows whose metadata custodians are to open. First what reached a
            threshold, best score first, one a subject and sighting; then the other rows of its
            episodes. With ``candidates`` together they are no more than the query may bring.
        segments: segments compared.
        live_envelopes: live envelopes compared.
        sightings: rows compared, all models together.
        skipped_models: model ids met in scope for which the query has no template, with the
            number of envelopes of each: they were not compared (ModelMismatch).
        altered: envelopes that could not be opened.
        liars: custodian to the scopes of which it released other keys than those that opened.
        malformed: rows whose template has not unit length although they "reached" a threshold.
        not_granted: envelopes whose slot or kind the keys at hand do not open.
        left_out: how many candidates, and at least how many rows, were left out because there were
            more than the query may bring, by camera.
        lying: candidates whose times cannot be those of their slot, by camera: left out, too. The
            times of what was found in version 2 are not known yet (`plausible.why_row_impossible`).
        told: what each scope's segments tell of their cameras' watching; None: nobody looked.
        cursor: pass it as ``after`` to compare only what arrives from now on.
    """

    candidates: tuple[Candidate, ...] = ()
    found: tuple[Found, ...] = ()
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
    told: tuple[Told, ...] | None = None
    cursor: int = 0


def merge_reports(reports: Sequence[MatchReport], *, max_candidates: int) -> MatchReport:
    """Put the reports of passes over different scopes together, best candidates first.

    What they tell of watching stays with each.
    """
    skipped: dict[str, int] = {}
    for report in reports:
        for model, count in report.skipped_models.items():
            skipped[model] = skipped.get(model, 0) + count
    liars: dict[str, frozenset[Scope]] = {}
    for report in reports:
        for custodian, scopes in report.liars.items():
            liars[custodian] = liars.get(custodian, frozenset()) | scopes
    found = [one for report in reports for one in report.found]
    kept = keep(
        [one for report in reports for one in report.candidates],
        [one for one in found if one.score is not None],
        max_candidates,
    )
    rest, beyond = _rest([one for one in found if one.score is None], kept, max_candidates)
    left_out = kept.left_out + beyond
    lying: Counter[str] = Counter()
    for report in reports:
        left_out.update(report.left_out)
        lying.update(report.lying)
    return MatchReport(
        candidates=kept.candidates,
        found=(*kept.found, *rest),
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


@dataclass(frozen=True, slots=True)
class Kept:
    """What got in of what reached a threshold, best first, and how many did not, by camera."""

    candidates: tuple[Candidate, ...]
    found: tuple[Found, ...]
    left_out: Counter[str]

    def room(self, limit: int) -> int:
        """Return how many rows more may come in."""
        return max(0, limit - len(self.candidates) - len(self.found))


def keep(candidates: Sequence[Candidate], found: Sequence[Found], room: int) -> Kept:
    """Share the room among the cameras of either version alike (`fair_shares`)."""
    best: dict[object, Candidate | Found] = {}
    both: list[Candidate | Found] = [*candidates, *found]
    for one in both:
        known = best.get(_what(one))
        if known is None or _strength(one) > _strength(known):
            best[_what(one)] = one
    kept, gone = fair_shares(sorted(best.values(), key=_rank), room, camera=_turn, score=_strength)
    kept.sort(key=_rank)
    return Kept(
        tuple(one for one in kept if isinstance(one, Candidate)),
        tuple(one for one in kept if isinstance(one, Found)),
        Counter(_camera(one) for one in gone),
    )


def _rest(rest: Sequence[Found], kept: Kept, limit: int) -> tuple[tuple[Found, ...], Counter[str]]:
    """Return the rows that belong to what was kept, the best's first, and those left out."""
    ranks = {(one.subject, replace(one.name, slot=0)): rank for rank, one in enumerate(kept.found)}
    known = {(one.subject, one.name) for one in kept.found}
    mine: list[tuple[int, Found]] = []
    for one in rest:
        through = replace(one.name, slot=0, sighting_id=one.through or b"")
        rank = ranks.get((one.subject, through))
        if rank is not None and (one.subject, one.name) not in known:
            known.add((one.subject, one.name))
            mine.append((rank, one))
    mine.sort(key=lambda ranked: ranked[0])
    room = kept.room(limit)
    return (
        tuple(one for _, one in mine[:room]),
        Counter(one.name.camera for _, one in mine[room:]),
    )


def _what(one: Candidate | Found) -> object:
    """Return of whom and of which sighting it is."""
    if isinstance(one, Found):
        return (one.subject, one.name)
    return (one.subject, one.address.box, one.address.camera, one.sighting_id)


def _strength(one: Candidate | Found) -> float:
    if isinstance(one, Candidate):
        return one.strength
    return one.score or 0.0


def _camera(one: Candidate | Found) -> str:
    return one.address.camera if isinstance(one, Candidate) else one.name.camera


def _turn(one: Candidate | Found) -> object:
    """Return what a find shares its turn with: the finds of its camera and subject."""
    where = one.address if isinstance(one, Candidate) else one.name
    return (where.box, where.camera, one.subject)


def _rank(one: Candidate | Found) -> tuple[float, int, str]:
    """Return what finds are ordered by: score, then time as far as it is known, then subject."""
    if isinstance(one, Candidate):
        return (-one.strength, one.first_seen_ms, one.subject)
    return (-_strength(one), slot_start_ms(one.name.epoch, one.name.slot), one.subject)
