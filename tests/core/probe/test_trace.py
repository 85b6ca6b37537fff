"""core/trace.py: where the graph of coupled channels ends."""

import torch
from torch import nn

from mmcompress.core import DependencyAnalyzer
from mmcompress.core.probe.trace import Recorder


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.mix = nn.Conv2d(8, 6, 1)
        self.far = nn.Conv2d(6, 4, 1)
        self.dropped = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.norm(self.backbone(x))
        self.dropped(x)
        return self.far(self.mix(x))


def boundary(model, wanted):
    recorder = Recorder()
    with recorder.recording(model):
        out = model(torch.randn(1, 3, 8, 8))
    names = {layer: name for name, layer in model.named_modules()}
    made = {id(t): names[layer] for layer, ts in recorder.outputs.items() for t in ts}
    ends = recorder.boundary([out], lambda layer: names[layer] in wanted)
    return sorted(made[id(tensor)] for tensor in ends)


def test_layers_that_mix_are_the_end():
    # The norm hands channels on; the layer behind the one that mixes plays no part.
    assert boundary(Net(), ['backbone']) == ['dropped', 'mix']
    assert boundary(Net(), ['mix']) == ['far']
    assert boundary(Net(), ['backbone', 'mix', 'far']) == ['dropped', 'far']


def test_recording_ends():
    model, recorder = Net(), Recorder()
    with recorder.recording(model):
        model(torch.randn(1, 3, 8, 8))
    model(torch.randn(1, 3, 8, 8))
    assert {len(outputs) for outputs in recorder.outputs.values()} == {1}
    with recorder.recording(model), torch.no_grad():
        model.dropped(torch.randn(1, 8, 4, 4))
    assert len(recorder.differentiable()) == 5
    alone = Recorder()
    with alone.recording(model), torch.no_grad():
        model(torch.randn(1, 3, 8, 8))
    assert alone.differentiable() == set()


def test_a_layer_whose_result_is_dropped_is_narrowed():
    unit = DependencyAnalyzer().analyze(Net()).units['backbone_(0, 8)_8']
    assert {c.name for c in unit.channels if not c.is_output} == {'norm', 'mix', 'dropped'}


def test_what_heads_do_to_features_costs_nothing():
    class Head(Net):
        def forward(self, x):
            x = super().forward(x)
            flat = x.flatten(2)
            # No channel can be followed through this, and none need be.
            return torch.einsum('ncp,nkp->nck', flat, flat).view(len(x), -1)[:, 3:].cumsum(1)

    analysis = DependencyAnalyzer().analyze(Head())
    assert list(analysis.units) == ['backbone_(0, 8)_8']


def test_products_of_feature_maps_have_an_end():
    class Product(Net):
        def forward(self, x):
            x = self.backbone(x)
            flat = x.flatten(2)
            return self.mix((flat @ flat.transpose(1, 2) @ flat).view_as(x))

    # Whatever comes out, it comes out soon, and nothing wrong is called verified.
    analysis = DependencyAnalyzer().analyze(Product())
    assert len(analysis.units) + len(analysis.rejected) == 1
