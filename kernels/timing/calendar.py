"""When the DMA engines are free."""


class Calendar:
    """Gaps of the DMA engines, taken together: a transfer takes the first gap that is long enough."""

    def __init__(self):
        self.gaps, self.end = [], 0.0

    def take(self, ready, held):
        for at, (low, high) in enumerate(self.gaps):
            start = max(low, ready)
            if start + held <= high:
                rest = [(low, start)] * (start - low > 1.0) + [(start + held, high)] * (high - start - held > 1.0)
                self.gaps[at : at + 1] = rest
                return start
        start = max(self.end, ready)
        if start - self.end > 1.0:
            self.gaps = self.gaps[-63:] + [(self.end, start)]
        self.end = start + held
        return start

    def shift(self, ns):
        """Moves everything later by `ns`."""
        self.gaps = [(low + ns, high + ns) for low, high in self.gaps]
        self.end += ns
