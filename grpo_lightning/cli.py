"""The command line: LightningCLI with a folder per run, rewards found beside the configs, and errors of one line."""

import logging
import os
import re
import signal
import sys
import warnings
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import cast

import torch
import transformers
from jsonargparse import ArgumentError, Namespace, get_loader, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only

from grpo_lightning import __version__, saving
from grpo_lightning.bad_steps import BadSteps
from grpo_lightning.balance import WatchBalance
from grpo_lightning.callbacks import CloseScorer, WritePredictions
from grpo_lightning.checkpoint import BoundaryCheckpoint, finished
from grpo_lightning.exporting import export_checkpoint
from grpo_lightning.interruption import Interruption
from grpo_lightning.module import GRPOModule
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.recording import RecordRollouts
from grpo_lightning.report import BeforeAfter, Scoreboard
from grpo_lightning.resuming import changes, hide
from grpo_lightning.saving import SaveError
from grpo_lightning.scoring import RewardError
from grpo_lightning.sharding import check_checkpoint
from grpo_lightning.tensorboard import Histograms, HParams, Pages
from grpo_lightning.trust import check_config
from grpo_lightning.watch import RankWatch
from grpo_lightning.watchdogs import Watchdogs

TENSORBOARD = "lightning.pytorch.loggers.TensorBoardLogger"

FOLDER_OF_RANK_0 = "GRPO_LIGHTNING_RUN_FOLDER"
"""Environment variable by which the processes that rank 0 starts learn its folder, instead of choosing the next one."""


class GRPOTrainer(Trainer):
    """Lightning's Trainer with one more command."""

    def export(self, model: GRPOModule, datamodule: PromptDataModule, folder: str, ckpt_path: str = "last") -> None:
        """Writes the policy of a checkpoint as a Hugging Face folder.

        Args:
            model: The module whose settings name the policy.
            datamodule: Not used; the configs of a run have it.
            folder: Where to write.
            ckpt_path: A checkpoint, file or folder, or `last` for the run's latest.

        """
        run = Path(self.default_root_dir)
        export_checkpoint(model.policy_config, Path(ckpt_path), Path(folder), seed=model.seed, run=run)
        print(f"policy of {ckpt_path} written to {folder}")


