"""Files of a card, a stick or a mirror cost what they weigh, and are read or refused."""

from __future__ import annotations

import base64
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hostile_cbor import within

from provisioning.authority.ledger import Ledger, LedgerError
from provisioning.box.firstboot.errors import FirstBootError
from provisioning.box.firstboot.steps import read_sources
from provisioning.box.updates.slots import RECORD, Slots
from provisioning.fleet.image.base import unpack as unpack_image
from provisioning.fleet.image.cloudinit import meta_data, read_instance_id, written_files
from provisioning.fleet.image.errors import BaseImageUnusable, ImageError
from provisioning.fleet.image.settings import SystemSettings, read_releases
from provisioning.fleet.image.software import read_requirements
from provisioning.formats import pki
from provisioning.formats.releases.errors import ReleaseUnusable
from provisioning.formats.releases.packages import unpack
from provisioning.formats.releases.wheels import read_wheel, unpack_wheel

MIB = 1 << 20
DEEP = "[" * 50_000
HASHES = " --hash=sha256:" + "a" * 64


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 4000,
        b"write_files: " + b"[" * MIB,
        b"write_files: [{path: a, content: 1" + b":1" * 200_000 + b"}]x",
        b"a: &a [1,1]\n" + b"".join(b"%c: &%c [*a,*a]\n" % (n, n) for n in range(98, 122)),
        b"write_files: &a [{path: a, content: b}]\n",
        b"- " * 200_000,
        b"[a,b]: c",
        b"&a " * 200_000,
        b"\xff\xfe",
    ],
)
def test_user_data_that_is_not_ours_is_refused_for_what_it_weighs(document: bytes) -> None:
    def refused() -> None:
        with pytest.raises(ImageError):
            written_files(document)

    within(0.2, 8 * MIB, refused)


def test_a_number_to_the_base_of_sixty_is_read_as_the_text_that_it_is() -> None:
    spelt = "1" + ":1" * 200_000
    document = f"write_files: [{{path: /a, content: {spelt}}}]".encode()
    within(0.3, 16 * MIB, lambda: written_files(document))
    assert written_files(document) == {"/a": spelt}


def test_an_instance_id_that_looks_like_a_number_stays_as_it_is_written() -> None:
    settings = SystemSettings(hostname="h")
    assert read_instance_id(meta_data("0012", settings)) == "0012"


