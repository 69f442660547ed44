"""Shows the rollouts that a run has recorded: of one step each prompt, its completions, their rewards and advantages.

    python scripts/rollouts.py runs/quickstart                              # the last step
    python scripts/rollouts.py runs/quickstart --step 1 --group 3 --tokens  # one group, token by token
    python scripts/rollouts.py runs/quickstart --sort advantage --html page.html

Colours of tokens: by log-prob (the darker the less likely), by ratio (red: more likely than when it was sampled, blue:
less) or by advantage (green and red). Control characters in completions are shown by name. To page through it:
FORCE_COLOR=1 python scripts/rollouts.py ... | less -R
"""

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from grpo_lightning.rollout_files import (
    FOLDER,
    RecordedCompletion,
    RecordedGroup,
    RolloutHeader,
    read_groups,
    read_header,
    recorded_steps,
    step_files,
    which,
)
from scripts.rollouts_page import By, about_ratio, largest_advantage, level, number, page, token_text, visible

SORTS: dict[str, Callable[[RecordedCompletion], float]] = {
    "advantage": lambda completion: -completion.advantage,
    "reward": lambda completion: math.inf if math.isnan(completion.reward) else -completion.reward,
    "length": lambda completion: -len(completion.token_ids),
}
"""What comes first."""

SHADES: dict[By, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "advantage": (("#fbdcdc", "#f3acac", "#e77676", "#d64545"), ("#d9f2e1", "#a9dfba", "#6cc48a", "#2f9e58")),
    "logprob": ((), ("#fdebd3", "#fbd09b", "#f5a74f", "#e0720f")),
    "ratio": (("#d9e7fb", "#a8c8f5", "#6a9fe8", "#2f6fd0"), ("#fbdcdc", "#f3acac", "#e77676", "#d64545")),
}
"""Backgrounds below and above 0, from the faintest."""

Numbered = tuple[int, RecordedGroup]


def chosen(folder: Path, given: argparse.Namespace) -> tuple[RolloutHeader, list[Numbered]]:
    """The header of the step that is asked for, and its groups, with their numbers."""
    steps = recorded_steps(folder)
    if not steps:
        raise ValueError(f"{folder}: no rollouts are recorded there; name the folder of a run that has recorded some")
    paths = step_files(folder, steps[-1] if given.step is None else given.step)
    groups = list(enumerate(group for path in paths for group in read_groups(path)))
    found = [
        (place, group) for place, group in groups if given.group in (None, place) and given.uid in (None, group.uid)
    ]
    if not found and given.group is not None:
        raise ValueError(f"--group: there is no group {given.group}; step {step_of(paths)} has 0 to {len(groups) - 1}")
    if not found:
        uids = ", ".join(str(group.uid) for _, group in groups[:20])
        raise ValueError(f"--uid: step {step_of(paths)} has no prompt {given.uid}; it has {uids}")
    return read_header(paths[0]), [(place, in_order(group, given.sort)) for place, group in found]


def step_of(paths: Sequence[Path]) -> int:
    return read_header(paths[0]).step


def in_order(group: RecordedGroup, sort: str | None) -> RecordedGroup:
    """The group with its completions in the order that is asked for."""
    if sort is None:
        return group
    return replace(group, completions=tuple(sorted(group.completions, key=SORTS[sort])))


def show(console: Console, header: RolloutHeader, groups: Sequence[Numbered], by: By | None) -> None:
    """Prints the groups; tokens coloured by `by`, if by anything."""
    largest = largest_advantage([group for _, group in groups])
    for place, group in groups:
        console.print(Rule(Text(f"group {place} · prompt {group.uid}", style="bold"), align="left", style="dim"))
        console.print(Text(visible(group.prompt), style="bold"))
        if group.answer is not None:
            console.print(Text(f"answer {visible(group.answer)}", style="dim"))
        for completion in group.completions:
            console.print()
            console.print(facts(completion))
            text = Text(visible(completion.text)) if by is None else coloured(completion, by, largest)
            console.print(Padding(text, (0, 0, 0, 2)))
        console.print()
    if by is not None:
        console.print(Text(legend(by, header), style="dim"))


def facts(completion: RecordedCompletion) -> Text:
    """Advantage, rewards, stop reason and length, on one line."""
    advantage = completion.advantage
    line = Text(
        f"{number(advantage, '+.3f')}", style="bold green" if advantage > 0 else "bold red" if advantage else ""
    )
    rewards = {"reward": completion.reward} if len(completion.rewards) > 1 else {}
    for name, value in (rewards | dict(completion.rewards)).items():
        line.append(f"  {visible(name)} ", style="dim").append(number(value, ".4g"), style="none")
    line.append(f"  {completion.stop_reason}, {len(completion.token_ids)} tokens", style="dim")
    return line if completion.trained else line.append("  left out", style="yellow")


def coloured(completion: RecordedCompletion, by: By, largest: float) -> Text:
    """Token by token, special ones too."""
    text = Text()
    for place, token in enumerate(completion.token_texts):
        found = level(by, completion, place, largest)
        style = "dim" if found is None else ""
        if found:
            style = f"black on {SHADES[by][found > 0][abs(found) - 1]}"
        text.append(token_text(token), style=style)
    return text


def legend(by: By, header: RolloutHeader) -> str:
    return {
        "advantage": "advantage: green above the group, red below; the same for all tokens of a completion",
        "logprob": "log-prob, as sampled: coloured below a probability of 0.9, and more below 0.5, 0.2 and 0.05",
        "ratio": f"{about_ratio(header)}; red: more likely than when sampled, blue: less; grey: not known",
    }[by]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run, or its folder `rollouts`")
    parser.add_argument("--step", type=int, help="as in TensorBoard and in names of checkpoints; the last if left out")
    which_group = parser.add_mutually_exclusive_group()
    which_group.add_argument("--group", type=int, help="number of a group in the step, from 0; all if left out")
    which_group.add_argument("--uid", type=int, help="number of a prompt in the data")
    parser.add_argument("--sort", choices=list(SORTS), help="of a group's completions, the highest first")
    parser.add_argument("--tokens", action="store_true", help="token by token, coloured")
    parser.add_argument("--by", choices=list(SHADES), help="what tokens are coloured by; log-prob if left out")
    parser.add_argument("--html", type=Path, help="write a page instead, which can be coloured by each")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    given = arguments().parse_args(words)
    folder = given.run / FOLDER if (given.run / FOLDER).is_dir() else given.run
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # of a terminal that knows fewer characters
    try:
        header, groups = chosen(folder, given)
        if given.html is not None:
            text = page(given.run.resolve().name, header, groups, by=given.by or "advantage")
            given.html.write_text(text, encoding="utf-8")
            print(f"{len(groups)} groups of step {header.step} written to {given.html}")
            return
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(
            Text(visible(f"{given.run}: {which(recorded_steps(folder))} recorded"), style="dim"), soft_wrap=True
        )
        console.print(Text(f"step {header.step}, rollout {header.rollout}", style="bold"))
        by: By | None = (given.by or "logprob") if given.tokens or given.by else None
        show(console, header, groups, by)
    except BrokenPipeError:  # who read it, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError) as error:
        sys.exit(f"rollouts: {visible(' '.join(str(error).split()))}")


if __name__ == "__main__":
    main()
