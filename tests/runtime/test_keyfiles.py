"""A secret comes back only with its passphrase and for its purpose, and can be destroyed."""

from __future__ import annotations

import base64
import os
import pty
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.fsio import FileProblem
from runtime.keyfiles import (
    DEFAULT_COST,
    Cost,
    KeyFileError,
    PassphraseMissing,
    WrongPassphrase,
    get_passphrase,
    is_sealed,
    open_secret,
    read_secret,
    shred,
    write_secret,
)

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
PURPOSE = "officer signing key"
SECRET = bytes(range(96))


def test_a_sealed_secret_comes_back_and_does_not_show(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, SECRET, b"open sesame", PURPOSE)
    assert read_secret(path, b"open sesame", PURPOSE) == SECRET
    assert is_sealed(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert f"purpose: {PURPOSE}\n" in text
    assert f"m={DEFAULT_COST.memory_kib} t={DEFAULT_COST.passes}" in text
    assert base64.b64encode(SECRET).decode() not in text.replace("\n", "")


def test_two_files_of_one_secret_have_nothing_in_common(tmp_path: Path) -> None:
    for name in "ab":
        write_secret(tmp_path / name, SECRET, b"open sesame", PURPOSE, cost=CHEAP)
    first, second = ((tmp_path / name).read_text().splitlines() for name in "ab")
    assert first[4:6] != second[4:6]
    assert first[7] != second[7]


def test_an_unprotected_secret_must_be_asked_for(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", SECRET, None, "board identity")
    assert not is_sealed(tmp_path / "key")
    assert read_secret(tmp_path / "key", None, "board identity") == SECRET
    assert open_secret(tmp_path / "key", "board identity") == SECRET
    with pytest.raises(KeyFileError, match="exchanged"):
        read_secret(tmp_path / "key", b"open sesame", "board identity")
    with pytest.raises(ValueError, match="empty passphrase"):
        write_secret(tmp_path / "other", SECRET, b"", PURPOSE)


def test_wrong_passphrase_wrong_purpose_and_no_passphrase_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, SECRET, b"open sesame", PURPOSE, cost=CHEAP)
    with pytest.raises(WrongPassphrase, match="does not open"):
        read_secret(path, b"open sesam", PURPOSE)
    with pytest.raises(KeyFileError, match=r"another purpose .officer signing key.; .* log key"):
        read_secret(path, b"open sesame", "log key")
    with pytest.raises(PassphraseMissing, match="SEALTRACE_PASSPHRASE"):
        read_secret(path, None, PURPOSE)


def test_nothing_in_a_sealed_file_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, SECRET, b"open sesame", PURPOSE, cost=CHEAP)
    original = path.read_bytes()
    for old, new in [
        (b"purpose: officer", b"purpose: 0fficer"),
        (b"m=64 t=1", b"m=65 t=1"),
        (b"m=64 t=1", b"m=64 t=2"),
        (b"kdf: argon2id m=64 t=1 p=1", b"kdf: none"),
    ]:
        assert old in original
        path.write_bytes(original.replace(old, new))
        purpose = PURPOSE.replace("officer", "0fficer") if b"0f" in new else PURPOSE
        expected = KeyFileError if new == b"kdf: none" else WrongPassphrase
        with pytest.raises(expected):
            read_secret(path, b"open sesame", purpose)


def test_an_absurd_cost_is_refused_before_it_is_paid(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, SECRET, b"open sesame", PURPOSE, cost=CHEAP)
    text = path.read_text()
    for kdf in ("m=9999999 t=1 p=1", "m=64 t=99 p=1", "m=64 t=1 p=0", "m=1 t=1 p=1"):
        path.write_text(text.replace("m=64 t=1 p=1", kdf))
        with pytest.raises(KeyFileError, match="unreasonable"):
            read_secret(path, b"open sesame", PURPOSE)


