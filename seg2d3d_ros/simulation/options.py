"""Everything that can be chosen about a simulated drive, in one frozen dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from seg2d3d_ros.config import checked, option
from seg2d3d_ros.errors import ConfigError

CHOICES: dict[str, tuple[str, ...]] = {
    "route": ("straight", "corner", "pivot", "loop", "out_and_back", "both_ways"),
    "style": ("mixed", "brick", "plaster", "lowtexture"),
    "distortion": ("none", "plumb_bob", "rational_polynomial", "equidistant"),
    "storage": ("mcap", "sqlite3"),
}
# The first field of each section, for the help text.
SECTIONS: dict[str, str] = {
    "route": "route",
    "style": "street",
    "cameras": "cameras",
    "compressed": "pictures",
    "labels": "masks",
    "odometry": "odometry",
    "gnss": "GNSS",
    "storage": "bag",
}
PRESETS: dict[str, tuple[str, ...]] = {
    "front": ("front",),
    "stereo": ("front_left", "front_right"),
    "side": ("right",),
    "quad": ("front", "left", "right", "rear"),
}
CAMERA_NAMES = ("front", "front_left", "front_right", "left", "right", "rear")


@dataclass(frozen=True)
class SimulationOptions:
    """Options of `seg2d3d simulate`; every field is an argument of the same name."""

    seed: int = option(0, "Seed of everything random: same seed and options, same recording.", 0)
    # ------------------------------------------------------------------------------------- route
    route: str = option(
        "straight",
        "Shape of the drive; pivot is a corner at which the vehicle turns in place, both_ways "
        "once round a block and once round it the other way.",
    )
    length_m: float = option(160.0, "Length of the path.", 10.0, 20000.0)
    laps: float = option(
        1.08, "Rounds of a loop; the block's perimeter is length / laps.", 0.3, 20.0
    )
    speed_mps: float = option(6.0, "Mean speed while driving.", 0.5, 30.0)
    standing_s: float = option(0.0, "Length of a stop half way; 0 for none.", 0.0, 600.0)
    wobble: float = option(1.0, "Multiplier of lateral wobble, pitch, roll and heave.", 0.0, 10.0)
    # ------------------------------------------------------------------------------------ street
    style: str = option("mixed", "Materials of the facades.")
    texture_px_per_m: float = option(40.0, "Resolution of the facades.", 4.0, 200.0)
    abutting: float = option(0.7, "Share of buildings that touch the next one.", 0.0, 1.0)
    trees_per_100m: float = option(5.0, "Street trees on 100 m of kerb.", 0.0, 100.0)
    parked_per_100m: float = option(5.0, "Parked cars on 100 m of kerb.", 0.0, 14.0)
    moving_cars: int = option(
        2, "Moving cars: the first drives ahead, the others come towards.", 0, 100
    )
    # ----------------------------------------------------------------------------------- cameras
    cameras: str = option(
        "front_left,front_right",
        "Cameras: front, stereo, side (right), quad, or names out of front, front_left, "
        "front_right, left, right, rear joined by commas.",
    )
    width_px: int = option(640, "Width of the pictures.", 64, 4096)
    height_px: int = option(384, "Height of the pictures.", 64, 4096)
    fov_deg: float = option(80.0, "Horizontal field of view.", 20.0, 150.0)
    yaw_deg: float = option(
        35.0, "Angle of front_left and front_right off the forward axis.", 0.0, 90.0
    )
    mount_height_m: float = option(1.6, "Height of the cameras above the road.", 0.3, 5.0)
    baseline_m: float = option(0.54, "Distance of the two cameras of `stereo`.", 0.02, 3.0)
    distortion: str = option("none", "Distortion model of the cameras.")
    rate_hz: float = option(10.0, "Pictures per second of every camera.", 0.1, 60.0)
    camera_offset_ms: float = option(0.0, "Each further camera fires this much later.", 0.0, 500.0)
    extrinsics_error_deg: float = option(
        0.0,
        "Error of the published yaw of the first camera; the truth keeps the right one.",
        -30.0,
        30.0,
    )
    # ---------------------------------------------------------------------------------- pictures
    compressed: bool = option(False, "Publish JPEG on image_raw/compressed instead of raw bgr8.")
    jpeg_quality: int = option(85, "Quality of JPEG pictures.", 10, 100)
    dropped: float = option(0.0, "Share of pictures that never reach the bag.", 0.0, 0.95)
    black_from_s: float = option(
        0.0, "Start of the black pictures, seconds into the drive.", 0.0, 1e5
    )
    black_s: float = option(0.0, "Length of the interval of black pictures; 0 for none.", 0.0, 1e5)
    exposure_stops: float = option(
        0.0, "Amplitude of a slow change of exposure, in stops.", 0.0, 4.0
    )
    motion_blur_ms: float = option(0.0, "Exposure time that smears the pictures.", 0.0, 100.0)
    image_noise: float = option(1.5, "Standard deviation of pixel noise, grey levels.", 0.0, 50.0)
    stop_camera: str = option("", "Name of a camera that stops half way; empty for none.")
    stop_s: float = option(0.0, "How long that camera stops; 0 for good.", 0.0, 1e5)
    # ------------------------------------------------------------------------------------- masks
    labels: bool = option(True, "Publish masks on the labels topic.")
    label_every: int = option(1, "Masks for each n-th picture of a camera only.", 1, 1000)
    mask_noise: float = option(
        1.0, "Multiplier of all mask noise; 0 publishes true masks.", 0.0, 10.0
    )
    missed: float = option(0.10, "Share of buildings in a picture that get no mask.", 0.0, 1.0)
    split: float = option(0.08, "Share of masks that are cut into two or three.", 0.0, 1.0)
    merged: float = option(0.04, "Share of masks that swallow a neighbour.", 0.0, 1.0)
    ragged_px: float = option(
        1.0, "Standard deviation of the displacement of mask edges.", 0.0, 30.0
    )
    holes: float = option(0.15, "Mean number of holes in a mask.", 0.0, 20.0)
    min_mask_px: int = option(250, "Smaller masks are not published.", 1)
    # ---------------------------------------------------------------------------------- odometry
    odometry: bool = option(True, "Publish wheel odometry.")
    odometry_rate_hz: float = option(20.0, "Odometry messages per second.", 1.0, 200.0)
    odometry_noise: float = option(1.0, "Multiplier of all odometry noise.", 0.0, 100.0)
    odometry_scale_bias: float = option(0.02, "Relative error of distances.", -0.5, 0.5)
    odometry_drift_deg_per_m: float = option(0.015, "Constant drift of the heading.", -5.0, 5.0)
    odometry_heading_walk_deg: float = option(
        0.12, "Random walk of the heading, degrees per sqrt(metre).", 0.0, 20.0
    )
    odometry_walk_m: float = option(
        0.01, "White noise of increments, metres per sqrt(metre).", 0.0, 1.0
    )
    odometry_slip_m: float = option(
        0.0, "Distance the wheels spin without moving, half way.", 0.0, 100.0
    )
    # -------------------------------------------------------------------------------------- GNSS
    gnss: bool = option(False, "Publish GNSS fixes; the map of the truth is then ENU.")
    gnss_rate_hz: float = option(1.0, "Fixes per second.", 0.05, 20.0)
    gnss_sigma_m: float = option(
        0.6, "Horizontal standard deviation of a fix; double upwards.", 0.0, 50.0
    )
    gnss_jump_m: float = option(
        0.0, "Size of a jump of the fixes that lasts five seconds.", 0.0, 1000.0
    )
    # --------------------------------------------------------------------------------------- bag
    storage: str = option("mcap", "Storage of the rosbag2.")

    def __post_init__(self) -> None:
        """Check choices and ranges.

        Raises:
            ConfigError: a value has the wrong type, is out of range or not one of the choices.
        """
        for f in dataclasses.fields(self):
            value = checked(f.name, getattr(self, f.name), f)
            if value not in CHOICES.get(f.name, (value,)):
                choices = ", ".join(CHOICES[f.name])
                raise ConfigError(f"'{f.name}' is '{value}'; choose one of {choices}")
        if self.cameras in PRESETS:
            return
        names = self.cameras.split(",")
        unknown = [name for name in names if name not in CAMERA_NAMES]
        if unknown or len(set(names)) < len(names):
            raise ConfigError(
                f"cameras is '{self.cameras}'; needed is one of {', '.join(PRESETS)} or different "
                f"names out of {', '.join(CAMERA_NAMES)} joined by commas"
            )
