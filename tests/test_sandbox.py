"""The sandbox against hostile and honest programs, one property each, at every level of confinement."""

import ast
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rewards.sandbox import Fence, SandboxError, close_pools, run_tests
from rewards.sandboxing.classes import class_names
from rewards.sandboxing.pool import NotStarted, Server, ServerBroken, pool_for
from tests.sandbox_honest import MODULES, PROGRAMS
from tests.sandbox_hostile import ATTEMPTS, CHEATS, PRINTED

REPOSITORY = str(Path(__file__).resolve().parents[1])
LEVELS = {
    "full": Fence(workers=1),
    "no namespaces": Fence(workers=1, forbid=("namespaces",)),
    "no change of user": Fence(workers=1, forbid=("namespaces", "user")),
    "no Landlock": Fence(workers=1, forbid=("landlock",)),
}
HONEST_SECONDS = 20.0
HOSTILE_SECONDS = 0.4
_KILLED = ("disk", f"exit status {-signal.SIGSYS}")
"""For filling the directory, and for system calls of another architecture."""
SUM = "print(sum(map(int, input().split())))"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox is made of Linux facilities")


@pytest.fixture(scope="module", autouse=True)
def _no_server_outlives_the_tests() -> Iterator[None]:
    os.environ["SANDBOX_SECRET"] = "not for programs"
    yield
    close_pools()
    assert not _servers()


@pytest.fixture(params=LEVELS)
def fence(request: pytest.FixtureRequest) -> Fence:
    """Every level that this machine offers."""
    chosen = LEVELS[request.param]
    try:
        run_tests("x = 1", "assert x == 1", HONEST_SECONDS, chosen)
    except SandboxError as error:
        pytest.skip(str(error))
    return chosen


