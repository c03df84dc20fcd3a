"""Directory and policy in force here, and what the others of the site say: they, their clocks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.directory import CUSTODIAN, Directory, Principal
from protocol.errors import ProtocolError
from protocol.names import epoch_of
from protocol.policy import Policy
from protocol.signing import Signed
from runtime.clock import system_ms
from runtime.config import PolicyReaderConfig, PrincipalConfig, TlsConfig
from runtime.doctor.findings import Findings
from runtime.errors import explained
from runtime.http import client, json_of, raise_for_problem
from runtime.peers import at_once, client_of
from runtime.trust import Trust, read_policy

TIMEOUT_S = 5.0
CLOCK_WARN_S, CLOCK_WRONG_S = 5.0, 60.0
SOON_DAYS = 14
PUSH = "at the office: sealtrace site update SITE --push"
_MAX_ANSWER = 1 << 20
_MOST = 1 << 63
"""Whole numbers from there on are nobody's version."""
_MOST_WORDS = 300
"""Of what others say, so many letters are shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said of itself; ``problem`` is empty when it did.

    Args:
        ahead_s: by how much its clock is ahead of ours, as far as an answer's date tells.
        certain_s: how far off that may be.
    """

    name: str
    status: Mapping[str, Any] = field(default_factory=dict)
    ahead_s: float | None = None
    certain_s: float = 1.0
    problem: str = ""

    def whole(self, key: str) -> int | None:
        """Return a whole number of its status; None when it says none."""
        value = self.status.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return value if abs(value) < _MOST else None


def look_at_directory(found: Findings, config: PrincipalConfig, *duties: str) -> Trust | None:
    """Read the directory in force as the service would; return whom it makes one believe.

    Args:
        found: takes what is found.
        config: the role's.
        duties: of which the role must have one in it.
    """
    trust: Trust | None = None
    with found.looking("directory", next=PUSH):
        trust = Trust(
            site=config.site,
            authority=config.authority_key,
            installed=config.directory,
            state_dir=config.state_dir,
        )
        directory = trust.directory
        listed = directory.principals.get(config.name)
        held = sorted(listed.duties & set(duties)) if listed is not None else []
        directory.require(config.name, held[0] if held else duties[0])
        issued = datetime.fromtimestamp(directory.issued_at_ms / 1000, UTC)
        admitted = f", admissions {trust.admissions_version}" if trust.admissions_version else ""
        found.well(
            "directory",
            f"version {directory.version}{admitted}, signed {issued:%Y-%m-%d}; lists"
            f" '{config.name}' as {' and '.join(held)}",
        )
        custodians = len(directory.custodians())
        if custodians < directory.threshold:
            found.wrong(
                "custodians",
                f"{custodians} are in force of the {directory.threshold} that must agree: nothing"
                " can be opened",
                "at the office: sealtrace site show SITE",
            )
    return trust


def look_at_policy(found: Findings, config: PolicyReaderConfig) -> Policy | None:
    """Read the policy as the service would at its start."""
    policy: Policy | None = None
    with found.looking("policy", next="install the signed policy again: policy.toml and its .sig"):
        policy = read_policy(
            config.policy,
            config.policy_signature,
            authority=config.authority_key,
            site=config.site,
        )
        ends = datetime.fromtimestamp(policy.programme_ends_ms / 1000, UTC)
        left = (ends - datetime.now(UTC)) / timedelta(days=1)
        what = f"version {policy.version} of schema {policy.schema}, signed; the programme "
        renew = "at the office: sealtrace site policy --help, and sign one that ends later"
        if left <= 0:
            what += f"ended {ends:%Y-%m-%d}: nothing is granted any more"
        else:
            what += f"ends {ends:%Y-%m-%d}"
        found.within("policy", what, renew, value=left, warn=SOON_DAYS, wrong=0.001)
    return policy


# ---------------------------------------------------------------------- others


