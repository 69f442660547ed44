"""`grpo-lightning` and `python -m grpo_lightning`. What needs neither torch nor Lightning is answered without them."""

import sys

from grpo_lightning import __version__

COMMANDS = {
    "fit": "train a policy by group-relative rewards",
    "validate": "measure it on the validation prompts",
    "test": "measure it on the test prompts",
    "predict": "write its answers to the test prompts, with their scores",
    "export": "write the policy of a checkpoint as a Hugging Face folder",
}

HELP = """usage: grpo-lightning COMMAND [--config FILE ...] [--KEY VALUE ...]

GRPO and its family on PyTorch Lightning.

commands:
{commands}

options:
  -h, --help        show this and exit; behind a command, explain its every key
  --version         show the version and exit
  --config FILE     settings in YAML; of several, later ones win
  --print_config    behind a command: show all settings as they would be, and exit

  grpo-lightning fit --config configs/quickstart.yaml
  grpo-lightning fit --help
"""


def main() -> None:
    words = sys.argv[1:]
    if words in (["-h"], ["--help"]):
        print(HELP.format(commands="\n".join(f"  {name:<10}{does}" for name, does in COMMANDS.items())), end="")
    elif words == ["--version"]:
        print(f"grpo-lightning {__version__}")
    else:
        from grpo_lightning import cli  # seconds

        cli.main()


if __name__ == "__main__":
    main()
