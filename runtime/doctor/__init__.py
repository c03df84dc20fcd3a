"""What `sealtrace doctor` looks at on any machine; what a role alone has, is in its own package.

Everything here only looks: no file is written, no lock is taken that a service waits for, and no
passphrase is asked for. What is found names no secret.
"""

from runtime.doctor.findings import Findings, Level

__all__ = ["Findings", "Level"]
