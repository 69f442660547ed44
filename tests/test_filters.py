"""Which groups and completions train: outcomes, dynamic sampling, mismatch, high-entropy tokens, KL in the reward."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.batching import Sample
from grpo_lightning.checks import check_first_step
from grpo_lightning.collection import Collected, collect
from grpo_lightning.combine import CombineConfig, judged, start_state
from grpo_lightning.filters import FilterConfig, Outcome, outcome, pass_rates
from grpo_lightning.generation import Rollout
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.mismatch import MismatchConfig, accepts, token_weights
from grpo_lightning.objective import EntropyConfig, KLConfig, ObjectiveConfig
from grpo_lightning.parts import Part
from grpo_lightning.preparation import Prepared, Recipe, prepare
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.ranks import Ranks
from grpo_lightning.sources import Generated
from grpo_lightning.tasks import Arithmetic
from grpo_lightning.types import Completion, Group, Prompt, RewardStats, Scores
from tests.test_objective import flat_batch
from tests.tiny import prompt, sample

NAN = math.nan


def test_outcomes_by_hand() -> None:
    found = outcome(np.array([[1, 0], [1, 1], [0, 0], [0.5, 0.5], [NAN, NAN], [1, NAN], [NAN, 0]], dtype=float))
    assert found.mixed.tolist() == [True, False, False, False, False, False, False]
    assert found.all_right.tolist() == [False, True, False, False, False, True, False]
    assert found.all_wrong.tolist() == [False, False, True, True, False, False, True]
    assert found.unscored.tolist() == [False, False, False, False, True, False, False]
    assert pass_rates(np.array([[1, 0], [1, NAN], [NAN, NAN]])).tolist() == [0.5, 1.0, 0.0]


# ----------------------------------------------------------------------------------------------------- dynamic sampling


class Scripted:
    """Groups of two completions whose rewards are read from a script, prompt by prompt."""

    def __init__(self, script: dict[int, tuple[float, float]]) -> None:
        self.script, self.rounds, self.asked, self.added = script, [], [], {}

    def generate(self, prompts: Sequence[Prompt], finished: Callable[[int, Group], None]) -> Rollout:
        """Finishes the last group first."""
        self.rounds.append([p.uid for p in prompts])
        self.added = {}
        answer = Completion(token_ids=(3, 1), sampler_logprobs=(-1.0, -1.0), text="1", stop_reason="eos")
        groups = tuple(Group(prompt=p, completions=(answer, answer)) for p in prompts)
        for place in reversed(range(len(groups))):
            finished(place, groups[place])
        return Rollout(groups=groups, prefill_seconds=1.0, decode_seconds=2.0, truncation_gap=0.5)

    def add(self, place: int, group: Group) -> None:
        self.added[place] = group.prompt.uid

    def scores(self) -> Scores:
        rewards = np.array([self.script[self.added[place]] for place in range(len(self.added))])[:, :, None]
        stats = RewardStats(seconds=1.0, errors=1, latency_p50=float(len(self.rounds)))
        return Scores(names=("answer",), rewards=rewards, stats=(stats,))

    def draw(self, count: int) -> list[Prompt]:
        self.asked.append(count)
        start = sum(map(len, self.rounds))
        return [prompt("1+1=", uid) for uid in range(start, start + count) if uid in self.script]

    def collect(self, first: int, **settings: object) -> Collected:
        return collect(
            [prompt("1+1=", uid) for uid in range(first)],
            config=FilterConfig(**settings),
            judge=lambda scores: scores.rewards[:, :, 0],
            generate=self.generate,
            stream=lambda: nullcontext(self),
            draw=self.draw,
            ranks=Ranks.one(),
        )


MIXED, RIGHT, WRONG = (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)


def test_silent_groups_train_unless_told_otherwise() -> None:
    found = Scripted({0: MIXED, 1: RIGHT, 2: WRONG}).collect(3)
    assert found.train.tolist() == [True, True, True]
    assert found.rounds == 1


def test_silent_groups_are_dropped() -> None:
    engine = Scripted({0: MIXED, 1: RIGHT, 2: WRONG})
    assert engine.collect(3, silent="drop").train.tolist() == [True, False, False]
    assert engine.asked == []


def test_silent_groups_are_refilled_at_the_rate_that_was_seen() -> None:
    """Two of four carry signal, so two missing ones ask for four more; of these three do, one more than needed."""
    engine = Scripted({0: MIXED, 1: RIGHT, 2: WRONG, 3: MIXED, 4: MIXED, 5: RIGHT, 6: MIXED, 7: MIXED})
    found = engine.collect(4, silent="refill")
    assert engine.asked == [4]
    assert found.train.tolist() == [True, False, False, True, True, False, True, False]
    assert found.rounds == 2
    assert len(found.rollout.groups) == len(found.scores.rewards) == 8
    assert (found.rollout.prefill_seconds, found.rollout.truncation_gap) == (2.0, 1.0)
    assert (found.scores.stats[0].errors, found.scores.stats[0].latency_p50) == (2, 2.0)


def test_refilling_is_bounded_in_rounds_and_by_the_data() -> None:
    engine = Scripted(dict.fromkeys(range(100), WRONG))
    found = engine.collect(4, silent="refill", max_rounds=3)
    assert engine.asked == [4, 4], "never more than a step's prompts at once"
    assert found.rounds == 3
    assert not found.train.any()
    few = Scripted({0: WRONG, 1: WRONG, 2: MIXED})
    assert few.collect(2, silent="refill", max_rounds=9).train.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FilterConfig(silent="refill", max_rounds=0), r"filters\.max_rounds: 0 is refused"),
        (lambda: FilterConfig(max_rounds=2), r"filters\.max_rounds: has no effect"),
        (lambda: FilterConfig(reward="b"), r"filters\.reward: has no effect"),
        (lambda: FilterConfig(retire_at=1.5), r"filters\.retire_at: 1\.5 is refused"),
        (
            lambda: FilterConfig(silent="drop", reward="b").judge(["a"], "a"),
            r"filters\.reward: no reward is named 'b'; the names are a",
        ),
        (lambda: MismatchConfig(high=2.0), r"mismatch\.low, mismatch\.high: have no effect"),
        (lambda: MismatchConfig(correction="truncate", low=0.5), r"mismatch\.low: 'truncate' has an upper limit only"),
        (lambda: MismatchConfig(correction="mask", low=3.0, high=2.0), r"\[3\.0, 2\.0\] is refused"),
    ],
)
def test_contradictions_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_groups_that_the_judge_does_not_score_are_judged_by_the_sum() -> None:
    """As with code rows where the accuracy reward is about mathematics."""
    rewards = np.array([[[1.0, NAN], [0.0, NAN]], [[NAN, 0.5], [NAN, 0.25]], [[NAN, NAN], [NAN, NAN]]])
    found = outcome(judged(rewards, 0, np.array([1.0, 2.0])))
    assert found.mixed.tolist() == [True, True, False]
    assert found.unscored.tolist() == [False, False, True]


def data_of(rows: int, first_uid: int = 0) -> PromptDataModule:
    data = PromptDataModule(Generated(task=Arithmetic(), train=1), tokenizer="embedded:arithmetic", prompts_per_step=4)
    data.prompts["train"] = [prompt("1+1=", first_uid + 3 * row) for row in range(rows)]
    return data


def test_retired_prompts_are_not_drawn_whatever_their_uids_are() -> None:
    """Uids are numbers in the source, of which some rows were left out: here every third, from 100."""
    data = data_of(20, first_uid=100)
    solved = [100, 103, 130]
    data.retire(solved)
    seen = [p.uid for k in range(50) for p in [*data.begin_step(k), *data.draw(2)]]
    assert set(seen) == {p.uid for p in data.prompts["train"]} - set(solved)


@pytest.mark.parametrize("unsolved", [4, 5, 6])
def test_a_step_is_full_as_long_as_there_are_prompts(unsolved: int) -> None:
    """Of 11 prompts few are unsolved; the second stream finds them, wherever it stands, and none twice."""
    data = data_of(11)
    data.retire([p.uid for p in data.prompts["train"][unsolved:]])
    for k in range(300):
        uids = [p.uid for p in data.begin_step(k)]
        assert len(uids) == len(set(uids)) == 4
        further = [p.uid for p in data.draw(9)]
        assert sorted(uids + further) == [3 * row for row in range(unsolved)]


def test_a_draw_is_a_share_for_every_rank() -> None:
    class Eight(PromptDataModule):
        world_size, rank = 8, 3

    data = Eight(Generated(task=Arithmetic(), train=1), tokenizer="embedded:arithmetic")
    data.prompts["train"] = [prompt("1+1=", row) for row in range(100)]
    assert len(data.draw(2)) == 1
    assert data.drawn == 8


# ---------------------------------------------------------------------------------------------------------- preparation

LENGTHS = ((2, 4), (1, 3))
"""Tokens of the completions of two groups; their rewards are (1, 0) and (0, 1)."""


def collected(
    logprobs: Sequence[float] = (), truncated: tuple[int, int] | None = None, train: Sequence[bool] = (True, True)
) -> Collected:
    """Ten tokens with log-prob -1 each, or those given, in order."""
    given = iter(logprobs or [-1.0] * 10)
    groups = tuple(
        Group(
            prompt=prompt("1+1=", g),
            completions=tuple(
                Completion(
                    token_ids=(3,) * n,
                    sampler_logprobs=tuple(next(given) for _ in range(n)),
                    text="1",
                    stop_reason="length" if truncated == (g, j) else "eos",
                )
                for j, n in enumerate(lengths)
            ),
        )
        for g, lengths in enumerate(LENGTHS)
    )
    rewards = np.array([[1.0, 0.0], [0.0, 1.0]])[:, :, None]
    nothing = np.zeros(2, dtype=bool)
    return Collected(
        rollout=Rollout(groups=groups, prefill_seconds=0.0, decode_seconds=0.0),
        scores=Scores(names=("answer",), rewards=rewards, stats=(RewardStats(),)),
        outcome=Outcome(mixed=~nothing, all_right=nothing, all_wrong=nothing, unscored=nothing),
        train=np.array(train),
        rounds=1,
        rollout_seconds=0.0,
        reward_seconds=0.0,
    )


def prepared(
    found: Collected,
    *,
    policy: float = -1.0,
    reference: Sequence[float] | None = None,
    entropies: Sequence[float] = (),
    beta: float = 0.0,
    **changes: object,
) -> Prepared:
    """Policy and reference say constant or given log-probs, token by token in the samples' order."""
    settings = {"advantage": AdvantageConfig(scale="none"), "objective": ObjectiveConfig(), "filters": FilterConfig()}
    recipe = Recipe(**(settings | {"mismatch": MismatchConfig(), "combine": CombineConfig()} | changes))
    parts = recipe.all_parts({"answer": Part()})

    def says(values: Sequence[float], entropy: Sequence[float]):
        def forward(samples: Sequence[Sample]) -> list[TokenLogprobs]:
            sizes = [len(s.counted) for s in samples]
            logprobs = torch.tensor(list(values)[: sum(sizes)]).split(sizes)
            uncertain = torch.tensor(list(entropy or [0.0] * 10)[: sum(sizes)]).split(sizes)
            return [TokenLogprobs(logprobs=a, entropy=b) for a, b in zip(logprobs, uncertain, strict=True)]

        return forward

    return prepare(
        found,
        recipe,
        parts=parts,
        state=start_state(parts),
        max_tokens=10,
        beta=beta,
        policy=says([policy] * 10, entropies),
        reference=None if reference is None else says(reference, ()),
        ranks=Ranks.one(),
    )


