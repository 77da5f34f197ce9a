"""Reading weight files without running anything that is in them.

Networks of transformers come as safetensors, which hold numbers only. Checkpoints of
segment-anything are pickles: they are read by torch's restricted reader (`weights_only`), which
refuses code.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seg2d3d_ros.errors import WeightsError

if TYPE_CHECKING:
    import torch

Network = TypeVar("Network")


def find_damage(path: Path) -> str:
    """Return what is wrong with a weight file as far as its outside tells; empty if nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
        if not head:
            return "it is empty"
        if path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
            return ""
        if head.startswith(b"version https://git-lfs"):
            return "it is a Git LFS pointer, not the file itself (run `git lfs pull`)"
        if head.lstrip()[:1] == b"<":
            return "it is an HTML page, not a checkpoint (the download needs a login or moved)"
        if path.suffix == ".safetensors":
            return _find_safetensors_damage(head, size, file)
        if head[:2] != b"PK" and head[:1] != b"\x80":
            return f"it is not a checkpoint (it begins with {head[:8]!r})"
    return ""


def _find_safetensors_damage(head: bytes, size: int, file: Any) -> str:
    """Compare the header of a safetensors file with the file's size."""
    if len(head) < 8 or (length := struct.unpack("<Q", head[:8])[0]) > size:
        return "it is not a safetensors file, or a truncated one"
    file.seek(8)
    try:
        header = json.loads(file.read(length))
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "it is not a safetensors file (its header cannot be read)"
    needed = 8 + length + max(ends, default=0)
    return "" if size == needed else f"it has {size} bytes, its header asks for {needed}"


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a pickled checkpoint by torch's restricted reader.

    Raises:
        WeightsError: it is damaged, holds code, or holds something other than named tensors.
    """
    import pickle
    import zipfile

    import torch

    try:
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} was refused: it holds more than tensors, and loading it could run code "
            f"({str(error).splitlines()[0]}). Use the checkpoint published by the model's authors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); fetch it again") from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(f"{path} does not hold named tensors; a state dict is needed")
    return state


def load_network(network_class: type[Network], folder: Path, dtype: torch.dtype) -> Network:
    """Load a network of transformers from its folder, from safetensors only.

    Raises:
        WeightsError: the folder does not hold weights of this architecture.
    """
    from safetensors import SafetensorError
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        network, report = network_class.from_pretrained(  # type: ignore[attr-defined]
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=dtype,
        )
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise WeightsError(
            f"{folder} cannot be loaded as {network_class.__name__} ({error}); fetch it again"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(
            f"{folder} lacks {len(missing)} tensors of {network_class.__name__} ({missing[0]}, "
            "...): it holds weights of another network"
        )
    return network.eval()


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer beside a network's weights.

    Raises:
        WeightsError: its files are missing or damaged.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"the tokenizer in {folder} cannot be loaded ({error})") from error
