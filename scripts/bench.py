"""Measures training steps, phase by phase, beside the limit of this machine and, if asked for, beside TRL.

    python scripts/bench.py --size tiny --rival trl --json FILE     # ours, theirs, ours, theirs: ratios of medians
    python scripts/bench.py --size mid --beta 0.04 --num-iterations 2
    python scripts/bench.py --against docs/bench/tiny.json          # the same work again, as a ratio to then

Both sides get the same folder: random weights in the shape of a Qwen3, a tokenizer of whole words, and prompts. The
weights stop by themselves, at each token with one probability, so lengths vary widely and as much on both sides. They
run in processes of their own, in turn, and draw other completions in each round; the clock starts behind the first
steps. CPU seconds count all threads.
TRL comes with the extra `bench`: pip install -c constraints.txt -e '.[bench]'.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from transformers import Qwen3Config, Qwen3ForCausalLM

Size = Literal["tiny", "small", "mid", "0.6b", "1.7b"]
SIZES: dict[Size, dict[str, int]] = {
    "tiny": {"vocabulary": 64, "hidden": 128, "layers": 3, "heads": 4, "kv_heads": 4, "head_dim": 32, "mlp": 384},
    "small": {"vocabulary": 1024, "hidden": 256, "layers": 4, "heads": 4, "kv_heads": 2, "head_dim": 64, "mlp": 768},
    "mid": {"vocabulary": 32000, "hidden": 512, "layers": 8, "heads": 8, "kv_heads": 4, "head_dim": 64, "mlp": 1536},
    "0.6b": {
        "vocabulary": 151936,
        "hidden": 1024,
        "layers": 28,
        "heads": 16,
        "kv_heads": 8,
        "head_dim": 128,
        "mlp": 3072,
    },
    "1.7b": {
        "vocabulary": 151936,
        "hidden": 2048,
        "layers": 28,
        "heads": 16,
        "kv_heads": 8,
        "head_dim": 128,
        "mlp": 6144,
    },
}
"""0.65, 3.4 and 41.6 million parameters; and for GPUs the shapes of Qwen3-0.6B and 1.7B."""

LOADS: dict[Size, dict[str, int]] = {
    "tiny": {"prompts": 16, "max_tokens": 64},
    "small": {"prompts": 8, "max_tokens": 96},
    "mid": {"prompts": 2, "max_tokens": 128},
    "0.6b": {"prompts": 16, "max_tokens": 512, "mean_tokens": 256, "shortest": 128, "longest": 256},
    "1.7b": {"prompts": 16, "max_tokens": 512, "mean_tokens": 256, "shortest": 128, "longest": 256},
}

ROOT = Path(__file__).resolve().parent.parent
PHASES = ("rollout", "reward", "prepare", "update")
PAD, END, BEGIN = 0, 1, 2
SPECIAL = ("<pad>", "<end>", "<begin>")

Result = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both sides do."""

    size: Size = "tiny"
    prompts: int = 16
    """Of a rollout."""
    group: int = 8
    max_tokens: int = 64
    """Of a completion."""
    mean_tokens: float = 32.0
    """One over the probability to stop at each token."""
    shortest: int = 8
    """Of the prompts; their lengths are uniform up to `longest`."""
    longest: int = 16
    beta: float = 0.0
    num_iterations: int = 1
    steps: int = 8
    """Optimizer steps that are measured."""
    warm: int = 2
    """Optimizer steps before them."""
    threads: int = 1
    lr: float = 1e-6
    seed: int = 0
    device: str = "cpu"
    layout: str = "shared"
    """Of our update."""
    precision: str = "32-true"
    """Of both sides; or `bf16-mixed`."""
    compile: bool = False
    """Whether our layers are compiled for the update."""
    continuous: bool = False
    """Whether TRL draws by transformers' continuous batching."""
    rollout: str = ""
    """`bfloat16`: our engine draws in it, whatever the precision."""
    vocabulary: int = 0
    """0: that of the size."""

    def __post_init__(self) -> None:
        if self.warm % self.num_iterations or self.steps % self.num_iterations:
            raise ValueError(f"--warm and --steps: give multiples of --num-iterations, {self.num_iterations}")

    @property
    def sixteen(self) -> bool:
        """Whether products are in bfloat16."""
        return self.precision == "bf16-mixed"

    @property
    def shape(self) -> dict[str, int]:
        """Of the policy."""
        return SIZES[self.size] | ({"vocabulary": self.vocabulary} if self.vocabulary else {})


def qwen3(shape: Mapping[str, int], *, max_position_embeddings: int) -> "Qwen3Config":
    """Of this shape, with tied embeddings and the special tokens of here."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["hidden"],
        intermediate_size=shape["mlp"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_dim"],
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=True,
        eos_token_id=END,
        pad_token_id=PAD,
        bos_token_id=BEGIN,
    )


def weights_of(shape: Mapping[str, int]) -> tuple[int, int]:
    """Elements of the layers' matrices, and of the head."""
    queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    layer = shape["hidden"] * (2 * queries + 2 * keys + 3 * shape["mlp"])
    return shape["layers"] * layer, shape["vocabulary"] * shape["hidden"]


