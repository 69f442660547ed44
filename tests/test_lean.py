"""The engine's own forward pass: the logits of transformers' for every policy it takes, and only those it can take."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from grpo_lightning.adapters import AdapterConfig, add_adapter, without_adapter
from grpo_lightning.attention import take_plans
from grpo_lightning.fused import fuse_layers
from grpo_lightning.generation import Builtin, Rollout, SamplingConfig
from grpo_lightning.generation.decoding import FEWEST
from grpo_lightning.generation.engine import next_logits
from grpo_lightning.generation.lean import lean
from grpo_lightning.generation.packed_weights import packed_weights
from grpo_lightning.generation.shared_cache import SharedCache
from grpo_lightning.ranks import Ranks
from tests.tiny import SHAPE as TWO_LAYERS
from tests.tiny import VOCABULARY, prompt, tiny_policy, tiny_tokenizer

SHAPE = TWO_LAYERS | {"num_hidden_layers": 3}
SCALED = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "llama-biased": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "llama-gelu": LlamaConfig(**SHAPE, hidden_act="gelu"),
    "llama-scaled": LlamaConfig(
        **SHAPE, rope_parameters=SCALED | {"rope_theta": 1e4, "original_max_position_embeddings": 16}
    ),
    "llama-with-a-window-it-ignores": LlamaConfig(**SHAPE, sliding_window=5),
    "mistral-window": MistralConfig(**SHAPE, sliding_window=5),
    "qwen2": Qwen2Config(**{k: v for k, v in SHAPE.items() if k != "head_dim"}),
    "qwen3": Qwen3Config(**SHAPE, tie_word_embeddings=True),
    "qwen3-wide-heads": Qwen3Config(**(SHAPE | {"head_dim": 12, "num_key_value_heads": 4})),
    "qwen3-windows": Qwen3Config(
        **SHAPE,
        use_sliding_window=True,
        sliding_window=5,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
    ),
}


def build(name: str) -> PreTrainedModel:
    """With norms and biases that are not the ones and zeros of a new model."""
    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="sdpa")
    for key, parameter in policy.named_parameters():
        if "norm" in key or "bias" in key:
            nn.init.uniform_(parameter, 0.5, 1.5)
    fuse_layers(policy)
    take_plans(policy)
    return policy.eval()


def logits_of(cache: SharedCache) -> list[Tensor]:
    """Of prompts of several lengths, admitted in two goes; rows leave in between."""
    draw = torch.Generator().manual_seed(3)
    tokens = partial(torch.randint, len(VOCABULARY), generator=draw)

    def step(ids: Tensor) -> Tensor:
        cache.begin()
        return cache.step(ids)

    found = [cache.admit([tokens((n,)).tolist() for n in (3, 9, 4)], 2)]
    found += [step(tokens((6,))) for _ in range(3)]
    cache.keep([0, 2, 3, 5])
    found += [step(tokens((4,))) for _ in range(2)]
    found.append(cache.admit([tokens((7,)).tolist()], 2))
    found += [step(tokens((6,))) for _ in range(3)]
    return found


@pytest.mark.parametrize("least", [1, 10**9], ids=["packed", "plain"])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_models_own(name: str, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_lightning.generation.packed_weights.LEAST", least)
    policy = build(name)
    with torch.inference_mode():
        quick = lean(policy, None)
        assert quick is not None
        found = logits_of(SharedCache(quick, 16, policy.device))
        expected = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) < 1e-4 * float(other.abs().max())


@pytest.mark.parametrize("name", ["llama-biased", "qwen2", "qwen3"])
def test_in_bfloat16_it_rounds_as_autocast_does(name: str) -> None:
    """No further from float32 than autocast, give or take a half; logits in float32, on a CPU the cache too."""
    policy = build(name)
    with torch.no_grad():
        exact = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
        with torch.autocast("cpu", torch.bfloat16):
            cast = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
        quick = lean(policy, torch.bfloat16)
        assert quick is not None
        cache = SharedCache(quick, 16, policy.device)
        found = logits_of(cache)
    assert {states.dtype for pair in cache.completions.values() for states in pair} == {torch.float32}
    assert {each.dtype for each in found} == {torch.float32}
    ours, theirs = (
        sum(float((one - other).square().sum()) for one, other in zip(some, exact, strict=True)) ** 0.5
        for some in (found, cast)
    )
    assert 0 < ours < 1.5 * theirs


def test_a_head_that_is_more_than_a_product_gets_what_it_would_get_without_a_type() -> None:
    """It is the model's own, which no autocast casts for it here: float32, of what layers in bfloat16 leave."""
    policy = build("llama")
    head = policy.get_output_embeddings()
    head.bias = nn.Parameter(torch.linspace(0, 100, head.out_features))
    quick = lean(policy, torch.bfloat16)
    assert quick is not None
    with torch.inference_mode():
        logits = SharedCache(quick, 16, policy.device).admit([[3, 4]], 1)
        head.bias.zero_()
        plain = SharedCache(quick, 16, policy.device).admit([[3, 4]], 1)
    assert torch.allclose(logits - plain, torch.linspace(0, 100, head.out_features), atol=1e-3)


