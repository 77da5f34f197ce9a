"""Tracks: masks of many pictures that show one region, by their links and by what excludes them.

The more two linked masks overlap, the surer they show one building; two masks of one picture
seldom do. Both are votes of one graph. Its partition keeps a few false links from joining the
tracks of neighbours, as they would join the chains that links form.
"""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.mapping.masks.mask_links import MaskLinks, pictures_of
from seg2d3d_ros.mapping.partition import Edges, greedy_partition
from seg2d3d_ros.types import FloatArray, IntArray

# By the logarithm of the odds that linked masks are of one building (on six streets 8 at 0.35 of
# overlap, 30 at 0.45, more than 300 from 0.55 on). Two masks of one picture count -1: so much that
# the links of one mask to neighbours, over six pictures, do not join their tracks.
_NEUTRAL_OVERLAP = 0.27
_SLOPE = 1.7


def find_tracks(keys: IntArray, links: MaskLinks) -> IntArray:
    """Return the track (n,) of each mask, numbered from 0; the order of masks does not matter.

    Args:
        keys: (n,) names of masks as `mask_keys` makes them, each once.
        links: Links between them.
    """
    known = np.sort(keys)
    a, b = np.searchsorted(known, links.a), np.searchsorted(known, links.b)
    first, second = _rivals(pictures_of(known), np.unique(np.concatenate([a, b])))
    votes = np.concatenate([_votes(links.overlap), np.full(len(first), -1.0)])
    edges = Edges(len(known), np.concatenate([a, first]), np.concatenate([b, second]), votes)
    return greedy_partition(edges)[np.searchsorted(known, keys)]


def _votes(overlap: FloatArray) -> FloatArray:
    return _SLOPE * (overlap - _NEUTRAL_OVERLAP)


def _rivals(picture: IntArray, masks: IntArray) -> tuple[IntArray, IntArray]:
    """Return the pairs (m,), (m,) of masks (k,) that are of one picture.

    Args:
        picture: (n,) picture of every mask, ascending.
        masks: (k,) some of them, by position, ascending.
    """
    first, second = [masks[:0]], [masks[:0]]
    of = picture[masks]
    step = 1
    while len(same := np.flatnonzero(of[step:] == of[:-step])):
        first.append(masks[same])
        second.append(masks[same + step])
        step += 1
    return np.concatenate(first), np.concatenate(second)
