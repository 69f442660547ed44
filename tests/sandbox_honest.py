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
    "mbpp with setup": (
        """
def similar_elements(t1, t2):
  return tuple(set(t1) & set(t2))
""",
        """
assert set(similar_elements((3, 4, 5, 6),(5, 7, 4, 10))) == set((4, 5))
assert set(similar_elements((1, 2),(5, 4))) == set()
""",
    ),
    "mbpp heap": (
        """
import heapq as hq
def heap_queue_largest(nums,n):
  return hq.nlargest(n, nums)
""",
        "assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],3)==[85, 75, 65]",
    ),
    "mbpp test setup code": (
        """
class Pair(object):
    def __init__(self, a, b):
        self.a = a
        self.b = b
def max_chain_length(arr, n):
    mx = [1]*n
    for i in range(1, n):
        for j in range(i):
            if arr[i].a > arr[j].b and mx[i] < mx[j] + 1: mx[i] = mx[j] + 1
    return max(mx)
""",
        "assert max_chain_length([Pair(5, 24), Pair(15, 25),Pair(27, 40), Pair(50, 60)], 4) == 3",
    ),
    "mbpp tree node in both": (
        """
class Node:
  def __init__(self, data):
    self.data = data
    self.left = None
    self.right = None
def max_height(node):
  if node is None: return 0
  return 1 + max(max_height(node.left), max_height(node.right))
""",
        """
root = Node(1)
root.left = Node(2)
root.right = Node(3)
root.left.left = Node(4)
assert max_height(root) == 3
assert max_height(None) == 0
""",
    ),
    "humaneval metadata": (
        """
from typing import List

def has_close_elements(numbers: List[float], threshold: float) -> bool:
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i != j and abs(a - b) < threshold: return True
    return False
""",
        """
METADATA = {'author': 'jt', 'dataset': 'test'}
def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False
check(has_close_elements)
""",
    ),
    "humaneval approx": (
        "def truncate_number(number): return number % 1.0",
        """
def check(candidate):
    assert abs(candidate(1.33) - 0.33) < 1e-6
    assert candidate(3.5) == 0.5
check(truncate_number)
""",
    ),
    "humaneval plus inputs": (
        "def f(xs): return sorted(xs)[0]",
        """
def is_floats(x):
    if isinstance(x, float): return True
    if isinstance(x, (list, tuple)) and x: return all(isinstance(i, float) for i in x)
    return False
def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp): atol = 1e-6
    if not exact_match and atol != 0:
        assert abs(out - exp) <= atol
    else:
        assert exact_match
def check(candidate):
    inputs = [[[3, 1, 2]], [[0.5, 0.25]], [[-1]]]
    results = [1, 0.25, -1]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
check(f)
""",
    ),
    "humaneval poly": (
        """
import math
def poly(xs, x): return sum(c * math.pow(x, i) for i, c in enumerate(xs))
def find_zero(xs):
    a, b = -1., 1.
    while poly(xs, a) * poly(xs, b) > 0: a *= 2.0; b *= 2.0
    while b - a > 1e-10:
        c = (a + b) / 2.0
        if poly(xs, c) * poly(xs, a) > 0: a = c
        else: b = c
    return a
""",
        """
def check(candidate):
    import math
    import random
    rng = random.Random(42)
    import copy
    for _ in range(20):
        ncoeff = 2 * rng.randint(1, 4)
        coeffs = [rng.randint(-10, 10) or 1 for _ in range(ncoeff)]
        solution = candidate(copy.deepcopy(coeffs))
        assert math.fabs(poly(coeffs, solution)) < 1e-4
check(find_zero)
""",
    ),
    "leetcode linked list in code": (
        """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
class Solution:
    def reverse(self, head):
        prev = None
        while head:
            head.next, prev, head = prev, head, head.next
        return prev
""",
        """
def build(xs):
    head = None
    for x in reversed(xs): head = ListNode(x, head)
    return head
def dump(n):
    out = []
    while n: out.append(n.val); n = n.next
    return out
assert dump(Solution().reverse(build([1,2,3]))) == [3,2,1]
assert Solution().reverse(None) is None
""",
    ),
    "leetcode list node in tests": (
        """
class Solution:
    def merge(self, a, b):
        out = []
        while a or b:
            if not b or (a and a.val <= b.val): out.append(a); a = a.next
            else: out.append(b); b = b.next
        for x, y in zip(out, out[1:] + [None]): x.next = y
        return out[0] if out else None
""",
        """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
def build(xs):
    dummy = tail = ListNode()
    for x in xs:
        tail.next = ListNode(x)
        tail = tail.next
    return dummy.next
def dump(n):
    out = []
    while n:
        out.append(n.val)
        n = n.next
    return out
assert dump(Solution().merge(build([1,3,5]), build([2,4]))) == [1,2,3,4,5]
assert Solution().merge(None, None) is None
""",
    ),
    "tree node optional annotations": (
        """
from typing import Optional, List
from collections import deque
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val = val; self.left = left; self.right = right
class Solution:
    def levelOrder(self, root: Optional['TreeNode']) -> List[List[int]]:
        if not root: return []
        q, out = deque([root]), []
        while q:
            out.append([n.val for n in q])
            for _ in range(len(q)):
                n = q.popleft()
                if n.left: q.append(n.left)
                if n.right: q.append(n.right)
        return out
    def invert(self, root):
        if root:
            root.left, root.right = self.invert(root.right), self.invert(root.left)
        return root
""",
        """
t = TreeNode(3, TreeNode(9), TreeNode(20, TreeNode(15), TreeNode(7)))
assert Solution().levelOrder(t) == [[3],[9,20],[15,7]]
inv = Solution().invert(t)
assert inv is t
assert t.left.val == 20 and t.right.val == 9
assert Solution().levelOrder(t) == [[3],[20,9],[7,15]]
""",
    ),
    "design class ops": (
        """
from collections import OrderedDict
class LRUCache:
    def __init__(self, capacity: int):
        self.cap, self.d = capacity, OrderedDict()
    def get(self, key):
        if key not in self.d: return -1
        self.d.move_to_end(key)
        return self.d[key]
    def put(self, key, value):
        self.d[key] = value
        self.d.move_to_end(key)
        if len(self.d) > self.cap: self.d.popitem(last=False)
""",
        """
ops = ["LRUCache","put","put","get","put","get","put","get","get","get"]
args = [[2],[1,1],[2,2],[1],[3,3],[2],[4,4],[1],[3],[4]]
want = [None,None,None,1,None,-1,None,-1,3,4]
obj, got = None, []
for op, arg in zip(ops, args):
    if op == "LRUCache": obj = LRUCache(*arg); got.append(None)
    else: got.append(getattr(obj, op)(*arg))
assert got == want, got
""",
    ),
    "in place sort colors": (
        """
class Solution:
    def sortColors(self, nums):
        c = [nums.count(i) for i in range(3)]
        nums[:] = [0]*c[0]+[1]*c[1]+[2]*c[2]
""",
        """
nums = [2,0,2,1,1,0]
r = Solution().sortColors(nums)
assert r is None
assert nums == [0,0,1,1,2,2]
""",
    ),
    "in place nested": (
        """
def rotate(m):
    n = len(m)
    for i in range(n):
        for j in range(i): m[i][j], m[j][i] = m[j][i], m[i][j]
    for row in m: row.reverse()
""",
        """
m = [[1,2],[3,4]]
row = m[0]
rotate(m)
assert m == [[3,1],[4,2]]
assert m[0] is row
assert row == [3,1]
""",
    ),
    "in place dict and pop": (
        """
def drain(d, xs):
    while xs: d.setdefault(len(xs), []).append(xs.pop())
    return d
""",
        """
d = {}
xs = [1,2,3]
r = drain(d, xs)
assert r is d and xs == []
assert d == {3:[3],2:[2],1:[1]}
assert list(d) == [3,2,1]
""",
    ),
    "in place class attribute": (
        """
def grow(box):
    box.items.append(1)
    box.n += 1
    return box
""",
        """
class Box:
    def __init__(self):
        self.items = []
        self.n = 0
b = Box()
assert grow(b) is b
assert b.items == [1]
assert b.n == 1
""",
    ),
    "generators pipeline": (
        """
def evens():
    n = 0
    while True:
        yield n
        n += 2
def take(it, k):
    for x, _ in zip(it, range(k)): yield x
def flat(x):
    for y in x:
        if isinstance(y, list): yield from flat(y)
        else: yield y
""",
        """
from itertools import islice
assert list(islice(evens(), 3)) == [0,2,4]
assert list(take(evens(), 4)) == [0,2,4,6]
assert list(flat([1,[2,[3]],[]])) == [1,2,3]
assert sum(take(evens(), 4)) == 12
a, b, *c = take(evens(), 4)
assert (a, b, c) == (0, 2, [4, 6])
assert next(evens()) == 0
assert 4 in evens()
assert max(take(evens(), 3)) == 4
""",
    ),
    "generator over lambda of tests": (
        """
def unfold(f, x):
    while True:
        r = f(x)
        if r is None: return
        y, x = r
        yield y
""",
        """
assert list(unfold(lambda n: (n, n - 1) if n > 0 else None, 3)) == [3, 2, 1]
g = unfold(lambda n: None, 1)
try:
    next(g)
    assert False
except StopIteration:
    pass
""",
    ),
    "decorators with arguments": (
        """
import functools, time
def repeat(times):
    def deco(f):
        @functools.wraps(f)
        def wrapper(*a, **k):
            return [f(*a, **k) for _ in range(times)]
        return wrapper
    return deco
def memo(f):
    cache = {}
    @functools.wraps(f)
    def inner(n):
        if n not in cache: cache[n] = f(n)
        return cache[n]
    inner.cache = cache
    return inner
@repeat(3)
def hi(name, punct='!'):
    "greets"
    return f'hi {name}{punct}'
@memo
def fib(n): return n if n < 2 else fib(n-1) + fib(n-2)
class counted:
    def __init__(self, f): self.f, self.calls = f, 0
    def __call__(self, *a): self.calls += 1; return self.f(*a)
@counted
def inc(x): return x + 1
""",
        """
assert hi('a') == ['hi a!']*3
assert hi('a', punct='?')[0] == 'hi a?'
assert hi.__name__ == 'hi' and hi.__doc__ == 'greets'
assert fib(50) == 12586269025
assert fib.cache[10] == 55
assert [inc(1), inc(2)] == [2, 3]
assert inc.calls == 2
@repeat(times=2)
def mine(x): return x * 2
assert mine(4) == [8, 8]
calls = []
@memo
def slow(n):
    calls.append(n)
    return n
assert slow(3) == slow(3) == 3
assert calls == [3]
""",
    ),
    "dataclass eq hash order post init": (
        """
from dataclasses import dataclass, field, asdict, replace, astuple
@dataclass(order=True, frozen=True)
class V:
    major: int
    minor: int = 0
    label: str = field(default='', compare=False)
    def bump(self): return replace(self, minor=self.minor + 1)
    @classmethod
    def parse(cls, s): return cls(*map(int, s.split('.')))
    @property
    def text(self): return f'{self.major}.{self.minor}'
@dataclass
class Cart:
    items: list[V] = field(default_factory=list)
    total: int = field(init=False)
    def __post_init__(self): self.total = len(self.items)
""",
        """
assert V.parse('1.2') == V(1, 2)
assert V(1, 2).bump() == V(1, 3)
assert V(1,2,'x') == V(1,2,'y')
assert sorted([V(2), V(1, 5), V(1)]) == [V(1), V(1,5), V(2)]
assert max(V(1), V(3), V(2)).major == 3
assert V(1).text == '1.0'
assert len({V(1), V(1), V(2)}) == 2
assert Cart([V(1)]).total == 1
assert Cart() == Cart([])
assert Cart().items is not Cart().items
from dataclasses import asdict
assert asdict(V(1, 2, 'z')) == {'major': 1, 'minor': 2, 'label': 'z'}
assert repr(V(1)) == "V(major=1, minor=0, label='')"
try:
    V(1).major = 3
except AttributeError:
    pass
else:
    raise AssertionError
d = {V(1): 'one'}
assert d[V(1)] == 'one'
assert V(1) in [V(1)]
assert V(1) != (1, 0)
""",
    ),
    "setrecursionlimit": (
        """
import sys
sys.setrecursionlimit(10**6)
def depth(n): return 0 if n == 0 else 1 + depth(n-1)
""",
        "assert depth(20000) == 20000\nassert depth(5) == 5",
    ),
    "mutual recursion ackermann": (
        """
import sys
from functools import lru_cache, cache
sys.setrecursionlimit(20000)
@lru_cache(maxsize=None)
def ack(m, n):
    if m == 0: return n + 1
    if n == 0: return ack(m - 1, 1)
    return ack(m - 1, ack(m, n - 1))
@cache
def odd(n): return False if n == 0 else even(n - 1)
def even(n): return True if n == 0 else odd(n - 1)
""",
        """
assert ack(2, 3) == 9
assert ack(3, 3) == 61
assert even(100) is True
assert odd(7) is True
assert ack.cache_info().hits > 0
ack.cache_clear()
assert ack.cache_info().currsize == 0
""",
    ),
    "numpy maybe absent": (
        """
try:
    import numpy as np
except ImportError:
    np = None
def mean(xs):
    return float(np.mean(xs)) if np is not None else sum(xs) / len(xs)
""",
        """
assert abs(mean([1, 2, 3]) - 2) < 1e-9
import math
assert math.isclose(mean([0.1, 0.2]), 0.15)
""",
    ),
    "decimal and fractions": (
        """
from decimal import Decimal, getcontext, ROUND_HALF_UP, localcontext
from fractions import Fraction
def money(x): return Decimal(x).quantize(Decimal('0.01'), rounding=ROUND_HALF_UP)
def mediant(a, b): return Fraction(a.numerator + b.numerator, a.denominator + b.denominator)
def root(n, digits):
    with localcontext() as c:
        c.prec = digits
        return Decimal(n).sqrt()
""",
        """
from decimal import Decimal
from fractions import Fraction
assert money('2.675') == Decimal('2.68')
assert str(money('1')) == '1.00'
assert mediant(Fraction(1,2), Fraction(1,3)) == Fraction(2,5)
assert str(root(2, 30)) == '1.41421356237309504880168872421'
assert isinstance(money('1'), Decimal)
assert mediant(Fraction(1,2), Fraction(1,3)) + 1 == Fraction(7, 5)
assert money('NaN').is_nan()
assert float(mediant(Fraction(1,2), Fraction(1,2))) == 0.5
""",
    ),
    "random seeded": (
        """
import random
def shuffled(xs, seed):
    r = random.Random(seed)
    xs = list(xs)
    r.shuffle(xs)
    return xs
def roll(seed):
    random.seed(seed)
    return [random.randint(1, 6) for _ in range(5)]
""",
        """
import random
assert shuffled(range(5), 3) == shuffled(range(5), 3)
assert sorted(shuffled(range(5), 3)) == [0,1,2,3,4]
random.seed(7)
expected = [random.randint(1, 6) for _ in range(5)]
assert roll(7) == expected
assert all(1 <= x <= 6 for x in roll(1))
""",
    ),
    "datetime arithmetic": (
        """
from datetime import datetime, timedelta, date, timezone
import calendar
def days(a, b): return (datetime.strptime(b, '%Y-%m-%d') - datetime.strptime(a, '%Y-%m-%d')).days
def add(d, n): return d + timedelta(days=n)
def weekday(d): return calendar.day_name[d.weekday()]
def utc(ts): return datetime.fromtimestamp(ts, timezone.utc)
def leap(y): return calendar.isleap(y)
""",
        """
from datetime import date, datetime, timedelta, timezone
assert days('2024-02-28', '2024-03-01') == 2
assert add(date(2024, 2, 28), 2) == date(2024, 3, 1)
assert weekday(date(2024, 1, 1)) == 'Monday'
assert utc(0).isoformat() == '1970-01-01T00:00:00+00:00'
assert utc(0) == datetime(1970, 1, 1, tzinfo=timezone.utc)
assert leap(2000) and not leap(1900)
assert add(datetime(2024,1,1,5), 1) - datetime(2024,1,1) == timedelta(hours=29)
""",
    ),
    "regex objects": (
        r"""
import re
pattern = re.compile(r'(?P<k>\w+)=(?P<v>\d+)')
def find(s): return pattern.search(s)
def pairs(s): return {m['k']: int(m['v']) for m in pattern.finditer(s)}
def clean(s): return re.sub(r'\s+', ' ', s).strip()
""",
        r"""
m = find('xx a=12 b=3')
assert m.group('k') == 'a'
assert m.groups() == ('a', '12')
assert m.span() == (3, 7)
assert find('nothing') is None
assert pairs('a=1 b=2') == {'a': 1, 'b': 2}
assert clean('  a \n b ') == 'a b'
assert pattern.pattern.startswith('(?P<k>')
assert m
assert m['v'] == '12'
assert pattern.sub('x', 'a=1') == 'x'
""",
    ),
    "string formatting": (
        """
import string, textwrap
def fmt(x): return f'{x:>10.3f}|{x!r}|{x:e}'
def caesar(s, k):
    a = string.ascii_lowercase
    return s.translate(str.maketrans(a, a[k:] + a[:k]))
def tpl(**k): return string.Template('$a-$b').substitute(k)
def wrap(s, w): return textwrap.fill(s, w)
""",
        r"""
assert fmt(3.14159) == '     3.142|3.14159|3.141590e+00'
assert caesar('abc xyz', 3) == 'def abc'
assert tpl(a=1, b='x') == '1-x'
assert wrap('aaa bbb ccc', 7) == 'aaa bbb\nccc'
assert 'é' * 2 + '🎉' == chr(233) * 2 + '\U0001f389'
""",
    ),
    "unicode and surrogates": (
        r"""
def rev(s): return s[::-1]
def codes(s): return [ord(c) for c in s]
def lone(): return '\ud800x'
def norm(s):
    import unicodedata
    return unicodedata.normalize('NFD', s)
""",
        r"""
assert rev('añ🎉') == '🎉ña'
assert codes('é') == [233]
assert lone() == '\ud800x'
assert len(lone()) == 2
assert len(norm('é')) == 2
assert rev('\x00a') == 'a\x00'
assert rev('日本') == '本日'
""",
    ),
    "itertools results": (
        """
import itertools
def perms(s): return itertools.permutations(s)
def groups(s): return [(k, len(list(g))) for k, g in itertools.groupby(s)]
def acc(xs): return itertools.accumulate(xs)
def prod(*a): return list(itertools.product(*a))
""",
        """
assert list(perms('ab')) == [('a','b'),('b','a')]
assert len(list(perms([1,2,3,4]))) == 24
assert groups('aab') == [('a',2),('b',1)]
assert list(acc([1,2,3])) == [1,3,6]
assert [*acc(range(3))][-1] == 3
assert prod([0,1],'ab') == [(0,'a'),(0,'b'),(1,'a'),(1,'b')]
assert sorted(''.join(p) for p in perms('abc'))[0] == 'abc'
it = acc([5])
assert next(it) == 5
assert next(it, 'end') == 'end'
""",
    ),
    "returns iterators": (
        """
def squares(xs): return map(lambda x: x*x, xs)
def small(xs): return filter(None, xs)
def both(a, b): return zip(a, b)
def rev(xs): return reversed(xs)
def num(xs): return enumerate(xs, 1)
def it(xs): return iter(xs)
def keys(d): return d.keys()
def rng(n): return range(n)
""",
        """
assert list(squares([1,2])) == [1,4]
assert list(small([0,1,2])) == [1,2]
assert dict(both('ab', [1,2])) == {'a':1,'b':2}
assert list(rev([1,2])) == [2,1]
assert list(num('ab')) == [(1,'a'),(2,'b')]
assert next(it([4])) == 4
assert set(keys({'a':1})) == {'a'}
assert 'a' in keys({'a':1})
assert sorted(keys({'b':1,'a':2})) == ['a','b']
assert keys({'a': 1}) == {'a'}
assert rng(3) == range(3)
assert len(rng(3)) == 3
assert rng(10)[2:5] == range(2, 5)
assert sum(squares(rng(4))) == 14
""",
    ),
    "callables of tests": (
        """
def apply(f, *a, **k): return f(*a, **k)
def compose(*fs):
    def inner(x):
        for f in reversed(fs): x = f(x)
        return x
    return inner
def group(xs, key):
    out = {}
    for x in xs: out.setdefault(key(x), []).append(x)
    return out
def fold(f, xs, start):
    for x in xs: start = f(start, x)
    return start
def curry(f): return lambda a: lambda b: f(a, b)
""",
        """
import operator
assert apply(lambda a, b=2: a + b, 1) == 3
assert apply(max, 1, 5) == 5
assert apply(str.upper, 'a') == 'A'
assert apply(sorted, [2,1], reverse=True) == [2,1]
assert apply(operator.add, 1, 2) == 3
assert compose(lambda x: x + 1, lambda x: x * 2)(5) == 11
assert compose(str, len)('abc') == '3'
assert group(['a','bb','cc'], len) == {1:['a'],2:['bb','cc']}
assert group([1,2,3], lambda x: x % 2 == 0) == {False:[1,3],True:[2]}
assert fold(operator.mul, [1,2,3], 1) == 6
assert curry(pow)(2)(5) == 32
log = []
apply(log.append, 4)
assert log == [4]
""",
    ),
    "callbacks raise": (
        """
def safe(f, default=None):
    try: return f()
    except ZeroDivisionError: return default
def retry(f, n):
    for i in range(n):
        try: return f()
        except ValueError as e: last = e
    raise last
""",
        """
assert safe(lambda: 1/0, 'd') == 'd'
assert safe(lambda: 4) == 4
tries = []
def flaky():
    tries.append(1)
    if len(tries) < 3: raise ValueError('again')
    return 'ok'
assert retry(flaky, 5) == 'ok'
assert len(tries) == 3
class Mine(ValueError): pass
def bad(): raise Mine('no')
try:
    retry(bad, 2)
except Mine as e:
    assert str(e) == 'no'
else:
    assert False
try:
    safe(lambda: [][0])
    assert False
except IndexError:
    pass
""",
    ),
    "expected exceptions": (
        """
class BankError(Exception):
    code = 7
    def __init__(self, need, have):
        super().__init__(f'need {need}, have {have}')
        self.need, self.have = need, have
class Frozen(BankError): pass
class Account:
    def __init__(self, n=0): self.n, self.frozen = n, False
    def take(self, k):
        if self.frozen: raise Frozen(k, self.n)
        if k > self.n: raise BankError(k, self.n)
        if not isinstance(k, int): raise TypeError('int wanted') from None
        self.n -= k
        return self.n
""",
        """
a = Account(5)
assert a.take(2) == 3
try:
    a.take(10)
    assert False, 'no error'
except BankError as e:
    assert (e.need, e.have) == (10, 3)
    assert str(e) == 'need 10, have 3'
    assert e.code == 7
    assert e.args == ('need 10, have 3',)
a.frozen = True
try:
    a.take(1)
except Frozen as e:
    assert isinstance(e, BankError)
else:
    assert False
def raises(kind, f, *args):
    try: f(*args)
    except kind: return True
    return False
a.frozen = False
assert raises(TypeError, a.take, 1.5)
assert raises(TypeError, a.take, None)
assert not raises(BankError, a.take, 1)
assert issubclass(Frozen, BankError)
""",
    ),
    "pytest raises style": (
        """
def div(a, b):
    if b == 0: raise ZeroDivisionError('b is 0')
    return a / b
class Stack:
    def __init__(self): self._x = []
    def push(self, v): self._x.append(v)
    def pop(self):
        if not self._x: raise IndexError('pop from empty stack')
        return self._x.pop()
    def __len__(self): return len(self._x)
""",
        """
import contextlib
class raises(contextlib.AbstractContextManager):
    def __init__(self, kind, match=''): self.kind, self.match = kind, match
    def __exit__(self, kind, value, tb):
        assert kind is not None and issubclass(kind, self.kind), 'did not raise'
        assert self.match in str(value)
        return True
def test_div():
    assert div(1, 2) == 0.5
    with raises(ZeroDivisionError, match='b is 0'):
        div(1, 0)
def test_stack():
    s = Stack()
    s.push(1)
    assert len(s) == 1
    assert s.pop() == 1
    assert not s
    with raises(IndexError):
        s.pop()
class TestStack:
    def test_two(self):
        s = Stack()
        s.push('a'); s.push('b')
        assert s.pop() == 'b'
t = TestStack()
t.test_two()
""",
    ),
    "unittest setup": (
        """
class Counter2:
    def __init__(self): self.n = 0
    def inc(self, by=1): self.n += by; return self
    def fail(self): raise KeyError('gone')
""",
        """
import unittest
class TestCounter(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.base = 1
    def setUp(self): self.c = Counter2()
    def tearDown(self): del self.c
    def test_inc(self):
        self.c.inc().inc(2)
        self.assertEqual(self.c.n, 3)
        self.assertTrue(self.c.n > self.base)
    def test_fail(self):
        with self.assertRaises(KeyError) as caught: self.c.fail()
        self.assertIn('gone', str(caught.exception))
        self.assertRaises(KeyError, self.c.fail)
    def test_more(self):
        self.assertAlmostEqual(0.1 + 0.2, 0.3)
        self.assertIsInstance(self.c, Counter2)
        self.assertIsNone(None)
        self.assertListEqual([1], [1])
        self.assertCountEqual([1, 2], [2, 1])
        self.assertDictEqual({'a': 1}, {'a': 1})
        for i in range(3):
            with self.subTest(i=i): self.assertEqual(self.c.inc().n, i + 1)
if __name__ == '__main__':
    unittest.main()
""",
    ),
    "custom eq between its own": (
        """
class Poly:
    def __init__(self, *c): self.c = c
    def __eq__(self, o): return isinstance(o, Poly) and self.c == o.c
    def __hash__(self): return hash(self.c)
    def __add__(self, o): return Poly(*(a + b for a, b in zip(self.c, o.c)))
    def __mul__(self, k): return Poly(*(k * a for a in self.c))
    __rmul__ = __mul__
    def __neg__(self): return self * -1
    def __call__(self, x): return sum(a * x**i for i, a in enumerate(self.c))
    def __repr__(self): return f'Poly{self.c}'
    def __getitem__(self, i): return self.c[i]
    def __len__(self): return len(self.c)
    def __iter__(self): return iter(self.c)
    def __bool__(self): return any(self.c)
    def __matmul__(self, o): return sum(a*b for a, b in zip(self.c, o.c))
""",
        """
p, q = Poly(1, 2), Poly(3, 4)
assert p + q == Poly(4, 6)
assert p * 2 == 2 * p == Poly(2, 4)
assert -p == Poly(-1, -2)
assert p(10) == 21
assert repr(p) == 'Poly(1, 2)'
assert p[1] == 2 and len(p) == 2
assert list(p) == [1, 2]
assert bool(Poly(0, 0)) is False
assert p != q
assert p @ q == 11
assert p in {p, q}
assert [p, q] == [Poly(1, 2), Poly(3, 4)]
assert {p: 1} == {Poly(1, 2): 1}
a, b = p
assert (a, b) == (1, 2)
p += q
assert p == Poly(4, 6)
assert sum([q, q], Poly(0, 0)) == Poly(6, 8)
""",
    ),
    "total ordering and sort": (
        """
from functools import total_ordering, cmp_to_key
@total_ordering
class Card:
    R = '23456789TJQKA'
    def __init__(self, s): self.s = s
    def __eq__(self, o): return self.R.index(self.s) == self.R.index(o.s)
    def __lt__(self, o): return self.R.index(self.s) < self.R.index(o.s)
    def __repr__(self): return self.s
def largest(nums): return ''.join(sorted(map(str, nums), key=cmp_to_key(lambda a, b: -1 if a + b > b + a else 1)))
""",
        """
cs = [Card(c) for c in 'K2A']
assert [repr(c) for c in sorted(cs)] == ['2', 'K', 'A']
assert Card('A') > Card('K') >= Card('Q')
assert min(cs).s == '2'
assert largest([3,30,34,5,9]) == '9534330'
cs.sort(reverse=True)
assert str(cs) == '[A, K, 2]'
assert Card('2') == Card('2')
""",
    ),
    "deepcopy behaviour": (
        """
import copy
class Node:
    def __init__(self, v, kids=()): self.v, self.kids = v, list(kids)
def clone(x): return copy.deepcopy(x)
def shallow(x): return copy.copy(x)
""",
        """
a = [[1], {'k': [2]}]
b = clone(a)
assert b == a and b is not a and b[0] is not a[0]
b[0].append(9)
assert a == [[1], {'k': [2]}]
c = shallow(a)
assert c[0] is a[0]
n = Node(1, [Node(2)])
m = clone(n)
assert m is not n and m.kids[0] is not n.kids[0] and m.kids[0].v == 2
m.kids[0].v = 5
assert n.kids[0].v == 2
import copy
k = copy.deepcopy(n)
k.v = 10
assert n.v == 1 and k.kids[0].v == 2
""",
    ),
    "async solved": (
        """
import asyncio
async def fetch(x, delay=0.001):
    await asyncio.sleep(delay)
    return x * 2
async def gather(xs): return await asyncio.gather(*(fetch(x) for x in xs))
def solve(xs): return asyncio.run(gather(xs))
async def agen(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i
async def collect(n): return [x async for x in agen(n)]
class Lock:
    async def __aenter__(self): return 5
    async def __aexit__(self, *e): return False
async def use():
    async with Lock() as v: return v
async def fails(): raise ValueError('async')
""",
        """
import asyncio
assert solve([1,2]) == [2,4]
assert asyncio.run(fetch(4)) == 8
assert asyncio.run(collect(3)) == [0,1,2]
assert asyncio.run(use()) == 5
async def main():
    a, b = await asyncio.gather(fetch(1), fetch(2))
    return a + b
assert asyncio.run(main()) == 6
try:
    asyncio.run(fails())
    assert False
except ValueError as e:
    assert str(e) == 'async'
assert asyncio.run(asyncio.wait_for(fetch(1), 5)) == 2
""",
    ),
    "threads and locks": (
        """
import threading, queue, concurrent.futures as cf
def total(n):
    s, lock = [0], threading.Lock()
    def work(k):
        with lock: s[0] += k
    ts = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for t in ts: t.start()
    for t in ts: t.join()
    return s[0]
def pool(f, xs):
    with cf.ThreadPoolExecutor(4) as ex: return list(ex.map(f, xs))
def local_map(xs): return pool(lambda x: x + 1, xs)
class SafeCounter:
    def __init__(self): self.v, self._l = 0, threading.RLock()
    def inc(self):
        with self._l: self.v += 1
""",
        """
import threading
assert total(10) == 45
assert local_map([1,2]) == [2,3]
c = SafeCounter()
ts = [threading.Thread(target=c.inc) for _ in range(5)]
for t in ts: t.start()
for t in ts: t.join()
assert c.v == 5
""",
    ),
    "thread calls back into tests": (
        """
import concurrent.futures as cf
def pool(f, xs):
    with cf.ThreadPoolExecutor(2) as ex: return list(ex.map(f, xs))
""",
        """
assert pool(lambda x: x * 2, [1, 2, 3]) == [2, 4, 6]
assert pool(abs, [-1]) == [1]
""",
    ),
    "nested containers compare": (
        """
def data(): return {'a': [1, (2, {3})], 'n': None, 't': True, 'f': 1.5, 's': {'x', 'y'}, 'fs': frozenset([1]), 'b': b'x', 'd': {(1, 2): [3]}}
def mixed(): return [1, 'a', None, 2.5, (1,), [], {}, set()]
""",
        """
assert data() == {'a': [1, (2, {3})], 'n': None, 't': True, 'f': 1.5, 's': {'y', 'x'}, 'fs': frozenset({1}), 'b': b'x', 'd': {(1, 2): [3]}}
assert data()['a'][1][1] == {3}
assert mixed() == [1, 'a', None, 2.5, (1,), [], {}, set()]
assert mixed()[0] == 1.0
assert type(data()['t']) is bool
assert data()['n'] is None
assert (1,) != [1]
assert isinstance(mixed()[7], set)
assert mixed() is not mixed()
""",
    ),
    "float comparisons": (
        """
def area(r): return 3.141592653589793 * r * r
def series(n): return sum(0.1 for _ in range(n))
def inf(): return float('inf'), float('-inf'), float('nan')
""",
        """
import math
assert math.isclose(area(2), 12.566370614359172)
assert abs(series(10) - 1.0) < 1e-9
assert round(area(1), 2) == 3.14
a, b, c = inf()
assert a == float('inf') and b == -math.inf and math.isnan(c)
assert c != c
assert math.isclose(series(3), 0.3, rel_tol=1e-9)
assert all(math.isclose(x, y) for x, y in zip([series(1), area(1)], [0.1, math.pi]))
assert area(1) == math.pi
assert -0.0 == 0.0
""",
    ),
    "protocols typing generics": (
        """
from typing import TypeVar, Generic, Protocol, Optional, Union, Any, Callable, Iterable, NamedTuple, TypedDict, Literal, overload, ClassVar
T = TypeVar('T')
class Stack(Generic[T]):
    limit: ClassVar[int] = 3
    def __init__(self) -> None: self.items: list[T] = []
    def push(self, item: T) -> 'Stack[T]':
        self.items.append(item); return self
    def peek(self) -> Optional[T]: return self.items[-1] if self.items else None
class Movie(TypedDict):
    name: str
class Shape(Protocol):
    def area(self) -> float: ...
def total(shapes: Iterable[Shape]) -> float: return sum(s.area() for s in shapes)
def movie(n: str) -> Movie: return {'name': n}
def first(xs: list[T] | None) -> T | None: return xs[0] if xs else None
""",
        """
s = Stack[int]()
assert s.push(1).push(2).peek() == 2
assert Stack().peek() is None
assert Stack.limit == 3
assert movie('x') == {'name': 'x'}
class Sq:
    def __init__(self, a): self.a = a
    def area(self): return self.a ** 2
assert total([Sq(2), Sq(3)]) == 13
assert first([]) is None and first([7]) == 7
assert s.items == [1, 2]
""",
    ),
    "abc and super": (
        """
from abc import ABC, abstractmethod
class Animal(ABC):
    count = 0
    def __init__(self, name): self.name = name; Animal.count += 1
    @abstractmethod
    def sound(self): ...
    def speak(self): return f'{self.name} says {self.sound()}'
class Dog(Animal):
    def sound(self): return 'woof'
class Puppy(Dog):
    def sound(self): return super().sound() + '!'
    def __str__(self): return 'Puppy ' + self.name
""",
        """
d, p = Dog('Rex'), Puppy('Bit')
assert d.speak() == 'Rex says woof'
assert p.speak() == 'Bit says woof!'
assert str(p) == 'Puppy Bit'
assert f'{p}' == 'Puppy Bit'
assert isinstance(p, Animal) and issubclass(Puppy, Dog)
assert Animal.count == 2
try:
    Animal('x')
    assert False
except TypeError as e:
    assert 'abstract' in str(e)
assert hasattr(d, 'sound') and not hasattr(d, 'fly')
assert type(p).__name__ == 'Puppy'
assert d.__class__ is Dog
assert [a.sound() for a in (d, p)] == ['woof', 'woof!']
assert callable(d.speak)
""",
    ),
    "properties slots classmethods": (
        """
class Temp:
    __slots__ = ('_c',)
    def __init__(self, c): self.c = c
    @property
    def c(self): return self._c
    @c.setter
    def c(self, v):
        if v < -273.15: raise ValueError('too cold')
        self._c = v
    @property
    def f(self): return self._c * 9 / 5 + 32
    @classmethod
    def from_f(cls, f): return cls((f - 32) * 5 / 9)
    @staticmethod
    def ok(v): return v >= -273.15
""",
        """
t = Temp(100)
assert t.f == 212
t.c = 0
assert t.f == 32.0
try:
    t.c = -300
    assert False
except ValueError:
    pass
assert t.c == 0
assert Temp.from_f(212).c == 100
assert Temp.ok(0) and not Temp.ok(-274)
try:
    t.other = 1
    assert False
except AttributeError:
    pass
try:
    t.f = 1
    assert False
except AttributeError:
    pass
""",
    ),
    "enum and flags": (
        """
from enum import Enum, IntEnum, Flag, auto
class Color(Enum):
    RED = 1
    GREEN = 2
    @property
    def hexa(self): return {1: 'f00', 2: '0f0'}[self.value]
class P(IntEnum):
    LOW = 1
    HIGH = 2
class Perm(Flag):
    R = auto()
    W = auto()
def next_color(c): return Color.GREEN if c is Color.RED else Color.RED
def top(ps): return max(ps)
""",
        """
assert next_color(Color.RED) == Color.GREEN
assert next_color(Color.RED) is Color.GREEN
assert Color.RED.hexa == 'f00'
assert Color(1) is Color.RED
assert Color['GREEN'].value == 2
assert [c.name for c in Color] == ['RED', 'GREEN']
assert top([P.LOW, P.HIGH]) == P.HIGH
assert top([P.LOW, P.HIGH]) == 2
assert P.LOW < P.HIGH
assert Color.RED != Color.GREEN
assert {Color.RED: 1}[Color.RED] == 1
assert len(Color) == 2
assert Color.RED in Color
assert (Perm.R | Perm.W) & Perm.R == Perm.R
assert Perm.R in (Perm.R | Perm.W)
""",
    ),
    "context managers": (
        """
from contextlib import contextmanager, suppress, ExitStack
@contextmanager
def tag(log, name):
    log.append(f'<{name}>')
    try: yield name.upper()
    finally: log.append(f'</{name}>')
class Timer:
    def __enter__(self): self.open = True; return self
    def __exit__(self, t, v, tb): self.open = False; return t is KeyError
""",
        """
log = []
with tag(log, 'b') as up:
    log.append(up)
assert log == ['<b>', 'B', '</b>']
with Timer() as t:
    assert t.open
    raise KeyError('swallowed')
assert t.open is False
try:
    with tag(log, 'i'):
        raise ValueError('x')
except ValueError:
    pass
assert log[-1] == '</i>'
""",
    ),
    "heap bisect deque graph": (
        """
import heapq, bisect
from collections import defaultdict, deque, Counter
def dijkstra(g, s):
    d, h = {s: 0}, [(0, s)]
    while h:
        w, u = heapq.heappop(h)
        if w > d[u]: continue
        for v, c in g.get(u, {}).items():
            if w + c < d.get(v, 1 << 60): d[v] = w + c; heapq.heappush(h, (w + c, v))
    return d
def lis(xs):
    t = []
    for x in xs:
        i = bisect.bisect_left(t, x)
        t[i:i+1] = [x]
    return len(t)
def bfs(adj, s):
    seen, q = {s}, deque([s])
    while q:
        for v in adj[q.popleft()]:
            if v not in seen: seen.add(v); q.append(v)
    return seen
def counts(s): return Counter(s)
def groups(xs):
    d = defaultdict(list)
    for k, v in xs: d[k].append(v)
    return d
def window(xs, k): return deque(xs, maxlen=k)
""",
        """
assert dijkstra({'a': {'b': 1, 'c': 5}, 'b': {'c': 2}}, 'a') == {'a': 0, 'b': 1, 'c': 3}
assert lis([10,9,2,5,3,7,101,18]) == 4
from collections import defaultdict, Counter, deque
adj = defaultdict(list, {1: [2], 2: [3]})
assert bfs(adj, 1) == {1, 2, 3}
assert counts('aab') == {'a': 2, 'b': 1}
assert counts('aab') == Counter('aba')
assert counts('aab').most_common(1) == [('a', 2)]
assert counts('a') + counts('ab') == Counter('aab')
assert counts('x')['missing'] == 0
assert groups([(1, 2), (1, 3)]) == {1: [2, 3]}
assert groups([])['new'] == []
assert list(window([1,2,3], 2)) == [2, 3]
assert window([1,2], 5) == deque([1,2])
assert isinstance(groups([]), dict)
""",
    ),
    "deque maxlen append": (
        """
from collections import deque
def ring(n): return deque(maxlen=n)
""",
        """
r = ring(2)
for i in range(5): r.append(i)
assert list(r) == [3, 4]
assert r.maxlen == 2
""",
    ),
    "trie and union find": (
        """
class Trie:
    def __init__(self): self.kids, self.end = {}, False
    def insert(self, w):
        n = self
        for c in w: n = n.kids.setdefault(c, Trie())
        n.end = True
    def __contains__(self, w):
        n = self
        for c in w:
            if c not in n.kids: return False
            n = n.kids[c]
        return n.end
class DSU:
    def __init__(self, n): self.p = list(range(n))
    def find(self, x):
        while self.p[x] != x: self.p[x] = self.p[self.p[x]]; x = self.p[x]
        return x
    def union(self, a, b):
        a, b = self.find(a), self.find(b)
        if a == b: return False
        self.p[a] = b
        return True
""",
        """
t = Trie()
t.insert('cat')
assert 'cat' in t and 'ca' not in t
assert list(t.kids) == ['c']
assert t.kids['c'].kids['a'].end is False
d = DSU(4)
assert d.union(0, 1) and not d.union(1, 0)
assert d.find(0) == d.find(1) != d.find(2)
assert len({d.find(i) for i in range(4)}) == 3
""",
    ),
    "main guard and prints at import": (
        """
print('loading')
def f(): return 1
if __name__ == '__main__':
    print(input())
    raise SystemExit(3)
""",
        "assert f() == 1",
    ),
    "future annotations": (
        """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Node:
    v: int
    next: Node | None = None
def tail(n: Node) -> Node:
    while n.next: n = n.next
    return n
""",
        """
assert tail(Node(1, Node(2))).v == 2
assert tail(Node(1)) == Node(1)
""",
    ),
    "walrus match star expr": (
        """
def parse(cmd):
    match cmd.split():
        case ['go', ('n' | 's') as d]: return ('go', d)
        case ['add', *xs] if xs: return sum(map(int, xs))
        case []: return None
        case _: return 'what'
def kind(x):
    match x:
        case int() | float(): return 'num'
        case {'k': v, **rest}: return (v, rest)
        case (a, b): return [b, a]
        case str(): return 'str'
def chunks(xs, n):
    out, it = [], iter(xs)
    while c := [x for x, _ in zip(it, range(n))]: out.append(c)
    return out
""",
        """
assert parse('go n') == ('go', 'n')
assert parse('add 1 2') == 3
assert parse('') is None
assert parse('fly') == 'what'
assert kind(1.5) == 'num'
assert kind({'k': 1, 'z': 2}) == (1, {'z': 2})
assert kind((1, 2)) == [2, 1]
assert kind('s') == 'str'
assert chunks([1,2,4,5], 2)[0] == [1, 2]
""",
    ),
    "big integers and bytes": (
        """
def fact(n):
    r = 1
    for i in range(2, n + 1): r *= i
    return r
def enc(n): return n.to_bytes((n.bit_length() + 7) // 8, 'big')
def xor(a, b): return bytes(x ^ y for x, y in zip(a, b))
def arr(): return bytearray(b'ab')
def view(b): return memoryview(b)[1:3].tobytes()
""",
        r"""
assert fact(100) % (10**9 + 7) == 437918130
assert fact(1000) == __import__('math').factorial(1000)
assert enc(258) == b'\x01\x02'
assert xor(b'ab', b'ab') == b'\x00\x00'
a = arr()
a.append(99)
assert a == b'abc' and a == bytearray(b'abc')
assert view(b'abcd') == b'bc'
assert -(2**64) == ~(2**64 - 1)
""",
    ),
    "complex and numbers": (
        """
def roots(a, b, c):
    d = (b * b - 4 * a * c) ** 0.5
    return ((-b + d) / (2 * a), (-b - d) / (2 * a))
def mod(a, b): return divmod(a, b)
def bits(n): return bin(n).count('1'), n.bit_length(), hex(n)
import numbers
def is_num(x): return isinstance(x, numbers.Number) and not isinstance(x, bool)
""",
        """
assert roots(1, -3, 2) == (2, 1)
r = roots(1, 0, 1)
assert abs(r[0] - 1j) < 1e-9
assert mod(-7, 3) == (-3, 2)
assert bits(255) == (8, 8, '0xff')
assert is_num(1j) and is_num(1.0) and not is_num(True) and not is_num('1')
""",
    ),
    "json csv io stringio": (
        r"""
import json, csv, io
def roundtrip(x): return json.loads(json.dumps(x, sort_keys=True))
def rows(text): return list(csv.DictReader(io.StringIO(text)))
def write(rows):
    f = io.StringIO()
    csv.writer(f, lineterminator='\n').writerows(rows)
    return f.getvalue()
def buf(): return io.StringIO('a\nb\n')
def read(f): return [l.strip() for l in f]
""",
        r"""
assert roundtrip({'a': [1, None, True], 'b': (1, 2)}) == {'a': [1, None, True], 'b': [1, 2]}
assert rows('a,b\n1,2\n') == [{'a': '1', 'b': '2'}]
assert write([[1, 'x'], [2, 'y,z']]) == '1,x\n2,"y,z"\n'
assert buf().read() == 'a\nb\n'
assert [l for l in buf()] == ['a\n', 'b\n']
import io
assert read(io.StringIO('x\n y')) == ['x', 'y']
""",
    ),
    "file round trip in own directory": (
        """
import os, tempfile, pathlib
def save(name, text):
    with open(name, 'w') as f: f.write(text)
    return os.path.getsize(name)
def load(name):
    with open(name) as f: return f.read()
def temp():
    with tempfile.NamedTemporaryFile('w+', delete=True) as f:
        f.write('t'); f.flush(); f.seek(0)
        return f.read()
def p():
    q = pathlib.Path('sub'); q.mkdir(exist_ok=True)
    (q / 'x.txt').write_text('hey')
    return (q / 'x.txt').read_text(), [c.name for c in q.iterdir()]
""",
        """
assert save('a.txt', 'hello') == 5
assert load('a.txt') == 'hello'
assert temp() == 't'
assert p() == ('hey', ['x.txt'])
try:
    load('missing')
    assert False
except FileNotFoundError as e:
    assert e.errno == 2
""",
    ),
    "print captured by redirect": (
        """
def hello(n):
    for i in range(n): print('hi', i, sep=',', end=';')
    print()
""",
        r"""
import io, contextlib
buf = io.StringIO()
with contextlib.redirect_stdout(buf):
    hello(2)
assert buf.getvalue() == 'hi,0;hi,1;\n'
""",
    ),
    "class with getattr and dict": (
        """
class Bag:
    def __init__(self, **k): self.__dict__.update(k)
    def __getattr__(self, n):
        if n.startswith('no'): raise AttributeError(n)
        return n * 2
    def __setitem__(self, k, v): self.__dict__[k] = v
    def __getitem__(self, k): return self.__dict__[k]
    def __delitem__(self, k): del self.__dict__[k]
    def __len__(self): return len(self.__dict__)
""",
        """
b = Bag(a=1)
assert b.a == 1 and b.xy == 'xyxy'
assert not hasattr(b, 'nope')
b['c'] = 3
assert b.c == 3 and b['c'] == 3 and len(b) == 2
del b['c']
try:
    b['c']
    assert False
except KeyError:
    pass
assert vars(b) == {'a': 1}
assert getattr(b, 'none', 4) == 4
setattr(b, 'z', 26)
assert b.z == 26
""",
    ),
    "matrix class": (
        """
class Matrix:
    def __init__(self, rows): self.rows = [list(r) for r in rows]
    @property
    def T(self): return Matrix(zip(*self.rows))
    def __matmul__(self, o): return Matrix([[sum(a*b for a, b in zip(r, c)) for c in zip(*o.rows)] for r in self.rows])
    def __eq__(self, o): return self.rows == o.rows
    def __getitem__(self, ij): i, j = ij; return self.rows[i][j]
    def __setitem__(self, ij, v): self.rows[ij[0]][ij[1]] = v
    def __pow__(self, n):
        r = Matrix([[int(i == j) for j in range(len(self.rows))] for i in range(len(self.rows))])
        for _ in range(n): r = r @ self
        return r
    def __iter__(self): return iter(self.rows)
    def __abs__(self): return self[0,0]*self[1,1] - self[0,1]*self[1,0]
""",
        """
m = Matrix([[1, 1], [1, 0]])
assert (m ** 10)[0, 1] == 55
assert m.T == m
assert (m @ m).rows == [[2, 1], [1, 1]]
m[0, 0] = 5
assert m[0, 0] == 5
assert [list(r) for r in m] == [[5, 1], [1, 0]]
assert abs(m) == -1
""",
    ),
    "iterator protocol class": (
        """
class Countdown:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n <= 0: raise StopIteration
        self.n -= 1
        return self.n + 1
class Seq:
    def __init__(self, *x): self.x = x
    def __getitem__(self, i):
        if isinstance(i, slice): return Seq(*self.x[i])
        return self.x[i]
    def __len__(self): return len(self.x)
    def __reversed__(self): return iter(self.x[::-1])
""",
        """
assert list(Countdown(3)) == [3,2,1]
assert [x for x in Countdown(2)] == [2,1]
assert sum(Countdown(4)) == 10
s = Seq(1,2,3)
assert s[-1] == 3 and len(s[1:]) == 2 and s[1:][0] == 2
assert list(s) == [1,2,3]
assert list(reversed(s)) == [3,2,1]
assert 2 in s
assert dict(enumerate(Seq('a','b'))) == {0:'a',1:'b'}
assert tuple(zip(Countdown(2), s)) == ((2,1),(1,2))
for a, b in zip(s, s): assert a == b
""",
    ),
    "event system with test handlers": (
        """
class Bus:
    def __init__(self): self.h = {}
    def on(self, e, f): self.h.setdefault(e, []).append(f); return f
    def emit(self, e, *a): return [f(*a) for f in self.h.get(e, [])]
    def off(self, e, f): self.h[e].remove(f)
""",
        """
bus, seen = Bus(), []
def handler(x):
    seen.append(x)
    return x + 1
bus.on('a', handler)
bus.on('a', lambda x: x * 10)
assert bus.emit('a', 4) == [5, 40]
assert seen == [4]
bus.off('a', handler)
assert bus.emit('a', 1) == [10]
assert bus.emit('none') == []
@bus.on.__get__(bus).__func__.__get__(bus) if False else (lambda f: bus.on('b', f))
def other(): return 'b'
assert bus.emit('b') == ['b']
""",
    ),
    "visitor with test classes": (
        """
def area(shape):
    return shape.accept(Area())
class Area:
    def visit_square(self, s): return s.a ** 2
    def visit_circle(self, c): return 3 * c.r ** 2
""",
        """
class Square:
    def __init__(self, a): self.a = a
    def accept(self, v): return v.visit_square(self)
class Circle:
    def __init__(self, r): self.r = r
    def accept(self, v): return v.visit_circle(self)
assert [area(Square(3)), area(Circle(2))] == [9, 12]
""",
    ),
    "helpers with default and kwargs only": (
        """
def f(a, /, b, *, c=3, **k): return (a, b, c, sorted(k.items()))
def g(*args, sep=' '): return sep.join(map(str, args))
""",
        """
assert f(1, 2) == (1, 2, 3, [])
assert f(1, b=2, c=4, z=5) == (1, 2, 4, [('z', 5)])
opts = {'sep': '-'}
assert g(*[1, 2], **opts) == '1-2'
try:
    f(a=1, b=2)
    assert False
except TypeError:
    pass
import inspect
assert list(inspect.signature(g).parameters) == ['args', 'sep']
assert f.__name__ == 'f'
""",
    ),
    "lists shared between results": (
        """
class Grid:
    def __init__(self, n): self.cells = [[0] * n for _ in range(n)]
    def row(self, i): return self.cells[i]
    def set(self, i, j, v): self.cells[i][j] = v
""",
        """
g = Grid(2)
r = g.row(0)
r[1] = 7
assert g.cells == [[0, 7], [0, 0]]
g.set(0, 0, 5)
assert r == [5, 7]
assert g.row(0) is g.cells[0]
g.cells.append([9])
assert g.row(2) == [9]
""",
    ),
    "sorting stability keys": (
        """
def rank(people): return sorted(people, key=lambda p: (-p['age'], p['name']))
def uniq(xs): return list(dict.fromkeys(xs))
def topk(d, k): return [a for a, _ in sorted(d.items(), key=lambda t: (-t[1], t[0]))[:k]]
""",
        """
assert rank([{'name': 'b', 'age': 1}, {'name': 'a', 'age': 1}, {'name': 'c', 'age': 9}])[0]['name'] == 'c'
assert [p['name'] for p in rank([{'name': 'b', 'age': 1}, {'name': 'a', 'age': 1}])] == ['a', 'b']
assert uniq('abca') == ['a','b','c']
assert topk({'x': 1, 'y': 2, 'z': 2}, 2) == ['y', 'z']
""",
    ),
    "hashlib base64 uuid": (
        """
import hashlib, base64, uuid, zlib, secrets
def h(s): return hashlib.sha256(s.encode()).hexdigest()
def b(s): return base64.b64encode(s.encode()).decode()
def u(n): return str(uuid.uuid5(uuid.NAMESPACE_DNS, n))
def c(s): return zlib.crc32(s)
def tok(): return secrets.token_hex(4)
""",
        """
assert h('a').startswith('ca978112')
assert b('hi') == 'aGk='
assert u('x') == u('x') and len(u('x')) == 36
assert c(b'a') == 3904355907
assert len(tok()) == 8 and tok() != tok()
""",
    ),
    "stdlib heavy imports": (
        """
import statistics, collections.abc, functools, operator, struct, array, textwrap, pprint, bisect, html, urllib.parse, difflib, string, types, weakref, inspect, traceback, logging, argparse, tempfile, glob, ast, cmath, configparser, xml.etree.ElementTree as ET
def med(x): return statistics.median(x)
def parse(u): return urllib.parse.urlparse(u).netloc
def xml(s): return [e.text for e in ET.fromstring(s)]
def close(w, ws): return difflib.get_close_matches(w, ws)
def ev(s): return ast.literal_eval(s)
def pack(a): return struct.pack('<I', a)
""",
        r"""
assert med([3, 1, 2]) == 2
assert parse('http://a.b/c') == 'a.b'
assert xml('<r><a>1</a><b>2</b></r>') == ['1', '2']
assert close('appel', ['apple', 'bat']) == ['apple']
assert ev('[1, (2,)]') == [1, (2,)]
assert pack(1) == b'\x01\x00\x00\x00'
""",
    ),
    "logging warnings inside": (
        """
import logging, warnings
logging.basicConfig(level=logging.DEBUG)
log = logging.getLogger(__name__)
def f(x):
    log.info('x=%s', x)
    warnings.warn('careful', DeprecationWarning)
    return x
""",
        "assert f(3) == 3",
    ),
    "tests compute expected by brute force": (
        r"""
def count_primes(n):
    s = bytearray([1]) * (n + 1)
    s[:2] = b'\0\0'
    for i in range(2, int(n ** .5) + 1):
        if s[i]: s[i*i::i] = bytes(len(s[i*i::i]))
    return sum(s)
""",
        """
def brute(n): return sum(all(k % d for d in range(2, k)) for k in range(2, n + 1))
for n in (1, 2, 10, 50, 97):
    assert count_primes(n) == brute(n), n
import random
rng = random.Random(0)
for _ in range(20):
    n = rng.randrange(1, 200)
    assert count_primes(n) == brute(n), f'{n}'
""",
    ),
    "tests use comprehension over results": (
        """
def collatz(n):
    out = [n]
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        out.append(n)
    return out
""",
        """
assert all(collatz(n)[-1] == 1 for n in range(1, 30))
assert {n: len(collatz(n)) for n in (1, 2, 3)} == {1: 1, 2: 2, 3: 8}
assert max((len(collatz(n)), n) for n in range(1, 30))[1] == 27
assert any(x == 16 for x in collatz(3))
assert [*map(collatz, [1, 2])] == [[1], [2, 1]]
""",
    ),
    "subclass of builtin exceptions with notes": (
        """
class E(ValueError, KeyError):
    pass
def f():
    try: int('x')
    except ValueError as err: raise E('wrapped') from err
def g(): assert False, 'inner'
def h(): raise NotImplementedError
def k(d): return d['missing']
""",
        """
try:
    f()
except KeyError as e:
    assert isinstance(e, ValueError)
    assert isinstance(e.__cause__, ValueError)
    assert 'invalid literal' in str(e.__cause__)
else:
    raise AssertionError
try:
    g()
except AssertionError as e:
    assert str(e) == 'inner'
try:
    k({})
except KeyError as e:
    assert e.args[0] == 'missing'
for fn in (f, g, h):
    try: fn()
    except Exception as e: assert type(e).__name__ in ('E', 'AssertionError', 'NotImplementedError')
""",
    ),
    "exception group": (
        "def f(): raise ExceptionGroup('many', [ValueError(1), TypeError('t')])",
        """
try:
    f()
except* ValueError as g:
    assert len(g.exceptions) == 1
except* TypeError as g:
    assert str(g.exceptions[0]) == 't'
""",
    ),
    "object identity and none": (
        """
_cache = {}
def get(k):
    if k not in _cache: _cache[k] = object()
    return _cache[k]
class S:
    _i = None
    def __new__(cls):
        if cls._i is None: cls._i = super().__new__(cls)
        return cls._i
""",
        """
assert get(1) is get(1)
assert get(1) is not get(2)
assert S() is S()
assert id(get(1)) == id(get(1))
assert get(1) == get(1) and get(1) != get(2)
assert len({get(1), get(1), get(2)}) == 2
""",
    ),
    "weakref and del": (
        """
import weakref, gc
class N:
    pass
def alive():
    n = N(); r = weakref.ref(n)
    a = r() is n
    del n; gc.collect()
    return a, r() is None
""",
        "assert alive() == (True, True)",
    ),
    "metaclass registry": (
        """
class Meta(type):
    reg = {}
    def __new__(m, name, bases, ns, **k):
        cls = super().__new__(m, name, bases, ns, **k)
        m.reg[name] = cls
        return cls
    def __init__(cls, name, bases, ns, **k): super().__init__(name, bases, ns)
    def __len__(cls): return 42
class Base(metaclass=Meta):
    def __init_subclass__(cls, **k): super().__init_subclass__(); cls.tag = k.get('tag')
class A(Base, tag='x'): pass
class B(Base): pass
""",
        """
assert sorted(Meta.reg) == ['A', 'B', 'Base']
assert A.tag == 'x' and B.tag is None
assert len(A) == 42
assert Meta.reg['A'] is A
""",
    ),
    "global state across tests": (
        """
count = 0
items = []
def tick():
    global count
    count += 1
    items.append(count)
    return count
""",
        """
assert tick() == 1
assert tick() == 2
assert count == 2
assert items == [1, 2]
items.clear()
assert tick() == 3
assert items == [3]
""",
    ),
    "operator module on objects": (
        """
import operator
class P:
    def __init__(self, x, y): self.x, self.y = x, y
def pts(): return [P(2, 1), P(1, 2)]
def by(name): return operator.attrgetter(name)
def item(i): return operator.itemgetter(i)
""",
        """
import operator
assert [p.x for p in sorted(pts(), key=by('x'))] == [1, 2]
assert [p.y for p in sorted(pts(), key=lambda p: p.y)] == [1, 2]
assert item(1)([5, 6]) == 6
assert list(map(operator.attrgetter('x'), pts())) == [2, 1]
assert max(pts(), key=operator.attrgetter('x')).y == 1
""",
    ),
    "lru on method and property cache": (
        """
from functools import lru_cache, cached_property, partial, reduce, singledispatch, partialmethod
class F:
    n = 0
    @cached_property
    def slow(self): F.n += 1; return F.n
    @lru_cache(None)
    def sq(self, x): return x * x
@singledispatch
def show(x): return 'obj'
@show.register
def _(x: int): return 'int'
@show.register(list)
def _l(x): return 'list'
add5 = partial(lambda a, b: a + b, 5)
def prod(xs): return reduce(lambda a, b: a * b, xs, 1)
""",
        """
f = F()
assert f.slow == f.slow == 1
assert f.sq(4) == 16
assert show(1) == 'int' and show([]) == 'list' and show('') == 'obj'
assert add5(2) == 7
assert prod([2, 3, 4]) == 24
assert add5.args == (5,)
""",
    ),
    "many asserts in one function": (
        "def fizz(n): return 'FizzBuzz' if n % 15 == 0 else 'Fizz' if n % 3 == 0 else 'Buzz' if n % 5 == 0 else str(n)",
        """
def test_all():
    expected = {1: '1', 3: 'Fizz', 5: 'Buzz', 15: 'FizzBuzz'}
    for k, v in expected.items():
        assert fizz(k) == v, (k, v)
    assert [fizz(i) for i in range(1, 6)] == ['1', '2', 'Fizz', '4', 'Buzz']
def test_type():
    assert isinstance(fizz(1), str)
test_all()
test_type()
print('All tests passed')
""",
    ),
    "timing measured by tests": (
        "def fast(n): return n * (n + 1) // 2",
        """
import time
t = time.time()
assert fast(10**6) == 500000500000
assert time.time() - t < 5
start = time.perf_counter()
fast(3)
assert time.perf_counter() - start < 5
""",
    ),
    "large list in and out": (
        """
def double(xs): return [2 * x for x in xs]
def total(m): return sum(map(sum, m))
""",
        """
assert double(list(range(100000)))[-1] == 199998
assert total([[i] * 300 for i in range(300)]) == 300 * sum(range(300))
assert len(double(range(50000))) == 50000
""",
    ),
    "long string": (
        "def rep(s, n): return s * n",
        """
assert len(rep('ab', 500000)) == 1000000
assert rep('x', 3) == 'xxx'
""",
    ),
    "tuple returned as struct": (
        """
from collections import namedtuple
Point = namedtuple('Point', 'x y', defaults=[0])
def mk(x): return Point(x)
def shift(p): return p._replace(x=p.x + 1)
""",
        """
assert mk(3) == (3, 0)
assert mk(3).x == 3
assert shift(mk(1)) == Point(2, 0)
x, y = mk(5)
assert x == 5
assert mk(1)._asdict() == {'x': 1, 'y': 0}
assert shift(Point(1, 2)).y == 2
assert isinstance(mk(1), tuple)
assert mk(2) in [(2, 0)]
assert sorted([Point(2), Point(1)])[0].x == 1
assert Point._fields == ('x', 'y')
""",
    ),
    "date objects of tests into code": (
        """
def age(born, today): return today.year - born.year - ((today.month, today.day) < (born.month, born.day))
def later(dts): return max(dts)
""",
        """
from datetime import date, datetime
assert age(date(2000, 5, 5), date(2020, 5, 4)) == 19
assert later([datetime(2020, 1, 1), datetime(2021, 1, 1)]) == datetime(2021, 1, 1)
""",
    ),
    "sets of frozensets": (
        """
def subsets(s):
    out = {frozenset()}
    for x in s: out |= {t | {x} for t in out}
    return out
""",
        """
assert subsets({1, 2}) == {frozenset(), frozenset({1}), frozenset({2}), frozenset({1, 2})}
assert frozenset({1}) in subsets([1])
assert len(subsets(range(5))) == 32
s = subsets([1])
s.add(frozenset({9}))
assert len(s) == 3
""",
    ),
    "code reads own globals and names": (
        """
import sys
def me(): return sys._getframe().f_code.co_name
def doc():
    'the doc'
    return doc.__doc__
def glob(): return 'me' in globals()
def mod(): return sys.modules[__name__].me()
class K:
    def name(self): return type(self).__name__ + '.' + self.name.__name__
""",
        """
assert me() == 'me'
assert doc() == 'the doc'
assert glob()
assert mod() == 'me'
assert K().name() == 'K.name'
""",
    ),
    "pickle own class": (
        """
import pickle
class A:
    def __init__(self, x): self.x = x
    def __eq__(self, o): return self.x == o.x
def rt(a): return pickle.loads(pickle.dumps(a))
""",
        """
assert rt(A(3)) == A(3)
assert rt([1, {'a': (2,)}]) == [1, {'a': (2,)}]
assert rt(A([1])).x == [1]
""",
    ),
    "tests mutate returned dict": (
        """
def conf(): return {'a': {'b': 1}}
def read(c): return c['a']['b']
""",
        """
c = conf()
c['a']['b'] = 5
assert read(c) == 5
c['a'] = {'b': 6}
assert read(c) == 6
assert conf()['a']['b'] == 1
del c['a']
try:
    read(c)
    assert False
except KeyError:
    pass
""",
    ),
    "state machine with sets": (
        """
class Lights:
    order = ['red', 'green', 'yellow']
    def __init__(self): self.state = 'red'; self.seen = set()
    def step(self):
        self.seen.add(self.state)
        self.state = self.order[(self.order.index(self.state) + 1) % 3]
        return self
""",
        """
l = Lights()
assert l.step().step().state == 'yellow'
assert l.seen == {'red', 'green'}
l.seen.discard('red')
assert l.step().seen == {'green', 'yellow'}
assert l.state == 'red'
""",
    ),
    "input mocked with iterator": (
        """
def ask():
    n = int(input('n? '))
    return sum(int(input()) for _ in range(n))
""",
        """
from unittest.mock import patch
with patch('builtins.input', side_effect=['2', '5', '6']):
    assert ask() == 11
""",
    ),
    "type annotations evaluated": (
        """
from typing import get_type_hints
def f(x: int, y: 'str' = '') -> list[int]: return [x]
def hints(): return {k: getattr(v, '__name__', str(v)) for k, v in get_type_hints(f).items()}
""",
        """
assert hints()['x'] == 'int' and hints()['y'] == 'str'
assert f(1) == [1]
assert f.__annotations__['x'] is int
""",
    ),
    "capitalised functions": (
        """
def Extract(rows): return [row[0] for row in rows]
def Check_Solution(a, b, c): return 'Yes' if 2*b*b == 9*a*c else 'No'
def Fib(n): return n if n < 2 else Fib(n-1) + Fib(n-2)
def Diff(a, b): return list(set(a) - set(b))
""",
        """
assert Extract([[1, 2], [3, 4, 5]]) == [1, 3]
assert Check_Solution(2, 0, 2) == 'No'
assert Fib(3) + Fib(4) == Fib(5) == 5
assert abs(Fib(10) - 55.0) < 1e-9
result = Diff([1, 2, 3], [2])
result.sort()
assert result == [1, 3] and 3 in Diff([3], [])
""",
    ),
    "interval holds numbers": (
        """
class Interval:
    def __init__(s, low, high): s.low, s.high = low, high
    def __contains__(s, x): return s.low <= x <= s.high
""",
        """
i = Interval(1, 5)
assert i.low == 1
assert 3 in i and 6 not in i
assert 2.5 in Interval(2, 3)
""",
    ),
    "set of its own that is filled": (
        """
class Bag:
    def __init__(s): s.seen = set()
    def add(s, x): s.seen.add(x)
    def __contains__(s, x): return x in s.seen
    def __eq__(s, o): return s.seen == (o.seen if isinstance(o, Bag) else set(o))
""",
        """
import unittest
class T(unittest.TestCase):
    def setUp(self): self.bag = Bag()
    def test_a(self):
        self.bag.add(4)
        self.assertIn(4, self.bag)
        self.assertNotIn(5, self.bag)
        self.assertEqual(self.bag, [4])
""",
    ),
    "temperature by isinstance": (
        """
class Celsius(object):
    def __init__(s, d): s._d = d
    def __eq__(s, o): return s._d == (o._d if isinstance(o, Celsius) else o)
    def __lt__(s, o): return s._d < (o._d if isinstance(o, Celsius) else o)
    def __sub__(s, o): return s._d - o
""",
        """
t = Celsius(20)
assert isinstance(t, Celsius)
assert t == 20 and t != 21 and t < 30 and not t < 10
assert t - 5 == 15
""",
    ),
    "fraction against whole numbers": (
        """
from math import gcd
class Rational:
    def __init__(s, n, d=1): g = gcd(n, d); s.n, s.d = n//g, d//g
    def _of(s, o): return o if isinstance(o, Rational) else Rational(o)
    def __add__(s, o): o = s._of(o); return Rational(s.n*o.d + o.n*s.d, s.d*o.d)
    __radd__ = __add__
    def __mul__(s, o): o = s._of(o); return Rational(s.n*o.n, s.d*o.d)
    __rmul__ = __mul__
    def __eq__(s, o): o = s._of(o); return (s.n, s.d) == (o.n, o.d)
    def __lt__(s, o): o = s._of(o); return s.n*o.d < o.n*s.d
""",
        """
assert Rational(1, 2) + Rational(1, 2) == 1
assert Rational(1, 2) * 4 == 2 and 4 * Rational(1, 2) == 2
assert Rational(1, 3) < 1
assert sum([Rational(1, 3)] * 3) == 1
assert Rational(2, 4) == Rational(1, 2)
""",
    ),
    "linked list against a list": (
        """
class LinkedList:
    def __init__(s): s.head = None
    def append(s, x):
        n = s
        if s.head is None: s.head = [x, None]; return
        n = s.head
        while n[1]: n = n[1]
        n[1] = [x, None]
    def __iter__(s):
        n = s.head
        while n: yield n[0]; n = n[1]
    def __eq__(s, o): return list(s) == list(o)
    def __len__(s): return sum(1 for _ in s)
""",
        """
l = LinkedList()
for x in (1, 2): l.append(x)
assert l == [1, 2] and l != [2, 1]
assert 2 in l and 3 not in l and len(l) == 2
""",
    ),
    "scaled by its own order": (
        """
import functools
@functools.total_ordering
class Size:
    def __init__(s, n): s.n = n
    def _n(s, o): return o.n if isinstance(o, Size) else o
    def __eq__(s, o): return s.n == s._n(o)
    def __lt__(s, o): return s.n < s._n(o)
    def __mul__(s, k): return Size(s.n * k)
""",
        """
a, b = Size(1), Size(2)
assert a < b
assert a * 2 == 2
assert b >= 2 and b > 1 and not b > 3
""",
    ),
    "class method and property": (
        """
class Point:
    def __init__(s, *c): s.c = c
    @classmethod
    def origin(cls): return cls(0, 0)
    @property
    def norm(s): return sum(x*x for x in s.c)
    def __eq__(s, o): return s.c == tuple(getattr(o, 'c', o))
    def __add__(s, o): return Point(*(a + b for a, b in zip(s.c, o)))
    def __getitem__(s, i): return s.c[i]
""",
        """
assert Point.origin().norm == 0
assert Point(1, 2) == (1, 2) and Point(1, 2) != (2, 1)
assert Point(1, 2) + (3, 4) == (4, 6)
assert Point(1, 2)[1] == 2
""",
    ),
    "type of a capitalised class": (
        """
class Angle:
    def __init__(s, d): s.value = d % 360
    def __eq__(s, o): return s.value == (o.value if isinstance(o, Angle) else o % 360)
    def __neg__(s): return Angle(-s.value)
""",
        """
angle = Angle(370)
assert type(angle) is Angle
assert angle == 10 and angle == 370
assert -angle == Angle(350)
""",
    ),
    "from solution import": (
        """
def add(a,b): return a+b
class P:
    def __init__(s,x): s.x=x
    def __eq__(s,o): return s.x==o.x
""",
        """
from solution import add, P
def test_add():
    assert add(1,2)==3
def test_p():
    assert P(1)==P(1)
    assert P(1).x==1
""",
    ),
    "from solution import as": (
        "def add(a,b): return a+b",
        """
from solution import add as plus
assert plus(1,2)==3
""",
    ),
    "import solution": (
        "def add(a,b): return a+b",
        """
import solution
assert solution.add(1,2)==3
""",
    ),
    "from solution import star": (
        "def add(a,b): return a+b",
        """
from solution import *
assert add(1,2)==3
""",
    ),
    "numpy tests": (
        "def f(x): return [x,2*x]",
        """
try:
    import numpy as np
except ImportError:
    np=None
assert f(1)==[1,2]
""",
    ),
    "unittest main": (
        "def f(x): return x+1",
        """
import unittest
class TestF(unittest.TestCase):
    def test_a(self):
        self.assertEqual(f(1),2)
    def test_b(self):
        with self.assertRaises(TypeError):
            f('a')
    def test_c(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertEqual(f(i), i+1)
if __name__=='__main__':
    unittest.main()
""",
    ),
    "unittest main exit false": (
        "def f(x): return x+1",
        """
import unittest
class TestF(unittest.TestCase):
    def test_a(self):
        self.assertEqual(f(1),2)
unittest.main(argv=[''],exit=False)
""",
    ),
    "unittest main argv verbosity": (
        "def f(x): return x+1",
        """
import unittest
class TestF(unittest.TestCase):
    def test_a(self):
        self.assertEqual(f(1),2)
if __name__=='__main__':
    unittest.main(argv=['first-arg-is-ignored'],exit=False,verbosity=2)
""",
    ),
    "unittest runner": (
        "def f(x): return x+1",
        """
import unittest
class TestF(unittest.TestCase):
    def test_a(self):
        self.assertEqual(f(1),2)
suite=unittest.TestLoader().loadTestsFromTestCase(TestF)
r=unittest.TextTestRunner().run(suite)
assert r.wasSuccessful()
""",
    ),
    "check main guard": (
        "def f(x): return x+1",
        """
def check(candidate):
    assert candidate(1)==2
    assert candidate(2)==3

if __name__ == '__main__':
    check(f)
""",
    ),
    "run in main function": (
        "def f(x): return x+1",
        """
def main():
    assert f(1)==2
    print('ok')
main()
""",
    ),
    "test functions called in loop": (
        "def f(x): return x+1",
        """
def test_a():
    assert f(1)==2
def test_b():
    assert f(2)==3
for t in (test_a,test_b):
    t()
""",
    ),
    "test class plain pytest": (
        "def f(x): return x+1",
        """
class TestF:
    def test_a(self):
        assert f(1)==2
    def test_b(self):
        assert f(2)==3
""",
    ),
    "test class plain with setup": (
        """
class S:
    def __init__(s): s.d=[]
    def push(s,x): s.d.append(x)
    def pop(s): return s.d.pop()
""",
        """
class TestS:
    def setup_method(self):
        self.s=S()
    def test_a(self):
        self.s.push(1)
        assert self.s.pop()==1
""",
    ),
    "tests define node and build": (
        """
def rev(head):
    p=None
    while head:
        head.next,p,head=p,head,head.next
    return p
""",
        """
class ListNode:
    def __init__(self,val=0,next=None):
        self.val=val
        self.next=next
def build(a):
    d=c=ListNode()
    for x in a:
        c.next=ListNode(x); c=c.next
    return d.next
def tolist(h):
    r=[]
    while h:
        r.append(h.val); h=h.next
    return r
assert tolist(rev(build([1,2,3])))==[3,2,1]
assert rev(None) is None
""",
    ),
    "leetcode both define node": (
        """
from typing import Optional
class ListNode:
    def __init__(self,val=0,next=None):
        self.val=val
        self.next=next
class Solution:
    def mid(self, head: Optional[ListNode]) -> Optional[ListNode]:
        s=f=head
        while f and f.next:
            s=s.next; f=f.next.next
        return s
""",
        """
class ListNode:
    def __init__(self,val=0,next=None):
        self.val=val
        self.next=next
def build(a):
    d=c=ListNode()
    for x in a:
        c.next=ListNode(x); c=c.next
    return d.next
assert Solution().mid(build([1,2,3])).val==2
""",
    ),
    "tree isinstance by code": (
        """
class TreeNode:
    def __init__(s,v,l=None,r=None): s.val=v; s.left=l; s.right=r
def depth(t):
    return 0 if t is None else 1+max(depth(t.left),depth(t.right))
""",
        """
t=TreeNode(1,TreeNode(2),TreeNode(3,TreeNode(4)))
assert depth(t)==3
t.left.left=TreeNode(9)
assert depth(t)==3
assert t.left.left.val==9
""",
    ),
    "leetcode check list": (
        """
class Solution:
    def twoSum(self, nums, target):
        d={}
        for i,x in enumerate(nums):
            if target-x in d: return [d[target-x],i]
            d[x]=i
""",
        """
def check(candidate):
    assert candidate(nums = [2,7,11,15],target = 9) == [0, 1]
    assert candidate(nums = [3,2,4],target = 6) == [1, 2]

check(Solution().twoSum)
""",
    ),
    "is_list_node helper": (
        """
class Solution:
    def removeElements(self, head, val):
        d=ListNode(0,head); c=d
        while c.next:
            if c.next.val==val: c.next=c.next.next
            else: c=c.next
        return d.next
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
""",
        """
def list_node(values):
    if not values: return None
    head = ListNode(values[0])
    p = head
    for val in values[1:]:
        node = ListNode(val)
        p.next = node
        p = node
    return head
def is_same_list(p1, p2):
    if p1 is None and p2 is None: return True
    if not p1 or not p2: return False
    return p1.val == p2.val and is_same_list(p1.next, p2.next)
def check(candidate):
    assert is_same_list(candidate(head = list_node([1, 2, 6, 3, 4, 5, 6]),val = 6), list_node([1, 2, 3, 4, 5]))
    assert is_same_list(candidate(head = list_node([]),val = 1), list_node([]))
check(Solution().removeElements)
""",
    ),
    "is_same_tree": (
        """
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val = val
        self.left = left
        self.right = right
class Solution:
    def invertTree(self, root):
        if root: root.left,root.right=self.invertTree(root.right),self.invertTree(root.left)
        return root
""",
        """
from collections import deque
def tree_node(values):
    if not values: return None
    root = TreeNode(values[0])
    i = 1
    queue = deque([root])
    while queue:
        node = queue.popleft()
        if i < len(values) and values[i] is not None:
            node.left = TreeNode(values[i])
            queue.append(node.left)
        i += 1
        if i < len(values) and values[i] is not None:
            node.right = TreeNode(values[i])
            queue.append(node.right)
        i += 1
    return root
def is_same_tree(p, q):
    if not p and not q: return True
    elif not p or not q: return False
    elif p.val != q.val: return False
    else: return is_same_tree(p.left, q.left) and is_same_tree(p.right, q.right)
def check(candidate):
    assert is_same_tree(candidate(root = tree_node([4,2,7,1,3,6,9])), tree_node([4,7,2,9,6,3,1]))
check(Solution().invertTree)
""",
    ),
    "design by names": (
        """
class MinStack:
    def __init__(self): self.s=[]
    def push(self,x): self.s.append((x,min(x,self.s[-1][1] if self.s else x)))
    def pop(self): self.s.pop()
    def top(self): return self.s[-1][0]
    def getMin(self): return self.s[-1][1]
""",
        """
def run(ops,args):
    obj=None; out=[]
    for o,a in zip(ops,args):
        if o=='MinStack': obj=MinStack(*a); out.append(None)
        else: out.append(getattr(obj,o)(*a))
    return out
assert run(['MinStack','push','push','getMin','pop','top'],[[],[-2],[0],[],[],[]])==[None,None,None,-2,None,-2]
""",
    ),
    "deepcopied inputs": (
        """
def f(xs):
    xs.sort()
    return xs[0]
""",
        """
import copy
xs=[3,1,2]
assert f(copy.deepcopy(xs))==1
assert xs==[3,1,2]
f(xs)
assert xs==[1,2,3]
""",
    ),
    "exact exception text": (
        """
def f(x):
    if not isinstance(x,int): raise TypeError('need int, got %s' % type(x).__name__)
    return x
""",
        """
try:
    f('a')
    assert False, 'no error'
except TypeError as e:
    assert str(e)=='need int, got str'
    assert 'int' in str(e)
    assert e.args==('need int, got str',)
""",
    ),
    "custom exception": (
        """
class InsufficientFunds(Exception):
    def __init__(self,need,have):
        super().__init__(f'need {need}, have {have}')
        self.need=need; self.have=have
class Account:
    def __init__(self,b=0): self.balance=b
    def withdraw(self,a):
        if a>self.balance: raise InsufficientFunds(a,self.balance)
        self.balance-=a
        return self.balance
""",
        """
a=Account(100)
assert a.withdraw(30)==70
try:
    a.withdraw(100)
except InsufficientFunds as e:
    assert e.need==100 and e.have==70
    assert 'need 100' in str(e)
else:
    assert False
assert a.balance==70
""",
    ),
    "ctx decorated": (
        """
from contextlib import contextmanager
log=[]
@contextmanager
def ctx(n):
    log.append('in'+n)
    try: yield n.upper()
    finally: log.append('out'+n)
""",
        """
with ctx('a') as x:
    assert x=='A'
assert log==['ina','outa']
try:
    with ctx('b'):
        raise ValueError('x')
except ValueError: pass
assert log[-1]=='outb'
""",
    ),
    "suppressing ctx": (
        """
class Sup:
    def __enter__(s): return s
    def __exit__(s,t,v,tb): s.t=t; return t is KeyError
""",
        """
s=Sup()
with s:
    {}['a']
assert s.t is KeyError
try:
    with Sup(): raise ValueError
    assert 0
except ValueError: pass
""",
    ),
    "lru cache info": (
        """
from functools import lru_cache
@lru_cache(maxsize=None)
def fib(n): return n if n<2 else fib(n-1)+fib(n-2)
""",
        """
assert fib(50)==12586269025
assert fib.cache_info().hits>0
assert fib.cache_info().currsize==51
fib.cache_clear()
assert fib.cache_info().currsize==0
""",
    ),
    "wrapped decorator metadata": (
        """
import functools
def timed(f):
    @functools.wraps(f)
    def w(*a,**k):
        w.calls+=1
        return f(*a,**k)
    w.calls=0
    return w
@timed
def add(a,b):
    'adds'
    return a+b
""",
        """
assert add(1,2)==3
assert add.calls==1
assert add.__name__=='add'
assert add.__doc__=='adds'
@timed
def mul(a,b): return a*b
assert mul(3,4)==12 and mul.calls==1 and mul.__name__=='mul'
""",
    ),
    "retry decorator with test function": (
        """
import functools
def retry(n):
    def d(f):
        @functools.wraps(f)
        def w(*a,**k):
            for i in range(n):
                try: return f(*a,**k)
                except ValueError:
                    if i==n-1: raise
        return w
    return d
""",
        """
calls=[]
@retry(3)
def g(x):
    calls.append(x)
    if len(calls)<3: raise ValueError('no')
    return x*2
assert g(4)==8
assert calls==[4,4,4]
""",
    ),
    "async gather": (
        """
import asyncio
async def fetch(i):
    await asyncio.sleep(0)
    return i*i
async def all_(n):
    return await asyncio.gather(*(fetch(i) for i in range(n)))
""",
        """
import asyncio
assert asyncio.run(all_(4))==[0,1,4,9]
async def main():
    r=await fetch(3)
    s=await asyncio.gather(fetch(1),fetch(2))
    return r,s
assert asyncio.run(main())==(9,[1,4])
""",
    ),
    "async test callback": (
        """
import asyncio
async def apply(f,x):
    return await f(x)
""",
        """
import asyncio
async def inc(x):
    await asyncio.sleep(0)
    return x+1
assert asyncio.run(apply(inc,1))==2
""",
    ),
    "isolated asyncio test case": (
        """
import asyncio
async def f(x):
    await asyncio.sleep(0)
    return x+1
""",
        """
import unittest
class T(unittest.IsolatedAsyncioTestCase):
    async def test_a(self):
        self.assertEqual(await f(1),2)
""",
    ),
    "dict order equal": (
        """
def f(s):
    d={}
    for c in s: d[c]=d.get(c,0)+1
    return d
""",
        """
assert f('hello')=={'h':1,'e':1,'l':2,'o':1}
assert list(f('ba'))==['b','a']
assert list(f('ba').items())==[('b',1),('a',1)]
""",
    ),
    "counter results": (
        """
from collections import Counter
def f(s): return Counter(s)
""",
        """
from collections import Counter
assert f('aab')==Counter({'a':2,'b':1})
assert f('aab')=={'a':2,'b':1}
assert f('aab').most_common(1)==[('a',2)]
assert (f('aab')-f('ab'))==Counter('a')
assert isinstance(f('a'),dict)
""",
    ),
    "defaultdict nested": (
        """
from collections import defaultdict
def g(edges):
    d=defaultdict(lambda: defaultdict(int))
    for a,b in edges: d[a][b]+=1
    return d
""",
        """
r=g([(1,2),(1,2),(2,3)])
assert r[1][2]==2
assert r=={1:{2:2},2:{3:1}}
assert r[9][9]==0
""",
    ),
    "decimal exact": (
        """
from decimal import Decimal, ROUND_HALF_UP
def f(x): return Decimal(x).quantize(Decimal('0.01'),rounding=ROUND_HALF_UP)
""",
        """
from decimal import Decimal
assert f('2.675')==Decimal('2.68')
assert str(f('1'))=='1.00'
assert f('1')==1
assert isinstance(f('1'),Decimal)
""",
    ),
    "named tuple fields": (
        """
from collections import namedtuple
P=namedtuple('P','x y')
def mk(a): return P(a,a+1)
""",
        """
r=mk(1)
assert r==(1,2)
assert r.x==1 and r.y==2
assert r._asdict()=={'x':1,'y':2}
assert r._replace(x=5)==P(5,2)
x,y=r
assert (x,y)==(1,2)
assert P(1,2)==mk(1)
assert r[0]==1
assert isinstance(r,tuple)
assert P._fields==('x','y')
""",
    ),
    "enum compare": (
        """
from enum import Enum, auto
class Color(Enum):
    RED=1
    GREEN=2
def f(n): return Color.RED if n else Color.GREEN
""",
        """
assert f(1)==Color.RED
assert f(1) is Color.RED
assert f(0).name=='GREEN'
assert f(0).value==2
assert Color(1) is Color.RED
assert Color['RED']==Color.RED
assert [c.name for c in Color]==['RED','GREEN']
assert {Color.RED:1}[f(1)]==1
assert len(Color)==2
assert Color.RED in Color
assert str(Color.RED)=='Color.RED'
assert repr(Color.RED)=='<Color.RED: 1>'
""",
    ),
    "flag and intenum": (
        """
from enum import IntEnum, Flag, auto
class L(IntEnum):
    LOW=1
    HIGH=3
class F(Flag):
    A=auto()
    B=auto()
""",
        """
assert L.LOW<L.HIGH
assert L.HIGH==3
assert L.HIGH+1==4
assert sorted([L.HIGH,L.LOW])==[L.LOW,L.HIGH]
assert F.A|F.B==F.A|F.B
assert F.A in (F.A|F.B)
assert not (F.A&F.B)
assert (F.A|F.B).value==3
""",
    ),
    "dataclass full": (
        """
from dataclasses import dataclass, field, asdict
@dataclass(order=True)
class Item:
    price: float
    name: str = field(compare=False, default='x')
    tags: list = field(default_factory=list)
""",
        """
from dataclasses import asdict, is_dataclass, fields, replace
a=Item(1.5,'a'); b=Item(2.5,'b')
assert a<b and max(a,b) is b
assert a==Item(1.5,'zzz')
assert repr(a)=="Item(price=1.5, name='a', tags=[])"
assert asdict(a)=={'price':1.5,'name':'a','tags':[]}
a.tags.append(3)
assert a.tags==[3]
assert is_dataclass(a)
assert [f.name for f in fields(a)]==['price','name','tags']
assert replace(a,price=9).price==9
assert sorted([b,a])==[a,b]
""",
    ),
    "frozen dataclass error": (
        """
from dataclasses import dataclass, FrozenInstanceError
@dataclass(frozen=True)
class P:
    x:int
    y:int=0
    def __add__(s,o): return P(s.x+o.x,s.y+o.y)
""",
        """
from dataclasses import FrozenInstanceError
p=P(1,2)
try:
    p.x=3
    assert False
except FrozenInstanceError: pass
assert p+P(1,1)==P(2,3)
assert hash(p)==hash(P(1,2))
assert {p:1}[P(1,2)]==1
assert len({P(1),P(1),P(2)})==2
""",
    ),
    "generator behaviours": (
        """
def gen(n):
    total=0
    for i in range(n):
        got=yield i
        if got: total+=got
    return total
""",
        """
g=gen(3)
assert next(g)==0
assert g.send(5)==1
assert next(g)==2
try:
    next(g)
except StopIteration as e:
    assert e.value==5
assert list(gen(3))==[0,1,2]
import types
assert isinstance(gen(1),types.GeneratorType)
assert hasattr(gen(1),'__next__')
assert iter(g) is g
from itertools import islice
assert list(islice(gen(100),3))==[0,1,2]
assert sum(gen(4))==6
assert max(gen(4))==3
""",
    ),
    "awaits the tests' coroutines": (
        """
import asyncio
async def apply(f,x):
    return await f(x)
async def both(a,b):
    return await asyncio.gather(a,b)
async def with_retry(f,n):
    for i in range(n):
        try: return await f()
        except ValueError: await asyncio.sleep(0)
    return None
""",
        """
import asyncio
async def inc(x):
    await asyncio.sleep(0)
    return x+1
assert asyncio.run(apply(inc,1))==2
async def main():
    return await both(inc(1),inc(2))
assert asyncio.run(main())==[2,3]
calls=[]
async def flaky():
    calls.append(1)
    if len(calls)<3: raise ValueError
    return await apply(inc,5)
assert asyncio.run(with_retry(flaky,5))==6
assert len(calls)==3
""",
    ),
    "awaits again": (
        """
async def apply(f,x):
    return await f(x)
""",
        """
import asyncio
async def dec(x): return x-1
async def test_it():
    assert await apply(dec,1)==0
""",
    ),
    "check with metadata": (
        """
def has_close_elements(numbers, threshold):
    return any(abs(a-b)<threshold for i,a in enumerate(numbers) for b in numbers[i+1:])
""",
        """
METADATA = {
    'author': 'jt',
    'dataset': 'test'
}
def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False
check(has_close_elements)
""",
    ),
    "assert with message": (
        "def f(x): return x",
        """
assert f(1)==1, f'got {f(1)}'
assert f([1])==[1], 'msg'
""",
    ),
    "assert true on helper": (
        "def f(n): return [i for i in range(2,n) if all(i%j for j in range(2,i))]",
        """
def is_prime(n): return n>1 and all(n%i for i in range(2,n))
assert all(is_prime(x) for x in f(50))
assert len(f(50))==15
assert all(x in f(50) for x in (2,3,5,7))
""",
    ),
    "random property test": (
        """
def my_sort(a):
    a=list(a)
    for i in range(len(a)):
        for j in range(len(a)-1-i):
            if a[j]>a[j+1]: a[j],a[j+1]=a[j+1],a[j]
    return a
""",
        """
import random
random.seed(0)
for _ in range(50):
    xs=[random.randint(-9,9) for _ in range(random.randint(0,12))]
    assert my_sort(xs)==sorted(xs)
""",
    ),
    "mock call args": (
        """
def notify(users, send):
    for u in users: send(u, msg='hi')
""",
        """
from unittest.mock import Mock, call
s=Mock()
notify(['a','b'], s)
assert s.call_count==2
s.assert_any_call('a', msg='hi')
assert s.call_args_list==[call('a',msg='hi'),call('b',msg='hi')]
""",
    ),
    "mock object attributes": (
        """
class Svc:
    def __init__(s,db): s.db=db
    def get(s,k):
        v=s.db.find(k)
        return v*2
""",
        """
from unittest.mock import MagicMock
db=MagicMock()
db.find.return_value=4
assert Svc(db).get('x')==8
db.find.assert_called_once_with('x')
""",
    ),
    "namespace and getattr": (
        """
from types import SimpleNamespace
def mk(): return SimpleNamespace(a=1,b=[2])
""",
        """
r=mk()
assert r.a==1 and r.b==[2]
r.b.append(3)
assert r.b==[2,3]
assert vars(r)=={'a':1,'b':[2,3]}
""",
    ),
    "typeddict and newtype": (
        """
from typing import *
class T(TypedDict):
    a:int
U=NewType('U',int)
def f(x:U)->T: return T(a=x)
""",
        """
assert f(U(3))=={'a':3}
assert f(3)==T(a=3)
""",
    ),
    "bytes and memoryview": (
        "def f(b): return bytes(reversed(b)), bytearray(b), memoryview(b).tobytes()",
        "assert f(b'ab')==(b'ba',bytearray(b'ab'),b'ab')",
    ),
    "sets of things": (
        "def f(xs): return {frozenset(x) for x in xs}",
        "assert f([[1,2],[2,1],[3]])=={frozenset({1,2}),frozenset({3})}",
    ),
    "permutations iter": (
        """
from itertools import permutations
def f(xs): return permutations(xs)
""",
        """
assert sorted(f([1,2]))==[(1,2),(2,1)]
assert list(f([1]))==[(1,)]
assert len(list(f('abc')))==6
""",
    ),
    "zip map filter objects": (
        """
def f(xs): return map(str,xs)
def g(xs): return filter(None,xs)
def h(a,b): return zip(a,b)
def e(a): return enumerate(a)
def r(a): return reversed(a)
""",
        """
assert list(f([1,2]))==['1','2']
assert list(g([0,1]))==[1]
assert dict(h('ab',[1,2]))=={'a':1,'b':2}
assert list(e('a'))==[(0,'a')]
assert list(r([1,2]))==[2,1]
assert next(f([5]))=='5'
""",
    ),
    "heap object compare": (
        """
import heapq
class Node:
    def __init__(s,v): s.v=v
    def __lt__(s,o): return s.v<o.v
def merge(ls):
    h=[]
    for l in ls:
        for x in l: heapq.heappush(h,Node(x))
    return [heapq.heappop(h).v for _ in range(len(h))]
""",
        """
assert merge([[3,1],[2]])==[1,2,3]
assert Node(1)<Node(2)
assert not Node(2)<Node(1)
assert min(Node(3),Node(1)).v==1
""",
    ),
    "matrix float tolerance": (
        """
def inv(m):
    a,b,c,d=m[0]+m[1]
    k=a*d-b*c
    return [[d/k,-b/k],[-c/k,a/k]]
""",
        """
def close(a,b,tol=1e-9):
    return all(abs(x-y)<=tol for r,s in zip(a,b) for x,y in zip(r,s))
assert close(inv([[1,2],[3,4]]),[[-2,1],[1.5,-0.5]])
import math
assert math.isclose(inv([[2,0],[0,2]])[0][0],0.5,rel_tol=1e-9)
assert round(inv([[1,2],[3,4]])[1][0],2)==1.5
""",
    ),
    "big recursion limit": (
        """
import sys
sys.setrecursionlimit(20000)
def depth(n): return 0 if n==0 else 1+depth(n-1)
""",
        "assert depth(9000)==9000",
    ),
    "recursion error expected": (
        "def f(n): return f(n+1)",
        """
try:
    f(0)
    assert False
except RecursionError:
    pass
""",
    ),
    "zero division text": (
        """
def div(a,b):
    return a/b
""",
        """
try:
    div(1,0)
except ZeroDivisionError as e:
    assert str(e)=='division by zero'
else:
    assert False
""",
    ),
    "keyerror args": (
        """
class Reg:
    def __init__(s): s.d={}
    def __getitem__(s,k): return s.d[k]
    def __setitem__(s,k,v): s.d[k]=v
    def __delitem__(s,k): del s.d[k]
    def __len__(s): return len(s.d)
    def __contains__(s,k): return k in s.d
    def __iter__(s): return iter(s.d)
""",
        "r=Reg()\nr['a']=1\nassert r['a']==1 and len(r)==1 and 'a' in r and list(r)==['a']\ndel r['a']\nassert 'a' not in r\ntry:\n    r['zz']\n    assert False\nexcept KeyError as e:\n    assert e.args[0]=='zz'\n    assert str(e)==\"'zz'\"",
    ),
    "raises StopIteration itself": (
        """
class It:
    def __init__(s,xs): s.xs=list(xs)
    def next(s):
        if not s.xs: raise StopIteration
        return s.xs.pop(0)
""",
        """
it=It([1])
assert it.next()==1
try:
    it.next()
    assert False
except StopIteration:
    pass
""",
    ),
    "iterator of iterators": (
        """
class Flat:
    def __init__(s,n): s.s=list(reversed(n))
    def __iter__(s): return s
    def __next__(s):
        while s.s:
            t=s.s.pop()
            if isinstance(t,list): s.s.extend(reversed(t))
            else: return t
        raise StopIteration
    def hasNext(s): return bool(s.s)
""",
        """
assert list(Flat([1,[2,[3]]]))==[1,2,3]
f=Flat([1])
assert next(f)==1
assert next(f,None) is None
try:
    next(f)
    assert False
except StopIteration: pass
""",
    ),
    "default mutable shared": (
        """
def f(x,acc=[]):
    acc.append(x)
    return acc
""",
        """
assert f(1)==[1]
assert f(2)==[1,2]
assert f(3,[])==[3]
a=f(4)
assert a is f(5) or a==[1,2,4,5]
""",
    ),
    "global counter": (
        """
count=0
def inc():
    global count
    count+=1
    return count
""",
        """
assert inc()==1
assert inc()==2
assert count==2
""",
    ),
    "class counter": (
        """
class C:
    n=0
    def __init__(s): C.n+=1
    @classmethod
    def total(cls): return cls.n
    @staticmethod
    def add(a,b): return a+b
""",
        """
C();C()
assert C.n==2 and C.total()==2 and C.add(1,2)==3
C.n=0
assert C.total()==0
""",
    ),
    "property and setter errors": (
        """
class T:
    def __init__(s,c): s.celsius=c
    @property
    def celsius(s): return s._c
    @celsius.setter
    def celsius(s,v):
        if v<-273.15: raise ValueError('below absolute zero')
        s._c=v
    @property
    def f(s): return s._c*9/5+32
""",
        """
t=T(100)
assert t.f==212
t.celsius=0
assert t.f==32
for bad in (-300,-1000):
    try:
        t.celsius=bad
        assert False
    except ValueError as e: assert 'absolute' in str(e)
try:
    t.f=3
    assert False
except AttributeError: pass
assert t._c==0
""",
    ),
    "repr str format eq hash": (
        """
class P:
    def __init__(s,x,y): s.x,s.y=x,y
    def __repr__(s): return f'P({s.x}, {s.y})'
    def __str__(s): return f'<{s.x},{s.y}>'
    def __eq__(s,o): return isinstance(o,P) and (s.x,s.y)==(o.x,o.y)
    def __hash__(s): return hash((s.x,s.y))
    def __format__(s,spec): return f'{s.x:{spec}}'
    def __bool__(s): return bool(s.x or s.y)
    def __iter__(s): yield s.x; yield s.y
    def __abs__(s): return (s.x**2+s.y**2)**.5
    def __neg__(s): return P(-s.x,-s.y)
    def __add__(s,o): return P(s.x+o.x,s.y+o.y)
    def __mul__(s,k): return P(s.x*k,s.y*k)
    __rmul__=__mul__
    def __getitem__(s,i): return (s.x,s.y)[i]
    def __len__(s): return 2
    def __call__(s): return 'called'
    def __matmul__(s,o): return s.x*o.x+s.y*o.y
""",
        """
p=P(3,4)
assert repr(p)=='P(3, 4)' and str(p)=='<3,4>' and f'{p:03d}'=='003'
assert p==P(3,4) and p!=P(0,0) and p!=5 and hash(p)==hash(P(3,4))
assert bool(p) and not P(0,0)
assert list(p)==[3,4] and tuple(p)==(3,4)
assert abs(p)==5.0
assert -p==P(-3,-4) and p+P(1,1)==P(4,5) and p*2==P(6,8) and 2*p==P(6,8)
assert p[0]==3 and len(p)==2 and p()=='called' and p@P(1,1)==7
x,y=p
assert (x,y)==(3,4)
assert {p:1}[P(3,4)]==1 and P(3,4) in [p] and [p].index(P(3,4))==0
assert sorted([P(2,1),P(1,2)],key=lambda q:q.x)[0]==P(1,2)
assert sum([P(1,1),P(2,2)],P(0,0))==P(3,3)
""",
    ),
    "capture print via patch": (
        "def hello(n): print('Hello',n)",
        r"""
import io, contextlib
b=io.StringIO()
with contextlib.redirect_stdout(b):
    hello('x')
assert b.getvalue()=='Hello x\n'
from unittest.mock import patch
with patch('builtins.print') as pr:
    pass
import sys
old=sys.stdout
sys.stdout=io.StringIO()
hello('y')
out=sys.stdout.getvalue()
sys.stdout=old
assert out.strip()=='Hello y'
""",
    ),
    "capsys like unittest": (
        "def hello(n): print('Hello',n)",
        """
import unittest, io
from contextlib import redirect_stdout
class T(unittest.TestCase):
    def test_out(self):
        f=io.StringIO()
        with redirect_stdout(f):
            hello('a'); hello('b')
        self.assertEqual(f.getvalue().splitlines(),['Hello a','Hello b'])
""",
    ),
    "files in tmp by tests": (
        """
def count(path):
    with open(path) as f: return sum(1 for _ in f)
def save(path,t):
    with open(path,'w') as f: f.write(t)
    return path
""",
        r"""
p=save('a.txt','x\ny\n')
assert count(p)==2
""",
    ),
    "datetime results": (
        """
from datetime import datetime, date, timedelta
def nxt(d): return d+timedelta(days=1)
def parse(s): return datetime.strptime(s,'%Y-%m-%d')
""",
        """
from datetime import datetime, date, timedelta
assert nxt(date(2024,2,28))==date(2024,2,29)
assert parse('2024-01-02')==datetime(2024,1,2)
assert (parse('2024-01-03')-parse('2024-01-02'))==timedelta(days=1)
assert parse('2024-01-02').isoformat()=='2024-01-02T00:00:00'
assert parse('2024-01-02')>datetime(2023,1,1)
""",
    ),
    "complex fraction": (
        """
from fractions import Fraction
def f(a,b): return Fraction(a,b)
def c(a): return complex(a,1)
""",
        """
from fractions import Fraction
assert f(2,4)==Fraction(1,2)
assert f(2,4)+Fraction(1,2)==1
assert str(f(1,3))=='1/3'
assert f(1,2).numerator==1
assert c(1)==1+1j and abs(c(0))==1.0
""",
    ),
    "ordered dict moves": (
        """
from collections import OrderedDict
class LRU:
    def __init__(s,c): s.c=c; s.d=OrderedDict()
    def get(s,k):
        if k not in s.d: return -1
        s.d.move_to_end(k); return s.d[k]
    def put(s,k,v):
        s.d[k]=v; s.d.move_to_end(k)
        if len(s.d)>s.c: s.d.popitem(last=False)
""",
        """
l=LRU(2)
l.put(1,1);l.put(2,2)
assert l.get(1)==1
l.put(3,3)
assert l.get(2)==-1
assert list(l.d)==[1,3]
assert l.d=={1:1,3:3}
""",
    ),
    "deque rotation": (
        """
from collections import deque
def rot(xs,k):
    d=deque(xs); d.rotate(k); return d
""",
        """
from collections import deque
assert rot([1,2,3],1)==deque([3,1,2])
assert list(rot([1,2,3],1))==[3,1,2]
r=rot([1,2],0)
r.appendleft(9)
assert r[0]==9 and len(r)==3
""",
    ),
    "currying lambdas": (
        """
compose=lambda *fs: (lambda x: __import__('functools').reduce(lambda a,f: f(a), fs, x))
add=lambda a: lambda b: lambda c: a+b+c
""",
        """
assert compose(lambda x:x+1,lambda x:x*2)(3)==8
assert add(1)(2)(3)==6
assert compose(str,len)(12345)==5
""",
    ),
    "graph of test objects": (
        """
def topo(nodes):
    out=[];seen=set()
    def go(n):
        if n in seen: return
        seen.add(n)
        for m in n.deps: go(m)
        out.append(n)
    for n in nodes: go(n)
    return out
""",
        """
class N:
    def __init__(s,name,deps=()): s.name=name; s.deps=list(deps)
a=N('a'); b=N('b',[a]); c=N('c',[a,b])
assert [n.name for n in topo([c])]==['a','b','c']
assert topo([c])[0] is a
""",
    ),
    "large nested result": (
        "def f(n): return {i:[j for j in range(50)] for i in range(n)}",
        """
r=f(2000)
assert len(r)==2000 and r[1999][49]==49
assert r=={i:list(range(50)) for i in range(2000)}
""",
    ),
    "many calls": (
        "def f(x): return x*x",
        """
for i in range(3000):
    assert f(i)==i*i
""",
    ),
    "many asserts statements": (
        "def f(x): return x+1",
        """
assert f(0)==1
assert f(1)==2
assert f(2)==3
assert f(3)==4
assert f(4)==5
assert f(5)==6
assert f(6)==7
assert f(7)==8
assert f(8)==9
assert f(9)==10
assert f(10)==11
assert f(11)==12
assert f(12)==13
assert f(13)==14
assert f(14)==15
assert f(15)==16
assert f(16)==17
assert f(17)==18
assert f(18)==19
assert f(19)==20
assert f(20)==21
assert f(21)==22
assert f(22)==23
assert f(23)==24
assert f(24)==25
assert f(25)==26
assert f(26)==27
assert f(27)==28
assert f(28)==29
assert f(29)==30
assert f(30)==31
assert f(31)==32
assert f(32)==33
assert f(33)==34
assert f(34)==35
assert f(35)==36
assert f(36)==37
assert f(37)==38
assert f(38)==39
assert f(39)==40
assert f(40)==41
assert f(41)==42
assert f(42)==43
assert f(43)==44
assert f(44)==45
assert f(45)==46
assert f(46)==47
assert f(47)==48
assert f(48)==49
assert f(49)==50
assert f(50)==51
assert f(51)==52
assert f(52)==53
assert f(53)==54
assert f(54)==55
assert f(55)==56
assert f(56)==57
assert f(57)==58
assert f(58)==59
assert f(59)==60
assert f(60)==61
assert f(61)==62
assert f(62)==63
assert f(63)==64
assert f(64)==65
assert f(65)==66
assert f(66)==67
assert f(67)==68
assert f(68)==69
assert f(69)==70
assert f(70)==71
assert f(71)==72
assert f(72)==73
assert f(73)==74
assert f(74)==75
assert f(75)==76
assert f(76)==77
assert f(77)==78
assert f(78)==79
assert f(79)==80
assert f(80)==81
assert f(81)==82
assert f(82)==83
assert f(83)==84
assert f(84)==85
assert f(85)==86
assert f(86)==87
assert f(87)==88
assert f(88)==89
assert f(89)==90
assert f(90)==91
assert f(91)==92
assert f(92)==93
assert f(93)==94
assert f(94)==95
assert f(95)==96
assert f(96)==97
assert f(97)==98
assert f(98)==99
assert f(99)==100
assert f(100)==101
assert f(101)==102
assert f(102)==103
assert f(103)==104
assert f(104)==105
assert f(105)==106
assert f(106)==107
assert f(107)==108
assert f(108)==109
assert f(109)==110
assert f(110)==111
assert f(111)==112
assert f(112)==113
assert f(113)==114
assert f(114)==115
assert f(115)==116
assert f(116)==117
assert f(117)==118
assert f(118)==119
assert f(119)==120
assert f(120)==121
assert f(121)==122
assert f(122)==123
assert f(123)==124
assert f(124)==125
assert f(125)==126
assert f(126)==127
assert f(127)==128
assert f(128)==129
assert f(129)==130
assert f(130)==131
assert f(131)==132
assert f(132)==133
assert f(133)==134
assert f(134)==135
assert f(135)==136
assert f(136)==137
assert f(137)==138
assert f(138)==139
assert f(139)==140
assert f(140)==141
assert f(141)==142
assert f(142)==143
assert f(143)==144
assert f(144)==145
assert f(145)==146
assert f(146)==147
assert f(147)==148
assert f(148)==149
assert f(149)==150
assert f(150)==151
assert f(151)==152
assert f(152)==153
assert f(153)==154
assert f(154)==155
assert f(155)==156
assert f(156)==157
assert f(157)==158
assert f(158)==159
assert f(159)==160
assert f(160)==161
assert f(161)==162
assert f(162)==163
assert f(163)==164
assert f(164)==165
assert f(165)==166
assert f(166)==167
assert f(167)==168
assert f(168)==169
assert f(169)==170
assert f(170)==171
assert f(171)==172
assert f(172)==173
assert f(173)==174
assert f(174)==175
assert f(175)==176
assert f(176)==177
assert f(177)==178
assert f(178)==179
assert f(179)==180
assert f(180)==181
assert f(181)==182
assert f(182)==183
assert f(183)==184
assert f(184)==185
assert f(185)==186
assert f(186)==187
assert f(187)==188
assert f(188)==189
assert f(189)==190
assert f(190)==191
assert f(191)==192
assert f(192)==193
assert f(193)==194
assert f(194)==195
assert f(195)==196
assert f(196)==197
assert f(197)==198
assert f(198)==199
assert f(199)==200
assert f(200)==201
assert f(201)==202
assert f(202)==203
assert f(203)==204
assert f(204)==205
assert f(205)==206
assert f(206)==207
assert f(207)==208
assert f(208)==209
assert f(209)==210
assert f(210)==211
assert f(211)==212
assert f(212)==213
assert f(213)==214
assert f(214)==215
assert f(215)==216
assert f(216)==217
assert f(217)==218
assert f(218)==219
assert f(219)==220
assert f(220)==221
assert f(221)==222
assert f(222)==223
assert f(223)==224
assert f(224)==225
assert f(225)==226
assert f(226)==227
assert f(227)==228
assert f(228)==229
assert f(229)==230
assert f(230)==231
assert f(231)==232
assert f(232)==233
assert f(233)==234
assert f(234)==235
assert f(235)==236
assert f(236)==237
assert f(237)==238
assert f(238)==239
assert f(239)==240
assert f(240)==241
assert f(241)==242
assert f(242)==243
assert f(243)==244
assert f(244)==245
assert f(245)==246
assert f(246)==247
assert f(247)==248
assert f(248)==249
assert f(249)==250
assert f(250)==251
assert f(251)==252
assert f(252)==253
assert f(253)==254
assert f(254)==255
assert f(255)==256
assert f(256)==257
assert f(257)==258
assert f(258)==259
assert f(259)==260
assert f(260)==261
assert f(261)==262
assert f(262)==263
assert f(263)==264
assert f(264)==265
assert f(265)==266
assert f(266)==267
assert f(267)==268
assert f(268)==269
assert f(269)==270
assert f(270)==271
assert f(271)==272
assert f(272)==273
assert f(273)==274
assert f(274)==275
assert f(275)==276
assert f(276)==277
assert f(277)==278
assert f(278)==279
assert f(279)==280
assert f(280)==281
assert f(281)==282
assert f(282)==283
assert f(283)==284
assert f(284)==285
assert f(285)==286
assert f(286)==287
assert f(287)==288
assert f(288)==289
assert f(289)==290
assert f(290)==291
assert f(291)==292
assert f(292)==293
assert f(293)==294
assert f(294)==295
assert f(295)==296
assert f(296)==297
assert f(297)==298
assert f(298)==299
assert f(299)==300
assert f(300)==301
assert f(301)==302
assert f(302)==303
assert f(303)==304
assert f(304)==305
assert f(305)==306
assert f(306)==307
assert f(307)==308
assert f(308)==309
assert f(309)==310
assert f(310)==311
assert f(311)==312
assert f(312)==313
assert f(313)==314
assert f(314)==315
assert f(315)==316
assert f(316)==317
assert f(317)==318
assert f(318)==319
assert f(319)==320
assert f(320)==321
assert f(321)==322
assert f(322)==323
assert f(323)==324
assert f(324)==325
assert f(325)==326
assert f(326)==327
assert f(327)==328
assert f(328)==329
assert f(329)==330
assert f(330)==331
assert f(331)==332
assert f(332)==333
assert f(333)==334
assert f(334)==335
assert f(335)==336
assert f(336)==337
assert f(337)==338
assert f(338)==339
assert f(339)==340
assert f(340)==341
assert f(341)==342
assert f(342)==343
assert f(343)==344
assert f(344)==345
assert f(345)==346
assert f(346)==347
assert f(347)==348
assert f(348)==349
assert f(349)==350
assert f(350)==351
assert f(351)==352
assert f(352)==353
assert f(353)==354
assert f(354)==355
assert f(355)==356
assert f(356)==357
assert f(357)==358
assert f(358)==359
assert f(359)==360
assert f(360)==361
assert f(361)==362
assert f(362)==363
assert f(363)==364
assert f(364)==365
assert f(365)==366
assert f(366)==367
assert f(367)==368
assert f(368)==369
assert f(369)==370
assert f(370)==371
assert f(371)==372
assert f(372)==373
assert f(373)==374
assert f(374)==375
assert f(375)==376
assert f(376)==377
assert f(377)==378
assert f(378)==379
assert f(379)==380
assert f(380)==381
assert f(381)==382
assert f(382)==383
assert f(383)==384
assert f(384)==385
assert f(385)==386
assert f(386)==387
assert f(387)==388
assert f(388)==389
assert f(389)==390
assert f(390)==391
assert f(391)==392
assert f(392)==393
assert f(393)==394
assert f(394)==395
assert f(395)==396
assert f(396)==397
assert f(397)==398
assert f(398)==399
assert f(399)==400
""",
    ),
    "exit inside main guard": (
        """
import sys
def f(x): return x
if __name__=='__main__':
    sys.exit(f(3))
""",
        "assert f(3)==3",
    ),
    "prints at import and input at import guarded": (
        """
print('hello')
def f(x): return x
if __name__=='__main__':
    n=int(input())
    print(f(n))
""",
        "assert f(3)==3",
    ),
    "unused third party try": (
        """
try:
    import numpy as np
except ModuleNotFoundError:
    np=None
from typing import *
from collections import *
from itertools import *
from math import *
def f(x: List[int]) -> int: return gcd(*x)
""",
        "assert f([4,6])==2",
    ),
    "star imports from everything": (
        """
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string,re,datetime,collections,heapq,bisect,copy,math,random,statistics,itertools,functools,operator,io,sys,json
sys.setrecursionlimit(50000)
class Solution:
    def f(self,a:List[int])->int: return sum(a)
""",
        "assert Solution().f([1,2])==3",
    ),
    "tests reuse code's helper class": (
        """
class Tree:
    def __init__(s,v): s.v=v; s.kids=[]
    def add(s,t): s.kids.append(t); return s
    def total(s): return s.v+sum(k.total() for k in s.kids)
""",
        """
t=Tree(1).add(Tree(2)).add(Tree(3).add(Tree(4)))
assert t.total()==10
assert len(t.kids)==2 and t.kids[1].kids[0].v==4
t.kids[0].v=10
assert t.total()==18
""",
    ),
    "protocol duck typed by tests": (
        """
def area(s): return s.area()
def total(shapes): return sum(s.area() for s in shapes)
class Sq:
    def __init__(s,a): s.a=a
    def area(s): return s.a**2
""",
        """
class Fake:
    def area(self): return 7
assert area(Fake())==7
assert total([Fake(),Sq(3)])==16
""",
    ),
    "threads lock counter": (
        """
import threading
class Counter:
    def __init__(s): s.n=0; s.l=threading.Lock()
    def inc(s):
        with s.l: s.n+=1
""",
        """
import threading
c=Counter()
ts=[threading.Thread(target=lambda:[c.inc() for _ in range(50)]) for _ in range(4)]
[t.start() for t in ts]
[t.join() for t in ts]
assert c.n==200
""",
    ),
    "hundred threads": (
        """
import threading
def f(n):
    r=[]
    ts=[threading.Thread(target=r.append,args=(i,)) for i in range(n)]
    for t in ts: t.start()
    for t in ts: t.join()
    return sorted(r)
""",
        "assert f(100)==list(range(100))",
    ),
    "time budget": (
        """
import time
def f(n):
    time.sleep(0.01)
    return n
""",
        """
import time
t=time.time()
assert f(1)==1
assert time.time()-t<5
""",
    ),
    "return self chaining": (
        """
class B:
    def __init__(s): s.p=[]
    def add(s,x): s.p.append(x); return s
    def build(s): return '-'.join(s.p)
""",
        """
assert B().add('a').add('b').build()=='a-b'
b=B()
assert b.add('x') is b
""",
    ),
    "abstract instantiation error": (
        """
from abc import ABC, abstractmethod
class S(ABC):
    @abstractmethod
    def area(self): ...
class C(S):
    def area(self): return 3
""",
        """
try:
    S()
    assert False
except TypeError as e:
    assert 'abstract' in str(e)
assert C().area()==3 and isinstance(C(),S) and issubclass(C,S)
""",
    ),
    "value class against 5": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(5)
