"""Imports run one way: prompts -> rollouts -> rewards -> advantages -> loss -> step. Rewards stay apart."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = [
    {"compiling", "waiting", "symptoms", "trust", "watch", "types", "seeding", "tasks", "parts", "pareto"},
    {"statistics", "measures", "rollout_files", "freed_memory"},
    {"hub", "ranks", "adapters", "attention", "fused", "sharding", "shares", "saving", "interruption"},
    {"policy", "rows", "sources", "workers", "pool", "ray_pool", "advantages", "ways"},
    {
        "failures",
        "exporting",
        "head",
        "head_kernels",
        "prompts",
        "generation",
        "scoring",
        "combine",
        "losses",
        "mismatch",
    },
    {"filters", "packing", "batching", "voting"},
    {"logprobs", "collection", "optimization", "ahead"},
    {"objective", "checks"},
    {"preparation"},
    {"metrics"},
    {"evaluation", "bad_steps"},
    {"policy_module", "replay"},
    {"module"},
    {"callbacks", "recording", "resuming", "checkpoint", "report", "plan", "progress"},
    {"tensorboard"},
    {"watchdogs"},
    {"balance"},
    {"cli"},
    {"__main__"},
]
"""Lowest first. A module imports from lower layers; within a layer too, as long as there is no cycle."""

HEAVY = {"torch", "lightning", "transformers", "datasets", "evaluate", "matplotlib", "sympy", "jsonschema", "regex"}


def imports(path: Path) -> set[str]:
    """Every module that the file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def package_imports(path: Path) -> set[str]:
    """The parts of grpo_lightning that the file imports, as in `generation` for grpo_lightning.generation.engine."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("grpo_lightning.")}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "grpo_lightning").parts[0].removesuffix(".py")


PACKAGE = [path for path in sorted((ROOT / "grpo_lightning").rglob("*.py")) if path.name != "__init__.py"]


def test_every_module_has_its_layer() -> None:
    assert {part_of(path) for path in PACKAGE} == set().union(*LAYERS)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_never_point_up(path: Path) -> None:
    level = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    up = {name for name in package_imports(path) if level[name] > level[part_of(path)]}
    assert not up, f"{path} imports {up}, which stand above it"


def test_there_is_no_cycle() -> None:
    graph = {part: set() for layer in LAYERS for part in layer}
    for path in PACKAGE:
        graph[part_of(path)] |= package_imports(path) - {part_of(path)}
    while free := {part for part, needs in graph.items() if not needs}:
        graph = {part: needs - free for part, needs in graph.items() if part not in free}
    assert not graph, f"a cycle among {sorted(graph)}"


def test_the_package_never_imports_rewards() -> None:
    for path in (ROOT / "grpo_lightning").rglob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] == "rewards"}, path


@pytest.mark.parametrize("path", sorted((ROOT / "rewards").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_rewards_see_of_the_package_only_its_types(path: Path) -> None:
    metric = "metrics" in path.parts
    assert package_imports(path) <= ({"types", "statistics"} if metric else {"types"})
    assert path.relative_to(ROOT / "rewards").parts[0].removesuffix(".py") not in sys.stdlib_module_names


def test_rewards_is_a_namespace_package() -> None:
    """With an __init__.py here, a user's own `rewards` folder would be hidden or hide this one."""
    assert not (ROOT / "rewards" / "__init__.py").exists()


def test_losses_and_advantages_are_pure() -> None:
    for name in ("losses", "advantages", "ways", "combine", "pareto", "filters", "mismatch"):
        assert not {m for m in imports(ROOT / "grpo_lightning" / f"{name}.py") if m.split(".")[0] == "lightning"}
        text = (ROOT / "grpo_lightning" / f"{name}.py").read_text(encoding="utf-8")
        assert ".item()" not in text


def test_what_a_worker_loads_is_light() -> None:
    """Importing the worker, the contract and every reward loads none of the heavy libraries."""
    rewards = sorted((ROOT / "rewards").iterdir())
    modules = [f"rewards.{path.stem}" for path in rewards if path.suffix == ".py" or (path / "__init__.py").exists()]
    code = f"""
import importlib, sys
for name in {["grpo_lightning.types", "grpo_lightning.workers", *modules]!r}:
    importlib.import_module(name)
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_files_and_functions_stay_short() -> None:
    for path in [*PACKAGE, *(ROOT / "rewards").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
