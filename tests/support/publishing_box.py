"""A box of a running site with its real outbox and publisher; what it seals, the test says."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from puppet_box import PuppetBox, person, seen
from running_site import RunningSite

from edge_agent.config import BoxConfig
from edge_agent.epochs import DayKeyring
from edge_agent.notices import Notices
from edge_agent.outbox import Outbox
from edge_agent.outbox_store import SlotName
from edge_agent.publisher import Publisher
from protocol.names import SLOT_MS, epoch_of, slot_of
from runtime.config import MqttConfig, load
from runtime.trust import Trust


class PublishingBox:
    """Keeps and sends envelopes as a real box does, from threads of the test's process.

    Args:
        site: running.
        box: a box of it, whose real process must not run.
        folder: where its outbox is.
        mqtt: its brokers; None: the site's.
    """

    def __init__(
        self, site: RunningSite, box: str, folder: Path, mqtt: MqttConfig | None = None
    ) -> None:
        config = load(site.local.paths.box(box), BoxConfig)
        config = config.model_copy(update={"state_dir": folder, "mqtt": mqtt or site.mqtt(box)})
        folder.mkdir()
        self._puppet = PuppetBox(site, box)
        self.camera = self._puppet.camera
        self._trust = Trust(
            site=config.site,
            authority=config.authority_key,
            installed=config.directory,
            state_dir=folder,
        )
        self.outbox = Outbox(folder / "outbox.sqlite", max_bytes=1 << 28, memory_bytes=1 << 20)
        self.outbox.begin_camera(self.camera)
        self.crashes: list[BaseException] = []
        self.publisher = Publisher(
            config,
            board=self._puppet.key,
            outbox=self.outbox,
            trust=self._trust,
            keyring=DayKeyring(self._trust, site=config.site, folder=folder / "day-keys"),
            notices=Notices(self._trust, file=folder / "notice.cbor"),
            figures=dict,
            on_revoked=lambda _reason: None,
            on_crash=self.crashes.append,
            backoff_s=(0.05, 0.2),
            settle_s=0.1,
        )
        self._thread = threading.Thread(target=self.publisher.run, name="publisher", daemon=True)
        self._thread.start()

    def see(self, count: int = 1) -> None:
        """Seal as many live envelopes, a sighting each, and have them sent."""
        for _ in range(count):
            now_ms = self._puppet.now_ms
            slot_ms = now_ms // SLOT_MS * SLOT_MS
            name = SlotName(epoch_of(slot_ms), self._puppet.generation, slot_of(slot_ms))
            self._puppet._roots.setdefault(
                (name.epoch, name.generation), [os.urandom(32) for _ in range(3)]
            )
            envelope = self._puppet.live
            found = [seen(person(1), now_ms - 1000)]
            self.outbox.add_live(
                self.camera,
                name,
                1,
                lambda number: envelope(found, slot_ms, sequence=number).to_bytes(),  # noqa: B023 - called at once
            )

    @property
    def receipted(self) -> bool:
        """Whether headquarters has told that it has everything."""
        return self.outbox.idle(receipted=True)

    @property
    def sent(self) -> int:
        """How many envelopes it has sealed in all."""
        return self.outbox.next_sequence(self.camera)

    def stop(self) -> None:
        """Say goodbye to the broker and close the outbox."""
        self.publisher.stop(1)
        self._thread.join(60)
        self.outbox.close()
        assert self.crashes == []
