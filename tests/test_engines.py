"""Every engine against the built-in one: the same tokens, log-probs, texts and hand-overs for the same seeds."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from transformers import PreTrainedModel

from grpo_lightning.attention import takes_plans
from grpo_lightning.batching import samples_of
from grpo_lightning.cli import main
from grpo_lightning.generation import (
    Builtin,
    Engine,
    Generator,
    Rollout,
    SamplingConfig,
    TransformersContinuousBatching,
    VLLMColocated,
    VLLMServer,
)
from grpo_lightning.generation.weights import checkpoint_weights, full_weights
from grpo_lightning.logprobs import sample_logprobs
from grpo_lightning.ranks import Ranks
from grpo_lightning.seeding import seed_of
from grpo_lightning.types import Completion, Group, Prompt
from tests.fake_vllm_server import FakeVLLM, serving
from tests.fakes import tiny_data, tiny_module, tiny_trainer
from tests.tiny import prompt, tiny_folder, tiny_policy, tiny_tokenizer

ROOT = Path(__file__).parent.parent
PROMPTS = [prompt("12+34=", 0), prompt("1+1=", 1), prompt("123-45=", 2), prompt("abc?", 3), prompt("7=", 4)]
SAMPLING = SamplingConfig(max_tokens=12)
CASES = {
    "plain": {},
    "cold": {"temperature": 0.7},
    "greedy": {"temperature": 0.0},
    "top": {"top_k": 5, "top_p": 0.9, "min_p": 0.01},
    "stop strings": {"stop": ("+", "h1")},
    "stop tokens": {"stop_token_ids": (13,)},
    "one row": {"max_rows": 1},
}


def started(engine: Engine, sampling: SamplingConfig = SAMPLING, family: str = "qwen3") -> Generator:
    generator = engine.start(tiny_policy(family), tiny_tokenizer(), sampling=sampling, ranks=Ranks.one())
    generator.use_weights(0)
    return generator


def completions(rollout: Rollout) -> list[Completion]:
    return [completion for group in rollout.groups for completion in group.completions]


def same(found: Rollout, expected: Rollout, tolerance: float = 1e-5) -> None:
    assert [group.prompt for group in found.groups] == [group.prompt for group in expected.groups]
    for own, other in zip(completions(found), completions(expected), strict=True):
        assert replace(own, sampler_logprobs=()) == replace(other, sampler_logprobs=())
        assert list(own.sampler_logprobs) == pytest.approx(list(other.sampler_logprobs), abs=tolerance)


SMALL_CACHE = TransformersContinuousBatching(page_size=16, num_blocks=4, max_batch_tokens=64)


@pytest.mark.parametrize("engine", [TransformersContinuousBatching(page_size=16), SMALL_CACHE])
@pytest.mark.parametrize("case", CASES)
def test_continuous_batching_is_the_built_in_engine(engine: Engine, case: str) -> None:
    """Also where the cache is too small for all, so that requests are thrown out and begin again."""
    sampling, given = replace(SAMPLING, **CASES[case]), list[tuple[int, Group]]()
    generator = started(engine, sampling)
    arguments = {"group_size": 1 if case == "greedy" else 4, "sampling": sampling, "seed": 5, "prefix": "+3"}
    found = generator.generate(PROMPTS, finished=lambda place, group: given.append((place, group)), **arguments)
    expected = started(Builtin(), sampling).generate(PROMPTS, **arguments)
    same(found, expected)
    assert found.truncation_gap == pytest.approx(expected.truncation_gap, abs=1e-3)
    assert sorted(place for place, _ in given) == list(range(len(PROMPTS)))
    assert all(group is found.groups[place] for place, group in given)
    assert generator.policy.training
    assert takes_plans(generator.policy)


# ------------------------------------------------------------------------------------------------------ vLLM as servers


@contextmanager
def server_engine(folder: Path, *, servers: int = 1, **settings: object) -> Iterator[tuple[VLLMServer, list[FakeVLLM]]]:
    """Servers with other weights than the policy's: only what is sent makes them agree."""
    with ExitStack() as stack:
        running = [stack.enter_context(serving(tiny_policy(seed=9), tiny_tokenizer())) for _ in range(servers)]
        quick = {"timeout": 30.0, "retries": 2, "backoff": 0.01} | settings
        yield (
            VLLMServer(urls=tuple(url for url, _ in running), folder=str(folder / "weights"), **quick),
            [fake for _, fake in running],
        )


