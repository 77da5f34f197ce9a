"""Class ids and names: Cityscapes' own, 0 for no class, 40-65 for prompts outside them."""

from __future__ import annotations

STRUCTURE = 0
ROAD, SIDEWALK, BUILDING, FENCE, POLE = 7, 8, 11, 13, 17
VEGETATION, TERRAIN, SKY, CAR = 21, 22, 23, 26

FIRST_PROMPT_CLASS = 40
LAST_PROMPT_CLASS = 65

CITYSCAPES: dict[int, str] = {
    4: "static",
    5: "dynamic",
    6: "ground",
    7: "road",
    8: "sidewalk",
    9: "parking",
    10: "rail track",
    11: "building",
    12: "wall",
    13: "fence",
    14: "guard rail",
    15: "bridge",
    16: "tunnel",
    17: "pole",
    18: "polegroup",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    29: "caravan",
    30: "trailer",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}

# Classes that are one stuff rather than countable things: masks of one picture become one mask.
STUFF: frozenset[int] = frozenset({6, 7, 8, 9, 10, 21, 22, 23})


def structure_labels(num: int) -> list[int]:
    """Return labels 1, 2, 3, ... for regions of class 0, without those that mean a class."""
    return [k for k in range(1, num + len(STUFF) + 1) if k not in STUFF][:num]
