"""Budgets of latency: asked, predicted and measured; and how much of the MACs saved is time saved.

    python benchmarks/latency.py budgets --out latency.json --models resnet18 resnet50
    python benchmarks/latency.py cross --out latency.json --models resnet18 resnet50
    python benchmarks/latency.py speed --out latency.json
    python benchmarks/latency.py show --out latency.json

`budgets` solves 0.8, 0.6 and 0.4 of the dense time in each runtime. `cross` times the networks of
0.6 in all of them, in turn in one process. `speed` times networks of about half the MACs: widths of
method files, of the papers' recipes, and those that MMRazor publishes for Group Fisher, as they are
and rounded to multiples of 16; a value of 1 means that time fell as much as the MACs. Each row is
written once it is there; a second run goes on. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mmcompress  # noqa: F401
from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.core.base.budget import Budget
from mmcompress.core.base.build import build_model
from mmcompress.core.channels.analyzer import DependencyAnalyzer
from mmcompress.core.channels.config import narrow_units
from mmcompress.core.export.static import to_static
from mmcompress.latency.solve import solve_latency
from mmcompress.latency.whole import Whole
from mmcompress.report.models import report
from mmcompress.report.table import markdown_table

CONFIGS = dict(
    resnet18='mmpretrain::resnet/resnet18_8xb32_in1k.py',
    resnet50='mmpretrain::resnet/resnet50_8xb32_in1k.py',
    retinanet='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    fcn='mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    heatmap='mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
)
#: Smaller images than the libraries' for the two that take seconds otherwise.
SHAPES = dict(
    resnet18=(3, 224, 224),
    resnet50=(3, 224, 224),
    retinanet=(3, 320, 512),
    fcn=(3, 128, 256),
    heatmap=(3, 256, 192),
)
#: What units are looked for in, where half of the MACs are not in the backbone.
PARTS = dict(retinanet=['backbone', 'neck', 'bbox_head'], fcn=['backbone', 'decode_head'])
RUNTIMES = ('torch-channels-last', 'onnxruntime', 'openvino')
SPEED_RUNTIMES = ('torch', *RUNTIMES)
SHARES = (0.8, 0.6, 0.4)
ROUNDS = 20
#: Of the two whose images are still large.
FEWER = dict(retinanet=8, fcn=8)
#: Where the installed mmrazor has the widths that it publishes.
FISHER = dict(
    resnet50='mmcls/group_fisher/resnet50/group_fisher_flops_deploy_resnet50_8xb32_in1k.py',
    retinanet='mmdet/group_fisher/retinanet/group_fisher_flops_deploy_retinanet_r50_fpn_1x_coco.py',
)


class Rows:
    """Rows of a JSON file; each is made once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []

    def add(self, make: Callable[[], dict[str, Any]], **key: Any) -> None:
        """Make a row, unless there is one of this key."""
        if any(all(row.get(k) == v for k, v in key.items()) for row in self.rows):
            return
        row = dict(key, **make())
        print(row, flush=True)
        self.rows.append(row)
        self.path.write_text(json.dumps(self.rows, indent=1) + '\n')

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Rows of one table."""
        return [row for row in self.rows if row['kind'] == kind]


def dense_of(name: str) -> nn.Module:
    """The dense network of a library's config, with random weights."""
    model: nn.Module = build_model(load_config(CONFIGS[name]))
    return model


def budgets(rows: Rows, names: list[str]) -> None:
    """Asked, predicted, measured."""
    for name in names:
        model = dense_of(name)
        units = DependencyAnalyzer().analyze(model).units
        for runtime in RUNTIMES:
            for share in SHARES:

                def make(runtime: str = runtime, share: float = share) -> dict[str, Any]:
                    begun = time.perf_counter()
                    budget = Budget.from_config(
                        dict(latency=share, runtime=runtime, input_shape=SHAPES[name])  # noqa: B023
                    )
                    found = solve_latency(model, units, budget)  # noqa: B023
                    return dict(
                        predicted=found.predicted,
                        measured=found.measured,
                        spread=found.spread,
                        dense_ms=found.dense_ms,
                        macs=found.reached['macs'] / found.dense['macs'],
                        divisor=found.divisor,
                        error=found.error,
                        seconds=time.perf_counter() - begun,
                        ratios=found.ratios,
                    )

                rows.add(make, kind='budget', model=name, runtime=runtime, asked=share)


