"""What a keyframe does for the tracks: old ones put right, new corners, matches across cameras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from seg2d3d_ros.clusters.assembly import RigFrame
from seg2d3d_ros.clusters.exclusion import Exclusion
from seg2d3d_ros.clusters.landmarks import LandmarkTable, colors_at
from seg2d3d_ros.clusters.mask_corners import BuildingCorners
from seg2d3d_ros.clusters.overlap import CameraPair
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.clusters.window import LocalFrame, Seen
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray, IntArray, Rig

_NOTHING: Mapping[int, tuple[FloatArray, np.ndarray]] = {}


class KeyframeCorners:
    """Corners of all cameras; works on the cameras in parallel and numbers corners in order.

    Attributes:
        rig: The cameras, as they sit.
    """

    def __init__(
        self,
        config: Config,
        rig: Rig,
        pairs: list[CameraPair],
        trackers: list[Tracker],
        threads: Threads,
    ) -> None:
        """Work on these trackers, one for each camera, with these threads."""
        self._num_overlap = config.clusters.overlap_features
        self._of_buildings = BuildingCorners(config)
        self.rig = rig
        self._pairs = pairs
        self._withheld: list[tuple[CameraPair, LocalFrame, Seen]] = []
        self._trackers = trackers
        self._threads = threads

    def supply(
        self, frame: LocalFrame, moment: RigFrame, table: LandmarkTable, exclusion: Exclusion
    ) -> None:
        """Put the tracks of a new keyframe right, and start new ones where there are too few.

        Args:
            frame: The keyframe, located.
            moment: Its pictures, which the trackers saw last, and their masks.
            table: Landmarks; numbers and colours of new tracks are added.
            exclusion: Where no track may start.
        """
        T_cam_local = {
            c: transforms.invert(frame.T_local_base @ self.rig.cameras[c].T_base_cam)
            for c in frame.cameras
        }

        def prepare(c: int) -> tuple[np.ndarray, IntArray] | None:
            tracker, segmentation = self._trackers[c], moment.segmentations.get(c)
            camera = self.rig.cameras[c]
            tracker.realign(table.points(tracker.ids), T_cam_local[c], camera)
            tracker.look_for_corners()
            return None if segmentation is None else self._of_buildings.regions(segmentation)

        prepared = self._threads.map(prepare, frame.cameras)
        for c, buildings in zip(frame.cameras, prepared, strict=True):
            blocked = exclusion.forbid(c, moment.frames[c].stamp_ns)
            for uv_px in self._new_corners(c, blocked, buildings):
                ids = table.create(len(uv_px))
                table.set_colors(ids, colors_at(moment.frames[c].image, uv_px))
                self._trackers[c].add(ids, uv_px)
        self._threads.map(lambda c: self._trackers[c].remember(T_cam_local[c]), frame.cameras)

    def _new_corners(
        self, c: int, blocked: np.ndarray | None, buildings: tuple[np.ndarray, IntArray] | None
    ) -> Iterator[FloatArray]:
        """Yield corners (n, 2): anywhere, where another camera looks too, and on buildings.

        What is yielded must be tracked before the next is asked for.
        """
        tracker = self._trackers[c]
        allowed = None if blocked is None else (1 - blocked)
        yield tracker.find_corners(allowed)
        for pair in self._pairs:
            if pair.a == c and pair.is_narrow:
                uv = tracker.uv_px.astype(int)
                num = self._num_overlap - int(pair.common_a[uv[:, 1], uv[:, 0]].sum())
                common = pair.common_a if allowed is None else pair.common_a * allowed
                yield tracker.find_corners(common, max(num, 0))
        if buildings is not None:
            yield self._of_buildings.find(tracker, buildings, blocked)

    def match_across(
        self,
        frame: LocalFrame,
        grays: dict[int, np.ndarray],
        table: LandmarkTable,
        before: Mapping[int, tuple[FloatArray, np.ndarray]] = _NOTHING,
    ) -> list[Seen]:
        """Return where tracks of one camera are seen in another, for each pair that is believed.

        Args:
            frame: A keyframe.
            grays: Its pictures (h, w) uint8 by camera.
            table: Landmarks, whose depths are guesses.
            before: Of cameras that fire at other moments: where base_link (4, 4) was when their
                newest pictures were taken, and these (h, w) uint8, which their trackers saw last.
        """
        images = {c: image for c, (_, image) in before.items()} | grays

        def match(pair: CameraPair) -> Seen:
            tracker, T_base_cam = self._trackers[pair.a], self.rig.cameras[pair.a].T_base_cam
            T_local_base, T_b_a = frame.T_local_base, None
            if pair.a in before:
                T_local_base = before[pair.a][0]
                T_local_b = frame.T_local_base @ self.rig.cameras[pair.b].T_base_cam
                T_b_a = transforms.invert(T_local_b) @ T_local_base @ T_base_cam
            T_cam_local = transforms.invert(T_local_base @ T_base_cam)
            p_cam = transforms.apply(T_cam_local, table.points(tracker.ids))
            depth = np.where(p_cam[:, 2] > 0.5, np.linalg.norm(p_cam, axis=1), np.nan)
            found = pair.match(images[pair.a], images[pair.b], tracker.uv_px, depth, T_b_a)
            ideal = models.ideal_pixels(self.rig.cameras[pair.b], found.uv_px)
            index = np.full(len(found.rows), pair.b, dtype=np.int64)
            return Seen(tracker.ids[found.rows], index, found.uv_px, ideal)

        here = [pair for pair in self._pairs if pair.a in images and pair.b in grays]
        found = self._threads.map(match, here)
        told = [(p, seen) for p, seen in zip(here, found, strict=True) if p.is_in_step]
        self._withheld += [(pair, frame, seen) for pair, seen in told if not pair.is_believed]
        return [seen for pair, seen in told if pair.is_believed]

    def release_matches(self) -> None:
        """Give keyframes what pairs of cameras matched before they were believed."""
        waiting, self._withheld = self._withheld, []
        for pair, frame, seen in waiting:
            if pair.is_believed:
                frame.seen = Seen.joined([frame.seen, seen])
            else:
                self._withheld.append((pair, frame, seen))

    def mount(self, rig: Rig) -> None:
        """Take the cameras as they sit on a rig; what waits was matched on another one."""
        self.rig, self._withheld = rig, []
        for pair in self._pairs:
            pair.mount(rig)
