"""The files of an object of packed segments, byte by byte: read and written here alone.

An object holds the segments of one shard's hour, in the order camera, generation, slot, number,
and is some files of one name: ``.idx`` says what is in it, ``.head`` has headers and signatures,
``.cover`` rows and counts, ``.meta`` metadata, and each modality has one; all in that same order,
sealed as they came. Each file begins with 64 bytes: a magic, the version of this format, what it
is, and the SHA-256 of all behind. The ``.idx`` has its fellows' sizes and digests too, and the
ledger has its: whoever keeps the files can change none of them unseen.

Nothing in an object depends on the ledger: cameras and models stand in it by name.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from aggregator.store.packs import SLOTS_AN_HOUR, HotSegment, PackName
from protocol.encoding import Fields, decode, encode
from protocol.errors import ProtocolError
from protocol.keytree import COUNTS, COVER, META, MODALITIES
from protocol.names import CameraAddress
from protocol.sealing import SALT_BYTES

VERSION = 1
INDEX, HEAD = "idx", "head"
HEADER, SIGNATURE = "header", "signature"
PARTS: dict[str, tuple[str, ...]] = {
    HEAD: (HEADER, SIGNATURE),
    COVER: (COVER, COUNTS),
    META: (META,),
    **{modality: (modality,) for modality in MODALITIES},
}
"""Which blocks of a segment stand in which file, one after the other."""
PREFIX_BYTES = 64
MAX_FILE_BYTES = 1 << 31
_MAGIC = b"SEALPACK"
_PREFIX = struct.Struct("<8sI20s32s")
_ALIGNED = 8
_MAX_DESCRIPTION = 1 << 20
_MAX_SEGMENTS = 1 << 22
NO_MODEL = -1
Lengths = npt.NDArray[np.int64]
SpanName = tuple[str, str, str, int]
"""Site, box, camera and generation: as plain values, since each object is asked for them."""


class NotAnObject(ValueError):
    """A file is not what this format says: it is damaged, or somebody made it."""


@dataclass(frozen=True, slots=True)
class FileNote:
    """What the index knows of a fellow: bytes in all, and the SHA-256 behind the prefix."""

    size: int
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What is in an object.

    Args:
        rows: (n,) structured, a row a segment: see `row_type`.
        spans: to the rows of a camera and generation, which lie together, from `span_name`.
        models: names; the rows give their places here.
        files: ending to what it must be.
        starts: block's label to (n,) int64: where in its file it begins.
    """

    name: PackName
    rows: npt.NDArray[Any]
    spans: dict[SpanName, tuple[int, int]]
    models: tuple[str, ...]
    files: dict[str, FileNote]
    starts: dict[str, Lengths]


def span_name(address: CameraAddress, generation: int) -> SpanName:
    """Return by which name an index knows the rows of a camera and generation."""
    return (*_names(address), generation)


def row_type(modalities: Sequence[str]) -> np.dtype[Any]:
    """Return how a segment stands in the index: numbers, and the length of each block (0: none)."""
    return np.dtype(
        [
            ("number", "<i8"),
            ("received_ms", "<i8"),
            ("generation", "<i8"),
            ("sequence", "<i8"),
            ("salt", "u1", (SALT_BYTES,)),
            ("camera", "<u2"),
            ("slot", "u1"),
            ("version", "u1"),
            ("sightings", "<u4"),
            *((f"{modality}_model", "<i4") for modality in modalities),
            *((f"{label}_bytes", "<u4") for label in _labels(modalities)),
        ]
    )


def _labels(modalities: Sequence[str]) -> tuple[str, ...]:
    return (HEADER, SIGNATURE, COVER, COUNTS, META, *modalities)


# ---------------------------------------------------------------------- writing


