"""Services of the mapping node: how a run ends, is saved, begins anew, waits and goes on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from std_srvs.srv import Trigger

from seg2d3d_ros.errors import ResultError, Seg2D3DError
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.nodes.asking import ask
from seg2d3d_ros.srv import Finish, Flush, LoadMap, SaveMap

if TYPE_CHECKING:
    from seg2d3d_ros.nodes.mapping_node import MappingNode

#: The other nodes, in the order of the flow.
OTHERS = ("segmentation", "clusters")
_FIND_S = 3.0


class MapServices:
    """Offers the services; they may wait for each other and for the other two nodes."""

    def __init__(self, node: MappingNode) -> None:
        """Make the services, and clients of those of the other nodes."""
        self._node, self._lock = node, threading.RLock()
        self._written: tuple[str, Path, float] | None = None  # as asked for, where, and when done
        offered: dict[str, tuple[Any, Any]] = {
            "finish": (Finish, self._finish),
            "refine": (Trigger, self._refine),
            "save_map": (SaveMap, self._save_map),
            "load_map": (LoadMap, self._load_map),
            "reset": (Trigger, self._reset),
            "pause": (Trigger, lambda _, response: self._pause(True, response)),
            "resume": (Trigger, lambda _, response: self._pause(False, response)),
        }
        for name, (kind, act) in offered.items():
            node.offer(name, kind, act)
        group = node.services_group
        self._clients = {
            (name, verb): node.create_client(kind, f"{name}/{verb}", callback_group=group)
            for name in OTHERS
            for verb, kind in (("flush", Flush), ("reset", Trigger))
        }

    def close(self) -> None:
        """Take the clients back; the node withdraws the services."""
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients = {}

    def write(self, folder: str) -> Path:
        """Write the result folder of the map as it is; return its absolute path.

        Args:
            folder: Where; empty for the node's output_dir.

        Raises:
            ResultError: nowhere to write, or nothing to write.
        """
        from seg2d3d_ros.io.result import write_result

        folder = folder or self._node.options.output_dir
        if not folder:
            raise ResultError("save_map needs a folder: name one, or set node.output_dir")
        if not self._node.has_map:
            raise ResultError(self._why_no_map())
        path = Path(folder).expanduser().resolve()
        with FolderStore.temporary(self._node.config.runtime.scratch_dir or None) as kept:
            full, report = self._node.report_map(kept)
            try:
                write_result(path, full, report, overwrite=True, blocks=kept)
            except BaseException:
                self._node.is_saved = False
                raise
        return path

    def _finish(self, request: Finish.Request, response: Finish.Response) -> Finish.Response:
        with self._lock:
            response.message = self._end_run(request.timeout_s)
            full = self._node.finish_map()
        response.num_clusters = self._node.accounts.num_clusters
        response.num_keyframes = int(full.trajectory.is_keyframe.sum())
        response.num_points = len(full.cloud.ids)
        response.num_instances = len(full.instances)
        response.success = not response.message
        ended = "; ".join(filter(None, ["the map is finished", self._node.accounts.loss()]))
        response.message = response.message or ended
        return response

    def _refine(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Refine what has come so far; the run goes on, and clusters wait meanwhile."""
        if not self._node.has_map:
            response.message = self._why_no_map()
            return response
        full = self._node.refine_map()
        num = int(full.trajectory.is_keyframe.sum())
        response.success, response.message = True, f"{num} keyframes refined"
        return response

    def _why_no_map(self) -> str:
        """Return why there is nothing to write, with what became of the pictures that came."""
        from seg2d3d_ros.io.report import REASONS

        if not self._node.accounts.num_clusters:
            return (
                "there is no map yet: not one cluster has come; the first comes after some "
                "keyframes, or at the end of the run"
            )
        ledger = self._node.accounts.ledger
        dropped = {camera: ledger.close(camera)[2] for camera in ledger.cameras}
        said = [
            f"{num} of {camera} {reason} ({REASONS.get(reason, 'see docs/interfaces.md')})"
            for camera, reasons in dropped.items()
            for reason, num in reasons.items()
        ]
        return f"there is no map: no picture could be used. Dropped: {', '.join(said) or 'none'}"

    def _end_run(self, timeout_s: float) -> str:
        """Flush the other nodes and wait for the last cluster; return what went wrong."""
        node = self._node
        if node.worker is None:
            return "node 'mapping' is not active"
        if node.has_last.is_set():
            return ""
        node.worker.pause(False)
        limit_s = time.monotonic() + (timeout_s or node.options.finish_timeout_s)
        problems, is_flushed = self._flush_others(limit_s)
        wait_s = max(0.0, limit_s - time.monotonic()) if is_flushed else 0.0
        if not node.has_last.wait(wait_s):
            problems.append("the last cluster has not come in time; the map holds what had come")
        return "; ".join(problems)

    def _flush_others(self, limit_s: float) -> tuple[list[str], bool]:
        """Flush one after the other; return what went wrong, and whether a last cluster is due."""
        request, problems, is_flushed = Flush.Request(), [], False
        for name in OTHERS:
            response = self._call(name, "flush", request, limit_s)
            if response is None:
                problems.append(f"node '{name}' does not answer; is it running and active?")
                is_flushed = False
                if name == "clusters":
                    self._node.accounts.ledger.end(True)
                continue
            if response.message:
                problems.append(response.message)
            is_flushed = response.success  # of clusters, which come last
            self._node.accounts.heard(name, json.loads(response.report or "{}"))
            request = Flush.Request(
                cameras=response.cameras, num_segmentations=response.num_published
            )
        return problems, is_flushed

    def _call(self, name: str, verb: str, request: Any, limit_s: float) -> Any:
        """Return the response, None if there is none in time; other callbacks run meanwhile."""
        client = self._clients[name, verb]
        if not client.wait_for_service(timeout_sec=min(_FIND_S, limit_s - time.monotonic())):
            return None
        seen_s = time.monotonic()

        def is_gone() -> bool:
            nonlocal seen_s
            now_s = time.monotonic()
            seen_s = now_s if client.service_is_ready() else seen_s
            return now_s > seen_s + _FIND_S  # the node was killed

        is_idempotent = verb == "flush"
        return ask(client, request, limit_s - time.monotonic(), is_gone, is_idempotent)

    def _save_map(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        asked_s = time.monotonic()
        with self._lock:
            folder, path, done_s = self._written or (None, Path(), 0.0)
            # Who asks again for what was just being written, or is it another, gets that answer.
            if folder != request.folder or asked_s > done_s or not self._node.is_saved:
                try:
                    path = self.write(request.folder)
                except (Seg2D3DError, OSError) as error:
                    response.message = str(error)
                    return response
                self._written = request.folder, path, time.monotonic()
        response.folder = str(path)
        response.success, response.message = True, f"wrote {response.folder}"
        return response

    def _load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        with self._lock:
            try:
                if not request.folder:
                    raise ResultError("load_map needs a folder: name a result, or the map in it")
                full = self._node.load(request.folder)
            except (Seg2D3DError, OSError) as error:
                response.message = str(error)
                return response
        response.num_keyframes = int(full.trajectory.is_keyframe.sum())
        response.num_points = len(full.cloud.ids)
        response.num_instances = len(full.instances)
        response.success = True
        response.message = f"loaded {request.folder}; clusters that come are added to it"
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            limit_s = time.monotonic() + self._node.options.finish_timeout_s
            silent = [n for n in OTHERS if self._call(n, "reset", request, limit_s) is None]
            self._node.reset()
        response.success = not silent
        names = " and ".join(f"'{name}'" for name in silent)
        response.message = f"the map is empty, but {names} did not answer" if silent else "done"
        return response

    def _pause(self, is_paused: bool, response: Trigger.Response) -> Trigger.Response:
        if self._node.worker is None:
            response.message = "node 'mapping' is not active"
            return response
        self._node.worker.pause(is_paused)
        response.success = True
        response.message = "clusters wait" if is_paused else "clusters are mapped"
        return response
