"""An aggregator is backed up while it works, lost, and put back, whatever its store is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from packed_site import PackedSite
from postgresql_server import server
from s3_server import s3_server
from store_backends import every_backend, forget, place_in
from typer.testing import CliRunner

from aggregator import backups
from aggregator.cli import app
from aggregator.config import AggregatorConfig, ObjectsSection, StoreSection
from aggregator.store import ObjectsPlace, StorePlace, open_objects
from aggregator.store.backing_up import LIST, put_objects_back
from demo.local_site import PASSPHRASE, plan_of
from protocol.auditlog import origin_of
from protocol.names import epoch_of
from provisioning.authority import create_site
from provisioning.formats.layout import SitePaths
from runtime.auditlog import AuditLog
from runtime.backup.manifest import BackupInvalid, Manifest
from runtime.backup.restoring import NotRestored
from runtime.backup.role import Asked
from runtime.clock import system_ms
from runtime.config import load
from runtime.database import StorageDamaged, StorageError
from runtime.keyfiles import Cost
from runtime.witness import Witness

TODAY = epoch_of(system_ms())
SECRET = PASSPHRASE.encode()
CHEAP = Cost(memory_kib=8)
ALONE = Asked(alone=True)


def quiet(_text: str) -> None:
    """Hear what is being done, and say nothing."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SitePaths:
    plan = plan_of({"cam-1": {"source": "rtsp://camera.example/1"}}, bundle=None)
    return create_site(plan, tmp_path_factory.mktemp("made") / "site", SECRET)


@dataclass
class Headquarters:
    """An aggregator's configuration, its store with segments in it, its log and what it cosigned.

    ``writer`` is what its process would have open.
    """

    path: Path
    config: AggregatorConfig
    writer: PackedSite

    @property
    def state(self) -> Path:
        return self.config.state_dir

    def log(self, *reasons: str) -> list[bytes]:
        """Have the log tell of something; return all that it tells."""
        key = backups.identity_of(self.config, SECRET)
        origin = origin_of(self.config.site, key.signer)
        Witness(self.state / "witness.db", origin, key).close()
        with closing(AuditLog(self.state / "audit.db", origin, key, {})) as log:
            for reason in reasons:
                log.append("gap", 1, key.signer, None, {"reason": reason})
            return log.entries()

    def back_up(self, out: Path, **how: bool | None) -> Manifest:
        wanted = backups.Wanted(**how)  # type: ignore[arg-type]
        taken = backups.back_up(
            self.path, self.config, SECRET, out, wanted=wanted, tell=quiet, cost=CHEAP
        )
        return taken.manifest

    def put_back(self, backup: Path) -> backups.PutBack:
        return backups.put_back(backup, self.config, SECRET, ALONE, replace=False, tell=quiet)

    def lose(self) -> None:
        """Lose the machine's disk, and a database of its own."""
        self.writer.store.close()
        shutil.rmtree(self.state)
        self.state.mkdir()

    def require_all(self) -> None:
        """Check that every envelope can be read, byte for byte."""
        self.writer.reopen()
        self.writer.require_all(TODAY)


Make = Callable[..., Headquarters]


@pytest.fixture
def make(made: SitePaths, tmp_path: Path) -> Iterator[Make]:
    running: list[Headquarters] = []

    def build(backend: str = "sqlite", objects: ObjectsPlace | None = None) -> Headquarters:
        folder = tmp_path / "hq"
        shutil.copytree(made.aggregator.parent, folder)
        path = folder / made.aggregator.name
        config = load(path, AggregatorConfig)
        config.state_dir.mkdir(exist_ok=True)
        writer = PackedSite(config.state_dir, objects, backend=backend)
        changes: dict[str, object] = {}
        if backend == "postgresql":
            changes["store"] = StoreSection(url=place_in(config.state_dir).url)
        if objects is not None:
            changes["objects"] = ObjectsSection(
                place=objects.url, endpoint=objects.endpoint, credentials=objects.credentials
            )
        made_here = Headquarters(path, config.model_copy(update=changes), writer)
        made_here.log("first", "second")
        running.append(made_here)
        return made_here

    yield build
    for one in running:
        one.writer.store.close()
        forget(one.state)


