"""PSNR and SSIM against scikit-image, on crops of its photographs."""

import math
import sys

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement
from skimage import color, data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mmcompress.core.errors import CompressionError
from mmcompress.engine.sr.metrics import PSNR, SSIM, comparable, ssim
from mmcompress.registry import METRICS

REFERENCE = dict(
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=0
)


@pytest.fixture(scope='module')
def pairs():
    """Crops of two photographs, and what a network might make of them: neither whole nor clean."""
    generator = torch.Generator().manual_seed(0)
    crops = (data.astronaut()[60:140, 180:270], data.chelsea()[100:163, 90:151])
    targets = [torch.from_numpy(crop.copy()).permute(2, 0, 1).float() for crop in crops]
    noise = [torch.randn(target.shape, generator=generator) for target in targets]
    outputs = [(t + 9 * n).clamp(0, 255) for t, n in zip(targets, noise, strict=True)]
    return list(zip(outputs, targets, strict=True))


def sample(output, target, name='data/a.png', **metainfo):
    element = BaseDataElement(metainfo=dict(img_path=name, scale=2, **metainfo))
    element.pred_img = output
    if target is not None:
        element.gt_img = target
    return element


def evaluate(metrics, samples):
    evaluator = Evaluator(metrics)
    # As loops do: batch by batch.
    for element in samples:
        evaluator.process([element], None)
    return evaluator.evaluate(len(samples))


def shaved(image, border, channel):
    """What skimage's own conversion makes of an image: ``float64[C, H, W]``."""
    array = image.round().numpy().astype(np.uint8).transpose(1, 2, 0)
    array = array[border:-border, border:-border] if border else array
    if channel == 'rgb':
        return array.transpose(2, 0, 1).astype(np.float64)
    return color.rgb2ycbcr(array)[None, ..., 0]


@pytest.mark.parametrize(('border', 'channel'), [(None, 'y'), (0, 'y'), (3, 'y'), (4, 'rgb')])
def test_values_are_those_of_scikit_image(pairs, border, channel):
    options = dict(border=border, channel=channel, per_image=True)
    metrics = [dict(type=f'mmcompress.{name}', **options) for name in ('PSNR', 'SSIM')]
    names = ['x/a.png', 'x/b.png']
    found = evaluate(metrics, [sample(*p, n) for p, n in zip(pairs, names, strict=True)])
    expected = dict(PSNR=[], SSIM=[])
    for output, target in pairs:
        # Two pixels of border where none are given: the scale of the sample.
        crops = [shaved(img, 2 if border is None else border, channel) for img in (output, target)]
        expected['PSNR'].append(peak_signal_noise_ratio(*crops[::-1], data_range=255))
        expected['SSIM'].append(structural_similarity(*crops, **REFERENCE))
    for name, values in expected.items():
        images = found.pop(f'{name}_images')
        assert list(images) == ['a.png', 'b.png']
        assert list(images.values()) == pytest.approx(values, abs=1e-6)
        assert found.pop(name) == pytest.approx(np.mean(values), abs=1e-6)
        assert 0.2 < values[0] < 0.95 or 20 < values[0] < 35
    assert not found


