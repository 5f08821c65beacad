"""Published checkpoints as apiece models: read without running any code, and renamed."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apiece import methods
from apiece.errors import InputError
from apiece.foreign import spatial_embeddings
from apiece.methods.method import Method

LAYOUTS = {"SpatialEmbeddings (Neven et al.)": spatial_embeddings}
"""Each known layout and the file that knows its names."""


def import_checkpoint(path: Path | str) -> Method:
    """Rebuild a published model.

    Args:
        path: a .safetensors or a torch file; the latter is read with `weights_only=True`, so no code in it is run.

    Raises:
        InputError: the file is missing, damaged, holds more than tensors, or is of a layout that apiece does not know.
    """
    path = Path(path)
    state = _tensors(path)
    for name, layout in LAYOUTS.items():
        if layout.recognize(state):
            kind, arguments = layout.describe(state)
            model = methods.find(kind)(**arguments)
            try:
                model.load_state_dict(layout.translate(state))
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise InputError(f"{path}: looks like {name}, but its tensors do not fit: {reason}") from error
            model.card.license = layout.LICENSE
            model.card.training = {"imported": name, "file": path.name}
            model.card.threshold = 0.0
            return model.eval()
    some = ", ".join(list(state)[:3])
    raise InputError(
        f"{path}: holds {len(state)} tensors ({some}, ...), which is none of the layouts known: {', '.join(LAYOUTS)}."
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    if path.suffix == ".safetensors":
        from apiece.checkpoint import read_tensors

        return read_tensors(path)[0]
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: pickle, zip, runtime, end of file
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a file of tensors only ({reason}).") from error
    for key in ("model_state_dict", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()) or not content:
        raise InputError(f"{path}: holds no weights by name.")
    return content
