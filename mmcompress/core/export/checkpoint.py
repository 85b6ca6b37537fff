"""Load checkpoints safely, and say in one sentence when one doesn't fit."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader, load_from_http, load_from_local
from torch import Tensor, nn

from mmcompress.compat.mmrazor.weights import static_weights
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.probe.probe import seeded

from .factors import check_specs, weights_of_factors


def load_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint without running code that it may contain.

    Args:
        path: A file, or any address that mmengine loads from.

    Returns:
        The checkpoint, with a ``state_dict``; weights that are stored as factors are made of them.

    Raises:
        CompressionError: If there is no such file, it isn't a checkpoint, it would run code, or
            factors are missing.
    """
    path = str(path)
    content = read_safely(path)
    if isinstance(content, dict) and 'state_dict' not in content:
        content = {'state_dict': content}
    if not isinstance(content, dict) or not _is_state_dict(content['state_dict']):
        raise CompressionError(f'checkpoint: {path!r} holds no state_dict')
    return with_weights(content, path)


def read_safely(path: str) -> Any:
    """What a file of tensors holds, read without running code that it may contain.

    Raises:
        CompressionError: If there is no such file, it isn't a checkpoint, or it would run code.
    """
    local = '://' not in path
    if local and not Path(path).is_file():
        raise CompressionError(f'checkpoint: there is no file {path!r}')
    try:
        if local:
            content = torch.load(path, map_location='cpu', weights_only=True)
        else:
            content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except pickle.UnpicklingError as error:
        reason = next(
            (line for line in str(error).splitlines() if 'GLOBAL' in line or 'global' in line),
            str(error).splitlines()[0],
        ).strip()
        raise CompressionError(
            f'checkpoint: {path!r} holds more than weights and was not loaded ({reason[:160]})'
        ) from None
    except Exception as error:  # what an unpickler makes of a damaged file can be anything
        first = first_line(error, type(error).__name__)
        raise CompressionError(f'checkpoint: {path!r} is not a checkpoint ({first})') from None
    return content


def with_weights(content: Any, path: str | Path) -> Any:
    """What a checkpoint file holds, with weights in place of the factors that they are made of.

    Raises:
        CompressionError: If factors are missing, or don't fit.
    """
    content = static_weights(content)
    if not isinstance(content, dict) or 'factors' not in content or 'state_dict' not in content:
        return content
    specs = check_specs(content.pop('factors'), f'checkpoint: {str(path)!r}')
    return dict(content, state_dict=weights_of_factors(content['state_dict'], specs))


def _making_weights(load: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load)
    def load_with_weights(filename: str, *args: Any, **kwargs: Any) -> Any:
        return with_weights(load(filename, *args, **kwargs), filename)

    return load_with_weights


# mmengine's runner and its Pretrained initialisation load what our tools have checked.
for _prefixes, _load in (('', load_from_local), (('http://', 'https://'), load_from_http)):
    CheckpointLoader.register_scheme(_prefixes, _making_weights(_load), force=True)


def load_compact(path: str | Path) -> dict[str, Tensor]:
    """The weights of an exported network by name, also of one that is stored as factors.

    For a network that mmengine didn't build from the export's ``compact.py``.

    Raises:
        CompressionError: See :func:`load_checkpoint_file`.

    Example:
        >>> model.load_state_dict(mmcompress.load_compact('compact.pth'))  # doctest: +SKIP
    """
    return load_checkpoint_file(path)['state_dict']


def _is_state_dict(state: Any) -> bool:
    return isinstance(state, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    )


