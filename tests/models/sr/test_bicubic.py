"""The baseline: what MATLAB's bicubic makes of an image, whatever the units."""

import pytest
import torch

from mmcompress.datasets.sr.bicubic import imresize
from mmcompress.registry import MODELS


@pytest.mark.parametrize('scale', [2, 3])
@pytest.mark.parametrize('std', [1.0, 255.0])
def test_predictions_are_the_interpolated_images(scale, std):
    model = MODELS.build(
        dict(
            type='SuperResolver',
            backbone=dict(type='Bicubic', scale=scale),
            data_preprocessor=dict(type='SRDataPreprocessor', std=std),
        )
    )
    assert not model.state_dict()
    image = torch.randint(0, 256, (3, 7, 9)).float()
    [sample] = model.test_step(dict(inputs=[image]))
    expected = imresize(image.double(), scale).clamp(0, 255)
    assert sample.pred_img.shape == (3, 7 * scale, 9 * scale)
    torch.testing.assert_close(sample.pred_img.double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize('scale', [2, 3])
def test_tiles_make_no_difference(scale):
    cfg = dict(type='SuperResolver', backbone=dict(type='Bicubic', scale=scale))
    data = dict(inputs=[torch.randint(0, 256, (3, 17, 21)).float()])
    whole, tiled = (
        MODELS.build(dict(cfg, test_cfg=test_cfg)).test_step(data)[0].pred_img
        for test_cfg in (None, dict(chop=dict(tile=6)))
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-3)