def fill(hq: Headquarters) -> None:
    """Keep some hours, pack them, and keep an hour more in rows."""
    hq.writer.fill((4, 5, 9), day=TODAY)
    hq.writer.pack()
    hq.writer.fill((20,), day=TODAY)


@pytest.mark.slow
@pytest.mark.parametrize("backend", every_backend("sqlite", "postgresql"))
def test_what_was_kept_is_there_again_byte_for_byte(
    make: Make, tmp_path: Path, backend: str
) -> None:
    hq = make(backend)
    fill(hq)
    entries = hq.log()
    backup = tmp_path / "monday"
    manifest = hq.back_up(backup)  # while the store is open
    assert manifest.ledger == ("file" if backend == "sqlite" else "postgresql")
    kept = dict(hq.writer.kept)
    hq.writer.fill((30,), day=TODAY)  # what comes after is not in it
    hq.writer.kept = kept
    hq.lose()
    if backend == "postgresql":
        forget_and_make(hq)
    found = hq.put_back(backup)
    assert found.objects == len(list(open_objects(hq.config.store_place).packs())) > 0
    hq.require_all()
    assert hq.log() == entries
    hq.writer.pack()  # it goes on
    hq.require_all()


def forget_and_make(hq: Headquarters) -> None:
    """Lose the database; make an empty one, as docs/operations.md says."""
    server().drop_database(hq.config.store.url)
    url = server().new_database()
    (hq.state / "postgresql.url").write_text(url)
    hq.config = hq.config.model_copy(update={"store": StoreSection(url=url)})


@pytest.mark.processes
def test_a_database_that_holds_something_is_left_as_it_is(make: Make, tmp_path: Path) -> None:
    hq = make("postgresql")
    fill(hq)
    hq.back_up(tmp_path / "monday")
    hq.writer.fill((30,), day=TODAY)
    kept = dict(hq.writer.kept)
    for name in ("audit.db", "witness.db"):
        (hq.state / name).unlink()
    found = hq.put_back(tmp_path / "monday")
    assert found.files[hq.config.store.url] == "left as it is: the database is not empty"
    assert hq.writer.kept == kept
    hq.require_all()


@pytest.mark.processes
def test_a_ledger_may_be_left_to_the_servers_own_backup(make: Make, tmp_path: Path) -> None:
    hq = make("postgresql")
    fill(hq)
    manifest = hq.back_up(tmp_path / "monday", ledger=False)
    assert manifest.ledger == "elsewhere"
    assert not any(name.endswith("dump") for name in manifest.files)
    (hq.state / "audit.db").unlink()
    hq.put_back(tmp_path / "monday")
    hq.require_all()


@pytest.mark.slow
@pytest.mark.usefixtures("the_machines_authorities")
@pytest.mark.parametrize("copied", [True, False])
def test_segments_in_an_s3_are_copied_or_left_where_they_are(
    make: Make, tmp_path: Path, *, copied: bool
) -> None:
    place = s3_server().place(tmp_path)
    hq = make("sqlite", place)
    fill(hq)
    backup = tmp_path / "monday"
    note = hq.back_up(backup, objects=copied or None).objects
    assert note is not None
    assert (note.copied, (backup / "segments").exists()) == (copied, copied)
    hq.lose()
    if copied:
        elsewhere = s3_server().place(tmp_path)
        hq.writer.place = elsewhere
        section = hq.config.objects.model_copy(update={"place": elsewhere.url})
        hq.config = hq.config.model_copy(update={"objects": section})
    assert hq.put_back(backup).objects == note.objects
    hq.require_all()


def test_a_place_that_was_left_and_is_gone_is_missed_before_anything_is_put_back(
    make: Make, tmp_path: Path
) -> None:
    hq = make()
    fill(hq)
    hq.back_up(tmp_path / "monday", objects=False)
    hq.lose()
    with pytest.raises(StorageError, match="is not where this ledger's objects were left"):
        hq.put_back(tmp_path / "monday")
    assert not (hq.state / "aggregator.db").exists()


