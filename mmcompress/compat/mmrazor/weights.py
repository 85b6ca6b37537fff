"""The weights that MMRazor's ``ItePruneValLoop`` leaves in ``fix_subnet_weight.pth``.

Fault: the file holds the static network inside of the algorithm that it was made of
(``architecture.backbone...``, and the masks of the mutator), but the config that MMRazor has for it
builds the network alone (``sub_model``): no names agree, and not one weight is loaded.

Remedy: such a file is read under the names of the network.

Does nothing with checkpoints of training, which say more than weights.
"""

from __future__ import annotations

from typing import Any

PREFIX = 'architecture.'
MASKS = 'mutator.units.'


def static_weights(content: Any) -> Any:
    """What a checkpoint file holds, with the weights of a static network under its own names.

    Args:
        content: As ``torch.load`` returned it.
    """
    if not isinstance(content, dict) or set(content) != {'state_dict'}:
        return content
    state = content['state_dict']
    if not isinstance(state, dict) or not any(str(name).startswith(MASKS) for name in state):
        return content
    inside = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in state.items()
        if name.startswith(PREFIX)
    }
    return dict(state_dict=inside)
