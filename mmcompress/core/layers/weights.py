"""Whether the weight of a layer is the layer's own: a parameter that nothing else makes or has."""

from __future__ import annotations

from collections import defaultdict

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from .narrow import is_narrowable


def not_own_weights(model: nn.Module) -> dict[str, str]:
    """Why layers can't be narrowed or written otherwise, by name, going by their weights.

    A weight can be made of other tensors before each forward pass (weight norm, spectral norm, any
    parametrization), or be that of another layer too.

    Args:
        model: Any model; left as it is.
    """
    holders: dict[int, list[str]] = defaultdict(list)
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if key != 'bias':
                holders[id(parameter)].append(name)
        if is_narrowable(module):
            layers[name] = module
    found: dict[str, str] = {}
    for name, layer in layers.items():
        if is_parametrized(layer):
            kinds = {
                type(part).__name__.lstrip('_')
                for chain in layer.parametrizations.values()  # type: ignore[operator]
                for part in chain
            }
            found[name] = f'a weight that a parametrization makes: {", ".join(sorted(kinds))}'
        elif 'weight_orig' in layer._parameters or 'weight_g' in layer._parameters:
            found[name] = 'a weight that a hook makes: weight norm or spectral norm'
        else:
            others = [
                other
                for key, parameter in layer.named_parameters(recurse=False)
                if key != 'bias'
                for other in holders[id(parameter)]
                if other != name
            ]
            if others:
                found[name] = f'a weight that another layer has too: {others[0]}'
    return found
