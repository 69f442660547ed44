"""What only a GPU has, beside what all devices compute: `CUDA_VISIBLE_DEVICES=0 pytest -m gpu tests/test_gpu.py`."""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import accumulate

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from grpo_lightning import head as head_module
from grpo_lightning.attention import take_plans
from grpo_lightning.batching import micro_batches
from grpo_lightning.fused import fuse_layers
from grpo_lightning.generation import BuiltinGenerator, SamplingConfig, engine
from grpo_lightning.generation.recorder import Recording
from grpo_lightning.generation.shared_cache import SharedCache
from grpo_lightning.generation.where import Where
from grpo_lightning.head import token_logprobs
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.types import Completion
from tests import recording
from tests.tiny import VOCABULARY, prompt, sample, tiny_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available() or find_spec("triton") is None, reason="needs a GPU with Triton"),
]
TEXTS = ["12+34=", "1+1=", "123-45=6789+0", "abc?", "7=", "12+3", "a b c d e f g h=", "0"]


def build(dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    config = Qwen3Config(
        vocab_size=len(VOCABULARY),
        eos_token_id=1,
        pad_token_id=0,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        initializer_range=0.1,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    policy = Qwen3ForCausalLM(config).to("cuda", dtype)
    take_plans(policy)
    fuse_layers(policy)
    return policy


def generate(policy: PreTrainedModel, rows: int, dtype: torch.dtype | None = None) -> list[Completion]:
    settings = SamplingConfig(max_tokens=300, max_rows=rows)
    prompts = [prompt(text, uid) for uid, text in enumerate(TEXTS)]
    rollout = BuiltinGenerator(policy, tiny_tokenizer(), dtype).generate(
        prompts, group_size=4, sampling=settings, seed=3
    )
    return [completion for group in rollout.groups for completion in group.completions]


@pytest.mark.parametrize("rows", [32, 12])
def test_recorded_steps_draw_the_tokens_of_plain_ones(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = build()
    found = generate(policy, rows)
    assert found == generate(policy, rows), "to the last bit"
    monkeypatch.setattr(engine, "_cache_of", SharedCache)
    expected = generate(policy, rows)
    assert [completion.token_ids for completion in found] == [completion.token_ids for completion in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.sampler_logprobs == pytest.approx(other.sampler_logprobs, abs=1e-4)


@pytest.mark.parametrize(("weights", "drawn"), [("float32", torch.bfloat16), ("bfloat16", None), ("float16", None)])
def test_in_16_bit_a_rollout_repeats_to_the_last_bit(weights: str, drawn: torch.dtype | None) -> None:
    policy = build(getattr(torch, weights))
    assert generate(policy, 12, drawn) == generate(policy, 12, drawn)


def test_a_rollout_is_drawn_under_deterministic_algorithms() -> None:
    policy = build()
    expected = generate(policy, 12)
    torch.use_deterministic_algorithms(True)
    try:
        assert generate(policy, 12) == expected
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_policy_need_not_be_on_the_current_device() -> None:
    expected = generate(build(), 32)
    assert generate(build().to("cuda:1"), 32) == expected


def test_recordings_leave_no_memory_behind() -> None:
    """Of a product, for which cuBLAS wants a workspace."""
    weight = torch.randn((512, 512), device="cuda")
    weight @ weight  # what is built at the first call cannot be recorded

    def held() -> int:
        Recording(lambda x: (x @ weight,), weight)(weight)
        return torch.cuda.memory_allocated()

    first = held()
    assert [held() for _ in range(3)] == [first] * 3


GROUPS = (3, 1, 2)


@pytest.mark.parametrize(
    ("groups", "key_heads", "ratio", "width", "longest", "window", "dtype", "error"),
    [
        (GROUPS, 2, 2, 32, (70, 90), None, torch.float32, 1e-6),
        (GROUPS, 2, 2, 32, (70, 90), 5, torch.float32, 1e-6),
        ((40,), 1, 3, 16, (20, 30), None, torch.float32, 1e-6),
        ((2, 2), 2, 1, 24, (130, 9), 40, torch.float32, 1e-6),
        (GROUPS, 2, 2, 8, (70, 90), None, torch.float32, 1e-6),
        ((40,), 2, 2, 256, (70, 90), None, torch.float32, 1e-6),
        ((40,), 2, 2, 256, (70, 90), None, torch.bfloat16, 5e-3),
        ((2, 3), 2, 4, 32, (70, 90), None, torch.bfloat16, 5e-3),
        ((8,) * 16, 8, 2, 128, (300, 700), None, torch.bfloat16, 5e-3),
        ((8,) * 3, 2, 7, 128, (300, 700), 100, torch.bfloat16, 5e-3),
        ((8,) * 3, 8, 4, 64, (300, 700), None, torch.float16, 1e-3),
    ],
)
def test_attention_of_a_step(
    groups: Sequence[int],
    key_heads: int,
    ratio: int,
    width: int,
    longest: tuple[int, int],
    window: int | None,
    dtype: torch.dtype,
    error: float,
) -> None:
    """Against float64. What is held behind prompts and completions is NaN, and must not be read."""
    from grpo_lightning.generation.flash_decoding import attend

    draw = torch.Generator().manual_seed(0)
    rows = sum(groups)

    def states(count: int, length: int) -> tuple[Tensor, Tensor]:
        one, other = torch.randn((2, count, key_heads, length, width), generator=draw).to("cuda", dtype)
        return one, other

    prompts, completions = states(len(groups), longest[0]), states(rows, longest[1])
    query = torch.randn((rows, key_heads * ratio, width), generator=draw).to("cuda", dtype)
    prompt_lengths = torch.randint(1, longest[0] + 1, (len(groups),), generator=draw).cuda()
    lengths = torch.randint(1, longest[1] + 1, (rows,), generator=draw).cuda()
    before = prompt_lengths.repeat_interleave(torch.tensor(groups).cuda())
    where = Where(
        prompt_lengths=prompt_lengths,
        lengths=lengths,
        nothing=torch.zeros_like(prompt_lengths),
        before=before,
        position=before + lengths - 1,
        first=torch.tensor([0, *accumulate(groups)]).cuda(),
        each=torch.arange(rows + 1).cuda(),
        largest=max(groups),
        multiprocessors=torch.cuda.get_device_properties(0).multi_processor_count,
    )
    scaling = width**-0.5
    wide = [(keys.double(), values.double()) for keys, values in (prompts, completions)]
    expected = recording.attend(query.double(), *wide, where, scaling=scaling, window=window)
    for (keys, values), kept in ((prompts, prompt_lengths), (completions, lengths)):
        behind = torch.arange(keys.shape[2]).cuda() >= kept[:, None]
        for held in (keys, values):
            held.masked_fill_(behind[:, None, :, None], torch.nan)
    found = attend(query, prompts, completions, where, scaling=scaling, window=window)
    assert float((found - expected).norm() / expected.norm()) < error


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("entropy", [True, False])
@pytest.mark.parametrize(("mixed", "error"), [(False, 1e-5), (True, 2e-2)])
def test_head(temperature: float, entropy: bool, mixed: bool, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probs, entropy and their gradients, in chunks of 700 tokens, against float64."""
    config = Qwen3Config(vocab_size=20_000, hidden_size=64, num_hidden_layers=0, tie_word_embeddings=False)
    policy = Qwen3ForCausalLM(config).cuda()
    monkeypatch.setattr(head_module, "GPU_CHUNKS", 1)
    monkeypatch.setattr(head_module, "CHUNK_LOGITS", 700 * 20_000)
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn((2000, 64), generator=draw).cuda()
    weight = policy.get_output_embeddings().weight
    torch.nn.init.normal_(weight, std=0.3)
    targets = torch.randint(0, 20_000, (2000,), generator=draw).cuda()
    one, other = torch.randn((2, 2000), generator=draw).cuda()

    def results(logprobs: Tensor, entropies: Tensor, inputs: tuple[Tensor, Tensor]) -> list[Tensor]:
        total = (logprobs * one).sum() + ((entropies * other).sum() if entropy else 0.0)
        return [logprobs.detach(), entropies.detach(), *torch.autograd.grad(total, inputs)]

    hidden.requires_grad_()
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        told = token_logprobs(policy, hidden, targets, temperature=temperature, entropy_gradient=entropy)
    found = results(*told, (hidden, weight))
    wide = (hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_())
    log_p = torch.log_softmax(wide[0] @ wide[1].T / temperature, dim=-1)
    chosen, entropies = log_p.gather(1, targets[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(dim=-1)
    for own, plain in zip(found, results(chosen, entropies, wide), strict=True):
        assert float((own - plain).norm() / plain.norm()) < error


def test_sequences_of_any_length_have_the_logprobs_and_gradients_of_rectangles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = build(torch.bfloat16)
    samples = [
        sample(list(range(1, 6 + 9 * g)), [(3 * t + j) % 20 + 2 for t in range(2 + 16 * j)], group=g, number=j)
        for g in range(2)
        for j in range(5)
    ]
    (batch,) = micro_batches(samples, max_tokens=1000, layout="shared")
    batch = batch.to(policy.device)
    found = []
    for ragged in (True, False):
        if not ragged:
            monkeypatch.setattr("grpo_lightning.logprobs.takes_ragged", lambda *_: False)
        policy.zero_grad()
        logprobs = completion_logprobs(policy, batch, temperature=1.0).logprobs
        logprobs.sum().backward()
        found.append([logprobs.detach(), *(p.grad for p in policy.parameters())])
    for one, other in zip(*found, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.05
