"""Every text reward as a config names it: from YAML, in a worker's hands, and refused where an argument is wrong."""

import dataclasses
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from grpo_lightning.scoring import RewardSpec
from grpo_lightning.types import Record
from rewards.chat_endpoint import Endpoint
from rewards.evaluate_metric import EvaluateMetric
from rewards.exact_match import ExactMatch
from rewards.json_schema import JsonSchema
from rewards.language import Script
from rewards.length import Cosine, Overlong, Target
from rewards.llm_judge import LLMJudge
from rewards.regex_match import Regex
from rewards.repetition import Repetition
from rewards.reward_model import RewardModel
from rewards.steps import Steps

ENDPOINT = Endpoint(url="http://localhost:8000/v1", model="m")
RECORD = Record(prompt="2+2?", completion="4", token_ids=(5,) * 10, answer="4", row={}, stop_reason="eos")


def parsed(yaml: str) -> list[RewardSpec]:
    """The list of rewards in a config."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--rewards", type=list[RewardSpec])
    parser.add_argument("--config", action="config")
    text = "rewards:\n" + "".join(f"  {line}\n" for line in yaml.strip().splitlines())
    return parser.instantiate_classes(parser.parse_string(text)).rewards


@pytest.mark.parametrize(
    ("yaml", "score"),
    [
        (r"{class_path: rewards.regex_match.Regex, init_args: {pattern: '\d+', whole: true}}", 1.0),
        ("{class_path: rewards.json_schema.JsonSchema, init_args: {schema: {type: integer, minimum: 5}}}", 0.0),
        ("{class_path: rewards.json_schema.JsonSchema, init_args: {column: schema, tag: json}}", None),
        ("{class_path: rewards.length.Target, init_args: {tokens: 20, tolerance: 5, falloff: 10}}", 0.5),
        ("{class_path: rewards.length.Overlong, init_args: {limit: 12, buffer: 4}}", -0.5),
        ("{class_path: rewards.repetition.Repetition, init_args: {n: 2}}", -8 / 9),
        ("{class_path: rewards.repetition.Repetition, init_args: {unit: word}}", 0.0),
        ("{class_path: rewards.language.Script, init_args: {scripts: [Latin, Greek]}}", 0.0),
        ("rewards.steps.Steps", 0.0),
        ("{class_path: rewards.steps.Steps, init_args: {wanted: 2, words: 2, tag: think}}", 0.0),
    ],
)
def test_from_yaml(yaml: str, score: float | None) -> None:
    """`4`, ten equal tokens: 8 of their 9 pairs repeat the first."""
    (spec,) = parsed(f"- {{weight: 0.5, reward: {yaml}}}")
    given = pickle.loads(pickle.dumps(spec.reward))([RECORD])
    assert given == [score if score is None else pytest.approx(score)]


def test_a_reward_within_a_reward() -> None:
    (spec,) = parsed(
        """
- name: answer
  reward:
    class_path: rewards.length.Cosine
    init_args:
      correct: {class_path: rewards.exact_match.ExactMatch, init_args: {tag: null}}
      limit: 20
      right: [1.0, 0.5]
      wrong: [-1.0, -0.5]
      exceeded: -1.0
"""
    )
    assert pickle.loads(pickle.dumps(spec.reward))([RECORD]) == [pytest.approx(0.75)]


def test_a_judge_from_yaml() -> None:
    (spec,) = parsed(
        """
