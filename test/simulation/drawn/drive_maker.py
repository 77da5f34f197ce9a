"""A tiny KITTI raw drive past four houses that are known exactly, with a rolling lidar."""

import json
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import geodesy, transforms
from seg2d3d_ros.simulation.drawn.drawing import read_drawing
from seg2d3d_ros.simulation.drawn.sight import build_surfaces
from seg2d3d_ros.simulation.render import RayCaster, camera_rays
from seg2d3d_ros.types import Camera, Origin

ORIGIN = Origin(49.0, 8.4, 110.0)
START_NS = 1_317_042_504_000_000_000
SPEED_MPS, NUM_PICTURES, SCAN_EVERY = 8.0, 16, 2
BGR = np.array([[90, 90, 90], [40, 40, 200], [40, 200, 40], [200, 60, 60], [30, 190, 200]])
FOCAL_PX, WIDTH_PX, HEIGHT_PX, BASELINE_M = 110.0, 200, 100, 0.5
GROUND_M = -0.9

# Seen from the street, left to right: houses 1 and 2 on the left side of the road, 3 and 4 on the
# right one (whose line runs against the way), an end wall that is no house, a low fence.
DRAWING = {
    "version": 1,
    "drive": "2011_09_26_drive_0001_sync",
    "origin": {"lat_deg": 49.0, "lon_deg": 8.4, "alt_m": 110.0},
    "facades": [
        {
            "name": "left side",
            "line_map": [[-10, 8, GROUND_M], [50, 8, GROUND_M]],
            "houses": [
                {"house": 1, "top_m": [[0, 6], [26, 6]]},
                {"house": 2, "top_m": [[26, 8], [43, 11], [60, 8]], "roof_m": [4, 2]},
            ],
        },
        {
            "name": "right/side",
            "line_map": [[50, -7, GROUND_M], [-10, -7, GROUND_M]],
            "houses": [
                {"house": 3, "top_m": [[0, 7], [34, 7]]},
                {"house": 4, "top_m": [[34, 5], [60, 5]]},
            ],
        },
        {
            "name": "end",
            "line_map": [[50, 8, GROUND_M], [50, -7, GROUND_M]],
            "houses": [{"house": 0, "top_m": [[0, 4], [15, 4]]}],
        },
    ],
    "trees": [
        {
            "foot_map": [22, -4, GROUND_M],
            "trunk_radius_m": 0.2,
            "crown_radius_m": 1.2,
            "crown_from_m": 2.0,
            "crown_to_m": 5.0,
        }
    ],
}


def write_drawing(path: Path, **changes) -> Path:
    path.write_text(json.dumps({**DRAWING, **changes}))
    return path


def true_pose(time_s: float) -> np.ndarray:
    yaw = 0.02 * np.sin(1.5 * time_s)
    R = Rotation.from_euler("ZYX", [yaw, 0.004 * np.sin(6 * time_s), 0.0]).as_matrix()
    return transforms.rigid(R, [SPEED_MPS * time_s, 0.1 * np.sin(time_s), 0.0])


def write_drive(root: Path, heading_bias_deg: float = 0.0, cameras=("02", "03")) -> Path:
    """Write the drive; the heading of oxts is off by a bias, its way stays true."""
    day = root / "2011_09_26"
    drive = day / "2011_09_26_drive_0001_sync"
    times_s = 0.1 * np.arange(NUM_PICTURES)
    poses = [true_pose(t) for t in times_s]
    _write_oxts(drive / "oxts", times_s, poses, heading_bias_deg)
    _write_calibration(day)
    caster = RayCaster(_world(root).triangles)
    (drive / "velodyne_points" / "data").mkdir(parents=True)
    _write_stamps(drive / "velodyne_points" / "timestamps.txt", times_s)
    for i in range(0, NUM_PICTURES, SCAN_EVERY):
        points = _scan(caster, times_s[i])
        rows = np.column_stack([points, np.full(len(points), 0.3)]).astype(np.float32)
        rows.tofile(drive / "velodyne_points" / "data" / f"{i:010d}.bin")
    for number in cameras:
        folder = drive / f"image_{number}"
        (folder / "data").mkdir(parents=True)
        _write_stamps(folder / "timestamps.txt", times_s)
        for i, T in enumerate(poses):
            image = _picture(caster, _world(root).object_id, T, number)
            cv2.imwrite(str(folder / "data" / f"{i:010d}.png"), image)
    return drive


