"""The real process: starts, serves, reloads, survives a kill, and refuses to start on bad files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import (
    CHEAP,
    PASSPHRASE,
    Asked,
    approved,
    make_announcement,
    opened_log,
    write_config,
)
from throwaway_ca import ThrowawayCa
from typer.testing import CliRunner

from custodian.cli import app
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from demo.processes import ending_with_us
from protocol.policy import sign_policy
from protocol.signing import SigningKey
from runtime.clock import MachineClocks
from runtime.config import load
from runtime.http import client
from runtime.keyfiles import write_secret

pytestmark = pytest.mark.processes

DEADLINE_S = 60.0
STILL = MachineClocks(wall_ms=lambda: s.NOW_MS)
COMMAND = "from custodian.cli import app; app()"


class Process:
    """`sealtrace custodian serve` as a process of its own."""

    def __init__(self, config: Path) -> None:
        self._process = subprocess.Popen(
            ending_with_us([sys.executable, "-c", COMMAND, "serve", "--config", str(config)]),
            env={**os.environ, "SEALTRACE_PASSPHRASE": PASSPHRASE.decode()},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, object]] = []
        self._seen = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._seen:
                self.lines.append(json.loads(line) if line.startswith("{") else {"text": line})
                self._seen.notify_all()

    def wait_for(self, event: str) -> dict[str, object]:
        """Return the first log line of that event."""
        deadline = time.monotonic() + DEADLINE_S
        with self._seen:
            while True:
                for line in self.lines:
                    if line.get("event") == event:
                        return line
                left = deadline - time.monotonic()
                assert left > 0, f"no {event} in {self.lines}"
                assert self._process.poll() is None or self._reader.is_alive(), self.lines
                self._seen.wait(min(left, 0.2))

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the process, wait for its end, return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code


@pytest.fixture
def config(tmp_path: Path, ca: ThrowawayCa) -> Path:
    return write_config(tmp_path / "c1", "c1", ca)


@pytest.fixture
def started(config: Path) -> Iterator[Process]:
    process = Process(config)
    yield process
    process.end(signal.SIGKILL)


def test_it_serves_reloads_and_stops(config: Path, started: Process, ca: ThrowawayCa) -> None:
    port = started.wait_for("ready")["port"]
    url = f"https://127.0.0.1:{port}"
    with client(url, ca.issue("eve")) as http:
        assert http.get("/v1/status").json()["directory_version"] == 3
        newer = s.directory().revoke("bo", at_ms=1).sign(s.authority())
        (config.parent / "directory.cbor").write_bytes(newer.to_bytes())
        started.send(signal.SIGHUP)
        started.wait_for("directory_accepted")
        assert http.get("/v1/status").json()["directory_version"] == 4
    runner = CliRunner()
    shown = runner.invoke(app, ["status", "--config", str(config), "--url", url, "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["name"] == "c1"
    shown = runner.invoke(app, ["status", "--config", str(config), "--url", url])
    assert "c1 of site vectors" in shown.stdout
    assert started.end() == 0


def test_an_altered_policy_at_reload_changes_nothing(config: Path, started: Process) -> None:
    started.wait_for("ready")
    policy = config.parent / "policy.toml"
    policy.write_bytes(policy.read_bytes().replace(b"approvals = 2", b"approvals = 1"))
    started.send(signal.SIGHUP)
    assert "altered" in str(started.wait_for("reload_refused")["reason"])
    assert started.end() == 0


def test_a_second_process_on_the_same_state_is_turned_away(config: Path, started: Process) -> None:
    started.wait_for("ready")
    second = Process(config)
    assert second.end(0) == 1
    assert any("another process" in str(line.get("text")) for line in second.lines)


GRANT_AND_DIE = """
import os, signal, sys
from pathlib import Path
import custodian.grants
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from runtime.clock import MachineClocks
from runtime.config import load

def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)

custodian.grants.replace = die  # as it sets the number that the log gave
made = Custodian(load(Path(sys.argv[1]), CustodianConfig), sys.argv[3].encode(),
                 machine=MachineClocks(wall_ms=lambda: int(sys.argv[4])))
