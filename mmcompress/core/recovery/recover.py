"""From a network that has just been compressed to one that works, without labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.channels.gate import GatedMutator
from mmcompress.core.filters.mutator import FilterMutator

from .channels import Reader, make_up, rank, reader_of
from .matching import match
from .moments import Moments, gather, has_moments
from .norms import estimate_norms
from .outputs import fit_outputs

#: Called with the name of a part and its number of steps; what it returns is called at each.
Progress = Callable[[str, int], Callable[[], None]]


def outputs_of(model: nn.Module, data: Any) -> Any:
    """What a network puts out for preprocessed data, in front of losses and post-processing.

    Of a detector with proposals this is what comes before them: features, and the maps that
    proposals are made of.

    Args:
        model: Any network.
        data: What its data preprocessor made of a batch, or the images.
    """
    data = data if isinstance(data, dict) else dict(inputs=data)
    if not isinstance(model, BaseModel):
        return model(data['inputs'])
    if getattr(model, 'with_rpn', False):
        network: Any = model
        features = network.extract_feat(data['inputs'])
        return features, network.rpn_head(features)
    return model(**data, mode='tensor')


def recover(
    algorithm: CompressionAlgorithm,
    dense: nn.Module,
    batches: Sequence[Any],
    *,
    images: int,
    steps: int = 100,
    seed: int = 0,
    progress: Progress = lambda _, __: lambda: None,
) -> dict[str, Any]:
    """Choose at once what the method keeps, and repair what is left, in place.

    1. A method for channels keeps those that their readers can't make up for. The readers then
       make up for the others by least squares (:mod:`.channels`). A method for filters fits its
       factors to what the dense layers put out (:mod:`.outputs`).
    2. Batch norms get new statistics (:mod:`.norms`).
    3. Training without labels brings the outputs of blocks near those of the dense network
       (:mod:`.matching`), and batch norms get new statistics again.

    Args:
        algorithm: With the weights of the dense network.
        dense: That network.
        batches: Preprocessed, see :func:`outputs_of`.
        images: How many there are in all batches.
        steps: Of the training; 0 for none.
        seed: Of what is drawn: positions in images, and the order of batches.
        progress: Shows how far it is.

    Returns:
        ``seconds`` by part, ``loss`` of the matching.

    Raises:
        CompressionError: If the method can't choose without training.
    """
    seconds: dict[str, float] = {}
    result: dict[str, Any] = dict(seconds=seconds)
    architecture, mutator = algorithm.architecture, algorithm.mutator
    dense.eval()

    @contextmanager
    def part(name: str, total: int) -> Iterator[Callable[[], None]]:
        begin = time.perf_counter()
        yield progress(name, total)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin

    def moments(names: Sequence[str]) -> Iterator[tuple[str, Moments]]:
        return gather(dense, names, lambda: batches, outputs_of, images, seed)

    if isinstance(mutator, GatedMutator):
        _channels(algorithm, mutator, dense, moments, part)
    else:
        algorithm.decide({})
        if isinstance(mutator, FilterMutator):
            _filters(mutator, dense, moments, part)
    with part('statistics of norms', len(batches)) as advance:
        estimate_norms(architecture, _told(batches, advance), outputs_of)
    if steps:
        with part('matching', steps) as advance:
            result['loss'] = match(
                architecture, dense, batches, outputs_of, steps, seed=seed, advance=advance
            )
        with part('statistics of norms', len(batches)) as advance:
            estimate_norms(architecture, _told(batches, advance), outputs_of)
    return result


def _told(batches: Sequence[Any], advance: Callable[[], None]) -> Iterator[Any]:
    for batch in batches:
        yield batch
        advance()


def _filters(mutator: FilterMutator, dense: nn.Module, moments: Any, part: Any) -> None:
    units = list(mutator.units.values())
    names = [layer for unit in units for layer in unit.layers]
    found: dict[str, Tensor] = {}
    waiting = moments([name for name in names if has_moments(dense.get_submodule(name))])
    with part('filters', len(units)) as advance:
        for unit in units:
            for name, own in waiting:
                found[name] = own.covariance(centred=False)
                if name == unit.layers[-1]:
                    break
            layers: dict[str, Any] = {name: dense.get_submodule(name) for name in unit.layers}
            weights = {name: layer.weight.detach() for name, layer in layers.items()}
            fit_outputs(unit, weights, {n: found.pop(n) for n in unit.layers if n in found})
            advance()


def _channels(
    algorithm: CompressionAlgorithm,
    mutator: GatedMutator,
    dense: nn.Module,
    moments: Any,
    part: Any,
) -> None:
    units = mutator.units
    reads: dict[str, list[Any]] = {}
    for name, unit in units.items():
        for channel in unit.config.channels:
            layer = dense.get_submodule(channel.name)
            if not channel.is_output and has_moments(layer) and unit.width < unit.num_channels:
                reads.setdefault(channel.name, []).append((name, channel))
    readers: dict[str, list[Reader]] = {name: [] for name in units}
    with part('channels', 2 * len(reads)) as advance:
        for layer, own in moments(list(reads)):
            for name, channel in reads[layer]:
                reader = reader_of(dense.get_submodule(layer), channel, units[name].config, own)
                readers[name] += [] if reader is None else [reader]
            advance()
        algorithm.decide(
            {
                name: rank(own, units[name].num_channels, units[name].groups)
                for name, own in readers.items()
                if own
            }
        )
        gone: dict[str, Tensor] = {}
        for name, keep in mutator.removed().items():
            config = units[name].config
            silent = torch.ones(config.num_channels, dtype=torch.bool)
            silent[keep] = False
            for place, ranges in reads.items():
                for channel in (channel for owner, channel in ranges if owner == name):
                    inputs = _inputs(dense.get_submodule(place))
                    indices = channel.expand(silent.nonzero().flatten(), config.num_channels)
                    gone.setdefault(place, torch.zeros(inputs, dtype=torch.bool))[indices] = True
        for layer, own in moments(list(gone)):
            make_up(
                algorithm.architecture.get_submodule(layer),
                gone[layer],
                own,
                free_mean=layer in mutator.norms,
            )
            advance()


def _inputs(layer: Any) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
