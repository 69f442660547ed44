"""The built-in engine against the model itself: the same log-probs, the same tokens whatever the company."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from grpo_lightning.batching import micro_batches, samples_of
from grpo_lightning.generation import BuiltinGenerator, SamplingConfig
from grpo_lightning.generation.sampling import draw, penalise_repetition, sample, truncate, uniforms
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.types import Completion, Group, Prompt
from tests.tiny import END, VOCABULARY, prompt, tiny_policy, tiny_tokenizer

PROMPTS = [prompt("12+34=", 0), prompt("1+1=", 1), prompt("123-45=", 2), prompt("abc?", 3), prompt("7=", 4)]
SAMPLING = SamplingConfig(max_tokens=12)


def generate(
    family: str = "qwen3", prompts: list[Prompt] = PROMPTS, seed: int = 5, **changes: object
) -> list[list[Completion]]:
    group_size, prefix = changes.pop("group_size", 4), changes.pop("prefix", "")
    engine = BuiltinGenerator(tiny_policy(family), tiny_tokenizer())
    rollout = engine.generate(
        prompts, group_size=group_size, sampling=replace(SAMPLING, **changes), seed=seed, prefix=prefix
    )
    assert [group.prompt for group in rollout.groups] == prompts
    return [list(group.completions) for group in rollout.groups]


def full_softmax(family: str, prompt_ids: tuple[int, ...], ids: tuple[int, ...], temperature: float) -> list[float]:
    """log pi by the model's own logits over one whole sequence, no cache, no padding, no chunks."""
    with torch.no_grad():
        logits = tiny_policy(family)(torch.tensor([prompt_ids + ids])).logits[0] / temperature
    table = torch.log_softmax(logits, -1)
    return [float(table[len(prompt_ids) + t - 1, token]) for t, token in enumerate(ids)]


@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_logprobs_are_the_models_and_the_losses(family: str, temperature: float) -> None:
    """Prompts of unlike lengths (left padding), early ends (compaction) and the training pass all agree."""
    completions = generate(family, temperature=temperature)
    lengths = {len(completion.token_ids) for group in completions for completion in group}
    assert len(lengths) > 3, "the case is too easy: all completions have one length"
    policy = tiny_policy(family)
    groups = [Group(prompt=p, completions=tuple(c)) for p, c in zip(PROMPTS, completions, strict=True)]
    samples = samples_of(groups, np.ones((5, 4), dtype=bool))
    for layout in ("shared", "padded", "packed"):
        for batch in micro_batches(samples, max_tokens=100, layout=layout):
            found = completion_logprobs(policy, batch, temperature=temperature).logprobs
            assert torch.allclose(found, batch.sampler_logprobs, atol=2e-5)
    for p, group in zip(PROMPTS, completions, strict=True):
        for completion in group:
            expected = full_softmax(family, p.token_ids, completion.token_ids, temperature)
            assert list(completion.sampler_logprobs) == pytest.approx(expected, abs=2e-5)


def test_company_changes_nothing() -> None:
    together = generate()
    for i, p in enumerate(PROMPTS):
        assert [c.token_ids for c in generate(prompts=[p])[0]] == [c.token_ids for c in together[i]]
    for rows in (1, 4, 8):
        assert [[c.token_ids for c in g] for g in generate(max_rows=rows)] == [
            [c.token_ids for c in g] for g in together
        ]
    reordered = generate(prompts=PROMPTS[::-1])[::-1]
    assert [[c.token_ids for c in g] for g in reordered] == [[c.token_ids for c in g] for g in together]
    assert [[c.token_ids for c in g[:2]] for g in together] == [
        [c.token_ids for c in g] for g in generate(group_size=2)
    ]


def test_seeds_samples_and_prompts_have_streams_of_their_own() -> None:
    twice = [generate(seed=1), generate(seed=1), generate(seed=2)]
    tokens = [[[c.token_ids for c in g] for g in run] for run in twice]
    assert tokens[0] == tokens[1]
    assert tokens[0] != tokens[2]
    same_text = [prompt("12+34=", 10), prompt("12+34=", 11)]
    first, second = generate(prompts=same_text)
    assert [c.token_ids for c in first] != [c.token_ids for c in second]
    assert len({c.token_ids for c in first}) > 1


def test_sampling_follows_the_models_distribution() -> None:
    """4000 first tokens: each frequency within 5 standard errors of its probability."""
    count = 4000
    completions = generate(prompts=[prompt("12+3")], group_size=count, max_tokens=1, max_rows=count)[0]
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in completions]), minlength=len(VOCABULARY))
    with torch.no_grad():
        probs = torch.softmax(tiny_policy()(torch.tensor([prompt("12+3").token_ids])).logits[0, -1], -1)
    error = torch.sqrt(probs * (1 - probs) / count)
    assert bool(((counts / count - probs).abs() < 5 * error + 1e-9).all())
    assert float(probs.max()) > 0.1


