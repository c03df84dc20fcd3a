"""The doctor sees what is not as it should be on a machine, says what to type, changes nothing."""

from __future__ import annotations

import datetime
import os
import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from brokers import AnyBroker, listens
from throwaway_ca import ThrowawayCa
from waiting import wait_for

from demo.ports import free_port
from runtime.certificates import CertificateUnusable, chain_of
from runtime.config import BrokerAddress, MqttConfig
from runtime.database import Migration, open_database
from runtime.doctor import Findings, Level
from runtime.doctor.broker import look_at_brokers
from runtime.doctor.certificates import look_at_certificate
from runtime.doctor.databases import Known, look_at_databases
from runtime.doctor.files import look_at_secrets
from runtime.doctor.machine import look_at_disk, look_at_machine
from runtime.doctor.monitoring import look_at_metrics
from runtime.errors import OperationError
from runtime.lifecycle import Stop
from runtime.metrics import Figures, Metrics, Subject
from runtime.metrics_config import MetricsConfig

RENEW = "sealtrace site renew SITE"
STEPS = [Migration("things", "CREATE TABLE things (name TEXT NOT NULL) STRICT;")]


def levels(found: Findings) -> dict[str, Level]:
    return {one.about: one.level for one in found.found}


def only(found: Findings, level: Level) -> str:
    """Return the one finding of that level, with what to do next."""
    (one,) = [one for one in found.found if one.level is level]
    return f"{one.what}\n{one.next}"


# ---------------------------------------------------------------------- the worst


def test_the_exit_code_is_that_of_the_worst_finding() -> None:
    found = Findings()
    assert found.worst.exit_code == 0
    found.well("a", "b")
    found.warn("a", "b")
    assert found.worst.exit_code == 1
    found.wrong("a", "b")
    found.well("a", "b")
    assert found.worst.exit_code == 2


def test_what_another_user_cannot_read_is_said_with_the_command_that_can(tmp_path: Path) -> None:
    found = Findings(again="sealtrace doctor custodian.toml")
    with found.looking("keys"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "state" / "x.db"))
    assert only(found, Level.WARNING).endswith("\nsudo -u root sealtrace doctor custodian.toml")
    assert "cannot be read by user" in only(found, Level.WARNING)


def test_an_error_for_people_is_a_finding_and_what_follows_is_looked_at() -> None:
    found = Findings()
    with found.looking("policy"):
        raise OperationError("it was altered")
    found.well("disk", "free")
    assert levels(found) == {"policy": Level.WRONG, "disk": Level.WELL}


def test_a_bug_in_one_look_is_said_and_the_rest_is_looked_at() -> None:
    found = Findings()
    with found.looking("swap"):
        raise RuntimeError("nobody foresaw it")
    found.well("disk", "free")
    assert levels(found) == {"swap": Level.WRONG, "disk": Level.WELL}


# ---------------------------------------------------------------------- the machine


def machine(root: Path, *, swaps: str = "", dumpable: str = "2") -> Findings:
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/fs").mkdir()
    (root / "proc/swaps").write_text(f"Filename Type Size Used Priority\n{swaps}")
    (root / "proc/sys/kernel/core_pattern").write_text("core\n")
    (root / "proc/sys/fs/suid_dumpable").write_text(dumpable)
    found = Findings()
    look_at_machine(found, root=root)
    return found


def test_no_swap_is_well(tmp_path: Path) -> None:
    assert levels(machine(tmp_path))["swap"] is Level.WELL


def test_swap_in_the_clear_is_a_warning(tmp_path: Path) -> None:
    found = machine(tmp_path, swaps="/dev/sda2 partition 1 0 -2\n")
    assert levels(found)["swap"] is Level.WARNING
    assert any("swapoff" in one.next for one in found.found)


def test_swap_in_memory_or_encrypted_is_well(tmp_path: Path) -> None:
    mapped = tmp_path / "sys/block/dm-7/dm"
    mapped.mkdir(parents=True)
    (mapped / "uuid").write_text("CRYPT-PLAIN-swap\n")
    swaps = "/dev/dm-7 partition 1 0 -2\n/dev/zram0 partition 1 0 -2\n"
    assert levels(machine(tmp_path, swaps=swaps))["swap"] is Level.WELL


def test_dumps_of_processes_that_forbid_them_are_wrong(tmp_path: Path) -> None:
    assert levels(machine(tmp_path, dumpable="1"))["core dumps"] is Level.WRONG


def test_more_may_be_kept_than_there_is_room_for_is_a_warning(tmp_path: Path) -> None:
    found = Findings()
    look_at_disk(found, tmp_path / "not" / "there", most=1 << 60)
    assert found.worst is not Level.WELL


# ---------------------------------------------------------------------- secrets


def private(path: Path) -> Path:
    path.write_bytes(b"the key itself")
    path.chmod(0o600)
    return path


