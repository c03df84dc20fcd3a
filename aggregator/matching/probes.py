"""The subjects of a query as matching needs them: one matrix for each modality and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.errors import ModelMismatch
from protocol.query import Query
from protocol.sealing import model_dimension
from protocol.sightings import dequantise_template
from protocol.templates import Template


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """The templates of all subjects that are of one modality and model.

    ``matrix`` is (k, d) float32 of unit rows, ``thresholds`` (k,) float32, ``subjects`` the k
    pseudonyms: a subject with several templates stands there several times.
    """

    modality: str
    model: str
    matrix: npt.NDArray[np.float32]
    thresholds: npt.NDArray[np.float32]
    subjects: tuple[str, ...]

    def wipe(self) -> None:
        """Overwrite the templates when the query is over."""
        self.matrix.fill(0)


def probes_of(query: Query, templates: Mapping[str, Sequence[Template]]) -> tuple[Probes, ...]:
    """Group a query's opened templates (pseudonym to templates) by modality and model.

    Raises:
        ModelMismatch: a template's model id does not fit the template, or has no threshold.
    """
    groups: dict[tuple[str, str], list[tuple[str, Template]]] = {}
    for subject in sorted(templates):
        for template in templates[subject]:
            groups.setdefault((template.modality, template.model), []).append((subject, template))
    return tuple(
        _group(modality, model, members, query.thresholds.get(model))
        for (modality, model), members in sorted(groups.items())
    )


def _group(
    modality: str, model: str, members: Sequence[tuple[str, Template]], threshold: float | None
) -> Probes:
    dimension = model_dimension(model)
    if threshold is None:
        raise ModelMismatch(f"the query gives no threshold for model '{model}'")
    if any(template.row.shape != (dimension,) for _, template in members):
        raise ModelMismatch(f"a template has not the {dimension} dimensions of model '{model}'")
    matrix = np.stack([dequantise_template(t.row, t.scale) for _, t in members])
    thresholds = np.full(len(members), threshold, np.float32)
    return Probes(modality, model, matrix, thresholds, tuple(name for name, _ in members))
