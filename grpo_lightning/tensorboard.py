"""What TensorBoard shows besides single curves: pages of charts, histograms, and the settings of runs side by side.

Pages and settings are written in each session: TensorBoard takes the last of the former and the first of the latter, so
that a run which was ended and goes on stays one run.
"""

import json
import re
import time
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Literal, cast

import numpy as np
from jsonargparse import get_loader
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from torch.utils.tensorboard import SummaryWriter

from grpo_lightning.interruption import interrupted
from grpo_lightning.module import GRPOModule
from grpo_lightning.resuming import NO_SETTING, leaves

Chart = str | tuple[str, str, str]
"""The metrics that match a pattern, or a metric with its lower and upper bound."""

PAGES: Mapping[str, Mapping[str, Chart]] = {
    "learning": {
        "accuracy in training": r"^accuracy$",
        "accuracy on held-out prompts, greedy": ("val/accuracy", "val/accuracy/low", "val/accuracy/high"),
        "accuracy on held-out prompts, sampled": (
            "val/accuracy_sampled",
            "val/accuracy_sampled/low",
            "val/accuracy_sampled/high",
        ),
        "other measures on held-out prompts": (
            r"^val/(?!.*/(low|high)$)(?!accuracy(_sampled)?$)(?!(.*/)?(reward/|length))"
        ),
        "reward that is trained on": r"^reward$",
        "each reward on held-out prompts": r"^val/(.*/)?reward/[^/]+$",
        "tokens of a completion": r"^completion/tokens",
        "tokens on held-out prompts": r"^val/(.*/)?length[^/]*$",
        "why completions end": r"^stop/",
        "how groups come out": r"^groups/(mixed|all_right|all_wrong|unscored)$",
        "groups without signal": r"^groups/zero_signal$",
        "completions that are there twice in a group": r"^completion/duplicates$",
    },
    "rewards": {
        "mean": r"^reward/[^/]+$",
        "what is followed: correlation with the advantage": r"^reward/[^/]+/followed$",
        "share of the advantage": r"^reward/[^/]+/share$",
        "weight, or multiplier of a constraint": r"^reward/[^/]+/weight$",
        "mean above its bound": r"^reward/[^/]+/above_bound$",
        "conflict: share of completions that two rewards pull apart": r"^conflict/",
        "groups that it does not tell apart": r"^reward/[^/]+/zero_signal$",
        "spread": r"^reward/[^/]+/std$",
        "smallest and largest": r"^reward/[^/]+/(min|max)$",
        "share of completions that it applies to": r"^reward/[^/]+/applies$",
        "failures": r"^reward/[^/]+/(errors|crashes|timeouts)$",
    },
    "stability": {
        "entropy per token": r"^(sampler|update)/entropy$",
        "KL to the policy that sampled, after updates": r"^update/kl_to_sampler$",
        "KL to the reference": r"^update/kl_to_reference$",
        "effective sample size of the ratios": r"^update/ess$",
        "ratio, mean and largest": r"^update/ratio(_max)?$",
        "share of tokens held by clipping": r"^update/clipped_(low|high)$",
        "norm of the gradient": r"^update/grad_norm$",
        "steps that were not finite": r"^update/skipped$",
        "loss": r"^update/loss$",
        "advantages, mean size and largest": r"^advantage/",
        "engine against policy, before updates": r"^sampler/(kl|gap|gap_max|truncation_gap)$",
        "share of tokens that do not train": r"^masked/",
        "groups that do not train": r"^dropped/",
        "learning rate": r"^update/lr$",
        "coefficients of KL and entropy": r"^update/(beta|entropy_bonus)$",
    },
    "speed": {
        "tokens per second": r"^speed/",
        "seconds of each stage": r"^time/(rollout|reward|prepare|update|wait)$",
        "seconds of a rollout: prompts, completions": r"^time/rollout/",
        "rounds of a rollout": r"^rollout/rounds$",
        "groups of a rollout, on each device": r"^rollout/groups$",
        "seconds to score a completion, median and slowest": r"^reward/[^/]+/latency_",
        "seconds of scoring, summed over workers": r"^reward/[^/]+/seconds$",
    },
}
"""Pages of TensorBoard's CUSTOM SCALARS tab: title of a chart -> what is in it."""

SCORES = (
    *("final/accuracy", "final/accuracy_sampled", "final/length"),
    *("val/accuracy", "val/accuracy_sampled", "accuracy", "reward", "completion/tokens", "speed/tokens_per_second"),
)
"""What TensorBoard's HPARAMS tab shows of a run: its last values. `final/` are of the test split, at the end."""


def writers(trainer: Trainer) -> list[SummaryWriter]:
    """TensorBoard's, on the first rank; none on others."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]


class Pages(Callback):
    """Puts related metrics on one page of TensorBoard's CUSTOM SCALARS tab, those that the run has."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self._written: Layout = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        metrics = cast(GRPOModule, pl_module).metrics
        if not metrics.keys() <= self.known:
            self.known |= metrics.keys()
            self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.known |= trainer.callback_metrics.keys()
            self._write(trainer)

    def state_dict(self) -> dict[str, list[str]]:
        return {"known": sorted(self.known)}

    def load_state_dict(self, state_dict: dict[str, list[str]]) -> None:
        self.known = set(state_dict["known"])

    def _write(self, trainer: Trainer) -> None:
        wanted = layout(self.known)
        if wanted != self._written:
            self._written = wanted
            for writer in writers(trainer):
                writer.add_custom_scalars(wanted)


