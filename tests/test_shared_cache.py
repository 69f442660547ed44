"""Prompts kept once for their group, rows that come and go: the same tokens and log-probs as with a plain cache."""

from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedModel, Qwen3Config

from grpo_lightning.attention import take_plans, takes_plans
from grpo_lightning.batching import micro_batches, samples_of
from grpo_lightning.generation import BuiltinGenerator, Rollout, SamplingConfig
from grpo_lightning.generation.engine import next_logits
from grpo_lightning.generation.sampling import BLOCK, LARGEST_UNIFORM, draw, sample
from grpo_lightning.generation.shared_cache import SharedCache
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.seeding import seeded
from grpo_lightning.types import Completion
from tests.tiny import SHAPE, prompt, tiny_policy, tiny_tokenizer

TEXTS = ["12+34=", "1+1=", "123-45=6789+0", "abc?", "7=", "12+3", "a b c d e f g h=", "0"]
PROMPTS = [prompt(text, uid) for uid, text in enumerate(TEXTS)]
WINDOW = 5
"""Shorter than some prompts, and than prompt and completion together of all."""


def build(family: str, attention: str = "sdpa") -> PreTrainedModel:
    """Families of `tiny_policy`, and two in which all or some layers see a window only."""
    windows: dict[str, Qwen3Config | MistralConfig] = {
        "mistral": MistralConfig(**SHAPE, sliding_window=WINDOW),
        "mixed": Qwen3Config(
            **SHAPE, use_sliding_window=True, sliding_window=WINDOW, layer_types=["full_attention", "sliding_attention"]
        ),
    }
    if family not in windows:
        return tiny_policy(family, attention=attention)
    with seeded("windows", family):
        policy = AutoModelForCausalLM.from_config(windows[family], attn_implementation=attention)
    take_plans(policy)
    return policy


def generate(policy: PreTrainedModel, **sampling: object) -> Rollout:
    settings = SamplingConfig(**({"max_tokens": 12} | sampling))
    return BuiltinGenerator(policy, tiny_tokenizer()).generate(PROMPTS, group_size=3, sampling=settings, seed=5)


def completions(rollout: Rollout) -> list[Completion]:
    return [completion for group in rollout.groups for completion in group.completions]


@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2", "mistral", "mixed"])
@pytest.mark.parametrize("settings", [{}, {"max_rows": 7}, {"max_rows": 1}, {"repetition_penalty": 1.3}])
def test_tokens_and_logprobs_are_those_of_a_plain_cache(family: str, settings: dict[str, object]) -> None:
    """Attention `eager` follows no plan, so it keeps padded rows; 24 rows of 8 lengths, 7, 3 or all of them at once."""
    policy, plain = build(family), build(family, "eager")
    assert takes_plans(policy)
    assert not takes_plans(plain)
    found, expected = completions(generate(policy, **settings)), completions(generate(plain, **settings))
    assert [completion.token_ids for completion in found] == [completion.token_ids for completion in expected]
    assert len({len(completion.token_ids) for completion in found}) > 3, "the case is too easy: all have one length"
    for one, other in zip(found, expected, strict=True):
        assert one.sampler_logprobs == pytest.approx(other.sampler_logprobs, abs=2e-5)


