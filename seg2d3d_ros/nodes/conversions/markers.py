"""Instances as markers: one namespace per kind, the id of the instance, deleted one by one."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from seg2d3d_ros.io.outline import is_bare, outline
from seg2d3d_ros.io.palette import instance_color_rgb
from seg2d3d_ros.nodes.conversions.instances import to_point
from seg2d3d_ros.nodes.conversions.primitives import to_time
from seg2d3d_ros.types import Instance

NAMESPACES = ("box", "footprint", "name")


class MarkerBoard:
    """Remembers what is drawn: only what changed is sent, only what is gone is deleted."""

    def __init__(self, frame_id: str) -> None:
        """Start with nothing drawn; `frame_id` is the map frame."""
        self._frame_id = frame_id
        self._drawn: set[int] = set()

    def update(
        self, instances: tuple[Instance, ...], removed: tuple[int, ...], stamp_ns: int
    ) -> MarkerArray:
        """Return markers for new or changed instances and deletions of the removed ones."""
        header = Header(stamp=to_time(stamp_ns), frame_id=self._frame_id)
        gone = [id for id in removed if id in self._drawn]
        self._drawn.difference_update(gone)
        self._drawn.update(instance.id for instance in instances)
        markers = [
            Marker(header=header, ns=ns, id=int(id), action=Marker.DELETE)
            for id in gone
            for ns in NAMESPACES
        ]
        for instance in instances:
            markers += _draw(instance, header)
        return MarkerArray(markers=markers)

    def replace(self, instances: tuple[Instance, ...], stamp_ns: int) -> MarkerArray:
        """Return markers for all instances there are, deleting every other one that is drawn."""
        alive = {instance.id for instance in instances}
        return self.update(instances, tuple(sorted(self._drawn - alive)), stamp_ns)


def _draw(instance: Instance, header: Header) -> list[Marker]:
    red, green, blue = (v / 255 for v in instance_color_rgb(instance.id))
    half = instance.box_yaw_rad / 2
    size = np.maximum(instance.box_size_m, 0.01)
    box = Marker(header=header, ns="box", id=int(instance.id), type=Marker.CUBE)
    box.pose = Pose(
        position=to_point(instance.box_center_map),
        orientation=Quaternion(z=float(np.sin(half)), w=float(np.cos(half))),
    )
    if is_bare(instance):
        # A box would tell walls of what masks alone show: a point, and how far it may be off.
        box.type, size = Marker.SPHERE, np.ones(3)
        box.pose.position = to_point(instance.centroid_map)
    box.scale = Vector3(x=float(size[0]), y=float(size[1]), z=float(size[2]))
    box.color = ColorRGBA(r=red, g=green, b=blue, a=0.25)
    name = Marker(header=header, ns="name", id=int(instance.id), type=Marker.TEXT_VIEW_FACING)
    name.pose.position = Point(x=box.pose.position.x, y=box.pose.position.y)
    name.pose.position.z = box.pose.position.z + float(size[2]) / 2 + 1.0
    name.scale.z = 1.5
    name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    name.text = f"{instance.id}"
    return [box, _draw_footprint(instance, header), name]


def _draw_footprint(instance: Instance, header: Header) -> Marker:
    red, green, blue = (v / 255 for v in instance_color_rgb(instance.id))
    made = Marker(header=header, ns="footprint", id=int(instance.id), type=Marker.LINE_STRIP)
    ring = outline(instance) if is_bare(instance) else instance.footprint_map
    if len(ring) < 2:  # a line strip needs two points: nothing to draw
        made.action = Marker.DELETE
        return made
    ground = float(instance.box_center_map[2] - instance.box_size_m[2] / 2)
    made.points = [Point(x=float(x), y=float(y), z=ground) for x, y in [*ring, ring[0]]]
    made.pose.orientation.w = 1.0
    made.scale.x = 0.2
    made.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    return made
