"""Finds the desk that seals for an importer: the running agent's, or one of its own.

Where no agent runs, the importer does the agent's part for as long as it lasts: it takes the state
folder's lock, opens the outbox, speaks to the broker, and delivers what it sealed; it watches no
camera. So an import station needs no service, and a box need not be stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edge_agent.agent import Agent
from edge_agent.config import BoxConfig
from edge_agent.footage.desk import ImportDesk
from edge_agent.footage.handover import AgentDesk, Desk, NoAgent
from runtime.errors import OperationError
from runtime.fsio import private_folder
from runtime.lifecycle import FolderInUse, FolderLock, Stop, signals

_BEGINS_S = 20.0
_AGAIN_S = 0.2

Errand = Callable[[Desk, Stop], None]


def at_a_desk(config: BoxConfig, errand: Errand) -> int | None:
    """Do an errand at the desk of a box; Ctrl-C and SIGTERM set the stop that it is given.

    Args:
        config: of the box.
        errand: what is done there.

    Returns:
        How many messages headquarters has not confirmed yet; None where an agent runs, whose
        business that is.

    Raises:
        NoAgent: something else than an agent, or an older one, works in the state folder.
        OperationError: what is installed cannot be used, or what the errand raised.
    """
    stop = Stop()
    failed: list[OperationError] = []

    def do(desk: ImportDesk) -> None:
        try:
            errand(desk, stop)
        except OperationError as error:
            failed.append(error)
            stop.set(str(error), exit_code=1)

    agent = None if _agent_runs(config) else _agent(config, stop, do)
    if agent is None:
        with signals(stop), _desk_of_the_agent(config, stop) as theirs:
            errand(theirs, stop)
        return None
    agent.run()
    if failed:
        raise failed[0]
    if stop.exit_code:
        raise OperationError(f"the import ended early: {stop.reason}")
    return agent.undelivered


def _agent(config: BoxConfig, stop: Stop, do: Callable[[ImportDesk], None]) -> Agent | None:
    """Make an agent that watches nothing; None when another one has just begun.

    The broker is to forget it when it goes: all that it needs is retained, and Mosquitto 2.0.11
    dies of a session that was away during a SIGHUP and has come twice since (docs/operations.md).
    """
    without = {"cameras": (), "mqtt": config.mqtt.kept_for(0)}
    try:
        return Agent(config.model_copy(update=without), stop, errand=do)
    except FolderInUse:
        return None


def _desk_of_the_agent(config: BoxConfig, stop: Stop) -> AgentDesk:
    """Return the running agent's desk; one that has just begun takes some seconds to open it.

    Raises:
        NoAgent: it does not.
    """
    ends_s = time.monotonic() + _BEGINS_S
    while True:
        try:
            return AgentDesk(config.state_dir)
        except NoAgent:
            if time.monotonic() >= ends_s or stop.wait(_AGAIN_S):
                raise


def _agent_runs(config: BoxConfig) -> bool:
    """Tell whether another process works in the state folder."""
    try:
        FolderLock(private_folder(config.state_dir)).close()
    except FolderInUse:
        return True
    return False
