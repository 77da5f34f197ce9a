"""All defaults in one place: dataclasses from which YAML files and ROS parameters are made.

Order: default < file < argument. Unknown keys are errors that name the nearest known key.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seg2d3d_ros.errors import ConfigError, did_you_mean


def option(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """Declare a configuration field with its default, description and inclusive range."""
    metadata = {"help": help, "low": low, "high": high}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class RuntimeConfig:
    """What concerns the machine rather than the method."""

    seed: int = option(0, "Seed of everything random.", 0)
    num_threads: int = option(2, "Threads for tracking and solving.", 1, 256)
    scratch_dir: str = option(
        "", "Folder for frames that have gone by; empty: beside the result, else the system's."
    )
    device: str = option("auto", "Torch device of network backends: auto, cpu, cuda, cuda:1, ...")


@dataclass(frozen=True)
class InputsConfig:
    """Names in a recording; empty ones are found by themselves."""

    base_frame: str = option("base_link", "TF frame of the vehicle.")
    cameras: list[str] = option([], "Names of the cameras to use; empty for all that are found.")
    odometry_topic: str = option("", "nav_msgs/Odometry topic; empty: found, 'none': not used.")
    fix_topic: str = option("", "sensor_msgs/NavSatFix topic; empty: found, 'none': not used.")
    transforms: list[str] = option(
        [],
        "Fixed links besides and over those of TF, as static_transform_publisher takes them: 'x y "
        "z qx qy qz qw frame child' or 'x y z yaw pitch roll frame child' (metres, rad).",
    )


@dataclass(frozen=True)
class SegmentationConfig:
    """What is in a picture."""

    backend: str = option(
        "auto",
        "Backend name, or auto: labels where a camera has them, else the configured model, else "
        "classical.",
    )
    model: str = option(
        "", "Name of the model in the weights manifest used by auto; empty for none."
    )
    weights_dir: str = option("~/.local/share/seg2d3d/weights", "Folder that holds model weights.")
    require_pinned: bool = option(False, "Refuse weights whose hash is not in the manifest.")
    building_classes: list[int] = option(
        [11], "Classes that become instances (class-agnostic 0 does too)."
    )
    dynamic_classes: list[int] = option(
        [24, 25, 26, 27, 28, 29, 30, 31, 32, 33], "Classes that move and never become landmarks."
    )
    ignored_classes: list[int] = option([23], "Further classes without landmarks (sky).")
    every_nth: int = option(
        1, "Segment each n-th picture of a camera; all are used for geometry.", 1, 1000
    )
    label_wait_s: float = option(
        1.0, "Stamp distance after which a label picture counts as missing.", 0, 60
    )
    batch_wait_s: float = option(
        0.05, "Stamp distance within which pictures of several cameras share a batch.", 0, 1
    )
    min_area_px: int = option(64, "Smaller masks are left out.", 1)
    max_masks: int = option(64, "Largest number of masks kept per picture, by area.", 1, 10000)
    process_width_px: int = option(320, "Width at which the classical backend works.", 64, 4096)
    weights_manifest: str = option(
        "", "YAML file with further models and weights; empty for none."
    )
    prompt: list[str] = option(
        [
            "building=building,house,facade,shop",
            "vegetation=tree,bush,hedge",
            "sky",
            "road",
            "car=car,van",
            "truck",
            "bus",
            "person",
            "bicycle",
        ],
        "What network backends look for: name, or name=synonym,synonym; most important first.",
    )
    box_threshold: float = option(0.3, "Class score that a detection must pass.", 0, 1)
    nms_overlap: float = option(0.7, "Masks of a class that overlap more than this are one.", 0, 1)
    precision: str = option(
        "auto", "Arithmetic of networks: auto (fp16 on a GPU), fp32, fp16, bf16."
    )
    max_batch: int = option(4, "Pictures of equal size that a network takes at once.", 1, 64)
    max_gpu_memory_mb: int = option(0, "GPU memory that networks may take; 0 for all there is.", 0)
    memory_ladder: list[str] = option(
        ["batch", "half", "input", "model", "cpu"],
        "What to give up, in this order, when GPU memory runs out: batch (half of it), half "
        "(precision), input (smaller pictures), model (the manifest's smaller one), cpu, stop "
        "(replay ends, the node deactivates). Without stop, pictures fail at its end.",
    )
    compile: bool = option(False, "Compile networks with CUDA graphs; GPU only, slow to start.")


@dataclass(frozen=True)
class ClustersConfig:
    """How pictures hang together: tracking, keyframes, local structure from motion, the window."""

    sync_tolerance_s: float = option(
        0.005, "Pictures closer than this share one rig pose.", 0, 0.5
    )
    wait_s: float = option(
        3.0, "Stamp distance after which a missing input is no longer waited for.", 0, 60
    )
    max_gap_s: float = option(
        5.0, "A longer gap between pictures starts a new session.", 0.1, 3600
    )
    max_features: int = option(
        640, "Corners tracked at a time, shared evenly by the cameras.", 50, 100000
    )
    overlap_features: int = option(
        120, "Corners kept where a camera shares a narrow strip of view with another.", 0, 10000
    )
    building_features: int = option(
        32, "Corners that the mask of a building should have, if it is large enough.", 0, 1000
    )
    min_feature_distance_px: int = option(10, "Smallest distance between corners.", 3, 200)
    max_reprojection_px: float = option(2.0, "Reprojection error of an inlier.", 0.2, 20)
    min_parallax_deg: float = option(1.0, "Ray angle needed to triangulate.", 0.05, 30)
    keyframe_distance_m: float = option(
        1.8, "Travel that makes a keyframe; the frame nearest to it becomes it.", 0.05, 100
    )
    keyframe_rotation_deg: float = option(6.0, "Rotation that makes a keyframe.", 0.5, 90)
    window_keyframes: int = option(8, "Keyframes in the local bundle adjustment.", 4, 100)
    triangulation_keyframes: int = option(50, "Keyframes whose rays found a landmark.", 4, 1000)
    depths: bool = option(
        True, "Measure depths of single pixels of buildings between the landmarks."
    )
    cluster_keyframes: int = option(20, "Keyframes in a cluster.", 4, 400)
    overlap_keyframes: int = option(8, "Keyframes shared with the previous cluster.", 2, 200)
    odometry_sigma_translation: float = option(
        0.05, "Default odometry noise, metres per sqrt(metre) travelled.", 1e-5, 10
    )
    odometry_sigma_rotation_deg: float = option(
        0.3, "Default odometry noise, degrees per sqrt(metre) travelled.", 1e-4, 90
    )


@dataclass(frozen=True)
class MappingConfig:
    """Where everything is, and which mask is which building."""

    association: str = option(
        "votes",
        "How masks become buildings: votes, or seg2d3d_paper (the published rules, for "
        "comparison).",
    )
    min_instance_points: int = option(5, "Landmarks of a confirmed instance.", 1)
    min_instance_views: int = option(4, "Stamps at which a confirmed instance was seen.", 1)
    min_tentative_views: int = option(
        4, "Frames in which an instance that has no landmarks was seen.", 1
    )
    voxel_m: float = option(
        0.5, "Edge of the places on facades between which votes are summed.", 0.05, 10
    )
    vote_reach_m: float = option(
        8.0, "Places further apart do not vote about each other.", 0.5, 100
    )
    min_vote: float = option(
        1.5, "Sum of votes that two places must exceed to be joined.", 0, 1000
    )
    min_instance_places: int = option(3, "Smaller groups of places are no instance.", 1)
    min_companion_votes: float = option(
        5.0, "Pictures in one mask, less those in two, that join two instances.", 0, 1000
    )
    archive_after_m: float = option(
        100.0, "Way after which an instance out of sight is archived until it is seen again.", 1
    )
    max_gap_m: float = option(6.0, "Instances further apart are not joined.", 0.1, 1000)
    naming_range_m: float = option(
        200.0, "Masks are named by instances up to this distance; live up to half of it.", 1, 10000
    )
    surface_voxel_m: float = option(
        0.2, "Edge of the voxels in which measured depths are fused; 0 fuses none.", 0, 10
    )
    min_surface_views: int = option(2, "Keyframes that must agree on a fused point.", 1, 100)
    facade_reach_m: float = option(
        3.0,
        "Where masks show it, a facade goes on beyond its points so far; 0: no filling.",
        0,
        20,
    )
    gnss_sigma_m: float = option(1.0, "Noise of a fix that brings no covariance.", 0.001, 1000)
    refine: bool = option(True, "Run the global bundle adjustment at finish.")
    refine_extrinsics: bool = option(
        True, "Turn cameras, at finish, that evidently sit otherwise than stated; or only say so."
    )
    camera_height_m: float = option(
        0.0,
        "Height of the first camera above the road, for a map without other scale; 0: unknown.",
        0,
        20,
    )


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    inputs: InputsConfig = field(default_factory=InputsConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    clusters: ClustersConfig = field(default_factory=ClustersConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)


def describe() -> dict[str, dataclasses.Field]:
    """Return every option's dataclass field by its dotted name; `metadata` has help and range."""
    config = Config()
    return {
        f"{section.name}.{f.name}": f
        for section in dataclasses.fields(config)
        for f in dataclasses.fields(getattr(config, section.name))
    }


