"""Signed releases of models and agents (TUF): the repository at headquarters, the box's client."""
