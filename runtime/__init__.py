"""The ground under every role's process: configuration, logs, signals, SQLite, MQTT, HTTP, audit log store.

Holds no rule of the protocol (see ``protocol``) and no duty of a role.
"""
