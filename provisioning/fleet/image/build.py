"""Builds a box's card image from a stock one, and tells what is in an image that was built.

The work is done on a hidden file beside the result, which gets its name only when it is whole; an
interrupt leaves nothing. The same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from protocol.textformats import parse_toml
from provisioning.fleet.image import cloudinit, manifest
from provisioning.fleet.image.base import Checksum, unpack
from provisioning.fleet.image.blockmap import map_image
from provisioning.fleet.image.bootpartition import (
    CIDATA,
    SystemKind,
    find_boot_partition,
    open_volume,
    recognise_system,
)
from provisioning.fleet.image.errors import BootPartitionFull, ImageError, ImageExists
from provisioning.fleet.image.fat import FatVolume, require_mtools
from provisioning.fleet.image.firstboot_files import (
    CLAIM_NAME,
    FORMER_CLAIM_PATH,
    SIGNATURE_PATH,
    SOFTWARE_PATH,
    secret_files,
    system_files,
)
from provisioning.fleet.image.manifest import Manifest
from provisioning.fleet.image.progress import Bars
from provisioning.fleet.image.rootvolume import RootVolume, find_root
from provisioning.fleet.image.settings import CardFile, SystemSettings
from provisioning.fleet.image.software import SoftwareList, parse_signature
from provisioning.formats.claimfile import ClaimFile
from runtime.config import ConfigError, parse
from runtime.fsio import FileProblem, atomic_write, fsync_folder, sha256_file

_IMAGE_MODE = 0o600
"""An image holds a claim: it is for its owner's eyes until the box has been admitted."""
_EARLIEST_FAT_S = 315_532_800
"""1980-01-01, where FAT's time begins."""
_DATA_SOURCE = "ds=nocloud"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        base: the stock image, raw or packed.
        checksum: what ``base`` must hash to; None: it was said that nobody knows.
        claim: the claim of the box, checked.
        settings: the system's, checked.
        out: where the image goes.
        epoch_s: date of the written files; None: that of the newest file on the boot partition.
        force: replace another image that is there.
    """

    base: Path
    checksum: Checksum | None
    claim: ClaimFile
    settings: SystemSettings
    out: Path
    epoch_s: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is there: sizes in bytes; whether it was so before."""

    path: Path
    manifest: Manifest
    sha256: str
    image_bytes: int
    mapped_bytes: int
    was_there: bool = False


def companions(image: Path) -> tuple[Path, Path]:
    """Return the names of an image's checksum file and block map."""
    return image.with_name(image.name + ".sha256"), image.with_name(image.name + ".bmap")


def build_image(request: BuildRequest, bars: Bars) -> BuiltImage:
    """Build an image, its ``.sha256`` and its ``.bmap``; do nothing if they are there, just so.

    Raises:
        ImageExists: there is another file of that name, and ``force`` is not set.
        ImageError: the base, the tools or the disk do not allow it; see its subclasses.
    """
    require_mtools()
    request.settings.require_possible()
    _require_room(request.out)
    if request.out.exists() and (present := _present(request, bars)) is not None:
        return present
    with _unfinished(request.out) as (descriptor, working):
        advance = bars.stage("unpacking", request.base.stat().st_size)
        unpacked = unpack(request.base, descriptor, request.checksum, advance=advance)
        about = _prepare(working, request, _describe(request, unpacked.sha256))
        block_map, digest = map_image(
            working, advance=bars.stage("mapping and hashing", unpacked.raw_bytes)
        )
        sums, bmap = companions(request.out)
        for stale in (sums, bmap):
            stale.unlink(missing_ok=True)
        os.fsync(descriptor)
        working.replace(request.out)
        fsync_folder(request.out.parent)
    atomic_write(bmap, block_map.to_xml())
    atomic_write(sums, f"{digest}  {request.out.name}\n".encode())
    return BuiltImage(request.out, about, digest, unpacked.raw_bytes, block_map.mapped_bytes)


def show_image(image: Path) -> tuple[Manifest, list[str]]:
    """Return an image's description, and what is wrong with the image, if anything.

    Raises:
        ImageError: it is not a Sealtrace image, or cannot be read.
    """
    if not image.is_file():
        raise ImageError(f"there is no image {image}; check the name")
    volume = open_volume(image, find_boot_partition(image))
    if not volume.has(manifest.NAME):
        raise ImageError(
            f"{image} is not a Sealtrace image (its boot partition has no {manifest.NAME}); "
            "`sealtrace image build` makes one"
        )
    about = Manifest.parse(volume.read(manifest.NAME))
    return about, _doubts(image, volume, about)


def user_documents(claim: ClaimFile, settings: SystemSettings, kind: SystemKind) -> dict[str, str]:
    """Return cloud-init's three documents by name, the instance id being in ``meta-data``."""
    raspberry = kind is SystemKind.RASPBERRY
    files = system_files(claim, settings)  # none of them secret: cloud-init keeps copies
    user = cloudinit.user_data(settings, files, raspberry=raspberry)
    network = cloudinit.network_config(settings, raspberry=raspberry)
    instance = cloudinit.instance_id(claim.box, (user, network))
    meta = cloudinit.meta_data(instance, settings)
    return {"user-data": user, "network-config": network, "meta-data": meta}


