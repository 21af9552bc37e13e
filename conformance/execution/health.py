"""Health check of the GPUs, after a process was killed or its CUDA context was corrupted. It runs in a separate process."""

from __future__ import annotations

from conformance.checks.exchange import brief

MOST_GPUS = 2
"""Maximum number of GPUs that a case uses."""
_WORDS = 1024
_VALUE = 0x5EED


def gpu_trouble() -> str | None:
    """Return why a GPU is unusable, or ``None``. On each GPU that cases use, allocate memory, run a kernel and read its output."""
    from conformance.cuda import driver

    try:
        for ordinal in range(min(driver.device_count(), MOST_GPUS)):
            _use(ordinal)
    except Exception as error:
        return brief(error)
    return None


def _use(ordinal: int) -> None:
    """Use one GPU. Raises ``CudaError``, or ``RuntimeError`` if the kernel's output is wrong."""
    from conformance.cuda import context, kernels, memory

    with context.using(context.primary(ordinal)):
        address = memory.allocate(4 * _WORDS, ordinal=ordinal)
        try:
            kernels.fill_words(address, _WORDS, _VALUE, ordinal=ordinal)
            context.synchronize()
            found = memory.read(address, 4 * _WORDS)
        finally:
            memory.free(address, ordinal=ordinal)
    if found != _VALUE.to_bytes(4, "little") * _WORDS:
        raise RuntimeError(f"GPU {ordinal} did not write the values of its kernel")
