"""What messages of ours say, read back: nothing of the product does."""

import numpy as np

from seg2d3d_ros import types
from seg2d3d_ros.nodes.conversions.clouds import POINT
from seg2d3d_ros.nodes.conversions.primitives import from_array


def from_instance(message):
    """Return the instance of a message."""
    return types.Instance(
        id=message.id,
        class_id=message.class_id,
        score=message.score,
        num_points=message.num_points,
        num_views=message.num_views,
        first_stamp_ns=message.first_stamp_ns,
        last_stamp_ns=message.last_stamp_ns,
        centroid_map=_xyz(message.centroid),
        box_center_map=_xyz(message.box_center),
        box_size_m=_xyz(message.box_size),
        box_yaw_rad=message.box_yaw_rad,
        footprint_map=from_array(message.footprint_map, "f8", -1, 2),
        sigma_m=message.sigma_m,
        best_views=tuple(
            types.View(v.camera, v.stamp_ns, v.label, bytes(v.crop_jpeg))
            for v in message.best_views
        ),
        embedding=from_array(message.embedding, "f4") if len(message.embedding) else None,
        embedding_model_id=message.embedding_model_id,
        footprint_sigma_m=message.footprint_sigma_m,
        state=types.InstanceState(message.state),
    )


def from_event(message):
    """Return the decision about identities of a message."""
    return types.InstanceEvent(
        sequence=message.sequence,
        stamp_ns=message.stamp_ns,
        kind=types.EventKind(message.kind),
        instance=message.instance,
        other=message.other,
        evidence=dict(zip(message.evidence_names, message.evidence_values, strict=True)),
    )


def from_point_cloud(message):
    """Return the rows of a cloud of ours, one field per name."""
    return np.frombuffer(message.data, dtype=POINT).copy()


def _xyz(message):
    return np.array([message.x, message.y, message.z])
