"""Weights in the formats of other quantizers: an encoder that knows no decoder.

Each function encodes a float32 matrix [N, K] into {suffix: Tensor} and gives the float32 matrix that
those tensors stand for, computed from codes and scales before anything is packed. The rounding is
plain (amax): what is tested with it is reading.
"""
import numpy as np

from safetensors_numpy import E4M3_LEVELS, Tensor, bf16_tensor

IQ4_NL = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
OTHER_CODEBOOK = [-125, -102, -83, -66, -51, -36, -23, -9, 4, 18, 32, 46, 62, 80, 100, 124]
E2M1_MAGNITUDES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
F32_TINY = np.float32(1e-20)


# ---- numbers ----


def as_dtype(dtype, values):
    """(Tensor, the float32 values it holds)."""
    if dtype == "BF16":
        tensor = bf16_tensor(values)
    elif dtype == "F8_E4M3":
        tensor = Tensor(dtype, e4m3_codes(values))
    else:
        tensor = Tensor(dtype, values)
    return tensor, tensor.floats()


def e4m3_codes(values):
    """The nearest of the finite magnitudes, 448 at most."""
    magnitudes = E4M3_LEVELS[:127].astype(np.float64)
    nearest = np.searchsorted((magnitudes[1:] + magnitudes[:-1]) / 2, np.abs(values))
    return (nearest + 128 * np.signbit(values)).astype(np.uint8)


def nearest_level(values, levels):
    """Codes of the nearest of 16 ascending levels."""
    levels = np.asarray(levels, np.float64)
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values).astype(np.uint8)


def e2m1_codes(values):
    """(codes, levels): three bits of magnitude under a sign bit."""
    middles = (E2M1_MAGNITUDES[1:] + E2M1_MAGNITUDES[:-1]) / 2
    magnitude = np.searchsorted(middles, np.abs(values)).astype(np.uint8)
    codes = magnitude | (np.signbit(values).astype(np.uint8) << 3)
    levels = np.where(codes & 8, -1.0, 1.0) * E2M1_MAGNITUDES[magnitude]
    return codes, levels.astype(np.float32)


def groups_of(weights, size):
    """[N, K] as [N, groups, size]; a last partial group is filled with zeros."""
    rows, columns = weights.shape
    padded = np.pad(weights, ((0, 0), (0, -columns % size)))
    return padded.reshape(rows, -1, size)


def amax(grouped):
    return np.maximum(np.abs(grouped).max(-1), F32_TINY)


# ---- packing ----


def nibbles(codes):
    """Two codes a byte, the even column in the low nibble."""
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)


