"""What an installer may set for a box's system, checked before an image is touched."""

from __future__ import annotations

import hashlib
import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from protocol.textformats import parse_json
from provisioning.fleet.image.errors import ImageError
from provisioning.formats.plan_boxes import CameraPlan
from runtime.bundle import load_bundle
from runtime.fsio import read_file, sha256_file
from runtime.text import quoted

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SERVER = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_WHEEL = re.compile(r"[A-Za-z0-9_.+!-]+\.whl")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_WHEEL_NEEDS = ("pip", "sealtrace")


@dataclass(frozen=True, slots=True)
class Wifi:
    """A wireless network: its name, its pre-shared key (64 hex digits; empty: open), the country.

    The key is derived from the passphrase (IEEE 802.11, PBKDF2), so the passphrase itself, which
    may open other things, is not in the image.
    """

    ssid: str
    key: str = field(repr=False)
    country: str

    @classmethod
    def make(cls, ssid: str, passphrase: str, country: str) -> Wifi:
        """Check the values and derive the key.

        Raises:
            ImageError: one of them is not possible.
        """
        if not 1 <= len(ssid.encode()) <= 32 or not ssid.isprintable():
            raise ImageError(f"'{ssid}' is not a name of a wireless network (1 to 32 bytes)")
        if not _COUNTRY.fullmatch(country):
            raise ImageError(
                f"'{country}' is not a country's two letters, such as DE or NZ; wireless networks "
                "are regulated by country, so --wifi-country is needed"
            )
        key = ""
        if passphrase:
            if not 8 <= len(passphrase) <= 63 or not passphrase.isascii():
                raise ImageError("the wireless passphrase must have 8 to 63 ASCII characters")
            derived = hashlib.pbkdf2_hmac("sha1", passphrase.encode(), ssid.encode(), 4096, 32)
            key = derived.hex()
        return cls(ssid, key, country)


