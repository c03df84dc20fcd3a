"""Reads and writes ONNX files of plain networks, so that what is built has the same bytes anywhere.

An ONNX file is a protocol-buffers message (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto);
of it only what a chain of layers needs is read here: nodes with numbers and lists as attributes,
constants, the names of inputs and outputs. Everything else in a file is skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.errors import OperationError

Array = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int64]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_DTYPES: dict[int, np.dtype[np.generic]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<u1"),
    3: np.dtype("<i1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
}
_FLOAT, _INT, _STRING, _FLOATS, _INTS = 1, 2, 3, 6, 7  # AttributeProto.AttributeType
_IR_VERSION = 10
_PRODUCER = "sealtrace"


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
class Tensor:
    """An input or output of floats: its name and shape, -1 for a free dimension."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A network: nodes in order, constants by name, inputs, outputs, version of the operations."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opset: int = 13


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
        inputs = (_tensor(part) for part in _parts(graph, 11))
        opsets = [_numbers(part, 2)[0] for part in _parts(data, 8) if not _word(part, 1)]
        return Graph(
            nodes=nodes,
            constants=constants,
            inputs=tuple(tensor for tensor in inputs if tensor.name in taken),
            outputs=tuple(_tensor(part) for part in _parts(graph, 12)),
            opset=opsets[0],
        )
    except (IndexError, ValueError, KeyError, struct.error) as error:
        raise OnnxFileError(
            f"this file is not an ONNX model that can be read here ({error}); fetch it again"
        ) from error


def write_onnx(graph: Graph) -> bytes:
    """The content of a file: the same for the same graph, on every machine."""
    body = b"".join(_bytes(1, _write_node(node)) for node in graph.nodes)
    body += _text(2, _PRODUCER)
    body += b"".join(_bytes(5, _write_constant(*item)) for item in graph.constants.items())
    body += b"".join(_bytes(11, _write_tensor(tensor)) for tensor in graph.inputs)
    body += b"".join(_bytes(12, _write_tensor(tensor)) for tensor in graph.outputs)
    opset = _text(1, "") + _number(2, graph.opset)
    return _number(1, _IR_VERSION) + _text(2, _PRODUCER) + _bytes(7, body) + _bytes(8, opset)


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


def _tensor(data: bytes) -> Tensor:
    shapes = [
        shape
        for kind in _parts(data, 2)
        for tensor in _parts(kind, 1)
        for shape in _parts(tensor, 2)
    ]
    dimensions = [size for shape in shapes for size in _parts(shape, 1)]
    return Tensor(_word(data, 1), tuple((*_numbers(size, 1), -1)[0] for size in dimensions))


# -- writing ----------------------------------------------------------------------------------


def _write_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(number: int, value: int) -> bytes:
    return _write_varint(number << 3 | _VARINT) + _write_varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _write_node(node: Node) -> bytes:
    names = b"".join(_text(1, name) for name in node.inputs)
    names += b"".join(_text(2, name) for name in node.outputs)
    attributes = (_write_attribute(*item) for item in node.attributes.items())
    return names + _text(4, node.operation) + b"".join(_bytes(5, part) for part in attributes)


def _write_attribute(name: str, value: Attribute) -> bytes:
    head = _text(1, name)
    if isinstance(value, int):
        return head + _number(3, value) + _number(20, _INT)
    if isinstance(value, float):
        one = _write_varint(2 << 3 | _FIXED32) + struct.pack("<f", value)
        return head + one + _number(20, _FLOAT)
    if isinstance(value, str):
        return head + _text(4, value) + _number(20, _STRING)
    if all(isinstance(part, int) for part in value):
        return head + b"".join(_number(8, int(part)) for part in value) + _number(20, _INTS)
    many = (_write_varint(7 << 3 | _FIXED32) + struct.pack("<f", part) for part in value)
    return head + b"".join(many) + _number(20, _FLOATS)


def _write_constant(name: str, values: Array) -> bytes:
    kinds: dict[str, int] = {dtype.str.lstrip("<|"): kind for kind, dtype in _DTYPES.items()}
    kind = kinds[values.dtype.str.lstrip("<|=")]
    dims = b"".join(_number(1, size) for size in values.shape)
    raw = np.ascontiguousarray(values, _DTYPES[kind]).tobytes()
    return dims + _number(2, kind) + _text(8, name) + _bytes(9, raw)


def _write_tensor(tensor: Tensor) -> bytes:
    def dimension(size: int) -> bytes:
        return _text(2, "n") if size < 0 else _number(1, size)

    shape: Sequence[bytes] = [_bytes(1, dimension(size)) for size in tensor.shape]
    kind = _number(1, 1) + _bytes(2, b"".join(shape))
    return _text(1, tensor.name) + _bytes(2, _bytes(1, kind))
