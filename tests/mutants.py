"""A program, not a test: does somebody notice if the mathematics is wrong?

Each mutant changes one place of `losses.py` or `advantages.py` and runs their tests, in a fork with the change loaded
in place of the original. python -m tests.mutants prints the survivors as JSON; there should be none.
"""

import json
import os
import sys
from pathlib import Path

import pytest

import tests.tiny  # noqa: F401 loaded once, before the forks
from grpo_lightning import advantages, losses
from grpo_lightning import objective as loaded_once_too  # noqa: F401

MUTANTS = {
    losses: [
        ("ratio.clamp(1 - epsilon_low, 1 + epsilon_high)", "ratio.clamp(1 - epsilon_high, 1 + epsilon_low)"),
        ("-torch.minimum(ratio.clamp", "-torch.maximum(ratio.clamp"),
        ("ratio.clamp(max=dual_clip) * advantages", "ratio * advantages"),
        (".clamp(max=1 + epsilon_high).detach()", ".clamp(max=epsilon_high).detach()"),
        (".clamp(max=1 + epsilon_high).detach()", ".clamp(max=1 + epsilon_high)"),
        ("-4 / tau *", "-2 / tau *"),
        ("masked_fill(advantages > 0, tau_positive)", "masked_fill(advantages < 0, tau_positive)"),
        ("log_ratio.clamp(max=epsilon_high), log_ratio.clamp(min=-epsilon_low)", "log_ratio, log_ratio"),
        ("spread(sequence_means(held, lengths), lengths)", "spread(sequence_sums(held, lengths), lengths)"),
        ("(advantages < 0) & (moved < -tv_limit)", "(advantages < 0) & (moved < tv_limit)"),
        ("log_w = sequence_sums(", "log_w = sequence_means("),
        ("torch.exp(lam + k * log_w - lam * torch.exp(log_w))", "torch.exp(k * log_w - lam * torch.exp(log_w))"),
        ("    return -phi * advantages * policy_logprobs", "    return -phi * advantages"),
        ("sequence_means(sampler_logprobs - policy_logprobs", "sequence_means(policy_logprobs - sampler_logprobs"),
        ("> limit) & (advantages < 0)", "> limit)"),
        ("spread(mean.detach(), lengths) + policy_logprobs - policy_logprobs.detach()", "spread(mean, lengths)"),
        ("mean = sequence_means(token, lengths)", "mean = sequence_sums(token, lengths)"),
        ("token.clamp(-LOG_LIMIT, LOG_LIMIT)", "token"),
        ("return torch.expm1(-k1) + k1", "return torch.expm1(-k1) - k1"),
        ("(torch.expm1(-k1) + k1).detach() + k2 - k2.detach()", "torch.expm1(-k1) + k1"),
        ("return ones / max(totals.tokens, 1.0)", "return ones / lengths.sum()"),
        ("return ones / (sequences * lengths.clamp(min=1))", "return ones / (len(lengths) * lengths.clamp(min=1))"),
        ("return ones / (sequences * max_tokens)", "return ones / (sequences * lengths.max())"),
        ("(max(totals.prompts, 1.0) * group_tokens.clamp(min=1))", "(max(totals.prompts, 1.0) * lengths.clamp(min=1))"),
        ("return ones / sequences", "return ones"),
    ],
    advantages: [
        ("factor = counts / np.maximum(counts - 1, 1)", "factor = counts / counts"),
        ("counts - 1 if sample else counts", "counts if sample else counts"),
        ("np.where(std > 0, std + config.eps, 0.0)", "np.where(std > 0, std, 0.0)"),
        ('centred if config.scale == "whiten" else rewards', "rewards"),
        ("signal = has_signal(rewards)[:, None]", "signal = np.ones((len(rewards), 1), dtype=bool)"),
        ("weights = np.where(valid, lengths, 0)", "weights = np.where(valid, 1, 0)"),
        ("filled - filled.sum() / max(valid.sum(), 1)", "filled - filled.mean()"),
        ("-(lengths - (max_tokens - buffer))", "-(lengths - max_tokens)"),
        ("rank < config.keep", "rank <= config.keep"),
    ],
}  # fmt: skip
TESTS = {losses: ["tests/test_losses.py", "tests/test_objective.py"], advantages: ["tests/test_advantages.py"]}


OFF = ("cacheprovider", "unraisableexception", "xdist", "anyio")
OPTIONS = [*(f"-pno:{name}" for name in OFF), "-x", "--tb=no", "--assert=plain", "-o", "addopts="]


def survives(module: object, old: str, new: str) -> bool:
    """Whether the module's tests pass although `old` reads `new` in it."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert old in source, f"nothing to mutate: {old}"
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        exec(compile(source.replace(old, new, 1), module.__file__, "exec"), module.__dict__)
        os._exit(int(pytest.main([*TESTS[module], *OPTIONS])))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), f"{old}: the tests did not run, code {code}"
    return code == pytest.ExitCode.OK


if __name__ == "__main__":
    for module in MUTANTS:
        assert survives(module, "import", "import"), f"the tests of {module.__name__} fail without any change"
    every = [(module, old, new) for module, pairs in MUTANTS.items() for old, new in pairs]
    print(json.dumps([[old, new] for module, old, new in every if survives(module, old, new)]))
