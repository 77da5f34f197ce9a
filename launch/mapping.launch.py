"""The three nodes on a vehicle: `ros2 launch seg2d3d_ros mapping.launch.py`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

NODES = ("mapping", "clusters", "segmentation")

# Topics of ours that the configuration of RViz shows.
SHOWN = ("mapping/points", "mapping/points_update", "mapping/markers", "mapping/path")

# Launch argument -> (parameter, how its text is read); an empty text leaves the file's value.
PARAMETERS = {
    "cameras": ("inputs.cameras", lambda text: [name.strip() for name in text.split(",")]),
    "odometry_topic": ("inputs.odometry_topic", str),
    "fix_topic": ("inputs.fix_topic", str),
    "base_frame": ("inputs.base_frame", str),
    "backend": ("segmentation.backend", str),
    "image_reliability": ("node.image_reliability", str),
    "output_dir": ("node.output_dir", str),
    "publish_tf": ("node.publish_tf", lambda text: text.lower() == "true"),
}

ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes."),
    DeclareLaunchArgument(
        "params_file",
        default_value="",
        description="Parameter file; config/default.yaml shows every parameter. Empty: defaults.",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=["true", "false"],
        description="Follow /clock (a bag played with --clock, a simulator).",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=["true", "false"],
        description="Configure and activate the nodes; false: a lifecycle manager does.",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of the cameras, comma-separated (/camera/front is camera_front). "
        "Empty: the file's, or all that are found.",
    ),
    DeclareLaunchArgument(
        "odometry_topic",
        default_value="",
        description="nav_msgs/Odometry topic, or 'none'. Empty: the file's, or what is found.",
    ),
    DeclareLaunchArgument(
        "fix_topic",
        default_value="",
        description="sensor_msgs/NavSatFix topic, or 'none'. Empty: the file's, or what is found.",
    ),
    DeclareLaunchArgument(
        "base_frame", default_value="", description="TF frame of the vehicle. Empty: the file's."
    ),
    DeclareLaunchArgument(
        "backend",
        default_value="",
        description="Segmentation backend: auto, labels, classical, ... Empty: the file's.",
    ),
    DeclareLaunchArgument(
        "image_reliability",
        default_value="",
        choices=["", "auto", "reliable", "best_effort"],
        description="QoS of picture subscriptions. Empty: the file's (auto: as the publisher's).",
    ),
    DeclareLaunchArgument(
        "output_dir",
        default_value="",
        description="Result folder, written by save_map and when the launch ends. Empty: none.",
    ),
    DeclareLaunchArgument(
        "publish_tf",
        default_value="",
        choices=["", "true", "false"],
        description="Publish map->odom on /tf. Empty: the file's.",
    ),
    DeclareLaunchArgument(
        "respawn",
        default_value="false",
        choices=["true", "false"],
        description="Start segmentation and clusters again if they are killed; false: the launch "
        "ends with any node. It ends with mapping in any case, which holds the map.",
    ),
    DeclareLaunchArgument(
        "end_timeout_s",
        default_value="600",
        description="Longest wait for a node when the launch ends: a long map takes more than "
        "the five seconds that launch gives by itself, and would be killed while it is written.",
    ),
    DeclareLaunchArgument(
        "rviz", default_value="false", choices=["true", "false"], description="Start RViz 2."
    ),
    DeclareLaunchArgument(
        "rviz_config",
        default_value=PathJoinSubstitution(
            [FindPackageShare("seg2d3d_ros"), "config", "rviz", "mapping.rviz"]
        ),
        description="Configuration of RViz 2.",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error"],
        description="Least severe messages of the nodes that are shown.",
    ),
]


def end_launch(event, context):
    """Return what ends the launch over a process that ended; nothing if it is ending anyway."""
    if context.is_shutdown:
        return None
    return EmitEvent(event=Shutdown(reason=f"process '{event.process_name}' has ended"))


def start_nodes(context):
    """Return the nodes; the end of one that is not started again ends the launch."""

    def argument(name):
        return LaunchConfiguration(name).perform(context)

    given = {
        parameter: read(argument(name))
        for name, (parameter, read) in PARAMETERS.items()
        if argument(name)
    }
    switches = {
        "use_sim_time": argument("use_sim_time") == "true",
        "node.autostart": argument("autostart") == "true",
    }
    path = argument("namespace").strip("/").split("/")  # rcl names loggers with dots
    params_file = [argument("params_file")] if argument("params_file") else []
    actions = []
    for name in NODES:
        logger = ".".join(filter(None, [*path, name]))
        comes_again = argument("respawn") == "true" and name != "mapping"
        node = LifecycleNode(
            package="seg2d3d_ros",
            executable=name,
            name=name,
            namespace=argument("namespace"),
            parameters=[*params_file, switches, given],
            arguments=["--ros-args", "--log-level", f"{logger}:={argument('log_level')}"],
            output="screen",
            respawn=comes_again,
            respawn_delay=1.0,
            sigterm_timeout=argument("end_timeout_s"),
        )
        actions.append(node)
        if not comes_again:
            ended = OnProcessExit(target_action=node, on_exit=end_launch)
            actions.append(RegisterEventHandler(ended))
    return actions


def generate_launch_description():
    # The configuration of RViz says /mapping/...: with a namespace that is relative to it.
    remappings = [(f"/{topic}", topic) for topic in SHOWN]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", LaunchConfiguration("rviz_config")],
        remappings=remappings,
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_nodes), rviz])
