"""The math reward against random answers: one value spelled twice, a changed value, and hostile text.

The judge is independent of the package: values are computed with `fractions.Fraction` from a tree that the package
never sees; it gets two spellings of it. A short, repeatable run by default; for hours of new examples:

    MATH_FUZZ_EXAMPLES=200000 pytest tests/test_math_fuzz.py
"""

import os
from dataclasses import dataclass
from fractions import Fraction

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rewards.math_answer import is_correct, same_answer
from tests.clock import within

EXAMPLES = int(os.environ.get("MATH_FUZZ_EXAMPLES", "0"))
SECONDS = 1.0
POINTS = tuple(Fraction(top, bottom) for top, bottom in ((7, 3), (-5, 11), (123, 10), (-31, 7), (2, 97), (1009, 13)))


def short(examples: int) -> settings:
    """So many examples, always the same ones; or the number that the environment asks for, always new ones."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


@dataclass(frozen=True)
class Leaf:
    value: Fraction


@dataclass(frozen=True)
class X:
    pass


@dataclass(frozen=True)
class Node:
    op: str
    """`+`, `-`, `*`, `/`, or `^` with a small natural exponent on the right."""
    left: "Tree"
    right: "Tree"


Tree = Leaf | X | Node


def value(tree: Tree, x: Fraction) -> Fraction:
    if isinstance(tree, Leaf):
        return tree.value
    if isinstance(tree, X):
        return x
    left, right = value(tree.left, x), value(tree.right, x)
    match tree.op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
    return left ** int(right)


def values(tree: Tree) -> list[Fraction]:
    """At the fixed points; the example is thrown away where one of them is a pole or the numbers explode."""
    try:
        found = [value(tree, x) for x in POINTS]
    except ZeroDivisionError:
        assume(False)
    assume(all(v.numerator.bit_length() + v.denominator.bit_length() < 600 for v in found))
    return found


integers = st.one_of(st.integers(0, 12), st.integers(13, 99_999))
rationals = st.builds(Fraction, integers, st.sampled_from([1, 1, 1, 2, 3, 4, 5, 7, 8, 10, 20, 125]))
leaves = st.builds(Leaf, rationals)


def trees(with_x: bool) -> st.SearchStrategy[Tree]:
    atoms = st.one_of(leaves, st.just(X())) if with_x else leaves
    powers = st.builds(Leaf, st.sampled_from([Fraction(2), Fraction(3)]))
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.builds(Node, st.sampled_from("+-*/"), inner, inner), st.builds(Node, st.just("^"), inner, powers)
        ),
        max_leaves=6,
    )


class Speller:
    """One spelling of a tree, its free choices drawn by hypothesis. Every choice keeps the value."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def pick(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def leaf(self, number: Fraction) -> str:
        """Alone or in brackets: a mixed number beside a factor would be a product."""
        top, bottom = number.numerator, number.denominator
        if bottom == 1:
            grouped = f"{top:,}" if top < 10**7 else str(top)
            return self.pick(str(top), grouped.replace(",", "{,}"), f"{top}.0", str(top))
        options = [f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}", rf"\dfrac{{{3 * top}}}{{{3 * bottom}}}"]
        if not 10**6 % bottom:
            options.append(f"{top * (10**6 // bottom) / 10**6:.6f}".rstrip("0"))
        if top > bottom:
            options.append(rf"{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}")
        return self.pick(*options)

    def spell(self, tree: Tree) -> str:
        if isinstance(tree, Leaf):
            return self.leaf(tree.value)
        if isinstance(tree, X):
            return "x"
        left, right = self.group(tree.left), self.group(tree.right)
        blank = self.pick("", " ", r"\,", r"\ ")
        match tree.op:
            case "+":
                first, second = self.swapped(left, right)
                return self.pick(f"{first}{blank}+{blank}{second}", f"{first}-(-{second})", f"0+{first}+{second}")
            case "-":
                return self.pick(f"{left}{blank}-{blank}{right}", f"-{right}+{left}", f"{left}+(-1){right}")
            case "*":
                first, second = self.swapped(left, right)
                times = self.pick(r"\cdot ", r"\times ", "*", "")
                return self.pick(f"{first}{times}{second}", f"{first}*1*{second}")
            case "/":
                over = self.pick(rf"\frac{{{left}}}{{{right}}}", f"{left}/{right}", rf"{left}\div {right}")
                return self.pick(over, rf"{left}\cdot {right}^{{-1}}")
        assert isinstance(tree.right, Leaf)
        exponent = int(tree.right.value)
        return self.pick(f"{left}^{exponent}", f"{left}^{{{exponent}}}", r"\cdot ".join([left] * exponent))

    def swapped(self, left: str, right: str) -> tuple[str, str]:
        return (left, right) if self.draw(st.booleans()) else (right, left)

    def group(self, tree: Tree) -> str:
        text = self.spell(tree)
        return self.pick(f"({text})", rf"\left({text}\right)", rf"\left( {text} \right)")


