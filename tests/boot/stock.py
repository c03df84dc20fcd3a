"""Makes stand-ins for a distribution's stock cloud image, from its packages: one for each release.

Laid out as Debian's `generic` images are: GPT, the root first in number and last in place, an EFI
partition of 124 MiB with shim and GRUB, cloud-init, netplan, OpenSSH, no pip and no venv. Nothing
is mounted; neither root nor a loop device is needed (mmdebstrap unpacks in a namespace of its own,
the file systems are made from folders). An image is made once and found again by its recipe.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OperationError

MIB = 1 << 20
SECTOR = 512
ESP_AT, ESP_MIB = 4 * MIB, 124
ROOT_AT, ROOT_MIB = 128 * MIB, 1900
IMAGE_BYTES = ROOT_AT + (ROOT_MIB + 1) * MIB
ROOT_UUID = "5ea17ace-0000-4000-8000-00000000b007"
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""The releases there are stand-ins for, and the Python of each."""
NEEDED = {
    "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "mkfs.vfat": "dosfstools", "sfdisk": "fdisk",
    "mcopy": "mtools",
}  # fmt: skip
"""Programs, and Debian's packages of them."""
SBIN = "/usr/sbin:/sbin"

# What Debian's class `generic` has of it. Left out, for they do nothing here or would ask outside:
# unattended-upgrades, popularity-contest, man pages, editors.
PACKAGES = (
    "apparmor", "ca-certificates", "cloud-guest-utils", "cloud-init", "cloud-initramfs-growroot",
    "curl", "dbus", "e2fsprogs", "fdisk", "gdisk", "grub-efi-amd64-signed", "iproute2",
    "iputils-ping", "kmod", "less", "libpam-systemd", "linux-image-amd64", "locales", "netbase",
    "netplan.io", "openssh-server", "openssl", "polkitd", "procps", "python3", "shim-signed",
    "sudo", "systemd-resolved", "systemd-sysv", "systemd-timesyncd", "tzdata", "udev",
    "uuid-runtime",
)  # fmt: skip

# Debian's images start so: quiet no, the serial console the last one and so /dev/console.
_GRUB_CFG = """\
set timeout=0
set default=0
insmod part_gpt
insmod ext2
search --no-floppy --fs-uuid --set=root {uuid}
menuentry 'Debian' {{
    linux /vmlinuz root=UUID={uuid} ro console=tty0 console=ttyS0,115200
    initrd /initrd.img
}}
"""
_ESP_CFG = """\
search.fs_uuid {uuid} root
set prefix=($root)'/boot/grub'
configfile $prefix/grub.cfg
"""
_FSTAB = """\
UUID={uuid} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
UUID={esp} /boot/efi vfat defaults 0 0
"""
_ESP_ID = "B007-0E5B"

_HOOK = """\
set -eu
root=$1
mkdir -p "$root/boot/grub" "$root/boot/efi"
cp "$WORK/grub.cfg" "$root/boot/grub/grub.cfg"
cp "$WORK/fstab" "$root/etc/fstab"
echo localhost > "$root/etc/hostname"
echo uninitialized > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/ssh/"ssh_host_*
rm -f "$root/etc/network/interfaces.d/"* "$root/etc/resolv.conf"
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
chroot "$root" systemctl enable systemd-networkd systemd-resolved systemd-timesyncd ssh
cp "$root/usr/lib/shim/shimx64.efi.signed" "$WORK/BOOTX64.EFI"
cp "$root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$WORK/grubx64.efi"
rm -rf "$root/var/lib/apt/lists/"* "$root/var/cache/apt/"*.bin "$root/var/cache/apt/archives/"*.deb
rm -rf "$root/tmp/"* "$root/var/log/"*.log "$root/var/log/apt"
chroot "$root" dpkg-query --show > "$WORK/packages.txt"
bare=$(mktemp -d)  # without what is mounted in it
mount --bind "$root" "$bare"
mke2fs -q -t ext4 -U "$UUID" -L root -E hash_seed="$UUID" -d "$bare" "$WORK/root.ext4" "$BLOCKS"
umount "$bare"
rmdir "$bare"
"""


class StockFailed(OperationError):
    """A stand-in image cannot be made."""


@dataclass(frozen=True, slots=True)
class Stock:
    """A stand-in: its release, the image, the SHA-256 of it, whether it was there already."""

    suite: str
    image: Path
    sha256: str
    was_there: bool

    @property
    def python(self) -> str:
        """The Python that the image has."""
        return PYTHONS[self.suite]


