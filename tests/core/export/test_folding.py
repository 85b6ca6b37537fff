"""core/folding.py: a batch norm becomes part of the convolution in front of it."""

import copy
import json

import pytest
import torch
from mmengine.registry import MODELS
from torch import fx, nn

from mmcompress.core import CompressionError, sub_model
from mmcompress.core.export.folding import fold_norms, foldable
from mmcompress.core.export.onnx import export_onnx
from mmcompress.core.export.static import layer_widths
from mmcompress.core.layers.narrow import narrow
from mmcompress.core.layers.partial_add import add_partially, partial_adds_of


def restless(model):
    """Weights and statistics as after some training, in eval mode."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith('running_mean'):
                tensor.normal_(0, 0.3)
            elif tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand_like(tensor))
    return model.eval()


def norms_of(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def largest_gap(one, other, *shape):
    x = torch.randn(2, *shape)
    with torch.no_grad():
        return float((one(x) - other(x)).abs().max())


def test_folded_equals_unfolded(classifier_cfg):
    model = restless(MODELS.build(classifier_cfg(14)))
    folded = copy.deepcopy(model)
    pairs = fold_norms(folded)
    assert len(pairs) == 13
    assert ('backbone.layer2.0.conv1', 'backbone.layer2.0.bn1') in pairs
    assert not norms_of(folded)
    assert len(norms_of(model)) == 13
    assert largest_gap(model, folded, 3, 32, 32) < 1e-5


def test_one_layer_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    with torch.no_grad():
        model[0].weight.fill_(3.0), model[0].bias.fill_(5.0)
        model[1].weight.fill_(2.0), model[1].bias.fill_(1.0)
        model[1].running_mean.fill_(4.0), model[1].running_var.fill_(0.25)
    fold_norms(model, [('0', '1')])
    # 2 (3 x + 5 - 4) / 0.5 + 1
    assert model[0].weight.item() == 12
    assert model[0].bias.item() == 5
    assert type(model[1]) is nn.Identity


@pytest.mark.parametrize('groups', [1, 2, 8])
@pytest.mark.parametrize('affine', [True, False])
def test_kinds_of_convolutions(groups, affine):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=groups, bias=False, padding=1, padding_mode='reflect'),
        nn.BatchNorm2d(8, affine=affine),
    )
    folded = copy.deepcopy(restless(model))
    assert fold_norms(folded) == [('0', '1'), ('3', '4')]
    assert largest_gap(model, folded, 3, 8, 8) < 1e-5


class Mixed(nn.Module):
    """A norm behind a sum, one behind a convolution that others use too, and other norms."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.behind_sum = nn.BatchNorm2d(4)
        self.shared = nn.Conv2d(4, 4, 1)
        self.one_of_two = nn.BatchNorm2d(4)
        self.fine = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 1)
        self.group_norm = nn.GroupNorm(2, 4)
        self.stateless = nn.Conv2d(4, 4, 1)
        self.batch_only = nn.BatchNorm2d(4, track_running_stats=False)
        self.upward = nn.ConvTranspose2d(4, 4, 1)
        self.last = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.stem(x)
        x = self.shared(self.behind_sum(x + 1))
        x = self.norm(self.fine(x + self.one_of_two(x)))
        x = self.batch_only(self.stateless(self.group_norm(self.grouped(x))))
        return self.last(self.upward(x))


def test_what_does_not_fit_stays():
    model = restless(Mixed())
    folded = copy.deepcopy(model)
    assert fold_norms(folded) == [('fine', 'norm')]
    assert len(norms_of(folded)) == len(norms_of(model)) - 1
    assert largest_gap(model, folded, 3, 8, 8) < 1e-5


def test_blocks_that_are_graphs(classifier_cfg):
    """Exports may hold blocks whose forward was rewritten by torch.fx."""
    model = restless(MODELS.build(classifier_cfg(8)))
    block = model.backbone.layer1[0]
    traced = fx.GraphModule(block, fx.Tracer().trace(block))
    model.backbone.layer1[0] = traced
    folded = copy.deepcopy(model)
    assert len(fold_norms(folded)) == 7
    assert isinstance(folded.backbone.layer1[0], fx.GraphModule)
    assert not norms_of(folded)
    assert largest_gap(model, folded, 3, 32, 32) < 1e-5


def test_blocks_that_add_partially(classifier_cfg, tmp_path):
    """As exports of scope `filter` have them: rebuilt from the file, and written as ONNX."""
    dense = MODELS.build(classifier_cfg(8))
    model = restless(copy.deepcopy(dense))
    keep = torch.tensor([1, 2, 5, 7, 12])
    layer = 'backbone.layer1.0.bn2'
    narrow(model.get_submodule('backbone.layer1.0.conv2'), None, keep)
    narrow(model.get_submodule(layer), None, keep)
    add_partially(model, {layer: keep}, {layer: 16})
    subnet = dict(layers=layer_widths(dense, model), partial_adds=partial_adds_of(model))
    folded = copy.deepcopy(model)
    subnet['folded'] = fold_norms(folded)
    assert ['backbone.layer1.0.conv2', layer] in [list(pair) for pair in subnet['folded']]
    assert not norms_of(folded)
    assert largest_gap(model, folded, 3, 32, 32) < 1e-5
    built = sub_model(classifier_cfg(8), json.loads(json.dumps(subnet)))
    built.load_state_dict(folded.state_dict())
    assert largest_gap(built.eval(), folded, 3, 32, 32) == 0
    assert export_onnx(built, tmp_path / 'a.onnx', (3, 32, 32))['onnx_difference'] < 1e-4


def test_a_layer_in_two_places_keeps_its_norm_in_the_other():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
            self.second = nn.Sequential(*self.first)

        def forward(self, x):
            return self.second(self.first(x))

    model = restless(Twice())
    folded = copy.deepcopy(model)
    fold_norms(folded)
    assert largest_gap(model, folded, 3, 4, 4) < 1e-5


def test_sub_model_folds_as_the_file_says(classifier_cfg):
    folded = restless(MODELS.build(classifier_cfg(8)))
    pairs = fold_norms(folded)
    built = sub_model(classifier_cfg(8), dict(layers={}, folded=[list(pair) for pair in pairs]))
    built.load_state_dict(folded.state_dict())
    assert largest_gap(built.eval(), folded, 3, 32, 32) == 0


@pytest.mark.parametrize(
    ('pair', 'says'),
    [
        (['backbone.conv9', 'backbone.bn1'], r"no layer 'backbone.conv9'; .*'backbone\.conv[12]'"),
        (['backbone.bn1', 'backbone.conv1'], 'are a BatchNorm2d and a Conv2d; they have to be'),
        (['backbone.conv1', 'backbone.bn2'], 'a Conv2d and a batch norm of the same width'),
        (['backbone.conv1'], 'has to be the names'),
        ('backbone.conv1', 'has to be the names'),
    ],
)
def test_pairs_that_do_not_fit(tiny_cfg, pair, says):
    with pytest.raises(CompressionError, match=f'^folded: .*{says}'):
        sub_model(tiny_cfg, dict(layers={}, folded=[pair]))


def test_nothing_changes_where_one_pair_is_wrong(tiny_cfg):
    model = MODELS.build(tiny_cfg)
    good = foldable(model)[0]
    with pytest.raises(CompressionError):
        fold_norms(model, [good, ('head', 'backbone.bn2')])
    assert len(norms_of(model)) == 2