assert v.v==5
assert v==5
assert 5==v
assert not v!=5
""",
    ),
    "value class against -3.25": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(-3.25)
assert v.v==-3.25
assert v==-3.25
assert -3.25==v
assert not v!=-3.25
""",
    ),
    "value class against 0": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(0)
assert v.v==0
assert v==0
assert 0==v
assert not v!=0
""",
    ),
    "value class against 'abc'": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V('abc')
assert v.v=='abc'
assert v=='abc'
assert 'abc'==v
assert not v!='abc'
""",
    ),
    "value class against ''": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V('')
assert v.v==''
assert v==''
assert ''==v
assert not v!=''
""",
    ),
    "value class against [1,2]": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V([1,2])
assert v.v==[1,2]
assert v==[1,2]
assert [1,2]==v
assert not v!=[1,2]
""",
    ),
    "value class against []": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V([])
assert v.v==[]
assert v==[]
assert []==v
assert not v!=[]
""",
    ),
    "value class against (1,'a')": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V((1,'a'))
assert v.v==(1,'a')
assert v==(1,'a')
assert (1,'a')==v
assert not v!=(1,'a')
""",
    ),
    "value class against ()": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(())
assert v.v==()
assert v==()
assert ()==v
assert not v!=()
""",
    ),
    "value class against {'a':1}": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V({'a':1})
assert v.v=={'a':1}
assert v=={'a':1}
assert {'a':1}==v
assert not v!={'a':1}
""",
    ),
    "value class against {}": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V({})
