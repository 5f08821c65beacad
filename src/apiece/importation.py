"""Published checkpoints as apiece models: read without running any code, and renamed."""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apiece import checkpoint, methods
from apiece.errors import InputError
from apiece.foreign import detectron2_mask_rcnn, solo, spatial_embeddings, torchvision_mask_rcnn, yolact
from apiece.foreign.array_pickle import read_arrays
from apiece.methods.method import Method

LAYOUTS: dict[str, Any] = {
    "SpatialEmbeddings (Neven et al.)": spatial_embeddings,
    "torchvision Mask R-CNN": torchvision_mask_rcnn,
    "detectron2 Mask R-CNN or PointRend": detectron2_mask_rcnn,
    "YOLACT (Bolya et al.)": yolact,
    "SOLO (Wang et al.)": solo,
}
"""Each known layout and the file that knows its names."""


def import_checkpoint(path: Path | str) -> Method:
    """Rebuild a published model.

    Args:
        path: a .safetensors, a torch file (read with `weights_only=True`) or a .pkl of arrays (through a list of what
            is allowed): no code in it is run.

    Raises:
        InputError: the file is missing, damaged, holds more than tensors, or is of a layout that apiece does not know.
    """
    path = Path(path)
    state = _tensors(path)
    for name, layout in LAYOUTS.items():
        if layout.recognize(state):
            try:
                kind, arguments = layout.describe(state)
                model = checkpoint.build(methods.find(kind), arguments, layout.translate(state))
            # Tensors of any shape can be under these names: whatever is raised, the file is to blame.
            except Exception as error:
                raise InputError(f"{path}: looks like {name}, but its tensors do not fit: {error}") from error
            model.card.license = layout.LICENSE
            # Of a layout that knows its classes' names, as COCO's.
            named = getattr(layout, "classes", lambda state: None)(state)
            model.card.classes = named or model.card.classes
            model.card.training = {"imported": name, "file": path.name}
            model.card.threshold = 0.0
            return model.eval()
    some = ", ".join(list(state)[:3])
    raise InputError(
        f"{path}: holds {len(state)} tensors ({some}, ...), which is none of the layouts known: {', '.join(LAYOUTS)}."
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not a checkpoint' if path.is_dir() else 'there is no such file'}.")
    if path.suffix == ".safetensors":
        tensors, notes = checkpoint.read_tensors(path)
        if "apiece" in notes:
            raise InputError(f"{path}: is an apiece model already: use it as it is.")
        return tensors
    if path.suffix == ".pkl":
        return read_arrays(path)
    try:
        # What torch would warn of is part of the sentence below.
        with warnings.catch_warnings(action="ignore"):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: pickle, zip, runtime, end of file
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise InputError(
                f"{path}: holds {code[1]} beside tensors, which could run code, so it was not loaded: "
                "save the weights alone, as a dictionary of tensors."
            ) from error
        raise InputError(f"{path}: is cut off, or no file of torch: download or copy it again.") from error
    for key in ("model_state_dict", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()) or not content:
        raise InputError(f"{path}: holds no weights by name.")
    return content