def _servers() -> list[int]:
    """Processes below this one that belong to a sandbox."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, waiting = [], [os.getpid()]
    while waiting:
        parent = waiting.pop()
        children = [each for each, its_parent in parents.items() if its_parent == parent]
        waiting += children
        found += [each for each in children if b"sandboxing/server.py" in _command(each)]
    return found


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _await_end_of(processes: set[int]) -> None:
    deadline = time.monotonic() + 5.0
    while (left := {each for each in processes if _command(each)}) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


def _attempt(body: str) -> str:
    indented = textwrap.indent(body.strip("\n").replace("REPOSITORY", REPOSITORY), "    ")
    return f"try:\n{indented}\nexcept BaseException:\n    print('contained')\nelse:\n    print('escaped')\n"


@pytest.mark.parametrize("name", MODULES)
def test_honest_module_passes(name: str, fence: Fence) -> None:
    code, tests = MODULES[name]
    verdict = run_tests(code, tests, HONEST_SECONDS, fence)
    assert verdict.passed, verdict.detail


@pytest.mark.parametrize("name", PROGRAMS)
def test_honest_program_passes(name: str, fence: Fence) -> None:
    code, cases = PROGRAMS[name]
    tests = [{"stdin": given, "stdout": expected} for given, expected in cases]
    verdict = run_tests(code, tests, HONEST_SECONDS, fence)
    assert verdict.passed, verdict.detail


@pytest.mark.parametrize("name", ATTEMPTS)
def test_attempt_is_contained(name: str, fence: Fence) -> None:
    """It fails, or the program is killed for trying; nothing says that it got through."""
    tests = [{"stdin": "", "stdout": "contained"}]
    verdict = run_tests(_attempt(ATTEMPTS[name]), tests, HONEST_SECONDS, fence)
    assert verdict.passed or verdict.results[0].detail in _KILLED, verdict.detail


@pytest.mark.parametrize("name", CHEATS)
def test_cheat_does_not_pass(name: str) -> None:
    code, tests = CHEATS[name]
    started = time.monotonic()
    verdict = run_tests(code, tests, HOSTILE_SECONDS, LEVELS["full"])
    assert not verdict.passed
    assert verdict.results
    assert time.monotonic() - started < HOSTILE_SECONDS + 5.0


@pytest.mark.parametrize(
    ("tests", "is_class"),
    [
        ("assert C([1]) == [1]", False),
        ("assert abs(C(1) - 2.5) < 1e-9", False),
        ("assert C(1) == C(2)", False),
        ("x = C(1)\nx.sort()\nassert x.count(1) == 1", False),
        ("assert C.__name__ == 'C' and C.cache_info().hits == 1", False),
        ("x = C(1)\nx = [1]\nassert x.val == 1", False),
        ("def f(x): x = C(1)\nassert x.val == 1", False),
        ("assert f(C).val == 1", False),
        ("assert C(1).val == 1", True),
        ("x = y = C()\ny.append(1)", True),
        ("x, y = 1, C()\nassert y.val", True),
        ("assert C.make(1) == 1", True),
        ("assert isinstance(f(1), (int, C))", True),
        ("assert type(f(1)) is C", True),
        ("try: f()\nexcept C: pass", True),
        ("class D(C): pass", True),
        ("assert C(1) < C(2)", True),
        ("assert C(1) + 1 == C(2)", True),
        ("x = C(1)\nx += C(2)", True),
        ("assert (C(1) * 2).val == 2", True),
        ("def setUp(self): self.c = C()\ndef test(self): assert self.c.val", True),
    ],
)
def test_tests_tell_classes_from_functions(tests: str, is_class: bool) -> None:
    tree = ast.parse(tests)
    assert class_names(tree, frozenset({"C"})) == (frozenset({"C"}) if is_class else frozenset())


@pytest.mark.parametrize("name", PRINTED)
def test_printed_cheat_does_not_pass(name: str) -> None:
    code, given, expected = PRINTED[name]
    assert not run_tests(code, [{"stdin": given, "stdout": expected}], HOSTILE_SECONDS, LEVELS["full"]).passed


def test_nothing_persists_between_programs(fence: Fence) -> None:
    cases = [{"stdin": "", "stdout": "[]"}] * 3
    code = "import os\nprint(os.listdir('.'))\nopen('left', 'w').write('x')\nos.mkdir('deep')\nopen('deep/x', 'w')"
    assert run_tests(code, cases, HONEST_SECONDS, fence).passed


def test_a_touched_directory_is_replaced(fence: Fence) -> None:
    """Times of the directory itself could carry a message."""
    code = "import os\nprint(os.stat('.').st_mtime_ns > 10**18)\ntry: os.utime('.', (1, 1))\nexcept OSError: pass"
    assert run_tests(code, [{"stdin": "", "stdout": "True"}] * 3, HONEST_SECONDS, fence).passed


def test_a_link_out_of_the_directory_is_removed_not_followed(fence: Fence, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    code = f"import os\nos.symlink({str(tmp_path)!r}, 'link')\nos.mkdir('d')\nos.symlink({str(tmp_path)!r}, 'd/link')"
    assert run_tests(code, [{"stdin": "", "stdout": ""}] * 2, HONEST_SECONDS, fence).passed
    assert (tmp_path / "kept").read_text() == "x"


def test_memory_is_bounded_and_named(fence: Fence) -> None:
    program = run_tests("x = bytearray(1 << 33)", [{"stdin": "", "stdout": ""}], HONEST_SECONDS, fence)
    module = run_tests("def f(): return bytearray(1 << 33)", "assert f()", HONEST_SECONDS, fence)
    assert [program.results[0].outcome, module.results[0].outcome] == ["memory", "memory"]


def test_every_test_has_its_result() -> None:
    """Of three asserts the first holds, the second does not, the third raises."""
    verdict = run_tests("def f(x): return 6 // x", "assert f(2) == 3\nassert f(3) == 3\nassert f(0) == 1", 10.0)
    assert [each.outcome for each in verdict.results] == ["passed", "failed", "error"]
    assert verdict.fraction == 1 / 3
    assert not verdict.passed
    assert "line 2" in verdict.detail


def test_tests_after_a_hang_are_timeouts() -> None:
    code = "def f(x):\n    while x: pass\n    return 0"
    verdict = run_tests(code, "assert f(0) == 0\nassert f(1) == 0\nassert f(0) == 0", 0.5)
    assert [each.outcome for each in verdict.results] == ["passed", "timeout", "timeout"]


def test_cases_share_one_deadline() -> None:
    started = time.monotonic()
    verdict = run_tests("while True: pass", [{"stdin": "", "stdout": ""}] * 5, 0.5)
    assert [each.outcome for each in verdict.results] == ["timeout"] * 5
    assert time.monotonic() - started < 3.0


def test_tests_that_hang_by_themselves_are_a_timeout() -> None:
    verdict = run_tests("def f(): return 1", "assert f() == 1\nwhile True: f()", 0.5)
    assert not verdict.passed
    assert verdict.results[-1].outcome == "timeout"
    assert run_tests("def f(): return 1", "assert f() == 1").passed


@pytest.mark.parametrize(
    ("printed", "expected", "passes"),
    [
        ("a  \nb\n", "a\nb", True),
        ("a\nb", "a\nb\n\n", True),
        ("a\r\nb", "a\nb", True),
        ("a\n\nb", "a\nb", False),
        ("\na", "a", False),
        (" a", "a", False),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
        ("", "", True),
        ("1.0", "1", False),
    ],
)
def test_output_is_compared_by_line_without_trailing_space(printed: str, expected: str, passes: bool) -> None:
    code = f"import sys\nsys.stdout.write({printed!r})"
    assert run_tests(code, [{"stdin": "", "stdout": expected}]).passed is passes


@pytest.mark.parametrize(
    "tests",
    [
        "",
        "  \n",
        "x = 1",
        "def check(f): assert f()",
        "def make(): return 1\nx = make()",
        "import pytest\n@pytest.mark.skip\ndef test_f(): assert f()",
        "class TestF:\n    def helper(self): assert f()",
        [],
    ],
)
def test_nothing_passes_without_a_test(tests: str | list[dict[str, str]]) -> None:
    assert not run_tests("def f(): return True", tests).passed


def test_broken_tests_are_an_error_not_an_exception() -> None:
    assert run_tests("x = 1", "assert (").results[0].outcome == "error"


def test_malformed_cases_and_timeouts_are_refused() -> None:
    with pytest.raises(ValueError, match="case 1"):
        run_tests("x = 1", [{"stdin": "1"}])
    with pytest.raises(ValueError, match="timeout"):
        run_tests("x = 1", "assert x", 0.0)


def test_fences_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        Fence(strict=("moat",))
    with pytest.raises(ValueError, match="cannot be left out"):
        Fence(forbid=("seccomp",))
    with pytest.raises(ValueError, match="both"):
        Fence(strict=("landlock",), forbid=("landlock",))


def test_no_protection_of_files_is_refused() -> None:
    with pytest.raises(SandboxError, match="files cannot be protected"):
        run_tests("x = 1", "assert x", 10.0, Fence(forbid=("landlock", "namespaces")))


def test_strict_refuses_a_layer_that_is_not_there() -> None:
    """An ordinary user cannot become another; root that is not to cannot, either."""
    missing = Fence(strict=("user",), forbid=("namespaces",) if os.getuid() else (), workers=1)
    if os.getuid():
        with pytest.raises(SandboxError, match="user"):
            run_tests("x = 1", "assert x", 10.0, missing)
    else:
        assert run_tests("x = 1", "assert x", 10.0, missing).passed


@pytest.mark.skipif(os.getuid() != 0, reason="only root has a user to give to each server")
@pytest.mark.parametrize("forbid", [(), ("namespaces",)])
def test_threads_of_one_program_take_none_from_another(forbid: tuple[str, ...]) -> None:
    """The limit of threads is counted by user: as the same one, the bomb would use up what both have."""
    fence = Fence(workers=2, forbid=forbid)
    bomb = """
