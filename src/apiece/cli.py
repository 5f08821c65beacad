"""The command: each verb is a function of the same name; its options are the function's own arguments."""

import json
import sys
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apiece.errors import CallError, InputError, Interrupted, TrainingError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from apiece.metrics.report import Report

COMMANDS = {
    "train": "train a method on your images",
    "evaluate": "score a trained model on a data set",
    "score": "score anybody's found objects against truth",
    "predict": "find the objects of images with a trained model",
    "import": "turn a published checkpoint into a model file",
    "methods": "list the methods, with paper and when to use them",
    "demo": "the whole job on generated images, in about three minutes",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 the job failed, 2 the call was wrong, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("apiece"))
        return 0
    try:
        if words[0] not in COMMANDS:
            raise CallError(f"there is no command {words[0]!r}: choose from {', '.join(COMMANDS)}.")
        return RUN[words[0]](words[1:])
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        return _told(error)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def _told(error: BaseException) -> int:
    """Say in one sentence what went wrong; the exit status."""
    message = str(error).strip() or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        print(f"apiece: {message if isinstance(error, Interrupted) else 'interrupted.'}", file=sys.stderr)
        return 130
    if not isinstance(error, InputError | CallError | TrainingError):
        message = (
            f"{type(error).__name__}: {' '.join(message.split())} (this is a fault in apiece; --debug shows where.)"
        )
    print(f"apiece: {message}", file=sys.stderr)
    return 2 if isinstance(error, CallError) else 1


def _help() -> str:
    lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    return "\n".join([
        "usage: apiece COMMAND ...", "", "Find every object of an image, each with its own mask and class.", "", "commands:", *lines, "",
        "apiece COMMAND --help shows a command's options; --debug shows where an error comes from; --version the version.",
    ])  # fmt: skip


def _parser(command: str, **options: Any) -> "ArgumentParser":
    from jsonargparse import ArgumentParser

    return ArgumentParser(prog=f"apiece {command}", description=f"{COMMANDS[command].capitalize()}.", **options)


def _commas(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _opened(path: str, options: "Namespace", split: str | None = None):
    """A data set, and its format said aloud."""
    from apiece.data.formats import open_dataset
    from apiece.progress import say

    data = open_dataset(Path(path), split=split, format=options.format)
    say(f"{path}: {len(data)} images, format {data.format}, classes {', '.join(data.classes)}")
    return data


def _add_data_options(parser: "ArgumentParser") -> None:
    parser.add_argument("--split", type=str | None, default=None, help="which part of the data, where it has several")
    parser.add_argument(
        "--format", type=str | None, default=None, help="the data's format, where it cannot be told by itself"
    )


def _train(words: list[str]) -> int:
    from jsonargparse import Namespace

    from apiece import methods
    from apiece.methods.method import Method, Stage
    from apiece.training import MODEL, train

    for name in methods.PLACES:
        methods.find(name)
    parser = _parser("train")
    parser.add_argument("--config", action="config", help="a YAML file of options")
    parser.add_argument("data", type=str, help="images with their objects, in any format apiece reads")
    parser.add_subclass_arguments(
        Method, "method", skip={"num_classes", "channels"}, required=False, help="which method, and its options"
    )
    parser.add_argument("--from", dest="start_from", type=str | None, default=None, help="a model file to start from")
    parser.add_argument(
        "--validation", type=float | str | None, default=0.1, help="a data set, or the share to set aside"
    )
    _add_data_options(parser)
    parser.add_argument(
        "--augmentation",
        type=dict[str, Any] | None,
        default=None,
        help="changes to the recipe's, as --augmentation.rotation 30",
    )
    parser.add_argument(
        "--stages",
        type=list[Stage] | None,
        default=None,
        help="stages in place of the recipe's, as JSON or in the YAML file",
    )
    by_hand = {"model", "data", "validation", "start_from", "out", "augmentation", "stages"}
    parser.add_function_arguments(train, skip=by_hand, as_group=False)
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder of model, log and state; by default a new one in runs/"
    )
    options = parser.parse_args(words)
    data = _opened(options.data, options, options.split)
    model = _method(options, data)
    out = (
        Path(options.out)
        if options.out
        else _new_folder(Path("runs"), f"{data.path.resolve().name}_{type(model).__name__}")
    )
    rest = {name: getattr(options, name) for name in signature(train).parameters if name not in by_hand}
    if options.stages is not None:
        rest["stages"] = tuple(
            Stage(**stage.as_dict()) if isinstance(stage, Namespace) else stage for stage in options.stages
        )
    validation = _opened(options.validation, options) if isinstance(options.validation, str) else options.validation
    trained = train(
        model,
        data,
        validation=validation,
        out=out,
        start_from=options.start_from,
        augmentation=options.augmentation,
        **rest,
    )
    print(json.dumps({"model": str(out / MODEL), **trained.card.metrics.get("validation", {})}))
    return 0