def check_fits(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """See that a state dict belongs to ``model``.

    Modules name in ``derived_buffers`` what they work out themselves where an older file lacks it.

    Raises:
        CompressionError: If keys are missing, left over, or of another shape.
    """
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    own = model.state_dict()
    derived = {
        f'{name}.{buffer}'
        for name, module in model.named_modules(remove_duplicate=False)
        for buffer in getattr(module, 'derived_buffers', ())
    }
    missing = [key for key in own if key not in state and key not in derived]
    extra = [key for key in state if key not in own]
    shapes = [
        f'{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}'
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or extra or shapes:
        found = [f'{shapes[0]}'] if shapes else []
        found += [f'{missing[0]} is missing'] if missing else []
        found += [f'{extra[0]} is unknown'] if extra else []
        raise CompressionError(
            f'checkpoint: {str(path)!r} is of another model than {type(model).__name__}: '
            f'{"; ".join(found)} ({len(missing)} missing, {len(extra)} unknown, '
            f'{len(shapes)} of another shape)'
        )


def check_belongs(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """See that a state dict has something to do with ``model``: fine-tuning swaps heads.

    Args:
        model: Takes the tensors that fit; it decides itself what that means.
        state: Of a checkpoint; left as it is.
        path: Where it is from, for the error.

    Raises:
        CompressionError: If less than half of the model's tensors are in it.
    """
    own = model.state_dict()
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    # Names of a dense network's tensors are those of the architecture in a compressed one.
    there = {k: own[name] for k in state for name in (k, f'architecture.{k}') if name in own}
    alike = {k: v for k, v in state.items() if k not in there or there[k].shape == v.shape}
    try:
        fitting = len(own) - len(model.load_state_dict(alike, strict=False).missing_keys)
    except RuntimeError:  # shapes differ under names that the model translates
        fitting = 0
    if fitting * 2 < len(own):
        raise CompressionError(
            f'load_from: {str(path)!r} is of another model than {type(model).__name__}: only '
            f'{fitting} of {len(own)} tensors fit'
        )


def load_into(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Load a checkpoint that has to fit ``model`` exactly; returns the whole checkpoint.

    An algorithm settles on what it has loaded: it is ready for evaluation and export.

    Raises:
        CompressionError: See :func:`load_checkpoint_file` and :func:`check_fits`.
    """
    content = load_checkpoint_file(path)
    state = {key.removeprefix('module.'): value for key, value in content['state_dict'].items()}
    check_fits(model, state, path)
    model.load_state_dict(state)
    if isinstance(model, CompressionAlgorithm):
        model.settle()
    return content


def load_teacher(algorithm: CompressionAlgorithm) -> None:
    """Build and load the dense network that teaches, if one has to and it isn't there yet.

    Raises:
        CompressionError: If no checkpoint is named, or it doesn't fit the dense network.
    """
    distiller = algorithm.distiller
    if distiller is None or distiller.taught:
        return
    if distiller.teacher_path is None:
        raise CompressionError(
            'distill.teacher is missing; give the checkpoint of the dense network, such as '
            '--distill dense.pth'
        )
    with seeded():  # random numbers of the training stay what they are
        teacher = distiller.build()
    load_into(teacher, distiller.teacher_path)
    distiller.take(teacher)


def parts_of(content: dict[str, Any]) -> dict[str, int]:
    """Bytes of tensors in each part of a checkpoint, such as ``state_dict`` and ``optimizer``."""
    sizes = {key: sum(t.nbytes for t in _tensors(value)) for key, value in content.items()}
    return {key: size for key, size in sizes.items() if size}


def slim(path: str | Path, out: str | Path) -> dict[str, int]:
    """Write a checkpoint again with the weights and what is said about them, nothing else.

    A training can't be resumed from it; it can be tested, exported and fine-tuned from. Where
    training kept a moving average, its weights are the ones that stay.

    Args:
        path: A checkpoint of a training.
        out: The file to write; it must not be there.

    Returns:
        Bytes of tensors in each part of the checkpoint, see :func:`parts_of`.

    Raises:
        CompressionError: If there is no such checkpoint, or a file in the way.
    """
    out = Path(out)
    if out.exists():
        raise CompressionError(f'--out: {str(out)!r} exists; name another file')
    content = load_checkpoint_file(path)
    write_whole({key: content[key] for key in ('meta', 'state_dict') if key in content}, out)
    return parts_of(content)


def write_whole(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; under its name stands the whole one, or what stood there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    torch.save(content, part)
    part.replace(path)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
