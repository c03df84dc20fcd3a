"""Mutation testing: spoil one check at a time and see whether a test notices (`make mutants`).

The security of a custodian is a row of conditions that raise. That all tests pass says little about
a condition that no test depends on; so each is spoilt in turn (negated, dropped, shifted by one),
and the tests of its module run until one fails. What no test notices **survives**, and is
printed. Nothing is written into the tree: a child process imports the spoilt source in place of the
module. Judged mutants are kept in ``.sealtrace/mutants.jsonl`` by the digests of module and tests,
so that a run that was interrupted goes on where it stopped.

    python tools/mutants.py --module protocol/epoch.py --most 50
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".sealtrace" / "mutants.jsonl"
TIMEOUT_S = 300.0
KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed-out"

_P, _C = "tests/protocol", "tests/custodian"
_GRANTS = (
    f"{_C}/test_checks_one_by_one.py",
    f"{_C}/test_sharing.py",
    f"{_C}/test_grant_refusals.py",
    f"{_C}/test_grants_open_exactly_the_scope.py",
    f"{_C}/test_withdrawals.py",
)
TESTS: dict[str, tuple[str, ...]] = {
    "protocol/authorization.py": (
        f"{_P}/test_authorization.py",
        f"{_P}/test_checks_one_by_one.py",
    ),
    "protocol/epoch.py": (
        f"{_P}/test_key_tree_scope.py", f"{_P}/test_parsers_refuse_hostile_input.py",
        f"{_P}/test_vectors_open_and_recompute.py", f"{_C}/test_sharing.py",
    ),
    "protocol/sharing.py": (f"{_C}/test_sharing.py",),
    "protocol/grant.py": (
        f"{_P}/test_checks_one_by_one.py",
        f"{_P}/test_key_tree_scope.py",
        f"{_P}/test_parsers_refuse_hostile_input.py",
        f"{_P}/test_vectors_open_and_recompute.py",
        f"{_C}/test_grants_open_exactly_the_scope.py",
    ),
    "protocol/query.py": (
        f"{_P}/test_checks_one_by_one.py", f"{_P}/test_authorization.py",
        f"{_P}/test_parsers_refuse_hostile_input.py",
    ),
    "protocol/directory.py": (
        f"{_P}/test_checks_one_by_one.py", f"{_P}/test_authorization.py",
        f"{_P}/test_admissions.py", f"{_P}/test_parsers_refuse_hostile_input.py",
    ),
    "protocol/admissions.py": (f"{_P}/test_admissions.py",),
    "protocol/auditlog.py": (
        f"{_P}/test_audit_log.py", f"{_P}/test_audit.py", "tests/runtime/test_auditlog_store.py",
    ),
    "protocol/audit_grants.py": (f"{_P}/test_audit.py",),
    "protocol/audit.py": (f"{_P}/test_audit.py",),
    "custodian/verification.py": (*_GRANTS, f"{_C}/test_day_keys.py"),
    "custodian/grants.py": (*_GRANTS, f"{_C}/test_custodian_http.py"),
    "custodian/clock.py": (f"{_C}/test_clock.py", f"{_C}/test_day_keys.py"),
    "custodian/destruction.py": (f"{_C}/test_clock.py", f"{_C}/test_day_keys.py"),
    "custodian/keystore.py": (f"{_C}/test_checks_one_by_one.py", f"{_C}/test_day_keys.py",
                              f"{_C}/test_clock.py"),
    "custodian/history.py": (f"{_C}/test_sharing.py",),
    "custodian/withdrawals.py": (f"{_C}/test_withdrawals.py", f"{_C}/test_grant_refusals.py"),
}  # fmt: skip

_SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to spoil a module: where, how, and the source that comes of it."""

    module: str
    number: int
    line: int
    how: str
    source: str


def mutants_of(module: str) -> list[Mutant]:
    """Return every mutant of the module at that path."""
    tree = ast.parse((ROOT / module).read_text())
    places = [node for node in _within_functions(tree) if hasattr(node, "lineno")]
    found: list[Mutant] = []
    for place, node in enumerate(places):
        for how in range(len(_ways(copy.deepcopy(node)))):
            spoilt = copy.deepcopy(tree)
            twin = [n for n in _within_functions(spoilt) if hasattr(n, "lineno")][place]
            said, replacement = _ways(twin)[how]
            _Replace(twin, replacement).visit(spoilt)
            source = ast.unparse(ast.fix_missing_locations(spoilt))
            found.append(Mutant(module, len(found), getattr(node, "lineno", 0), said, source))
    return found