def write(name: PackName, segments: Iterable[HotSegment]) -> dict[str, bytes]:
    """Return the files of an object, by ending, the index last.

    Raises:
        NotAnObject: a file would be larger than `MAX_FILE_BYTES`.
    """
    ordered = sorted(segments, key=_order)
    cameras = sorted({_names(one.address) for one in ordered})
    models = sorted({model for one in ordered for model in one.models.values()})
    files = {ending: _file(ending, ordered) for ending in PARTS}
    camera_of = {camera: at for at, camera in enumerate(cameras)}
    model_of: dict[str | None, int] = {model: at for at, model in enumerate(models)}
    model_of[None] = NO_MODEL
    rows = np.array(
        [_row(one, camera_of[_names(one.address)], model_of) for one in ordered],
        row_type(MODALITIES),
    )
    description = encode(
        {
            "v": VERSION,
            "epoch": name.epoch,
            "shard": name.shard,
            "hour": name.hour,
            "part": name.part,
            "cameras": [list(camera) for camera in cameras],
            "models": list(models),
            "modalities": list(MODALITIES),
            "segments": len(ordered),
            "files": {ending: [len(data), data[32:64]] for ending, data in files.items()},
        }
    )
    begins = len(description).to_bytes(4, "little") + description
    begins += bytes(-len(begins) % _ALIGNED)
    files[INDEX] = _with_prefix(INDEX, [begins, rows.tobytes()])
    return files


def _order(one: HotSegment) -> tuple[object, ...]:
    return (*_names(one.address), one.generation, one.slot, one.number)


def _names(address: CameraAddress) -> tuple[str, str, str]:
    return address.site, address.box, address.camera


def _block(one: HotSegment, label: str) -> bytes:
    if label == HEADER:
        return one.header
    return one.signature if label == SIGNATURE else one.blocks.get(label, b"")


def _file(ending: str, ordered: Iterable[HotSegment]) -> bytes:
    return _with_prefix(ending, [_block(one, label) for one in ordered for label in PARTS[ending]])


def _with_prefix(ending: str, parts: Sequence[bytes]) -> bytes:
    content = b"".join(parts)
    if len(content) > MAX_FILE_BYTES - PREFIX_BYTES:
        raise NotAnObject(f"its .{ending} would have {len(content)} bytes")
    digest = hashlib.sha256(content).digest()
    return _PREFIX.pack(_MAGIC, VERSION, ending.encode(), digest) + content


def _row(one: HotSegment, camera: int, model_of: Mapping[str | None, int]) -> tuple[object, ...]:
    return (
        one.number,
        one.received_ms,
        one.generation,
        one.sequence,
        tuple(one.salt),
        camera,
        one.slot,
        one.version,
        one.sightings,
        *(model_of[one.models.get(modality)] for modality in MODALITIES),
        *(len(_block(one, label)) for label in _labels(MODALITIES)),
    )


# ---------------------------------------------------------------------- reading


def content_of(ending: str, data: memoryview) -> memoryview:
    """Return what is behind a file's prefix, checked against the digest there.

    Raises:
        NotAnObject: it is another kind of file, of a version to come, or its digest fails.
    """
    digest = check_prefix(ending, data[:PREFIX_BYTES])
    content = data[PREFIX_BYTES:]
    require_digest(ending, hashlib.sha256(content).digest(), digest)
    return content


def check_prefix(ending: str, prefix: bytes | memoryview) -> bytes:
    """Return the digest that a file's first 64 bytes promise.

    Raises:
        NotAnObject: they are not those of such a file.
    """
    if len(prefix) != PREFIX_BYTES:
        raise NotAnObject(f"its .{ending} ends within the first {PREFIX_BYTES} bytes")
    magic, version, kind, digest = _PREFIX.unpack(prefix)
    if magic != _MAGIC or kind.rstrip(b"\0") != ending.encode():
        raise NotAnObject(f"its .{ending} is another kind of file")
    if version != VERSION:
        raise NotAnObject(
            f"its .{ending} is of version {version}, and this program reads {VERSION}"
        )
    return bytes(digest)


def require_digest(ending: str, found: bytes, wanted: bytes) -> None:
    """Check a digest.

    Raises:
        NotAnObject: it is another.
    """
    if not hmac.compare_digest(found, wanted):
        raise NotAnObject(f"the digest of its .{ending} fails")


def read_index(name: PackName, data: bytes | memoryview, *, digest: bytes) -> Index:
    """Read an index, and check that all it says can be.

    Args:
        digest: SHA-256 of the whole file, as the ledger has it.

    Raises:
        NotAnObject: it is not that of this object.
    """
    require_digest(INDEX, hashlib.sha256(data).digest(), digest)
    content = content_of(INDEX, memoryview(data))
    size = int.from_bytes(content[:4], "little")
    if size > min(_MAX_DESCRIPTION, len(content)):
        raise NotAnObject("its .idx ends within the description")
    try:
        return _parsed(name, content, size)
    except (ProtocolError, ValueError, KeyError, TypeError) as error:
        raise NotAnObject(f"its .idx is malformed: {error}") from error


