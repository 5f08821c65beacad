"""Model files: one .safetensors with the weights and, as JSON, everything needed to rebuild and judge the model.

    apiece = {"layout": 1, "version": ..., "class": ..., "arguments": {...}, "card": {...}}

No pickle and no code: the class is looked up among apiece's own methods, its arguments are those of its signature.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, device

from apiece import methods
from apiece.errors import CallError, InputError
from apiece.files import replacing
from apiece.methods.method import Card, Method
from apiece.parts.normalization import Normalization

LAYOUT = 1


def save(model: Method, path: Path | str) -> None:
    """Write a model file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    facts = {
        "layout": LAYOUT,
        "version": version(),
        "class": type(model).__name__,
        "arguments": plain_arguments(model),
        "card": asdict(model.card),
    }
    write_tensors(Path(path), dict(model.state_dict()), {"apiece": facts})


def load(path: Path | str, where: str | device = "cpu") -> Method:
    """Rebuild a model from its file, ready to predict.

    Raises:
        InputError: the file is missing, damaged, not apiece's, or written by a newer apiece.
    """
    path = Path(path)
    tensors, notes = read_tensors(path)
    if "apiece" not in notes:
        raise InputError(f"{path}: is no apiece model; `apiece import` makes one of a published checkpoint.")
    facts = notes["apiece"]
    if facts.get("layout", 0) > LAYOUT:
        written = facts.get("version")
        raise InputError(f"{path}: was written by apiece {written}, this is {version()}: please update apiece.")
    try:
        arguments = {name: rebuilt(value) for name, value in facts["arguments"].items()}
        model = methods.find(facts["class"])(**arguments)
        model.load_state_dict(tensors)
        model.card = Card.from_json(facts["card"])
    except (CallError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        written = facts.get("version")
        raise InputError(f"{path}: is damaged, or made by another version (apiece {written}): {reason}") from error
    return model.to(where).eval()


def plain_arguments(model: Method) -> dict[str, Any]:
    """A model's arguments as JSON can hold them."""
    return {
        name: asdict(value) if isinstance(value, Normalization) else value for name, value in model.arguments.items()
    }


def rebuilt(argument: Any) -> Any:
    """An argument as it was before JSON made lists of tuples and mappings of data classes."""
    if isinstance(argument, list):
        return tuple(argument)
    if isinstance(argument, dict):
        return Normalization(**{name: rebuilt(value) for name, value in argument.items()})
    return argument


def adopt(model: Method, source: Method) -> list[str]:
    """Start a model from another one's weights. Rows of class heads follow the classes' names; new classes are fresh.

    Returns:
        Names of the weights that did not fit and start fresh.

    Raises:
        CallError: nothing fits.
    """
    own, theirs = model.state_dict(), source.state_dict()
    known = {name: number for number, name in enumerate(source.card.classes)}
    pairs = [(number, known[name]) for number, name in enumerate(model.card.classes) if name in known]
    fresh = []
    for name, tensor in own.items():
        if name in theirs and any(name.startswith(head) for head in model.class_heads):
            if not _adopt_rows(tensor, theirs[name], pairs, (model.num_classes, source.num_classes)):
                fresh.append(name)
        elif name in theirs and theirs[name].shape == tensor.shape:
            tensor.copy_(theirs[name])
        else:
            fresh.append(name)
    if len(fresh) == len(own):
        raise CallError(f"a {type(source).__name__} cannot start a {type(model).__name__}: no weight fits.")
    return fresh


def _adopt_rows(own: Tensor, theirs: Tensor, pairs: list[tuple[int, int]], counts: tuple[int, int]) -> bool:
    """Copy the rows of the classes that both have, along the dimension that goes with the number of classes."""
    for dimension in range(own.ndim):
        block = own.shape[dimension] // counts[0]
        rest = [(a, b) for d, (a, b) in enumerate(zip(own.shape, theirs.shape, strict=True)) if d != dimension]
        fits = block * counts[0] == own.shape[dimension] and block * counts[1] == theirs.shape[dimension]
        if block and fits and all(a == b for a, b in rest):
            for mine, yours in pairs:
                own.narrow(dimension, mine * block, block).copy_(theirs.narrow(dimension, yours * block, block))
            return True
    return False


def write_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """A .safetensors file with notes as JSON, whole or not at all."""
    with replacing(path) as temporary:
        metadata = {name: json.dumps(note) for name, note in notes.items()}
        try:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, metadata
            )
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be written: {error}.") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and notes of a .safetensors file.

    Raises:
        InputError: it is missing, cut off, or something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such model file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, {  # noqa: SIM118
                name: json.loads(note) for name, note in metadata.items() if name in ("apiece", "training")
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is damaged or no .safetensors file ({error}).") from error


def version() -> str:
    """The installed version of apiece."""
    from importlib.metadata import version as installed

    return installed("apiece")