def test_keys_of_their_owner_alone_are_well_and_nothing_of_them_is_shown(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    found = Findings()
    look_at_secrets(found, [private(tmp_path / "identity.secret")], state_dir=state)
    assert found.worst is Level.WELL
    assert "the key itself" not in str(found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_wrong(tmp_path: Path, mode: int) -> None:
    key = private(tmp_path / "my identity.secret")
    key.chmod(mode)
    found = Findings()
    look_at_secrets(found, [key], state_dir=None)
    assert f"chmod 600 '{key}'" in only(found, Level.WRONG)


def test_a_state_folder_that_others_may_enter_is_wrong(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o755)
    found = Findings()
    look_at_secrets(found, [], state_dir=state)
    assert "chmod 700" in only(found, Level.WRONG)


def test_a_key_that_is_missing_is_wrong(tmp_path: Path) -> None:
    found = Findings()
    look_at_secrets(found, [tmp_path / "identity.secret"], state_dir=None)
    assert "No such file" in only(found, Level.WRONG)


# ---------------------------------------------------------------------- certificates


def test_a_certificate_that_ends_soon_is_a_warning_and_says_how_it_is_renewed(
    authority: ThrowawayCa,
) -> None:
    found = Findings()
    tls = authority.issue("c1")
    look_at_certificate(found, "certificate", tls, name="c1", renewed_by=RENEW)
    # It holds two hours, of which one is left: more than a third.
    assert found.worst is Level.WELL
    look_at_certificate(found, "certificate", tls, name="c2", renewed_by=RENEW)
    assert "is of 'c1', and this is 'c2'" in only(found, Level.WRONG)


def test_a_certificate_of_another_site_is_wrong(
    authority: ThrowawayCa, other_authority: ThrowawayCa
) -> None:
    theirs = other_authority.issue("c1")
    mixed = authority.issue("c1").model_copy(
        update={"certificate": theirs.certificate, "private_key": theirs.private_key}
    )
    with pytest.raises(CertificateUnusable, match="issued by nobody"):
        chain_of(mixed)
    found = Findings()
    look_at_certificate(found, "certificate", mixed, name="c1", renewed_by=RENEW)
    assert only(found, Level.WRONG).endswith(RENEW)


def test_a_root_that_comes_with_the_certificate_itself_vouches_for_nothing(
    authority: ThrowawayCa, other_authority: ThrowawayCa, tmp_path: Path
) -> None:
    theirs = other_authority.issue("c1")
    brought = tmp_path / "certificate.pem"
    brought.write_bytes(theirs.certificate.read_bytes() + theirs.ca.read_bytes())
    with pytest.raises(CertificateUnusable, match="issued by nobody"):
        chain_of(authority.issue("c1").model_copy(update={"certificate": brought}))


def test_a_key_that_is_another_certificates_is_wrong(authority: ThrowawayCa) -> None:
    mixed = authority.issue("c1").model_copy(
        update={"private_key": authority.issue("c2").private_key}
    )
    found = Findings()
    look_at_certificate(found, "certificate", mixed, renewed_by=RENEW)
    assert "cannot be used together" in only(found, Level.WRONG)


def test_a_certificate_that_has_run_out_is_wrong(
    authority: ThrowawayCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return cls.fromtimestamp(later.timestamp(), tz)

    monkeypatch.setattr("runtime.doctor.certificates.datetime", Clock)
    found = Findings()
    look_at_certificate(found, "certificate", authority.issue("c1"), renewed_by=RENEW)
    assert "it has run out" in only(found, Level.WRONG)


# ---------------------------------------------------------------------- databases


def made(path: Path) -> Path:
    database = open_database(path, STEPS)
    for number in range(200):
        database.conn.execute("INSERT INTO things VALUES (?)", [f"{number}" * 50])
    database.close()
    return path


def looked_at(path: Path, *, schema: int = 1) -> Findings:
    found = Findings(deep=True)
    look_at_databases(found, [Known(path, schema)], restored="restore it")
    return found


def test_a_whole_database_is_well_and_its_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = made(tmp_path / "audit.db")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert "whole" in only(looked_at(path), Level.WELL)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_database_that_is_not_there_yet_is_nothing_and_is_not_made(tmp_path: Path) -> None:
    assert looked_at(tmp_path / "audit.db").found == []
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_newer_version_is_wrong(tmp_path: Path) -> None:
    assert "a newer one wrote it" in only(
        looked_at(made(tmp_path / "audit.db"), schema=0), Level.WRONG
    )


def test_a_spoilt_database_is_wrong_and_says_what_to_restore(tmp_path: Path) -> None:
    path = made(tmp_path / "audit.db")
    data = bytearray(path.read_bytes())
    data[4096 : 2 * 4096] = bytes(4096)
    path.write_bytes(data)
    assert only(looked_at(path), Level.WRONG).endswith("restore it")


def test_a_pipe_in_a_databases_place_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "audit.db")
    assert "is not a file" in only(looked_at(tmp_path / "audit.db"), Level.WRONG)


def test_a_service_writes_while_its_database_is_looked_at(tmp_path: Path) -> None:
    path = made(tmp_path / "audit.db")
    service = sqlite3.connect(path, isolation_level=None, timeout=0)
    service.execute("BEGIN IMMEDIATE")
    service.execute("INSERT INTO things VALUES ('one more')")
    assert looked_at(path).worst is Level.WELL
    service.execute("COMMIT")
    service.close()


# ---------------------------------------------------------------------- brokers


def test_a_broker_that_lets_us_in_is_well_and_keeps_nothing_of_us(broker: AnyBroker) -> None:
    found = Findings()
    look_at_brokers(found, MqttConfig(port=broker.port))
    assert levels(found) == {"broker": Level.WELL}


def test_one_broker_of_several_that_is_away_is_a_warning_none_is_wrong(broker: AnyBroker) -> None:
    away = BrokerAddress(host="127.0.0.1", port=1)
    one_of_two, none = Findings(), Findings()
    look_at_brokers(one_of_two, MqttConfig(port=broker.port, further=(away,)))
    assert one_of_two.worst is Level.WARNING
    look_at_brokers(none, MqttConfig(port=1))
    assert none.worst is Level.WRONG


@pytest.mark.mosquitto
def test_a_broker_that_does_not_accept_our_certificate_is_wrong(
    authority: Any, other_authority: Any, mosquitto_with: Callable[[str], Any]
) -> None:
    server = authority.issue("broker")
    broker = mosquitto_with(
        f"cafile {server.ca}\ncertfile {server.certificate}\nkeyfile {server.private_key}\n"
        "require_certificate true\nuse_identity_as_username true\ntls_version tlsv1.3\n"
        "allow_anonymous false\n"
    )
    ours = authority.issue("box-1")
    found = Findings()
    look_at_brokers(found, MqttConfig(host="localhost", port=broker.port, tls=ours))
    assert found.worst is Level.WELL
    theirs = other_authority.issue("box-1").model_copy(update={"ca": ours.ca})
    refused = Findings()
    look_at_brokers(refused, MqttConfig(host="localhost", port=broker.port, tls=theirs))
    assert refused.worst is Level.WRONG
    strangers = other_authority.issue("box-1")
    found = Findings()
    look_at_brokers(found, MqttConfig(host="localhost", port=broker.port, tls=strangers))
    assert "certificate" in only(found, Level.WRONG)


@pytest.mark.mosquitto
def test_a_broker_that_does_not_let_us_in_is_wrong(mosquitto_with: Callable[[str], Any]) -> None:
    broker = mosquitto_with("allow_anonymous false")
    found = Findings()
    look_at_brokers(found, MqttConfig(port=broker.port))
    assert "it refuses us: Not authorized" in only(found, Level.WRONG)


@pytest.mark.slow
def test_a_broker_that_says_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.doctor.broker.WITHIN_S", 1.0)
    found = Findings()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        look_at_brokers(found, MqttConfig(port=int(silent.getsockname()[1])))
    assert "no answer" in only(found, Level.WRONG)


def test_nobody_is_connected_to_when_only_this_machine_is_to_be_looked_at() -> None:
    found = Findings(network=False)
    look_at_brokers(found, MqttConfig(port=1))
    assert found.found == []


# ---------------------------------------------------------------------- metrics


def metrics_told(port: int, *sources: str) -> Findings:
    """Look at metrics of a process in which these sources fail."""

    def fail(_figures: Figures) -> None:
        raise OSError("away")

    config = MetricsConfig(listen=f"127.0.0.1:{port}")
    metrics = Metrics(config, Subject("witness"), sources=dict.fromkeys(sources, fail))
    found, stop = Findings(), Stop()
    thread = threading.Thread(target=metrics.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: listens(port), "metrics")
        look_at_metrics(found, config)
    finally:
        stop.set("test over")
        thread.join(30)
    return found


@pytest.mark.slow
def test_metrics_that_are_told_are_well_and_parts_that_are_missing_a_warning() -> None:
    assert metrics_told(free_port()).worst is Level.WELL
    assert "store" in only(metrics_told(free_port(), "store"), Level.WARNING)


def test_metrics_that_nobody_tells_are_a_warning_and_those_not_wanted_nothing() -> None:
    found = Findings()
    look_at_metrics(found, MetricsConfig())
    assert found.found == []
    look_at_metrics(found, MetricsConfig(listen="127.0.0.1:1"))
    assert "metrics_not_served" in only(found, Level.WARNING)
