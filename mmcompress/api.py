"""Compress any ``nn.Module`` from Python: in a training loop of one's own, without a config."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.base.algorithm import INNER, CompressionAlgorithm
from mmcompress.core.base.demo import demo_of
from mmcompress.core.base.steps import Steps
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.export import (
    check_equal,
    check_export,
    check_plain,
    content_of,
    merge_branches,
)
from mmcompress.core.export.folding import fold_norms
from mmcompress.core.export.static import (
    contents_of,
    make_compact,
    merged_forms,
    subnet_of,
    to_static,
)
from mmcompress.core.layers.copying import copied
from mmcompress.registry import MODELS

#: What :func:`export` writes: the weights, and how the network differs from the dense one.
WEIGHTS, RECIPE = FILES = ('compact.pth', 'fix_subnet.json')


def compress(
    model: nn.Module,
    method: str = 'fcf',
    example_inputs: Any = None,
    budget: dict[str, Any] | None = None,
    target_pruning_ratio: Any = None,
    include: Sequence[str] | str | None = None,
    exclude: Sequence[str] | str = (),
    **options: Any,
) -> CompressionAlgorithm:
    """Make a model ready to be trained compact.

    Args:
        model: Any model, of mmengine or not; left as it is. Its weights are those that training
            starts from, as far as the method starts from any.
        method: Name of a method, such as ``'filter_basis'``, or of a registered algorithm.
        example_inputs: What the model runs on: a tensor, a tuple of several inputs, or a dict of
            inputs by name (a dict of other names than the forward pass has is one input, and so is
            a list); a callable that returns them, or a dataloader. ``None``: a random image of a
            size that the model accepts. A model of mmengine that is given a tensor is run on random
            images of its shape, with data samples to match. See
            :func:`~mmcompress.core.base.demo.demo_of`. Configs call it ``demo_inputs``.
        budget: What the model may cost, such as ``dict(macs=0.5)``; for methods that remove
            channels.
        target_pruning_ratio: Keep ratios, instead: one number, a dict by unit name, or a file.
        include: Names of the modules to compress, with shell wildcards; a name includes what is
            inside of it. ``None``: the backbone, or all of a model that has none of that name.
        exclude: Names of modules to leave dense.
        **options: Of the method's algorithm, such as ``mutator_cfg``.

    Returns:
        The algorithm: a module that runs, trains, and is saved, as the model does; see its
        ``losses``, ``step_hooks`` and ``next_stage``.

    Raises:
        CompressionError: If an argument is wrong, or the model can't be run.

    Example:
        >>> images = torch.randn(2, 3, 8, 8)
        >>> layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
        >>> net = nn.Sequential(*layers)
        >>> compact = compress(net, 'magnitude', images, target_pruning_ratio=0.5)
        >>> compact(images).shape
        torch.Size([2, 4, 4, 4])
    """
    if isinstance(model, CompressionAlgorithm) or not isinstance(model, nn.Module):
        raise CompressionError(
            f'model is a {type(model).__name__}; it has to be a torch.nn.Module that is not '
            'compressed yet'
        )
    kind = _algorithm(method)
    given = options.pop('mutator_cfg', None)
    options['mutator_cfg'] = _mutator_cfg(given, include, exclude)
    if example_inputs is not None:
        if options.get('demo_inputs') is not None:
            raise CompressionError('example_inputs and demo_inputs are both given; remove one')
        options['demo_inputs'] = demo_of(example_inputs, model, 'example_inputs')
    trained = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    algorithm = kind(
        copied(model),
        budget=budget,
        target_pruning_ratio=target_pruning_ratio,
        **options,
    )
    first = next(model.parameters(), None)
    if first is not None:
        algorithm.to(first.device)
    own = algorithm.state_dict()
    # A network that starts compact has other shapes already, and has taken from these weights.
    dense = {INNER + key: weight for key, weight in trained.items()}
    dense = {k: w for k, w in dense.items() if k not in own or own[k].shape == w.shape}
    algorithm.load_state_dict(dense, strict=False)
    algorithm.add_module('_steps', Steps())
    algorithm._dense = _Dense(model)
    return algorithm.train()


def export(
    model: CompressionAlgorithm,
    out_dir: str | Path,
    overwrite: bool = False,
    fold_bn: bool = False,
    store: str = 'smallest',
    dtype: str = 'float32',
    deploy: bool = False,
) -> nn.Module:
    """Write a trained model as plain layers.

    ``compact.pth`` holds the weights, and ``fix_subnet.json`` how the network differs from the
    dense one; :func:`load` reads both. Before anything appears in ``out_dir``, the model is
    rebuilt from these files, and compared with the trained one on the example inputs.

    Args:
        model: What :func:`compress` returned, trained.
        out_dir: The folder to write to.
        overwrite: Replace the files of an earlier export.
        fold_bn: Fold batch norms into the convolutions in front of them.
        store: See :func:`mmcompress.core.export.export.export`.
        dtype: As well.
        deploy: As well.

    Returns:
        The static model, in eval mode: of the class that was compressed, with plain layers.

    Raises:
        CompressionError: If the outputs differ, files are in the way, or training has not come far
            enough; nothing is written then.
    """
    dense = getattr(model, '_dense', None)
    if not isinstance(model, CompressionAlgorithm) or dense is None:
        raise CompressionError(
            f'model is a {type(model).__name__}; it has to be what mmcompress.compress returned'
        )
    out_dir = Path(out_dir)
    check_export(model, out_dir, overwrite, store, dtype)
    mutator = model.mutator
    forms = mutator.static_forms(model.architecture)
    if deploy:
        forms = merged_forms(model, forms)
    static = to_static(model, forms)
    check_plain(static)
    rebuilt = dense.build()
    subnet = subnet_of(model, static, rebuilt, forms)
    if deploy:
        merge_branches(static, subnet)
    if fold_bn:
        subnet['folded'] = fold_norms(static)
    content = content_of(model, static, subnet, forms, store, dtype)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent) as scratch:
        stage = Path(scratch)
        (stage / RECIPE).write_text(json.dumps(subnet, indent=1), encoding='utf-8')
        torch.save(content, stage / WEIGHTS)
        rebuilt = _load(stage, rebuilt)
        relative = fold_bn or deploy or mutator.reorders_sums
        check_equal(model, static, rebuilt, content, relative=relative)
        out_dir.mkdir(exist_ok=True)
        for name in FILES:
            os.replace(stage / name, out_dir / name)
    return static


def load(out_dir: str | Path, model: nn.Module) -> nn.Module:
    """Build an exported model again.

    Args:
        out_dir: The folder of an export.
        model: A dense model, built as the one that was compressed; left as it is. Its weights
            don't matter.

    Returns:
        A copy of it, made compact, with the weights of the export.

    Raises:
        CompressionError: If the files are missing, or of another model.
    """
    if not isinstance(model, nn.Module) or isinstance(model, CompressionAlgorithm):
        raise CompressionError(
            f'model is a {type(model).__name__}; it has to be a dense model, built as the one that '
            'was compressed'
        )
    return _load(Path(out_dir), copied(model)).train(model.training)


def _load(folder: Path, model: nn.Module) -> nn.Module:
    """Make a dense model compact, in place, and load its weights."""
    make_compact(model, contents_of(folder / RECIPE))
    load_into(model, folder / WEIGHTS)
    return model.eval()


class _Dense:
    """A model without its weights, to build it again without its class's arguments.

    Args:
        model: Left as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = _copied(model, lambda t: torch.empty_like(t, device='meta'))

    def build(self) -> nn.Module:
        """The model, on the CPU, with zeros for weights."""
        return _copied(self._model, lambda t: torch.zeros_like(t, device='cpu'))


