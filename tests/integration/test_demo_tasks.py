"""Detection, segmentation and pose through the tools: what is exported scores as it did before."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch

EPOCHS = 2
#: By config: the first layer that follows the backbone, and options for a short run.
TASKS = {
    'faster-rcnn': (
        'neck.lateral_convs.3.conv',
        # Any box counts, whatever its class: after seconds of training no class is right.
        'train_dataloader.batch_size=4',
        # A seed with which some box is right after two epochs.
        'randomness.seed=1',
        'model.architecture.test_cfg.rcnn.score_thr=0.0',
        'val_evaluator.metric=proposal',
        'test_evaluator.metric=proposal',
    ),
    'fcn': ('decode_head.convs.0.conv',),
    'heatmap': ('head.deconv_layers.0', 'train_dataloader.batch_size=8'),
}
SHORT = (
    f'train_cfg.max_epochs={EPOCHS}',
    f'param_scheduler.T_max={EPOCHS}',
    'train_dataloader.dataset.indices=32',
    'val_dataloader.dataset.indices=12',
    'test_dataloader.dataset.indices=12',
)


def _run(tool: ModuleType, name: str, folder: Path) -> dict:
    """Train, export and test one task; returns what the tools said."""
    config = f'configs/demo/dcff_{name}_r18_digits.py'
    options = ('--cfg-options', *SHORT, *TASKS[name][1:])
    tool.succeed('train', config, '--work-dir', folder, *options)
    checkpoint = folder / f'epoch_{EPOCHS}.pth'
    exported = json.loads(
        tool.succeed('export', config, checkpoint, '--json', '--batches', 1, *options)
    )
    arguments = ('--work-dir', folder / 'test', '--json', folder / 'static.json')
    tool.succeed('test', exported['config'], *arguments, '--cfg-options', *_draw(name))
    scalars = next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return dict(
        exported=exported,
        trained=json.loads(scalars[-1]),
        static=json.loads((folder / 'static.json').read_text()),
        drawn=len(list(folder.glob('test/*/vis_data/vis_image/*.png'))),
        state=torch.load(exported['checkpoint'], weights_only=True)['state_dict'],
    )


def _draw(name: str) -> tuple[str, ...]:
    """Options that make the library's visualizer draw predictions."""
    hook = 'default_hooks.visualization'
    return (f'{hook}.{"enable" if name == "heatmap" else "draw"}=True', f'{hook}.interval=1')


@pytest.fixture(scope='module')
def runs(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future]:
    """All tasks, side by side: most of their time is spent on imports."""
    with ThreadPoolExecutor(len(TASKS)) as pool:
        return {
            name: pool.submit(_run, tool, name, tmp_path_factory.mktemp(name)) for name in TASKS
        }


@pytest.mark.parametrize('name', TASKS)
def test_exported_model_scores_as_the_algorithm_did(runs: dict[str, Future], name: str) -> None:
    run = runs[name].result()
    assert run['exported']['max_difference'] < 1e-5
    assert run['exported']['batches'] == 1
    # The last line of a training's log: its own evaluation at the end.
    metrics = {key: run['trained'][key] for key in run['static']}
    assert metrics == run['static']
    # Not equal for want of anything right.
    assert any(0 < value < 1 or 1 < value < 100 for value in metrics.values())


@pytest.mark.parametrize('name', TASKS)
def test_visualizer_draws_the_predictions(runs: dict[str, Future], name: str) -> None:
    assert runs[name].result()['drawn'] >= 1


@pytest.mark.parametrize('name', TASKS)
def test_what_follows_the_backbone_is_narrowed_with_it(runs: dict[str, Future], name: str) -> None:
    state = runs[name].result()['state']
    first = state[f'{TASKS[name][0]}.weight']
    inputs = first.shape[0 if name == 'heatmap' else 1]  # transposed convolution
    assert inputs == state['backbone.layer4.0.conv2.weight'].shape[0] == 460
    assert state['backbone.layer1.0.conv1.weight'].shape[0] == 41
