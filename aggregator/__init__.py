"""Headquarters: keeps envelopes sealed, runs authorized queries, serves API and officers."""
