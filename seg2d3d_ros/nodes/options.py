"""Options of the nodes alone, declared like the configuration; nothing of ROS is imported."""

from __future__ import annotations

from dataclasses import dataclass

from seg2d3d_ros.config import option


@dataclass(frozen=True)
class NodeOptions:
    """What concerns the nodes alone; parameters `node.*` (a replay does not read them)."""

    autostart: bool = option(True, "Configure and activate at start, without a lifecycle manager.")
    image_reliability: str = option(
        "auto", "QoS of picture subscriptions: reliable, best_effort, or auto: as the publisher's."
    )
    queue_pictures: int = option(
        60, "Pictures that may wait for a stage; beyond, the oldest one is shed.", 1, 10000
    )
    max_wait_s: float = option(
        1.0,
        "Longest wait for segmentation; beyond, only the newest picture of each camera is looked "
        "at. 0: any.",
        0,
        60,
    )
    discovery_s: float = option(
        2.0, "The cameras are settled when the graph has shown the same topics this long.", 0, 600
    )
    inputs_wait_s: float = option(
        3.0, "After the first picture, wait this long for camera_info, TF and odometry.", 0, 600
    )
    quiet_s: float = option(0.5, "A flush waits until nothing has arrived for this long.", 0, 60)
    silence_s: float = option(
        2.0,
        "A camera that sends nothing for so long while other sensors go on is told. 0: never.",
        0,
        3600,
    )
    finish_timeout_s: float = option(
        300.0, "Longest wait of finish for the other nodes and the last cluster.", 1, 86400
    )
    diagnostics_period_s: float = option(0.5, "Period of /diagnostics.", 0.05, 60)
    output_dir: str = option(
        "", "Result folder that save_map and the end of the process write; empty for none."
    )
    map_frame: str = option("map", "Frame of the map.")
    odom_frame: str = option("odom", "Frame of the odometry, for map->odom.")
    publish_tf: bool = option(False, "Publish map->odom on /tf.")
    points_period_s: float = option(5.0, "Shortest time between two whole clouds.", 0.1, 3600)
    points_voxel_m: float = option(0.2, "Voxel that thins the whole cloud; 0: all points.", 0, 10)
    tile_m: float = option(50.0, "Edge of the tiles in which changed points are sent.", 1, 10000)
