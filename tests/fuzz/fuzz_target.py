"""What one parser under attack is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import ProtocolError
from runtime.errors import OperationError

CBOR, TEXT = "cbor", "text"
PROTOCOL = (ProtocolError,)
OPERATION = (ProtocolError, OperationError)


@dataclass(frozen=True)
class Target:
    """A parser, what it reads when nobody is hostile, and what it may raise.

    What one call may cost beyond its input: ``spent`` seconds (key derivation, signatures) and
    ``held`` bytes (buffers of one size).
    """

    parse: Callable[[bytes], object]
    genuine: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...]
    kind: str = CBOR
    spent: float = 0.5
    held: int = 4 << 20


def at(path: Path, parse: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return a parser of bytes from one of a file; it is given them at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return parse(path)

    return read
