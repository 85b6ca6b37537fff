"""core/onnx.py: what is written is what torch computes, or nothing is written."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.export import onnx
from mmcompress.core.export.onnx import OnImages, check_packages, export_onnx
from mmcompress.core.export.sessions import session


def test_a_classifier_at_any_batch_size(classifier_cfg, tmp_path):
    model = MODELS.build(classifier_cfg(8)).train()
    found = export_onnx(model, tmp_path / 'deep' / 'a.onnx', (3, 32, 32))
    assert found['outputs'] == 'tensor'
    assert found['names'] == ['logits']
    assert found['free'] == ['batch', 'height', 'width']
    assert found['onnx_difference'] < 1e-4
    assert model.training
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['a.onnx']
    run = session(found['onnx'], threads=1)
    for batch in (1, 5):
        images = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            expected = OnImages(model.eval())(images)
        got = [torch.from_numpy(array) for array in run(images)]
        assert len(got) == len(expected)
        torch.testing.assert_close(got[0], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('scale', [3, 4])
def test_super_resolution_at_any_size(scale, tmp_path):
    network = dict(type='mmcompress.EDSR', num_blocks=1, width=4, scale=scale)
    model = MODELS.build(dict(type='mmcompress.SuperResolver', backbone=network)).eval()
    found = export_onnx(model, tmp_path / 'a.onnx', (3, 16, 16))
    assert found['free'] == ['batch', 'height', 'width']
    run = session(tmp_path / 'a.onnx', threads=1)
    for shape in ((1, 3, 9, 20), (4, 3, 33, 7)):
        images = torch.randn(shape)
        with torch.no_grad():
            expected = model(images)
        (got,) = run(images)
        assert got.shape[2:] == (shape[2] * scale, shape[3] * scale)
        torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-4, atol=1e-5)


def test_a_size_that_is_not_free(tmp_path):
    """A model that says its output follows the size of the images, and does not."""

    class Resized(nn.Module):
        free_size = True

        def forward(self, x):
            return nn.functional.interpolate(x, size=(8, 8)) + x.mean((2, 3), keepdim=True)

    assert export_onnx(Resized(), tmp_path / 'a.onnx', (3, 8, 8))['onnx_difference'] < 1e-4


class TwoStages(BaseModel):
    """Stands for a detector: what follows its backbone asks for more than images."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1)

    def extract_feat(self, images):
        return [self.backbone(images), images + 1]

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs * data_samples[0].scale


def test_a_second_stage_that_wants_samples(tmp_path):
    found = export_onnx(TwoStages(), tmp_path / 'a.onnx', (3, 8, 8))
    assert found['outputs'] == 'features'
    assert session(tmp_path / 'a.onnx').names == ('features_0', 'features_1')
    assert [out.shape for out in session(tmp_path / 'a.onnx')(torch.ones(2, 3, 8, 8))] == [
        (2, 4, 8, 8),
        (2, 3, 8, 8),
    ]


