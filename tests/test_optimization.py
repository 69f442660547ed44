"""The learning rate step by step, by hand, and who is decayed."""

import math

import pytest
import torch
from torch import nn

from grpo_lightning.optimization import OptimizerConfig, adamw, lr_factor


@pytest.mark.parametrize(
    ("settings", "total", "factors"),
    [
        ({"schedule": "constant"}, None, [1, 1, 1, 1]),
        ({"schedule": "constant", "warmup_steps": 2}, None, [0.5, 1, 1, 1]),
        ({"schedule": "linear"}, 5, [1, 0.75, 0.5, 0.25, 0]),
        ({"schedule": "linear", "final_lr": 0.2}, 5, [1, 0.8, 0.6, 0.4, 0.2]),
        ({"schedule": "linear", "warmup_steps": 2}, 5, [0.5, 1, 1, 0.5, 0]),
        # cos: 1, (1 + cos 60) / 2 = 0.75, (1 + cos 120) / 2 = 0.25, 0
        ({"schedule": "cosine"}, 4, [1, 0.75, 0.25, 0]),
        ({"schedule": "cosine", "final_lr": 0.5}, 4, [1, 0.875, 0.625, 0.5]),
    ],
)
def test_learning_rates_by_hand(settings: dict[str, object], total: int | None, factors: list[float]) -> None:
    factor = lr_factor(OptimizerConfig(**settings), total)
    assert [factor(step) for step in range(len(factors))] == pytest.approx(factors)
    if total is not None:
        assert factor(total + 10) == pytest.approx(factors[-1])


def test_a_schedule_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.schedule: 'cosine' needs an end; set trainer\.max_steps"):
        lr_factor(OptimizerConfig(schedule="cosine"), None)


def test_matrices_decay_and_vectors_do_not() -> None:
    layers = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 3), nn.LayerNorm(3))
    layers[0].weight.requires_grad_(False)
    optimizer = adamw(OptimizerConfig(lr=0.1, weight_decay=0.5), layers.parameters())
    decayed = {p for group in optimizer.param_groups if group["weight_decay"] == 0.5 for p in group["params"]}
    rest = {p for group in optimizer.param_groups if group["weight_decay"] == 0.0 for p in group["params"]}
    assert decayed == {layers[1].weight}
    assert rest == {layers[1].bias, layers[2].weight, layers[2].bias}
    before = {p: p.detach().clone() for p in decayed | rest}
    for p in decayed | rest:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.allclose(layers[1].weight, before[layers[1].weight] * (1 - 0.1 * 0.5))
    assert all(torch.equal(p, before[p]) for p in rest)


@pytest.mark.parametrize(
    "settings", [{"lr": 0.0}, {"lr": math.nan}, {"betas": (0.9, 1.0)}, {"warmup_steps": -1}, {"final_lr": 2.0}]
)
def test_contradictions_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"optimizer\.{next(iter(settings))}: .* is refused; it must be"):
        OptimizerConfig(**settings)
