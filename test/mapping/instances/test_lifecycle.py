"""An instance is confirmed once, archived when it is left behind, reopened when seen again."""

from dataclasses import replace

import numpy as np
from street_maker import DriveOptions, later, make_drive, make_street, moved

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind, InstanceState

CONFIG = override(Config(), {"mapping.archive_after_m": 5.0, "mapping.refine": False})


def told(events, kind):
    return [e.instance for e in events if e.kind == kind]


def states(update):
    return {i.id: i.state for i in update.instances}


def test_instances_left_behind_are_archived_and_reopened_when_seen_again():
    drive = make_drive(make_street(5, num_points=40), DriveOptions(size=24, overlap=8))
    stage, archived = MappingStage(CONFIG), {}
    for cluster in drive.clusters:
        update = stage.push(cluster)
        archived |= dict.fromkeys(told(update.events, EventKind.ARCHIVED), update)
        # who changes its state is told, with the state
        assert all(
            states(update)[i] == "archived" for i in told(update.events, EventKind.ARCHIVED)
        )
    full = stage.snapshot()
    confirmed = told(full.events, EventKind.CONFIRMED)
    assert sorted(confirmed) == sorted({i.id for i in full.instances})
    assert 0 < len(archived) < len(full.instances)
    behind = {i.id for i in full.instances if i.state == InstanceState.ARCHIVED}
    assert behind == set(archived)
    # the first houses are behind, the last ones are not
    x = {i.id: i.centroid_map[0] for i in full.instances}
    assert max(x[i] for i in behind) < max(x.values())
    again = stage.push(replace(later(drive.clusters[0], 10**12), sequence=len(drive.clusters)))
    reopened = told(again.events, EventKind.REOPENED)
    assert set(reopened) & behind
    assert {states(again)[i] for i in reopened} == {"confirmed"}


def test_snapshot_between_clusters_tells_nothing_that_push_would_not():
    drive = make_drive(make_street(2))
    watched, plain = MappingStage(CONFIG), MappingStage(CONFIG)
    for cluster in drive.clusters:
        told_here = watched.push(cluster).events
        watched.snapshot()
        assert told_here == plain.push(cluster).events
    assert watched.finish().events == plain.finish().events


def test_standing_still_archives_nothing():
    drive = make_drive(make_street(2))
    stage = MappingStage(CONFIG)
    for cluster in drive.clusters:
        still = tuple(replace(f, T_local_base=np.eye(4)) for f in cluster.frames)
        stage.push(replace(moved(cluster, transforms.exp(np.zeros(6))), frames=still))
    assert told(stage.snapshot().events, EventKind.ARCHIVED) == []
