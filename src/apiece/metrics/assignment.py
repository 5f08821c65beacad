"""The best pairing of found and true objects, where more than one is possible."""

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray

from apiece.metrics.table import Table

DENSE_PROBLEM = 1 << 20
"""Up to so many cells an assignment is solved as a full matrix, beyond as a sparse one."""


def connected_groups(pairs: Table) -> Integer[ndarray, " P"]:
    """The connected group of objects that each pair belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    found, truth = len(pairs.labels), len(pairs.ignore)
    if not len(pairs.found):
        return np.zeros(0, np.int64)
    links = coo_array((np.ones(len(pairs.found), bool), (pairs.found, pairs.truth + found)), shape=(found + truth,) * 2)
    return connected_components(links, directed=False)[1][pairs.found]


def best_pairs(pairs: Table, groups: Integer[ndarray, " P"], iou: float) -> Bool[ndarray, " P"]:
    """The pairs of the best matching at an IoU.

    Nearly always each object has at most one partner that reaches it, and nothing is left to choose; only groups of
    objects where one has two are solved as assignment problems.
    """
    good = pairs.iou >= iou
    twice = np.bincount(pairs.found[good], None, len(pairs.labels)) > 1
    twice_true = np.bincount(pairs.truth[good], None, len(pairs.ignore)) > 1
    contested = np.unique(groups[good & (twice[pairs.found] | twice_true[pairs.truth])])
    if not len(contested):
        return good
    members = np.flatnonzero(np.isin(groups, contested))
    members = members[np.argsort(groups[members], kind="stable")]
    good[members] = False
    for group in np.split(members, np.flatnonzero(np.diff(groups[members])) + 1):
        chosen = group[_assigned(pairs.found[group], pairs.truth[group], pairs.iou[group], iou)]
        good[chosen[pairs.iou[chosen] >= iou]] = True
    return good


def _assigned(found: ndarray, truth: ndarray, iou: ndarray, least: float) -> Integer[ndarray, " K"]:
    """Which pairs of a group give most that reach the IoU and, among those, the highest sum of all IoUs."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    _, row = np.unique(found, return_inverse=True)
    _, column = np.unique(truth, return_inverse=True)
    rows, columns = row.max() + 1, column.max() + 1
    gain = (iou >= least) + iou / (2 * min(rows, columns))
    place = np.full((rows, columns), -1) if rows * columns <= DENSE_PROBLEM else None
    if place is not None:
        value = np.zeros((rows, columns))
        value[row, column], place[row, column] = gain, np.arange(len(row))
        chosen = place[linear_sum_assignment(value, maximize=True)]
        return chosen[chosen >= 0]
    # Each row has a place of its own that gains nothing, so that a full assignment exists; weights must not be 0.
    weights = np.concatenate([2 - gain, np.full(rows, 2.0)])
    ends = (np.concatenate([row, np.arange(rows)]), np.concatenate([column, columns + np.arange(rows)]))
    assigned = min_weight_full_bipartite_matching(csr_array((weights, ends), shape=(rows, columns + rows)))
    real = assigned[1] < columns
    code = row * columns + column
    order = np.argsort(code)
    return order[np.searchsorted(code[order], assigned[0][real] * columns + assigned[1][real])]