Layout = dict[str, dict[str, list[object]]]
"""Page, chart, and what TensorBoard's writer wants to know of it."""


def layout(known: Set[str]) -> Layout:
    """The charts of PAGES that show any of these metrics; bounds only where there are both."""
    found: Layout = {}
    for page, charts in PAGES.items():
        for title, what in charts.items():
            if isinstance(what, str) and any(re.match(what, name) for name in known):
                found.setdefault(page, {})[title] = ["Multiline", [what]]
            elif not isinstance(what, str) and known >= set(what):
                found.setdefault(page, {})[title] = ["Margin", list(what)]
            elif what[0] in known:
                found.setdefault(page, {})[title] = ["Multiline", [f"^{what[0]}$"]]
    return found


class Histograms(Callback):
    """Writes how each reward and the advantages are distributed, over everything that a rollout generated.

    Args:
        every_n_rollouts: How often.

    """

    def __init__(self, every_n_rollouts: int = 5) -> None:
        if every_n_rollouts < 1:
            raise ValueError(f"Histograms.every_n_rollouts: {every_n_rollouts} is refused; it must be at least 1")
        self.every_n_rollouts = every_n_rollouts

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = cast(GRPOModule, pl_module)
        if module.last is None or module.iteration % self.every_n_rollouts:
            return
        found = {f"rewards/{name}": module.last.values[:, :, k] for k, name in enumerate(module.last.parts)}
        found["advantages"] = module.last.combined.advantages[~np.isnan(module.last.combined.total)]
        for writer in writers(trainer):
            for name, values in found.items():
                finite = values[np.isfinite(values)]
                if finite.size:
                    writer.add_histogram(name, finite, trainer.global_step)


class HParams(Callback):
    """Puts the run's settings and scores into TensorBoard's HPARAMS tab, so that runs compare there.

    Settings are those of the run's `config.yaml`. Scores need no ending: a run that was killed shows its last ones.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = Path(trainer.default_root_dir) / "config.yaml"
        if not path.is_file():
            return
        settings = flat(get_loader("yaml")(path.read_text(encoding="utf-8")))
        for writer in writers(trainer):
            _write(writer, experiment=experiment(settings))
            _write(writer, session_start_info=started(settings))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `BeforeAfter`, if there is one, whose measures are the final ones."""
        if interrupted(trainer) or not trainer.is_global_zero:  # others would read what the first is writing
            return
        path = Path(trainer.default_root_dir) / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        final = summary.get("after", {}) if summary.get("steps") == trainer.global_step else {}
        for writer in writers(trainer):
            for name, value in final.items():
                writer.add_scalar(f"final/{name}", value, trainer.global_step)
        self._end(trainer, "STATUS_SUCCESS")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, KeyboardInterrupt):
            self._end(trainer, "STATUS_FAILURE")

    def _end(self, trainer: Trainer, status: Literal["STATUS_SUCCESS", "STATUS_FAILURE"]) -> None:
        info = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value(status), end_time_secs=time.time())
        for writer in writers(trainer):
            _write(writer, session_end_info=info)


Setting = str | float | bool

SHOWN_FIRST = (
    *("data.prompts_per_step", "model.group_size", "model.objective.kl.beta", "model.optimizer.lr"),
    "seed_everything",
)
"""TensorBoard shows five columns until told otherwise: those that are said to differ, by name."""

UNTOLD = (*NO_SETTING, "checkpoint.", "ranks.", "watchdogs.", "trainer.callbacks", "trainer.enable_", "trainer.logger")
"""Starts of settings that change nothing in what is learnt."""


def flat(config: object) -> dict[str, Setting]:
    """Every setting that is one text, number or truth value, by its dotted name."""
    found = {key: value for key, value in leaves(config) if isinstance(value, str | int | float | bool)}
    return {key: value for key, value in found.items() if not key.startswith(UNTOLD)}


def experiment(settings: Mapping[str, Setting]) -> api_pb2.Experiment:
    """The columns of the tab."""
    kinds = {bool: "DATA_TYPE_BOOL", str: "DATA_TYPE_STRING"}
    return api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=api_pb2.DataType.Value(kinds.get(type(value), "DATA_TYPE_FLOAT64")),
                differs=name in SHOWN_FIRST,
            )
            for name, value in settings.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in SCORES],
    )


def started(settings: Mapping[str, Setting]) -> plugin_data_pb2.SessionStartInfo:
    """A row of the tab."""
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for name, value in settings.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    return info


TAGS = {
    "experiment": metadata.EXPERIMENT_TAG,
    "session_start_info": metadata.SESSION_START_INFO_TAG,
    "session_end_info": metadata.SESSION_END_INFO_TAG,
}


def _write(writer: SummaryWriter, **content: object) -> None:
    """One of TAGS, as TensorBoard's plugin reads it: all of it stands in the description of a summary."""
    (name,) = content
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    summary = metadata.create_summary_metadata(data)
    writer._get_file_writer().add_summary(
        Summary(value=[Summary.Value(tag=TAGS[name], metadata=summary, tensor=metadata.NULL_TENSOR)])
    )