def write_inputs(work: Work, folder: Path) -> None:
    """The policy, its tokenizer and the prompts, for both sides."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

    shape = work.shape
    torch.manual_seed(work.seed)
    policy = Qwen3ForCausalLM(qwen3(shape, max_position_embeddings=work.longest + work.max_tokens))
    make_stop(policy, work.mean_tokens)
    policy.save_pretrained(folder)
    words = {word: i for i, word in enumerate(SPECIAL)} | {f"t{i}": i for i in range(3, shape["vocabulary"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", bos_token="<begin>", padding_side="left"
    ).save_pretrained(folder)
    draw = torch.Generator().manual_seed(work.seed + 1)
    rows = []
    for _ in range(work.prompts * (work.warm + work.steps) // work.num_iterations):
        length = int(torch.randint(work.shortest, work.longest + 1, (), generator=draw))
        ids = torch.randint(3, shape["vocabulary"], (length - 1,), generator=draw).tolist()
        rows.append({"prompt": " ".join(["<begin>", *(f"t{i}" for i in ids)])})
    held_out = [{"prompt": "<begin> t3", "answer": "-"}]
    for name, some in (("train", [row | {"answer": "-"} for row in rows]), ("validation", held_out)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))


def make_stop(policy: "Qwen3ForCausalLM", mean_tokens: float) -> None:
    """Sets the probability of the end token to about 1 / mean_tokens everywhere, by the embeddings alone.

    The first channel of each token is four. It outweighs what the layers add, so behind the last norm it is close to
    sqrt(D) at each place, and what the end token has there more than the others raises its logit as much everywhere.
    """
    import math

    import torch
    from torch.nn.functional import linear

    embedding = policy.model.embed_tokens.weight
    with torch.no_grad():
        embedding[:, 0] = 4.0
        hidden = policy.model(input_ids=torch.randint(3, len(embedding), (8, 32))).last_hidden_state
        logits = linear(hidden, embedding)
        others = torch.logsumexp(logits, dim=-1).mean()
        share = 1 / mean_tokens
        raised = others + math.log(share / (1 - share)) - logits[..., END].mean()
        embedding[END, 0] += raised / hidden[..., 0].mean()


def run_side(side: str, work: Work, folder: Path) -> Result:
    """One process; it prints what it measured as its last line."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(work.threads),
        "MKL_NUM_THREADS": str(work.threads),
        "HF_HUB_OFFLINE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    command = [sys.executable, "-m", f"scripts.bench_{side}", str(folder), json.dumps(asdict(work))]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the side {side!r} failed:\n{done.stderr[-3000:]}")
    return cast(Result, json.loads(done.stdout.strip().splitlines()[-1]))


def medians(results: Sequence[Result]) -> Result:
    """Of each figure over the runs."""
    return {name: median(result[name] for result in results) for name in results[0]}


