"""One policy over several devices: FSDP2 by way of Lightning, and how its weights are had while no gradient is needed.

Every device holds a share of each weight, gradient and optimizer state. A forward pass gathers a layer at a time, and
all devices have to make equally many of them. Completions of unlike length do not, so for them either the whole policy
is gathered once, or the devices keep step. Of a policy that is not sharded every function here makes nothing special.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from grpo_lightning.shares import check_shares
from grpo_lightning.waiting import waiting

P = ParamSpec("P")
R = TypeVar("R")


class FullySharded(ModelParallelStrategy):
    """FSDP2 over all devices of all nodes; in YAML also as `strategy: fully_sharded`.

    Args:
        rollout: How completions are drawn. `gathered`: from a whole copy of the weights on each device, which then need
            not wait for one another. `layerwise`: gathering a layer at a time, for each token, where no whole copy
            fits; slow, an engine of its own is better.
        cpu_offload: Keep weights, gradients and optimizer state in the memory of the host while they are not used.
        save_distributed_checkpoint: A folder into which each device writes its share; false: one file, as without
            sharding.
        process_group_backend: Null: nccl on GPUs, gloo on CPUs.
        timeout_minutes: After which a device that waits for another gives up.

    """

    def __init__(
        self,
        rollout: Literal["gathered", "layerwise"] = "gathered",
        cpu_offload: bool = False,
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout_minutes: float = 30.0,
    ) -> None:
        super().__init__(
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
            timeout=timedelta(minutes=timeout_minutes),
        )
        self.rollout, self.cpu_offload = rollout, cpu_offload

    def setup_environment(self) -> None:
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def model_to_device(self) -> None:
        """Not with `cpu_offload`: it is FSDP2 that moves weights to the device and back."""
        if not self.cpu_offload:
            super().model_to_device()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """A folder is looked through first: torch would run what is in it, whatever `weights_only` says.

        Of a file that was written without sharding, Lightning takes the optimizer's states for those of the parameters
        in the order of the model, where they are in the order of the optimizer's groups.
        """
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            if weights_only is not False:
                check_shares(path)
            return super().load_checkpoint(path, weights_only=weights_only)
        optimizers, self.optimizers = self.optimizers, []
        try:
            checkpoint = super().load_checkpoint(path, weights_only=weights_only)
        finally:
            self.optimizers = optimizers
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        assert self.model is not None
        for optimizer, saved in zip(optimizers, checkpoint.get("optimizer_states", ()), strict=False):
            set_optimizer_state_dict(
                self.model, optimizer, states_by_name(saved, optimizer, self.model), options=options
            )
        return checkpoint


def states_by_name(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """An optimizer's saved state with its parameters named, where it numbers them in the order of its groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ordered = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [key for group in saved["param_groups"] for key in group["params"]]
    if len(numbers) != len(ordered):
        raise ValueError(
            f"ckpt_path: its optimizer trains {len(numbers)} parameters, that of these settings {len(ordered)}"
        )
    known = dict(zip(numbers, ordered, strict=True)) if isinstance(numbers[0], int) else {n: n for n in numbers}
    groups = [{**group, "params": [known[key] for key in group["params"]]} for group in saved["param_groups"]]
    return {"state": {known[key]: value for key, value in saved["state"].items()}, "param_groups": groups}


StrategyRegistry.register("fully_sharded", FullySharded, description="FSDP2 over all devices")


def check_strategy(strategy: Strategy) -> None:
    """Refuses strategies that completions cannot be drawn under, or that nothing here is proved with."""
    known = ("SingleDeviceStrategy", "DDPStrategy", "FullySharded")
    if type(strategy).__name__ not in known:
        raise ValueError(
            f"trainer.strategy: {type(strategy).__name__} is refused; use auto, ddp or fully_sharded (FSDP2)"
        )


def check_checkpoint(strategy: Strategy, checkpoint: str | Path | None) -> None:
    """Refuses a folder of shares where the strategy reads files only."""
    if checkpoint is not None and Path(checkpoint).is_dir() and not isinstance(strategy, FullySharded):
        raise ValueError(
            f"ckpt_path: {checkpoint} is a folder of shares, which only --trainer.strategy fully_sharded reads, on any "
            "number of devices, one included"
        )


def layers_of(policy: PreTrainedModel) -> list[nn.Module]:
    """The blocks within which a model of this family must not be split."""
    names = set(policy._no_split_modules or ())
    return [module for module in policy.modules() if type(module).__name__ in names] or [policy.base_model]


# ---------------------------------------------------------------------------------------------------- sharding a policy


def share_out(policy: PreTrainedModel, strategy: FullySharded, *, copies: int) -> list[PreTrainedModel]:
    """`copies` sharded models of these weights, which `policy` holds on rank 0; on other ranks it is a meta model.

    Nobody but rank 0's host ever holds the whole.
    """
    state = policy.state_dict() if strategy.is_global_zero else {}
    # Buffers that are not saved, such as rotary frequencies, are made by the constructor only.
    buffers = strategy.broadcast({name: buffer for name, buffer in policy.named_buffers() if not buffer.is_meta})
    skeleton = policy.to(torch.device("meta"))  # type: ignore[arg-type]
    skeleton.tie_weights()
    shared = []
    for _ in range(copies):
        model = copy.deepcopy(skeleton)
        _shard(model, strategy)
        _fill(model, state, buffers, strategy.root_device)
        model.__dict__["shards"] = Shards(model, layerwise=strategy.rollout == "layerwise")
        shared.append(model)
    return shared


