"""methods/linear_conv/init.py against literal transcriptions, and against other choices."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.low_rank import relative_error
from mmcompress.methods.linear_conv.filters import materialise
from mmcompress.methods.linear_conv.init import fit_linear_conv

#: Shape of a dense weight, and its groups.
WEIGHTS = {
    'plain': ((12, 4, 3, 3), 1),
    'more filters than weights': ((12, 5, 1, 1), 1),
    'groups': ((12, 3, 2, 2), 2),
}


def dense(name: str) -> tuple[Tensor, int]:
    shape, groups = WEIGHTS[name]
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(shape[0], shape[0], generator=generator).double()
    # Filters that have something in common, as in a trained layer.
    rows = torch.randn(shape[0], shape[1] * shape[2] * shape[3], generator=generator).double()
    falling = torch.diag(0.7 ** torch.arange(shape[0]).double())
    return (mixed @ falling @ rows).view(shape), groups


def weight_of(fit: dict[str, Tensor], groups: int, weight: Tensor) -> Tensor:
    factors = [fit[name] for name in ('combination', 'left', 'right') if name in fit]
    return materialise(fit['primary'], factors, fit['order'], groups, weight.shape)


def error(weight: Tensor, groups: int, *args: object, **kwargs: object) -> float:
    fit = fit_linear_conv(weight, groups, *args, **kwargs)
    return relative_error([weight], [weight_of(fit, groups, weight)])


def pivots(rows: Tensor, count: int) -> list[int]:
    """Gram and Schmidt: the longest of what is left of the rows, again and again."""
    rows, found = rows.clone(), []
    for _ in range(count):
        found.append(int(rows.norm(dim=1).argmax()))
        unit = rows[found[-1]] / rows[found[-1]].norm()
        rows -= (rows @ unit)[:, None] * unit
    return sorted(found)


@pytest.mark.parametrize('name', WEIGHTS)
@pytest.mark.parametrize('count', [1, 3, 5])
def test_primary_filters_and_least_squares(name: str, count: int) -> None:
    weight, groups = dense(name)
    fit = fit_linear_conv(weight, groups, count)
    each = len(weight) // groups
    assert fit.keys() == {'primary', 'combination', 'order'}
    assert fit['primary'].shape == (groups * count, *weight.shape[1:])
    assert fit['combination'].shape == (groups, each - count, count)
    for g, rows in enumerate(weight.flatten(1).chunk(groups)):
        chosen = pivots(rows, count)
        others = [i for i in range(each) if i not in chosen]
        own = fit['primary'].flatten(1)[g * count : (g + 1) * count]
        assert torch.equal(own, rows[chosen])
        best = np.linalg.lstsq(own.T.numpy(), rows[others].T.numpy(), rcond=None)[0].T
        np.testing.assert_allclose(fit['combination'][g], best, rtol=0, atol=1e-9)
        expected = [g * each + (chosen + others).index(i) for i in range(each)]
        assert fit['order'].tolist()[g * each : (g + 1) * each] == expected


@pytest.mark.parametrize('name', WEIGHTS)
@pytest.mark.parametrize('rank', [1, 2, 4])
def test_rank_of_the_filters_is_cut_and_not_that_of_the_combinations(name: str, rank: int) -> None:
    weight, groups = dense(name)
    fit = fit_linear_conv(weight, groups, 4, rank)
    assert fit.keys() == {'primary', 'left', 'right', 'order'}
    full = fit_linear_conv(weight, groups, 4)
    assert torch.equal(fit['primary'], full['primary'])
    found = weight_of(fit, groups, weight)[fit['order'].argsort()]
    for g, A in enumerate(full['combination']):
        own = full['primary'].flatten(1).chunk(groups)[g]
        u, s, vh = torch.linalg.svd(A @ own, full_matrices=False)
        combined = found.flatten(1).chunk(groups)[g][4:]
        best = u[:, :rank] * s[:rank] @ vh[:rank]
        torch.testing.assert_close(combined, best, rtol=0, atol=1e-9)
        # The nearest to A of that rank is farther away.
        u, s, vh = torch.linalg.svd(A, full_matrices=False)
        nearest = (u[:, :rank] * s[:rank] @ vh[:rank]) @ own
        others = weight.flatten(1).chunk(groups)[g]
        others = others[fit['order'].view(groups, -1)[g].argsort()[4:]]
        gain = (nearest - others).norm() - (combined - others).norm()
        assert gain > -1e-9
        if rank == 1:
            assert gain > 1e-3
    # Both factors carry the same part of every term that there is.
    terms = min(rank, len(weight) // groups - 4)
    norms = [fit['left'].norm(dim=1)[:, :terms], fit['right'].norm(dim=2)[:, :terms]]
    torch.testing.assert_close(*norms)


@pytest.mark.parametrize('name', WEIGHTS)
@pytest.mark.parametrize('count', [1, 3, 5])
def test_nothing_is_nearer_than_projected_filters(name: str, count: int) -> None:
    weight, groups = dense(name)
    squares = sum(
        torch.linalg.svdvals(rows)[count:].square().sum()
        for rows in weight.flatten(1).chunk(groups)
    )
    best = float(squares.sqrt() / weight.norm())
    projected = error(weight, groups, count, project=True)
    assert projected == pytest.approx(best, abs=1e-10)
    picked = error(weight, groups, count)
    assert picked < 1
    assert picked >= projected - 1e-10
    if best > 1e-10:
        assert picked > projected


def test_picks_well() -> None:
    weight, groups = dense('plain')
    rows = weight.flatten(1)
    at_random = []
    for seed in range(20):
        own = rows[torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:6]]
        nearest = rows @ torch.linalg.pinv(own) @ own
        at_random.append(relative_error([rows], [nearest]))
    assert error(weight, groups, 6) < sum(at_random) / 20


@pytest.mark.parametrize('rank', [None, 2])
@pytest.mark.parametrize('project', [True, False])
def test_exact_where_an_exact_answer_exists(rank: int | None, project: bool) -> None:
    torch.manual_seed(0)
    rows = torch.randn(2, 3, 18)
    mixing = torch.randn(2, 5, 3) if rank is None else torch.randn(2, 5, 2) @ torch.randn(2, 2, 3)
    if rank:
        # Small combinations, so that the filters that they come from are the ones picked.
        mixing = 0.01 * mixing
    weight = torch.cat([rows, mixing @ rows], 1).view(16, 2, 3, 3)
    fit = fit_linear_conv(weight, 2, 3, rank, project)
    assert {tensor.dtype for tensor in fit.values()} == {torch.float32, torch.int64}
    assert relative_error([weight], [weight_of(fit, 2, weight)]) < 1e-6


@pytest.mark.parametrize('rank', [None, 1, 3])
@pytest.mark.parametrize('project', [True, False])
@pytest.mark.parametrize('kind', ['zero', 'some zero', 'equal', 'rank 1', 'tiny'])
def test_deficient_weights(kind: str, rank: int | None, project: bool) -> None:
    weight = torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    if kind == 'zero':
        weight = 0 * weight
    elif kind == 'some zero':
        weight[:6] = 0
    elif kind == 'equal':
        weight = weight[[0, 1, 0, 1, 1, 0, 0, 1]]
    elif kind == 'rank 1':
        weight = torch.arange(-3.0, 5).view(8, 1, 1, 1) * weight[:1]
    elif kind == 'tiny':
        weight = 1e-30 * weight[:1].repeat(8, 1, 1, 1)
    fit = fit_linear_conv(weight, 1, 4, rank, project)
    assert all(tensor.isfinite().all() for tensor in fit.values())
    found = weight_of(fit, 1, weight)
    assert relative_error([weight], [found]) < 1e-6 or (kind == 'equal' and rank == 1)
    if rank is None:
        # Of all combinations that give this, the smallest one.
        assert fit['combination'].abs().max() < 10
    else:
        # Every term can still learn: a zero in both factors would stay one.
        assert (fit['right'].norm(dim=2) > 0).all()
        assert max(fit['left'].abs().max(), fit['right'].abs().max()) < 10


def test_rounding_says_nothing() -> None:
    torch.manual_seed(0)
    weight = (torch.randn(16, 2).double() @ torch.randn(2, 18).double()).float().view(16, 2, 3, 3)
    fit = fit_linear_conv(weight, 1, 8)
    assert relative_error([weight], [weight_of(fit, 1, weight)]) < 1e-6
    # The smallest combinations for rank 2, and not those that tell rounding errors apart.
    primary, others = weight.flatten(1)[fit['order'].argsort()].double().split(8)
    expected = (others @ torch.linalg.pinv(primary, rtol=1e-3)).float()
    torch.testing.assert_close(fit['combination'][0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('rank', [None, 1])
@pytest.mark.parametrize(
    ('shape', 'groups', 'count'),
    [((6, 2, 3, 3), 1, 6), ((8, 1, 3, 3), 8, 1), ((6, 1, 1, 1), 6, 1), ((8, 2, 3, 3), 2, 4)],
)
def test_nothing_to_combine(
    shape: tuple[int, ...], groups: int, count: int, rank: int | None
) -> None:
    weight = torch.randn(shape)
    fit = fit_linear_conv(weight, groups, count, rank)
    if rank is None:
        assert fit['combination'].shape == (groups, 0, count)
    else:
        assert fit['left'].shape == (groups, 0, 1)
        assert fit['right'].shape == (groups, 1, count)
    assert torch.equal(weight_of(fit, groups, weight), weight)
    assert fit['order'].tolist() == list(range(shape[0]))


def test_fewer_filters_to_combine_than_the_rank() -> None:
    weight, groups = dense('groups')
    fit = fit_linear_conv(weight, groups, 5, 3)
    assert fit['left'].shape == (2, 1, 3)
    assert fit['right'].shape == (2, 3, 5)
    full = fit_linear_conv(weight, groups, 5)
    torch.testing.assert_close(fit['left'] @ fit['right'], full['combination'], rtol=0, atol=1e-9)
    assert (fit['right'].norm(dim=2) > 0).all()


def test_errors() -> None:
    weight = torch.randn(8, 2, 3, 3)
    with pytest.raises(CompressionError, match='num_primary is 5; a group of 4 filters has 1 to 4'):
        fit_linear_conv(weight, 2, 5)
    with pytest.raises(CompressionError, match='num_primary is 0'):
        fit_linear_conv(weight, 2, 0)
    with pytest.raises(CompressionError, match='rank is 4; .* 3 primary filters have 1 to 3'):
        fit_linear_conv(weight, 1, 3, 4)
    weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(CompressionError, match='not finite'):
        fit_linear_conv(weight, 2, 2)
