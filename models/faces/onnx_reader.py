"""Reads ONNX files of plain networks without a package for it (models/onnx_file.py writes them).

An ONNX file is a protocol-buffers message (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto);
of it only what a chain of layers needs is read here: nodes with numbers and lists as attributes,
constants, the names of inputs and outputs. Everything else in a file is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.errors import OperationError

Floats = NDArray[np.float32] | NDArray[np.float16]
Array = Floats | NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int64]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_DTYPES: dict[int, np.dtype[np.generic]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<u1"),
    3: np.dtype("<i1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    10: np.dtype("<f2"),
}
_FLOAT, _INT, _FLOATS, _INTS = 1, 2, 6, 7  # AttributeProto.AttributeType


class OnnxFileError(OperationError):
    """The file is not an ONNX model that can be read here."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: its type, the names of what it takes and gives, its attributes."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Graph:
    """A network: nodes in order, constants by name, names of inputs and outputs."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx(data: bytes) -> Graph:
    """Read a model from its file's content.

    Inputs that are constants, or that no node takes, are left out: exporters and quantisers leave
    them behind, and onnxruntime would ask for them.

    Raises:
        OnnxFileError: it is damaged, or has parts that are not understood here.
    """
    try:
        graph = b"".join(_parts(data, 7))
        if not graph:
            raise OnnxFileError("this file holds no ONNX graph; fetch it again")
        constants = dict(_constant(part) for part in _parts(graph, 5))
        constants |= {
            output: _constant(value)[1]
            for node in _parts(graph, 1)
            if _word(node, 4) == "Constant"
            for output in _words(node, 2)
            for value in _parts(_parts(node, 5)[0], 5)
        }
        nodes = tuple(_node(part) for part in _parts(graph, 1) if _word(part, 4) != "Constant")
        taken = {name for node in nodes for name in node.inputs} - set(constants)
        inputs = (_word(part, 1) for part in _parts(graph, 11))
        return Graph(
            nodes=nodes,
            constants=constants,
            inputs=tuple(name for name in inputs if name in taken),
            outputs=tuple(_word(part, 1) for part in _parts(graph, 12)),
        )
    except (IndexError, ValueError, KeyError) as error:
        raise OnnxFileError(
            f"this file is not an ONNX model that can be read here ({error}); fetch it again"
        ) from error


# -- reading ----------------------------------------------------------------------------------


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a message: a number, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("it ends too early")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _parts(data: bytes, number: int) -> list[bytes]:
    return [value for at, value in _fields(data) if at == number and isinstance(value, bytes)]


def _words(data: bytes, number: int) -> tuple[str, ...]:
    return tuple(part.decode() for part in _parts(data, number))


def _word(data: bytes, number: int) -> str:
    return (*_words(data, number), "")[0]


def _numbers(data: bytes, number: int) -> tuple[int, ...]:
    """A repeated int64 field, packed or not."""
    found: list[int] = []
    for at, value in _fields(data):
        if at != number:
            continue
        if isinstance(value, int):
            found.append(value)
            continue
        place = 0
        while place < len(value):
            one, place = _varint(value, place)
            found.append(one)
    return tuple(value - (1 << 64) if value >> 63 else value for value in found)


def _floats(data: bytes, number: int) -> tuple[float, ...]:
    return tuple(np.frombuffer(b"".join(_parts(data, number)), "<f4").tolist())


def _constant(data: bytes) -> tuple[str, Array]:
    dtype = _DTYPES[(*_numbers(data, 2), 0)[0]]
    raw = _parts(data, 9)
    if raw:
        values = np.frombuffer(raw[0], dtype)
    elif dtype.kind == "f":
        values = np.array(_floats(data, 4), dtype)
    else:
        values = np.array(_numbers(data, 7 if dtype.itemsize == 8 else 5), dtype)
    return _word(data, 8), values.reshape(_numbers(data, 1))


def _node(data: bytes) -> Node:
    return Node(
        operation=_word(data, 4),
        inputs=_words(data, 1),
        outputs=_words(data, 2),
        attributes=dict(_attribute(part) for part in _parts(data, 5)),
    )


def _attribute(data: bytes) -> tuple[str, Attribute]:
    kind = (*_numbers(data, 20), 0)[0]
    value: Attribute
    if kind == _INT:
        value = (*_numbers(data, 3), 0)[0]
    elif kind == _FLOAT:
        value = (*_floats(data, 2), 0.0)[0]
    elif kind == _INTS:
        value = _numbers(data, 8)
    elif kind == _FLOATS:
        value = _floats(data, 7)
    else:
        value = _word(data, 4)
    return _word(data, 1), value
