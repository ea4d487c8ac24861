"""Every rule of the hardware that the simulator enforces, broken once: the error names the call, the operand and the rule."""

import ml_dtypes
import numpy as np
import pytest

import nki
import nki.isa as nisa
import nki.language as nl

if not getattr(nki, "IS_SIMULATOR", False):
    pytest.skip("AWS's nki is installed: these are tests of the simulator", allow_module_level=True)

F32, BF16, FP8, I32 = nl.float32, nl.bfloat16, nl.float8_e4m3, nl.int32


def tile(shape=(128, 128), dtype=F32, buffer=nl.sbuf, value=0.0):
    """A tile on chip; filled unless it is in PSUM."""
    tensor = nl.ndarray(shape, dtype=dtype, buffer=buffer)
    if value is not None and buffer == nl.sbuf:
        nisa.memset(dst=tensor, value=value)
    return tensor


def psum(shape=(128, 512), dtype=F32):
    return tile(shape, dtype, nl.psum)


def hbm(shape=(128, 128), dtype=F32):
    return nl.ndarray(shape, dtype=dtype, buffer=nl.shared_hbm)


def matmul(**kwargs):
    nisa.nc_matmul(**{"dst": psum(), "stationary": tile(dtype=BF16), "moving": tile((128, 512), BF16), **kwargs})


def accumulate_onto_memset():
    dst = psum()
    nisa.memset(dst=dst, value=0.0, engine=nisa.engine.vector)
    matmul(dst=dst, accumulate=True)


def too_much_sbuf():
    tiles = [tile((128, 30_000)) for _ in range(2)]
    nisa.tensor_tensor(dst=tiles[0], data1=tiles[0], data2=tiles[1], op=nl.add)


def too_many_banks():
    tiles = [psum() for _ in range(9)]
    for t in tiles:
        nisa.memset(dst=t, value=0.0, engine=nisa.engine.vector)
    for t in tiles:
        nisa.tensor_copy(dst=tile(), src=t[:, 0:128])


def gather(dge_mode=nisa.dge_mode.swdge, index_dtype=I32, value=0, index_shape=(16, 1)):
    source = hbm((64, 32))
    nisa.dma_copy(dst=source, src=tile((64, 32)))
    index = tile(index_shape, index_dtype, value=value)
    view = source.ap(pattern=[[32, 16], [1, 32]], vector_offset=index, indirect_dim=0)
    nisa.dma_copy(dst=tile((16, 32)), src=view, dge_mode=dge_mode)


