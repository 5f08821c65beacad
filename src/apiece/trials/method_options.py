"""Options of several methods in one YAML file: what each is built with, and how it is trained.

    train: {crop: 96}                # of every method's training
    SpatialEmbedding:
      detail: 0                      # an argument of the method
      train: {batch_size: 4}         # of this method's training

What is not given is as the method and its recipe have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from apiece import methods
from apiece.errors import CallError, InputError

GIVEN = {"model", "data", "validation", "minutes", "steps", "out", "resume", "start_from", "seed", "quiet"}
"""Arguments of `train` that are the same for all methods of a comparison."""
KNOWN = {"self", "num_classes", "channels"}
"""Arguments of methods that the data decides."""


@dataclass(frozen=True)
class MethodOptions:
    """What differs from the defaults.

    Attributes:
        arguments: of the method's constructor.
        training: of `train`.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def read_options(path: Path) -> dict[str, Any]:
    """A YAML (or JSON) file of options.

    Raises:
        InputError: it cannot be read, or holds no names with values.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no options: methods with their arguments are looked for, and `train`.")
    return {str(name): value for name, value in content.items()}


def options_of(names: Sequence[str], options: Mapping[str, Any]) -> dict[str, MethodOptions]:
    """What each of some methods is built and trained with.

    Args:
        options: as in the file.

    Raises:
        CallError: a method or an option that does not exist, or no names with values.
    """
    for name in options:
        if name != "train":
            methods.find(name)
    common = _mapping("train", options.get("train"))
    return {name: _of_one(name, _mapping(name, options.get(name)), common) for name in names}


def _of_one(name: str, given: dict[str, Any], common: dict[str, Any]) -> MethodOptions:
    own = _mapping(f"{name}: train", given.pop("train", None))
    _check(name, given, set(signature(methods.find(name).__init__).parameters) - KNOWN)
    from apiece.methods.method import Stage
    from apiece.training import train

    _check(f"{name}: train", common | own, set(signature(train).parameters) - GIVEN)
    for stage in (common | own).get("stages") or ():
        _check(f"{name}: train: stages", _mapping(f"{name}: train: stages", stage), set(Stage.__dataclass_fields__))
    return MethodOptions({key: _as_tuple(value) for key, value in given.items()}, common | own)


def _check(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise CallError(f"options: {where}: there is no {unknown[0]!r}; there are {', '.join(sorted(known))}.")


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise CallError(f"options: {where}: must be names with values, but is {value!r}.")
    return {str(key): one for key, one in (value or {}).items()}


def _as_tuple(value: Any) -> Any:
    """YAML knows lists only, methods take tuples."""
    return tuple(_as_tuple(one) for one in value) if isinstance(value, list) else value