def _method(options: "Namespace", data: Any) -> Any:
    """The method that was asked for, now that the data's classes and channels are known."""
    from apiece import checkpoint, methods
    from apiece.methods.method import Normalization

    if options.method is None:
        if options.start_from is None:
            raise CallError(f"which method? give --method {'|'.join(methods.PLACES)}, or --from a model.")
        source = checkpoint.load(options.start_from)
        return type(source)(**{**source.arguments, "num_classes": len(data.classes)})
    chosen = dict(options.method.init_args.as_dict())
    if isinstance(chosen.get("normalization"), dict):
        chosen["normalization"] = Normalization(**chosen["normalization"])
    kind = methods.find(options.method.class_path.rpartition(".")[2])
    channels = data.channels()
    return kind(
        num_classes=len(data.classes), channels=3 if channels == 4 else 1 if channels == 2 else channels, **chosen
    )


def _new_folder(parent: Path, name: str) -> Path:
    numbers = (parent / f"{name}_{number}" for number in range(1, 10_000))
    return next(folder for folder in numbers if not folder.exists())


def _evaluate(words: list[str]) -> int:
    from apiece.evaluation import evaluate
    from apiece.scoring import METRICS

    parser = _parser("evaluate")
    parser.add_argument("model", type=str, help="a model file")
    parser.add_argument("data", type=str, help="images with their objects")
    parser.add_argument(
        "--metrics", type=_commas, default=("matching", "coco"), help=f"comma list of {', '.join(METRICS)}"
    )
    _add_data_options(parser)
    parser.add_function_arguments(evaluate, skip={"model", "data", "metrics"}, as_group=False)
    _add_json_option(parser)
    options = parser.parse_args(words)
    data = _opened(options.data, options, options.split)
    report = evaluate(
        options.model,
        data,
        metrics=options.metrics,
        threshold=options.threshold,
        oracle=options.oracle,
        page=options.page,
        quiet=options.quiet,
    )
    return _reported(report, options.json)


def _score(words: list[str]) -> int:
    from apiece.scoring import METRICS, score

    parser = _parser("score")
    parser.add_argument("found", type=str, help="found objects: label images, COCO results, a prediction folder")
    parser.add_argument("truth", type=str, help="the true objects, in any format apiece reads")
    parser.add_argument(
        "--metrics", type=_commas, default=("matching", "coco"), help=f"comma list of {', '.join(METRICS)}"
    )
    parser.add_function_arguments(score, skip={"found", "truth", "metrics", "classes", "coco_options"}, as_group=False)
    _add_json_option(parser)
    options = parser.parse_args(words)
    rest = {
        name: value for name, value in options.as_dict().items() if name not in ("found", "truth", "metrics", "json")
    }
    return _reported(score(Path(options.found), Path(options.truth), options.metrics, **rest), options.json)


def _add_json_option(parser: "ArgumentParser") -> None:
    parser.add_argument(
        "--json", type=str | None, default=None, help="a file for all figures; - prints them as one JSON object"
    )


def _reported(report: "Report", target: str | None) -> int:
    if target == "-":
        print(report.to_json())
        return 0
    print(report.table())
    if target is not None:
        report.write_json(Path(target))
    return 0


def _predict(words: list[str]) -> int:
    from apiece import checkpoint
    from apiece.devices import best_device
    from apiece.outputs import KINDS, predict_files

    parser = _parser("predict")
    parser.add_argument("model", type=str, help="a model file")
    parser.add_argument("images", nargs="+", type=str, help="image files, folders, globs")
    parser.add_argument("--save", type=_commas, default=("labels", "overlay"), help=f"comma list of {', '.join(KINDS)}")
    parser.add_argument("--out", type=str, default="found", help="the folder to write to")
    parser.add_argument(
        "--device",
        type=str | None,
        default=None,
        help="where to compute, as torch names it; by default a GPU if there is one",
    )
    parser.add_function_arguments(predict_files, skip={"model", "images", "out", "save"}, as_group=False)
    options = parser.parse_args(words)
    model = checkpoint.load(options.model, options.device or best_device())
    rest = {name: getattr(options, name) for name in ("threshold", "overwrite", "skip_bad", "quiet")}
    counts = predict_files(model, options.images, Path(options.out), options.save, **rest)
    print(json.dumps({**counts, "out": options.out}))
    return 0


def _import(words: list[str]) -> int:
    from apiece import checkpoint
    from apiece.importation import import_checkpoint

    parser = _parser("import")
    parser.add_argument("file", type=str, help="the published checkpoint")
    parser.add_argument("--out", type=str | None, default=None, help="the model file; by default beside the checkpoint")
    options = parser.parse_args(words)
    model = import_checkpoint(options.file)
    out = Path(options.out or Path(options.file).with_suffix(".apiece.safetensors"))
    checkpoint.save(model, out)
    print(json.dumps({"model": str(out), "method": type(model).__name__, "license": model.card.license}))
    return 0


def _methods(words: list[str]) -> int:
    from apiece import methods

    _parser("methods").parse_args(words)
    for name in methods.PLACES:
        print(f"{name:<18}{methods.SUMMARIES[name]}")
    return 0


def _demo(words: list[str]) -> int:
    from apiece.demonstration import demo

    parser = _parser("demo")
    parser.add_function_arguments(demo, as_group=False)
    options = parser.parse_args(words)
    print(demo(**options.as_dict()))
    return 0


RUN: dict[str, Callable[[list[str]], int]] = {
    "train": _train, "evaluate": _evaluate, "score": _score, "predict": _predict, "import": _import, "methods": _methods, "demo": _demo,
}  # fmt: skip
