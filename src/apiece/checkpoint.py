"""Model files: one .safetensors with the weights and, as JSON, everything needed to rebuild and judge the model.

    apiece = {"layout": 1, "version": ..., "class": ..., "arguments": {...}, "card": {...}}

No pickle and no code: the class is looked up among apiece's own methods, its arguments are those of its signature.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, channels_last, device
from torch.nn.modules.conv import _ConvTransposeNd

from apiece import methods
from apiece.errors import CallError, InputError
from apiece.files import replacing
from apiece.methods.method import Card, Method
from apiece.parts.normalization import Normalization

LAYOUT = 2


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
        InputError: the file is missing, damaged, not apiece's, or written by an apiece with other layouts.
    """
    path = Path(path)
    tensors, notes = read_tensors(path)
    if "apiece" not in notes:
        raise InputError(f"{path}: is no apiece model; `apiece import` makes one of a published checkpoint.")
    facts = notes["apiece"] if isinstance(notes["apiece"], dict) else {}
    layout, written = facts.get("layout"), facts.get("version")
    if isinstance(layout, int) and layout < LAYOUT:
        raise InputError(
            f"{path}: was written by an earlier apiece ({written}), and its weights mean something else to this one "
            f"({version()}): train it anew, or use that version."
        )
    if isinstance(layout, int) and layout > LAYOUT:
        raise InputError(f"{path}: was written by apiece {written}, this is {version()}: please update apiece.")
    try:
        model = _model(facts, tensors)
    # A file may say anything, and a method's constructor meets it: whatever is raised, the file is to blame.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: is damaged, or made by another version (apiece {written}): {reason}") from error
    # As in training: a forward pass takes 0.7 to 0.8 of the time.
    return model.to(where, memory_format=channels_last).eval()  # pyright: ignore[reportCallIssue]


def plain_arguments(model: Method) -> dict[str, Any]:
    """A model's arguments as JSON can hold them."""
    return {
        name: asdict(value) if isinstance(value, Normalization) else value for name, value in model.arguments.items()
    }


def _model(facts: dict[str, Any], tensors: dict[str, Tensor]) -> Method:
    """The model that a file tells of."""
    kind, card = methods.find(facts["class"]), Card.from_json(facts["card"])
    arguments = {name: rebuilt(value) for name, value in facts["arguments"].items()}
    _check(arguments, kind.__init__)
    _check(vars(card), Card)
    if len(card.classes) != arguments["num_classes"]:
        raise ValueError(f"{arguments['num_classes']} classes, but {len(card.classes)} names for them.")
    model = build(kind, arguments, tensors)
    model.card = card
    return model


def build(kind: type[Method], arguments: dict[str, Any], tensors: dict[str, Tensor]) -> Method:
    """A method with given weights. Memory is taken only after names and shapes were found to fit.

    Raises:
        ValueError: a weight is missing, spare, or of another shape.
    """
    with device("meta"):
        wanted = {name: tensor.shape for name, tensor in kind(**arguments).state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            here, there = (str(tuple(shapes[name])) if name in shapes else "missing" for shapes in (found, wanted))
            raise ValueError(f"the weight {name} is {here}, where the method has it {there}.")
    model = kind(**arguments)
    model.load_state_dict(tensors)
    return model


def rebuilt(value: Any) -> Any:
    """An argument as it was before JSON made lists of tuples and mappings of data classes."""
    if isinstance(value, list):
        return tuple(rebuilt(one) for one in value)
    if not isinstance(value, dict):
        return value
    fields = {name: rebuilt(one) for name, one in value.items()}
    _check(fields, Normalization)
    return Normalization(**fields)


def _check(values: dict[str, Any], taker: Any) -> None:
    """Whether values from JSON are of the types that a function or data class says."""
    for name, kind in get_type_hints(taker).items():
        if name in values and not _fits(values[name], kind):
            raise TypeError(f"{name} cannot be {values[name]!r}.")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of a type, as far as types of arguments go."""
    outer, inner = get_origin(kind), get_args(kind)
    if outer is Literal:
        return value in inner
    if outer in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if outer is tuple and isinstance(value, tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return kind is Any or isinstance(value, outer or kind)


def adopt(model: Method, source: Method) -> list[str]:
    """Start a model from another one's weights. Rows of class heads follow the classes' names; new classes are fresh.

    Arguments that were left to follow the data are the source's, and so is its license unless the model has one.

    Returns:
        Names of the weights that did not fit and start fresh.

    Raises:
        CallError: nothing fits.
    """
    if type(model) is type(source):
        # What was left to follow the data is as the weights learned it.
        model.rebuild(**source.arguments)
    own, theirs = model.state_dict(), source.state_dict()
    known = {name: number for number, name in enumerate(source.card.classes)}
    pairs = [(number, known[name]) for number, name in enumerate(model.card.classes) if name in known]
    fresh = []
    for name, tensor in own.items():
        if name in theirs and any(name.startswith(head) for head in model.class_heads):
            module = model.get_submodule(name.rpartition(".")[0])
            # A transposed convolution has its outputs along the second dimension of its weight.
            dimension = int(isinstance(module, _ConvTransposeNd) and tensor.ndim > 1)
            if not _adopt_rows(tensor, theirs[name], dimension, pairs, (model.num_classes, source.num_classes)):
                fresh.append(name)
        elif name in theirs and theirs[name].shape == tensor.shape:
            tensor.copy_(theirs[name])
        else:
            fresh.append(name)
    if len(fresh) == len(own):
        raise CallError(f"a {type(source).__name__} cannot start a {type(model).__name__}: no weight fits.")
    # What may not be sold may not be sold after some more training.
    model.card.license = model.card.license or source.card.license
    return fresh


def _adopt_rows(
    own: Tensor, theirs: Tensor, dimension: int, pairs: list[tuple[int, int]], counts: tuple[int, int]
) -> bool:
    """Copy the blocks of the classes that both have, along the dimension of the classes; False if it does not fit."""
    block = own.shape[dimension] // counts[0]
    wanted = [*own.shape[:dimension], block * counts[1], *own.shape[dimension + 1 :]]
    if block * counts[0] != own.shape[dimension] or list(theirs.shape) != wanted:
        return False
    for mine, yours in pairs:
        own.narrow(dimension, mine * block, block).copy_(theirs.narrow(dimension, yours * block, block))
    return True


def write_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """A .safetensors file with notes as JSON, whole or not at all."""
    with replacing(path) as temporary:
        metadata = {name: json.dumps(note) for name, note in notes.items()}
        # safetensors makes files that only their owner may read: this one shall be as any other.
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, metadata
            )
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be written: {error}.") from error
        temporary.chmod(mode)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and notes of a .safetensors file.

    Raises:
        InputError: it is missing, cut off, or something else.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _notes(file)  # noqa: SIM118


def read_notes(path: Path) -> dict[str, Any]:
    """The notes of a .safetensors file alone; raises as `read_tensors`."""
    with _opened(path) as file:
        return _notes(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        found = "is a folder, not a model file" if path.is_dir() else "there is no such file"
        raise InputError(f"{path}: {found}.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged or no .safetensors file ({error}).") from error


def _notes(file: Any) -> dict[str, Any]:
    notes = (file.metadata() or {}).items()
    return {name: json.loads(note) for name, note in notes if name in ("apiece", "training")}


def version() -> str:
    """The installed version of apiece."""
    from importlib.metadata import version as installed

    return installed("apiece")
