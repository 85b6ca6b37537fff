"""core/channels/choose.py: the channels of the largest scores."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from mmcompress.core.channels.choose import check_feasible, keep_largest


def test_the_largest():
    v = torch.tensor([[0.3, 0.9, 0.3, 0.3, -1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 0, 0]])
    assert torch.equal(keep_largest(v, 3), expected)
    assert torch.equal(keep_largest(v, torch.tensor([0, 5])), torch.tensor([[0.0] * 5, [1.0] * 5]))
    assert torch.equal(keep_largest(v[0], 1), torch.tensor([0.0, 1, 0, 0, 0]))
    # More than any row of the network, so that a sort that is not stable would show.
    many = torch.arange(4096) % 2 == 0
    assert torch.equal(keep_largest(many.double(), 100).nonzero()[:, 0], 2 * torch.arange(100))


def test_it_is_what_sorting_says():
    """Literally: count for each entry those that come before it."""
    v = torch.randn(4, 9, generator=torch.Generator().manual_seed(2)).round(decimals=0)
    found = keep_largest(v, 4)
    for row, ones in zip(v.tolist(), found.tolist(), strict=True):
        for i, value in enumerate(row):
            before = sum(o > value or (o == value and j < i) for j, o in enumerate(row))
            assert ones[i] == (before < 4)


@pytest.mark.parametrize('padding', [1e3, -1e3, torch.nan])
def test_a_batch_equals_its_rows(padding):
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(n, generator=generator) for n in (5, 64, 17, 64)]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).bool()
    x = pad_sequence(rows, batch_first=True).masked_fill(~mask, padding).requires_grad_()
    k = torch.tensor([5, 30, 8, 0])
    batch = keep_largest(x, k, mask)
    assert not batch.requires_grad
    assert (batch[~mask] == 0).all()
    for i, real in enumerate(mask):
        assert torch.equal(batch[i, real], keep_largest(x[i, real], int(k[i])))


@pytest.mark.parametrize(
    ('x', 'k', 'mask', 'message'),
    [
        (torch.zeros(5), 6, None, r'k of row 0 is 6; it has to be from 0 to 5'),
        (torch.zeros(5), -1, None, r'k of row 0 is -1; it has to be from 0 to 5'),
        (torch.zeros(2, 5), torch.tensor([5, 6]), None, r'k of row 1 is 6; .* 0 to 5'),
        (
            torch.zeros(2, 5),
            4,
            torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
            r'k of row 1 is 4; .* 0 to 3',
        ),
    ],
)
@pytest.mark.parametrize('function', [check_feasible, keep_largest])
def test_infeasible_k(function, x, k, mask, message):
    with pytest.raises(ValueError, match=message):
        function(x, k, mask)
