"""Every test runs on one thread, and without a network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # Lightning calls jsonargparse by names of before
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")

import pytest
import torch

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is made once for a file is made once: with several workers, such files stay whole."""
    for item in items:
        if isinstance(item, pytest.Function) and any(
            fixture.scope != "function" and fixture.baseid == item.nodeid.partition("::")[0]
            for fixtures in item._fixtureinfo.name2fixturedefs.values()
            for fixture in fixtures
        ):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
