"""The mutants of a source: each is the source with one operator, comparison or constant changed.

Leaves out what no test should pin: texts, annotations, what is raised and its words, defaults of dataclasses' text.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
SWAPPED = {
    "min": "max", "max": "min", "sum": "mean", "mean": "sum", "any": "all", "all": "any", "sqrt": "square",
    "cos": "sin", "sin": "cos", "argmin": "argmax", "argmax": "argmin", "zeros": "ones", "ones": "zeros",
    "minimum": "maximum", "maximum": "minimum", "abs": "negative", "floor": "ceil", "ceil": "floor",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A changed source.

    Attributes:
        line: of the change.
        what: the change, in words.
        tree: the changed source.
    """

    line: int
    what: str
    tree: ast.Module


def mutants(source: str) -> list[Mutant]:
    """All mutants of a source, in its order."""
    tree = ast.parse(source)
    found = []
    left_out = _left_out(tree)
    for number, node in enumerate(ast.walk(tree)):
        if number in left_out:
            continue
        if not _changes(node):
            continue
        other = copy.deepcopy(tree)
        twin = next(n for i, n in enumerate(ast.walk(other)) if i == number)
        before = ast.unparse(twin)
        _change(twin)
        what = f"{before}  ->  {ast.unparse(twin)}"
        found.append(Mutant(node.lineno, what, ast.fix_missing_locations(other)))  # type: ignore[attr-defined]
    return sorted(found, key=lambda mutant: mutant.line)


def _left_out(tree: ast.Module) -> set[int]:
    """Places, in the order of ast.walk, that are not changed."""
    inside = {id(n) for top in _unpinned(tree) for n in ast.walk(top)}
    return {i for i, n in enumerate(ast.walk(tree)) if id(n) in inside}


def _unpinned(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
            yield node
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            yield node.annotation
        if isinstance(node, ast.FunctionDef):
            yield from (*node.decorator_list, *filter(None, [node.returns]))
        if isinstance(node, ast.ClassDef):
            yield from node.decorator_list


def _changes(node: ast.AST) -> bool:
    """Whether a node can be changed."""
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return type(node.op) in BINARY
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in COMPARED
    if isinstance(node, ast.BoolOp):
        return True
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.Not | ast.Invert)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    if isinstance(node, ast.Attribute):
        return node.attr in SWAPPED
    return False


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        node.op = BINARY[type(node.op)]()
    elif isinstance(node, ast.Compare):
        node.ops[0] = COMPARED[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else _nothing(node)
    elif isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1  # type: ignore[operator]
    elif isinstance(node, ast.Attribute):
        node.attr = SWAPPED[node.attr]


def _nothing(node: ast.UnaryOp) -> ast.unaryop:
    """Makes `not x` and `~x` mean x: as the double negation that bool and bit patterns allow."""
    node.operand = ast.UnaryOp(node.op, node.operand)
    return node.op
