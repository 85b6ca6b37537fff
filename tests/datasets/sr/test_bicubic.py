"""MATLAB's imresize: against MATLAB's own results, by hand, and by a literal transcription."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmcompress.datasets.sr.bicubic import contributions, cubic, imresize


def _matrix(text: str) -> torch.Tensor:
    rows = [[int(value) for value in row.split()] for row in text.strip().splitlines()]
    return torch.tensor(rows, dtype=torch.uint8)


# An image and what MATLAB makes of it: the reference results of GNU Octave's image package
# (inst/imresize.m, tests "against some reference results from matlab").
IMAGE = _matrix("""
116 227 153  69 146 194  59 130 139 106
  2  47 137 249  90  75  16  24 158  44
155  68  46  84 166 156  69 204  32 152
 71 221 137 230 210 153 192 115  30 118
107 143 108  52  51  73 101  21 175  90
 54 158 143  77  26 168 113 229 165 225
  9  47 133 135 130 207 236  43  19  73
129  60  59 243  64 181 249  56  32  86
""")
MATLAB = {
    1 / 2: """
105 140 126  81 109
110 134 153 114  93
108 108  94 127 146
 67 126 162 149  62
""",
    1 / 3: """
115 135  97 101
113 119 124 125
 81 157 118  64
""",
    4 / 3: """
116 203 221 141  62 110 180 191  70 104 143 136 111 106
 26  78 126 156 200 139 103 103  33  28  92 158  67  46
 51  35  51 112 195 146 101  87  29  57 100 114  81  74
159 110  63  50  82 148 179 152  83 173 147  27 143 170
 70 171 189 134 217 226 193 158 186 157  83  25 114 135
 91 152 162 116 118 114 102  98 138  65  60 127  92  84
 90 130 144 111  52  24  50 101  94  86 129 190 146 135
 41 114 157 139  89  37  82 178 125 192 203 154 213 227
  4  33  89 141 127 118 151 213 232 119  35  34  81  92
 88  61  54  97 203 129 115 203 255 119  18  24  70  81
147  91  43  68 247 125  80 191 255 130  33  37  83  94
""",
    3 / 2: """
116 187 237 171  94  61 135 191 187  75  91 142 140 124 108
 43  92 143 149 164 163 119 123 118  44  38  80 151 118  62
 13  21  47 107 195 228 115  81  70  24  19  56 137 105  48
146  98  49  49  71 107 148 159 132  58 124 176  61  85 146
118 139 144  92 116 168 201 188 159 140 167 158  27  69 153
 61 151 218 145 174 219 201 164 146 187 148  84  48  76 115
102 132 151 119  90  72  72  72  83 114  60  31 144 130  80
 81 121 154 133  87  41  19  67 116  95 108 140 183 180 163
 37  95 152 150 117  73  35 108 179 130 174 214 153 176 219
  3  29  73 131 136 120 116 162 214 229 147  54  35  62  96
 67  54  51  83 153 187 111 141 210 255 149  22  13  42  74
142  99  53  43 164 237  77 103 197 254 159  42  31  59  91
""",
}


@pytest.mark.parametrize('scale', MATLAB)
def test_every_pixel_is_matlabs(scale):
    assert torch.equal(imresize(IMAGE, scale), _matrix(MATLAB[scale]))


def test_floats_of_matlab():
    """``imresize([10, 6], [3, 3], 'cubic')``, from the same tests."""
    found = imresize(torch.tensor([[10.0, 6.0]] * 2, dtype=torch.float64), 1.5)
    expected = torch.tensor([10.27777777777777, 8, 5.72222222222222], dtype=torch.float64)
    assert torch.allclose(found, expected.expand(3, 3), rtol=0, atol=1e-13)


def _slowly(image: np.ndarray, scale: float) -> np.ndarray:
    """The definition, pixel by pixel: kernel over the image mirrored without end, normalised."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def line(values):
        n, narrow = len(values), min(scale, 1)
        out = []
        for i in range(math.ceil(n * scale)):
            centre = (i + 0.5) / scale
            total = weights = 0.0
            for j in range(-8 * n, 9 * n):
                weight = kernel(narrow * (centre - (j + 0.5)))
                mirrored = j % (2 * n)
                total += weight * values[min(mirrored, 2 * n - 1 - mirrored)]
                weights += weight
            out.append(total / weights)
        return np.array(out)

    return np.apply_along_axis(line, 1, np.apply_along_axis(line, 0, image))


