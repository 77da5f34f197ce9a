"""Services about identities: explain, merge, split, undo."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from seg2d3d_ros.errors import EditError, Seg2D3DError
from seg2d3d_ros.io.explanation import explanation_record, explanation_text
from seg2d3d_ros.mapping.association.cut import Cut
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.nodes.conversions.instances import to_event
from seg2d3d_ros.srv import ExplainInstance, MergeInstances, SplitInstance, Undo

if TYPE_CHECKING:
    from seg2d3d_ros.nodes.mapping_node import MappingNode


class EditServices:
    """Offers the services; each answers with success false and a reason where it cannot act."""

    def __init__(self, node: MappingNode) -> None:
        """Make the services."""
        self._node = node
        for name, kind, act in (
            ("explain_instance", ExplainInstance, self._explain),
            ("merge_instances", MergeInstances, self._merge),
            ("split_instance", SplitInstance, self._split),
            ("undo", Undo, self._undo),
        ):
            node.offer(name, kind, _answering(act))

    def _explain(
        self, request: ExplainInstance.Request, response: ExplainInstance.Response
    ) -> str:
        with self._node.stage() as stage:
            told = stage.explain(request.instance)
        classes = self._node.accounts.classes
        response.report = json.dumps(explanation_record(told, classes))
        response.events = [to_event(e) for e in told.events]
        return explanation_text(told, classes)

    def _merge(self, request: MergeInstances.Request, response: MergeInstances.Response) -> str:
        chosen = [int(i) for i in request.instances]
        response.instance, _ = self._node.edit(lambda stage: stage.merge(chosen))
        others = ", ".join(str(i) for i in sorted({*chosen} - {response.instance}))
        return f"merged {others} into {response.instance}"

    def _split(self, request: SplitInstance.Request, response: SplitInstance.Response) -> str:
        cut = _cut(request)
        other, _ = self._node.edit(lambda stage: stage.split(request.instance, cut))
        response.instance, response.other = request.instance, other
        return f"split {other} off from {request.instance}"

    def _undo(self, _: Undo.Request, response: Undo.Response) -> str:
        event, _full = self._node.edit(MappingStage.undo)
        with self._node.stage() as stage:
            response.num_left = stage.num_edits
        response.sequence = event.sequence
        return f"took back event {event.sequence} ({event.kind} {event.instance}, {event.other})"


def _answering(act: Callable[[Any, Any], str]) -> Callable[[Any, Any], Any]:
    """Return a callback that says what was done, or what the user can mend."""

    def answer(request: Any, response: Any) -> Any:
        try:
            response.message = act(request, response)
        except Seg2D3DError as error:
            response.message = str(error)
            return response
        response.success = True
        return response

    return answer


def _cut(request: SplitInstance.Request) -> Cut:
    line, num = request.line, len(request.cameras)
    if len(line) not in (0, 2):
        raise EditError(f"a line has two points; {len(line)} were given")
    if not num == len(request.stamps_ns) == len(request.labels):
        raise EditError(
            f"{num} cameras, {len(request.stamps_ns)} stamps and {len(request.labels)} labels "
            "were given; a mask needs one of each"
        )
    if len(line) and num:
        raise EditError("a line and masks were given; one of them is needed, or neither")
    masks = zip(request.stamps_ns, request.cameras, request.labels, strict=True)
    return Cut(
        line_map=np.array([[p.x, p.y] for p in line]) if len(line) else None,
        masks=tuple((int(stamp), camera, int(label)) for stamp, camera, label in masks),
    )
