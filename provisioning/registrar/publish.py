"""Bring admissions and revocations to those who go by them: custodians, aggregator, broker."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from protocol.directory import AGGREGATOR, CUSTODIAN, Directory, Principal
from protocol.directory_forms import FIRST, SECOND
from provisioning.formats import layout, pki
from provisioning.registrar import mosquitto
from provisioning.registrar.broker_rights import Rights
from provisioning.registrar.config import BrokerSection, RegistrarConfig
from provisioning.registrar.registrar import Registrar
from runtime.config import TlsConfig
from runtime.errors import OperationError, explained
from runtime.fsio import private_folder, read_file
from runtime.lifecycle import Stop
from runtime.peers import News, Told, tell_all, with_address

_TIMEOUT_S = 5.0
_PUSH_TIMEOUT_S = 20.0
_POLL_S = 0.5
_BACKOFF_S = (1.0, 10.0)
_MAX_BYTES = 64 << 20
_log = structlog.get_logger()


def services(directory: Directory) -> list[Principal]:
    """Return the custodians and the aggregator in force that have an address."""
    return with_address(directory, CUSTODIAN, AGGREGATOR)


def news_of(registrar: Registrar) -> News:
    """Return what everybody must have: the newest directory, then the newest admissions."""
    registrar.sync()
    trust = registrar.trust
    admissions = trust.signed_admissions
    return News.of_directory(
        trust.signed_in(FIRST),
        trust.signed_in(SECOND),
        *(() if admissions is None else (admissions,)),
        newer_will_do=True,
    )


def write_broker(registrar: Registrar) -> Told:
    """Write the brokers' access and revocation lists, and have those read them that run here.

    What brings the first one's to another machine (``push``) brings them to the others, too.
    """
    broker, config = registrar.config.broker, registrar.config
    folder, here = _broker_folder(config)
    try:
        for further in broker.further_folders:
            if (further / mosquitto.CONFIG_FILE).exists():
                _write_lists(registrar, further.resolve(), broker)
                mosquitto.give_to_mosquitto(further)
                mosquitto.signal_mosquitto(further.resolve())
        changed = _write_lists(registrar, folder, broker)
        if not here:
            if not broker.tls:
                return Told("broker")
            return _push_lists(folder, broker.push)
        mosquitto.give_to_mosquitto(folder)
        if broker.push:
            return _push_lists(folder, broker.push)
        if changed and not mosquitto.signal_mosquitto(folder):
            why = f"does not run in {folder}; it reads the lists when it starts"
            return Told("broker", why, again=False)
    except OperationError as error:
        return Told("broker", str(error))
    return Told("broker")


def _push_lists(folder: Path, command: tuple[str, ...]) -> Told:
    if not command:
        why = (
            f"is not on this machine: carry {folder}/acl* and {folder}/certs/crl*.pem to its"
            " folder and send it SIGHUP, or set broker.push in registrar.toml"
        )
        return Told("broker", why, again=False)
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PUSH_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Told("broker", f"{command[0]} cannot be run, or hangs: {error}")
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace").strip()[-200:]
        return Told("broker", f"{command[0]} ended with {ended.returncode}: {said}")
    return Told("broker")


def _broker_folder(config: RegistrarConfig) -> tuple[Path, bool]:
    folder = config.broker.folder
    if folder is not None and (folder / mosquitto.CONFIG_FILE).exists():
        return folder.resolve(), True
    return private_folder(config.state_dir / "broker"), False


def _write_lists(registrar: Registrar, folder: Path, broker: BrokerSection) -> bool:
    rights = Rights.of(
        registrar.directory, aggregator=broker.aggregator, revoked=registrar.store.revocations()
    )
    changed = mosquitto.write_rights(folder, rights)
    crl_file = private_folder(folder / mosquitto.CERTIFICATES) / layout.CRL_FILE
    known = read_file(crl_file, _MAX_BYTES) if crl_file.exists() else b""
    crls = pki.merged_crls(known, registrar.issuer.crl_pem())
    changed += mosquitto.write_revocations(folder, crls, pki.without_boxes(crls))
    return bool(changed)


def publish_now(registrar: Registrar) -> list[Told]:
    """Tell everybody once; used by commands, while the service goes on until all have it."""
    news = news_of(registrar)
    told = _tell(services(registrar.directory), news, registrar.config.tls)
    return [write_broker(registrar), *told]


def _tell(found: Iterable[Principal], news: News, tls: TlsConfig) -> list[Told]:
    """Hand signed documents to services: the directory first, which names the registrar."""
    return tell_all(found, news, tls, timeout_s=_TIMEOUT_S)


@dataclass(slots=True)
class _Target:
    has: tuple[bytes, ...] = ()
    problem: str = ""
    pause_s: float = _BACKOFF_S[0]
    next_s: float = field(default_factory=time.monotonic)

    def wait(self) -> None:
        """Try again after a pause, a longer one each time."""
        self.next_s = time.monotonic() + self.pause_s
        self.pause_s = min(self.pause_s * 2, _BACKOFF_S[1])


class Publisher:
    """Watches the database for changes and tells everybody until all have them."""

    def __init__(
        self, registrar: Registrar, *, write: Callable[[Registrar], Told] = write_broker
    ) -> None:
        self._registrar = registrar
        self._write = write
        self._targets: dict[str, _Target] = {}
        self._broker = _Target()

    @property
    def untold(self) -> int:
        """How many services and brokers could not be told the newest when they were last tried."""
        return sum(bool(one.problem) for one in (self._broker, *list(self._targets.values())))

    def run(self, stop: Stop) -> None:
        """Publish until ``stop``; the body of the thread ``publish``."""
        while not stop.is_set():
            try:
                self.step()
            except (OperationError, OSError, RuntimeError) as error:
                # No descriptor, thread or disk: nothing is lost by telling them a little later.
                _log.error("not_published", reason=explained(error))
                stop.wait(_BACKOFF_S[0])
            stop.wait(_POLL_S)

    def step(self) -> None:
        """Tell whoever lacks the newest and is due."""
        registrar = self._registrar
        news = news_of(registrar)
        documents = news.documents
        if self._broker.next_s <= time.monotonic():
            self._tell_broker((*documents, registrar.issuer.crl_pem()))
        found = {service.name: service for service in services(registrar.directory)}
        for gone in set(self._targets) - set(found):
            del self._targets[gone]
        now_s = time.monotonic()
        due = []
        for name, service in found.items():
            target = self._targets.setdefault(name, _Target())
            if target.has != documents and target.next_s <= now_s:
                due.append(service)
        for told in _tell(due, news, registrar.config.tls):
            self._note(self._targets[told.name], told, documents)

    def _tell_broker(self, documents: tuple[bytes, ...]) -> None:
        broker = self._broker
        if broker.has == documents:
            return
        told = self._write(self._registrar)
        if told.problem and told.problem != broker.problem:
            _log.warning("broker_not_told", reason=told.problem)
        broker.problem = told.problem
        if told.problem and told.again:
            broker.wait()
        else:
            broker.has, broker.pause_s = documents, _BACKOFF_S[0]

    def _note(self, target: _Target, told: Told, documents: tuple[bytes, ...]) -> None:
        if told.problem:
            if told.problem != target.problem:
                _log.warning("admissions_not_delivered", to=told.name, reason=told.problem)
            target.problem = told.problem
            target.wait()
            return
        target.has, target.problem, target.pause_s = documents, "", _BACKOFF_S[0]
        _log.info(
            "admissions_delivered",
            to=told.name,
            directory=self._registrar.trust.directory.version,
            admissions=self._registrar.trust.admissions_version,
        )
