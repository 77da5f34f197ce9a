"""Values that travel between the stages: frozen, and without behaviour.

Frames, units and names follow docs/conventions.md: `T_a_b` maps points of frame b into frame a
(p_a = T_a_b @ p_b), stamps are integer nanoseconds, pixels `uv_px` have (0, 0) at the centre of
the top-left pixel and are those of the picture as it was received (distorted where the camera
distorts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

# ---------------------------------------------------------------- inputs


class Distortion(StrEnum):
    """Distortion models of sensor_msgs/CameraInfo that are understood."""

    NONE = "none"
    PLUMB_BOB = "plumb_bob"
    RATIONAL_POLYNOMIAL = "rational_polynomial"
    EQUIDISTANT = "equidistant"


@dataclass(frozen=True)
class Camera:
    """A calibrated camera mounted on the vehicle.

    Attributes:
        name: Name of the camera, derived from its namespace (`camera_front`).
        width_px: Picture width.
        height_px: Picture height.
        K: (3, 3) pinhole matrix, pixels.
        T_base_cam: (4, 4) pose of the optical frame (x right, y down, z forward) in base_link,
            metres.
        distortion: Distortion model.
        D: (n,) distortion coefficients in the order of CameraInfo; empty for `none`.
    """

    name: str
    width_px: int
    height_px: int
    K: FloatArray
    T_base_cam: FloatArray
    distortion: Distortion = Distortion.NONE
    D: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Rig:
    """All cameras of the vehicle.

    Attributes:
        cameras: The cameras, sorted by name; observations refer to them by position.
        base: How base_link was found (`tf`, `kitti_raw`, `kitti_odometry`, `bare_camera`,
            `stereo_p`).
        has_odometry: Odometry will be pushed, so frames wait for it.
        has_labels: Names of the cameras whose masks are made elsewhere (label pictures will be
            pushed).
        remarks: Sentences for `run.json` about assumptions that were made.
    """

    cameras: tuple[Camera, ...]
    base: str = "tf"
    has_odometry: bool = False
    has_labels: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()

    def index(self, camera: str) -> int:
        """Return the position of a camera by name; KeyError if it is not part of the rig."""
        for i, c in enumerate(self.cameras):
            if c.name == camera:
                return i
        raise KeyError(camera)


@dataclass(frozen=True)
class Frame:
    """One picture of one camera: `image` is (h, w) or (h, w, 3) uint8, BGR."""

    camera: str
    stamp_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class LabelImage:
    """Masks made elsewhere: (h, w) uint16, class * 1000 + k; below 1000 no instance."""

    camera: str
    stamp_ns: int
    labels: NDArray[np.uint16]


@dataclass(frozen=True)
class Odometry:
    """Dead reckoning; only increments between two of them are ever used.

    Attributes:
        stamp_ns: Time of the pose.
        T_odom_base: (4, 4) pose of base_link in a frame that drifts but never jumps.
        twist_covariance: (6, 6) of [vx vy vz wx wy wz] in base, SI units; None means our default.
    """

    stamp_ns: int
    T_odom_base: FloatArray
    twist_covariance: FloatArray | None = None


@dataclass(frozen=True)
class Fix:
    """One GNSS position.

    Attributes:
        stamp_ns: Time of the fix.
        lat_deg: WGS84 latitude.
        lon_deg: WGS84 longitude.
        alt_m: Ellipsoidal height.
        covariance_enu: (3, 3) m² east, north, up; None means unknown.
        antenna_base: (3,) position of the antenna in base_link, metres.
    """

    stamp_ns: int
    lat_deg: float
    lon_deg: float
    alt_m: float
    covariance_enu: FloatArray | None = None
    antenna_base: FloatArray = field(default_factory=lambda: np.zeros(3))


@dataclass(frozen=True)
class Dropped:
    """A picture that was received but could not be used, so that it is counted and reported."""

    camera: str
    stamp_ns: int
    reason: str


# ---------------------------------------------------------- segmentation


@dataclass(frozen=True)
class Mask:
    """One region of a picture, overlapping others if it must.

    Attributes:
        label: class * 1000 + k, k from 1 in every picture; below 1000 a class without instance.
        class_id: Class (Cityscapes ids, 0 unknown, 40-65 for prompts outside Cityscapes).
        score: Confidence in 0..1.
        bbox_px: (x0, y0, x1, y1), the last two exclusive.
        runs: (n,) uint32 boundaries of alternating background and foreground inside the box,
            row-major; the first is the first foreground index (`segmentation/masks.py`).
        embedding: (d,) float32 feature of the region or None.
        embedding_model_id: Which model made the embedding; empty without one.
        crop_jpeg: Small JPEG of the box; empty where none was kept.
    """

    label: int
    class_id: int
    score: float
    bbox_px: tuple[int, int, int, int]
    runs: NDArray[np.uint32]
    embedding: NDArray[np.float32] | None = None
    embedding_model_id: str = ""
    crop_jpeg: bytes = b""


class SegmentationStatus(StrEnum):
    """Why a segmentation holds what it holds: exactly one Segmentation is made per Frame."""

    OK = "ok"
    NO_LABELS = "no_labels"
    OVERLOAD = "overload"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Segmentation:
    """What is in one picture: every Frame gets exactly one, empty with a reason if it must.

    Attributes:
        camera: Camera name of the picture.
        stamp_ns: Stamp of the picture.
        width_px: Picture width.
        height_px: Picture height.
        masks: Regions, in ascending label.
        status: `ok`, or why there are no masks.
        backend: Name of the backend that made it.
        prompt_version: Number of the text prompt that was in force, 0 for the configured one.
    """

    camera: str
    stamp_ns: int
    width_px: int
    height_px: int
    masks: tuple[Mask, ...]
    status: SegmentationStatus = SegmentationStatus.OK
    backend: str = ""
    prompt_version: int = 0


# -------------------------------------------------------------- clusters


@dataclass(frozen=True)
class Keyframe:
    """Pose of the rig at one stamp; not only keyframes proper are kept, `is_keyframe` tells.

    Attributes:
        stamp_ns: Stamp of the rig's pictures (of the first camera in it).
        T_local_base: (4, 4) pose of base_link in the cluster's local frame.
        is_keyframe: True if its observations constrain the bundle adjustment.
        cameras: Indices into Rig.cameras of the pictures taken at this stamp.
        picture_stamps_ns: Stamp of each of these pictures.
        status: `tracked`, or `coasted` where the pose rests on odometry or constant velocity
            alone.
    """

    stamp_ns: int
    T_local_base: FloatArray
    is_keyframe: bool
    cameras: tuple[int, ...]
    picture_stamps_ns: tuple[int, ...]
    status: str = "tracked"


@dataclass(frozen=True)
class Landmarks:
    """Tracks of a cluster, n of them.

    Attributes:
        ids: (n,) unique over the whole run, never reused.
        points_local: (n, 3) metres (or the gauge's unit where scale is unknown), local frame; NaN
            for tracks that are not triangulated yet.
        colors_rgb: (n, 3) uint8.
        descriptors: (n, d) uint8 appearance, a row of zeros where there is none yet; d may be 0.
        sigma_m: (n,) standard deviation along the worst axis.
    """

    ids: IntArray
    points_local: FloatArray
    colors_rgb: NDArray[np.uint8]
    descriptors: NDArray[np.uint8]
    sigma_m: NDArray[np.float32]


@dataclass(frozen=True)
class Observations:
    """Where landmarks were seen, m rows.

    Attributes:
        landmark: (m,) position in the cluster's Landmarks.
        frame: (m,) position in the cluster's frames.
        camera: (m,) position in Rig.cameras.
        uv_px: (m, 2) pixel of the picture as received.
    """

    landmark: IntArray
    frame: IntArray
    camera: IntArray
    uv_px: NDArray[np.float32]


@dataclass(frozen=True)
class RelativePose:
    """Odometry between two frames of a cluster: p_i = T_i_j @ p_j.

    Attributes:
        frame_i: Position of the earlier frame in the cluster's frames.
        frame_j: Position of the later frame.
        T_i_j: (4, 4) increment of base_link.
        covariance: (6, 6) of [rotation, translation] in frame i, rad and metres.
    """

    frame_i: int
    frame_j: int
    T_i_j: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class DepthSamples:
    """Depths of single pixels of a cluster's new frames, m of them: facades between corners.

    Attributes:
        frame: (m,) position in the cluster's frames.
        camera: (m,) position in Rig.cameras.
        uv_px: (m, 2) pixel of the picture as received.
        depth_m: (m,) along the optical axis, metres (or the gauge's unit).
        sigma_m: (m,) its standard deviation.
        colors_rgb: (m, 3).
        label: (m,) label of the mask around the pixel, 0 without masks.
    """

    frame: NDArray[np.uint32]
    camera: NDArray[np.uint16]
    uv_px: NDArray[np.uint16]
    depth_m: NDArray[np.float16]
    sigma_m: NDArray[np.float16]
    colors_rgb: NDArray[np.uint8]
    label: NDArray[np.uint16]


def no_depths() -> DepthSamples:
    """Return no samples."""
    return DepthSamples(
        frame=np.zeros(0, np.uint32),
        camera=np.zeros(0, np.uint16),
        uv_px=np.zeros((0, 2), np.uint16),
        depth_m=np.zeros(0, np.float16),
        sigma_m=np.zeros(0, np.float16),
        colors_rgb=np.zeros((0, 3), np.uint8),
        label=np.zeros(0, np.uint16),
    )


@dataclass(frozen=True)
class Cluster:
    """A window of keyframes that overlaps the last one: all that mapping ever sees.

    Attributes:
        sequence: 0, 1, 2, … without gaps over the whole run.
        session: Changes when tracking was lost or time jumped: local frames and landmarks of two
            sessions have nothing in common.
        is_last: No cluster follows.
        scale: `metric` or `unknown`; lengths may be others once it changes.
        num_overlap: Leading keyframes that the previous cluster of the same session held too.
        rig: The cameras.
        frames: Poses in stamp order.
        landmarks: Triangulated tracks.
        observations: Where they were seen.
        odometry: Increments between consecutive keyframes.
        fixes: GNSS positions since the previous cluster.
        segmentations: Masks of the pictures that are new in this cluster, whole, as runs.
        dropped: Pictures that were received and not used since the previous cluster.
        depths: Depths between the landmarks, of the keyframes that are new in this cluster.
    """

    sequence: int
    session: int
    is_last: bool
    scale: str
    num_overlap: int
    rig: Rig
    frames: tuple[Keyframe, ...]
    landmarks: Landmarks
    observations: Observations
    odometry: tuple[RelativePose, ...] = ()
    fixes: tuple[Fix, ...] = ()
    segmentations: tuple[Segmentation, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    depths: DepthSamples = field(default_factory=no_depths)


# --------------------------------------------------------------- mapping


@dataclass(frozen=True)
class View:
    """A mask that shows an instance well: where it is and a small JPEG of it."""

    camera: str
    stamp_ns: int
    label: int
    crop_jpeg: bytes


class InstanceState(StrEnum):
    """How far an instance is decided about.

    `tentative`: known from masks alone, no landmark lies on it and its box is rough; or, while a
    run goes on, seen at too few moments so far. `confirmed`: it has landmarks and was seen often
    enough. `archived`: out of sight for long; nothing is decided about it until it is seen again
    (or `finish` decides about everything anew).
    """

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    ARCHIVED = "archived"


@dataclass(frozen=True)
class Instance:
    """A building of the map.

    Attributes:
        id: Unique, never reused; the older id survives a merge.
        class_id: Class of its masks.
        score: Support in 0..1.
        num_points: Landmarks that carry this id.
        num_views: Masks that carry this id.
        first_stamp_ns: First picture it was seen in.
        last_stamp_ns: Last picture it was seen in.
        centroid_map: (3,) metres.
        box_center_map: (3,) centre of the oriented box, metres.
        box_size_m: (3,) length, width and height.
        box_yaw_rad: Rotation of the box about map z.
        footprint_map: (n, 2) polygon of the ground outline, x y, counter-clockwise, not closed.
        sigma_m: Standard deviation of the centroid.
        best_views: Masks that show it well, best first.
        embedding: (d,) float32 mean of its masks' features weighted by their scores, or None.
        embedding_model_id: Which model made the features; empty without any.
        footprint_sigma_m: Standard deviation of the footprint's corners, metres.
        state: How far it is decided about.
    """

    id: int
    class_id: int
    score: float
    num_points: int
    num_views: int
    first_stamp_ns: int
    last_stamp_ns: int
    centroid_map: FloatArray
    box_center_map: FloatArray
    box_size_m: FloatArray
    box_yaw_rad: float
    footprint_map: FloatArray
    sigma_m: float
    best_views: tuple[View, ...] = ()
    embedding: NDArray[np.float32] | None = None
    embedding_model_id: str = ""
    footprint_sigma_m: float = math.inf
    state: InstanceState = InstanceState.CONFIRMED


class EventKind(StrEnum):
    """What can happen to an instance.

    `confirmed`, `archived`, `reopened` change its state alone. `undone` takes a manual merge or
    split back: its evidence names that event (`undoes`), whose ids are again what they were.
    """

    CREATED = "created"
    MERGED = "merged"
    SPLIT = "split"
    GONE = "gone"
    CONFIRMED = "confirmed"
    ARCHIVED = "archived"
    REOPENED = "reopened"
    UNDONE = "undone"


@dataclass(frozen=True)
class InstanceEvent:
    """One decision about identities, with its evidence.

    Attributes:
        sequence: 0, 1, 2, … over the run.
        stamp_ns: Stamp of the newest picture when it was taken.
        kind: What happened.
        instance: The id it happened to (the survivor of a merge, the origin of a split).
        other: The id absorbed or split off; 0 where there is none.
        evidence: Numbers behind the decision by name, listed in `mapping/association/evidence.py`.
    """

    sequence: int
    stamp_ns: int
    kind: EventKind
    instance: int
    other: int = 0
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where the map's ENU frame stands on the ellipsoid."""

    lat_deg: float
    lon_deg: float
    alt_m: float


@dataclass(frozen=True)
class Trajectory:
    """Poses of base_link in the map, n of them, in stamp order.

    Attributes:
        stamps_ns: (n,) one per picture stamp with a pose.
        T_map_base: (n, 4, 4).
        is_keyframe: (n,) bool.
    """

    stamps_ns: IntArray
    T_map_base: FloatArray
    is_keyframe: NDArray[np.bool_]


@dataclass(frozen=True)
class PointCloud:
    """Labelled points of the map, n of them: landmarks, and points fused from depth samples.

    Attributes:
        ids: (n,) ids of landmarks; those of fused points lie above all of them.
        points_map: (n, 3) metres.
        colors_rgb: (n, 3) uint8.
        labels: (n,) uint32 class, 0 unknown.
        instances: (n,) uint32 instance id, 0 none.
        sigma_m: (n,) float32 standard deviation along the worst axis.
        num_views: (n,) uint32 pictures that measured it, the length of a landmark's track.
    """

    ids: IntArray
    points_map: FloatArray
    colors_rgb: NDArray[np.uint8]
    labels: NDArray[np.uint32]
    instances: NDArray[np.uint32]
    sigma_m: NDArray[np.float32]
    num_views: NDArray[np.uint32]


@dataclass(frozen=True)
class MaskAssignment:
    """Which instance a mask belongs to; 0 = unassigned, class_id -1 = as the label says."""

    stamp_ns: int
    camera: str
    label: int
    instance: int
    score: float
    num_landmarks: int
    class_id: int = -1


@dataclass(frozen=True)
class MapUpdate:
    """What changed in the map by one cluster, or the whole map when `is_full`.

    Attributes:
        sequence: Of the cluster that caused it.
        stamp_ns: Newest picture in it.
        is_full: True if this holds everything there is rather than the change.
        scale: `metric` or `unknown`.
        origin: Of the ENU map frame; None without GNSS.
        T_map_local: (4, 4) latest correction of the drifting local frame, for `map→odom`.
        trajectory: New or moved poses.
        cloud: New, moved or relabelled points.
        removed_points: (n,) landmark ids that are gone.
        instances: Confirmed instances that are new or changed.
        removed_instances: Ids that are gone (merged away or dissolved).
        events: Decisions about identities.
        assignments: Masks whose instance is new or changed.
        counts: Counters of the mapping stage, by name.
    """

    sequence: int
    stamp_ns: int
    is_full: bool
    scale: str
    origin: Origin | None
    T_map_local: FloatArray
    trajectory: Trajectory
    cloud: PointCloud
    removed_points: IntArray
    instances: tuple[Instance, ...]
    removed_instances: tuple[int, ...]
    events: tuple[InstanceEvent, ...]
    assignments: tuple[MaskAssignment, ...]
    counts: dict[str, float] = field(default_factory=dict)


Item: TypeAlias = Frame | LabelImage | Odometry | Fix | Dropped