class GRPOCommandLine(LightningCLI):
    """fit, validate, test, predict and export over one kind of module and data; `--help` of each explains every key."""

    held = ExitStack()
    """What is given back when a command ends: the run's folder."""
    kept: Path
    """Where the run's checkpoints are."""
    from_last = False
    only: str | None = None
    """The one command that is asked for, where that is plain: reading the signatures of each takes a while."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run", type=str, default="run", help="Name of the run; its folder is RUNS/NAME.")
        parser.add_argument("--runs", type=str, default="runs", help="The folder that holds the runs' folders.")
        parser.add_argument(
            "--threads",
            type=int | None,
            default=None,
            help="Threads of arithmetic on the CPU; null: one per core. A tiny model is as fast with 1, and then "
            "does not wait for other programs on the machine.",
        )
        parser.add_lightning_class_args(BoundaryCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RankWatch, "ranks")
        parser.add_lightning_class_args(RecordRollouts, "recording")
        parser.add_lightning_class_args(Watchdogs, "watchdogs")
        parser.set_defaults(
            {
                "checkpoint.every_n_train_steps": 10,
                "checkpoint.save_last": True,
                "checkpoint.mode": "max",  # of what is measured here, most is better where it is more
                "checkpoint.save_top_k": 1,
                "checkpoint.filename": "{step}",
                "checkpoint.enable_version_counter": False,
                "trainer.num_sanity_val_steps": 0,
                "trainer.log_every_n_steps": 1,
            }
        )
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)
        parser.link_arguments("model.policy.pretrained", "data.tokenizer")
        parser.link_arguments("model.policy.revision", "data.revision")
        parser.link_arguments("model.policy.trust_remote_code", "data.trust_remote_code")

    def _parse_ckpt_path(self) -> None:
        """Not Lightning's: that would let the checkpoint's settings override those on the command line."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        every = LightningCLI.subcommands() | {"export": {"model", "datamodule"}}
        return {name: skipped for name, skipped in every.items() if GRPOCommandLine.only in (None, name)}

    def before_instantiate_classes(self) -> None:
        """Settles what settings left open: the run's folder, where checkpoints and logs go in it, and when to end."""
        config = self.config[self.subcommand]
        check_config(config)
        if config.threads is not None:
            if config.threads < 1:
                raise ValueError(f"threads: {config.threads} is refused; it must be at least 1")
            torch.set_num_threads(config.threads)
        folder = self.choose_folder(config)
        if "deepspeed" in str(config.trainer.strategy).lower():
            raise ValueError(
                "trainer.strategy: DeepSpeed is refused; take fully_sharded, with cpu_offload where it has to be"
            )
        if config.trainer.max_epochs is None and config.trainer.max_time is None:
            config.trainer.max_epochs = 1 if config.trainer.max_steps == -1 else -1
        config.trainer.default_root_dir = str(folder)
        self.save_config_kwargs["given"] = config.clone()
        if self.subcommand == "predict":
            config.return_predictions = False  # WritePredictions has them on disk
        if self.subcommand in ("validate", "test"):
            config.verbose = False  # Scoreboard has a table of its own
        if self.subcommand == "fit":
            trainer = config.trainer
            if self.from_last and (done := finished(self.kept, trainer.max_steps, trainer.max_epochs)):
                raise Finished(
                    f"{folder}: {done}; nothing to do. To go on, raise trainer.max_steps or trainer.max_epochs"
                )
            if getattr(rank_zero_only, "rank", 0) == 0:
                self.begin_fit(folder, config)
        point_into(folder, config, log=folder if self.subcommand == "fit" else folder / "evaluation")

    def choose_folder(self, config: Namespace) -> Path:
        """The run's folder, with `ckpt_path` found in it; all processes of a run get the same one."""
        fresh = self.subcommand == "fit" and config.ckpt_path is None
        if config.trainer.default_root_dir is not None and not fresh:
            folder = home_of(config)
        else:
            folder = run_folder(Path(config.runs), config.run, fresh=fresh)
        if int(os.environ.get("LOCAL_RANK", "0")) > 0:
            folder = Path(os.environ.get(FOLDER_OF_RANK_0, folder))
        os.environ[FOLDER_OF_RANK_0] = str(folder)
        self.kept = Path(config.checkpoint.dirpath or folder / "checkpoints")
        self.from_last = config.get("ckpt_path") == "last"
        if self.from_last:
            config.ckpt_path = last_checkpoint(self.kept, required=self.subcommand != "fit")
        elif config.get("ckpt_path") is not None:
            if not Path(config.ckpt_path).exists():
                raise ValueError(f"ckpt_path: there is no {config.ckpt_path}; name a checkpoint, or `last`")
            if why := saving.flaw(Path(config.ckpt_path)):
                raise ValueError(f"ckpt_path: {config.ckpt_path} {why}; name another, or `last`")
        return folder

    def begin_fit(self, folder: Path, config: Namespace) -> None:
        """On rank 0: holds the folder, and says what resuming means if settings have changed."""
        self.held.enter_context(saving.only_writer(folder))
        checkpoint = config.get("ckpt_path")
        if checkpoint is None:
            for path in folder.glob("*tfevents*"):
                hide(path)  # of a run that was ended before its first checkpoint
            return
        for path in saving.candidates(Path(checkpoint).parent) if self.from_last else ():
            if str(path) == checkpoint:
                break
            saving.set_aside(path)  # broken, or it would have been taken
        saved = Path(checkpoint).parent.parent / "config.yaml"
        if saved.is_file():
            read = get_loader("yaml")
            now = read(self._parser("fit").dump(self.save_config_kwargs["given"], skip_none=False))
            for change in changes(read(saved.read_text(encoding="utf-8")), now):
                print(f"resume: {change}")

    def before_fit(self) -> None:
        check_checkpoint(self.trainer.strategy, self.config[self.subcommand].ckpt_path)

    before_validate = before_test = before_predict = before_fit

    def after_fit(self) -> None:
        """Says what was learnt and where everything is."""
        if self.trainer.is_global_zero:
            folder = Path(self.trainer.default_root_dir)
            for callback in cast(list[Callback], self.trainer.callbacks):  # type: ignore[attr-defined]
                if isinstance(callback, BeforeAfter):
                    callback.show(folder)
            if self.trainer.logger is not None:
                print(f"TensorBoard: tensorboard --logdir {folder}")

    def after_predict(self) -> None:
        """Says where the completions are."""
        if self.trainer.is_global_zero:
            print(f"completions: {Path(self.trainer.default_root_dir) / 'predictions.jsonl'}")


