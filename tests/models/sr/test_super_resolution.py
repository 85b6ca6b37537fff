"""models/super_resolution.py: units, the loss, predictions, settings."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement

from mmcompress.core.errors import CompressionError
from mmcompress.models import SRDataPreprocessor, SuperResolver
from mmcompress.models.sr.tiling import chop_forward, self_ensemble
from mmcompress.registry import MODELS

NETWORK = dict(type='mmcompress.EDSR', num_blocks=1, width=4, scale=2)


def build(network=NETWORK, **settings):
    return MODELS.build(dict(type='mmcompress.SuperResolver', backbone=network, **settings))


def sample(height, width, path='a.png'):
    return BaseDataElement(
        gt_img=255 * torch.rand(3, height, width), metainfo=dict(img_path=path, scale=2)
    )


def test_the_loss_is_l1_in_the_units_of_the_network():
    mean, std = (10.0, 20.0, 30.0), 255
    model = build(data_preprocessor=dict(type='SRDataPreprocessor', mean=mean, std=std))
    images, samples = [255 * torch.rand(3, 5, 6) for _ in range(2)], [sample(10, 12)] * 2
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    losses = model(**data, mode='loss')
    colour = torch.tensor(mean).view(3, 1, 1)
    output = model.backbone((torch.stack(images) - colour) / std)
    target = (torch.stack([s.gt_img for s in samples]) - colour) / std
    assert list(losses) == ['loss_l1']
    torch.testing.assert_close(losses['loss_l1'], (output - target).abs().mean())


def test_a_step_of_training_lowers_the_loss():
    model = build()
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), 1e-3))
    batch = dict(inputs=[255 * torch.rand(3, 6, 6)], data_samples=[sample(12, 12)])
    first, *_, last = (float(model.train_step(batch, optimizer)['loss'].detach()) for _ in range(8))
    assert last < first


@pytest.mark.parametrize('std', [1.0, 255.0])
def test_predictions_are_images(std):
    model = build(data_preprocessor=dict(type='SRDataPreprocessor', std=std)).eval()
    image = 255 * torch.rand(3, 5, 6)
    given = sample(10, 12)
    with torch.no_grad():
        (found,) = model.test_step(dict(inputs=[image], data_samples=[given]))
        out = model.backbone(model.data_preprocessor.normalize(image[None]))
        restored = out[0] * std + model.data_preprocessor.mean
    assert torch.equal(found.gt_img, given.gt_img)
    assert found.pred_img.shape == (3, 10, 12)
    torch.testing.assert_close(found.pred_img, restored.clamp(0, 255))
    with torch.no_grad():
        model.backbone.tail.bias.fill_(1e4)
        assert model.test_step(dict(inputs=image[None]))[0].pred_img.max() == 255


def test_inputs_may_be_integers():
    model = build().eval()
    image = torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8)
    with torch.no_grad():
        ours = [model.test_step(dict(inputs=[x]))[0].pred_img for x in (image, image.float())]
    assert torch.equal(*ours)


def test_how_predictions_are_made():
    x = torch.rand(1, 3, 20, 22)
    plain = build().eval()
    network = plain.backbone

    def made(**test_cfg):
        model = build(test_cfg=test_cfg).eval()
        model.load_state_dict(plain.state_dict())
        return model.enlarge(x)

    with torch.no_grad():
        whole, ensemble = network(x), self_ensemble(network, x)
        torch.testing.assert_close(made(), whole)
        torch.testing.assert_close(made(chop=dict(tile=9)), whole, rtol=0, atol=1e-5)
        short = chop_forward(network, x, 2, 9, 1)
        torch.testing.assert_close(made(chop=dict(tile=9, overlap=1)), short)
        assert (short - whole).abs().max() > 1e-4
        torch.testing.assert_close(made(self_ensemble=True), ensemble)
        both = made(self_ensemble=True, chop=dict(tile=9))
        torch.testing.assert_close(both, ensemble, rtol=0, atol=1e-5)
        assert (ensemble - whole).abs().max() > 1e-4


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(scale=3), 'scale is 3, but the backbone makes images 2 times as large'),
        (dict(loss=dict(type='L3Loss')), 'loss is .*L3Loss.*has to be .*L1Loss'),
        (dict(loss='l1'), "loss is 'l1'; it has to be"),
        (dict(loss=dict(type='L1Loss', weight=1)), 'loss is .* unexpected keyword'),
        (dict(test_cfg=dict(crop=1)), "test_cfg has no setting 'crop'; the nearest are 'chop'"),
        (dict(test_cfg=dict(chop=128)), 'test_cfg.chop is 128; it has to be a dict of tile and'),
        (dict(test_cfg=dict(chop=dict(overlap=3))), 'test_cfg.chop.tile is None; it has to be'),
        (dict(test_cfg=dict(chop=dict(tile=8, overlap=-1))), 'test_cfg.chop.overlap is -1'),
        (dict(test_cfg=dict(self_ensemble=8)), 'test_cfg.self_ensemble is 8; it has to be True'),
        (dict(data_preprocessor=dict(type='mmengine.BaseDataPreprocessor')), 'needs an SRData'),
        (dict(data_preprocessor=dict(type='SRDataPreprocessor', std=0)), r'std is 0; it has to be'),
        (dict(data_preprocessor=dict(type='SRDataPreprocessor', mean=3.0)), 'mean is 3.0; it has'),
        (dict(data_preprocessor=dict(type='SRDataPreprocessor', mean=())), r'mean is \(\); it has'),
        (
            dict(data_preprocessor=dict(type='SRDataPreprocessor', mean=['a'])),
            'it has to be one num',
        ),
        (dict(loss=dict(type='L1Loss', reduction='all')), "loss.reduction is 'all'; it has to be"),
        (
            dict(network=dict(NETWORK, mean=(1, 2, 3))),
            'the backbone and the data_preprocessor both take off a mean',
        ),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(CompressionError, match=message):
        build(**settings)


def test_data_of_another_scale():
    model = build()
    wrong = sample(8, 8, 'a.png')
    wrong.set_metainfo(dict(scale=4))
    for mode in ('loss', 'predict'):
        with pytest.raises(CompressionError, match='scale of the data set is 4, that of the model'):
            model(torch.rand(1, 3, 4, 4), [wrong], mode=mode)


def test_images_of_other_channels():
    preprocessor = SRDataPreprocessor(mean=(1, 2))
    with pytest.raises(CompressionError, match='mean has 2 numbers, but images have 3 channels'):
        preprocessor(dict(inputs=torch.rand(1, 3, 4, 4)))


def test_batches_that_do_not_fit():
    model = build()
    images = [torch.rand(3, 4, 4), torch.rand(3, 4, 5)]
    samples = [sample(8, 8, 'a.png'), sample(8, 10, 'b.png')]
    message = r'images of one batch differ in size: a.png \(3, 4, 4\) and b.png \(3, 4, 5\)'
    with pytest.raises(CompressionError, match=message):
        model.data_preprocessor(dict(inputs=images, data_samples=samples))
    with pytest.raises(CompressionError, match=r'targets of one batch differ in size: a.png'):
        model(torch.rand(2, 3, 4, 4), samples, mode='loss')
    with pytest.raises(CompressionError, match=r'b.png: the target is \(3, 8, 10\), but the netw'):
        model(torch.rand(1, 3, 4, 4), samples[1:], mode='loss')
    with pytest.raises(ValueError, match="mode='train' is unknown"):
        model(torch.rand(1, 3, 4, 4), mode='train')


def test_the_preprocessor_has_the_mean_of_div2k():
    preprocessor = SRDataPreprocessor()
    assert preprocessor.mean.flatten().tolist() == pytest.approx([114.444, 111.4605, 103.02])
    assert not preprocessor.state_dict()
    x = 255 * torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(preprocessor.restore(preprocessor.normalize(x)), x)
    assert torch.equal(SRDataPreprocessor(mean=None).normalize(x), x)


def test_any_network_will_do():
    @MODELS.register_module(force=True)
    class Nearest(torch.nn.Upsample):
        pass

    network = dict(type='mmcompress.Nearest', scale_factor=3)
    assert SuperResolver(network, scale=3)(torch.rand(1, 3, 2, 2)).shape == (1, 3, 6, 6)
    with pytest.raises(CompressionError, match='scale is None; it has to be a whole number'):
        SuperResolver(network)
    MODELS.module_dict.pop('Nearest')
