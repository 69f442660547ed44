"""`python -m grpo_lightning`."""

from grpo_lightning.cli import main

if __name__ == "__main__":
    main()
