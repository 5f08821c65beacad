"""The commands that judge: a model on data, or anybody's found objects against truth."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from apiece.errors import CallError
from apiece.options import (
    add_data_options,
    add_device_option,
    add_json_option,
    add_metrics_option,
    add_skip_option,
    commas,
    device,
    make_parser,
    opened,
    parsed,
)

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from apiece.metrics.report import Report
    from apiece.parts.crf import CRF


def _evaluate(words: list[str]) -> int:
    from apiece import checkpoint
    from apiece.evaluation import evaluate
    from apiece.pages import write_evaluation_page

    parser = make_parser("evaluate")
    parser.add_argument("model", type=str, help="a model file")
    parser.add_argument("data", type=str, help="images with their objects")
    add_metrics_option(parser)
    add_data_options(parser)
    add_skip_option(parser)
    parser.add_argument("--html", type=str | None, default=None, help="a page of figures, curves and worst images")
    add_device_option(parser)
    parser.add_function_arguments(evaluate, skip={"model", "data", "metrics"}, as_group=False)
    add_json_option(parser)
    options = parsed(parser, words)
    data = opened(options.data, options, options.split, options.skip_bad)
    model = checkpoint.load(options.model, device(options.device))
    if options.threshold is not None:
        model.card.threshold = options.threshold
    report = evaluate(
        model,
        data,
        metrics=commas(options.metrics),
        oracle=options.oracle,
        crf=crf_of(options),
        quiet=options.quiet,
    )
    if options.html is not None:
        write_evaluation_page(model, data, report, Path(options.html), oracle=options.oracle, crf=crf_of(options))
    return _reported(report, options.json)


def crf_of(options: "Namespace") -> "CRF | bool | None":
    """The CRF that was asked for.

    Raises:
        CallError: a number that makes no sense.
    """
    from apiece.parts.crf import CRF

    return options.crf if options.crf is None or isinstance(options.crf, bool) else CRF(**options.crf.as_dict())


def _score(words: list[str]) -> int:
    from apiece.data.formats import open_dataset, open_found
    from apiece.score_page import write_score_page
    from apiece.scoring import score

    parser = make_parser("score")
    parser.add_argument("found", type=str, help="found objects: label images, COCO results, a prediction folder")
    parser.add_argument("truth", type=str, help="the true objects, in any format apiece reads")
    add_metrics_option(parser)
    by_hand: set[str | int] = {"found", "truth", "metrics", "classes", "coco_options", "against"}
    parser.add_function_arguments(score, skip=by_hand, as_group=False)
    parser.add_argument(
        "--against", type=str | None, default=None, help="other findings, whose main figures are taken from these"
    )
    parser.add_argument(
        "--max_detections", type=str, default="1,10,100", help="comma list: found objects of a class in an image that"
        " count for COCO's AR, the last for its AP"
    )  # fmt: skip
    parser.add_argument(
        "--found_area", type=Literal["mask", "box"] | None, default=None, help="whose area says whether a found object"
        " is small or large; by default what is compared: masks' for segm, boxes' for bbox"
    )  # fmt: skip
    parser.add_argument("--html", type=str | None, default=None, help="a page of figures, curves and worst images")
    add_json_option(parser)
    options = parsed(parser, words)
    by_hand |= {"json", "html", "max_detections", "found_area"}
    rest = {name: value for name, value in options.as_dict().items() if name not in by_hand}
    truth = open_dataset(Path(options.truth), split=options.split)
    found = open_found(Path(options.found), truth)
    report = score(found, truth, commas(options.metrics), against=options.against, coco_options=_coco(options), **rest)
    if options.html is not None:
        write_score_page(report, Path(options.html), found, truth)
    return _reported(report, options.json)


def _coco(options: "Namespace") -> dict[str, Any]:
    """COCO's limits as its arguments.

    Raises:
        CallError: a limit that is no whole number above 0.
    """
    limits = commas(options.max_detections)
    if not limits or not all(limit.isdecimal() and int(limit) for limit in limits):
        raise CallError(f"--max-detections {options.max_detections}: must be whole numbers above 0, as in 1,10,1000.")
    kind = {None: None, "mask": "segm", "box": "bbox"}[options.found_area]
    return {"max_detections": sorted(map(int, limits)), "found_area": kind}


def _reported(report: "Report", target: str | None) -> int:
    if target == "-":
        print(report.to_json())
        return 0
    print(report.table())
    if target is not None:
        report.write_json(Path(target))
    return 0


RUN: dict[str, Callable[[list[str]], int]] = {"evaluate": _evaluate, "score": _score}
