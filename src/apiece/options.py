"""Options that several commands share, and how words become options: one sentence where they cannot."""

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apiece.complaints import sentence
from apiece.errors import CallError, InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from apiece.data.dataset import Dataset

COMMANDS = {
    "train": "train a method on your images",
    "evaluate": "score a trained model on a data set",
    "score": "score anybody's found objects against truth",
    "predict": "find the objects of images with a trained model",
    "check": "find the faults of a data set, and repair them in a copy",
    "view": "see a data set: contact sheets and a page of statistics",
    "convert": "write a data set in another format",
    "recommend": "say which methods suit your images, and which to try first",
    "compare": "train methods with the same budget and judge them on the same images",
    "import": "turn a published checkpoint into a model file",
    "methods": "list the methods, with paper and when to use them",
    "demo": "the whole job on generated images, in about three minutes",
}
"""Each command and what it does, in one line."""


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
        if "Problems parsing config" in str(error):
            files = [value for word, value in pairwise(words) if word == "--config"]
            raise CallError(f"{', '.join(files)}: {' '.join(str(error).split())}; {usage}") from error
        raise CallError(f"{sentence(str(error), defaults, _typed)}; {usage}") from error


def _typed(name: str) -> str:
    """An option as it is typed."""
    return f"--{name}".replace("_", "-")


def _plain_words(words: Sequence[str], switches: set[str]) -> list[str]:
    """Options as the functions spell them, each switch with its value."""
    plain = []
    for word, following in zip(words, [*words[1:], "--"], strict=False):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        # An option of a method or an augmentation has no value only where it is a switch.
        bare = name[2:] in switches or ("." in name and following.startswith("--") and not name.endswith(".help"))
        if name.startswith("--") and bare and not equals and following.lower() not in ("true", "false"):
            equals, value = "=", "true"
        plain.append(name + equals + value)
    return plain


def _as_typed(text: str) -> str:
    """A help text with options as they are typed: dashes, and switches without a value."""
    text = re.sub(r"--[a-z_.]+", lambda name: name[0].replace("_", "-"), text)
    text = re.sub(r" \{true,false\}(?=[\]\n])", "", text)
    text = re.sub(r" \{true,false\}", " " * 13, text)
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", lambda name: name[1].lower(), text)


def commas(text: str) -> tuple[str, ...]:
    """The words of a comma list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def opened(path: str, options: "Namespace", split: str | None = None, skip_bad: bool = False) -> "Dataset":
    """A data set, and its format said aloud; without the images that cannot be read, if these are to be skipped."""
    from apiece.data.formats import open_dataset
    from apiece.data.soundness import sound
    from apiece.progress import say

    data = open_dataset(Path(path), split=split, format=options.format)
    say(f"{path}: {len(data)} images, format {data.format}, classes {', '.join(data.classes)}")
    if not skip_bad:
        return data
    data, complaints = sound(data, quiet=options.quiet)
    for complaint in complaints:
        say(f"skipped: {complaint}")
    if complaints:
        say(f"{path}: {len(complaints)} bad images skipped, {len(data)} left")
    if not len(data):
        raise InputError(f"{path}: none of its images can be read.")
    return data


def add_skip_option(parser: "ArgumentParser") -> None:
    """What is done with bad images."""
    parser.add_argument("--skip_bad", type=bool, default=False, help="leave out images that cannot be read, and count")


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
    from apiece.data.sampling import Sampling
    from apiece.methods.method import Stage
    from apiece.schedule import check_numbers

    changes = {name: value for name, value in options.augmentation.as_dict().items() if value is not None}
    sampling = {name: value for name, value in options.sampling.as_dict().items() if value is not None}
    Augmentation(**changes)
    Sampling(**sampling)
    given: dict[str, Any] = {name: getattr(options, name) for name in names}
    check_numbers(given | {"validation": options.validation}, _typed)
    if given["minutes"] is not None and given["steps"] is not None:
        raise CallError("--minutes and --steps: give a budget in one of them, not in both.")
    if options.stages is not None:
        given["stages"] = [Stage(**one.as_dict()) if isinstance(one, Namespace) else one for one in options.stages]
    return given | {"augmentation": changes, "sampling": sampling}


def is_first() -> bool:
    """Is this the only process, or the first of several that train together?"""
    from torch import distributed

    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_rank())