def test_an_existing_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, b"first", None, PURPOSE)
    with pytest.raises(FileProblem, match="exists already"):
        write_secret(path, b"second", None, PURPOSE)
    assert read_secret(path, None, PURPOSE) == b"first"
    write_secret(path, b"second", None, PURPOSE, overwrite=True)
    assert read_secret(path, None, PURPOSE) == b"second"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=st.binary(max_size=300), passphrase=st.binary(min_size=1, max_size=40))
def test_any_secret_under_any_passphrase(tmp_path: Path, secret: bytes, passphrase: bytes) -> None:
    path = tmp_path / "key"
    write_secret(path, secret, passphrase, PURPOSE, overwrite=True, cost=CHEAP)
    assert read_secret(path, passphrase, PURPOSE) == secret


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_garbage_and_damaged_files_are_clear_errors(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "key"
    write_secret(path, SECRET, b"open sesame", PURPOSE, overwrite=True, cost=CHEAP)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = bytearray(data.draw(st.binary(max_size=400)))
    else:
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(1, 40))] = data.draw(st.binary(max_size=10))
    path.write_bytes(content)
    try:
        secret = read_secret(path, b"open sesame", PURPOSE)
    except KeyFileError:
        return
    assert secret == SECRET


def test_lines_are_told_by_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, SECRET, None, PURPOSE)
    for strange in ("\x0b", "\x1c", "\r", "\u2028"):
        path.write_text(path.read_text().replace("purpose:", f"{strange}purpose:"))
        with pytest.raises(KeyFileError, match="damaged"):
            read_secret(path, None, PURPOSE)


def test_shredding_overwrites_and_removes(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, SECRET, None, PURPOSE)
    with path.open("rb") as still_open:
        before = still_open.read()
        shred(path)
        still_open.seek(0)
        after = still_open.read()
    assert len(after) == len(before)
    assert after != before
    assert not path.exists()
    shred(path)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileProblem, match="cannot destroy"):
        shred(path)


def test_the_passphrase_comes_from_the_file_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b" from the file \r\n")
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", "from the environment")
    assert get_passphrase(file) == b" from the file "
    assert get_passphrase() == b"from the environment"
    write_secret(tmp_path / "key", SECRET, b"from the environment", PURPOSE, cost=CHEAP)
    assert open_secret(tmp_path / "key", PURPOSE) == SECRET
    with pytest.raises(WrongPassphrase):
        open_secret(tmp_path / "key", PURPOSE, file)
    monkeypatch.delenv("SEALTRACE_PASSPHRASE")
    file.write_bytes(b"\n")
    with pytest.raises(PassphraseMissing, match="is empty"):
        get_passphrase(file)
    file.write_bytes(b"short\n")
    assert get_passphrase(file) == b"short"
    with pytest.raises(KeyFileError, match="fewer than 8"):
        get_passphrase(file, new=True)


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALTRACE_PASSPHRASE", raising=False)
    reader, writer = os.pipe()
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(PassphraseMissing, match="no terminal"):
            get_passphrase(what="the log key")
    os.close(writer)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ("long enough\nlong enough\n", 0),
        ("long enuogh\nlong enough\nlong enough\nlong enough\n", 0),
        ("\x04", 5),
    ],
    ids=["twice the same", "a slip, and once more", "Ctrl-D"],
)
def test_a_new_passphrase_is_asked_for_twice(tmp_path: Path, answers: str, code: int) -> None:
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - runs in the child, which has the terminal for its own
        os.environ.pop("SEALTRACE_PASSPHRASE", None)
        ended = 3
        try:
            import sys

            sys.stdin = os.fdopen(0)
            ended = 0 if get_passphrase(what="the log key", new=True) == b"long enough" else 4
        except PassphraseMissing as error:
            ended = 5 if "nothing was done" in str(error) else 6
        finally:
            os._exit(ended)
    shown = b""
    for answer in answers.splitlines(keepends=True):
        while not shown.endswith(b": "):
            shown += os.read(terminal, 1000)
        os.write(terminal, answer.encode())
        shown = b""
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    os.close(terminal)
