"""Managed nodes as real processes: transitions, wrong parameters, signals."""

import signal

import pytest


def test_segmentation_node_walks_through_its_life_and_survives_illegal_transitions(start, peer):
    process = start("segmentation", node__autostart="false")
    assert peer.state("segmentation") == "unconfigured"
    assert not peer.change_state("segmentation", "activate")
    assert peer.state("segmentation") == "unconfigured"
    assert peer.change_state("segmentation", "configure")
    assert not peer.change_state("segmentation", "configure")
    assert peer.change_state("segmentation", "activate")
    assert peer.state("segmentation") == "active"
    assert peer.change_state("segmentation", "deactivate")
    assert peer.change_state("segmentation", "activate")
    assert peer.change_state("segmentation", "deactivate")
    assert peer.change_state("segmentation", "cleanup")
    assert peer.state("segmentation") == "unconfigured"
    assert peer.change_state("segmentation", "configure")
    assert process.is_alive
    assert process.end()[0] == 0


@pytest.mark.parametrize("name", ["clusters", "mapping"])
def test_node_autostarted_is_active_and_can_be_rebuilt(start, peer, eventually, name):
    process = start(name)
    assert eventually(lambda: peer.state(name) == "active")
    assert peer.change_state(name, "deactivate")
    assert peer.change_state(name, "cleanup")
    assert peer.change_state(name, "configure")
    assert peer.change_state(name, "activate")
    assert peer.state(name) == "active"
    code, text = process.end(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("clusters.wait", "3.0", "did you mean 'clusters.wait_s'?"),
        ("clusters.wait_s", "3000.0", "clusters.wait_s out of range"),
        ("segmentation.backend", "labells", "did you mean 'labels'?"),
        ("node.image_reliability", "sometimes", "must be auto, reliable or best_effort"),
    ],
)
def test_node_wrong_parameter_ends_with_1_and_says_what_is_needed(start, parameter, value, said):
    process = start("segmentation", **{parameter.replace(".", "__"): value})
    code, text = process.end(signal.SIGCONT)  # no signal that ends it: it has to end by itself
    assert code == 1
    assert said in text


def test_parameter_set_on_a_configured_node_is_checked_and_waits_until_it_is_configured(
    start, peer, eventually
):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    process = start("clusters")
    assert eventually(lambda: peer.state("clusters") == "active")

    def set_parameter(name, value):
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        answer = peer.call(SetParameters, "clusters/set_parameters", parameters=parameters)
        return answer.results[0]

    refused = set_parameter("node.image_reliability", "sometimes")
    assert (refused.successful, "must be auto" in refused.reason) == (False, True)
    assert set_parameter("clusters.max_features", 900).successful
    code, text = process.end()
    assert code == 0
    assert "clusters.max_features: takes effect when the node is configured again" in text


def test_set_prompt_before_any_camera_refuses_and_says_so(start, peer, eventually):
    from seg2d3d_ros.srv import SetPrompt

    start("segmentation", segmentation__backend="classical")
    response = peer.call(SetPrompt, "segmentation/set_prompt", classes=["kiosk"])
    assert not response.success
    assert "once cameras are seen" in response.message


def test_node_on_simulated_time_works_before_there_is_a_clock(start, peer, eventually):
    from diagnostic_msgs.msg import DiagnosticArray

    # A player that waits for our subscriptions publishes /clock only after them.
    start("clusters", use_sim_time="true", node__diagnostics_period_s=0.1)
    peer.listen(DiagnosticArray, "/diagnostics")
    assert eventually(lambda: len(peer.heard["/diagnostics"]) >= 2)
    statuses = peer.heard["/diagnostics"][-1].status
    assert [status.message for status in statuses] == ["no camera has been seen yet"] or (
        "no camera found" in statuses[0].message
    )