def test_greedy_is_the_models_own_generate() -> None:
    policy = tiny_policy()
    for p, group in zip(PROMPTS, generate(temperature=0.0, group_size=1), strict=True):
        ids = torch.tensor([p.token_ids])
        own = policy.eval().generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert own[0, len(p.token_ids) :].tolist()[: len(group[0].token_ids)] == list(group[0].token_ids)


def test_stop_reasons_and_lengths() -> None:
    seen = set()
    for group in generate(group_size=16):
        for completion in group:
            seen.add(completion.stop_reason)
            assert completion.stop_reason == ("eos" if completion.token_ids[-1] == END else "length")
            assert END not in completion.token_ids[:-1]
            assert len(completion.token_ids) == len(completion.sampler_logprobs) <= 12
            assert (len(completion.token_ids) == 12) or completion.stop_reason == "eos"
            assert "<end>" not in completion.text
    assert seen == {"eos", "length"}


def test_stop_strings_end_a_completion_and_stay_in_it() -> None:
    free = generate(group_size=16)
    stopped = generate(group_size=16, stop=("+", "h1"))
    assert any("+" in c.text[:-1] for g in free for c in g), "the case is too easy"
    for a, b in zip((c for g in free for c in g), (c for g in stopped for c in g), strict=True):
        assert a.text.startswith(b.text)
        ends = [a.text.index(s) + len(s) for s in ("+", "h1") if s in a.text]
        assert b.text == (a.text[: min(ends)] if ends else a.text)
        assert (b.stop_reason == "stop") == (bool(ends) and b.token_ids[-1] != END)


def test_stop_tokens_end_a_completion() -> None:
    plus = VOCABULARY.index("+")
    for group in generate(group_size=16, stop_token_ids=(plus,)):
        for completion in group:
            assert plus not in completion.token_ids[:-1]
            assert (completion.stop_reason == "stop") == (completion.token_ids[-1] == plus)


def test_a_prefix_is_forced_and_not_among_the_tokens() -> None:
    forced = generate(prompts=[prompt("12")], prefix="+3")[0]
    plain = generate(prompts=[prompt("12+3")])[0]
    assert [c.token_ids for c in forced] == [c.token_ids for c in plain]
    assert [c.text for c in forced] == ["+3" + c.text for c in plain]


@pytest.mark.parametrize("max_rows", [1024, 8, 1])
@pytest.mark.parametrize("settings", [{}, {"stop": ("+", "h", "3")}, {"temperature": 0.0}])
def test_each_group_is_handed_over_once(max_rows: int, settings: dict[str, object]) -> None:
    """What is handed over is what is returned, and its text the decoded tokens."""
    tokenizer, given = tiny_tokenizer(), []
    rollout = BuiltinGenerator(tiny_policy(), tokenizer).generate(
        PROMPTS,
        group_size=2,
        sampling=replace(SAMPLING, max_rows=max_rows, **settings),
        seed=5,
        prefix="+3",
        finished=lambda place, group: given.append((place, group)),
    )
    assert sorted(place for place, _ in given) == list(range(len(PROMPTS)))
    assert all(group is rollout.groups[place] for place, group in given)
    completions = [completion for group in rollout.groups for completion in group.completions]
    texts = tokenizer.batch_decode([list(c.token_ids) for c in completions], skip_special_tokens=True)
    assert [c.text for c in completions] == ["+3" + text for text in texts]


def test_a_group_is_handed_over_as_soon_as_it_has_ended() -> None:
    """The prefill gives the first token and each later pass one more: n tokens take n passes."""
    policy, passes, given = tiny_policy(), [], []
    hook = policy.base_model.register_forward_hook(lambda *call: passes.append(1))
    BuiltinGenerator(policy, tiny_tokenizer()).generate(
        PROMPTS,
        group_size=2,
        sampling=replace(SAMPLING, stop=("+", "h", "3")),
        seed=5,
        finished=lambda place, group: given.append((len(passes), max(len(c.token_ids) for c in group.completions))),
    )
    hook.remove()
    assert [count for count, _ in given] == [longest for _, longest in given]
    assert given[-1] == (12, 12)
    assert len(set(given)) == len(PROMPTS), "the case is too easy: groups end together"


def test_what_takes_a_group_may_end_the_generation() -> None:
    def refuse(place: int, group: Group) -> None:
        raise KeyError("enough")

    engine = BuiltinGenerator(tiny_policy(), tiny_tokenizer())
    with pytest.raises(KeyError, match="enough"):
        engine.generate(PROMPTS, group_size=2, sampling=SAMPLING, seed=0, finished=refuse)


PROBS = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]])


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, [1, 1, 0, 0, 0]),
        ({"top_k": 99}, [1, 1, 1, 1, 1]),
        ({"top_p": 0.6}, [1, 1, 0, 0, 0]),  # 0.5 < 0.6 <= 0.7
        ({"top_p": 0.5}, [1, 0, 0, 0, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0, 0]),
        ({"min_p": 0.25}, [1, 1, 1, 0, 0]),  # at least 0.125
        ({"top_k": 3, "min_p": 0.35}, [1, 1, 0, 0, 0]),
        ({"top_k": 2, "top_p": 0.7}, [1, 0, 0, 0, 0]),  # of the two kept, 0.7: 0.5 >= 0.7 x 0.7 = 0.49
    ],
)
def test_truncation_by_hand(settings: dict[str, float], kept: list[int]) -> None:
    found = truncate(PROBS, SamplingConfig(**settings))
    assert torch.equal(found, PROBS * torch.tensor([kept]))


