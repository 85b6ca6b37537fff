"""Checkpoints of other programs, tensor by tensor, on their way into a model of ours.

What the tensors of a program are called, and what becomes of them, is a *layout*: a module
``layout_<name>.py`` in the folder of a method, with

- ``MARKS``, words for a kind of file by a regular expression for keys that only such files have;
- ``convert(conversion, model)``, which gives each tensor its place;
- if it has more to do once the model has them, ``loaded(conversion, model)``.

Everything that layouts share is here: reading, the account of all keys, and the checks.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.base.algorithm import INNER, CompressionAlgorithm
from mmcompress.core.base.op import Op
from mmcompress.core.errors import CompressionError

from .checkpoint import read_safely

#: By a regular expression for our name of a layer, theirs; see :func:`put_names`.
Rules = Mapping[str, str | Callable[[re.Match], str]]
#: What programs call the tensors of a network in their files.
CONTAINERS = ('state_dict', 'net_state_dict', 'model_state_dict')
#: What to do with files that are not read safely.
RESAVE = (
    'load it in the environment that wrote it and save its tensors alone: torch.save({name: value '
    "for name, value in state_dict.items()}, 'tensors.pth')"
)


@dataclass
class Source:
    """A checkpoint of another program.

    Attributes:
        path: The file.
        state: Its tensors by name, without ``module.`` in front.
        extra: What else it holds, such as an epoch.
    """

    path: str
    state: dict[str, Tensor]
    extra: dict[str, Any] = field(default_factory=dict)


def read_source(path: str | Path) -> Source:
    """Read a checkpoint of another program, without running code that it may contain.

    Raises:
        CompressionError: If it can't be read, or holds no tensors by name.
    """
    path = str(path)
    if Path(path).is_file() and tarfile.is_tarfile(path):
        raise CompressionError(
            f'SRC: {path!r} is a tar file of PyTorch before 0.1.10, which is read by running code '
            f'in it; {RESAVE}'
        )
    try:
        content = read_safely(path)
    except CompressionError as error:
        if not Path(path).is_file():
            raise CompressionError(f'SRC: there is no file {path!r}') from None
        raise CompressionError(f'SRC: {error}; if it is a checkpoint, {RESAVE}') from None
    extra: dict[str, Any] = {}
    state = content
    if isinstance(content, dict):
        for name in CONTAINERS:
            if isinstance(content.get(name), dict):
                state = content[name]
                extra = {key: value for key, value in content.items() if key != name}
                break
    tensors = {
        str(key).removeprefix('module.'): value.detach()
        for key, value in (state.items() if isinstance(state, dict) else ())
        if isinstance(value, Tensor)
    }
    if not tensors:
        found = ', '.join(map(repr, list(content)[:5])) if isinstance(content, dict) else ''
        raise CompressionError(
            f'SRC: {path!r} holds no tensors by name, neither itself nor in one of '
            f'{", ".join(CONTAINERS)}; it holds {found or type(content).__name__}'
        )
    return Source(path, tensors, extra)


def kind_of(state: Iterable[str], marks: Mapping[str, str]) -> str:
    """Which kind of file of a layout has these keys, in words; ``''`` for none of its own."""
    keys = list(state)
    for words, pattern in marks.items():
        expression = re.compile(pattern)
        if any(expression.search(key) for key in keys):
            return words
    return ''


class Conversion:
    """The account of a checkpoint's tensors: which have become what, and what is missing.

    Args:
        source: The checkpoint.
        model: An algorithm, or a dense network.

    Attributes:
        architecture: The network that names below are names in.
        state: The tensors of the checkpoint.
        extra: What else the checkpoint holds.
        buffers: What the algorithm is told besides, by name: its own buffers.
        notes: What the user should know, a sentence each.
        compact_only: Why the tensors are no start for training, or ``''``.
    """

    def __init__(self, source: Source, model: nn.Module) -> None:
        self.source = source
        self.state, self.extra = source.state, source.extra
        self.model = model
        self.architecture: Any = model
        self.prefix = ''
        if isinstance(model, CompressionAlgorithm):
            self.architecture, self.prefix = model.architecture, INNER
        self._own = self.architecture.state_dict()
        self._made: dict[str, Tensor] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._missing: list[str] = []
        self._shapes: list[str] = []
        self.buffers: dict[str, Tensor] = {}
        self.notes: list[str] = []
        self.compact_only = ''

    # What layouts ask

    def __contains__(self, key: str) -> bool:
        return key in self.state

    def layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Layers with tensors, by name, in order; ops as a whole."""
        inside: list[str] = []
        for name, module in self.architecture.named_modules():
            if any(f'{name}.'.startswith(f'{op}.') for op in inside):
                continue
            if isinstance(module, Op):
                inside.append(name)
                yield name, module
            elif getattr(module, 'weight', None) is not None:
                yield name, module

    def first_of(self, *names: str) -> str:
        """The first of some modules that the checkpoint has; the first one if it has none."""
        return next((name for name in names if f'{name}.weight' in self.state), names[0])

    # What they do

    def move(
        self,
        key: str,
        name: str,
        change: Callable[[Tensor], Tensor] | None = None,
        how: str = '',
        copies: Iterable[str] = (),
    ) -> None:
        """Let a tensor of the checkpoint become one of the network.

        Args:
            key: Its name in the checkpoint.
            name: Its name in the network.
            change: Makes the network's tensor of it.
            how: What that is, in words.
            copies: Keys under which the checkpoint has the same tensor again.
        """
        copies = [copy for copy in copies if copy in self.state and copy != key]
        if key not in self.state and copies:
            key, *copies = copies
        if key not in self.state:
            self._missing.append(f'{key!r} is missing (it would be {name!r} here)')
            self._made.setdefault(name, self._own.get(name, torch.empty(0)))
            return
        value = self.state[key]
        for copy in copies:
            if not torch.equal(self.state[copy], value):
                self._shapes.append(f'{copy!r} is not equal to {key!r}, which it should be')
            self._note(copy, name, f'a copy of {key}')
        if not how:
            how = 'as it is' if key == name else 'renamed'
        self._note(key, name, how)
        if change is None:
            self._put(name, value, repr(key))
            return
        try:
            changed = change(value)
        except (RuntimeError, IndexError) as error:
            first = str(error).splitlines()[0]
            self._shapes.append(f'{key!r} of {tuple(value.shape)} does not fit ({first})')
            self._made.setdefault(name, self._own.get(name, value))
            return
        self._put(name, changed, repr(key))

    def plain(self, theirs: str, name: str, order: Tensor | None = None, side: int = 0) -> None:
        """Move all tensors of a plain layer.

        Args:
            theirs: Name of the layer in the checkpoint.
            name: Its name here.
            order: ``LongTensor``: where each channel here is there; by default they agree.
            side: Dimension of the channels in a weight of more than one; vectors have them in
                their only one.
        """

        def permute(value: Tensor) -> Tensor:
            if order is None or not value.ndim or (value.ndim == 1 and side):
                return value
            return value.index_select(side, order)

        change, how = (permute, 'channels in our order') if order is not None else (None, '')
        for leaf in self.architecture.get_submodule(name).state_dict():
            key = f'{theirs}.{leaf}'
            if leaf == 'num_batches_tracked' and key not in self.state:
                # Networks of PyTorch before 0.4.1 have none. It is of no use with a momentum.
                self._made[f'{name}.{leaf}'] = self._own[f'{name}.{leaf}']
                continue
            self.move(key, f'{name}.{leaf}', change, how)

    def make(self, name: str, value: Tensor, keys: Iterable[str] = (), how: str = '') -> None:
        """Set a tensor of the network that a layout has worked out.

        Args:
            name: Its name in the network.
            value: The tensor.
            keys: What it is made of.
            how: How, in words.
        """
        keys = list(keys)
        for key in keys:
            self._note(key, name, how)
        self._put(name, value, ' and '.join(map(repr, keys)) or 'what SRC holds')

    def leave(self, key: str, why: str) -> None:
        """Leave a tensor of the checkpoint out, and say why."""
        if key in self.state:
            self._note(key, '', f'left out: {why}')

    def refuse(self, why: str) -> None:
        """Refuse the checkpoint.

        Raises:
            CompressionError: Always; nothing has been written.
        """
        raise CompressionError(f'SRC: {self.source.path!r} {why}')

    # The end

    def finish(self) -> list[dict[str, Any]]:
        """Load the result into the model.

        Returns:
            A row for each key of the checkpoint: ``key``, ``shape``, ``becomes`` and ``how``.

        Raises:
            CompressionError: If tensors are missing, left over, or of another shape.
        """
        self._fill()
        kind = type(self.architecture).__name__
        backbone = getattr(self.architecture, 'backbone', None)
        kind = type(backbone).__name__ if backbone is not None else kind
        over = [key for key in self.state if key not in self._rows]
        if self._missing or self._shapes or over:
            found = [*self._shapes[:1], *self._missing[:1]]
            found += [f'{over[0]!r} has no place'] if over else []
            raise CompressionError(
                f'SRC: {self.source.path!r} does not fit the {kind} of CONFIG: {"; ".join(found)} '
                f'({len(self._missing)} missing, {len(over)} left over, {len(self._shapes)} that '
                f'do not fit, of {len(self.state)} tensors)'
            )
        state = {f'{self.prefix}{name}': value for name, value in self._made.items()}
        if isinstance(self.model, CompressionAlgorithm):
            rest = self.model.state_dict()
            rest.update(self.buffers)
            state |= {k: v for k, v in rest.items() if not k.startswith(INNER)}
        self.model.load_state_dict(state)
        return [self._rows[key] for key in self.state]

    def _fill(self) -> None:
        """What no checkpoint of theirs has: constants, and further names of shared modules."""
        names: dict[tuple, str] = {}
        for name in self._made:
            if name in self._own:
                names.setdefault(_identity(self._own[name]), name)
        for name, value in self._own.items():
            if name in self._made:
                continue
            first = names.get(_identity(value))
            if first is not None:
                self._made[name] = self._made[first]
            elif not _is_learned(self.architecture, name):
                self._made[name] = value
            else:
                self._missing.append(f'nothing becomes {name!r}')

    def _put(self, name: str, value: Tensor, keys: str) -> None:
        own = self._own.get(name)
        if own is None:
            self._missing.append(f'{keys} would become {name!r}, which the network does not have')
            return
        if value.shape != own.shape:
            self._shapes.append(
                f'{keys} makes {name!r} {tuple(value.shape)}, which is {tuple(own.shape)} here'
            )
        self._made[name] = value.to(own.dtype)

    def _note(self, key: str, becomes: str, how: str) -> None:
        shape = list(self.state[key].shape)
        self._rows[key] = dict(key=key, shape=shape, becomes=becomes, how=how)


def _identity(tensor: Tensor) -> tuple:
    return tensor.data_ptr(), tensor.shape


def _is_learned(network: nn.Module, name: str) -> bool:
    """Whether a tensor is a parameter, or one of those of a norm."""
    path, _, leaf = name.rpartition('.')
    module = network.get_submodule(path)
    return leaf in module._parameters or getattr(module, 'weight', None) is not None


def no_layer(name: str, authors: str, networks: str) -> CompressionError:
    """The error for a layer of ours that none of the authors' networks has."""
    return CompressionError(f'CONFIG: {name!r} is no layer of a network of {authors} ({networks})')


def put_names(rules: Rules, name: str) -> str:
    r"""Their name of one of our modules, by the first rule that fits all of ours.

    Args:
        rules: By regular expression for our name, theirs, with groups as ``\1``; or a function
            of the match.
        name: Ours.

    Returns:
        Theirs; ``''`` if no rule fits.
    """
    for pattern, theirs in rules.items():
        found = re.fullmatch(pattern, name)
        if found:
            return theirs(found) if callable(theirs) else found.expand(theirs)
    return ''