class Finished(Exception):
    """There is nothing left to train."""


class SaveRunConfig(SaveConfigCallback):
    """Keeps the resolved config of a fit beside its run, for every command.

    `given` is that config without what the command line derives from it; what only fit takes is left out, too. A run
    that goes on keeps the config of before until its checkpoint is loaded: a change may be refused.
    """

    def __init__(
        self, parser: LightningArgumentParser, config: Namespace, given: Namespace, overwrite: bool = False
    ) -> None:
        super().__init__(parser, given, overwrite=overwrite)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            resumed, _ = (self.config.pop(key, None) for key in ("ckpt_path", "weights_only"))
            if resumed is None:
                super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")  # does nothing the second time


def home_of(config: Namespace) -> Path:
    """The folder of the run that has saved this config: where the file lies, if it was copied with its run."""
    for given in reversed(config.get("config") or []):
        folder = Path(str(given)).parent
        if Path(str(given)).name == "config.yaml" and (folder / "checkpoints").is_dir():
            return folder
    return Path(config.trainer.default_root_dir)


def point_into(folder: Path, config: Namespace, log: Path) -> None:
    """Checkpoints, TensorBoard and a progress bar of one line, where the settings do not say otherwise."""
    if config.checkpoint.dirpath is None:
        config.checkpoint.dirpath = str(folder / "checkpoints")
    if config.trainer.logger in (None, True):
        where = {"save_dir": str(log), "name": "", "version": "", "default_hp_metric": False}
        config.trainer.logger = Namespace(class_path=TENSORBOARD, init_args=Namespace(**where))
    callbacks = config.trainer.callbacks or []
    if config.trainer.enable_progress_bar is not False and not any(
        "ProgressBar" in each.class_path for each in callbacks
    ):
        bar = Namespace(class_path="grpo_lightning.progress.OneLineProgressBar")
        config.trainer.callbacks = [*callbacks, bar]


def run_folder(runs: Path, name: str, *, fresh: bool) -> Path:
    """RUNS/NAME for the first run of that name, then RUNS/NAME-2, ...; unless `fresh`, the latest there is."""
    if Path(name).name != name:
        raise ValueError(f"run: {name!r} is refused; it is the name of one folder, without slashes")
    numbered = re.compile(re.escape(name) + r"(?:-(\d+))?")
    found = [numbered.fullmatch(path.name) for path in runs.iterdir()] if runs.is_dir() else []
    latest = max((int(match[1] or 1) for match in found if match), default=0)
    number = latest + 1 if fresh else max(latest, 1)
    return runs / (name if number == 1 else f"{name}-{number}")


def last_checkpoint(folder: Path, *, required: bool) -> str | None:
    """The folder's last checkpoint that is whole. A fit that was ended before its first one starts anew; others refuse.

    A folder of broken checkpoints is always refused.
    """
    log, found = logging.getLogger(__name__), saving.candidates(folder)
    for path in found:
        why = saving.flaw(path)
        if why is None:
            return str(path)
        log.warning("ckpt_path: %s %s; the one before it is used", path, why)
    if found:
        raise ValueError(f"ckpt_path: none of the {len(found)} checkpoints in {folder} is whole; name another")
    if required:
        raise ValueError(f"ckpt_path: there is no {folder / saving.LAST}; run fit first, or name a checkpoint")
    log.warning("ckpt_path: there is no %s yet; training starts from the beginning", folder / saving.LAST)
    return None


