"""Messages of a drive in a rosbag2, in the order in which a recorder would have received them."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.rig import ANTENNA_BASE
from seg2d3d_ros.simulation.sensors import FixSample, OdometrySample
from seg2d3d_ros.types import Camera, Distortion, FloatArray, Rig

_ODOM_DELAY_NS = 2_000_000
_FIX_DELAY_NS = 80_000_000
_IMAGE_DELAY_NS = 20_000_000
_LABELS_DELAY_NS = 90_000_000


def camera_topics(camera: Camera, options: SimulationOptions) -> dict[str, str]:
    """Return the topics of a camera by what they carry: image, info, labels."""
    image = "image_raw/compressed" if options.compressed else "image_raw"
    return {
        kind: f"/{camera.name}/{name}"
        for kind, name in (("image", image), ("info", "camera_info"), ("labels", "labels"))
    }


class BagWriter:
    """Writes a rosbag2; use it as a context."""

    def __init__(self, folder: Path, start_ns: int, options: SimulationOptions) -> None:
        """Open the bag for writing; the folder must not exist."""
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        self._options = options
        self._start_ns = start_ns
        self._types = get_typestore(Stores.ROS2_JAZZY)
        plugin = StoragePlugin.MCAP if options.storage == "mcap" else StoragePlugin.SQLITE3
        self._writer = Writer(folder, version=9, storage_plugin=plugin)
        self._connections: dict[str, Any] = {}
        self._waiting: list[tuple[int, int, str, bytes]] = []
        self._num_messages = 0
        self._rng = np.random.default_rng([options.seed, 41])

    def __enter__(self) -> BagWriter:
        """Open the file."""
        self._writer.open()
        return self

    def __exit__(self, *error: object) -> None:
        """Write what waits and close the file."""
        self._flush(None)
        self._writer.close()

    # ------------------------------------------------------------------------------- messages

    def add_static_transforms(self, rig: Rig, antenna_base: FloatArray = ANTENNA_BASE) -> None:
        """Add /tf_static: the optical frames of all cameras and the GNSS antenna on base_link."""
        poses = {f"{c.name}_optical_frame": c.T_base_cam for c in rig.cameras}
        if self._options.gnss:
            poses["gnss_antenna"] = transforms.rigid(np.eye(3), antenna_base)
        stamped = [self._transform(frame, T) for frame, T in poses.items()]
        message = self._make("tf2_msgs/msg/TFMessage", transforms=stamped)
        self._push(self._start_ns - 50_000_000, "/tf_static", message)

    def add_picture(self, camera: Camera, stamp_ns: int, image: NDArray[np.uint8]) -> None:
        """Add a picture (h, w, 3) BGR with its calibration."""
        topics = camera_topics(camera, self._options)
        header = self._header(stamp_ns, f"{camera.name}_optical_frame")
        log_ns = stamp_ns + _IMAGE_DELAY_NS + int(self._rng.integers(0, 10_000_000))
        if self._options.compressed:
            quality = [cv2.IMWRITE_JPEG_QUALITY, self._options.jpeg_quality]
            data = cv2.imencode(".jpg", image, quality)[1].ravel()
            message = self._make(
                "sensor_msgs/msg/CompressedImage",
                header=header,
                format="bgr8; jpeg compressed bgr8",
                data=data,
            )
        else:
            message = self._image(header, image, "bgr8")
        self._push(log_ns, topics["image"], message)
        self._push(log_ns + 50_000, topics["info"], self._camera_info(header, camera))

    def add_labels(self, camera: Camera, stamp_ns: int, labels: NDArray[np.uint16]) -> None:
        """Add a label picture (h, w)."""
        header = self._header(stamp_ns, f"{camera.name}_optical_frame")
        log_ns = stamp_ns + _LABELS_DELAY_NS + int(self._rng.integers(0, 30_000_000))
        topic = camera_topics(camera, self._options)["labels"]
        self._push(log_ns, topic, self._image(header, labels, "16UC1"))

    def add_odometry(self, sample: OdometrySample) -> None:
        """Add dead reckoning."""
        stamp_ns = self._start_ns + round(sample.time_s * 1e9)
        pose = self._make(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=self._pose(sample.T_odom_base),
            covariance=np.zeros(36),
        )
        twist = self._make(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=self._make(
                "geometry_msgs/msg/Twist",
                linear=self._vector([sample.speed_mps, 0.0, 0.0]),
                angular=self._vector([0.0, 0.0, sample.yaw_rate_rps]),
            ),
            covariance=sample.covariance.ravel(),
        )
        header = self._header(stamp_ns, "odom")
        message = self._make(
            "nav_msgs/msg/Odometry",
            header=header,
            child_frame_id="base_link",
            pose=pose,
            twist=twist,
        )
        self._push(stamp_ns + _ODOM_DELAY_NS, "/odom", message)

    def add_fix(self, sample: FixSample) -> None:
        """Add a GNSS position."""
        stamp_ns = self._start_ns + round(sample.time_s * 1e9)
        message = self._make(
            "sensor_msgs/msg/NavSatFix",
            header=self._header(stamp_ns, "gnss_antenna"),
            status=self._make("sensor_msgs/msg/NavSatStatus", status=0, service=1),
            latitude=sample.lat_deg,
            longitude=sample.lon_deg,
            altitude=sample.alt_m,
            position_covariance=sample.covariance_enu.ravel(),
            position_covariance_type=2,
        )
        self._push(stamp_ns + _FIX_DELAY_NS, "/fix", message)

    # ------------------------------------------------------------------------ building blocks

    def _make(self, name: str, **fields: Any) -> Any:
        kind = self._types.types[name]
        return kind(**fields)

    def _header(self, stamp_ns: int, frame: str) -> Any:
        stamp = self._make(
            "builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
        )
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def _vector(self, xyz: Any, name: str = "Vector3") -> Any:
        return self._make(
            f"geometry_msgs/msg/{name}", **{k: float(v) for k, v in zip("xyz", xyz, strict=True)}
        )

    def _quaternion(self, T: FloatArray) -> Any:
        quat = transforms.to_quaternion(T)
        return self._make(
            "geometry_msgs/msg/Quaternion",
            **{k: float(v) for k, v in zip("xyzw", quat, strict=True)},
        )

    def _pose(self, T: FloatArray) -> Any:
        return self._make(
            "geometry_msgs/msg/Pose",
            position=self._vector(T[:3, 3], "Point"),
            orientation=self._quaternion(T),
        )

    def _transform(self, child: str, T: FloatArray) -> Any:
        transform = self._make(
            "geometry_msgs/msg/Transform",
            translation=self._vector(T[:3, 3]),
            rotation=self._quaternion(T),
        )
        header = self._header(self._start_ns, "base_link")
        return self._make(
            "geometry_msgs/msg/TransformStamped",
            header=header,
            child_frame_id=child,
            transform=transform,
        )

    def _image(self, header: Any, image: NDArray, encoding: str) -> Any:
        h, w = image.shape[:2]
        data = np.ascontiguousarray(image).view(np.uint8).ravel()
        return self._make(
            "sensor_msgs/msg/Image", header=header, height=h, width=w, encoding=encoding,
            is_bigendian=0, step=data.size // h, data=data,
        )  # fmt: skip

    def _camera_info(self, header: Any, camera: Camera) -> Any:
        P = np.zeros((3, 4))
        P[:, :3] = camera.K
        if self._options.cameras == "stereo" and camera.name.endswith("right"):
            P[0, 3] = -camera.K[0, 0] * self._options.baseline_m
        is_ideal = camera.distortion == Distortion.NONE
        roi = self._make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        return self._make(
            "sensor_msgs/msg/CameraInfo",
            header=header, height=camera.height_px, width=camera.width_px,
            distortion_model="plumb_bob" if is_ideal else str(camera.distortion),
            d=np.zeros(5) if is_ideal else np.asarray(camera.D, float),
            k=camera.K.ravel(), r=np.eye(3).ravel(), p=P.ravel(),
            binning_x=0, binning_y=0, roi=roi,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------- order

    def _push(self, log_ns: int, topic: str, message: Any) -> None:
        """Queue a message; what comes out is in the order of log time."""
        if topic not in self._connections:
            self._connections[topic] = self._connect(topic, message.__msgtype__)
        data = bytes(self._types.serialize_cdr(message, message.__msgtype__))
        heapq.heappush(self._waiting, (log_ns, self._num_messages, topic, data))
        self._num_messages += 1

    def advance(self, stamp_ns: int) -> None:
        """Write what is due, given that nothing with an earlier stamp will be added."""
        self._flush(stamp_ns)

    def _flush(self, until_ns: int | None) -> None:
        while self._waiting and (until_ns is None or self._waiting[0][0] <= until_ns):
            log_ns, _, topic, data = heapq.heappop(self._waiting)
            self._writer.write(self._connections[topic], log_ns, data)

    def _connect(self, topic: str, kind: str) -> Any:
        from rosbags.interfaces import (
            Qos,
            QosDurability,
            QosHistory,
            QosLiveliness,
            QosReliability,
            QosTime,
        )

        durability = (
            QosDurability.TRANSIENT_LOCAL if topic == "/tf_static" else QosDurability.VOLATILE
        )
        never = QosTime(9223372036, 854775807)
        qos = Qos(
            QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, durability, never, never,
            QosLiveliness.AUTOMATIC, never, False,
        )  # fmt: skip
        return self._writer.add_connection(
            topic, kind, typestore=self._types, offered_qos_profiles=[qos]
        )