def words_of_rows(fields, bits):
    """Each row as a bit stream of `bits` a field, in little-endian int32 words."""
    out = np.zeros((fields.shape[0], -(-fields.shape[1] * bits // 32)), np.uint32)
    per_word = 32 // bits
    for i in range(fields.shape[1]):
        out[:, i // per_word] |= fields[:, i].astype(np.uint32) << np.uint32(bits * (i % per_word))
    return out.view(np.int32)


# ---- formats ----


def integer(weights, bits=4, size=32, dtype="BF16", asymmetric=False, g_idx=False):
    """compressed-tensors pack-quantized; size 0: one scale a row."""
    rows, columns = weights.shape
    size = size or columns
    of_column = np.arange(columns) // size
    if g_idx:
        # The groups hold the columns in another order: as many in each, none where it would be.
        of_column = of_column[(np.arange(columns) * 37 + 11) % columns]
    order = np.argsort(of_column, kind="stable")
    grouped = groups_of(weights[:, order], size)
    half = 1 << (bits - 1)
    if asymmetric:
        low, high = grouped.min(-1), grouped.max(-1)
        scale, scales = as_dtype(dtype, np.maximum((high - low) / (2 * half - 1), F32_TINY))
        zero = np.clip(np.rint(-half - low / scales), -half, half - 1).astype(np.int64)
    else:
        scale, scales = as_dtype(dtype, amax(grouped) / (half - 0.5))
        zero = np.zeros(scales.shape, np.int64)
    q = np.clip(np.rint(weights / scales[:, of_column]) + zero[:, of_column], -half, half - 1)
    tensors = {
        "weight_packed": Tensor("I32", words_of_rows(q.astype(np.int64) + half, bits)),
        "weight_scale": scale,
        "weight_shape": Tensor("I64", [rows, columns]),
    }
    if asymmetric:
        # Packed along the rows: word i of a column holds the zero points of rows 8i ... 8i+7.
        packed = words_of_rows((zero + half).T, bits).T
        tensors["weight_zero_point"] = Tensor("I32", np.ascontiguousarray(packed))
    if g_idx:
        tensors["weight_g_idx"] = Tensor("I32", of_column)
    return tensors, (q - zero[:, of_column]).astype(np.float32) * scales[:, of_column]


def mxfp4(weights, size=32, dtype="U8", names=("weight_packed", "weight_scale")):
    rows, columns = weights.shape
    grouped = groups_of(weights, size)
    exponents = np.clip(np.floor(np.log2(amax(grouped))) - 2, -127, 127).astype(np.int64)
    scales = np.ldexp(np.float32(1), exponents)[..., None]
    codes, levels = e2m1_codes(grouped / scales)
    tensors = {
        names[0]: Tensor("U8", nibbles(codes.reshape(rows, -1)[:, :columns])),
        names[1]: Tensor(dtype, exponents + 127),
    }
    return tensors, (levels * scales).reshape(rows, -1)[:, :columns]


def nvfp4(weights, modelopt=False):
    rows, columns = weights.shape
    grouped = groups_of(weights, 16)
    divisor = np.float32(448 * 6 / max(np.abs(weights).max(), F32_TINY))
    multiplier = np.float32(1 / divisor)
    scale, scales = as_dtype("F8_E4M3", amax(grouped) / 6 * divisor)
    codes, levels = e2m1_codes(grouped / np.maximum(scales[..., None] / divisor, F32_TINY))
    # Level times scale is exact; what stands here is rounded once.
    product = levels * scales[..., None]
    packed = Tensor("U8", nibbles(codes.reshape(rows, -1)))
    if modelopt:
        tensors = {"weight": packed, "weight_scale": scale, "weight_scale_2": Tensor("F32", multiplier),
                   "input_scale": Tensor("F32", np.float32(0.01))}
        return tensors, (product * multiplier).reshape(rows, columns)
    tensors = {"weight_packed": packed, "weight_scale": scale,
               "weight_global_scale": Tensor("F32", [divisor]),
               "input_global_scale": Tensor("F32", [100.0])}
    return tensors, (product / divisor).reshape(rows, columns)


def fp8(weights, strategy, dtype="F32", name="weight_scale", flat=False, static=False):
    rows, columns = weights.shape
    if strategy == "tensor":
        largest = np.abs(weights).max().reshape(() if flat else (1,))
    elif strategy == "channel":
        largest = np.abs(weights).max(1).reshape((rows,) if flat else (rows, 1))
    else:
        blocks = np.pad(np.abs(weights), ((0, -rows % 128), (0, -columns % 128)))
        largest = blocks.reshape(-(-rows // 128), 128, -1, 128).max((1, 3))
    scale, scales = as_dtype(dtype, np.maximum(largest / 440, F32_TINY))
    if strategy == "block":
        factors = np.kron(scales, np.ones((128, 128), np.float32))[:rows, :columns]
    else:
        factors = scales.reshape(-1, 1)
    codes = e4m3_codes(weights / factors)
    tensors = {"weight": Tensor("F8_E4M3", codes), name: scale}
    if static:
        tensors["input_scale"] = Tensor("F32", [0.02])
    return tensors, E4M3_LEVELS[codes] * factors


def mxfp4_16(weights, size=16, dtype="F16", names=("weight_packed", "weight_scale"), transposed=False,
             codebook=IQ4_NL):
    rows, columns = weights.shape
    grouped = groups_of(weights, size)
    # The largest weight of a group meets the longer end of the codebook: half the scales are negative.
    at = np.abs(grouped).argmax(-1)[..., None]
    wanted = -np.take_along_axis(grouped, at, -1)[..., 0] / -codebook[0]
    scale, scales = as_dtype(dtype, wanted)
    safe = np.where(scales == 0, 1, scales)[..., None]
    codes = nearest_level(grouped / safe, codebook).reshape(rows, -1)[:, :columns]
    values = np.asarray(codebook, np.float32)[codes] * np.repeat(scales, size, -1)[:, :columns]
    packed = nibbles(codes)
    if transposed:
        packed, scale = packed.T, Tensor(dtype, scale.values.T)
    return {names[0]: Tensor("U8", packed), names[1]: scale}, values


def protected(weights):
    tensor = Tensor("F16", weights)
    return {"weight_fp16": tensor}, tensor.floats()


def fused(experts, encode):
    """Equal tensors of several experts as one with a first dimension more."""
    done = [encode(weights) for weights in experts]
    tensors = {name: Tensor(tensor.dtype, np.stack([parts[name].values for parts, _ in done]))
               for name, tensor in done[0][0].items()}
    return tensors, np.stack([values for _, values in done])


def gpt_oss(experts):
    """mxfp4 as <module>_blocks [E, N, K/32, 16] and <module>_scales [E, N, K/32]."""
    tensors, values = fused(experts, lambda w: mxfp4(w, names=("_blocks", "_scales")))
    blocks = tensors["_blocks"].values
    tensors["_blocks"] = Tensor("U8", blocks.reshape(*blocks.shape[:2], -1, 16))
    return tensors, values


QUARK = {"names": ("weight", "weight_scale")}
FORMATS = {
    "int4": lambda w: integer(w, size=32),
    "int4_group_128": lambda w: integer(w, size=128, dtype="F16"),
    "int4_asymmetric": lambda w: integer(w, asymmetric=True),
    "int4_channel": lambda w: integer(w, size=0),
    "int4_g_idx": lambda w: integer(w, g_idx=True),
    "int4_asymmetric_g_idx": lambda w: integer(w, asymmetric=True, g_idx=True, dtype="F32"),
    "int8": lambda w: integer(w, bits=8),
    "int8_channel": lambda w: integer(w, bits=8, size=0, dtype="F32"),
    "int8_asymmetric": lambda w: integer(w, bits=8, asymmetric=True),
    "mxfp4": mxfp4,
    "mxfp4_quark": lambda w: mxfp4(w, **QUARK),
    "mxfp4_e8m0": lambda w: mxfp4(w, dtype="F8_E8M0"),
    "mxfp4_group_16": lambda w: mxfp4(w, size=16),
    "nvfp4": nvfp4,
    "nvfp4_modelopt": lambda w: nvfp4(w, modelopt=True),
    "fp8_tensor": lambda w: fp8(w, "tensor", "BF16"),
    "fp8_tensor_static": lambda w: fp8(w, "tensor", flat=True, static=True),
    "fp8_channel": lambda w: fp8(w, "channel"),
    "fp8_channel_bf16": lambda w: fp8(w, "channel", "BF16", flat=True),
    "fp8_block": lambda w: fp8(w, "block"),
    "fp8_block_bf16": lambda w: fp8(w, "block", "BF16"),
    "fp8_block_hf": lambda w: fp8(w, "block", name="weight_scale_inv"),
    "fp8_block_hf_bf16": lambda w: fp8(w, "block", "BF16", name="weight_scale_inv"),
    "mxfp4_16": mxfp4_16,
    "mxfp4_16_bf16": lambda w: mxfp4_16(w, dtype="BF16"),
    "mxfp4_16_f32": lambda w: mxfp4_16(w, dtype="F32"),
    "mxfp4_16_transposed": lambda w: mxfp4_16(w, transposed=True),
    "mxfp4_16_qweight": lambda w: mxfp4_16(w, names=("qweight", "scales")),
    "mxfp4_16_weight": lambda w: mxfp4_16(w, names=("weight", "weight_scales")),
    "mxfp4_16_weight_q": lambda w: mxfp4_16(w, names=("weight_q", "weight_scale")),
    "mxfp4_16_group_32": lambda w: mxfp4_16(w, size=32),
    "mxfp4_16_codebook": lambda w: mxfp4_16(w, codebook=OTHER_CODEBOOK),
    "protected": protected,
}
FUSED = {
    "mxfp4_16_fused": lambda experts: fused(experts, mxfp4_16),
    "mxfp4_fused": lambda experts: fused(experts, mxfp4),
    "nvfp4_fused": lambda experts: fused(experts, nvfp4),
    "mxfp4_gpt_oss": gpt_oss,
}