BROKEN = {
    "partitions": (lambda: tile((129, 4)), "ndarray", "at most 128"),
    "sbuf row": (lambda: tile((128, 70_000), value=None), "ndarray", "bytes per partition"),
    "sbuf live": (too_much_sbuf, "ndarray", "bytes live"),
    "psum row": (lambda: psum((128, 4097)), "ndarray", "bytes per partition"),
    "psum live": (too_many_banks, "ndarray", "banks live"),
    "matmul bank": (lambda: matmul(dst=psum((128, 1024))[:, 256:768]), "nc_matmul", "cross a PSUM bank"),
    "matmul moving": (lambda: matmul(dst=psum((128, 1024)), moving=tile((128, 1024), BF16)), "nc_matmul", ""),
    "matmul stationary": (lambda: matmul(stationary=tile((128, 256), BF16)), "nc_matmul", "free size 256"),
    "matmul contraction": (lambda: matmul(stationary=tile((64, 128), BF16)), "nc_matmul", "K 128"),
    "matmul dst in SBUF": (lambda: matmul(dst=tile((128, 512))), "nc_matmul", "must be PSUM"),
    "matmul dst dtype": (lambda: matmul(dst=psum(dtype=BF16)), "nc_matmul", "must be float32"),
    "matmul reads PSUM": (lambda: matmul(moving=psum()), "nc_matmul", "must be SBUF"),
    "matmul dtype": (lambda: matmul(stationary=tile(dtype=I32)), "nc_matmul", "dtype int32"),
    "matmul mixes float32": (lambda: matmul(stationary=tile()), "nc_matmul", "float32 goes with float32"),
    "matmul shape": (lambda: matmul(dst=psum((128, 256))), "nc_matmul", "must be [128, 512]"),
    "matmul first write": (lambda: matmul(accumulate=True), "nc_matmul", "no matmul started"),
    "matmul onto memset": (accumulate_onto_memset, "nc_matmul", "no matmul started"),
    "double row dtype": (lambda: matmul(perf_mode=nisa.matmul_perf_mode.double_row), "nc_matmul", "must be one of"),
    "double row layout": (
        lambda: matmul(stationary=tile(dtype=FP8), moving=tile((128, 512), FP8), perf_mode=nisa.matmul_perf_mode.double_row),
        "nc_matmul",
        "double_row wants",
    ),
    "start partition": (lambda: nisa.memset(dst=tile()[16:48], value=0.0), "memset", "start at 16"),
    "start partition of 64": (lambda: nisa.memset(dst=tile()[32:96], value=0.0), "memset", "start at 32"),
    "compute reaches HBM": (lambda: nisa.tensor_copy(dst=tile(), src=hbm()), "tensor_copy", "shared_hbm"),
    "dma reads PSUM": (lambda: nisa.dma_copy(dst=hbm(), src=psum((128, 128))), "dma_copy", "PSUM"),
    "dma size": (lambda: nisa.dma_copy(dst=hbm(), src=tile((128, 64))), "dma_copy", "8192 elements"),
    "dma priority": (lambda: nisa.dma_copy(dst=hbm(), src=tile(), priority=1), "dma_copy", "gen4 only"),
    "dma engine": (lambda: nisa.dma_copy(dst=hbm(), src=tile(), engine=nisa.engine.vector), "dma_copy", "only sync or scalar"),
    "hardware gather": (lambda: gather(nisa.dge_mode.hwdge), "dma_copy", "cannot gather"),
    "index dtype": (lambda: gather(index_dtype=F32), "dma_copy", "32-bit"),
    "index count": (lambda: gather(index_shape=(8, 1)), "dma_copy", "one index per row"),
    "index bounds": (lambda: gather(value=64), "dma_copy", "out of bounds"),
    "gpsimd reads PSUM": (lambda: nisa.tensor_copy(dst=tile((128, 512)), src=psum(), engine=nisa.engine.gpsimd), "tensor_copy", "GpSimd"),
    "two PSUM inputs": (
        lambda: nisa.tensor_tensor(dst=tile((128, 512)), data1=psum(), data2=psum(), op=nl.add),
        "tensor_tensor",
        "both in PSUM",
    ),
    "wrong engine": (
        lambda: nisa.tensor_tensor(dst=tile(), data1=tile(), data2=tile(), op=nl.add, engine=nisa.engine.scalar),
        "tensor_tensor",
        "runs on",
    ),
    "scalar engine's operators": (
        lambda: nisa.tensor_scalar(dst=tile(), data=tile(), op0=nl.maximum, operand0=0.0, engine=nisa.engine.scalar),
        "tensor_scalar",
        "scalar engine does",
    ),
    "operand dtype": (
        lambda: nisa.tensor_scalar(dst=tile(), data=tile(), op0=nl.add, operand0=tile((128, 1), BF16)),
        "tensor_scalar",
        "bfloat16",
    ),
    "operand shape": (
        lambda: nisa.tensor_scalar(dst=tile(), data=tile(), op0=nl.add, operand0=tile((128, 2))),
        "tensor_scalar",
        "(128, 1)",
    ),
    "activation function": (lambda: nisa.activation(dst=tile(), op=nl.maximum, data=tile()), "activation", "no activation"),
    "tile mismatch": (lambda: nisa.tensor_copy(dst=tile(), src=tile((128, 64))), "tensor_copy", "does not match"),
    "reduction axis": (
        lambda: nisa.tensor_reduce(dst=tile((128, 4)), op=nl.add, data=tile((128, 4, 8)), axis=1),
        "tensor_reduce",
        "last free",
    ),
    "transpose on vector": (lambda: nisa.nc_transpose(dst=tile(), data=tile(), engine=nisa.engine.vector), "nc_transpose", "at most 32"),
    "transpose dtype": (
        lambda: nisa.nc_transpose(dst=psum((128, 128), BF16), data=tile(), engine=nisa.engine.tensor),
        "nc_transpose",
        "dtype",
    ),
    "predicate dtype": (lambda: nisa.tensor_copy_predicated(dst=tile(), src=0.0, predicate=tile()), "tensor_copy_predicated", "unsigned"),
    "affine size": (lambda: nisa.iota(dst=tile(), pattern=[[1, 64]]), "iota", "64 elements"),
    "affine select in PSUM": (lambda: nisa.affine_select(psum((128, 128)), [[1, 128]], 0, tile(), 0.0), "affine_select", "psum"),
    "unwritten float": (lambda: nisa.tensor_copy(dst=tile(), src=tile(value=None)), "tensor_copy", "never written"),
    "unwritten integer": (lambda: nisa.tensor_copy(dst=tile(dtype=I32), src=tile(dtype=I32, value=None)), "tensor_copy", "never written"),
    "unwritten HBM": (lambda: nisa.dma_copy(dst=tile(), src=hbm()), "dma_copy", "never written"),
    "partition stride": (lambda: tile().ap(pattern=[[256, 64], [1, 128]]), "ap", "partition step 256"),
    "permuted partitions": (lambda: tile().permute((1, 0)), "permute", "partitions stay outermost"),
    "slice": (lambda: tile()[:, 64:256], "getitem", "of dimension 1"),
    "free dimensions": (lambda: nisa.memset(dst=nl.ndarray((128, 2, 2, 2, 2, 2), dtype=F32), value=0.0), "memset", "free dimensions"),
    "register": (lambda: nl.fori_loop(0, nisa.register_alloc(), lambda i: None), "register", "never loaded"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_named(name, monkeypatch):
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn2")
    broken, call, text = BROKEN[name]
    with pytest.raises(nisa.NkiValidationError) as error:
        nki.simulate(lambda: broken() and None)()
    assert error.value.call == call and text in str(error.value)
    assert error.value.source and error.value.operand in str(error.value)


def test_sbuf_is_larger_on_trn3(monkeypatch):
    kernel = lambda: nisa.memset(dst=nl.ndarray((128, 56_000), dtype=F32), value=0.0)
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn3")
    nki.simulate(kernel)()
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn2")
    with pytest.raises(nisa.NkiValidationError, match="212984"):
        nki.simulate(kernel)()


def test_dead_tensors_give_their_memory_back():
    def kernel():
        for _ in range(20):
            nisa.memset(dst=nl.ndarray((128, 10_000), dtype=F32), value=0.0)

    nki.simulate(kernel)()


def test_a_tensor_of_a_device_loop_lives_through_it():
    def kernel(n):
        outer = tile((128, 30_000))
        register = nisa.register_alloc(n)
        nl.fori_loop(0, register, lambda i: nisa.memset(dst=nl.ndarray((128, 30_000), dtype=F32), value=0.0))
        nisa.tensor_copy(dst=outer[:, 0:1], src=outer[:, 1:2])

    with pytest.raises(nisa.NkiValidationError, match="bytes live"):
        nki.simulate(kernel)(3)


def test_register_has_no_value_while_tracing():
    def kernel():
        if nisa.register_alloc(1):
            pass

    with pytest.raises(TypeError, match="fori_loop"):
        nki.simulate(kernel)()


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3, np.float16])
def test_every_store_rounds_to_its_type(dtype):
    values = np.random.default_rng(0).standard_normal((128, 64)).astype(np.float32)

    def kernel(x):
        out = nl.ndarray(x.shape, dtype=np.dtype(dtype).name, buffer=nl.shared_hbm)
        wide, narrow = tile((128, 64), value=None), nl.ndarray((128, 64), dtype=np.dtype(dtype).name)
        nisa.dma_copy(dst=wide, src=x)
        nisa.tensor_scalar(dst=narrow, data=wide, op0=nl.multiply, operand0=3.0)
        nisa.dma_copy(dst=out, src=narrow)
        return out

    assert np.array_equal(nki.simulate(kernel)(values), (values * np.float32(3.0)).astype(dtype))


def test_scatter_skips_indices_out_of_bounds():
    data, index = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([[2], [-1], [0], [9]], np.int32)

    def kernel(x, i):
        out = nl.ndarray((4, 3), dtype=F32, buffer=nl.shared_hbm)
        rows, at = tile((4, 3), value=None), nl.ndarray((4, 1), dtype=I32)
        nisa.dma_copy(dst=rows, src=x)
        nisa.dma_copy(dst=at, src=i)
        target = out.ap(pattern=[[3, 4], [1, 3]], vector_offset=at, indirect_dim=0)
        nisa.dma_copy(dst=target, src=rows, oob_mode=nisa.oob_mode.skip)
        return out

    got = nki.simulate(kernel)(data, index)
    assert np.array_equal(got[[2, 0]], data[[0, 2]]) and np.isnan(got[[1, 3]]).all()