@pytest.mark.parametrize(
    ('size', 'scale'),
    [
        ((9, 14), 1 / 2),
        ((9, 11), 1 / 3),
        ((13, 8), 1 / 4),
        ((3, 2), 1 / 4),
        ((4, 5), 2),
        ((5, 3), 3),
    ],
)
def test_literal_transcription(size, scale):
    image = np.random.RandomState(0).rand(*size) * 255
    found = imresize(torch.from_numpy(image), scale)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), _slowly(image, scale), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ('factor', 'weights', 'denominator'),
    [
        # (1 / factor) * cubic(distance / factor) at distances 0.5, 1.5, ..., by hand.
        (2, [-3, -9, 29, 111, 111, 29, -9, -3], 256),
        (
            4,
            [-7, -45, -75, -49, 93, 399, 745, 987, 987, 745, 399, 93, -49, -75, -45, -7],
            4096,
        ),
    ],
)
def test_weights_by_hand(factor, weights, denominator):
    positions, found = contributions(12 * factor, 1 / factor)
    # A pixel far from both ends.
    assert (found[6] * denominator).tolist() == weights
    first = 6 * factor + factor // 2 - 2 * factor
    assert positions[6].tolist() == list(range(first, first + 4 * factor))
    # An impulse gets each output's weight for it.
    line = torch.zeros(1, 12 * factor, dtype=torch.float64)
    line[0, first] = 1
    assert imresize(line, 1 / factor)[0, 6] * denominator == weights[0]


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_ramp(factor):
    """Straight lines stay straight: each pixel becomes the mean of those that it covers."""
    ramp = torch.arange(16 * factor, dtype=torch.float64).expand(3 * factor, -1)
    found = imresize(ramp, 1 / factor)
    expected = ramp[0].unfold(0, factor, factor).mean(1)
    assert found.shape == (3, 16)
    assert torch.allclose(found[:, 2:-2], expected[2:-2].expand(3, -1), rtol=0, atol=1e-12)
    # At the ends it meets its mirror image.
    assert abs(found[0, 0] - expected[0]) > 0.01


def test_away_from_edges_it_is_pytorchs():
    """PyTorch's antialiased bicubic has the same kernel and other edges."""
    image = torch.rand(2, 3, 40, 52, dtype=torch.float64)
    theirs = F.interpolate(image, scale_factor=0.25, mode='bicubic', antialias=True)
    ours = imresize(image, 0.25)
    assert torch.allclose(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-12)
    assert not torch.allclose(ours, theirs, atol=1e-3)


def test_kinds_of_images():
    image = torch.rand(3, 12, 17)
    assert imresize(image, 0.5).dtype == torch.float32
    assert imresize(image, 0.5).shape == (3, 6, 9)
    assert torch.allclose(imresize(image, 0.5).double(), imresize(image.double(), 0.5), atol=1e-6)
    assert torch.equal(imresize(image, 1), image)
    # Floats overshoot, bytes are cut off.
    step = torch.tensor([[0.0, 0, 0, 255, 255, 255]])
    assert imresize(step, 2).max() > 260
    assert imresize(step.byte(), 2).max() == 255
    x = torch.tensor([-2.5, -2, -1, -0.5, 0, 0.5, 1.5, 2])
    assert cubic(x).tolist() == [0, 0, 0, 0.5625, 1, 0.5625, -0.0625, 0]


@pytest.mark.parametrize(
    ('image', 'scale', 'message'),
    [
        (torch.zeros(4, 4), 0, 'scale=0'),
        (torch.zeros(4, 4, dtype=torch.int64), 0.5, 'torch.int64'),
        (torch.zeros(4), 0.5, r'\(4,\)'),
        (torch.zeros(0, 4), 0.5, r'\(0, 4\)'),
    ],
)
def test_what_can_not_be_resized(image, scale, message):
    with pytest.raises(ValueError, match=message):
        imresize(image, scale)
