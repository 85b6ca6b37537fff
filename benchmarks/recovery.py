"""What recovery gives: demos compressed to half at once, before and after they are repaired.

A cell is a model and a method: the metric of the dense network, the metric right after compression,
and after ``mmcompress recover``, with the time that it took. Dense networks are trained once. Cells
whose result is in the work dir are not measured again.

Example:
    OMP_NUM_THREADS=1 python benchmarks/recovery.py --work-dir work_dirs/recovery
    OMP_NUM_THREADS=1 python benchmarks/recovery.py resnet20 fcn --methods magnitude --json r.json
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.cli.options import give_json
from mmcompress.core.export.checkpoint import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[1]
#: By name: the dense demo, and its metric.
MODELS = {
    'resnet20': ('dense_resnet20_digits', 'accuracy/top1'),
    'faster-rcnn': ('dense_faster-rcnn_r18_digits', 'coco/bbox_mAP'),
    'fcn': ('dense_fcn_r18_digits', 'mIoU'),
    'heatmap': ('dense_heatmap_r18_digits', 'coco/AP'),
    'edsr': ('dense_edsr_x2_photos', 'PSNR'),
}
_HALF_OF_MACS = ('model.target_pruning_ratio=None', 'model.budget.macs=0.5')
#: By name: the method file, and options; channel methods keep half of the MACs, the others half of
#: the parameters of the layers that they compress.
METHODS = {
    'filter basis': ('filter_basis_r18', ()),
    'shared basis': ('shared_basis_r18', ()),
    'LinearConv': ('linear_conv_r18', ()),
    'FCF': ('fcf_r18', ('model.mutator_cfg.scope=unit', *_HALF_OF_MACS)),
    'magnitude': ('magnitude_r18', _HALF_OF_MACS),
}
#: For networks whose backbones have other names, or fewer stages.
OWN = """
compression = dict(
    type='mmcompress.{0}',
    mutator_cfg=dict(type='{0}Mutator', parse_cfg=dict(include='{3}', kernel_size=3, rule='{1}')),
    target_pruning_ratio=0.5,
    init='{2}',
)
"""
OWN_METHODS = {
    ('edsr', 'filter basis'): ('FilterBasis', 'layer', 'svd', 'backbone.blocks*'),
    ('edsr', 'shared basis'): ('SharedBasis', 'network', 'svd', 'backbone.blocks*'),
    ('edsr', 'LinearConv'): ('LinearConv', 'layer', 'qr', 'backbone.blocks*'),
    ('resnet20', 'shared basis'): ('SharedBasis', 'stage', 'svd', 'backbone.layer*'),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('models', nargs='*', metavar='MODEL', help=', '.join(MODELS))
    parser.add_argument('--methods', nargs='+', choices=list(METHODS), default=list(METHODS))
    parser.add_argument('--images', type=int, default=400)
    parser.add_argument('--steps', type=int, default=100)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/recovery'))
    parser.add_argument('--dense', type=Path, help='folder with work dirs of the dense demos')
    parser.add_argument('--json', nargs='?', const='-', help='write the table there')
    args = parser.parse_args()
    for name in args.models:
        if name not in MODELS:
            parser.error(f'{name!r} is no model; they are {", ".join(MODELS)}')
    return args


def tool(name: str, *words: object) -> str:
    """Run a tool; its standard output."""
    command = [sys.executable, '-W', 'ignore', f'tools/{name}.py', *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f'{" ".join(command)}: {done.stderr[-3000:]}')
    return done.stdout


def dense_of(config: str, args: argparse.Namespace) -> str:
    """The checkpoint of a dense demo, which is trained if it isn't there."""
    folder = ((args.dense or args.work_dir) / config).resolve()
    if not (folder / 'last_checkpoint').is_file():
        tool('train', f'configs/demo/{config}.py', '--work-dir', folder)
    return (folder / 'last_checkpoint').read_text().strip()


def metric(name: str, checkpoint: str | Path, folder: Path, *more: object) -> float:
    """The metric of a checkpoint."""
    config, wanted = MODELS[name]
    out = folder / f'{Path(checkpoint).stem}.json'
    words = [f'configs/demo/{config}.py', checkpoint, '--work-dir', folder / 'test', *more]
    tool('test', *words, f'--json={out}')
    found = json.loads(out.read_text())
    return next(value for key, value in found.items() if re.search(wanted, key))


def measure(name: str, method: str, dense: str, args: argparse.Namespace) -> dict[str, Any]:
    """A cell."""
    folder = (args.work_dir / name / f'{method}-{args.images}-{args.steps}').resolve()
    result = folder / 'result.json'
    if result.is_file():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    config = f'configs/demo/{MODELS[name][0]}.py'
    compress, options = METHODS[method]
    if (name, method) in OWN_METHODS:
        file = folder / 'method.py'
        file.write_text(OWN.format(*OWN_METHODS[name, method]))
        compress = str(file)
    given = ['--compress', compress, *(['--cfg-options', *options] if options else [])]
    pairs: dict[str, Any] = dict(option.split('=') for option in options)
    if pairs:
        pairs['model.target_pruning_ratio'] = None
        pairs['model.budget.macs'] = 0.5
    cfg = load_config(config, compress, pairs)
    algorithm = build_algorithm(cfg)
    state = load_checkpoint_file(dense)['state_dict']
    algorithm.load_state_dict(state, strict=False)
    algorithm.decide({})
    meta = load_checkpoint_file(dense).get('meta', {}).get('dataset_meta', {})
    content = dict(state_dict=algorithm.state_dict(), meta=dict(dataset_meta=meta))
    torch.save(content, folder / 'cut.pth')
    recovered = folder / 'recovered.pth'
    recovered.unlink(missing_ok=True)
    words = ['--images', args.images, '--steps', args.steps, '-o', recovered, '--json']
    told = json.loads(tool('recover', config, dense, *words, *given))
    found = dict(
        cut=metric(name, folder / 'cut.pth', folder, *given),
        recovered=metric(name, recovered, folder, *given),
        seconds=sum(told['seconds'].values()),
        images=told['images'],
    )
    for file in (folder / 'cut.pth', recovered):
        file.unlink()
    result.write_text(json.dumps(found))
    return found


def main() -> None:
    args = parse_args()
    names = args.models or list(MODELS)
    rows: list[dict[str, Any]] = []
    print('| model | metric | method | dense | cut | recovered | of dense | seconds | images |')
    print('| --- | --- | --- | --- | --- | --- | --- | --- | --- |')
    with Progress(transient=True) as progress:
        task = progress.add_task('cells', total=len(names) * len(args.methods))
        for name in names:
            config, wanted = MODELS[name]
            dense = dense_of(config, args)
            folder = (args.work_dir / name).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            first = metric(name, dense, folder)
            for method in args.methods:
                cell = measure(name, method, dense, args)
                row = dict(model=name, metric=wanted, method=method, dense=first, **cell)
                rows.append(row)
                share = row['recovered'] / first
                print(
                    f'| {name} | {wanted} | {method} | {first:.4g} | {row["cut"]:.4g} | '
                    f'{row["recovered"]:.4g} | {share:.1%} | {row["seconds"]:.0f} | '
                    f'{row["images"]} |',
                    flush=True,
                )
                progress.advance(task)
    give_json(rows, args.json)


if __name__ == '__main__':
    main()
