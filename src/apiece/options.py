"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def make_parser(command: str, **options: Any) -> "ArgumentParser":
    """A parser of a command's options."""
    from jsonargparse import ArgumentParser

    return ArgumentParser(prog=f"apiece {command}", description=f"{COMMANDS[command].capitalize()}.", **options)


def commas(text: str) -> tuple[str, ...]:
    """The words of a comma list."""
    return tuple(word for word in text.split(",") if word)


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


def add_device_option(parser: "ArgumentParser") -> None:
    """Where to compute."""
    parser.add_argument(
        "--device", type=str | None, default=None, help="cpu, cuda, ...; by default a GPU if there is one"
    )


def add_json_option(parser: "ArgumentParser") -> None:
    """Where figures go."""
    parser.add_argument(
        "--json", type=str | None, default=None, help="a file for all figures; - prints them as one JSON object"
    )