def by_request_seeds(prompts: Sequence[Prompt], count: int, sampling: SamplingConfig, seed: int) -> Rollout:
    """The built-in engine, each sample by itself, from the stream that the request for it names: seed + j."""
    generator = started(Builtin(), sampling)
    groups = []
    for p in prompts:
        base = seed_of("vllm", seed, p.uid) >> 1
        drawn = [
            generator.generate([replace(p, uid=0)], group_size=1, sampling=sampling, seed=base + j, prefix="+3")
            for j in range(count)
        ]
        groups.append(Group(prompt=p, completions=tuple(rollout.groups[0].completions[0] for rollout in drawn)))
    return Rollout(groups=tuple(groups), prefill_seconds=0.0, decode_seconds=0.0)


@pytest.mark.parametrize("case", CASES)
def test_servers_give_what_their_seeds_say(tmp_path: Path, case: str) -> None:
    """Tokens, texts, stop reasons and log-probs as the built-in engine's; greedy groups are one request's copies."""
    sampling, given = replace(SAMPLING, **CASES[case]), list[tuple[int, Group]]()
    with server_engine(tmp_path, servers=2) as (engine, fakes):
        for fake in fakes:
            fake.mode = "processed_logprobs" if case == "cold" else "raw_logprobs"
        if case == "top":
            engine.check(sampling)
        found = started(engine, sampling).generate(
            PROMPTS,
            group_size=3,
            sampling=sampling,
            seed=5,
            prefix="+3",
            finished=lambda place, group: given.append((place, group)),
        )
    same(found, by_request_seeds(PROMPTS, 3, sampling, 5))
    assert sorted(place for place, _ in given) == list(range(len(PROMPTS)))
    assert all(group is found.groups[place] for place, group in given)
    assert [len(fake.seeds) for fake in fakes] == [3, 2]
    assert max(seed for fake in fakes for seed in fake.seeds) < 2**62
    assert math.isnan(found.truncation_gap) == sampling.truncates


def gap(policy: PreTrainedModel, rollout: Rollout) -> float:
    """Largest difference between the engine's log-probs and the policy's own."""
    samples = samples_of(rollout.groups, np.ones((len(rollout.groups), len(rollout.groups[0].completions)), dtype=bool))
    told = sample_logprobs(policy, samples, temperature=1.0, max_tokens=100, layout="padded")
    return max(float((t.logprobs - s.sampler_logprobs).abs().max()) for t, s in zip(told, samples, strict=True))


