"""The report a person reads first: one HTML page, no scripts, nothing from outside."""

from __future__ import annotations

import base64
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import yaml

from seg2d3d_ros import __version__
from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.io.map_picture import path_length_m
from seg2d3d_ros.io.outline import ROUGH_M
from seg2d3d_ros.io.palette import instance_color_rgb
from seg2d3d_ros.io.tables import class_name, class_of, instance_records
from seg2d3d_ros.types import Instance, MapUpdate

_MOST_PICTURES = 300
_FIRST_YEAR = 1990
FILES = (
    *("trajectory.tum", "keyframes.csv", "points.ply", "observations.csv", "instances.json"),
    *("events.csv", "run.json", "map.png", "map/"),
)

#: What the reasons of dropped pictures mean, in words for people who did not write this.
REASONS = {
    "bad_size": "the picture's bytes do not fit its stated size",
    "unknown_encoding": "the pixel format is not one we read",
    "decode_error": "the picture is damaged",
    "size_mismatch": "the size is not the one the camera was calibrated for",
    "stamp_back": "its time lies before that of the picture before it",
    "duplicate_stamp": "it has the same time as the picture before it",
    "stamp_ahead": "its time lies far in the future of all others",
    "no_stamp": "it carries no time",
    "not_mapped": "the run ended before it could be mapped",
    "node_ended": "the node that held it ended, or none ran",
    "overload": "the computer could not keep up",
    "time_jump": "the time jumped before its neighbours came",
    "standing": "the vehicle had stood still for minutes",
}
STATUSES = {
    "ok": "segmented",
    "no_labels": "without masks (they never came)",
    "overload": "not segmented: overload",
    "skipped": "not segmented by choice",
    "failed": "segmentation failed",
}


def render_report(map: MapUpdate, report: RunReport, map_png: bytes) -> str:
    """Return the report as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seg2d3d_ros.io", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(_context(map, report, map_png))


def _context(map: MapUpdate, report: RunReport, map_png: bytes) -> dict[str, Any]:
    received = sum(c.received for c in report.frames.values())
    processed = sum(c.processed for c in report.frames.values())
    return {
        "report": report,
        "version": __version__,
        "recorded": _recorded(map),
        "map": map,
        "unit": "m" if map.scale == "metric" else "units",
        "path_length": path_length_m(map),
        "received": received,
        "used_percent": _percent(processed, received),
        "cameras": [_camera(name, counts) for name, counts in sorted(report.frames.items())],
        "kinds": _kinds(map, report),
        "rough": ROUGH_M,
        "map_uri": _data_uri(map_png, "png"),
        "masks": _masks(map, report),
        "instances": _instances(map, report),
        "stages": _stages(report, processed),
        "events": _event_counts(map),
        "counts": sorted({**map.counts, **report.counts}.items()),
        "files": FILES,
        "config": yaml.safe_dump(report.config, sort_keys=False, default_flow_style=False),
    }


def _camera(name: str, counts: FrameCounts) -> dict[str, Any]:
    total = max(counts.received, 1)
    return {
        "name": name,
        "received": counts.received,
        "processed": counts.processed,
        "percent": 100.0 * counts.processed / total,
        "dropped": [
            (reason, n, REASONS.get(reason, "")) for reason, n in sorted(counts.dropped.items())
        ],
        "segmentation": [
            (STATUSES.get(status, status), n) for status, n in sorted(counts.segmentation.items())
        ],
    }


def _percent(part: int, whole: int) -> str:
    """Return a share in whole per cent; 100 only of all."""
    text = f"{100.0 * part / whole:.0f}" if whole else "0"
    return ">99" if text == "100" and part < whole else text


def _recorded(map: MapUpdate) -> str:
    """Return when the drive began, UTC; empty where stamps are no dates (a clock from zero)."""
    if not len(map.trajectory.stamps_ns):
        return ""
    began = datetime.fromtimestamp(int(map.trajectory.stamps_ns[0]) // 10**9, UTC)
    return began.strftime("%Y-%m-%d %H:%M:%S UTC") if began.year >= _FIRST_YEAR else ""


def _kinds(map: MapUpdate, report: RunReport) -> str:
    """Return what the instances are: buildings, or what else the masks are of."""
    names = {class_name(i.class_id, report.classes) for i in map.instances}
    return " or ".join(sorted(names)) or "building"


def _masks(map: MapUpdate, report: RunReport) -> list[dict[str, Any]]:
    """Return how many masks of the instances' classes belong to one."""
    shown = {i.class_id for i in map.instances}
    num = Counter(class_of(a, report.backend) for a in map.assignments)
    named = Counter(class_of(a, report.backend) for a in map.assignments if a.instance)
    return [
        {
            "name": class_name(c, report.classes),
            "num": num[c],
            "num_named": named[c],
            "percent": _percent(named[c], num[c]),
        }
        for c in sorted(shown & set(num))
    ]


def _instances(map: MapUpdate, report: RunReport) -> list[dict[str, Any]]:
    records = {r["id"]: r for r in instance_records(map, report.classes)}
    first_ns = int(map.trajectory.stamps_ns[0]) if len(map.trajectory.stamps_ns) else 0
    ordered = sorted(map.instances, key=lambda i: i.id)
    return [
        {
            **records[i.id],
            "name": class_name(i.class_id, report.classes),
            "color": "#" + bytes(instance_color_rgb(i.id)).hex(),
            "from_s": (i.first_stamp_ns - first_ns) * 1e-9,
            "to_s": (i.last_stamp_ns - first_ns) * 1e-9,
            "pictures": _pictures(i) if n < _MOST_PICTURES else [],
        }
        for n, i in enumerate(ordered)
    ]


def _pictures(instance: Instance) -> list[dict[str, str]]:
    return [
        {"uri": _data_uri(v.crop_jpeg, "jpeg"), "camera": v.camera}
        for v in instance.best_views[:3]
        if v.crop_jpeg
    ]


def _stages(report: RunReport, processed: int) -> list[dict[str, Any]]:
    most = max([report.wall_s, *report.seconds.values(), 1e-9])
    return [
        {
            "name": name,
            "seconds": seconds,
            "percent": 100.0 * seconds / most,
            "ms_per_picture": 1000.0 * seconds / processed if processed else 0.0,
        }
        for name, seconds in report.seconds.items()
    ]


def _event_counts(map: MapUpdate) -> list[tuple[str, int]]:
    return sorted(Counter(str(event.kind) for event in map.events).items())


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
