"""core/export/int8.py: files in 8 bits, and the layers that stay in float32."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.export.int8 import Quantizer, fewest, named, quantize_onnx, sqnr
from mmcompress.core.export.onnx import export_onnx
from mmcompress.core.export.sessions import session


class Network(nn.Module):
    """Convolutions with a shortcut; the second has weights that 8 bits in all can't tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images).relu()
        x = (x + self.inner(x)).relu()
        return self.fc(self.last(x).mean((2, 3)))


def images(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('int8') / 'compact.onnx'
    export_onnx(Network(), path, (3, 8, 8))
    return path


@pytest.mark.parametrize('count', range(7))
def test_fewest_is_the_first_that_is_good(count: int) -> None:
    for least in range(count + 1):
        tried = []

        def good(number: int, least: int = least, tried: list[int] = tried) -> bool:
            tried.append(number)
            return number >= least

        literal = next(number for number in range(count + 1) if number >= least)
        assert fewest(count, good) == literal
        assert len(tried) <= 2 + math.log2(count or 1)


def test_fewest_takes_all_where_nothing_is_good() -> None:
    assert fewest(5, lambda number: False) == 5


def test_sqnr_is_that_of_the_worst_output_over_all_images() -> None:
    generator = np.random.default_rng(0)
    expected = [[generator.normal(size=(2, 3)), generator.normal(size=4)] for _ in range(3)]
    found = [[x + 0.1 * generator.normal(size=x.shape) for x in xs] for xs in expected]
    literal = []
    for output in range(2):
        signal = noise = 0.0
        for xs, ys in zip(expected, found, strict=True):
            for x, y in zip(xs[output].flat, ys[output].flat, strict=True):
                signal, noise = signal + x * x, noise + (x - y) ** 2
        literal.append(10 * math.log10(signal / noise))
    assert sqnr(expected, found) == pytest.approx(min(literal))
    assert sqnr(expected, expected) == math.inf


def test_names_mean_what_is_below_them() -> None:
    layers = ['backbone.conv1', 'backbone.layer1.0.conv1', 'backbone.layer10.conv', 'head.fc']
    assert named(['backbone.layer1', 'head.fc'], layers) == [layers[1], layers[3]]
    with pytest.raises(CompressionError, match=r"--int8-keep.*'head.fx'.*head\.fc"):
        named(['head.fx'], layers)


@pytest.mark.full
def test_errors_are_those_of_the_formula(tmp_path: Path) -> None:
    """One convolution, literally: input, weights and output rounded to their 8 (7) bits."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 1)
    export_onnx(conv, tmp_path / 'x.onnx', (3, 8, 8))
    given = images(3)
    found = Quantizer(tmp_path / 'x.onnx', given).errors()

    def rounded(x: np.ndarray, low: float, high: float) -> np.ndarray:
        low, high = min(low, 0), max(high, 0)
        scale = (high - low) / 255
        zero = round(-low / scale)
        return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale

    def limits(arrays: list[np.ndarray]) -> tuple[float, float]:
        return min(float(x.min()) for x in arrays), max(float(x.max()) for x in arrays)

    weight = conv.weight.detach().double().numpy()[:, :, 0, 0]
    bias = conv.bias.detach().double().numpy()[:, None, None]
    scales = np.abs(weight).max(1, keepdims=True) / 64
    coarse = np.rint(weight / scales) * scales
    exact = [np.einsum('oc,chw->ohw', weight, x[0].astype(float)) + bias for x in given]
    inexact = []
    for x in given:
        x = rounded(x[0].astype(float), *limits(given))
        inexact.append(rounded(np.einsum('oc,chw->ohw', coarse, x) + bias, *limits(exact)))
    literal = sqnr([[x] for x in exact], [[y] for y in inexact])
    assert list(found.values()) == [pytest.approx(literal, abs=0.05)]


@pytest.mark.full
def test_every_image_counts(file: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    given = images(70)
    given[0] = 10 * given[0]
    quantizer = Quantizer(file, given)
    assert quantizer.images == 70
    quantizer.write(tmp_path / 'x.onnx')
    tensors = {t.name: t for t in onnx.load(tmp_path / 'x.onnx').graph.initializer}
    scale = float(numpy_helper.to_array(tensors['images_scale']))
    assert scale == pytest.approx(float(given[0].max() - given[0].min()) / 255, rel=1e-3)


@pytest.mark.full
def test_layers_that_hurt_stay_in_float(file: Path, tmp_path: Path) -> None:
    import onnx

    results = {
        bound: quantize_onnx(file, tmp_path / f'{bound}.onnx', images(8), min_sqnr=bound)
        for bound in (0, 1000)
    }
    assert [row['layer'] for row in results[0]['layers']] == ['stem', 'inner', 'last', 'fc']
    assert results[0]['kept'] == []
    assert sorted(results[1000]['kept']) == ['fc', 'inner', 'last', 'stem']

    between = results[0]['sqnr_db'] + 1
    some = quantize_onnx(file, tmp_path / 'some.onnx', images(8), min_sqnr=between)
    errors = {row['layer']: row['alone_db'] for row in some['layers']}
    worst = sorted(errors, key=errors.__getitem__)
    assert some['kept'] == worst[: len(some['kept'])]
    assert 0 < len(some['kept']) < 4
    assert some['sqnr_db'] >= between
    assert Quantizer(file, images(8)).sqnr(some['kept'][:-1]) < between

    # In the file, layers in 8 bits have weights in 8 bits, and those kept have them in float32.
    model = onnx.load(tmp_path / 'some.onnx')
    types = {}
    for tensor in model.graph.initializer:
        for layer in errors:
            if f'.{layer}.weight' in f'.{tensor.name}' and len(tensor.dims) > 1:
                types[layer] = tensor.data_type
    for layer in errors:
        kept = layer in some['kept']
        assert types[layer] == (onnx.TensorProto.FLOAT if kept else onnx.TensorProto.INT8), layer

    image = torch.from_numpy(images(1)[0])
    expected, found = session(file)(image), session(tmp_path / 'some.onnx')(image)
    assert sqnr([expected], [found]) > between - 10


@pytest.mark.full
def test_names_to_keep_and_a_bound_of_the_callers(file: Path, tmp_path: Path) -> None:
    sizes = []

    def good(path: Path) -> bool:
        sizes.append(path.stat().st_size)
        return len(sizes) > 1

    result = quantize_onnx(
        file, tmp_path / 'x.onnx', images(2), keep=['stem'], min_sqnr=0, good=good
    )
    assert result['kept'][0] == 'stem'
    assert len(sizes) > 1
    with pytest.raises(CompressionError, match="--int8-keep.*'tail'"):
        quantize_onnx(file, tmp_path / 'y.onnx', images(2), keep=['tail'])
    assert not (tmp_path / 'y.onnx').exists()
    with pytest.raises(CompressionError, match='no image'):
        quantize_onnx(file, tmp_path / 'y.onnx', [])