def places(batch: Prepared) -> list[tuple[int, int]]:
    return [(s.group, s.sample) for s in batch.samples]


def test_everything_trains_by_default() -> None:
    """Advantages +-0.5 at every token; group 0 has 2 + 4 tokens, group 1 has 1 + 3."""
    batch = prepared(collected())
    assert places(batch) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [s.advantages.tolist() for s in batch.samples] == [[0.5] * 2, [-0.5] * 4, [-0.5], [0.5] * 3]
    assert [s.group_tokens for s in batch.samples] == [6, 6, 4, 4]
    assert all(s.weights is None and s.proximal_logprobs is None for s in batch.samples)
    assert batch.masked == {"no_logprob": (0.0, 10.0)}


def test_a_truncated_completion_leaves_loss_and_baseline() -> None:
    """Without the second completion of group 0 the first has nobody to be compared with."""
    batch = prepared(collected(truncated=(0, 1)), filters=FilterConfig(truncated="drop"))
    assert places(batch) == [(0, 0), (1, 0), (1, 1)]
    assert batch.advantages.tolist() == [[0, 0], [-0.5, 0.5]]
    assert batch.samples[0].group_tokens == 2
    assert batch.masked["truncated"] == (4.0, 10.0)
    assert places(prepared(collected(truncated=(0, 1)))) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_dropped_group_is_not_there() -> None:
    batch = prepared(collected(train=(False, True)))
    assert places(batch) == [(1, 0), (1, 1)]
    assert np.isnan(batch.rewards[0]).all()


