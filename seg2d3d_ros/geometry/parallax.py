"""Depth along the rays of one view from where a second view of known pose saw them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.types import FloatArray


@dataclass(frozen=True)
class RayDepths:
    """Depths of n rays, by inverse depth since that is what parallax measures evenly.

    Attributes:
        inverse_depth: (n,) 1 / z in the first view, per metre; negative where the rays part.
        residual: (n,) distance of the match from the epipolar line, ideal image coordinates.
        sensitivity: (n,) shift of the match per inverse depth, ideal image coordinates by metres.
        depth_ref: (n,) depth in the second view, metres; negative behind it.
    """

    inverse_depth: FloatArray
    residual: FloatArray
    sensitivity: FloatArray
    depth_ref: FloatArray


def depth_along_rays(xy: FloatArray, xy_ref: FloatArray, T_ref_cam: FloatArray) -> RayDepths:
    """Find the inverse depth w of each ray that explains where a second view saw it.

    A point p = (x, y, 1) / w has the direction a + w t in the second view, a = R (x, y, 1). That
    its image be q is linear in w, (a_xy - q a_z) + w (t_xy - q t_z) = 0; of the two equations the
    least-squares solution is taken, which is the foot on the epipolar line.

    Args:
        xy: (n, 2) ideal image coordinates x/z, y/z in the first view.
        xy_ref: (n, 2) the same in the second view.
        T_ref_cam: (4, 4) p_ref = T_ref_cam @ p_cam, metres; R and t are its parts.

    Returns:
        The depths; a baseline of zero gives inverse depths of zero with no sensitivity.
    """
    t = T_ref_cam[:3, 3]
    turned = np.c_[xy, np.ones(len(xy))] @ T_ref_cam[:3, :3].T
    slope = t[:2] - xy_ref * t[2]
    offset = xy_ref * turned[:, 2:] - turned[:, :2]
    steepness = np.maximum(np.einsum("ni,ni->n", slope, slope), 1e-18)
    inverse = np.einsum("ni,ni->n", slope, offset) / steepness
    p = turned + inverse[:, None] * t
    z = np.where(np.abs(p[:, 2]) > 1e-9, p[:, 2], 1e-9)
    seen = p[:, :2] / z[:, None]
    return RayDepths(
        inverse_depth=inverse,
        residual=np.linalg.norm(seen - xy_ref, axis=1),
        sensitivity=np.linalg.norm(t[:2] - seen * t[2], axis=1) / np.abs(z),
        depth_ref=z / np.where(np.abs(inverse) > 1e-12, inverse, 1e-12),
    )
