"""Latency of ONNX files in several runtimes, in one process."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mmcompress.core.export.sessions import openvino_session, session

from .latency import compare_latency

#: What runs ONNX files.
RUNTIMES = dict(onnxruntime=session, openvino=openvino_session)


def compare_files(
    files: Sequence[str | Path],
    images: Tensor,
    runtimes: Sequence[str] = tuple(RUNTIMES),
    repeats: int = 30,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """Time files in turn: each in each runtime, then all of them again.

    Args:
        files: ONNX files that take the images.
        images: ``Tensor[N, C, H, W]``.
        runtimes: Names in :data:`RUNTIMES`.
        repeats: Timed rounds.
        threads: CPU threads of each runtime.

    Returns:
        For each runtime and file a row: ``runtime``, ``file``, ``bytes``, ``ms`` and ``iqr_ms``,
        and ``ratio`` and ``ratio_iqr`` to the first file in the first runtime.

    Raises:
        CompressionError: If a runtime isn't installed.
    """
    pairs = list(itertools.product(runtimes, map(Path, files)))
    calls = {f'{name} {i}': RUNTIMES[name](file, threads) for i, (name, file) in enumerate(pairs)}
    return [
        dict(
            runtime=runtime,
            file=str(file),
            bytes=file.stat().st_size,
            ms=row['median_ms'],
            iqr_ms=row['iqr_ms'],
            ratio=row['ratio'],
            ratio_iqr=row['ratio_iqr'],
        )
        for (runtime, file), row in zip(
            pairs, compare_latency(calls, images, repeats, threads=threads), strict=True
        )
    ]
