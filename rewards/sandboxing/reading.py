"""What the source of tests says, read without running it: its statements, its tests, the names that it asks for."""

import _ast
import builtins
import importlib
import re
import symtable
import sys
import types

from rewards.sandboxing.classes import children

_PARSE_ONLY = 0x400
_LASTING = re.compile(
    r"\b(builtins|sys|os|patch|setattr|delattr|seed|signal|threading|globals|mock|__(?!name|eq|init|main)\w+__)\b"
)
"""Words of tests that may change the process they run in."""
_UNWANTED = frozenset({"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter"})
"""Modules that do something when they are imported."""
_CHECKERS = frozenset(
    [
        "abs",
        "all",
        "any",
        "bool",
        "callable",
        "dict",
        "getattr",
        "hasattr",
        "isinstance",
        "issubclass",
        "len",
        "list",
        "print",
        "repr",
        "round",
        "set",
        "sorted",
        "str",
        "tuple",
        "type",
        "vars",
    ]
)
"""Built-ins that a test applies to a result: the code's own are used only where the tests use nothing else."""
_FUNCTIONS = (_ast.FunctionDef, _ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, _ast.ClassDef, _ast.Lambda)
UNDER_TEST = frozenset({"solution", "main", "submission", "candidate", "your_module"})
"""Modules from which tests import what the code under test defines, as if it were a file."""


def parse(source: str) -> _ast.Module:
    """The tree of the tests, with tests that stand under `if __name__ == "__main__":` among the other statements."""
    tree = compile(source, "tests", "exec", _PARSE_ONLY, dont_inherit=True)
    if "__main__" not in source:
        return tree
    asserting = asserting_functions(tree)
    body: list[_ast.stmt] = []
    for statement in tree.body:
        has_tests = isinstance(statement, _ast.If) and any(is_test(each, asserting) for each in statement.body)
        body += statement.body if has_tests and _is_main_guard(statement) else [statement]
    tree.body = body
    return tree


def _is_main_guard(statement: _ast.stmt) -> bool:
    if not isinstance(statement, _ast.If) or not isinstance(statement.test, _ast.Compare):
        return False
    sides = [statement.test.left, *statement.test.comparators]
    named = any(isinstance(each, _ast.Name) and each.id == "__name__" for each in sides)
    return named and isinstance(statement.test.ops[0], _ast.Eq) and not statement.orelse


def take_imports(tree: _ast.Module) -> dict[str, str]:
    """Take the imports from the code under test out of the statements; its names by those that the tests give them."""
    taken: dict[str, str] = {}
    body: list[_ast.stmt] = []
    for statement in tree.body:
        if isinstance(statement, _ast.ImportFrom) and statement.module in UNDER_TEST and not statement.level:
            taken |= {each.asname or each.name: each.name for each in statement.names if each.name != "*"}
        else:
            body.append(statement)
    tree.body = body
    return taken


def asserting_functions(tree: _ast.Module) -> frozenset[str]:
    """Functions of the tests that assert something, themselves or by calling another one of these."""
    functions = {each.name: each for each in tree.body if isinstance(each, _FUNCTIONS)}
    found: frozenset[str] = frozenset()
    while True:
        more = {name for name, node in functions.items() if any(is_test(each, found) for each in node.body)}
        if more == found:
            return found
        found = frozenset(more)


def is_test(statement: _ast.AST, asserting: frozenset[str]) -> bool:
    """Whether a statement asserts something, or calls one of these functions."""
    if isinstance(statement, _ast.Assert | _ast.Raise):
        return True
    if isinstance(statement, _SCOPES):
        return False
    if isinstance(statement, _ast.Call) and isinstance(statement.func, _ast.Name) and statement.func.id in asserting:
        return True
    return any(is_test(each, asserting) for each in children(statement))


def free_names(top: symtable.SymbolTable) -> frozenset[str]:
    """The names that the tests use and do not define."""
    used: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table is top):
                used.add(symbol.get_name())
    bound = {each.get_name() for each in top.get_symbols() if each.is_assigned() or each.is_imported()}
    return frozenset(name for name in used - bound if not (name.startswith("__") and name.endswith("__")))


def library_names(free: frozenset[str], tree: _ast.AST) -> dict[str, types.ModuleType]:
    """Modules of the standard library that the tests use without an import: only by attributes, which they have."""
    attributes: dict[str, set[str]] = {name: set() for name in free & sys.stdlib_module_names}
    direct: set[str] = set()
    nodes = [tree]
    while nodes and attributes:
        node = nodes.pop()
        if isinstance(node, _ast.Attribute) and isinstance(node.value, _ast.Name):
            attributes.setdefault(node.value.id, set()).add(node.attr)
        elif isinstance(node, _ast.Name):
            direct.add(node.id)
        else:
            nodes.extend(children(node))
    found = {}
    for name in (free & sys.stdlib_module_names) - direct - _UNWANTED:
        module = importlib.import_module(name)
        if all(hasattr(module, attribute) for attribute in attributes[name]):
            found[name] = module
    return found


def askable_names(free: frozenset[str]) -> frozenset[str]:
    """The free names that the code under test has to define."""
    known = {name for name in free if hasattr(builtins, name)}
    if free - known:
        return free - known
    return frozenset(known if len(known) == 1 else known - _CHECKERS)


def called_name(statement: _ast.stmt) -> str | None:
    if isinstance(statement, _ast.Expr) and isinstance(statement.value, _ast.Call):
        function = statement.value.func
        if isinstance(function, _ast.Name):
            return function.id
        if isinstance(function, _ast.Attribute) and isinstance(function.value, _ast.Name):
            return f"{function.value.id}.{function.attr}"
    return None


def may_change_process(source: str, tree: _ast.Module, names: symtable.SymbolTable) -> bool:
    """Whether the tests may leave something behind in the process they run in."""
    if _LASTING.search(source):
        return True
    imported = {each.get_name() for each in names.get_symbols() if each.is_imported()}
    return bool(imported) and _assigns_below(tree, imported)


def _assigns_below(node: _ast.AST, names: set[str]) -> bool:
    """Whether an attribute or item of one of these names is assigned to."""
    if isinstance(node, _ast.Attribute | _ast.Subscript) and not isinstance(node.ctx, _ast.Load):
        root: _ast.AST = node
        while isinstance(root, _ast.Attribute | _ast.Subscript | _ast.Call):
            root = root.func if isinstance(root, _ast.Call) else root.value
        if isinstance(root, _ast.Name) and root.id in names:
            return True
    return any(_assigns_below(child, names) for child in children(node))
