"""Messages carry the types without changing a bit; property-tested through real CDR bytes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")

from rclpy.serialization import deserialize_message, serialize_message
from read_messages import from_event, from_instance

from seg2d3d_ros import types
from seg2d3d_ros.geometry.masks import encode
from seg2d3d_ros.io.palette import instance_color_rgb
from seg2d3d_ros.nodes.conversions import (
    clouds,
    clusters,
    instances,
    markers,
    primitives,
    segmentations,
)

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
STAMPS = st.integers(0, 2**31 * 10**9 - 1)
IDS = st.integers(0, 2**32 - 1)
FLOATS = st.floats(allow_nan=False)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def arrays(dtype, *shape):
    return nps.arrays(np.dtype(dtype), shape)


@st.composite
def transforms(draw):
    T = np.eye(4)
    T[:3] = draw(arrays("f8", 3, 4))
    return T


@st.composite
def vectors(draw, dtype, low=0):
    return draw(nps.arrays(np.dtype(dtype), draw(st.integers(low, 6))))


def masks():
    return st.builds(
        types.Mask,
        label=IDS,
        class_id=IDS,
        score=FLOATS,
        bbox_px=st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 4),
        runs=vectors("u4"),
        embedding=st.none() | vectors("f4", low=1),
        embedding_model_id=NAMES,
        crop_jpeg=st.binary(max_size=20),
    )


def segments():
    return st.builds(
        types.Segmentation,
        camera=NAMES,
        stamp_ns=STAMPS,
        width_px=IDS,
        height_px=IDS,
        masks=st.lists(masks(), max_size=3).map(tuple),
        status=st.sampled_from(types.SegmentationStatus),
        backend=NAMES,
        prompt_version=IDS,
    )


def cameras():
    return st.builds(
        types.Camera,
        name=NAMES,
        width_px=IDS,
        height_px=IDS,
        K=arrays("f8", 3, 3),
        T_base_cam=transforms(),
        distortion=st.sampled_from(types.Distortion),
        D=vectors("f8"),
    )


def rigs():
    return st.builds(
        types.Rig,
        cameras=st.lists(cameras(), max_size=2).map(tuple),
        base=NAMES,
        has_odometry=st.booleans(),
        has_labels=st.frozensets(NAMES, max_size=2),
        remarks=st.lists(NAMES, max_size=2).map(tuple),
    )


def frames():
    return st.builds(
        types.Keyframe,
        stamp_ns=STAMPS,
        T_local_base=transforms(),
        is_keyframe=st.booleans(),
        cameras=st.lists(IDS, max_size=3).map(tuple),
        picture_stamps_ns=st.lists(STAMPS, max_size=3).map(tuple),
        status=NAMES,
    )


def fixes():
    return st.builds(
        types.Fix,
        stamp_ns=STAMPS,
        lat_deg=FLOATS,
        lon_deg=FLOATS,
        alt_m=FLOATS,
        covariance_enu=st.none() | arrays("f8", 3, 3),
        antenna_base=arrays("f8", 3),
    )


@st.composite
def landmarks(draw):
    n, d = draw(st.integers(0, 4)), draw(st.sampled_from([0, 32]))
    return types.Landmarks(
        ids=draw(arrays("i8", n)),
        points_local=draw(arrays("f8", n, 3)),
        colors_rgb=draw(arrays("u1", n, 3)),
        descriptors=draw(arrays("u1", n, d)),
        sigma_m=draw(arrays("f4", n)),
    )


@st.composite
def observations(draw):
    m = draw(st.integers(0, 5))
    positions = nps.arrays(np.dtype("i8"), m, elements=IDS)
    return types.Observations(
        landmark=draw(positions),
        frame=draw(positions),
        camera=draw(positions),
        uv_px=draw(arrays("f4", m, 2)),
    )


@st.composite
def depths(draw):
    m = draw(st.integers(0, 5))
    return types.DepthSamples(
        frame=draw(arrays("u4", m)),
        camera=draw(arrays("u2", m)),
        uv_px=draw(arrays("u2", m, 2)),
        depth_m=draw(arrays("f2", m)),
        sigma_m=draw(arrays("f2", m)),
        colors_rgb=draw(arrays("u1", m, 3)),
        label=draw(arrays("u2", m)),
    )


def relative_poses():
    return st.builds(
        types.RelativePose,
        frame_i=IDS,
        frame_j=IDS,
        T_i_j=transforms(),
        covariance=arrays("f8", 6, 6),
    )


def clusters_of_everything():
    return st.builds(
        types.Cluster,
        sequence=IDS,
        session=IDS,
        is_last=st.booleans(),
        scale=st.sampled_from(["metric", "unknown"]),
        num_overlap=IDS,
        rig=rigs(),
        frames=st.lists(frames(), max_size=3).map(tuple),
        landmarks=landmarks(),
        observations=observations(),
        odometry=st.lists(relative_poses(), max_size=2).map(tuple),
        fixes=st.lists(fixes(), max_size=2).map(tuple),
        segmentations=st.lists(segments(), max_size=2).map(tuple),
        dropped=st.lists(st.builds(types.Dropped, NAMES, STAMPS, NAMES), max_size=2).map(tuple),
        depths=depths(),
    )


def instance_values():
    xyz = arrays("f8", 3)
    views = st.builds(types.View, NAMES, STAMPS, IDS, st.binary(max_size=9))
    return st.builds(
        types.Instance,
        id=IDS,
        class_id=IDS,
        score=FLOATS,
        num_points=IDS,
        num_views=IDS,
        first_stamp_ns=STAMPS,
        last_stamp_ns=STAMPS,
        centroid_map=xyz,
        box_center_map=xyz,
        box_size_m=xyz,
        box_yaw_rad=FLOATS,
        footprint_map=st.integers(0, 5).flatmap(lambda n: arrays("f8", n, 2)),
        sigma_m=FLOATS,
        best_views=st.lists(views, max_size=2).map(tuple),
        embedding=st.none() | vectors("f4", low=1),
        embedding_model_id=NAMES,
        footprint_sigma_m=FLOATS,
        state=st.sampled_from(types.InstanceState),
    )


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


@PROPERTY
@given(segments())
def test_segmentation_any_value_survives_the_wire_unchanged(same, value):
    message = over_the_wire(segmentations.to_segmentation(value, "optical"))
    assert same(segmentations.from_segmentation(message), value)


def test_label_picture_shows_every_mask_in_its_colour_the_smaller_on_top():
    large, small = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    large[1:, 1:], small[2, 2:4] = True, True
    masks = tuple(
        types.Mask(label, 11, 1.0, *encode(mask)) for label, mask in ((11001, small), (23, large))
    )
    made = types.Segmentation("front", 7, 6, 4, masks)
    message = over_the_wire(segmentations.to_label_picture(made, "optical"))
    assert (message.encoding, message.header.frame_id) == ("rgb8", "optical")
    assert (message.height, message.width, message.step) == (4, 6, 18)
    assert message.header.stamp.nanosec == 7
    expected = np.zeros((4, 6, 3), np.uint8)
    expected[large], expected[small] = instance_color_rgb(23), instance_color_rgb(11001)
    assert np.array_equal(np.frombuffer(message.data, np.uint8).reshape(4, 6, 3), expected)
    assert message.header.frame_id == "optical"


@PROPERTY
@given(clusters_of_everything())
def test_cluster_any_value_survives_the_wire_unchanged(same, value):
    assert same(clusters.from_cluster(over_the_wire(clusters.to_cluster(value))), value)


@PROPERTY
@given(instance_values())
def test_instance_any_value_survives_the_wire_unchanged(same, value):
    assert same(from_instance(over_the_wire(instances.to_instance(value))), value)


@PROPERTY
@given(
    st.builds(
        types.InstanceEvent,
        sequence=IDS,
        stamp_ns=STAMPS,
        kind=st.sampled_from(types.EventKind),
        instance=IDS,
        other=IDS,
        evidence=st.dictionaries(NAMES, FLOATS, max_size=3),
    )
)
def test_event_any_value_survives_the_wire_unchanged(same, value):
    assert same(from_event(over_the_wire(instances.to_event(value))), value)


@given(STAMPS)
def test_time_any_stamp_keeps_every_nanosecond(stamp_ns):
    assert primitives.from_time(primitives.to_time(stamp_ns)) == stamp_ns


def test_to_array_number_too_large_for_the_field_raises_instead_of_wrapping():
    with pytest.raises(OverflowError, match="do not fit"):
        primitives.to_array(np.array([0, 2**32]), "u4")
    with pytest.raises(OverflowError, match="do not fit"):
        primitives.to_array(np.array([-1]), "u4")


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("u1", "B"), ("u4", "I"), ("i8", "q"), ("u8", "Q"), ("f4", "f"), ("f8", "d")],
)
def test_to_array_each_field_type_gets_the_type_code_that_rclpy_takes_whole(dtype, code):
    made = primitives.to_array(np.arange(6).reshape(2, 3), dtype)
    assert made.typecode == code
    assert list(made) == [0, 1, 2, 3, 4, 5]


def cloud_of(*points, label=11, instance=7):
    n = len(points)
    return types.PointCloud(
        ids=np.arange(n),
        points_map=np.array(points, dtype=float).reshape(n, 3),
        colors_rgb=np.tile(np.array([[1, 2, 255]], dtype=np.uint8), (n, 1)),
        labels=np.full(n, label, dtype=np.uint32),
        instances=np.full(n, instance, dtype=np.uint32),
        sigma_m=np.full(n, 0.25, dtype=np.float32),
        num_views=np.full(n, 5, dtype=np.uint32),
    )


def test_point_cloud_two_points_can_be_read_field_by_field_at_its_offsets():
    message = clouds.to_point_cloud(cloud_of([1, 2, 3], [-4, 5, 6]), 1_500_000_000, "map")
    fields = {f.name: f for f in message.fields}
    assert list(fields) == "x y z rgb label instance sigma_m num_views".split()
    raw = np.frombuffer(message.data, dtype=np.uint8).reshape(message.width, message.point_step)

    def column(name, dtype):
        offset = fields[name].offset
        return raw[:, offset : offset + 4].copy().view(dtype)[:, 0].tolist()

    assert column("x", "<f4") == [1, -4]
    assert column("z", "<f4") == [3, 6]
    assert column("rgb", "<u4") == [0x0102FF, 0x0102FF]
    assert column("label", "<u4") == [11, 11]
    assert column("instance", "<u4") == [7, 7]
    assert column("sigma_m", "<f4") == [0.25, 0.25]
    assert column("num_views", "<u4") == [5, 5]
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
    assert message.row_step == len(message.data) == 64


def test_point_cloud_nan_point_is_declared_not_dense():
    assert not clouds.to_point_cloud(cloud_of([np.nan, 0, 0]), 0, "map").is_dense
    assert clouds.to_point_cloud(cloud_of([0, 0, 0]), 0, "map").is_dense


def test_path_of_three_poses_holds_only_the_keyframes():
    T = np.tile(np.eye(4), (3, 1, 1))
    T[:, 0, 3] = [1, 2, 3]
    path = clouds.to_path(
        types.Trajectory(np.array([10, 20, 30]), T, np.array([True, False, True])), 30, "map"
    )
    assert [(p.header.stamp.nanosec, p.pose.position.x) for p in path.poses] == [(10, 1), (30, 3)]


def test_transform_stamped_quarter_turn_keeps_direction_of_the_equation():
    T_map_odom = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    made = clouds.to_transform_stamped(T_map_odom, 0, "map", "odom")
    assert (made.header.frame_id, made.child_frame_id) == ("map", "odom")
    assert made.transform.rotation.z == pytest.approx(np.sqrt(0.5))
    assert made.transform.translation.y == 6


def building(id, footprint=((0, 0), (4, 0), (4, 2))):
    return types.Instance(
        id=id,
        class_id=11,
        score=0.9,
        num_points=20,
        num_views=5,
        first_stamp_ns=0,
        last_stamp_ns=9,
        centroid_map=np.array([2.0, 1, 3]),
        box_center_map=np.array([2.0, 1, 3]),
        box_size_m=np.array([4.0, 2, 6]),
        box_yaw_rad=np.pi / 2,
        footprint_map=np.array(footprint, dtype=float).reshape(-1, 2),
        sigma_m=0.1,
    )


def test_markers_removed_instance_is_deleted_alone_and_by_every_namespace():
    board = markers.MarkerBoard("map")
    board.update((building(1), building(2)), (), 0)
    sent = board.update((), (2,), 1).markers
    assert {(m.ns, m.id, m.action) for m in sent} == {
        (ns, 2, m.DELETE) for ns in markers.NAMESPACES for m in sent[:1]
    }


def test_markers_replace_deletes_only_what_is_drawn_and_gone():
    board = markers.MarkerBoard("map")
    board.update((building(1), building(2)), (), 0)
    sent = board.replace((building(2), building(3)), 1).markers
    assert {m.id for m in sent if m.action == m.DELETE} == {1}
    assert {m.id for m in sent if m.action == m.ADD} == {2, 3}
    again = board.replace((building(2), building(3)), 2).markers
    assert not [m for m in again if m.action == m.DELETE]


def test_markers_of_an_instance_live_for_ever_and_stand_where_its_box_stands():
    drawn = {m.ns: m for m in markers.MarkerBoard("map").update((building(5),), (), 0).markers}
    assert set(drawn) == set(markers.NAMESPACES)
    assert all(m.lifetime.sec == m.lifetime.nanosec == 0 for m in drawn.values())
    color = [drawn["footprint"].color.r, drawn["footprint"].color.g, drawn["footprint"].color.b]
    assert color == pytest.approx(np.array(instance_color_rgb(5)) / 255)  # as in map.png
    assert drawn["box"].pose.orientation.z == pytest.approx(np.sin(np.pi / 4))
    ring = [(p.x, p.y, p.z) for p in drawn["footprint"].points]
    assert ring == [(0, 0, 0), (4, 0, 0), (4, 2, 0), (0, 0, 0)]


def test_markers_footprint_without_area_is_not_drawn_as_a_broken_strip():
    sent = markers.MarkerBoard("map").update((building(5, ()),), (), 0).markers
    assert [m.action for m in sent if m.ns == "footprint"] == [2]  # DELETE


def test_markers_of_masks_alone_are_a_point_and_the_circle_it_may_be_off():
    seen = dataclasses.replace(
        building(5, ((-30, -1), (30, -1), (30, 1), (-30, 1))),
        num_points=0,
        box_size_m=np.array([60.0, 2, 6]),
        footprint_sigma_m=10.0,
    )
    drawn = {m.ns: m for m in markers.MarkerBoard("map").update((seen,), (), 0).markers}
    point = drawn["box"]
    assert (point.type, point.scale.x, point.scale.z) == (point.SPHERE, 1.0, 1.0)
    assert (point.pose.position.x, point.pose.position.y) == (2.0, 1.0)
    ring = np.array([(p.x, p.y) for p in drawn["footprint"].points])
    np.testing.assert_allclose(np.hypot(*(ring - [2.0, 1.0]).T), 10.0)
    assert len(ring) > 20 and (ring[0] == ring[-1]).all()
