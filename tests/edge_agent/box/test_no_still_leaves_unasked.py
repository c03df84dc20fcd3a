"""All that leaves a box is watched: a still does only when asked, and opens for who asked alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest
from brokers import AnyBroker
from edge_brokers import Headquarters
from edge_site import Box, Clock, Site, wait_until
from stills_asked import add_officers, notice_of, now_ms, query_for_stills, request

from edge_agent.config import BoxConfig
from edge_agent.notices import Notices
from edge_agent.publisher import Publisher
from edge_agent.stills.answering import StillAnswers
from protocol import names
from protocol.errors import AuthenticationFailed
from protocol.names import SightingName, epoch_of
from protocol.v2.stills import StillAnswer, open_answer

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"one person alone " * 60


class Tracing:
    """A box at work on a broker, a query for stills that stands, and somebody who hears it all."""

    def __init__(self, site: Site, box: Box, config: BoxConfig, headquarters: Headquarters) -> None:
        self.site, self.box, self.headquarters = site, box, headquarters
        notices = Notices(box.trust, file=box.folder / "notice.cbor")
        self.query = query_for_stills()
        notices.accept(notice_of(site, self.query))
        assert notices.permits_stills()
        standing = notices.standing()
        assert standing is not None
        assert len(standing.queries) == 1, standing.refused
        self.publisher = Publisher(
            config,
            board=site.board,
            outbox=box.outbox,
            trust=box.trust,
            keyring=box.keyring,
            notices=notices,
            figures=dict,
            stills=StillAnswers(
                "box-1",
                board=site.board,
                trust=box.trust,
                standing=notices.standing,
                ring=box.ring,
            ),
            on_revoked=lambda _reason: None,
            on_crash=lambda _error: None,
            backoff_s=(0.05, 0.2),
            settle_s=0.1,
        )
        self._thread = threading.Thread(target=self.publisher.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self.publisher.heard, "settling")

    def stop(self) -> None:
        self.publisher.stop(1)
        self._thread.join(60)

    def ask(self, data: bytes) -> None:
        topic = names.still_requests_topic("demo", "box-1")
        self.headquarters._session.publish(topic, data, timeout_s=60)

    def heard(self) -> list[bytes]:
        """Everything on the topic of stills."""
        topic = names.stills_topic("demo", "box-1")
        return [payload for where, payload in list(self.headquarters.raw) if where == topic]

    def answers(self, count: int) -> list[StillAnswer]:
        wait_until(lambda: len(self.heard()) >= count, f"{count} answers")
        return [open_answer(one, self.site.directory)[1] for one in self.heard()]


@pytest.fixture
def tracing(
    site: Site,
    new_box: Callable[..., Box],
    box_config: Callable[..., BoxConfig],
    broker: AnyBroker,
    tmp_path: Path,
) -> Iterator[Tracing]:
    add_officers(site)
    today = epoch_of(now_ms())
    headquarters = Headquarters(site, broker.port)
    headquarters.publish_day_keys()
    box = new_box(custodians=(), clock=Clock(now_ms=now_ms()))
    for name in site.custodian_names:
        box.keyring.accept(site.day_keys(name, (today, today + 1)))
    one = Tracing(site, box, box_config(broker.port), headquarters)
    yield one
    one.stop()
    headquarters.stop()


def sealed(tracing: Tracing) -> list[SightingName]:
    """Have two people pass of whom there are stills, and everything of them be delivered."""
    tracing.box.see_with_still(1, JPEG)
    tracing.box.see_with_still(2, JPEG)
    tracing.box.sealer.finish()
    wait_until(lambda: tracing.box.outbox.idle(receipted=True), "delivery")
    return tracing.box.names(tracing.headquarters.payloads("cam-1"))


def test_nothing_of_a_still_leaves_until_it_is_asked_for(tracing: Tracing) -> None:
    wanted = sealed(tracing)
    stills = [tracing.box.ring.find(name) for name in wanted]
    assert len(stills) == 2
    tracing.ask(b"junk")
    tracing.ask(request(tracing.query, *wanted, by="bo"))
    tracing.ask(request(tracing.query, *wanted, by="fay"))  # does not confirm: told so, and no more
    refused = tracing.answers(2)
    assert {(one.outcome, one.sealed) for one in refused} == {("refused", b"")}
    everything = b"".join(payload for _, payload in list(tracing.headquarters.raw))
    for still in stills:
        assert still is not None
        assert still.sealed[-64:] not in everything
    assert b"JFIF" not in everything


def test_a_still_opens_for_who_asked_with_what_custodians_release(tracing: Tracing) -> None:
    one, other = sealed(tracing)
    tracing.ask(request(tracing.query, one))
    (answer,) = tracing.answers(1)
    still = answer.open("ana", s.sealing_key("ana"))
    announcements = tracing.headquarters.payloads("cam-1")[:1]
    opened: Any = tracing.site.open_still(still.to_bytes(), announcements)
    assert opened == JPEG
    assert still.name == one != other
    for nobody in ("aggregator", "dan", "fay"):
        with pytest.raises(AuthenticationFailed):
            answer.open("ana", s.sealing_key(nobody))
    everything = b"".join(payload for _, payload in list(tracing.headquarters.raw))
    assert still.sealed not in everything, "sealed once more, so that only ana has even that"
    kept = tracing.box.ring.find(other)
    assert kept is not None
    assert kept.sealed[-64:] not in everything, "the one beside it was not asked for"
