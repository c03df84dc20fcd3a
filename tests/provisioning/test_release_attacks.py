"""Whoever holds a mirror, or a key too few, can neither roll back, nor freeze, nor fool a box."""

from __future__ import annotations

import datetime as real_datetime
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from dripping import dripping
from release_desk import Box, Desk
from throwaway_ca import ThrowawayCa
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.ngclient._internal import trusted_metadata_set

from provisioning.box.updates import fetcher
from provisioning.box.updates.state import StateFile
from provisioning.fleet.releases.keys import read_public, signer_from
from provisioning.fleet.releases.repository import ReleaseRepository
from provisioning.formats.releases.errors import (
    ClockWentBack,
    MirrorUnreachable,
    ReleaseForged,
    ReleaseRollback,
    ReleasesFrozen,
    UpdateError,
)
from runtime.tls import server_context

pytestmark = pytest.mark.processes


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A release desk that has rolled out good 1."""
    desk = Desk(tmp_path / "desk")
    desk.models("good 1")
    return desk


@pytest.fixture
def mirror(desk: Desk, tmp_path: Path) -> Path:
    """A mirror of it, in the attacker's hands."""
    return desk.copy_to(tmp_path / "mirror")


@pytest.fixture
def box(desk: Desk, mirror: Path, tmp_path: Path) -> Box:
    """A box that reads the mirror and runs good 1."""
    box = Box(tmp_path / "box", mirror.as_uri(), desk.trusted_root)
    assert box.updater().run().result == "updated"
    return box


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the clock by which TUF judges expiry."""

    def set_clock(now: datetime) -> None:
        clock = SimpleNamespace(
            datetime=SimpleNamespace(now=lambda _zone: now), timezone=real_datetime.timezone
        )
        monkeypatch.setattr(trusted_metadata_set, "datetime", clock)

    return set_clock


def _refused(box: Box, error: type[UpdateError], code: str) -> str:
    """The box refuses, reports it, keeps what it runs; return what it says."""
    starts = len(box.starts)
    with pytest.raises(error) as caught:
        box.updater().run()
    report = StateFile(box.config.state_dir).read().report
    assert report.result == code
    assert report.message == str(caught.value)
    assert box.runs == "good 1"
    assert len(box.starts) == starts
    return str(caught.value)


def _forge(desk: Desk, mirror: Path, role: str, change: Callable[[Any], None]) -> bytes:
    """Sign changed online metadata with the true online key: that key has been stolen."""
    repository = ReleaseRepository(desk.path, desk.passphrases)
    number = "" if role == Timestamp.type else f"{_newest(mirror, role)}."
    metadata: Metadata[Any] = Metadata.from_file(str(mirror / "metadata" / f"{number}{role}.json"))
    change(metadata.signed)
    metadata.signed.version += 1
    repository.sign(repository.root().signed, role, metadata)
    data = metadata.to_bytes()
    number = "" if role == Timestamp.type else f"{metadata.signed.version}."
    (mirror / "metadata" / f"{number}{role}.json").write_bytes(data)
    return data


def _newest(mirror: Path, role: str) -> int:
    return max(int(p.name.split(".")[0]) for p in (mirror / "metadata").glob(f"*.{role}.json"))


def test_an_older_mirror_is_refused(desk: Desk, mirror: Path, box: Box, tmp_path: Path) -> None:
    old = shutil.copytree(mirror, tmp_path / "old")
    desk.models("bad 2", group="others")
    desk.copy_to(mirror)
    box.updater().run()
    shutil.rmtree(mirror)
    shutil.copytree(old, mirror)
    assert "older" in _refused(box, ReleaseRollback, "rollback-refused")


def test_an_older_mirror_is_refused_by_a_box_whose_cache_is_gone(
    desk: Desk, mirror: Path, box: Box, tmp_path: Path
) -> None:
    old = shutil.copytree(mirror, tmp_path / "old")
    desk.models("bad 2", group="others")
    desk.copy_to(mirror)
    box.updater().run()
    shutil.rmtree(mirror)
    shutil.copytree(old, mirror)
    shutil.rmtree(box.config.state_dir / "metadata")
    assert "has seen" in _refused(box, ReleaseRollback, "rollback-refused")


def test_an_older_snapshot_is_refused_even_with_the_timestamp_key(
    desk: Desk, mirror: Path, box: Box
) -> None:
    first = desk.repository.paths.newest(Snapshot.type)
    desk.models("bad 2", group="others")
    desk.copy_to(mirror)
    box.updater().run()
    data = (mirror / "metadata" / f"{first}.snapshot.json").read_bytes()

    def point_back(timestamp: Timestamp) -> None:
        timestamp.snapshot_meta = MetaFile.from_data(first, data, ["sha256"])

    _forge(desk, mirror, Timestamp.type, point_back)
    assert "snapshot version" in _refused(box, ReleaseRollback, "rollback-refused")


def test_older_targets_are_refused_even_with_both_online_keys(
    desk: Desk, mirror: Path, box: Box
) -> None:
    first = desk.repository.paths.newest(Targets.type)
    desk.models("bad 2", group="others")
    desk.copy_to(mirror)
    box.updater().run()
    targets = (mirror / "metadata" / f"{first}.targets.json").read_bytes()

    def list_old(snapshot: Snapshot) -> None:
        snapshot.meta["targets.json"] = MetaFile.from_data(first, targets, ["sha256"])

    snapshot = _forge(desk, mirror, Snapshot.type, list_old)
    number = _newest(mirror, Snapshot.type)

    def point_to_it(timestamp: Timestamp) -> None:
        timestamp.snapshot_meta = MetaFile.from_data(number, snapshot, ["sha256"])

    _forge(desk, mirror, Timestamp.type, point_to_it)
    assert "targets" in _refused(box, ReleaseRollback, "rollback-refused")


def test_online_keys_alone_cannot_release_anything(desk: Desk, mirror: Path, box: Box) -> None:
    number = _newest(mirror, Targets.type)
    targets: Metadata[Targets] = Metadata.from_file(
        str(mirror / "metadata" / f"{number}.targets.json")
    )
    targets.signed.version += 1
    targets.signed.targets.clear()
    repository = ReleaseRepository(desk.path, desk.passphrases)
    root = repository.root().signed
    path = repository.key_files(root, Snapshot.type)[0]
    stolen = {key: root.keys[key] for key in root.roles[Snapshot.type].keyids}
    targets.sign(signer_from(desk.passphrases.open(path, "online"), stolen, "stolen"))
    data = targets.to_bytes()
    (mirror / "metadata" / f"{number + 1}.targets.json").write_bytes(data)
    meta = MetaFile.from_data(number + 1, data, ["sha256"])
    snapshot = _forge(
        desk, mirror, Snapshot.type, lambda signed: signed.meta.update({"targets.json": meta})
    )
    new = MetaFile.from_data(_newest(mirror, Snapshot.type), snapshot, ["sha256"])
    _forge(desk, mirror, Timestamp.type, lambda signed: setattr(signed, "snapshot_meta", new))
    assert "targets was signed by 0/1 keys" in _refused(box, ReleaseForged, "forged")


def test_a_frozen_mirror_is_noticed_and_reported(box: Box, at: Callable[[datetime], None]) -> None:
    at(datetime.now(UTC) + timedelta(hours=23))
    assert box.updater().run().result == "current"
    at(datetime.now(UTC) + timedelta(hours=25))
    message = _refused(box, ReleasesFrozen, "frozen")
    assert "timestamp.json is expired" in message
    assert "sealtrace release timestamp" in message


def test_a_frozen_mirror_thaws_once_headquarters_is_heard_again(
    desk: Desk, mirror: Path, box: Box, at: Callable[[datetime], None]
) -> None:
    later = datetime.now(UTC) + timedelta(hours=25)
    at(later)
    _refused(box, ReleasesFrozen, "frozen")
    desk.now = lambda: later
    assert desk.repository.publish()
    desk.copy_to(mirror)
    assert box.updater().run().result == "current"


@pytest.mark.parametrize(
    ("days", "expired"),
    [
        (8, "snapshot.json is expired"),
        (91, "New targets is expired"),
        (366, "root.json is expired"),
    ],
)
def test_each_role_expires(
    desk: Desk, box: Box, at: Callable[[datetime], None], days: int, expired: str
) -> None:
    """Whoever holds only the keys of the roles below cannot keep an old state alive."""
    later = datetime.now(UTC) + timedelta(days=days)
    at(later)
    desk.now = lambda: later
    repository = desk.repository
    root = repository.root().signed
    snapshot, timestamp = repository.snapshot(), repository.timestamp()
    if "snapshot" not in expired:
        snapshot.signed.version += 1
        repository.sign(root, Snapshot.type, snapshot)
        repository.write(Snapshot.type, snapshot)
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta = repository.meta(Snapshot.type, snapshot.signed.version)
    repository.sign(root, Timestamp.type, timestamp)
    repository.write(Timestamp.type, timestamp)
    desk.copy_to(Path(urlsplit(box.config.repository).path))
    assert expired in _refused(box, ReleasesFrozen, "frozen")


def test_a_clock_set_back_does_not_hide_that_releases_expired(box: Box) -> None:
    past = datetime.now(UTC) - timedelta(hours=2)
    with pytest.raises(ClockWentBack, match="clock"):
        box.updater(now=past).run()
    assert StateFile(box.config.state_dir).read().report.result == "clock"


@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "exchange"])
def test_an_altered_package_is_refused(desk: Desk, mirror: Path, box: Box, damage: str) -> None:
    desk.models("good 2")
    desk.copy_to(mirror)
    [path] = [p for p in (mirror / "targets" / "models").iterdir() if b"good 2" in p.read_bytes()]
    data = path.read_bytes()
    path.write_bytes(
        {
            "flip": data.replace(b"good 2", b"evil 2"),
            "truncate": data[:-512],
            "extend": data + b"\0",
            "exchange": next(p.read_bytes() for p in path.parent.iterdir() if p.name != path.name),
        }[damage]
    )
    _refused(box, ReleaseForged, "forged")
    desk.copy_to(mirror)
    assert box.updater().run().result == "updated"


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_parts_of_different_releases_are_not_mixed(
    desk: Desk, mirror: Path, box: Box, role: str
) -> None:
    old = mirror / "metadata" / f"{_newest(mirror, role)}.{role}.json"
    old_bytes = old.read_bytes()
    desk.models("good 2")
    desk.copy_to(mirror)
    (mirror / "metadata" / f"{_newest(mirror, role)}.{role}.json").write_bytes(old_bytes)
    _refused(box, ReleaseForged, "forged")


def test_metadata_of_another_repository_is_refused(mirror: Path, box: Box, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other")
    for number in range(3):
        other.models(f"evil {number}")
    shutil.copytree(other.repository.paths.public, mirror, dirs_exist_ok=True)
    _refused(box, ReleaseForged, "forged")


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_an_empty_or_garbled_answer_is_refused(mirror: Path, box: Box, name: str) -> None:
    for garbage in (b"", b"{}", b"[1]", b'{"signed": 1, "signatures": []}'):
        (mirror / "metadata" / name).write_bytes(garbage)
        _refused(box, ReleaseForged, "forged")


def test_one_stolen_officers_key_cannot_change_the_root(
    desk: Desk, mirror: Path, box: Box, tmp_path: Path
) -> None:
    evil = Desk(tmp_path / "evil")
    root = desk.repository.root()
    old_keys = dict(root.signed.keys)
    stolen = desk.passphrases.open(desk.officer_key("ana"), "ana")
    for key_id in list(root.signed.roles[Root.type].keyids):
        root.signed.revoke_key(key_id, Root.type)
    for name in ("ana", "bo"):
        root.signed.add_key(read_public(evil.officer_key(name).with_suffix(".pub")), Root.type)
    root.signed.version = 2
    root.signatures.clear()
    root.sign(signer_from(stolen, old_keys, "stolen"), append=True)
    for name in ("ana", "bo"):
        secret = evil.passphrases.open(evil.officer_key(name), name)
        root.sign(signer_from(secret, root.signed.keys, "evil"), append=True)
    (mirror / "metadata" / "2.root.json").write_bytes(root.to_bytes())
    assert "signed by 1/2 keys" in _refused(box, ReleaseForged, "forged")


def test_a_lower_threshold_needs_the_old_threshold(desk: Desk, mirror: Path, box: Box) -> None:
    root = desk.repository.root()
    root.signed.roles[Root.type].threshold = 1
    root.signed.version = 2
    secret = desk.passphrases.open(desk.officer_key("ana"), "ana")
    root.sign(signer_from(secret, root.signed.keys, "stolen"))
    (mirror / "metadata" / "2.root.json").write_bytes(root.to_bytes())
    assert "signed by 1/2 keys" in _refused(box, ReleaseForged, "forged")


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler], context: Any = None) -> Iterator[str]:
    """A server on loopback, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        scheme = "http" if context is None else "https"
        yield f"{scheme}://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _mirror_handler(mirror: Path, endless: str = "") -> type[BaseHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        sent = 0

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(mirror))

        def do_GET(self) -> None:
            if not endless or endless not in self.path:
                super().do_GET()
                return
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b" " * 65536)
                    Handler.sent += 65536
            except OSError:
                self.close_connection = True

        def log_message(self, *_args: Any) -> None:
            pass

    return Handler


