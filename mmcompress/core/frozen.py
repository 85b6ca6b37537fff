"""What OpenMMLab's configs keep fixed for the sake of pretrained weights, and its release."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def has_frozen_stages(module: nn.Module) -> bool:
    """Whether a backbone freezes stages, which it does again at every change of its mode."""
    stages = getattr(module, 'frozen_stages', -1)
    return isinstance(stages, int) and stages >= 0


def release(
    root: nn.Module, prefix: str = '', skip: Iterable[str] = (), norms: bool = True
) -> bool:
    """Train all layers inside of ``root``, in place.

    Args:
        root: A backbone, or a whole model.
        prefix: Its name in the model that ``skip`` speaks of.
        skip: Names of modules to leave as they are.
        norms: Whether batch norms that are kept in eval mode (``norm_eval``) train as well.

    Returns:
        Whether any layer was kept fixed.
    """
    fixed = False
    for name, module in root.named_modules(prefix=prefix):
        if any(f'{name}.'.startswith(f'{other}.') for other in skip):
            continue
        if has_frozen_stages(module):
            module.frozen_stages, fixed = -1, True
        if norms and getattr(module, 'norm_eval', False):
            module.norm_eval, fixed = False, True
        # Layers with weights; parameters that stand alone may be constants by design.
        if isinstance(getattr(module, 'weight', None), nn.Parameter):
            fixed |= any(not p.requires_grad for p in module.parameters(recurse=False))
            module.requires_grad_(True)
            # Frozen stages left their norms in eval mode.
            module.train(root.training)
    return fixed
