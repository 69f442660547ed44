"""Checkpoint folders, into which several devices wrote their shares, looked through before torch opens them.

`torch.distributed.checkpoint` unpickles such a folder's table of contents, and everything in it that is no tensor,
whatever they hold, so that a folder from somebody else could run code. Here both are read as plain values first.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, MetadataIndex

TABLE = ".metadata"
"""The table of contents."""

METADATA = "torch.distributed.checkpoint.metadata"

PLAIN = {
    *((METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((METADATA, f"{name}StorageMetadata") for name in ("Chunk", "Tensor", "Bytes")),
    (METADATA, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    *(("torch", name) for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
}
"""All that a table of contents is made of: records without a behaviour of their own."""


class _Table(pickle.Unpickler):
    """Makes nothing but what is PLAIN."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in PLAIN:
            raise pickle.UnpicklingError(f"{TABLE} names {module}.{name}")
        return super().find_class(module, name)


def check_shares(folder: Path) -> None:
    """Refuses, by an UnpicklingError and without running it, a folder that torch would run code from."""
    try:
        with (folder / TABLE).open("rb") as file:
            table = _Table(file).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # whatever a damaged pickle makes of the records
        raise ValueError(f"ckpt_path: {folder / TABLE} is damaged ({type(error).__name__}: {error})") from error
    parts = (table.state_dict_metadata, table.storage_data) if type(table) is Metadata else ()
    if [type(part) for part in parts] != [dict, dict]:
        raise pickle.UnpicklingError(f"{TABLE} is no table of contents")
    for name, kind in table.state_dict_metadata.items():
        if isinstance(kind, BytesStorageMetadata):
            torch.load(io.BytesIO(_bytes_of(folder, name, table.storage_data)), map_location="cpu", weights_only=True)


def _bytes_of(folder: Path, name: str, places: Mapping[MetadataIndex, object]) -> bytes:
    """What the folder holds of an entry that is no tensor, as torch would read it."""
    place = places.get(MetadataIndex(name))
    file, start, length = (getattr(place, key, None) for key in ("relative_path", "offset", "length"))
    if not (type(file) is str and type(start) is type(length) is int and min(start, length) >= 0):
        raise pickle.UnpicklingError(f"{TABLE} does not say where {name!r} is")
    if getattr(place, "transform_descriptors", None) or Path(file).name != file:
        raise pickle.UnpicklingError(f"{TABLE} has {name!r} in another form, or outside of the folder")
    with (folder / file).open("rb") as opened:
        opened.seek(start)
        return opened.read(length)
