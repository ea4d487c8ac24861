"""A time model of NKI kernels: a cost for each recorded instruction, an event-driven schedule, and a trace to look at."""
