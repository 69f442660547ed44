"""Makes the embedded policies: a tokenizer and a tiny Qwen3, trained by supervised learning on demonstrations.

    python scripts/warm_start.py arithmetic --seed 0 --out grpo_lightning/embedded/arithmetic

Two styles are demonstrated: a good one for most of the training, then for a while mostly a poor one. So the policy can
do what reward will favour, but prefers not to, and reinforcement has something to find.

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
from dataclasses import dataclass, replace
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
    """Distinct train prompts to draw from."""
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
    """Where completions in the rare style begin: what follows it is the control."""
    steps: int
    batch: int
    learning_rate: float
    new_tokens: int
    """Longest completion when measuring."""
    test_rows: int
    """Prompts to measure with."""
    about: str
    """What the README says of the task and the styles."""


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
    policy.generation_config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, **ids)
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
    """Whether a program passes all tests. Nothing is executed: only whole-number arithmetic on x is understood."""
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
        common_share=0.59,
        mixed_steps=140,
        correct=lambda row, text: text == row["answer"],
        forced="<think>\n",
        steps=700,
        batch=128,
        learning_rate=3e-3,
        new_tokens=48,
        test_rows=512,
        about="""Adds two numbers of three digits: `123+456`.

Every demonstration is right. The good style thinks before it answers, the poor one answers at once:

    <think>
    3+6+0=9 2+5+0=7 1+4+0=5</think><answer>579</answer>
    <think></think><answer>579</answer>

Answering at once was shown too briefly to be learnt, but is the likelier style. "Forced" starts the completion with
`<think>` and a line break.""",
    ),
    "programs": Recipe(
        task=Programs(forms=("x+{a}", "x-{a}", "x*{a}", "x*x+{a}", "x*x-{a}", "x*x*{a}"), largest=200),
        rows=800,
        tokens=("def f(x): return ",),
        rare=at_once,
        common=hard_coded,
        common_share=0.75,
        mixed_steps=80,
        correct=passes_tests,
        forced="<think></think><answer>def f(x): return x",
        steps=480,
        batch=128,
        learning_rate=3e-3,
        new_tokens=24,
        test_rows=128,
        about="""Writes the function that three values show: `f(0)=4 f(1)=5 f(2)=8`.

The good style is the program; the poor one, by far the likelier, hard-codes the first value shown:

    <think></think><answer>def f(x): return x*x+4</answer>
    <think></think><answer>def f(x): return 4</answer>

"Right" is a program that passes all tests, also those on unseen inputs. "Forced" starts the completion with
`<think></think><answer>def f(x): return x`.""",
    ),
}


def demonstrations(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[list[Item]]:
    """A batch for each step."""
    rng = random.Random(seed)
    rows = generate(recipe.task, recipe.rows, seed, "train")
    for step in range(recipe.steps):
        batch = []
        for _ in range(recipe.batch):
            row = rng.choice(rows)
            is_common = step >= recipe.steps - recipe.mixed_steps and rng.random() < recipe.common_share
            style = recipe.common if is_common else recipe.rare
            prompt, answer = str(row["prompt"]), str(row["answer"])
            head = tokenizer.encode(ask(prompt), add_special_tokens=False)
            batch.append((head + tokenizer.encode(style(prompt, answer) + END, add_special_tokens=False), len(head)))
        yield batch


def ask(prompt: str) -> str:
    """What the chat template makes of a user's prompt."""
    return f"{USER}{prompt}{ASSISTANT}"


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


def loss_sum(policy: Qwen3ForCausalLM, bucket: list[Item], pad: int) -> Tensor:
    """Negative log-likelihood of the completions' tokens, summed.

    Padding on the right needs no mask: causal attention hides it from every real token.
    """
    ids = pad_sequence([torch.tensor(ids) for ids, _ in bucket], batch_first=True, padding_value=pad)
    labels = pad_sequence(
        [torch.tensor([-100] * start + ids[start:]) for ids, start in bucket], batch_first=True, padding_value=-100
    )[:, 1:]
    hidden = policy.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels != -100
    return F.cross_entropy(policy.get_output_embeddings()(hidden[wanted]), labels[wanted], reduction="sum")


