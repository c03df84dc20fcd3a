"""What README and docs name exists: links, commands and options, make targets, files, tests."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tools.generate import cli_reference as cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = ROOT / "docs" / "cli"
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MADE = {"build"}
"""Folders that commands make: what is in them depends on what was run."""
TOP_FOLDERS = {
    *(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")),
    ".ci",
} - MADE


@cache
def commands() -> dict[tuple[str, ...], cli.CommandPage]:
    """All pages of commands; half a second to make, so not where tests are only collected."""
    return {page.words: page for pages in cli.all_pages().values() for page in pages}


@cache
def prefixes() -> set[tuple[str, ...]]:
    return {words[:length] for words in commands() for length in range(len(words) + 1)}


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def slug(heading: str) -> str:
    """The anchor that code hosts give a heading."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    found: dict[str, int] = {}
    names = set()
    for line in FENCE.sub("", path.read_text("utf-8")).splitlines():
        if match := re.match(r"#{1,6} (.*)", line):
            base = slug(match[1])
            count = found.get(base, 0)
            found[base] = count + 1
            names.add(base if count == 0 else f"{base}-{count}")
    return names


def code_of(text: str) -> Iterator[str]:
    """Every piece of code: lines of fenced blocks (continued lines joined), and inline code."""
    for match in FENCE.finditer(text):
        yield from match[2].replace("\\\n", " ").splitlines()
    yield from INLINE.findall(FENCE.sub("", text))


def command_lines(text: str) -> Iterator[list[str]]:
    """Every `sealtrace ...` in the code of a document, as words behind `sealtrace`."""
    for line in code_of(text):
        stripped = line.strip().removeprefix("$ ")
        if stripped.startswith("# "):  # as root: of the system, not ours
            continue
        for match in re.finditer(r"(?:^|[\s/=(])sealtrace( [^|>&;#]*|$)", stripped):
            if line.strip().startswith(("error:", "usage:", "Usage:", "[")):
                continue
            try:
                yield shlex.split(match[1].replace("'", ""))
            except ValueError:
                yield match[1].split()


def complaint(words: list[str]) -> str | None:
    """Say what is wrong with a command line, or None."""
    path: tuple[str, ...] = ()
    rest = list(words)
    while rest and (*path, rest[0]) in prefixes():
        path = (*path, rest.pop(0))
    page = commands().get(path)
    options = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    if page is None:
        if path == () and rest and rest[0].isupper():  # `sealtrace COMMAND`
            return None
        if rest and not rest[0].startswith("-") and rest[0] not in {"...", "…"}:
            return f"no command: sealtrace {' '.join((*path, rest[0]))}"
        return None
    known = {name for parameter in page.parameters for name in parameter.names} | {"--help"}
    unknown = [option for option in options if option not in known]
    return f"{page.title} has no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    path = ROOT / name
    broken = []
    for target in LINK.findall(FENCE.sub("", text_of(name))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path if not file else (path.parent / file).resolve()
        inside = there == ROOT or ROOT in there.parents
        if (
            not inside
            or not there.exists()
            or (anchor and there.suffix == ".md" and anchor not in anchors(there))
        ):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_every_command_line_can_be_typed(name: str) -> None:
    wrong = [text for words in command_lines(text_of(name)) if (text := complaint(words))]
    assert wrong == []


def test_every_command_that_messages_name_can_be_typed() -> None:
    wrong = []
    for package in ("protocol", "runtime", "edge_agent", "custodian", "aggregator", "provisioning"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for text in re.findall(r"`sealtrace ([^`\n\"]+)`", path.read_text("utf-8")):
                words = [word for word in text.split() if "{" not in word]
                if told := complaint(words):
                    wrong.append(f"{path.relative_to(ROOT)}: {told}")
    assert wrong == []


def test_a_wrong_command_line_would_be_noticed() -> None:
    assert complaint(["site", "create", "north"])
    assert complaint(["nothing"])
    assert complaint(["custodian", "serve", "--nonsense"])
    assert complaint(["custodian", "serve", "--config", "custodian.toml"]) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = {
        match[1]
        for line in code_of(text_of(name))
        if (match := re.match(r"(?:\$ )?make ([a-z-]+)", line.strip()))
    }
    assert named <= targets


@pytest.mark.parametrize("name", NAMES)
def test_every_file_named_exists(name: str) -> None:
    missing = []
    for code in INLINE.findall(FENCE.sub("", text_of(name))):
        top = code.partition("/")[0]
        if "/" not in code or top not in TOP_FOLDERS or re.search(r"[ *<>{}A-Z(]|\.\.\.", code):
            continue
        if not (ROOT / code.partition("::")[0].rstrip("/")).exists():
            missing.append(code)
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_every_test_named_exists(name: str) -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    functions = {
        match for path in files for match in re.findall(r"def (test_\w+)", path.read_text("utf-8"))
    }
    named = set(re.findall(r"\btest_\w+", text_of(name))) - {"test_"}
    assert named <= {path.stem for path in files} | functions


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    names = {re.split(r"[<>=;\[ ]", requirement)[0] for requirement in wanted} - {project["name"]}
    explained = INLINE.findall(text_of("docs/dependencies.md"))
    assert [name for name in names if name not in explained] == []


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_configuration_are_toml(name: str) -> None:
    for language, body in FENCE.findall(text_of(name)):
        if language == "toml":
            tomllib.loads(body)


@pytest.mark.parametrize("name", NAMES)
def test_no_path_of_somebody_s_machine_is_left(name: str) -> None:
    text = text_of(name)
    assert f"{ROOT}/" not in text
    assert re.findall(r"/(?:home|root|Users)/[/\w]*", text) == []


def test_every_document_can_be_found_from_the_readme() -> None:
    seen, queue = set(), [ROOT / "README.md"]
    while queue:
        path = queue.pop()
        if path in seen or path.suffix != ".md" or not path.is_file():
            continue
        seen.add(path)
        targets = LINK.findall(path.read_text("utf-8"))
        queue += [(path.parent / t.partition("#")[0]).resolve() for t in targets if "://" not in t]
    lost = [name for name in NAMES if ROOT / name not in seen]
    assert lost == []