@pytest.mark.parametrize("family", ["qwen3", "mixed"])
@pytest.mark.parametrize("max_rows", [64, 7])
def test_room_that_grows_changes_nothing(family: str, max_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By 1 token, and by 5, so that it ends with completions, behind them, or behind some of them."""
    expected = completions(generate(build(family, "eager"), max_rows=max_rows))
    for growth in (1, 5):
        monkeypatch.setattr(SharedCache, "growth", growth)
        found = completions(generate(build(family), max_rows=max_rows))
        assert [completion.token_ids for completion in found] == [completion.token_ids for completion in expected]


def test_room_grows_by_an_eighth(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 8 by 8 to 64, then by 8 for each 64, and never beyond what is asked for."""
    monkeypatch.setattr(SharedCache, "growth", 8)
    cache = SharedCache(lambda *call: torch.zeros((1, 4)), 190, torch.device("cpu"))
    cache.filled, cache.room = [0], 8
    rooms = []
    for _ in range(190):
        cache.begin()
        rooms.append(cache.room)
    assert sorted(set(rooms)) == [*range(8, 129, 8), 144, 160, 176, 190]


@pytest.mark.parametrize("family", ["mistral", "mixed"])
def test_logprobs_behind_windows_are_the_models_own(family: str) -> None:
    policy = build(family)
    for group in generate(policy, max_rows=7).groups:
        start = len(group.prompt.token_ids)
        for completion in group.completions:
            ids = torch.tensor([group.prompt.token_ids + completion.token_ids])
            with torch.no_grad():
                table = torch.log_softmax(policy(ids).logits[0], -1)
            own = [float(table[start + t - 1, token]) for t, token in enumerate(completion.token_ids)]
            assert list(completion.sampler_logprobs) == pytest.approx(own, abs=2e-5)


def test_a_prompt_takes_memory_once() -> None:
    """2 layers x (2 prompts x 9 + 6 rows x 4 tokens) x 2 key heads x 8 x 4 bytes, for keys and for values."""
    cache = SharedCache(partial(next_logits, build("qwen3")), 4, torch.device("cpu"))
    with torch.inference_mode():
        cache.admit([[2] * 9, [3] * 5], group_size=3)
        cache.begin()
        cache.step(torch.zeros(6, dtype=torch.long))
        held = [states for part in (cache.prompts, cache.completions) for pair in part.values() for states in pair]
        assert sum(states.nbytes for states in held) == 2 * 2 * (2 * 9 + 6 * 4) * 2 * 8 * 4
        cache.keep([4])
    assert [keys.shape[:3] for keys, _ in cache.prompts.values()] == [(1, 2, 9)] * 2
    assert [keys.shape[:3] for keys, _ in cache.completions.values()] == [(1, 2, 4)] * 2


def test_waiting_prompts_take_the_place_of_finished_ones() -> None:
    """6 rows for 24 completions: in rounds, each would take as many passes as its longest completion."""
    policy, calls = build("qwen3"), []
    hook = policy.base_model.register_forward_hook(lambda *call: calls.append(1))
    groups = generate(policy, max_rows=6).groups
    hook.remove()
    order = sorted(range(len(PROMPTS)), key=lambda i: len(PROMPTS[i].token_ids))
    longest = [max(len(c.token_ids) for c in groups[i].completions) for i in order]
    rounds = sum(max(pair) for pair in zip(longest[::2], longest[1::2], strict=True))
    prefills = len(PROMPTS)
    assert len(calls) < rounds + prefills // 2, "no better than rounds of two prompts"


def test_under_autocast_no_cast_of_the_rollout_is_left() -> None:
    """Sampler and update agree to rounding in bfloat16, and the backward pass reaches all weights."""
    policy = build("llama")
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        groups = generate(policy, max_rows=7).groups
        samples = samples_of(groups, np.ones((len(PROMPTS), 3), dtype=bool))
        (batch,) = micro_batches(samples, max_tokens=10_000, layout="padded")
        found = completion_logprobs(policy, batch, temperature=1.0).logprobs
        assert float((found.detach() - batch.sampler_logprobs).abs().max()) < 0.1
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in policy.parameters())


def test_a_draw_from_many_tokens_is_the_inverse_of_their_sums() -> None:
    """Against NumPy's sums in float64, in 3 blocks and a rest, up to where the number itself is on a token's edge."""
    generator = np.random.default_rng(0)
    weights = generator.random((64, 3 * BLOCK + 17)) * (generator.random((64, 3 * BLOCK + 17)) < 0.3)
    uniform = np.append(generator.random(62), [0.0, LARGEST_UNIFORM])
    found = draw(torch.tensor(weights, dtype=torch.float32), torch.tensor(uniform, dtype=torch.float32)).numpy()
    sums = weights.cumsum(axis=1)
    target = uniform * sums[:, -1]
    rows = np.arange(64)
    assert (sums[rows, found] > target - 1e-4).all()
    assert (sums[rows, found] - weights[rows, found] < target + 1e-4).all()
    assert (weights[rows, found] > 0).all()


def test_a_logprob_is_right_where_its_probability_is_none() -> None:
    """exp(-200) is 0 in float32; a penalty may still choose that token."""
    logits, seen = torch.tensor([[200.0, 0.0]]), torch.tensor([[True, False]])
    how = SamplingConfig(temperature=0.0, repetition_penalty=1e6)
    drawn = sample(logits - 0.001, torch.zeros(1), seen, how)
    assert drawn.tokens.tolist() == [0]
    drawn = sample(torch.tensor([[200.0, 1e-3]]), torch.zeros(1), seen, how)
    assert drawn.tokens.tolist() == [1]
    assert drawn.logprobs.tolist() == pytest.approx([1e-3 - 200])
