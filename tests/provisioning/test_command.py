"""The root command lists everything at once, loads one thing, and explains what went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from sealtrace.command import FAILURE, INTERRUPTED, OK, SUMMARIES, USAGE, commands, run

SUB_COMMAND = '''
import errno, logging, typer
import structlog
from protocol.errors import ScopeExceeded
from runtime.errors import OperationError

app = typer.Typer()


@app.command()
def works(count: int = 1) -> None:
    """Work."""
    typer.echo(f"worked {count}")


@app.command(epilog="Examples:  sealtrace probe lists   |   "
             "sealtrace probe lists --file boxes.toml")
def lists(file: str = typer.Option("", help="TOML with [[cameras]], as in box.toml.")) -> None:
    """List what is there.

    This paragraph was written in lines of the width that its
    author liked.

      but this one is
      a list
    """


@app.command()
def explained() -> None:
    raise OperationError("the disk is full; free space on it")


@app.command()
def refused() -> None:
    raise ScopeExceeded("the window is not covered")


@app.command()
def absent() -> None:
    open("/nonexistent/file")


@app.command()
def bug() -> None:
    raise ZeroDivisionError("a bug")


@app.command()
def interrupted() -> None:
    raise KeyboardInterrupt


@app.command()
def exits() -> None:
    raise typer.Exit(7)


@app.command()
def warns() -> None:
    structlog.get_logger().warning("careful")
    structlog.get_logger().info("chatter")
'''


@pytest.fixture(autouse=True)
def extra_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with sub-commands of this test's own."""
    info = tmp_path / "fortest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fortest\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent(
            """\
            [sealtrace.commands]
            probe = fortest_probe:app
            lacking = fortest_lacking:app
            elsewhere = fortest_absent_package.cli:app
            broken = fortest_broken:app
            misspelt = protocol.no_such_module:app
            library = fortest_library:app
            """
        )
    )
    (tmp_path / "fortest_probe.py").write_text(SUB_COMMAND)
    (tmp_path / "fortest_lacking.py").write_text("import fortest_absent_library.part\n")
    (tmp_path / "fortest_broken.py").write_text("from protocol.errors import NoSuchName\n")
    (tmp_path / "fortest_library.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SEALTRACE_DEBUG", raising=False)
    return tmp_path


def test_the_overview_has_every_declared_command_with_its_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--help"]) == OK
    shown = capsys.readouterr().out
    for name, summary in SUMMARIES.items():
        assert f"  {name}" in shown
        assert summary in shown
    assert "  probe" in shown
    assert run([]) == USAGE
    assert capsys.readouterr().out == shown


def test_every_declared_command_has_a_summary() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(project.read_text())["project"]["entry-points"]["sealtrace.commands"]
    assert set(declared) == set(SUMMARIES)
    assert set(declared) <= set(commands())


@pytest.mark.processes
def test_the_overview_loads_no_role_and_no_heavy_library() -> None:
    program = (
        "import sys\n"
        "from sealtrace.command import run\n"
        "run(['--help'])\n"
        "heavy = {'typer', 'pydantic', 'numpy', 'cv2', 'onnxruntime', 'fastapi', 'cryptography',\n"
        "         'edge_agent', 'custodian', 'aggregator', 'structlog', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.processes
def test_garbage_is_looked_for_once_a_command_is_loaded_and_not_in_what_was() -> None:
    program = (
        "import atexit, gc, sys\n"
        "sys.argv = ['sealtrace', 'edge', 'run', '--help']\n"
        "from sealtrace.command import main\n"
        "looked = []\n"
        "gc.callbacks.append(lambda phase, _: looked.append(gc.get_freeze_count() > 50_000))\n"
        "atexit.register(lambda: print(gc.isenabled(), {*looked}, file=sys.stderr))\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "True {True}\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == OK
    assert capsys.readouterr().out.startswith("sealtrace 0")


def test_a_sub_command_gets_its_arguments_and_gives_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["probe", "works", "--count", "3"]) == OK
    assert capsys.readouterr().out == "worked 3\n"
    assert run(["probe", "exits"]) == 7
    assert run(["probe", "--help"]) == OK
    assert "Usage: sealtrace probe" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["probe", "works", "--count", "x"], ["probe", "nothing"], ["probe", "works", "-z"]],
)
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str]) -> None:
    assert run(arguments) == USAGE


def test_an_unknown_command_is_met_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agregator"]) == USAGE
    assert "did you mean aggregator?" in capsys.readouterr().err
    assert run(["xyzzy"]) == USAGE
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("explained", "error: the disk is full; free space on it\n"),
        ("refused", "error: the window is not covered\n"),
        (
            "absent",
            "error: /nonexistent/file: No such file or directory; "
            "check the name and the permissions\n",
        ),
    ],
)
def test_a_failure_is_one_line_and_a_traceback_only_on_request(
    command: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(["probe", command]) == FAILURE
    assert capsys.readouterr().err == message
    monkeypatch.setenv("SEALTRACE_DEBUG", "1")
    assert run(["probe", command]) == FAILURE
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith(message)


def test_a_bug_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError):
        run(["probe", "bug"])
    with pytest.raises(ImportError, match="NoSuchName"):
        run(["broken"])
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        run(["misspelt"])


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("lacking", "'fortest_absent_library' is missing"),
        ("elsewhere", "'fortest_absent_package' is missing"),
        ("library", r"libGL\.so\.1"),
    ],
)
def test_what_is_not_installed_is_said_so(
    command: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == FAILURE
    shown = capsys.readouterr().err
    assert "on this machine" in shown
    assert missing.replace("\\", "") in shown
    assert shown.count("\n") == 1


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", "interrupted"]) == INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_logs_of_a_command_go_to_standard_error_from_warning_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["probe", "warns"]) == OK
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "careful" in shown.err
    assert "chatter" not in shown.err


def test_help_wraps_at_the_reader_s_width_and_keeps_brackets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    assert run(["probe", "--help"]) == OK
    assert "completion" not in capsys.readouterr().out
    assert run(["probe", "lists", "--help"]) == OK
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any("in lines of the width that its author liked." in line for line in shown)
    assert any("TOML with [[cameras]], as in box.toml." in line for line in shown)
    assert shown.index("a list") == shown.index("but this one is") + 1
    assert shown[shown.index("Examples:") + 1 :][:2] == [
        "sealtrace probe lists",
        "sealtrace probe lists --file boxes.toml",
    ]


@pytest.mark.processes
def test_a_reader_that_has_gone_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = _program(["--help"], stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (FAILURE, "")


@pytest.mark.processes
def test_a_full_disk_behind_standard_output_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = _program(["--help"], stdout=full.fileno())
    assert done.returncode == FAILURE
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.processes
def test_a_terminal_without_utf_8_gets_plain_letters() -> None:
    done = _program(["caf\u00e9\u2713\u2717"], PYTHONIOENCODING="ascii")
    assert done.returncode == USAGE
    assert "no such command: caf?oknot ok" in done.stderr


def _program(
    arguments: list[str], stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sealtrace.command", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