def test_truncated_sampling_stays_within_and_keeps_the_losses_logprobs() -> None:
    """Under top-k 2 only the two likeliest tokens appear; their log-probs are still those of the full distribution."""
    p = prompt("12+3")
    with torch.no_grad():
        full = torch.log_softmax(tiny_policy()(torch.tensor([p.token_ids])).logits[0, -1], -1)
    likeliest = set(full.topk(2).indices.tolist())
    for completion in generate(prompts=[p], group_size=64, max_tokens=1, top_k=2)[0]:
        assert completion.token_ids[0] in likeliest
        assert completion.sampler_logprobs[0] == pytest.approx(float(full[completion.token_ids[0]]), abs=1e-5)


def test_draw_takes_the_token_whose_interval_holds_the_number() -> None:
    probs = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).repeat(5, 1)
    assert draw(probs, torch.tensor([0.0, 0.2499, 0.25, 0.9, 1 - 2.0**-20])).tolist() == [1, 1, 3, 3, 3]


def test_uniforms_stay_below_one_and_depend_on_their_key_only() -> None:
    keys = [(uid, sample) for uid in range(3) for sample in range(3)]
    drawn = uniforms(7, keys, 1000)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    assert torch.equal(uniforms(7, keys[4:5], 1000)[0], drawn[4])
    assert torch.equal(uniforms(7, keys, 10), drawn[:, :10])
    assert len({tuple(row.tolist()) for row in drawn}) == 9


def test_repetition_penalty_by_hand() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    seen = torch.tensor([[True, True, False]])
    assert penalise_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 1.0]]


def test_greedy_with_a_repetition_penalty_is_the_models_own_generate() -> None:
    policy = tiny_policy()
    penalised = generate(temperature=0.0, group_size=1, repetition_penalty=1.5)
    assert penalised != generate(temperature=0.0, group_size=1), "the case is too easy"
    for p, group in zip(PROMPTS, penalised, strict=True):
        ids = torch.tensor([p.token_ids])
        own = policy.eval().generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, repetition_penalty=1.5
        )
        assert own[0, len(p.token_ids) :].tolist()[: len(group[0].token_ids)] == list(group[0].token_ids)


def test_generation_restores_the_mode_of_the_policy() -> None:
    policy = tiny_policy("gpt2")
    assert policy.training
    BuiltinGenerator(policy, tiny_tokenizer()).generate(PROMPTS, group_size=2, sampling=SAMPLING, seed=0)
    assert policy.training


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("min_p", 1.0),
        ("repetition_penalty", 0.0),
        ("stop", ("",)),
        ("max_rows", 0),
    ],
)
def test_contradictions_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"sampling\.{field}: .* is refused; it must be"):
        SamplingConfig(**{field: value})


def test_a_stop_string_that_is_a_special_token_ends_a_completion() -> None:
    """Decoding leaves special tokens out, so that the text would never show it."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["h"]})
    engine = BuiltinGenerator(tiny_policy(), tokenizer)
    settings = replace(SAMPLING, stop=("h",))
    rollout = engine.generate(PROMPTS, group_size=16, sampling=settings, seed=5)
    completions = [completion for group in rollout.groups for completion in group.completions]
    h = VOCABULARY.index("h")
    assert any(completion.token_ids[-1] == h for completion in completions), "the case is too easy"
    for completion in completions:
        assert h not in completion.token_ids[:-1]
        assert (completion.stop_reason == "stop") == (completion.token_ids[-1] == h)


@pytest.mark.parametrize(("strict", "warns"), [(True, False), (True, True), (False, False)])
def test_a_draw_is_no_matter_of_deterministic_algorithms(
    strict: bool, warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch refuses running sums on a GPU; what was asked for is so again behind a rollout, also a failed one."""
    seen: list[bool] = []

    def draws(*given: object) -> object:
        seen.append(torch.are_deterministic_algorithms_enabled())
        if len(seen) > 2:
            raise KeyboardInterrupt
        return sample(*given)

    monkeypatch.setattr("grpo_lightning.generation.decoding.sample", draws)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    policy = tiny_policy().train()
    torch.use_deterministic_algorithms(strict, warn_only=warns)
    try:
        with pytest.raises(KeyboardInterrupt):
            BuiltinGenerator(policy, tiny_tokenizer()).generate(
                [prompt("1+1=", 0)], group_size=2, sampling=SamplingConfig(max_tokens=30), seed=0
            )
        assert torch.are_deterministic_algorithms_enabled() == strict
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warns
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    assert seen == [False] * 3
    assert policy.training, "as before, too"
