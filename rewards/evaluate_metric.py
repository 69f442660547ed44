"""Any metric of the `evaluate` library as a reward, completion by completion: https://huggingface.co/docs/evaluate.

Not a corpus metric: one like BLEU is computed for a single pair of texts, where it is coarser than over a test set.
"""

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

from grpo_lightning.types import Record
from rewards.tags import only

if TYPE_CHECKING:
    from evaluate.module import EvaluationModule


class EvaluateMetric:
    """What a metric says of the completion as the prediction and the row's answer as the reference.

    The metric is loaded when the reward is made, and again when a worker starts. Its script is code that runs with your
    rights. A row without a reference has no score; what the metric raises counts as the reward's failure.

    Args:
        path: A local script or its folder, which needs no network; or the name of a metric on the hub, like `bleu`.
        result: Which of its results is the reward; null: there is only one.
        config_name: The metric's configuration, where it has several.
        column: Column of the row that holds the reference, such as a list of texts; null: the row's answer.
        tag: The tag that holds the prediction, empty where it is missing; null: the whole completion.
        compute: Further arguments of the metric's `compute`.

    """

    def __init__(
        self,
        path: str,
        result: str | None = None,
        config_name: str | None = None,
        column: str | None = None,
        tag: str | None = None,
        compute: dict[str, object] | None = None,
    ) -> None:
        if not path:
            raise ValueError("EvaluateMetric.path: '' is refused; give the path of a script or the name of a metric")
        if tag == "":
            raise ValueError("EvaluateMetric.tag: '' is refused; name a tag, or null for the whole completion")
        if reserved := {"predictions", "references"} & (compute or {}).keys():
            raise ValueError(
                f"EvaluateMetric.compute: {', '.join(sorted(reserved))} comes from the record; leave it out"
            )
        self.path, self.result, self.config_name = path, result, config_name
        self.column, self.tag, self.compute = column, tag, dict(compute or {})
        self._metric = self._load()

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        return [self.score(record) for record in records]

    def __getstate__(self) -> dict[str, object]:
        """Without the metric, which lives in a module of its own that cannot be pickled."""
        return {key: value for key, value in self.__dict__.items() if key != "_metric"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._metric = self._load()

    def score(self, record: Record) -> float | None:
        """The metric's result for one record, or None without a reference."""
        reference = record.answer if self.column is None else record.row.get(self.column)
        if reference is None:
            return None
        prediction = record.completion if self.tag is None else only(record.completion, self.tag) or ""
        prediction = prediction.encode(errors="replace").decode()  # half a surrogate pair is no text to any metric
        results = self._metric.compute(predictions=[prediction], references=[reference], **self.compute)
        return self._chosen(results or {})

    def _chosen(self, results: dict[str, object]) -> float:
        names = ", ".join(results)
        if self.result is None and len(results) != 1:
            raise ValueError(f"EvaluateMetric.result: {self.path!r} gives {names}; choose one")
        if self.result is not None and self.result not in results:
            raise ValueError(f"EvaluateMetric.result: {self.path!r} gives {names}, not {self.result!r}")
        value = next(iter(results.values())) if self.result is None else results[self.result]
        if not isinstance(value, Real):
            raise TypeError(f"EvaluateMetric.result: {self.path!r} gives {value!r:.80}; a reward needs a number")
        return float(value)

    def _load(self) -> "EvaluationModule":
        """In memory: processes that share a cache file would wait for each other."""
        from evaluate.loading import load

        try:
            return load(self.path, self.config_name, module_type="metric", keep_in_memory=True, seed=0)
        except Exception as error:  # whatever the script or the hub makes of it
            cause = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            raise ValueError(
                f"EvaluateMetric.path: {self.path!r} cannot be loaded ({cause}); "
                "give the path of a local script, or the name of a metric on the hub while there is a network"
            ) from error
