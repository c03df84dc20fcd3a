"""Writes ONNX files, so that the same graph is the same bytes whatever is installed.

ONNX is a protocol-buffers message. Of it only what a graph of ours needs is written, fields in the
order of their numbers, from `onnx/onnx.proto` (ONNX 1.17, Apache-2.0): nothing is installed for it,
and a file's hash can be pinned.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FLOAT = 1
_TYPES = {"float32": FLOAT, "float16": 10, "int64": 7, "int32": 6, "uint8": 2}
_ATTRIBUTE_TYPES = {"f": 1, "i": 2, "s": 3, "ints": 7}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5

Attribute: TypeAlias = int | float | str | Sequence[int]


@dataclass(slots=True)
class OnnxGraph:
    """A graph in the making: operations in their order, and constants."""

    nodes: list[bytes] = field(default_factory=list)
    weights: list[npt.NDArray[Any]] = field(default_factory=list)
    """As they are stored: little end first."""

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Put in a constant and return its name; what is stored in 16 bits is used in 32."""
        name = f"w{len(self.weights)}"
        self.weights.append(values.astype(values.dtype.newbyteorder("<")))
        return self.put("Cast", [name], to=FLOAT) if values.dtype == np.float16 else name

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: int | Sequence[str] = 1,
        **attributes: Attribute,
    ) -> list[str]:
        """Put in an operation; return the names of its outputs: those given, or so many new."""
        if isinstance(outputs, int):
            outputs = self.fresh(outputs)
        self.nodes.append(_node(kind, inputs, outputs, attributes))
        return list(outputs)

    def put(
        self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Attribute
    ) -> str:
        """Put in an operation of one output; return its name: that given, or a new one."""
        return self.add(kind, inputs, 1 if output is None else [output], **attributes)[0]

    def fresh(self, count: int) -> list[str]:
        """So many new names, for the outputs of the next operation."""
        return [f"t{len(self.nodes)}_{index}" for index in range(count)]

    def content(
        self,
        name: str,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
        *,
        input_type: str = "float32",
        properties: Mapping[str, str] | None = None,
        opset: int = 17,
        ir_version: int = 8,
    ) -> bytes:
        """Return the file's content.

        Args:
            name: of the graph.
            inputs: shape of each by name; a dimension that is left open has a name.
            outputs: as `inputs`, float32.
            input_type: what the inputs are made of, as NumPy calls it.
            properties: what the file says of itself besides; onnxruntime gives it back as metadata.
            opset: version of the operations.
            ir_version: version of the file format.
        """
        graph = _join(
            *(_field(1, node) for node in self.nodes),
            _field(2, name),
            *(_field(5, _tensor(f"w{at}", values)) for at, values in enumerate(self.weights)),
            *(_field(11, _value(name, shape, input_type)) for name, shape in inputs.items()),
            *(_field(12, _value(name, shape, "float32")) for name, shape in outputs.items()),
        )
        operations = _join(_field(1, ""), _number(2, opset))
        return _join(
            _number(1, ir_version),
            _field(2, "sealtrace"),
            _field(7, graph),
            _field(8, operations),
            *(
                _field(14, _field(1, key) + _field(2, value))
                for key, value in (properties or {}).items()
            ),
        )


def _node(
    kind: str, inputs: Iterable[str], outputs: Iterable[str], attributes: Mapping[str, Attribute]
) -> bytes:
    return _join(
        *(_field(1, name) for name in inputs),
        *(_field(2, name) for name in outputs),
        _field(4, kind),
        *(_field(5, _attribute(name, value)) for name, value in sorted(attributes.items())),
    )


def _attribute(name: str, value: Attribute) -> bytes:
    kind, content = "i", b""
    if isinstance(value, float):
        kind, content = "f", _tag(2, _FIXED32) + struct.pack("<f", value)
    elif isinstance(value, str):
        kind, content = "s", _field(4, value)
    elif isinstance(value, int):
        content = _number(3, value)
    else:
        kind, content = "ints", _join(*(_number(8, number) for number in value))
    return _join(_field(1, name), content, _number(20, _ATTRIBUTE_TYPES[kind]))


def _tensor(name: str, values: npt.NDArray[Any]) -> bytes:
    return _join(
        *(_number(1, side) for side in values.shape),
        _number(2, _TYPES[values.dtype.name]),
        _field(8, name),
        _field(9, values.tobytes()),
    )


def _value(name: str, shape: Sequence[int | str], kind: str) -> bytes:
    sides = (
        _field(1, _number(1, side) if isinstance(side, int) else _field(2, side)) for side in shape
    )
    tensor = _join(_number(1, _TYPES[kind]), _field(2, _join(*sides)))
    return _join(_field(1, name), _field(2, _field(1, tensor)))


def _join(*parts: bytes) -> bytes:
    return b"".join(parts)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _varint(value & (1 << 64) - 1)


def _field(number: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return _tag(number, _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)