def _describe(request: BuildRequest, base_sha256: str) -> Manifest:
    return manifest.describe(
        request.claim,
        request.settings,
        base=request.base.name,
        base_sha256=base_sha256,
        version=installed_version("sealtrace"),
        epoch_s=request.epoch_s,
    )


def _present(request: BuildRequest, bars: Bars) -> BuiltImage | None:
    """Return the image that is there if it is what would be built; None to replace it."""
    sums, bmap = companions(request.out)
    try:
        about, doubts = show_image(request.out)
        base_sha256, _ = sha256_file(request.base)
        described = _describe(request, base_sha256).model_copy(update={"place": about.place})
        if not doubts and about == described and bmap.exists():
            size = request.out.stat().st_size
            block_map, digest = map_image(request.out, advance=bars.stage("checking", size))
            if sums.read_text().split()[:1] == [digest] and bmap.read_bytes() == block_map.to_xml():
                mapped = block_map.mapped_bytes
                return BuiltImage(request.out, about, digest, size, mapped, was_there=True)
    except (ImageError, FileProblem, OSError, ValueError):
        if not request.force:
            raise _in_the_way(request.out) from None
    if not request.force:
        raise _in_the_way(request.out)
    return None


def _in_the_way(out: Path) -> ImageExists:
    return ImageExists(
        f"{out} exists already and is not the image that would be built; choose another --out, or "
        "add --force to replace it"
    )


def _require_room(out: Path) -> None:
    if not out.parent.is_dir():
        raise ImageError(f"there is no folder {out.parent}; make it, or choose another --out")
    if out.exists() and not out.is_file():
        raise ImageError(
            f"{out} is not a file; write the image to a file, then `sealtrace flash` it to a card"
        )


@contextmanager
def _unfinished(out: Path) -> Iterator[tuple[int, Path]]:
    """Make a hidden file beside ``out``; remove it unless it was renamed."""
    working = out.with_name(f".{out.name}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(working, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ImageError(
            f"cannot write in {out.parent}: {error.strerror}; choose another --out"
        ) from error
    try:
        os.fchmod(descriptor, _IMAGE_MODE)
        yield descriptor, working
    finally:
        os.close(descriptor)
        working.unlink(missing_ok=True)


def _prepare(image: Path, request: BuildRequest, about: Manifest) -> Manifest:
    """Write what the first boot needs into ``image``; return the description with its place."""
    boot = find_boot_partition(image)
    epoch_s = request.epoch_s
    if epoch_s is None:
        epoch_s = open_volume(image, boot).newest_s() or 0
    written_at_s = max(epoch_s, _EARLIEST_FAT_S)
    volume = open_volume(image, boot, written_at_s=written_at_s)
    kind = recognise_system(volume.names())
    documents = user_documents(request.claim, request.settings, kind)
    files = {name: text.encode() for name, text in documents.items()}
    for name, text in secret_files(request.claim, request.settings).items():
        files[f"{manifest.FOLDER}/{name}"] = text.encode()
    files[manifest.NAME] = about.to_bytes()
    if kind is SystemKind.RASPBERRY:
        instance = cloudinit.read_instance_id(documents["meta-data"])
        files["cmdline.txt"] = kernel_arguments(volume.read("cmdline.txt"), instance)
        if request.settings.ssh_keys:
            files["ssh"] = b""
    card = {manifest.WHEELS: request.settings.wheels, manifest.MODELS: request.settings.models}
    paths = {folder: [file.path for file in listed] for folder, listed in card.items() if listed}
    sums = {
        f"{folder}.sha256": "".join(
            f"{file.sha256}  {file.path.name}\n" for file in listed
        ).encode()
        for folder, listed in card.items()
        if listed
    }
    if volume.has(manifest.FOLDER):
        volume.remove_folder(manifest.FOLDER)
    root = find_root(image, written_at_s=written_at_s)
    sizes = _Sizes.of(volume, boot.fat.cluster_bytes, files, (sums, paths))
    if not sizes.fit_boot:
        about = about.model_copy(update={"place": "root"})
        files[manifest.NAME] = about.to_bytes()
        sizes.require_root(root)
    volume.make_folder(manifest.FOLDER)
    volume.write(files)
    if root is not None and about.place == "root":
        root.copy_in(paths, sums)
    else:
        volume.write({f"{manifest.FOLDER}/{name}": data for name, data in sums.items()})
        for folder, sources in paths.items():
            volume.make_folder(f"{manifest.FOLDER}/{folder}")
            volume.copy_in(sources, f"{manifest.FOLDER}/{folder}")
    if damaged := _damaged(image, volume, about):
        raise ImageError(f"files changed while they were copied ({damaged[0]}); build again")
    if kind is SystemKind.EFI:
        volume.set_label(CIDATA)
    return about


