"""The rig of a recording: which cameras can be used, where they stand on the vehicle."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import CalibrationError, InputError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io import calibration, pictures
from seg2d3d_ros.io.clocks import first_odometry
from seg2d3d_ros.io.frames import FrameTree, parse_link
from seg2d3d_ros.io.rosbag_topics import IMAGE, CameraTopics, Layout, Messages, Topic
from seg2d3d_ros.types import Camera, Distortion, FloatArray, Rig

_LOG = logging.getLogger(__name__)

_NUM_TRIES = 20
_STEEPEST_DEG = 60.0
_DEPTH_ENCODINGS = ("16uc1", "32fc1")


@dataclass(frozen=True)
class RigSetup:
    """The rig and what is needed to bring odometry and fixes into base_link.

    Attributes:
        rig: The cameras.
        cameras: Their topics, in the same order.
        tree: Fixed links of the recording.
    """

    rig: Rig
    cameras: tuple[CameraTopics, ...]
    tree: FrameTree

    def child_base(self, base_frame: str, frame_id: str) -> FloatArray:
        """Return base_link (4, 4) in the frame whose motion odometry tells; as one without TF.

        Raises:
            CalibrationError: TF does not know that frame.
        """
        if self.rig.base != "tf":
            return np.eye(4)
        return self.tree.lookup(frame_id or base_frame, base_frame)

    def antenna_base(self, base_frame: str, frame_id: str) -> FloatArray:
        """Return where a GNSS frame stands in base_link (3,); zero if TF does not know it."""
        if not frame_id or not self.tree.connects(base_frame, frame_id):
            return np.zeros(3)
        return self.tree.lookup(base_frame, frame_id)[:3, 3]


def read_setup(bag: Messages, layout: Layout, inputs: InputsConfig) -> RigSetup:
    """Read calibration, extrinsics and what else is said once.

    Raises:
        CalibrationError: no camera has usable intrinsics, or a link of TF is missing.
        InputError: no camera has pictures and camera_info.
    """
    remarks = list(layout.remarks)
    usable = _intrinsics(bag, layout, remarks)
    odometry = first_odometry(bag, layout.odometry, usable[0][0].picture.name, remarks)
    antenna = bag.first(layout.fix) if layout.fix else None
    frames = [info.header.frame_id for _, _, info in usable]
    frames += [odometry.child_frame_id] if odometry is not None else []
    frames += [antenna.header.frame_id] if antenna is not None else []
    tree = _read_tree(bag, layout, inputs, [f for f in frames if f])
    has_tf = len(tree) > 0 or bool(layout.tf)
    if has_tf:
        base, cameras = "tf", _mounted_by_tf(usable, tree, inputs.base_frame)
    else:
        base, cameras = _mounted_bare(usable, remarks)
    if antenna is not None and not tree.connects(inputs.base_frame, antenna.header.frame_id):
        remarks.append(f"no TF to the GNSS frame '{antenna.header.frame_id}': taken as base_link")
    if odometry is not None and not has_tf:
        child = odometry.child_frame_id or inputs.base_frame
        remarks.append(
            f"no TF in the recording: odometry of '{child}' is taken as that of base_link, "
            f"which is the centre of camera '{cameras[0].name}'"
        )
    rig = Rig(
        cameras=tuple(cameras),
        base=base,
        has_odometry=odometry is not None,
        has_labels=frozenset(t.name for t, _, _ in usable if t.labels),
        remarks=tuple(remarks),
    )
    setup = RigSetup(rig, tuple(t for t, _, _ in usable), tree)
    if odometry is not None:
        setup.child_base(inputs.base_frame, odometry.child_frame_id)  # raises before the drive
    return setup


# -------------------------------------------------------------------------------- intrinsics


def _intrinsics(
    bag: Messages, layout: Layout, remarks: list[str]
) -> list[tuple[CameraTopics, Camera, Any]]:
    """Return topics, camera and camera_info of every camera that has all three, sorted by name."""
    usable, problems = [], []
    for candidate in layout.cameras:
        topics, size_px = _usable_pictures(bag, candidate)
        if topics is None:
            continue
        try:
            camera, info = _calibrated(bag, topics, size_px)
        except CalibrationError as error:
            problems.append(str(error))
            continue
        if topics.others:
            names = ", ".join(t.name for t in topics.others)
            remarks.append(f"camera '{topics.name}' uses {topics.picture.name}; not used: {names}")
        usable.append((_checked_labels(bag, topics, remarks), camera, info))
    if not usable and problems:
        raise CalibrationError("; ".join(problems))
    if not usable:
        raise InputError(
            "the picture topics hold depth or label pictures only; a camera picture is needed"
        )
    for problem in problems:
        _LOG.warning("camera left out: %s", problem)
        remarks.append(f"camera left out: {problem}")
    return usable


def _calibrated(
    bag: Messages, topics: CameraTopics, size_px: tuple[int, int] | None
) -> tuple[Camera, Any]:
    """Return a camera, not mounted yet, and its camera_info."""
    info = bag.first(topics.info) if topics.info else None
    if info is None:
        raise CalibrationError(
            f"camera '{topics.name}' has pictures ({topics.picture.name}, "
            f"{topics.picture.num_messages}) but no camera_info beside them. Record it "
            "too; calibrate the camera if its driver publishes none"
        )
    return calibration.camera_from_info(topics.name, info, topics.is_rectified, size_px), info


def _usable_pictures(
    bag: Messages, topics: CameraTopics
) -> tuple[CameraTopics | None, tuple[int, int] | None]:
    """Return the camera with the first topic that holds no depth, and the size of its pictures."""
    candidates = (topics.picture, *topics.others)
    for i, topic in enumerate(candidates):
        is_depth, size_px = _look_at(bag, topic)
        if not is_depth:
            others = tuple(t for t in candidates if t is not topic)[i:]
            return dataclasses.replace(topics, picture=topic, others=others), size_px
    return None, None


def _look_at(bag: Messages, topic: Topic) -> tuple[bool, tuple[int, int] | None]:
    """Return whether a topic holds depth, and the size of its first picture that can be read."""
    for _, msgtype, raw in itertools.islice(bag.messages([topic.name]), _NUM_TRIES):
        message = bag.parse(raw, msgtype)
        if message is None:
            continue
        if msgtype == IMAGE and message.encoding.lower() in _DEPTH_ENCODINGS:
            return True, None
        image, _ = pictures.decode(message)
        if image is not None:
            return False, (image.shape[1], image.shape[0])
    return False, None


def _checked_labels(bag: Messages, topics: CameraTopics, remarks: list[str]) -> CameraTopics:
    first = bag.first(topics.labels) if topics.labels else None
    if first is not None and first.encoding.lower() not in ("16uc1", "mono16"):
        remarks.append(
            f"{topics.labels} is '{first.encoding}', not 16UC1: its labels are not used"
        )
        return dataclasses.replace(topics, labels="")
    return topics


# -------------------------------------------------------------------------------- extrinsics


def _read_tree(
    bag: Messages, layout: Layout, inputs: InputsConfig, frames: list[str]
) -> FrameTree:
    """Return the fixed links: those of /tf, too, if frames need them, and those of the inputs."""
    tree = FrameTree()
    for parent, child, T in _transforms(bag, layout.tf_static):
        tree.add(parent, child, T)
    if not all(tree.connects(inputs.base_frame, frame) for frame in frames):
        _add_constant_links(bag, layout.tf, tree)
    for link in inputs.transforms:
        tree.add(*parse_link(link))
    return tree


def _transforms(bag: Messages, names: tuple[str, ...]) -> Iterator[tuple[str, str, FloatArray]]:
    """Yield parent, child and T_parent_child (4, 4) of every link that topics tell."""
    for _, msgtype, raw in bag.messages(names):
        message = bag.parse(raw, msgtype)
        for link in message.transforms if message is not None else ():
            q, t = link.transform.rotation, link.transform.translation
            quat, position = np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z])
            link_name = f"{link.header.frame_id} -> {link.child_frame_id}"
            if not np.isfinite([*quat, *position]).all() or np.linalg.norm(quat) < 1e-6:
                raise CalibrationError(f"the transform {link_name} holds NaN or a zero quaternion")
            T = transforms.from_quaternion(quat, position)
            yield link.header.frame_id, link.child_frame_id, T


def _add_constant_links(bag: Messages, names: tuple[str, ...], tree: FrameTree) -> None:
    """Add the links of /tf that never move over the whole recording."""
    first: dict[tuple[str, str], FloatArray] = {}
    moving: set[tuple[str, str]] = set()
    count: Counter[tuple[str, str]] = Counter()
    for parent, child, T in _transforms(bag, names):
        key = (parent, child)
        count[key] += 1
        if not np.allclose(first.setdefault(key, T), T, atol=1e-6):
            moving.add(key)
    for (parent, child), T in first.items():
        if (parent, child) not in moving and count[parent, child] > 1:
            tree.add(parent, child, T)


def _mounted_by_tf(
    usable: list[tuple[CameraTopics, Camera, Any]], tree: FrameTree, base_frame: str
) -> list[Camera]:
    frame_ids = [info.header.frame_id for _, _, info in usable]
    cameras = []
    for topics, camera, info in usable:
        T_base_cam = tree.lookup(base_frame, info.header.frame_id)
        if topics.is_rectified:
            T_base_cam = T_base_cam @ transforms.invert(calibration.rectification(info))
            if frame_ids.count(info.header.frame_id) > 1:  # a stereo pair named by its left camera
                T_base_cam = T_base_cam @ _shift(info)
        _check_view(camera, T_base_cam, info.header.frame_id)
        cameras.append(dataclasses.replace(camera, T_base_cam=T_base_cam))
    return cameras


def _check_view(camera: Camera, T_base_cam: FloatArray, frame_id: str) -> None:
    """Refuse a camera that sees but the sky: what TF names is not its optical frame."""
    elevation_deg = np.rad2deg(np.arcsin(np.clip(T_base_cam[2, 2], -1.0, 1.0)))
    if elevation_deg > _STEEPEST_DEG and camera.distortion is not Distortion.EQUIDISTANT:
        raise CalibrationError(
            f"camera '{camera.name}' looks up, {elevation_deg:.0f} deg above the horizon, by the "
            f"transform of its frame '{frame_id}'. Needed is its optical frame (x right, y down, "
            "z ahead; the body's has x ahead and z up): publish that and name it in camera_info, "
            "state it by inputs.transforms, or leave the camera out by inputs.cameras"
        )


def _shift(info: Any) -> FloatArray:
    P = np.asarray(info.p, dtype=float).reshape(3, 4)
    if not np.isfinite(P).all() or P[0, 0] <= 0 or P[1, 1] <= 0 or P[2, 2] == 0:
        return np.eye(4)
    return transforms.rigid(np.eye(3), calibration.baseline(P))


def _mounted_bare(
    usable: list[tuple[CameraTopics, Camera, Any]], remarks: list[str]
) -> tuple[str, list[Camera]]:
    """Mount cameras without TF: one is base_link itself; several need the baselines of their P."""
    names = [camera.name for _, camera, _ in usable]
    T_base_optical = transforms.rigid(transforms.R_BODY_OPTICAL, np.zeros(3))
    level = (
        "no TF in the recording: base_link is the centre of camera '{}', taken as level at the "
        "start"
    )
    if len(usable) == 1:
        remarks.append(level.format(names[0]))
        return "bare_camera", [dataclasses.replace(usable[0][1], T_base_cam=T_base_optical)]
    shifts = [_shift(info) for _, _, info in usable]
    references = [i for i, T in enumerate(shifts) if not T[:3, 3].any()]
    if len(references) != 1:
        without = ", ".join(names[i] for i in references) or "none"
        raise CalibrationError(
            f"{len(usable)} cameras ({', '.join(names)}) and no TF in the recording; P carries "
            f"no baseline for: {without}; exactly one may be without. Record /tf_static, state "
            "where they stand by inputs.transforms, or choose one camera by inputs.cameras"
        )
    topics, _, info = usable[references[0]]
    T_base_rect0 = T_base_optical @ transforms.invert(_turn(topics, info))
    cameras = [
        dataclasses.replace(camera, T_base_cam=T_base_rect0 @ T_rect0_rect @ _turn(topics, info))
        for (topics, camera, info), T_rect0_rect in zip(usable, shifts, strict=True)
    ]
    remarks.append(f"{level.format(names[references[0]])}; the other cameras stand by P")
    return "stereo_p", cameras


def _turn(topics: CameraTopics, info: Any) -> FloatArray:
    """Return T_rect_cam (4, 4) of a camera as its pictures are: raw, or rectified already."""
    return np.eye(4) if topics.is_rectified else calibration.rectification(info)
