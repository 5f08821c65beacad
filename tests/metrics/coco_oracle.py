"""Random COCO sets, as pycocotools wants them and as we do, and pycocotools' figures of them."""

import contextlib
import io

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from apiece.instances import Instances
from apiece.metrics.table import Record, record

SIZE = (40, 48)


def random_set(
    generator: np.random.Generator, *, images: int = 6, classes: int = 3, ties: bool = True
) -> tuple[dict, list]:
    """Truth with crowds, given areas and overlapping objects; results near it with duplicates and equal scores."""
    truth, results = [], []
    for image in range(1, images + 1):
        for _ in range(generator.integers(0, 7)):
            box, kind = random_box(generator), int(generator.integers(1, classes + 1))
            if generator.random() < 0.1:
                kind = classes  # a class that is rarely found
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": image,
                    "category_id": kind,
                    "iscrowd": int(generator.random() < 0.15),
                    "bbox": box,
                    "area": float(generator.choice([box[2] * box[3], 4, 60, 100, 400])),
                    "segmentation": rle(box, generator),
                }
            )
            for _ in range(generator.integers(0, 4)):
                near = [side + float(generator.integers(-2, 3)) / 2 for side in box]
                near[2:] = [max(1.0, side) for side in near[2:]]
                add_result(results, image, kind if generator.random() < 0.8 else 1, near, generator, ties)
        for _ in range(generator.integers(0, 5)):
            add_result(results, image, int(generator.integers(1, classes + 1)), random_box(generator), generator, ties)
    order = generator.permutation(len(results))
    head = {"images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(1, images + 1)]}
    categories = [{"id": i, "name": f"c{i}"} for i in range(1, classes + 1)]
    return {**head, "annotations": truth, "categories": categories}, [results[i] for i in order]


def random_box(generator: np.random.Generator) -> list[float]:
    return [float(value) for value in (*generator.integers(0, 30, 2), *generator.integers(1, 16, 2))]


def add_result(results, image, kind, box, generator, ties) -> None:
    score = float(generator.integers(1, 6) / 5) if ties else float(generator.random())
    segmentation = rle(box, generator)
    results.append({"image_id": image, "category_id": kind, "score": score, "bbox": box, "segmentation": segmentation})


def rle(box: list[float], generator: np.random.Generator) -> dict:
    x, y, width, height = (round(side) for side in box)
    mask = np.zeros(SIZE, np.uint8)
    mask[max(y, 0) : max(y + max(height, 1), 0), max(x, 0) : max(x + max(width, 1), 0)] = 1
    if generator.random() < 0.3:
        mask &= generator.random(SIZE) < 0.9
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": encoded["counts"].decode()}


def pycocotools_figures(truth: dict, results: list, kind: str, *, boxes: bool = True, **parameters) -> COCOeval:
    """The evaluation by pycocotools; `boxes=False` takes the boxes out of mask results: areas are the masks'."""
    entries = [dict(entry) for entry in results]
    for entry in entries:
        if kind == "bbox":
            entry.pop("segmentation")
        elif not boxes:
            entry.pop("bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {**truth, "annotations": [dict(entry) for entry in truth["annotations"]], "info": {}}
        ground.createIndex()
        evaluation = COCOeval(ground, ground.loadRes(entries), kind)
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def instances(entries: list, *, scored: bool) -> Instances:
    """One image's annotations or results."""
    boxes = np.array([entry["bbox"] for entry in entries], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = [entry["category_id"] - 1 for entry in entries]
    made = Instances.from_rle([entry["segmentation"] for entry in entries], SIZE, labels).replace(boxes=boxes)
    if scored:
        return Instances(SIZE, made.labels, store=made.store, boxes=boxes, scores=[entry["score"] for entry in entries])
    areas, crowd = [entry["area"] for entry in entries], [bool(entry["iscrowd"]) for entry in entries]
    return made.replace(areas=np.array(areas, float), ignore=np.array(crowd, bool))


def records(truth: dict, results: list) -> list[Record]:
    """The same set as our records."""
    return [
        record(
            str(image["id"]),
            instances([entry for entry in results if entry["image_id"] == image["id"]], scored=True),
            instances([entry for entry in truth["annotations"] if entry["image_id"] == image["id"]], scored=False),
        )
        for image in truth["images"]
    ]
