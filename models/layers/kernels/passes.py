"""The passes of FAConvLSTM in Triton, for GPUs; `models.layers.gpu` calls them.

Maps lie `(images, pixels, channels)`. A program takes a block of `PIXELS` pixels of one image and all C_b channels,
`LANES` being the next power of two. Maps may be of 16 bits; sums, norms, gates and cells are float32. Products of
matrices take the maps' type, with sums in float32 (`PRECISION` is that of float32 itself). Where programs add up the
derivative by a weight, each has its own row of `totals`, so that the order of additions is always the same.
"""

from __future__ import annotations

import triton
import triton.language as tl

EPSILON = tl.constexpr(1e-5)  # of the LayerNorm, torch's own
ABSENT = tl.constexpr(-1e4)  # a logit of models.layers.axial
SMALLEST = tl.constexpr(16)  # side of a matrix that is multiplied
NOTHING = tl.constexpr(-1e30)  # a logit of a column that is only there to fill a block
LOG2_E = tl.constexpr(1.4426950408889634)
CYLINDER, CIRCULAR = tl.constexpr(1), tl.constexpr(2)  # places in models.layers.convolution.PAD_MODES


@triton.jit
def probe(x):
    """Do as little as can be done."""
    tl.store(x, tl.load(x) + 1)


