"""What the student changes in its teacher, as a small file, and the student made of both.

Each changed array is kept as whole numbers (-127..127) times a step for each of its first axis'
rows, to be added to the teacher's. The sum is elementwise in float32, so that every machine makes
the same student, whose SHA-256 `models build` pins.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from models.faces.sface import Layer, Weights
from runtime.errors import OperationError

_LEVELS = 127


class StudentFileError(OperationError):
    """The file does not hold changes to the teacher's layers."""


def pack_changes(teacher: Sequence[Layer], student: Sequence[Layer]) -> bytes:
    """The content of a compressed `.npz` with all arrays in which the student differs."""
    arrays: dict[str, NDArray[np.int8] | Weights] = {}
    for number, (before, after) in enumerate(zip(teacher, student, strict=True)):
        for name in _array_names(before):
            change = getattr(after, name) - getattr(before, name)
            if not change.any():
                continue
            rows = change.reshape(len(change), -1)
            step = np.maximum(np.abs(rows).max(axis=1), 1e-12).astype(np.float32) / _LEVELS
            arrays[f"{number}.{name}.steps"] = np.rint(change / _along(step, change)).astype(
                np.int8
            )
            arrays[f"{number}.{name}.step"] = step.astype(np.float32)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # numpy's stub wants one kind
    return out.getvalue()


def apply_changes(teacher: Sequence[Layer], packed: bytes) -> tuple[Layer, ...]:
    """The student's layers.

    Raises:
        StudentFileError: the file does not fit these layers.
    """
    student = list(teacher)
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            for key in arrays.files:
                number, name, part = key.split(".")
                if part != "steps":
                    continue
                before = getattr(student[int(number)], name)
                step = arrays[f"{number}.{name}.step"].astype(np.float32)
                change = arrays[key].astype(np.float32) * _along(step, before)
                changed = before + change.reshape(before.shape)
                student[int(number)] = replace(student[int(number)], **{name: changed})
    except (
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise StudentFileError(
            f"the student's file does not fit the teacher ({error}); take both from one version"
        ) from error
    return tuple(student)


def _array_names(layer: Layer) -> list[str]:
    return [
        part.name for part in fields(layer) if isinstance(getattr(layer, part.name), np.ndarray)
    ]


def _along(step: Weights, values: Weights) -> Weights:
    return step.reshape(-1, *(1,) * (values.ndim - 1))
