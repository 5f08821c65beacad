"""Sheets: a report's figures as tables for people, on the terminal and on pages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Sheet(NamedTuple):
    """One table.

    Attributes:
        title: what it shows.
        head: names of the columns.
        lines: their values; None where a figure does not exist.
        note: what is to be said beneath it.
        main: of a table with a line for each class: the column that says most.
    """

    title: str
    head: tuple[str, ...]
    lines: list[list[Any]]
    note: str = ""
    main: str | None = None


def sheets(figures: Mapping[str, Any]) -> list[Sheet]:
    """The tables of all metrics in a report's figures."""
    return [sheet for name, block in figures.items() if isinstance(block, Mapping) for sheet in _BLOCKS[name](block)]


def facts(figures: Mapping[str, Any]) -> str:
    """How many images were scored, and which found objects count."""
    images, threshold = figures.get("images", 0), figures.get("threshold")
    number = "1 image" if images == 1 else f"{images} images"
    which = "" if threshold is None else f"; found objects with a score of at least {threshold:.3g} count, AP uses all"
    return f"{number}{which}."


def _matching(block: Mapping[str, Any]) -> list[Sheet]:
    shown = ("accuracy", "precision", "recall", "f1", "pq", "mean_matched_score", "tp", "fp", "fn")
    head = tuple("matched score" if key == "mean_matched_score" else key for key in shown)
    ious = [key for key in block if key[0].isdigit()] + ["mean"]
    tables = [Sheet("Matching by IoU", ("IoU", *head), [[iou, *map(block[iou].get, shown)] for iou in ious])]
    if "classes" in block:
        lines = [[name, *map(of_class[ious[0]].get, shown)] for name, of_class in block["classes"].items()]
        tables.append(Sheet(f"Matching by class at IoU {ious[0]}", ("class", *head), lines, main="accuracy"))
    return tables


def _coco(block: Mapping[str, Any], title: str = "COCO") -> list[Sheet]:
    kinds = [kind for kind in ("segm", "bbox") if block.get(kind)]
    if not kinds:
        return [Sheet(title, ("",), [[kind, None] for kind in block], "Nothing of the kind to compare.")] * bool(block)
    shown = [key for key in block[kinds[0]] if key not in ("classes", "left_out")]
    lines = [[kind, *(block[kind][key] for key in shown)] for kind in kinds]
    beyond = [f"{block[kind]['left_out']} ({kind})" for kind in kinds if block[kind]["left_out"]]
    note = f"Not counted, since their images have more than the maximum: {', '.join(beyond)} found objects."
    tables = [Sheet(title, ("", *shown), lines, note if beyond else "")]
    classes = block[kinds[0]]["classes"]
    if len(classes) > 1:
        lines = [[name, *(of_class[key] for key in shown)] for name, of_class in classes.items()]
        tables.append(Sheet(f"{title} by class ({kinds[0]})", ("class", *shown), lines, main="AP"))
    return tables


def _boundary(block: Mapping[str, Any]) -> list[Sheet]:
    main, *by_class = _coco({"segm": block} if block else {}, "Boundary AP") or [Sheet("Boundary AP", (), [])]
    main = main._replace(head=main.head[1:], lines=[line[1:] for line in main.lines])
    return [
        sheet._replace(title=sheet.title.replace(" (segm)", ""), note=sheet.note.replace(" (segm)", ""))
        for sheet in (main, *by_class)
    ]


def _means(title: str) -> Callable[[Mapping[str, Any]], list[Sheet]]:
    """A block of single figures, and a line for each class where it has some."""

    def tables(block: Mapping[str, Any]) -> list[Sheet]:
        shown = [key for key, value in block.items() if not isinstance(value, Mapping)]
        if block.get("std"):
            spread = (("mean", block), ("std", block["std"]))
            made = [Sheet(title, ("", *shown), [[name, *(one[key] for key in shown)] for name, one in spread])]
        else:
            made = [Sheet(title, tuple(shown), [[block[key] for key in shown]])]
        classes = block.get("classes") or {}
        if len(classes) > 1:
            first = next(iter(classes.values()))
            head = tuple(first) if isinstance(first, Mapping) else ("IoU",)
            lines = [[name, *_values(of_class)] for name, of_class in classes.items()]
            main = next((name for name in ("AP", "mean", "rmse") if name in head), head[0])
            made.append(Sheet(f"{title} by class", ("class", *head), lines, main=main))
        return made

    return tables


def _values(of_class: Any) -> Sequence[Any]:
    return list(of_class.values()) if isinstance(of_class, Mapping) else [of_class]


def _errors(block: Mapping[str, Any]) -> list[Sheet]:
    lines = [[kind, one["count"], one["cost"]] for kind, one in block["kinds"].items()]
    return [Sheet("Errors, and by how much AP50 would rise without them", ("kind", "count", "cost"), lines)]


def _bounds(title: str) -> Callable[[Mapping[str, Any]], list[Sheet]]:
    def tables(block: Mapping[str, Any]) -> list[Sheet]:
        lines = [
            [metric, name, one["value"], one["low"], one["high"]]
            for metric, figures in block.items()
            for name, one in figures.items()
        ]
        return [Sheet(title, ("metric", "figure", "value", "low", "high"), lines)]

    return tables


_BLOCKS: dict[str, Callable[[Mapping[str, Any]], list[Sheet]]] = {
    "matching": _matching,
    "coco": _coco,
    "boundary": _boundary,
    "cityscapes": _means("Cityscapes"),
    "errors": _errors,
    "leaves": _means("Leaves, mean and standard deviation over images"),
    "voc": _means("VOC AP^r"),
    "semantic": _means("Semantic IoU"),
    "counts": _means("Counts"),
    "intervals": _bounds("95 % confidence intervals"),
    "difference": _bounds("Difference to the other findings, with 95 % confidence intervals"),
}
