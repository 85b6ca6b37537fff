"""Parts of an architecture's config that the config around it changes."""

from __future__ import annotations

import copy

from mmengine.config import Config

#: Keys that an algorithm's config and that of its architecture may both have.
COMMON = ('type', '_scope_', 'init_cfg', 'data_preprocessor')


def whole_architecture(model: dict) -> dict:
    """The config of the architecture inside that of an algorithm, as a copy.

    A child config, or an option of the command line, may change a part of the architecture as it
    would in the dense config: ``model=dict(head=dict(num_classes=5))``.

    Args:
        model: The config of an algorithm.
    """
    architecture = copy.deepcopy(model['architecture'])
    parts = {k: v for k, v in model.items() if k in architecture and k not in COMMON}
    return merged(architecture, parts)


def merged(architecture: dict, parts: dict) -> dict:
    """A config with parts changed as mmengine merges a child config into its base."""
    if not parts:
        return architecture
    cfg = Config(dict(model=architecture))
    cfg.merge_from_dict(dict(model=parts))
    return cfg.model
