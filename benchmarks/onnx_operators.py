"""Which operators the ONNX files of compressed networks are made of.

Writes the network of each config, raw and end to end, without training: the graph is that of a
trained one. With a checkpoint, ``mmcompress export --onnx`` says the same, and differences.

Example:
    python benchmarks/onnx_operators.py configs/demo/dcff_*_r18_digits.py --outputs end2end
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

#: Operators that some runtimes lack, or run slowly.
EXOTIC = ('If', 'Loop', 'Scan', 'GridSample')


def main() -> None:
    """Write, read and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+')
    parser.add_argument('--outputs', nargs='+', default=['raw'], choices=['raw', 'end2end'])
    args = parser.parse_args()
    for config in args.configs:
        for row in rows(config, args.outputs):
            print(' | '.join(row), flush=True)


def rows(config: str, outputs: list[str]) -> list[tuple[str, ...]]:
    """Config, outputs, free axes, exotic operators, and all operators."""
    import mmcompress.everything  # noqa: F401
    from mmcompress.cli.launch import build_algorithm, load_config
    from mmcompress.core.base.image_shape import image_shape
    from mmcompress.core.export.onnx import export_onnx
    from mmcompress.core.export.static import to_static

    cfg = load_config(config, None, None)
    shape: Any = image_shape(cfg, None)
    static = to_static(build_algorithm(cfg))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in outputs:
            done = export_onnx(static, Path(folder) / 'a.onnx', shape, outputs=kind)
            names = done['operators']
            odd = [n for n in names if '.' in n or n.startswith('Scatter') or n in EXOTIC]
            free = ', '.join(done['free'])
            name = Path(config).stem
            found.append((name, done['outputs'], free, ', '.join(odd) or '-', ', '.join(names)))
    return found


if __name__ == '__main__':
    main()