def test_ssim_by_the_formula():
    """Wang et al., 2004, window by window in float64."""
    generator = np.random.default_rng(0)
    one, other = generator.uniform(0, 255, (2, 13, 14))
    other = 0.7 * one + 0.3 * other
    steps = np.arange(-5, 6)
    line = np.exp(-(steps**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(13 - 10):
        for left in range(14 - 10):
            x, y = (image[top : top + 11, left : left + 11] for image in (one, other))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            top_part = (2 * mx * my + c1) * (2 * cov + c2)
            values.append(top_part / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(one[None], other[None]) == pytest.approx(np.mean(values), abs=1e-9)


def test_luma_is_that_of_matlab():
    """Of rgb2ycbcr's documentation: white is 235, black 16."""
    image = torch.tensor([[[0.0, 255, 255, 0]], [[0, 255, 0, 255]], [[0, 255, 0, 0]]])
    luma = comparable(image)
    assert luma.dtype == np.float64
    np.testing.assert_allclose(luma, [[[16, 235, 81.481, 144.553]]], rtol=0, atol=1e-12)


def test_images_are_rounded_as_when_saved_unless_told_otherwise():
    target = torch.full((3, 8, 8), 100.0)
    off = sample(target + 0.4, target)
    assert evaluate([PSNR()], [off]) == dict(PSNR=math.inf)
    exact = evaluate([PSNR(rounded=False, channel='rgb')], [off])['PSNR']
    assert exact == pytest.approx(20 * math.log10(255 / 0.4), abs=1e-4)
    # And no value is beyond white.
    beyond = sample(torch.full((3, 8, 8), 300.0), torch.full((3, 8, 8), 255.0))
    assert evaluate([PSNR()], [beyond]) == dict(PSNR=math.inf)


def test_equal_images_do_not_hide_the_others(pairs, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmcompress.engine.sr.metrics.print_log', lambda text, *_, **__: said.append(text)
    )
    output, target = pairs[0]
    alone = evaluate([PSNR()], [sample(output, target)])
    assert not said
    found = evaluate(
        [PSNR(per_image=True), SSIM()], [sample(output, target), sample(target, target)]
    )
    assert found['PSNR'] == alone['PSNR']
    # Two images of one name: the second is numbered.
    assert found['PSNR_images'] == {'a.png': alone['PSNR'], 'a.png (2)': math.inf}
    assert said == ['PSNR: 1 of 2 images equal their targets, and are left out of the mean']
    assert found['SSIM'] == pytest.approx(
        (evaluate([SSIM()], [sample(output, target)])['SSIM'] + 1) / 2
    )
    broken = evaluate([PSNR()], [sample(target * math.nan, target)])
    assert math.isnan(broken['PSNR'])


@pytest.mark.parametrize(
    ('cfg', 'output', 'target', 'reason'),
    [
        (dict(type='PSNR'), (3, 8, 8), (3, 8, 10), r"PSNR: 'data/a.png' became 3x8x8, .* 3x8x10; "),
        (dict(type='PSNR'), (3, 4, 9), (3, 4, 9), r"PSNR: 'data/a.png' is 3x4x9; .* border of 2"),
        (dict(type='SSIM'), (3, 14, 20), (3, 14, 20), r'SSIM: .* of 2 .* at least 11x11'),
        (dict(type='SSIM'), (3, 20, 20), None, r"SSIM: 'data/a.png' has no target image"),
    ],
)
def test_images_that_cannot_be_compared_are_named(cfg, output, target, reason):
    target = target and torch.zeros(target)
    with pytest.raises(CompressionError, match=reason):
        evaluate([METRICS.build(cfg)], [sample(torch.zeros(output), target)])


def test_a_sample_without_scale_needs_a_border():
    element = BaseDataElement(metainfo=dict(img_path='a.png'))
    element.pred_img = element.gt_img = torch.zeros(3, 8, 8)
    assert evaluate([PSNR(border=1)], [element]) == dict(PSNR=math.inf)
    with pytest.raises(CompressionError, match='border is None, but .* does not say its scale'):
        evaluate([PSNR()], [element])


@pytest.mark.parametrize(
    ('cfg', 'reason'),
    [
        (dict(type='PSNR', channel='Y'), "PSNR: channel is 'Y'"),
        (dict(type='SSIM', border=-1), 'SSIM: border is -1'),
        (dict(type='SSIM', border='scale'), "SSIM: border is 'scale'"),
    ],
)
def test_arguments_are_checked(cfg, reason):
    with pytest.raises(CompressionError, match=reason):
        METRICS.build(cfg)


def test_ssim_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage.metrics', None)
    with pytest.raises(CompressionError, match='pip install scikit-image'):
        SSIM()
    PSNR()  # needs nothing
