"""A program, not a test: VLLMColocated with whatever `vllm` is on the path, against the built-in engine.

PYTHONPATH=tests/fake_vllm_package python -m tests.colocated
"""

import json

import torch
import vllm

from grpo_lightning.generation import VLLMColocated
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Group
from tests.test_engines import CASES, PROMPTS, SAMPLING, by_request_seeds, gap, replace, same
from tests.tiny import tiny_policy, tiny_tokenizer


def refuse(place: int, group: Group) -> None:
    raise KeyError("enough")


def main() -> None:
    torch.set_num_threads(1)
    policy, given = tiny_policy(), []
    generator = VLLMColocated().start(policy, tiny_tokenizer(), sampling=SAMPLING, ranks=Ranks.one())
    generator.use_weights(0)
    for case in set(CASES) - {"cold"}:
        sampling = replace(SAMPLING, **CASES[case])
        found = generator.generate(
            PROMPTS,
            group_size=3,
            sampling=sampling,
            seed=5,
            prefix="+3",
            finished=lambda place, group: given.append((place, group)),
        )
        same(found, by_request_seeds(PROMPTS, 3, sampling, 5))
        assert all(group is found.groups[place] for place, group in given)
        assert sorted(place for place, _ in given) == list(range(len(PROMPTS)))
        given.clear()
    vllm.CALLS.clear()
    try:
        generator.generate(PROMPTS, group_size=2, sampling=SAMPLING, seed=5, finished=refuse)
    except KeyError:
        vllm.CALLS.append("refused")
    policy.load_state_dict(tiny_policy(seed=3).state_dict())
    generator.use_weights(0)
    generator.use_weights(0)
    rollout = generator.generate(PROMPTS, group_size=2, sampling=SAMPLING, seed=5)
    print(json.dumps({"calls": vllm.CALLS, "gap": gap(policy, rollout)}))


if __name__ == "__main__":
    main()
