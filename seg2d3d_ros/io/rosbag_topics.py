"""What a recording's topics are for: cameras by namespace, odometry, GNSS, transforms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import InputError, did_you_mean

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
FIX = "sensor_msgs/msg/NavSatFix"
TF = "tf2_msgs/msg/TFMessage"

#: Words of topics that tell truth or an estimate that jumps: used if there is nothing else.
_LAST_CHOICE = ("ground_truth", "groundtruth", "truth", "gt", "global", "gps", "map")


@dataclass(frozen=True, order=True)
class Topic:
    """A topic of a recording."""

    name: str
    msgtype: str
    num_messages: int


class Messages(Protocol):
    """Topics with their messages: a recording, or what has been heard on the graph so far."""

    @property
    def duration_s(self) -> float:
        """Return the time between the first and last message."""

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, str, Any]]:
        """Yield (topic, type, message as it came) of the named topics."""

    def parse(self, raw: Any, msgtype: str) -> Any | None:
        """Return a message as it came as one with fields, None if it is not of that type."""

    def first(self, topic: str) -> Any | None:
        """Return the first message of a topic, with fields; None if there is none."""


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera.

    Attributes:
        name: Camera name: the namespace with `/` as `_`.
        picture: The picture topic that is used.
        info: Its camera_info, empty if there is none.
        labels: Its label topic, empty if there is none.
        others: Picture topics of the same camera, next best first.
    """

    name: str
    picture: Topic
    info: str = ""
    labels: str = ""
    others: tuple[Topic, ...] = ()

    @property
    def is_rectified(self) -> bool:
        """Return whether the pictures are rectified."""
        return _picture_name(self.picture.name).startswith("image_rect")


@dataclass(frozen=True)
class Layout:
    """Which topics of a recording are used for what."""

    cameras: tuple[CameraTopics, ...]
    odometry: str = ""
    fix: str = ""
    tf_static: tuple[str, ...] = ()
    tf: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())


def camera_name(namespace: str) -> str:
    """Return the name of the camera of a namespace: `/a/b` is `a_b`, the root is `camera`."""
    return namespace.strip("/").replace("/", "_") or "camera"


def _base_topic(topic: str) -> str:
    return topic.removesuffix("/compressed")


def _picture_name(topic: str) -> str:
    return _base_topic(topic).rsplit("/", 1)[-1]


def _rank(topic: Topic) -> tuple[int, int, str] | None:
    """Return the order of choice of a picture topic, None if it is none."""
    name = _picture_name(topic.name)
    if topic.msgtype not in (IMAGE, COMPRESSED) or topic.name.endswith("/compressedDepth"):
        return None
    if "depth" in topic.name.lower() or name == "labels" or not name.startswith("image"):
        return None
    kind = 0 if name == "image_raw" else 1 if name.startswith("image_rect") else 2
    return kind, int(topic.msgtype == COMPRESSED), topic.name


def find_cameras(topics: Iterable[Topic]) -> dict[str, CameraTopics]:
    """Return the cameras of a recording by name, each with the best of its picture topics."""
    topics = [t for t in topics if t.num_messages > 0]
    names = {t.name: t for t in topics}
    ranked: dict[str, list[tuple[tuple[int, int, str], Topic]]] = {}
    for topic in topics:
        rank = _rank(topic)
        if rank is not None:
            ranked.setdefault(_base_topic(topic.name).rsplit("/", 1)[0], []).append((rank, topic))
    cameras = {}
    for namespace, found in sorted(ranked.items()):
        found.sort()
        info, labels = names.get(f"{namespace}/camera_info"), names.get(f"{namespace}/labels")
        cameras[camera_name(namespace)] = CameraTopics(
            name=camera_name(namespace),
            picture=found[0][1],
            info=info.name if info and info.msgtype == CAMERA_INFO else "",
            labels=labels.name if labels and labels.msgtype == IMAGE else "",
            others=tuple(topic for _, topic in found[1:]),
        )
    return cameras


def choose(topics: Iterable[Topic], inputs: InputsConfig) -> Layout:
    """Return which topics are used.

    Raises:
        InputError: there is no camera, or a configured name is not in the recording.
    """
    topics = list(topics)
    cameras = find_cameras(topics)
    if not cameras:
        raise InputError(
            "no camera found: needed is a namespace with camera_info and image_raw, image_rect* "
            f"or image*. There are {summary(topics)}"
        )
    for name in inputs.cameras:
        if name not in cameras:
            raise InputError(_unknown("camera", name, cameras))
    chosen = [c for n, c in sorted(cameras.items()) if not inputs.cameras or n in inputs.cameras]
    remarks: list[str] = []
    odometry = _pick(topics, ODOMETRY, inputs.odometry_topic, "odometry", remarks)
    fix = _pick(topics, FIX, inputs.fix_topic, "GNSS", remarks)
    tf = [t.name for t in topics if t.msgtype == TF and t.num_messages > 0]
    return Layout(
        cameras=tuple(chosen),
        odometry=odometry,
        fix=fix,
        tf_static=tuple(t for t in tf if t.endswith("/tf_static")),
        tf=tuple(t for t in tf if t.endswith("/tf")),
        remarks=tuple(remarks),
    )


def _pick(topics: list[Topic], msgtype: str, wanted: str, what: str, remarks: list[str]) -> str:
    found = {t.name: t for t in topics if t.msgtype == msgtype and t.num_messages > 0}
    if wanted == "none":
        return ""
    if wanted:
        if wanted not in found:
            raise InputError(_unknown(f"{what} topic", wanted, found))
        return wanted
    if not found:
        return ""

    def doubt(name: str) -> tuple[bool, int, str]:
        words = name.lower().replace("/", "_").split("_")
        is_last = any(w in words for w in _LAST_CHOICE) or "ground_truth" in name
        return is_last, -found[name].num_messages, name

    best, *others = sorted(found, key=doubt)
    if others:
        remarks.append(f"{what} is read from {best}; not used: {', '.join(others)}")
    return best


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    hint = did_you_mean(name, known)
    return f"{what} '{name}' is not there; there are: {', '.join(known) or 'none'}{hint}"


def summary(topics: Iterable[Topic], most: int = 12) -> str:
    """Return a sentence that lists topics with type and count."""
    topics = sorted(topics)
    if not topics:
        return "no topics at all"
    shown = ", ".join(f"{t.name} ({t.msgtype}, {t.num_messages})" for t in topics[:most])
    return f"{len(topics)} topics: {shown}" + (", …" if len(topics) > most else "")