@triton.jit
def _mixed(u, kernel, places, pixel, height, width, inner,
           SIGN: tl.constexpr, TAPS: tl.constexpr, PAD: tl.constexpr,
           PIXELS: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Return the sum over all taps of an image u, `(PIXELS, LANES)`; SIGN -1 for the transpose."""
    channel = tl.arange(0, LANES)
    row, column = pixel // width, pixel % width
    real = channel < inner
    total = tl.zeros((PIXELS, LANES), tl.float32)
    for tap in range(TAPS):
        y = row + SIGN * tl.load(places + 2 * tap)
        x = column + SIGN * tl.load(places + 2 * tap + 1)
        if PAD == CYLINDER or PAD == CIRCULAR:
            x = (x + width) % width
        if PAD == CIRCULAR:
            y = (y + height) % height
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (row < height)
        where = (y * width + x)[:, None] * inner + channel[None, :]
        value = tl.load(u + where, mask=inside[:, None] & real[None, :], other=0).to(tl.float32)
        weight = tl.load(kernel + tap * inner + channel, mask=real, other=0).to(tl.float32)
        total += weight[None, :] * value
    return total


@triton.jit
def _normalised(m, real, inner, NORMED: tl.constexpr):
    """Return m less its mean over one standard deviation, and one over that; as it is without a norm."""
    rstd = tl.full((m.shape[0], 1), 1.0, tl.float32)
    if NORMED:
        m = tl.where(real[None, :], m - tl.sum(m, 1, keep_dims=True) / inner, 0.0)
        rstd = tl.rsqrt(tl.sum(m * m, 1, keep_dims=True) / inner + EPSILON)
        m *= rstd
    return m, rstd


@triton.jit
def _affine(y, norm, norm_bias, channel, real, NORMED: tl.constexpr):
    """Return y by the norm's weight, plus its bias."""
    if NORMED:
        y *= tl.load(norm + channel, mask=real, other=0).to(tl.float32)[None, :]
        y += tl.load(norm_bias + channel, mask=real, other=0).to(tl.float32)[None, :]
    return y


@triton.jit
def _sigmoid(x):
    """Return 1 / (1 + exp(-x)) in five instructions; a division would take eight more, and rsqrt is as exact."""
    root = tl.rsqrt(1 + tl.exp2(x * -LOG2_E))
    return root * root


@triton.jit
def _tanh(x):
    return 2 * _sigmoid(2 * x) - 1


@triton.jit
def _add_to(totals, where, value, mask):
    tl.store(totals + where, tl.load(totals + where, mask=mask, other=0) + value, mask=mask)


@triton.jit
def blend(u, u_stride, kernel, places, norm, norm_bias, share, a, sums, height, width, inner,
          NORMED: tl.constexpr, TAPS: tl.constexpr, PAD: tl.constexpr,
          PIXELS: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Write a = SiLU(LN(sum_j DW_j(U))), and its part in the mean over the map, a row a block."""
    block, image = tl.program_id(0), tl.program_id(1)
    pixel, channel = block * PIXELS + tl.arange(0, PIXELS), tl.arange(0, LANES)
    real, pixels = channel < inner, height * width
    start = image.to(tl.int64) * pixels * inner
    u += image.to(tl.int64) * u_stride
    m = _mixed(u, kernel, places, pixel, height, width, inner, 1, TAPS, PAD, PIXELS, LANES)
    y, _ = _normalised(m, real, inner, NORMED)
    y = _affine(y, norm, norm_bias, channel, real, NORMED)
    activated = y * _sigmoid(y)
    there = (pixel < pixels)[:, None] & real[None, :]
    tl.store(
        a + start + pixel[:, None] * inner + channel[None, :], activated.to(a.dtype.element_ty), mask=there
    )
    part = tl.load(share + pixel, mask=pixel < pixels, other=0)
    row = (image * tl.num_programs(0) + block) * inner
    tl.store(sums + row + channel, tl.sum(activated * part[:, None], 0), mask=real)


@triton.jit
def excite(sums, squeeze, squeeze_bias, expand, expand_bias, mean, hidden, excitation, blocks, inner, squeezed,
           ROWS: tl.constexpr, LANES: tl.constexpr, SQUEEZED: tl.constexpr):  # fmt: skip
    """Write e = sig(W_2 relu(W_1 mean + b_1) + b_2) of one image, and what leads to it."""
    image, channel, unit = tl.program_id(0), tl.arange(0, LANES), tl.arange(0, SQUEEZED)
    real, used = channel < inner, unit < squeezed
    average = _total(sums + image * blocks * inner, blocks, channel, inner, ROWS, LANES)
    first = tl.load(
        squeeze + unit[:, None] * inner + channel[None, :], mask=used[:, None] & real[None, :], other=0
    )
    second = tl.load(
        expand + channel[:, None] * squeezed + unit[None, :], mask=used[None, :] & real[:, None], other=0
    )
    z = tl.sum(first.to(tl.float32) * average[None, :], 1)
    z = tl.maximum(z + tl.load(squeeze_bias + unit, mask=used, other=0).to(tl.float32), 0)
    e = tl.sum(second.to(tl.float32) * z[None, :], 1)
    e = _sigmoid(e + tl.load(expand_bias + channel, mask=real, other=0).to(tl.float32))
    tl.store(mean + image * inner + channel, average, mask=real)
    tl.store(hidden + image * squeezed + unit, z, mask=used)
    tl.store(excitation + image * inner + channel, e, mask=real)


@triton.jit
def _total(sums, blocks, channel, inner, ROWS: tl.constexpr, LANES: tl.constexpr):
    """Return the sum of the rows of one image."""
    total = tl.zeros((ROWS, LANES), tl.float32)
    for start in range(0, blocks, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < blocks)[:, None] & (channel < inner)[None, :]
        total += tl.load(sums + row[:, None] * inner + channel[None, :], mask=mask, other=0)
    return tl.sum(total, 0)


@triton.jit
def _excited(a, excitation, channel, real, EXCITED: tl.constexpr):
    """Return V = a e, in the type of a."""
    if EXCITED:
        e = tl.load(excitation + channel, mask=real, other=0)
        a = (a.to(tl.float32) * e[None, :]).to(a.dtype)
    return a


@triton.jit
def _gate(matrix, bias, number, row, at, own, channels, real):
    """Return the weights `(LANES, CHANNELS)` and the bias `(1, CHANNELS)` of one gate."""
    where = row[:, None] * (4 * channels) + number * channels + at[None, :]
    weight = tl.load(matrix + where, mask=real[:, None] & own[None, :], other=0)
    return weight, tl.load(bias + number * channels + at, mask=own, other=0).to(tl.float32)[None, :]


@triton.jit
def _peep(peephole, number, at, own, channels, PEEPHOLE: tl.constexpr):
    weight = tl.zeros((1, at.shape[0]), tl.float32)
    if PEEPHOLE:
        weight += tl.load(peephole + number * channels + at, mask=own, other=0).to(tl.float32)[None, :]
    return weight


@triton.jit
def _gates(matrix, bias, peephole, row, at, own, channels, real, PEEPHOLE: tl.constexpr):
    """Return the weights and the biases of i, f, g, o, and the peepholes of i, f, o."""
    w_i, b_i = _gate(matrix, bias, 0, row, at, own, channels, real)
    w_f, b_f = _gate(matrix, bias, 1, row, at, own, channels, real)
    w_g, b_g = _gate(matrix, bias, 2, row, at, own, channels, real)
    w_o, b_o = _gate(matrix, bias, 3, row, at, own, channels, real)
    p_i = _peep(peephole, 0, at, own, channels, PEEPHOLE)
    p_f = _peep(peephole, 1, at, own, channels, PEEPHOLE)
    p_o = _peep(peephole, 2, at, own, channels, PEEPHOLE)
    return (w_i, w_f, w_g, w_o), (b_i, b_f, b_g, b_o), (p_i, p_f, p_o)


@triton.jit
def _opened(v, c, w, b, p, PRECISION: tl.constexpr):
    """Return sig(i), sig(f), sig(-2g) and sig(o), `(PIXELS, CHANNELS)` each."""
    i = _sigmoid(tl.dot(v, w[0], input_precision=PRECISION) + b[0] + p[0] * c)
    f = _sigmoid(tl.dot(v, w[1], input_precision=PRECISION) + b[1] + p[1] * c)
    s = _sigmoid(tl.dot(v, w[2], input_precision=PRECISION) + b[2])
    o = _sigmoid(tl.dot(v, w[3], input_precision=PRECISION) + b[3] + p[2] * c)
    return i, f, s, o


@triton.jit
def update(a, excitation, matrix, bias, peephole, before, cell, kept, hidden, hidden_stride, pixels, inner, channels,
           KEEP: tl.constexpr, EXCITED: tl.constexpr, PEEPHOLE: tl.constexpr, PRECISION: tl.constexpr,
           PIXELS: tl.constexpr, LANES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    """Write C_t and H_t of every n-th block of pixels, for a block of hidden channels whose weights stay at hand.

    Writes C_t in the maps' type too, to keep.
    """
    image, channel = tl.program_id(2).to(tl.int64), tl.arange(0, LANES)
    at = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    real, own = channel < inner, at < channels
    w, b, p = _gates(matrix, bias, peephole, channel, at, own, channels, real, PEEPHOLE)
    for start in range(tl.program_id(0) * PIXELS, pixels, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = pixel < pixels
        where = (image * pixels + pixel)[:, None] * inner + channel[None, :]
        activated = tl.load(a + where, mask=inside[:, None] & real[None, :], other=0)
        v = _excited(activated, excitation + image * inner, channel, real, EXCITED)
        there, place = inside[:, None] & own[None, :], pixel.to(tl.int64)[:, None] * channels + at[None, :]
        c = tl.load(before + image * pixels * channels + place, mask=there, other=0)
        i, f, s, o = _opened(v, c, w, b, p, PRECISION)
        c = f * c + i * (1 - 2 * s)
        h = o * _tanh(c)
        tl.store(cell + image * pixels * channels + place, c, mask=there)
        if KEEP:
            tl.store(kept + image * pixels * channels + place, c.to(kept.dtype.element_ty), mask=there)
        tl.store(hidden + image * hidden_stride + place, h.to(hidden.dtype.element_ty), mask=there)


@triton.jit
def update_back(a, excitation, matrix, bias, peephole, before, d_hidden, d_cell, d_v, totals, peephole_totals,
                pixels, inner, channels,
                EXCITED: tl.constexpr, PEEPHOLE: tl.constexpr, PRECISION: tl.constexpr,
                PIXELS: tl.constexpr, LANES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    """Write a block of hidden channels' part in the derivative by V and, over that by C_t, that by C_(t-1).

    Every n-th block of pixels is a program's. Adds up the derivatives by W_g and b, `(C_b + 1, 4F)` a program, and by
    the peepholes, 3F. Those by the pre-activations of the gates are never written: V, and ones for b, are multiplied
    with them where they are.
    """
    image, channel = tl.program_id(2).to(tl.int64), tl.arange(0, LANES)
    at = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    real, own = channel < inner, at < channels
    w, b, p = _gates(matrix, bias, peephole, channel, at, own, channels, real, PEEPHOLE)
    ones, none = tl.full((SMALLEST, PIXELS), 1, a.dtype.element_ty), tl.zeros((LANES, CHANNELS), tl.float32)
    by_w_i, by_w_f, by_w_g, by_w_o = none, none, none, none
    none = tl.zeros((SMALLEST, CHANNELS), tl.float32)
    by_b_i, by_b_f, by_b_g, by_b_o = none, none, none, none
    none = tl.zeros((CHANNELS,), tl.float32)
    by_p_i, by_p_f, by_p_o = none, none, none
    for start in range(tl.program_id(0) * PIXELS, pixels, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside, row = pixel < pixels, (image * pixels + pixel)[:, None]
        there, narrow = inside[:, None] & own[None, :], inside[:, None] & real[None, :]
        activated = tl.load(a + row * inner + channel[None, :], mask=narrow, other=0)
        v = _excited(activated, excitation + image * inner, channel, real, EXCITED)
        place = row * channels + at[None, :]
        c = tl.load(before + place, mask=there, other=0).to(tl.float32)
        d_h = tl.load(d_hidden + place, mask=there, other=0).to(tl.float32)
        i, f, s, o = _opened(v, c, w, b, p, PRECISION)
        g = 1 - 2 * s
        tanh_c = _tanh(f * c + i * g)
        d_c = tl.load(d_cell + place, mask=there, other=0) + d_h * o * (1 - tanh_c * tanh_c)
        d_o = d_h * tanh_c * o * (1 - o)
        d_i = d_c * g * i * (1 - i)
        d_f = d_c * c * f * (1 - f)
        d_g = -2 * d_c * i * s * (1 - s)
        tl.store(d_cell + place, d_c * f + p[0] * d_i + p[1] * d_f + p[2] * d_o, mask=there)
        if PEEPHOLE:
            by_p_i += tl.sum(d_i * c, 0)
            by_p_f += tl.sum(d_f * c, 0)
            by_p_o += tl.sum(d_o * c, 0)
        z_i, z_f, z_g, z_o = d_i.to(v.dtype), d_f.to(v.dtype), d_g.to(v.dtype), d_o.to(v.dtype)
        total = tl.dot(z_i, tl.trans(w[0]), input_precision=PRECISION)
        total = tl.dot(z_f, tl.trans(w[1]), total, input_precision=PRECISION)
        total = tl.dot(z_g, tl.trans(w[2]), total, input_precision=PRECISION)
        total = tl.dot(z_o, tl.trans(w[3]), total, input_precision=PRECISION)
        part = d_v + tl.program_id(1).to(tl.int64) * tl.num_programs(2) * pixels * inner
        tl.store(part + row * inner + channel[None, :], total.to(d_v.dtype.element_ty), mask=narrow)
        turned = tl.trans(v)
        by_w_i = tl.dot(turned, z_i, by_w_i, input_precision=PRECISION)
        by_w_f = tl.dot(turned, z_f, by_w_f, input_precision=PRECISION)
        by_w_g = tl.dot(turned, z_g, by_w_g, input_precision=PRECISION)
        by_w_o = tl.dot(turned, z_o, by_w_o, input_precision=PRECISION)
        by_b_i = tl.dot(ones, z_i, by_b_i, input_precision=PRECISION)
        by_b_f = tl.dot(ones, z_f, by_b_f, input_precision=PRECISION)
        by_b_g = tl.dot(ones, z_g, by_b_g, input_precision=PRECISION)
        by_b_o = tl.dot(ones, z_o, by_b_o, input_precision=PRECISION)
    program = image * tl.num_programs(0) + tl.program_id(0)
    to_w = totals + program * (inner + 1) * 4 * channels
    _add_gate(to_w, 0, by_w_i, by_b_i, channel, at, real, own, inner, channels)
    _add_gate(to_w, 1, by_w_f, by_b_f, channel, at, real, own, inner, channels)
    _add_gate(to_w, 2, by_w_g, by_b_g, channel, at, real, own, inner, channels)
    _add_gate(to_w, 3, by_w_o, by_b_o, channel, at, real, own, inner, channels)
    if PEEPHOLE:
        to_p = peephole_totals + program * 3 * channels + at
        _add_to(to_p, 0, by_p_i, own)
        _add_to(to_p, channels, by_p_f, own)
        _add_to(to_p, 2 * channels, by_p_o, own)


@triton.jit
def _add_gate(totals, number, by_weight, by_bias, row, at, real, own, inner, channels):
    """Add the derivatives by one gate's weights and bias; rows of that by the bias are all the same."""
    at += number * channels
    _add_to(totals, row[:, None] * (4 * channels) + at[None, :], by_weight, real[:, None] & own[None, :])
    _add_to(totals, inner * 4 * channels + at, tl.sum(by_bias, 0) / SMALLEST, own)


@triton.jit
def gather(a, d_v, sums, pixels, inner,
           PARTS: tl.constexpr, PIXELS: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Add up the parts of the derivative by V, into the first; `sums` is that by e, a row a block."""
    block, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel, channel = block * PIXELS + tl.arange(0, PIXELS), tl.arange(0, LANES)
    real, inside = channel < inner, pixel < pixels
    total = tl.zeros((PIXELS, LANES), tl.float32)
    where, there = (
        (image * pixels + pixel)[:, None] * inner + channel[None, :],
        inside[:, None] & real[None, :],
    )
    size = tl.num_programs(1).to(tl.int64) * pixels * inner
    for part in tl.static_range(PARTS):
        total += tl.load(d_v + part * size + where, mask=there, other=0).to(tl.float32)
    if PARTS > 1:
        tl.store(d_v + where, total.to(d_v.dtype.element_ty), mask=there)
    activated = tl.load(a + where, mask=there, other=0).to(tl.float32)
    tl.store(
        sums + (image * tl.num_programs(0) + block) * inner + channel, tl.sum(total * activated, 0), mask=real
    )


@triton.jit
def excite_back(sums, squeeze, expand, hidden, excitation, d_excite, d_squeeze, d_mean, blocks, inner, squeezed,
                ROWS: tl.constexpr, LANES: tl.constexpr, SQUEEZED: tl.constexpr):  # fmt: skip
    """Write, of one image, the derivatives by both maps' results before their nonlinearities, and by the mean."""
    image, channel, unit = tl.program_id(0), tl.arange(0, LANES), tl.arange(0, SQUEEZED)
    real, used = channel < inner, unit < squeezed
    e = tl.load(excitation + image * inner + channel, mask=real, other=0)
    z = tl.load(hidden + image * squeezed + unit, mask=used, other=0)
    first = tl.load(
        squeeze + unit[:, None] * inner + channel[None, :], mask=used[:, None] & real[None, :], other=0
    )
    second = tl.load(
        expand + channel[:, None] * squeezed + unit[None, :], mask=used[None, :] & real[:, None], other=0
    )
    d_e = _total(sums + image * blocks * inner, blocks, channel, inner, ROWS, LANES) * e * (1 - e)
    d = tl.where(z > 0, tl.sum(second.to(tl.float32) * d_e[:, None], 0), 0.0)
    tl.store(d_excite + image * inner + channel, d_e, mask=real)
    tl.store(d_squeeze + image * squeezed + unit, d, mask=used)
    tl.store(d_mean + image * inner + channel, tl.sum(first.to(tl.float32) * d[:, None], 0), mask=real)


@triton.jit
def blend_back(u, u_stride, kernel, places, norm, norm_bias, share, excitation, d_mean, d_v, d_m, totals,
               height, width, inner,
               NORMED: tl.constexpr, EXCITED: tl.constexpr, TAPS: tl.constexpr, PAD: tl.constexpr,
               PIXELS: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Write the derivative by M, the sum of the branches; add up those of the norm, a row of 2 C_b a program."""
    block, image = tl.program_id(0), tl.program_id(1)
    pixel, channel = block * PIXELS + tl.arange(0, PIXELS), tl.arange(0, LANES)
    real, pixels = channel < inner, height * width
    start = image.to(tl.int64) * pixels * inner
    u += image.to(tl.int64) * u_stride
    m = _mixed(u, kernel, places, pixel, height, width, inner, 1, TAPS, PAD, PIXELS, LANES)
    normalised, rstd = _normalised(m, real, inner, NORMED)
    y = _affine(normalised, norm, norm_bias, channel, real, NORMED)
    there = (pixel < pixels)[:, None] & real[None, :]
    where = start + pixel[:, None] * inner + channel[None, :]
    d = tl.load(d_v + where, mask=there, other=0).to(tl.float32)
    if EXCITED:
        d *= tl.load(excitation + image * inner + channel, mask=real, other=0)[None, :]
        by_mean = tl.load(d_mean + image * inner + channel, mask=real, other=0)
        d += by_mean[None, :] * tl.load(share + pixel, mask=pixel < pixels, other=0)[:, None]
    bent = _sigmoid(y)
    d *= bent * (1 + y * (1 - bent))
    if NORMED:
        row = (image * tl.num_programs(0) + block) * 2 * inner
        _add_to(totals, row + channel, tl.sum(d * normalised, 0), real)
        _add_to(totals, row + inner + channel, tl.sum(d, 0), real)
        d *= tl.load(norm + channel, mask=real, other=0).to(tl.float32)[None, :]
        slope = tl.sum(d * normalised, 1, keep_dims=True) / inner
        d = rstd * (d - tl.sum(d, 1, keep_dims=True) / inner - normalised * slope)
    tl.store(d_m + where, d.to(d_m.dtype.element_ty), mask=there)


@triton.jit
def spread(d_m, kernel, places, d_u, u_stride, height, width, inner,
           TAPS: tl.constexpr, PAD: tl.constexpr, PIXELS: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Write the derivative by U from that by M: the branches' transpose."""
    pixel, channel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS), tl.arange(0, LANES)
    image = tl.program_id(1).to(tl.int64)
    d = _mixed(
        d_m + image * height * width * inner,
        kernel,
        places,
        pixel,
        height,
        width,
        inner,
        -1,
        TAPS,
        PAD,
        PIXELS,
        LANES,
    )
    there = (pixel < height * width)[:, None] & (channel < inner)[None, :]
    place = d_u + image * u_stride + pixel[:, None] * inner + channel[None, :]
    tl.store(place, d.to(d_u.dtype.element_ty), mask=there)


@triton.jit
def kernel_back(u, u_stride, d_m, places, totals, height, width, inner, blocks, images,
                PAD: tl.constexpr, PIXELS: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Add up the derivative by one tap's weights over every n-th block; a row of C_b a program."""
    tap, channel, pixels = tl.program_id(1), tl.arange(0, LANES), height * width
    real = channel < inner
    total = tl.zeros((PIXELS, LANES), tl.float32)
    for index in range(tl.program_id(0), blocks * images, tl.num_programs(0)):
        pixel = index % blocks * PIXELS + tl.arange(0, PIXELS)
        y = pixel // width + tl.load(places + 2 * tap)
        x = pixel % width + tl.load(places + 2 * tap + 1)
        if PAD == CYLINDER or PAD == CIRCULAR:
            x = (x + width) % width
        if PAD == CIRCULAR:
            y = (y + height) % height
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (pixel < pixels)
        image, there = (index // blocks).to(tl.int64), inside[:, None] & real[None, :]
        where = image * u_stride + (y * width + x)[:, None] * inner + channel[None, :]
        value = tl.load(u + where, mask=there, other=0)
        where = (image * pixels + pixel[:, None]) * inner + channel[None, :]
        d = tl.load(d_m + where, mask=there, other=0)
        total += value.to(tl.float32) * d.to(tl.float32)
    row = (tl.program_id(0) * tl.num_programs(1) + tap) * inner
    _add_to(totals, row + channel, tl.sum(total, 0), real)


@triton.jit
def project(h, matrix, bias, kept, projected, rstd, h_stride, pixels, width, channels,
            PRECISION: tl.constexpr, PIXELS: tl.constexpr, LANES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    """Write [q, k, v] = r (h - mean) W + b, `(images, pixels, 3 D)`, r and h; columns of W sum to zero."""
    image, pixel = tl.program_id(1).to(tl.int64), tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    at, column = tl.arange(0, CHANNELS), tl.arange(0, LANES)
    inside, own, real = pixel < pixels, at < channels, column < width
    there = inside[:, None] & own[None, :]
    place = pixel.to(tl.int64)[:, None] * channels + at[None, :]
    value = tl.load(h + image * h_stride + place, mask=there, other=0)
    tl.store(kept + image * pixels * channels + place, value, mask=there)
    _, r = _normalised(value.to(tl.float32), own, channels, True)
    tl.store(rstd + image * pixels + pixel[:, None], r, mask=inside[:, None])
    for part in tl.static_range(3):
        weight = tl.load(
            matrix + at[:, None] * (3 * width) + part * width + column[None, :],
            mask=own[:, None] & real[None, :], other=0,
        )  # fmt: skip
        z = r * tl.dot(value, weight, input_precision=PRECISION)
        z += tl.load(bias + part * width + column, mask=real, other=0).to(tl.float32)[None, :]
        where = (image * pixels + pixel)[:, None] * (3 * width) + part * width + column[None, :]
        tl.store(projected + where, z.to(projected.dtype.element_ty), mask=inside[:, None] & real[None, :])


@triton.jit
def _tokens(projected, share, part, first, step, count, tokens, width,
            PRECISION: tl.constexpr, PIXELS: tl.constexpr, TOKENS: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Return the means of k or v over the tokens of a line, `(TOKENS, LANES)`, in the maps' type."""
    column, token = tl.arange(0, LANES), tl.arange(0, TOKENS)
    total = tl.zeros((TOKENS, LANES), tl.float32)
    for start in range(0, count, PIXELS):
        n = start + tl.arange(0, PIXELS)
        means = _means(share, n, token, count, tokens)
        where = (first + n.to(tl.int64) * step)[:, None] * (3 * width) + part * width + column[None, :]
        value = tl.load(projected + where, mask=(n < count)[:, None] & (column < width)[None, :], other=0)
        total += tl.dot(tl.trans(means).to(value.dtype), value, input_precision=PRECISION)
    return total.to(projected.dtype.element_ty)


@triton.jit
def _means(share, n, token, count, tokens):
    """Return the share of pixels in tokens, `(PIXELS, TOKENS)`."""
    mask = (n < count)[:, None] & (token < tokens)[None, :]
    return tl.load(share + token[None, :] * count + n[:, None], mask=mask, other=0)


@triton.jit
def _weights(q, k, bias, absent, head, size, n, token, count, tokens, column, HOLES: tl.constexpr,
             PRECISION: tl.constexpr):  # fmt: skip
    """Return one head's attention of a block of pixels to the tokens, `(PIXELS, TOKENS)`."""
    own = (column >= head * size) & (column < (head + 1) * size)
    logits = tl.dot(tl.where(own[None, :], q, 0.0).to(q.dtype), tl.trans(k), input_precision=PRECISION)
    known = (n < count)[:, None] & (token < tokens)[None, :]
    logits += tl.load(bias + (head * count + n[:, None]) * tokens + token[None, :], mask=known, other=0).to(
        tl.float32
    )
    if HOLES:
        empty = tl.load(absent + token, mask=token < tokens, other=0)
        logits = tl.where((empty != 0)[None, :], ABSENT, logits)
    logits = tl.where((token < tokens)[None, :], logits, NOTHING)
    power = tl.exp(logits - tl.max(logits, 1)[:, None])
    return power / tl.sum(power, 1)[:, None], own


@triton.jit
def attend(h, projected, share, absent, bias, output, output_bias, attended, refined, h_stride, refined_stride,
           share_stride, absent_stride, line_step, pixel_step, count, pixels, tokens, width, channels, heads,
           HOLES: tl.constexpr, PRECISION: tl.constexpr,
           PIXELS: tl.constexpr, TOKENS: tl.constexpr, LANES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    """Write h + W_o softmax(q k^T + bias) v + b_o for one line, and what W_o is applied to."""
    line, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    column, token, at = tl.arange(0, LANES), tl.arange(0, TOKENS), tl.arange(0, CHANNELS)
    own, real, size = at < channels, column < width, width // heads
    first = image * pixels + line * line_step
    share += line * share_stride
    absent += line * absent_stride
    k = _tokens(
        projected, share, 1, first, pixel_step, count, tokens, width, PRECISION, PIXELS, TOKENS, LANES
    )
    v = _tokens(
        projected, share, 2, first, pixel_step, count, tokens, width, PRECISION, PIXELS, TOKENS, LANES
    )
    weight = tl.load(
        output + column[:, None] * channels + at[None, :], mask=real[:, None] & own[None, :], other=0
    )
    offset = tl.load(output_bias + at, mask=own, other=0).to(tl.float32)
    for start in range(0, count, PIXELS):
        n = start + tl.arange(0, PIXELS)
        row, inside = (line * line_step + n.to(tl.int64) * pixel_step)[:, None], (n < count)[:, None]
        q = tl.load(
            projected + (image * pixels + row) * (3 * width) + column[None, :],
            mask=inside & real[None, :],
            other=0,
        )
        total = tl.zeros((PIXELS, LANES), tl.float32)
        for head in range(heads):
            p, mine = _weights(
                q, k, bias, absent, head, size, n, token, count, tokens, column, HOLES, PRECISION
            )
            total += tl.dot(
                p.to(v.dtype), tl.where(mine[None, :], v, 0.0).to(v.dtype), input_precision=PRECISION
            )
        low, there = total.to(v.dtype), inside & own[None, :]
        tl.store(
            attended + (image * pixels + row) * width + column[None, :], low, mask=inside & real[None, :]
        )
        value = tl.load(h + image * h_stride + row * channels + at[None, :], mask=there, other=0).to(
            tl.float32
        )
        value += tl.dot(low, weight, input_precision=PRECISION) + offset[None, :]
        place = refined + image * refined_stride + row * channels + at[None, :]
        tl.store(place, value.to(refined.dtype.element_ty), mask=there)


@triton.jit
def attend_back(d, projected, rstd, share, absent, bias, output, d_projected, d_bias, totals,
                share_stride, absent_stride, line_step, pixel_step, count, pixels, tokens, width, channels, heads,
                HOLES: tl.constexpr, PRECISION: tl.constexpr,
                PIXELS: tl.constexpr, TOKENS: tl.constexpr, LANES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    """Write r times the derivative by [q, k, v], and that by the bias of positions, a line a program.

    Adds up the derivative by the projections' bias, a row of 3 D a program.
    """
    line, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    column, token, at = tl.arange(0, LANES), tl.arange(0, TOKENS), tl.arange(0, CHANNELS)
    own, real, size = at < channels, column < width, width // heads
    first, program = image * pixels + line * line_step, image * tl.num_programs(0) + line
    share += line * share_stride
    absent += line * absent_stride
    k = _tokens(
        projected, share, 1, first, pixel_step, count, tokens, width, PRECISION, PIXELS, TOKENS, LANES
    )
    v = _tokens(
        projected, share, 2, first, pixel_step, count, tokens, width, PRECISION, PIXELS, TOKENS, LANES
    )
    weight = tl.load(
        output + column[None, :] * channels + at[:, None], mask=real[None, :] & own[:, None], other=0
    )
    d_k, d_v = tl.zeros((TOKENS, LANES), tl.float32), tl.zeros((TOKENS, LANES), tl.float32)
    sum_q = tl.zeros((PIXELS, LANES), tl.float32)
    for start in range(0, count, PIXELS):
        n = start + tl.arange(0, PIXELS)
        row, inside = (first + n.to(tl.int64) * pixel_step)[:, None], (n < count)[:, None]
        there = inside & real[None, :]
        q = tl.load(projected + row * (3 * width) + column[None, :], mask=there, other=0)
        given = tl.load(d + row * channels + at[None, :], mask=inside & own[None, :], other=0)
        d_attended = tl.dot(given, weight, input_precision=PRECISION).to(v.dtype)
        d_q = tl.zeros((PIXELS, LANES), tl.float32)
        for head in range(heads):
            p, mine = _weights(
                q, k, bias, absent, head, size, n, token, count, tokens, column, HOLES, PRECISION
            )
            d_mine = tl.where(mine[None, :], d_attended, 0.0).to(v.dtype)
            d_p = tl.dot(d_mine, tl.trans(v), input_precision=PRECISION)
            d_logits = p * (d_p - tl.sum(p * d_p, 1)[:, None])
            if HOLES:
                empty = tl.load(absent + token, mask=token < tokens, other=0)
                d_logits = tl.where((empty != 0)[None, :], 0.0, d_logits)
            d_logits = tl.where(inside, d_logits, 0.0)
            known = inside & (token < tokens)[None, :]
            where = ((program * heads + head) * count + n[:, None]) * tokens + token[None, :]
            tl.store(d_bias + where, d_logits, mask=known)
            low = d_logits.to(v.dtype)
            d_q += tl.dot(low, tl.where(mine[None, :], k, 0.0).to(v.dtype), input_precision=PRECISION)
            q_mine = tl.where(mine[None, :], q, 0.0).to(v.dtype)
            d_k += tl.dot(tl.trans(low), q_mine, input_precision=PRECISION)
            d_v += tl.dot(tl.trans(p.to(v.dtype)), d_mine, input_precision=PRECISION)
        r = tl.load(rstd + row, mask=inside, other=0)
        tl.store(d_projected + row * (3 * width) + column[None, :], (r * d_q).to(v.dtype), mask=there)
        sum_q += d_q
    sum_k, sum_v = tl.zeros((PIXELS, LANES), tl.float32), tl.zeros((PIXELS, LANES), tl.float32)
    for start in range(0, count, PIXELS):
        n = start + tl.arange(0, PIXELS)
        row, inside = (first + n.to(tl.int64) * pixel_step)[:, None], (n < count)[:, None]
        there = inside & real[None, :]
        means, r = (
            _means(share, n, token, count, tokens).to(v.dtype),
            tl.load(rstd + row, mask=inside, other=0),
        )
        by_k = tl.dot(means, d_k.to(v.dtype), input_precision=PRECISION)
        by_v = tl.dot(means, d_v.to(v.dtype), input_precision=PRECISION)
        place = d_projected + row * (3 * width) + column[None, :]
        tl.store(place + width, (r * by_k).to(v.dtype), mask=there)
        tl.store(place + 2 * width, (r * by_v).to(v.dtype), mask=there)
        sum_k += by_k
        sum_v += by_v
    row = totals + program * 3 * width + column
    _add_to(row, 0, tl.sum(sum_q, 0), real)
    _add_to(row, width, tl.sum(sum_k, 0), real)
    _add_to(row, 2 * width, tl.sum(sum_v, 0), real)


@triton.jit
def project_back(h, d, matrix, bias, projected, d_projected, rstd, totals, h_stride, pixels, width, channels,
                 PRECISION: tl.constexpr,
                 PIXELS: tl.constexpr, LANES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    """Turn the derivative by the refined map into that by h, in place; add up d, a row of F a block.

    dL/dh = dL/d(refined) + W d_s - (h - mean) r (d_s . (projected - b)) / F, where d_s is r times that by projected.
    """
    block, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel, at, column = block * PIXELS + tl.arange(0, PIXELS), tl.arange(0, CHANNELS), tl.arange(0, LANES)
    inside, own, real = pixel < pixels, at < channels, column < width
    there, place = inside[:, None] & own[None, :], pixel.to(tl.int64)[:, None] * channels + at[None, :]
    value = tl.load(h + image * h_stride + place, mask=there, other=0).to(tl.float32)
    given = tl.load(d + image * pixels * channels + place, mask=there, other=0).to(tl.float32)
    row = totals + (image * tl.num_programs(0) + block) * channels + at
    _add_to(row, 0, tl.sum(given, 0), own)
    slope = tl.zeros((PIXELS, 1), tl.float32)
    for part in tl.static_range(3):
        where = (image * pixels + pixel)[:, None] * (3 * width) + part * width + column[None, :]
        narrow = inside[:, None] & real[None, :]
        z = tl.load(projected + where, mask=narrow, other=0).to(tl.float32)
        z -= tl.load(bias + part * width + column, mask=real, other=0).to(tl.float32)[None, :]
        low = tl.load(d_projected + where, mask=narrow, other=0)
        slope += tl.sum(low.to(tl.float32) * z, 1)[:, None]
        weight = tl.load(
            matrix + at[None, :] * (3 * width) + part * width + column[:, None],
            mask=own[None, :] & real[:, None], other=0,
        )  # fmt: skip
        given += tl.dot(low, weight, input_precision=PRECISION)
    centred = value - (tl.sum(value, 1) / channels)[:, None]
    r = tl.load(rstd + image * pixels + pixel, mask=inside, other=0)[:, None]
    given -= centred * r * slope / channels
    tl.store(d + image * pixels * channels + place, given.to(d.dtype.element_ty), mask=there)