def cross(rows: Rows, names: list[str], share: float = 0.6) -> None:
    """Networks that were made for one runtime, in all of them."""
    for name in names:
        model = dense_of(name)
        units = DependencyAnalyzer().analyze(model).units
        made = {
            row['runtime']: _narrowed(
                model, units, {n: r * units[n].num_channels for n, r in row['ratios'].items()}
            )
            for row in rows.of('budget')
            if row['model'] == name and row['asked'] == share
        }
        for runtime in RUNTIMES:

            def make(runtime: str = runtime) -> dict[str, Any]:
                with Whole(model, runtime, 1, 1, SHAPES[name]) as whole:  # noqa: B023
                    calls = {n: whole.call(one) for n, one in made.items()}  # noqa: B023
                    found = whole.compare_all(calls, ROUNDS)
                return dict(ratios={n: row['ratio'] for n, row in found.items()})

            rows.add(make, kind='cross', model=name, runtime=runtime)


def _narrowed(model: nn.Module, units: Any, widths: dict[str, float]) -> nn.Module:
    copied = copy.deepcopy(model)
    narrow_units(copied, [(units[name], round(width)) for name, width in widths.items()])
    return copied


def networks(name: str) -> dict[str, Callable[[], nn.Module]]:
    """Compact networks of about half the MACs, by the name of their widths."""
    half = {'model.target_pruning_ratio': None, 'model.budget.macs': 0.5}
    free = {'model.mutator_cfg.channel_unit_cfg.default_args.divisor': 1}
    if name in PARTS:
        half['model.mutator_cfg.type'] = 'DCFFMutator'
        half['model.mutator_cfg.parse_cfg.include'] = PARTS[name]
    unit = {
        'model.mutator_cfg.scope': 'unit',
        'model.target_pruning_ratio': None,
        'model.budget.macs': 0.5,
        'model.budget.divisor': 'auto',
    }
    if name in PARTS:
        unit['model.mutator_cfg.parse_cfg.include'] = PARTS[name]
    made: dict[str, Callable[[], nn.Module]] = {
        'DCFF, method file': lambda: _method(name, 'dcff_r50', {}),
        'DCFF, as published': lambda: _method(name, 'dcff_r50', free),
        'DCFF, half': lambda: _method(name, 'dcff', {**half, 'model.budget.divisor': 'auto'}),
        'DCFF, half, divisor 1': lambda: _method(name, 'dcff', half),
        'FCF (unit), half': lambda: _method(name, 'fcf_r50', unit),
        'filter basis, method file': lambda: _method(name, 'filter_basis_r50', {}),
    }
    if name in FISHER:
        made['Group Fisher, published'] = lambda: _fisher(name, 1)
        made['Group Fisher, rounded'] = lambda: _fisher(name, 16)
    return made


def _method(name: str, method: str, options: dict[str, Any]) -> nn.Module:
    cfg = load_config(CONFIGS[name], method, {**options})
    if 'budget' in cfg.model:
        cfg.model.budget.input_shape = SHAPES[name]
    if cfg.model.get('init') == 'svd':
        cfg.model.init = 'kaiming'
    return to_static(build_algorithm(cfg)).eval()


