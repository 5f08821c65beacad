import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from apiece.instances import Instances
from apiece.metrics.boundary import rim_width, rims
from apiece.metrics.coco import coco, judge
from apiece.metrics.precision import accumulate
from apiece.metrics.table import Table, record
from apiece.scoring import score

from .coco_oracle import SIZE, instances, random_set


def test_the_rim_is_what_erosion_by_a_square_takes_and_the_images_border_is_an_edge():
    generator = np.random.default_rng(0)
    for size in ((60, 80), (200, 150)):
        stack = np.stack(
            [np.kron(generator.random((size[0] // 10, size[1] // 10)) < 0.7, np.ones((10, 10), bool)) for _ in range(3)]
        )
        width = rim_width(size)
        wanted = [mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width) for mask in stack.astype(bool)]
        assert np.array_equal(rims(Instances.from_dense(stack.astype(bool))).dense(), wanted)


def test_the_rim_is_two_percent_of_the_diagonal_wide():
    assert rim_width((300, 400)) == 10
    assert rim_width((380, 500)) == 13  # 12.56
    assert rim_width((10, 10)) == 1


def test_boundary_iou_of_two_squares_by_hand():
    """Squares of 20 x 20, one pixel apart, in 50 x 50: rims of 1 pixel, 76 each, meeting in 2 rows of 19."""
    stack = np.zeros((2, 50, 50), bool)
    stack[0, 10:30, 10:30], stack[1, 10:30, 11:31] = True, True
    found, truth = Instances.from_dense(stack[:1], scores=[0.5]), Instances.from_dense(stack[1:])
    table = Table.of([record("a", found, truth, rim=True)], "boundary")
    assert table.iou.tolist() == [38 / (76 + 76 - 38)]
    assert Table.of([record("a", found, truth)]).iou.tolist() == [380 / 420]


def reference(truth, results, classes, areas):
    """COCO's evaluation with the smaller of mask and boundary IoU, put into pycocotools object by object."""
    from .coco_oracle import pycocotools_figures

    full = pycocotools_figures(truth, results, "segm", boxes=False, areaRng=areas, areaRngLbl=list("ab"))
    for (image, kind), ious in full.ious.items():
        if not len(ious):
            continue
        ours = [entry for entry in results if (entry["image_id"], entry["category_id"]) == (image, kind)]
        ours = [ours[i] for i in np.argsort([-entry["score"] for entry in ours], kind="stable")]
        theirs = [e for e in truth["annotations"] if (e["image_id"], e["category_id"]) == (image, kind)]
        sides = []
        for entries, scored in ((ours, True), (theirs, False)):
            dense = instances(entries, scored=scored).dense()
            core = [binary_erosion(mask, np.ones((3, 3)), iterations=rim_width(SIZE)) for mask in dense]
            sides.append((dense & ~np.array(core)).reshape(len(dense), -1).astype(int))
        common = sides[0] @ sides[1].T
        union = sides[0].sum(1)[:, None] + sides[1].sum(1) - common
        plain = np.array([not entry["iscrowd"] for entry in theirs])
        ious[:, plain] = np.minimum(ious, common / np.maximum(union, 1))[:, plain]
    full.evalImgs = [
        full.evaluateImg(image, kind, area, 100)
        for kind in full.params.catIds
        for area in areas
        for image in full.params.imgIds
    ]
    full.accumulate()
    return full.eval["precision"][..., -1]


@pytest.mark.parametrize("seed", range(5))
def test_curves_of_random_sets_equal_cocos_with_the_smaller_iou(seed):
    truth, results = random_set(np.random.default_rng(seed), images=6)
    areas = [[0.0, 1e10], [60.0, 100.0]]
    of_images = [
        record(
            str(image),
            instances([entry for entry in results if entry["image_id"] == image], scored=True),
            instances([entry for entry in truth["annotations"] if entry["image_id"] == image], scored=False),
            rim=True,
        )
        for image in range(1, 7)
    ]
    verdicts = judge(Table.of(of_images, "boundary"), areas=[tuple(area) for area in areas])
    ours = np.nan_to_num(accumulate(verdicts, 3, [100]).precision, nan=-1).transpose(1, 3, 2, 0)
    assert np.abs(ours - reference(truth, results, 3, areas)).max() <= 1e-9


def test_boundary_figures_have_cocos_names():
    stack = np.zeros((1, 50, 50), bool)
    stack[0, 10:30, 10:30] = True
    one = record("a", Instances.from_dense(stack, scores=[0.5]), Instances.from_dense(stack), rim=True)
    assert coco([one], ["thing"], kinds=["boundary"])["boundary"]["AP75"] == pytest.approx(1)


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "boundary.json").read_text())
"""Figures of the reference implementation; how they were made stands in the file."""


def ours(found: Path, truth: Path) -> tuple[list[float], list[float | None]]:
    """COCO's twelve figures, NaN where they do not exist, and AP of each class."""
    figures = score(found, truth, ["boundary"])["boundary"]
    twelve = [value for name, value in figures.items() if name not in ("classes", "left_out")]
    return np.array(twelve, float).tolist(), [of_class["AP"] for of_class in figures["classes"].values()]


@pytest.mark.parametrize("number", range(len(GOLDEN["sets"])))
def test_figures_of_small_sets_are_those_of_the_reference_implementation(tmp_path, number):
    one = GOLDEN["sets"][number]
    for name in ("truth", "results"):
        (tmp_path / f"{name}.json").write_text(json.dumps(one[name]))
    twelve, classes = ours(tmp_path / "results.json", tmp_path / "truth.json")
    assert np.nan_to_num(twelve, nan=-1) == pytest.approx(one["figures"], abs=1e-6)
    assert classes == pytest.approx(one["classes"], abs=1e-6)


def test_figures_of_cocos_own_example_are_those_of_the_reference_implementation(shared_data):
    folder = shared_data / "golden" / "coco_fake100"
    found = folder / "instances_val2014_fakesegm100_results.json"
    twelve, classes = ours(found, folder / "instances_val2014_100.json")
    assert twelve == pytest.approx(GOLDEN["coco_fake100"]["figures"], abs=1e-6)
    wanted = GOLDEN["coco_fake100"]["classes"]
    assert [value is None for value in classes] == [value is None for value in wanted]
    there = [(value, other) for value, other in zip(classes, wanted, strict=True) if other is not None]
    assert [value for value, _ in there] == pytest.approx([other for _, other in there], abs=1e-6)
