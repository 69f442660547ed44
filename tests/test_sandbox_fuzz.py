"""Random programs in the sandbox: the verdict is that of an evaluation apart, and garbage neither passes nor harms."""

import json
import operator
import socket
from collections.abc import Callable, Iterator

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rewards.sandbox import Fence, close_pools, run_tests
from rewards.sandboxing.channel import ChannelBroken, Peer
from rewards.sandboxing.codec import _DECODERS
from rewards.sandboxing.stubs import OPERATIONS

FENCE = Fence(workers=1)
SECONDS = 20.0
Tree = tuple[object, ...]

BINARY: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<": operator.lt,
    "==": operator.eq,
}
FUNCTIONS: dict[str, Callable[[list[int]], int]] = {"sum": sum, "len": len, "max": max, "min": min}

LEAVES = st.one_of(st.integers(-9, 9).map(lambda n: ("number", n)), st.sampled_from([("name", "a"), ("name", "b")]))
TREES = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.tuples(st.just("binary"), st.sampled_from(sorted(BINARY)), trees, trees),
        st.tuples(st.just("choice"), trees, trees, trees),
        st.tuples(st.just("call"), st.sampled_from(sorted(FUNCTIONS)), st.lists(trees, max_size=3)),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    close_pools()
    left = [child for child in psutil.Process().children(recursive=True) if "server.py" in " ".join(child.cmdline())]
    assert left == []


def source(tree: Tree) -> str:
    match tree:
        case ("number", n):
            return f"({n})"
        case ("name", name):
            return str(name)
        case ("binary", sign, left, right):
            return f"({source(left)} {sign} {source(right)})"
        case ("choice", test, yes, no):
            return f"({source(yes)} if {source(test)} else {source(no)})"
        case ("call", name, items):
            return f"{name}([{', '.join(map(source, items))}])"
    raise AssertionError(tree)


def value(tree: Tree, a: int, b: int) -> int:
    """What `source` says, without an interpreter; raises as Python would."""
    match tree:
        case ("number", n):
            return n
        case ("name", name):
            return a if name == "a" else b
        case ("binary", sign, left, right):
            return BINARY[sign](value(left, a, b), value(right, a, b))
        case ("choice", test, yes, no):
            return value(yes, a, b) if value(test, a, b) else value(no, a, b)
        case ("call", name, items):
            return FUNCTIONS[name]([value(each, a, b) for each in items])
    raise AssertionError(tree)


@settings(max_examples=120, deadline=None)
@given(tree=TREES, a=st.integers(-9, 9), b=st.integers(-9, 9), off=st.sampled_from([0, 0, 1, -7]))
def test_verdicts_agree_with_an_evaluation_apart(tree: Tree, a: int, b: int, off: int) -> None:
    """By asserts, by pairs and by output; `off` makes the expected value wrong."""
    try:
        wanted = value(tree, a, b) + off
        outcome = "failed" if off else "passed"
    except (ZeroDivisionError, ValueError):
        wanted, outcome = 0, "error"
    code = f"def f(a, b):\n    return {source(tree)}\n"
    pairs = [{"function": "f", "input": [a, b], "output": wanted}]
    cases = [{"stdin": f"{a} {b}", "stdout": str(wanted)}]
    program = f"{code}print(int(f(*map(int, input().split()))))"
    for text, tests in ((code, f"assert f({a}, {b}) == {wanted}"), (code, pairs), (program, cases)):
        assert [each.outcome for each in run_tests(text, tests, SECONDS, FENCE).results] == [outcome]


WORDS = ["def", "f", "(", ")", ":", "return", "x", "1", "=", "class", "import", "os", "lambda", "*", "[", "]", "'", "#",
         "yield", "async", "await", "print", "exit", ";", ",", "f(x)", "\\", "\n", "\n    ", " ", "\x00",
         "\t"]  # fmt: skip
GARBAGE = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200).map(lambda data: data.decode("latin-1")),
    st.binary(max_size=100).map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join),
)


@settings(max_examples=150, deadline=None)
@given(code=GARBAGE)
def test_garbage_does_not_pass(code: str) -> None:
    """Nothing that these words can spell returns the text that is asked for."""
    pairs = [{"function": "f", "input": [1], "output": "needle"}]
    for tests in ("assert f(1) == 'needle'", pairs, [{"stdin": "1", "stdout": "needle"}]):
        verdict = run_tests(code, tests, SECONDS, FENCE)
        assert not verdict.passed
        assert verdict.results
        assert verdict.fraction == 0.0
    assert run_tests("def f(x): return 'needle'", pairs, SECONDS, FENCE).passed


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.text(max_size=3))
NAMES = st.sampled_from([*_DECODERS, "builtins", "collections", "int", "Counter", "Decimal", "json", "list", "deque"])
SPELLED = st.recursive(
    st.one_of(SCALARS, NAMES),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(sorted(_DECODERS)), st.lists(inner, max_size=4)).map(lambda t: [t[0], *t[1]]),
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["__name__", "__module__", "x"]), inner, max_size=2),
    ),
    max_leaves=12,
)
REQUESTS = st.fixed_dictionaries(
    {"o": st.sampled_from([*OPERATIONS, "global", "library", "input"]), "a": st.lists(SPELLED, max_size=3)},
    optional={"k": st.dictionaries(st.text(max_size=2), SPELLED, max_size=1)},
)
REPLIES = st.fixed_dictionaries({"v": SPELLED}, optional={"u": SPELLED, "p": SPELLED})


@settings(max_examples=400, deadline=None)
@given(messages=st.lists(st.one_of(REQUESTS, REPLIES, SPELLED), max_size=4))
@example(messages=[{"x": ["e", None, False, "", None]}])
def test_whatever_the_code_sends_is_data_or_the_end(messages: list[object]) -> None:
    """The tests' end, which handed out a list and a function, gets a value, an error that the code says it raised, or
    breaks off; nothing else is raised."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for message in messages:
            data = json.dumps(message).encode()
            theirs.sendall(len(data).to_bytes(4, "big") + data)
        theirs.shutdown(socket.SHUT_WR)
        peer = Peer(ours.fileno(), guarded=True)
        try:
            peer.ask("__call__", [1, 2], len, lambda: None)
        except ChannelBroken:
            assert peer.broken
        except Exception:
            assert any(isinstance(message, dict) and "x" in message for message in messages)