def measured(work: Work, rival: str | None, rounds: int) -> dict[str, object]:
    """Runs the sides in turn and compares them."""
    sides = ["ours", *([rival] if rival else [])]
    found: dict[str, list[Result]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(work, folder)
        limit = run_side("limit", work, folder)
        for number in range(rounds):
            for side in sides:
                found[side].append(run_side(side, replace(work, seed=work.seed + number), folder))
                took = found[side][-1]
                print(
                    f"{side}: {took['seconds_per_step']:.3f} s per step, {took['cpu_seconds_per_step']:.3f} of the CPU",
                    file=sys.stderr,
                )
    ours = medians(found["ours"])
    document: dict[str, object] = {
        "work": asdict(work),
        "rounds": rounds,
        "machine": machine(work),
        "commit": commit(),
        "date": date.today().isoformat(),
        "ours": ours,
        "limit": limit | floors(work, ours, limit),
    }
    if rival:
        document |= {"rival": {"name": rival} | medians(found[rival])}
        document["ratio"] = ratios(ours, medians(found[rival]))
        document["ratio_range"] = ranges([ratios(*both) for both in zip(*found.values(), strict=True)])
    return document


def ratios(ours: Mapping[str, float], rival: Mapping[str, float]) -> Result:
    """How often our tokens per second are theirs, and what share of their memory is ours; on a GPU, of its own."""
    names = ["tokens_per_cpu_second", "peak_mb", "growth_mb"]
    if "gpu_peak_mb" in ours:
        names = ["tokens_per_second", "gpu_peak_mb"]
    return {name: ours[name] / rival[name] for name in names}


def ranges(rounds: Sequence[Result]) -> dict[str, tuple[float, float]]:
    """Of each ratio the smallest and the largest of any round: how much of it is the machine's mood."""
    return {name: (min(each[name] for each in rounds), max(each[name] for each in rounds)) for name in rounds[0]}


def floors(work: Work, ours: Mapping[str, float], limit: Mapping[str, float]) -> Result:
    """Seconds that the phases of this work take at the rates this machine reached, and how much of that we reach.

    With M elements of the layers' matrices, p prompt tokens (once for each group), c completion tokens, D the width
    and V the vocabulary, a forward pass is 2 (M (p + c) + V D c) FLOPs and the update three of them. Decoding makes
    `max_tokens` steps at most, each reading all weights once, on a GPU in the type they are multiplied in, or
    2 (M + V D) c FLOPs if that takes longer. Attention is left out, so the floor is a little low.
    """
    element = 2 if work.sixteen and work.device != "cpu" else 4
    matrices, head = weights_of(work.shape)
    prompts = work.prompts * (work.shortest + work.longest) / 2
    completions = ours["completion_tokens"]
    forward = 2 * (matrices * (prompts + completions) + head * completions)
    reading = work.max_tokens * element * (matrices + head) / limit["bytes_per_second"]
    drawing = 2 * (matrices + head) * completions / limit["flops"]
    rollout = 2 * matrices * prompts / limit["flops"] + max(reading, drawing)
    update = 3 * work.num_iterations * forward / limit["flops"]
    reference = forward / limit["flops"] if work.beta else 0.0
    floor = {"rollout": rollout, "prepare": reference, "update": update}
    return {f"{phase}_floor": seconds for phase, seconds in floor.items()} | {
        f"{phase}_reached": floor[phase] / ours[phase] for phase in ("rollout", "update")
    }


def machine(work: Work) -> str:
    """What this ran on, without its name."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    cores = f"{model}, {len(os.sched_getaffinity(0))} cores, {work.threads} thread(s), torch on {work.device}"
    if work.device == "cpu":
        return cores
    import torch

    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {cores}"


def commit() -> str:
    """Of this checkout, marked where it is not what was committed."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else "unknown"


def show(document: Mapping[str, object]) -> None:
    """The table on the screen."""
    from rich.console import Console
    from rich.table import Table

    ours = cast(Result, document["ours"])
    rival = cast(Result, document.get("rival", {}))
    limit = cast(Result, document["limit"])
    table = Table(title=f"{cast(dict[str, object], document['work'])['size']}, {document['machine']}")
    for column in ("per step", "ours", *([str(rival["name"])] if rival else []), "floor", "reached"):
        table.add_column(column, justify="left" if column == "per step" else "right")
    for name in ours:
        shown = [name, f"{ours[name]:.4g}"]
        if rival:
            shown.append(f"{rival[name]:.4g}" if name in rival else "")
        floor, reached = limit.get(f"{name}_floor"), limit.get(f"{name}_reached")
        shown += [f"{floor:.4g}" if floor else "", f"{reached:.0%}" if reached else ""]
        table.add_row(*shown)
    console = Console(width=110)
    console.print(table)
    console.print(
        f"this machine: {limit['flops'] / 1e9:.1f} GFLOP/s, {limit['bytes_per_second'] / 1e9:.1f} GB/s copied"
    )
    spread = cast(dict[str, tuple[float, float]], document.get("ratio_range", {}))
    for name, value in cast(Result, document.get("ratio", {})).items():
        between = "; in single rounds {:.2f} to {:.2f}".format(*spread[name]) if name in spread else ""
        console.print(f"ratio of medians, {name}: {value:.2f}{between}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    for field in fields(Work):
        if field.name != "size":
            name, kind = f"--{field.name.replace('_', '-')}", cast(type, field.type)
            if kind is bool:
                parser.add_argument(name, action="store_true", default=None)
            else:
                parser.add_argument(name, type=kind)
    parser.add_argument("--rival", choices=["trl"])
    parser.add_argument("--rounds", type=int, default=3, help="of each side, in turn")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    parser.add_argument("--against", type=Path, help="results of before: the same work again, compared")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    names = {field.name for field in fields(Work)}
    chosen = {name: value for name, value in given.items() if name in names}
    before = json.loads(given["against"].read_text()) if "against" in given else None
    if before is not None:
        work = replace(Work(**before["work"]), **{k: v for k, v in chosen.items() if k != "size"})
    else:
        load = LOADS[chosen["size"]]
        work = Work(**(load | chosen))
    document = measured(work, given.get("rival"), given["rounds"])
    show(document)
    if before is not None:
        then, now = before["ours"], cast(Result, document["ours"])
        print(f"against {before['commit']} of {before['date']} on {before['machine']}:")
        for name in sorted(then.keys() & now.keys()):
            print(f"  {name}: {now[name] / then[name]:.2f}x" if then[name] else f"  {name}: {now[name]:.3g}, was 0")
    if "json" in given:
        given["json"].write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
