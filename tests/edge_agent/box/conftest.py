"""A box, its site, a broker and headquarters for the tests of what a box publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from agent_process import Field, Process
from brokers import BOTH, AnyBroker, Embedded, running
from edge_brokers import Headquarters
from edge_site import Box, Site

from edge_agent.config import BoxConfig
from runtime.keyfiles import write_secret

Image = np.ndarray
Start = Callable[..., Process]


@pytest.fixture
def version() -> int:
    """Of the protocol that the site reads; modules that test both set their own."""
    return 2


@pytest.fixture
def site(tmp_path: Path, version: int) -> Site:
    return Site(tmp_path, version=version)


@pytest.fixture
def box(site: Site, tmp_path: Path) -> Iterator[Box]:
    one = Box(site, tmp_path / "box")
    yield one
    one.outbox.close()
    one.ring.close()


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
        one.ring.close()


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


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, face: Callable[[str, int], Image]) -> Path:
    """Four seconds at ten frames a second: two people side by side, then nobody."""
    folder = tmp_path_factory.mktemp("clip")
    left, right = face("astronaut.png", 90), face("obama.jpg", 90)
    for number in range(40):
        frame = np.full((360, 640, 3), 110, np.uint8)
        if number < 25:
            for head, x in ((left, 60 + 2 * number), (right, 380 - 2 * number)):
                frame[80 : 80 + head.shape[0], x : x + head.shape[1]] = head[: 360 - 80]
        cv2.imwrite(str(folder / f"{number:03}.jpg"), frame)
    return folder


@pytest.fixture
def field_headquarters(site: Site, embedded: Embedded) -> Iterator[Headquarters]:
    one = Headquarters(site, embedded.port)
    one.publish_day_keys()
    one.publish_notice()
    yield one
    one.stop()


@pytest.fixture
def bundle_keys(model_bundle_path: Path, model_bundle_key: bytes) -> str:
    return f'bundle = "{model_bundle_path}"\n        bundle_keys = ["{model_bundle_key.hex()}"]'


@pytest.fixture
def identity(site: Site, tmp_path: Path) -> Path:
    write_secret(tmp_path / "identity.key", site.board.seed, None, "identity")
    return tmp_path / "identity.key"


@pytest.fixture
def surroundings(
    site: Site, field_headquarters: Headquarters, embedded: Embedded, tmp_path: Path, identity: Path
) -> tuple[Site, Headquarters, Embedded, Path]:
    assert identity.exists()
    return site, field_headquarters, embedded, tmp_path


@pytest.fixture
def field(
    surroundings: tuple[Site, Headquarters, Embedded, Path], clip: Path, bundle_keys: str
) -> Field:
    site, headquarters, broker, folder = surroundings
    return Field(site, headquarters, broker, clip, folder, bundle_keys)


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Process] = []

    def begin(*arguments: object, environment: Mapping[str, str] | None = None) -> Process:
        running.append(Process(*map(str, arguments), environment=environment))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