def test_new_weights_reach_the_servers_and_old_ones_are_not_sent_again(tmp_path: Path) -> None:
    """By optimizer steps, and by loading a checkpoint without any."""
    with server_engine(tmp_path, servers=2) as (engine, fakes):
        generator = started(engine)
        policy = generator.policy

        def rollout() -> Rollout:
            return generator.generate(PROMPTS, group_size=2, sampling=SAMPLING, seed=5)

        before = rollout()
        assert gap(policy, before) < 1e-5
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)
        policy(torch.tensor([PROMPTS[0].token_ids])).logits.square().mean().backward()
        optimizer.step()
        assert gap(policy, rollout()) > 0.01, "the step is too small to show"
        assert completions(rollout()) == completions(before)
        for _ in range(2):
            generator.use_weights(1)
        assert gap(policy, rollout()) < 1e-5
        policy.load_state_dict(tiny_policy(seed=3).state_dict())
        generator.use_weights(1)
        assert gap(policy, rollout()) < 1e-5
        update = ["/pause?mode=wait", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/resume"]
        for fake in fakes:
            assert [call for call in fake.calls if call != "/v1/completions"] == update * 3
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize("fault", ["crash", "busy", "slow", "drop", "garbage", "list"])
def test_what_may_pass_is_tried_again_and_changes_nothing(tmp_path: Path, fault: str) -> None:
    with server_engine(tmp_path, timeout=0.5) as (engine, [fake]):
        generator = started(engine)
        expected = generator.generate(PROMPTS[:2], group_size=2, sampling=SAMPLING, seed=5)
        fake.faults = [fault, fault]
        same(generator.generate(PROMPTS[:2], group_size=2, sampling=SAMPLING, seed=5), expected)
        assert fake.faults == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("crash", r"/v1/completions gave no answer in 3 tries: HTTP 500: EngineCore died"),
        ("slow", r"/v1/completions gave no answer in 3 tries: TimeoutError: timed out"),
        ("drop", r"/v1/completions gave no answer in 3 tries: RemoteDisconnected: "),
        ("garbage", r"/v1/completions gave no answer in 3 tries: the answer is not a JSON object: Expecting value"),
        ("list", r"/v1/completions gave no answer in 3 tries: the answer is not a JSON object: a list came"),
        ("refuse", r"/v1/completions answered HTTP 400: This model's maximum context is 16 tokens"),
        ("no logprobs", r"/v1/completions, prompt 0: the answer has no token_ids, or no logprobs"),
        ("no token ids", r"/v1/completions, prompt 0: the answer has no token_ids, or no logprobs"),
        ("few logprobs", r"/v1/completions, prompt 0: 4 tokens came with 3 log-probs"),
        ("few tokens", r"/v1/completions, prompt 0: a completion ended after 3 of sampling.max_tokens 12 tokens"),
        ("few choices", r"/v1/completions, prompt 0: 3 choices came instead of 4 in order"),
        ("restarted", r"/v1/completions, prompt 0: drawn by the weights default instead of 0-\w{8}, .* restarted"),
        ("aborted", r"/v1/completions, prompt 0: a completion ended by 'abort'"),
        ("no number", r"/v1/completions, prompt 0: the log-prob 'x' is no number"),
    ],
)
def test_what_does_not_pass_ends_in_one_line_with_the_url(tmp_path: Path, fault: str, message: str) -> None:
    with server_engine(tmp_path, timeout=0.5) as (engine, [fake]):
        generator = started(engine)
        fake.faults = [fault] * 3
        with pytest.raises(RuntimeError, match=rf"^engine: {engine.urls[0]}{message}") as caught:
            generator.generate(PROMPTS[:1], group_size=4, sampling=SAMPLING, seed=5)
        assert "\n" not in str(caught.value)


def test_another_server_takes_over_but_does_not_outlive_an_update(tmp_path: Path) -> None:
    """Requests go to the server that is left; new weights must reach every one."""
    with server_engine(tmp_path) as (engine, [fake]):
        with serving(tiny_policy(seed=9), tiny_tokenizer()) as (url, other):
            both = replace(engine, urls=(url, *engine.urls))
            generator = started(both)
            expected = generator.generate(PROMPTS, group_size=2, sampling=SAMPLING, seed=5)
            assert [len(other.seeds), len(fake.seeds)] == [3, 2]
        same(generator.generate(PROMPTS, group_size=2, sampling=SAMPLING, seed=5), expected)
        with pytest.raises(RuntimeError, match=rf"{url}/pause\?mode=wait gave no answer in 3 tries: .*refused"):
            generator.use_weights(1)


def test_what_takes_a_group_may_end_the_requests(tmp_path: Path) -> None:
    def refuse(place: int, group: Group) -> None:
        raise KeyError("enough")

    with server_engine(tmp_path) as (engine, [fake]):
        generator = started(engine)
        with pytest.raises(KeyError, match="enough"):
            generator.generate(PROMPTS, group_size=2, sampling=replace(SAMPLING, max_rows=1), seed=0, finished=refuse)
        assert len(fake.seeds) < len(PROMPTS)


