"""A step's recorded rollouts as one HTML page that loads nothing: no script, style, font or picture of elsewhere.

Completions are hostile. All text is escaped, what cannot be seen is named, and the page's policy lets no script run and
no style apply but its own two, by their checksums, so that a mistake here would still do nothing.
"""

import base64
import hashlib
import html
import math
import re
from collections.abc import Sequence
from typing import Literal

from grpo_lightning.rollout_files import RecordedCompletion, RecordedGroup, RolloutHeader

By = Literal["advantage", "logprob", "ratio"]

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Controls of terminals and of the direction of text, halves of characters, and what takes no room."""

PROBABILITIES = (0.9, 0.5, 0.2, 0.05)
"""A token is coloured the more the less likely it was: below the first, the second, ..."""

LOG_RATIOS = (0.01, 0.05, 0.1, 0.2)
"""And the more the further policy and sampler are apart; the last is about where PPO clips."""


def visible(text: str) -> str:
    """The text with everything named that acts on a terminal or a page or is not seen, but for line ends and tabs."""
    return HIDDEN.sub(_name, text)


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def token_text(text: str) -> str:
    """A token as it is shown, line ends marked; one without a text as a dot."""
    return visible(text).replace("\n", "⏎\n").replace("\t", "⇥\t") or "·"


def level(by: By, completion: RecordedCompletion, token: int, largest: float) -> int | None:
    """How strongly a token is coloured, -4 to 4; None where the quantity is not known.

    `largest` is the largest advantage of all that is shown, in size.
    """
    if by == "logprob":
        value = completion.sampler_logprobs[token]
        return None if math.isnan(value) else sum(math.exp(min(value, 0.0)) < p for p in PROBABILITIES)
    if by == "advantage":
        share = completion.advantage / largest if largest else 0.0
        return None if math.isnan(share) else math.floor(4 * share) if share < 0 else math.ceil(4 * share)
    policy = completion.policy_logprobs
    log_ratio = math.nan if policy is None else policy[token] - completion.sampler_logprobs[token]
    size = sum(abs(log_ratio) > edge for edge in LOG_RATIOS)
    return None if math.isnan(log_ratio) else size if log_ratio > 0 else -size


def largest_advantage(groups: Sequence[RecordedGroup]) -> float:
    """In size, over all completions."""
    return max((abs(c.advantage) for group in groups for c in group.completions), default=0.0)


def about_ratio(header: RolloutHeader) -> str:
    """What the recorded ratio is of."""
    if header.updates == 1:
        return (
            "ratio: policy to sampler before the step's only update, so what differs from 1 is between the engine that "
            "sampled and the policy"
        )
    return (
        f"ratio: policy to sampler when the step's {header.updates} updates last looked at the completion, before the "
        "last one that it is part of"
    )


def number(value: float, form: str = "g") -> str:
    """A number with a real minus; a dash for what there is none of."""
    return "–" if math.isnan(value) else format(value, form).replace("-", "−")


# ------------------------------------------------------------------------------------------------------------- the page

STYLE = """
:root { --ink: #1c2330; --soft: #677084; --line: #dfe3ea; --card: #fff; --ground: #f4f6f9; --accent: #2f5bd7;
  --plus: 34 150 84; --minus: 214 59 59; --low: 235 122 20; --more: 214 59 59; --less: 38 110 214; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --soft: #97a1b3; --line: #323a48; --card: #1b212b;
  --ground: #12161d; --accent: #86a8ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, .head { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
h1 { font-size: 21px; margin: 26px 0 2px; }
.soft { color: var(--soft); font-size: 13.5px; }
nav { position: sticky; top: 0; z-index: 1; background: var(--ground); border-bottom: 1px solid var(--line); }
nav .head { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 18px;
  padding-top: 10px; padding-bottom: 10px; }
.switch { display: inline-flex; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.switch button { border: 0; background: var(--card); color: var(--ink); font: inherit; font-size: 13.5px;
  padding: 5px 13px; cursor: pointer; border-left: 1px solid var(--line); }
.switch button:first-child { border-left: 0; }
.switch button[aria-pressed=true] { background: var(--accent); color: var(--card); }
.legend { display: none; font-size: 13px; color: var(--soft); }
.legend i { padding: 2px 7px; margin: 0 1px; border-radius: 3px; color: var(--ink); }
.group { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 18px 0;
  padding: 4px 20px; content-visibility: auto; contain-intrinsic-size: auto 700px; }
.group > summary { cursor: pointer; list-style: none; padding: 10px 0; }
.group > summary::-webkit-details-marker { display: none; }
.group h2 { font-size: 13.5px; margin: 0; color: var(--soft); font-weight: 600; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; overflow: hidden; }
.prompt { font-weight: 600; margin: 2px 0; max-height: 16em; overflow-y: auto; }
.one { border-top: 1px solid var(--line); padding: 9px 0 11px; }
.out { opacity: .55; }
.facts { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 20px; font-size: 13px;
  font-variant-numeric: tabular-nums; margin-bottom: 2px; }
.facts b { color: var(--soft); font-weight: 400; margin-right: 6px; overflow-wrap: anywhere; }
.facts .advantage { font-size: 17px; font-weight: 650; min-width: 58px; }
.facts .plus { color: rgb(var(--plus)); } .facts .minus { color: rgb(var(--minus)); }
.tokens { font: 13.5px/1.75 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.tokens i { border-radius: 2px; } i { font-style: normal; }
.tokens i:hover { outline: 1.5px solid var(--accent); }
"""

SCRIPT = """
const page = document.body;
const buttons = [...document.querySelectorAll('button[data-by]')];
const show = by => {
  page.dataset.by = by;
  buttons.forEach(each => each.setAttribute('aria-pressed', String(each.dataset.by === by)));
};
buttons.forEach(each => each.addEventListener('click', () => show(each.dataset.by)));
show(page.dataset.by);
page.addEventListener('mouseover', event => {
  const token = event.target, facts = token.dataset && token.dataset.t;
  if (!facts || token.title) return;
  const [id, logprob, ratio] = facts.split(' ');
  const p = logprob === '–' ? '' : ` (p = ${Math.exp(Number(logprob.replace('−', '-'))).toPrecision(3)})`;
  token.title = `token ${id}\\nlog-prob ${logprob}${p}\\nratio ${ratio}`;
});
"""

STRENGTHS = (0.16, 0.32, 0.5, 0.72)
LETTERS: dict[By, str] = {"advantage": "a", "logprob": "l", "ratio": "r"}
COLOURS: dict[By, tuple[str, str]] = {
    "advantage": ("minus", "plus"),
    "logprob": ("low", "low"),
    "ratio": ("less", "more"),
}


def colour_rules() -> str:
    """What a level looks like, under each quantity that the page may be coloured by."""
    rules = []
    for by, letter in LETTERS.items():
        for sign, colour in zip((-1, 1), COLOURS[by], strict=True):
            for size, strength in enumerate(STRENGTHS, start=1):
                name = f".{letter}{_class_number(sign * size)}"
                rules.append(f"[data-by={by}] {name} {{ background: rgb(var(--{colour}) / {strength}); }}")
        rules.append(f"[data-by={by}] .{letter}x {{ color: var(--soft); }}")
        rules.append(f"[data-by={by}] .legend.{by} {{ display: inline; }}")
    return "\n".join(rules)


def page(run: str, header: RolloutHeader, groups: Sequence[tuple[int, RecordedGroup]], *, by: By = "advantage") -> str:
    """The whole page; `groups` come with their numbers, `by` is what tokens are coloured by at first."""
    largest = largest_advantage([group for _, group in groups])
    title = f"{run}, step {header.step}"
    style, script = STYLE + colour_rules(), SCRIPT
    own = f"style-src '{_checksum(style)}'; script-src '{_checksum(script)}'"
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; {own}"
    switch = "".join(
        f'<button type="button" data-by="{each}">{label}</button>'
        for each, label in (("advantage", "advantage"), ("logprob", "log-prob"), ("ratio", "ratio"), ("none", "none"))
    )
    facts = f"rollout {header.rollout} · temperature {header.sampling.get('temperature')} · {about_ratio(header)}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body data-by={_escaped(by)}>",
            f'<div class="head"><h1>{_escaped(title)}</h1><div class="soft">{_escaped(facts)}</div></div>',
            f'<nav><div class="head"><span class="soft">colour by</span><span class="switch">{switch}</span>',
            f"{_legends()}</div></nav>\n<main>",
            *(_group(place, group, largest) for place, group in groups),
            f"</main>\n<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _legends() -> str:
    signs = [-4, -3, -2, -1, 1, 2, 3, 4]
    words: dict[By, tuple[str, str, list[int]]] = {
        "advantage": ("worse than its group", "better", signs),
        "logprob": ("likely", "unlikely, as sampled", [0, 1, 2, 3, 4]),
        "ratio": ("less likely now", "more likely now (darkest beyond a factor of 1.22)", signs),
    }
    return "".join(
        f'<span class="legend {by}">{low} '
        + "".join(f'<i class="{LETTERS[by]}{_class_number(each)}">&nbsp;</i>' for each in levels)
        + f" {high}</span>"
        for by, (low, high, levels) in words.items()
    )


def _group(place: int, group: RecordedGroup, largest: float) -> str:
    answer = "" if group.answer is None else f" · answer {_escaped(group.answer)}"
    return "\n".join(
        [
            f'<details class="group" open><summary><h2>group {place} · prompt {group.uid}{answer}</h2>',
            f'<div class="text prompt">{_escaped(group.prompt)}</div></summary>',
            *(_completion(completion, largest) for completion in group.completions),
            "</details>",
        ]
    )


def _completion(completion: RecordedCompletion, largest: float) -> str:
    advantage = completion.advantage
    sign = " plus" if advantage > 0 else " minus" if advantage < 0 else ""
    facts = [("reward", number(completion.reward, ".4g"))] if len(completion.rewards) > 1 else []
    facts += [(name, number(value, ".4g")) for name, value in completion.rewards.items()]
    facts += [("tokens", f"{len(completion.token_ids)}, {completion.stop_reason}")]
    facts += [] if completion.trained else [("left out", "not trained on")]
    rows = "".join(f"<span><b>{_escaped(name)}</b>{_escaped(value)}</span>" for name, value in facts)
    ratios = completion.ratios or (math.nan,) * len(completion.token_ids)
    tokens = "".join(_token(completion, place, ratio, largest) for place, ratio in enumerate(ratios))
    return (
        f'<div class="one{"" if completion.trained else " out"}"><div class="facts">'
        f'<span class="advantage{sign}">{number(advantage, "+.2f")}</span>{rows}</div>'
        f'<div class="text tokens">{tokens}</div></div>'
    )


def _token(completion: RecordedCompletion, place: int, ratio: float, largest: float) -> str:
    levels = {letter: level(by, completion, place, largest) for by, letter in LETTERS.items()}
    classes = " ".join(f"{letter}{_class_number(found)}" for letter, found in levels.items() if found != 0)
    logprob = number(completion.sampler_logprobs[place], ".4f")
    facts = f"{completion.token_ids[place]} {logprob} {number(ratio, '.4f')}"
    return f'<i class="{classes}" data-t="{facts}">{_escaped(token_text(completion.token_texts[place]))}</i>'


def _class_number(found: int | None) -> str:
    return "x" if found is None else f"m{-found}" if found < 0 else str(found)


def _escaped(text: str) -> str:
    return html.escape(visible(text))


def _checksum(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
