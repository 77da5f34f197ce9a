"""A camera of the tests' own on the graph."""

import array

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg2d3d_ros.nodes.conversions.primitives import to_time

WIDTH, HEIGHT = 320, 192
T0_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000


def picture(i):
    """Return the i-th picture of a camera that pans over a wall of random blocks."""
    blocks = np.random.default_rng(1).integers(0, 255, (24, 80, 3), dtype=np.uint8)
    wall = cv2.resize(blocks, (1280, 384), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(wall[:HEIGHT, 2 * i : 2 * i + WIDTH])


class CameraOnGraph:
    """A camera without TF, best-effort if not told otherwise, raw or compressed."""

    def __init__(
        self,
        node,
        is_compressed=False,
        qos=qos_profile_sensor_data,
        info_qos=None,
        name="cam",
    ):
        self._kind = CompressedImage if is_compressed else Image
        self._frame_id = f"{name}_optical"
        topic = f"/{name}/image_raw/compressed" if is_compressed else f"/{name}/image_raw"
        self.pictures = node.create_publisher(self._kind, topic, qos)
        self.infos = node.create_publisher(CameraInfo, f"/{name}/camera_info", info_qos or qos)

    @property
    def is_heard(self):
        publishers = (self.pictures, self.infos)
        return all(publisher.get_subscription_count() == 1 for publisher in publishers)

    def message(self, i):
        if self._kind is CompressedImage:
            made = CompressedImage(format="jpeg")
            made.data = array.array("B", cv2.imencode(".jpg", picture(i))[1].tobytes())
        else:
            made = Image(width=WIDTH, height=HEIGHT, step=3 * WIDTH, encoding="bgr8")
            made.data = array.array("B", picture(i).tobytes())
        made.header.frame_id = self._frame_id
        made.header.stamp = to_time(T0_NS + i * STEP_NS)
        return made

    def info(self):
        K = [250.0, 0.0, WIDTH / 2, 0.0, 250.0, HEIGHT / 2, 0.0, 0.0, 1.0]
        made = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", k=K)
        made.header.frame_id = self._frame_id
        return made

    def send(self, *messages):
        for message in messages:
            self.infos.publish(self.info())
            self.pictures.publish(message)

    def link(self, y_m):
        """Return where the camera sits on base_link: y metres to the left, looking ahead."""
        made = TransformStamped(child_frame_id=self._frame_id)
        made.header.frame_id = "base_link"
        made.transform.translation.y, made.transform.translation.z = y_m, 1.5
        q = made.transform.rotation
        q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
        return made