assert v.v=={}
assert v=={}
assert {}==v
assert not v!={}
""",
    ),
    "value class against {1,2}": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V({1,2})
assert v.v=={1,2}
assert v=={1,2}
assert {1,2}==v
assert not v!={1,2}
""",
    ),
    "value class against set()": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(set())
assert v.v==set()
assert v==set()
assert set()==v
assert not v!=set()
""",
    ),
    "value class against frozenset({1})": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(frozenset({1}))
assert v.v==frozenset({1})
assert v==frozenset({1})
assert frozenset({1})==v
assert not v!=frozenset({1})
""",
    ),
    "value class against None": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(None)
assert v.v==None
assert v==None
assert None==v
assert not v!=None
""",
    ),
    "value class against True": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(True)
assert v.v==True
assert v==True
assert True==v
assert not v!=True
""",
    ),
    "value class against 10**30": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(10**30)
assert v.v==10**30
assert v==10**30
assert 10**30==v
assert not v!=10**30
""",
    ),
    "value class against 1e300": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(1e300)
assert v.v==1e300
assert v==1e300
assert 1e300==v
assert not v!=1e300
""",
    ),
    "value class against float('inf')": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(float('inf'))
assert v.v==float('inf')
assert v==float('inf')
assert float('inf')==v
assert not v!=float('inf')
""",
    ),
    "value class against [[1],{'a':(2,)}]": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V([[1],{'a':(2,)}])
assert v.v==[[1],{'a':(2,)}]
assert v==[[1],{'a':(2,)}]
assert [[1],{'a':(2,)}]==v
assert not v!=[[1],{'a':(2,)}]
""",
    ),
    "value class against b'ab'": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(b'ab')
