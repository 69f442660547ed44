"""The cache of a GPU, with a stand-in for its kernel and for its graphs: the same tokens, and few recordings."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedModel

from grpo_lightning.attention import take_plans
from grpo_lightning.generation import BuiltinGenerator, Rollout, SamplingConfig, engine, recorder
from grpo_lightning.generation.lean import LeanPolicy, lean
from grpo_lightning.generation.shared_cache import SharedCache
from grpo_lightning.seeding import seeded
from grpo_lightning.types import Completion
from tests import recording
from tests.tiny import SHAPE, prompt, tiny_policy, tiny_tokenizer

TEXTS = ["12+34=", "1+1=", "123-45=6789+0", "abc?", "7=", "12+3", "a b c d e f g h=", "0"]
PROMPTS = [prompt(text, uid) for uid, text in enumerate(TEXTS)]
MODULES = ("grpo_lightning.generation.flash_decoding", "grpo_lightning.generation.graphed_cache")


@pytest.fixture
def graphed(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SharedCache]]:
    """`GraphedCache` on a CPU."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, MODULES[0], SimpleNamespace(attend=recording.attend))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=4), raising=True
    )
    monkeypatch.setattr("grpo_lightning.generation.recorder.Recording", recording.FakeRecording)
    monkeypatch.setattr(recording.FakeRecording, "pools", [])
    from grpo_lightning.generation.graphed_cache import GraphedCache

    monkeypatch.setattr(GraphedCache, "growth", 5)
    yield GraphedCache
    for name in MODULES:
        sys.modules.pop(name, None)


def generate(policy: PreTrainedModel, **sampling: object) -> Rollout:
    settings = SamplingConfig(**({"max_tokens": 17} | sampling))
    return BuiltinGenerator(policy, tiny_tokenizer()).generate(PROMPTS, group_size=3, sampling=settings, seed=5)


def completions(rollout: Rollout) -> list[Completion]:
    return [completion for group in rollout.groups for completion in group.completions]


def windowed() -> PreTrainedModel:
    with seeded("windows", "mistral"):
        policy = AutoModelForCausalLM.from_config(MistralConfig(**SHAPE, sliding_window=5), attn_implementation="sdpa")
    take_plans(policy)
    return policy


