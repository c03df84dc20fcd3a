"""`sealtrace footage`: its commands, put together."""

from edge_agent.footage import import_cli
from edge_agent.footage.cli import app

import_cli.register(app)

__all__ = ["app"]
