"""A model file with every tensor widened to float32: the same weights, for an engine that computes in floats.

Decoded by the `gguf` package, so that it is independent of both engines compared. It needs wayra[test].
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

# Written anew by the writer itself.
HEADER_KEYS = ("GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture", "general.file_type")


def write_float_copy(source: Path, target: Path) -> None:
    """Copy a GGUF file with its metadata, tensors as F32. Raises OSError when the disk is full."""
    reader = gguf.GGUFReader(source)
    fields: dict[str, Any] = dict(reader.fields)
    writer = gguf.GGUFWriter(target, arch=fields["general.architecture"].contents())
    for name, field in fields.items():
        if name in HEADER_KEYS:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = np.ascontiguousarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        writer.add_tensor(tensor.name, values, raw_dtype=gguf.GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
