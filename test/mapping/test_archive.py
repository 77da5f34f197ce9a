import dataclasses

import numpy as np
import pytest
from street_maker import DriveOptions, make_drive, make_street

from seg2d3d_ros.mapping import state as states
from seg2d3d_ros.mapping.archive import Archive, FrameContent, MemoryStore, decode, encode
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Mask


def a_mask(k, **changes):
    runs = np.cumsum(np.arange(1, k + 3)).astype(np.uint32)
    return dataclasses.replace(Mask(11000 + k, 11, 0.1 * k, (k, 2, k + 30, 40), runs), **changes)


RICH = a_mask(
    3, embedding=np.arange(5, dtype=np.float32), embedding_model_id="m", crop_jpeg=b"\xff\x00x"
)


def a_content(n=3, masks=None):
    ids = 1_000_000_007 * np.arange(1, n + 1)
    uv = np.arange(2 * n, dtype=np.float32).reshape(n, 2) + 0.25
    shown = masks if masks is not None else {}
    return FrameContent(ids, np.arange(n) % 2, uv, shown, 1_700_000_000_000_000_001 + n)


CONTENTS = [
    a_content(3, {0: (a_mask(1), RICH), 2: (a_mask(2, crop_jpeg=b"abc"),)}),
    a_content(0),
    a_content(2, {1: ()}),
    a_content(1, {0: (a_mask(4),)}),
]


def assert_same(a, b):
    for name in ("ids", "camera", "uv_px"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.stamp_ns == b.stamp_ns
    assert list(a.masks) == list(b.masks)
    for c in a.masks:
        assert len(a.masks[c]) == len(b.masks[c])
        for x, y in zip(a.masks[c], b.masks[c], strict=True):
            for field in dataclasses.fields(Mask):
                p, q = getattr(x, field.name), getattr(y, field.name)
                np.testing.assert_array_equal(p, q)
                assert type(p) is type(q), field.name


@pytest.mark.parametrize("contents", [CONTENTS, CONTENTS[1:2], CONTENTS[2:3], []])
def test_encode_then_decode_gives_every_content_back(contents):
    found = decode(encode(contents))
    assert len(found) == len(contents)
    for a, b in zip(found, contents, strict=True):
        assert_same(a, b)


def test_encode_holds_no_objects():
    assert all(a.dtype != object for a in encode(CONTENTS).values())


class CountingStore(MemoryStore):
    def __init__(self):
        super().__init__()
        self.num_read = 0

    def get(self, name):
        self.num_read += 1
        return super().get(name)


def test_archive_reads_a_block_once_while_it_is_at_hand_and_keeps_few():
    store = CountingStore()
    archive = Archive(store)
    places = [archive.freeze([c])[0] for c in CONTENTS * 10]
    for _ in range(5):
        assert_same(places[0].content, CONTENTS[0])
    assert store.num_read == 1
    for place in places:
        _ = place.content
    assert store.num_read == len(places)
    assert_same(places[0].content, CONTENTS[0])
    assert store.num_read == len(places) + 1


def test_archive_goes_on_behind_the_blocks_of_a_store():
    store = MemoryStore()
    Archive(store).freeze(CONTENTS)
    place = Archive(store).freeze(CONTENTS[:1])[0]
    assert place.block == 1
    assert store.names() == ["frames/000000", "frames/000001"]


def test_state_freezes_frames_that_no_cluster_speaks_of_any_more(monkeypatch):
    monkeypatch.setattr(states, "BLOCK_FRAMES", 4)
    (cluster,) = make_drive(make_street(1), DriveOptions(size=40, overlap=6)).clusters
    state = MapState()
    state.add(cluster, np.eye(4))
    content = [f.content for f in state.frames]
    some = [0, 19]
    frames = tuple(cluster.frames[k] for k in some)
    none = dataclasses.replace(
        cluster.observations,
        **{n: getattr(cluster.observations, n)[:0] for n in vars(cluster.observations)},
    )
    later = dataclasses.replace(
        cluster, frames=frames, observations=none, odometry=(), segmentations=()
    )
    state.add(later, np.eye(4))
    held = [k for k, f in enumerate(state.frames) if isinstance(f.held, FrameContent)]
    # the two that are spoken of, and what does not fill a block
    assert held == [0, 17, 18, 19]
    for k in range(1, 19):
        assert_same(state.frames[k].content, content[k])
    # what was frozen may be spoken of again
    state.add(dataclasses.replace(cluster, segmentations=()), np.eye(4))
    assert len(state.frames) == 20
    for f, before in zip(state.frames, content, strict=True):
        assert_same(f.content, before)


def test_state_keeps_only_the_newest_clusters_at_hand(monkeypatch):
    monkeypatch.setattr(states, "BLOCK_FRAMES", 8)
    clusters = make_drive(make_street(2, num_points=20), DriveOptions(size=16, overlap=6)).clusters
    frozen, plain = MapState(), MapState()
    for cluster in clusters:
        frozen.add(cluster, np.eye(4))
    monkeypatch.setattr(states, "BLOCK_FRAMES", 10_000)
    for cluster in clusters:
        plain.add(cluster, np.eye(4))
    held = [isinstance(f.held, FrameContent) for f in frozen.frames]
    # the last cluster, and less than a block before it
    assert sum(held) < len(clusters[-1].frames) + 8 < len(frozen.frames)
    assert all(isinstance(f.held, FrameContent) for f in plain.frames)
    for a, b in zip(frozen.frames, plain.frames, strict=True):
        assert_same(a.content, b.content)


def test_seen_is_the_content_but_for_masks_that_are_not_at_hand():
    store = CountingStore()
    frozen = Archive(store).freeze(CONTENTS)
    for place, content in zip(frozen, CONTENTS, strict=True):
        assert_same(place.seen, dataclasses.replace(content, masks=place.seen.masks))
        assert not any(place.seen.masks.values())
    assert store.num_read == 1
    assert_same(frozen[0].content, CONTENTS[0])
    assert_same(frozen[0].seen, CONTENTS[0])
    assert_same(CONTENTS[0].seen, CONTENTS[0])