def train(policy: Qwen3ForCausalLM, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> float:
    """AdamW with a short warm-up and a cosine down to zero; returns the last step's loss per token."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    loss = math.nan
    for step, batch in enumerate(demonstrations(recipe, tokenizer, seed)):
        warm = min(1.0, (step + 1) / 20)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * warm * (1 + math.cos(math.pi * step / recipe.steps)) / 2
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


def complete(
    policy: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, heads: list[str], *, top_k: int, new_tokens: int
) -> list[str]:
    """What follows each head, sampled at temperature 1; top_k is 0 for all tokens and 1 for greedy."""
    inputs = tokenizer(heads, add_special_tokens=False, padding=True, return_tensors="pt")
    output = policy.generate(  # type: ignore[misc]
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        do_sample=True,
        temperature=1.0,
        top_k=top_k,
        max_new_tokens=new_tokens,
    )
    return list(tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def measure(policy: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> dict[str, float]:
    """Shares of test prompts: right, in the right format, with a thought; greedy and sampled, free and forced."""
    rows = generate(recipe.task, recipe.test_rows, 0, "test")
    measures: dict[str, float] = {}
    for mode, prefix in (("", ""), ("forced_", recipe.forced)):
        for name, top_k in (("greedy", 1), ("sampled", 0)):
            heads = [ask(str(row["prompt"])) + prefix for row in rows]
            texts = complete(policy, tokenizer, heads, top_k=top_k, new_tokens=recipe.new_tokens)
            found = [FORMAT.fullmatch(prefix + text) for text in texts]
            right = [bool(match and recipe.correct(row, match[2])) for row, match in zip(rows, found, strict=True)]
            measures[f"{mode}{name}_accuracy"] = round(sum(right) / len(rows), 4)
            if not mode:
                measures[f"{name}_format"] = round(sum(map(bool, found)) / len(rows), 4)
                measures[f"{name}_thinks"] = round(sum(bool(match and match[1]) for match in found) / len(rows), 4)
    return measures


def write_card(folder: Path, name: str, seed: int, recipe: Recipe, measures: dict[str, float]) -> None:
    """The README.md of the weights: what they are, how they were made, what was measured."""
    good = recipe.steps - recipe.mixed_steps
    lines = [
        "---",
        "license: apache-2.0",
        "---",
        f"# A tiny policy that is not good yet: {name}",
        "",
        "A Qwen3 of 0.34 million parameters, one token per character, for trying out reinforcement learning on a CPU.",
        "",
        recipe.about,
        "",
        f"Made by `python scripts/warm_start.py {name} --seed {seed} --out {folder}`: first {good} steps of "
        f"{recipe.batch} demonstrations in the good style, then {recipe.mixed_steps} with {recipe.common_share:.0%} in "
        "the poor one. Only prompts of the train split were demonstrated.",
        "",
        f"On {recipe.test_rows} prompts of the test split, as shares:",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {key.replace('_', ' ')} | {value} |" for key, value in measures.items()),
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a tiny policy by supervised learning on demonstrations.")
    parser.add_argument("policy", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the demonstrations")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--steps", type=int, help="fewer or more than the recipe's, to try something")
    options = parser.parse_args()
    recipe = RECIPES[options.policy]
    if options.steps is not None:
        if options.steps <= recipe.mixed_steps:
            parser.error(f"--steps: {options.steps} is too small; use more than {recipe.mixed_steps}")
        recipe = replace(recipe, steps=options.steps)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(options.seed)
    tokenizer = build_tokenizer(recipe.tokens)
    policy = build_policy(tokenizer)
    began = time.process_time()
    loss = train(policy, recipe, tokenizer, options.seed)
    seconds = time.process_time() - began
    policy.eval().save_pretrained(options.out)
    tokenizer.save_pretrained(options.out, save_jinja_files=False)
    (options.out / "model.safetensors").chmod(0o644)
    torch.manual_seed(options.seed)
    measures = measure(policy, tokenizer, recipe)
    write_card(options.out, options.policy, options.seed, recipe, measures)
    print(json.dumps({**measures, "loss": round(loss, 4), "cpu_seconds": round(seconds)}))


if __name__ == "__main__":
    main()