def mutated(draw: st.DrawFn, tree: Tree) -> Tree:
    """The tree with one leaf or operator changed; the judge decides whether that changed the value."""
    if isinstance(tree, Node) and draw(st.integers(0, 3)):
        if draw(st.booleans()):
            return Node(tree.op, mutated(draw, tree.left), tree.right)
        return tree if tree.op == "^" else Node(tree.op, tree.left, mutated(draw, tree.right))
    if isinstance(tree, Node):
        return Node(draw(st.sampled_from("+-*/")), tree.left, tree.right)
    if isinstance(tree, X):
        return draw(st.sampled_from([Leaf(Fraction(1)), Node("+", X(), Leaf(Fraction(1))), X()]))
    change = draw(st.sampled_from([Fraction(1), Fraction(-1), Fraction(1, 10**6), Fraction(10), Fraction(1, 9)]))
    return Leaf(abs(tree.value + change))


@st.composite
def pairs(draw: st.DrawFn, with_x: bool) -> tuple[str, str, bool]:
    """Two spellings, and whether they have the same value at every point."""
    tree = draw(trees(with_x))
    other = mutated(draw, tree) if draw(st.booleans()) else tree
    same = values(tree) == values(other)
    speller = Speller(draw)
    return speller.spell(tree), speller.spell(other), same


@short(500)
@given(pairs(with_x=False))
def test_numbers_agree_exactly_when_their_values_do(pair: tuple[str, str, bool]) -> None:
    gold, given_answer, same = pair
    assert is_correct(rf"\boxed{{{given_answer}}}", gold) is same, pair


@short(400)
@given(pairs(with_x=True))
def test_expressions_agree_exactly_when_their_values_do(pair: tuple[str, str, bool]) -> None:
    gold, given_answer, same = pair
    assert same_answer(given_answer, gold) is same, pair


@st.composite
def collections(draw: st.DrawFn) -> tuple[str, str, bool]:
    """Two tuples, sets, intervals or columns of rationals."""
    kind = draw(st.sampled_from(["tuple", "set", "interval", "column"]))
    count = 2 if kind == "interval" else draw(st.integers(2, 4))
    items = draw(st.lists(rationals, min_size=count, max_size=count))
    other = draw(st.permutations(items)) if draw(st.booleans()) else [*items[:-1], draw(rationals)]
    speller = Speller(draw)
    one, two = ([speller.leaf(item) for item in side] for side in (items, other))
    match kind:
        case "set":
            return rf"\{{{', '.join(one)}\}}", rf"\left\{{{','.join(two)}\right\}}", set(items) == set(other)
        case "tuple":
            return f"({','.join(one)})", rf"\left({', '.join(two)}\right)", items == other
        case "column":
            first, second = r"\\".join(one), r" \\ ".join(two)
            return (
                rf"\begin{{pmatrix}}{first}\end{{pmatrix}}",
                rf"\begin{{bmatrix}} {second} \\ \end{{bmatrix}}",
                items == other,
            )
    ends = [(draw(st.sampled_from("([")), draw(st.sampled_from(")]"))) for _ in range(2)]
    assume(items[0] < items[1])
    assume(other[0] < other[1])
    spelled = [f"{left}{low},{high}{right}" for (left, right), (low, high) in zip(ends, (one, two), strict=True)]
    return spelled[0], spelled[1], items == other and ends[0] == ends[1]


@short(400)
@given(collections())
def test_collections_agree_exactly_when_their_items_do(pair: tuple[str, str, bool]) -> None:
    gold, given_answer, same = pair
    assert same_answer(given_answer, gold) is same, pair


@st.composite
def surds(draw: st.DrawFn) -> tuple[str, str, bool]:
    """Two positive a sqrt(b) / c; they are equal exactly when their squares are."""
    sides, squares = [], []
    a, b, c = draw(st.integers(1, 40)), draw(st.integers(1, 60)), draw(st.integers(1, 12))
    for moved in (False, draw(st.booleans())):
        factor = draw(st.integers(1, 5))
        if moved:
            a, b, c = draw(
                st.sampled_from(
                    [(a + 1, b, c), (a, b + 1, c), (a, b, c + 1), (b, a, c), (1, a * a * b, c), (a * c, b, c)]
                )
            )
        root = draw(
            st.sampled_from([rf"\sqrt{{{b * factor**2}}}", f"sqrt({b * factor**2})", f"({b * factor**2})^{{1/2}}"])
        )
        top = draw(st.sampled_from([rf"{a}{root}", rf"{a} \cdot {root}", rf"{root}\times {a}"]))
        sides.append(draw(st.sampled_from([rf"\frac{{{top}}}{{{c * factor}}}", f"({top})/{c * factor}"])))
        squares.append(Fraction(a * a * b, c * c))
    return sides[0], sides[1], squares[0] == squares[1]


@short(300)
@given(surds())
def test_surds_agree_exactly_when_their_squares_do(pair: tuple[str, str, bool]) -> None:
    gold, given_answer, same = pair
    assert same_answer(given_answer, gold) is same, pair


