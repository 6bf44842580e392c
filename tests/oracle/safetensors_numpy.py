"""Safetensors files in numpy, for the scripts beside this one and in ../quantize.

Types that numpy has not (BF16, F8_E4M3, F8_E8M0) are their bits: uint16 and uint8.
"""
import json
import pathlib

import numpy as np

NUMPY_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "F8_E4M3": np.uint8, "F8_E8M0": np.uint8, "U8": np.uint8, "I8": np.int8,
    "I32": np.int32, "I64": np.int64, "BOOL": np.uint8,
}


class Tensor:
    """A tensor with the type it has in the file."""

    def __init__(self, dtype, values):
        self.dtype = dtype
        self.values = np.asarray(values, NUMPY_TYPES[dtype])

    def floats(self):
        """The values of a floating-point tensor in float32, exact."""
        if self.dtype == "BF16":
            return (self.values.astype(np.uint32) << 16).view(np.float32)
        if self.dtype == "F8_E4M3":
            return E4M3_LEVELS[self.values]
        if self.dtype in ("F32", "F16"):
            return self.values.astype(np.float32)
        raise ValueError(f"a tensor of dtype {self.dtype} is no plain number")


def e4m3_level(code):
    sign, exponent, mantissa = code >> 7, code >> 3 & 15, code & 7
    if code & 127 == 127:
        return np.nan
    magnitude = mantissa / 8 * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return -magnitude if sign else magnitude


E4M3_LEVELS = np.array([e4m3_level(code) for code in range(256)], np.float32)


def bf16_tensor(values):
    """float32 rounded to nearest, ties to even; the values must be finite."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return Tensor("BF16", ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16))


def read_header(path):
    """({name: entry}, offset of the data) of one file."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return header, 8 + size


def read_file(path):
    """{name: Tensor}, mapped rather than read."""
    header, start = read_header(path)
    raw = np.memmap(path, np.uint8, "r")
    tensors = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        kind = NUMPY_TYPES[entry["dtype"]]
        # A copy where the file does not align the tensor.
        values = np.frombuffer(raw[begin:end].tobytes() if begin % 8 else raw[begin:end], kind)
        tensors[name] = Tensor(entry["dtype"], values.reshape(entry["shape"]))
    return tensors


def read_folder(folder):
    """{name: Tensor} of all shards of a checkpoint."""
    paths = sorted(pathlib.Path(folder).glob("*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no *.safetensors")
    tensors = {}
    for path in paths:
        tensors.update(read_file(path))
    return tensors


def write_file(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.values.nbytes
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.values.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.values).data)
