"""Metrics of the `evaluate` library: (completion, answer, reward) with a small script of our own."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpo_lightning.types import Record
from rewards.evaluate_metric import EvaluateMetric
from tests.test_reward_settings import parsed

SCRIPT = '''
import datasets
import evaluate


class SharedWords(evaluate.Metric):
    """The share of the reference's words that the prediction has."""

    def _info(self):
        text = datasets.Value("string")
        alone = datasets.Features({"predictions": text, "references": text})
        several = datasets.Features({"predictions": text, "references": datasets.Sequence(text)})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=[several, alone])

    def _compute(self, predictions, references, least=0.0):
        (given,), (wanted,) = predictions, references
        wanted = [wanted] if isinstance(wanted, str) else wanted
        if given == "raise":
            raise RuntimeError("as asked")
        best = max(len(set(given.split()) & set(each.split())) / len(each.split()) for each in wanted)
        return {"share": max(best, least), "words": given.split()}
'''


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import evaluate.config

    folder = tmp_path_factory.mktemp("metrics")
    path = folder / "shared_words.py"
    path.write_text(SCRIPT, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])  # the library adds its cache of modules
        for cache in ("HF_MODULES_CACHE", "HF_METRICS_CACHE", "HF_EVALUATE_CACHE"):
            patch.setattr(evaluate.config, cache, folder / cache)
        for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
            patch.delitem(sys.modules, name)  # of another test's cache
        yield str(path)
        for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
            del sys.modules[name]


def record(completion: str, answer: str | None = None, **row: object) -> Record:
    return Record(prompt="", completion=completion, token_ids=(), answer=answer, row=row, stop_reason="eos")


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        ("a b", "a b", 1.0),
        ("a b", "a c", 0.5),
        ("b a " * 1000, "a b", 1.0),
        ("", "a b", 0.0),
        ("a\nb", "a b", 1.0),
        ("a\u200bb", "a b", 0.0),
        ("a \ud800", "a b", 0.5),
        ("\x00 \x1b", "a b", 0.0),
        ("a b", None, None),
    ],
)
def test_a_local_script(script: str, completion: str, answer: str | None, reward: float | None) -> None:
    assert EvaluateMetric(script, result="share")([record(completion, answer)]) == [reward]


def test_each_record_is_computed_alone(script: str) -> None:
    records = [record("a", "a"), record("b", "a"), record("a", "a b")]
    assert EvaluateMetric(script, result="share")(records) == [1.0, 0.0, 0.5]


def test_tag_column_and_arguments(script: str) -> None:
    reward = EvaluateMetric(script, result="share", column="ways", tag="answer", compute={"least": 0.25})
    ways = ["a b", "c"]
    texts = ["<answer>c</answer>", "<answer>a</answer>", "c", "<answer>c</answer><answer>c</answer>"]
    assert reward([record(text, ways=ways) for text in texts]) == [1.0, 0.5, 0.25, 0.25]
    assert reward([record("<answer>c</answer>", "c")]) == [None]


def test_a_failed_record_leaves_no_trace(script: str) -> None:
    reward = EvaluateMetric(script, result="share")
    with pytest.raises(RuntimeError, match="as asked"):
        reward([record("raise", "a")])
    assert reward([record("a", "a b")]) == [0.5]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "gives share, words; choose one"),
        ("f1", "gives share, words, not 'f1'"),
        ("words", r"gives \['a'\]; a reward needs a number"),
    ],
)
def test_the_result_has_to_be_one_number(script: str, result: str | None, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^EvaluateMetric.result: .*{message}"):
        EvaluateMetric(script, result=result)([record("a", "a")])


@pytest.mark.parametrize("path", ["/nowhere/metric.py", "no_such_metric"])
def test_what_cannot_be_loaded_is_refused_at_once(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^EvaluateMetric.path: '{path}' cannot be loaded \(FileNotFound") as caught:
        EvaluateMetric(path)
    assert "\n" not in str(caught.value)


def test_it_loads_again_where_it_is_unpickled(script: str) -> None:
    again = pickle.loads(pickle.dumps(EvaluateMetric(script, result="share")))
    assert again([record("a", "a b")]) == [0.5]


def test_from_yaml(script: str) -> None:
    arguments = f"{{path: {script}, result: share, compute: {{least: 0.25}}}}"
    (spec,) = parsed(f"- reward: {{class_path: rewards.evaluate_metric.EvaluateMetric, init_args: {arguments}}}")
    assert spec.reward([record("c", "a b")]) == [0.25]
