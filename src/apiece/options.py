"""Options that several commands share, and how words become options: one sentence where they cannot."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apiece.errors import CallError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from apiece.data.dataset import Dataset

COMMANDS = {
    "train": "train a method on your images",
    "evaluate": "score a trained model on a data set",
    "score": "score anybody's found objects against truth",
    "predict": "find the objects of images with a trained model",
    "import": "turn a published checkpoint into a model file",
    "methods": "list the methods, with paper and when to use them",
    "demo": "the whole job on generated images, in about three minutes",
}
"""Each command and what it does, in one line."""
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list", "dict": "a mapping"}
"""Python's types in the user's words."""
POSITIVE = ("minutes", "steps", "batch_size", "crop", "lr", "clip", "accumulate", "evaluations", "patience")
"""Options of training that must be more than nothing where they are given."""


def make_parser(command: str) -> "ArgumentParser":
    """A parser of a command's options. Use it through `parsed`."""
    from jsonargparse import ArgumentParser

    description = f"{COMMANDS[command].capitalize()}."
    return ArgumentParser(prog=f"apiece {command}", description=description, exit_on_error=False)


def parsed(parser: "ArgumentParser", words: Sequence[str]) -> "Namespace":
    """The options that words give. `--batch-size` is `--batch_size`, and a switch may stand without `true`.

    Raises:
        CallError: an option that does not exist, or a value that it cannot have.
        SystemExit: help was asked for, and shown.
    """
    from argparse import ArgumentError

    defaults = parser.get_defaults().as_flat().__dict__
    if {"-h", "--help"} & set(words):
        sys.stdout.write(_as_typed(parser.format_help()))
        raise SystemExit(0)
    switches = {name for name, default in defaults.items() if isinstance(default, bool)}
    try:
        return parser.parse_args(_plain_words(words, switches))
    except ArgumentError as error:
        usage = f"`{parser.prog} --help` shows the options."
        raise CallError(f"{_sentence(str(error), defaults)}; {usage}") from error


def _plain_words(words: Sequence[str], switches: set[str]) -> list[str]:
    """Options as the functions spell them, each switch with its value."""
    plain = []
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        # An option of a method has no value only where it is a switch.
        bare = name[2:] in switches or (name.startswith("--method.") and following.startswith("--"))
        if name.startswith("--") and bare and not equals and following not in ("true", "false"):
            equals, value = "=", "true"
        plain.append(name + equals + value)
    return plain


def _as_typed(text: str) -> str:
    """A help text with options as they are typed: dashes, and switches without a value."""
    text = re.sub(r"--[a-z_.]+", lambda name: name[0].replace("_", "-"), text)
    text = re.sub(r" \{true,false\}(?=[\]\n])", "", text)
    return re.sub(r" \{true,false\}", " " * 13, text)


def _sentence(message: str, known: Sequence[str] | dict[str, Any]) -> str:
    """What an option parser complains about, over several lines, in one sentence."""
    unknown = re.search(r"unrecognized arguments: (\S+)", message) or re.search(r"Option '(.+)' is not acc", message)
    key = ".".join(name for name in re.findall(r'Parser key "(.+?)"', message))
    if unknown:
        name = unknown[1].partition("=")[0].lstrip("-")
        if unknown[1] == name and unknown.re.pattern.startswith("unrec"):
            return f"{name!r} is one word too many"
        near = get_close_matches(name, list(known), 1) if not key else []
        option = f"--{f'{key}.' if key else ''}{name}".replace("_", "-")
        return f"there is no option {option}" + (f"; did you mean --{near[0].replace('_', '-')}?" if near else "")
    wanted = [kind for kind in re.findall(r"Expected an? (.+?)(?:\. Got value|: |\n|$)", message) if "None" not in kind]
    given = re.findall(r"(?:Got value|Given value): (.*)", message)
    if key and wanted:
        value = f" {given[0]}" if given else ""
        return f"--{key.replace('_', '-')}{value}: must be {' or '.join(dict.fromkeys(map(_kind, wanted)))}"
    text = re.sub(r'^Parser key "(.+?)":', r"--\1:", " ".join(message.split()))
    return text.rstrip(".")


def _kind(kind: str) -> str:
    """A type as Python prints it, in words."""
    choices = re.findall(r"'([^']*)'", kind) if "Literal" in kind else []
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
    return f"one of {', '.join(choices)}" if choices else KINDS.get(name, name)


def commas(text: str) -> tuple[str, ...]:
    """The words of a comma list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def opened(path: str, options: "Namespace", split: str | None = None) -> "Dataset":
    """A data set, and its format said aloud."""
    from apiece.data.formats import open_dataset
    from apiece.progress import say

    data = open_dataset(Path(path), split=split, format=options.format)
    say(f"{path}: {len(data)} images, format {data.format}, classes {', '.join(data.classes)}")
    return data


def add_data_options(parser: "ArgumentParser") -> None:
    """How a data set is read."""
    parser.add_argument("--split", type=str | None, default=None, help="which part of the data, where it has several")
    parser.add_argument(
        "--format", type=str | None, default=None, help="the data's format, where it cannot be told by itself"
    )


def add_metrics_option(parser: "ArgumentParser") -> None:
    """What is computed."""
    from apiece.scoring import METRICS

    parser.add_argument("--metrics", type=str, default="matching,coco", help=f"comma list of {', '.join(METRICS)}")


def add_device_option(parser: "ArgumentParser") -> None:
    """Where to compute."""
    parser.add_argument(
        "--device", type=str | None, default=None, help="cpu, cuda, ...; by default a GPU if there is one"
    )


def device(name: str | None) -> str:
    """The device of that name; by default the best one.

    Raises:
        CallError: nothing can be computed there.
    """
    import torch

    from apiece.devices import best_device

    if name is None:
        return best_device()
    try:
        torch.zeros(1, device=name).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise CallError(f"--device {name}: cannot be used here: {str(error).splitlines()[0]}") from error
    return name


def add_json_option(parser: "ArgumentParser") -> None:
    """Where figures go."""
    parser.add_argument(
        "--json", type=str | None, default=None, help="a file for all figures; - prints them as one JSON object"
    )


def training_arguments(options: "Namespace", names: list[str]) -> dict[str, Any]:
    """Options of training as its arguments; what cannot be meant is said before anything is opened.

    Raises:
        CallError: a number or an augmentation that makes no sense.
    """
    from jsonargparse import Namespace

    from apiece.data.augment import Augmentation
    from apiece.methods.method import Stage

    given = {name: getattr(options, name) for name in names} | {"augmentation": options.augmentation}
    for name in POSITIVE:
        if given[name] is not None and not given[name] > 0:
            raise CallError(f"--{name.replace('_', '-')} {given[name]}: must be more than 0.")
    if options.stages is not None:
        given["stages"] = [Stage(**one.as_dict()) if isinstance(one, Namespace) else one for one in options.stages]
    try:
        Augmentation(**(options.augmentation or {}))
    except (TypeError, IndexError) as error:
        known = ", ".join(Augmentation.__dataclass_fields__)
        raise CallError(f"--augmentation {options.augmentation}: {error}; it has {known}.") from error
    return given