def ask_status(name: str, url: str, tls: TlsConfig) -> Answer:
    """Ask a service how it is; whatever becomes of it stands in the answer."""
    try:
        with client(url, tls, TIMEOUT_S, max_answer_bytes=_MAX_ANSWER) as http:
            http.get("/v1/status")  # the connection is made: what the next one takes is its answer
            began_s, asked = time.monotonic(), datetime.now(UTC)
            answer = http.get("/v1/status")
            took_s = time.monotonic() - began_s
            status = json_of(answer)
            if not isinstance(status, dict):
                return Answer(name, problem="its status is of no form that is known here")
            return Answer(name, status, *_ahead(answer, asked, took_s))
    except Exception as error:  # whatever one of them sends, the others are asked
        return Answer(name, problem=explained(error)[:_MOST_WORDS])


def _ahead(answer: httpx.Response, asked: datetime, took_s: float) -> tuple[float | None, float]:
    """Return by how much an answer's ``Date`` is ahead, and how uncertain that is (RFC 9110)."""
    with suppress(ValueError, TypeError):
        told = parsedate_to_datetime(answer.headers.get("date", ""))
        between = asked + timedelta(seconds=took_s / 2)
        # It says whole seconds, cut off: half a second more is as good a guess as any.
        return (told - between).total_seconds() + 0.5, took_s / 2 + 1.0
    return None, 0.0


def ask_all(found: Findings, peers: Iterable[Principal], tls: TlsConfig | None) -> list[Answer]:
    """Ask services at once; note who does not answer."""
    if tls is None or not found.network:
        return []
    found.tell("other services")
    answers = at_once(peers, lambda peer: ask_status(peer.name, peer.url or "", tls))
    for answer in answers:
        if answer.problem:
            found.warn(
                answer.name,
                f"does not answer: {answer.problem}",
                f"look at '{answer.name}' there: sealtrace doctor; and at the way:"
                " names, firewall, IPAddressAllow= of the unit",
            )
        else:
            version = answer.status.get("version")
            is_of = f", version {version[:40]}" if isinstance(version, str) else ""
            found.well(answer.name, f"answers{is_of}")
    return answers


def compare(found: Findings, trust: Trust, policy: Policy | None, answers: list[Answer]) -> None:
    """Hold directory, admissions, policy and clock against what others say of theirs."""
    said = [answer for answer in answers if not answer.problem]
    _compare_versions(found, "directory", "directory_version", trust.directory.version, said)
    if policy is not None:
        _compare_policies(found, policy, said)
    _compare_clocks(found, said)


def _compare_versions(found: Findings, what: str, key: str, ours: int, said: list[Answer]) -> None:
    told = {one.name: value for one in said if (value := one.whole(key)) is not None}
    newer = sorted(name for name, value in told.items() if value > ours)
    older = sorted(name for name, value in told.items() if value < ours)
    if newer:
        found.wrong(
            what,
            f"version {ours} is in force here, and {max(told.values())} at {', '.join(newer)}",
            PUSH,
        )
    if older:
        found.warn(what, f"{', '.join(older)}: an older version than ours, {ours}", PUSH)
    if told and not newer and not older:
        found.well(what, f"the same at {', '.join(sorted(told))}")


def _compare_policies(found: Findings, policy: Policy, said: list[Answer]) -> None:
    ours = policy.digest.hex()
    told = {one.name: one for one in said if isinstance(one.status.get("policy_digest"), str)}
    other = sorted(name for name, one in told.items() if one.status["policy_digest"] != ours)
    if other:
        versions = ", ".join(f"{name}: {told[name].whole('policy_version')}" for name in other)
        found.wrong(
            "policy",
            f"version {policy.version} is here, another elsewhere ({versions}): grants are refused"
            " where they differ",
            "at the office: sealtrace site update SITE; install it at those, reload custodians,"
            " restart the aggregator",
        )
    elif told:
        found.well("policy", f"the same at {', '.join(sorted(told))}")


