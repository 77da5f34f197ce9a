"""Instance, InstanceEvent and InstanceArray: messages of values."""

from __future__ import annotations

import array

import numpy as np
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import Header

import seg2d3d_ros.msg as msg
from seg2d3d_ros import types
from seg2d3d_ros.nodes.conversions.primitives import to_array, to_time


def to_point(xyz: types.FloatArray) -> Point:
    """Return the message of a position (3,), metres."""
    return Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def to_instance(instance: types.Instance) -> msg.Instance:
    """Return the message of an instance."""
    size = instance.box_size_m
    made = msg.Instance(
        id=int(instance.id),
        class_id=int(instance.class_id),
        score=float(instance.score),
        num_points=int(instance.num_points),
        num_views=int(instance.num_views),
        first_stamp_ns=int(instance.first_stamp_ns),
        last_stamp_ns=int(instance.last_stamp_ns),
        centroid=to_point(instance.centroid_map),
        box_center=to_point(instance.box_center_map),
        box_size=Vector3(x=float(size[0]), y=float(size[1]), z=float(size[2])),
        box_yaw_rad=float(instance.box_yaw_rad),
        footprint_map=to_array(instance.footprint_map, "f8"),
        sigma_m=float(instance.sigma_m),
        best_views=[_to_view(view) for view in instance.best_views],
        embedding_model_id=instance.embedding_model_id,
        footprint_sigma_m=float(instance.footprint_sigma_m),
        state=str(instance.state),
    )
    if instance.embedding is not None:
        made.embedding = to_array(instance.embedding, "f4")
    return made


def to_event(event: types.InstanceEvent) -> msg.InstanceEvent:
    """Return the message of a decision about identities."""
    return msg.InstanceEvent(
        sequence=int(event.sequence),
        stamp_ns=int(event.stamp_ns),
        kind=str(event.kind),
        instance=int(event.instance),
        other=int(event.other),
        evidence_names=list(event.evidence),
        evidence_values=to_array(list(event.evidence.values()), "f8"),
    )


def to_instance_array(update: types.MapUpdate, frame_id: str) -> msg.InstanceArray:
    """Return what an update says about instances; `frame_id` is the map frame."""
    made = msg.InstanceArray(
        header=Header(stamp=to_time(update.stamp_ns), frame_id=frame_id),
        sequence=int(update.sequence),
        is_full=bool(update.is_full),
        has_origin=update.origin is not None,
        instances=[to_instance(instance) for instance in update.instances],
        removed=to_array(np.array(update.removed_instances, dtype=np.int64), "u4"),
        events=[to_event(event) for event in update.events],
    )
    if update.origin is not None:
        made.origin_lat_deg = float(update.origin.lat_deg)
        made.origin_lon_deg = float(update.origin.lon_deg)
        made.origin_alt_m = float(update.origin.alt_m)
    return made


def _to_view(view: types.View) -> msg.View:
    made = msg.View(camera=view.camera, stamp_ns=int(view.stamp_ns), label=int(view.label))
    made.crop_jpeg = array.array("B", view.crop_jpeg)
    return made
