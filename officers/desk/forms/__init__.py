"""The forms in which a trace is written down for other programs, one module a kind."""