def missing_tools() -> list[str]:
    """Return what making an image takes and is not here, as packages of Debian."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    return [name for tool, name in NEEDED.items() if shutil.which(tool, path=path) is None]


def recipe(suite: str, more: Sequence[str] = ()) -> str:
    """Return a digest of all that decides what an image of ``suite`` becomes, but the mirror."""
    parts = (
        suite,
        *PACKAGES,
        *more,
        _GRUB_CFG,
        _ESP_CFG,
        _FSTAB,
        _HOOK,
        str(ESP_MIB),
        str(ROOT_MIB),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def stock_image(
    suite: str, folder: Path, log: Path, tell: Callable[[str], None], more: Sequence[str] = ()
) -> Stock:
    """Return the stand-in for ``suite``, made in ``folder`` if it is not there yet.

    Args:
        suite: a key of ``PYTHONS``.
        folder: where images are kept from run to run.
        log: where the programs' output goes.
        tell: is told what takes long.
        more: packages that a stock image has not.

    Raises:
        StockFailed: a program is missing or fails; ``log`` has what it said.
    """
    folder = folder.resolve()  # programs here change their folder
    name = f"{suite}_{len(more)}_more" if more else suite
    image = folder / f"{name}-{recipe(suite, more)}.img"
    sums = image.with_suffix(".sha256")
    if image.exists() and sums.exists():
        return Stock(suite, image, sums.read_text().split()[0], was_there=True)
    if missing := missing_tools():
        raise StockFailed(
            f"{', '.join(missing)} missing here; install them: apt install mmdebstrap e2fsprogs "
            "dosfstools fdisk mtools"
        )
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{suite}.", dir=folder))
    tell(f"making a Debian {suite} image from packages of the mirror that mmdebstrap knows")
    try:
        _fill(suite, more, work, log)
        _assemble(work, work / "disk.img", log)
        digest = _sha256(work / "disk.img")
        shutil.copy(work / "packages.txt", image.with_suffix(".packages"))
        for stale in folder.glob(f"{name}-*"):
            if stale.stem != image.stem:
                stale.unlink()
        (work / "disk.img").replace(image)
        sums.write_text(f"{digest}  {image.name}\n")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Stock(suite, image, digest, was_there=False)


def _fill(suite: str, more: Sequence[str], work: Path, log: Path) -> None:
    (work / "grub.cfg").write_text(_GRUB_CFG.format(uuid=ROOT_UUID))
    (work / "esp.cfg").write_text(_ESP_CFG.format(uuid=ROOT_UUID))
    (work / "fstab").write_text(_FSTAB.format(uuid=ROOT_UUID, esp=_ESP_ID))
    hook = work / "hook.sh"
    hook.write_text(_HOOK)
    work.chmod(0o777)
    _run(
        [
            "mmdebstrap", "--variant=apt", "--format=null",
            f"--include={','.join([*PACKAGES, *more])}",
            '--aptopt=Acquire::Languages "none"',
            '--aptopt=APT::Install-Recommends "false"',
            "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f'--customize-hook=env WORK={work} UUID={ROOT_UUID} BLOCKS={ROOT_MIB}M '
            f'PATH="$PATH:{SBIN}" sh {hook} "$1"',
            suite, "/dev/null",
        ],
        log,
    )  # fmt: skip


def _assemble(work: Path, disk: Path, log: Path) -> None:
    """Put the partitions together: table, EFI partition, root."""
    esp = work / "esp.fat"
    with esp.open("wb") as stream:
        stream.truncate(ESP_MIB * MIB)
    _run(["mkfs.vfat", "-i", _ESP_ID.replace("-", ""), str(esp)], log)
    _run(["mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT", "::/EFI/debian"], log)
    for source, target in (
        ("BOOTX64.EFI", "EFI/BOOT/BOOTX64.EFI"),
        ("grubx64.efi", "EFI/BOOT/grubx64.efi"),
        ("esp.cfg", "EFI/debian/grub.cfg"),
    ):
        _run(["mcopy", "-i", str(esp), str(work / source), f"::/{target}"], log)
    with disk.open("wb") as stream:
        stream.truncate(IMAGE_BYTES)
    table = (
        "label: gpt\nfirst-lba: 2048\n"
        f"1: start={ROOT_AT // SECTOR}, size={ROOT_MIB * MIB // SECTOR}, "
        "type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\n"
        f"14: start=2048, size={3 * MIB // SECTOR}, type=21686148-6449-6E6F-744E-656564454649\n"
        f"15: start={ESP_AT // SECTOR}, size={ESP_MIB * MIB // SECTOR}, "
        "type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n"
    )
    _run(["sfdisk", "--quiet", str(disk)], log, text=table)
    for part, at in ((esp, ESP_AT), (work / "root.ext4", ROOT_AT)):
        _run(
            ["dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={at // MIB}", "conv=notrunc,sparse"],
            log,
        )
        part.unlink()


def _run(command: list[str], log: Path, *, text: str = "") -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{SBIN}", "LC_ALL": "C"}
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        done = subprocess.run(
            command,
            input=text.encode(),
            stdout=output,
            stderr=output,
            env=environment,
            check=False,
        )
    if done.returncode:
        tail = log.read_bytes().decode("utf-8", "replace").splitlines()[-8:]
        raise StockFailed(f"{command[0]} failed ({done.returncode}):\n" + "\n".join(tail))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
