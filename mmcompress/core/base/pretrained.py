"""Unfreeze stages and norms that OpenMMLab configs freeze for pretrained backbones."""

from __future__ import annotations

from mmcv.cnn import is_norm
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from torch import nn

from .names import twins_of


def has_frozen_stages(module: nn.Module) -> bool:
    """Whether a backbone freezes stages, which it does again at every change of its mode."""
    stages = getattr(module, 'frozen_stages', -1)
    return isinstance(stages, int) and stages >= 0


def release(model: nn.Module, name: str = '', norms: bool = True) -> bool:
    """Train all layers in a part of ``model``, in place; but no momentum copies.

    Args:
        model: A whole model.
        name: Of the part, for example a backbone; the whole model by default.
        norms: Whether norms learn as well that are fixed in all stages: statistics of batch
            norms (``norm_eval``), and parameters, by ``norm_cfg`` of the part.

    Returns:
        Whether any layer was kept fixed.
    """
    # They follow what they copy.
    copies = [copy for group in twins_of(model).values() for copy in group]
    root = model.get_submodule(name)
    norms_learn = norms or (getattr(root, 'norm_cfg', None) or {}).get('requires_grad', True)
    fixed = False
    for path, module in root.named_modules(prefix=name):
        if any(f'{path}.'.startswith(f'{copy}.') for copy in copies):
            continue
        if has_frozen_stages(module):
            module.frozen_stages, fixed = -1, True
        if norms and getattr(module, 'norm_eval', False):
            module.norm_eval, fixed = False, True
        # Layers with weights; parameters that stand alone may be constants by design.
        if isinstance(getattr(module, 'weight', None), nn.Parameter):
            if norms_learn or not is_norm(module):
                fixed |= any(not p.requires_grad for p in module.parameters(recurse=False))
                module.requires_grad_(True)
            # Frozen stages left their norms in eval mode.
            module.train(root.training)
    return fixed


def train_all_stages(model: nn.Module, method: str, norms: bool = False) -> None:
    """Release every frozen stage of ``model``, in place, and log it.

    Args:
        model: A whole model, ops in place.
        method: Name of the method, for the log.
        norms: See :func:`release`.
    """
    for name, module in model.named_modules():
        fixed = has_frozen_stages(module) or (norms and getattr(module, 'norm_eval', False))
        if fixed and release(model, name, norms):
            print_log(f'{method} trains all stages of {name}, frozen ones too', logger='current')


#: Types of ``init_cfg`` that load a checkpoint; new-style configs name the class itself.
PRETRAINED = ('Pretrained', 'mmengine.Pretrained', 'PretrainedInit', PretrainedInit)


def is_pretrained(init_cfg: dict) -> bool:
    """Whether an initialisation is to load the weights of a checkpoint."""
    return init_cfg.get('type') in PRETRAINED


def init_parts(module: nn.Module) -> list[dict]:
    """The ``init_cfg`` of a module as a list, whether it is one, a single part or missing."""
    given = getattr(module, 'init_cfg', None) or []
    return list(given) if isinstance(given, (list, tuple)) else [given]


def has_pretrained(model: nn.Module) -> bool:
    """Whether the initialisation of any module of ``model`` loads a checkpoint."""
    return any(is_pretrained(part) for module in model.modules() for part in init_parts(module))