def _copied(model: nn.Module, make: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy of a model with other tensors for those in its state dict; all others on the CPU."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(make(parameter), parameter.requires_grad)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                temporary = name in module._non_persistent_buffers_set
                memo[id(buffer)] = buffer.detach().cpu().clone() if temporary else make(buffer)
    return copied(model, memo)


def _algorithm(method: Any) -> type[CompressionAlgorithm]:
    """The algorithm of a method; whoever registers one has given it a name."""
    MODELS.import_from_location()
    found = {
        _plain(name): kind
        for name, kind in MODELS.module_dict.items()
        if isinstance(kind, type) and issubclass(kind, CompressionAlgorithm)
    }
    wanted = _plain(str(method).removeprefix('mmcompress.'))
    if wanted not in found:
        # The packages of the methods are called as their users call these.
        names = sorted({kind.__module__.split('.')[-2] for kind in found.values()})
        raise CompressionError(
            f'method is {method!r}; the nearest are {nearest(str(method), names)}'
        )
    return found[wanted]


def _plain(name: str) -> str:
    return name.replace('_', '').lower()


def _mutator_cfg(
    given: Any, include: Sequence[str] | str | None, exclude: Sequence[str] | str
) -> dict[str, Any] | None:
    """The config of the mutator, with where to look."""
    if given is not None and not isinstance(given, dict):
        raise CompressionError(f'mutator_cfg is {given!r}; it has to be a dict')
    own: dict[str, Any] = {}
    if include is not None:
        own['include'] = include
    if exclude:
        own['exclude'] = exclude
    config = dict(given or {})
    parse_cfg = config.get('parse_cfg') or {}
    for key in own:
        if key in parse_cfg:
            raise CompressionError(
                f'mutator_cfg.parse_cfg has {key!r} already; remove it, or {key}'
            )
    if own:
        config['parse_cfg'] = {**parse_cfg, **own}
    return config or None
