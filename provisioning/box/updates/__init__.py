"""Fetch, verify and install releases on a board, and go back when they fail."""
