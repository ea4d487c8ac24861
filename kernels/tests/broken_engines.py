"""Rules of the compute engines, each broken once: (kernel, call that is named, a part of the message)."""

from broken import BF16, F32, FP8, I32, filled_psum, hbm, psum, tile

import nki.isa as nisa
import nki.language as nl

DOUBLE_ROW = nisa.matmul_perf_mode.double_row


def matmul(**kwargs):
    """A correct matmul but for `kwargs`."""
    nisa.nc_matmul(**{"dst": psum(), "stationary": tile(dtype=BF16), "moving": tile((128, 512), BF16), **kwargs})


def accumulate_onto_memset():
    matmul(dst=filled_psum((128, 512)), accumulate=True)


def accumulate_onto_half():
    dst = psum()
    nisa.nc_matmul(dst=dst[:, 0:256], stationary=tile(dtype=BF16), moving=tile((128, 256), BF16), accumulate=False)
    matmul(dst=dst)


def double_row_transpose():
    pair = lambda n: tile((64, 2, n), FP8)
    matmul(dst=psum(dtype=FP8), stationary=pair(128), moving=pair(512), perf_mode=DOUBLE_ROW, is_transpose=True)


def scalar(op0=nl.add, operand0=0.0, **kwargs):
    nisa.tensor_scalar(dst=tile(), data=tile(), op0=op0, operand0=operand0, **kwargs)


def activate(op=nl.exp, **kwargs):
    nisa.activation(dst=tile(), op=op, data=tile(), **kwargs)


def reduce(dst=(128, 4), op=nl.add, axis=2):
    nisa.tensor_reduce(dst=tile(dst), op=op, data=tile((128, 4, 8)), axis=axis)


def select(dst=None, src=0.0, predicate=None):
    nisa.tensor_copy_predicated(dst=dst or tile(), src=src, predicate=predicate or tile(dtype=nl.uint8))


def combine(engine=nisa.engine.unknown, **kwargs):
    nisa.tensor_tensor(**{"dst": tile(), "data1": tile(), "data2": tile(), "op": nl.add, "engine": engine, **kwargs})


def too_many_partitions():
    nisa.memset(dst=tile().ap(pattern=[[128, 129], [1, 128]]), value=0.0)


def two_psum_operands():
    nisa.scalar_tensor_tensor(dst=tile(), data=filled_psum(), op0=nl.add, operand0=1.0, op1=nl.add, operand1=filled_psum())


