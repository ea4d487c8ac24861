"""Rules of memory, DMA, views and registers, each broken once: (kernel, call that is named, a part of the message)."""

from broken import BF16, F32, I32, filled_hbm, filled_psum, hbm, psum, tile

import nki.isa as nisa
import nki.language as nl

SKIP = nisa.oob_mode.skip


def too_much_sbuf():
    tiles = [tile((128, 30_000)) for _ in range(2)]
    nisa.tensor_tensor(dst=tiles[0], data1=tiles[0], data2=tiles[1], op=nl.add)


def too_many_banks():
    for t in [filled_psum((128, 512)) for _ in range(9)]:
        nisa.tensor_copy(dst=tile(), src=t[:, 0:128])


def rows_of(source, index=None):
    """A view of 16 rows of [64, 32] by their numbers."""
    index = tile((16, 1), I32, value=0) if index is None else index
    return source.ap(pattern=[[32, 16], [1, 32]], vector_offset=index, indirect_dim=0)


def gather(dge_mode=nisa.dge_mode.swdge, index_dtype=I32, value=0, index_shape=(16, 1)):
    index = tile(index_shape, index_dtype, value=value)
    nisa.dma_copy(dst=tile((16, 32)), src=rows_of(filled_hbm(), index), dge_mode=dge_mode)


def row_at(source, offset):
    """A view of one row of [64, 32] at a run-time number."""
    return source.ap(pattern=[[32, 1], [1, 32]], scalar_offset=offset, indirect_dim=0)


def one(value, dtype=I32, buffer=nl.sbuf, shape=(1, 1)):
    return tile(shape, dtype, buffer, value)


def load_row(offset, oob_mode=nisa.oob_mode.error, **kwargs):
    nisa.dma_copy(dst=tile((1, 32)), src=row_at(filled_hbm(), offset), oob_mode=oob_mode, **kwargs)


def store_row(offset):
    nisa.dma_copy(dst=row_at(hbm((64, 32)), offset), src=tile((1, 32)))


def both_indirect():
    nisa.dma_copy(dst=rows_of(hbm((64, 32))), src=rows_of(filled_hbm()))


def read_past_the_end():
    row = tile((1, 32)).ap(pattern=[[32, 1], [1, 8]], scalar_offset=one(30), indirect_dim=1)
    nisa.tensor_copy(dst=tile((1, 8)), src=row)