@st.composite
def complex_pairs(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A product or quotient of two complex numbers beside the result, worked out here, perhaps changed."""
    a, b, c, d = (Fraction(draw(st.integers(-9, 9))) for _ in range(4))
    norm = c * c + d * d
    assume(norm)
    if draw(st.booleans()):
        gold, result = rf"({a}+({b})i)\cdot({c}+({d})i)", (a * c - b * d, a * d + b * c)
    else:
        gold = rf"\frac{{{a}+({b})i}}{{{c}+({d})i}}"
        result = ((a * c + b * d) / norm, (b * c - a * d) / norm)
    change = draw(st.sampled_from([0, 0, 1, -1, Fraction(1, 7)]))
    real, imaginary = (result[0] + change, result[1]) if draw(st.booleans()) else (result[0], result[1] + change)
    spelled = draw(st.sampled_from([f"{real}+({imaginary})i", rf"({imaginary})i + \left({real}\right)"]))
    return gold, spelled, change == 0


@short(300)
@given(complex_pairs())
def test_complex_numbers_agree_exactly_when_both_parts_do(pair: tuple[str, str, bool]) -> None:
    gold, given_answer, same = pair
    assert same_answer(given_answer, gold) is same, pair


@short(300)
@given(
    st.integers(0, 99), st.text("0123456789", max_size=4), st.text("0123456789", min_size=1, max_size=7), st.booleans()
)
def test_repeating_decimals_are_their_fractions(whole: int, head: str, cycle: str, changed: bool) -> None:
    """0.a(b) is a/10^n + b/((10^k - 1) 10^n)."""
    number = Fraction(int(f"{whole}{head}{cycle}") - int(f"{whole}{head}"), (10 ** len(cycle) - 1) * 10 ** len(head))
    number += Fraction(1, 10**12) if changed else 0
    gold = rf"\frac{{{number.numerator}}}{{{number.denominator}}}"
    for spelled in (
        rf"{whole}.{head}\overline{{{cycle}}}",
        f"{whole}.{head}({cycle})",
        rf"{whole}.{head}\bar{{{cycle}}}",
    ):
        assert same_answer(spelled, gold) is not changed, spelled


@short(300)
@given(st.integers(2, 16), st.integers(2, 16), st.integers(20, 10**6), st.sampled_from([0, 0, 1, -1]))
def test_numerals_agree_exactly_when_their_values_do(one: int, two: int, number: int, change: int) -> None:
    gold, spelled = (f"{digits(number + offset, base)}_{{{base}}}" for base, offset in ((one, 0), (two, change)))
    assert same_answer(spelled, gold) is (change == 0)
    assert same_answer(spelled, str(number)) is (change == 0)


def digits(number: int, base: int) -> str:
    written = ""
    while number:
        number, digit = divmod(number, base)
        written = "0123456789ABCDEF"[digit] + written
    return written


_PIECES = (
    "1 2 9 10 0.5 99999999 1e9 x y e i n d k t C A B - + * / ^ _ { } ( ) [ ] | ! !! % , ; : = < > . $ ' & # ~ ° ² ½ √ "
    r"\frac \frac{ \sqrt \sqrt[ \pi \sin \cos \ln \log_ \exp \infty \cup \cap \setminus \pm \{ \} \text{ \overline{ "
    r"\begin{pmatrix} \end{pmatrix} \begin{cases} \end{cases} \\ \le \ne \in \notin \to \mathbb{R} \circ ^\circ \dot "
    r"\bmod \pmod{7} \sum_{k=1}^{9} \sum_{n=1}^{\infty} \prod_{k=1}^{ \int \int_0^1 \int_0^{\infty} \lim_{x\to0} dx "
    r"dt \frac{d}{dx} \frac{dy}{dx} \binom{ \boxed{ \left \right \lfloor \rfloor \max( \gcd( \Re \bar \vec \triangle "
    "and or not cm hours minutes dollars <answer> </answer> #### answer_is eval __import__('os') lambda 9^{9^{9^9}} 9!"
)
PIECES = _PIECES.split()
fragments = st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)
repeated = st.builds(
    lambda piece, times, middle, close, again: piece * times + middle + close * again,
    st.sampled_from(PIECES), st.integers(1, 1_500), fragments, st.sampled_from(["", "}", ")", "]", "dx", "!", "x"]),
    st.integers(0, 1_500),
)  # fmt: skip
hostile = st.one_of(fragments, fragments.map(lambda text: text.replace(" ", "")), repeated, st.text(max_size=80))
GOLDS = ("7", r"\frac{1}{2}", "x^2+1", "(0,1]", "1, 2", "x = 3", "B", r"\int_0^1 x\,dx", "12 cm", r"\{1,2\}", "x > 1")


@short(700)
@given(hostile, st.one_of(st.sampled_from(GOLDS), hostile))
def test_hostile_text_ends_soon_with_a_verdict(text: str, gold: str) -> None:
    with within(2 * SECONDS):
        assert is_correct(rf"\boxed{{{text}}}", gold) in (True, False)
        assert is_correct(text, gold) in (True, False)
