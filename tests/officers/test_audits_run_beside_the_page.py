"""An audit runs in a thread, can be stopped, and shows the last copy when nobody answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest
from audit_roles import PASSPHRASE, Site, ran
from throwaway_ca import ThrowawayCa

from officers.desk import Officer, open_sealing
from officers.desk.audit_desk import AuditDesk, audit_folder
from officers.desk.report.words import Words
from protocol.findings import FindingKind

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def site(tmp_path: Path, ca: ThrowawayCa) -> Iterator[Site]:
    made = ran(tmp_path, ca)
    yield made
    made.close()


class Sitting:
    """The auditor at the desk, key unlocked."""

    def __init__(self, site: Site) -> None:
        self.officer = Officer.load(site.eve)
        self.key = open_sealing(self.officer, PASSPHRASE.encode())
        self.desk = AuditDesk(self.officer, Words("en", UTC).month)

    def run(self, *, fetch: bool = True) -> None:
        self.desk.begin(self.key, fetch=fetch)
        assert self.desk.join(DEADLINE_S)


@pytest.mark.slow
def test_logs_are_fetched_verified_and_kept_until_the_desk_locks(site: Site) -> None:
    sitting = Sitting(site)
    assert not sitting.desk.has_copy
    sitting.run()
    found = sitting.desk.audited
    assert found is not None, sitting.desk.work.problem
    assert found.sound
    assert found.report.auditor == "eve"
    assert len(found.stories) == 1
    assert not sitting.desk.work.doing
    assert {one.fetched.problem for one in found.outcomes.logs} == {""}
    sitting.desk.forget()
    assert sitting.desk.audited is None


@pytest.mark.slow
def test_with_nobody_to_ask_the_copy_from_before_is_shown_with_what_is_missing(
    site: Site,
) -> None:
    sitting = Sitting(site)
    sitting.run()
    site.roles["aggregator"].stop()
    sitting.run()
    found = sitting.desk.audited
    assert found is not None
    logs = {one.fetched.actor: one for one in found.outcomes.logs}
    assert logs["aggregator"].fetched.unreachable
    assert logs["aggregator"].well_ms is not None
    assert not logs["c1"].fetched.problem
    assert len(found.stories) == 1, "what it had said before is still here"
    again = Sitting(site)
    again.run(fetch=False)
    assert again.desk.audited is not None
    assert again.desk.audited.outcomes == found.outcomes
    site.roles["aggregator"].restart()


@pytest.mark.slow
def test_a_log_that_was_rolled_back_is_an_alarm(site: Site) -> None:
    sitting = Sitting(site)
    sitting.run()
    c1 = site.roles["c1"]
    c1.restart("other.db")
    c1.add("started", {"version": "1"}, None)
    sitting.run()
    found = sitting.desk.audited
    assert found is not None
    assert {alarm.kind for alarm in found.alarms} & {
        FindingKind.LOG_INCONSISTENT,
        FindingKind.LOG_FORKED,
        FindingKind.ENTRY_ALTERED,
    }
    assert not found.sound
    told = {one.fetched.actor: one.fetched for one in found.outcomes.logs}
    assert told["c1"].problem
    assert not told["c1"].unreachable


@pytest.mark.slow
def test_what_is_stopped_leaves_the_copy_as_it_was(site: Site) -> None:
    sitting = Sitting(site)
    sitting.run()
    before = sorted(
        (path.name, path.read_bytes()) for path in audit_folder(sitting.officer).rglob("*.json")
    )
    stopped = AuditDesk(sitting.officer, Words("en", UTC).month)
    stopped.begin(sitting.key, fetch=True)
    stopped.stop()
    assert stopped.join(DEADLINE_S)
    assert stopped.audited is None
    assert stopped.work.problem == "Stopped. The copy from before is as it was."
    after = sorted(
        (path.name, path.read_bytes()) for path in audit_folder(sitting.officer).rglob("*.json")
    )
    assert after == before


@pytest.mark.slow
def test_a_fault_of_the_program_ends_it_in_words(site: Site) -> None:
    sitting = Sitting(site)

    def no_month(_time_ms: int) -> str:
        raise ZeroDivisionError

    broken = AuditDesk(sitting.officer, no_month)
    broken.begin(sitting.key, fetch=True)
    assert broken.join(DEADLINE_S)
    assert broken.audited is None
    assert broken.work.problem.startswith("The audit ended by a fault of the program.")


@pytest.mark.slow
def test_a_damaged_copy_is_told_and_not_raised(site: Site) -> None:
    sitting = Sitting(site)
    sitting.run()
    (audit_folder(sitting.officer) / "directory.cbor").write_bytes(b"none")
    sitting.run(fetch=False)
    assert "fetch it again" in sitting.desk.work.problem
