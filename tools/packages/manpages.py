"""Manual pages of the two commands that packages bring, from what the commands say themselves."""

from __future__ import annotations

from sealtrace.command import SUMMARIES
from tools.packages.roles import FILES

_HEAD = '.TH {title} {section} "" Sealtrace "Sealtrace"\n.SH NAME\n{name} \\- {what}\n'


def command_page() -> str:
    """Return sealtrace(1): the sub-commands, what runs them where, and where the rest is said."""
    lines = [
        _HEAD.format(
            title="SEALTRACE",
            section=1,
            name="sealtrace",
            what="contact tracing over city cameras that nobody can open alone",
        ),
        ".SH SYNOPSIS\n.B sealtrace\n.I COMMAND\n.RI [ ARGUMENT ]...\n",
        ".SH DESCRIPTION\nEach kind of machine installs its role alone: a package sealtrace\\-ROLE."
        " Where several are installed, a command runs in the environment of the role that it"
        " belongs to. A command whose role is not here says so.\n.SH COMMANDS\n",
    ]
    lines += [f".TP\n.B {_plain(name)}\n{_plain(what)}\n" for name, what in SUMMARIES.items()]
    lines.append(
        ".PP\n.B sealtrace\n.I COMMAND\n.B \\-\\-help\nexplains one, with examples.\n"
        ".SH ENVIRONMENT\n"
        ".TP\n.B SEALTRACE_ROLE\nThe role whose environment runs the command, whatever it is.\n"
        ".TP\n.B SEALTRACE_PASSPHRASE\nA passphrase, where no file of one is named.\n"
        ".TP\n.B SEALTRACE_DEBUG\nSet to 1, shows where an error arose.\n"
        ".SH EXIT STATUS\n0 done, 1 failed (the reason stands on standard error), 2 wrong command"
        " line, 130 interrupted. Services: 3 this box has been revoked, 4 a database is damaged.\n"
        ".SH FILES\n.TP\n.I /etc/sealtrace/ROLE\nThe role's folder, as the site made it.\n"
        ".TP\n.I /var/lib/sealtrace/ROLE\nWhat the service keeps.\n"
        ".TP\n.I /usr/share/doc/sealtrace\\-common\nThe guides: installer.md, operations.md and"
        " others.\n.SH SEE ALSO\n.BR sealtrace\\-place (8)\n"
    )
    return "".join(lines)


def place_page() -> str:
    """Return sealtrace-place(8), from the usage that the script prints."""
    script = (FILES / "sealtrace-place").read_text()
    usage = script.partition("<<'USAGE'\n")[2].partition("\nUSAGE\n")[0]
    head = _HEAD.format(
        title="SEALTRACE\\-PLACE",
        section=8,
        name="sealtrace\\-place",
        what="put a role's folder where the packaged service looks for it",
    )
    return f"{head}.SH DESCRIPTION\n.nf\n{_plain(usage)}\n.fi\n.SH SEE ALSO\n.BR sealtrace (1)\n"


def _plain(text: str) -> str:
    """Return text as roff reads it: hyphens and backslashes meant, no line a request."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(
        f"\\&{line}" if line.startswith((".", "\\(aq")) else line for line in safe.split("\n")
    )
