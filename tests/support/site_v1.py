"""The site that version 0.1.0 left on its disks (tests/fixtures/site-v1.tar.gz), unpacked anew."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from running_site import PUPPET_MODEL

from aggregator.store.sqlite.store import SqliteStore
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from protocol import hpke
from protocol.directory import Directory, open_directory
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.epoch_keys import EpochKeys, combine
from protocol.grant import Scope, release
from protocol.keytree import FACE, LIVE, META
from protocol.names import SLOTS_PER_EPOCH
from protocol.sealing import Envelope, open_block
from protocol.sightings import BatchMeta, decode_meta
from protocol.signing import Signed, SigningKey, VerifyKey
from provisioning.formats.layout import SitePaths
from runtime.clock import MachineClocks
from runtime.config import load
from runtime.keyfiles import Cost, read_secret

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "site-v1.tar.gz"
CUSTODIANS = ("c1", "c2", "c3")
CAMERAS = ("cam-1", "cam-2", "cam-3")
PURPOSE = "contact tracing"


@dataclass(frozen=True)
class SiteV1:
    """The folders of the old site, and what is true of it (`tests/fixtures/make_site_v1.py`)."""

    root: Path
    truth: dict[str, Any]

    @classmethod
    def unpack(cls, folder: Path) -> SiteV1:
        """Unpack the archive into ``folder``."""
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        return cls(folder / "site", json.loads((folder / "truth.json").read_text()))

    @property
    def paths(self) -> SitePaths:
        return SitePaths(self.root)

    @property
    def passphrase(self) -> bytes:
        return str(self.truth["passphrase"]).encode()

    @property
    def now_ms(self) -> int:
        """A moment shortly after the site was stopped."""
        return int(self.truth["made_ms"]) + 600_000

    @property
    def whole_window(self) -> tuple[int, int]:
        """Begin and end, in ms, of all that its cameras saw."""
        return self.now_ms - 2 * 3_600_000, self.now_ms + 3_600_000

    @cached_property
    def directory(self) -> Directory:
        authority = VerifyKey(bytes.fromhex(self.paths.authority_public.read_text().strip()))
        return open_directory(self.paths.directory.read_bytes(), authority)

    def upgraded_policy_opened(self) -> str:
        """The upgraded policy as a site would go on with it: what it used before, by name."""
        text = self.paths.policy.read_text()
        for closed, open_ in (
            ("version = 2", "version = 3"),
            ("purposes = []", f'purposes = ["{PURPOSE}"]'),
            ('contacts = "none"', 'contacts = "near"'),
            ("enrolment_without_witness = false", "enrolment_without_witness = true"),
            ("consent_documents = true", "consent_documents = false"),
            ("[threshold_floor]", f'[threshold_floor]\n"{PUPPET_MODEL}" = 0.5'),
        ):
            assert f"\n{closed}\n" in text
            text = text.replace(f"\n{closed}\n", f"\n{open_}\n")
        return text

    def folder(self, name: str) -> Path:
        """Return the folder of an officer, a box or the aggregator."""
        (found,) = [one for one in self.paths.role_folders() if one.name == name]
        return found

    def signing(self, name: str) -> SigningKey:
        """The signing key of an officer, a box or the aggregator."""
        box = self.folder(name) / "identity.key"
        if box.exists():
            return SigningKey(name, read_secret(box, None, "identity"))
        secret = self.folder(name) / "identity.secret"
        return SigningKey(name, read_secret(secret, self.passphrase, "identity"))

    def sealing(self, officer: str) -> hpke.PrivateKey:
        """The sealing key of an officer."""
        secret = self.folder(officer) / "sealing.secret"
        return hpke.PrivateKey(read_secret(secret, self.passphrase, "sealing"))

    def custodian(self, name: str) -> Custodian:
        """Open a custodian as its process would, at the moment `now_ms`."""
        config = load(self.root / "custodians" / name / "custodian.toml", CustodianConfig)
        return Custodian(
            config,
            self.passphrase,
            machine=MachineClocks(wall_ms=lambda: self.now_ms),
            cost=Cost(memory_kib=1024),
        )

    def store(self) -> SqliteStore:
        """Open the aggregator's store, as its process would."""
        return SqliteStore(self.root / "aggregator" / "state" / "aggregator.db")

    def announcements(self, store: SqliteStore) -> list[Announcement]:
        """Every stored announcement, verified."""
        from_ms, to_ms = self.whole_window
        found = []
        for stored in store.ledger.announcements(CAMERAS, from_ms=from_ms, to_ms=to_ms):
            signed = Signed.parse(stored.signed, kind=EPOCH_KIND)
            payload = signed.verify(lambda name: self.directory.principals[name].verify_key)
            found.append(Announcement.parse(payload, box=signed.signer))
        return found

    def keys(self, announcement: Announcement) -> EpochKeys:
        """What the old custodians' keys open of an announcement: all of its day."""
        scope = Scope(
            announcement.address,
            announcement.epoch,
            announcement.generation,
            0,
            SLOTS_PER_EPOCH - 1,
        )
        grants = []
        for name in CUSTODIANS[:2]:
            custodian = self.custodian(name)
            try:
                key = custodian.ring.private(announcement.epoch)
                roots = announcement.open_share(name, key)
            finally:
                custodian.close()
            grants.append(release(roots, scope, (FACE, META, LIVE)))
        return combine(announcement, grants)

    def envelopes(self, store: SqliteStore) -> Iterator[Envelope]:
        """Every stored envelope, its signature verified."""
        for number in range(1, store.ledger.newest_envelope() + 1):
            try:
                envelope = store.segments.envelope(number)
            except KeyError:
                continue  # a live one that its segment has replaced
            assert isinstance(envelope, Envelope)  # of version 1
            envelope.verify(lambda name: self.directory.principals[name].verify_key)
            yield envelope


def opened(envelope: Envelope, keys: EpochKeys) -> BatchMeta:
    """The sightings of an envelope, without their templates."""
    header = envelope.header
    blocks = envelope.blocks(keys.key(header.slot, LIVE))
    meta = open_block(
        keys.key(header.slot, META),
        blocks.meta,
        header=envelope.header_bytes,
        label=META,
        nonce=envelope.nonce,
    )
    return decode_meta(bytes(meta), count=header.count)
