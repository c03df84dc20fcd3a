"""A site as its officers see it: the real aggregator and custodians behind TLS, in this process."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import custodian_site
import protocol_samples as s
import structlog
from fastapi import FastAPI
from laid_down import lay_custodian
from opened_rows import FIRST_ENTRY, RowsOf
from starlette.types import ASGIApp
from throwaway_ca import ThrowawayCa
from typer.testing import CliRunner, Result

from aggregator.api import Parts
from aggregator.api import make_app as make_aggregator_app
from aggregator.config import AggregatorConfig
from aggregator.places import PlacesShelf
from aggregator.service import Aggregator
from custodian.api import make_app
from custodian.config import CustodianConfig
from custodian.custodian import Custodian
from custodian.tally import ROWS
from demo.ports import free_port
from protocol import hpke
from protocol.directory import Directory
from protocol.directory_forms import SECOND
from protocol.enrolment import WitnessSheet
from protocol.places import parse_places
from protocol.policy import sign_policy
from protocol.results import Candidate, Opening
from protocol.templates import SubjectFile, Template
from runtime.config import TlsConfig, load
from runtime.http import Ready, serve
from runtime.keyfiles import write_secret
from runtime.lifecycle import Stop
from runtime.serving import MAX_BODY_BYTES
from runtime.subject_files import sheet_path

PASSPHRASE = "four words make one"
CONSENT = s.fixed("consent form", 32)
"""SHA-256 of the document with which subjects are enrolled."""
DOWN = "c3"
"""The custodian that nobody starts."""


class Served:
    """An application behind a real server, in a thread; without certificates a plain one."""

    def __init__(self, app: ASGIApp, port: int, tls: TlsConfig | None) -> None:
        self._stop, ready = Stop(), Ready()
        self._thread = threading.Thread(
            target=serve,
            args=(app, "127.0.0.1", port, tls, self._stop),
            kwargs={"ready": ready, "max_body_bytes": MAX_BODY_BYTES},
        )
        self._thread.start()
        ready.wait(30)

    def end(self) -> None:
        self._stop.set("the test is over")
        self._thread.join(30)
        assert not self._thread.is_alive()


@dataclass
class OfficerSite:
    """The aggregator, custodians c1 and c2, and the folders of ana, bo, cy and dan."""

    folder: Path
    thresholds: dict[str, float] = field(default_factory=lambda: {s.MODEL: 0.55})
    policy: bytes = s.POLICY_TEXT
    places: bytes = b""
    """The register of places, which the directory names and officers have a copy of."""

    def __post_init__(self) -> None:
        self._exit = ExitStack()
        self._quieten_servers()
        self.ca = ThrowawayCa(self.folder / "ca")
        self.ports = {name: free_port() for name in ("aggregator", *s.CUSTODIANS)}
        self.directory = self._directory()
        self.aggregator = self._start_aggregator()
        self.custodians = [self._start_custodian(name) for name in s.CUSTODIANS if name != DOWN]
        for name in ("ana", "dan", "bo", "cy", "eve"):
            self._write_officer(name)

    def close(self) -> None:
        self._exit.close()

    # ------------------------------------------------------------------ at the keyboard

    def run(self, app: Any, officer: str, *arguments: str, answer: str | None = None) -> Result:
        """Run a command as an officer."""
        environment = {
            "SEALTRACE_OFFICER": str(self.officer(officer)),
            "SEALTRACE_PASSPHRASE": PASSPHRASE,
            "COLUMNS": "200",
        }
        return CliRunner().invoke(app, list(arguments), input=answer, env=environment)

    def officer(self, name: str) -> Path:
        return self.folder / "officers" / name / "officer.toml"

    def subject_file(self, pseudonym: str, *, owner: str = "ana", template: str = "") -> Path:
        """Write a subject file sealed to ``owner``."""
        made = s.template(template or pseudonym)
        return self.write_subject(pseudonym, [made], owner=owner)

    def write_subject(
        self, pseudonym: str, templates: Sequence[Template], *, owner: str = "ana"
    ) -> Path:
        subject = SubjectFile.enrol(
            pseudonym, "consent 2026/17", templates, s.sealing_key(owner).public,
            enrolled_at_ms=s.NOW_MS, consent_document=CONSENT, investigator_name=owner,
        )  # fmt: skip
        path = self.folder / f"{pseudonym}-{owner}-{free_port()}.subject"
        path.write_bytes(subject.to_bytes())
        return path

    def witnessed_file(self, pseudonym: str, *, witness: str = "di", at_ms: int = s.NOW_MS) -> Path:
        """Write a subject file of ana's, and its sheet beside it, signed by ``witness``."""
        path = self.subject_file(pseudonym)
        sheet = WitnessSheet.of(SubjectFile.parse(path.read_bytes()))
        signed = sheet.signed_by(s.signing_key(witness), witnessed_at_ms=at_ms)
        sheet_path(path).write_bytes(signed.to_bytes())
        return path

    # ------------------------------------------------------------------ behind the aggregator

    def add_candidate(
        self,
        candidate: Candidate,
        digest: bytes,
        *,
        to: hpke.PublicKey | None = None,
        readers: Sequence[str] = ("ana",),
    ) -> bytes:
        """Keep a candidate as the matcher would, sealed to each reader (or to another's key)."""
        number = candidate.candidate_id(digest)
        sealed = {
            name: candidate.seal(to or s.sealing_key(name).public, query_digest=digest)
            for name in readers
        }
        with self.aggregator.store.writing() as unit:
            unit.ledger.add_result(digest, number, sealed, found_ms=s.NOW_MS)
        return number

    def add_opening(self, opening: Opening, digest: bytes, *, readers: Sequence[str]) -> None:
        """Keep which rows were opened as the aggregator would, sealed to each reader."""
        sealed = {
            name: opening.seal(s.sealing_key(name).public, query_digest=digest) for name in readers
        }
        with self.aggregator.store.writing() as unit:
            unit.ledger.add_opening(
                digest, sealed, marks=[row.sighting_id for row in opening.rows], opened_ms=s.NOW_MS
            )

    def keep_receipts(self, opened: RowsOf, *, readers: Sequence[str]) -> None:
        """Have a running custodian keep the receipts that it is made to have signed."""
        (custodian,) = (one for one in self.custodians if one.config.name == opened.custodian)
        for index, signed in enumerate(opened.signed, start=FIRST_ENTRY):
            custodian.store.keep_receipt(
                opened.query_digest, ROWS, signed, entry_index=index, readers=readers
            )

    def record(self, query_id: str) -> Any:
        """What the aggregator has of a query."""
        return self.aggregator.desk.get(bytes.fromhex(query_id))

    # ------------------------------------------------------------------ inside

    def _quieten_servers(self) -> None:
        """The servers are in this process: keep their log out of what the commands print."""
        before = structlog.get_config()
        quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
        structlog.configure(wrapper_class=quiet)
        self._exit.callback(structlog.configure, **before)

    def _directory(self) -> Directory:
        base = s.directory()
        principals = dict(base.principals)
        for name, port in self.ports.items():
            url = f"https://localhost:{port}"
            principals[name] = replace(principals[name], url=url)
        principals["dan"] = s.principal("dan", "investigator", seal_key=s.sealing_key("dan").public)
        if not self.places:
            return replace(base, principals=principals)
        digest = parse_places(self.places).digest
        return replace(base, principals=principals, form=SECOND, places=digest)

    def _start_aggregator(self) -> Aggregator:
        folder = self.folder / "aggregator"
        self._write_site(folder)
        tls = self.ca.issue("aggregator")
        text = self._common("aggregator")
        (folder / "aggregator.toml").write_text(text + self._tls(tls))
        config = load(folder / "aggregator.toml", AggregatorConfig)
        made = Aggregator(config, s.signing_key("aggregator").seed)
        self._exit.callback(made.close)
        parts = Parts(
            site=s.SITE,
            store=made.store,
            trust=made.trust,
            log=made.written_log,
            witness=made.witness,
            policy=made.policy,
            policy_text=self.policy,
            policy_signature=(folder / "policy.toml.sig").read_bytes(),
            desk=made.desk,
            stills=made.stills,
            intake=made.intake,
            calibrations=made.calibrations,
            default_thresholds=self.thresholds,
            clock_skew_ms=120_000,
            places=PlacesShelf(config.places, config.state_dir, lambda: made.trust.directory),
        )
        self._serve(make_aggregator_app(parts), "aggregator", tls)
        return made

    def _start_custodian(self, name: str) -> Custodian:
        path = custodian_site.write_config(
            self.folder / name, name, self.ca, directory=self.directory, policy=self.policy
        )
        lay_custodian(path.parent / "state")
        made = Custodian(
            load(path, CustodianConfig), custodian_site.PASSPHRASE, cost=custodian_site.CHEAP
        )
        self._exit.callback(custodian_site.close, made)
        assert made.config.tls is not None
        self._serve(make_app(made), name, made.config.tls)
        return made

    def _serve(self, app: FastAPI, name: str, tls: TlsConfig) -> None:
        self._exit.callback(Served(app, self.ports[name], tls).end)

    def _write_officer(self, name: str) -> None:
        folder = self.officer(name).parent
        self._write_site(folder)
        for file, purpose, secret in (
            ("identity.secret", "identity", s.signing_key(name).seed),
            ("sealing.secret", "sealing", s.sealing_key(name).seed),
        ):
            write_secret(
                folder / file, secret, PASSPHRASE.encode(), purpose, cost=custodian_site.CHEAP
            )
        self.officer(name).write_text(self._common(name) + self._tls(self.ca.issue(name)))

    def _write_site(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        signed = self.directory.sign(s.authority(), self.directory.form).to_bytes()
        (folder / "directory.cbor").write_bytes(signed)
        if self.places:
            (folder / "places.csv").write_bytes(self.places)
        (folder / "policy.toml").write_bytes(self.policy)
        (folder / "policy.toml.sig").write_bytes(sign_policy(self.policy, s.authority()))

    @staticmethod
    def _common(name: str) -> str:
        authority = s.authority().verify_key.raw.hex()
        return f'site = "{s.SITE}"\nname = "{name}"\nauthority = "{authority}"\n'

    @staticmethod
    def _tls(tls: TlsConfig) -> str:
        lines = {"ca": tls.ca, "certificate": tls.certificate, "private_key": tls.private_key}
        return "[tls]\n" + "".join(f"{k} = {json.dumps(str(v))}\n" for k, v in lines.items())