assert v.v==b'ab'
assert v==b'ab'
assert b'ab'==v
assert not v!=b'ab'
""",
    ),
    "value class against 3+4j": (
        """
class V:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return s.v==(o.v if isinstance(o,V) else o)
""",
        """
v=V(3+4j)
assert v.v==3+4j
assert v==3+4j
assert 3+4j==v
assert not v!=3+4j
""",
    ),
    "pytest raises and match": (
        """
def f(x):
    if x<0: raise ValueError('negative: %d' % x)
    return x*2
class P:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return isinstance(o,P) and s.v==o.v
def show(x): print('got',x)
async def af(x): return x+1
""",
        r"""
import pytest
from solution import f

def test_ok():
    assert f(2) == 4

def test_raises():
    with pytest.raises(ValueError) as info:
        f(-1)
    assert 'negative' in str(info.value)
    with pytest.raises(ValueError, match=r'negative: -\d'):
        f(-3)
    pytest.raises(ValueError, f, -1)
    with pytest.raises((TypeError, ValueError)):
        f(-1)
""",
    ),
    "pytest parametrize": (
        """
def f(x):
    if x<0: raise ValueError('negative: %d' % x)
    return x*2
class P:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return isinstance(o,P) and s.v==o.v
def show(x): print('got',x)
async def af(x): return x+1
""",
        """