def test_objects_past_their_retention_are_not_put_back(make: Make, tmp_path: Path) -> None:
    hq = make()
    fill(hq)
    manifest = hq.back_up(tmp_path / "monday")
    place = StorePlace(tmp_path / "new" / "aggregator.db")
    (tmp_path / "new").mkdir()
    done = put_objects_back(place, tmp_path / "monday", manifest, first_day=TODAY + 1, tell=quiet)
    assert done == 0
    assert [one.name for one in (tmp_path / "new" / "segments").rglob("*")] == ["MARK"]


def test_another_ledgers_place_is_not_written_to(make: Make, tmp_path: Path) -> None:
    hq = make()
    fill(hq)
    hq.back_up(tmp_path / "monday")
    hq.lose()
    (hq.state / "segments").mkdir()
    (hq.state / "segments" / "MARK").write_text("ab" * 16)
    with pytest.raises(StorageError, match="of another ledger"):
        hq.put_back(tmp_path / "monday")
    assert not (hq.state / "aggregator.db").exists()


@pytest.mark.parametrize(
    "what", ["aggregator.db", LIST, "segments/*/*/*.meta", "segments/*/*/*.idx"]
)
def test_a_backup_with_a_damaged_file_is_refused_and_changes_nothing(
    make: Make, tmp_path: Path, what: str
) -> None:
    hq = make()
    fill(hq)
    backup = tmp_path / "monday"
    hq.back_up(backup)
    hq.lose()
    spoilt = min(backup.glob(what))
    data = bytearray(spoilt.read_bytes())
    data[-1] ^= 1
    spoilt.write_bytes(data)
    with pytest.raises((BackupInvalid, StorageDamaged)):
        hq.put_back(backup)
    assert not (hq.state / "aggregator.db").exists()
    assert not (hq.state / "segments").exists()


def test_an_object_that_is_missing_ends_the_backup_with_its_name(
    make: Make, tmp_path: Path
) -> None:
    hq = make()
    fill(hq)
    gone = min((hq.state / "segments").rglob("*.meta"))
    gone.unlink()
    with pytest.raises(StorageDamaged, match="is missing"):
        hq.back_up(tmp_path / "monday")
    assert not (tmp_path / "monday").exists()


def test_a_backup_that_was_killed_goes_on_with_the_objects_that_it_has(
    make: Make, tmp_path: Path
) -> None:
    hq = make()
    fill(hq)
    partial = tmp_path / ".monday.partial"
    hq.back_up(tmp_path / "first")
    (tmp_path / "first").rename(partial)  # as `kill -9` before the manifest leaves it
    (partial / "manifest.json").unlink()
    before = {one: one.stat().st_ino for one in partial.rglob("*.meta")}
    hq.back_up(tmp_path / "monday")
    after = {one.stat().st_ino for one in (tmp_path / "monday").rglob("*.meta")}
    assert set(before.values()) == after
    assert not partial.exists()


def test_a_ledger_of_another_kind_is_not_put_back(make: Make, tmp_path: Path) -> None:
    hq = make()
    hq.back_up(tmp_path / "monday")
    hq.lose()
    hq.config = hq.config.model_copy(update={"store": StoreSection(url="postgresql://a@/b")})
    with pytest.raises(NotRestored, match="set it as it was"):
        hq.put_back(tmp_path / "monday")


@pytest.mark.slow
def test_an_empty_machine_gets_everything_back_by_commands_alone(
    make: Make, tmp_path: Path
) -> None:
    hq = make()
    fill(hq)
    environment = {"SEALTRACE_PASSPHRASE": PASSPHRASE}
    config, backup = ["--config", str(hq.path)], str(tmp_path / "monday")

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, *config], env=environment)
        assert done.exit_code == 0, done.output
        return done.output

    assert "packed segments: 2 objects" in run("backup", "--out", backup)
    assert "is whole" in run("restore", backup, "--check")
    private = (hq.path.parent / "tls" / "private-key.pem").read_bytes()
    taken = (one.read_bytes() for one in Path(backup).rglob("*") if one.is_file())
    assert not any(private in one for one in taken)
    hq.writer.store.close()
    shutil.rmtree(hq.path.parent)
    assert "is in order" in run("restore", backup, "--without-witnesses")
    assert (hq.path.parent / "tls" / "private-key.pem").read_bytes() == private
    hq.require_all()
