"""Points and poses of the map as sensor_msgs, nav_msgs and geometry_msgs."""

from __future__ import annotations

import array

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Path
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from seg2d3d_ros.geometry.transforms import to_quaternion
from seg2d3d_ros.nodes.conversions.primitives import to_time
from seg2d3d_ros.types import FloatArray, PointCloud, Trajectory

# `rgb` holds 0x00RRGGBB in the bits of a float, as PCL and RViz read it.
POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("rgb", "<u4"),
        ("label", "<u4"),
        ("instance", "<u4"),
        ("sigma_m", "<f4"),
        ("num_views", "<u4"),
    ]
)
_INTEGERS = ("label", "instance", "num_views")
_FIELDS = [
    PointField(
        name=name,
        offset=4 * i,
        datatype=PointField.UINT32 if name in _INTEGERS else PointField.FLOAT32,
        count=1,
    )
    for i, name in enumerate(POINT.names or ())
]


def to_point_cloud(cloud: PointCloud, stamp_ns: int, frame_id: str) -> PointCloud2:
    """Return points as PointCloud2 `x y z rgb label instance sigma_m num_views`, little-endian.

    Args:
        cloud: points in the map, metres.
        stamp_ns: stamp of the newest picture.
        frame_id: the map frame.
    """
    rows = np.zeros(len(cloud.ids), dtype=POINT)
    rows["x"], rows["y"], rows["z"] = cloud.points_map.T
    red, green, blue = cloud.colors_rgb.astype(np.uint32).T
    rows["rgb"] = red << 16 | green << 8 | blue
    rows["label"] = cloud.labels
    rows["instance"] = cloud.instances
    rows["sigma_m"], rows["num_views"] = cloud.sigma_m, cloud.num_views
    made = PointCloud2(
        header=Header(stamp=to_time(stamp_ns), frame_id=frame_id),
        height=1,
        width=len(rows),
        fields=_FIELDS,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(rows),
        is_dense=bool(np.isfinite(cloud.points_map).all()),
    )
    packed = array.array("B")
    packed.frombytes(rows.tobytes())
    made.data = packed
    return made


def to_pose(T: FloatArray) -> Pose:
    """Return a (4, 4) transform as a pose."""
    x, y, z, w = (float(v) for v in to_quaternion(T))
    tx, ty, tz = (float(v) for v in T[:3, 3])
    return Pose(position=Point(x=tx, y=ty, z=tz), orientation=Quaternion(x=x, y=y, z=z, w=w))


def to_path(trajectory: Trajectory, stamp_ns: int, frame_id: str) -> Path:
    """Return the keyframes of a trajectory as a path in the map frame."""
    header = Header(stamp=to_time(stamp_ns), frame_id=frame_id)
    poses = [
        PoseStamped(
            header=Header(stamp=to_time(trajectory.stamps_ns[i]), frame_id=frame_id),
            pose=to_pose(trajectory.T_map_base[i]),
        )
        for i in np.flatnonzero(trajectory.is_keyframe)
    ]
    return Path(header=header, poses=poses)


def to_transform_stamped(
    T_parent_child: FloatArray, stamp_ns: int, parent: str, child: str
) -> TransformStamped:
    """Return a (4, 4) transform for /tf: p_parent = T_parent_child @ p_child."""
    pose = to_pose(T_parent_child)
    made = TransformStamped(
        header=Header(stamp=to_time(stamp_ns), frame_id=parent), child_frame_id=child
    )
    made.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
    made.transform.rotation = pose.orientation
    return made
