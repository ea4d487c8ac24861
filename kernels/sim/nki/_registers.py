"""Registers of the engines: integers known at run time only."""

from ._checks import read
from ._context import current
from ._errors import require

SOURCE = "stub: register_load"


class RegisterCell:
    """What the time model sees of a register: something written and read."""

    buffer = "register"
    on_chip = False
    first_use = last_use = None

    def touch(self, position):
        self.last_use = position


class VirtualRegister:
    """A 32-bit register. The tracer does not know its value, so Python control flow on it is refused, as AWS does."""

    def __init__(self, state=None, frozen=False):
        self.value = state
        self.cell = RegisterCell()

    def __bool__(self):
        raise TypeError("a register's value is not known while the kernel is traced: use nl.fori_loop")

    __int__ = __index__ = __bool__

    def region(self):
        """The register as an operand of the time model."""
        return self.cell, (0, 1, 0, 4)


def register_value(value):
    """The integer of a register, or the integer itself."""
    if isinstance(value, VirtualRegister):
        require(value.value is not None, "register", "register", "was never loaded", SOURCE)
        return value.value
    return value


def register_alloc(x: int | None = None):
    return VirtualRegister(x)


def register_move(dst, src):
    dst.value = register_value(src)
    current().record("sync", "register_move", [src] if isinstance(src, VirtualRegister) else [], [dst])


def register_load(dst, src):
    require(src.size == 1, "register_load", "src", f"shape {src.shape}, must hold one element", SOURCE)
    values = read("register_load", "src", src)
    dst.value = 0 if values is None else int(values.reshape(-1)[0])
    current().record("sync", "register_load", [src], [dst])