def test_tokens_without_a_log_prob_leave_numerator_and_denominator() -> None:
    """Token 1 of the first completion is -inf, the one of the third NaN: that completion is gone altogether."""
    logprobs = [-1.0, -math.inf, -1, -1, -1, -1, NAN, -1, -1, -1]
    batch = prepared(collected(logprobs))
    assert places(batch) == [(0, 0), (0, 1), (1, 1)]
    assert [s.counted.tolist() for s in batch.samples] == [[0], [0, 1, 2, 3], [0, 1, 2]]
    assert [s.group_tokens for s in batch.samples] == [5, 5, 3]
    assert batch.masked["no_logprob"] == (2.0, 10.0)
    assert flat_batch(batch.samples[:1]).predictors.tolist() == [3], "the last of the four of the prompt"


def test_mismatch_weights_by_hand() -> None:
    """w = e^-1 / e^-x: for sampler log-probs -1 - log 3, -1 + log 4, -1: 3, 1/4, 1."""
    sampler = torch.tensor([-1 - math.log(3), -1 + math.log(4), -1.0])
    policy = torch.full((3,), -1.0)
    truncate, mask = MismatchConfig(correction="truncate"), MismatchConfig(correction="mask")
    assert token_weights(truncate, policy, sampler).tolist() == pytest.approx([2, 0.25, 1])
    assert token_weights(mask, policy, sampler).tolist() == pytest.approx([3, 0, 1], rel=1e-6)
    tight = MismatchConfig(correction="mask", high=2.0)
    assert token_weights(tight, policy, sampler).tolist() == pytest.approx([0, 0, 1])


