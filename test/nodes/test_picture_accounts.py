from seg2d3d_ros.nodes.picture_accounts import PictureAccounts


def balance(values, camera):
    """Return received less everything that became of the pictures of a camera."""
    parts = [n for k, n in values.items() if k.startswith(f"dropped.{camera}.")]
    taken = values[f"processed.{camera}"] + values[f"waiting.{camera}"]
    return values[f"received.{camera}"] - taken - sum(parts)


def test_accounts_balance_per_camera_with_every_reason_by_name():
    accounts = PictureAccounts()
    for camera, num in (("left", 6), ("right", 2)):
        for _ in range(num):
            accounts.receive(camera)
    for camera in ("left", "left", "right"):
        accounts.process(camera)
    accounts.drop("left", "overload")
    accounts.drop("left", "bad_size")
    values = accounts.values()
    assert values == {
        "received.left": 6,
        "processed.left": 2,
        "waiting.left": 2,
        "received.right": 2,
        "processed.right": 1,
        "waiting.right": 1,
        "dropped.left.bad_size": 1,
        "dropped.left.overload": 1,
    }
    assert balance(values, "left") == balance(values, "right") == 0
    assert accounts.received == {"left": 6, "right": 2}


def test_accounts_pictures_that_wait_at_the_end_are_dropped_with_the_reason():
    accounts = PictureAccounts()
    for _ in range(3):
        accounts.receive("left")
    accounts.process("left")
    accounts.drop_waiting("stopped")
    accounts.drop_waiting("stopped")
    accounts.receive("left")
    values = accounts.values()
    assert (values["waiting.left"], values["dropped.left.stopped"]) == (1, 2)
    assert balance(values, "left") == 0
