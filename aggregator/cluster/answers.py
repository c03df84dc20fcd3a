"""A worker's answer as bytes, and what is checked of it before anybody believes it.

A worker is somebody else's machine to the aggregator: what it answers is read as CBOR, within
bounds, and may speak of nothing but what it was asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aggregator.cluster.sealing import MAX_ANSWER_BYTES
from aggregator.matching.coverage import Table, Told
from aggregator.matching.found import Found
from aggregator.matching.refusals import Altered
from aggregator.matching.report import MatchReport
from aggregator.matching.workers import MatchTask
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.grant import Scope
from protocol.names import CameraAddress, SightingName
from protocol.reconcile import DisputedKeys
from protocol.results import Candidate
from protocol.sightings import ID_BYTES
from protocol.v2.header import Header
from protocol.v2.rows import COVERED
from protocol.v2.sightings import EPISODE_BYTES
from protocol.watching import COUNT_COLUMNS
from runtime.errors import OperationError

FORM = 1
MAX_ALTERED = 1 << 16
"""So many envelopes that did not open are told of a portion; it has some thousands."""
_MAX_NAMES = 1 << 16
_MAX_REASON = 512
_MOST = 1 << 53
_COSINE = 1.03
"""A little more than two templates of the greatest length have (`aggregator.matching.kernel`)."""
_NARROW = 0xFFFF
_COUNTS = ("segments", "live_envelopes", "sightings", "malformed", "not_granted", "cursor")
_MAPPINGS = ("skipped_models", "left_out", "lying")


class WorkerFailed(OperationError):
    """A worker could not do a portion, and says why; another may."""


def write_report(report: MatchReport) -> bytes:
    """Return a report as bytes."""
    return encode(
        {
            "v": FORM,
            "failed": None,
            "candidates": [one.to_bytes() for one in report.candidates],
            "found": [_found_value(one) for one in report.found],
            "altered": [
                [one.number, one.camera, one.reason[:_MAX_REASON], _scope_value(one.keyless)]
                for one in report.altered[:MAX_ALTERED]
            ],
            "liars": {
                name: sorted((scope.to_value() for scope in scopes), key=repr)
                for name, scopes in report.liars.items()
            },
            "told": None if report.told is None else [_told_value(one) for one in report.told],
            **{name: dict(getattr(report, name)) for name in _MAPPINGS},
            **{name: getattr(report, name) for name in _COUNTS},
        }
    )


def write_failure(reason: str) -> bytes:
    """Return as bytes why a portion could not be done."""
    return encode({"v": FORM, "failed": reason[:_MAX_REASON]})


def read_answer(data: bytes, task: MatchTask) -> MatchReport:
    """Read the answer to ``task``.

    Raises:
        WorkerFailed: the worker could not do it.
        MalformedMessage: it is no answer, or speaks of what was not asked.
    """
    fields = Fields(decode(data, what="answer", max_bytes=MAX_ANSWER_BYTES), what="answer")
    fields.version(FORM)
    failed = fields.optional("failed", lambda key: fields.text(key, max_length=_MAX_REASON))
    if failed is not None:
        fields.done()
        raise WorkerFailed(failed)
    asked = _Asked(task)
    most, days = task.max_candidates, len(task.scopes)
    report = MatchReport(
        candidates=tuple(asked.candidate(one) for one in fields.raws("candidates", max_items=most)),
        found=tuple(asked.found(one) for one in fields.array("found", max_items=most)),
        altered=tuple(asked.altered(one) for one in fields.array("altered", max_items=MAX_ALTERED)),
        liars={
            name: asked.lied_about(name, listed)
            for name, listed in fields.mapping("liars", max_items=_MAX_NAMES).items()
        },
        skipped_models=_counts(fields, "skipped_models"),
        left_out=asked.by_camera(_counts(fields, "left_out")),
        lying=asked.by_camera(_counts(fields, "lying")),
        told=fields.optional("told", lambda name: asked.told(fields.array(name, max_items=days))),
        **{name: fields.integer(name, high=_MOST) for name in _COUNTS},
    )
    fields.done()
    if len(report.candidates) + len(report.found) > most:
        raise MalformedMessage("an answer brings more than was asked for")
    return report


class _Asked:
    """What an answer may speak of: the task's scopes, subjects and models."""

    def __init__(self, task: MatchTask) -> None:
        self._scopes: dict[tuple[CameraAddress, int, int], list[Scope]] = {}
        for keys in task.scopes:
            self._scopes.setdefault(_day_of(keys.scope), []).append(keys.scope)
        self._disputed = {
            keys.scope: keys.custodians for keys in task.scopes if isinstance(keys, DisputedKeys)
        }
        self._cameras = {keys.scope.address.camera for keys in task.scopes}
        self._subjects = {
            (one.modality, one.model, subject) for one in task.probes for subject in one.subjects
        }

    def candidate(self, data: bytes) -> Candidate:
        one = Candidate.parse(data)
        self._match(one.modality, one.model, one.subject, one.score)
        if one.address.camera not in self._cameras:
            raise MalformedMessage("an answer has a candidate of a camera that was not asked")
        return one

    def found(self, value: object) -> Found:
        fields = Fields(value, what="a find")
        one = Found(
            subject=fields.text("subject", max_length=128),
            name=SightingName.from_value(fields.value("name")),
            episode=fields.raw("episode", size=EPISODE_BYTES),
            score=fields.optional("score", lambda key: fields.number(key, -_COSINE, _COSINE)),
            modality=fields.text("modality"),
            space=fields.text("space"),
            header=fields.raw("header"),
            sealed=fields.raw("sealed"),
            through=fields.optional("through", lambda key: fields.raw(key, size=ID_BYTES)),
        )
        fields.done()
        self._match(one.modality, one.space, one.subject, one.score)
        said, name = Header.parse(one.header).name, one.name
        listed = self._scopes.get((said.address, said.epoch, said.generation), ())
        if not any(
            scope.first_slot <= said.slot <= scope.last_slot for scope in listed
        ) or name != SightingName.of(said, name.sighting_id):
            raise MalformedMessage("an answer has a find outside what was asked")
        return one

    def _match(self, modality: str, model: str, subject: str, score: float | None) -> None:
        if (modality, model, subject) not in self._subjects:
            raise MalformedMessage("an answer has a find of somebody who was not asked for")
        if score is not None and not (math.isfinite(score) and abs(score) <= _COSINE):
            raise MalformedMessage("an answer has a score that no two templates have")

    def altered(self, value: object) -> Altered:
        match value:
            case [int(number), str(camera), str(reason), keyless] if (
                number >= 0 and camera in self._cameras and len(reason) <= _MAX_REASON
            ):
                unkeyed = None if keyless is None else self.scope(keyless)
                return Altered(number, camera, reason, unkeyed)
        raise MalformedMessage("an answer tells of an envelope that was not asked")

    def scope(self, value: object) -> Scope:
        scope = Scope.from_value(value)
        if scope not in self._scopes.get(_day_of(scope), ()):
            raise MalformedMessage("an answer tells of a scope that was not asked")
        return scope

    def lied_about(self, custodian: str, listed: object) -> frozenset[Scope]:
        """Read the scopes of which a custodian released other keys than others did."""
        scopes = frozenset(map(self.scope, listed)) if isinstance(listed, list) else frozenset()
        if not scopes or not all(custodian in self._disputed.get(one, ()) for one in scopes):
            raise MalformedMessage("an answer accuses somebody of keys that nobody disputes")
        return scopes

    def told(self, listed: Sequence[object]) -> tuple[Told, ...]:
        told = tuple(self._told_one(one) for one in listed)
        if len({one.scope for one in told}) != len(told):
            raise MalformedMessage("an answer tells of a scope twice")
        return told

    def _told_one(self, value: object) -> Told:
        match value:
            case [scope, bool(anew), bytes(segments), bytes(seconds), bytes(counting), bytes(cs)]:
                of = self.scope(scope)
                slots = of.last_slot - of.first_slot + 1
                return Told(
                    of,
                    anew,
                    _table(segments, slots),
                    _table(seconds, slots, len(COVERED)),
                    _table(counting, slots),
                    _table(cs, slots, COUNT_COLUMNS),
                )
        raise MalformedMessage("an answer tells of watching in another form")

    def by_camera(self, counts: Mapping[str, int]) -> dict[str, int]:
        if not self._cameras.issuperset(counts):
            raise MalformedMessage("an answer counts at a camera that was not asked")
        return dict(counts)