@pytest.mark.parametrize(
    ("gap", "fine"), [(0.0, True), (0.0099, True), (0.0101, False), (-0.0099, True), (-0.012, False)]
)
def test_a_sequence_is_judged_by_its_geometric_mean(gap: float, fine: bool) -> None:
    """log 1.01 = 0.00995 and log 0.99 = -0.01005; however long, and whatever single tokens do."""
    policy = torch.full((100,), -1.0, dtype=torch.float64)
    wild = torch.where(torch.arange(100) % 2 == 0, 0.5, -0.5).double()
    assert accepts(MismatchConfig(correction="sequence"), policy, policy - gap + wild) == fine


def test_a_rejected_sequence_leaves_its_groups_baseline() -> None:
    """The policy gives -1, the engine gave the third completion -2: w = e, outside [0.99, 1.01]."""
    batch = prepared(collected([-1.0] * 6 + [-2.0] + [-1.0] * 3), mismatch=MismatchConfig(correction="sequence"))
    assert places(batch) == [(0, 0), (0, 1), (1, 1)]
    assert batch.advantages.tolist() == [[0.5, -0.5], [0, 0]]
    assert batch.masked["mismatch"] == (1.0, 10.0)
    assert batch.samples[0].proximal_logprobs.tolist() == [-1.0, -1.0], "the ratio is to the policy, not the engine"


def test_masked_tokens_are_counted() -> None:
    batch = prepared(collected([-1.0] * 9 + [-9.0]), mismatch=MismatchConfig(correction="mask"))
    assert batch.samples[-1].weights.tolist() == [1, 1, 0]
    assert batch.masked["mismatch"] == (1.0, 10.0)


def test_only_the_most_uncertain_tokens_train() -> None:
    """Entropies 0.1 .. 1.0 of ten tokens, the top 0.2: those at or above the quantile 0.8, which is 0.82: two."""
    objective = ObjectiveConfig(entropy=EntropyConfig(top_share=0.2))
    batch = prepared(collected(), entropies=[0.1 * (i + 1) for i in range(10)], objective=objective)
    assert [s.weights.tolist() for s in batch.samples] == [[0, 0], [0, 0, 0, 0], [0], [0, 1, 1]]
    assert batch.masked["low_entropy"] == (8.0, 10.0)
    assert all(s.proximal_logprobs is None for s in batch.samples), "no mismatch is corrected"