@pytest.mark.parametrize(
    "line", ["a==1 ; x" + HASHES * 12_000 + " !", "a==1 " + ";" * 500_000, "a==1" + " " * 500_000]
)
def test_a_list_of_software_costs_time_as_its_size(line: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(line)

    def refused() -> None:
        with pytest.raises(ImageError):
            read_requirements(path)

    within(2, 40 * MIB, refused)


def test_a_list_of_software_with_markers_and_several_hashes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(
        f"sealtrace==1.0{HASHES}\n"
        f"a==1!2.0+x ; python_version < '3.14' and platform_machine == 'x' \\\n  {HASHES}{HASHES}\n"
    )
    assert read_requirements(path).count("\n") == 2


def _tar(*members: tarfile.TarInfo | bytes) -> bytes:
    blocks = [
        member if isinstance(member, bytes) else member.tobuf(tarfile.GNU_FORMAT)
        for member in members
    ]
    return b"".join(blocks) + bytes(1024)


def _sized(name: str, size: int) -> bytes:
    """Return a header whose size field says ``size``, in base 256."""
    info = tarfile.TarInfo(name)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (size % (1 << 96)).to_bytes(12, "big")
    if size >= 0:
        block[124] |= 0x80
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _sparse(name: str, size: int) -> bytes:
    """Return a GNU sparse file without one byte of its own that is ``size`` bytes long."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (size, 0)
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "archive",
    [
        _tar(_sized("a", -(64 * MIB)), _sized("b", 32 * MIB)) + bytes(32 * MIB),
        _tar(_sized("a", -512)),
        _tar(_sized("a", 1 << 70)),
        _tar(_sparse("a", MIB)),
    ],
    ids=["less than nothing, then much", "less than nothing", "more than a file", "sparse"],
)
def test_a_package_never_unpacks_to_more_than_it_holds(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    path.write_bytes(archive)
    with pytest.raises(ReleaseUnusable):
        unpack(path, tmp_path / "out", max_bytes=2 * MIB)
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) == 0


@pytest.mark.parametrize("what", ["name", "extra", "offset"])
def test_a_damaged_wheel_is_said_to_be_damaged(what: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("pkg/\u00e4.py", os.urandom(2000))
    data = bytearray(stream.getvalue())
    central = data.rindex(b"PK\x01\x02")
    if what == "name":
        at = data.index("ä".encode(), central)
        data[at : at + 2] = b"\xff\xff"
    elif what == "extra":
        data[central + 28 : central + 32] = struct.pack("<HH", 3, 6)
    else:
        data[central + 42 : central + 46] = b"\xff\xff\xff\x7f"
    path = tmp_path / "sealtrace-1.0-py3-none-any.whl"
    path.write_bytes(data)
    with pytest.raises(ReleaseUnusable, match="damaged"):
        unpack_wheel(read_wheel(path), tmp_path / "out", max_bytes=MIB)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_wheel_is_packed_as_wheels_are(method: int, tmp_path: Path) -> None:
    path = tmp_path / "sealtrace-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("pkg/a.py", "x = 1\n")
    data = bytearray(path.read_bytes())
    if method == zipfile.ZIP_LZMA:
        place = data.index(b"\x09\x04\x05\x00\x5d") + 5
        data[place : place + 4] = b"\xff" * 4  # a dictionary of 4 GiB
        path.write_bytes(data)

    def refused() -> None:
        with pytest.raises(ReleaseUnusable, match="packed"):
            unpack_wheel(read_wheel(path), tmp_path / "out", max_bytes=MIB)

    within(1, MIB, refused)


def test_an_image_whose_header_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": MIB}]
    data = bytearray(lzma.compress(bytes(8192), filters=filters))
    header = data[12 : 12 + 4 * (data[12] + 1)]
    place = bytes(header).index(b"\x21\x01") + 2
    header[place] = 40  # a dictionary of 4 GiB less one byte
    header[-4:] = struct.pack("<I", zlib.crc32(bytes(header[:-4])))
    data[12 : 12 + len(header)] = header
    base = tmp_path / "stock.img.xz"
    base.write_bytes(data)
    target = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(BaseImageUnusable, match=r"[Mm]emory"):
            unpack_image(base, target, None)
    finally:
        os.close(target)


def test_an_image_of_several_streams_with_zeros_between_is_read_whole(tmp_path: Path) -> None:
    parts = [os.urandom(100_000 - 64 * n) + bytes(64 * n + 2400) for n in range(3)]
    base = tmp_path / "stock.img.xz"
    base.write_bytes(b"".join(lzma.compress(part) + bytes(8) for part in parts))
    with (tmp_path / "out").open("wb+") as out:
        assert unpack_image(base, out.fileno(), None).raw_bytes == 3 * 102_400
    assert (tmp_path / "out").read_bytes() == b"".join(parts)


def test_a_certificate_of_a_version_that_there_is_not_is_no_certificate() -> None:
    authority = pki.new_root("vectors", now=datetime(2026, 1, 1, tzinfo=UTC), years=1)
    der = authority.certificate.public_bytes(Encoding.DER)
    assert der.count(b"\xa0\x03\x02\x01\x02") == 1
    body = base64.encodebytes(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x06"))
    spelt = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
    with pytest.raises(pki.CertificateError):
        pki.load_certificates(spelt, what="it")


def test_json_without_end_is_refused_wherever_a_file_of_it_is_read(tmp_path: Path) -> None:
    for name in ("cameras.json", "root.json", "ledger.json"):
        (tmp_path / name).write_text(DEEP)
    (tmp_path / "cameras.toml").write_text(f"a = {DEEP}")
    for name in ("cameras.json", "cameras.toml"):
        with pytest.raises(FirstBootError):
            read_sources(tmp_path / name)
    with pytest.raises(ImageError):
        read_releases("https://h/", tmp_path / "root.json", "all", site_ca=False)
    with pytest.raises(LedgerError):
        Ledger.load(tmp_path / "ledger.json")
    slots = Slots(tmp_path / "slots")
    place = slots.path("1.0")
    place.mkdir(parents=True)
    (place / RECORD).write_text("[" * 4000)
    assert not slots.has("1.0", "0" * 64)
