"""PadShortcut against the published lambda, and narrowed on either side."""

import pytest
import torch
import torch.nn.functional as F

from mmcompress.models import PadShortcut


def _published(x: torch.Tensor, planes: int) -> torch.Tensor:
    """The shortcut as the CIFAR ResNet codes of the papers' authors write it."""
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), 'constant', 0)


@pytest.mark.parametrize(('planes', 'side'), [(32, 8), (64, 7)])
def test_equals_the_published_shortcut(planes, side):
    x = torch.randn(2, planes // 2, side, side)
    shortcut = PadShortcut(planes // 2, planes, stride=2)
    assert torch.equal(shortcut(x), _published(x, planes))


@pytest.mark.parametrize(('planes', 'side'), [(32, 8), (64, 14)])
def test_averages_as_the_filter_basis_authors(planes, side):
    x = torch.randn(2, planes // 2, side, side, dtype=torch.double, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    quarters = [y[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    c = planes // 4
    expected = F.pad(sum(quarters) / 4, (0, 0, 0, 0, c, c))
    out = PadShortcut(planes // 2, planes, stride=2, pool=True)(x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(out)
    out.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-12)


def test_the_average_at_an_odd_border():
    x = torch.arange(9.0).view(1, 1, 3, 3)
    out = PadShortcut(1, 1, pool=True)(x)
    assert out.flatten().tolist() == [2.0, 3.5, 6.5, 8.0]


def test_narrowing_is_the_same_with_an_average():
    x = torch.randn(1, 8, 6, 6)
    shortcut = PadShortcut(8, 16, pool=True)
    dense = shortcut(x)
    keep = torch.tensor([4, 6, 11, 15])
    shortcut.narrow(out_keep=keep)
    assert torch.equal(shortcut(x), dense[:, keep])
    assert 'pool=True' in repr(shortcut)


def test_has_no_parameters_and_one_integer_buffer():
    shortcut = PadShortcut(4, 8)
    assert list(shortcut.parameters()) == []
    assert shortcut.state_dict()['source'].tolist() == [-1, -1, 0, 1, 2, 3, -1, -1]


def test_odd_difference_keeps_every_input_channel():
    x = torch.randn(1, 3, 4, 4)
    out = PadShortcut(3, 6, stride=1)(x)
    assert torch.equal(out[:, 1:4], x)
    assert not out[:, [0, 4, 5]].any()


@pytest.mark.parametrize(
    ('in_keep', 'out_keep'),
    [
        ([0, 3, 7], None),
        (None, [0, 4, 5, 11, 15]),
        ([1, 2, 6], [0, 3, 5, 6, 10, 15]),
        ([0], [15]),
    ],
)
def test_narrowing_selects_channels_of_the_dense_output(in_keep, out_keep):
    x = torch.randn(2, 8, 6, 6)
    in_keep = None if in_keep is None else torch.tensor(in_keep)
    out_keep = None if out_keep is None else torch.tensor(out_keep)
    # Dense, with the removed input channels silenced and the removed output channels ignored.
    silenced = x.clone()
    if in_keep is not None:
        silenced.zero_()[:, in_keep] = x[:, in_keep]
    expected = PadShortcut(8, 16)(silenced)
    if out_keep is not None:
        expected = expected[:, out_keep]

    shortcut = PadShortcut(8, 16)
    shortcut.narrow(in_keep, out_keep)
    narrow_x = x if in_keep is None else x[:, in_keep]
    assert shortcut.in_channels == narrow_x.size(1)
    assert shortcut.out_channels == expected.size(1) == shortcut.source.numel()
    assert torch.equal(shortcut(narrow_x), expected)


def test_narrowing_twice_equals_narrowing_once():
    twice, once = PadShortcut(8, 16), PadShortcut(8, 16)
    twice.narrow(torch.tensor([1, 2, 5, 7]), torch.tensor([0, 4, 5, 6, 9, 11]))
    twice.narrow(torch.tensor([0, 3]), torch.tensor([1, 2, 5]))
    once.narrow(torch.tensor([1, 7]), torch.tensor([4, 5, 11]))
    assert torch.equal(twice.source, once.source)


@pytest.mark.parametrize(
    ('ins', 'outs', 'expected'),
    [
        (6, 25, [-1] * 9 + list(range(6)) + [-1] * 10),
        (25, 32, [-1] * 3 + list(range(25)) + [-1] * 4),
        (5, 5, list(range(5))),
        (8, 5, [2, 3, 4, 5, 6]),  # only narrowing gets here; two are lost in front, one behind
    ],
)
def test_padding_anew_for_the_present_widths(ins, outs, expected):
    shortcut = PadShortcut(32, 64)
    shortcut.narrow(torch.arange(ins), torch.arange(outs))
    shortcut.pad_evenly()
    assert shortcut.source.tolist() == expected
    assert (shortcut.in_channels, shortcut.out_channels) == (ins, outs)
    x = torch.randn(2, ins, 6, 6)
    front = (outs - ins) // 2
    assert torch.equal(
        shortcut(x), F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, front, outs - ins - front))
    )


def test_padding_anew_changes_nothing_at_the_widths_of_before():
    shortcut = PadShortcut(16, 32)
    before = shortcut.source.clone()
    shortcut.pad_evenly()
    assert torch.equal(shortcut.source, before)


def test_a_prefix_narrowed_copy_takes_the_checkpoint_of_any_narrowing():
    trained, rebuilt = PadShortcut(8, 16), PadShortcut(8, 16)
    trained.narrow(torch.tensor([2, 5, 6]), torch.tensor([0, 6, 9, 10]))
    rebuilt.narrow(torch.arange(3), torch.arange(4))
    rebuilt.load_state_dict(trained.state_dict())
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(rebuilt(x), trained(x))
    assert rebuilt(x)[:, 2].equal(x[:, 1, ::2, ::2])


def test_gradient_reaches_exactly_the_subsampled_input():
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    PadShortcut(2, 4)(x).sum().backward()
    expected = torch.zeros(1, 2, 4, 4)
    expected[:, :, ::2, ::2] = 1
    assert torch.equal(x.grad, expected)


def test_rejects_fewer_output_channels():
    with pytest.raises(ValueError, match='out_channels=8 is smaller than in_channels=16'):
        PadShortcut(16, 8)


@pytest.mark.parametrize('pool', [False, True])
def test_onnx(tmp_path, pool):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    shortcut = PadShortcut(8, 16, pool=pool).eval()
    shortcut.narrow(torch.tensor([1, 4, 7]), torch.tensor([0, 5, 8, 11]))
    x = torch.randn(2, 3, 6, 6)
    path = tmp_path / 'shortcut.onnx'
    torch.onnx.export(shortcut, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), shortcut(x), rtol=0, atol=1e-6 * pool)