class Undecided(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_model_that_cannot_be_written(tmp_path):
    with pytest.raises(CompressionError, match='onnx: Undecided cannot be written as ONNX') as info:
        export_onnx(Undecided(), tmp_path / 'a.onnx', (3, 8, 8))
    assert '\n' not in str(info.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_onnxruntime_refuses(tmp_path, monkeypatch):
    def refuse(path):
        raise RuntimeError('Duplicate definition')

    monkeypatch.setattr(onnx, 'session', refuse)
    with pytest.raises(CompressionError, match='cannot be written as ONNX .*Duplicate definition'):
        export_onnx(nn.Identity(), tmp_path / 'a.onnx', (3, 8, 8))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_is_noticed(tmp_path, monkeypatch):
    def off(path, threads=None):
        right = session(path, threads)
        return lambda images: [1.001 * out for out in right(images)]

    monkeypatch.setattr(onnx, 'session', off)
    (tmp_path / 'a.onnx').write_text('earlier')
    with pytest.raises(CompressionError, match='onnxruntime differ from those of torch by 0.001'):
        export_onnx(nn.Conv2d(3, 4, 1), tmp_path / 'a.onnx', (3, 8, 8))
    assert (tmp_path / 'a.onnx').read_text() == 'earlier'
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(onnx, 'PACKAGES', ('torch', 'onnx_of_nobody'))
    with pytest.raises(CompressionError, match='onnx_of_nobody cannot be imported; `pip install'):
        check_packages()


def test_every_tensor_in_order():
    class Pyramid(nn.Module):
        def forward(self, x):
            return dict(a=[x, x + 1], b=(x + 2, None))

    found = OnImages(Pyramid())(torch.zeros(1))
    assert [int(value) for value in found] == [0, 1, 2]


def test_sizes_that_a_model_does_not_take_are_fixed_and_the_log_says_why(tmp_path, monkeypatch):
    class Fixed(nn.Sequential):
        pass

    model = Fixed(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 64, 3))
    said = []
    monkeypatch.setattr(onnx, 'print_log', lambda text, _: said.append(text))
    found = export_onnx(model, tmp_path / 'a.onnx', (3, 8, 8))
    assert found['free'] == ['batch']
    assert len(said) == 1
    assert 'fixed to 8x8' in said[0]
    assert 'shapes cannot be multiplied' in said[0]


def test_the_loss_of_a_dense_head_names_its_outputs():
    class Head(nn.Module):
        def loss_by_feat(self, cls_scores, bbox_preds, gt):
            pass

    class OneStage(nn.Module):
        bbox_head = Head()

    x = torch.zeros(1)
    names = onnx.output_names(OneStage(), 'tensor', ([x, x], [x]))
    assert names == ['cls_scores_0', 'cls_scores_1', 'bbox_preds_0']
    assert onnx.output_names(nn.ReLU(), 'tensor', [x, dict(a=x)]) == ['outputs_0', 'outputs_1']


def test_weights_in_16_bits(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3))
    full = export_onnx(model, tmp_path / 'a.onnx', (3, 16, 16))
    half = export_onnx(model, tmp_path / 'b.onnx', (3, 16, 16), dtype='float16')
    assert half['onnx_bytes'] < 0.6 * full['onnx_bytes']
    assert full['onnx_difference'] < 1e-5 < half['onnx_difference'] < 1e-2
    assert session(tmp_path / 'b.onnx')(torch.zeros(1, 3, 8, 8))[0].dtype == 'float32'


@pytest.mark.parametrize('opset', [18, 23])
def test_the_opset_that_is_asked_for(tmp_path, opset):
    import onnx

    found = export_onnx(nn.Conv2d(3, 4, 1), tmp_path / 'a.onnx', (3, 8, 8), opset=opset)
    assert found['opset'] == opset
    assert [
        one.version for one in onnx.load(tmp_path / 'a.onnx').opset_import if not one.domain
    ] == [opset]


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (dict(opset=11), 'opset is 11; .* 18 to 23'),
        (dict(dtype='int4'), "onnx-dtype is 'int4'; .* float32, float16"),
        (dict(outputs='boxes'), "outputs is 'boxes'; .* raw, end2end"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, says):
    with pytest.raises(CompressionError, match=says):
        export_onnx(nn.ReLU(), tmp_path / 'a.onnx', (3, 8, 8), **options)
    assert not list(tmp_path.iterdir())


def test_external_data_stays_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, 'LARGEST_FILE', 1000)
    model = nn.Conv2d(3, 64, 3)
    export_onnx(model, tmp_path / 'a.onnx', (3, 8, 8))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.onnx', 'a.onnx.data']
    images = torch.randn(1, 3, 8, 8)
    (found,) = session(tmp_path / 'a.onnx')(images)
    torch.testing.assert_close(torch.from_numpy(found), model(images).detach())
