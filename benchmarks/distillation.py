"""What a teacher gives: demos fine-tuned with and without the dense network as teacher.

Each cell is a training in a process of its own: a demo, a seed, with or without ``--distill``. The
dense networks are trained once, with the seed of their configs. Cells whose result is in the work
dir are not trained again.

Example:
    OMP_NUM_THREADS=1 python benchmarks/distillation.py --work-dir work_dirs/distillation
    OMP_NUM_THREADS=1 python benchmarks/distillation.py fcn heatmap --seeds 0 1 --json d.json
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.progress import Progress

from mmcompress.cli.options import give_json

ROOT = Path(__file__).resolve().parents[1]
#: By name: the dense demo, the demo that starts from it, and its metric.
DEMOS = {
    'resnet20': (
        'dense_resnet20_digits',
        'filter_basis_resnet20_digits_finetune',
        'accuracy/top1',
    ),
    'faster-rcnn': (
        'dense_faster-rcnn_r18_digits',
        'filter_basis_faster-rcnn_r18_digits_finetune',
        'coco/bbox_mAP',
    ),
    'fcn': ('dense_fcn_r18_digits', 'filter_basis_fcn_r18_digits_finetune', 'mIoU'),
    'heatmap': ('dense_heatmap_r18_digits', 'filter_basis_heatmap_r18_digits_finetune', 'coco/AP'),
    'edsr': ('dense_edsr_x2_photos', 'filter_basis_edsr_x2_photos_finetune', 'PSNR'),
}
#: Quantiles 0.975 of Student's distribution by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('demos', nargs='*', metavar='DEMO', help=', '.join(DEMOS))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/distillation'))
    parser.add_argument('--dense', type=Path, help='folder with work dirs of the dense demos')
    parser.add_argument('--options', nargs='*', default=[], help='--cfg-options of the fine-tuning')
    parser.add_argument('--json', nargs='?', const='-', help='write the table there')
    args = parser.parse_args()
    for name in args.demos:
        if name not in DEMOS:
            parser.error(f'{name!r} is no demo; they are {", ".join(DEMOS)}')
    return args


def train(config: str, folder: Path, *arguments: str) -> dict[str, float]:
    """Train once, and return the numbers of the last evaluation and the time of a step."""
    result = folder / 'result.json'
    if result.is_file():
        return json.loads(result.read_text())
    words = [f'configs/demo/{config}.py', '--work-dir', str(folder.resolve()), *arguments]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', 'tools/train.py', *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f'{" ".join(words)}: {done.stderr[-2000:]}')
    found: dict[str, float] = {}
    steps: list[float] = []
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in map(json.loads, file.read_text().splitlines()):
            found.update({k: v for k, v in line.items() if isinstance(v, (int, float))})
            steps += [line['time'] - line.get('data_time', 0)] if 'loss' in line else []
    found['step'] = statistics.median(steps)
    result.write_text(json.dumps(found))
    return found


def dense_of(name: str, args: argparse.Namespace) -> str:
    """The checkpoint of a dense demo, which is trained if it isn't there."""
    config = DEMOS[name][0]
    folder = (args.dense or args.work_dir) / config
    if not (folder / 'last_checkpoint').is_file():
        train(config, folder)
    return (folder / 'last_checkpoint').read_text().strip()


def interval(values: list[float]) -> float:
    """Half the 95 % interval of a mean."""
    n = len(values)
    return STUDENT[n - 1] * statistics.stdev(values) / math.sqrt(n) if 1 < n <= 10 else math.nan


def main() -> None:
    args = parse_args()
    names = args.demos or list(DEMOS)
    rows: list[dict[str, Any]] = []
    with Progress(transient=True) as progress:
        task = progress.add_task('trainings', total=2 * len(names) * len(args.seeds))
        for name in names:
            dense = dense_of(name, args)
            _, config, metric = DEMOS[name]
            row: dict[str, Any] = dict(demo=name, metric=metric, plain=[], distilled=[], step=[])
            for seed in args.seeds:
                steps = []
                for way, more in (('plain', []), ('distilled', ['--distill'])):
                    options = [f'load_from={dense}', f'randomness.seed={seed}', *args.options]
                    folder = args.work_dir / name / f'{way}-{seed}'
                    found = train(config, folder, *more, '--cfg-options', *options)
                    row[way].append(next(v for k, v in found.items() if re.search(metric, k)))
                    steps.append(found['step'])
                    progress.advance(task)
                row['step'].append(steps[1] / steps[0])
            gains = [b - a for a, b in zip(row['plain'], row['distilled'], strict=True)]
            rows.append(dict(row, gain=statistics.mean(gains), interval=interval(gains)))
            show(rows[-1])
    give_json(rows, args.json)


def show(row: dict[str, Any]) -> None:
    """A line of the table, in Markdown."""
    plain, distilled = (statistics.mean(row[way]) for way in ('plain', 'distilled'))
    print(
        f'| {row["demo"]} | {row["metric"]} | {plain:.3f} | {distilled:.3f} | '
        f'{row["gain"]:+.3f} ± {row["interval"]:.3f} | {statistics.median(row["step"]):.2f} |',
        flush=True,
    )


if __name__ == '__main__':
    main()
