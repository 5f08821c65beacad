"""The commands that help to choose a method: each makes its options from the signature of a function, and calls it."""

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from apiece import methods
from apiece.files import write_text
from apiece.options import add_data_options, add_json_option, add_skip_option, commas, make_parser, opened, parsed

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMPARED = ("data", "methods", "validation", "test", "tools", "options", "out")
"""Arguments of a comparison whose options are declared by hand."""


def _recommend(words: list[str]) -> int:
    from apiece.recommendation import recommend
    from apiece.recommendation_page import write_recommendation_page

    parser = make_parser("recommend")
    parser.add_argument("data", type=str, help="images with their objects, in any format apiece reads")
    add_data_options(parser)
    add_skip_option(parser)
    parser.add_argument("--methods", type=str, default="all", help="a comma list of methods")
    by_hand: set[str | int] = {"data", "names", "options"}
    parser.add_function_arguments(recommend, skip=by_hand, as_group=False)
    parser.add_argument("--html", type=str | None, default=None, help="an HTML page with pictures of what is lost")
    add_json_option(parser)
    options = parsed(parser, words)
    data = opened(options.data, options, options.split, options.skip_bad)
    pairs = [(f"--{name}", getattr(options, name)) for name in ("split", "format") if getattr(options, name)]
    repeated = [word for pair in pairs for word in pair] + ["--skip-bad"] * options.skip_bad
    names = None if options.methods == "all" else commas(options.methods)
    given = {name: getattr(options, name) for name in ("images", "seconds", "seed", "quiet")}
    found = recommend(data, names=names, options=repeated, **given)
    if options.html is not None:
        write_recommendation_page(found, Path(options.html))
    if options.json not in (None, "-"):
        found.write_json(Path(options.json))
    print(found.to_json() if options.json == "-" else found.table())
    return 0


def _compare(words: list[str]) -> int:
    from apiece.comparison import compare

    known = signature(compare).parameters
    parser = _compare_parser()
    options = parsed(parser, words)
    data = opened(options.data, options, options.split, options.skip_bad)
    sets = {
        name: opened(value, options, skip_bad=options.skip_bad) if isinstance(value, str) else value
        for name, value in (("validation", options.validation), ("test", options.test))
    }
    rest = {name: getattr(options, name) for name in known if name not in COMPARED}
    out = Path(options.out or Path("comparisons", data.path.resolve().name))
    names = "all" if options.methods == "all" else commas(options.methods)
    compared = compare(data, methods=names, **sets, tools=options.tools, options=options.options, out=out, **rest)
    figures = json.dumps(compared.figures(), indent=2)
    print(figures if options.json == "-" else f"{compared.table()}\n\n{compared.page}")
    if options.json not in (None, "-"):
        write_text(Path(options.json), figures + "\n")
    return 1 if any(one.status == "failed" for one in compared.standings) else 0


def _compare_parser() -> "ArgumentParser":
    """The options of a comparison."""
    from apiece.comparison import compare

    known = signature(compare).parameters
    parser = make_parser("compare")
    parser.add_argument("data", type=str, help="images with their objects, in any format apiece reads")
    add_data_options(parser)
    add_skip_option(parser)
    parser.add_argument(
        "--methods", type=str, default="all", help=f"all, or a comma list of {', '.join(methods.PLACES)}"
    )
    for name, why in (("validation", "best weights and thresholds are chosen by"), ("test", "everybody is judged by")):
        told = f"what {why}: a data set, or the share to set aside"
        parser.add_argument(f"--{name}", type=float | str, default=known[name].default, help=told)
    told = "what other tools found in the test images: COCO results, or what `score` reads; FILE@0.5 gives a threshold"
    parser.add_argument("--tools", nargs="+", type=str, default=[], help=told)
    told = "a YAML file: each method's arguments by its name, and options of training as `train`"
    parser.add_argument("--options", type=str | None, default=None, help=told)
    parser.add_argument("--out", type=str | None, default=None, help="the folder; by default comparisons/NAME")
    parser.add_function_arguments(compare, skip=set(COMPARED), as_group=False)
    add_json_option(parser)
    return parser


RUN: dict[str, Callable[[list[str]], int]] = {"recommend": _recommend, "compare": _compare}