import threading, time
threading.stack_size(32768)
while True:
    try: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
    except RuntimeError: time.sleep(0.01)
"""
    honest = "import threading\nt = threading.Thread(target=print, args=(1,))\nt.start()\nt.join()"
    with pool_for(fence).worker(), pool_for(fence).worker():
        pass  # both are started
    thread = threading.Thread(target=run_tests, args=(bomb, [{"stdin": "", "stdout": ""}], 2.0, fence))
    thread.start()
    passed = []
    while thread.is_alive():
        passed.append(run_tests(honest, [{"stdin": "", "stdout": "1"}], HONEST_SECONDS, fence).passed)
    assert len(passed) > 1
    assert all(passed)


def test_the_log_names_the_layers_once(caplog: pytest.LogCaptureFixture) -> None:
    """Two pairs of servers, one line, which says what is left out."""
    pool = pool_for(Fence(workers=2, forbid=("user",), disk=5 << 20))
    with caplog.at_level(logging.INFO, "rewards.sandboxing.pool"), pool.worker(), pool.worker():
        pass
    messages = [each.getMessage() for each in caplog.records if "layers" in each.getMessage()]
    assert len(messages) == 1
    active, _, lacking = messages[0].partition("; without ")
    assert active.startswith("sandbox layers: limits, seccomp, ")
    assert "user" in lacking
    assert "user" not in active


def test_nobody_is_left_to_reap_the_children_of_closed_servers() -> None:
    """What ends while its parent waits goes with it; an orphan would become a child of the first process."""
    script = (
        "import os, sys, ctypes\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"  # orphans become children of this process
        "from rewards.sandbox import run_tests, close_pools\nassert run_tests('x = 1', 'assert x').passed\n"
        "close_pools()\ntry:\n    print(os.waitpid(-1, os.WNOHANG))\nexcept ChildProcessError:\n    print('none')"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=REPOSITORY, check=True, text=True)
    assert shown.stdout == "none\n"


def test_a_killed_server_is_replaced() -> None:
    assert run_tests(SUM, [{"stdin": "1 2", "stdout": "3"}]).passed
    servers = _servers()
    for process in servers:
        with contextlib.suppress(ProcessLookupError):  # it ends with the one that started it
            os.kill(process, signal.SIGKILL)
    _await_end_of(set(servers))
    verdicts = [run_tests(SUM, [{"stdin": "1 2", "stdout": "3"}]) for _ in range(8)]
    assert all(verdict.passed for verdict in verdicts), verdicts
    assert run_tests("x = 1", "assert x").passed


@pytest.mark.parametrize(
    ("reads", "stops", "kind"),
    [(False, False, NotStarted), (False, True, NotStarted), (True, False, ServerBroken), (True, True, ServerBroken)],
)
def test_a_server_that_ends_before_it_reads_has_started_nothing(
    reads: bool, stops: bool, kind: type[Exception]
) -> None:
    """Killed, its end of the socket may still be open for a moment: the request is sent, and lost. One that was read
    may have run, and is not run again, whatever was lost behind it.
    """
    server = object.__new__(Server)
    server._only_asked = False
    server._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server._socket, open(os.devnull) as null:
        server.start("program", 1.0, [null.fileno()])
        if reads:
            theirs.recv(10_000)
            if stops:
                server.stop()
        theirs.close()
        lost = server.stop if stops and not reads else partial(server.finish, 1.0)
        with pytest.raises(ServerBroken) as caught:
            lost()
        assert caught.type is kind


@pytest.mark.parametrize(
    "change",
    ["import math\nmath.pi = 3", "import os\nos._exit(0)", "import builtins\nbuiltins.len = None", "open('x', 'w')"],
)
def test_tests_that_change_their_process_change_it_for_no_other(change: str) -> None:
    fence = LEVELS["full"]
    run_tests("x = 1", f"assert x\n{change}", HONEST_SECONDS, fence)
    tests = "import math, os\nassert math.pi > x.real * 3\nassert len('a') == 1\nassert os.listdir('.') == []"
    assert run_tests("x = 1", tests, HONEST_SECONDS, fence).passed


def test_many_threads_share_the_servers() -> None:
    passed: list[bool] = []

    def check(number: int) -> None:
        passed.append(run_tests(f"def f(): return {number}", f"assert f() == {number}", 30.0).passed)

    threads = [threading.Thread(target=check, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == [True] * 12


def test_a_fork_of_the_trainer_has_servers_of_its_own() -> None:
    assert run_tests("x = 1", "assert x == 1").passed
    child = os.fork()
    if child == 0:
        try:
            status = 0 if run_tests("x = 2", "assert x == 2").passed else 1
            close_pools()
        except BaseException:
            status = 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run_tests("x = 1", "assert x == 1").passed


def test_servers_end_with_a_trainer_that_is_killed() -> None:
    script = "from rewards.sandbox import run_tests\nrun_tests('x = 1', 'assert x')\nprint('up', flush=True)\ninput()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == b"up\n"
        servers = set(_servers())
        trainer.kill()
    _await_end_of(servers - set(_servers()))


def test_code_never_sees_tests_or_expected_values() -> None:
    """It looks through every object that it can reach."""
    code = """
import gc, sys
def f(x):
    found = [o for o in gc.get_objects() if 'need' + 'le' in repr(o)[:100000] and o is not sys.modules]
    return 'need' + 'le' if len(found) > 20 else None
"""
    assert not run_tests(code, "assert f(1) == 'needle-in-tests'").passed
