"""Sequences that share a prompt see what they would see with a copy of it before each of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, MistralConfig

from grpo_lightning.attention import take_plans, takes_plans
from grpo_lightning.batching import micro_batches
from grpo_lightning.logprobs import check_layout, completion_logprobs, takes_ragged
from grpo_lightning.packing import ROOM, SLACK, Span, ragged_prompts, shared_prompts
from tests.tiny import sample, tiny_policy
from tests.varlen import varlen

ROOT = Path(__file__).parent.parent
SPANS = [
    Span(start=0, length=5),
    Span(start=5, length=3, prompt_start=0, prompt_length=5),
    Span(start=8, length=0, prompt_start=0, prompt_length=5),
    Span(start=8, length=40, prompt_start=0, prompt_length=5),
    Span(start=48, length=2),
    Span(start=50, length=1, prompt_start=48, prompt_length=2),
    Span(start=51, length=7, prompt_start=48, prompt_length=2),
]
TOKENS = 58


def places_seen(span: Span, t: int, window: int | None) -> list[int]:
    """Where the keys stand that token t of a sequence sees, by the definition."""
    prompt = list(range(span.prompt_start, span.prompt_start + span.prompt_length))
    return [*prompt, *range(span.start, span.start + t + 1)][-(window or TOKENS) :]


@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (4, 2)])
@pytest.mark.parametrize("window", [None, 4, 44, 45])
def test_each_token_sees_its_prompt_and_what_is_before_it(heads: int, key_heads: int, window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, heads, TOKENS, 8, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 1, key_heads, TOKENS, 8, generator=generator, dtype=torch.float64)
    positions = torch.cat([span.prompt_length + torch.arange(span.length) for span in SPANS])
    plan = shared_prompts(SPANS, positions)
    found = plan.attend(torch.nn.Module(), query, key, value, scaling=0.3, window=window)
    for span in SPANS:
        for t in range(span.length):
            seen = places_seen(span, t, window)
            for head in range(heads):
                group = head // (heads // key_heads)
                scores = 0.3 * key[0, group, seen] @ query[0, head, span.start + t]
                expected = torch.softmax(scores, dim=0) @ value[0, group, seen]
                assert torch.allclose(found[0, span.start + t, head], expected, atol=1e-12)


@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (4, 2)])
@pytest.mark.parametrize("window", [None, 4, 44, 45])
def test_a_gpus_plan_sees_the_same_and_has_the_same_gradients(
    heads: int, key_heads: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpo_lightning.packing.varlen_attn", varlen)
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, count, TOKENS, 8) for count in (heads, key_heads, key_heads)]
    positions = torch.cat([span.prompt_length + torch.arange(span.length) for span in SPANS])
    weight = torch.randn(1, TOKENS, heads, 8, generator=generator, dtype=torch.float64)
    states = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    found = []
    for plan in (ragged_prompts(SPANS, positions.device), shared_prompts(SPANS, positions)):
        mixed = plan.attend(torch.nn.Module(), *states, scaling=0.3, window=window)
        found.append((mixed, *torch.autograd.grad((mixed * weight).sum(), states)))
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=1e-12)


def test_a_gpus_plan_repeats_prompts_and_nothing_else() -> None:
    """5 and 2 tokens of prompts, seen by two and two sequences that have any: 58 places of their own, 2 x 5 + 2 x 2."""
    plan = ragged_prompts(SPANS, torch.device("cpu"))
    assert len(plan.keys) == TOKENS + 14
    assert plan.keys[plan.own].tolist() == list(range(TOKENS))
    assert plan.keys[plan.copies].tolist() == plan.originals.tolist() == [0, 1, 2, 3, 4] * 2 + [48, 49] * 2
    assert plan.queries_until.tolist() == [0, 5, 8, 48, 50, 51, 58]
    assert plan.keys_until.tolist() == [0, 5, 13, 58, 60, 63, 72]
    assert (plan.most_queries, plan.most_keys) == (40, 45)


@pytest.mark.parametrize(
    ("device", "dtype", "width", "capability", "takes"),
    [
        ("cuda", torch.bfloat16, 8, (8, 0), True),
        ("cuda", torch.float16, 256, (9, 0), True),
        ("cuda", torch.bfloat16, 8, (7, 5), False),
        ("cuda", torch.float32, 8, (9, 0), False),
        ("cuda", torch.bfloat16, 264, (9, 0), False),
        ("cuda", torch.bfloat16, 12, (9, 0), False),
        ("cpu", torch.bfloat16, 8, (9, 0), False),
    ],
)
def test_which_devices_take_sequences_of_any_length(
    device: str,
    dtype: torch.dtype,
    width: int,
    capability: tuple[int, int],
    takes: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr("grpo_lightning.logprobs.is_flash_attention_available", lambda: True)
    policy = tiny_policy(dtype=dtype)
    policy.config.head_dim = width
    assert takes_ragged(policy, torch.device(device)) == takes
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not takes_ragged(policy, torch.device(device))


def test_a_build_without_the_kernel_and_heads_of_several_widths_are_left_to_rectangles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DeepSeek's keys are wider than its values; Gemma 4 has layers of wider heads; AMD's kernel is another."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr("grpo_lightning.logprobs.is_flash_attention_available", lambda: True)
    policy, device = tiny_policy(dtype=torch.bfloat16), torch.device("cuda")
    assert takes_ragged(policy, device)
    for name in ("v_head_dim", "global_head_dim"):
        setattr(policy.config, name, 128)
        assert not takes_ragged(policy, device)
        setattr(policy.config, name, None)
    with monkeypatch.context() as amd:
        amd.setattr(torch.version, "hip", "6.4")
        assert not takes_ragged(policy, device)
    monkeypatch.setattr("grpo_lightning.logprobs.is_flash_attention_available", lambda: False)
    assert not takes_ragged(policy, device)


def test_logprobs_and_gradients_are_the_same_with_a_gpus_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_lightning.packing.varlen_attn", varlen)
    policy = tiny_policy(dtype=torch.float64)
    samples = [
        sample(list(range(1, 6 + g)), [(3 * t + j) % 20 + 2 for t in range(1 + 6 * j)], group=g, number=j)
        for g in range(2)
        for j in range(3)
    ]
    (batch,) = micro_batches(samples, max_tokens=1000, layout="shared")
    found = []
    for ragged in (False, True):
        monkeypatch.setattr("grpo_lightning.logprobs.takes_ragged", lambda *_, ragged=ragged: ragged)
        policy.zero_grad()
        logprobs = completion_logprobs(policy, batch, temperature=1.0).logprobs
        logprobs.sum().backward()
        found.append([logprobs.detach(), *(p.grad for p in policy.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-10)


def test_rectangles_hold_rows_alike_in_length() -> None:
    random = np.random.default_rng(0)
    spans, start = [], 0
    for length in random.geometric(0.03, size=40).tolist():
        prompt = Span(start=start, length=int(random.integers(1, 60)))
        spans += [
            prompt,
            Span(start=start + prompt.length, length=length, prompt_start=prompt.start, prompt_length=prompt.length),
        ]
        start += prompt.length + length
    plan = shared_prompts(spans, torch.zeros(start, dtype=torch.long))
    assert sum(len(each.kept) for each in plan.rectangles) == start
    places = sum(each.queries.numel() for each in plan.rectangles)
    assert places <= ROOM * start + SLACK * len(spans)
    assert len(plan.rectangles) < len(spans) / 2


def test_a_prompt_enters_the_model_once_and_a_last_token_never() -> None:
    """Three prompts of 7, 7 and 2 tokens, with 4, 4 and 4 completions of 1 to 4: the first two are unlike groups."""
    samples = [
        sample([g % 2 + 1] * length, list(range(2, 3 + j)), group=g, number=j)
        for g, length in enumerate((7, 7, 2))
        for j in range(4)
    ]
    (whole,) = micro_batches(samples, max_tokens=1000, layout="shared")
    assert whole.input_ids.numel() == 7 + 7 + 2 + 3 * (0 + 1 + 2 + 3)
    assert sorted(whole.order) == list(range(12))
    cut = list(micro_batches(samples, max_tokens=12, layout="shared"))
    assert sorted(i for batch in cut for i in batch.order) == list(range(12))
    for batch in cut:
        prompts = {samples[i].group: len(samples[i].prompt_ids) for i in batch.order}
        assert sum(prompts.values()) + sum(len(samples[i].completion_ids) for i in batch.order) <= 12


def windowed(family: str) -> torch.nn.Module:
    common = {
        "vocab_size": 26,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "sliding_window": 6,
    }
    layers = {"num_hidden_layers": 2}
    if family == "gemma3_text":
        layers |= {"layer_types": ["sliding_attention", "full_attention"]}
    torch.manual_seed(0)
    config = {"mistral": MistralConfig, "gemma3_text": Gemma3TextConfig}[family](**common, **layers)
    policy = AutoModelForCausalLM.from_config(config)
    take_plans(policy)
    return policy


@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_a_sliding_window_reaches_into_the_prompt(family: str) -> None:
    policy = windowed(family)
    check_layout(policy, "shared")
    samples = [
        sample(list(range(1, 6 + g)), [(3 * t + j) % 20 + 2 for t in range(2 + 6 * j)], group=g, number=j)
        for g in range(2)
        for j in range(3)
    ]
    found = {}
    for layout in ("shared", "padded"):
        (batch,) = micro_batches(samples, max_tokens=1000, layout=layout)
        with torch.no_grad():
            told = completion_logprobs(policy, batch, temperature=1.0).logprobs.split(batch.lengths.tolist())
        found[layout] = torch.cat([told[batch.order.index(i)] for i in range(6)])
    assert torch.allclose(found["shared"], found["padded"], atol=1e-5)
    far = [row for row in range(6) if len(samples[row]) > 7]
    assert far, "the case is too easy: nothing is longer than the window"


def test_a_plan_is_kept_where_layers_are_computed_again() -> None:
    policy = tiny_policy(dtype=torch.float64)
    assert takes_plans(policy)
    samples = [sample([1, 2, 3], [4, 5, 6 + j], group=0, number=j) for j in range(3)]
    (batch,) = micro_batches(samples, max_tokens=1000, layout="shared")
    gradients = []
    for saves in (False, True):
        if saves:
            policy.activation_checkpointing_enable({"use_reentrant": False})
        policy.zero_grad()
        completion_logprobs(policy, batch, temperature=1.0).logprobs.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters()]))
    assert torch.allclose(*gradients, atol=1e-12)


def test_a_compiled_layer_is_one_graph_for_any_lengths() -> None:
    """Compiled for the first lengths, and again for all others; log-probs and gradients stay what they are. In a
    process of its own: torch's compiler does not follow the checks of shapes that tests are run with.
    """
    command = [sys.executable, "-m", "tests.compiled_layers"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    graphs, difference = done.stdout.split()
    assert int(graphs) == 2
    assert float(difference) < 1e-4
