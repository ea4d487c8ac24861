"""The one error of the simulator, and what raises it."""

from ._limits import LIMITS


class NkiValidationError(Exception):
    """A rule of the hardware was broken. Names the call, the operand, the rule, and where the rule is documented."""

    def __init__(self, call, operand, rule, source):
        super().__init__(f"nki {call}: operand `{operand}`: {rule} [{source}]")
        self.call = call
        self.operand = operand
        self.rule = rule
        self.source = source


class OutOfBoundsError(NkiValidationError):
    """A run-time address outside of its tensor: a DMA may be told to skip it."""


def require(condition, call, operand, rule, source):
    """Raises [`NkiValidationError`] unless `condition` holds."""
    if not condition:
        raise NkiValidationError(call, operand, rule, source)


def at_most(limit, value, call, operand, generation="gen3"):
    """Raises [`NkiValidationError`] if `value` is above the limit of that name."""
    limit = LIMITS[limit]
    require(value <= limit.on(generation), call, operand, f"{value} {limit.unit}, at most {limit.on(generation)}", limit.source)
