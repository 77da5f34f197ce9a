"""How each camera sits on the vehicle, told by what it saw: small bundle adjustments of a rig."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, FloatArray, IntArray, RelativePose

_LOSS_PX = 1.0
_FIRST_LOSS_PX = 6.0
_NARROWING = 0.7
_MAX_ERROR_PX = 8.0
_ODOMETRY_LOSS = 3.0
_DAMPING = 1e-9
_SIGMA_SCALE = 0.05
# Base_link may lie this far from the axle that dead reckoning turns about.
_LEVER_M = 1.0
SIGMA_MOUNT_RAD = np.deg2rad(3.0)
_MIN_DEPTH_M = 0.3
_MIN_OBSERVATIONS = 20
_SMALL_STEP_RAD = 1e-4  # what counts begins at half a degree


@dataclass(frozen=True)
class Stretch:
    """Some keyframes in a row and what they saw.

    Attributes:
        cameras: The rig, with the mounting that is to be tested.
        T_world_base: (f, 4, 4).
        points_world: (p, 3).
        frame: (m,) frame of each observation.
        camera: (m,) camera of each observation.
        point: (m,) point of each observation.
        xy: (m, 2) ideal image coordinates.
        odometry: Increments between the frames; `frame_i`, `frame_j` are positions in this value.
    """

    cameras: tuple[Camera, ...]
    T_world_base: FloatArray
    points_world: FloatArray
    frame: IntArray
    camera: IntArray
    point: IntArray
    xy: FloatArray
    odometry: tuple[RelativePose, ...] = ()


@dataclass(frozen=True)
class MountEvidence:
    """What a stretch says about the rotations of the cameras, all else left to adapt.

    Attributes:
        rotvec_base: (c, 3) rotation R with R_base_cam(true) = R @ R_base_cam(given), rad.
        information: (3c, 3c) of these.
        way: How many times as long the way is then.
    """

    rotvec_base: FloatArray
    information: FloatArray
    way: float = 1.0


def measure_mounts(stretch: Stretch, max_iterations: int = 20) -> MountEvidence | None:
    """Adjust poses, points, the odometry's scale and the rotation of every camera.

    Gauss-Newton with Cauchy weights on the normal equations of a bundle adjustment; points are
    eliminated first, poses last, so that what remains is the information on the mounting alone
    (Triggs et al. 2000, "Bundle Adjustment - A Modern Synthesis", section 6.1). The first pose
    stays. A weak prior keeps what nothing tells.

    Returns:
        The evidence, or None where too little was seen.
    """
    turn = np.zeros((len(stretch.cameras), 3))
    scale, T, points = 1.0, stretch.T_world_base.copy(), stretch.points_world.copy()
    odometry = [(o, _information(o)) for o in stretch.odometry]
    num = 6 * len(T)
    step = np.inf
    for k in range(max_iterations):
        # From coarse to fine: a map made with a wrong mounting is bent before it is right.
        loss_px = max(_LOSS_PX, _FIRST_LOSS_PX * _NARROWING**k)
        here = replace(stretch, T_world_base=T, points_world=points)
        normal = _linearize(here, turn, loss_px)
        if normal is None:
            return None
        H, g = normal.H, normal.g
        _add_odometry(H, g, odometry, T, scale)
        _add_prior(H, g, turn, scale, num)
        free = np.arange(6, len(g))
        dx = np.zeros(len(g))
        dx[free] = -_solve(H[np.ix_(free, free)], g[free])
        points = points + normal.step_of_points(dx)
        T = np.stack([A @ transforms.exp(dx[6 * k : 6 * k + 6]) for k, A in enumerate(T)])
        turn = turn + dx[num:-1].reshape(-1, 3)
        scale += dx[-1]
        step = float(np.abs(dx[num:-1]).max())
        if step < _SMALL_STEP_RAD and loss_px <= _LOSS_PX:
            break
    if not np.isfinite(turn).all() or step > 1e-3:
        return None
    prior = np.eye(3 * len(turn)) / SIGMA_MOUNT_RAD**2
    rest = np.r_[6:num, len(g) - 1]
    mount = np.arange(num, len(g) - 1)
    coupled = H[np.ix_(mount, rest)]
    information = H[np.ix_(mount, mount)] - coupled @ _solve(H[np.ix_(rest, rest)], coupled.T)
    before, after = (
        float(transforms.path_distances(A[:, :3, 3])[-1]) for A in (stretch.T_world_base, T)
    )
    return MountEvidence(turn, information - prior, after / before if before > 0.0 else 1.0)


def _solve(H: FloatArray, b: FloatArray) -> FloatArray:
    """Return x with H @ x = b, slightly damped: without odometry nothing tells the scale."""
    damped = H + np.diag(_DAMPING * np.diag(H) + np.finfo(float).tiny)
    return np.asarray(np.linalg.solve(damped, b), dtype=np.float64)


@dataclass(frozen=True)
class _Normal:
    """Normal equations over poses (6 each), mounts (3 each) and scale; points are eliminated."""

    H: FloatArray
    g: FloatArray
    V_inv: FloatArray
    W: FloatArray
    g_point: FloatArray

    def step_of_points(self, dx: FloatArray) -> FloatArray:
        """Return how the points (p, 3) follow a step of all else."""
        rest = (self.g_point + self.W.T @ dx).reshape(-1, 3)
        return np.asarray(-np.einsum("pij,pj->pi", self.V_inv, rest))


def _linearize(stretch: Stretch, turn: FloatArray, loss_px: float) -> _Normal | None:
    c, f = stretch.camera, stretch.frame
    T_base_cam = np.stack([k.T_base_cam for k in stretch.cameras])
    R_turn = Rotation.from_rotvec(turn).as_matrix()
    R_cam_base = np.swapaxes(R_turn @ T_base_cam[:, :3, :3], 1, 2)[c]
    R_base_world = np.swapaxes(stretch.T_world_base[:, :3, :3], 1, 2)[f]
    focal = np.array([(k.K[0, 0], k.K[1, 1]) for k in stretch.cameras])[c]
    offset = stretch.points_world[stretch.point] - stretch.T_world_base[f, :3, 3]
    p_base = np.einsum("nij,nj->ni", R_base_world, offset)
    p_mount = p_base - T_base_cam[c, :3, 3]
    p_cam = np.einsum("nij,nj->ni", R_cam_base, p_mount)
    z = np.maximum(p_cam[:, 2], _MIN_DEPTH_M)
    residual = (p_cam[:, :2] / z[:, None] - stretch.xy) * focal
    error = np.linalg.norm(residual, axis=1)
    good = (p_cam[:, 2] > _MIN_DEPTH_M) & (error < _MAX_ERROR_PX * loss_px)
    count = np.bincount(stretch.point[good], minlength=len(stretch.points_world))
    rows = np.flatnonzero(good & (count[stretch.point] >= 2))
    if len(rows) < _MIN_OBSERVATIONS * len(stretch.T_world_base):
        return None
    weight = 1.0 / np.sqrt(1.0 + (error[rows] / loss_px) ** 2)
    d_pi = np.zeros((len(rows), 2, 3))
    d_pi[:, 0, 0], d_pi[:, 1, 1] = (focal[rows] / z[rows, None]).T
    d_pi[:, :, 2] = -focal[rows] * p_cam[rows, :2] / z[rows, None] ** 2
    d_base = (d_pi @ R_cam_base[rows]) * weight[:, None, None]
    blocks = (d_base @ _cross(p_base[rows]), -d_base)
    J = np.concatenate([*blocks, d_base @ _cross(p_mount[rows])], axis=2)
    J_point = d_base @ R_base_world[rows]
    return _eliminate(stretch, rows, J, J_point, (residual[rows] * weight[:, None]).ravel())


def _eliminate(
    stretch: Stretch, rows: IntArray, J: FloatArray, J_point: FloatArray, r: FloatArray
) -> _Normal:
    """Eliminate the points from J (m, 2, 9) of pose and mount and J_point (m, 2, 3)."""
    num, num_points = 6 * len(stretch.T_world_base), len(stretch.points_world)
    of_pose = 6 * stretch.frame[rows, None] + np.arange(6)
    of_mount = num + 3 * stretch.camera[rows, None] + np.arange(3)
    of_point = 3 * stretch.point[rows, None] + np.arange(3)
    width = num + 3 * len(stretch.cameras) + 1
    A = _sparse(J, np.concatenate([of_pose, of_mount], axis=1), width)
    B = _sparse(J_point, of_point, 3 * num_points)
    order = np.argsort(stretch.point[rows], kind="stable")
    points, starts = np.unique(stretch.point[rows][order], return_index=True)
    V = np.zeros((num_points, 3, 3))
    V[points] = np.add.reduceat((np.swapaxes(J_point, 1, 2) @ J_point)[order], starts, axis=0)
    V_inv = np.asarray(np.linalg.inv(V + 1e-6 * np.eye(3)), dtype=np.float64)
    # Most poses of so short a stretch see most of its points: these are hardly sparse.
    W, g_point = (A.T @ B).toarray(), B.T @ r
    by_point = np.swapaxes(W.reshape(width, num_points, 3), 0, 1)
    WV = np.swapaxes(by_point @ V_inv, 0, 1).reshape(width, -1)
    H = (A.T @ A).toarray() - WV @ W.T
    return _Normal(H, A.T @ r - WV @ g_point, V_inv, W, g_point)


def _sparse(J: FloatArray, columns: IntArray, width: int) -> sparse.csr_array:
    """Return blocks (m, 2, k) at columns (m, k) as a matrix (2 m, width)."""
    num, _, k = J.shape
    index = np.repeat(columns, 2, axis=0).ravel()
    return sparse.csr_array(
        (J.ravel(), index, np.arange(0, 2 * num * k + 1, k)), shape=(2 * num, width)
    )


def _add_odometry(
    H: FloatArray,
    g: FloatArray,
    odometry: list[tuple[RelativePose, FloatArray]],
    T: FloatArray,
    scale: float,
) -> None:
    """Add increments with their information (6, 6)."""
    for o, information in odometry:
        told = o.T_i_j.copy()
        told[:3, 3] *= scale
        T_i_j = transforms.invert(T[o.frame_i]) @ T[o.frame_j]
        R = T_i_j[:3, :3]
        turned = transforms.rotation_vector(told[:3, :3].T @ R)
        e = np.concatenate([turned, T_i_j[:3, 3] - told[:3, 3]])
        weighed = information / (1.0 + float(e @ information @ e) / _ODOMETRY_LOSS**2)
        # By the poses i and j, and by the scale.
        J = np.zeros((6, 13))
        J[:3, :3], J[:3, 6:9] = -R.T, np.eye(3)
        J[3:, :3] = _cross(T_i_j[None, :3, 3])[0]
        J[3:, 3:6], J[3:, 9:12] = -np.eye(3), R
        J[3:, 12] = -o.T_i_j[:3, 3]
        i, j = 6 * o.frame_i, 6 * o.frame_j
        at = np.r_[i : i + 6, j : j + 6, len(g) - 1]
        H[at[:, None], at] += J.T @ weighed @ J
        g[at] += J.T @ weighed @ e


def _information(o: RelativePose) -> FloatArray:
    """Return the information (6, 6) of an increment, its lever included."""
    covariance = o.covariance.copy()
    covariance[4, 4] += (_LEVER_M * transforms.angle_rad(o.T_i_j)) ** 2
    return np.asarray(np.linalg.inv(covariance), dtype=np.float64)


def _add_prior(H: FloatArray, g: FloatArray, turn: FloatArray, scale: float, num: int) -> None:
    mount = np.arange(num, len(g) - 1)
    H[mount, mount] += 1.0 / SIGMA_MOUNT_RAD**2
    g[mount] += turn.ravel() / SIGMA_MOUNT_RAD**2
    H[-1, -1] += 1.0 / _SIGMA_SCALE**2
    g[-1] += (scale - 1.0) / _SIGMA_SCALE**2


def _cross(v: FloatArray) -> FloatArray:
    """Return the matrices (n, 3, 3) of vectors (n, 3) with _cross(v) @ w = v x w."""
    return np.asarray(np.cross(np.eye(3), v[:, None]))
