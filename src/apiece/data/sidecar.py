"""`classes.json`: classes and ignored objects beside files that cannot hold them.

`labels[v - 1]` is the class of object v of an image, `ignore` lists such v:

    {"classes": ["date", "fig"], "objects": {"a": {"labels": [0, 0, 1], "ignore": [3]}}}
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances

SIDECAR = "classes.json"
PLAIN = ("object",)
"""The classes where nothing is said."""


def read_sidecar(folder: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Classes, and for each image its objects' labels and ignored numbers; without the file, the class "object" alone.

    Raises:
        InputError: the file is not such JSON, or a label is of no class.
    """
    path = folder / SIDECAR
    if not path.exists():
        return PLAIN, {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        classes, objects = tuple(map(str, content["classes"])), dict(content.get("objects", {}))
        for name, entry in objects.items():
            labels = np.asarray(entry.get("labels", []), np.int64)
            np.asarray(entry.get("ignore", []), np.int64)
            if labels.ndim != 1 or (labels < -1).any() or (labels >= len(classes)).any():
                raise InputError(
                    f"{path}: the labels of {name} are not numbers below {len(classes)}, the count of classes."
                )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f'{path}: not understood ({error}): it should hold {{"classes": [...], "objects": {{...}}}}.'
        ) from error
    return classes, objects


def sidecar_entry(truth: Instances) -> dict[str, list[int]]:
    """What stands in the file for one image's objects."""
    return {"labels": truth.labels.tolist(), "ignore": (np.flatnonzero(truth.ignore) + 1).tolist()}


def write_sidecar(folder: Path, classes: Sequence[str], objects: Mapping[str, dict[str, list[int]]]) -> None:
    """Write the file, a line for each image."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in objects.items())
    write_text(folder / SIDECAR, f'{{"classes": {json.dumps(list(classes))},\n "objects": {{\n{lines}\n}}}}\n')