def test_kl_in_the_reward_moves_no_baseline() -> None:
    """KL_t = log pi - log pi_ref = -1 + 1.5 = 0.5 at half of the tokens and 0 at others: A_t + 0.1 (0.25 - KL_t)."""
    objective = ObjectiveConfig(kl=KLConfig(beta=0.1, estimator="k1", place="reward"))
    batch = prepared(collected(), reference=[-1.5, -1.0] * 5, beta=0.1, objective=objective)
    assert batch.samples[0].advantages.tolist() == pytest.approx([0.5 - 0.025, 0.5 + 0.025])
    change = torch.cat([s.advantages for s in batch.samples]).sum() - (2 * 0.5 - 4 * 0.5 - 0.5 + 3 * 0.5)
    assert float(change) == pytest.approx(0.0, abs=1e-6)


def test_the_reference_is_for_the_loss() -> None:
    batch = prepared(collected(), reference=[-1.5] * 10, objective=ObjectiveConfig(kl=KLConfig(beta=0.1)))
    assert batch.samples[0].reference_logprobs.tolist() == [-1.5, -1.5]
    assert batch.samples[0].advantages.tolist() == [0.5, 0.5]


def test_long_completions_are_punished() -> None:
    """L_max 10, share 0.8: from 2 tokens on 1/8 for each more: 0, -0.25 | 0, -0.125."""
    batch = prepared(collected(), advantage=AdvantageConfig(scale="none", overlong_share=0.8))
    assert batch.rewards.tolist() == [[1, -0.25], [0, 0.875]]


def test_a_recipe_refuses_what_contradicts_the_rest() -> None:
    plain = {"objective": ObjectiveConfig(), "filters": FilterConfig(), "mismatch": MismatchConfig()}
    plain["combine"] = CombineConfig()
    with pytest.raises(ValueError, match=r"advantage\.keep: 9 is more than the 8 of group_size"):
        Recipe(advantage=AdvantageConfig(keep=9), **plain).check(8, single_update=True)
    reinforce = Recipe(advantage=AdvantageConfig(), **(plain | {"objective": ObjectiveConfig(loss="reinforce")}))
    reinforce.check(8, single_update=True)
    with pytest.raises(ValueError, match=r"objective\.loss: 'reinforce' looks at no ratio"):
        reinforce.check(8, single_update=False)


# ---------------------------------------------------------------------------------------------------- first-step checks


@pytest.mark.parametrize(
    ("policy", "sampler", "reference", "exact", "message"),
    [
        (-1.0, -1.00001, -1.0, True, None),
        (-1.0, -1.001, -1.0, False, None),
        (-1.0, -1.001, -1.0, True, "policy and sampler differ by 0.001 in log-prob"),
        (-1.0, -1.0, -1.001, True, "policy and reference differ by 0.001 in log-prob"),
        (-1.0, -1.1, -1.0, False, "policy and sampler differ by 0.1"),
        (NAN, -1.0, -1.0, False, "log-probs that are not finite"),
        (-1.0, -1.0, NAN, False, "policy and reference differ by nan"),
    ],
)
def test_the_first_step_is_checked(
    policy: float, sampler: float, reference: float, exact: bool, message: str | None
) -> None:
    three = torch.ones(3)
    batch = flat_batch(
        [sample((2,), (3, 4, 5), sampler_logprobs=sampler * three, reference_logprobs=reference * three)]
    )
    told = TokenLogprobs(logprobs=policy * three, entropy=three)
    if message is None:
        check_first_step(told, batch, exact=exact)
    else:
        with pytest.raises(RuntimeError, match=message):
            check_first_step(told, batch, exact=exact)


def test_a_corrected_mismatch_passes_the_first_check() -> None:
    corrected = replace(
        sample((2,), (3,), sampler_logprobs=torch.tensor([-9.0])), proximal_logprobs=torch.tensor([-1.0])
    )
    check_first_step(
        TokenLogprobs(logprobs=torch.tensor([-1.0]), entropy=torch.ones(1)), flat_batch([corrected]), exact=True
    )
