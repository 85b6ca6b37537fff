"""core/filters/spectra.py: singular values and distances of filters from dense ones."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmcompress.core.filters.spectra import least_error, spectrum


@pytest.mark.parametrize('parts', [1, 2])
def test_the_spectrum(parts):
    kernel = torch.randn(5, 4, 3, 3)
    rows = kernel.double().numpy().reshape(5, parts, -1).reshape(5 * parts, -1)
    values = np.linalg.svd(rows, compute_uv=False)
    assert np.allclose(spectrum(kernel, parts), values / values[0])
    assert not spectrum(torch.zeros(3, 2, 1, 1)).any()


def test_the_least_error_is_that_of_the_cut_decomposition():
    matrix = torch.randn(6, 8, dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    for rank in range(7):
        fitted = u[:, :rank] @ s[:rank].diag() @ v[:rank]
        expected = float((matrix - fitted).norm() / matrix.norm())
        assert least_error(s / s[0], rank) == pytest.approx(expected, abs=1e-12)


@pytest.fixture(params=[('FilterBasis', {}), ('SharedBasis', dict(skip_first_block=False))])
def fitted(request, tiny_cfg):
    """An algorithm fitted to a dense network, and the weights of that."""
    tiny_cfg['width'] = 16
    dense = MODELS.build(tiny_cfg).state_dict()
    algorithm = MODELS.build(
        dict(
            type=f'mmcompress.{request.param[0]}',
            architecture=tiny_cfg,
            target_pruning_ratio=0.6,
            init='svd',
            mutator_cfg=dict(parse_cfg=dict(request.param[1])),
        )
    )
    algorithm.load_state_dict({key: value.clone() for key, value in dense.items()}, strict=False)
    return algorithm, dense


def test_figures_of_a_fitted_network(fitted):
    algorithm, dense = fitted
    reconstruction, before, after = algorithm.diagnostics(dense)
    least, error = (series.y for series in reconstruction.series)
    for name, one, other in zip(reconstruction.series[0].x, least, error, strict=True):
        op = algorithm.architecture.get_submodule(name)
        w = dense[f'{name}.weight']
        assert other == pytest.approx(
            float((w - op.filters().detach()).norm() / w.norm()), rel=1e-4
        )
        # No basis of the same length is nearer; one that no other layer shares is as near.
        assert one <= other + 1e-6
    assert [series.name for series in before.series] == [series.name for series in after.series]
    for series in after.series:
        assert len(series.y) <= algorithm.architecture.get_submodule(series.name).rank


def test_without_the_dense_network(fitted):
    algorithm, _ = fitted
    assert [figure.name for figure in algorithm.diagnostics()] == ['singular-values-compact']
