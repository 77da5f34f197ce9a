"""What the three lifecycle nodes share: parameters, transitions, logging, diagnostics, main."""

from __future__ import annotations

import faulthandler
import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ConfigError, Seg2D3DError
from seg2d3d_ros.nodes.graph import is_orphan
from seg2d3d_ros.nodes.options import NodeOptions
from seg2d3d_ros.nodes.parameters import declare_parameters, read_config, read_options

# Services may wait for each other, and those that wait hold a thread each. Were all of them held,
# rclpy would spin in place of what is due, at the cost of a whole core.
_NUM_THREADS = 8
_SPIN_S = 0.2

#: What our statuses in /diagnostics bear.
HARDWARE_ID = "seg2d3d_ros"


class StageNode(LifecycleNode):
    """A managed node around one stage; subclasses say what the transitions do.

    Attributes:
        config: Configuration, read when configured.
        options: Options of the node, read when configured.
        services_group: Callback group in which callbacks may wait for each other.
        steady_clock: Runs whatever /clock does.
    """

    def __init__(self, name: str) -> None:
        """Create the node, unconfigured.

        Raises:
            ConfigError: a given parameter is unknown.
        """
        super().__init__(name)
        declare_parameters(self)
        self.config, self.options = Config(), NodeOptions()
        self.services_group = ReentrantCallbackGroup()
        self._timers_group = MutuallyExclusiveCallbackGroup()
        # Timers must fire without /clock too: a player may wait for us before it publishes one.
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics: Any = None
        self._offered: list[Any] = []
        self._timer: Any = None
        self._giving_up: Any = None
        self.has_given_up = False
        self.num_errors = 0
        self.last_error = ""
        self.add_on_set_parameters_callback(self._check_parameters)

    # --------------------------------------------------------------------- what subclasses define

    def open(self) -> None:
        """Take what is heavy (models), make publishers and services; on configure."""

    def start(self) -> None:
        """Begin to work; on activate."""

    def stop(self) -> None:
        """Stop working, keep what is heavy; on deactivate."""

    def close(self) -> None:
        """Give back everything; on cleanup."""

    def save(self) -> None:
        """Save what there is; before the process ends."""

    def state_of_work(self) -> dict[str, float | int | str]:
        """Return numbers for /diagnostics by name; `problem` is text, empty if all is well."""
        return {}

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        """Refuse values that could not be configured; say that others wait until then."""
        values = {p.name: p.value for p in changed if p.name != "use_sim_time"}
        try:
            read_config(self, values)
            read_options(self, values)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if values and self._timer is not None:
            self.get_logger().warning(
                f"{', '.join(values)}: takes effect when the node is configured again"
            )
        return SetParametersResult(successful=True)

    # -------------------------------------------------------------------------------- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read parameters and open."""

        def configure() -> None:
            self.config, self.options = read_config(self), read_options(self)
            self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
            self._timer = self.create_timer(
                self.options.diagnostics_period_s,
                self._diagnose,
                self._timers_group,
                clock=self.steady_clock,
            )
            self.open()

        done = self._guarded("configure", configure)
        if done != TransitionCallbackReturn.SUCCESS:
            self._release()
        return done

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to work."""
        self.has_given_up = False
        return self._guarded("activate", self.start)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working."""
        return self._guarded("deactivate", self.stop)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back everything."""
        return self._guarded("clean up", self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and give back everything, whatever the state."""
        return self._guarded("shut down", self._end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back everything, so that the node can be configured again."""
        return self._guarded("recover", self._end)

    def _end(self) -> None:
        self.stop()
        self._release()

    def _release(self) -> None:
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self.destroy_publisher(self._diagnostics)
            self._timer = self._diagnostics = None
        for service in self._offered:
            self.destroy_service(service)
        self._offered = []
        self.close()

    def _guarded(self, what: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except Seg2D3DError as error:
            self.note_error(f"cannot {what}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it without a word
            self.note_error(f"cannot {what}: {type(error).__name__}: {error}")
            logging.getLogger(__name__).debug("traceback", exc_info=True)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def offer(self, name: str, kind: Any, act: Callable[[Any, Any], Any]) -> None:
        """Offer the service `~/name` until clean-up; it answers even if `act` raises.

        Args:
            name: Last part of the name.
            kind: Service type, with `success` and `message` in its response.
            act: Takes request and response, returns the response; may wait for other callbacks.
        """

        def answer(request: Any, response: Any) -> Any:
            try:
                return act(request, response)
            except Exception as error:  # without an answer the client would wait for ever
                self.note_error(f"a service failed: {type(error).__name__}: {error}")
                failed = type(response)()
                failed.message = self.last_error
                return failed

        made = self.create_service(kind, f"~/{name}", answer, callback_group=self.services_group)
        self._offered.append(made)

    def note_error(self, text: str) -> None:
        """Count an error, log it and show it in /diagnostics."""
        self.num_errors += 1
        self.last_error = text
        self.get_logger().error(text)

    def give_up(self, text: str) -> None:
        """Say an error and deactivate, from any thread; the node can be activated again."""
        self.note_error(text)
        self.has_given_up = True

        def deactivate() -> None:
            self._giving_up.cancel()
            self.trigger_deactivate()

        self._giving_up = self.create_timer(
            0.0, deactivate, self._timers_group, clock=self.steady_clock
        )

    # -------------------------------------------------------------------------------- diagnostics

    def _diagnose(self) -> None:
        values = self.state_of_work()
        problem = str(values.pop("problem", "")) or self.last_error
        level = DiagnosticStatus.WARN if problem else DiagnosticStatus.OK
        status = DiagnosticStatus(
            name=self.get_fully_qualified_name().lstrip("/"),
            hardware_id=HARDWARE_ID,
            level=DiagnosticStatus.ERROR if self.has_given_up else level,
            message=problem or "working",
            values=[
                KeyValue(key=key, value=f"{value:g}" if isinstance(value, float) else str(value))
                for key, value in {**values, "errors": self.num_errors}.items()
            ],
        )
        made = DiagnosticArray(status=[status])
        made.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(made)


class _RosLogHandler(logging.Handler):
    """Hands records of the library on to the node's logger, and so to /rosout."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def run(make: Callable[[], StageNode], args: list[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM, or until whoever started its graph is gone.

    What there is is saved; the exit code is returned.
    """
    faulthandler.enable()  # a crash, or SIGABRT from `Graph.stop`, writes the stacks to stderr
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
    except (Seg2D3DError, rclpy.exceptions.ParameterException) as error:
        rclpy.logging.get_logger("seg2d3d_ros").error(str(error))
        rclpy.shutdown()
        return 1
    library = logging.getLogger("seg2d3d_ros")
    library.setLevel(logging.INFO)
    library.addHandler(_RosLogHandler(node))
    # rclpy warns where an answer is lost (see `asking.py`), but of the first one only.
    warnings.filterwarnings("always", message="failed to send response")
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(_RosLogHandler(node))
    executor = MultiThreadedExecutor(num_threads=_NUM_THREADS)
    executor.add_node(node)
    code = 0 if _autostart(node) else 1
    while code == 0 and not stopped.is_set() and not is_orphan():
        _spin_once(executor, node)
    executor.remove_node(node)
    node.save()
    time.sleep(_SPIN_S)  # callbacks that were under way end before what they use is destroyed
    executor.shutdown(timeout_sec=5.0)
    node.trigger_shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return code


def _autostart(node: StageNode) -> bool:
    if not read_options(node).autostart:
        return True
    good = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == good and node.trigger_activate() == good


def _spin_once(executor: MultiThreadedExecutor, node: StageNode) -> None:
    try:
        executor.spin_once(timeout_sec=_SPIN_S)
    except ExternalShutdownException:
        raise
    except Exception as error:  # a callback failed (or, in older rclpy, an illegal transition)
        node.note_error(f"a callback failed: {type(error).__name__}: {error}")
