"""Conditions on rows: a small language of comparisons, read by Python's parser and never run.

``flags == 0 and 15 < snr < 25``, ``flags & NOVEL_SPECTRUM == 0``, ``isfinite(parallax)``,
``source_id in (5, 7)``, ``flag_boundary == "00000000"``, ``abs(teff - 5772) < 3 * teff_error``.
Operators bind as in Python. A missing number (NaN) fulfils no comparison but ``!=``.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import UsageError
from distcnn.schema import Flag, Status

MOST_LETTERS = 2000
"""A longer condition is refused: a list of that many stars belongs into a join."""
MOST_LEVELS = 200
"""Most levels that a condition may be nested."""
WORDS: Mapping[str, int] = {
    **{flag.name: int(flag) for flag in Flag if flag.name},
    **{status.name: int(status) for status in Status},
}
"""Names of flags and of states, which stand for their numbers."""
FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "isfinite": np.isfinite,
    "isnan": np.isnan,
    "log10": np.log10,
    "sqrt": np.sqrt,
}
_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_LANGUAGE = (
    'columns, numbers, "texts", + - * / %, & | ^ ~, < <= > >= == !=, in (a, b), and or not, '
    f"{', '.join(FUNCTIONS)}, and names of flags"
)


@dataclass(frozen=True)
class Expression:
    """A condition that has been read and tried; made by ``parse``."""

    text: str
    """On one line, in ASCII."""
    names: tuple[str, ...]
    """The columns that it needs, as they come."""
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str, columns: Mapping[str, str]) -> "Expression":
        """Read a condition on ``columns`` (name: numpy type).

        Raises
        ------
        UsageError : it is no condition, has something that is not of the language, an unknown
            column (the nearest are named), or compares a text with a number.
        """
        try:
            tree = _read(text)
            if _levels(tree) > MOST_LEVELS:
                raise RecursionError
            return cls._tried(text, tree, columns)
        except RecursionError:
            raise UsageError(f"{text[:200]!r} is nested too deep") from None

    @classmethod
    def _tried(cls, text: str, tree: ast.expr, columns: Mapping[str, str]) -> "Expression":
        found = _names_in(tree)
        names = [name for name in found if name in columns or name not in {*WORDS, *FUNCTIONS}]
        for name in names:
            if name not in columns:
                raise unknown_column(name, columns, f" in {text!r}")
        made = cls(" ".join(text.split()), tuple(dict.fromkeys(names)), tree)
        made(_one_row(made.names, columns))
        if not made.text.isascii():
            raise UsageError(f"{made.text!r} has other letters than ASCII")
        return made

    @property
    def parts(self) -> "list[Expression]":
        """The conditions that ``and`` joins; itself alone if it is one."""
        if not isinstance(self._tree, ast.BoolOp) or not isinstance(self._tree.op, ast.And):
            return [self]
        names = {*self.names}
        return [
            Expression(ast.unparse(one), tuple(n for n in _names_in(one) if n in names), one)
            for one in self._tree.values
        ]

    def __call__(self, values: Mapping[str, Array]) -> Array:
        """Which rows fulfil it [N], from the columns ``names`` [N]."""
        with np.errstate(all="ignore"):
            try:
                kept = np.asarray(_value(self._tree, values))
            except (TypeError, ArithmeticError) as error:
                bits = any(sign in self.text for sign in "&|^~")
                raise UsageError(
                    f"{self.text!r} cannot be computed ({type(error).__name__})",
                    expected="whole numbers, such as flags, on both sides of &, |, ^ and after ~"
                    if bits
                    else "numbers",
                    cure="Comparisons are joined by and, or; & binds more strongly than they do."
                    if bits
                    else "",
                ) from None
        if kept.dtype != bool:
            raise UsageError(
                f"{self.text!r} is no condition", expected='a comparison, such as "flags == 0"'
            )
        rows = len(next(iter(values.values()))) if values else 1
        return np.broadcast_to(kept, (rows,))


def _levels(tree: ast.expr) -> int:
    """How deep a tree is; whatever depth Python itself would follow."""
    level: list[ast.AST] = [tree]
    count = 0
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        count += 1
    return count


def _names_in(tree: ast.expr) -> list[str]:
    """Names in the order of the text."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(node.id for node in sorted(nodes, key=lambda node: node.col_offset)))


