"""Reads a TensorFlow.js graph model (its `.json` and `.bin`) without TensorFlow."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TYPES: dict[str, npt.DTypeLike] = {
    "float32": np.float32,
    "float16": np.float16,
    "int32": np.int32,
    "bool": np.bool_,
}


class GraphError(ValueError):
    """The file is not a graph that this repository can read."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: its name and kind, the names of its inputs, and its attributes as stored."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def numbers(self, attribute: str) -> list[int]:
        """A list of whole numbers, as strides are."""
        return [int(value) for value in self.attributes[attribute]["list"]["i"]]


@dataclass(frozen=True, slots=True)
class Graph:
    """The operations by name, and the constants among them."""

    nodes: Mapping[str, Node]
    constants: Mapping[str, Array]


def read_graph(model: bytes, weights: bytes) -> Graph:
    """Read a graph model; constants stored in 16 bits stay so.

    Args:
        model: content of the `.json` file.
        weights: content of its one weights file.

    Raises:
        GraphError: it is not such a model, or the weights are not its own.
    """
    try:
        described = json.loads(model)
        nodes = {node["name"]: _node(node) for node in described["modelTopology"]["node"]}
        constants, offset = {}, 0
        for group in described["weightsManifest"]:
            for entry in group["weights"]:
                values, offset = _constant(entry, weights, offset)
                constants[entry["name"]] = values
    except (KeyError, TypeError, ValueError) as error:
        raise GraphError(f"this is no TensorFlow.js graph model ({error!r})") from error
    if offset != len(weights):
        raise GraphError(f"{len(weights)} bytes of weights, but the graph describes {offset}")
    return Graph(nodes, constants)


def _node(stored: Mapping[str, Any]) -> Node:
    inputs = (name.split(":")[0] for name in stored.get("input", ()) if not name.startswith("^"))
    return Node(stored["name"], stored["op"], tuple(inputs), stored.get("attr", {}))


def _constant(entry: Mapping[str, Any], weights: bytes, offset: int) -> tuple[Array, int]:
    stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
    if stored not in _TYPES:
        raise GraphError(f"constant {entry['name']} is stored as {stored}, which is not read here")
    kind = np.dtype(_TYPES[stored])
    count = math.prod(entry["shape"])
    values = np.frombuffer(weights, kind, count, offset).reshape(entry["shape"])
    return values, offset + count * kind.itemsize