def _day_of(scope: Scope) -> tuple[CameraAddress, int, int]:
    return scope.address, scope.epoch, scope.generation


def _found_value(one: Found) -> dict[str, object]:
    return {
        "subject": one.subject,
        "name": one.name.to_value(),
        "episode": one.episode,
        "score": None if one.score is None else float(one.score),
        "modality": one.modality,
        "space": one.space,
        "header": one.header,
        "sealed": one.sealed,
        "through": one.through,
    }


def _scope_value(scope: Scope | None) -> list[Any] | None:
    return None if scope is None else scope.to_value()


def _told_value(one: Told) -> list[object]:
    tables = (one.segments, one.seconds, one.counting, one.counts)
    return [one.scope.to_value(), one.anew, *map(_table_bytes, tables)]


def _table_bytes(table: Table) -> bytes:
    """Return a table of counts as bytes: none where all are 0, two for each where they fit."""
    if not table.any():
        return b""
    narrow = int(table.min()) >= 0 and int(table.max()) <= _NARROW
    return table.astype("<u2" if narrow else "<i4").tobytes()


def _table(data: bytes, *shape: int) -> Table:
    """Read what `_table_bytes` wrote, of a shape.

    Raises:
        MalformedMessage: it is of another, or counts less than nothing.
    """
    size = math.prod(shape)
    if not data:
        return np.zeros(shape, np.int32)
    if len(data) not in {2 * size, 4 * size}:
        raise MalformedMessage("an answer tells of watching in tables of another size")
    kind = "<u2" if len(data) == 2 * size else "<i4"
    table: Table = np.frombuffer(data, kind).astype(np.int32).reshape(shape)
    if table.min() < 0:
        raise MalformedMessage("an answer counts less than nothing")
    return table


def _counts(fields: Fields, name: str) -> dict[str, int]:
    counts = fields.mapping(name, max_items=_MAX_NAMES)
    if not all(type(count) is int and 0 <= count <= _MOST for count in counts.values()):
        raise MalformedMessage(f"an answer's {name} are no counts")
    return counts
