"""Which names the tests use as classes, read from the tests alone.

A capitalised name may be a function's (`Extract([[1, 2]]) == [1]`), and the code under test could answer for it with
a class whose `__eq__` says yes to everything. So a name counts as a class where nothing else would do:

* an attribute of the name, or of what calling it made, that neither functions nor plain data have: `Node(1).next`;
* its use as a type: `isinstance(x, Node)`, `type(x) is Node`, `except Poor`, `class Sub(Node)`;
* arithmetic or order between two of what it made, or arithmetic that makes one: `Money(5) + 1 == Money(6)`.

What a name made is followed through assignments, arithmetic and displays, in the order of the source; not through
parameters, other calls or loops. `==` and `in` between two of its kind are no sign: `Sort([2, 1]) == Sort([1, 2])`.
"""

import _ast
import collections
import datetime
import decimal
import fractions
import re
import types
from collections.abc import Iterator

Kinds = frozenset[str]
"""Names by whose calls a value may have been made."""

_RESULTS = (
    *(str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset, range, memoryview),
    *(collections.Counter, collections.deque, collections.OrderedDict, collections.defaultdict),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
    *(decimal.Decimal, fractions.Fraction, re.Match, types.GeneratorType, types.CoroutineType, BaseException),
)
_FILLING = frozenset({"add", "append", "appendleft", "extend", "insert"})
"""Methods of plain data by which tests fill an object before they look at it, as nobody does with a result."""
_OF_RESULTS = frozenset().union(*map(dir, _RESULTS)) - _FILLING
_OF_FUNCTIONS = frozenset({"cache_clear", "cache_info", "cache_parameters", "func", "args", "keywords"})
_TYPE_CHECKS = frozenset({"isinstance", "issubclass", "assertIsInstance", "assertNotIsInstance", "assertRaises"})
_ORDER = (_ast.Lt, _ast.LtE, _ast.Gt, _ast.GtE)
_SCOPES = (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.Lambda)
_NONE: Kinds = frozenset()


def children(node: _ast.AST) -> Iterator[_ast.AST]:
    """The nodes right below, in the order of the source."""
    for field in node._fields:
        value = getattr(node, field, None)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, _ast.AST):
                yield each


def class_names(tree: _ast.AST, candidates: Kinds) -> Kinds:
    """Those of the candidates that the tests use as classes."""
    reader = _Reader(candidates)
    reader.visit(tree)
    return frozenset(reader.found)


class _Reader:
    """Walks the tests once, and knows at each point which names made what a variable holds."""

    def __init__(self, candidates: Kinds) -> None:
        self._candidates = candidates
        self._held: dict[str, Kinds] = {}
        self.found: set[str] = set()

    def visit(self, node: _ast.AST) -> None:
        """Note what `node` says of the candidates."""
        if isinstance(node, _SCOPES):
            outside = dict(self._held)
            self._visit_children(node)
            self._held = outside | {name: kinds for name, kinds in self._held.items() if "." in name}
            return
        self._visit_children(node)
        if isinstance(node, _ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, _ast.AnnAssign | _ast.NamedExpr) and node.value is not None:
            self._bind(node.target, node.value)
        elif isinstance(node, _ast.Attribute):
            self._note_attribute(node)
        elif isinstance(node, _ast.BinOp):
            self.found |= self._kinds(node.left) & self._kinds(node.right)
        elif isinstance(node, _ast.AugAssign):
            self.found |= self._kinds(node.target) & self._kinds(node.value)
        elif isinstance(node, _ast.Compare):
            self._note_comparison(node)
        else:
            self.found |= self._types_named(node)

    def _visit_children(self, node: _ast.AST) -> None:
        for child in children(node):
            self.visit(child)

    def _bind(self, target: _ast.AST, value: _ast.expr) -> None:
        if isinstance(target, _ast.Tuple) and isinstance(value, _ast.Tuple) and len(target.elts) == len(value.elts):
            for each, part in zip(target.elts, value.elts, strict=True):
                self._bind(each, part)
        elif (key := _variable(target)) is not None:
            self._held[key] = self._kinds(value)

    def _kinds(self, node: _ast.AST) -> Kinds:
        if isinstance(node, _ast.Call):
            return self._named([node.func])
        if isinstance(node, _ast.BinOp):
            return self._kinds(node.left) | self._kinds(node.right)
        if isinstance(node, _ast.UnaryOp) and not isinstance(node.op, _ast.Not):
            return self._kinds(node.operand)
        if isinstance(node, _ast.NamedExpr):
            return self._kinds(node.value)
        if isinstance(node, _ast.List | _ast.Tuple | _ast.Set):
            return _NONE.union(*map(self._kinds, node.elts))
        return self._held.get(_variable(node) or "", _NONE)

    def _named(self, nodes: list[_ast.expr]) -> Kinds:
        """The candidates among bare names, also in a tuple."""
        flat = [part for node in nodes for part in (node.elts if isinstance(node, _ast.Tuple) else [node])]
        return frozenset(each.id for each in flat if isinstance(each, _ast.Name)) & self._candidates

    def _note_attribute(self, node: _ast.Attribute) -> None:
        if node.attr.startswith("__"):
            return
        if node.attr not in _OF_RESULTS:
            self.found |= self._kinds(node.value)
        if node.attr not in _OF_FUNCTIONS:
            self.found |= self._named([node.value])

    def _note_comparison(self, node: _ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for operation, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if isinstance(operation, _ORDER) or isinstance(left, _ast.BinOp) or isinstance(right, _ast.BinOp):
                self.found |= self._kinds(left) & self._kinds(right)
        if any(_asks_for_type(each) for each in operands):
            self.found |= self._named(operands)

    def _types_named(self, node: _ast.AST) -> Kinds:
        if isinstance(node, _ast.Call):
            function = node.func
            name = function.id if isinstance(function, _ast.Name) else getattr(function, "attr", "")
            return self._named(node.args) if name in _TYPE_CHECKS else _NONE
        if isinstance(node, _ast.ExceptHandler) and node.type is not None:
            return self._named([node.type])
        return self._named(node.bases) if isinstance(node, _ast.ClassDef) else _NONE


def _variable(node: _ast.AST) -> str | None:
    """A variable, or an attribute of one as in `self.stack`."""
    if isinstance(node, _ast.Name):
        return node.id
    if isinstance(node, _ast.Attribute) and isinstance(node.value, _ast.Name):
        return f"{node.value.id}.{node.attr}"
    return None


def _asks_for_type(node: _ast.AST) -> bool:
    if isinstance(node, _ast.Attribute):
        return node.attr == "__class__"
    return isinstance(node, _ast.Call) and isinstance(node.func, _ast.Name) and node.func.id == "type"
