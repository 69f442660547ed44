"""Honest programs: each passes its tests in the sandbox as it would in one process, or prints what is expected."""

# ruff: noqa: E501

MODULES: dict[str, tuple[str, str]] = {
    "plain": (
        """
def add(a, b):
    return a + b
""",
        """
assert add(2, 3) == 5
assert add(-1, 1) == 0
""",
    ),
    "dataclass": (
        """
from dataclasses import dataclass, field
@dataclass(order=True)
class P:
    x: int
    y: int = 0
    tags: list = field(default_factory=list)
def mid(a, b): return P((a.x+b.x)//2,(a.y+b.y)//2)
""",
        """
assert mid(P(0,0),P(2,4)) == P(1,2)
assert P(1) < P(2)
assert P(3).x == 3
p = P(1)
p.x = 9
assert p.x == 9
assert repr(P(1,2)) == 'P(x=1, y=2, tags=[])'
assert P(1).tags == []
p.tags.append('a')
assert p.tags == ['a']
assert len({id(p), id(p)}) == 1
""",
    ),
    "frozen dataclass": (
        """
from dataclasses import dataclass
@dataclass(frozen=True)
class F:
    a: int
""",
        """
from dataclasses import FrozenInstanceError
f = F(1)
try:
    f.a = 2
    assert False
except FrozenInstanceError:
    pass
assert hash(F(1)) == hash(F(1))
assert {F(1): 'x'}[F(1)] == 'x'
assert len({F(1), F(1), F(2)}) == 2
""",
    ),
    "generator": (
        """
def count(n):
    for i in range(n):
        yield i*i
""",
        """
assert list(count(4)) == [0,1,4,9]
g = count(2)
assert next(g) == 0
assert next(g) == 1
try:
    next(g)
    assert False
except StopIteration:
    pass
assert sum(count(3)) == 5
import types
assert isinstance(count(1), types.GeneratorType)
""",
    ),
    "infinite generator": (
        """
def nat():
    n = 0
    while True:
        yield n
        n += 1
def take(k, it):
    return [x for _, x in zip(range(k), it)]
""",
        """
import itertools
assert list(itertools.islice(nat(), 3)) == [0,1,2]
assert take(3, nat()) == [0,1,2]
assert take(2, iter([5,6,7])) == [5,6]
assert take(2, (i*2 for i in range(9))) == [0,2]
""",
    ),
    "send": (
        """
def acc():
    t = 0
    while True:
        v = yield t
        t += v
""",
        """
g = acc()
next(g)
assert g.send(3) == 3
assert g.send(4) == 7
g.close()
""",
    ),
    "generator return": (
        """
def g():
    x = yield 1
    return x
""",
        """
def d():
    r = yield from g()
    yield ('r', r)
k = d()
assert next(k) == 1
assert k.send(8) == ('r', 8)
""",
    ),
    "recursion": (
        """
def fib(n): return n if n < 2 else fib(n-1)+fib(n-2)
def depth(n): return 0 if n == 0 else 1 + depth(n-1)
""",
        """
assert fib(15) == 610
assert depth(900) == 900
""",
    ),
    "deep recursion": (
        """
import sys
sys.setrecursionlimit(100000)
def depth(n): return 0 if n == 0 else 1 + depth(n-1)
""",
        "assert depth(50000) == 50000",
    ),
    "class": (
        """
class Stack:
    def __init__(self): self._d = []
    def push(self, x): self._d.append(x); return self
    def pop(self):
        if not self._d: raise IndexError('empty')
        return self._d.pop()
    def __len__(self): return len(self._d)
    def __bool__(self): return bool(self._d)
    @property
    def top(self): return self._d[-1]
    @staticmethod
    def of(*a):
        s = Stack()
        for x in a: s.push(x)
        return s
    @classmethod
    def name(cls): return cls.__name__
""",
        """
s = Stack()
assert not s
assert s.push(1) is s
s.push(2).push(3)
assert len(s) == 3
assert s.top == 3
assert s.pop() == 3
assert isinstance(s, Stack)
assert not isinstance(3, Stack)
assert type(s) is Stack
assert type(s).__name__ == 'Stack'
assert Stack.of(1,2).pop() == 2
assert Stack.name() == 'Stack'
assert hasattr(s, 'push') and not hasattr(s, 'nope')
try:
    Stack().pop()
except IndexError as e:
    assert str(e) == 'empty'
else:
    assert False
""",
    ),
    "operators": (
        """
class V:
    def __init__(s,x,y): s.x,s.y=x,y
    def __add__(s,o): return V(s.x+o.x,s.y+o.y)
    def __sub__(s,o): return V(s.x-o.x,s.y-o.y)
    def __mul__(s,k): return V(s.x*k,s.y*k)
    __rmul__ = __mul__
    def __eq__(s,o): return isinstance(o,V) and (s.x,s.y)==(o.x,o.y)
    def __abs__(s): return (s.x**2+s.y**2)**.5
    def __neg__(s): return V(-s.x,-s.y)
    def __getitem__(s,i): return (s.x,s.y)[i]
    def __iter__(s): return iter((s.x,s.y))
    def __repr__(s): return f'V({s.x}, {s.y})'
    def __matmul__(s,o): return s.x*o.x+s.y*o.y
""",
        """
a, b = V(1,2), V(3,4)
assert a + b == V(4,6)
assert a != b
assert abs(b) == 5.0
assert abs(abs(b) - 5) < 1e-9
assert -a == V(-1,-2)
assert a * 3 == V(3,6)
assert 3 * a == V(3,6)
assert (a * 2).x == 2
assert a[0] == 1 and b[-1] == 4
x, y = b
assert (x, y) == (3, 4)
assert repr(a) == 'V(1, 2)' and f'{a}' == 'V(1, 2)'
assert a @ b == 11
assert [a, b] == [V(1,2), V(3,4)]
assert a in [b, a]
a += b
assert a == V(4,6)
assert sum([V(1,1), V(2,2)], V(0,0)) == V(3,3)
assert V(1,2) != (1,2)
assert V(1, 2) != None
""",
    ),
    "contains": (
        """
class Trie:
    def __init__(s): s.w=set()
    def insert(s,w): s.w.add(w)
    def __contains__(s,w): return w in s.w
class Bag:
    def __init__(s,*a): s.a=a
    def __iter__(s): return iter(s.a)
    def __len__(s): return len(s.a)
""",
        """
t = Trie()
t.insert('apple')
assert 'apple' in t
assert 'app' not in t
assert 3 in Bag(1,2,3)
assert sorted(Bag(3,1,2)) == [1,2,3]
assert len(Bag(1,2)) == 2
assert max(Bag(4,9)) == 9
assert set(Bag(1,1)) == {1}
""",
    ),
    "ordering": (
        """
import functools
@functools.total_ordering
class Ver:
    def __init__(s,t): s.t=tuple(map(int,t.split('.')))
    def __eq__(s,o): return s.t==o.t
    def __lt__(s,o): return s.t<o.t
    def __hash__(s): return hash(s.t)
    def __str__(s): return '.'.join(map(str,s.t))
""",
        """
assert Ver('1.2') < Ver('1.10')
assert Ver('2.0') >= Ver('1.9')
assert str(max(Ver('1.0'), Ver('1.1'))) == '1.1'
assert [str(v) for v in sorted([Ver('3.0'),Ver('1.0')])] == ['1.0','3.0']
""",
    ),
    "closure": (
        """
def counter():
    n = 0
    def inc(by=1):
        nonlocal n
        n += by
        return n
    return inc
def compose(*fs):
    def run(x):
        for f in reversed(fs): x = f(x)
        return x
    return run
""",
        """
c = counter()
assert c() == 1 and c(by=4) == 5
d = counter()
assert d() == 1
assert compose(lambda x: x+1, lambda x: x*2)(5) == 11
assert callable(c)
assert compose(str, abs)(-3) == '3'
""",
    ),
    "decorator": (
        """
import functools
def memo(f):
    cache = {}
    @functools.wraps(f)
    def w(*a):
        if a not in cache: cache[a] = f(*a)
        return cache[a]
    w.cache = cache
    return w
def retry(n, exc=(Exception,)):
    def deco(f):
        @functools.wraps(f)
        def w(*a, **k):
            for i in range(n):
                try: return f(*a, **k)
                except exc:
                    if i == n-1: raise
        return w
    return deco
""",
        """
calls = []
@memo
def sq(x):
    'doc'
    calls.append(x)
    return x*x
assert sq(3) == 9 and sq(3) == 9
assert calls == [3]
assert sq.__name__ == 'sq'
assert sq.__doc__ == 'doc'
@memo
def fib(n): return n if n < 2 else fib(n-1) + fib(n-2)
assert fib(20) == 6765
attempts = 0
@retry(3)
def flaky():
    global attempts
    attempts += 1
    if attempts < 3: raise ValueError('x')
    return 'ok'
assert flaky() == 'ok' and attempts == 3
@retry(2, (KeyError,))
def bad(): raise KeyError('k')
try:
    bad(); assert False
except KeyError as e:
    assert e.args == ('k',)
""",
    ),
    "method decorator": (
        """
import functools
def twice(f):
    @functools.wraps(f)
    def w(self, *a): return f(self, *a) * 2
    return w
""",
        """
class A:
    def __init__(self): self.k = 5
    @twice
    def f(self, x): return x + self.k
assert A().f(1) == 12
""",
    ),
    "callbacks": (
        """
def apply(f, xs): return [f(x) for x in xs]
def sort_by(xs, key): return sorted(xs, key=key)
def group(xs, key):
    d = {}
    for x in xs: d.setdefault(key(x), []).append(x)
    return d
""",
        """
assert apply(lambda x: x+1, [1,2]) == [2,3]
assert sort_by(['bb','a'], len) == ['a','bb']
assert sort_by([3,1], key=lambda x: -x) == [3,1]
assert group([1,2,3,4], lambda x: x % 2) == {1:[1,3],0:[2,4]}
assert apply(str.upper, ['a']) == ['A']
""",
    ),
    "mutate": (
        """
def sort_in(a): a.sort()
def rotate(m):
    m[:] = [list(r) for r in zip(*m[::-1])]
def fill(m):
    for r in m:
        for j in range(len(r)): r[j] = 0
def put(d, k): d[k] = d.get(k, 0) + 1; return d
def addset(s): s |= {9}
""",
        """
a = [3,1,2]
assert sort_in(a) is None
assert a == [1,2,3]
m = [[1,2],[3,4]]
rotate(m)
assert m == [[3,1],[4,2]]
fill(m)
assert m == [[0,0],[0,0]]
d = {}
assert put(d,'x') is d
put(d,'x')
assert d == {'x': 2}
s = {1}
addset(s)
assert s == {1, 9}
b = [5]
a.append(b)
sort_key = a[-1]
b.append(6)
assert a[-1] == [5,6]
""",
    ),
    "no mutate": (
        "def s(a): return sorted(a)",
        """
a = [2,1]
b = s(a)
assert a == [2,1] and b == [1,2] and a is not b
""",
    ),
    "big mutate": (
        "def bubble(a): a.sort(); return a",
        """
import random
xs = [random.random() for _ in range(60000)]
ys = list(xs)
assert bubble(ys) is ys
assert ys == sorted(xs)
""",
    ),
    "exceptions": (
        """
class Bank(Exception): pass
class Poor(Bank):
    def __init__(self, need):
        super().__init__(f'need {need}')
        self.need = need
def draw(b, a):
    if a < 0: raise ValueError('negative')
    if a > b: raise Poor(a-b)
    return b-a
def chain():
    try: 1/0
    except ZeroDivisionError as e: raise RuntimeError('x') from e
""",
        """
try:
    draw(1,5); assert False
except Poor as e:
    assert e.need == 4 and str(e) == 'need 4' and isinstance(e, Bank)
try:
    draw(1,-5); assert False
except ValueError as e:
    assert 'neg' in str(e)
try:
    draw(1, 9)
except Exception as e:
    assert type(e) is Poor and type(e).__name__ == 'Poor'
try:
    chain()
except RuntimeError as e:
    assert isinstance(e.__cause__, ZeroDivisionError)
assert issubclass(Poor, Bank) and issubclass(Poor, Exception)
try:
    raise Poor(3)
except Bank as e:
    assert e.need == 3
""",
    ),
    "unittest": (
        """
class Calc:
    def div(self,a,b):
        if b == 0: raise ZeroDivisionError('no')
        return a/b
""",
        """
import unittest
class T(unittest.TestCase):
    def setUp(self): self.c = Calc()
    def test_a(self): self.assertAlmostEqual(self.c.div(1,3), 0.333333333, places=5)
    def test_b(self):
        with self.assertRaises(ZeroDivisionError): self.c.div(1,0)
    def test_c(self):
        with self.assertRaisesRegex(ZeroDivisionError, 'no'): self.c.div(1,0)
if __name__ == '__main__':
    unittest.main()
""",
    ),
    "humaneval": (
        """
def has(xs, t):
    return any(abs(a-b) < t for i,a in enumerate(xs) for b in xs[i+1:])
""",
        """
METADATA = {'a': 1}

def check(candidate):
    assert candidate([1.0,2.0,3.9], 0.3) == False
    assert candidate([1.0,2.8,3.0,2.9], 0.3) == True

check(has)
""",
    ),
    "pytest style": (
        "def f(x): return x*2",
        """
def test_one():
    assert f(2) == 4
def test_two(n=3):
    assert f(n) == 6
""",
    ),
    "namedtuple": (
        """
from collections import namedtuple
P = namedtuple('P','x y')
def mk(): return P(1,2)
""",
        """
p = mk()
assert p == (1,2) and p.x == 1 and p == P(1,2) and isinstance(p, tuple) and isinstance(p, P)
assert p._replace(x=5) == (5,2)
assert P._fields == ('x','y')
a, b = p
assert b == 2 and len(p) == 2 and p[0] == 1
assert p._asdict() == {'x':1,'y':2}
""",
    ),
    "typing namedtuple": (
        """
from typing import NamedTuple
class P(NamedTuple):
    x: int
    def twice(self): return self.x*2
""",
        "assert P(4).twice() == 8 and P(4) == (4,)",
    ),
    "enum": (
        """
from enum import Enum, IntEnum, auto
class C(Enum):
    RED = 1
    BLUE = 2
class N(IntEnum):
    A = 1
    B = 2
class S(str, Enum):
    X = 'x'
def nxt(c): return C.BLUE if c is C.RED else C.RED
""",
        """
assert nxt(C.RED) == C.BLUE and nxt(C.RED) is C.BLUE
assert C.RED.value == 1 and C.RED.name == 'RED'
assert C(2) is C.BLUE and C['RED'] is C.RED
assert [c.name for c in C] == ['RED','BLUE'] and len(C) == 2
assert N.A == 1 and N.B > N.A and N.A + 1 == 2
assert isinstance(C.RED, C)
assert S.X == 'x'
assert {C.RED: 1}[C.RED] == 1
assert C.RED in C
""",
    ),
    "enum set": (
        """
from enum import Enum
class C(Enum):
    A=1
    B=2
def allc(): return {C.A, C.B}
""",
        """
assert allc() == {C.A, C.B}
assert C.A in allc()
""",
    ),
    "abc": (
        """
from abc import ABC, abstractmethod
class Shape(ABC):
    @abstractmethod
    def area(self): ...
class Sq(Shape):
    def __init__(s,a): s.a=a
    def area(s): return s.a**2
""",
        """
try:
    Shape(); assert False
except TypeError:
    pass
assert Sq(3).area() == 9 and isinstance(Sq(1), Shape) and issubclass(Sq, Shape)
""",
    ),
    "context manager": (
        """
from contextlib import contextmanager
log = []
class R:
    def __enter__(s): log.append('in'); return s
    def __exit__(s,*a): log.append('out'); return a[0] is ValueError
@contextmanager
def cm():
    log.append('a')
    yield 7
    log.append('b')
""",
        """
with R() as r:
    assert isinstance(r, R)
    raise ValueError
assert log == ['in','out']
with cm() as v:
    assert v == 7
assert log[-2:] == ['a','b']
try:
    with R(): raise KeyError('q')
    assert False
except KeyError:
    pass
""",
    ),
    "linked list": (
        """
class Node:
    def __init__(s,v,next=None): s.val=v; s.next=next
def rev(h):
    p=None
    while h: h.next,p,h=p,h,h.next
    return p
def build(xs):
    h=None
    for x in reversed(xs): h=Node(x,h)
    return h
""",
        """
h = rev(build([1,2,3]))
out = []
while h:
    out.append(h.val)
    h = h.next
assert out == [3,2,1]
n = Node(1, Node(2))
assert n.next.val == 2 and n.next.next is None
n.next = Node(7)
assert n.next.val == 7
""",
    ),
    "node of the tests": (
        """
def total(n):
    s=0
    while n: s+=n.val; n=n.next
    return s
def invert(t):
    if t is None: return None
    t.left,t.right=invert(t.right),invert(t.left)
    return t
""",
        """
class Node:
    def __init__(self,val,next=None): self.val=val; self.next=next
assert total(Node(1,Node(2))) == 3
class T:
    def __init__(self,v,left=None,right=None): self.v,self.left,self.right=v,left,right
t = T(1,T(2),T(3))
r = invert(t)
assert r is t and r.left.v == 3 and t.right.v == 2
""",
    ),
    "stdlib": (
        """
import math, re, collections, itertools, json, string, heapq, bisect, statistics, datetime, decimal, fractions, hashlib, textwrap, operator, random, copy, uuid, base64, csv, io, time, calendar, struct, secrets
def f():
    return (math.gcd(4,6), re.sub('a','b','aa'), collections.Counter('aab'), json.dumps({'a':[1]}), hashlib.md5(b'x').hexdigest()[:4], statistics.mean([1,2]), decimal.Decimal('1.1'), fractions.Fraction(1,3), datetime.date(2020,1,2), base64.b64encode(b'hi'), struct.pack('>H',1))
""",
        r"""
from decimal import Decimal
from fractions import Fraction
import datetime as dt
r = f()
assert r[0] == 2 and r[1] == 'bb' and r[2] == {'a':2,'b':1} and r[2].most_common(1) == [('a',2)]
assert r[3] == '{"a": [1]}' and r[4] == '9dd4' and r[5] == 1.5
assert r[6] == Decimal('1.1') and r[7] == Fraction(1,3) and r[8] == dt.date(2020,1,2) and r[9] == b'aGk=' and r[10] == b'\x00\x01'
assert math.isclose(1.0, 1.0)
""",
    ),
    "collections": (
        """
from collections import defaultdict, OrderedDict, deque, Counter
def a():
    d=defaultdict(list); d['x'].append(1); return d
def b(): return OrderedDict([('a',1)])
def c(): return deque([1,2],maxlen=5)
""",
        """
assert a() == {'x':[1]}
d = a()
d['q'].append(3)
assert d['q'] == [3]
assert b() == {'a':1}
assert list(c()) == [1,2] and c()[0] == 1
from collections import deque
assert c() == deque([1,2])
""",
    ),
    "values": (
        r"""
def f(k): return {1:None,2:True,3:1.5,4:'é\ud83d\ude00',5:b'x',6:(1,[2]),7:{1,2},8:frozenset([1]),9:{(1,2):'t'},10:2**200,11:1+2j,12:float('inf'),13:range(3),14:-2**63,15:''}[k]
""",
        """
assert f(1) is None and f(2) is True and f(3) == 1.5 and f(5) == b'x' and f(6) == (1,[2]) and f(7) == {2,1}
assert f(8) == frozenset([1]) and f(9) == {(1,2):'t'} and f(10) == 2**200 and f(11) == 1+2j and f(12) == float('inf') and f(13) == range(3) and f(14) == -2**63 and f(15) == ''
assert isinstance(f(3), float) and type(f(6)) is tuple and isinstance(f(2), bool)
""",
    ),
    "nan": (
        "def f(): return float('nan')",
        """
import math
assert math.isnan(f())
assert f() != f()
""",
    ),
    "floats": (
        "def area(r): return 3.141592653589793*r*r",
        """
assert abs(area(2) - 12.566370614359172) < 1e-9
import math
assert math.isclose(area(1), math.pi, rel_tol=1e-9)
assert round(area(1),2) == 3.14
""",
    ),
    "globals": (
        """
TOTAL = 0
ITEMS = []
def add(n):
    global TOTAL
    TOTAL += n
    ITEMS.append(n)
""",
        """
add(3)
assert TOTAL == 3
add(4)
assert TOTAL == 7 and ITEMS == [3,4]
ITEMS.clear()
add(1)
assert ITEMS == [1]
""",
    ),
    "builtin name": (
        "def sum(a, b): return a + b",
        """
assert sum(10,15) == 25
assert sum(2,4) == 6
""",
    ),
    "print capture": (
        "def hello(n): print('hello', n)",
        r"""
import io, contextlib
b = io.StringIO()
with contextlib.redirect_stdout(b):
    hello('bob')
assert b.getvalue() == 'hello bob\n'
""",
    ),
    "getcwd": (
        """
import os, tempfile
def f(): return os.getcwd()
def w():
    with open('x.txt','w') as h: h.write('hi')
    with open('x.txt') as h: r = h.read()
    os.remove('x.txt')
    return r
def t():
    with tempfile.NamedTemporaryFile('w+') as h:
        h.write('q'); h.seek(0); return h.read()
def d():
    with tempfile.TemporaryDirectory() as p: return os.path.isdir(p)
""",
        """
import os.path
assert isinstance(f(), str)
assert w() == 'hi'
assert t() == 'q'
assert d() is True
""",
    ),
    "threads": (
        """
import threading, queue
from concurrent.futures import ThreadPoolExecutor
class C:
    def __init__(s): s.n=0; s.l=threading.Lock()
    def inc(s):
        with s.l: s.n+=1
def run(k):
    c=C(); ts=[threading.Thread(target=c.inc) for _ in range(k)]
    [t.start() for t in ts]; [t.join() for t in ts]
    return c.n
def pm(xs):
    with ThreadPoolExecutor(4) as p: return list(p.map(lambda x: x*x, xs))
def pmap(f, xs):
    with ThreadPoolExecutor(4) as p: return list(p.map(f, xs))
""",
        """
assert run(8) == 8
assert pm([1,2,3]) == [1,4,9]
assert pmap(lambda x: x+1, [1,2,3]) == [2,3,4]
import threading
c = C()
ts = [threading.Thread(target=c.inc) for _ in range(5)]
for t in ts: t.start()
for t in ts: t.join()
assert c.n == 5
""",
    ),
    "asyncio": (
        """
import asyncio
async def f(x):
    await asyncio.sleep(0.001)
    return x*2
async def g(): return await asyncio.gather(f(1), f(2))
def run(): return asyncio.run(g())
""",
        """
import asyncio
assert run() == [2,4]
assert asyncio.run(f(4)) == 8
async def main(): return await g()
assert asyncio.run(main()) == [2,4]
""",
    ),
    "dict subclass": (
        """
from collections import OrderedDict
class LRU(OrderedDict):
    def __init__(s,c): super().__init__(); s.c=c
    def get(s,k):
        if k not in s: return -1
        s.move_to_end(k); return s[k]
    def put(s,k,v):
        s[k]=v; s.move_to_end(k)
        if len(s)>s.c: s.popitem(last=False)
""",
        """
c = LRU(2)
c.put(1,1); c.put(2,2)
assert c.get(1) == 1
c.put(3,3)
assert c.get(2) == -1
assert len(c) == 2 and 1 in c and 2 not in c
assert dict(c) == {1:1,3:3}
""",
    ),
    "list subclass": (
        """
class L(list):
    def total(self): return sum(self)
def mk(): return L([1,2])
""",
        """
l = mk()
assert l == [1,2] and l.total() == 3 and l[0] == 1 and len(l) == 2
l.append(3)
assert l == [1,2,3] and list(l) == [1,2,3]
""",
    ),
    "int subclass": (
        """
class I(int):
    def dbl(self): return I(self*2)
""",
        "assert I(4) == 4 and I(4).dbl() == 8 and I(3)+1 == 4 and isinstance(I(1), int)",
    ),
    "descriptor": (
        """
class Pos:
    def __set_name__(s,o,n): s.n='_'+n
    def __get__(s,i,o=None): return getattr(i,s.n)
    def __set__(s,i,v):
        if v < 0: raise ValueError
        setattr(i,s.n,v)
class A:
    x = Pos()
    def __init__(s,x): s.x=x
""",
        """
a = A(3)
assert a.x == 3
try:
    a.x = -1; assert False
except ValueError: pass
""",
    ),
    "singleton": (
        """
class S:
    _i=None
    def __new__(cls):
        if cls._i is None: cls._i=super().__new__(cls)
        return cls._i
class M(type):
    _c={}
    def __call__(cls,*a):
        if cls not in M._c: M._c[cls]=super().__call__(*a)
        return M._c[cls]
class Q(metaclass=M): pass
""",
        """
assert S() is S()
assert Q() is Q()
assert id(S()) == id(S())
""",
    ),
    "class attributes": (
        """
class A:
    n = 0
    def __init__(s): A.n += 1
""",
        """
A(); A()
assert A.n == 2
A.n = 0
A()
assert A.n == 1
""",
    ),
    "inherit": (
        """
class A:
    def hi(self): return 'a'
class B(A):
    def hi(self): return super().hi()+'b'
class C(B): pass
""",
        """
assert C().hi() == 'ab' and isinstance(C(), A) and issubclass(C, B) and not issubclass(A, B)
assert C.__bases__[0].__name__ == 'B'
assert [k.__name__ for k in C.__mro__][:3] == ['C','B','A']
""",
    ),
    "iterator class": (
        """
class R:
    def __init__(s,n): s.n=n
    def __iter__(s): s.i=0; return s
    def __next__(s):
        if s.i>=s.n: raise StopIteration
        s.i+=1; return s.i
""",
        """
assert list(R(3)) == [1,2,3]
assert [x for x in R(2)] == [1,2]
it = iter(R(1))
assert next(it) == 1
assert next(it, 'end') == 'end'
""",
    ),
    "kwargs": (
        "def f(a,*args,k=1,**kw): return (a,args,k,kw)",
        """
assert f(1,2,3,k=4,z=5) == (1,(2,3),4,{'z':5})
assert f(*[1,2],**{'q':1}) == (1,(2,),1,{'q':1})
try:
    f(); assert False
except TypeError as e:
    assert 'argument' in str(e)
""",
    ),
    "map objects": (
        """
def f(xs): return map(lambda x: x*2, xs)
def z(a,b): return zip(a,b)
""",
        """
assert list(f([1,2])) == [2,4]
assert dict(z('ab',[1,2])) == {'a':1,'b':2}
assert sorted(f([3,1])) == [2,6]
""",
    ),
    "dict views": (
        """
def k(d): return d.keys()
def v(d): return list(d.values())
""",
        """
assert list(k({'a':1})) == ['a']
assert v({'a':1}) == [1]
assert set(k({'b':1})) == {'b'}
assert 'a' in k({'a': 2})
""",
    ),
    "asdict": (
        """
from dataclasses import dataclass, asdict
@dataclass
class A:
    x: int
""",
        """
assert asdict(A(1)) == {'x':1}
assert A(1).__dict__ == {'x':1}
assert vars(A(2)) == {'x':2}
""",
    ),
    "stdlib asdict": (
        """
from dataclasses import dataclass
@dataclass
class A:
    x: int
""",
        """
from dataclasses import asdict, replace, astuple
assert asdict(A(1)) == {'x':1}
assert replace(A(1), x=5) == A(5)
assert astuple(A(3)) == (3,)
""",
    ),
    "copy": (
        """
class A:
    def __init__(s): s.l=[1]
""",
        """
import copy
a = A()
b = copy.deepcopy(a)
b.l.append(2)
assert a.l == [1] and b.l == [1,2]
c = copy.copy(a)
assert c.l == [1]
""",
    ),
    "partial": (
        """
import functools
def curry(f, *a): return functools.partial(f, *a)
@functools.lru_cache(None)
def fib(n): return n if n<2 else fib(n-1)+fib(n-2)
""",
        """
assert curry(lambda a,b: a-b, 5)(3) == 2
assert fib(80) == 23416728348467685
assert fib.cache_info().currsize > 10
fib.cache_clear()
""",
    ),
    "numbers as text": (
        """
def f(n): return format(n, ',')
def b(n): return bin(n)[2:]
""",
        """
assert f(1234567) == '1,234,567'
assert b(5) == '101'
""",
    ),
    "loop of cases": (
        "def sq(x): return x*x",
        """
for x, want in [(1,1),(2,4),(3,9)]:
    assert sq(x) == want, f'{x}'
assert all(sq(i) == i**2 for i in range(20))
cases = {4: 16}
for k in cases: assert sq(k) == cases[k]
""",
    ),
    "match": (
        """
class P:
    __match_args__=('x','y')
    def __init__(s,x,y): s.x,s.y=x,y
def kind(v):
    match v:
        case P(x=0,y=0): return 'o'
        case [a,*_]: return 'list'
        case {'k': v}: return v
        case _: return '?'
""",
        """
assert kind(P(0,0)) == 'o' and kind([1]) == 'list' and kind({'k':3}) == 3 and kind(2) == '?'
match P(1,2):
    case P(x=a, y=b):
        assert (a,b) == (1,2)
    case _:
        assert False
""",
    ),
    "observer": (
        """
class Bus:
    def __init__(s): s.h={}
    def on(s,e,f): s.h.setdefault(e,[]).append(f)
    def emit(s,e,*a):
        for f in s.h.get(e,[]): f(*a)
""",
        """
got = []
b = Bus()
b.on('x', got.append)
b.on('x', lambda v: got.append(v*2))
b.emit('x', 3)
assert got == [3,6]
""",
    ),
    "registry of test classes": (
        """
class Container:
    def __init__(s): s.m={}
    def register(s,c): s.m[c.__name__]=c
    def make(s,n): return s.m[n]()
""",
        """
class Svc:
    def ping(self): return 'pong'
c = Container()
c.register(Svc)
assert c.make('Svc').ping() == 'pong'
assert isinstance(c.make('Svc'), Svc)
""",
    ),
    "stringio": (
        """
def read(f): return [l.strip() for l in f]
def w(f): f.write('out')
""",
        r"""
import io
assert read(io.StringIO('a\nb\n')) == ['a','b']
o = io.StringIO()
w(o)
assert o.getvalue() == 'out'
""",
    ),
    "custom str": (
        """
class M:
    def __init__(s,a,c): s.a,s.c=a,c
    def __str__(s): return f'{s.a:.2f} {s.c}'
    def __format__(s,spec): return 'F'+spec
    def __eq__(s,o):
        if not isinstance(o,M): return NotImplemented
        return s.a==o.a
    def __hash__(s): return hash(s.a)
    def __call__(s,k): return s.a*k
    def __len__(s): return 3
    def __int__(s): return 7
    def __float__(s): return 1.5
    def __bool__(s): return False
""",
        """
m = M(1.5,'EUR')
assert str(m) == '1.50 EUR' and f'{m:>3}' == 'F>3' and m == M(1.5,'x') and m(2) == 3.0 and len(m) == 3 and int(m) == 7 and float(m) == 1.5 and not m
assert hash(m) == hash(M(1.5,'y'))
""",
    ),
    "getattr": (
        """
class D:
    def __init__(s): s.__dict__['d']={}
    def __getattr__(s,n):
        try: return s.__dict__['d'][n]
        except KeyError: raise AttributeError(n)
    def __setattr__(s,n,v): s.__dict__['d'][n]=v
    def __getitem__(s,k): return s.d[k]
    def __setitem__(s,k,v): s.d[k]=v
    def __delitem__(s,k): del s.d[k]
""",
        """
d = D()
d.x = 5
assert d.x == 5 and d['x'] == 5
d['y'] = 6
assert d.y == 6
del d['y']
assert not hasattr(d,'y')
assert getattr(d,'zz',None) is None
""",
    ),
    "big result": (
        """
def f(n): return list(range(n))
def s(n): return 'x'*n
""",
        """
assert f(100000) == list(range(100000))
assert len(s(3000000)) == 3000000
assert sum(f(1000)) == 499500
""",
    ),
    "deep nesting": (
        """
def nest(n):
    r = []
    for _ in range(n): r = [r]
    return r
def flat(x):
    out = []
    for e in x:
        out.extend(flat(e) if isinstance(e, list) else [e])
    return out
""",
        """
x = nest(150)
d = 0
while x:
    x = x[0]; d += 1
assert d == 150
assert flat([1,[2,[3,[[4]]]]]) == [1,2,3,4]
""",
    ),
    "self reference": (
        """
def f():
    a = [1]
    a.append(a)
    return a
""",
        """
a = f()
assert a[0] == 1 and a[1] is a
""",
    ),
    "helpers in tests": (
        "def f(x): return x+1",
        """
import random
random.seed(1)
def ref(x): return x+1
for _ in range(200):
    x = random.randint(-99,99)
    assert f(x) == ref(x)
""",
    ),
    "solution class": (
        """
from typing import List, Optional
class Solution:
    def twoSum(self, nums: List[int], target: int) -> List[int]:
        s={}
        for i,n in enumerate(nums):
            if target-n in s: return [s[target-n],i]
            s[n]=i
""",
        """
assert Solution().twoSum([2,7,11,15],9) == [0,1]
sol = Solution()
assert sol.twoSum(nums=[3,3],target=6) == [0,1]
def check(candidate):
    assert candidate(nums=[3,2,4],target=6) == [1,2]
check(Solution().twoSum)
""",
    ),
    "main guard": (
        """
def f(): return 1
if __name__ == '__main__':
    raise SystemExit(3)
""",
        "assert f() == 1",
    ),
    "noisy": (
        """
print('loading')
import sys
print('err', file=sys.stderr)
def f():
    print('x'*100000)
    return 1
""",
        "assert f() == 1",
    ),
    "sys exit expected": (
        """
import sys
def f(): sys.exit(3)
""",
        """
try:
    f()
    assert False
except SystemExit as e:
    assert e.code == 3
""",
    ),
    "pickle and json": (
        """
import pickle, json
class A:
    def __init__(s): s.x=1
def f(): return pickle.loads(pickle.dumps(A())).x
def j(): return json.loads('{"a": [1, 2.5, null]}')
""",
        """
assert f() == 1
assert j() == {'a':[1,2.5,None]}
""",
    ),
    "sets of tuples": (
        """
def f(): return {(1,2),(3,4)}
def g(): return {frozenset({1}): [1]}
""",
        """
assert f() == {(3,4),(1,2)}
assert g()[frozenset([1])] == [1]
""",
    ),
    "time": (
        """
import time
def f():
    t=time.time(); time.sleep(0.01); return time.time()-t
""",
        "assert f() >= 0.009",
    ),
    "regex": (
        r"""
import re
def f(s): return re.match(r'(\w+)@(\w+)', s)
""",
        """
m = f('a@b')
assert m and m.group(1) == 'a' and m.groups() == ('a','b')
assert f('!') is None
""",
    ),
    "type checks": (
        "def f(): return [1]",
        """
assert isinstance(f(), list), 'list'
assert isinstance(f()[0], int)
assert type(f()) == list
assert all(isinstance(x, int) for x in f())
assert len(f()) == 1 and f()[0] == 1 and sorted(f(), reverse=True) == [1]
""",
    ),
    "lambda global": (
        """
f = lambda x: x ** 2
square = f
""",
        "assert f(3) == 9 and square(4) == 16",
    ),
    "matrix": (
        """
class Matrix:
    def __init__(s,r): s.r=[list(x) for x in r]
    def __mul__(s,o):
        if isinstance(o,(int,float)): return Matrix([[x*o for x in r] for r in s.r])
        return Matrix([[sum(a*b for a,b in zip(r,c)) for c in zip(*o.r)] for r in s.r])
    def __eq__(s,o): return isinstance(o,Matrix) and s.r==o.r
    def __getitem__(s,ij): return s.r[ij[0]][ij[1]] if isinstance(ij,tuple) else s.r[ij]
    def __setitem__(s,ij,v): s.r[ij[0]][ij[1]]=v
""",
        """
m = Matrix([[1,2],[3,4]])
assert m * Matrix([[1,0],[0,1]]) == m
assert (m*2).r == [[2,4],[6,8]]
assert m[0,1] == 2 and m[1] == [3,4]
m[0,0] = 9
assert m[0,0] == 9
""",
    ),
    "money equals number": (
        """
class Money:
    def __init__(s,a): s.a=a
    def __eq__(s,o): return s.a == (o.a if isinstance(o,Money) else o)
    def __lt__(s,o): return s.a < (o.a if isinstance(o,Money) else o)
    def __add__(s,o): return Money(s.a+(o.a if isinstance(o,Money) else o))
""",
        """
assert Money(5) == 5
assert Money(5) < 6
assert Money(5) + 1 == Money(6)
""",
    ),
    "tests patch nothing": (
        "def fetch(client): return client.get('/x')['v']",
        """
from unittest.mock import Mock
m = Mock()
m.get.return_value = {'v': 3}
assert fetch(m) == 3
m.get.assert_called_once_with('/x')
""",
    ),
    "weird loads": (
        """
import sys
from math import *
from collections import *
def f(): return floor(2.5)+len(sys.argv)
""",
        "assert f() == 3",
    ),
    "signature": (
        """
def f(a, b=2):
    'does f'
    return a
""",
        """
import inspect
assert callable(f) and f.__doc__ == 'does f' and f.__name__ == 'f'
assert list(inspect.signature(f).parameters) == ['a','b']
""",
    ),
    "subclass in tests": (
        """
class Shape:
    def area(self): raise NotImplementedError
    def describe(self): return f'area {self.area()}'
""",
        """
try:
    Shape().describe(); assert False
except NotImplementedError:
    pass
""",
    ),
    "getitem only": (
        """
class A:
    def __getitem__(s,i):
        if i>2: raise IndexError
        return i
""",
        """
assert list(A())==[0,1,2]
assert 2 in A()
assert A()[1:2] is not None if False else True
""",
    ),
    "property setter": (
        """
class T:
    def __init__(s): s._c=0
    @property
    def c(s): return s._c
    @c.setter
    def c(s,v):
        if v<-273: raise ValueError('cold')
        s._c=v
    @property
    def f(s): return s._c*9/5+32
""",
        """
t=T()
t.c=100
assert t.f==212.0
try:
    t.c=-300
    assert False
except ValueError as e: assert str(e)=='cold'
assert isinstance(T.c, property) or True
""",
    ),
    "more lru": (
        """
class LRU:
    def __init__(self,capacity): self.c=capacity; self.d={}
    def get(self,k):
        if k in self.d:
            v=self.d.pop(k); self.d[k]=v; return v
        return -1
    def put(self,k,v):
        self.d.pop(k,None); self.d[k]=v
        if len(self.d)>self.c: del self.d[next(iter(self.d))]
""",
        """
c=LRU(capacity=2)
c.put(1,1);c.put(2,2)
assert c.get(1)==1
c.put(3,3)
assert c.get(2)==-1
assert c.d=={1:1,3:3}
assert len(c.d)==2
""",
    ),
    "many objects": (
        """
class N:
    def __init__(s,v): s.v=v; s.k=[]
    def add(s,n): s.k.append(n)
def total(n): return n.v+sum(map(total,n.k))
""",
        """
r=N(0)
for i in range(200):
    c=N(i); r.add(c)
assert total(r)==sum(range(200))
assert len(r.k)==200
assert r.k[3].v==3
r.k.append(N(1000))
assert total(r)==sum(range(200))+1000
""",
    ),
    "subclass by tests": (
        """
class Shape:
    def area(self): raise NotImplementedError
""",
        """
import inspect
assert inspect.isclass(Shape)
""",
    ),
    "tests lambda sort": (
        "def merge(a,b,key=None): return sorted(a+b,key=key)",
        """
assert merge([3],[1,2])==[1,2,3]
assert merge(['bb'],['a'],key=len)==['a','bb']
""",
    ),
    "string methods": (
        "def g(): return 'abc'",
        """
assert g().upper()=='ABC' and g()[0]=='a' and g().startswith('a') and 'b' in g() and len(g())==3 and g()*2=='abcabc'
""",
    ),
    "static": (
        """
class U:
    K=5
    class Inner:
        z=1
    @staticmethod
    def s(x): return x
    @classmethod
    def c(cls): return cls()
""",
        """
assert U.K==5 and U.s(2)==2 and isinstance(U.c(),U) and U.Inner.z==1 and U().K==5 and U.Inner().z==1
""",
    ),
    "slots": (
        """
class P:
    __slots__=('x',)
    def __init__(s): s.x=1
""",
        """
p=P()
try:
    p.y=2
    assert False
except AttributeError: pass
assert p.x==1 and not hasattr(p,'__dict__') or True
""",
    ),
    "exception group args": (
        """
class E(Exception):
    def __init__(s,code,msg): s.code=code; super().__init__(msg)
def f(): raise E(404,'nf')
""",
        """
try: f()
except E as e:
    assert e.code==404 and str(e)=='nf' and e.args==('nf',)
else: assert False
import unittest
class T(unittest.TestCase):
    def test_x(self):
        with self.assertRaises(E) as cm: f()
        self.assertEqual(cm.exception.code,404)
""",
    ),
    "raises helper": (
        """
def f(x):
    if x<0: raise ValueError('neg')
    return x
""",
        """
def raises(exc, fn, *a):
    try: fn(*a)
    except exc: return True
    return False
assert raises(ValueError, f, -1)
assert not raises(ValueError, f, 1)
import contextlib
with contextlib.suppress(ValueError): f(-1)
""",
    ),
    "cmp plain to obj": (
        """
class A: pass
def f(): return A()
""",
        """
assert f() != 3 and f() is not None and not (f() == 3)
a=f()
assert a == a and a in [a] and a is a
""",
    ),
    "date": (
        """
import datetime
def nxt(d): return d+datetime.timedelta(days=1)
def dt(): return datetime.datetime(2020,1,1,5)
def t(): return datetime.time(3,4)
def tz(): return datetime.datetime(2020,1,1,tzinfo=datetime.timezone.utc)
""",
        """
from datetime import date, datetime, timedelta
assert nxt(date(2020,2,28))==date(2020,2,29)
assert dt()==datetime(2020,1,1,5)
assert dt()-datetime(2020,1,1)==timedelta(hours=5)
assert t().hour==3
assert tz().isoformat()=='2020-01-01T00:00:00+00:00'
""",
    ),
    "path": (
        """
from pathlib import Path
import uuid, array
def p(): return Path('/a/b.txt')
def arr(): return array.array('i',[1,2])
def mv(): return memoryview(b'ab')
""",
        """
assert p().name=='b.txt' and str(p())=='/a/b.txt'
assert list(arr())==[1,2]
assert bytes(mv())==b'ab'
""",
    ),
    "userdict": (
        """
from collections import UserDict, ChainMap
class D(UserDict):
    def __setitem__(s,k,v): super().__setitem__(k.lower(),v)
def cm(): return ChainMap({'a':1},{'b':2})
""",
        """
d=D()
d['A']=1
assert d['a']==1 and 'a' in d and len(d)==1 and dict(d)=={'a':1}
assert cm()['b']==2
""",
    ),
    "userdict eq": (
        """
from collections import UserDict
class D(UserDict): pass
def f(): return {'a':1}.items()
""",
        """
assert D({'a':1}) == {'a':1}
assert list(f())==[('a',1)]
assert f()=={'a':1}.items()
""",
    ),
    "dict keys eq": (
        """
def f(): return {'a':1}.keys()
def v(): return {'a':1}.values()
""",
        """
assert f()=={'a'}
assert sorted(v())==[1]
assert f() == {'a': 5}.keys()
""",
    ),
    "types": (
        """
import types
def f(): return types.SimpleNamespace(a=1)
def m(): return types.MappingProxyType({'a':1})
""",
        """
assert f().a==1
assert m()['a']==1 and dict(m())=={'a':1}
""",
    ),
    "async gen": (
        """
import asyncio
async def ag():
    for i in range(3): yield i
class C:
    async def __aenter__(s): return 5
    async def __aexit__(s,*a): pass
    async def go(s): return 1
""",
        """
import asyncio
async def main():
    out=[x async for x in ag()]
    async with C() as c: out.append(c)
    out.append(await C().go())
    return out
assert asyncio.run(main())==[0,1,2,5,1]
""",
    ),
    "patch input": (
        "def ask(): return int(input('n? '))*2",
        """
import builtins
builtins.input=lambda p='': '4'
assert ask()==8
""",
    ),
    "mock input": (
        "def ask(): return int(input('n? '))*2",
        """
from unittest.mock import patch
with patch('builtins.input', return_value='4'):
    assert ask()==8
""",
    ),
    "stdin patch": (
        """
def ask(): return int(input())*2
import sys
def rd(): return sys.stdin.read()
""",
        r"""
import sys, io
sys.stdin=io.StringIO('5\n')
assert ask()==10
sys.stdin=io.StringIO('abc')
assert rd()=='abc'
""",
    ),
    "stdout swap": (
        "def p(): print('x')",
        r"""
import sys, io
o=sys.stdout
sys.stdout=io.StringIO()
p()
v=sys.stdout.getvalue()
sys.stdout=o
assert v=='x\n'
""",
    ),
}
"""A module and asserts over its names."""

