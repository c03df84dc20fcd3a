"""A site of logs alone, each behind TLS, and the auditor who fetches and verifies them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
from audit_samples import QUERY_ID, grant_body, match_body, received_body
from fastapi import FastAPI, Request
from starlette.responses import Response
from throwaway_ca import ThrowawayCa
from typer.testing import CliRunner, Result

from officers.audit_cli import app
from protocol.auditlog import origin_of, parse_checkpoint
from protocol.policy import sign_policy
from runtime.auditlog import AuditLog
from runtime.http import CborResponse, Problem, Ready, install_problem_handlers, peer_of, serve
from runtime.keyfiles import Cost, write_secret
from runtime.lifecycle import Stop
from runtime.log_api import log_router, witness_checkpoint
from runtime.witness import Witness

ROLES = ("aggregator", *s.CUSTODIANS)
PASSPHRASE = "correct horse battery"
CHEAP = Cost(memory_kib=8)
POLICY_SIGNATURE = sign_policy(s.POLICY_TEXT, s.authority())


class Role:
    """A role's log and witness behind a real TLS server."""

    def __init__(self, name: str, folder: Path, ca: ThrowawayCa, site: Site) -> None:
        folder.mkdir()
        self.name = name
        self.origin = origin_of(s.SITE, name)
        self._folder = folder
        self._ca = ca
        self._site = site
        self.witness = Witness(folder / "witness.db", self.origin, s.signing_key(name))
        self.open("log.db")
        self._start(0)

    def open(self, file: str) -> None:
        """Serve another log file from the next start on."""
        auditors = {"eve": s.sealing_key("eve").public}
        self.log = AuditLog(self._folder / file, self.origin, s.signing_key(self.name), auditors)

    def _start(self, port: int) -> None:
        self._stop, ready = Stop(), Ready()
        made = self._app()
        self._thread = threading.Thread(
            target=lambda: serve(
                made, "127.0.0.1", port, self._ca.issue(self.name), self._stop, ready=ready
            )
        )
        self._thread.start()
        self.port = ready.wait(30)

    def _app(self) -> FastAPI:
        made = FastAPI()
        install_problem_handlers(made)
        made.include_router(
            log_router(self.log, self.witness, directory=s.directory, allow=peer_of)
        )

        @made.get("/v1/directory")
        def directory(_request: Request) -> Response:
            return CborResponse(self._site.signed_directory)

        @made.get("/v1/admissions")
        def admissions() -> Response:
            if self._site.signed_admissions is None:
                raise Problem(404, "no-admissions", "There are none")
            return CborResponse(self._site.signed_admissions)

        @made.get("/v1/policy")
        def policy() -> Response:
            return Response(s.POLICY_TEXT)

        @made.get("/v1/policy/signature")
        def signature() -> Response:
            return CborResponse(POLICY_SIGNATURE)

        return made

    def begin_to_stop(self) -> None:
        self._stop.set("the test says so")

    def stop(self) -> None:
        self.begin_to_stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def restart(self, file: str | None = None) -> None:
        """Stop and start at the same port, with another log when given."""
        self.stop()
        if file is not None:
            self.log.close()
            self.open(file)
        self._start(self.port)

    def add(self, kind: str, body: dict[str, object], query_id: bytes | None = QUERY_ID) -> None:
        self._site.time_ms += 1000
        self.log.append(kind, self._site.time_ms, self.name, query_id, body)


