"""Static networks: made of an algorithm, or rebuilt with the widths that an export wrote."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture
from mmcompress.core.base.rehearsal import make_static
from mmcompress.core.base.units_file import load_json
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.copying import copied
from mmcompress.core.layers.deploy import blocks_follow, deploy, merged_blocks
from mmcompress.core.layers.narrow import channels_of, groups_of, is_narrowable, keep_evenly, narrow
from mmcompress.core.layers.partial_add import add_partially, name_before, partial_adds_of
from mmcompress.core.layers.partial_input import partial_inputs_of, select_inputs
from mmcompress.core.layers.plain import Layers, build
from mmcompress.core.layers.replace import replace_everywhere
from mmcompress.core.layers.stand_ins import update_widths
from mmcompress.registry import MODELS

from .folding import fold_norms

KEYS = ('in_channels', 'out_channels')
#: Of models that :mod:`mmcompress.core.export.registry` builds.
SCOPE = 'mmcompress.core.export'


@MODELS.register_module()
def sub_model(
    cfg: dict,
    fix_subnet: dict | str | Path,
    data_preprocessor: dict | None = None,
    init_cfg: dict | None = None,
) -> BaseModel:
    """Build an exported network.

    Not a wrapper: what is returned is the architecture itself, of plain layers.

    Args:
        cfg: Config of the dense architecture.
        fix_subnet: ``fix_subnet.json`` of an export, or its contents; or the config of the
            algorithm, whose keep ratios then give the widths.
        data_preprocessor: See :func:`~mmcompress.core.base.build.build_architecture`.
        init_cfg: Replaces the architecture's own, for example
            ``dict(type='Pretrained', checkpoint='compact.pth')``.

    Returns:
        The static model.

    Raises:
        CompressionError: If the file doesn't fit the architecture.
    """
    if isinstance(fix_subnet, dict) and 'type' in fix_subnet:
        model = _untrained(dict(fix_subnet, architecture=cfg), data_preprocessor)
    else:
        model = build_architecture(cfg, data_preprocessor)
        make_compact(model, contents_of(fix_subnet))
    if init_cfg is not None:
        # The parts' own initialisation would look for weights of the dense widths.
        forget_starts(model)
        model.init_cfg = init_cfg
    return model


def make_compact(model: nn.Module, subnet: dict[str, Any]) -> None:
    """Turn a dense model into a static one, in place; which has no sensible weights yet.

    Args:
        model: Dense.
        subnet: What :func:`contents_of` returned.

    Raises:
        CompressionError: If it doesn't fit the model.
    """
    _replace(model, subnet.get('replaced', {}))
    resize(model, subnet['layers'])
    for key, restore in (('partial_adds', add_partially), ('partial_inputs', select_inputs)):
        _restore(model, key, subnet.get(key, {}), restore)
    if subnet.get('deployed'):
        deploy(model)
    fold_norms(model, subnet.get('folded', ()))


def forget_starts(model: nn.Module) -> None:
    """Take the ``init_cfg`` from a model and all of its parts, in place."""
    module: Any
    for module in model.modules():
        if hasattr(module, 'init_cfg'):
            module.init_cfg = None


def _untrained(algorithm: dict, data_preprocessor: dict | None) -> BaseModel:
    """The static model that the config of an algorithm leads to, before any training."""
    model = MODELS.build(dict(algorithm, data_preprocessor=data_preprocessor))
    if not isinstance(model, CompressionAlgorithm):
        raise CompressionError(
            f'fix_subnet is the config of a {algorithm["type"]!r}; it has to be that of a '
            'compression algorithm, or a fix_subnet.json'
        )
    return to_static(model).train()


def contents_of(fix_subnet: dict | str | Path) -> dict[str, Any]:
    """The contents of a ``fix_subnet.json``, or those that are given.

    Raises:
        CompressionError: If it isn't the file of an export.
    """
    if not isinstance(fix_subnet, dict):
        fix_subnet = load_json(fix_subnet, 'fix_subnet', verb='export')
    if 'layers' not in fix_subnet:
        raise CompressionError(
            f'fix_subnet has no `layers`, only {", ".join(fix_subnet) or "nothing"}; it has to '
            'be the fix_subnet.json of an export'
        )
    return fix_subnet


def is_sub_model(cfg: dict) -> bool:
    """Whether the config of a model is that of an exported network."""
    return cfg.get('_scope_') == SCOPE or _wraps_dense(cfg)


def _wraps_dense(cfg: dict) -> bool:
    return str(cfg.get('type', '')).split('.')[-1] == sub_model.__name__


def dense_part(cfg: dict) -> dict:
    """The config of the dense architecture in that of an exported network; not a copy if nested."""
    if _wraps_dense(cfg):
        return cfg['cfg']
    dense = copy.copy(cfg)
    scope = contents_of(cfg['fix_subnet'])['scope']
    for key in ('_scope_', 'fix_subnet', 'init_cfg'):
        dense.pop(key, None)
    return type(cfg)(dense, _scope_=scope)


def to_static(algorithm: CompressionAlgorithm, forms: dict[str, str] | None = None) -> Any:
    """A copy of an algorithm's architecture in which every op is a plain torch layer.

    Ops are modules of :class:`~mmcompress.core.base.op.Op`, of whatever package.

    Args:
        algorithm: The algorithm, usually a trained one, which settles on what it has loaded;
            otherwise left as it is.
        forms: By layer, the form of ops that have several; by default what
            :meth:`~mmcompress.core.base.mutator.Mutator.static_forms` finds.

    Returns:
        The static model, in eval mode, on the algorithm's device.
    """
    if algorithm.loaded:
        algorithm.settle()
    if forms is None:
        forms = algorithm.mutator.static_forms(algorithm.architecture)
    model = copied(algorithm.architecture)
    make_static(model, algorithm.mutator, forms)
    return model.eval()


def merged_forms(algorithm: CompressionAlgorithm, forms: dict[str, str]) -> dict[str, str]:
    """Forms in which ops are one convolution wherever the branches of a block are to be merged.

    Args:
        algorithm: The algorithm.
        forms: By layer, for all ops that have several.
    """
    blocks = tuple(f'{name}.' for name in merged_blocks(algorithm.architecture))
    merged = dict(forms)
    for name in forms:
        if name.startswith(blocks):
            op: Any = algorithm.architecture.get_submodule(name)
            single = [form for form in op.forms if isinstance(op.to_static(form), nn.Conv2d)]
            merged[name] = next(iter(single), forms[name])
    return merged


def subnet_of(
    algorithm: CompressionAlgorithm, static: nn.Module, dense: nn.Module, forms: dict[str, str]
) -> dict[str, Any]:
    """What ``fix_subnet.json`` holds: how the static model differs from the dense one.

    Args:
        algorithm: What the static model was made of.
        static: What :func:`to_static` returned for it.
        dense: The dense model.
        forms: As for :func:`to_static`.
    """
    mutator = algorithm.mutator
    replaced = mutator.replaced(algorithm.architecture, forms)
    subnet = dict(
        method=type(algorithm).__name__,
        choices=mutator.choice_template,
        layers=layer_widths(dense, static, replaced),
    )
    if replaced:
        subnet['replaced'] = replaced
    for key, found in (
        ('partial_adds', partial_adds_of(static)),
        ('partial_inputs', partial_inputs_of(static)),
    ):
        if found:
            subnet[key] = found
    return subnet


def layer_widths(
    dense: nn.Module, static: nn.Module, replaced: Iterable[str] = ()
) -> dict[str, dict[str, int]]:
    """Layers of ``static`` that have other widths than in ``dense``, by name: the sides that do.

    Args:
        dense: The dense model.
        static: The static one.
        replaced: Names of layers that have others in their place, which are left out.
    """
    widths = {}
    gone = tuple(f'{name}.' for name in replaced)
    for name, layer in static.named_modules():
        if is_narrowable(layer) and not f'{name}.'.startswith(gone):
            name = name_before(static, name)
            now, before = channels_of(layer), channels_of(dense.get_submodule(name))
            if now != before:
                sides = zip(KEYS, now, before, strict=True)
                widths[name] = {key: width for key, width, most in sides if width != most}
    return widths


def resize(model: nn.Module, layers: dict[str, dict[str, int]]) -> None:
    """Give the layers of a dense model the widths of a static one, in place.

    Raises:
        CompressionError: If a layer doesn't exist or isn't that wide.
    """
    if not isinstance(layers, dict):
        raise CompressionError('fix_subnet: `layers` has to be a dict of widths by layer name')
    modules = dict(model.named_modules())
    with blocks_follow(model):
        for name, widths in layers.items():
            layer = modules.get(name)
            if layer is None or not is_narrowable(layer):
                raise _no_layer(model, name)
            dense = channels_of(layer)
            if not _fit(widths, dense):
                raise CompressionError(
                    f'fix_subnet: layer {name!r} of {type(model).__name__} has {dense[0]} input '
                    f'and {dense[1]} output channels; {widths} does not fit'
                )
            keep = [
                # Which ones does not matter: their weights are loaded afterwards.
                keep_evenly(most, groups_of(layer, is_output), widths[key])
                if widths.get(key, most) != most
                else None
                for key, most, is_output in zip(KEYS, dense, (False, True), strict=True)
            ]
            narrow(layer, *keep)
    update_widths(model)


def _replace(model: nn.Module, replaced: dict[str, Layers]) -> None:
    """Put plain layers in the place of others, by name."""
    if not isinstance(replaced, dict):
        raise CompressionError('fix_subnet: `replaced` has to be a dict by layer name')
    modules = dict(model.named_modules())
    for name, layers in replaced.items():
        if name not in modules:
            raise _no_layer(model, name)
        try:
            replace_everywhere(model, name, build(layers))
        except CompressionError as error:
            raise CompressionError(f'fix_subnet: replaced[{name!r}]: {error}') from None


def _restore(
    model: nn.Module, key: str, partial: dict[str, dict[str, int]], restore: Callable
) -> None:
    """Let layers add or read fewer channels than there are; which ones, a checkpoint says."""
    if not isinstance(partial, dict):
        raise CompressionError(f'fix_subnet: `{key}` has to be a dict by layer name')
    for name, entry in partial.items():
        given: list[Any] = []
        if isinstance(entry, dict):
            given = [entry.get(key) for key in ('channels', 'of')]
        if not all(isinstance(number, int) for number in given) or not min(given, default=0) > 0:
            raise CompressionError(
                f'fix_subnet: {key}[{name!r}] is {entry!r}; it has to be '
                '{"channels": k, "of": n} with positive numbers'
            )
    kept = {name: torch.arange(entry['channels']) for name, entry in partial.items()}
    restore(model, kept, {name: entry['of'] for name, entry in partial.items()})


def _no_layer(model: nn.Module, name: str) -> CompressionError:
    names = dict(model.named_modules())
    return CompressionError(
        f'fix_subnet: {type(model).__name__} has no layer {name!r}; the nearest are '
        f'{nearest(name, names)}'
    )


def _fit(widths: object, dense: tuple[int, int]) -> bool:
    """Whether ``widths`` gives sides of a layer, and no more channels than it has."""
    if not isinstance(widths, dict) or not widths.keys() & set(KEYS):
        return False
    given = [widths.get(key, most) for key, most in zip(KEYS, dense, strict=True)]
    return all(
        isinstance(width, int) and 0 < width <= most
        for width, most in zip(given, dense, strict=True)
    )
