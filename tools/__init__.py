"""Commands for who works on the project: `python -m tools.NAME`. Nothing here is installed."""