def override(config: Config, values: dict[str, Any]) -> Config:
    """Return the configuration with dotted keys replaced.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or is out of range.
    """
    sections: dict[str, dict[str, Any]] = {}
    known = describe()
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown configuration key '{key}'{did_you_mean(key, known)}")
        section, name = key.split(".", 1)
        sections.setdefault(section, {})[name] = checked(key, value, known[key])
    for section, changes in sections.items():
        changed = dataclasses.replace(getattr(config, section), **changes)
        config = dataclasses.replace(config, **{section: changed})
    return config


def default_of(declared: dataclasses.Field) -> Any:
    """Return the default of an option."""
    if declared.default_factory is not dataclasses.MISSING:
        return declared.default_factory()
    return declared.default


def checked(key: str, value: Any, declared: dataclasses.Field) -> Any:
    """Return a value as an option holds it: whole numbers for its floats, a list for a tuple.

    Raises:
        ConfigError: it has the wrong type or is out of range.
    """
    kind = type(default_of(declared))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is list and isinstance(value, (tuple, list)):
        value = list(value)
    if type(value) is not kind:
        raise ConfigError(
            f"'{key}' is {value!r} ({type(value).__name__}); a {kind.__name__} is needed"
        )
    low, high = declared.metadata["low"], declared.metadata["high"]
    if kind in (int, float) and not (
        (low is None or value >= low) and (high is None or value <= high)
    ):
        raise ConfigError(f"'{key}' is {value}; it must lie in [{low}, {high}]")
    return value


