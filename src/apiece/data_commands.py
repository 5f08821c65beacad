"""The commands about data sets: each makes its options from the signature of a function, and calls it."""

import json
from collections.abc import Callable
from pathlib import Path

from apiece.errors import CallError
from apiece.files import write_text
from apiece.options import add_data_options, add_json_option, make_parser, opened, parsed


def _check(words: list[str]) -> int:
    from apiece.inspection import check
    from apiece.inspection_page import write_inspection_page
    from apiece.repair import repair

    parser = make_parser("check")
    parser.add_argument("data", type=str, help="images with their objects, in any format apiece reads")
    parser.add_argument("others", nargs="*", type=str, help="further sets, which may not share an image with it")
    parser.add_function_arguments(check, skip={"data", "others"}, as_group=False)
    parser.add_argument("--html", type=str | None, default=None, help="an HTML page with a crop of each fault")
    parser.add_argument("--fix", type=bool, default=False, help="write a repaired copy of the first set to --out")
    repairing: set[str | int] = {"inspection", "out", "quiet"}
    parser.add_argument("--out", type=str | None, default=None, help="the folder of the repaired copy")
    parser.add_function_arguments(repair, skip=repairing, as_group=False)
    add_json_option(parser)
    options = parsed(parser, words)
    if options.fix != (options.out is not None):
        raise CallError("--fix and --out go together: the repaired copy is written to the folder --out.")
    given = {name: getattr(options, name) for name in ("split", "format", "stride", "minimum", "quiet")}
    found = check(Path(options.data), [Path(other) for other in options.others], **given)
    if options.html is not None:
        write_inspection_page(found, Path(options.html))
    written = {name: getattr(options, name) for name in ("link", "overwrite", "quiet")}
    fixed = repair(found, Path(options.out), **written) if options.fix else None
    if options.json == "-":
        print(json.dumps({**found.figures(), **({"fixed": fixed} if fixed else {})}, indent=2))
    else:
        print(found.table())
        if fixed is not None:
            print("\n".join([f"repaired copy in {options.out}:", *(f"  {k}: {v}" for k, v in fixed["done"].items())]))
        if options.json is not None:
            found.write_json(Path(options.json))
    return 3 if found.faults else 0


def _convert(words: list[str]) -> int:
    from apiece.conversion import convert
    from apiece.data.formats import FORMATS
    from apiece.progress import say

    parser = make_parser("convert")
    parser.add_argument("data", type=str, help="images with their objects, in any format apiece reads")
    written = ", ".join(one.name for one in FORMATS if one.write is not None)
    parser.add_argument("--to", type=str, required=True, help=f"the new format: {written}")
    parser.add_argument("--out", type=str, required=True, help="the folder to make")
    parser.add_function_arguments(convert, skip={"data", "out", "to"}, as_group=False)
    options = parsed(parser, words)
    rest = {name: value for name, value in options.as_dict().items() if name not in ("data", "to", "out")}
    report = convert(Path(options.data), Path(options.out), options.to, **rest)
    if report["lost"]:
        say(f"lost: {', '.join(f'{count:,} {name}' for name, count in report['lost'].items())}")
    print(json.dumps(report))
    return 0


def _view(words: list[str]) -> int:
    from apiece.viewing import PAGE, view

    parser = make_parser("view")
    parser.add_argument("data", type=str, help="images with their objects, in any format apiece reads")
    add_data_options(parser)
    parser.add_argument("--out", type=str | None, default=None, help="the folder to write to; by default views/NAME")
    parser.add_function_arguments(view, skip={"data", "out"}, as_group=False)
    add_json_option(parser)
    options = parsed(parser, words)
    data = opened(options.data, options, options.split)
    out = Path(options.out or Path("views", data.path.resolve().name))
    given = {name: getattr(options, name) for name in ("count", "seed", "skip_bad", "quiet")}
    figures = {"page": str(out / PAGE), **view(data, out, **given).figures()}
    if options.json not in (None, "-"):
        write_text(Path(options.json), json.dumps(figures, indent=1))
    print(json.dumps(figures if options.json == "-" else {"page": figures["page"]}))
    return 0


RUN: dict[str, Callable[[list[str]], int]] = {"check": _check, "view": _view, "convert": _convert}