def _shard(model: PreTrainedModel, strategy: FullySharded) -> None:
    half = strategy.precision_plugin.precision == "bf16-mixed"
    on_gpu = strategy.root_device.type == "cuda"
    how: dict[str, Any] = {
        "mesh": strategy.device_mesh["data_parallel"],
        "mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy(pin_memory=on_gpu) if strategy.cpu_offload else OffloadPolicy(),
    }
    for layer in layers_of(model):
        fully_shard(layer, **how)
    fully_shard(model, **how)
    model.to_empty(device=torch.device("cpu") if strategy.cpu_offload else strategy.root_device)
    model.tie_weights()


def _fill(
    model: PreTrainedModel, state: Mapping[str, Tensor], buffers: Mapping[str, Tensor], device: torch.device
) -> None:
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(model, dict(state), options=options)
    for name, value in buffers.items():
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._buffers[leaf] = value.to(device)


def full_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """All weights by name, on the CPU. Every rank calls it; of a sharded model only rank 0 gets them."""
    if shards_of(model) is None:
        return {name: value.detach().cpu() for name, value in model.state_dict().items()}
    with waiting("the policy's weights to be gathered"):
        state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return cast(dict[str, Tensor], state)


def load_full_state(model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    """The inverse of `full_state`; every rank has the whole `state`."""
    if shards_of(model) is None:
        model.load_state_dict(state)
    else:
        set_model_state_dict(model, dict(state), options=StateDictOptions(full_state_dict=True))


def saved_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The policy's weights in a checkpoint: a file, or a folder into which several devices wrote their shares."""
    if checkpoint.is_dir():
        check_shares(checkpoint)
        state: dict[str, Any] = {}
        planner = _EmptyStateDictLoadPlanner(keys={"state_dict"})
        _load_state_dict(state, storage_reader=FileSystemReader(checkpoint), planner=planner, no_dist=True)
    elif checkpoint.is_file():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    else:
        raise ValueError(f"ckpt_path: there is no {checkpoint}; name a checkpoint, or `last`")
    return {name.removeprefix("policy."): value for name, value in state["state_dict"].items()}


def clip_gradients(policy: PreTrainedModel, largest: float) -> Tensor:
    """Scales the gradients down to this norm over all devices' shares, if theirs is larger; returns theirs."""
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), largest)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


# --------------------------------------------------------------------------------------------------- using its weights


class Shards:
    """Of a sharded policy: its units, and whether its ranks are keeping step."""

    def __init__(self, model: PreTrainedModel, *, layerwise: bool) -> None:
        self.model, self.layerwise, self.in_step = model, layerwise, False
        self.units = [unit for unit in model.modules() if isinstance(unit, FSDPModule)]

    def begin(self) -> None:
        """Makes the weights whole, or begins to keep step."""
        self.in_step = self.layerwise
        with waiting("the policy's weights to be gathered for a rollout"):
            for unit in () if self.layerwise else self.units:
                unit.set_reshard_after_forward(False, recurse=False)
                unit.unshard()

    def anyone(self, needs: bool) -> bool:
        """Whether any rank needs a forward pass now; all ranks ask, before each of them."""
        flag = torch.tensor(float(needs), device=self.model.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def follow(self) -> None:
        """Keeps step until no rank needs another forward pass."""
        with waiting("the completions of the other devices"):
            while self.in_step and self.anyone(False):
                as_forward(self.model, _idle)()

    def end(self) -> None:
        """Gives the other ranks' shares up again; only the outermost unit stays whole between forward and backward."""
        self.in_step = False
        for unit in self.units:
            unit.set_reshard_after_forward(cast(object, unit) is not self.model, recurse=False)
            unit.reshard()


def shards_of(policy: PreTrainedModel) -> Shards | None:
    """None where the policy is whole."""
    return policy.__dict__.get("shards")


def as_forward(policy: PreTrainedModel, function: Callable[Concatenate[PreTrainedModel, P], R]) -> Callable[P, R]:
    """`function` of this policy run as its forward pass, so that the weights outside of its layers are there, too.

    It must return tensors or tuples of them, for a backward pass to be seen.
    """
    shards = shards_of(policy)
    if shards is None:
        return partial(function, policy)
    name = function.__name__
    if name not in vars(policy):
        setattr(policy, name, MethodType(function, policy))
        register_fsdp_forward_method(policy, name)
    if shards.in_step and function is not _idle:
        shards.anyone(True)
    return cast(Callable[P, R], getattr(policy, name))


@contextmanager
def inference(policy: PreTrainedModel) -> Iterator[None]:
    """Within it every rank makes as many forward passes as it likes, without gradients. All ranks enter it."""
    shards = shards_of(policy)
    with torch.no_grad():
        if shards is None:
            yield
            return
        shards.begin()
        try:
            yield
            shards.follow()
        finally:
            shards.end()


def _idle(policy: PreTrainedModel) -> Tensor:
    """A forward pass for nothing, to keep step."""
    ids = torch.zeros((1, 1), dtype=torch.long, device=policy.device)
    output: Tensor = policy.base_model(input_ids=ids, use_cache=False)[0]
    return output
