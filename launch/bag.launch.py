"""A bag played into the three nodes: `ros2 launch seg2d3d_ros bag.launch.py bag:=BAG`.

When the bag has ended the map is finished, written to output_dir if that is set, and the launch
ends. The arguments of mapping.launch.py can be given here too.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = [
    DeclareLaunchArgument("bag", description="rosbag2 folder or file."),
    DeclareLaunchArgument(
        "rate", default_value="1.0", description="Seconds of recording played per second."
    ),
    DeclareLaunchArgument(
        "player",
        default_value="seg2d3d",
        choices=["seg2d3d", "ros2"],
        description="seg2d3d: waits for the nodes and pauses while they are behind, so that no "
        "picture is lost. ros2: `ros2 bag play`, which does neither.",
    ),
    DeclareLaunchArgument(
        "stay",
        default_value="false",
        choices=["true", "false"],
        description="Keep the nodes running when the map is finished, to look at it.",
    ),
]


def end_launch(event, context):
    """Return what ends the launch after a process; nothing if it is ending anyway."""
    if context.is_shutdown:
        return None
    return EmitEvent(event=Shutdown(reason=f"process '{event.process_name}' has ended"))


def on_exit(process, act):
    """Return what acts when a process has ended."""
    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=act))


def play_and_finish(context):
    """Return the player, and what follows its end: finish, then the end of the launch."""

    def argument(name):
        return LaunchConfiguration(name).perform(context)

    bag, rate, namespace = argument("bag"), argument("rate"), argument("namespace").strip("/")
    stays = argument("stay") == "true"

    def end_after(process):
        """Return the end of the launch after a process; a handler must not be empty."""
        return [] if stays else [on_exit(process, end_launch)]

    if argument("player") == "seg2d3d":
        command = ["seg2d3d", "play", bag, "--rate", rate, "--clock", "--namespace", namespace]
        command += ["--wait-for-subscribers", "2", "--keep-pace", "--finish"]
        player = ExecuteProcess(cmd=command, output="screen")
        return [player, *end_after(player)]
    command = ["ros2", "bag", "play", bag, "--rate", rate, "--clock", "--delay", "5"]
    player = ExecuteProcess(cmd=command, output="screen")
    service = f"/{namespace}/mapping/finish" if namespace else "/mapping/finish"
    command = ["ros2", "service", "call", service, "seg2d3d_ros/srv/Finish", "{}"]
    finish = ExecuteProcess(cmd=command, output="screen")
    call = on_exit(player, lambda event, context: None if context.is_shutdown else finish)
    return [player, call, *end_after(finish)]


def generate_launch_description():
    mapping = PathJoinSubstitution(
        [FindPackageShare("seg2d3d_ros"), "launch", "mapping.launch.py"]
    )
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(mapping),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*ARGUMENTS, nodes, OpaqueFunction(function=play_and_finish)])