TENSOR = {
    "bank": (lambda: matmul(dst=psum((128, 1024))[:, 256:768]), "nc_matmul", "cross a PSUM bank"),
    "moving": (lambda: matmul(dst=psum((128, 512)), moving=tile((128, 1024), BF16)), "nc_matmul", "1024 moving columns"),
    "stationary": (lambda: matmul(stationary=tile((128, 256), BF16)), "nc_matmul", "256 stationary columns"),
    "contraction": (lambda: matmul(stationary=tile((64, 128), BF16)), "nc_matmul", "K 128"),
    "dst in SBUF": (lambda: matmul(dst=tile((128, 512))), "nc_matmul", "must be PSUM"),
    "dst dtype": (lambda: matmul(dst=psum(dtype=BF16)), "nc_matmul", "must be float32"),
    "reads PSUM": (lambda: matmul(moving=psum()), "nc_matmul", "must be SBUF"),
    "dtype": (lambda: matmul(stationary=tile(dtype=I32)), "nc_matmul", "dtype int32"),
    "mixes float32": (lambda: matmul(stationary=tile()), "nc_matmul", "float32 goes with float32"),
    "shape": (lambda: matmul(dst=psum((128, 256))), "nc_matmul", "must be [128, 512]"),
    "first write": (lambda: matmul(accumulate=True), "nc_matmul", "no matmul started"),
    "onto memset": (accumulate_onto_memset, "nc_matmul", "no matmul started"),
    "onto what is half started": (accumulate_onto_half, "nc_matmul", "part of dst"),
    "double row dtype": (lambda: matmul(perf_mode=DOUBLE_ROW), "nc_matmul", "must be one of"),
    "double row layout": (
        lambda: matmul(stationary=tile(dtype=FP8), moving=tile((128, 512), FP8), perf_mode=DOUBLE_ROW),
        "nc_matmul",
        "double_row wants",
    ),
    "double row transpose": (double_row_transpose, "nc_matmul", "excludes transpose"),
    "tiling": (lambda: matmul(tile_position=(0, 0)), "nc_matmul", "not simulated"),
    "transpose on vector": (lambda: nisa.nc_transpose(dst=tile(), data=tile(), engine=nisa.engine.vector), "nc_transpose", "at most 32"),
    "transpose of a wide tile": (lambda: nisa.nc_transpose(dst=psum(), data=tile((128, 256))), "nc_transpose", "256 elements a side"),
    "transpose dtype": (
        lambda: nisa.nc_transpose(dst=psum((128, 128), BF16), data=tile(), engine=nisa.engine.tensor),
        "nc_transpose",
        "dtype",
    ),
    "transpose shape": (lambda: nisa.nc_transpose(dst=psum((64, 64)), data=tile()), "nc_transpose", "must be [128, 128]"),
    "transpose into SBUF": (lambda: nisa.nc_transpose(dst=tile(), data=tile(), engine=nisa.engine.tensor), "nc_transpose", "SBUF to PSUM"),
}
OTHERS = {
    "partitions": (too_many_partitions, "memset", "129 partitions, at most 128"),
    "start partition": (lambda: nisa.memset(dst=tile()[16:48], value=0.0), "memset", "start at 16"),
    "start partition of 64": (lambda: nisa.memset(dst=tile()[32:96], value=0.0), "memset", "start at 32"),
    "free dimensions": (lambda: nisa.memset(dst=nl.ndarray((128, 2, 2, 2, 2, 2), dtype=F32), value=0.0), "memset", "free dimensions"),
    "compute reaches HBM": (lambda: nisa.tensor_copy(dst=tile(), src=hbm()), "tensor_copy", "shared_hbm"),
    "gpsimd reads PSUM": (lambda: nisa.tensor_copy(dst=tile((128, 512)), src=psum(), engine=nisa.engine.gpsimd), "tensor_copy", "GpSimd"),
    "tile mismatch": (lambda: nisa.tensor_copy(dst=tile(), src=tile((128, 64))), "tensor_copy", "does not match"),
    "unwritten float": (lambda: nisa.tensor_copy(dst=tile(), src=tile(value=None)), "tensor_copy", "never written"),
    "unwritten integer": (lambda: nisa.tensor_copy(dst=tile(dtype=I32), src=tile(dtype=I32, value=None)), "tensor_copy", "never written"),
    "wrong engine": (lambda: combine(nisa.engine.scalar), "tensor_tensor", "runs on"),
    "two PSUM inputs": (lambda: combine(data1=psum((128, 128)), data2=psum((128, 128))), "tensor_tensor", "both in PSUM"),
    "operator": (lambda: combine(op=nl.exp), "tensor_tensor", "no arithmetic operator"),
    "two PSUM operands": (two_psum_operands, "scalar_tensor_tensor", "both in PSUM"),
    "scalar engine's operators": (lambda: scalar(nl.maximum, engine=nisa.engine.scalar), "tensor_scalar", "scalar engine does"),
    "operand dtype": (lambda: scalar(operand0=tile((128, 1), BF16)), "tensor_scalar", "bfloat16"),
    "operand shape": (lambda: scalar(operand0=tile((128, 2))), "tensor_scalar", "(128, 1)"),
    "operand without operator": (lambda: scalar(operand1=1.0), "tensor_scalar", "comes with op1"),
    "activation function": (lambda: activate(nl.maximum), "activation", "no activation"),
    "reduction command": (lambda: activate(reduce_cmd=nisa.reduce_cmd.reduce), "activation", "not simulated"),
    "reduction without result": (lambda: activate(reduce_op=nl.add, reduce_cmd=nisa.reduce_cmd.reset_reduce), "activation", "comes with"),
    "reduction by maximum": (
        lambda: activate(reduce_op=nl.maximum, reduce_res=tile((128, 1)), reduce_cmd=nisa.reduce_cmd.reset_reduce),
        "activation",
        "must be nl.add",
    ),
    "reduction axis": (lambda: reduce(axis=1), "tensor_reduce", "last free"),
    "reduction operator": (lambda: reduce(op=nl.subtract), "tensor_reduce", "no reduction"),
    "reduction size": (lambda: reduce(dst=(128, 8)), "tensor_reduce", "must be 512"),
    "predicate dtype": (lambda: select(predicate=tile()), "tensor_copy_predicated", "unsigned"),
    "selected dtype": (lambda: select(src=tile(dtype=BF16)), "tensor_copy_predicated", "dst has float32"),
    "selected from PSUM": (
        lambda: select(src=filled_psum(), predicate=psum((128, 128), nl.uint8)),
        "tensor_copy_predicated",
        "both in PSUM",
    ),
    "selected keeps": (lambda: select(dst=tile(value=None)), "tensor_copy_predicated", "never written"),
    "iota size": (lambda: nisa.iota(dst=tile(), pattern=[[1, 64]]), "iota", "64 elements"),
    "iota in PSUM": (lambda: nisa.iota(dst=psum(), pattern=[[1, 512]]), "iota", "must be SBUF"),
    "iota dimensions": (lambda: nisa.iota(dst=tile(), pattern=[[1, 128], [1, 1], [1, 1], [1, 1], [1, 1]]), "iota", "5 pattern dimensions"),
    "iota range": (lambda: nisa.iota(dst=tile(), pattern=[[1 << 25, 128]]), "iota", "32 bits"),
    "affine select in PSUM": (lambda: nisa.affine_select(psum((128, 128)), [[1, 128]], 0, tile(), 0.0), "affine_select", "psum"),
}
CASES = {f"tensor engine, {name}": case for name, case in TENSOR.items()} | OTHERS
