"""Where kernels are built, and where the same is computed without them."""

from pathlib import Path

import pytest
import torch

from grpo_lightning import compiling

compiles = compiling.compiles.__wrapped__


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """One that has all: tests take something away."""
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(compiling, "find_spec", lambda name: name)
    monkeypatch.setattr(compiling, "which", {"gcc": "/usr/bin/gcc"}.get)
    monkeypatch.setattr("sysconfig.get_paths", lambda scheme: {"include": str(tmp_path)})
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv(compiling.SWITCH, raising=False)
    return monkeypatch


def test_a_gpu_with_all_that_triton_needs_compiles(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert compiles("cuda")
    assert not compiles("cpu")
    machine.setattr(compiling, "which", {"clang": "/usr/bin/clang"}.get)
    assert compiles("cuda")
    machine.setenv(compiling.SWITCH, "0")
    assert not compiles("cuda")
    machine.setenv(compiling.SWITCH, "1")
    assert compiles("cuda")
    machine.setattr("sysconfig.get_paths", lambda scheme: {"include": str(tmp_path / "missing")})
    assert not compiles("cuda")


def test_the_compiler_that_is_named_is_the_one_that_must_be_there(machine: pytest.MonkeyPatch) -> None:
    """Triton takes no other then, and without a name looks for no `cc`."""
    machine.setenv("CC", "mine")
    assert not compiles("cuda")
    machine.setenv("CC", "gcc")
    assert compiles("cuda")
    machine.delenv("CC")
    machine.setattr(compiling, "which", {"cc": "/usr/bin/cc"}.get)
    assert not compiles("cuda")


def test_neither_older_gpus_nor_those_of_amd_compile(machine: pytest.MonkeyPatch) -> None:
    with machine.context() as older:
        older.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
        assert not compiles("cuda")
    with machine.context() as amd:
        amd.setattr(torch.version, "hip", "6.4")
        assert not compiles("cuda")
    machine.setattr(compiling, "find_spec", lambda name: None)
    assert not compiles("cuda")
