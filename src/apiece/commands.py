"""The commands: each makes its options from the signature of the function of the same name, and calls it."""

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apiece import choice_commands, data_commands, methods, score_commands
from apiece.errors import CallError, InputError
from apiece.journal import plain
from apiece.options import (
    add_data_options,
    add_device_option,
    add_skip_option,
    commas,
    device,
    is_first,
    make_parser,
    opened,
    parsed,
    training_arguments,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from apiece.data.dataset import Dataset
    from apiece.methods.method import Method


def _train(words: list[str]) -> int:
    from apiece.run import MODEL, STATE
    from apiece.training import train

    parser, rest = _train_parser()
    options = parsed(parser, words)
    if options.method is None and options.start_from is None:
        raise CallError(f"which method? give --method {'|'.join(methods.PLACES)}, or --from a model.")
    given = training_arguments(options, rest)
    if options.resume and not (options.out and (Path(options.out) / STATE).is_file()):
        raise InputError(f"{options.out or '--resume'}: no training to go on with: give its folder as --out.")
    data = opened(options.data, options, options.split, options.skip_bad)
    model = _method(options, data)
    out = Path(options.out or _new_folder(Path("runs"), f"{data.path.resolve().name}_{type(model).__name__}"))
    validation = options.validation
    if isinstance(validation, str):
        validation = opened(validation, options, skip_bad=options.skip_bad)
    trained = train(
        model,
        data,
        validation=validation,
        out=out,
        start_from=options.start_from,
        **given,
    )
    if is_first():
        print(json.dumps(plain({"model": str(out / MODEL), **trained.card.metrics.get("validation", {})})))
    return 0


def _train_parser() -> tuple["ArgumentParser", list[str]]:
    """The options of training, and which of them are handed on to it as they are."""
    from apiece.data.augment import Augmentation
    from apiece.data.sampling import Sampling
    from apiece.methods.method import Method, Stage
    from apiece.training import train

    for name in methods.PLACES:
        methods.find(name)
    parser = make_parser("train")
    parser.add_argument("--config", action="config", help="a YAML file of options")
    parser.add_argument("data", type=str, help="images with their objects, in any format apiece reads")
    parser.add_subclass_arguments(
        Method, "method", skip={"num_classes", "channels"}, required=False, help="which method, and its options"
    )
    parser.add_argument("--from", dest="start_from", type=str | None, default=None, help="a model file to start from")
    parser.add_argument(
        "--validation", type=float | str | None, default=0.1, help="a data set, or the share to set aside"
    )
    add_data_options(parser)
    add_skip_option(parser)
    # What is not given is as the recipe has it, whose defaults are not those of the class.
    parser.add_class_arguments(Augmentation, "augmentation", instantiate=False)
    parser.set_defaults({f"augmentation.{name}": None for name in Augmentation.__dataclass_fields__})
    parser.add_class_arguments(Sampling, "sampling", instantiate=False)
    parser.add_argument(
        "--stages",
        type=list[Stage] | None,
        default=None,
        help="stages in place of the recipe's, as JSON or in the YAML file",
    )
    by_hand: set[str | int] = {"model", "data", "validation", "start_from", "out", "augmentation", "sampling", "stages"}
    parser.add_function_arguments(train, skip=by_hand, as_group=False)
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder of model, log and state; by default a new one in runs/"
    )
    return parser, [name for name in signature(train).parameters if name not in by_hand]


def _method(options: "Namespace", data: "Dataset") -> "Method":
    """The method that was asked for, now that the data's classes and channels are known."""
    from apiece import checkpoint
    from apiece.parts.normalization import Normalization

    if options.method is None:
        source = checkpoint.load(options.start_from)
        return type(source)(**{**source.arguments, "num_classes": len(data.classes)})
    chosen = dict(options.method.init_args.as_dict())
    if isinstance(chosen.get("normalization"), dict):
        chosen["normalization"] = Normalization(**chosen["normalization"])
    kind: Any = methods.find(options.method.class_path.rpartition(".")[2])
    # An alpha channel tells a network nothing.
    channels = {2: 1, 4: 3}.get(data.channels(), data.channels())
    return kind(num_classes=len(data.classes), channels=channels, **chosen)


def _new_folder(parent: Path, name: str) -> Path:
    numbers = (parent / f"{name}_{number}" for number in range(1, 10_000))
    return next(folder for folder in numbers if not folder.exists())


def _predict(words: list[str]) -> int:
    from apiece import checkpoint
    from apiece.outputs import KINDS, predict_files

    parser = make_parser("predict")
    parser.add_argument("model", type=str, help="a model file")
    parser.add_argument("images", nargs="+", type=str, help="image files, folders, globs")
    parser.add_argument("--save", type=str, default="labels,overlay", help=f"comma list of {', '.join(KINDS)}")
    parser.add_argument("--out", type=str, default="found", help="the folder to write to")
    add_device_option(parser)
    parser.add_function_arguments(predict_files, skip={"model", "images", "out", "save"}, as_group=False)
    options = parsed(parser, words)
    model = checkpoint.load(options.model, device(options.device))
    rest = {name: getattr(options, name) for name in ("threshold", "overwrite", "skip_bad", "quiet")}
    rest["crf"] = score_commands.crf_of(options)
    counts = predict_files(model, options.images, Path(options.out), commas(options.save), **rest)
    print(json.dumps({**counts, "out": options.out}))
    return 0


def _import(words: list[str]) -> int:
    from apiece import checkpoint
    from apiece.importation import import_checkpoint

    parser = make_parser("import")
    parser.add_argument("file", type=str, help="the published checkpoint")
    parser.add_argument("--out", type=str | None, default=None, help="the model file; by default beside the checkpoint")
    options = parsed(parser, words)
    model = import_checkpoint(options.file)
    out = Path(options.out or Path(options.file).with_suffix(".apiece.safetensors"))
    checkpoint.save(model, out)
    print(json.dumps({"model": str(out), "method": type(model).__name__, "license": model.card.license}))
    return 0


def _methods(words: list[str]) -> int:
    parsed(make_parser("methods"), words)
    for name in methods.PLACES:
        print(f"{name:<18}{methods.SUMMARIES[name]}")
    return 0


def _demo(words: list[str]) -> int:
    from apiece.demonstration import demo

    parser = make_parser("demo")
    parser.add_function_arguments(demo, as_group=False)
    options = parsed(parser, words)
    print(demo(**options.as_dict()))
    return 0


RUN: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    **score_commands.RUN,
    **data_commands.RUN,
    **choice_commands.RUN,
    "predict": _predict,
    "import": _import,
    "methods": _methods,
    "demo": _demo,
}