def _parsed(name: PackName, content: memoryview, size: int) -> Index:
    fields = Fields(decode(bytes(content[4 : 4 + size]), what="object"), what="object")
    fields.version(VERSION)
    found = PackName(*(fields.integer(of) for of in ("epoch", "shard", "hour", "part")))
    if found != name:
        raise NotAnObject(f"its .idx is that of {found.path}")
    cameras = [_camera(*names) for names in fields.array("cameras", max_items=1 << 16)]
    models = fields.texts("models", max_items=1 << 16)
    modalities = fields.texts("modalities", max_items=16)
    segments = fields.integer("segments", 1, _MAX_SEGMENTS)
    files = {
        ending: FileNote(*note) for ending, note in fields.mapping("files", max_items=32).items()
    }
    fields.done()
    begins = -(-(4 + size) // _ALIGNED) * _ALIGNED
    rows = np.frombuffer(content[begins:], row_type(modalities))
    if len(rows) != segments:
        raise NotAnObject(f"its .idx has {len(rows)} rows, not {segments}")
    _check_rows(name, rows, cameras, models, modalities)
    return Index(
        name,
        rows,
        _spans(rows, cameras),
        models,
        files,
        dict(_starts(rows, files, modalities)),
    )


@lru_cache(maxsize=1 << 16)
def _camera(site: str, box: str, camera: str) -> CameraAddress:
    """Return an address; the same ones stand in the objects of every hour."""
    return CameraAddress(site, box, camera)


def _check_rows(
    name: PackName,
    rows: npt.NDArray[Any],
    cameras: Sequence[CameraAddress],
    models: Sequence[str],
    modalities: Sequence[str],
) -> None:
    first = name.hour * SLOTS_AN_HOUR
    slots = rows["slot"]
    if (slots < first).any() or (slots >= first + SLOTS_AN_HOUR).any():
        raise NotAnObject("its .idx has segments of another hour")
    if (rows["camera"] >= len(cameras)).any() or (rows["number"] < 1).any():
        raise NotAnObject("its .idx has segments of no camera, or without a number")
    if (rows["sequence"] < 0).any() or (rows["version"] - np.uint8(1) > 1).any():
        raise NotAnObject("its .idx has segments of no version, or below sequence 0")
    for modality in modalities:
        of, size = rows[f"{modality}_model"], rows[f"{modality}_bytes"]
        if (of < NO_MODEL).any() or (of >= len(models)).any() or ((of < 0) & (size > 0)).any():
            raise NotAnObject(f"its .idx has a block {modality} of no model")
    if not np.diff(np.sort(rows["number"])).all():
        raise NotAnObject("its .idx has a segment twice")


def _spans(
    rows: npt.NDArray[Any], cameras: Sequence[CameraAddress]
) -> dict[SpanName, tuple[int, int]]:
    """Return which rows are of each camera and generation; they lie together."""
    of_camera, of_generation = rows["camera"].astype(np.int64), rows["generation"]
    changes = (np.diff(of_camera) != 0) | (np.diff(of_generation) != 0)
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(rows)]
    spans: dict[SpanName, tuple[int, int]] = {}
    for begins, ends in pairwise(bounds):
        key = span_name(cameras[int(of_camera[begins])], int(of_generation[begins]))
        if key in spans:
            raise NotAnObject("its .idx is not in the order of cameras")
        spans[key] = (begins, ends)
    return spans


def _starts(
    rows: npt.NDArray[Any], files: dict[str, FileNote], modalities: Sequence[str]
) -> Iterable[tuple[str, Lengths]]:
    """Yield where each block begins in its file, which its lengths tell."""
    for ending, labels in PARTS.items():
        if ending in MODALITIES and ending not in modalities:
            continue  # that modality is younger than this object
        lengths = np.stack([rows[f"{label}_bytes"].astype(np.int64) for label in labels], 1)
        ends = np.cumsum(lengths.reshape(-1)).reshape(lengths.shape) + PREFIX_BYTES
        if files[ending].size != int(ends[-1, -1]):
            raise NotAnObject(f"its .idx says two sizes of .{ending}")
        for at, label in enumerate(labels):
            yield label, ends[:, at] - lengths[:, at]
