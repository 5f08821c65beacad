"""How far Cityscapes' objects are from the camera, by the stereo disparity beside them.

The benchmark's own distances of objects are not published. Here an object's is the median over its pixels of

    distance = baseline * fx / disparity,    disparity = (p - 1) / 256 for pixel values p > 0 of *_disparity.png

with `baseline` (meters) and `fx` (pixels) of *_camera.json.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from apiece.data.coco_json import load_json
from apiece.data.label_images import read_label_map
from apiece.errors import InputError
from apiece.instances import Instances

LEAST_MEASURED = 0.5
"""The share of an object's pixels with a disparity below which its distance is unknown."""


def distances(truth: Instances, disparity: Path, camera: Path) -> Float[ndarray, " N"] | None:
    """Meters to each object, infinite where unknown; None where the set has no disparity or no camera.

    Args:
        disparity, camera: the two files without `_disparity.png` and `_camera.json`.

    Raises:
        InputError: files that are damaged, or of another size than the objects' image.
    """
    disparity, camera = (
        disparity.with_name(f"{disparity.name}_disparity.png"),
        camera.with_name(f"{camera.name}_camera.json"),
    )
    if not disparity.is_file() or not camera.is_file():
        return None
    values, scale = read_label_map(disparity), _scale(camera)
    if values.shape != truth.size:
        found, wanted = (f"{height} x {width}" for height, width in (values.shape, truth.size))
        raise InputError(f"{disparity}: {found} pixels, but the annotation of this image has {wanted}.")
    result = np.full(len(truth), np.inf)
    for index, (crop, (x1, y1, x2, y2)) in enumerate(zip(truth.crops(), truth.mask_boxes.tolist(), strict=True)):
        inside = values[y1:y2, x1:x2][crop].astype(np.float64)
        measured = inside[inside > 1]
        if len(measured) > LEAST_MEASURED * len(inside):
            result[index] = scale / ((np.median(measured) - 1) / 256)
    return result


def _scale(path: Path) -> float:
    """Baseline times focal length, in meters times pixels."""
    content = load_json(path)
    try:
        return float(content["extrinsic"]["baseline"]) * float(content["intrinsic"]["fx"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no camera of Cityscapes: extrinsic.baseline or intrinsic.fx is missing.") from error