def _seed(value: bool | int) -> int:
    if isinstance(value, bool):
        raise ValueError(f"seed_everything: {value} is not a number; give one, so that the run can be repeated")
    return value


REFUSED = (
    ArgumentError,
    BadSteps,
    MisconfigurationException,
    RewardError,
    SaveError,
    SyntaxError,
    ValueError,
)
"""What ends a command with one line."""


def main(args: ArgsType = None) -> None:
    """Every command, from its words to its end. Wrong settings or data: one line."""
    words = sys.argv[1:] if args is None else cast(list[str], args)
    sys.path[:0] = [os.getcwd(), *config_folders(words)]
    quieten()
    GRPOCommandLine.only = None
    GRPOCommandLine.only = words[0] if words and words[0] in GRPOCommandLine.subcommands() else None
    explains = any("help" in word or "print_config" in word for word in words)
    set_parsing_settings(docstring_parse_attribute_docstrings=explains)  # which takes seconds
    interruption = Interruption()
    interruption.wait()
    try:
        GRPOCommandLine(
            GRPOModule,
            PromptDataModule,
            args=args,
            trainer_class=GRPOTrainer,
            trainer_defaults={"callbacks": [interruption, *watchers()]},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"version": f"grpo-lightning {__version__}", "exit_on_error": False},
        )
    except Finished as message:
        print(f"grpo-lightning: {message}")
    except REFUSED as error:
        logging.getLogger(__name__).debug("refused", exc_info=error)
        sys.exit(f"grpo-lightning: {one_line(error)}")
    except UnpicklingError as error:
        logging.getLogger(__name__).debug("refused", exc_info=error)
        sys.exit("grpo-lightning: ckpt_path: a checkpoint that holds more than plain values could run code; not loaded")
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        sys.exit(f"grpo-lightning: ckpt_path: its weights are not those of model.policy ({one_line(error)[:300]} ...)")
    except BrokenPipeError:  # who read the output, such as `head`, has gone
        leave_quietly()
    finally:
        GRPOCommandLine.held.close()
        interruption.restore()
        if interruption.code is not None:
            sys.exit(interruption.code)


def watchers() -> list[Callback]:
    """What looks on in every run."""
    return [CloseScorer(), WritePredictions(), Scoreboard(), Pages(), Histograms(), HParams(), WatchBalance()]


NOISE = re.compile(
    r"- Expected a path but .*? either not accessible or invalid - |Type collections\.abc\.Callable.*?callable class: "
    r"|Problem with given class_path 'grpo_lightning\.scoring\.RewardSpec': "
)
"""What jsonargparse says between the key and the mistake when a reward is wrong."""

CLASSLESS = re.compile(r"key \"([\w.]+)\":.* is abstract .*NestedArg\(key='(\w+)'")
"""What it says of a setting whose class nobody has named."""


def config_folders(words: list[str]) -> list[str]:
    """The folders of the `--config` files, so that a `rewards` folder beside them is found from anywhere."""
    joined = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    apart = [value for flag, value in pairwise(words) if flag in ("--config", "-c")]
    return [str(Path(value).resolve().parent) for value in joined + apart if Path(value).is_file()]


def one_line(error: Exception) -> str:
    """The error's text on one line, with what helps where the parser only says no."""
    text = NOISE.sub("", " ".join(str(error).split()))
    if nested := CLASSLESS.search(text):
        key, name = nested.groups()
        return f"{key}.{name}: is a setting of a class, which must be named first: --{key} CLASS --{key}.{name} VALUE"
    if re.search(r"unrecognized arguments: --\d", text):
        return f"{text}; a list is given as a whole, best in a further --config; KEY+ appends to it"
    return f"{text}; --help names every key" if text.startswith("unrecognized arguments: --") else text


def leave_quietly() -> None:
    """Ends as a program does whose output nobody reads; what is still in the buffer must not be tried again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def quieten() -> None:
    """Silences what libraries say at every start and nobody can act on."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*isinstance.*LeafSpec.*")
    warnings.filterwarnings(
        "ignore", ".*recommended to use .*sync_dist=True.*"
    )  # what is logged is of all ranks already
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.utils.logging.disable_progress_bar()
