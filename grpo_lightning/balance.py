"""Whether training follows the rewards in the order of their weights; a warning where it does not."""

from collections import deque
from collections.abc import Mapping
from itertools import permutations
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from grpo_lightning.combine import Combined, Way
from grpo_lightning.module import GRPOModule
from grpo_lightning.parts import Part
from grpo_lightning.watchdogs import warn
from grpo_lightning.ways import followed

NORMALISED = ("mo_grpo", "gdpo", "gd2po", "lexicographic")
"""Ways that keep to the weights already."""

LARGER, CLEARLY = 1.5, 0.1
"""From this ratio on a weight is larger than another; by this much a correlation is."""


class WatchBalance(Callback):
    """Warns, once for each pair, when training follows an objective of small weight more than one of large weight.

    What is followed is the mean correlation of reward and advantage over the last `window` rollouts in which both vary,
    counted negative where it runs against the weight. Constraints pull by multipliers, tiers come one after the other,
    and `tchebycheff` follows what falls shortest: none of these is out of balance.
    """

    def __init__(self, window: int = 20) -> None:
        if window < 1:
            raise ValueError(f"WatchBalance.window: {window} is refused; it must be at least 1")
        self.window = window
        self.seen: dict[str, deque[float]] = {}
        self.warned: set[tuple[str, str]] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = cast(GRPOModule, pl_module)
        assert module.last is not None
        for line in self.noticed(module.recipe.combine.way, module.last.parts, module.last.combined):
            warn(trainer, "rewards out of balance", line)

    def state_dict(self) -> dict[str, Any]:
        """In plain types, so that a run that goes on does not begin anew."""
        return {
            "seen": {name: list(values) for name, values in self.seen.items()},
            "warned": sorted(map(list, self.warned)),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = {name: deque(values, maxlen=self.window) for name, values in state_dict["seen"].items()}
        self.warned = {(large, small) for large, small in state_dict["warned"]}

    def noticed(self, way: Way, parts: Mapping[str, Part], combined: Combined) -> list[str]:
        """Takes one more rollout into account; what is to be said of it."""
        if way == "tchebycheff":
            return []
        weights: dict[str, float] = {}
        for k, (name, part) in enumerate(parts.items()):
            if part.trains:
                weights[name] = abs(float(combined.weights[k]))
                value = followed(combined.trained[:, :, k], combined.advantages) * float(combined.signs[k])
                if not np.isnan(value):
                    self.seen.setdefault(name, deque(maxlen=self.window)).append(value)
        means = {name: float(np.mean(seen)) for name, seen in self.seen.items() if len(seen) == self.window}
        lines = []
        for large, small in permutations(means, 2):
            outweighs = 0 < LARGER * weights[small] < weights[large] and parts[large].tier == parts[small].tier
            if outweighs and means[small] > means[large] + CLEARLY and (large, small) not in self.warned:
                self.warned.add((large, small))
                kept = "a gate or other weights help"
                ways = "combine.way: mo_grpo or gdpo, a gate, or tiers keep to the weights"
                advice = kept if way in NORMALISED else ways
                lines.append(
                    f"training follows {small!r} (weight {weights[small]:g}, correlation {means[small]:.2f}) "
                    f"more than {large!r} (weight {weights[large]:g}, {means[large]:.2f}); {advice}"
                )
        return lines