ALLOCATION = {
    "partitions": (lambda: tile((129, 4)), "ndarray", "at most 128"),
    "sbuf row": (lambda: tile((128, 70_000), value=None), "ndarray", "bytes per partition"),
    "sbuf live": (too_much_sbuf, "ndarray", "SBUF bytes per partition live"),
    "psum row": (lambda: psum((128, 4097)), "ndarray", "bytes per partition"),
    "psum live": (too_many_banks, "ndarray", "PSUM banks live"),
}
DMA = {
    "reads PSUM": (lambda: nisa.dma_copy(dst=hbm(), src=psum((128, 128))), "dma_copy", "PSUM"),
    "size": (lambda: nisa.dma_copy(dst=hbm(), src=tile((128, 64))), "dma_copy", "8192 elements"),
    "priority": (lambda: nisa.dma_copy(dst=hbm(), src=tile(), priority=1), "dma_copy", "gen4 only"),
    "engine": (lambda: nisa.dma_copy(dst=hbm(), src=tile(), engine=nisa.engine.vector), "dma_copy", "only sync or scalar"),
    "unwritten HBM": (lambda: nisa.dma_copy(dst=tile(), src=hbm()), "dma_copy", "never written"),
    "both indirect": (both_indirect, "dma_copy", "both sides"),
    "hardware gather": (lambda: gather(nisa.dge_mode.hwdge), "dma_copy", "cannot gather"),
    "prepared at run time": (lambda: load_row(one(0), dge_mode=nisa.dge_mode.none), "dma_copy", "no run-time addresses"),
    "index dtype": (lambda: gather(index_dtype=F32), "dma_copy", "32-bit"),
    "index count": (lambda: gather(index_shape=(8, 1)), "dma_copy", "one index per row"),
    "index bounds": (lambda: gather(value=64), "dma_copy", "out of bounds"),
    "index unwritten": (lambda: gather(value=None), "dma_copy", "never written"),
    "index in PSUM": (lambda: load_row(one(0, buffer=nl.psum)), "dma_copy", "indices are in SBUF"),
    "gathers the unwritten": (lambda: nisa.dma_copy(dst=tile((16, 32)), src=rows_of(hbm((64, 32)))), "dma_copy", "never written"),
    "loads past the end": (lambda: load_row(one(64)), "dma_copy", "out of bounds"),
    "stores past the end": (lambda: store_row(one(64)), "dma_copy", "out of bounds"),
}
VIEWS = {
    "too many indices": (lambda: tile()[:, 0, 0], "getitem", "3 indices for 2"),
    "index past the end": (lambda: tile()[:, 64:256], "getitem", "of dimension 1"),
    "indexing a gather": (lambda: rows_of(filled_hbm())[0:8], "getitem", "cannot be indexed again"),
    "slice": (lambda: tile().slice(1, 64, 256), "slice", "[64:256:1]"),
    "select": (lambda: tile().select(1, 128), "select", "index 128"),
    "select twice": (lambda: row_at(filled_hbm(), one(0)).select(0, one(0)), "select", "one dynamic select"),
    "select a partition": (lambda: tile().select(0, one(0)), "select", "not dynamic"),
    "permuted partitions": (lambda: tile().permute((1, 0)), "permute", "partitions stay outermost"),
    "permutation": (lambda: tile().permute((0, 0)), "permute", "no permutation"),
    "broadcast": (lambda: tile().broadcast(1, 2), "broadcast", "not 1"),
    "broadcast partitions": (lambda: tile((1, 4)).broadcast(0, 2), "broadcast", "not across partitions"),
    "expand before partitions": (lambda: tile().expand_dim(0), "expand_dim", "partitions stay outermost"),
    "divide": (lambda: tile().reshape_dim(1, (3, 4)), "reshape_dim", "128 to (3, 4)"),
    "divide partitions": (lambda: tile().reshape_dim(0, (2, 64)), "reshape_dim", "partitions stay outermost"),
    "reshape": (lambda: tile().reshape((128, 64)), "reshape", "(128, 64)"),
    "reshape partitions": (lambda: tile().reshape((64, 256)), "reshape", "partitions stay outermost"),
    "reshape part of a tile": (lambda: tile((128, 2, 64))[:, :, 0:32].reshape((128, 64)), "reshape", "not contiguous"),
    "reshape part of HBM": (lambda: hbm()[:, 0:64].reshape((64, 128)), "reshape", "not contiguous"),
    "view of a dynamic tensor": (lambda: row_at(filled_hbm(), one(0)).view(BF16), "view", "static last dimension"),
    "view of odd rows": (lambda: tile((128, 3), BF16).view(F32), "view", "do not divide"),
    "pattern on a view": (lambda: tile()[:, 64:].ap(pattern=[[128, 128], [1, 64]]), "ap", "on a view"),
    "pattern's partitions": (lambda: tile().ap(pattern=[[256, 64], [1, 128]]), "ap", "partition step 256"),
    "two offsets": (
        lambda: hbm().ap(pattern=[[128, 1], [1, 1]], scalar_offset=one(0), vector_offset=one(0)),
        "ap",
        "scalar_offset excludes",
    ),
    "rows on chip": (lambda: tile().ap(pattern=[[128, 1], [1, 1]], vector_offset=one(0)), "ap", "dimension 0 of an HBM tensor"),
    "dynamic partition": (lambda: tile().ap(pattern=[[128, 1], [1, 1]], scalar_offset=one(0)), "ap", "not dynamic"),
    "offset of two": (lambda: load_row(one(0, shape=(1, 2))), "ap", "1x1"),
    "offset unwritten": (lambda: load_row(one(None)), "ap", "never written"),
    "offset past the end": (read_past_the_end, "ap", "out of bounds"),
    "offset in an empty register": (lambda: load_row(nisa.register_alloc()), "register", "never loaded"),
    "empty register": (lambda: nl.fori_loop(0, nisa.register_alloc(), lambda i: None), "register", "never loaded"),
    "register of two": (lambda: nisa.register_load(nisa.register_alloc(), one(0, shape=(1, 2))), "register_load", "one element"),
}
CASES = ALLOCATION | {f"dma, {name}": case for name, case in DMA.items()} | {f"view, {name}": case for name, case in VIEWS.items()}
