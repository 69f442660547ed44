"""Every recipe trains the quickstart's task, by the numbers it is known for, and leaves nothing of what it replaces."""

import json
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.filters import FilterConfig
from grpo_lightning.objective import ObjectiveConfig
from tests.golden_recipes import GOLDENS, RECIPES, ROLLOUTS, ROOT, train


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_as_it_always_did(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-3 of each number, because another processor may round and, rarely, sample otherwise."""
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    found, golden = train(recipe, tmp_path), json.loads(GOLDENS.read_text(encoding="utf-8"))[recipe.stem]
    assert len(found) == len(golden) == ROLLOUTS
    for row, expected in zip(found, golden, strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_goldens_tell_the_recipes_apart() -> None:
    """All but two: GSPO-token is GSPO as long as all tokens of a sequence share an advantage, its paper says."""
    golden = json.loads(GOLDENS.read_text(encoding="utf-8"))
    assert sorted(golden) == [recipe.stem for recipe in RECIPES]
    token, sequence = golden.pop("gspo_token"), golden["gspo"]
    assert all(a == pytest.approx(b, rel=1e-3, abs=1e-6) for a, b in zip(token, sequence, strict=True))
    last = [tuple(round(value, 6) for value in rows[-1].values()) for rows in golden.values()]
    assert len(set(last)) == len(last)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_sets_everything_it_is_about(recipe: Path) -> None:
    """So that, as a second --config, nothing of the first one's objective remains."""
    model = yaml.safe_load(recipe.read_text(encoding="utf-8"))["model"]
    groups = {"filters": FilterConfig(), "advantage": AdvantageConfig(), "objective": ObjectiveConfig()}
    assert model.keys() - {"update"} == groups.keys()

    def complete(config: object, settings: dict[str, object], where: str) -> None:
        assert is_dataclass(config)
        names = [field.name for field in fields(config)]
        assert sorted(names) == sorted(settings), where
        for name in names:
            if is_dataclass(getattr(config, name)):
                complete(getattr(config, name), settings[name], f"{where}.{name}")

    for name, config in groups.items():
        complete(config, model[name], name)


def test_every_recipe_stands_in_the_guide() -> None:
    table = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    for recipe in RECIPES:
        assert f"configs/recipes/{recipe.name}" in table, recipe.name
        link = recipe.read_text(encoding="utf-8").partition("https://arxiv.org/abs/")[2][:10]
        assert f"https://arxiv.org/abs/{link}" in table, recipe.name
