"""A process shares its folder with others of its aggregator, stands by, and hears the directory."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from edge_site import Site
from laid_down import new_store
from pydantic import ValidationError
from typer.testing import CliRunner

from aggregator import cli
from aggregator.config import AggregatorConfig, ProcessesSection, StoreSection
from aggregator.processes.duties import Duty
from aggregator.processes.members import Member
from aggregator.processes.papers import SharedPapers
from aggregator.processes.shares import UPKEEP_NUMBER
from aggregator.processes.standby import wait_for_upkeep
from aggregator.store import Store
from aggregator.store.leases import DUTY
from runtime.config import parse
from runtime.lifecycle import FolderInUse, FolderLock, Stop
from runtime.trust import Trust


def trust_of(site: Site, folder: Path) -> Trust:
    """What a process believes, that keeps it in a folder of its own."""
    folder.mkdir()
    return site.trust(folder)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = new_store(tmp_path / "aggregator.db")
    yield opened
    opened.close()


def test_who_does_everything_is_alone_in_its_folder_and_others_share_it(tmp_path: Path) -> None:
    first = FolderLock(tmp_path, shared=True)
    second = FolderLock(tmp_path, shared=True)
    with pytest.raises(FolderInUse):
        FolderLock(tmp_path)
    first.close()
    second.close()
    alone = FolderLock(tmp_path)
    with pytest.raises(FolderInUse):
        FolderLock(tmp_path, shared=True)
    alone.close()


def test_one_process_over_the_embedded_store_is_alone_unless_told_otherwise() -> None:
    config = AggregatorConfig(site="demo", authority="58" + "66" * 31)
    assert config.alone
    some = ProcessesSection(duties=(Duty.INGEST,))
    assert not config.model_copy(update={"processes": some}).alone
    elsewhere = StoreSection(url="postgresql://a@h/d")
    assert not config.model_copy(update={"store": elsewhere}).alone


def test_only_processes_that_answer_officers_share_a_port() -> None:
    ProcessesSection(duties=(Duty.API,), share_port=True)
    with pytest.raises(ValidationError, match="a port of their own"):
        ProcessesSection(duties=(Duty.API, Duty.QUERIES), share_port=True)


def test_a_second_keeper_of_the_log_stands_by_until_the_first_has_gone(store: Store) -> None:
    first, second = (Member.new(frozenset({Duty.UPKEEP})) for _ in range(2))
    lease = wait_for_upkeep(store, first, Stop())
    assert lease is not None
    assert lease.number == UPKEEP_NUMBER
    told_to_stop = Stop()
    waiting = threading.Thread(target=wait_for_upkeep, args=(store, second, told_to_stop))
    waiting.start()
    told_to_stop.set("enough")
    waiting.join(60)
    assert not waiting.is_alive()
    assert [one.holder for one in store.ledger.held(DUTY)] == [first.name]
    with store.writing() as unit:
        unit.ledger.release_leases([lease])
    taken = wait_for_upkeep(store, second, Stop())
    assert taken is not None
    assert taken.holder == second.name


def test_a_directory_that_one_process_was_brought_reaches_the_others(
    store: Store, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    brought, other = trust_of(site, tmp_path / "a"), trust_of(site, tmp_path / "b")
    for trust in (brought, other):
        SharedPapers(store, trust).look()
    newer = replace(site.directory, version=site.directory.version + 1)
    assert brought.accept(site.signed_directory(newer))
    SharedPapers(store, brought).look()
    SharedPapers(store, other).look()
    assert other.directory.version == newer.version
    assert other.signed == brought.signed


def test_an_older_directory_of_another_process_is_replaced_by_ours(
    store: Store, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    behind, ahead = trust_of(site, tmp_path / "a"), trust_of(site, tmp_path / "b")
    SharedPapers(store, behind).look()
    newer = replace(site.directory, version=site.directory.version + 1)
    ahead.accept(site.signed_directory(newer))
    papers = SharedPapers(store, ahead)
    papers.look()
    assert ahead.directory.version == newer.version
    SharedPapers(store, behind).look()
    assert behind.directory.version == newer.version


def test_the_command_line_says_duties_and_port_in_the_place_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "aggregator.toml"
    file.write_text(f'site = "demo"\nauthority = "{"58" + "66" * 31}"\nstate_dir = "kept"\n')
    told = ["--duty", "ingest", "--duty", "queries", "--port", "8451", "--print-config"]
    done = CliRunner().invoke(cli.app, ["serve", "--config", str(file), *told])
    assert done.exit_code == 0, done.output
    config = parse(
        tomllib.loads(done.output), AggregatorConfig, source="printed", folder=Path("/elsewhere")
    )
    assert set(config.processes.duties) == {Duty.INGEST, Duty.QUERIES}
    assert config.http.port == 8451
    assert config.state_dir == tmp_path / "kept"
    done = CliRunner().invoke(cli.app, ["serve", "--config", str(file), "--duty", "all"])
    assert done.exit_code != 0