def load(path: str | Path | None = None, arguments: dict[str, Any] | None = None) -> Config:
    """Read a configuration: defaults, then the YAML file, then arguments by dotted key.

    The file is a ROS 2 parameter file (`/**: ros__parameters: ...`) or the bare tree inside one,
    so that one YAML serves live and replay. Node parameters that are not configuration live under
    `node`.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    config = Config()
    if path is not None:
        config = override(config, _read_yaml(Path(path)))
    return override(config, arguments or {})


def check_for_nodes(path: str | Path) -> None:
    """Check that a YAML file is one that ROS 2 nodes take; they take no bare tree, as `load` does.

    Raises:
        ConfigError: the file cannot be read or is none.
    """
    tree = _read_tree(Path(path))
    if tree and not any(_is_ros(v) for v in tree.values()):
        raise ConfigError(
            f"{path} has sections without 'ros__parameters', which nodes need: write '/**:' and "
            "below it 'ros__parameters:' above them, as config/default.yaml does"
        )


def _read_yaml(path: Path) -> dict[str, Any]:
    tree = _read_tree(path)
    flat: dict[str, Any] = {}
    parameters = [v["ros__parameters"] for v in tree.values() if _is_ros(v)] or [tree]
    for section in parameters:
        for key, value in (section or {}).items():
            if key in ("node", "use_sim_time"):
                continue
            if isinstance(value, dict):
                flat.update({f"{key}.{name}": v for name, v in value.items()})
            else:
                flat[key] = value
    return flat


def _read_tree(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}; a mapping of sections is needed")
    return tree or {}


def _is_ros(value: Any) -> bool:
    return isinstance(value, dict) and "ros__parameters" in value


def to_tree(config: Config) -> dict[str, dict[str, Any]]:
    """Return the configuration as nested plain values, for `run.json` and YAML."""
    return dataclasses.asdict(config)