def adapted(*modules: str, weights: torch.dtype = torch.float32) -> PreTrainedModel:
    """With an adapter that is no longer zero."""
    policy = build("qwen3").to(weights)
    add_adapter(policy, AdapterConfig(rank=3, alpha=5.0, modules=modules))
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return policy.eval()


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("modules", [(), ("q_proj", "v_proj", "down_proj"), ("k_proj", "up_proj")], ids=str)
def test_adapters_are_added(modules: tuple[str, ...], weights: torch.dtype) -> None:
    """To rounding, of which frozen weights of 16 bit have more; and they are not nothing."""
    policy = adapted(*modules, weights=weights)
    with torch.inference_mode():
        quick = lean(policy, None)
        assert quick is not None
        found = logits_of(SharedCache(quick, 16, policy.device))
        expected = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
        with without_adapter(policy):
            bare = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
    close = 1e-4 if weights == torch.float32 else 0.05
    for one, other, without in zip(found, expected, bare, strict=True):
        assert float((one - other).norm() / other.norm()) < close
        assert float((without - other).norm() / other.norm()) > 4 * close


def test_adapters_in_bfloat16_round_as_autocast_does() -> None:
    policy = adapted()
    with torch.no_grad():
        exact = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
        quick = lean(policy, torch.bfloat16)
        assert quick is not None
        found = logits_of(SharedCache(quick, 16, policy.device))
    ours, theirs = (
        sum(float((one - other).square().sum()) for one, other in zip(some, exact, strict=True)) ** 0.5
        for some in (found, rounded)
    )
    assert 0 < ours < 1.5 * theirs


def without() -> PreTrainedModel:
    """Whose adapter is off."""
    policy = adapted()
    for module in policy.modules():
        if "lora_A" in module._modules:
            vars(module)["_disable_adapters"] = True
    return policy


def adapted_elsewhere() -> PreTrainedModel:
    return adapted("q_proj", "lm_head")


def adapted_twice() -> PreTrainedModel:
    from peft import LoraConfig, inject_adapter_in_model

    policy = adapted("q_proj")
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["q_proj"]), policy, "other")
    return policy


def dropping() -> PreTrainedModel:
    policy = adapted("q_proj")
    policy.base_model.layers[0].self_attn.q_proj.lora_dropout["default"] = nn.Dropout(0.1)
    return policy


def hooked() -> PreTrainedModel:
    policy = build("qwen3")
    policy.base_model.layers[1].mlp.register_forward_hook(lambda *_: None)
    return policy


