"""Transposed convolutions: four views against torch, and the numbers behind checkerboards."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnlab.exercises import transposed as ex
from cnnlab.fields import conv_size, conv_transpose_size
from cnnlab.lessons.transposed import bed_of_nails, overlap_count, transposed_convolution

VIEWS = ["by_scatter", "by_zero_insertion", "by_matrix", "by_autograd"]


def pairs(low: int, high: int) -> st.SearchStrategy:
    number = st.integers(low, high)
    return st.one_of(number, st.tuples(number, number))


def both(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


@st.composite
def problems(draw, dtype=torch.float64):
    """An input, a kernel and settings that torch accepts."""
    c_in, c_out = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    x_shape = (draw(st.integers(1, 2)), c_in, draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    kernel_shape = (c_in, c_out, draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride, dilation = draw(pairs(1, 4)), draw(pairs(1, 3))
    spare = min(map(max, zip(both(stride), both(dilation), strict=True))) - 1
    options = {
        "stride": stride,
        "padding": draw(pairs(0, 3)),
        "output_padding": draw(pairs(0, spare)),
        "dilation": dilation,
    }
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    if dtype.is_floating_point:
        x, kernel = (
            torch.randn(n, generator=generator, dtype=dtype) for n in (x_shape, kernel_shape)
        )
    else:
        x, kernel = (torch.randint(-9, 9, n, generator=generator) for n in (x_shape, kernel_shape))
    sides = zip(
        x.shape[2:],
        kernel.shape[2:],
        *(both(options[name]) for name in ("stride", "padding", "output_padding", "dilation")),
        strict=True,
    )
    assume(min(conv_transpose_size(*side) for side in sides) > 0)
    expected = F.conv_transpose2d(x, kernel, None, **options)
    return x, kernel, options, expected


@given(problems())
@settings(max_examples=100, deadline=None)
def test_four_views_agree_with_torch(problem):
    x, kernel, options, expected = problem
    view = transposed_convolution(x, kernel, **options)
    for name in VIEWS:
        torch.testing.assert_close(getattr(view, name)(), expected, msg=name)
    torch.testing.assert_close(view.output, expected)
    assert view.output_size == expected.shape[2:]


@given(problems())
@settings(max_examples=60, deadline=None)
def test_the_recipe_is_an_ordinary_convolution_of_the_padded_input(problem):
    x, kernel, options, expected = problem
    view = transposed_convolution(x, kernel, **options)
    z, border = both(view.zeros_inserted), both(view.border)
    dilation, extra = both(options["dilation"]), both(options["output_padding"])
    for axis in (0, 1):
        n = x.shape[axis + 2]
        stretched = n + (n - 1) * z[axis]
        padded = stretched + 2 * border[axis] + extra[axis]
        reach = dilation[axis] * (kernel.shape[axis + 2] - 1)
        assert view.stretched.shape[axis + 2] == stretched
        assert view.padded.shape[axis + 2] == padded == expected.shape[axis + 2] + reach
    assert torch.equal(view.flipped_kernel, torch.rot90(kernel, 2, (2, 3)))
    assert view.padded.abs().sum() <= x.abs().sum() + 1e-9  # nothing but zeros came in


@given(problems(torch.int64))
@settings(max_examples=40, deadline=None)
def test_whole_numbers_stay_whole_and_exact(problem):
    x, kernel, options, expected = problem
    view = transposed_convolution(x, kernel, **options)
    assert all(torch.equal(getattr(view, name)(), expected) for name in VIEWS)


@given(problems())
@settings(max_examples=40, deadline=None)
def test_what_torch_accepts_is_accepted_and_it_is_the_adjoint_of_the_convolution(problem):
    """<conv(u), x> = <u, conv_transpose(x)>: what the word "transposed" means."""
    x, kernel, options, _ = problem
    view = transposed_convolution(x, kernel, **options)
    large = torch.randn(len(x), view.output.shape[1], *view.output_size, dtype=x.dtype)
    stride, padding, _, dilation = options.values()
    small = F.conv2d(large, kernel, None, stride, padding, dilation)
    small = small[..., : x.shape[2], : x.shape[3]]
    assert (small * x).sum() == pytest.approx((large * view.output).sum().item(), abs=1e-8)


def test_the_settings_are_refused_exactly_where_torch_refuses_them():
    x, kernel = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    for code in range(3 * 3 * 3 * 3):
        digits = [code // 3**i % 3 for i in range(4)]
        options = dict(
            zip(("stride", "padding", "output_padding", "dilation"), digits, strict=True)
        )
        try:
            expected = F.conv_transpose2d(x, kernel, **options)
        except RuntimeError:
            expected = None
        if expected is None or 0 in expected.shape:
            with pytest.raises(ValueError):
                transposed_convolution(x, kernel, **options)
        else:
            assert transposed_convolution(x, kernel, **options).output.shape == expected.shape


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (5, 2, 4, 3)])
def test_the_output_has_as_many_dimensions_as_the_input(shape):
    kernel = torch.rand(3, 2) if len(shape) == 2 else torch.rand(2, 1, 3, 2)
    view = transposed_convolution(torch.rand(shape), kernel, stride=2)
    for part in (view.stretched, view.padded, view.output, *(getattr(view, n)() for n in VIEWS)):
        assert part.ndim == len(shape)
    assert view.flipped_kernel.shape == kernel.shape
    assert view.output.shape[-2:] == (9, 6)


def test_the_exercise_of_the_lecture():
    kernel = torch.tensor([[0, 1], [2, 3]])
    one = transposed_convolution(torch.tensor([[1, 5], [3, 2]]), kernel)
    other = transposed_convolution(torch.tensor([[1, 5], [2, 3]]), kernel)
    assert one.output.tolist() == [[0, 1, 5], [2, 16, 17], [6, 13, 6]]
    assert other.output.tolist() == [[0, 1, 5], [2, 15, 18], [4, 12, 9]]


HAND = [[0, 1, 5], [2, 16, 17], [6, 13, 6]]


@pytest.mark.parametrize("answer", [HAND, torch.tensor([[HAND]]), torch.tensor(HAND).double()])
def test_the_hand_exercise_takes_its_rows_in_any_wrapping(answer, capsys, monkeypatch):
    monkeypatch.delenv("CNNLAB_STRICT", raising=False)
    ex.by_hand.check(answer)
    ex.by_hand.check([0, 1, 5, 2, 16, 17, 6, 13, 6])
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("✓ correct")
    assert second == "✗ not yet — write the answer as rows of numbers: [[…, …], […, …]]"


def test_pairs_are_reported_where_rows_and_columns_differ():
    view = transposed_convolution(torch.rand(4, 3), torch.rand(2, 4), (1, 3), padding=(2, 1))
    assert view.zeros_inserted == (0, 2)
    assert view.border == (-1, 2)
    assert transposed_convolution(torch.rand(3, 3), torch.rand(3, 3), 2, 1).border == 1


def test_it_works_where_gradients_are_off_or_wanted():
    x, kernel = torch.rand(2, 2, requires_grad=True), torch.rand(2, 2, requires_grad=True)
    view = transposed_convolution(x, kernel)
    with torch.no_grad():
        assert torch.allclose(view.by_autograd(), view.by_scatter())
    view.by_scatter().sum().backward()
    assert torch.allclose(x.grad, kernel.sum().expand(2, 2))


@pytest.mark.parametrize(
    ("x", "kernel", "options", "words"),
    [
        ((2, 2), (2, 2), {"output_padding": 1}, "output padding must be smaller than"),
        ((2, 2), (1, 1, 2, 2), {}, "give both as"),
        ((2,), (2,), {}, "give both as"),
        ((3, 2, 2), (2, 1, 2, 2), {}, "to have 2 channels, but got 3"),
        ((2, 2), (2, 2), {"stride": 0}, "stride is not supported"),
        ((2, 2), (2, 2), {"stride": (1, 2, 3)}, "expected stride to be"),
        ((2, 2), (2, 2), {"padding": 2}, "Output size is too small"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(x, kernel, options, words):
    with pytest.raises(ValueError, match=words):
        transposed_convolution(torch.ones(x), torch.ones(kernel), **options)


def test_two_types_of_numbers_are_refused():
    with pytest.raises(ValueError, match="type"):
        transposed_convolution(torch.tensor([[1, 2]]), torch.ones(1, 1))


# ------------------------------------------------------------------------------ sizes and counts


@given(
    st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4),
    st.integers(0, 3), st.integers(1, 3),
)  # fmt: skip
@settings(deadline=None)
def test_output_sizes_are_those_of_torch(n, k, s, p, extra, d):
    side = conv_transpose_size(n, k, s, p, extra, d)
    assume(extra < max(s, d) and side > 0)
    x, kernel = torch.ones(1, n, n), torch.ones(1, 1, k, k)
    assert F.conv_transpose2d(x, kernel, None, s, p, extra, 1, d).shape[-1] == side
    if n + 2 * p > d * (k - 1):
        assert F.conv2d(x, kernel, None, s, p, d).shape[-1] == conv_size(n, k, s, p, d)


def test_a_stride_of_one_without_padding_is_meant_where_nothing_is_said():
    assert (conv_size(9, 3), conv_transpose_size(9, 3)) == (7, 11)


def test_a_line_ignores_what_is_said_about_its_rows():
    line = overlap_count(5, 3, 2, 1)
    assert line.shape == (9,) and torch.equal(line, overlap_count(5, (7, 3), (4, 2), (2, 1)))


def test_output_padding_chooses_among_the_sizes_that_the_convolution_confuses():
    assert {conv_size(n, 5, 2, 2) for n in (15, 16)} == {8}
    assert [conv_transpose_size(8, 5, 2, 2, extra) for extra in (0, 1)] == [15, 16]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2))
@settings(deadline=None)
def test_overlaps_are_counted_as_a_kernel_of_ones_would(n, k, s, p):
    assume(conv_transpose_size(n, k, s, p) > 0)
    ones, kernel = torch.ones(1, 1, n), torch.ones(1, 1, k)
    expected = F.conv_transpose1d(ones, kernel, None, s, p)[0, 0]
    line = overlap_count(n, k, s, p)
    assert line.tolist() == expected.tolist()
    assert torch.equal(overlap_count((n, n), k, s, p), line[:, None] * line)


def test_overlap_is_even_inside_exactly_where_the_stride_divides_the_kernel():
    for k in range(1, 8):
        for s in range(1, k + 1):
            inside = overlap_count(40, k, s)[2 * k : -2 * k]
            assert (len(inside.unique()) == 1) == (k % s == 0), (k, s)


def test_an_image_may_have_two_sides():
    assert overlap_count((2, 3), (1, 2), (1, 2)).tolist() == [[1] * 6] * 2


def test_bed_of_nails_keeps_leading_dimensions_and_accepts_a_pair():
    x = torch.rand(2, 3, 4, 5)
    nails = bed_of_nails(x, (2, 3))
    assert nails.shape == (2, 3, 8, 15) and torch.equal(nails[..., ::2, ::3], x)
    assert nails.count_nonzero() == x.count_nonzero()


def test_nails_need_rows_and_columns_and_nothing_more():
    assert bed_of_nails(torch.ones(2, 3), 2).shape == (4, 6)
    assert bed_of_nails(torch.ones(2, 3), 1).tolist() == torch.ones(2, 3).tolist()