def camera_pose(number: str) -> np.ndarray:
    """Return T_base_cam: cameras look forward, the second half a metre to the right."""
    right_m = BASELINE_M if number == "03" else 0.0
    return transforms.rigid(transforms.R_BODY_OPTICAL, [0.5, -right_m, 0.2])


def _world(root: Path):
    return build_surfaces(read_drawing(write_drawing(root / "world.json")))


def _write_stamps(path: Path, times_s) -> None:
    lines = [f"2011-09-26 13:08:{24 + int(t)}.{round(t % 1 * 1e9):09d}" for t in times_s]
    path.write_text("\n".join(lines) + "\n")


def _write_oxts(folder: Path, times_s, poses, heading_bias_deg: float) -> None:
    (folder / "data").mkdir(parents=True)
    _write_stamps(folder / "timestamps.txt", times_s)
    places = geodesy.enu_to_geodetic(np.array([T[:3, 3] for T in poses]), ORIGIN)
    for i, T in enumerate(poses):
        yaw, pitch, roll = Rotation.from_matrix(T[:3, :3]).as_euler("ZYX")
        row = np.zeros(30)
        row[:3], row[3:6] = places[i], (roll, pitch, yaw + np.deg2rad(heading_bias_deg))
        row[8], row[23] = SPEED_MPS, 0.5
        row[19] = 0.03 * np.cos(1.5 * times_s[i])
        (folder / "data" / f"{i:010d}.txt").write_text(" ".join(map(repr, row.tolist())))


def _write_calibration(day: Path) -> None:
    identity = "R: 1 0 0 0 1 0 0 0 1\n"
    (day / "calib_imu_to_velo.txt").write_text(f"{identity}T: 0 0 -0.8\n")
    optical = "R: 0 -1 0 0 0 -1 1 0 0\n"  # p_cam = (-y, -z, x)
    (day / "calib_velo_to_cam.txt").write_text(f"{optical}T: 0 -0.6 -0.5\n")
    lines = ["R_rect_00: 1 0 0 0 1 0 0 0 1"]
    for number, right_m in (("02", 0.0), ("03", BASELINE_M)):
        fu = f"{FOCAL_PX} 0 {(WIDTH_PX - 1) / 2} {-FOCAL_PX * right_m}"
        lines.append(f"P_rect_{number}: {fu} 0 {FOCAL_PX} {(HEIGHT_PX - 1) / 2} 0 0 0 1 0")
    (day / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n")


def _scan(caster, stamp_s: float) -> np.ndarray:
    """Cast one turn: clockwise from above, backwards at -0.05 s, forward at the stamp."""
    found = []
    elevation = np.deg2rad(np.linspace(-16, 14, 24))
    for k in range(-180, 180, 2):
        at_s = stamp_s + 0.1 * k / 360
        azimuth = -np.deg2rad(k)
        rays_velo = np.column_stack(
            [
                np.cos(elevation) * np.cos(azimuth),
                np.cos(elevation) * np.sin(azimuth),
                np.sin(elevation),
            ]
        )
        T = true_pose(at_s) @ transforms.rigid(np.eye(3), [0, 0, 0.8])
        _, distance = caster.cast(T, rays_velo)
        rise = rays_velo @ T[2, :3]
        to_ground = (GROUND_M - T[2, 3]) / np.minimum(rise, -1e-9)
        distance = np.minimum(distance, np.where(rise < 0, to_ground, np.inf))
        is_hit = distance < 70
        found.append(rays_velo[is_hit] * distance[is_hit, None])
    return np.concatenate(found)


def _picture(caster, object_id, T_map_base, number: str) -> np.ndarray:
    K = np.array(
        [[FOCAL_PX, 0, (WIDTH_PX - 1) / 2], [0, FOCAL_PX, (HEIGHT_PX - 1) / 2], [0, 0, 1.0]]
    )
    camera = Camera("c", WIDTH_PX, HEIGHT_PX, K, np.eye(4))
    T = T_map_base @ camera_pose(number)
    row, _ = caster.cast(T, camera_rays(camera).directions)
    hit = np.append(object_id, -1)[row]
    colors = np.vstack([BGR, [[60, 120, 20]], [[250, 240, 230]]])
    return (
        colors[np.where(hit < 0, len(colors) - 1, hit)]
        .astype(np.uint8)
        .reshape(HEIGHT_PX, WIDTH_PX, 3)
    )
