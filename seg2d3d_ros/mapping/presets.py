"""Which association the configuration chooses."""

from __future__ import annotations

from dataclasses import replace

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.mapping.association.association import Associator
from seg2d3d_ros.mapping.association.identities import Association
from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.instances.edits import Edits
from seg2d3d_ros.mapping.instances.roster import Roster
from seg2d3d_ros.mapping.paper import PaperAssociator, PaperRoster
from seg2d3d_ros.mapping.state import MapState

ASSOCIATIONS = ("votes", "seg2d3d_paper")


def make_association(
    config: Config, state: MapState, labels: LabelVotes, edits: Edits
) -> tuple[Association, Roster]:
    """Return what decides about identities, and what keeps them.

    Raises:
        ConfigError: `mapping.association` names none.
    """
    chosen = config.mapping.association
    if chosen == "votes":
        associator = Associator(config, labels)
        return associator, Roster(config, state, associator, labels, edits)
    if chosen != "seg2d3d_paper":
        raise ConfigError(
            f"'mapping.association' is '{chosen}'; it must be one of {', '.join(ASSOCIATIONS)}"
        )
    # The published rules have a filter of their own: 10 points, 4 pictures.
    mapping = replace(config.mapping, min_instance_points=1, min_instance_views=1)
    rules = PaperAssociator(config, labels)
    roster = PaperRoster(replace(config, mapping=mapping), state, rules, labels, edits)
    return rules, roster
