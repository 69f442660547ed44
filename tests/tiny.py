"""Small models and tokenizers built in memory, and prompts for them. Nothing is downloaded."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from grpo_lightning.attention import take_plans
from grpo_lightning.batching import Sample
from grpo_lightning.policy import disable_dropout
from grpo_lightning.seeding import seeded
from grpo_lightning.types import Prompt

VOCABULARY = ["<pad>", "<end>", *"0123456789+-=?abcdefgh "]
END = 1
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}="


SHAPE = {
    "vocab_size": len(VOCABULARY),
    "eos_token_id": END,
    "pad_token_id": 0,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
}
"""For configs of families that `tiny_policy` has not."""


def tiny_policy(
    family: str = "qwen3", *, seed: int = 0, dtype: torch.dtype = torch.float32, attention: str = "sdpa"
) -> PreTrainedModel:
    """A random two-layer model whose logits are spread out enough that sampling is not uniform."""
    common = {"vocab_size": len(VOCABULARY), "eos_token_id": END, "pad_token_id": 0, "bos_token_id": None}
    width = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
    }
    config = {
        "qwen3": lambda: Qwen3Config(**common, **width, head_dim=8, tie_word_embeddings=True),
        "llama": lambda: LlamaConfig(**common, **width, tie_word_embeddings=False),
        "gpt2": lambda: GPT2Config(
            **common, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.06, resid_pdrop=0.5
        ),
    }[family]()
    with seeded("tiny", family, seed):
        policy = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    disable_dropout(policy)
    take_plans(policy)
    return policy.train()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character."""
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", clean_up_tokenization_spaces=False
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def tiny_folder(folder: Path, family: str = "qwen3") -> Path:
    """A Hugging Face folder with the tiny policy and its tokenizer."""
    tiny_policy(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def prompt(text: str, uid: int = 0, answer: str | None = None) -> Prompt:
    ids = tuple(tiny_tokenizer().encode(text, add_special_tokens=False))
    return Prompt(uid=uid, text=text, token_ids=ids, answer=answer, row={"prompt": text, "answer": answer})


def sample(
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    *,
    sampler_logprobs: torch.Tensor | None = None,
    advantage: float = 0.0,
    group: int = 0,
    number: int = 0,
    group_tokens: int | None = None,
    reference_logprobs: torch.Tensor | None = None,
) -> Sample:
    """A sequence whose tokens all train."""
    tokens = len(completion_ids)
    sampler = torch.zeros(tokens) if sampler_logprobs is None else sampler_logprobs
    return Sample(
        prompt_ids=tuple(prompt_ids),
        completion_ids=tuple(completion_ids),
        group=group,
        sample=number,
        group_tokens=tokens if group_tokens is None else group_tokens,
        counted=torch.arange(tokens),
        sampler_logprobs=sampler,
        advantages=torch.full((tokens,), advantage, dtype=sampler.dtype),
        reference_logprobs=reference_logprobs,
    )
