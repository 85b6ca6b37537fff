"""Dense against compact: how much of the FLOPs that are saved is saved in time."""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.export.folding import fold_norms, foldable
from mmcompress.core.export.onnx import OnImages
from mmcompress.core.layers.partial_add import name_before
from mmcompress.core.probe.demo_inputs import demo_batch
from mmcompress.core.probe.probe import seeded

from .conv_timer import PARTS, conv_inputs, conv_times
from .latency import compare_latency
from .layers import compare_layer, kinds_of_layers, quotient
from .models import report
from .runtimes import OnnxFiles, Runtime, fold_all, laid_out, prepare
from .squeeze_expand import narrowed_convs, squeeze_expand

#: The compact model as Li et al. (CVPR 2019) run it.
AUTHORS = 'squeeze-expand'
Row = dict[str, Any]


class Benchmark:
    """A dense and a compact model, timed against each other in one process.

    Besides the compact model there is ``squeeze-expand``, the same convolutions between tensors
    of full width (see :mod:`~mmcompress.report.squeeze_expand`). FLOPs are those of the models as
    they are, batch norms not folded.

    Args:
        dense: The dense model.
        compact: The compact one; both on the CPU, of plain layers.
        shape: ``(channels, height, width)`` of an image.
        repeats: Timed rounds for each comparison.
        advance: Called after each comparison, for a progress bar.

    Attributes:
        macs: MACs of one image by model.
        conv_macs: Those of the convolutions alone.
        kinds: Names of the narrowed convolutions, those that do the same work together.

    Raises:
        CompressionError: If a model doesn't run on such an image, or no convolution is narrower.
    """

    def __init__(
        self,
        dense: nn.Module,
        compact: nn.Module,
        shape: tuple[int, int, int],
        repeats: int = 30,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.models = _alike(copy.deepcopy(dense).eval(), copy.deepcopy(compact).eval())
        self.shape = shape
        self.repeats = repeats
        self.advance = advance
        counts = {name: report(name, model, shape) for name, model in self.models.items()}
        self.mode = counts['dense']['mode']
        self.macs = {name: count['macs'] for name, count in counts.items()}
        self.narrowed = narrowed_convs(*self.models.values())
        if not self.narrowed:
            raise CompressionError('the compact model has no convolution narrower than the dense')
        seen = {name: self._conv_inputs(model) for name, model in self.models.items()}
        self.conv_macs = {name: macs for name, (_, macs) in seen.items()}
        self.inputs = seen['dense'][0]
        self.kinds = kinds_of_layers(self.models['dense'], self.narrowed, self.inputs)

    def by_layer(self, threads: int, batch_size: int) -> list[Row]:
        """One row for each kind of narrowed convolution, see :func:`~.layers.compare_layer`.

        ``layer`` is the first of its kind, ``layers`` names all. Eager mode.
        """
        rows = []
        for names in self.kinds:
            layer = names[0]
            shape = (batch_size, *self.inputs[layer][1:])
            dense = self.models['dense'].get_submodule(layer)
            row = compare_layer(dense, self.narrowed[layer], shape, self.repeats, threads)
            rows.append(
                dict(
                    layer=layer,
                    count=len(names),
                    threads=threads,
                    batch_size=batch_size,
                    **row,
                    layers=names,
                )
            )
            self.advance()
        return rows

    def by_model(
        self, runtimes: Sequence[Runtime], threads: Sequence[int], batch_sizes: Sequence[int]
    ) -> list[Row]:
        """Two rows for each combination: the compact model, and ``squeeze-expand``.

        The columns are those of the published table: ``flops_down`` and ``time_down`` of the
        model, ``conv_flops_down`` and ``conv_time_down`` of its convolutions, in percent.
        Convolution time is read by hooks around each convolution in the real forward pass, in
        rounds of their own; None where the runtime has no modules. Beside them ``quotient``
        (time down / FLOPs down), medians and interquartile ranges, and for ``squeeze-expand`` the
        shares of ``squeeze``, ``conv`` and ``expand`` in the time of its convolutions.
        """
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            files = OnnxFiles(folder, self.shape)
            for runtime in runtimes:
                models = self._models(runtime)
                for count, batch_size in itertools.product(threads, batch_sizes):
                    found = self._compare(models, runtime, count, batch_size, files)
                    setting = dict(runtime=runtime.name, threads=count, batch_size=batch_size)
                    rows += [{**setting, **row} for row in found]
                    self.advance()
        return rows

    def _models(self, runtime: Runtime) -> dict[str, nn.Module]:
        dense, compact = self.models.values()
        if runtime.folded:
            dense, compact = fold_all(dense, compact)
        return {'dense': dense, 'compact': compact, AUTHORS: squeeze_expand(dense, compact)}

    def _compare(
        self,
        models: dict[str, nn.Module],
        runtime: Runtime,
        threads: int,
        batch_size: int,
        files: OnnxFiles,
    ) -> list[Row]:
        images, samples = self._batch(batch_size)
        images = laid_out(images, runtime)
        calls: dict[str, Any]
        if runtime.onnx:
            calls = {name: files.session(name, model, threads) for name, model in models.items()}
        else:
            calls = {
                name: prepare(model, runtime, self.mode, samples) for name, model in models.items()
            }
        timed = compare_latency(calls, images, self.repeats, threads=threads)
        convs = {}
        if runtime.is_module:
            convs = conv_times(calls, images, self.repeats, threads=threads)
        dense = timed[0]
        return [
            dict(
                model=row['name'],
                dense_ms=dense['median_ms'],
                dense_iqr_ms=dense['iqr_ms'],
                ms=row['median_ms'],
                iqr_ms=row['iqr_ms'],
                ratio=row['ratio'],
                ratio_iqr=row['ratio_iqr'],
                **self._reductions(row, convs),
            )
            for row in timed[1:]
        ]

    def _reductions(self, row: Row, convs: dict[str, dict[str, np.ndarray]]) -> Row:
        flops_down, conv_flops_down = (
            100 * (1 - macs['compact'] / macs['dense']) for macs in (self.macs, self.conv_macs)
        )
        time_down = 100 * (1 - row['ratio'])
        found = dict(
            flops_down=flops_down,
            time_down=time_down,
            conv_flops_down=conv_flops_down,
            conv_time_down=None,
            quotient=quotient(time_down, flops_down),
            conv_quotient=None,
        )
        if convs:
            spent, of_dense = (sum(convs[name].values()) for name in (row['name'], 'dense'))
            found['conv_time_down'] = 100 * (1 - float(np.median(spent / of_dense)))
            found['conv_quotient'] = quotient(found['conv_time_down'], conv_flops_down)
            if row['name'] == AUTHORS:
                for part in PARTS:
                    share = convs[AUTHORS][part] / spent
                    found[f'{part}_share'] = 100 * float(np.median(share))
        return found

    def _conv_inputs(self, model: nn.Module) -> tuple[dict[str, tuple[int, ...]], int]:
        images, samples = self._batch(1)
        shapes, macs = conv_inputs(OnImages(model, self.mode, samples), images)
        return {name.removeprefix('model.'): shape for name, shape in shapes.items()}, macs

    def _batch(self, size: int) -> tuple[Tensor, list[Any] | None]:
        with seeded():
            return demo_batch(self.models['dense'], (size, *self.shape), self.mode)


def _alike(dense: nn.Module, compact: nn.Module) -> dict[str, nn.Module]:
    """Both, and where the compact one was exported with its norms folded, so is the dense one."""
    identities = {
        name_before(compact, name)
        for name, module in compact.named_modules()
        if isinstance(module, nn.Identity)
    }
    gone = [(conv, norm) for conv, norm in foldable(dense) if norm in identities]
    fold_norms(dense, gone)
    return dict(dense=dense, compact=compact)
