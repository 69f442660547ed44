"""The benchmark measures what it says: equal work for both sides, floors that follow from rates, a file to compare."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from scripts import bench_gpu
from scripts.bench import END, SIZES, Work, floors, ranges, ratios, write_inputs

ROOT = Path(__file__).parent.parent
SMALL = ["--prompts", "2", "--group", "2", "--max-tokens", "8", "--steps", "1", "--warm", "1", "--rounds", "1"]


@pytest.mark.parametrize("size", ["tiny", "small", "mid"])
def test_a_policy_stops_with_the_probability_asked_for(size: str, tmp_path: Path) -> None:
    """To within a tenth, and nowhere further from it than a third, so that lengths are geometric."""
    write_inputs(Work(size=size, mean_tokens=32.0), tmp_path)
    policy = Qwen3ForCausalLM.from_pretrained(tmp_path)
    ids = torch.randint(3, SIZES[size]["vocabulary"], (4, 24), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        stops = policy(ids).logits.softmax(-1)[..., END]
    assert float(stops.mean()) == pytest.approx(1 / 32, rel=0.1)
    assert float(stops.min()) > 0.67 / 32
    assert float(stops.max()) < 1.33 / 32


def test_prompts_are_as_long_as_said_and_enough_for_all_steps(tmp_path: Path) -> None:
    work = Work(prompts=3, shortest=4, longest=6, steps=4, warm=2, num_iterations=2)
    write_inputs(work, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 3 * 3, "three rollouts of three prompts serve six optimizer steps"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert {len(tokenizer.encode(row["prompt"])) for row in rows} <= {4, 5, 6}


def test_floors_by_hand() -> None:
    """Tiny: a layer has 128 (2 x 128 + 2 x 128 + 3 x 384) elements in matrices, three layers 638,976, the head 8,192.

    Prompts of 10 tokens, four of them, and 100 completion tokens; a machine of 1 FLOP/s that copies a byte a second.
    """
    work = Work(prompts=4, shortest=10, longest=10, max_tokens=7, num_iterations=2, beta=0.1)
    matrices, head = 638_976, 8_192
    machine = {"flops": 1.0, "bytes_per_second": 1.0}
    found = floors(work, {"completion_tokens": 100.0, "rollout": 1e9, "update": 1e10}, machine)
    forward = 2 * (matrices * 140 + head * 100)
    assert found["update_floor"] == 3 * 2 * forward
    assert found["prepare_floor"] == forward
    drawing = 2 * (matrices + head) * 100
    assert drawing > 7 * 4 * (matrices + head), "the case: arithmetic takes longer than reading"
    assert found["rollout_floor"] == 2 * matrices * 40 + drawing
    assert found["update_reached"] == found["update_floor"] / 1e10
    slow = floors(
        work, {"completion_tokens": 100.0, "rollout": 1e9, "update": 1e10}, machine | {"bytes_per_second": 0.1}
    )
    assert slow["rollout_floor"] == 2 * matrices * 40 + 7 * 4 * (matrices + head) / 0.1
    assert (
        floors(replace(work, beta=0.0), {"completion_tokens": 1.0, "rollout": 1, "update": 1}, machine)["prepare_floor"]
        == 0
    )


def test_ratios_are_ours_over_theirs() -> None:
    ours = {"tokens_per_cpu_second": 30.0, "peak_mb": 100.0, "growth_mb": 10.0}
    rival = {"tokens_per_cpu_second": 10.0, "peak_mb": 200.0, "growth_mb": 40.0}
    assert ratios(ours, rival) == {"tokens_per_cpu_second": 3.0, "peak_mb": 0.5, "growth_mb": 0.25}


def test_a_ratios_range_is_that_of_the_rounds() -> None:
    assert ranges([{"a": 3.0, "b": 0.5}, {"a": 2.0, "b": 0.6}]) == {"a": (2.0, 3.0), "b": (0.5, 0.6)}


def test_iterations_must_divide_the_steps() -> None:
    with pytest.raises(ValueError, match="--warm and --steps: give multiples of --num-iterations, 2"):
        Work(num_iterations=2, warm=1)


def test_a_gpus_ratios_are_of_its_own_time_and_memory() -> None:
    ours = {
        "tokens_per_cpu_second": 1.0,
        "tokens_per_second": 30.0,
        "peak_mb": 1.0,
        "growth_mb": 1.0,
        "gpu_peak_mb": 5.0,
    }
    assert ratios(ours, ours | {"tokens_per_second": 10.0, "gpu_peak_mb": 20.0}) == {
        "tokens_per_second": 3.0,
        "gpu_peak_mb": 0.25,
    }


def test_floors_on_a_gpu_read_weights_in_the_type_they_are_multiplied_in() -> None:
    work = Work(prompts=1, shortest=1, longest=1, max_tokens=7, device="cuda", precision="bf16-mixed")
    fast = {"flops": 1e30, "bytes_per_second": 1.0}
    figures = {"completion_tokens": 1.0, "rollout": 1.0, "update": 1.0}
    assert floors(work, figures, fast)["rollout_floor"] == pytest.approx(7 * 2 * (638_976 + 8_192))
    mixed_on_a_cpu = replace(work, device="cpu")
    assert floors(mixed_on_a_cpu, figures, fast)["rollout_floor"] == pytest.approx(7 * 4 * (638_976 + 8_192))


def test_a_gpus_phases_by_hand() -> None:
    """Tiny keeps 2 x 3 layers x 4 heads x 32 numbers of a token. After 2 tokens and half of 50, each of 128 rows has 27
    of its own, and 16 prompts have 256. A pass has 2 prompts, and completions of which all but the last token are read.
    """
    limit = {"flops": 1e9, "bytes_per_second": 1e9}
    policy = bench_gpu.build("tiny", torch.float32, "cpu")
    (step,) = bench_gpu.steps(policy, "tiny", [0], limit)
    assert step["own_tokens"] == 27
    assert step["bytes"] == 2 * (638_976 + 8_192) + 2 * 2 * 3 * 4 * 32 * (16 * 256 + 128 * 27)
    assert step["reached"] == pytest.approx(step["bytes"] / step["seconds"] / 1e9)
    found = bench_gpu.update(policy, "tiny", limit, mean=2, times=1)
    assert 16 * (1 - 1) <= found["tokens"] - 2 * 256 <= 16 * (2 - 1)
    read = found["tokens"] - 2 * 256
    asked = read + 16
    seen = 2 * 256**2 / 2 + read * 256 + read / 2
    assert found["flops"] == 6 * (638_976 * found["tokens"] + 8_192 * asked) + 3 * 4 * 128 * 3 * seen


@pytest.mark.parity
def test_both_sides_run_and_what_they_wrote_can_be_compared_with(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    path = tmp_path / "tiny.json"
    command = [sys.executable, str(ROOT / "scripts" / "bench.py")]
    subprocess.run(
        [*command, *SMALL, "--rival", "trl", "--json", str(path)], check=True, capture_output=True, cwd=tmp_path
    )
    document = json.loads(path.read_text())
    wanted = {"cpu_seconds_per_step", "tokens_per_cpu_second", "peak_mb"}
    assert wanted <= document["ours"].keys()
    assert wanted <= document["rival"].keys()
    assert document["ratio"] == ratios(document["ours"], document["rival"])
    assert set(document["ratio_range"]) == set(document["ratio"])
    assert 2 * 2 <= document["ours"]["completion_tokens"] <= 2 * 2 * 8
    assert {"commit", "date", "machine", "work", "limit"} <= document.keys()
    again = subprocess.run(
        [*command, "--against", str(path), "--rounds", "1"], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert f"against {document['commit']} of {document['date']}" in again.stdout
    assert "completion_tokens: 1.00x" in again.stdout, "the same weights, prompts and seed"
