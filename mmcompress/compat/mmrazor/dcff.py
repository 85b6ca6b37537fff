"""MMRazor's DCFF, as a config of mmcompress's.

=====================================  ==========================================================
MMRazor                                mmcompress
=====================================  ==========================================================
``step_freq``                          ``fuse_interval``, in what the training loop counts
``prune_times``                        ``fuse_times``, where ``step_freq`` is 0 or missing
``DCFFChannelMutator``                 ``DCFFMutator``
``DCFFChannelUnit``                    ``DCFFUnit``; ``choice_mode`` and the like have no use
``ChannelAnalyzer``, ``demo_input``    ``DependencyAnalyzer``, ``input_shape``
``parse_cfg=dict(type='Config')``      channels in ``channel_unit_cfg.units``; nothing is searched
=====================================  ==========================================================

Whatever has no counterpart is an error that names it.
"""

from __future__ import annotations

import re
from typing import Any

from .units import without_rounding

ALGORITHM, MUTATOR, UNIT = 'DCFF', 'DCFFMutator', 'DCFFUnit'
#: MMRazor's names for them.
THEIR_MUTATOR, THEIR_UNIT = 'DCFFChannelMutator', 'DCFFChannelUnit'
ANALYZERS = ('ChannelAnalyzer', 'BackwardTracer')


def algorithm(args: dict[str, Any]) -> dict[str, Any]:
    """The arguments of MMRazor's ``DCFF`` as those of mmcompress's.

    Raises:
        ValueError: If an argument asks for what mmcompress's DCFF does not do.
    """
    args = dict(args)
    for key, idle, why in (
        ('linear_schedule', False, 'widths are the final ones from the start'),
        ('is_deployed', False, '`mmcompress export` makes the deployed model'),
        ('fix_subnet', None, 'use the type sub_model'),
    ):
        value = args.pop(key, idle)
        if value not in (idle, None):
            raise ValueError(f'{key} is {value!r}; it has to be {idle!r}: {why}')
    times = args.pop('prune_times', 0)
    if times and (args.get('step_freq') or 0) <= 0:
        # MMRazor wants one of the two, and its step_freq is 1 where a config doesn't say 0.
        args.pop('step_freq', None)
        args['fuse_times'] = times
    elif times:
        raise ValueError(
            f'prune_times is {times!r} and step_freq is {args["step_freq"]!r}; both say when '
            'filters are fused, so remove one of the two'
        )
    elif 'step_freq' in args or 'fuse_interval' not in args:
        args['fuse_interval'] = args.pop('step_freq', 1)
        args.setdefault('by_epoch', None)
    args['mutator_cfg'] = mutator(args.get('mutator_cfg') or {})
    args['architecture'] = _with_dense_head(
        args.get('architecture'), args.get('target_pruning_ratio')
    )
    return args


def _with_dense_head(architecture: Any, ratios: Any) -> Any:
    """The config of a network whose head takes what the dense backbone returns.

    MMRazor can't narrow transposed convolutions. Its config for pose estimation therefore gives the
    head the width that the backbone is to have at last (1843 of 2048 channels), and describes a
    dense network that can't run.
    """
    head = architecture.get('head') if isinstance(architecture, dict) else None
    if not isinstance(head, dict) or not isinstance(ratios, dict):
        return architecture
    widths = {}
    for name, ratio in ratios.items():
        found = re.search(r'_\(0, (\d+)\)_\1$', str(name))
        if found and isinstance(ratio, float) and 0 < ratio < 1:
            widths[int(found[1])] = int(int(found[1]) * ratio)
    dense = max(widths, default=0)
    if not dense or head.get('in_channels') != widths[dense]:
        return architecture
    return {**architecture, 'head': {**head, 'in_channels': dense}}


def mutator(config: Any) -> Any:
    """The config of MMRazor's mutator as that of mmcompress's.

    Raises:
        ValueError: If it asks for what mmcompress does not do.
    """
    if not isinstance(config, dict):
        return config
    config = {key: value for key, value in config.items() if key != '_scope_'}
    kind = str(config.get('type', THEIR_MUTATOR)).split('.')[-1]
    config['type'] = MUTATOR if kind == THEIR_MUTATOR else config['type']
    units = config.get('channel_unit_cfg')
    if isinstance(units, dict):
        config['channel_unit_cfg'] = _units(units)
    if isinstance(config.get('parse_cfg'), dict):
        config['parse_cfg'] = _analyzer(config['parse_cfg'])
    return config


def _units(config: dict[str, Any]) -> dict[str, Any]:
    config = {key: value for key, value in config.items() if key != '_scope_'}
    if str(config.get('type', '')).split('.')[-1] == THEIR_UNIT:
        config['type'] = UNIT
    if 'default_args' in config:
        config['default_args'] = without_rounding(config['default_args'])
    return config


def _analyzer(config: dict[str, Any]) -> dict[str, Any]:
    kind = str(config.get('type', '')).split('.')[-1]
    if kind == 'Config':
        return {}
    if kind == 'Predefined':
        raise ValueError(
            "parse_cfg.type is 'Predefined'; give ChannelAnalyzer, which finds the units"
        )
    if kind not in ANALYZERS:
        return config
    ours = {}
    shape = config.get('demo_input')
    if isinstance(shape, dict):
        shape = shape.get('input_shape')
    if isinstance(shape, (list, tuple)):
        ours['input_shape'] = tuple(shape)
    # How MMRazor looks for units (tracer_type, loss_calculator) has no counterpart.
    rest = {'type', '_scope_', 'demo_input', 'tracer_type', 'loss_calculator', 'from_cfg'}
    return {**ours, **{key: value for key, value in config.items() if key not in rest}}


def subnet(content: Any) -> dict[str, Any] | None:
    """The algorithm whose static form MMRazor's ``fix_subnet.json`` describes.

    Args:
        content: What the file holds.

    Returns:
        Its config without the architecture; ``None`` if the file isn't one of DCFF.
    """
    kinds = (THEIR_MUTATOR, MUTATOR)
    if not isinstance(content, dict) or 'channel_unit_cfg' not in content:
        return None
    if str(content.get('type', '')).split('.')[-1] not in kinds:
        return None
    return dict(type=ALGORITHM, mutator_cfg=mutator(content))
