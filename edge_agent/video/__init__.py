"""Reads pictures out of files, folders and cameras, with their own times, and believes no decoder.

`edge_agent.sources` is the way in.
"""