@pytest.mark.parametrize("what", ["timestamp.json", "snapshot.json", "targets.json", "/models/"])
def test_endless_data_is_cut_off(desk: Desk, mirror: Path, tmp_path: Path, what: str) -> None:
    handler: Any = _mirror_handler(mirror, endless=what)
    with _served(handler) as url:
        box = Box(tmp_path / "box", url, desk.trusted_root)
        with pytest.raises(ReleaseForged, match="goes on after"):
            box.updater().run()
    assert 0 < handler.sent < 32 << 20  # what the sockets hold, not what the mirror would send
    assert box.runs is None
    assert list((box.config.state_dir / "downloads").iterdir()) == []


def test_a_mirror_that_trickles_is_given_up(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "PATIENCE_S", 0.5)
    with dripping(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        box = Box(tmp_path / "box", f"http://127.0.0.1:{port}", desk.trusted_root)
        with pytest.raises(MirrorUnreachable, match=r"bytes in \d+ s"):
            box.updater().run()


def test_a_mirror_is_read_over_tls_with_the_sites_authority(
    desk: Desk, mirror: Path, tmp_path: Path
) -> None:
    authority = ThrowawayCa(tmp_path)
    server, client = authority.issue("localhost"), authority.issue("box-1")
    with _served(_mirror_handler(mirror), server_context(server)) as url:
        tls = {"ca": client.ca}
        stranger = Box(tmp_path / "stranger", url, desk.trusted_root, tls=tls)
        with pytest.raises(MirrorUnreachable):
            stranger.updater().run()
        assert client.certificate and client.private_key
        tls |= {"certificate": client.certificate, "private_key": client.private_key}
        box = Box(tmp_path / "box", url, desk.trusted_root, tls=tls)
        assert box.updater().run().result == "updated"
        foreign = ThrowawayCa(tmp_path / "foreign").issue("x")
        wary = Box(tmp_path / "wary", url, desk.trusted_root, tls={"ca": foreign.ca})
        with pytest.raises(MirrorUnreachable, match="check the network"):
            wary.updater().run()


def test_a_mirror_that_is_away_is_reported_and_nothing_stops(mirror: Path, box: Box) -> None:
    shutil.rmtree(mirror)
    _refused(box, MirrorUnreachable, "unreachable")


def test_a_package_that_is_missing_is_reported(desk: Desk, mirror: Path, box: Box) -> None:
    desk.models("good 2")
    desk.copy_to(mirror)
    shutil.rmtree(mirror / "targets" / "models")
    _refused(box, MirrorUnreachable, "unreachable")