class Desk:
    """The auditor's desk: an officer.toml, a folder of logs, and the commands."""

    def __init__(self, eve: Path, out: Path) -> None:
        self.eve = eve
        self.out = out

    def run(self, *arguments: str, officer: bool = True, passphrase: str = PASSPHRASE) -> Result:
        environment = {"SEALTRACE_PASSPHRASE": passphrase, "SEALTRACE_OFFICER": ""}
        if officer:
            environment["SEALTRACE_OFFICER"] = str(self.eve)
        done = CliRunner().invoke(app, list(arguments), env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    def fetch(self, *arguments: str) -> Result:
        return self.run("fetch", "--out", str(self.out), *arguments)

    def verify(self, *arguments: str, **how: object) -> Result:
        return self.run("verify", str(self.out), *arguments, **how)  # type: ignore[arg-type]

    def kinds_found(self) -> set[str]:
        done = self.verify("--json")
        return {f["kind"] for f in json.loads(done.stdout)["findings"] if f["severity"] == "wrong"}


class Site(Desk):
    """The roles, a query that ran among them, and the auditor's officer.toml."""

    def __init__(self, folder: Path, ca: ThrowawayCa) -> None:
        self.folder = folder
        self.time_ms = s.NOW_MS
        self.signed_directory = b""
        self.signed_admissions: bytes | None = None
        self.case = s.case()
        self.roles = {name: Role(name, folder / name, ca, self) for name in ROLES}
        self.directory = replace(
            s.directory(),
            principals={
                name: replace(p, url=f"https://localhost:{self.roles[name].port}")
                if name in self.roles
                else p
                for name, p in s.directory().principals.items()
            },
        )
        self.signed_directory = self.directory.sign(s.authority()).to_bytes()
        super().__init__(self._officer("eve", ca), folder / "logs")

    def _officer(self, name: str, ca: ThrowawayCa) -> Path:
        folder = self.folder / name
        folder.mkdir()
        secret = PASSPHRASE.encode()
        write_secret(
            folder / "identity.secret", s.signing_key(name).seed, secret, "identity", cost=CHEAP
        )
        write_secret(
            folder / "sealing.secret", s.sealing_key(name).seed, secret, "sealing", cost=CHEAP
        )
        (folder / "directory.cbor").write_bytes(self.signed_directory)
        (folder / "policy.toml").write_bytes(s.POLICY_TEXT)
        (folder / "policy.toml.sig").write_bytes(POLICY_SIGNATURE)
        tls = ca.issue(name)
        (folder / "officer.toml").write_text(
            f'site = "{s.SITE}"\nname = "{name}"\n'
            f'authority = "{s.authority().verify_key.raw.hex()}"\n'
            f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\n'
            f'private_key = "{tls.private_key}"\n'
        )
        return folder / "officer.toml"

    def run_query(self) -> None:
        aggregator = self.roles["aggregator"]
        aggregator.add("query-filed", {"query": self.case.query.to_bytes()})
        for approval in self.case.approvals:
            aggregator.add("approval", {"approval": approval.to_bytes()})
        for name in ("c1", "c3"):
            self.roles[name].add("grant", grant_body(self.case, name))
            aggregator.add("grant-received", received_body(self.case, name))
        aggregator.add("match", match_body(self.case))

    def witness(self) -> None:
        """Have every log cosigned by every other role."""
        for keeper in self.roles.values():
            text = keeper.log.checkpoint()
            size = parse_checkpoint(text)[0].size
            for other in self.roles.values():
                if other is keeper:
                    continue
                proof = keeper.log.prove_consistency(other.witness.last_seen(keeper.origin), size)
                line = witness_checkpoint(
                    other.witness,
                    text,
                    proof,
                    directory=s.directory(),
                    time_s=self.time_ms // 1000,
                )
                keeper.log.add_cosignature(
                    size, line, witness=other.origin, key=s.signing_key(other.name).verify_key
                )

    def close(self) -> None:
        for role in self.roles.values():
            role.begin_to_stop()
        for role in self.roles.values():
            role.stop()
            role.log.close()
            role.witness.close()


def ran(folder: Path, ca: ThrowawayCa) -> Site:
    """Return a site in which a query has run and been witnessed."""
    made = Site(folder, ca)
    for role in made.roles.values():
        role.add("started", {"version": "1"}, None)
        role.add("policy", {"version": 1, "digest": s.POLICY.digest}, None)
    made.run_query()
    made.witness()
    return made