import pytest
from solution import f, P
@pytest.mark.parametrize('a, b', [(1, 2), (2, 4), pytest.param(3, 6, id='three')])
def test_f(a, b):
    assert f(a) == b
@pytest.mark.parametrize('x', [1, 2])
@pytest.mark.parametrize('y', [3])
def test_sum(x, y):
    assert f(x) + f(y) == 2 * (x + y)
@pytest.mark.parametrize(('n',), [(1,), (2,)])
def test_p(n):
    assert P(n) == P(n) and P(n).v == n
""",
    ),
    "pytest fixtures": (
        """
def f(x):
    if x<0: raise ValueError('negative: %d' % x)
    return x*2
class P:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return isinstance(o,P) and s.v==o.v
def show(x): print('got',x)
async def af(x): return x+1
""",
        """
import pytest
@pytest.fixture
def p():
    return P(3)
@pytest.fixture(scope='module')
def q(p):
    yield P(p.v + 1)
log = []
def test_v(p, q):
    assert p.v == 3 and q.v == 4
class TestP:
    def setup_method(self, method):
        self.name = method.__name__
    def test_name(self, p):
        assert self.name == 'test_name' and p.v == 3
    @pytest.mark.parametrize('x', [1, 2])
    def test_x(self, x):
        assert f(x) == 2 * x
