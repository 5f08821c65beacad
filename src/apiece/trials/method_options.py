"""Options of several methods in one YAML file: what each is built with, and how it is trained.

    train: {crop: 96}                # of every method's training
    SpatialEmbedding:
      detail: 0                      # an argument of the method
      train: {batch_size: 4}         # of this method's training

What is not given is as the method and its recipe have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from apiece import methods
from apiece.complaints import sentence
from apiece.errors import CallError, InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

GIVEN = {"model", "data", "validation", "minutes", "steps", "out", "resume", "start_from", "seed", "devices", "quiet"}
"""Arguments of `train` that are the same for all methods of a comparison."""
KNOWN = {"self", "num_classes", "channels"}
"""Arguments of methods that the data decides."""
GROUPS = ("augmentation", "sampling", "normalization")
"""Arguments that are names with values themselves."""


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
    """A YAML (or JSON) file of options, checked as `options_of` does.

    Raises:
        InputError: it cannot be read, or holds no names with values.
        CallError: as `options_of`, for any method in the file.
    """
    import yaml
    from jsonargparse import get_loader

    try:
        # Not PyYAML's own, for which 1e-3 is a word.
        content = get_loader("yaml")(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no options: methods with their arguments are looked for, and `train`.")
    content = {str(name): value for name, value in content.items()}
    options_of([name for name in content if name in methods.PLACES], content, source=str(path))
    return content


def options_of(names: Sequence[str], options: Mapping[str, Any], source: str = "options") -> dict[str, MethodOptions]:
    """What each of some methods is built and trained with.

    Args:
        options: as in the file.
        source: what is named where they cannot be meant.

    Raises:
        CallError: a method or an option that does not exist, or a value that it cannot have.
    """
    for name in names:
        methods.find(name)
    try:
        for name in options:
            if name != "train":
                methods.find(name)
        common = _training("train", options.get("train"))
        return {name: _of_one(name, _mapping(name, options.get(name)), common) for name in names}
    except CallError as error:
        raise CallError(f"{source}: {error}") from error


def _of_one(name: str, given: dict[str, Any], common: dict[str, Any]) -> MethodOptions:
    from jsonargparse import ArgumentParser

    kind, own = methods.find(name), _training(f"{name}: train", given.pop("train", None))
    hints = get_type_hints(kind.__init__)
    optional = {key for key, value in given.items() if value is None and NoneType in get_args(hints.get(key))}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, skip={*KNOWN}, as_group=False)
    return MethodOptions(dict.fromkeys(optional) | _checked(name, given, parser), common | own)


def _training(where: str, value: Any) -> dict[str, Any]:
    """Arguments of `train`, checked."""
    from jsonargparse import ArgumentParser

    from apiece.data.augment import Augmentation
    from apiece.data.sampling import Sampling
    from apiece.methods.method import Stage
    from apiece.schedule import check_numbers
    from apiece.training import train

    parser = ArgumentParser(exit_on_error=False)
    apart: set[str | int] = {"augmentation", "sampling", "stages"}
    parser.add_function_arguments(train, skip=GIVEN | apart, as_group=False)
    parser.add_class_arguments(Augmentation, "augmentation", instantiate=False)
    parser.add_class_arguments(Sampling, "sampling", instantiate=False)
    parser.add_argument("--stages", type=list[Stage])
    given = _mapping(where, value)
    stages = given.get("stages")
    for stage in stages if isinstance(stages, list | tuple) else ():
        _mapping(f"{where}: stages", stage)
    checked = _checked(where, given, parser)
    try:
        check_numbers(checked)
    except CallError as error:
        raise CallError(f"{where}: {error}") from error
    values = [("augmentation", Augmentation, checked.get("augmentation", {}))]
    values += [("sampling", Sampling, checked.get("sampling", {}))]
    values += [("stages", Stage, one) for one in checked.get("stages", [])]
    for name, kind, one in values:
        try:
            kind(**one)
        except CallError as error:
            raise CallError(f"{where}: {name}: {error}") from error
    return checked


def _checked(where: str, given: dict[str, Any], parser: "ArgumentParser") -> dict[str, Any]:
    """Options as a parser takes them; what has no value is not given."""
    from argparse import ArgumentError

    known = parser.get_defaults().as_flat().__dict__
    names = {name.partition(".")[0] for name in known}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise CallError(f"{where}: there is no {unknown[0]!r}; there are {', '.join(sorted(names))}.")
    given = _without_blanks(given)
    for name in GROUPS:
        if name in given:
            given[name] = _mapping(f"{where}: {name}", given[name])
    try:
        return parser.parse_object(given, defaults=False).as_dict()
    except ArgumentError as error:
        raise CallError(f"{where}: {sentence(str(error), known, str)}.") from error


def _without_blanks(value: Any) -> Any:
    """A copy, as the parser changes what it is given."""
    if isinstance(value, Mapping):
        return {str(key): _without_blanks(one) for key, one in value.items() if one is not None}
    return [_without_blanks(one) for one in value] if isinstance(value, list | tuple) else value


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise CallError(f"{where}: must be names with values, but is {value!r}.")
    return {str(key): one for key, one in (value or {}).items()}