def wrapped() -> PreTrainedModel:
    class Double(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    policy = build("qwen3")
    policy.base_model.layers[0].self_attn.o_proj.__class__ = Double
    return policy


def replaced() -> PreTrainedModel:
    policy = build("qwen3")
    policy.base_model.layers[0].mlp.forward = lambda x: x
    return policy


def normed() -> PreTrainedModel:
    policy = build("llama")
    policy.base_model.norm = nn.LayerNorm(32)
    return policy


def half_biased() -> PreTrainedModel:
    policy = build("llama")
    policy.base_model.layers[0].self_attn.k_proj = nn.Linear(32, 16)
    return policy


def exact() -> PreTrainedModel:
    """In which transformers rounds the norms to float32."""
    return build("llama").double()


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT, of adapters that this project does not make
@pytest.mark.parametrize(
    "make",
    [
        without,
        adapted_elsewhere,
        adapted_twice,
        dropping,
        hooked,
        wrapped,
        replaced,
        normed,
        half_biased,
        exact,
        lambda: tiny_policy("gpt2"),
    ],
)
def test_what_is_another_policy_is_left_alone(make: object) -> None:
    assert lean(make(), None) is None


def test_a_head_that_is_more_than_a_product_stays_whole() -> None:
    policy = build("qwen3")
    policy.config.final_logit_softcapping = 2.0
    quick = lean(policy, None)
    assert quick is not None
    with torch.inference_mode():
        found = logits_of(SharedCache(quick, 16, policy.device))
        expected = logits_of(SharedCache(partial(next_logits, policy), 16, policy.device))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
        assert float(one.abs().max()) <= 2.0


def generate(policy: PreTrainedModel, engine: Builtin = Builtin(), **sampling: object) -> Rollout:
    settings = SamplingConfig(**({"max_tokens": 12} | sampling))
    generator = engine.start(policy, tiny_tokenizer(), sampling=settings, ranks=Ranks.one())
    prompts = [prompt(text, uid) for uid, text in enumerate(["12+34=", "1+1=", "7="])]
    return generator.generate(prompts, group_size=4, sampling=settings, seed=5)


def test_a_rollout_has_the_weights_of_its_time() -> None:
    policy = tiny_policy()
    before = [group.completions for group in generate(policy).groups]
    assert before == [group.completions for group in generate(policy).groups]
    with torch.no_grad():
        policy.base_model.layers[0].mlp.up_proj.weight.mul_(-1)
    assert before != [group.completions for group in generate(policy).groups]


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_an_engine_of_its_own_type_draws_from_a_rounded_policy(family: str) -> None:
    """The same draws, of log-probs that differ by rounding: most tokens are the same, and none of its log-probs far."""
    policy = tiny_policy(family)
    exact, rounded = (
        [c for group in generate(policy, engine).groups for c in group.completions]
        for engine in (Builtin(), Builtin(dtype="bfloat16"))
    )
    gaps = [
        abs(p - q)
        for one, other in zip(exact, rounded, strict=True)
        if one.token_ids == other.token_ids
        for p, q in zip(one.sampler_logprobs, other.sampler_logprobs, strict=True)
    ]
    assert len(gaps) > 20
    assert 0 < max(gaps) < 0.2
    assert not torch.is_autocast_enabled("cpu")


class Casts(TorchDispatchMode):
    """Counts casts of matrices as large as this model's weights to bfloat16."""

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.shapes = {p.shape for p in policy.parameters() if p.ndim == 2}
        self.count = 0

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and result.dtype == torch.bfloat16:
            self.count += args[0].shape in self.shapes
        return result


def test_weights_are_cast_once_for_a_rollout() -> None:
    """By autocast, of a policy that is left to transformers: as many casts for 12 tokens as for 3."""
    counts = []
    for most in (3, 12):
        policy = tiny_policy("gpt2")
        with Casts(policy) as casts, torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            generate(policy, max_tokens=most)
        counts.append(casts.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("hooked", [True, False], ids=["by transformers", "lean"])
def test_no_graph_is_made_whoever_computes(hooked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, modes = tiny_policy(), []
    step = SharedCache.step

    def noted(self: SharedCache, tokens: Tensor) -> Tensor:
        logits = step(self, tokens)
        modes.append((torch.is_grad_enabled(), logits.requires_grad))
        return logits

    monkeypatch.setattr(SharedCache, "step", noted)
    if hooked:
        policy.base_model.register_forward_hook(lambda *_: None)
    generate(policy)
    with torch.autocast("cpu", torch.bfloat16):
        generate(policy)
    assert set(modes) == {(False, False)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_an_engine_of_its_own_type_is_for_float32(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=rf"engine\.dtype: 'bfloat16' is for a policy in float32, not {dtype}"):
        generate(tiny_policy().to(dtype), Builtin(dtype="bfloat16"))


def test_a_step_never_has_fewer_rows_than_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished ones stay as long as any is alive; what they say is not heard."""
    rows: list[int] = []
    step = SharedCache.step

    def counted(self: SharedCache, tokens: Tensor) -> Tensor:
        rows.append(len(tokens))
        return step(self, tokens)

    monkeypatch.setattr(SharedCache, "step", counted)
    how = {"max_tokens": 40, "stop_token_ids": (2, 3, 4)}
    found = generate(tiny_policy(), **how)
    assert min(rows) >= FEWEST
    monkeypatch.setattr("grpo_lightning.generation.decoding.FEWEST", 1)
    rows.clear()
    expected = generate(tiny_policy(), **how)
    assert min(rows) < FEWEST, "the case is too easy: many rows are long"
    for one, other in zip(found.groups, expected.groups, strict=True):
        assert [c.token_ids for c in one.completions] == [c.token_ids for c in other.completions]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_policy_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor takes no product in oneDNN's layout whose weight is not a constant of its graph."""
    monkeypatch.setattr("grpo_lightning.generation.packed_weights.LEAST", 1)
    policy = tiny_policy()
    linear = policy.base_model.layers[0].mlp.up_proj
    with packed_weights(policy):
        assert "forward" in vars(linear)
    policy.base_model.layers[0].compile()
    with packed_weights(policy):
        assert "forward" not in vars(linear)