""",
    ),
    "pytest approx everywhere": (
        """
def f(x):
    if x<0: raise ValueError('negative: %d' % x)
    return x*2
class P:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return isinstance(o,P) and s.v==o.v
def show(x): print('got',x)
async def af(x): return x+1
""",
        """
from pytest import approx
def test_a():
    assert f(0.1) + 0.1 == approx(0.3)
    assert [f(0.1), 1] == approx([0.2, 1.0])
    assert {'a': f(0.5)} == approx({'a': 1})
    assert f(1) != approx(3)
    assert f(100) == approx(201, abs=2)
    assert f(100) == approx(201, rel=0.01)
""",
    ),
    "pytest capsys and tmp_path": (
        """
def f(x):
    if x<0: raise ValueError('negative: %d' % x)
    return x*2
class P:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return isinstance(o,P) and s.v==o.v
def show(x): print('got',x)
async def af(x): return x+1
""",
        r"""
def test_show(capsys):
    import pytest
    show(3)
    assert capsys.readouterr().out == 'got 3\n'
def test_file(tmp_path):
    (tmp_path / 'a').write_text('x')
    assert (tmp_path / 'a').read_text() == 'x'
""",
    ),
    "pytest asyncio mark and main": (
        """
def f(x):
    if x<0: raise ValueError('negative: %d' % x)
    return x*2
