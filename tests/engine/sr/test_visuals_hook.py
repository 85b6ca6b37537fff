"""Pictures of super-resolution: which are written, where, and what is on them."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop
from mmengine.structures import BaseDataElement
from PIL import Image

from mmcompress.core.errors import CompressionError
from mmcompress.engine.sr.visuals_hook import GAP, LINE, VisualsHook


def batch(names, scale=2, size=(50, 70), target=True):
    """Random inputs, and outputs that are four levels off their targets."""
    inputs, outputs = [], []
    for name in names:
        truth = torch.randint(4, 250, (3, size[0] * scale, size[1] * scale)).float()
        sample = BaseDataElement(metainfo=dict(img_path=f'data/{name}.jpg', scale=scale))
        sample.pred_img = truth + 4
        if target:
            sample.gt_img = truth
        inputs.append(torch.full((3, *size), 100.0))
        outputs.append(sample)
    return dict(inputs=inputs), outputs


@pytest.fixture
def runner(tmp_path):
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    logger = logging.getLogger('test_visuals')
    return SimpleNamespace(log_dir=tmp_path, iter=0, epoch=0, train_loop=loop, logger=logger)


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.png'))


def test_the_first_images_of_each_pass_are_written(runner, tmp_path):
    hook = VisualsHook(count=3)
    for runner.epoch, runner.iter in ((0, 0), (2, 20)):
        hook.before_val_epoch(runner)
        # Two photographs of one name, in two folders.
        hook.after_val_iter(runner, 0, *batch(['cat', 'cup']))
        hook.after_val_iter(runner, 1, *batch(['cat', 'dog']))
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, *batch(['dog']))
    runner.train_loop, runner.iter = None, 500
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, *batch(['dog'], target=False))
    first = ['cat.png', 'cat_2.png', 'cup.png']
    assert written(tmp_path / 'visuals') == [
        *(f'epoch_2/{name}' for name in first),
        'iter_500/dog.png',
        'test/dog.png',
        *(f'val/{name}' for name in first),
    ]


def test_none_are_written_where_none_are_wanted(runner, tmp_path, caplog):
    hook = VisualsHook(count=0)
    with caplog.at_level(logging.INFO, 'test_visuals'):
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, *batch(['dog']))
        hook.after_test_epoch(runner, {})
    assert not list(tmp_path.iterdir())
    assert not caplog.messages


def test_the_log_names_the_folder(runner, tmp_path, caplog):
    """Also where there are fewer images than wanted."""
    hook = VisualsHook(count=4)
    runner.epoch, runner.iter = 2, 20
    with caplog.at_level(logging.INFO, 'test_visuals'):
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0, *batch(['cat']))
        hook.after_val_iter(runner, 1, *batch(['dog']))
        hook.after_val_epoch(runner, {})
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, *batch(['dog']))
        hook.after_test_epoch(runner, {})
    folder = tmp_path / 'visuals'
    assert caplog.messages == [f'visuals: 2 in {folder}/epoch_2', f'visuals: 1 in {folder}/test']


@pytest.mark.parametrize(
    ('crop', 'enlarge', 'height', 'width'),
    [(None, 1, 100, 140), (32, 4, 128, 128), ([34, 54, 32, 200], 1, 32, 86)],
)
def test_panels_are_input_output_and_target(runner, tmp_path, crop, enlarge, height, width):
    data, outputs = batch(['cat'])
    hook = HOOKS.build(dict(type='mmcompress.VisualsHook', crop=crop, enlarge=enlarge))
    hook.after_test_iter(runner, 0, data, outputs)
    sheet = np.asarray(Image.open(tmp_path / 'visuals/test/cat.png'))
    assert sheet.shape == (LINE + height, 3 * width + 2 * GAP, 3)
    panels = [sheet[LINE:, i * (width + GAP) :][:, :width] for i in range(3)]
    assert (panels[0] == 100).all()
    truth = outputs[0].gt_img.permute(1, 2, 0).numpy()
    if crop:
        truth = truth[34:66, 54:][:, : width // enlarge].repeat(enlarge, 0).repeat(enlarge, 1)
    np.testing.assert_array_equal(panels[2], truth)
    np.testing.assert_array_equal(panels[1], truth + 4)
    # Text above each panel.
    assert all((sheet[:LINE, i * (width + GAP) :][:, :30] < 128).any() for i in range(3))


def test_labels_tell_the_psnr_of_the_whole_image(runner, monkeypatch):
    seen = []
    monkeypatch.setattr(
        'mmcompress.engine.sr.visuals_hook.side_by_side',
        lambda panels, labels: seen.append(labels) or Image.new('RGB', (1, 1)),
    )
    data, outputs = batch(['cat'])
    outputs[0].pred_img[:, :2] = 0  # the border is not compared
    VisualsHook(crop=4).after_test_iter(runner, 0, data, outputs)
    # Four levels of red, green and blue are 219/255 of four levels of luma.
    expected = 20 * np.log10(255 / (4 * 219 / 255))
    assert seen[0][1:] == [f'output  {expected:.2f} dB', 'target']
    assert seen[0][0].startswith('bicubic  ')
    VisualsHook().after_test_iter(runner, 0, *batch(['cat'], target=False))
    assert seen[1] == ['bicubic', 'output']


@pytest.mark.parametrize(
    'wrong',
    [
        dict(count=-1),
        dict(count=None),
        dict(crop=0),
        dict(crop=(0, 0, 8)),
        dict(crop=(0, 0, 8, 0)),
        dict(enlarge=0.5),
    ],
)
def test_arguments_are_checked(wrong):
    key = next(iter(wrong))
    with pytest.raises(CompressionError, match=f'VisualsHook: {key} is '):
        VisualsHook(**wrong)


def test_a_crop_beside_the_image_is_refused(runner):
    with pytest.raises(CompressionError, match="nothing of 'data/cat.jpg', 100 pixels high"):
        VisualsHook(crop=(0, 140, 8, 8)).after_test_iter(runner, 0, *batch(['cat']))