@dataclass(frozen=True, slots=True)
class CardFile:
    """A file that is copied onto the card, and the SHA-256 of it."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Releases:
    """Where the box gets new releases from: the repository, its first root, the box's group.

    ``site_ca``: the repository's server shows a certificate of the site's CA, not a public one.
    """

    url: str
    root: str = field(repr=False)
    group: str = "all"
    site_ca: bool = True


@dataclass(frozen=True, slots=True)
class SystemSettings:
    """How the box's system is set up, apart from what concerns the site.

    Attributes:
        hostname: its name in the network.
        timezone: IANA name.
        ssh_keys: public keys that may log in as ``login``; none: nobody can log in.
        wifi: a wireless network; None: cable only.
        ntp: time servers of the site; none: the distribution's.
        cameras: cameras and where they are, for the box alone.
        wheels: the software, installed without network; none: got by pip, by its hashes.
        models: the files of the signed model bundle; none: it comes with the releases.
        releases: where releases come from; None: the box is not updated by itself.
        index_url: the site's own package index, where pip gets the software when there are no
            wheels.
        software: all that the box may install, by hash: the wheels, or what is fetched from that
            index when there are none. Empty: the box installs nothing.
        software_signature: the site authority's signature over that list.
    """

    hostname: str
    timezone: str = "Etc/UTC"
    ssh_keys: tuple[str, ...] = ()
    login: str = "installer"
    wifi: Wifi | None = None
    ntp: tuple[str, ...] = ()
    cameras: tuple[CameraPlan, ...] = ()
    wheels: tuple[CardFile, ...] = ()
    models: tuple[CardFile, ...] = ()
    releases: Releases | None = None
    index_url: str = ""
    software: str = ""
    software_signature: bytes = b""

    def require_possible(self) -> None:
        """Check names of host, zone and servers.

        Raises:
            ImageError: one of them cannot be.
        """
        if not _HOST.fullmatch(self.hostname):
            raise ImageError(
                f"'{self.hostname}' is not a host name (lower-case letters, digits, inner hyphens, "
                "at most 63); choose another --hostname"
            )
        if self.timezone not in zoneinfo.available_timezones():
            raise ImageError(
                f"'{self.timezone}' is not a time zone; write it as Area/City, such as "
                "Europe/Berlin, or Etc/UTC"
            )
        for server in self.ntp:
            if not _SERVER.fullmatch(server):
                raise ImageError(f"'{server}' is not a time server's name or address")
        if self.software and not self.wheels and not self.index_url:
            raise ImageError(
                "the software would be asked for by name at a public package index, where the name "
                "is not ours: put it on the card with --wheels, or name the site's own index with "
                "--index-url"
            )
        if self.index_url and not re.fullmatch(r"https?://[!-~]+", self.index_url):
            raise ImageError(f"'{self.index_url}' is not an address of a package index")
        names = [camera.name for camera in self.cameras]
        if len(set(names)) != len(names):
            raise ImageError("a camera is named twice; every --camera needs a name of its own")


def read_ssh_key(given: str) -> str:
    """Return a public SSH key, from the text itself or from a file that holds one.

    Raises:
        ImageError: it is not a public key; above all, if it is a private one.
    """
    text = given.strip()
    if not text.startswith(("ssh-", "ecdsa-", "sk-")):
        text = read_file(Path(given).expanduser(), 64 * 1024).decode("utf-8", "replace").strip()
    if "PRIVATE KEY" in text:
        raise ImageError(
            f"{given} is a private key, which must never leave your machine; name the .pub file"
        )
    reason = "" if text.isprintable() else "it is not one line"
    if not reason and not text.startswith("sk-"):
        try:
            load_ssh_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            reason = str(error)
    if reason:
        raise ImageError(f"{given[:60]} is not a public SSH key ({reason}); name one .pub file")
    return text


def read_wheels(folder: Path) -> tuple[CardFile, ...]:
    """Return the wheels in ``folder``, by name.

    Raises:
        ImageError: sealtrace or pip is missing, or there is no such folder.
    """
    try:
        paths = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    except OSError as error:
        raise ImageError(f"{folder} cannot be read: {error.strerror}") from error
    for path in paths:
        if not _WHEEL.fullmatch(path.name):
            raise ImageError(f"{path.name} is not a wheel's name; take it out of {folder}")
    missing = [
        need for need in _WHEEL_NEEDS if not any(p.name.startswith(f"{need}-") for p in paths)
    ]
    if missing:
        raise ImageError(
            f"{folder} has no wheel of {' and '.join(missing)}; fill it with "
            f"`sealtrace image wheels {quoted(folder)}`"
        )
    return tuple(_card_file(path) for path in paths)


def read_models(folder: Path, trusted: Sequence[bytes]) -> tuple[CardFile, ...]:
    """Return the files of the model bundle in ``folder``, by name, after verifying it.

    Args:
        trusted: public keys that may vouch for it: the site authority's.

    Raises:
        BundleError: it is not signed by one of them, or was altered.
    """
    bundle = load_bundle(folder, trusted)
    paths = sorted(path for path in bundle.folder.iterdir() if path.is_file())
    return tuple(_card_file(path) for path in paths if _PLAIN.fullmatch(path.name))


def read_releases(url: str, root: Path, group: str, *, site_ca: bool) -> Releases:
    """Return where releases come from, the first root being in the file ``root``.

    Raises:
        ImageError: the address, the file or the group cannot be.
    """
    if not re.fullmatch(r"https://[!-~]+", url):
        raise ImageError(f"'{url}' is not an https:// address of a release repository")
    if not _HOST.fullmatch(group):
        raise ImageError(f"'{group}' is not a name of a group of boxes")
    text = read_file(root, 256 * 1024).decode("utf-8", "replace")
    try:
        kind = parse_json(text)["signed"]["_type"]
    except (ValueError, KeyError, TypeError):
        kind = ""
    if kind != "root":
        raise ImageError(
            f"{root} is not a repository's root; name root.json, as `sealtrace release init` made "
            "it"
        )
    return Releases(url, text, group, site_ca)


def _card_file(path: Path) -> CardFile:
    digest, _ = sha256_file(path)
    return CardFile(path, digest)
