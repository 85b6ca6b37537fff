"""A short training in a plain loop, and an export that has to be equal."""

import tempfile

import torch
import torch.nn.functional as F
from torch import nn

import mmcompress
from mmcompress.core.base.rehearsal import perturb
from mmcompress.core.errors import CompressionError

#: The methods, each with options that take in small networks.
METHODS = dict(
    dcff={},
    fcf={},
    magnitude={},
    filter_basis={},
    shared_basis=dict(mutator_cfg=dict(parse_cfg=dict(rule='network'))),
    linear_conv={},
)


def compressed(net, method, x, **options):
    """An algorithm that keeps half of everything that it finds."""
    options = {'target_pruning_ratio': 0.5, **METHODS[method], **options}
    return mmcompress.compress(net, method, x, **options)


def train(algorithm, x, steps=2):
    """A few steps of every stage."""
    more = True
    while more:
        optimizer = torch.optim.SGD(algorithm.parameters(), 0.05)
        algorithm.step_hooks(optimizer, epochs=1, steps_per_epoch=steps)
        for _ in range(steps):
            out = algorithm(x)
            loss = F.cross_entropy(out, torch.arange(len(x)) % out.shape[1])
            optimizer.zero_grad()
            (loss + sum(algorithm.losses().values())).backward()
            optimizer.step()
        try:
            algorithm.next_stage()
        except CompressionError:
            more = False
    for module in algorithm.modules():
        if isinstance(module, nn.BatchNorm2d):
            perturb(module)  # a removed channel shows behind a norm that does something
    return algorithm.eval()


def exported(algorithm, net, x, **options):
    """The model that is loaded from an export, which has the outputs of the trained one.

    Args:
        algorithm: Trained.
        net: The dense model, with any weights.
        x: Images.
        **options: Of the export.
    """
    with tempfile.TemporaryDirectory() as folder:
        static = mmcompress.export(algorithm, folder, overwrite=True, **options)
        loaded = mmcompress.load(folder, net).eval()
    with torch.no_grad():
        before = algorithm(x)
        assert float(before.std()) > 1e-3
        for model in (static, loaded):
            torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    return loaded


def there_and_back(net, method, x, **options):
    """Compress, train, export, load and compare; returns the algorithm, and what was loaded."""
    torch.manual_seed(0)
    algorithm = compressed(net, method, x, **options)
    return algorithm, exported(train(algorithm, x), net, x)
