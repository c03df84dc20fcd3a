"""Sites of real processes, shared by as many tests as do not disturb one another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from film_set import FilmSet
from looping import compose_short_clip, looping_plan
from query_desk import QueryDesk
from running_site import SERVERS, RunningSite, plan_with_dan
from side_by_side import group_of_item

from demo.clips import compose
from demo.local_site import Broker
from demo.scenario import ClipTruth, demo_scenario

_STATE = Path(__file__).resolve().parents[2] / ".sealtrace"
_RUNNING: list[RunningSite | FilmSet] = []
"""The sites of the whole session that run in this worker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Stop a shared site after the last test of its group: idle processes take time of others'."""
    result = yield
    side_by_side = hasattr(item.config, "workerinput")
    if side_by_side and nextitem is not None and group_of_item(item) != group_of_item(nextitem):
        while _RUNNING:
            _RUNNING.pop().stop()
    return result


@pytest.fixture(scope="session")
def mosquitto_program() -> str:
    """Mosquitto; tests that need it are skipped where it is not installed."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found is None:
        pytest.skip("Mosquitto is not installed here (Debian: apt install mosquitto)")
    return found


@pytest.fixture(scope="session")
def clips(photos_path: Path) -> list[ClipTruth]:
    """The demo's clips; composed once and kept with the demo's."""
    return compose(demo_scenario(), photos_path, _STATE / "demo" / "clips")


@pytest.fixture(scope="session")
def short_clip(photos_path: Path) -> ClipTruth:
    """Four seconds in which two people walk past, one after the other; to be played in a loop."""
    return compose_short_clip(photos_path, _STATE / "demo" / "short-clip")


@pytest.fixture(scope="session")
def quiet_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """Broker, custodians and aggregator, and nine boxes for tests to speak for: no box runs."""
    cameras = {f"cam-{n}": {"source": "file:none.mp4"} for n in range(1, 10)}
    limits = {"limits": {"max_envelope_bytes": 65_536}}
    folder = tmp_path_factory.mktemp("quiet")
    site = RunningSite(plan_with_dan(cameras, bundle=None, aggregator_settings=limits), folder)
    site.have_metrics("aggregator", "c1")
    try:
        site.start(*SERVERS)
        _RUNNING.append(site)
        yield site
    finally:
        site.stop()


@pytest.fixture
def desk(quiet_site: RunningSite) -> QueryDesk:
    """The officers of the quiet site."""
    return QueryDesk(quiet_site)


@pytest.fixture(scope="session")
def film_set(
    tmp_path_factory: pytest.TempPathFactory,
    clips: list[ClipTruth],
    photos_path: Path,
    model_bundle_path: Path,
) -> Iterator[FilmSet]:
    """The demo's films, watched by real boxes; embedded broker, tapped from the beginning."""
    folder = tmp_path_factory.mktemp("films")
    temporary = folder / "tmp"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))  # searched by tests like everything else
        made = FilmSet.make(folder, clips, photos_path, model_bundle_path, broker="embedded")
    try:
        made.shoot()
        _RUNNING.append(made)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def mosquitto_film_set(
    mosquitto_program: str,
    tmp_path_factory: pytest.TempPathFactory,
    clips: list[ClipTruth],
    photos_path: Path,
    model_bundle_path: Path,
) -> Iterator[FilmSet]:
    """The same with Mosquitto: mutual TLS, rights by certificate name."""
    folder = tmp_path_factory.mktemp("films-mosquitto")
    made = FilmSet.make(folder, clips, photos_path, model_bundle_path, broker="mosquitto")
    try:
        made.shoot()
        _RUNNING.append(made)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def fetched_logs(film_set: FilmSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All logs of the film set as the auditor fetched them after one confirmed trace."""
    query = film_set.trace(film_set.enrol())
    film_set.site.local.run("ana", "trace", "confirm", query, "--all", "--yes")
    folder = tmp_path_factory.mktemp("audit") / "logs"
    film_set.site.local.run("eve", "audit", "fetch", "--out", str(folder))
    return folder


@pytest.fixture(scope="module")
def broker() -> Broker:
    """Which broker the looping site has; a module may ask for both."""
    return "embedded"


@pytest.fixture(scope="module")
def looping_site(
    broker: Broker,
    tmp_path_factory: pytest.TempPathFactory,
    short_clip: ClipTruth,
    model_bundle_path: Path,
    photos_path: Path,
) -> Iterator[FilmSet]:
    """One box that sees two people walk past again and again, in real time.

    Every sighting is an envelope at once. Camera 2 has no process: it is for tests to speak for.
    """
    plan = looping_plan(short_clip, model_bundle_path, broker)
    site = RunningSite(plan, tmp_path_factory.mktemp("looping"))
    try:
        site.start(*SERVERS, "box-1")
        yield FilmSet(site, [short_clip], 0, {}, photos_path)
    finally:
        site.stop()
