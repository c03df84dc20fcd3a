"""A portion of work as bytes: what a worker is told, read as a few kinds of plain objects.

Keys travel as the classes of `protocol` that hold them, pickled, since they know best what they
keep; what is read may name classes of those modules and nothing else, and no function.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from aggregator.matching.probes import Probes
from aggregator.matching.workers import MatchTask
from protocol.epoch_keys import EpochKeys
from protocol.errors import MalformedMessage
from runtime.calibration import Calibration

FORM = 1
MAX_SUBJECT_ROWS = 1 << 16
_MODULES = frozenset({
    "protocol.epoch_keys", "protocol.grant", "protocol.keytree", "protocol.names",
    "protocol.reconcile", "protocol.sightings", "runtime.calibration",
})  # fmt: skip
"""Where classes that a portion may name stand; reading one runs nothing but its construction."""
_HARMLESS = frozenset({("builtins", "range")})


@dataclass(frozen=True, slots=True)
class Portion:
    """What a worker does: a task, and the calibrations that it takes (`runtime.calibration`)."""

    task: MatchTask
    calibrations: Mapping[str, Calibration]


def write_portion(task: MatchTask, calibrations: Mapping[str, Calibration]) -> bytearray:
    """Return a task as bytes, keys and templates in the clear: the caller seals and wipes it."""
    old = any(keys.version == 1 for keys in task.scopes)
    value = {
        "v": FORM,
        "scopes": list(task.scopes),
        "probes": [
            (one.modality, one.model, one.matrix.shape[1], one.matrix.astype("<f4").tobytes(),
             one.thresholds.astype("<f4").tobytes(), list(one.subjects))
            for one in task.probes
        ],
        "contacts": task.contacts,
        "max_candidates": task.max_candidates,
        "after": task.after,
        "tell_through": task.tell_through,
        "calibrations": dict(calibrations) if old else {},
    }  # fmt: skip
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol=5).dump(value)
    with stream.getbuffer() as written:
        plain = bytearray(written)
        written[:] = bytes(len(written))
    return plain


def read_portion(plain: bytearray) -> Portion:
    """Read what `write_portion` wrote; the caller wipes ``plain`` and the probes.

    Raises:
        MalformedMessage: it is something else.
    """
    stream = io.BytesIO(plain)
    try:
        value = _Reader(stream).load()
        return _checked(value)
    except MalformedMessage:
        raise
    except Exception as error:
        raise MalformedMessage(f"a portion cannot be read: {type(error).__name__}") from error
    finally:
        with stream.getbuffer() as read:
            read[:] = bytes(len(read))


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the class that is named, if it is one of those that hold keys."""
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        if module in _MODULES and name.isidentifier():
            if module not in sys.modules:
                import_module(module)
            found = getattr(sys.modules[module], name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise MalformedMessage(f"a portion names {module}.{name}, which no portion does")


def _checked(value: Any) -> Portion:
    if not isinstance(value, dict) or value.get("v") != FORM:
        raise MalformedMessage(
            "a portion is of another version of sealtrace: update aggregator and match workers"
        )
    scopes, probes = value["scopes"], value["probes"]
    contacts, most = value["contacts"], value["max_candidates"]
    after, through = value["after"], value["tell_through"]
    calibrations = value["calibrations"]
    if (
        not isinstance(scopes, list)
        or not all(isinstance(keys, EpochKeys) for keys in scopes)
        or not isinstance(probes, list)
        or not isinstance(contacts, bool)
        or not _whole(most)
        or not _whole(after)
        or not _whole(through)
        or not isinstance(calibrations, dict)
        or not all(isinstance(one, Calibration) for one in calibrations.values())
    ):
        raise MalformedMessage("a portion's fields are not of their kinds")
    if probes and through:
        raise MalformedMessage("a portion has templates to compare, and tells what was watched")
    task = MatchTask(tuple(scopes), tuple(map(_probes, probes)), contacts, most, after, through)
    return Portion(task, calibrations)


def _probes(value: Any) -> Probes:
    modality, model, width, rows, thresholds, subjects = value
    if (
        not all(isinstance(text, str) for text in (modality, model, *subjects))
        or not _whole(width)
        or not 0 < len(subjects) <= MAX_SUBJECT_ROWS
        or len(rows) != 4 * width * len(subjects)
        or len(thresholds) != 4 * len(subjects)
    ):
        raise MalformedMessage("a portion's templates are not of their shape")
    matrix = np.frombuffer(rows, "<f4").reshape(len(subjects), width).astype(np.float32)
    if not np.isfinite(matrix).all():
        raise MalformedMessage("a portion's templates are no numbers")
    return Probes(
        modality,
        model,
        matrix,
        np.frombuffer(thresholds, "<f4").astype(np.float32),
        tuple(subjects),
    )


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
