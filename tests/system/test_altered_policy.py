"""A policy that somebody altered stops the process that was to believe it, in plain words."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from running_site import RunningSite
from waiting import wait_for

from demo.processes import ProcessFailed
from protocol.policy import sign_policy


@contextmanager
def altered(site: RunningSite, role: str, *, resign: bool) -> Iterator[None]:
    """Have the role's policy ask for one approval only, while the role is down."""
    policy = site.folder(role) / "policy.toml"
    signature = policy.with_name("policy.toml.sig")
    before = policy.read_bytes(), signature.read_bytes()
    easier = before[0].replace(b"approvals = 2", b"approvals = 1")
    assert easier != before[0]
    site.local.services[role].stop()
    policy.write_bytes(easier)
    if resign:  # with a key that the role has: its own
        signature.write_bytes(sign_policy(easier, site.signing(role)))
    try:
        yield
    finally:
        policy.write_bytes(before[0])
        signature.write_bytes(before[1])
        site.local.start(role)


@pytest.mark.parametrize("resign", [False, True], ids=["same signature", "signed by itself"])
@pytest.mark.parametrize("role", ["aggregator", "c2"])
def test_with_an_altered_policy_it_does_not_start(
    quiet_site: RunningSite, role: str, resign: bool
) -> None:
    with altered(quiet_site, role, resign=resign):
        with pytest.raises(ProcessFailed, match="ended at its start") as failure:
            quiet_site.start(role)
        process = quiet_site.local.services[role].process
        assert process is not None
        assert process.returncode == 1
    said = str(failure.value)
    assert "policy.toml" in said
    assert "Traceback" not in said
    assert "policy file is not the one that the site's authority signed" in said


def test_a_running_custodian_keeps_the_policy_that_was_signed(quiet_site: RunningSite) -> None:
    custodian = quiet_site.local.services["c1"]
    policy = quiet_site.folder("c1") / "policy.toml"
    before = policy.read_bytes()
    policy.write_bytes(before.replace(b"approvals = 2", b"approvals = 1"))
    try:
        quiet_site.signal("c1", signal.SIGHUP)
        told = wait_for(lambda: custodian.events("reload_refused"), "the refusal in the log")
    finally:
        policy.write_bytes(before)
    assert "policy.toml cannot be believed" in str(told[0]["reason"])
    status = quiet_site.call("eve", "c1", "GET", "/v1/status").json()
    assert status["policy_digest"] == quiet_site.policy.digest.hex()