made.granter.grant(Path(sys.argv[2]).read_bytes())
print("a grant left")
"""


def test_a_kill_between_log_and_answer_leaves_the_entry(config: Path, tmp_path: Path) -> None:
    settings = load(config, CustodianConfig)
    first = Custodian(settings, PASSPHRASE, machine=STILL, cost=CHEAP)
    _, message = make_announcement([first])
    first.close()
    request = tmp_path / "request"
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    request.write_bytes(asked.to_bytes())
    died = subprocess.run(
        [sys.executable, "-c", GRANT_AND_DIE, config, request, PASSPHRASE.decode(), str(s.NOW_MS)],
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert died.stdout == b""
    again = Custodian(settings, PASSPHRASE, machine=STILL, cost=CHEAP)
    grants = [body for kind, body in opened_log(again) if kind == "grant"]
    again.close()
    assert [body["query"] for body in grants] == [asked.case.query.to_bytes()]


def start(config: Path, passphrase: bytes = PASSPHRASE) -> Custodian:
    settings = load(config, CustodianConfig)
    return Custodian(settings, passphrase, machine=STILL, cost=CHEAP)


def refused(config: Path, *arguments: str) -> str:
    """Run ``serve --check``, which must fail; return what it says."""
    done = CliRunner().invoke(
        app,
        ["serve", "--config", str(config), "--check", *arguments],
        env={"SEALTRACE_PASSPHRASE": PASSPHRASE.decode()},
    )
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    return done.output


def test_check_and_print_config(config: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(
        app,
        ["serve", "--config", str(config), "--check"],
        env={"SEALTRACE_PASSPHRASE": PASSPHRASE.decode()},
    )
    assert (done.exit_code, "in order" in done.output) == (0, True)
    assert not (config.parent / "state").exists()
    printed = runner.invoke(app, ["serve", "--config", str(config), "--print-config"])
    assert "days_ahead = 7" in printed.stdout


def test_an_altered_policy_keeps_it_from_starting(config: Path) -> None:
    policy = config.parent / "policy.toml"
    policy.write_bytes(policy.read_bytes().replace(b"approvals = 2", b"approvals = 1"))
    assert "not the one that the site's authority signed" in refused(config)


def test_a_policy_signed_by_somebody_else_keeps_it_from_starting(config: Path) -> None:
    text = (config.parent / "policy.toml").read_bytes()
    (config.parent / "policy.toml.sig").write_bytes(
        sign_policy(text, SigningKey("authority", bytes(32)))
    )
    assert "cannot be believed" in refused(config)


def test_an_older_policy_or_directory_than_was_in_force_keeps_it_from_starting(
    config: Path, ca: ThrowawayCa
) -> None:
    old_policy = s.POLICY_TEXT
    new_policy = old_policy.replace(b"version = 1", b"version = 2")
    newer = replace(s.directory(), version=9)
    write_config(config.parent / "x", "c1", ca, directory=newer, policy=new_policy)
    for name in ("policy.toml", "policy.toml.sig", "directory.cbor"):
        old = (config.parent / name).read_bytes()
        (config.parent / name).write_bytes((config.parent / "x" / name).read_bytes())
        (config.parent / "x" / name).write_bytes(old)
    start(config).close()
    for name in ("policy.toml", "policy.toml.sig"):
        new = (config.parent / name).read_bytes()
        (config.parent / name).write_bytes((config.parent / "x" / name).read_bytes())
        (config.parent / "x" / name).write_bytes(new)
    assert "older than version 2" in refused(config)
    for name in ("policy.toml", "policy.toml.sig"):
        (config.parent / name).write_bytes((config.parent / "x" / name).read_bytes())
    (config.parent / "directory.cbor").write_bytes(
        (config.parent / "x" / "directory.cbor").read_bytes()
    )
    assert "older than version 9" in refused(config)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("directory.cbor", b"", "not this site's directory"),
        ("policy.toml", b"\xff", "cannot be believed"),
        ("policy.toml.sig", b"", "cannot be believed"),
        ("identity.secret", b"key", "not a key file"),
    ],
)
def test_damaged_files_keep_it_from_starting(
    config: Path, name: str, content: bytes, said: str
) -> None:
    (config.parent / name).write_bytes(content)
    assert said in refused(config)


@pytest.mark.parametrize(
    "name", ["directory.cbor", "policy.toml", "policy.toml.sig", "identity.secret"]
)
def test_missing_files_keep_it_from_starting(config: Path, name: str) -> None:
    (config.parent / name).unlink()
    assert name in refused(config).replace("\n", "")


def test_the_wrong_passphrase_and_a_foreign_identity(config: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"not the passphrase\n")
    assert "passphrase does not open" in refused(config, "--passphrase-file", str(wrong))
    write_secret(
        config.parent / "identity.secret",
        s.signing_key("c2").seed,
        PASSPHRASE,
        "identity",
        overwrite=True,
        cost=CHEAP,
    )
    assert "knows 'c1' by the key" in refused(config)


def test_the_clock_is_confirmed_from_the_command_line(config: Path) -> None:
    runner = CliRunner()
    arguments = ["confirm-clock", "--config", str(config)]
    never = runner.invoke(app, arguments)
    assert (never.exit_code, "never run" in never.output) == (1, True)
    start(config).close()
    no = runner.invoke(app, arguments, input="n\n")
    assert no.exit_code == 1
    yes = runner.invoke(app, [*arguments, "--yes"])
    assert (yes.exit_code, "confirmed" in yes.output) == (0, True)
    settings = load(config, CustodianConfig)
    custodian = Custodian(settings, PASSPHRASE, cost=CHEAP)
    assert not custodian.clock.in_doubt
    custodian.close()