class P:
    def __init__(s,v): s.v=v
    def __eq__(s,o): return isinstance(o,P) and s.v==o.v
def show(x): print('got',x)
async def af(x): return x+1
""",
        """
import pytest
@pytest.mark.asyncio
async def test_af():
    assert await af(1) == 2
@pytest.mark.slow
def test_f():
    assert f(1) == 2
if __name__ == '__main__':
    pytest.main([__file__])
""",
    ),
    "pytest import": (
        """
def f(x):
    if x<0: raise ValueError('neg')
    return x
""",
        """
import pytest
def test_a():
    with pytest.raises(ValueError):
        f(-1)
def test_b():
    assert f(1)==1
""",
    ),
    "pytest approx": (
        "def f(x): return x/3",
        """
import pytest
def test_a():
    assert f(1)==pytest.approx(0.3333333,rel=1e-5)
""",
    ),
    "fixture": (
        "def f(x): return sum(x)",
        """
import pytest
@pytest.fixture
def data():
    return [1,2,3]
def test_a(data):
    assert f(data)==6
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
    "input loop until eof": (
        """
while True:
    try: s = input()
    except EOFError: break
    print(s[::-1])
""",
        [("abc\nde\n", "cba\ned"), ("x", "x"), ("", "")],
    ),
    "for line in stdin": (
        r"""
import sys
for i, line in enumerate(sys.stdin): print(i, line.rstrip('\n').upper())
""",
        [("a\nb c\n", "0 A\n1 B C")],
    ),
    "stdin read split": (
        """
import sys
def main():
    data = sys.stdin.read().split()
    n = int(data[0])
    print(sum(map(int, data[1:n+1])))
main()
""",
        [("3\n1 2 3", "6")],
    ),
    "stdin buffer readline": (
        """
import sys
input = sys.stdin.buffer.readline
n = int(input())
for _ in range(n):
    a, b = map(int, input().split())
    print(a * b)
""",
        [("2\n3 4\n5 6\n", "12\n30")],
    ),
    "input rebound to readline": (
        r"""
import sys
input = lambda: sys.stdin.readline().rstrip('\r\n')
t = int(input())
while t:
    t -= 1
    print(len(input()))
""",
        [("2\nabc\n\n", "3\n0")],
    ),
    "os read all": (
        """
import os
data = os.read(0, 10**7).split()
print(sum(map(int, data)))
""",
        [("1 2 3\n4", "10")],
    ),
    "os read loop": (
        """
import os, io
s = b''
while True:
    c = os.read(0, 4)
    if not c: break
    s += c
print(len(s))
""",
        [("hello world", "11")],
    ),
    "open 0 lines": (
        """
lines = open(0).read().splitlines()
print(len(lines), lines[-1])
""",
        [("a\nb\nc", "3 c")],
    ),
    "open dev stdin": (
        """
import sys
print(sum(int(x) for x in open(0, 'rb').read().split()))
""",
        [("4 5", "9")],
    ),
    "dev stdin path": (
        "print(open('/dev/stdin').read().strip()[::-1])",
        [("abc\n", "cba")],
    ),
    "fileinput sum": (
        """
import fileinput
print(sum(int(l) for l in fileinput.input()))
""",
        [("1\n2\n3\n", "6")],
    ),
    "fast io bytesio": (
        r"""
import os, sys
from io import BytesIO, IOBase
BUFSIZE = 8192
class FastIO(IOBase):
    newlines = 0
    def __init__(self, file):
        self._fd = file.fileno()
        self.buffer = BytesIO()
        self.writable = 'x' in file.mode or 'r' not in file.mode
        self.write = self.buffer.write if self.writable else None
    def read(self):
        while True:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
            if not b: break
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines = 0
        return self.buffer.read()
    def readline(self):
        while self.newlines == 0:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
            self.newlines = b.count(b'\n') + (not b)
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines -= 1
        return self.buffer.readline()
    def flush(self):
        if self.writable:
            os.write(self._fd, self.buffer.getvalue())
            self.buffer.truncate(0), self.buffer.seek(0)
class IOWrapper(IOBase):
    def __init__(self, file):
        self.buffer = FastIO(file)
        self.flush = self.buffer.flush
        self.writable = self.buffer.writable
        self.write = lambda s: self.buffer.write(s.encode('ascii'))
        self.read = lambda: self.buffer.read().decode('ascii')
        self.readline = lambda: self.buffer.readline().decode('ascii')
sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
input = lambda: sys.stdin.readline().rstrip('\r\n')
n = int(input())
for _ in range(n):
    a, b = map(int, input().split())
    sys.stdout.write(str(a + b) + '\n')
sys.stdout.flush()
""",
        [("2\n1 2\n3 4\n", "3\n7")],
    ),
    "threading big stack": (
        """
import sys, threading
sys.setrecursionlimit(10**6)
threading.stack_size(1 << 26)
def dfs(n): return 0 if n == 0 else 1 + dfs(n - 1)
def main(): print(dfs(int(input())))
t = threading.Thread(target=main)
t.start()
t.join()
""",
        [("20000", "20000")],
    ),
    "bootstrap generator recursion": (
        """
from types import GeneratorType
def bootstrap(f, stack=[]):
    def w(*a, **k):
        if stack: return f(*a, **k)
        to = f(*a, **k)
        while True:
            if type(to) is GeneratorType:
                stack.append(to); to = next(to)
            else:
                stack.pop()
                if not stack: break
                to = stack[-1].send(to)
        return to
    return w
@bootstrap
def s(n):
    if n == 0: yield 0
    yield (yield s(n - 1)) + n
print(s(int(input())))
""",
        [("5000", "12502500")],
    ),
    "float formats": (
        """
a, b = map(float, input().split())
print(a / b, round(a / b, 3), '%.6f' % (a / b), f'{a:.2e}', format(b, '08.3f'), 1e100, 1e16, 0.1 + 0.2)
""",
        [("1 3", "0.3333333333333333 0.333 0.333333 1.00e+00 0003.000 1e+100 1e+16 0.30000000000000004")],
    ),
    "print options": (
        r"""
print(1, 2, sep='-', end='!\n')
print(*[1, 2, 3])
print(*'ab', sep='\n')
print([1, 'a', None], {'k': (1,)}, {1}, 2.0, True)
print()
print('end', flush=True)
""",
        [("", "1-2!\n1 2 3\na\nb\n[1, 'a', None] {'k': (1,)} {1} 2.0 True\n\nend")],
    ),
    "big output lines": (
        "n = int(input())\nprint('\\n'.join(map(str, range(n))))",
        [("100000", "\n".join(map(str, range(100000))))],
    ),
    "write many small": (
        r"""
import sys
for i in range(20000): sys.stdout.write(f'{i}\n')
""",
        [("", "\n".join(map(str, range(20000))))],
    ),
    "stdout buffer": (
        r"""
import sys
sys.stdout.buffer.write(b'raw\n')
sys.stdout.buffer.flush()
print('text')
""",
        [("", "raw\ntext")],
    ),
    "os write out": (
        r"""
import os
os.write(1, b'a\n')
print('b')
""",
        [("", "a\nb")],
    ),
    "trailing blanks": (
        r"""
print('1 2 3 ')
print('x\t')
print('', end='\n\n\n')
""",
        [("", "1 2 3\nx")],
    ),
    "unicode io": (
        "s = input()\nprint(s.upper(), len(s), s[::-1], '→', '🎉')",
        [("straße é", "STRASSE É 8 é eßarts → 🎉")],
    ),
    "exit codes zero kinds": (
        """
import sys
print('ok')
sys.exit(None)
""",
        [("", "ok")],
    ),
    "exit in nested function": (
        """
import sys
def solve():
    if input() == 'q': print('bye'); exit()
    print('go')
solve()
""",
        [("q", "bye"), ("r", "go")],
    ),
    "finally and del at exit": (
        """
class A:
    def __del__(self): pass
a = A()
try: print('x')
finally: print('y')
""",
        [("", "x\ny")],
    ),
    "main guard class": (
        """
class Solver:
    def __init__(self): self.n = int(input())
    def run(self): return self.n ** 2
def main():
    print(Solver().run())
if __name__ == '__main__':
    main()
""",
        [("9", "81")],
    ),
    "counter most common": (
        """
from collections import Counter
for w, c in sorted(Counter(input().split()).items(), key=lambda t: (-t[1], t[0])): print(w, c)
""",
        [("b a b", "b 2\na 1")],
    ),
    "modpow comb": (
        """
import math
print(pow(3, 10**18, 10**9 + 7), math.comb(50, 25), math.gcd(12, 18), math.isqrt(10**18), math.lcm(4, 6))
""",
        [("", "246336683 126410606437752 6 1000000000 12")],
    ),
    "decimal io": (
        """
from decimal import *
getcontext().prec = 50
print(Decimal(input()).sqrt())
""",
        [("2", "1.4142135623730950488016887242096980785696718753769")],
    ),
    "datetime print": (
        """
from datetime import *
d = datetime.strptime(input(), '%d/%m/%Y')
print(d.strftime('%A %Y-%m-%d'), (d + timedelta(1)).date())
""",
        [("31/12/1999", "Friday 1999-12-31 2000-01-01")],
    ),
    "exec and eval": (
        r"""
exec("x = 3\ndef f(y): return x + y")
print(eval('f(4)'), eval(input()))
""",
        [("2**10", "7 1024")],
    ),
    "global keyword and closures": (
        """
c = 0
def inc():
    global c
    c += 1
def outer():
    k = 0
    def inner():
        nonlocal k
        k += 1
        return k
    return inner
f = outer()
for _ in range(3): inc(); f()
print(c, f(), __name__)
""",
        [("", "3 4 __main__")],
    ),
    "stderr noise": (
        r"""
import sys
print('debug', file=sys.stderr)
sys.stderr.write('more\n')
import warnings
warnings.warn('w')
print('out')
""",
        [("", "out")],
    ),
    "multi test while loop": (
        """
t = int(input())
for case in range(1, t + 1):
    n, k = map(int, input().split())
    a = list(map(int, input().split()))
    a.sort()
    print(f'Case #{case}: {sum(a[:k])}')
""",
        [("2\n3 2\n3 1 2\n1 1\n5\n", "Case #1: 3\nCase #2: 5")],
    ),
    "string io redirect": (
        """
import io, sys
old = sys.stdout
sys.stdout = io.StringIO()
print('hidden')
s = sys.stdout.getvalue()
sys.stdout = old
print(s.strip() * 2)
""",
        [("", "hiddenhidden")],
    ),
    "stdin replaced": (
        """
import io, sys
sys.stdin = io.StringIO('1 2')
print(sum(map(int, input().split())))
""",
        [("9 9", "3")],
    ),
    "contextlib redirect": (
        """
import contextlib, io
b = io.StringIO()
with contextlib.redirect_stdout(b): print('a')
print(repr(b.getvalue()))
""",
        [("", "'a\\n'")],
    ),
    "generators heapq merge": (
        """
import heapq
n = int(input())
ls = [list(map(int, input().split())) for _ in range(n)]
print(*heapq.merge(*ls))
""",
        [("2\n1 3\n2 4", "1 2 3 4")],
    ),
    "bitset dp": (
        """
n, t = map(int, input().split())
b = 1
for x in map(int, input().split()): b |= b << x
print('YES' if b >> t & 1 else 'NO')
""",
        [("3 11\n2 4 5", "YES"), ("3 3\n2 4 5", "NO")],
    ),
    "process pool fallback": (
        """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as e: print(sum(e.map(lambda x: x * x, range(10))))
""",
        [("", "285")],
    ),
    "time and perf": (
        """
import time
t = time.time()
time.sleep(0.01)
print(time.time() - t > 0.005, time.strftime('%Y', time.gmtime(0)))
""",
        [("", "True 1970")],
    ),
    "asyncio program": (
        """
import asyncio
async def w(q, out):
    while (x := await q.get()) is not None: out.append(x * x)
async def main():
    q, out = asyncio.Queue(), []
    t = asyncio.create_task(w(q, out))
    for x in map(int, input().split()): await q.put(x)
    await q.put(None)
    await t
    print(*out)
asyncio.run(main())
""",
        [("1 2 3", "1 4 9")],
    ),
    "sys argv and version": (
        """
import sys, platform
print(len(sys.argv), sys.version_info >= (3, 8), sys.maxsize > 2**32, sys.byteorder)
""",
        [("", "1 True True little")],
    ),
    "help and copyright absent is fine": (
        "print(type(exit).__name__, callable(quit), isinstance(__builtins__, object))",
        [("", "Quitter True True")],
    ),
    "locale and encodings": (
        r"""
print('é'.encode('latin-1'), b'\xc3\xa9'.decode(), 'x'.encode('utf-16-le'), 'ß'.casefold())
import codecs
print(codecs.encode('abc', 'rot13'))
""",
        [("", "b'\\xe9' é b'x\\x00' ss\nnop")],
    ),
    "zoneinfo and calendar": (
        """
import calendar
print(calendar.monthrange(2024, 2))
try:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError
    from datetime import datetime
    print('ok')
except ImportError: print('no')
""",
        [("", "(3, 29)\nok")],
    ),
    "sqlite memory": (
        """
import sqlite3
c = sqlite3.connect(':memory:')
c.execute('create table t(x)')
c.executemany('insert into t values (?)', [(1,), (2,)])
print(c.execute('select sum(x) from t').fetchone()[0])
""",
        [("", "3")],
    ),
    "subprocess absent handled": (
        """
import os
try:
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
except OSError: pass
print('done')
""",
        [("", "done")],
    ),
    "signal handler": (
        """
import signal
def h(s, f): raise TimeoutError
signal.signal(signal.SIGALRM, h)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    while True:
        x = 1
except TimeoutError: print('timed out')
""",
        [("", "timed out")],
    ),
    "recursion error caught": (
        """
def f(n): return f(n + 1)
try: f(0)
except RecursionError: print('deep')
""",
        [("", "deep")],
    ),
    "memory error caught": (
        """
try: x = [0] * (10**12)
except MemoryError: print('too big')
""",
        [("", "too big")],
    ),
    "large memory list": (
        "a = list(range(5 * 10**6))\nprint(len(a), sum(a[-3:]))",
        [("", "5000000 14999994")],
    ),
    "cwd temp files": (
        """
import tempfile, os, shutil
d = tempfile.mkdtemp()
p = os.path.join(d, 'x')
open(p, 'w').write('hi')
print(open(p).read(), os.path.exists(p), os.listdir(d))
shutil.rmtree(d)
print(os.path.exists(d))
""",
        [("", "hi True ['x']\nFalse")],
    ),
    "finalisers print": (
        """
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print('del', self.n)
a = A(1)
b = A(2)
del a
print('end')
""",
        [("", "del 1\nend\ndel 2")],
    ),
    "hundred threads program": (
        """
import threading
r=[]
ts=[threading.Thread(target=r.append,args=(i,)) for i in range(100)]
for t in ts: t.start()
for t in ts: t.join()
print(len(r))
""",
        [
            ("", "100"),
        ],
    ),
    "scanner class": (
        """
import sys
class Scanner:
    def __init__(s): s.it=iter(sys.stdin.buffer.read().split())
    def int(s): return int(next(s.it))
sc=Scanner()
print(sum(sc.int() for _ in range(sc.int())))
""",
        [
            ("2\n3 4", "7"),
        ],
    ),
    "prints with end": (
        """
for i in range(3): print(i,end=' ')
print()
""",
        [
            ("", "0 1 2"),
        ],
    ),
    "decimal places": (
        "print(f'{2/3:.6f}', '%.2f'%1.005, round(2.5), format(1234567,',d'))",
        [
            ("", "0.666667 1.00 2 1,234,567"),
        ],
    ),
    "solution class main": (
        """
class Solution:
    def solve(self,a): return max(a)
if __name__=='__main__':
    n=int(input())
    print(Solution().solve(list(map(int,input().split()))))
""",
        [
            ("2\n3 9", "9"),
        ],
    ),
    "case many tests": (
        """
import sys
input=sys.stdin.readline
for _ in range(int(input())):
    a,b=map(int,input().split())
    print(a+b)
""",
        [
            ("2\n1 2\n3 4\n", "3\n7"),
            ("1\n0 0\n", "0"),
        ],
    ),
    "walrus loop": (
        """
import sys
while (line:=sys.stdin.readline()):
    print(line.strip()[::-1])
""",
        [
            ("ab\ncd\n", "ba\ndc"),
        ],
    ),
    "numbers with sys.exit msg none": (
        """
import sys
print(1)
sys.exit(None)
""",
        [
            ("", "1"),
        ],
    ),
    "sys.exit true-zero": (
        """
import sys
print(1)
sys.exit(False)
""",
        [
            ("", "1"),
        ],
    ),
    "exception group": (
        """
try:
    raise ExceptionGroup('g',[ValueError(1),TypeError(2)])
except* ValueError as e: print('v')
except* TypeError as e: print('t')
""",
        [
            ("", "v\nt"),
        ],
    ),
    "open stdin file": (
        """
with open(0) as f:
    print(f.read().split()[-1])
""",
        [
            ("a b c\n", "c"),
        ],
    ),
    "input after readline iter": (
        """
import sys
next(sys.stdin)
print(input())
""",
        [
            ("a\nb\n", "b"),
        ],
    ),
    "tell and seek stdin": (
        """
import sys
print(sys.stdin.read())
sys.stdin.seek(0)
print(len(sys.stdin.read()))
""",
        [
            ("abc", "abc\n3"),
        ],
    ),
    "select stdin": (
        """
import select,sys
print(bool(select.select([sys.stdin],[],[],0.1)[0]))
""",
        [
            ("x", "True"),
        ],
    ),
    "stdout close": (
        """
import sys
print(1)
sys.stdout.close()
""",
        [
            ("", "1"),
        ],
    ),
    "stdout none at end": (
        """
import sys
print(1)
sys.stdout.flush()
sys.stdout=None
""",
        [
            ("", "1"),
        ],
    ),
    "open 1 unclosed": (
        r"""
out=open(1,'w')
def f():
    out.write('hi\n')
f()
""",
        [
            ("", "hi"),
        ],
    ),
    "open dev stdout unclosed": (
        r"""
out=open('/dev/stdout','w')
out.write('hi\n')
""",
        [
            ("", "hi"),
        ],
    ),
    "fdopen unclosed": (
        r"""
import os
out=os.fdopen(1,'w')
out.write('hi\n')
""",
        [
            ("", "hi"),
        ],
    ),
    "print then replaced": (
        """
import sys,io
print('a')
sys.stdout=io.StringIO()
print('b')
""",
        [
            ("", "a"),
        ],
    ),
    "textiowrapper of buffer": (
        """
import sys,io
sys.stdout=io.TextIOWrapper(sys.stdout.buffer,encoding='utf-8')
print('é')
""",
        [
            ("", "é"),
        ],
    ),
    "bufferedwriter": (
        r"""
import sys,io
w=io.BufferedWriter(sys.stdout.buffer.raw)
w.write(b'x\n')
""",
        [
            ("", "x"),
        ],
    ),
    "fastio pyrival": (
        r"""
import os,sys
from io import BytesIO, IOBase
BUFSIZE = 8192
class FastIO(IOBase):
    newlines = 0
    def __init__(self, file):
        self._fd = file.fileno()
        self.buffer = BytesIO()
        self.writable = "x" in file.mode or "r" not in file.mode
        self.write = self.buffer.write if self.writable else None
    def read(self):
        while True:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
            if not b: break
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines = 0
        return self.buffer.read()
    def readline(self):
        while self.newlines == 0:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, BUFSIZE))
            self.newlines = b.count(b"\n") + (not b)
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines -= 1
        return self.buffer.readline()
    def flush(self):
        if self.writable:
            os.write(self._fd, self.buffer.getvalue())
            self.buffer.truncate(0), self.buffer.seek(0)
class IOWrapper(IOBase):
    def __init__(self, file):
        self.buffer = FastIO(file)
        self.flush = self.buffer.flush
        self.writable = self.buffer.writable
        self.write = lambda s: self.buffer.write(s.encode("ascii"))
        self.read = lambda: self.buffer.read().decode("ascii")
        self.readline = lambda: self.buffer.readline().decode("ascii")
sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
input = lambda: sys.stdin.readline().rstrip("\r\n")
n=int(input())
a=list(map(int,input().split()))
print(n,sum(a))
""",
        [
            ("3\n1 2 3\n", "3 6"),
        ],
    ),
    "threading main": (
        """
import sys,threading
sys.setrecursionlimit(10**6)
threading.stack_size(2**27)
def main():
    def r(n): return 0 if n==0 else 1+r(n-1)
    print(r(50000))
t=threading.Thread(target=main)
t.start()
t.join()
""",
        [
            ("", "50000"),
        ],
    ),
    "threading stack 512M": (
        """
import sys,threading
sys.setrecursionlimit(10**7)
threading.stack_size(512*1024*1024)
def main():
    print(int(input())*2)
t=threading.Thread(target=main)
t.start()
t.join()
""",
        [
            ("4\n", "8"),
        ],
    ),
    "threading stack 1G": (
        """
import sys,threading
sys.setrecursionlimit(1<<30)
threading.stack_size(1<<27)
def solve():
    print(sum(map(int,input().split())))
threading.Thread(target=solve).start()
""",
        [
            ("1 2\n", "3"),
        ],
    ),
    "resource stack": (
        """
import resource,sys
try:
    resource.setrlimit(resource.RLIMIT_STACK,(resource.RLIM_INFINITY,resource.RLIM_INFINITY))
except (ValueError,OSError): pass
sys.setrecursionlimit(10**6)
def r(n): return 0 if n==0 else 1+r(n-1)
print(r(20000))
""",
        [
            ("", "20000"),
        ],
    ),
    "resource stack unguarded soft": (
        """
import resource,sys
soft,hard=resource.getrlimit(resource.RLIMIT_STACK)
resource.setrlimit(resource.RLIMIT_STACK,(hard,hard))
print('ok')
""",
        [
            ("", "ok"),
        ],
    ),
    "eof error handling": (
        """
try:
    while True:
        print(int(input())*2)
except EOFError:
    pass
""",
        [
            ("1\n2", "2\n4"),
        ],
    ),
    "exit in except": (
        """
import sys
for line in sys.stdin:
    if line.strip()=='0': sys.exit()
    print(line.strip())
""",
        [
            ("1\n2\n0\n3\n", "1\n2"),
        ],
    ),
    "os exit with flush": (
        """
import os,sys
print('x')
sys.stdout.flush()
os._exit(0)
""",
        [
            ("", "x"),
        ],
    ),
    "quit()": (
        """
print('x')
quit()
""",
        [
            ("", "x"),
        ],
    ),
    "raise SystemExit none": (
        """
print('x')
raise SystemExit
""",
        [
            ("", "x"),
        ],
    ),
    "generator input": (
        """
def inp():
    import sys
    for l in sys.stdin: yield from l.split()
it=inp()
n=int(next(it))
print(sum(int(next(it)) for _ in range(n)))
""",
        [
            ("3\n1 2\n3\n", "6"),
        ],
    ),
    "input prompt": (
        """
n=int(input('enter n: '))
print(n)
""",
        [
            ("3\n", "enter n: 3"),
        ],
    ),
    "stdin.readlines": (
        """
import sys
L=sys.stdin.readlines()
print(len(L),repr(L[-1]))
""",
        [
            ("a\nb", "2 'b'"),
        ],
    ),
    "numpy fallback": (
        """
try:
    import numpy as np
except ImportError:
    np=None
print('ok')
""",
        [
            ("", "ok"),
        ],
    ),
    "main async": (
        """
import asyncio,sys
async def main():
    loop=asyncio.get_running_loop()
    r=await loop.run_in_executor(None,sys.stdin.readline)
    print(r.strip())
asyncio.run(main())
""",
        [
            ("hey\n", "hey"),
        ],
    ),
    "concurrent futures": (
        """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as e:
    print(sum(e.map(lambda x:x*x,range(10))))
""",
        [
            ("", "285"),
        ],
    ),
    "multiprocessing cpu": (
        """
import multiprocessing
print(multiprocessing.cpu_count()>0)
""",
        [
            ("", "True"),
        ],
    ),
    "tempfile": (
        """
import tempfile,os
with tempfile.NamedTemporaryFile('w+',delete=False) as f:
    f.write('abc')
print(open(f.name).read())
os.unlink(f.name)
d=tempfile.mkdtemp()
open(d+'/x','w').write('y')
print(os.listdir(d))
""",
        [
            ("", "abc\n['x']"),
        ],
    ),
    "tempdir ctx": (
        """
import tempfile,pathlib
with tempfile.TemporaryDirectory() as d:
    p=pathlib.Path(d)/'a.txt'
    p.write_text('q')
    print(p.read_text())
""",
        [
            ("", "q"),
        ],
    ),
    "shelve/dbm/sqlite file": (
        """
import sqlite3
c=sqlite3.connect('t.db')
c.execute('create table t(x)')
c.executemany('insert into t values(?)',[(1,),(2,)])
c.commit()
print(c.execute('select sum(x) from t').fetchone()[0])
""",
        [
            ("", "3"),
        ],
    ),
    "logging to stdout": (
        """
import logging,sys
logging.basicConfig(stream=sys.stdout,level=logging.INFO,format='%(message)s')
logging.info('hello')
""",
        [
            ("", "hello"),
        ],
    ),
    "argparse": (
        """
import argparse
p=argparse.ArgumentParser()
p.add_argument('--n',type=int,default=3)
a=p.parse_args()
print(a.n)
""",
        [
            ("", "3"),
        ],
    ),
    "unicode names": (
        """
π=3
print(π)
""",
        [
            ("", "3"),
        ],
    ),
    "bom": (
        "\ufeffprint(1)",
        [
            ("", "1"),
        ],
    ),
    "crlf source": (
        "a=1\r\nif a:\r\n    print('x')\r\n",
        [
            ("", "x"),
        ],
    ),
    "form feed and tabs": (
        "if 1:\n\tprint('a')\n\x0c\nprint('b')",
        [
            ("", "a\nb"),
        ],
    ),
    "coding cookie": (
        """
# -*- coding: utf-8 -*-
print('ü')
""",
        [
            ("", "ü"),
        ],
    ),
    "big ints": (
        """
import sys
print(len(str(2**10000)))
sys.set_int_max_str_digits(0)
print(len(str(10**5000)))
""",
        [
            ("", "3011\n5001"),
        ],
    ),
    "float print": (
        "print(0.1+0.2, 1e16, 1e-5, float('inf'), -0.0, 3.0)",
        [
            ("", "0.30000000000000004 1e+16 1e-05 inf -0.0 3.0"),
        ],
    ),
    "atexit prints": (
        """
import atexit
atexit.register(print,'bye')
print('hi')
""",
        [
            ("", "hi\nbye"),
        ],
    ),
    "del at exit": (
        """
class A:
    def __del__(s): print('del')
a=A()
print('x')
""",
        [
            ("", "x\ndel"),
        ],
    ),
    "weakref finalize": (
        """
import weakref
class A: pass
a=A()
weakref.finalize(a,print,'fin')
print('x')
""",
        [
            ("", "x\nfin"),
        ],
    ),
    "generator finally at exit": (
        """
def g():
    try: yield 1
    finally: print('closed')
x=g()
print(next(x))
""",
        [
            ("", "1\nclosed"),
        ],
    ),
    "warnings": (
        """
import warnings
warnings.warn('x')
print('ok')
""",
        [
            ("", "ok"),
        ],
    ),
    "inspect source": (
        """
def f(): return 1
print(f.__code__.co_name, f.__module__)
""",
        [
            ("", "f __main__"),
        ],
    ),
    "import __main__": (
        """
import __main__
x=5
print(__main__.x)
""",
        [
            ("", "5"),
        ],
    ),
    "globals": (
        """
x=3
print(globals()['x'], __name__)
""",
        [
            ("", "3 __main__"),
        ],
    ),
    "__file__": (
        """
import os
print(os.path.basename(__file__).endswith('.py'))
""",
        [
            ("", "True"),
        ],
    ),
    "platform": (
        """
import platform,sys
print(sys.version_info>=(3,8), platform.system())
""",
        [
            ("", "True Linux"),
        ],
    ),
    "time sleep": (
        """
import time
t=time.time()
time.sleep(0.05)
print(time.time()-t>=0.05)
""",
        [
            ("", "True"),
        ],
    ),
    "pdb absent; breakpoint env": (
        """
import sys
print(sys.flags.ignore_environment in (0,1))
""",
        [
            ("", "True"),
        ],
    ),
    "memory 700MB": (
        """
x=bytearray(700<<20)
print(len(x)>>20)
""",
        [
            ("", "700"),
        ],
    ),
    "stdin isatty": (
        """
import sys
print(sys.stdin.isatty())
""",
        [
            ("", "False"),
        ],
    ),
    "printing None": (
        "print(print('a'))",
        [
            ("", "a\nNone"),
        ],
    ),
    "sys.stdout.write returns": (
        r"""
import sys
n=sys.stdout.write('abc\n')
print(n)
""",
        [
            ("", "abc\n4"),
        ],
    ),
    "stdout reconfigure": (
        """
import sys
sys.stdout.reconfigure(line_buffering=True,encoding='utf-8')
sys.stdin.reconfigure(encoding='utf-8')
print(input())
""",
        [
            ("é\n", "é"),
        ],
    ),
    "print to stderr huge": (
        """
import sys
sys.stderr.write('x'*3000000)
print('ok')
""",
        [
            ("", "ok"),
        ],
    ),
    "pickle roundtrip": (
        """
import pickle
class A:
    def __init__(s,x): s.x=x
print(pickle.loads(pickle.dumps(A(3))).x)
""",
        [
            ("", "3"),
        ],
    ),
    "queue and threads": (
        """
import queue,threading
q=queue.Queue()
def w():
    for i in range(3): q.put(i)
    q.put(None)
threading.Thread(target=w,daemon=True).start()
while (x:=q.get()) is not None: print(x)
""",
        [
            ("", "0\n1\n2"),
        ],
    ),
    "recursion limit catch": (
        """
def f(): return f()
try: f()
except RecursionError: print('deep')
""",
        [
            ("", "deep"),
        ],
    ),
    "copyright site builtins": (
        "print(callable(help) if 'help' in dir(__builtins__) else True)",
        [
            ("", "True"),
        ],
    ),
    "builtins module": (
        "print(type(__builtins__).__name__, __builtins__.len([1]))",
        [
            ("", "module 1"),
        ],
    ),
    "annotations": (
        """
x: int = 3
print(__annotations__)
""",
        [
            ("", "{'x': <class 'int'>}"),
        ],
    ),
    "doc": (
        """
'doc'
print(__doc__)
""",
        [
            ("", "doc"),
        ],
    ),
    "spec": (
        "print(__spec__, __package__)",
        [
            ("", "None None"),
        ],
    ),
}
"""A program and pairs of standard input and expected output."""
