"""What one instruction costs: how long it holds its engine, and how much later its result is visible."""


def busy_and_latency_ns(instruction, c):
    """(ns that the engine is held, ns from the end of that to the result being visible). `c` are the constants by name."""
    work, engine = instruction.work, instruction.engine
    if engine == "tensor":
        return _tensor(work, c)
    if engine == "sync":
        return c["register_ns"], 0.0
    clock = c[f"{engine}_ghz"]
    if instruction.call == "activation_read_accumulator":
        return c["read_accumulator_cycles"] / clock, 0.0
    return (c["access_cycles"] + work["n_elements"] * _cycles_per_element(engine, work, c)) / clock, 0.0


def _tensor(work, c):
    load = work["n_stationary"] / c["stationary_speedup"]
    cycles = max(work["n_moving"], c["matmul_min_cycles"], load) + c["stationary_exposed"] * load
    if work["is_float32"]:
        cycles *= c["float32_matmul_factor"] / (2 if work["is_transpose"] else 1)
    return cycles / c["tensor_ghz"], c["matmul_latency_cycles"] / c["tensor_ghz"]


def _cycles_per_element(engine, work, c):
    """Cycles per element and partition. VectorE's 16-bit modes are those of the trn2 guide: 4x with all operands in SBUF and
    contiguous, 2x when strided or when one operand is in PSUM."""
    if engine == "gpsimd":
        return c["gpsimd_cycles_per_element"] * work.get("inputs", 1)
    if engine == "scalar":
        return 1.0
    cycles = c["two_input_factor"] if work.get("inputs", 1) == 2 else work.get("cycles_per_element", 1)
    fast = work.get("fast", 1)
    if work.get("half") and fast > 1:
        if work["psum"] == 0 and work["contiguous"]:
            cycles /= fast
        elif fast == 4 and (work["psum"] == 0 or (work["psum"] == 1 and work["contiguous"])):
            cycles /= 2
    return cycles


def dma_ns(work, c):
    """(ns on each DMA engine that takes part, engines that take part)."""
    engines = min(c["dma_engines"], -(-work["n_partitions"] // 8))
    each = max(c["dma_descriptor_ns"], work["run_bytes"] / c["dma_engine_bytes_per_ns"])
    return -(-work["n_descriptors"] // engines) * each, engines


def matmul_flops(instruction):
    """Useful floating-point operations of a matmul; a transpose has none."""
    work = instruction.work
    if instruction.engine != "tensor" or work["is_transpose"]:
        return 0
    return 2 * work["n_moving"] * work["n_stationary"] * work["n_contraction"]
