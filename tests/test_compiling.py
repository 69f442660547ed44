"""Kernels are built where they can be, and where nobody is against it."""

import pytest
import torch

from grpo_lightning.compiling import SWITCH, compiles

BUILT = {"device": "cuda", "triton": True, "compiler": True, "hip": None, "switch": None}


@pytest.mark.parametrize(
    ("change", "built"),
    [
        ({}, True),
        ({"switch": "1"}, True),
        ({"device": "cpu"}, False),
        ({"triton": False}, False),
        ({"compiler": False}, False),
        ({"hip": "6.4"}, False),
        ({"switch": "0"}, False),
    ],
    ids=str,
)
def test_where_kernels_are_built(change: dict[str, object], built: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = BUILT | change
    monkeypatch.setattr("grpo_lightning.compiling.which", lambda name: "/usr/bin/gcc" if case["compiler"] else None)
    monkeypatch.setattr(torch.version, "hip", case["hip"])
    monkeypatch.delenv(SWITCH, raising=False)
    if case["switch"] is not None:
        monkeypatch.setenv(SWITCH, str(case["switch"]))
    monkeypatch.setattr("grpo_lightning.compiling.find_spec", lambda name: name if case["triton"] else None)
    assert compiles.__wrapped__(case["device"]) is built