def _read(text: str) -> ast.expr:
    try:
        if len(text) > MOST_LETTERS:
            raise ValueError(f"{len(text)} letters, {MOST_LETTERS} at most")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return ast.parse(" ".join(text.split("\n")).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        cure = "Two values are compared by ==." if "==" not in text and "=" in text else ""
        if re.search(r"\b(AND|OR|NOT|IN|And|Or|Not)\b|&&|\|\|", text):
            cure = "Write and, or, not, in with small letters."
        raise UsageError(
            f"{text[:200]!r} cannot be read ({reason})",
            expected='a condition, such as "flags == 0 and snr > 25"',
            cure=cure,
        ) from None


def unknown_column(name: str, columns: Mapping[str, str], where: str = "") -> UsageError:
    """The error that names the columns there are, and the nearest ones."""
    by_small = {one.lower(): one for one in (*columns, *WORDS)}
    near = [by_small[one] for one in get_close_matches(name.lower(), by_small, n=3)]
    return UsageError(
        f"there is no column {name!r}{where}",
        expected=f"one of {', '.join(columns)}",
        cure=f"Did you mean {' or '.join(map(repr, near))}?" if near else "",
    )


def _one_row(names: tuple[str, ...], columns: Mapping[str, str]) -> dict[str, Array]:
    return {name: np.ones(1, columns[name]) for name in names}


def _value(node: ast.expr, values: Mapping[str, Array]) -> Any:
    match node:
        case ast.Name(id=name) if name in values:
            return _column(values[name])
        case ast.Name(id=name) if name in WORDS:
            return WORDS[name]
        case ast.Constant(value=value):
            return _constant(value)
        case ast.Compare():
            return _compared(node, values)
        case ast.Call(func=ast.Name(id=name), args=[one], keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](_number(one, values))
    return _joined(node, values)


def _joined(node: ast.expr, values: Mapping[str, Array]) -> Any:
    """Of one or more operands of one operator."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return join.reduce(np.broadcast_arrays(*(_truth(part, values) for part in parts)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~np.asarray(_truth(operand, values))
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_number(operand, values))
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_number(left, values), _number(right, values))
    raise UsageError(f"{ast.unparse(node)!r} is not understood", expected=_LANGUAGE)


def _column(values: Array) -> Array:
    # Of the widest kind, so that no number of a condition is too large for a column.
    return values.astype("i8") if values.dtype.kind in "iu" else values


def _constant(value: object) -> Any:
    match value:
        case bool():
            return np.bool_(value)
        case int() if abs(value) < 2**63:
            return value
        case float():
            return value
        case str() if value.isascii():
            return np.bytes_(value)
    raise UsageError(
        f"{value!r} is not understood", expected="a number, or a text of ASCII letters"
    )


def _truth(node: ast.expr, values: Mapping[str, Array]) -> Any:
    found = _value(node, values)
    if np.asarray(found).dtype != bool:
        raise UsageError(
            f"{ast.unparse(node)!r} is neither true nor false",
            expected="a comparison on both sides of and, or; after not",
        )
    return found


def _number(node: ast.expr, values: Mapping[str, Array]) -> Any:
    found = _value(node, values)
    if _is_text(found):
        raise UsageError(f"{ast.unparse(node)!r} is a text", expected="a number there")
    return found


def _is_text(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "S"


def _compared(node: ast.Compare, values: Mapping[str, Array]) -> Any:
    kept: Any = True
    left = _value(node.left, values)
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            found = _is_member(node.left, left, comparator, values)
            kept = kept & (found if isinstance(op, ast.In) else ~found)
            continue
        right = _value(comparator, values)
        _check_comparable(node, op, left, right)
        kept = kept & np.asarray(_OPERATORS[type(op)](left, right))
        left = right
    return kept


def _check_comparable(node: ast.Compare, op: ast.cmpop, left: Any, right: Any) -> None:
    texts = _is_text(left), _is_text(right)
    if texts[0] != texts[1]:
        raise UsageError(f"{ast.unparse(node)!r} compares a text with a number")
    if type(op) not in _OPERATORS or (all(texts) and not isinstance(op, ast.Eq | ast.NotEq)):
        raise UsageError(f"{ast.unparse(node)!r} is not understood", expected=_LANGUAGE)


def _is_member(node: ast.expr, value: Any, of: ast.expr, values: Mapping[str, Array]) -> Array:
    if not isinstance(of, ast.Tuple | ast.List | ast.Set) or not of.elts:
        raise UsageError(
            f"{ast.unparse(of)!r} is no list", expected='such as "source_id in (5, 7)"'
        )
    members = [_value(member, values) for member in of.elts]
    if any(np.ndim(one) or _is_text(one) != _is_text(value) for one in members):
        expected = "texts" if _is_text(value) else "numbers"
        raise UsageError(f"{ast.unparse(of)!r} next to {ast.unparse(node)!r}", expected=expected)
    return np.isin(value, np.array(members))