@pytest.mark.parametrize("family", ["qwen3", "llama", "windowed"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_rows": 7},
        {"max_rows": 12},
        {"repetition_penalty": 1.3, "top_k": 8},
        {"temperature": 0.7, "top_p": 0.9, "min_p": 0.01},
        {"temperature": 0.0},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_tokens_and_logprobs_are_those_of_the_shared_cache(
    family: str, settings: dict[str, object], graphed: type[SharedCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = windowed() if family == "windowed" else tiny_policy(family)
    expected = generate(policy, **settings)
    monkeypatch.setattr(engine, "_cache_of", graphed)
    found = generate(policy, **settings)
    assert recording.FakeRecording.pools
    for one, other in zip(completions(found), completions(expected), strict=True):
        assert one.token_ids == other.token_ids
        assert one.sampler_logprobs == pytest.approx(other.sampler_logprobs, abs=1e-4)
    assert found.truncation_gap == pytest.approx(expected.truncation_gap, abs=1e-3)


def test_only_a_change_of_rows_or_room_makes_another_recording(
    graphed: type[SharedCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row ends by itself, so only room is made: for 5 tokens, 10, 15, 17. The first token comes from the prompts,
    so 16 steps follow: five in each of three rooms, of which all but the first are one recording, and one in the last.
    """
    monkeypatch.setattr(engine, "_cache_of", graphed)
    monkeypatch.setattr("grpo_lightning.generation.completions.end_token_ids", lambda *_: {10**6})
    found = generate(tiny_policy("qwen3"))
    assert {len(completion.token_ids) for completion in completions(found)} == {17}
    assert recording.FakeRecording.pools == [None, 1, 2], "each takes over the memory of the one before"


def test_a_recording_without_room_is_made_again_when_torch_has_given_back_what_it_kept(
    graphed: type[SharedCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a step was recorded, and none of it done: the tokens are those of the shared cache all the same."""
    expected = generate(tiny_policy("qwen3"))
    full = True

    class Crowded(recording.FakeRecording):
        def __init__(self, work: recorder.Work, argument: torch.Tensor, pool: object) -> None:
            super().__init__(work, argument, pool)
            if full:
                raise torch.OutOfMemoryError

    def give_back() -> None:
        nonlocal full
        full = False

    monkeypatch.setattr(recorder, "Recording", Crowded)
    monkeypatch.setattr(torch.cuda, "empty_cache", give_back)
    monkeypatch.setattr(engine, "_cache_of", graphed)
    found = generate(tiny_policy("qwen3"))
    assert not full
    assert [one.token_ids for one in completions(found)] == [one.token_ids for one in completions(expected)]


def test_where_recordings_fail_steps_are_made_as_they_are(
    graphed: type[SharedCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the driver has against them; said once."""
    expected = generate(tiny_policy("qwen3"))

    class Refused(recording.FakeRecording):
        def __init__(self, work: recorder.Work, argument: torch.Tensor, pool: object) -> None:
            super().__init__(work, argument, pool)
            raise RuntimeError("operation not permitted\nwhen a stream is capturing")

    monkeypatch.setattr(recorder, "Recording", Refused)
    monkeypatch.setattr(engine, "_cache_of", graphed)
    with pytest.warns(UserWarning, match=r"one by one, not as CUDA graphs: operation not permitted$") as said:
        found = generate(tiny_policy("qwen3"))
    assert len(said) == 1
    assert len(recording.FakeRecording.pools) == 1
    assert [one.token_ids for one in completions(found)] == [one.token_ids for one in completions(expected)]


def test_what_goes_wrong_in_a_recording_is_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt() -> None:
        raise RuntimeError("capture was invalidated")

    def wrong(argument: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise ValueError("this")

    stream = SimpleNamespace(device=torch.device("cuda", 0), wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(recorder, "_aside", lambda *_: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda aside: nullcontext())
    graph = SimpleNamespace(capture_begin=lambda **_: None, capture_end=spoilt)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    with pytest.raises(ValueError, match="this"):
        recorder.Recording(wrong, torch.ones(2), None)


def test_all_recordings_are_made_on_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuBLAS keeps memory for each stream that it meets, until the process ends."""
    device = torch.device("cuda", 0)
    made: list[object] = []

    class Stream(torch.cuda.Stream):
        def __new__(cls, device: torch.device) -> "Stream":
            made.append(object.__new__(cls))
            return made[-1]

        def __init__(self, device: torch.device) -> None:
            self.device = device

        def wait_stream(self, other: object) -> None:
            """There is nothing to wait for."""

    current = SimpleNamespace(device=device, wait_stream=lambda other: None)
    graph = SimpleNamespace(capture_begin=lambda **_: None, capture_end=lambda: None, pool=lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda aside: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    for _ in range(3):
        assert recorder.Recording(lambda x: (2 * x,), torch.ones(2), None).results[0].tolist() == [2, 2]
    assert len(made) == 1
    recorder._aside.cache_clear()


def test_a_recording_sees_what_changes_on_the_device_and_nothing_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in itself: adds 1, which is on the device, and 10, which the host says."""
    monkeypatch.setattr(recording.FakeRecording, "pools", [])
    state, host = torch.zeros(2), {"ten": 10}

    def work(argument: torch.Tensor) -> tuple[torch.Tensor, ...]:
        state.add_(1)
        return (argument + state + host["ten"],)

    recorded = recording.FakeRecording(work, torch.zeros(2), None)
    assert state.tolist() == [0, 0], "nothing is done while recording"
    host["ten"] = 1000
    assert recorded(torch.ones(2))[0].tolist() == [12, 12]
    assert recorded(torch.ones(2))[0].tolist() == [13, 13]

    def reads(argument: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (argument + int(argument[0]),)

    with pytest.raises(AssertionError, match="reads from the device"):
        recording.FakeRecording(reads, torch.zeros(2), 1)


@pytest.mark.parametrize(
    ("device", "rope", "name"),
    [
        ("cpu", "default", "SharedCache"),
        ("cuda", "default", "GraphedCache"),
        ("cuda", "llama3", "GraphedCache"),
        ("cuda", "dynamic", "SharedCache"),
        ("cuda", "longrope", "SharedCache"),
    ],
)
def test_which_cache_it_is(
    device: str, rope: str, name: str, graphed: type[SharedCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotary embedding that depends on how long the sequences are reads that from the device."""
    policy = lean(tiny_policy("qwen3").eval(), None)
    assert isinstance(policy, LeanPolicy)
    policy.rotary.rope_type = rope
    monkeypatch.setattr(engine, "compiles", lambda kind: kind == "cuda")
    for kind in (SharedCache, graphed):
        monkeypatch.setattr(kind, "_arrange", lambda self: None)
    assert type(engine._cache_of(policy, 4, torch.device(device))).__name__ == name
