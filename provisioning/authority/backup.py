"""One encrypted file that holds a site's offline half, and the way back from it.

The site's folder as a compressed tar in a sealed archive (`runtime.sealed_archive`). Models and
services' state folders are left out: they can be had again, or belong to the services.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

from provisioning.authority.create import refuse_existing
from provisioning.formats import layout
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError, changing, open_site
from provisioning.registrar import mosquitto
from runtime.fsio import FileProblem, atomic_write, fsync_folder, read_file
from runtime.keyfiles import Cost
from runtime.sealed_archive import ArchiveDamaged, open_archive, require_archive, seal_archive

_PURPOSE = "site backup"
_LEFT_OUT = frozenset({layout.MODELS_FOLDER, "state", mosquitto.DATA})
_FOLDER_DEPTH = {
    "custodians": 2,
    "officers": 2,
    "boxes": 2,
    "aggregator": 1,
    "registrar": 1,
    layout.FORMER_REGISTRAR_FOLDER: 1,
    "broker": 1,
}
_MAX_BYTES = 512 << 20


def refuse_backup(out: Path) -> None:
    """Check that there is nothing at ``out`` that a backup would overwrite.

    Raises:
        FileProblem: there is.
    """
    if out.exists():
        raise FileProblem(f"{out} exists already and is left as it is; choose another name")


def backup_site(site: Site, out: Path, passphrase: bytes) -> int:
    """Write the site's folder to the encrypted file ``out``; return its size in bytes.

    Raises:
        FileProblem: ``out`` exists, or a file cannot be read or written.
    """
    refuse_backup(out)
    with changing(site.paths):
        archive = _pack(site.paths.root)
    cost = Cost(memory_kib=site.plan.security.argon2_memory_kib)
    data = seal_archive(archive, passphrase, _PURPOSE, cost=cost)
    atomic_write(out.absolute(), data, 0o600, overwrite=False)
    return len(data)


def restore_site(archive: Path, path: Path, passphrase: bytes) -> SitePaths:
    """Unpack the backup ``archive`` into the new folder ``path``, and check what came out.

    Raises:
        SiteError: ``path`` exists, or the archive is damaged.
        WrongPassphrase: it does not open.
    """
    path = path.absolute()
    refuse_existing(path)
    sealed = _read(archive)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        _unpack(open_archive(sealed, passphrase, _PURPOSE, name=str(archive)), staging)
        open_site(staging)
        mosquitto.give_to_mosquitto(staging / "broker")
        refuse_existing(path)
        staging.rename(path)
        fsync_folder(path.parent)
    except ArchiveDamaged as error:
        raise SiteError(str(error)) from None
    except tarfile.TarError as error:
        raise SiteError(f"{archive} holds no site ({error}); use another copy") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return SitePaths(path)


def check_restore(archive: Path, path: Path) -> None:
    """Check that ``archive`` looks like a backup and that ``path`` is free, without a passphrase.

    Raises:
        SiteError: it does not, or it is not.
    """
    refuse_existing(path.absolute())
    _read(archive)


def _read(archive: Path) -> bytes:
    data = read_file(archive, _MAX_BYTES)
    try:
        require_archive(data, _PURPOSE, name=str(archive))
    except ArchiveDamaged as error:
        raise SiteError(str(error)) from None
    return data


def _pack(root: Path) -> bytes:
    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).parts
        inner = parts[_FOLDER_DEPTH.get(parts[0], 0) :]
        hidden = any(part.startswith(".") for part in parts)
        left_out = len(inner) > 1 and inner[0] in _LEFT_OUT
        if hidden or left_out or inner == (layout.MODELS_FOLDER,):
            return None
        if not (entry.isreg() or entry.isdir()):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for child in sorted(root.iterdir()):
            tar.add(child, arcname=child.name, filter=kept)
    return buffer.getvalue()


def _unpack(data: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        tar.extractall(folder, filter="data")
    for name in ("ca", "authority"):
        if (folder / name).is_dir():
            (folder / name).chmod(0o700)
