"""Keep a box at its group's version; go back by itself when health does not return.

What is under way is written down before it is done (`state.Step`), so that after a kill or a power
cut at any point the next run goes on, or undoes: fetching is started again, a switch is finished
and its health awaited, and a version that took the box down three times is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from protocol.releases import Kind
from provisioning.box.updates import install
from provisioning.box.updates.client import Offer, ReleaseClient, now_utc
from provisioning.box.updates.health import restart_and_wait
from provisioning.box.updates.slots import Slots
from provisioning.box.updates.state import Report, State, StateFile, Step
from provisioning.box.updates.update_config import UpdatesConfig
from provisioning.formats.releases.errors import ReleaseUnusable, Result, UpdateError
from runtime.errors import OperationError
from runtime.fsio import read_file

MAX_ATTEMPTS = 3
_MAX_ROOT_BYTES = 512_000
_WORST: tuple[Result, ...] = ("unhealthy", "rolled-back", "unusable", "updated", "held-back")
_log = structlog.get_logger()


@dataclass(slots=True)
class _Outcome:
    """What has come of this run so far."""

    wanted: dict[Kind, str | None] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def add(self, result: Result, message: str) -> None:
        self.results.append(result)
        self.messages.append(message)

    @property
    def worst(self) -> Result:
        return next((result for result in _WORST if result in self.results), "current")


class BoxUpdater:
    """One run of the updates of one box."""

    def __init__(
        self,
        config: UpdatesConfig,
        *,
        now: Callable[[], datetime] = now_utc,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """Prepare.

        Args:
            config: of the box.
            now: its clock.
            on_step: told the name of each step just before the next begins, for a progress line.
        """
        self._config = config
        self._now = now
        self._on_step = on_step
        self._file = StateFile(config.state_dir)
        self._slots: dict[Kind, Slots] = {
            "models": Slots(config.bundles),
            "agent": Slots(config.agents),
        }
        self._state = State()

    def run(self, *, retry: bool = False) -> Report:
        """Finish what was under way, look for releases, install what is wanted.

        Args:
            retry: try versions again that failed here before.

        Returns:
            What came of it; it is in the state file as well.

        Raises:
            UpdateError: it could not be looked for, or not be believed; in the state file as well.
            OperationError: a file or the disk.
        """
        with self._file.locked():
            self._state = self._file.read()
            outcome = _Outcome(wanted=dict(self._state.report.wanted))
            try:
                self._resume(outcome)
                if retry and self._state.bad:
                    self._keep(self._state.model_copy(update={"bad": {}}))
                self._look(outcome)
            except OperationError as error:
                code: Result = error.code if isinstance(error, UpdateError) else "failed"
                with suppress(OperationError):  # the error itself matters more
                    self._report(code, "; ".join([*outcome.messages, str(error)]), outcome)
                raise
            return self._report(outcome.worst, "; ".join(outcome.messages), outcome)

    def check(self) -> list[str]:
        """Look for releases and say what `run` would do; nothing is installed.

        Raises:
            UpdateError: see `run`.
        """
        with self._file.locked():
            self._state = self._file.read()
            lines = []
            if (step := self._state.step) is not None:
                lines.append(f"would finish {step.phase} {step.kind} {step.version}")
            with self._looking() as client:
                for kind, wanted in self._refreshed(client).items():
                    lines.append(self._outlook(client, kind, wanted))
            return lines

    def _outlook(self, client: ReleaseClient, kind: Kind, wanted: str | None) -> str:
        running = self._slots[kind].current
        if wanted is None or wanted == running:
            return f"{kind} {running or 'not installed'}: nothing to do"
        if (reason := self._state.bad.get(kind, {}).get(wanted)) is not None:
            return f"holds back {kind} {wanted}, which failed here: {reason}"
        length = client.offer(kind, wanted).target.length
        return f"would install {kind} {wanted} ({length} bytes); runs: {running or 'none'}"

    def _look(self, outcome: _Outcome) -> None:
        with self._looking() as client:
            for kind, wanted in self._refreshed(client).items():
                outcome.wanted[kind] = wanted
                if wanted is None or wanted == self._slots[kind].current:
                    continue
                if (reason := self._state.bad.get(kind, {}).get(wanted)) is not None:
                    outcome.add("held-back", f"{kind} {wanted} failed here before: {reason}")
                    continue
                self._bring(client, kind, wanted, outcome)
        for kind in self._config.kinds:
            self._slots[kind].tidy({self._slots[kind].current, self._state.previous.get(kind)})

    def _refreshed(self, client: ReleaseClient) -> dict[Kind, str | None]:
        """Return what this box's group is to run, from metadata that has just been verified."""
        seen = self._state.seen.to_seen() if self._state.seen else None
        self._keep(self._state.with_seen(client.refresh(seen, self._now())))
        self._on_step("refreshed")
        rollout = client.rollout()
        return {kind: rollout.version(kind, self._config.group) for kind in self._config.kinds}

    @contextmanager
    def _looking(self) -> Iterator[ReleaseClient]:
        config = self._config
        root = read_file(config.root, _MAX_ROOT_BYTES)
        client = ReleaseClient(config.repository, root, config.state_dir, context=config.context())
        try:
            yield client
        finally:
            client.close()

    def _bring(self, client: ReleaseClient, kind: Kind, version: str, outcome: _Outcome) -> None:
        """Fetch, install and start one version."""
        slots = self._slots[kind]
        step = Step(kind=kind, version=version, previous=slots.current, phase="fetching")
        self._keep_step(step)
        self._on_step(f"fetching {kind}")
        try:
            self._install(client, client.offer(kind, version))
        except ReleaseUnusable as error:
            _log.error("release_unusable", kind=kind, version=version, reason=str(error))
            self._keep(
                self._state.with_bad(kind, version, str(error)).model_copy(update={"step": None})
            )
            outcome.add("unusable", str(error))
            return
        self._on_step(f"installed {kind}")
        self._start(step.model_copy(update={"phase": "switching"}), outcome)

    def _install(self, client: ReleaseClient, offer: Offer) -> None:
        slots, sha256 = self._slots[offer.kind], offer.target.hashes["sha256"]
        if slots.has(offer.version, sha256):
            return
        limit = self._config.max_package_mb << 20
        install.require_space(slots, offer, max_bytes=limit)
        archive = client.download(offer)
        self._on_step(f"downloaded {offer.kind}")
        if offer.kind == "models":
            install.install_models(slots, offer, archive, self._config.model_keys, sha256)
        else:
            python = self._config.python
            install.install_agent(slots, offer, archive, python, sha256, max_bytes=limit)
        archive.unlink()

    def _start(self, step: Step, outcome: _Outcome) -> None:
        """Let the new version run, and keep it if health comes back."""
        slots = self._slots[step.kind]
        step = step.model_copy(update={"attempts": step.attempts + 1})
        self._keep_step(step)
        self._on_step(f"switching {step.kind}")
        slots.switch(step.version)
        self._on_step(f"switched {step.kind}")
        problem = restart_and_wait(self._config.service)
        self._on_step(f"started {step.kind}")
        if problem is not None:
            self._undo(step.model_copy(update={"reason": problem}), outcome)
            return
        previous = self._state.previous | {step.kind: step.previous}
        self._keep(self._state.model_copy(update={"previous": previous, "step": None}))
        self._on_step(f"kept {step.kind}")
        _log.info("release_installed", kind=step.kind, version=step.version)
        outcome.add("updated", f"{step.kind} {step.version} runs and is well")

    def _undo(self, step: Step, outcome: _Outcome) -> None:
        """Go back to the version before, and never try this one again if that one is well."""
        slots = self._slots[step.kind]
        what = f"{step.kind} {step.version}"
        if step.previous is None and step.kind == "models":
            self._keep_step(None)
            _log.error("first_models_not_well", version=step.version, reason=step.reason)
            outcome.add("unhealthy", f"{what} stays, as there were none before: {step.reason}")
            return
        step = step.model_copy(update={"phase": "rolling-back"})
        self._keep_step(step)
        self._on_step(f"rolling-back {step.kind}")
        slots.switch(step.previous)
        self._on_step(f"rolled-back {step.kind}")
        problem = restart_and_wait(self._config.service)
        self._on_step(f"restarted {step.kind}")
        state = self._state.model_copy(update={"step": None})
        before = step.previous or "what the box came with"
        message = f"{what} was rolled back to {before}: {step.reason}"
        if problem is None:
            self._keep(state.with_bad(step.kind, step.version, step.reason))
            outcome.add("rolled-back", message)
        else:  # then the version is not to blame: it will be tried again
            self._keep(state)
            outcome.add("unhealthy", f"{message}; but {before} is not well either: {problem}")
        self._on_step(f"undone {step.kind}")
        _log.error("release_rolled_back", kind=step.kind, version=step.version, reason=step.reason)

    def _resume(self, outcome: _Outcome) -> None:
        """Finish or undo what a kill or a power cut left."""
        for slots in self._slots.values():
            slots.clear_incoming()
        step = self._state.step
        if step is None:
            return
        _log.warning("update_resumed", kind=step.kind, version=step.version, phase=step.phase)
        if step.phase == "fetching":
            self._keep_step(None)
        elif step.phase == "rolling-back":
            self._undo(step, outcome)
        elif step.attempts >= MAX_ATTEMPTS:
            reason = f"the box went down {step.attempts} times while starting it"
            self._undo(step.model_copy(update={"reason": reason}), outcome)
        else:
            self._start(step, outcome)

    def _keep_step(self, step: Step | None) -> None:
        self._keep(self._state.model_copy(update={"step": step}))

    def _keep(self, state: State) -> None:
        self._file.write(state)
        self._state = state

    def _report(self, result: Result, message: str, outcome: _Outcome) -> Report:
        running: dict[Kind, str | None] = {}
        for kind in self._config.kinds:
            running[kind] = self._slots[kind].current
        report = Report(
            result=result,
            message=message,
            at=self._now(),
            running=running,
            wanted=outcome.wanted,
        )
        self._keep(self._state.model_copy(update={"report": report}))
        return report