- inline: true
  reward:
    class_path: rewards.llm_judge.LLMJudge
    init_args:
      endpoint: {url: http://localhost:8000/v1, model: judge, retries: 1, options: {max_tokens: 64}}
      rubric: |
        Is {completion} right? Answer in JSON, like {"why": "...", "score": 3}.
      score: '"score": *(\\d)'
      low: 1
      high: 3
"""
    )
    judge = pickle.loads(pickle.dumps(spec.reward))
    assert judge.endpoint == Endpoint(
        url="http://localhost:8000/v1", model="judge", retries=1, options={"max_tokens": 64}
    )
    assert judge.read('{"why": "fine", "score": 2}') == 0.5


def test_a_reward_model_from_yaml(tmp_path: Path) -> None:
    arguments = f"{{pretrained: {tmp_path}, output: sigmoid, batch_size: 4, device: cpu, dtype: bfloat16}}"
    (spec,) = parsed(
        f"- {{inline: true, reward: {{class_path: rewards.reward_model.RewardModel, init_args: {arguments}}}}}"
    )
    assert pickle.loads(pickle.dumps(spec.reward)).__dict__ == spec.reward.__dict__
    assert (spec.reward.output, spec.reward.batch_size, spec.reward.dtype) == ("sigmoid", 4, "bfloat16")


@pytest.mark.parametrize(
    ("made", "arguments", "key"),
    [
        (Regex, {"pattern": ""}, "pattern"),
        (Regex, {"pattern": "(a"}, "pattern"),
        (JsonSchema, {}, "schema"),
        (JsonSchema, {"schema": {}, "column": "schema"}, "schema"),
        (JsonSchema, {"schema": {}, "tag": ""}, "tag"),
        (Target, {"tokens": 0}, "tokens"),
        (Target, {"tokens": 5, "tolerance": -1}, "tolerance"),
        (Target, {"tokens": 5, "falloff": 0}, "falloff"),
        (Overlong, {"limit": 0, "buffer": 1}, "limit"),
        (Overlong, {"limit": 5, "buffer": 0}, "buffer"),
        (Overlong, {"limit": 5, "buffer": 6}, "buffer"),
        (Cosine, {"correct": None, "limit": 5}, "correct"),
        (Cosine, {"correct": ExactMatch(), "limit": 0}, "limit"),
        (Cosine, {"correct": ExactMatch(), "limit": 5, "right": (1.0, float("nan"))}, "right"),
        (Cosine, {"correct": ExactMatch(), "limit": 5, "wrong": (float("inf"), 0.0)}, "wrong"),
        (Cosine, {"correct": ExactMatch(), "limit": 5, "exceeded": float("nan")}, "exceeded"),
        (Repetition, {"n": 0}, "n"),
        (Repetition, {"unit": "letter"}, "unit"),
        (Script, {"scripts": []}, "scripts"),
        (Script, {"scripts": "Latin"}, "scripts"),
        (Script, {"scripts": ["Latin", "English"]}, "scripts"),
        (Script, {"scripts": ["Latin}[^x"]}, "scripts"),
        (Script, {"scripts": ["Common"]}, "scripts"),
        (Steps, {"wanted": 0}, "wanted"),
        (Steps, {"words": 0}, "words"),
        (Steps, {"tag": ""}, "tag"),
        (RewardModel, {"pretrained": ""}, "pretrained"),
        (RewardModel, {"pretrained": "m", "output": "tanh"}, "output"),
        (RewardModel, {"pretrained": "m", "label": -1}, "label"),
        (RewardModel, {"pretrained": "m", "batch_size": 0}, "batch_size"),
        (RewardModel, {"pretrained": "m", "max_length": 0}, "max_length"),
        (RewardModel, {"pretrained": "m", "dtype": "int8"}, "dtype"),
        (EvaluateMetric, {"path": ""}, "path"),
        (EvaluateMetric, {"path": "m", "tag": ""}, "tag"),
        (EvaluateMetric, {"path": "m", "compute": {"references": []}}, "compute"),
        (Endpoint, {"url": "localhost:8000", "model": "m"}, "url"),
        (Endpoint, {"url": "file:///etc/hostname", "model": "m"}, "url"),
        (Endpoint, {"url": "http://me:secret@h/v1", "model": "m"}, "url"),
        (Endpoint, {"url": "http://h/v1?api-key=secret", "model": "m"}, "url"),
        (Endpoint, {"url": "http://h/v1#secret", "model": "m"}, "url"),
        (Endpoint, {"url": "http://h/v1", "model": ""}, "model"),
        (Endpoint, {"url": "http://h/v1", "model": "m", "timeout": 0.0}, "timeout"),
        (Endpoint, {"url": "http://h/v1", "model": "m", "retries": -1}, "retries"),
        (Endpoint, {"url": "http://h/v1", "model": "m", "concurrency": 0}, "concurrency"),
        (Endpoint, {"url": "http://h/v1", "model": "m", "options": {"stream": True}}, "options"),
        (Endpoint, {"url": "http://h/v1", "model": "m", "options": {"api_key": "secret"}}, "options"),
        (
            Endpoint,
            {"url": "http://h/v1", "model": "m", "options": {"headers": {"Authorization": "secret"}}},
            "options",
        ),
        (Endpoint, {"url": "http://h/v1", "model": "m", "options": {"a": [{"access-token": "secret"}]}}, "options"),
        (LLMJudge, {"endpoint": ENDPOINT, "rubric": "no place"}, "rubric"),
        (LLMJudge, {"endpoint": ENDPOINT, "rubric": "{completion}", "score": r"\d"}, "score"),
        (LLMJudge, {"endpoint": ENDPOINT, "rubric": "{completion}", "score": "(("}, "score"),
        (LLMJudge, {"endpoint": ENDPOINT, "rubric": "{completion}", "low": 10.0}, "low"),
        (LLMJudge, {"endpoint": ENDPOINT, "rubric": "{completion}", "high": float("inf")}, "low"),
        (LLMJudge, {"endpoint": ENDPOINT, "rubric": "{completion}", "unscored": "drop"}, "unscored"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value)[:40],
)
def test_a_wrong_argument_is_named_on_one_line(made: type, arguments: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{made.__name__}\.{key}\b") as caught:
        made(**arguments)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_async_reward_cannot_decide() -> None:
    async def later(records: object) -> list[float]:
        return [1.0]

    with pytest.raises(ValueError, match=r"^Cosine.correct: .* is async"):
        Cosine(correct=later, limit=5)


def test_the_readme_s_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of 2048 tokens: nearly 1 for the right answer, nearly -1 for the wrong one."""
    monkeypatch.setenv("JUDGE_KEY", "k")
    readme = (Path(__file__).parent.parent / "rewards" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\nrewards:\n(.*?)```", readme, re.DOTALL)
    answer, cosine, judge = parsed(textwrap.dedent(block))
    right = dataclasses.replace(RECORD, completion=r"\boxed{4}")
    wrong = dataclasses.replace(RECORD, completion=r"\boxed{5}")
    assert answer.reward([right, wrong]) == [1.0, 0.0]
    assert cosine.reward([right, wrong]) == [pytest.approx(1.0, abs=0.01), pytest.approx(-1.0, abs=0.01)]
    assert judge.reward.endpoint.timeout < judge.timeout


def test_the_readme_s_reward_in_ten_lines(tmp_path: Path) -> None:
    """Written down as it says, in a folder of a user's own, and its test run there as it says."""
    readme = (Path(__file__).parent.parent / "rewards" / "README.md").read_text(encoding="utf-8")
    reward, test = re.findall(r"```python\n(.*?)```", readme.partition("## Add one in ten lines")[2], re.DOTALL)
    (tmp_path / "rewards").mkdir()
    for text, name in ((reward, "rewards/palindrome.py"), (test, "test_palindrome.py")):
        assert text.startswith(f"# {name}\n")
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-q", "test_palindrome.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_every_reward_is_in_the_readme() -> None:
    folder = Path(__file__).parent.parent / "rewards"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for made in (
        Regex,
        JsonSchema,
        Target,
        Overlong,
        Cosine,
        Repetition,
        Script,
        Steps,
        EvaluateMetric,
        RewardModel,
        LLMJudge,
    ):
        assert f"| `{made.__module__}.{made.__name__}` |" in readme
