"""Parsers of files that come from outside: releases, packages, images, cards, pictures, copies."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import cv2
import httpx
import numpy as np
import protocol_samples as s
from fuzz_target import OPERATION, TEXT, Target, at
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.api.serialization.json import JSONSerializer

from edge_agent.outbox_salvage import salvage
from edge_agent.outbox_store import LIVE, Row, SlotName, Store
from edge_agent.sources import decode_image
from officers.desk.areas import read_area
from officers.desk.audit_copy import SITE_FILE, read_audit_copy
from officers.desk.audit_witnessed import WITNESSED, read_witnessed, seen_of
from officers.desk.camera_places import read_positions
from protocol.auditlog import Checkpoint, root_of, sign_checkpoint
from provisioning.authority.ledger import Ledger
from provisioning.authority.places_files import make_register
from provisioning.box.firstboot.steps import read_sources
from provisioning.box.updates.client import ReleaseClient, now_utc
from provisioning.box.updates.slots import RECORD, Slots
from provisioning.box.updates.state import STATE_NAME, StateFile
from provisioning.fleet.image.base import Checksum
from provisioning.fleet.image.base import unpack as unpack_image
from provisioning.fleet.image.manifest import Manifest
from provisioning.fleet.image.settings import read_releases
from provisioning.fleet.image.software import read_requirements
from provisioning.fleet.releases.keys import read_public
from provisioning.fleet.releases.layout import ReleasePaths
from provisioning.fleet.releases.repository import ReleaseRepository
from provisioning.formats.releases.packages import unpack
from provisioning.formats.releases.wheels import read_wheel, unpack_wheel
from runtime.problems import json_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ENDS = datetime(2100, 1, 1, tzinfo=UTC)
_HASH = " --hash=sha256:" + "a" * 64
_LEDGER = (
    b'{"format": "sealtrace-issued/1", "crl_number": 3, "issued": [\n  '
    b'{"name": "c1", "serial": "0f", "not_after": "2030-01-01T00:00:00+00:00",'
    b' "revoked_at": null}\n]}\n'
)
_DIGEST = "0" * 64
_CARD = json.dumps({
    "site": "s", "box": "b", "enrolment_url": "https://h", "authority": _DIGEST, "hostname": "h",
    "claim_expires_at": "2030-01-01T00:00:00Z", "timezone": "UTC", "cameras": ["c"], "wifi": "",
    "login": True, "sealtrace": "1", "releases": "", "wheels": {"a": _DIGEST}, "models": {},
    "base": "a", "base_sha256": _DIGEST, "inputs": _DIGEST,
}).encode()  # fmt: skip
_MIB = 1 << 20


def file_targets(folder: Path) -> dict[str, Target]:
    """Make the targets; what they read and write is in ``folder``."""
    return {**_releases(folder), **_packages(folder), **_cards(folder), **_copies(folder)}


def _releases(folder: Path) -> dict[str, Target]:
    signer = CryptoSigner.generate_ed25519()
    root = Metadata(Root(expires=_ENDS, consistent_snapshot=True))
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.signed.add_key(signer.public_key, role)
    timestamp = Metadata(Timestamp(expires=_ENDS))
    for metadata in (root, timestamp):
        metadata.sign(signer)
    signed = root.to_bytes(JSONSerializer(compact=True))
    mirror = folder / "mirror"

    def trusted(data: bytes) -> object:
        with closing(ReleaseClient(mirror.as_uri(), data, _emptied(folder / "box"))) as client:
            return client

    def looked_at(_path: Path) -> object:
        state = _emptied(folder / "box")
        with closing(ReleaseClient(mirror.as_uri(), signed, state)) as client:
            return client.refresh(None, now_utc())

    ReleasePaths(folder / "repository").metadata.mkdir(parents=True)
    repository = ReleaseRepository(folder / "repository")
    return {
        "first root of releases": Target(trusted, (signed,), OPERATION, TEXT),
        "metadata of releases, at a box": Target(
            at(mirror / "metadata" / "timestamp.json", looked_at),
            (timestamp.to_bytes(),), OPERATION, TEXT,
        ),
        "metadata of releases, at headquarters": Target(
            at(folder / "1.root.json", lambda path: repository.read(path, Root)),
            (signed,), OPERATION, TEXT,
        ),
        "key of a release officer": Target(
            at(folder / "o.pub", read_public), (b"sealtrace-release o " + b"ab" * 32 + b"\n",),
            OPERATION, TEXT,
        ),
        "state of updates": Target(
            at(folder / "updates" / STATE_NAME, lambda path: StateFile(path.parent).read()),
            (b"{}",), OPERATION, TEXT,
        ),
        "record of a version": Target(
            at(
                folder / "slots" / "1.0" / RECORD,
                lambda path: Slots(path.parent.parent).has("1.0", "0" * 64),
            ),
            (b'{"sha256": "' + b"0" * 64 + b'"}',), OPERATION, TEXT,
        ),
    }  # fmt: skip


def _packages(folder: Path) -> dict[str, Target]:
    out = folder / "out"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.GNU_FORMAT) as packing:
        for name in ("manifest.json", "a.onnx"):
            member = tarfile.TarInfo(name)
            member.size = 700
            packing.addfile(member, io.BytesIO(bytes(range(70)) * 10))
    wheels = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        wheel = io.BytesIO()
        with zipfile.ZipFile(wheel, "w", method) as archive:
            archive.writestr("pkg/__init__.py", "x = 1\n" * 40)
            archive.writestr("pkg-1.0.data/purelib/\u00e4.py", "y = 2\n")
        wheels.append(wheel.getvalue())
    raw = b"boot" * 2048 + bytes(8192)
    lists = (
        f"sealtrace==1.0{_HASH}\na==1!2+x ; python_version < '3.14'{_HASH}{_HASH}\n",
        f"# made by uv\nsealtrace==1.0 \\\n   {_HASH}\n    # via x\n",
        f"sealtrace==1.0{_HASH * 60}\n",
    )

    def unpacked(path: Path) -> None:
        target = os.open(folder / "raw.img", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            unpack_image(path, target, None)
        finally:
            os.close(target)

    return {
        "package of a release": Target(
            at(folder / "p.tar", lambda path: unpack(path, _gone(out), max_bytes=_MIB)),
            (tar.getvalue(),), OPERATION, TEXT,
        ),
        "wheel": Target(
            at(
                folder / "sealtrace-1.0-py3-none-any.whl",
                lambda path: unpack_wheel(read_wheel(path), _gone(out), max_bytes=_MIB),
            ),
            tuple(wheels), OPERATION, TEXT,
        ),
        "list of software": Target(
            at(folder / "requirements.txt", read_requirements),
            tuple(text.encode() for text in lists), OPERATION, TEXT,
        ),
        "packed image": Target(
            at(folder / "stock.img", unpacked),
            (lzma.compress(raw) * 2, gzip.compress(raw), zstd.compress(raw), raw),
            OPERATION, TEXT, spent=2, held=48 * _MIB,
        ),
        "list of checksums": Target(
            at(folder / "SHA256SUMS", lambda path: Checksum.from_list(path, "a.img")),
            (b"ab" * 32 + b"  a.img\n", b"SHA256 (a.img) = " + b"ab" * 32, b"ab" * 32),
            OPERATION, TEXT,
        ),
    }  # fmt: skip


def _cards(folder: Path) -> dict[str, Target]:
    picture = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)
    pictures = tuple(
        cv2.imencode(ending, picture)[1].tobytes() for ending in (".png", ".jpg", ".webp", ".bmp")
    )
    rows = json.dumps([{"name": "door", "source": "rtsp://10.0.0.7/s1"}]).encode()
    return {
        "picture": Target(decode_image, pictures, (), TEXT),
        "cameras, as JSON": Target(at(folder / "c.json", read_sources), (rows,), OPERATION, TEXT),
        "cameras, as TOML": Target(
            at(folder / "c.toml", read_sources),
            (b'[[cameras]]\nname = "door"\nsource = "rtsp://10.0.0.7/s1"\n',), OPERATION, TEXT,
        ),
        "first root, at a card": Target(
            at(
                folder / "root.json",
                lambda path: read_releases("https://h/", path, "all", site_ca=True),
            ),
            (b'{"signed": {"_type": "root"}}',), OPERATION, TEXT,
        ),
        "description of a card": Target(Manifest.parse, (_CARD,), OPERATION, TEXT),
        "ledger of certificates": Target(
            at(folder / "ledger.json", Ledger.load), (_LEDGER,), OPERATION, TEXT
        ),
    }  # fmt: skip


def _copies(folder: Path) -> dict[str, Target]:
    log = f"sealtrace/{s.SITE}/c1"
    note = sign_checkpoint(Checkpoint(log, 2, root_of([b"a", b"b"])), s.signing_key("c1"))
    site = {"site": s.SITE, "authority": s.authority().verify_key.raw.hex(), "fetched_ms": 5}
    copy = folder / "audit"
    copy.mkdir()
    (copy / "directory.cbor").write_bytes(s.directory().sign(s.authority()).to_bytes())
    request = httpx.Request("GET", "https://h/")
    return {
        "witnessed checkpoints": Target(
            at(
                folder / "told" / WITNESSED / "c2" / "c1-2.txt",
                lambda path: list(seen_of(read_witnessed(path.parents[2]), log)),
            ),
            (note.encode(),), OPERATION, TEXT,
        ),
        "copy of an audit": Target(
            at(copy / SITE_FILE, lambda path: read_audit_copy(path.parent)),
            (json.dumps(site).encode(),), OPERATION, TEXT,
        ),
        "places of cameras, as CSV": Target(
            at(folder / "places.csv", read_positions),
            (b"camera,lat,lon\ncam-1,48.2,16.4\n",), OPERATION, TEXT,
        ),
        "places of cameras, as TOML": Target(
            at(folder / "places.toml", read_positions),
            (b"[cam-1]\nlat = 48.2\nlon = 16.4\n",), OPERATION, TEXT,
        ),
        "places that an office wrote": Target(
            make_register,
            (
                b"camera,place,name_ko,indoor,lat,lon\ncam-1,Lobby,x,yes,37.5,126.7\n",
                b'{"type": "FeatureCollection", "features": [{"geometry": {"type": "Point", '
                b'"coordinates": [126.7, 37.5]}, "properties": {"camera": "c", "place": "x"}}]}',
            ),
            OPERATION, TEXT,
        ),
        "area on a map": Target(
            at(folder / "area.geojson", read_area),
            (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}',),
            OPERATION, TEXT,
        ),
        "JSON answer": Target(
            lambda d: json_of(httpx.Response(200, content=d, request=request)),
            (b'{"boxes": [{"box": "box-1", "fps": 4.5}]}', b'{"size": 3}'), OPERATION, TEXT,
        ),
        "spoilt outbox": Target(*_outbox(folder), OPERATION, TEXT, spent=3, held=8 * _MIB),
    }  # fmt: skip


def _outbox(folder: Path) -> tuple[Callable[[bytes], object], tuple[bytes, ...]]:
    path = folder / "outbox" / "old.db"
    path.parent.mkdir()
    old = Store(path, max_bytes=_MIB)
    old.adopt([Row("cam-1", n, LIVE, SlotName(3, 0, 4), 1, bytes([n]) * 900) for n in range(6)])
    old.save(cameras={"cam-1": (6, 0)}, counters={"sealed": 6})
    old.close()
    into = Store(folder / "outbox" / "new.db", max_bytes=_MIB)

    def salvaged(path: Path) -> object:
        for ending in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return salvage(path, into)

    return at(path.with_name("spoilt.db"), salvaged), (path.read_bytes(),)


def _gone(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _emptied(folder: Path) -> Path:
    _gone(folder).mkdir()
    return folder
