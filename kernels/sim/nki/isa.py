"""`nki.isa`: the instructions that kernels use, with AWS's signatures; bodies in the private modules beside this one."""

from ._arithmetic import activation, reciprocal, scalar_tensor_tensor, tensor_reduce, tensor_scalar, tensor_tensor
from ._context import current
from ._dma import dma_copy
from ._enums import dge_mode, engine, matmul_perf_mode, nc_version, oob_mode, reduce_cmd
from ._errors import NkiValidationError
from ._matmul import nc_matmul, nc_transpose
from ._moves import affine_select, iota, memset, tensor_copy, tensor_copy_predicated
from ._registers import VirtualRegister, register_alloc, register_load, register_move


def get_nc_version():
    """The generation that the kernel is specialised for."""
    return nc_version[current().generation]
