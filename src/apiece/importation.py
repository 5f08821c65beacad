"""Published checkpoints as apiece models: read without running any code, and renamed."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apiece import checkpoint, methods
from apiece.errors import InputError
from apiece.foreign import (
    ademxapp,
    detectron2_mask_rcnn,
    enet,
    erfnet,
    mxnet_params,
    solo,
    spatial_embeddings,
    torchvision_mask_rcnn,
    yolact,
)
from apiece.foreign.array_pickle import ALLOWED, read_arrays
from apiece.methods.method import Method
from apiece.progress import say

LAYOUTS: dict[str, Any] = {
    "SpatialEmbeddings (Neven et al.)": spatial_embeddings,
    "torchvision Mask R-CNN": torchvision_mask_rcnn,
    "detectron2 Mask R-CNN or PointRend": detectron2_mask_rcnn,
    "YOLACT (Bolya et al.)": yolact,
    "SOLO (Wang et al.)": solo,
}
"""Each known layout of a whole method, and the file that knows its names."""

NETWORKS: dict[str, Any] = {
    "PyTorch-ENet (davidtvs)": enet,
    "ERFNet (Romera et al.)": erfnet,
    "ResNet-38, Model A1 with 2 conv. (ademxapp)": ademxapp,
}
"""Those of semantic networks, which become starts of a `Discriminative` (see `foreign/semantic.py`)."""

SCALARS: list[Any] = [(taker, ".".join(place)) for place, taker in ALLOWED.items() if place[1] in ("scalar", "dtype")]
SCALARS += [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4")]
"""What torch files may name beside what torch allows: NumPy's numbers, such as the score that was reached."""


def import_checkpoint(path: Path | str) -> Method:
    """Rebuild a published model; of a semantic network, make a `Discriminative` that is to be trained.

    Args:
        path: a .safetensors, a torch file (read with `weights_only=True`), a .pkl of arrays (through a list of what
            is allowed) or MXNet's arrays: no code in it is run.

    Raises:
        InputError: the file is missing, damaged, holds more than tensors, or is of a layout that apiece does not know.
    """
    path = Path(path)
    state = _tensors(path)
    known = {**LAYOUTS, **NETWORKS}
    for name, layout in known.items():
        if layout.recognize(state):
            try:
                model = _started(layout, state) if name in NETWORKS else _rebuilt(layout, state)
            # Tensors of any shape can be under these names: whatever is raised, the file is to blame.
            except Exception as error:
                reason = f"the name {error} is missing or unknown." if isinstance(error, KeyError) else error
                raise InputError(f"{path}: looks like {name}, but its tensors do not fit: {reason}") from error
            model.card.license = layout.LICENSE
            # Of a layout that knows its classes' names, as COCO's.
            named = getattr(layout, "classes", lambda state: None)(state)
            model.card.classes = named or model.card.classes
            model.card.training = {"imported": name, "file": path.name}
            if name in NETWORKS:
                model.card.training["remark"] = layout.remark(state)
                say(f"{path}: {name}: {layout.remark(state)}")
            model.card.threshold = 0.0
            return model.eval()
    some = ", ".join(list(state)[:3])
    raise InputError(
        f"{path}: holds {len(state)} tensors ({some}, ...), which is none of the layouts known: {', '.join(known)}."
    )


def _rebuilt(layout: Any, state: dict[str, Tensor]) -> Method:
    kind, arguments = layout.describe(state)
    return checkpoint.build(methods.find(kind), arguments, layout.translate(state))


def _started(layout: Any, state: dict[str, Tensor]) -> Method:
    """The method that a semantic network can start. What is not in the file is drawn, the same each time."""
    name, arguments = layout.describe(state)
    kind: Any = methods.find(name)
    if arguments["num_classes"] < 1:
        raise ValueError("it tells no classes apart.")
    known = layout.start(state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = kind(**arguments).state_dict()
        fresh = {name: tensor for name, tensor in drawn.items() if name.startswith(layout.fresh(state))}
        return checkpoint.build(kind, arguments, {**fresh, **known})


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
    if mxnet_params.recognize(path):
        return mxnet_params.read_params(path)
    try:
        # What torch would warn of is part of the sentence below.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(SCALARS):
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
