"""A sequence of soft masks matched with true ones: relaxed IoU, and the assignment that makes its sum greatest.

    soft T P, true N P -> overlap T N = <q, y> / (sum q + sum y - <q, y>)      1 for equal binary masks
    overlap T N -> pairs: each of the T with at most one of the N              Hungarian, scipy

Romera-Paredes and Torr, Recurrent Instance Segmentation, ECCV 2016; the relaxation is Krähenbühl and Koltun's (2013).
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Rule = Literal["first", "any"]
"""Which of T masks may be matched with one of N objects: the first N, or any."""


def relaxed_iou(soft: Float[Tensor, "T P"], true: Float[Tensor, "N P"]) -> Float[Tensor, "T N"]:
    """Of each soft mask (0..1) with each true one (0 or 1); 0 where both are empty."""
    common = soft @ true.T
    union = soft.sum(1, keepdim=True) + true.sum(1) - common
    return common / union.clamp(min=1e-6)


@torch.no_grad()
def matched(overlap: Float[Tensor, "T N"], rule: Rule = "first") -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """The rows and columns of the pairs with the greatest sum, K = min(T, N), ascending by row.

    Args:
        rule: "first": only the first N rows are matched; "any": those N rows that are best. It is one where T <= N.
    """
    from scipy.optimize import linear_sum_assignment

    rows = overlap[: overlap.shape[1]] if rule == "first" else overlap
    # In double precision: the assignment is exact, and a sum of float32 would make ties of what is none.
    pairs = linear_sum_assignment(rows.double().cpu().numpy(), maximize=True)
    row, column = (torch.from_numpy(np.asarray(index)).to(overlap.device) for index in pairs)
    return row, column
