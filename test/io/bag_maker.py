"""Writes small recordings for tests with the rosbags library."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapReader, decompress
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000
WIDTH, HEIGHT = 16, 12
OPTICAL_QUAT_XYZW = (-0.5, 0.5, -0.5, 0.5)  # REP 103 axes from optical axes


def make(name: str, **fields):
    return TYPES.types[name](**fields)


def header(stamp_ns: int, frame_id: str = "cam_optical"):
    stamp = make(
        "builtin_interfaces/msg/Time",
        sec=int(stamp_ns // 1_000_000_000),
        nanosec=int(stamp_ns % 1_000_000_000),
    )
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def picture(stamp_ns: int, pixels=None, encoding="bgr8", frame_id="cam_optical", **changes):
    """Return (type, message) of an Image; rows of `pixels` may be any dtype."""
    if pixels is None:
        value = (stamp_ns // STEP_NS) % 251
        pixels = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
    pixels = np.ascontiguousarray(pixels)
    fields = {
        "header": header(stamp_ns, frame_id),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": pixels[0].nbytes,
        "data": pixels.view(np.uint8).ravel(),
    }
    return "sensor_msgs/msg/Image", make("sensor_msgs/msg/Image", **{**fields, **changes})


def compressed(stamp_ns: int, data: bytes, format="jpeg", frame_id="cam_optical"):
    name = "sensor_msgs/msg/CompressedImage"
    data = np.frombuffer(data, np.uint8)
    return name, make(name, header=header(stamp_ns, frame_id), format=format, data=data)


def camera_info(stamp_ns: int = START_NS, frame_id: str = "cam_optical", **changes):
    name = "sensor_msgs/msg/CameraInfo"
    fields = {
        "header": header(stamp_ns, frame_id),
        "height": HEIGHT,
        "width": WIDTH,
        "distortion_model": "plumb_bob",
        "d": np.array([0.1, -0.2, 0.001, 0.002, 0.0]),
        "k": np.array([20.0, 0, 7.5, 0, 20.0, 5.5, 0, 0, 1]),
        "r": np.eye(3).ravel(),
        "p": np.array([21.0, 0, 7.0, 0, 0, 21.0, 5.0, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        ),
    }
    return name, make(name, **{**fields, **changes})


def _pose(xyz, quat_xyzw):
    point = make("geometry_msgs/msg/Point", x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))
    q = [float(v) for v in quat_xyzw]
    quat = make("geometry_msgs/msg/Quaternion", x=q[0], y=q[1], z=q[2], w=q[3])
    return make("geometry_msgs/msg/Pose", position=point, orientation=quat)


def odometry(
    stamp_ns, xyz, quat_xyzw=(0, 0, 0, 1), child="base_link", covariance=None, vw=(0.0, 0.0)
):
    """Return (type, message) of an Odometry; `vw` is forward speed and yaw rate."""
    linear = make("geometry_msgs/msg/Vector3", x=float(vw[0]), y=0.0, z=0.0)
    angular = make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=float(vw[1]))
    twist = make("geometry_msgs/msg/Twist", linear=linear, angular=angular)
    covariance = np.zeros(36) if covariance is None else np.asarray(covariance, float).ravel()
    name = "nav_msgs/msg/Odometry"
    return name, make(
        name,
        header=header(stamp_ns, "odom"),
        child_frame_id=child,
        pose=make(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=_pose(xyz, quat_xyzw),
            covariance=np.zeros(36),
        ),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=covariance),
    )


def fix(stamp_ns, lat=49.0, lon=8.0, alt=100.0, status=0, covariance=None, frame_id="gnss"):
    name = "sensor_msgs/msg/NavSatFix"
    return name, make(
        name,
        header=header(stamp_ns, frame_id),
        status=make("sensor_msgs/msg/NavSatStatus", status=status, service=1),
        latitude=float(lat),
        longitude=float(lon),
        altitude=float(alt),
        position_covariance=np.zeros(9) if covariance is None else np.ravel(covariance),
        position_covariance_type=0 if covariance is None else 2,
    )


def transforms_message(*links, stamp_ns=START_NS):
    """Return a TFMessage of (parent, child, xyz, quat_xyzw) links."""
    made = []
    for parent, child, xyz, quat in links:
        pose = _pose(xyz, quat)
        t = make(
            "geometry_msgs/msg/Vector3", x=pose.position.x, y=pose.position.y, z=pose.position.z
        )
        transform = make("geometry_msgs/msg/Transform", translation=t, rotation=pose.orientation)
        made.append(
            make(
                "geometry_msgs/msg/TransformStamped",
                header=header(stamp_ns, parent),
                child_frame_id=child,
                transform=transform,
            )
        )
    return "tf2_msgs/msg/TFMessage", make("tf2_msgs/msg/TFMessage", transforms=made)


def write_bag(
    path: Path, messages, storage=StoragePlugin.MCAP, compression=None, mangle=None
) -> Path:
    """Write (topic, arrival_ns, (type, message)) in order; `mangle(i, bytes)` may spoil bytes."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression is not None:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    connections = {}
    with writer:
        for i, (topic, arrival_ns, (msgtype, message)) in enumerate(messages):
            if (topic, msgtype) not in connections:
                connections[topic, msgtype] = writer.add_connection(
                    topic, msgtype, typestore=TYPES
                )
            data = bytes(TYPES.serialize_cdr(message, msgtype))
            data = mangle(i, data) if mangle else data
            writer.write(connections[topic, msgtype], arrival_ns, data)
    return path


TF_STATIC = (
    "/tf_static",
    START_NS - STEP_NS,
    transforms_message(
        ("base_link", "mast", (1.0, 0.0, 1.0), (0, 0, 0, 1)),
        ("mast", "cam_optical", (0.5, 0.25, 0.5), OPTICAL_QUAT_XYZW),
        ("base_link", "gnss", (-0.5, 0.0, 2.0), (0, 0, 0, 1)),
    ),
)


def drive(num=5, namespace="/cam", info=True, tf=True):
    """Return the messages of a plain drive with one camera."""
    messages = [TF_STATIC] if tf else []
    for i in range(num):
        t = START_NS + i * STEP_NS
        if info:
            messages.append((f"{namespace}/camera_info", t, camera_info(t)))
        messages.append((f"{namespace}/image_raw", t + 1000, picture(t)))
    return messages


COMPRESSION = SimpleNamespace(
    file=CompressionMode.FILE, message=CompressionMode.MESSAGE, storage=CompressionMode.STORAGE
)
STORAGE = SimpleNamespace(mcap=StoragePlugin.MCAP, sqlite3=StoragePlugin.SQLITE3)


def unchunked(file):
    """Write the file anew as the preset `fastwrite` does: no chunks, no index; two swapped."""
    reader = McapReader(file)
    reader.open()
    data, records = file.read_bytes(), []
    for chunk in reader.chunks:
        at = chunk.chunk_start_offset + 9 + 40 + len(chunk.compression)
        inside = decompress(
            data[at : at + chunk.compressed_size], chunk.compression, chunk.uncompressed_size, 0
        )
        at = 0
        while at < len(inside):
            end = at + 9 + int.from_bytes(inside[at + 1 : at + 9], "little")
            records.append(inside[at:end])
            at = end
    start = reader.data_start
    reader.close()
    a, b = [i for i, record in enumerate(records) if record[0] == 0x05][4:6]
    records[a], records[b] = records[b], records[a]
    footer = b"\x02" + (20).to_bytes(8, "little") + bytes(20)
    file.write_bytes(data[:start] + b"".join(records) + footer + data[:8])
