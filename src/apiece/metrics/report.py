"""Report: the figures of a scoring, for programs (JSON) and for people (a table)."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apiece.files import write_text


@dataclass(frozen=True)
class Report:
    """All figures of a scoring.

    Attributes:
        figures: nested by metric, as in `report["matching"]["0.50"]["accuracy"]`; None where a figure does not exist.
        rows: for each image its name and figures.
    """

    figures: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __getitem__(self, metric: str) -> Any:
        """The figures of one metric."""
        return self.figures[metric]

    def __contains__(self, metric: object) -> bool:
        """Was this metric asked for?"""
        return metric in self.figures

    def to_json(self, *, rows: bool = False) -> str:
        """One JSON object; `rows` adds the images' under "by_image". What is not a number is null."""
        return json.dumps(
            _plain({**self.figures, **({"by_image": self.rows} if rows else {})}), indent=2, allow_nan=False
        )

    def write_json(self, path: Path, *, rows: bool = True) -> None:
        """Write the JSON to a file.

        Raises:
            InputError: it cannot be written.
        """
        write_text(path, self.to_json(rows=rows) + "\n")

    def table(self) -> str:
        """The main figures as plain text for the terminal."""
        blocks = [
            block
            for name, block in self.figures.items()
            if isinstance(block, Mapping)
            for block in _BLOCKS[name](block)
        ]
        return "\n\n".join(blocks)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def columns(title: str, head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A titled table: text to the left, figures to the right with four decimals, "-" for what does not exist."""
    cells = [list(head), *([_cell(value) for value in line] for line in lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    left = [bool(lines) and all(isinstance(line[i], str) for line in lines) for i in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(width) if aligned else cell.rjust(width)
            for cell, width, aligned in zip(row, widths, left, strict=True)
        )
        for row in cells
    ]
    return "\n".join([title, *(line.rstrip() for line in text)])


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _matching(block: Mapping[str, Any]) -> list[str]:
    shown = ("accuracy", "precision", "recall", "f1", "pq", "mean_matched_score", "tp", "fp", "fn")
    point = "" if block["threshold"] is None else f", objects with a score of at least {block['threshold']:.3f}"
    ious = [key for key in block if key[0].isdigit()] + ["mean"]
    lines = [[iou, *(block[iou].get(key, "") for key in shown)] for iou in ious]
    tables = [columns(f"Matching by IoU{point}", ["IoU", *shown], lines)]
    if "classes" in block:
        first = ious[0]
        lines = [
            [name, *(of_class[first].get(key, "") for key in shown)] for name, of_class in block["classes"].items()
        ]
        tables.append(columns(f"Matching by class at IoU {first}", ["class", *shown], lines))
    return tables


def _coco(block: Mapping[str, Any], title: str = "COCO") -> list[str]:
    kinds = [kind for kind in ("segm", "bbox") if block.get(kind)]
    if not kinds:
        return []
    shown = [key for key in block[kinds[0]] if key not in ("classes", "left_out")]
    tables = [columns(title, ["", *shown], [[kind, *(block[kind][key] for key in shown)] for kind in kinds])]
    beyond = [f"{block[kind]['left_out']} ({kind})" for kind in kinds if block[kind]["left_out"]]
    if beyond:
        tables[0] += f"\nNot counted, because an image had more than COCO's maximum: {', '.join(beyond)} found objects."
    classes = block[kinds[0]]["classes"]
    if len(classes) > 1:
        lines = [[name, *(of_class[key] for key in shown)] for name, of_class in classes.items()]
        tables.append(columns(f"{title} {kinds[0]} by class", ["class", *shown], lines))
    return tables


def _means(title: str) -> Callable[[Mapping[str, Any]], list[str]]:
    """A block of single figures, and a line for each class where it has some."""

    def block_tables(block: Mapping[str, Any]) -> list[str]:
        shown = [key for key, value in block.items() if not isinstance(value, Mapping)]
        tables = [columns(title, shown, [[block[key] for key in shown]])]
        if block.get("std"):
            tables = [
                columns(title, ["", *shown], [[name, *(one[key] for key in shown)] for name, one in _spread(block)])
            ]
        classes = block.get("classes") or {}
        if len(classes) > 1:
            lines = [[name, *_values(of_class)] for name, of_class in classes.items()]
            first = next(iter(classes.values()))
            head = list(first) if isinstance(first, Mapping) else ["IoU"]
            tables.append(columns(f"{title} by class", ["class", *head], lines))
        return tables

    return block_tables


def _spread(block: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [("mean", block), ("std", block["std"])]


def _values(of_class: Any) -> list[Any]:
    return list(of_class.values()) if isinstance(of_class, Mapping) else [of_class]


def _errors(block: Mapping[str, Any]) -> list[str]:
    lines = [[kind, one["count"], one["cost"]] for kind, one in block["kinds"].items()]
    return [columns("Errors, and by how much AP50 would rise without them", ["kind", "count", "cost"], lines)]


def _bounds(title: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def block_tables(block: Mapping[str, Any]) -> list[str]:
        lines = [
            [metric, name, one["value"], one["low"], one["high"]]
            for metric, figures in block.items()
            for name, one in figures.items()
        ]
        return [columns(title, ["metric", "figure", "value", "low", "high"], lines)]

    return block_tables


_BLOCKS = {
    "matching": _matching,
    "coco": _coco,
    "boundary": lambda block: _coco({"segm": block}, "Boundary AP"),
    "cityscapes": _means("Cityscapes"),
    "errors": _errors,
    "leaves": _means("Leaves, mean and standard deviation over images"),
    "voc": _means("VOC AP^r"),
    "semantic": _means("Semantic IoU"),
    "counts": _means("Counts"),
    "intervals": _bounds("95 % confidence intervals"),
    "difference": _bounds("Difference to the other findings, with 95 % confidence intervals"),
}