def _compare_clocks(found: Findings, said: list[Answer]) -> None:
    apart = {one.name: (one.ahead_s, one.certain_s) for one in said if one.ahead_s is not None}
    if not apart:
        return
    # One of them may be wrong; that this machine is, the middle one tells.
    ordered = sorted(ahead for ahead, _ in apart.values())
    middle = ordered[len(ordered) // 2]
    rough = max(certain for _, certain in apart.values())
    off_s = max(0.0, abs(middle) - rough)
    ours = "behind" if middle > 0 else "ahead of"
    what = (
        f"{abs(middle):.0f} s {ours} {', '.join(sorted(apart))}"
        if off_s
        else f"as {', '.join(sorted(apart))} have it, to {rough:.0f} s"
    )
    steer = "sudo timedatectl set-ntp true, here or there; then run this again"
    if off_s >= CLOCK_WRONG_S:
        found.wrong("clock", what, steer)
    elif off_s >= CLOCK_WARN_S:
        found.warn("clock", what, steer)
    else:
        found.well("clock", what)
    for name, (ahead, certain) in sorted(apart.items()):
        differs_s = abs(ahead - middle) - certain - rough
        if differs_s >= CLOCK_WARN_S:
            found.warn(name, f"its clock is {abs(ahead):.0f} s off", f"set that of '{name}' right")


def look_at_itself(
    found: Findings, config: PrincipalConfig, tls: TlsConfig, urls: Iterable[str], *, unit: str
) -> Answer | None:
    """Ask the role's own service, at the addresses where it may be; None if it does not answer.

    Args:
        found: takes what is found.
        config: the role's.
        tls: its certificate.
        urls: tried in turn.
        unit: its unit of systemd.
    """
    if not found.network:
        return None
    found.tell("the service")
    problem = ""
    for url in dict.fromkeys(one for one in urls if one):
        answer = ask_status(config.name, url, tls)
        if not answer.problem:
            found.well("service", f"answers at {url}")
            return answer
        problem = problem or answer.problem
    found.wrong(
        "service",
        f"does not answer: {problem}" if problem else "has no address in the directory",
        f"systemctl status {unit}; journalctl -u {unit} -n 50",
    )
    return None


# ---------------------------------------------------------------------- day keys


def look_at_day_keys(
    found: Findings, directory: Directory, newest: Mapping[str, int], *, ahead: int = 2
) -> None:
    """Note for how many days boxes can seal to each custodian.

    Args:
        found: takes what is found.
        directory: who is a custodian.
        newest: by custodian the last day (epoch) of which a key is known.
        ahead: days beyond today that there had better be.
    """
    today = epoch_of(system_ms())
    custodians = directory.custodians()
    good = [name for name in custodians if newest.get(name, -1) >= today]
    short = [name for name in good if newest[name] < today + ahead]
    missing = sorted(set(custodians) - set(good))
    what = f"of {len(good)} of {len(custodians)} custodians for today, {directory.threshold} needed"
    look = "look at those custodians: sealtrace doctor custodian.toml"
    if len(good) < directory.threshold:
        found.wrong(
            "day keys", f"{what}: nothing can be sealed ({', '.join(missing)} missing)", look
        )
    elif missing:
        found.warn("day keys", f"{what}; none of {', '.join(missing)}", look)
    elif short:
        found.warn("day keys", f"{what}; {', '.join(sorted(short))}: few days ahead", look)
    else:
        days = min(newest[name] for name in custodians) - today
        found.well("day keys", f"{what}, {days} days ahead")


def newest_day(data: bytes, directory: Directory, site: str) -> tuple[str, int]:
    """Return of whom signed day keys are, and their last day (epoch).

    Raises:
        ProtocolError: they are not a custodian's in force, or of another site.
    """
    signed = Signed.parse(data, kind=DAY_KEYS_KIND)
    keys = DayKeys.parse(signed.verify(directory.resolver(CUSTODIAN)), custodian=signed.signer)
    if keys.site != site:
        raise ProtocolError(f"day keys of site '{keys.site}'")
    return keys.custodian, max(keys.keys, default=-1)


def ask_day_keys(peer: Principal, *, tls: TlsConfig, directory: Directory) -> tuple[str, int]:
    """Return a custodian's name and the last day of which it offers a key; -1 if it offers none."""
    try:
        with client_of(peer, tls, TIMEOUT_S) as http:
            answer = http.get("/v1/day-keys")
            raise_for_problem(answer)
            who, last = newest_day(answer.content, directory, directory.site)
            return peer.name, last if who == peer.name else -1
    except Exception:  # that it does not answer has been said
        return peer.name, -1