def test_a_server_that_cannot_keep_the_contract_is_refused_at_start(tmp_path: Path) -> None:
    with server_engine(tmp_path) as (engine, [fake]):
        with pytest.raises(ValueError, match=r"gives raw_logprobs; .* --logprobs-mode processed_logprobs"):
            started(engine, replace(SAMPLING, temperature=0.7))
        fake.mode = "processed_logprobs"
        with pytest.raises(ValueError, match=r"gives processed_logprobs; .* --logprobs-mode raw_logprobs"):
            started(engine, replace(SAMPLING, top_k=5))
        started(engine, replace(SAMPLING, temperature=0.7))
        fake.dev_mode = False
        with pytest.raises(ValueError, match=rf"start the server at {engine.urls[0]} with VLLM_SERVER_DEV_MODE=1"):
            started(engine)
        fake.version = "0.9.1"
        with pytest.raises(ValueError, match=rf"{engine.urls[0]} runs vLLM 0.9.1; at least 0.33 is needed"):
            started(engine)


def test_an_unwritable_folder_and_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    with server_engine(tmp_path) as (engine, [fake]):
        with pytest.raises(RuntimeError, match=r"engine.folder: the weights cannot be written to .*file/0-\w{8}: "):
            started(replace(engine, folder=str(tmp_path / "file")))
        started(engine)
        assert set(fake.keys) == {"Bearer secret"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"urls": ()}, r"engine.urls: \[\] is refused"),
        ({"urls": ("127.0.0.1:8000",)}, r"engine.urls: \['127.0.0.1:8000'\] is refused"),
        ({"urls": ("http://a:1", "http://a:1/")}, r"engine.urls: .* different addresses"),
        ({"folder": None}, "engine.weights: 'folder' needs engine.folder"),
        ({"weights": "nccl"}, "engine.weights: 'nccl' has no use for engine.folder"),
        ({"timeout": 0.0}, "engine.timeout, retries, backoff: 0.0, 5, 1.0 is refused"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VLLMServer(**({"urls": ("http://a:1",), "folder": "weights"} | settings))


@pytest.mark.parametrize("engine", [VLLMServer(urls=("http://a:1",), folder="weights"), VLLMColocated()])
def test_truncated_sampling_at_another_temperature_is_refused_before_anything_starts(engine: Engine) -> None:
    """vLLM's raw log-probs are at temperature 1, its processed ones truncated."""
    with pytest.raises(ValueError, match=r"sampling.temperature: vLLM gives no log-probs at temperature 0.7 before"):
        engine.check(SamplingConfig(temperature=0.7, top_p=0.9))
    with pytest.raises(ValueError, match=r"sampling.repetition_penalty: 1.2 is not known to"):
        TransformersContinuousBatching().check(SamplingConfig(repetition_penalty=1.2))


# ------------------------------------------------------------------------------------------------- vLLM in this process


def test_vllm_in_the_process_sleeps_and_wakes_around_each_generation() -> None:
    """By the stand-in package: the same completions as its request seeds say, and what was called in which order."""
    environment = os.environ | {"PYTHONPATH": str(Path("tests") / "fake_vllm_package")}
    command = [sys.executable, "-m", "tests.colocated"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["gap"] < 1e-5
    broken = ["wake weights kv_cache", "enqueue", "abort", "sleep", "refused"]
    assert told["calls"] == [*broken, "wake weights", "reload", "reset", "wake kv_cache", "enqueue", "sleep"]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_a_missing_vllm_is_said_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"VLLMColocated needs vLLM: pip install 'grpo-lightning\[vllm\]' \(No module"):
        started(VLLMColocated())
    with (
        serving(tiny_policy(), tiny_tokenizer()) as (url, _),
        pytest.raises(ValueError, match=r"engine.weights: 'nccl' needs vLLM here: pip install .*'folder' does not"),
    ):
        started(VLLMServer(urls=(url,), weights="nccl"))


# ----------------------------------------------------------------------------------------------------------- whole runs


class Noted(Callback):
    """Metrics of each training step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def trained(folder: Path, engine: Engine | None) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Two rollouts of four optimizer steps each, and a validation behind each of them."""
    noted = Noted()
    module = tiny_module(folder, engine=engine)
    trainer = tiny_trainer(folder, noted, max_steps=8, max_epochs=-1, val_check_interval=1)
    trainer.fit(module, datamodule=tiny_data(folder))
    return module.model.state_dict(), noted.steps


def test_a_run_with_continuous_batching_is_the_built_in_run(tmp_path: Path) -> None:
    """To rounding, because logits are computed in other shapes."""
    weights, steps = trained(tmp_path / "a", None)
    found, found_steps = trained(tmp_path / "b", TransformersContinuousBatching(page_size=16))
    for name, value in weights.items():
        assert torch.allclose(found[name], value, atol=1e-5), name
    for name in ("reward", "completion/tokens", "update/entropy"):
        assert [step[name] for step in found_steps] == pytest.approx([step[name] for step in steps], abs=1e-4), name


def test_a_run_by_a_server_is_on_policy_at_each_rollout(tmp_path: Path) -> None:
    """The server begins with other weights, and gets new ones before each rollout and validation: 0, 4 and 8 steps.

    With the server's weights as they were at the beginning the second rollout would be off by what training changed.
    """
    tiny_folder(tmp_path / "tiny")
    with server_engine(tmp_path) as (engine, [fake]):
        _, steps = trained(tmp_path, engine)
    assert len(steps) == 2
    for step in steps:
        assert step["sampler/kl"] < 1e-8
        assert step["sampler/gap_max"] < 1e-4
        assert step["update/kl_to_sampler"] > 1e-5, "the updates are too small to show"
    assert fake.calls.count("/collective_rpc") == 3
    assert fake.weight_version.startswith("8-")


def test_an_engine_of_other_weights_is_seen_and_refused(tmp_path: Path) -> None:
    """A server that pretends to load: the first step is refused; without that check the metrics say it."""
    tiny_folder(tmp_path / "tiny")
    with server_engine(tmp_path) as (engine, [fake]):
        fake.reload = lambda body: (200, {"results": [None]})
        with pytest.raises(
            RuntimeError, match=r"first step: policy and sampler differ by .* model.mismatch.correction"
        ):
            trained(tmp_path, engine)
        noted = Noted()
        module = tiny_module(tmp_path, engine=engine, first_step_checks=False)
        tiny_trainer(tmp_path, noted, max_steps=4, max_epochs=-1).fit(module, datamodule=tiny_data(tmp_path))
    assert noted.steps[0]["sampler/kl"] > 0.1
    assert noted.steps[0]["sampler/gap_max"] > noted.steps[0]["sampler/gap"] > 0.1


@pytest.mark.parametrize("layout", ["whole", "sharded"])
def test_one_of_two_ranks_sends_what_both_gather(tmp_path: Path, layout: str) -> None:
    """Twice: at the beginning, and after the optimizer step; then both ranks learn that the server is gone."""
    with serving(tiny_policy(seed=9), tiny_tokenizer()) as (url, fake):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        command = [*torchrun, "-m", "tests.engine_ranks", url, str(tmp_path / "weights"), layout]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("refused") == 2
    assert fake.calls.count("/collective_rpc") == 2
    assert len(set(fake.seeds)) == len(fake.seeds) == 2


def test_a_config_names_the_engine_by_its_class(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its bare name too; a wrong setting is named."""
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    words = ["fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--print_config"]
    named = ["--model.engine", "VLLMServer", "--model.engine.urls", "[http://a:1]"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, *named, "--model.engine.folder", "weights"])
    engine = yaml.safe_load(capsys.readouterr().out)["model"]["engine"]
    assert engine["class_path"] == "grpo_lightning.generation.VLLMServer"
    assert (engine["init_args"]["urls"], engine["init_args"]["folder"]) == (["http://a:1"], "weights")
    with pytest.raises(SystemExit, match="'foldr' is not accepted"):
        main([*words, *named, "--model.engine.foldr", "weights"])


def test_adapters_are_refused_where_they_would_be_lost() -> None:
    policy = tiny_policy()
    policy.model.layers[0].mlp.up_proj.lora_A = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="knows no adapters"):
        dict(full_weights(policy))


def test_weights_are_those_of_a_checkpoint_and_tied_ones_are_there_once() -> None:
    """qwen3 ties its head to its embeddings, llama does not."""
    for family, tied in (("qwen3", 1), ("llama", 0)):
        policy = tiny_policy(family)
        found = checkpoint_weights(policy, keep=True)
        assert len(found) == len(policy.state_dict()) - tied
        assert all(torch.equal(value, policy.state_dict()[name]) for name, value in found.items())
        assert checkpoint_weights(policy, keep=False) == {}
