"""PolarMask's targets: all points at once, beside a loop over points as in the authors' program.

    python benchmarks/polarmask_targets.py [--json] [--objects 100]

480 x 640 pixels with discs of 8 to 40 pixels radius, the paper's five levels and 36 rays, one thread. "loop" follows
the authors' program without OpenCV: all points against all objects, then for every point that stands for an object the
angles of its border's pixels, and seven look-ups for each ray. Border pixels and centers are found for it by
apiece's function (its own loop over border pixels for the center is left out). "pixels" is apiece by the same rule, and
its targets are compared with the loop's; "edges" is apiece's own rule.
"""

import argparse
import json
import time
from math import pi

import numpy as np
import torch

from apiece.instances import Instances
from apiece.methods.polarmask import PolarMask
from apiece.parts.borders import border_pixels
from apiece.parts.center_sampling import map_points

SIZE, CANVAS = (480, 640), (512, 640)
STRIDES, LIMITS = (8, 16, 32, 64, 128), (-1.0, 64.0, 128.0, 256.0, 512.0, 1e8)
TURNS = (0, 1, -1, 2, -2, 3, -3)


def scene(count: int, seed: int = 0) -> Instances:
    """Discs at random places, later ones in front."""
    generator = np.random.default_rng(seed)
    row, column = np.indices(SIZE)
    label_map = np.zeros(SIZE, np.uint16)
    for number in range(1, count + 1):
        y, x, radius = generator.uniform(0, SIZE[0]), generator.uniform(0, SIZE[1]), generator.uniform(8, 40)
        label_map[(row - y) ** 2 + (column - x) ** 2 < radius**2] = number
    return Instances.from_label_map(label_map)


def rays_of_point(point: torch.Tensor, contour: torch.Tensor) -> torch.Tensor:
    """One point's rays, angle by angle."""
    x, y = contour[:, 0] - point[0], contour[:, 1] - point[1]
    angle = torch.atan2(x, y) * 180 / pi
    angle[angle < 0] += 360
    angle, order = torch.sort(angle.int())
    distance = torch.sqrt(x**2 + y**2)[order]
    lengths = torch.zeros(36)
    for ray in range(36):
        lengths[ray] = 1e-6
        for turn in TURNS:
            if 10 * ray + turn in angle:
                lengths[ray] = distance[angle == 10 * ray + turn].max()
                break
    return lengths


def loop(truth: Instances, shapes: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Locations of the points that stand for objects, and their rays."""
    borders = border_pixels(truth)
    contours = torch.from_numpy(borders.starts).split(np.diff(borders.offsets).tolist())
    points = torch.from_numpy(map_points(shapes, STRIDES))
    counts = torch.tensor([height * width for height, width in shapes])
    level = torch.repeat_interleave(torch.arange(5), counts)
    boxes = torch.from_numpy(truth.mask_boxes.astype(np.float32)) - torch.tensor([0, 0, 1, 1])
    centers = torch.from_numpy(borders.centers.astype(np.float32))
    reach = torch.tensor(STRIDES)[level][:, None, None] * 1.5
    low, high = torch.maximum(centers - reach, boxes[:, :2]), torch.minimum(centers + reach, boxes[:, 2:])
    sides = torch.cat([points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]], 2)
    farthest, limits = sides.amax(2), torch.tensor(LIMITS)
    fits = (farthest >= limits[level][:, None]) & (farthest <= limits[level + 1][:, None])
    fits &= ((points[:, None] > low) & (points[:, None] < high)).all(2)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1).expand(len(points), -1)
    smallest, owner = torch.where(fits, areas, 1e8).min(1)
    locations = (smallest < 1e8).nonzero().squeeze(1)
    return locations, torch.stack(
        [rays_of_point(points[place], contours[owner[place]]) for place in locations.tolist()]
    )


def seconds(function, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    truth = scene(options.objects)
    shared = {"network": "tiny", "first": 3, "last": 5, "extra": "p6p7", "limits": LIMITS[1:-1], "at_least_one": False}
    methods = {rule: PolarMask(1, ray_rule=rule, **shared) for rule in ("pixels", "edges")}
    shapes = methods["edges"]._shapes(CANVAS)
    locations, rays = loop(truth, shapes)
    ours = methods["pixels"].learned(truth, shapes)
    result = {
        "objects": len(truth),
        "points": len(locations),
        "same_points": torch.equal(locations, ours.locations),
        "largest_difference": float((rays - ours.rays).abs().max()),
        "loop_seconds": seconds(lambda: loop(truth, shapes), 3),
    }
    for rule, method in methods.items():
        result[f"{rule}_seconds"] = seconds(lambda method=method: method.learned(truth, shapes), 15)
        result[f"{rule}_times_as_fast"] = result["loop_seconds"] / result[f"{rule}_seconds"]
    print(json.dumps(result) if options.json else "\n".join(f"{key:28}{value:.5g}" for key, value in result.items()))


if __name__ == "__main__":
    main()
