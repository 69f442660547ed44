"""Recorded rollouts: what is written is what is read, bit for bit, whatever is in it; bounded; and trained on again."""

import dataclasses
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from grpo_lightning.recording import RecordedCompletion, RecordedGroup, read_step, recorded_steps
from grpo_lightning.rollout_files import RolloutHeader, read_header, write_file

HOSTILE = (
    "</style><script>alert(1)</script>\x1b[31m\x1b]0;title\x07\r\n\x00\x9b2J\u2028\u202e\ud800 {{x}} [red]漢👨\u200d👩"
)
TEXTS = {0: "a", 1: "<end>", 7: HOSTILE, 9: ""}


def header(step: int = 4, **changes: object) -> RolloutHeader:
    settings: dict[str, object] = {
        "step": step,
        "rollout": step - 1,
        "updates": 1,
        "seed": 2**63 - 1,
        "run_seed": 0,
        "group_size": 2,
        "sampling": {"temperature": 1.0, "stop": ["\n"]},
        "rewards": ("answer", "format"),
    }
    return RolloutHeader(**(settings | changes))


def completion(**changes: object) -> RecordedCompletion:
    settings: dict[str, object] = {
        "text": HOSTILE,
        "token_ids": (7, 0, 1),
        "token_texts": (HOSTILE, "a", "<end>"),
        "stop_reason": "eos",
        "sampler_logprobs": (-0.1, -1e-30, -2.0000000000000004),
        "policy_logprobs": (-0.25, 0.0, -2.0),
        "rewards": {"answer": 1 / 3, "format": math.nan},
        "reward": 1 / 3,
        "advantage": -0.7071067811865475,
        "trained": True,
    }
    return RecordedCompletion(**(settings | changes))


def group(*completions: RecordedCompletion, **changes: object) -> RecordedGroup:
    settings: dict[str, object] = {"uid": 3, "prompt": HOSTILE, "answer": None, "prompt_ids": (9, 0)}
    return RecordedGroup(**(settings | changes), completions=completions or (completion(), completion()))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Surrogates, control characters, infinities and what does not apply; NaN compares by its name."""
    odd = completion(
        sampler_logprobs=(math.nan, -math.inf, 0.5),
        policy_logprobs=None,
        reward=math.nan,
        advantage=0.0,
        trained=False,
        rewards={"answer": math.nan, "format": math.inf},
    )
    groups = [group(odd, completion()), group(uid=0, answer="\udfff", prompt="")]
    path = write_file(tmp_path, header(), TEXTS, groups)
    assert path.name == "step-000004.jsonl.gz"
    assert repr(read_step(tmp_path, 4)) == repr(groups)
    assert repr(read_header(path)) == repr(header(sampling={"temperature": 1.0, "stop": ["\n"]}))
    lines = gzip.decompress(path.read_bytes()).decode("ascii").split("\n")
    assert [json.loads(line, parse_constant=pytest.fail) is not None for line in lines[:-1]] == [True] * 4
    assert json.loads(lines[2])["completions"][0]["rewards"] == {"answer": None, "format": "inf"}


def test_equal_rollouts_make_equal_files(tmp_path: Path) -> None:
    """No clock and no name in them; nothing else is left in the folder."""
    first = write_file(tmp_path, header(), TEXTS, [group()]).read_bytes()
    assert write_file(tmp_path, header(), TEXTS, [group()]).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004.jsonl.gz"]


def test_the_ratio_is_the_policys_to_the_samplers() -> None:
    """e^(-0.25 + 0.1), e^0 and e^0; one that no float can name is the largest there is; NaN stays."""
    ratios = completion(policy_logprobs=(-0.25, 0.0, -2.0)).ratios
    assert ratios == pytest.approx((math.exp(-0.15), 1.0, 1.0))
    far = completion(sampler_logprobs=(-math.inf, math.nan, -1.0)).ratios
    assert far[0] == pytest.approx(math.exp(700))
    assert math.isnan(far[1])
    assert far[2] == pytest.approx(math.exp(-1))
    assert completion(policy_logprobs=None).ratios is None


def test_the_files_of_all_ranks_are_one_step(tmp_path: Path) -> None:
    for rank in (1, 0, 10):
        write_file(tmp_path, header(rank=rank, ranks=11), TEXTS, [group(uid=rank)])
    write_file(tmp_path, header(step=12), TEXTS, [group()])
    (tmp_path / "step-000099.jsonl.gz.writing").write_bytes(b"")
    assert recorded_steps(tmp_path) == [4, 12]
    assert recorded_steps(tmp_path / "nowhere") == []
    assert [each.uid for each in read_step(tmp_path, 4)] == [0, 1, 10]


def test_a_step_that_is_missing_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"step 3 is not recorded; no step is$"):
        read_step(tmp_path, 3)
    for step in range(1, 21):
        write_file(tmp_path, header(step=step), TEXTS, [])
    with pytest.raises(ValueError, match=r"step 21 is .*; steps 1, 2, 3, 4, 5, 6, \.\.\., 15, 16, 17, 18, 19, 20 are$"):
        read_step(tmp_path, 21)


def repacked(content: bytes, old: bytes, new: bytes) -> bytes:
    text = gzip.decompress(content)
    assert old in text
    return gzip.compress(text.replace(old, new))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "no archive": lambda content: b"plain text",
    "cut off": lambda content: content[: len(content) // 2],
    "cut off at its end": lambda content: content[:-4],
    "flipped": lambda content: content[:-20] + bytes([content[-20] ^ 255]) + content[-19:],
    "no lines": lambda content: gzip.compress(b""),
    "a header only": lambda content: gzip.compress(gzip.decompress(content).split(b"\n")[0]),
    "another format": lambda content: repacked(content, b'"format": 1', b'"format": 2'),
    "no JSON": lambda content: repacked(content, b'"uid"', b"uid"),
    "lists": lambda content: gzip.compress(b"[]\n[]\n[]\n"),
    "a missing key": lambda content: repacked(content, b'"advantage"', b'"advantages"'),
    "a missing token": lambda content: repacked(content, b'"7":', b'"8":'),
    "a wrong number": lambda content: repacked(content, b"-2.0000000000000004", b'"many"'),
    "not ASCII": lambda content: repacked(content, b"alert", "älert".encode()),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_said_in_one_line(tmp_path: Path, how: str) -> None:
    path = write_file(tmp_path, header(), TEXTS, [group()])
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(ValueError, match=r"step-000004\.jsonl\.gz: is no recorded rollout, or a damaged one") as error:
        read_step(tmp_path, 4)
    assert "\n" not in str(error.value)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        group().uid = 1
