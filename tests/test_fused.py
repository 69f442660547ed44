"""Fused layers: the values and gradients of transformers' own, with less kept between forward and backward pass."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PreTrainedModel, Qwen2Config, Qwen3Config
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from grpo_lightning.fused import FusedMLP, FusedRMSNorm, _RMSNorm, _SwiGLU, fuse_layers
from tests.tiny import SHAPE

CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "gemma2": Gemma2Config}


def build(family: str, **changes: object) -> PreTrainedModel:
    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_config(CONFIGS[family](**(SHAPE | changes))).train()
    for name, parameter in policy.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return policy


def counts(policy: nn.Module) -> tuple[int, int]:
    kinds = [type(module) for module in policy.modules()]
    return kinds.count(FusedRMSNorm), kinds.count(FusedMLP)


@pytest.mark.parametrize(
    ("family", "changes", "expected"),
    [
        ("llama", {}, (5, 2)),
        ("qwen2", {}, (5, 2)),
        ("qwen3", {}, (9, 2)),
        ("llama", {"hidden_act": "gelu"}, (5, 0)),
        ("gemma2", {}, (0, 0)),
    ],
)
def test_layers_are_replaced_where_they_compute_what_llamas_do(
    family: str, changes: dict[str, object], expected: tuple[int, int]
) -> None:
    """Two norms a layer and a last one; Qwen3 has two more a layer. Gemma's norms add 1 to their weights, and its gate
    is another function.
    """
    policy = build(family, **changes)
    fuse_layers(policy)
    assert counts(policy) == expected
    fuse_layers(policy)
    assert counts(policy) == expected
    assert counts(copy.deepcopy(policy)) == expected, "the reference is a copy"


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_policy_computes_what_it_did(family: str) -> None:
    """Logits and all gradients to rounding in float32, also without gradients, and of frozen norms."""
    plain, fused = build(family), build(family)
    fuse_layers(fused)
    ids = 1 + torch.arange(36).remainder(18).view(3, 12)  # 0 pads: a row of zeros, of which a norm makes anything
    found = []
    for policy in (plain, fused):
        logits = policy(ids).logits
        (logits.softmax(-1) ** 2).sum().backward()
        found.append([logits.detach(), *(parameter.grad for parameter in policy.parameters())])
    for one, other in zip(*found, strict=True):
        assert float((one - other).norm() / one.norm()) < 1e-5
    with torch.no_grad():
        assert torch.allclose(plain(ids).logits, fused(ids).logits, atol=1e-5)
    fused.requires_grad_(False)
    embedded = fused.get_input_embeddings()(ids).requires_grad_()
    fused(inputs_embeds=embedded).logits.sum().backward()
    expected = embedded.detach().requires_grad_()
    plain(inputs_embeds=expected).logits.sum().backward()
    assert float((embedded.grad - expected.grad).norm() / expected.grad.norm()) < 1e-5


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(2, 3, 8, dtype=torch.float64), torch.rand(8, dtype=torch.float64)
    assert torch.autograd.gradcheck(_RMSNorm.apply, (x.requires_grad_(), weight.requires_grad_(), 1e-3))
    gate, up = torch.randn(2, 2, 3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(_SwiGLU.apply, (gate.requires_grad_(), up.requires_grad_()))


def test_autocast_rounds_no_gradient_of_a_norm() -> None:
    """Training's backward pass runs within autocast."""
    torch.manual_seed(3)
    x, of_y, norm = torch.randn(10, 32), 1 + torch.randn(10, 32), LlamaRMSNorm(32)
    fuse_layers(norm)
    found = []
    for casts in (False, True):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=casts):
            norm(own).backward(of_y)
        found.append(own.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("size", [1e-20, 1e-3, 1e15])
def test_a_norm_is_as_exact_as_the_one_it_replaces(size: float) -> None:
    """Against float64, for inputs of any size: where the mean square is below eps, or above what float32 can square."""
    torch.manual_seed(2)
    x, of_y = size * torch.randn(5, 64), torch.randn(5, 64)
    plain = LlamaRMSNorm(64)
    nn.init.uniform_(plain.weight, 0.5, 1.5)
    exact_x, exact_weight = x.double().requires_grad_(), plain.weight.detach().double().requires_grad_()
    exact = exact_x * (exact_x.square().mean(-1, keepdim=True) + plain.variance_epsilon).rsqrt() * exact_weight
    exact.backward(of_y.double())
    errors = []
    for norm in (plain, copy.deepcopy(plain)):
        if errors:
            fuse_layers(norm)
            assert type(norm) is FusedRMSNorm
        own = x.clone().requires_grad_()
        norm(own).backward(of_y)
        pairs = ((norm(own).detach(), exact.detach()), (own.grad, exact_x.grad), (norm.weight.grad, exact_weight.grad))
        errors.append([float((one.double() - other).norm() / other.norm()) for one, other in pairs])
    for replaced, ours in zip(*errors, strict=True):
        assert ours < max(2 * replaced, 1e-6)


def kept(module: nn.Module, x: torch.Tensor) -> int:
    """Bytes that the graph of this call holds, weights aside."""
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = module(x)
    assert result.requires_grad
    weights = {parameter.data_ptr() for parameter in module.parameters()}
    return sum(size for pointer, size in sizes.items() if pointer not in weights)


def test_what_is_kept() -> None:
    """Of 10 tokens: a norm keeps its input and a number each; an MLP its input, gate, up, and their product."""
    x = torch.randn(10, 32, requires_grad=True)
    norm, mlp = LlamaRMSNorm(32), LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=48))
    before = kept(norm, x), kept(mlp, x)
    for module in (norm, mlp):
        fuse_layers(module)
    assert (kept(norm, x), kept(mlp, x)) == (4 * 10 * 33, 4 * 10 * (32 + 3 * 48))
    assert before == (4 * 10 * (33 + 32), 4 * 10 * (32 + 4 * 48))


def test_other_types_take_the_way_they_took() -> None:
    norm, x = LlamaRMSNorm(32), torch.randn(10, 32)
    expected = [norm(x.to(dtype)) for dtype in (torch.bfloat16, torch.float64)]
    fuse_layers(norm)
    for one, other in zip([norm(x.to(dtype)) for dtype in (torch.bfloat16, torch.float64)], expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
