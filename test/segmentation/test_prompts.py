import pytest

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.segmentation.prompts import parse_prompt


def test_parse_prompt_cityscapes_names_keep_their_ids_others_count_from_40():
    prompt = parse_prompt(["Building", "clock tower", "sky", "kiosk"])
    assert prompt.names == {11: "building", 40: "clock tower", 23: "sky", 41: "kiosk"}


def test_parse_prompt_synonyms_belong_to_their_class():
    prompt = parse_prompt(["building=House, facade.", "car"])
    assert prompt.phrases == ["house", "facade", "car"]
    assert prompt.class_of_phrase == [0, 0, 1]


def test_parse_prompt_default_is_valid():
    assert 11 in parse_prompt(Config().segmentation.prompt).names


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "empty"),
        ([""], "empty in part"),
        (["building=house,"], "empty in part"),
        (["car", "Car"], "class 'car' twice"),
        (["building=house", "shed=house"], "phrase 'house' twice"),
        ([f"thing {i}" for i in range(27)], "27 classes outside Cityscapes; 26"),
    ],
)
def test_parse_prompt_bad_entries_say_what_is_wrong(entries, message):
    with pytest.raises(ConfigError, match=message):
        parse_prompt(entries)
