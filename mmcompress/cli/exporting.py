"""From the config and checkpoint of a finished training to its exported network."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture, build_model
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.export import INT8_FILES, dense_config, export
from mmcompress.latency.layers import fastest_forms, layer_times, without_their_time
from mmcompress.latency.table import cached
from mmcompress.latency.whole import check_runtime
from mmcompress.report.exported import export_report

from .found_widths import use_found
from .launch import build_algorithm
from .planning import counted_with
from .quantizing import Int8Options, Quantization
from .runner import ToolRunner


def export_checkpoint(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    batches: int | None = 2,
    overwrite: bool = False,
    fold_bn: bool = False,
    deploy: bool = False,
    onnx_shape: Sequence[int] | None = None,
    onnx: dict[str, Any] | None = None,
    openvino: bool = False,
    prefer: str = 'macs',
    runtime: str = 'torch',
    shape: Any = None,
    with_report: bool = False,
    store: str = 'smallest',
    dtype: str = 'float32',
    int8: Int8Options | None = None,
) -> dict[str, Any]:
    """Build the algorithm of a config, load its checkpoint and export it.

    Args:
        cfg: The config that was trained.
        checkpoint: The checkpoint that training wrote.
        out: Folder to write to.
        batches: How many batches of the config's validation data to compare on; ``None`` for all.
        overwrite: Replace an earlier export.
        fold_bn: Make batch norms part of the convolutions in front of them.
        deploy: Merge the branches of re-parameterised blocks.
        onnx_shape: Also write ``compact.onnx``, traced on an image of this
            ``(channels, height, width)``.
        onnx: How, see :func:`~mmcompress.core.export.onnx.export_onnx`.
        openvino: Also write it for OpenVINO.
        prefer: The quantity to minimise where ops have several static forms: ``'macs'``,
            ``'params'`` or ``'latency'``, which is measured.
        runtime: In what time is measured, one of
            :data:`~mmcompress.core.base.budget.RUNTIMES`, on one thread.
        shape: ``(channels, height, width)`` of an image to count with and to measure time;
            ``None``: what the config gives, see :func:`~mmcompress.cli.planning.counted_with`.
        with_report: Compare parameters, MACs and time of the dense and the exported model.
        store: What ``compact.pth`` holds, see :func:`~mmcompress.core.export.export.export`.
        dtype: And in which numbers.
        int8: Also write ``compact_int8.onnx``, made of ``compact.onnx``, and the errors of its
            layers, ``compact_int8.json``.

    Returns:
        What :func:`~mmcompress.core.export.export.export` returns; ``forms``, how many layers
        take each static form, where they have several; with a report also its rows, ``report``,
        and ``layers``, with the ``rows`` of
        :func:`~mmcompress.latency.layers.layer_times` and the names of ``slow`` ones;
        with ``int8`` what :meth:`~mmcompress.cli.quantizing.Quantization.run` returns, as
        ``int8``.

    Raises:
        CompressionError: If the checkpoint doesn't belong to the config, ``out`` is there
            already, or the static model differs from the trained one.
    """
    use_found(cfg, checkpoint)
    if with_report or prefer == 'latency':
        check_runtime(runtime, '--runtime')
    algorithm = build_algorithm(cfg)
    content = load_into(algorithm, checkpoint)
    algorithm.dataset_meta = content.get('meta', {}).get('dataset_meta')
    quantization = None if int8 is None else Quantization(cfg, int8)
    data = _validation_batches(cfg, batches)
    images: Any = None
    if with_report or prefer == 'latency':
        images = counted_with(cfg, algorithm, shape)
    forms = static_forms(algorithm, prefer, images, runtime)
    result = export(
        algorithm,
        cfg,
        out,
        data,
        overwrite=overwrite,
        fold_bn=fold_bn,
        deploy=deploy,
        onnx_shape=onnx_shape,
        onnx=onnx,
        openvino=openvino,
        forms=forms,
        store=store,
        dtype=dtype,
    )
    if forms:
        result['forms'] = dict(Counter(forms.values()))
    if quantization is not None:
        result['int8'] = quantization.run(
            result['onnx'], Path(out) / INT8_FILES[0], algorithm.data_preprocessor.cpu()
        )
    if with_report:
        dense = build_architecture(dense_config(cfg), cfg.get('data_preprocessor'))
        static = build_model(Config.fromfile(result['config']))
        load_into(static, result['checkpoint'])
        result['report'] = export_report(dense, algorithm, static, images)
        rows = layer_times(dense, static, images, cached(runtime, 1))
        result['layers'] = dict(runtime=runtime, rows=rows, slow=without_their_time(rows))
    return result


def static_forms(
    algorithm: CompressionAlgorithm, prefer: str, shape: Any, runtime: str = 'torch'
) -> dict[str, str]:
    """The form that each op takes, see :func:`export_checkpoint`."""
    forms = algorithm.mutator.static_forms(algorithm.architecture, prefer)
    if prefer == 'latency' and forms:
        return fastest_forms(algorithm, shape, cached(runtime, 1))
    if prefer != 'macs' and not forms:
        print_log(
            f'--prefer has no effect: layers of {type(algorithm).__name__} have one static form',
            'current',
        )
    return forms


def _validation_batches(cfg: Config, count: int | None) -> Iterator[Any]:
    """The first batches of the config's validation data, none where there is no data."""
    loader_cfg = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if (count is not None and count < 1) or not loader_cfg:
        return iter(())
    try:
        # With a seed, for samplers ask all processes for one, and only one of them exports.
        loader = ToolRunner.build_dataloader(
            dict(loader_cfg, num_workers=0, persistent_workers=False), seed=0
        )
    except CompressionError as error:
        print_log(f'comparing on random images only: {error}', 'current')
        return iter(())
    return itertools.islice(iter(loader), count)
