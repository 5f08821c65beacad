"""Raw predictions that several test files group."""

import numpy as np
import pytest


def _discs(sigmas, seed=12, height=160, width=224):
    """Raw predictions of 20 discs with overlapping margins: some cut by the border, too small, or doubted.

    Also the coordinates of the authors' program. golden/spatial_embedding_clustering.npz holds what its Cluster.cluster
    (github.com/davyneven/SpatialEmbeddings @39ea249, Byte buffers made Bool, .cuda() dropped) answers to seed 12 for
    one and two sigmas and thresholds 0.9 and 0.5: 16, 19, 16 and 18 objects, 18 to 35 proposals too small and 13 to 35
    mostly clustered before; the first threshold stops with 2,000 pixels left, the second with 128. `sizes` are those of
    its per-object masks. "given" is Cluster.cluster_with_gt on the label map of threshold 0.5.
    """
    generator = np.random.default_rng(seed)
    x = np.linspace(0, 2, 2048)[:width].astype(np.float32)
    y = np.linspace(0, 1, 1024)[:height].astype(np.float32)
    noise = generator.standard_normal((3 + sigmas, height, width))
    raw = noise * np.array([0.002, 0.002] + [0.02] * sigmas + [0.5])[:, None, None]
    raw[2:-1] += 0.9
    raw[-1] -= 3
    row, column = np.mgrid[:height, :width]
    for number in range(20):
        center_y, center_x = 8 + 34 * (number // 5) + 5 * (number % 3), 10 + 44 * (number % 5) + 3 * (number % 2)
        radius = (17, 24, 6, 21, 12)[number % 5] + number // 5
        inside = (row - center_y) ** 2 + (column - center_x) ** 2 < radius**2
        for axis, difference in enumerate((center_x - column, center_y - row)):
            offset = 0.5 * difference / 1024 + 0.003 * noise[axis]
            raw[axis][inside] = np.arctanh(offset[inside])
        log_precision = np.log(np.log(2) / (0.6 * radius / 1024) ** 2) / 10
        for sigma in range(sigmas):
            raw[2 + sigma][inside] = (log_precision - 0.03 * sigma + 0.015 * noise[2 + sigma])[inside]
        distance = np.hypot(row - center_y, column - center_x) / radius
        sure = (1 - 0.6 * distance**2) * (0.99, 0.99, 0.99, 0.99, 0.85, 0.99, 0.99)[number % 7]
        sure = sure.clip(0.02)
        raw[-1][inside] = (np.log(sure / (1 - sure)) + 0.2 * noise[-1])[inside]
    return raw.astype(np.float32), (x, y)


@pytest.fixture
def discs():
    """The function that makes them."""
    return _discs
