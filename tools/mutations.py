"""The ways to spoil a module, one place at a time: conditions, comparisons, calls, numbers."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to spoil a module: where, how, and the source that comes of it.

    ``lines`` are those of the statement (of a compound one, of its head) that it is in.
    """

    module: str
    number: int
    line: int
    lines: range
    how: str
    source: str


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Return every mutant of the module at that path (relative to the tree) with that source."""
    tree = ast.parse(source)
    texts = [ast.unparse(statement) for statement in tree.body]
    outermost = {node: n for n, top in enumerate(tree.body) for node in ast.walk(top)}
    found: list[Mutant] = []
    for node, lines in list(_within_functions(tree)):
        place = outermost[node]
        for how, replacement in _ways(node):
            _Replace(node, replacement).visit(tree.body[place])
            spoilt = ast.unparse(ast.fix_missing_locations(tree.body[place]))
            _Replace(replacement, node).visit(tree.body[place])
            new = "\n".join([*texts[:place], spoilt, *texts[place + 1 :]])
            line = getattr(node, "lineno", 0)
            found.append(Mutant(module, len(found), line, lines, how, new))
    return found


def _within_functions(tree: ast.Module) -> Iterator[tuple[ast.AST, range]]:
    """Yield what is computed in functions, and the lines of its statement.

    No docstrings, annotations, or words of an error.
    """
    for function in _functions(tree):
        pending: list[tuple[ast.AST, range]] = [(n, range(0)) for n in reversed(function.body)]
        while pending:
            node, lines = pending.pop()
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.JoinedStr | ast.Lambda):
                continue
            if isinstance(node, ast.stmt):
                lines = _head(node)
            if hasattr(node, "lineno"):
                yield node, lines
            if not isinstance(node, ast.Raise):
                children = list(ast.iter_child_nodes(node))
                if isinstance(node, ast.AnnAssign):
                    children.remove(node.annotation)
                pending.extend((child, lines) for child in reversed(children))


def _head(statement: ast.stmt) -> range:
    """Return the lines of a statement, without what a compound one holds."""
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return range(statement.lineno, max(statement.lineno, last) + 1)


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
