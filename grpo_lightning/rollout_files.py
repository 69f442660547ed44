"""Recorded rollouts on disk: for each training step and rank one file of compressed JSON lines. Free of torch.

The first line says which rollout it is and how it was drawn, the second the text of each token in it; then one line for
each group. What JSON has no number for is null (NaN: a reward that does not apply, a log-prob that is not known) or a
string ("inf"). Knows files, not training: `recording` writes them, `generation.recorded` draws from them.
"""

import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np

from grpo_lightning.types import StopReason

T = TypeVar("T")

FOLDER = "rollouts"
"""In the folder of the run."""

NAME = re.compile(r"step-(\d+)(?:-rank-(\d+))?\.jsonl\.gz")

ASIDE = ".writing"
"""Ends the name of a file that is being written; one that was killed leaves it behind."""

FORMAT = 1

LISTED = 12
"""Steps that are named where one is missing."""

LONGEST, MOST = 2**27, 2**32
"""Characters of a line and of a file that are read: a small file may hold any number of equal ones."""

STRICT = json.JSONEncoder(allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutHeader:
    """What a file is of."""

    step: int
    """Optimizer steps taken when this training step had ended: TensorBoard's step, and the checkpoints'."""
    rollout: int
    """How many rollouts came before it."""
    updates: int
    """Optimizer steps of this training step."""
    seed: int
    """What the samples were drawn from, as the generator was told it."""
    run_seed: int
    """seed_everything of the run."""
    group_size: int
    sampling: Mapping[str, Any]
    """The run's `sampling` settings."""
    rewards: tuple[str, ...]
    """Names of the rewards."""
    rank: int = 0
    ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCompletion:
    """One completion, and what became of it."""

    text: str
    token_ids: tuple[int, ...]
    token_texts: tuple[str, ...]
    """Each token decoded by itself, special ones too; a piece of a character shows as U+FFFD."""
    stop_reason: StopReason
    sampler_logprobs: tuple[float, ...]
    """Of each token when it was drawn, as float32, which is what the loss takes them for."""
    policy_logprobs: tuple[float, ...] | None
    """The policy's when the step's updates last looked at the completion, to 5 digits; NaN where a token does not
    train, None where they never looked. The last look comes before the last update that it is part of: with one update
    a rollout, before any, so that what it differs by from the sampler is the engine's."""
    rewards: Mapping[str, float]
    """By name; NaN where one does not apply."""
    reward: float
    """Their weighted sum; NaN where nothing applies or the completion was left out."""
    advantage: float
    trained: bool
    """Whether the update counted it: false where a filter left it, or its group, out."""

    @property
    def ratios(self) -> tuple[float, ...] | None:
        """policy / sampler of each token, at the last look."""
        if self.policy_logprobs is None:
            return None
        return tuple(
            _ratio(policy - sampler)
            for policy, sampler in zip(self.policy_logprobs, self.sampler_logprobs, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGroup:
    """A prompt and its completions."""

    uid: int
    prompt: str
    """What the user asks, before the chat template."""
    answer: str | None
    prompt_ids: tuple[int, ...]
    """The templated, tokenized prompt."""
    completions: tuple[RecordedCompletion, ...]


def recorded_steps(folder: Path) -> list[int]:
    """The steps that are recorded in a run's `rollouts` folder, in order; none if there is no such folder."""
    return sorted({step for step, _, _ in _files(folder)})


def read_step(folder: Path, step: int) -> list[RecordedGroup]:
    """The groups of a step, of all ranks; ValueError in one line where it is not recorded, or a file is damaged."""
    return [group for path in step_files(folder, step) for group in read_groups(path)]


def step_files(folder: Path, step: int) -> list[Path]:
    """A file for each rank; ValueError if the step is not recorded."""
    found = [path for number, _, path in _files(folder) if number == step]
    if not found:
        raise ValueError(f"{folder}: step {step} is not recorded; {which(recorded_steps(folder))}")
    return found


def which(steps: Sequence[int]) -> str:
    """These steps, in words."""
    if not steps:
        return "no step is"
    if len(steps) == 1:
        return f"step {steps[0]} is"
    shown = [str(step) for step in steps]
    if len(shown) > LISTED:
        shown = [*shown[: LISTED // 2], "...", *shown[-LISTED // 2 :]]
    return f"steps {', '.join(shown)} are"


def file_name(step: int, rank: int = 0, ranks: int = 1) -> str:
    """Of one rank's file."""
    return f"step-{step:06d}{f'-rank-{rank}' if ranks > 1 else ''}.jsonl.gz"


def own_files(folder: Path, rank: int) -> list[tuple[int, Path]]:
    """Steps and files of one rank, the first step first."""
    return [(step, path) for step, number, path in _files(folder) if number == rank]


def remove_after(folder: Path, step: int) -> None:
    """Removes what is recorded of later steps, and what a killed run was writing."""
    for number, _, path in _files(folder):
        if number > step:
            path.unlink(missing_ok=True)
    for path in folder.glob(f"*{ASIDE}"):
        path.unlink(missing_ok=True)


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """Step, rank and path of each file, in order."""
    named = [(NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(match[1]), int(match[2] or 0), path) for match, path in named if match)


# ------------------------------------------------------------------------------------------------------------- writing


def write_file(folder: Path, header: RolloutHeader, groups: Sequence[RecordedGroup]) -> Path:
    """Under its name only once it is whole, and the same bytes for the same rollout."""
    texts: dict[int, str] = {}
    for completion in (each for group in groups for each in group.completions):
        texts.update(zip(completion.token_ids, completion.token_texts, strict=True))
    lines = [json.dumps({"format": FORMAT, **asdict(header)}), json.dumps({str(i): texts[i] for i in sorted(texts)})]
    lines += map(_group_to_json, groups)
    content = gzip.compress("".join(f"{line}\n" for line in lines).encode("ascii"), compresslevel=1, mtime=0)
    path = folder / file_name(header.step, header.rank, header.ranks)
    aside = path.with_name(path.name + ASIDE)
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)  # a part of it would keep a full disk full
        raise
    return path


def _group_to_json(group: RecordedGroup) -> str:
    head = {"uid": group.uid, "prompt": group.prompt, "answer": group.answer, "prompt_ids": group.prompt_ids}
    return f'{json.dumps(head)[:-1]}, "completions": [{", ".join(map(_completion_to_json, group.completions))}]}}'


def _completion_to_json(completion: RecordedCompletion) -> str:
    head = {
        "text": completion.text,
        "stop_reason": completion.stop_reason,
        "rewards": {name: _to_json(value) for name, value in completion.rewards.items()},
        "reward": _to_json(completion.reward),
        "advantage": _to_json(completion.advantage),
        "trained": completion.trained,
        "token_ids": completion.token_ids,
    }
    policy = completion.policy_logprobs
    return (
        f'{STRICT.encode(head)[:-1]}, "sampler_logprobs": {_numbers(completion.sampler_logprobs)}, '
        f'"policy_logprobs": {"null" if policy is None else _numbers(policy)}}}'
    )


def _numbers(values: Sequence[float]) -> str:
    """To 9 digits, enough to name a float32; several times as fast as `json`, which is what recording costs."""
    text = ("%.9g, " * len(values) % (*values,))[:-2]
    return f"[{text}]" if "n" not in text else json.dumps([*map(_to_json, values)])  # nan, inf


def _to_json(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


# ------------------------------------------------------------------------------------------------------------- reading


def read_header(path: Path) -> RolloutHeader:
    """The first line of a file."""
    with _named(path):
        return _header_from_json(next(_lines(path)))


def read_groups(path: Path) -> list[RecordedGroup]:
    """The groups of one rank."""
    with _named(path):
        lines = _lines(path)
        _header_from_json(next(lines))
        texts = {int(number): _typed(str, text) for number, text in next(lines).items()}
        return [_group_from_json(line, texts) for line in lines]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file's content, said in one line with its name."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        RecursionError,
        StopIteration,
        TypeError,
        ValueError,
    ) as error:
        why = " ".join(f"{type(error).__name__} {error}".split())
        raise ValueError(f"{path}: is no recorded rollout, or a damaged one ({why[:200]}); remove it") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="ascii", newline="\n") as file:
        try:
            left = MOST
            while line := file.readline(LONGEST):
                left -= len(line)
                if len(line) == LONGEST or left < 0:
                    raise ValueError(f"more than {LONGEST} characters in a line, or {MOST} in all")
                yield json.loads(line)
        except zlib.error as error:
            raise ValueError(str(error)) from error


def _header_from_json(line: Mapping[str, Any]) -> RolloutHeader:
    if line["format"] != FORMAT:
        raise ValueError(f"format {line['format']}, {FORMAT} is known")
    fields = {name: value for name, value in line.items() if name not in ("format", "sampling", "rewards")}
    sampling, rewards = _typed(dict, line["sampling"]), tuple(_typed(str, name) for name in line["rewards"])
    for value in fields.values():
        _typed(int, value)
    return RolloutHeader(**fields, sampling=sampling, rewards=rewards)


def _group_from_json(line: Mapping[str, Any], texts: Mapping[int, str]) -> RecordedGroup:
    completions = tuple(_completion_from_json(each, texts) for each in line["completions"])
    return RecordedGroup(
        uid=_typed(int, line["uid"]),
        prompt=_typed(str, line["prompt"]),
        answer=None if line["answer"] is None else _typed(str, line["answer"]),
        prompt_ids=_token_ids(line["prompt_ids"]),
        completions=completions,
    )


def _completion_from_json(line: Mapping[str, Any], texts: Mapping[int, str]) -> RecordedCompletion:
    token_ids, policy = _token_ids(line["token_ids"]), line["policy_logprobs"]
    sampler = np.array(_from_json(line["sampler_logprobs"]), dtype=np.float32).tolist()
    if len(sampler) != len(token_ids) or (policy is not None and len(policy) != len(token_ids)):
        raise ValueError(f"{len(sampler)} log-probs of {len(token_ids)} tokens")
    if line["stop_reason"] not in get_args(StopReason):
        raise ValueError(f"stop_reason {line['stop_reason']!r}")
    return RecordedCompletion(
        text=_typed(str, line["text"]),
        token_ids=token_ids,
        token_texts=tuple(map(texts.__getitem__, token_ids)),
        stop_reason=cast(StopReason, line["stop_reason"]),
        sampler_logprobs=tuple(sampler),
        policy_logprobs=None if policy is None else _from_json(policy),
        rewards=dict(zip(line["rewards"], _from_json(line["rewards"].values()), strict=True)),
        reward=_from_json([line["reward"]])[0],
        advantage=_from_json([line["advantage"]])[0],
        trained=_typed(bool, line["trained"]),
    )


def _typed(kind: type[T], value: object) -> T:
    """The value, if it is of this very type: what is shown and trained on is what it is taken for."""
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:80]!r} is no {kind.__name__}")
    return value


def _token_ids(values: Any) -> tuple[int, ...]:
    return tuple(_typed(int, value) for value in values)


def _from_json(values: Any) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _ratio(log_ratio: float) -> float:
    return math.exp(min(log_ratio, 700.0))  # above, a float has no name for it