def _fisher(name: str, divisor: int) -> nn.Module:
    """The network of MMRazor's config, whose widths are read as text."""
    import mmrazor

    path = Path(mmrazor.__file__).parent / '.mim' / 'configs' / 'pruning' / FISHER[name]
    tree = ast.parse(path.read_text())
    widths: dict[str, int] = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'fix_subnet'
    )
    model = dense_of(name)
    where = dict(include=PARTS[name]) if name in PARTS else {}
    units = DependencyAnalyzer(**where).analyze(model).units
    by_layer = {key.split('_(')[0]: unit for key, unit in units.items()}
    chosen = {}
    for key, width in widths.items():
        unit = by_layer.get(key.split('_(')[0])
        if unit is not None:
            rounded = max(round(width / divisor), 1) * divisor
            chosen[unit.name] = min(rounded, unit.num_channels)
    left = [key for key in widths if key.split('_(')[0] not in by_layer]
    print(f'{name}: {len(chosen)} of {len(widths)} units of MMRazor; not found: {left}')
    return _narrowed(model, units, chosen)


def speed(rows: Rows, names: list[str]) -> None:
    """Time saved for MACs saved."""
    for name in names:
        dense = dense_of(name)
        shape = SHAPES[name]
        macs = report('dense', dense, shape)['macs']
        models = {}
        for label, make in networks(name).items():
            wanted = [
                runtime
                for runtime in SPEED_RUNTIMES
                if not any(
                    (row['model'], row['widths'], row['runtime']) == (name, label, runtime)
                    for row in rows.of('speed')
                )
            ]
            if wanted:
                models[label] = make()
        for runtime in SPEED_RUNTIMES:
            with Whole(dense, runtime, 1, 1, shape) as whole:
                for label, model in models.items():

                    def time_it(label: str = label, model: nn.Module = model) -> dict[str, Any]:
                        share = report(label, model, shape)['macs'] / macs  # noqa: B023
                        found = whole.compare(model, FEWER.get(name, ROUNDS))  # noqa: B023
                        return dict(
                            macs=share,
                            time=found['ratio'],
                            spread=found['ratio_iqr'],
                            dense_ms=found['dense_ms'],
                            saved=(1 - found['ratio']) / (1 - share),
                            part=whole.part,
                        )

                    rows.add(time_it, kind='speed', model=name, widths=label, runtime=runtime)


def show(rows: Rows) -> None:
    """The tables in Markdown."""
    print(
        markdown_table(
            [
                'model',
                'runtime',
                'asked',
                'predicted',
                'measured',
                'MACs',
                'time saved / MACs saved',
                'multiples of',
                's',
            ],
            [
                [
                    row['model'],
                    row['runtime'],
                    row['asked'],
                    f'{row["predicted"]:.3f}',
                    f'{row["measured"]:.3f} ± {row["spread"]:.3f}',
                    f'{row["macs"]:.3f}',
                    f'{(1 - row["measured"]) / (1 - row["macs"]):.2f}',
                    row['divisor'],
                    f'{row["seconds"]:.0f}',
                ]
                for row in rows.of('budget')
            ],
        )
    )
    print()
    print(
        markdown_table(
            ['model', 'timed in', *(f'made for {runtime}' for runtime in RUNTIMES)],
            [
                [row['model'], row['runtime'], *(f'{row["ratios"][r]:.3f}' for r in RUNTIMES)]
                for row in rows.of('cross')
            ],
        )
    )
    print()
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows.of('speed'):
        cell = cells.setdefault((row['model'], row['widths']), dict(macs=row['macs']))
        cell[row['runtime']] = row['saved']
    print(
        markdown_table(
            ['model', 'widths', 'MACs', *SPEED_RUNTIMES],
            [
                [
                    *key,
                    f'{cell["macs"]:.3f}',
                    *(f'{cell[r]:.2f}' if r in cell else '' for r in SPEED_RUNTIMES),
                ]
                for key, cell in cells.items()
            ],
        )
    )


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('part', choices=('budgets', 'cross', 'speed', 'show'))
    parser.add_argument('--out', type=Path, required=True, help='JSON of all rows')
    parser.add_argument('--models', nargs='+', choices=list(CONFIGS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(args.out)
    if args.part == 'show':
        show(rows)
    elif args.part == 'speed':
        speed(rows, args.models or ['resnet50', 'retinanet', 'fcn', 'heatmap'])
    else:
        dict(budgets=budgets, cross=cross)[args.part](rows, args.models or ['resnet18', 'resnet50'])


if __name__ == '__main__':
    main()