PROGRAMS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "input": (
        """
n=int(input())
print(sum(map(int,input().split()[:n])))
""",
        [("3\n1 2 3\n", "6\n"), ("1\n5", "5")],
    ),
    "stdin read": (
        """
import sys
d=sys.stdin.read().split()
print(len(d))
""",
        [("a b\nc\n", "3")],
    ),
    "stdin lines": (
        """
import sys
for l in sys.stdin: print(l.strip()[::-1])
""",
        [("ab\ncd\n", "ba\ndc")],
    ),
    "readline": (
        """
import sys
input=sys.stdin.readline
n=int(input())
for _ in range(n): print(int(input())+1)
""",
        [("2\n1\n2\n", "2\n3")],
    ),
    "open 0": (
        "print(open(0).read().upper())",
        [("hi", "HI")],
    ),
    "buffer": (
        """
import sys
sys.stdout.buffer.write(sys.stdin.buffer.read())
""",
        [("x\ny\n", "x\ny")],
    ),
    "fileinput": (
        """
import fileinput
for l in fileinput.input(): print(l, end='')
""",
        [("a\nb", "a\nb")],
    ),
    "os read": (
        """
import os
print(os.read(0,100).decode())
""",
        [("abc", "abc")],
    ),
    "exit": (
        """
print('a')
exit()
""",
        [("", "a")],
    ),
    "exit 0": (
        """
print('a')
exit(0)
print('b')
""",
        [("", "a")],
    ),
    "sys exit": (
        """
import sys
print('a')
sys.exit()
""",
        [("", "a")],
    ),
    "quit": (
        """
print('a')
quit()
""",
        [("", "a")],
    ),
    "os exit": (
        """
import os,sys
print('a')
sys.stdout.flush()
os._exit(0)
""",
        [("", "a")],
    ),
    "main guard": (
        """
def main():
    print('m')
if __name__ == '__main__':
    main()
""",
        [("", "m")],
    ),
    "eof": (
        """
try:
    while True: print(input())
except EOFError:
    print('end')
""",
        [("a\nb", "a\nb\nend")],
    ),
    "big output": (
        "for i in range(200000): print(i)",
        [("", "\n".join(map(str, range(200000))))],
    ),
    "big input": (
        """
import sys
print(sum(map(int,sys.stdin.read().split())))
""",
        [("1 " * 500000, "500000")],
    ),
    "trailing space": (
        """
print('a  ')
print('b')
print()
""",
        [("", "a\nb")],
    ),
    "unicode": (
        "print(input()+'é😀')",
        [("ü", "üé😀")],
    ),
    "thread recursion": (
        """
import sys,threading
sys.setrecursionlimit(10**6)
threading.stack_size(2**27)
def f(n): return 0 if n==0 else 1+f(n-1)
def main(): print(f(100000))
t=threading.Thread(target=main)
t.start()
t.join()
""",
        [("", "100000")],
    ),
    "thread not joined": (
        """
import threading,time
def w():
    time.sleep(0.05); print('late')
threading.Thread(target=w).start()
print('early')
""",
        [("", "early\nlate")],
    ),
    "atexit": (
        """
import atexit
atexit.register(lambda: print('bye'))
print('hi')
""",
        [("", "hi\nbye")],
    ),
    "stderr": (
        """
import sys
print('x'*200000,file=sys.stderr)
print('ok')
""",
        [("", "ok")],
    ),
    "dataclass main": (
        """
from dataclasses import dataclass
@dataclass
class A:
    x:int
print(A(1))
""",
        [("", "A(x=1)")],
    ),
    "pickle main": (
        """
import pickle
class A: pass
print(type(pickle.loads(pickle.dumps(A()))).__name__)
""",
        [("", "A")],
    ),
    "print flush": (
        """
import sys
for i in range(3): print(i, flush=True)
sys.stdout.write('z')
""",
        [("", "0\n1\n2\nz")],
    ),
    "files": (
        """
open('a.txt','w').write('q')
print(open('a.txt').read())
""",
        [("", "q")],
    ),
    "getcwd": (
        """
import os
print(len(os.getcwd())>0, os.path.exists('.'))
print(os.listdir('.'))
""",
        [("", "True True\n[]")],
    ),
    "imports": (
        """
import math,random,itertools,functools,collections,heapq,bisect,string,re,datetime,decimal,fractions,statistics,json,copy,operator,sys,os,time,typing,dataclasses,enum,io,array,cmath,numbers,queue,threading,hashlib,zlib,struct,textwrap,calendar,ctypes
print('ok')
""",
        [("", "ok")],
    ),
    "memory 300MB": (
        """
x=bytearray(300<<20)
print(len(x))
""",
        [("", "314572800")],
    ),
    "recursion error": (
        """
def f(): return f()
try: f()
except RecursionError: print('deep')
""",
        [("", "deep")],
    ),
    "sets": (
        """
n,m=map(int,input().split())
g=[[] for _ in range(n)]
for _ in range(m):
    a,b=map(int,input().split()); g[a].append(b); g[b].append(a)
seen={0};st=[0]
while st:
    for v in g[st.pop()]:
        if v not in seen: seen.add(v); st.append(v)
print(len(seen))
""",
        [("4 2\n0 1\n1 2\n", "3")],
    ),
    "asyncio": (
        """
import asyncio
async def m():
    await asyncio.sleep(0)
    print('a')
asyncio.run(m())
""",
        [("", "a")],
    ),
    "crlf": (
        "print(input().strip())",
        [("a\r\n", "a\r\n")],
    ),
    "empty output": (
        "pass",
        [("", "")],
    ),
    "bigint": (
        """
import sys
sys.set_int_max_str_digits(0)
print(len(str(7**9000)))
""",
        [("", "7606")],
    ),
    "numbers str limit": (
        "print(2**1000)",
        [
            (
                "",
                "10715086071862673209484250490600018105614048117055336074437503883703510511249361224931983788156958581275946729175531468251871452856923140435984577574698574803934567774824230985421074605062371141877954182153046474983581941267398767559165543946077062914571196477686542167660429831652624386837205668069376",
            )
        ],
    ),
    "stdin seek": (
        """
import sys
print(sys.stdin.isatty(), sys.stdin.readable(), sys.stdin.fileno())
""",
        [("", "False True 0")],
    ),
    "signal alarm": (
        """
import signal
signal.signal(signal.SIGALRM, lambda *a: print('al'))
signal.setitimer(signal.ITIMER_REAL, 0.02)
import time
time.sleep(0.1)
""",
        [("", "al")],
    ),
    "shutil": (
        """
import shutil,os
open('a','w').write('1')
os.mkdir('d')
shutil.copyfile('a','d/b')
os.rename('d/b','c')
print(open('c').read())
shutil.rmtree('d')
""",
        [("", "1")],
    ),
}
"""A program and pairs of standard input and expected output."""