def _within_functions(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what is computed in functions: no docstrings, annotations, or words of an error."""
    for function in _functions(tree):
        pending: list[ast.AST] = list(reversed(function.body))
        while pending:
            node = pending.pop()
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.JoinedStr | ast.Lambda):
                continue
            yield node
            if not isinstance(node, ast.Raise):
                children = list(ast.iter_child_nodes(node))
                if isinstance(node, ast.AnnAssign):
                    children.remove(node.annotation)
                pending.extend(reversed(children))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def _ways(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """Return the ways to spoil a node: words, and what takes its place."""
    ways: list[tuple[str, ast.AST]] = []
    if isinstance(node, ast.If):
        if any(isinstance(inner, ast.Raise) for inner in node.body):
            never = ast.If(ast.Constant(False), node.body, node.orelse)
            ways.append((f"never: if {_short(node.test)}", never))
        turned = ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        ways.append((f"negated: if {_short(node.test)}", turned))
    elif isinstance(node, ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        ways.append((f"dropped: {_short(node)}", ast.Pass()))
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            swapped = copy.deepcopy(node)
            swapped.ops[place] = _SWAPS[type(operator)]()
            ways.append((f"{_short(node)} -> {_short(swapped)}", swapped))
    elif isinstance(node, ast.BoolOp):
        other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        swapped_bool = ast.BoolOp(other, node.values)
        ways.append((f"{_short(node)} -> {_short(swapped_bool)}", swapped_bool))
        for place in range(len(node.values)):
            rest = [value for n, value in enumerate(node.values) if n != place]
            left = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
            ways.append((f"{_short(node)} -> {_short(left)}", left))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        ways.append((f"{_short(node)} -> {_short(node.operand)}", node.operand))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        sign: ast.operator = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        turned_sign = ast.BinOp(node.left, sign, node.right)
        ways.append((f"{_short(node)} -> {_short(turned_sign)}", turned_sign))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            ways.append((f"{node.value} -> {not node.value}", ast.Constant(not node.value)))
        elif isinstance(node.value, int):
            ways.append((f"{node.value} -> {node.value + 1}", ast.Constant(node.value + 1)))
    return ways


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:110]


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old = old
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the new node in the place of the old one."""
        return self._new if node is self._old else self.generic_visit(node)


class _Spoilt(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the source of a mutant under the name of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.module.removesuffix(".py").replace("/", ".")
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for the module alone."""
        del path, target
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._mutant.module)

    def get_source(self, fullname: str) -> str:
        """Return the spoilt source."""
        del fullname
        return self._mutant.source

    def get_code(self, fullname: str) -> CodeType:
        """Return the spoilt code."""
        return compile(self.get_source(fullname), self._mutant.module, "exec")


def judge(mutant: Mutant, *, timeout_s: float = TIMEOUT_S) -> str:
    """Run the tests of a mutant in a child process; tell what became of it."""
    child = os.fork()
    if child == 0:
        _be_the_child(mutant)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMED_OUT


def _be_the_child(mutant: Mutant) -> None:
    """Run the tests and end; never returns."""
    code = 1
    try:
        os.setsid()
        limit_s = int(TIMEOUT_S) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))  # whoever its parent is by then
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        import pytest  # noqa: PLC0415

        sys.meta_path.insert(0, _Spoilt(mutant))
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
            options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
            code = int(pytest.main([*options, *TESTS[mutant.module]]))
    finally:
        os._exit(code)


def _digest(module: str) -> str:
    """Return what a judgement depends on: the module and its tests."""
    hashed = hashlib.sha256()
    for path in (module, *TESTS[module]):
        hashed.update((ROOT / path).read_bytes())
    return hashed.hexdigest()[:16]


def _kept() -> dict[tuple[str, str, int], str]:
    if not KEPT.exists():
        return {}
    lines = [json.loads(line) for line in KEPT.read_text().splitlines()]
    return {(line["module"], line["digest"], line["number"]): line["became"] for line in lines}


def _judge_all(chosen: Sequence[tuple[Mutant, str]], *, timeout_s: float, jobs: int) -> None:
    """Judge mutants in ``jobs`` processes, each of which writes down what it finds."""
    KEPT.parent.mkdir(exist_ok=True)
    workers = []
    for worker in range(jobs):
        pid = os.fork()
        if pid == 0:
            for mutant, digest in chosen[worker::jobs]:
                line = {
                    "module": mutant.module,
                    "digest": digest,
                    "number": mutant.number,
                    "became": judge(mutant, timeout_s=timeout_s),
                }
                with KEPT.open("a") as kept:
                    kept.write(json.dumps(line) + "\n")
            os._exit(0)
        workers.append(pid)
    for pid in workers:
        os.waitpid(pid, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge what was asked for; print the survivors. Exit code 1 if there are any."""
    parser = argparse.ArgumentParser(
        description="Spoil one check at a time; print what no test notices."
    )
    parser.add_argument("--module", action="append", choices=sorted(TESTS), help="default: all")
    parser.add_argument(
        "--most", type=int, default=0, help="so many of each module, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds a mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]
    import cryptography.x509  # noqa: F401, PLC0415 - loaded once, for all children
    import fastapi  # noqa: F401, PLC0415
    import hypothesis  # noqa: F401, PLC0415
    import numpy as np  # noqa: F401, PLC0415
    import pymerkle  # noqa: F401, PLC0415

    survivors = 0
    for module in asked.module or sorted(TESTS):
        digest, mutants = _digest(module), mutants_of(module)
        whole = Mutant(module, -1, 0, "unchanged", (ROOT / module).read_text())
        if judge(whole, timeout_s=asked.timeout) != SURVIVED:
            sys.stdout.write(f"{module}: its tests fail as it is (or take too long); not judged\n")
            return 2
        if 0 < asked.most < len(mutants):
            mutants = random.Random(asked.seed).sample(mutants, asked.most)  # noqa: S311
        known = _kept()
        new = [(m, digest) for m in mutants if (module, digest, m.number) not in known]
        _judge_all(new, timeout_s=asked.timeout, jobs=asked.jobs)
        known = _kept()
        became = {m: known.get((module, digest, m.number), TIMED_OUT) for m in mutants}
        alive = sorted((m for m in mutants if became[m] == SURVIVED), key=lambda m: m.line)
        late = sum(became[m] == TIMED_OUT for m in mutants)
        sys.stdout.write(
            f"{module}: {len(mutants)} mutants, {len(mutants) - len(alive) - late} killed, "
            f"{late} timed out, {len(alive)} survived\n"
        )
        for mutant in alive:
            sys.stdout.write(f"  {module}:{mutant.line}: {mutant.how}\n")
        sys.stdout.flush()
        survivors += len(alive)
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
