"""A box, its site, a broker and headquarters for the tests of what a box publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import BOTH, AnyBroker, Embedded, running
from edge_brokers import Headquarters
from edge_site import Box, Site

from edge_agent.config import BoxConfig
from runtime.keyfiles import write_secret


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def box(site: Site, tmp_path: Path) -> Iterator[Box]:
    one = Box(site, tmp_path / "box")
    yield one
    one.outbox.close()


@pytest.fixture
def new_box(site: Site, tmp_path: Path) -> Iterator[Callable[..., Box]]:
    """Make boxes with other settings; give ``folder`` to open one again."""
    boxes: list[Box] = []

    def make(**options: Any) -> Box:
        options.setdefault("folder", tmp_path / f"box-{len(boxes)}")
        boxes.append(Box(site, **options))
        return boxes[-1]

    yield make
    for one in boxes:
        one.outbox.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    one = Embedded(tmp_path)
    one.start()
    yield one
    one.stop()


@pytest.fixture(params=BOTH)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyBroker]:
    """Each test with this fixture runs against both brokers."""
    with running(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def headquarters(site: Site, broker: AnyBroker) -> Iterator[Headquarters]:
    one = Headquarters(site, broker.port)
    yield one
    one.stop()


@pytest.fixture
def box_config(site: Site, tmp_path: Path) -> Callable[..., BoxConfig]:
    """The configuration of box-1 with its identity and directory written."""

    def make(port: int, **changes: Any) -> BoxConfig:
        identity = tmp_path / "identity.key"
        if not identity.exists():
            write_secret(identity, site.board.seed, None, "identity")
        values: dict[str, Any] = {
            "site": "demo",
            "box": "box-1",
            "authority": site.authority.verify_key.raw.hex(),
            "identity": identity,
            "directory": site.installed,
            "state_dir": tmp_path / "state",
            "mqtt": {"port": port},
            "health_s": 1,
            "cameras": [{"name": name, "source": "file:none.mp4"} for name in site.cameras],
        }
        return BoxConfig.model_validate(values | changes)

    return make
