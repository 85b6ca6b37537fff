"""core/conv_tree.py: blocks by the module tree, stages by the sizes of feature maps."""

import pytest
import torch
from torch import nn

from mmcompress.core.filters.tree import (
    ConvTree,
    common_module,
    stages_by_size,
    stages_of_convolutions,
)


def conv(c_in, c_out, k=3, **kwargs):
    return nn.Conv2d(c_in, c_out, k, padding=k // 2, **kwargs)


def sizes(**by_name):
    """Sizes by name; ``__`` stands for a dot."""
    return {name.replace('__', '.'): frozenset({(size, size)}) for name, size in by_name.items()}


def stages(given, taken=None, outermost='', convs=None):
    names = list(given) if convs is None else convs
    return stages_by_size(ConvTree(names), taken or {}, given, outermost)


# The tree


def test_parts_and_blocks():
    tree = ConvTree(['a.x.conv1', 'a.x.conv2', 'a.x.down.0', 'a.y.only.conv', 'b'])
    assert tree.parts('') == ['a', 'b']
    assert tree.parts('a.x') == ['a.x.conv1', 'a.x.conv2', 'a.x.down']
    assert tree.parts('b') == []
    assert tree.inside('a.x') == ['a.x.conv1', 'a.x.conv2', 'a.x.down.0']
    assert tree.inside('b') == ['b']
    assert tree.inside('c') == []
    assert tree.block_of('a.x.conv1') == tree.block_of('a.x.down.0') == 'a.x'
    assert tree.block_of('a.y.only.conv') == 'a'
    assert tree.block_of('b') == ''


def test_common_module():
    assert common_module(['a.b.c', 'a.b.d', 'a.b.e.f']) == 'a.b'
    assert common_module(['a.b', 'c.d']) == ''
    assert common_module(['a.b']) == 'a'
    assert common_module([]) == ''


# Stages by size


def test_the_largest_subtrees_of_one_size():
    given = sizes(
        b__stem=32, b__l1__0__c1=32, b__l1__0__c2=32, b__l1__1__c1=32, b__l1__1__c2=32,
        b__l2__0__c1=16, b__l2__0__c2=16, head=16,
    )  # fmt: skip
    assert stages(given) == {
        'b.stem': 'b.stem', 'b.l1.0.c1': 'b.l1', 'b.l1.0.c2': 'b.l1', 'b.l1.1.c1': 'b.l1',
        'b.l1.1.c2': 'b.l1', 'b.l2.0.c1': 'b.l2', 'b.l2.0.c2': 'b.l2', 'head': 'head',
    }  # fmt: skip


def test_subtrees_of_one_size_stay_apart():
    """Dilated stages of a segmenter have one size, and are stages all the same."""
    given = sizes(s=64, l2__a=8, l2__b=8, l3__a=8, l3__b=8)
    assert list(stages(given).values()) == ['s', 'l2', 'l2', 'l3', 'l3']


def test_neighbours_of_one_size():
    given = sizes(f__0__conv=8, f__1__conv=8, f__3__conv=4, f__5__conv=2, f__6=2, f__7__conv=2)
    assert list(stages(given).values()) == [
        'f.0-1', 'f.0-1', 'f.3', 'f.5-7', 'f.5-7', 'f.5-7',
    ]  # fmt: skip


def test_a_run_ends_where_another_subtree_stands():
    given = sizes(f__a=8, f__b__0=8, f__b__1=8, f__c=8, f__d=8, f__e=4)
    assert list(stages(given).values()) == ['f.a', 'f.b', 'f.b', 'f.c-d', 'f.c-d', 'f.e']


def bottleneck(outermost=''):
    given = sizes(
        n__stem=16, n__l__0__c1=8, n__l__0__c2=4, n__l__0__c3=4, n__l__1__c1=4, n__l__1__c2=4,
        n__l__0=4, n__l__1=4,
    )  # fmt: skip
    taken = sizes(n__l__0=8, n__l__1=4)
    convs = [name for name in given if name.count('.') == 3 or name == 'n.stem']
    return stages(given, taken, outermost, convs)


def test_a_block_gives_the_size_of_its_output():
    """The first convolution of a bottleneck still has the size of its input."""
    assert list(bottleneck('n').values()) == ['n.stem'] + ['n.l'] * 5


def test_what_is_around_everything_is_no_block():
    assert list(bottleneck('n.l.0').values()) == [
        'n.stem', 'n.l.0.c1', 'n.l.0.c2-c3', 'n.l.0.c2-c3', 'n.l.1', 'n.l.1',
    ]  # fmt: skip


def test_a_block_begins_with_single_convolutions_only():
    """Two stages inside of a module that halves the size are no block."""
    convs = ['n.l1.0', 'n.l1.1', 'n.l2.0', 'n.l2.1', 'head']
    given = sizes(n__l1__0=8, n__l1__1=8, n__l2__0=4, n__l2__1=4, head=2, n=4)
    assert list(stages(given, sizes(n=8), '', convs).values()) == [
        'n.l1', 'n.l1', 'n.l2', 'n.l2', 'head',
    ]  # fmt: skip


def test_a_chain_of_several_sizes_is_no_block():
    given = sizes(n__a=16, n__b=8, n__c=4, head=2, n=4)
    convs = ['n.a', 'n.b', 'n.c', 'head']
    assert list(stages(given, sizes(n=16), '', convs).values()) == convs


def test_gates_have_no_stage():
    """Squeeze and excitation doesn't split the stage that it stands in."""
    given = sizes(
        s=16, l__0__c1=8, l__0__se__f1=1, l__0__se__f2=1, l__0__c2=8, l__0=8, l__0__se=8,
        l__1__c1=8, l__1__se__f1=1, l__1__se__f2=1, l__1=8, l__1__se=8,
    )  # fmt: skip
    convs = [name for name in given if name.rpartition('.')[2] in ('s', 'c1', 'c2', 'f1', 'f2')]
    found = stages(given, sizes(l__0=8, l__1=8, l__0__se=8, l__1__se=8), '', convs)
    assert found == {'s': 's', 'l.0.c1': 'l', 'l.0.c2': 'l', 'l.1.c1': 'l'}


def test_maps_that_have_shrunk_to_one_pixel():
    found = stages(sizes(a=2, l3__0=1, l3__1=1, l4__0=1, l4__1=1))
    assert list(found.values()) == ['a', 'l3', 'l3', 'l4', 'l4']


# Sizes, from the forward pass


class Pyramid(nn.Module):
    """A head that runs on two sizes, a layer that runs twice, and one that never does."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 4)
        self.down = nn.Sequential(conv(4, 4, stride=2), conv(4, 4))
        self.unused = conv(4, 4)
        self.head = nn.Sequential(conv(4, 4), conv(4, 4))
        self.tail = nn.ModuleList([conv(4, 4, stride=4), conv(4, 4)])

    def forward(self, x):
        low = self.down(high := self.stem(x))
        tail = self.tail[1](self.tail[0](high))
        return self.head(high).mean() + self.head(low).mean() + self.tail[1](tail).mean()


@pytest.mark.parametrize('grad', [True, False])
def test_sizes_are_those_of_the_forward_pass(grad, rng_state):
    model = Pyramid().train()
    tree = ConvTree(n for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    before, state = rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    with torch.set_grad_enabled(grad):
        found = stages_of_convolutions(model, tree, '')
    assert list(found.items()) == [
        ('stem', 'stem'), ('down.0', 'down'), ('down.1', 'down'), ('head.0', 'head'),
        ('head.1', 'head'), ('tail.0', 'tail'), ('tail.1', 'tail'),
    ]  # fmt: skip
    assert rng_state() == before
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_input_shape_can_be_given():
    seen = []

    class Net(nn.Sequential):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return super().forward(x)

    stages_of_convolutions(Net(conv(3, 4)), ConvTree(['0']), '', (2, 3, 18, 22))
    assert set(seen) == {(2, 3, 18, 22)}
