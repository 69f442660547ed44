"""The head's own backward pass is autograd's, whatever is behind the hidden states and however it is cut."""

import weakref
from contextlib import nullcontext

import pytest
import torch

from grpo_lightning import head as module
from grpo_lightning.head import token_logprobs
from grpo_lightning.policy import plain_head
from tests.tiny import VOCABULARY, tiny_policy

N = 11


def inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, 32, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(len(VOCABULARY), (N,), generator=generator)
    return hidden, targets, *torch.randn(2, N, generator=generator, dtype=torch.float64)


def gradients(
    dtype: torch.dtype, *, plain: bool, entropy: bool, rows: int, monkeypatch: pytest.MonkeyPatch, mixed: bool = False
) -> list[torch.Tensor]:
    """Log-probs, entropies, and the gradients of hidden states and head, of a weighted sum of both."""
    policy = tiny_policy().to(dtype)
    hidden, targets, first, second = inputs(dtype)
    hidden.requires_grad_()
    monkeypatch.setattr(module, "CHUNK_LOGITS", rows * len(VOCABULARY))
    monkeypatch.setattr(module, "plain_head", plain_head if plain else lambda policy: None)
    with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
        logprobs, entropies = token_logprobs(policy, hidden, targets, temperature=0.7, entropy_gradient=entropy)
    total = (first * logprobs).sum() + (second * entropies).sum()
    total.backward()
    return [logprobs, entropies, hidden.grad, policy.get_output_embeddings().weight.grad]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("entropy", [True, False])
@pytest.mark.parametrize("rows", [1, 4, 11, 50])
def test_values_and_gradients_are_those_of_the_definition(
    plain: bool, entropy: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gradients(torch.float64, plain=plain, entropy=entropy, rows=rows, monkeypatch=monkeypatch)
    hidden, targets, first, second = inputs(torch.float64)
    hidden.requires_grad_()
    weight = tiny_policy().double().get_output_embeddings().weight
    table = torch.log_softmax(hidden @ weight.T / 0.7, dim=-1)
    logprobs, entropies = table[torch.arange(N), targets], -(table.exp() * table).sum(dim=-1)
    ((first * logprobs).sum() + (second * (entropies if entropy else entropies.detach())).sum()).backward()
    for mine, expected in zip(found, [logprobs, entropies, hidden.grad, weight.grad], strict=True):
        assert torch.allclose(mine, expected, atol=1e-12)
    assert found[1].requires_grad == entropy


@pytest.mark.parametrize(("dtype", "mixed"), [(torch.bfloat16, False), (torch.float32, True)])
def test_in_16_bit_it_rounds_where_autograd_does(
    dtype: torch.dtype, mixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multiplied in bfloat16, of 8 bits, and added up in float32: not further from float64 than autograd, which adds up
    chunks in bfloat16, too.
    """
    exact = gradients(torch.float64, plain=True, entropy=True, rows=50, monkeypatch=monkeypatch)
    mine, other = (
        gradients(dtype, plain=plain, entropy=True, rows=4, monkeypatch=monkeypatch, mixed=mixed)
        for plain in (True, False)
    )
    for one, two, true in zip(mine, other, exact, strict=True):
        assert one.dtype == two.dtype
        ours, theirs = (
            float((found.detach().double() - true.detach()).norm() / true.detach().norm()) for found in (one, two)
        )
        assert ours < max(1.1 * theirs, 1e-3) < 0.1
        assert ours > 0, "16 bits cannot be exact"


def test_what_is_more_than_a_product_is_left_to_autograd() -> None:
    policy = tiny_policy()
    assert plain_head(policy) is policy.get_output_embeddings().weight
    policy.config.final_logit_softcapping = 30.0
    assert plain_head(policy) is None
    del policy.config.final_logit_softcapping
    policy.get_output_embeddings().register_forward_hook(lambda *_: None)
    assert plain_head(policy) is None


def test_a_frozen_head_gets_no_gradient() -> None:
    policy = tiny_policy()
    hidden, targets, *_ = inputs(torch.float32)
    policy.requires_grad_(False)
    logprobs, _ = token_logprobs(policy, hidden.requires_grad_(), targets, temperature=1.0, entropy_gradient=False)
    logprobs.sum().backward()
    assert policy.get_output_embeddings().weight.grad is None
    assert float(hidden.grad.abs().sum()) > 0


def test_one_chunk_of_logits_is_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """11 tokens in chunks of 4, once forward and once backward: six times, when the last is gone."""
    made: list[weakref.ref[torch.UntypedStorage]] = []

    def watched(name: str) -> None:
        plain = getattr(module, name)

        def call(logits: torch.Tensor, *given: object) -> object:
            assert all(each() is None for each in made), "of a chunk before"
            made.append(weakref.ref(logits.untyped_storage()))
            return plain(logits, *given)

        monkeypatch.setattr(module, name, call)

    watched("summary")
    watched("gradient")
    gradients(torch.float32, plain=True, entropy=True, rows=4, monkeypatch=monkeypatch)
    assert len(made) == 6


def test_a_gpus_chunks_are_for_heads_whose_backward_pass_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """11 tokens: in chunks of 4 that a GPU holds, or of 1 where autograd keeps more than logits of each."""
    held: list[int] = []

    def watched(name: str) -> None:
        plain = getattr(module, name)

        def call(logits: torch.Tensor, *given: object) -> object:
            held.append(len(logits))
            return plain(logits, *given)

        monkeypatch.setattr(module, name, call)

    watched("summary")
    watched("distribution")
    monkeypatch.setattr(module, "chunk_logits", lambda device: 4 * len(VOCABULARY))
    gradients(torch.float64, plain=True, entropy=False, rows=1, monkeypatch=monkeypatch)
    assert held == [4, 4, 4, 4, 3, 3], "summary, and distribution for it"
    held.clear()
    gradients(torch.float64, plain=False, entropy=False, rows=1, monkeypatch=monkeypatch)
    assert held == [1] * 11 * 2, "forward, and again before backward"
