"""report/samples.py: predictions on images, drawn."""

import io

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image

from mmcompress.report.samples import PALETTE, in_rgb, panel

IMAGE = torch.full((3, 64, 96), 100.0)


def pixels(found):
    return np.array(Image.open(io.BytesIO(found.png)))


def sample(metainfo=None, **fields):
    return BaseDataElement(metainfo=metainfo or {}, **fields)


def test_a_class():
    said = sample(
        pred_label=torch.tensor([1]),
        gt_label=torch.tensor([0]),
        pred_score=torch.tensor([0.25, 0.75]),
    )
    assert panel('net', IMAGE, said, ['cat', 'dog']).text == 'dog (75 %)'
    assert panel('truth', IMAGE, said, ['cat', 'dog'], truth=True).text == 'cat'
    assert panel('net', IMAGE, said).text == 'class 1 (75 %)'
    found = pixels(panel('net', IMAGE, said))
    assert found.shape == (128, 192, 3)
    assert (found == 100).all()


def instances(**fields):
    return InstanceData(**fields)


def test_boxes():
    boxes = torch.tensor([[10.0, 10.0, 40.0, 30.0], [0.0, 0.0, 90.0, 60.0]])
    said = sample(
        dict(ori_shape=(32, 48), img_shape=(64, 96)),
        pred_instances=instances(
            bboxes=boxes, labels=torch.tensor([2, 0]), scores=torch.tensor([0.9, 0.1])
        ),
    )
    found = panel('net', IMAGE, said, ['a', 'b', 'c'])
    assert found.text == '1 boxes: c'
    shown = pixels(found)
    # The original is 48 wide, and shown 192 wide.
    assert shown.shape == (128, 192, 3)
    assert tuple(shown[40, 60]) == PALETTE[2]
    assert tuple(shown[80, 100]) == (100, 100, 100)
    assert panel('truth', IMAGE, said, truth=True) is None


def test_no_box():
    none = instances(bboxes=torch.zeros(0, 4), labels=torch.zeros(0), scores=torch.zeros(0))
    assert panel('net', IMAGE, sample(pred_instances=none)).text == 'no box'


def test_masks():
    masks = torch.zeros(1, 64, 96, dtype=torch.bool)
    masks[0, :, :48] = True
    said = sample(
        pred_instances=instances(
            bboxes=torch.tensor([[0.0, 0.0, 48.0, 64.0]]), labels=torch.tensor([1]), masks=masks
        )
    )
    shown = pixels(panel('net', IMAGE, said))
    expected = (0.5 * 100 + 0.5 * np.array(PALETTE[1])).astype(np.uint8)
    assert (shown[60, 50] == expected).all()
    assert tuple(shown[60, 150]) == (100, 100, 100)


def test_a_map_of_labels():
    labels = torch.zeros(1, 64, 96, dtype=torch.long)
    labels[:, :16] = 1
    labels[:, 16:32] = 255  # says nothing
    said = sample(pred_sem_seg=PixelData(data=labels), gt_sem_seg=PixelData(data=labels * 0))
    found = panel('net', IMAGE, said, ['ground', 'tree'])
    assert found.text == 'ground 50 %, tree 25 %'
    assert panel('truth', IMAGE, said, ['ground', 'tree'], truth=True).text == 'ground 100 %'
    shown = pixels(found)
    assert (shown[10, 10] != shown[120, 10]).any()


def test_key_points_are_drawn_in_what_the_model_saw():
    meta = dict(input_center=[100.0, 50.0], input_scale=[48.0, 32.0], input_size=(96, 64))
    points = np.array([[[100.0, 50.0], [76.0, 34.0]]])  # the middle, and the upper left corner
    said = sample(meta, pred_instances=instances(keypoints=points))
    found = panel('net', IMAGE, said)
    assert found.text == '2 points'
    shown = pixels(found)
    assert tuple(shown[64, 96]) == PALETTE[0]
    assert tuple(shown[0, 0]) == PALETTE[1]


def test_an_enlarged_image():
    target = torch.zeros(3, 120, 200)
    said = sample(pred_img=target + 25.5, gt_img=target)
    assert panel('net', IMAGE, said).text == '20.00 dB'
    found = panel('truth', IMAGE, said, truth=True)
    assert found.text == '200 x 120 pixels'
    assert pixels(found).shape == (192, 192, 3)


class Preprocessor:
    def __init__(self, **settings):
        self.__dict__.update(settings)


@pytest.mark.parametrize(
    ('settings', 'turned'),
    [
        (dict(to_rgb=True), True),
        (dict(_channel_conversion=True), True),
        (dict(mean=torch.tensor([103.5, 116.3, 123.7]).view(3, 1, 1)), True),
        (dict(mean=torch.tensor([125.3, 123.0, 113.9]).view(3, 1, 1)), False),
        (dict(), False),
    ],
)
def test_which_channel_is_red(settings, turned):
    image = torch.arange(3.0).view(3, 1, 1)
    red = in_rgb(image, Preprocessor(**settings))[0].item()
    assert red == (2.0 if turned else 0.0)
    assert in_rgb(image[:1], Preprocessor(**settings)).shape == (3, 1, 1)
