"""New weights to vLLM servers: rank 0 sends what all ranks gather. Two ways, and one frame around both."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel

from grpo_lightning.generation.vllm_http import Http
from grpo_lightning.generation.weights import checkpoint_weights, write_weights
from grpo_lightning.ranks import Ranks
from grpo_lightning.waiting import waiting


class FolderSync:
    """By a file: written once, then each server reloads from it. Needs a shared file system, and nothing of vLLM."""

    def __init__(self, http: Http, policy: PreTrainedModel, urls: Sequence[str], ranks: Ranks, folder: str) -> None:
        self.http, self.policy, self.urls, self.ranks = http, policy, urls, ranks
        self.folder = Path(folder).absolute()

    def send(self, label: str) -> None:
        """On every rank. The weights stand in a folder named `label` until all servers have read them."""
        weights = checkpoint_weights(self.policy, keep=self.ranks.rank == 0)
        if self.ranks.rank != 0:
            return
        path = self.folder / label
        try:
            write_weights(weights, path)
        except OSError as error:
            raise RuntimeError(f"engine.folder: the weights cannot be written to {path}: {error}") from error
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(path)}, "timeout": self.http.timeout}

        def reload(url: str) -> None:
            pause(self.http, url)
            with waiting(f"{url} to load the weights"):
                self.http.ask([url], "/collective_rpc", body)
            resume(self.http, url, label)

        with ThreadPoolExecutor(len(self.urls)) as pool:
            list(pool.map(reload, self.urls))
        shutil.rmtree(path, ignore_errors=True)


@runtime_checkable
class Transfer(Protocol):
    """vLLM's trainer-side engine: one server's workers and this process in one NCCL group."""

    def send_weights(self) -> None:
        """On every rank; rank 0 broadcasts."""
        ...


class NCCLSync:
    """From GPU to GPU, by vLLM's own trainer-side engine. Not run by us: it needs GPUs on both sides."""

    def __init__(self, http: Http, policy: PreTrainedModel, urls: Sequence[str], ranks: Ranks) -> None:
        self.http, self.urls, self.ranks = http, urls, ranks
        self.transfers = [transfer(http, policy, url, ranks) for url in urls]

    def send(self, label: str) -> None:
        """On every rank, one server after the other."""
        for url, each in zip(self.urls, self.transfers, strict=True):
            if self.ranks.rank == 0:
                pause(self.http, url)
            with waiting(f"{url} to receive the weights"):
                each.send_weights()
            if self.ranks.rank == 0:
                resume(self.http, url, label)


def transfer(http: Http, policy: PreTrainedModel, url: str, ranks: Ranks) -> Transfer:
    """Joins the server's workers; rank 0 is the sender, other ranks only take part in gathering."""
    try:
        from vllm.distributed.weight_transfer import (
            HTTPVLLMWeightSyncClient,
            ModuleSource,
            WeightTransferTrainerFactory,
        )
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo
        from vllm.utils.network_utils import get_ip, get_open_port
    except ImportError as error:
        raise ValueError(
            f"engine.weights: 'nccl' needs vLLM here: pip install 'grpo-lightning[vllm]' ({error}); 'folder' does not"
        ) from error
    workers = int(str(http.ask([url], "/get_world_size")[1]["world_size"]))
    info = NCCLTrainerInitInfo(
        master_address=get_ip(), master_port=get_open_port(), world_size=1 + workers, rank=ranks.rank
    )
    client = HTTPVLLMWeightSyncClient(url, timeout=http.timeout)
    with waiting(f"{url} to join the transfer of weights"):
        joined: Transfer = WeightTransferTrainerFactory.trainer_init(info, client=client, source=ModuleSource(policy))
    return joined


def pause(http: Http, url: str) -> None:
    """Requests under way end first; later ones are told to come again."""
    with waiting(f"{url} to end what it generates"):
        http.ask([url], "/pause?mode=wait", {})


def resume(http: Http, url: str, label: str) -> None:
    """Forgets what the old weights made of prompts, and names the new ones in each answer."""
    if http.ask([url], "/reset_prefix_cache", {})[1].get("success") is False:
        raise RuntimeError(f"engine: {url}/reset_prefix_cache did not succeed: old prefixes would be used on")
    http.ask([url], "/update_weight_version", {"new_version": label})
    http.ask([url], "/resume", {})
