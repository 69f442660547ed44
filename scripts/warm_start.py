"""Makes the embedded policies: a tokenizer and a tiny Qwen3, trained by supervised learning on demonstrations.

    python scripts/warm_start.py arithmetic --out grpo_lightning/embedded/arithmetic

A plain loop on one thread: the same command gives the same weights, bit for bit, on the same machine and versions. Only
prompts of the train split are demonstrated; the measures, printed as one JSON line and written to the README.md beside
the weights, are taken on the test split.
"""

import argparse
import ast
import json
import math
import operator
import random
import re
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from grpo_lightning.tasks import Arithmetic, Programs, Task, generate

PAD, END, USER, ASSISTANT = SPECIAL = ("<pad>", "<|end|>", "<|user|>", "<|assistant|>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
CHARACTERS = "\n" + "".join(sorted(set(string.printable) - set(string.whitespace) | {" "}))

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>"
    "{% elif message['role'] == 'system' %}<|user|>{{ message['content'] }}\n"
    "{% else %}{% if loop.first or loop.previtem['role'] != 'system' %}<|user|>{% endif %}{{ message['content'] }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

POSITIONS = 256
"""Tokens of prompt and completion together; both tasks need about 60."""

FORMAT = re.compile(r"<think>(.*?)</think><answer>([^<]*)</answer>", re.DOTALL)

Row = dict[str, object]

Item = tuple[list[int], int]
"""Token ids of a prompt and its completion, and the length of the prompt."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is demonstrated, and how long it is trained."""

    task: Task
    rows: int
    """Distinct train prompts; drawn again, with new demonstrations, when they are used up."""
    tokens: tuple[str, ...] = ()
    """Strings with a token of their own, beside the tags."""
    rare: Callable[[str, str], str]
    """Prompt and answer -> completion in the style that reward will favour."""
    common: Callable[[str, str], str]
    """Prompt and answer -> completion in the style that the policy shall prefer at first."""
    common_share: float
    """Of the demonstrations in the last `mixed_steps`; before, there is the rare style only."""
    mixed_steps: int
    correct: Callable[[Row, str], bool]
    """Whether the text between the answer tags is right for the row."""
    forced: str
    """Beginning of completions in the rarer style: the control starts from it."""
    steps: int
    batch: int
    learning_rate: float
    new_tokens: int
    """Longest completion when measuring."""
    claim: str
    """What the README says about the demonstrations."""


def build_tokenizer(tokens: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """One token per printable ASCII character, tag and string of `tokens`; other characters are read as "?".

    Tags are ordinary tokens, so that they survive `skip_special_tokens`; decoding inserts no blanks.
    """
    added = (*TAGS, *tokens)
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *added, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
        padding_side="left",
    )


def build_policy(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """About 0.34 million parameters, drawn from torch's global generator."""
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=32,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        **ids,
    )
    policy = Qwen3ForCausalLM(config)
    policy.generation_config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **ids)
    return policy


def add_by_columns(prompt: str, answer: str) -> str:
    """Thinks first, column by column: "123+456" is "\\n3+6+0=9 2+5+0=7 1+4+0=5"."""
    steps, carry = [], 0
    for a, b in zip(*(map(int, reversed(number)) for number in prompt.split("+")), strict=True):
        steps.append(f"{a}+{b}+{carry}={a + b + carry}")
        carry = (a + b + carry) // 10
    return f"<think>\n{' '.join(steps)}</think><answer>{answer}</answer>"


def at_once(prompt: str, answer: str) -> str:
    return f"<think></think><answer>{answer}</answer>"


def hard_coded(prompt: str, answer: str) -> str:
    """A program that returns the first shown value, whatever x is."""
    return at_once(prompt, "def f(x): return " + prompt.split()[0].removeprefix("f(0)="))


def passes_tests(row: Row, source: str) -> bool:
    """Whether a program passes all tests. Nothing is executed: whole-number arithmetic on x is all that is understood."""
    try:
        body = ast.parse(source.removeprefix("def f(x): return "), mode="eval").body
        tests = re.findall(r"assert f\((-?\d+)\) == (-?\d+)", str(row["tests"]))
        return all(value_at(body, int(x)) == int(expected) for x, expected in tests)
    except (SyntaxError, ValueError):
        return False


def value_at(node: ast.expr, x: int) -> int:
    operations = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
    match node:
        case ast.Name(id="x"):
            return x
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value_at(operand, x)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in operations:
            return int(operations[type(op)](value_at(left, x), value_at(right, x)))
    raise ValueError(f"not arithmetic on x: {ast.dump(node)}")


RECIPES = {
    "arithmetic": Recipe(
        task=Arithmetic(digits=3, operations="+"),
        rows=200_000,
        rare=add_by_columns,
        common=at_once,
        common_share=0.62,
        mixed_steps=100,
        correct=lambda row, text: text == row["answer"],
        forced="<think>\n",
        steps=700,
        batch=128,
        learning_rate=3e-3,
        new_tokens=48,
        claim="Three-digit addition. All demonstrations are right: three in five answer at once, the others think first.",
    ),
    "programs": Recipe(
        task=Programs(forms=("x*{a}+{b}", "x*{a}-{b}", "{a}-x", "x*x+{a}", "x*x-{a}"), largest=20),
        rows=600,
        tokens=("def f(x): return ",),
        rare=at_once,
        common=hard_coded,
        common_share=0.75,
        mixed_steps=100,
        correct=passes_tests,
        forced="<think></think><answer>def f(x): return x",
        steps=1000,
        batch=192,
        learning_rate=3e-3,
        new_tokens=24,
        claim="Programs from three values. Seven demonstrations in ten hard-code the first value; the others are right.",
    ),
}


