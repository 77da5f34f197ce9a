"""An explanation of an instance, as a record for programs and as text for people."""

from __future__ import annotations

from typing import Any

from seg2d3d_ros.io.tables import class_name, number, numbers
from seg2d3d_ros.mapping.instances.explanation import Explanation
from seg2d3d_ros.types import EventKind, InstanceEvent

_VERBS = {
    EventKind.CREATED: "{instance} was created",
    EventKind.MERGED: "{other} was merged into {instance}",
    EventKind.SPLIT: "{other} was split off from {instance}",
    EventKind.GONE: "{instance} was dissolved",
    EventKind.CONFIRMED: "{instance} was confirmed",
    EventKind.ARCHIVED: "{instance} went out of sight",
    EventKind.REOPENED: "{instance} was seen again",
    EventKind.UNDONE: "event {undoes:.0f} was taken back",
}


def explanation_record(told: Explanation, classes: dict[int, str]) -> dict[str, Any]:
    """Return an explanation as plain values for JSON."""
    i = told.instance
    return {
        "id": int(i.id),
        "class_id": int(i.class_id),
        "class_name": class_name(i.class_id, classes),
        "state": str(i.state),
        "score": number(i.score),
        "num_points": int(i.num_points),
        "num_views": int(i.num_views),
        "centroid_map": numbers(i.centroid_map),
        "sigma_m": number(i.sigma_m),
        "num_pictures": told.num_pictures,
        "num_masks_touched": told.num_masks_touched,
        "num_masks_own": told.num_masks_own,
        "masks_by_class": {str(k): n for k, n in told.masks_by_class.items()},
        "num_edits": told.num_edits,
        "rivals": [
            {"id": rival, **{k: number(v) for k, v in c.numbers().items()}}
            for rival, c in told.rivals
        ],
        "best_views": [[v.camera, v.stamp_ns, v.label] for v in i.best_views],
        "events": [_event_record(e) for e in told.events],
    }


def explanation_text(told: Explanation, classes: dict[int, str]) -> str:
    """Return an explanation as lines for people."""
    i = told.instance
    by_class = ", ".join(f"{class_name(k, classes)} {n}" for k, n in told.masks_by_class.items())
    lines = [
        f"instance {i.id}: {class_name(i.class_id, classes)}, {i.state}, score {i.score:.2f}, "
        f"{i.num_points} points, {i.num_views} masks ({by_class})",
        f"it holds most points of {told.num_masks_own} of the {told.num_masks_touched} masks that "
        f"touch it, in {told.num_pictures} pictures"
        + (f"; {told.num_edits} edits by hand are in force" if told.num_edits else ""),
    ]
    for rival, c in told.rivals:
        lines.append(
            f"rival {rival}: pictures that show both in one mask {c.views_for}, in two "
            f"{c.views_against}; points shared {c.shared_points} (Jaccard {c.jaccard:.2f}, "
            f"containment {c.containment:.2f})"
        )
    if not told.rivals:
        lines.append("no other instance is seen in its pictures")
    return "\n".join([*lines, "decisions:", *(f"  {_event_text(e)}" for e in told.events)])


def _event_record(e: InstanceEvent) -> dict[str, Any]:
    return {
        "sequence": e.sequence,
        "stamp_ns": e.stamp_ns,
        "kind": str(e.kind),
        "instance_id": e.instance,
        "other_id": e.other,
        "evidence": {k: number(v) for k, v in sorted(e.evidence.items())},
    }


def _event_text(e: InstanceEvent) -> str:
    what = _VERBS[e.kind].format(
        instance=e.instance, other=e.other, **{"undoes": -1, **e.evidence}
    )
    by_hand = " by hand" if e.evidence.get("manual") else ""
    shown = {k: v for k, v in sorted(e.evidence.items()) if k not in ("manual", "undoes")}
    numbers = ", ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in shown.items())
    return f"{e.sequence}: {what}{by_hand}" + (f" ({numbers})" if numbers else "")
