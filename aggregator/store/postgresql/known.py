"""What a process need not ask twice: models by number, generations that are announced, days."""

from __future__ import annotations

import threading
from collections import OrderedDict

from aggregator.store.postgresql.days import Days
from aggregator.store.postgresql.sessions import Server
from aggregator.store.rows import Generation

_MOST_GENERATIONS = 65_536
GenerationName = tuple[int, int, int]
"""Stream, epoch, generation."""


class Known:
    """Shared by the transactions of one process; only what is committed and stays so."""

    def __init__(self, server: Server) -> None:
        self.days = Days(server)
        self._server = server
        self._models: dict[str, int] = {}
        self._generations: OrderedDict[GenerationName, Generation] = OrderedDict()
        self._lock = threading.Lock()

    def model(self, model: str) -> int:
        """Return the number of a model id; a new one gets it at once, whatever becomes of who asks.

        Raises:
            StorageError: it cannot be written.
        """
        with self._lock:
            if (known := self._models.get(model)) is not None:
                return known
        with self._server.alone() as connection:
            connection.execute(
                "INSERT INTO models (model) VALUES (%s) ON CONFLICT DO NOTHING", [model]
            )
            row = connection.execute("SELECT id FROM models WHERE model = %s", [model]).fetchone()
        assert row is not None  # noqa: S101 - it is there by now, and nobody deletes
        with self._lock:
            self._models[model] = int(row[0])
        return int(row[0])

    def generation(self, name: GenerationName) -> Generation | None:
        """Return what is known of a generation; None where it has to be asked for."""
        with self._lock:
            found = self._generations.get(name)
            if found is not None:
                self._generations.move_to_end(name)
            return found

    def note_generation(self, name: GenerationName, generation: Generation) -> None:
        """Remember what a committed announcement fixed for good."""
        with self._lock:
            self._generations[name] = generation
            if len(self._generations) > _MOST_GENERATIONS:
                self._generations.popitem(last=False)