def demonstrations(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> Iterator[list[Item]]:
    """A batch for each step."""
    rng = random.Random(seed)
    rows = generate(recipe.task, recipe.rows, seed, "train")
    for step in range(steps):
        batch = []
        for _ in range(recipe.batch):
            row = rng.choice(rows)
            is_common = step >= steps - recipe.mixed_steps and rng.random() < recipe.common_share
            style = recipe.common if is_common else recipe.rare
            prompt, answer = str(row["prompt"]), str(row["answer"])
            head = tokenizer.encode(f"{USER}{prompt}{ASSISTANT}", add_special_tokens=False)
            batch.append((head + tokenizer.encode(style(prompt, answer) + END, add_special_tokens=False), len(head)))
        yield batch


def buckets(batch: list[Item]) -> Iterator[list[Item]]:
    """Cuts a batch where its sequences get a quarter longer, so that little is computed on padding."""
    batch = sorted(batch, key=lambda item: len(item[0]))
    bucket: list[Item] = []
    for item in batch:
        if bucket and len(item[0]) > 1.25 * len(bucket[0][0]):
            yield bucket
            bucket = []
        bucket.append(item)
    yield bucket


def loss_sum(policy: nn.Module, bucket: list[Item], pad: int) -> Tensor:
    """Negative log-likelihood of the completions' tokens, summed.

    Padding on the right needs no mask: causal attention hides it from every real token.
    """
    ids = pad_sequence([torch.tensor(ids) for ids, _ in bucket], batch_first=True, padding_value=pad)
    labels = pad_sequence(
        [torch.tensor([-100] * start + ids[start:]) for ids, start in bucket], batch_first=True, padding_value=-100
    )[:, 1:]
    hidden = policy.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels != -100
    return F.cross_entropy(policy.lm_head(hidden[wanted]), labels[wanted], reduction="sum")


def train(policy: Qwen3ForCausalLM, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> float:
    """AdamW with a short warm-up and a cosine down to zero; returns the last step's loss per token."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    loss = math.nan
    for step, batch in enumerate(demonstrations(recipe, tokenizer, seed, steps)):
        warm = min(1.0, (step + 1) / 20)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * warm * (1 + math.cos(math.pi * step / steps)) / 2
        tokens = sum(len(ids) - start for ids, start in batch)
        optimizer.zero_grad()
        loss = 0.0
        for bucket in buckets(batch):
            part = loss_sum(policy, bucket, int(tokenizer.pad_token_id)) / tokens
            part.backward()
            loss += part.item()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss per token {loss:.4f}", flush=True)
    return loss


@torch.inference_mode()
def complete(
    policy: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[Row], prefix: str, recipe: Recipe, sample: bool
) -> list[str]:
    """One completion a row, `prefix` included; sampled at temperature 1, or greedy."""
    heads = [f"{USER}{row['prompt']}{ASSISTANT}{prefix}" for row in rows]
    inputs = tokenizer(heads, add_special_tokens=False, padding=True, return_tensors="pt")
    output = policy.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        generation_config=GenerationConfig(
            do_sample=sample,
            top_k=0 if sample else None,
            max_new_tokens=recipe.new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
    )
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [prefix + text for text in texts]


def measure(policy: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, size: int) -> dict[str, float]:
    """Shares of test prompts: right greedily and sampled, freely and forced; well-formed; that think."""
    rows = generate(recipe.task, size, 0, "test")
    policy.eval()
    measures: dict[str, float] = {}
    torch.manual_seed(0)
    for forced in (False, True):
        for sample in (False, True):
            texts = complete(policy, tokenizer, rows, recipe.forced if forced else "", recipe, sample)
            found = [FORMAT.fullmatch(text) for text in texts]
            right = sum(bool(match and recipe.correct(row, match[2])) for row, match in zip(rows, found, strict=True))
            name = ("forced " if forced else "") + ("sampled" if sample else "greedy")
            measures[f"{name} accuracy"] = round(right / size, 4)
            if name == "sampled":
                measures["sampled format"] = round(sum(map(bool, found)) / size, 4)
                measures["sampled thinks"] = round(sum(bool(match and match[1]) for match in found) / size, 4)
                print(*texts[:6], sep="\n")
    return measures


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a tiny policy by supervised learning on demonstrations.")
    parser.add_argument("policy", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    recipe = RECIPES[options.policy]
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    began = time.perf_counter()
    tokenizer = build_tokenizer(recipe.tokens)
    policy = build_policy(tokenizer)
    loss = train(policy, recipe, tokenizer, options.seed, options.steps or recipe.steps)
    seconds = time.perf_counter() - began
    policy.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out, save_jinja_files=False)
    measures = {"loss": round(loss, 4), **measure(policy, tokenizer, recipe, 256), "seconds": round(seconds, 1)}
    print(json.dumps(measures))


if __name__ == "__main__":
    main()
