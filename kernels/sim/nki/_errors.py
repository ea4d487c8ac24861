"""The one error of the simulator."""


class NkiValidationError(Exception):
    """A rule of the hardware was broken. Names the call, the operand, the rule, and where the rule is documented."""

    def __init__(self, call, operand, rule, source):
        super().__init__(f"nki {call}: operand `{operand}`: {rule} [{source}]")
        self.call = call
        self.operand = operand
        self.rule = rule
        self.source = source


def require(condition, call, operand, rule, source):
    """Raises [`NkiValidationError`] unless `condition` holds."""
    if not condition:
        raise NkiValidationError(call, operand, rule, source)
