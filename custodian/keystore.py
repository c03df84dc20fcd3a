"""The day keys: one sealing key a UTC day, in one sealed file, each gone for good after its day.

docs/protocol.md, "Keys of a camera's day", points 2 and 6. The file is sealed under the custodian's
passphrase (`runtime.keyfiles`, fresh salt and nonce at each writing). Whenever it is written anew,
the former file is kept under a second name until the new one is durable, then overwritten and
removed, so that a destroyed key does not live on in an old copy. Flash storage may keep old blocks
all the same: what protects those is the passphrase (docs/threat-model.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from custodian.errors import KeyStoreError
from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, RetentionEnded, ShareInvalid
from runtime.fsio import fsync_folder
from runtime.keyfiles import DEFAULT_COST, Cost, read_secret, shred, write_secret

PURPOSE = "custodian-keystore"
SCHEMA = 1
MAX_DAYS_HELD = 8192  # far more than a clock that leaps to and fro can have made by mistake


@dataclass(frozen=True, slots=True)
class _Content:
    """What the file holds: seeds (96 bytes) by epoch; no epoch before ``destroyed_before``."""

    site: str
    custodian: str
    destroyed_before: int = 0
    seeds: dict[int, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return encode(
            {
                "schema": SCHEMA,
                "site": self.site,
                "custodian": self.custodian,
                "destroyed_before": self.destroyed_before,
                "days": [[epoch, self.seeds[epoch]] for epoch in sorted(self.seeds)],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> _Content:
        fields = Fields(decode(data, what="day keys"), what="day keys")
        schema = fields.integer("schema", low=1)
        if schema > SCHEMA:
            raise KeyStoreError(
                f"the day keys were written by a newer version (schema {schema}); use that one"
            )
        content = cls(
            fields.text("site"), fields.text("custodian"), fields.integer("destroyed_before")
        )
        for item in fields.array("days", max_items=MAX_DAYS_HELD):
            if (
                not isinstance(item, list)
                or len(item) != 2
                or not isinstance(item[0], int)
                or not isinstance(item[1], bytes)
                or len(item[1]) != hpke.SEED_BYTES
            ):
                raise MalformedMessage("a day key is not [epoch, seed]")
            content.seeds[item[0]] = item[1]
        fields.done()
        return content


class KeyRing:
    """The day keys of one custodian. Safe in several threads; one process at a time."""

    def __init__(self, path: Path, passphrase: bytes, content: _Content, cost: Cost) -> None:
        self._path = path
        self._passphrase = passphrase
        self._content = content
        self._cost = cost
        self._keys: dict[int, hpke.PrivateKey] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        path: Path,
        passphrase: bytes,
        *,
        site: str,
        custodian: str,
        cost: Cost = DEFAULT_COST,
    ) -> KeyRing:
        """Open the file at ``path``, or make an empty one; finish a writing that was cut short.

        Raises:
            KeyStoreError: another custodian's, or of a newer version.
            KeyFileError: the passphrase does not fit, or the file is damaged.
            FileProblem: it cannot be read or written.
        """
        if path.exists():
            try:
                content = _Content.parse(read_secret(path, passphrase, PURPOSE))
            except MalformedMessage as error:
                raise KeyStoreError(f"{path} does not hold day keys: {error}") from error
            if (content.site, content.custodian) != (site, custodian):
                raise KeyStoreError(
                    f"{path} belongs to custodian '{content.custodian}' of site '{content.site}', "
                    f"not to '{custodian}' of '{site}'; give each its own state_dir"
                )
            shred(_former(path))
            return cls(path, passphrase, content, cost)
        ring = cls(path, passphrase, _Content(site, custodian), cost)
        ring._write(ring._content)
        return ring

    def epochs(self) -> list[int]:
        """Return the epochs whose key is held, sorted."""
        with self._lock:
            return sorted(self._content.seeds)

    @property
    def destroyed_before(self) -> int:
        """The first epoch that has not been given up: no key is ever made before it."""
        with self._lock:
            return self._content.destroyed_before

    def missing(self, epochs: Iterable[int]) -> list[int]:
        """Return those of ``epochs`` for which `make` would make a key, sorted."""
        with self._lock:
            return sorted(self._missing(epochs))

    def _missing(self, epochs: Iterable[int]) -> list[int]:
        old = self._content
        return [e for e in epochs if e >= old.destroyed_before and e not in old.seeds]

    def make(self, epochs: Iterable[int]) -> list[int]:
        """Make the keys that are missing among ``epochs``; return which were made.

        Raises:
            KeyStoreError: more keys are held than the file may hold.
            FileProblem: they cannot be kept; then none of them counts.
        """
        with self._lock:
            old = self._content
            new = self._missing(epochs)
            if len(old.seeds) + len(new) > MAX_DAYS_HELD:
                raise KeyStoreError(
                    f"day keys of {len(old.seeds)} days are held, so no more are made: this "
                    "machine's clock has leapt over and over; set it right"
                )
            if new:
                drawn = {epoch: hpke.PrivateKey.generate() for epoch in new}
                seeds = old.seeds | {epoch: key.seed for epoch, key in drawn.items()}
                self._write(_Content(old.site, old.custodian, old.destroyed_before, seeds))
                self._keys |= drawn
            return sorted(new)

    def destroy_before(self, epoch: int) -> list[int]:
        """Destroy every key before ``epoch``, for good; return whose.

        Raises:
            FileProblem: the file cannot be written anew; then nothing has been destroyed.
        """
        with self._lock:
            old = self._content
            gone = sorted(held for held in old.seeds if held < epoch)
            if gone:
                kept = {held: seed for held, seed in old.seeds.items() if held >= epoch}
                before = max(epoch, old.destroyed_before)
                self._write(_Content(old.site, old.custodian, before, kept))
                for held in gone:
                    self._keys.pop(held, None)
            return gone

    def forget_after(self, epoch: int) -> None:
        """Drop the keys of days after ``epoch``, which only a clock that leaps can have made.

        Raises:
            FileProblem: the file cannot be written anew; then nothing has been dropped.
        """
        with self._lock:
            old = self._content
            kept = {held: seed for held, seed in old.seeds.items() if held <= epoch}
            if len(kept) < len(old.seeds):
                self._write(_Content(old.site, old.custodian, old.destroyed_before, kept))
                self._keys = {held: key for held, key in self._keys.items() if held <= epoch}

    def private(self, epoch: int) -> hpke.PrivateKey:
        """Return the day key of ``epoch``.

        Raises:
            RetentionEnded: it has been destroyed.
            ShareInvalid: it was never made.
        """
        with self._lock:
            key = self._keys.get(epoch)
            if key is not None:
                return key
            seed = self._content.seeds.get(epoch)
            if seed is None:
                if epoch < self._content.destroyed_before:
                    raise RetentionEnded(
                        f"the day key of epoch {epoch} has been destroyed: its retention has ended"
                    )
                raise ShareInvalid(f"this custodian never had a day key for epoch {epoch}")
            key = self._keys[epoch] = hpke.PrivateKey(seed)
            return key

    def public_keys(self) -> dict[int, hpke.PublicKey]:
        """Return the public halves of all keys held, by epoch."""
        return {epoch: self.private(epoch).public for epoch in self.epochs()}

    def _write(self, content: _Content) -> None:
        former = _former(self._path)
        shred(former)
        if self._path.exists():
            os.link(self._path, former)
            fsync_folder(self._path.parent)
        write_secret(
            self._path,
            content.to_bytes(),
            self._passphrase,
            PURPOSE,
            overwrite=True,
            cost=self._cost,
        )
        self._content = content
        shred(former)


def _former(path: Path) -> Path:
    return path.with_name(f"{path.name}.former")
