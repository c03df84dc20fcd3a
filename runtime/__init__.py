"""The ground under every role's process: settings, logs, signals, SQLite, MQTT, HTTP, audit log.

Holds no rule of the protocol (see ``protocol``) and no duty of a role.
"""