def _sums(listed: Sequence[CardFile]) -> bytes:
    return "".join(f"{file.sha256}  {file.path.name}\n" for file in listed).encode()


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What has to go onto a card, and how much room the boot partition has, in bytes."""

    free: int
    documents: int
    card: int

    @classmethod
    def of(
        cls,
        volume: FatVolume,
        cluster_bytes: int,
        files: dict[str, bytes],
        card: tuple[dict[str, bytes], dict[str, list[Path]]],
    ) -> _Sizes:
        def whole(sizes: Iterable[int]) -> int:
            return sum(-(-size // cluster_bytes) * cluster_bytes for size in sizes)

        sums, paths = card
        sizes = [len(data) for data in sums.values()]
        sizes += [path.stat().st_size for sources in paths.values() for path in sources]
        documents = whole(len(data) for data in files.values()) + 8 * cluster_bytes
        return cls(volume.free_bytes(), documents, whole(sizes))

    @property
    def fit_boot(self) -> bool:
        """Whether all fits on the boot partition."""
        return self.documents + self.card <= self.free

    def require_root(self, root: RootVolume | None) -> None:
        """Check that the documents fit on the boot partition, and all else on the root.

        Raises:
            BootPartitionFull: they do not; with how much is free and how much is needed.
        """
        told = f"the boot partition has {self.free / 1e6:.1f} MB free"
        if self.documents > self.free:
            raise BootPartitionFull(
                f"{told}, and {self.documents / 1e6:.1f} MB are needed; use a base image with a"
                " larger boot partition"
            )
        needed = f"software and models need {self.card / 1e6:.1f} MB"
        then = (
            "use a base image with more room, leave the models to the releases (no --models), or"
            " leave out --wheels and give --requirements with --index-url"
        )
        if root is None:
            raise BootPartitionFull(f"{told}, {needed}, and no partition is ext4; {then}")
        free = root.free_bytes()
        if self.card > free:
            raise BootPartitionFull(
                f"{told}, the root file system {max(free, 0) / 1e6:.1f} MB, and {needed}; {then}"
            )


def _damaged(image: Path, volume: FatVolume, about: Manifest) -> list[str]:
    """Return which of the files that were copied onto the card are not as listed."""
    found: list[str] = []
    root = find_root(image) if about.place == "root" else None
    for folder, listed in about.card_folders.items():
        if root is not None:
            sums = {name: root.sha256(f"{folder}/{name}") for name in root.names(folder)}
        else:
            place = f"{manifest.FOLDER}/{folder}"
            names = volume.names(place) if volume.has(place) else []
            sums = {
                name: hashlib.sha256(volume.read(f"{place}/{name}")).hexdigest()
                for name in names
                if name in listed
            }
        for name, expected in listed.items():
            if name not in sums:
                found.append(f"{folder}/{name} is missing")
            elif sums[name] != expected:
                found.append(f"{folder}/{name} is damaged")
    return found


def kernel_arguments(line: bytes, instance: str) -> bytes:
    """Return a Raspberry Pi's kernel command line that tells cloud-init where to look.

    Raises:
        ImageError: it is not one line of text.
    """
    try:
        words = line.decode("ascii").split()
    except UnicodeDecodeError:
        raise ImageError("cmdline.txt is not text; get the base image again") from None
    kept = [word for word in words if not word.startswith(_DATA_SOURCE)]
    return (" ".join([*kept, f"{_DATA_SOURCE};i={instance}"]) + "\n").encode()


def _doubts(image: Path, volume: FatVolume, about: Manifest) -> list[str]:
    """Return in what an image contradicts its own description."""
    found = []
    try:
        files = cloudinit.written_files(volume.read("user-data"))
        claim = _claim_in(volume, files)
        if (claim.site, claim.box) != (about.site, about.box):
            found.append(f"its claim is of box '{claim.box}' of site '{claim.site}'")
        if SIGNATURE_PATH in files:  # images of earlier versions hold none
            signature = parse_signature(files[SIGNATURE_PATH])
            listed = SoftwareList(files.get(SOFTWARE_PATH, ""), signature)
            listed.verify(claim.authority_key, claim.site, what="its list of software")
        if claim.expires_at != about.claim_expires_at:
            found.append(f"its claim runs out at {claim.expires_at:%Y-%m-%d %H:%M} UTC")
    except ImageError as error:
        found.append(str(error))
    return found + _damaged(image, volume, about)


def _claim_in(volume: FatVolume, files: dict[str, str]) -> ClaimFile:
    """Return the claim: a file of its own, or, in images of version 1, one in user-data."""
    name = f"{manifest.FOLDER}/{CLAIM_NAME}"
    try:
        text = volume.read(name).decode() if volume.has(name) else files.get(FORMER_CLAIM_PATH, "")
        return parse(parse_toml(text), ClaimFile, source="the claim", folder=Path())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ConfigError):
        raise ImageError("its boot partition holds no usable claim") from None
