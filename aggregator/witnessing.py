"""Have every log of the site cosigned by the other roles, so that none can show two histories.

One thread, ``witness``, carries checkpoints around: it fetches each log's, proves to each other
role that the log only grew since that role last looked, and hands the cosignature back. It decides
nothing: a role cosigns only what it has checked itself (docs/protocol.md, "Audit").
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import httpx
import structlog

from protocol.auditlog import origin_of, parse_checkpoint
from protocol.directory import CUSTODIAN
from protocol.errors import LogInconsistent, MalformedMessage
from protocol.textformats import parse_json
from runtime.auditlog import AuditLog
from runtime.config import TlsConfig
from runtime.errors import explained
from runtime.http import CBOR, ProblemError, client, raise_for_problem
from runtime.lifecycle import Stop
from runtime.log_api import (
    cosigner_of,
    encode_witness_request,
    keeper_key,
    witness_checkpoint,
)
from runtime.trust import Trust
from runtime.witness import Witness

_log = structlog.get_logger()
INTERVAL_S, RETRY_S, SETTLE_S = 60.0, 5.0, 1.0
_TIMEOUT_S = 10.0
Proof = Mapping[str, object] | None


class _Role(Protocol):
    """A role that keeps a log and witnesses the others'."""

    origin: str

    def checkpoint(self) -> str: ...
    def consistency(self, earlier: int, later: int) -> Proof: ...
    def last_seen(self, origin: str) -> int: ...
    def cosign(self, text: str, proof: Proof) -> str: ...
    def keep(self, size: int, line: str) -> None: ...


class _Remote:
    """A custodian, over its log interface (`runtime.log_api`)."""

    def __init__(self, origin: str, http: httpx.Client) -> None:
        self.origin = origin
        self._http = http

    def checkpoint(self) -> str:
        return self._get("/v1/log/checkpoint").text

    def consistency(self, earlier: int, later: int) -> Proof:
        proof = self._json(f"/v1/log/consistency?from={earlier}&to={later}")
        if proof is not None and not isinstance(proof, dict):
            raise MalformedMessage(f"'{self.origin}' answered with something that is no proof")
        return proof

    def last_seen(self, origin: str) -> int:
        answer = self._json(f"/v1/witness?origin={origin}")
        size = answer.get("size") if isinstance(answer, dict) else None
        if not isinstance(size, int) or not 0 <= size < 2**62:
            raise MalformedMessage(f"'{self.origin}' does not say how much it has seen")
        return size

    def cosign(self, text: str, proof: Proof) -> str:
        body = encode_witness_request(text, proof)
        response = self._http.post("/v1/witness", content=body, headers={"content-type": CBOR})
        raise_for_problem(response)
        return response.text

    def keep(self, size: int, line: str) -> None:
        url = f"/v1/log/cosignatures?size={size}"
        raise_for_problem(self._http.post(url, content=line.encode()))

    def _json(self, path: str) -> Any:
        try:
            return parse_json(self._get(path).content)
        except ValueError as error:
            raise MalformedMessage(f"'{self.origin}' answered with what is no JSON") from error

    def _get(self, path: str) -> httpx.Response:
        response = self._http.get(path)
        raise_for_problem(response)
        return response


class _Local:
    """The aggregator itself."""

    def __init__(self, log: AuditLog, witness: Witness, trust: Trust) -> None:
        self.origin = log.origin
        self._audit = log
        self._witness = witness
        self._trust = trust

    def checkpoint(self) -> str:
        return self._audit.checkpoint()

    def consistency(self, earlier: int, later: int) -> Proof:
        return self._audit.prove_consistency(earlier, later)

    def last_seen(self, origin: str) -> int:
        return self._witness.last_seen(origin)

    def cosign(self, text: str, proof: Proof) -> str:
        return witness_checkpoint(
            self._witness,
            text,
            proof,
            directory=self._trust.directory,
            time_s=int(time.time()),
        )

    def keep(self, size: int, line: str) -> None:
        origin = cosigner_of(line)
        key = keeper_key(self._trust.directory, origin)
        self._audit.add_cosignature(size, line.rstrip("\n") + "\n", witness=origin, key=key)


class Witnessing:
    """Carries checkpoints between the roles; `run` is the body of the thread ``witness``.

    Args:
        log: the aggregator's audit log.
        witness: the aggregator as a witness.
        trust: the site's directory.
        tls: the aggregator's client certificate.
    """

    def __init__(
        self, log: AuditLog, witness: Witness, trust: Trust, tls: TlsConfig | None
    ) -> None:
        self._log = log
        self._local = _Local(log, witness, trust)
        self._trust = trust
        self._tls = tls
        self._cosigned: dict[tuple[str, str], int] = {}

    def run(self, stop: Stop) -> None:
        """Make a round every minute, and soon after our log has grown or a role was away."""
        while not stop.is_set():
            size = self._log.size
            deadline = time.monotonic() + (INTERVAL_S if self.round() else RETRY_S)
            while time.monotonic() < deadline:
                if stop.wait(SETTLE_S):
                    return
                if self._log.size != size:
                    break

    def round(self) -> bool:
        """Have every log cosigned by every other role; tell whether all of them could be."""
        complete = True
        with self._roles() as roles:
            for keeper in roles:
                try:
                    text = keeper.checkpoint()
                    size = parse_checkpoint(text)[0].size
                except Exception as error:  # whatever one role sends, the others go on
                    _log.warning("log_unreachable", origin=keeper.origin, reason=explained(error))
                    complete = False
                    continue
                for witness in roles:
                    if witness is not keeper:
                        complete &= self._cosign(keeper, witness, text, size)
        return complete

    def _cosign(self, keeper: _Role, witness: _Role, text: str, size: int) -> bool:
        pair = (keeper.origin, witness.origin)
        if self._cosigned.get(pair) == size:
            return True
        try:
            seen = witness.last_seen(keeper.origin)
            if seen > size:
                return True  # it has cosigned a newer checkpoint already
            line = witness.cosign(text, keeper.consistency(seen, size))
            keeper.keep(size, line)
        except LogInconsistent as error:
            _log.critical("log_not_append_only", origin=keeper.origin, reason=str(error))
        except ProblemError as error:
            level = "critical" if error.type in {"log-inconsistent", "log-forked"} else "warning"
            getattr(_log, level)("not_cosigned", log=pair[0], witness=pair[1], reason=str(error))
        except Exception as error:  # whatever one role sends, the others go on
            _log.warning("not_cosigned", log=pair[0], witness=pair[1], reason=explained(error))
        else:
            self._cosigned[pair] = size
            return True
        return False

    @contextmanager
    def _roles(self) -> Iterator[list[_Role]]:
        directory = self._trust.directory
        with ExitStack() as stack:
            roles: list[_Role] = [self._local]
            for custodian in directory.with_duty(CUSTODIAN):
                if custodian.url is not None:
                    try:
                        http = stack.enter_context(client(custodian.url, self._tls, _TIMEOUT_S))
                    except Exception as error:  # an address that is none, certificates renewed
                        reason = explained(error)
                        _log.warning("log_unreachable", origin=custodian.name, reason=reason)
                        continue
                    roles.append(_Remote(origin_of(directory.site, custodian.name), http))
            yield roles
