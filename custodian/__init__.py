"""Holds one share of every day's keys and releases what an approved query covers, nothing more.

A trust boundary of its own: a custodian runs under another authority on another machine, believes
only signatures, and writes its log before a grant leaves.
"""
