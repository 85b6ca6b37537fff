"""Convert checkpoints of literal networks in this process, and compare the outputs."""

import copy
from pathlib import Path
from unittest import mock

import torch
from mmengine.config import Config
from torch import nn

from mmcompress.cli import convert as verb
from mmcompress.cli import converting, parse
from mmcompress.cli.launch import load_config
from mmcompress.core.base.build import build_model
from mmcompress.core.export.checkpoint import load_into

ROOT = Path(__file__).resolve().parents[1]
#: Models by their config: what takes time is to build them.
_built: dict[str, nn.Module] = {}


def build(cfg: Config) -> nn.Module:
    """A model as ``build_model`` makes it; of the same config a copy."""
    key = str((cfg.model, cfg.get('data_preprocessor')))
    if key not in _built:
        _built[key] = build_model(cfg)
    return copy.deepcopy(_built[key])


@torch.no_grad()
def forget(model: nn.Module) -> nn.Module:
    """A model in which everything that is not loaded shows."""
    for value in model.parameters():
        value.fill_(torch.nan)
    return model


@torch.no_grad()
def randomise(network: nn.Module, size: int = 32) -> nn.Module:
    """Norms whose statistics and parameters are not those of the start; in eval mode.

    Statistics are near those of data, so that a signal comes through all layers.
    """
    torch.manual_seed(7)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = 1.0
    if norms:
        network.train()(torch.randn(3, 3, size, size))
    for norm in norms:
        norm.running_mean += torch.randn_like(norm.running_mean) * norm.running_var.sqrt() / 10
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.2)
        norm.num_batches_tracked.fill_(3)
    return network.eval()


class Runs:
    """Conversions into one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def config(self, name: str, *options: str) -> list[str]:
        """The words for a config of the repository, and changes in it."""
        words = ['--config', str(ROOT / 'configs' / name)]
        return [*words, '--cfg-options', *options] if options else words

    def save(self, content: object, legacy: bool = False) -> Path:
        path = self.folder / 'theirs.pth'
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        return path

    def run(self, layout: str, source: Path, words: list[str], target: str = 'ours.pth') -> dict:
        """What ``mmcompress convert`` does."""
        words = [str(source), str(self.folder / target), '--from', layout, *words]
        self.args = parse(verb, words, 'mmcompress convert')
        with mock.patch.object(converting, 'build_model', build):
            return converting.convert(self.args)

    def ours(self, target: str = 'ours.pth') -> nn.Module:
        """The model of CONFIG with DST loaded, in float64."""
        if (self.folder / target).is_dir():
            cfg = Config.fromfile(self.folder / target / 'compact.py')
            path = self.folder / target / 'compact.pth'
        else:
            cfg = load_config(self.args.config, self.args.compress, self.args.cfg_options)
            path = self.folder / target
        model = forget(build_model(cfg) if path.name == 'compact.pth' else build(cfg))
        load_into(model, path)
        return model.double().eval()

    def check(
        self,
        layout: str,
        theirs: nn.Module,
        words: list[str],
        content: object = None,
        size: int = 32,
        target: str = 'ours.pth',
        legacy: bool = False,
    ) -> dict:
        """Convert the state of a network, and see that both put out the same."""
        content = theirs.state_dict() if content is None else content
        source = self.save(content, legacy)
        result = self.run(layout, source, words, target)
        self.compare(theirs, self.ours(target), size)
        return result

    @torch.no_grad()
    def compare(self, theirs: nn.Module, ours: nn.Module, size: int = 32) -> None:
        images = torch.randn(2, 3, size, size, dtype=torch.float64)
        expected = theirs.double()(images.clone())
        found = ours(images, mode='tensor')
        found = found[-1] if isinstance(found, tuple) else found
        assert found.shape == expected.shape
        scale = max(1.0, float(expected.abs().max()))
        assert float((found - expected).abs().max()) < 1e-5 * scale
        # Not the same because both are the same for every image.
        assert float((expected[0] - expected[1]).abs().max()) > 1e-3 * float(expected.abs().max())
