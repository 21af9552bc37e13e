"""Whether a GPU can be used: asked in a process of its own after another one had to be killed or has lost its context."""

from __future__ import annotations

from conformance.checks.exchange import brief

MOST_GPUS = 2
"""No case uses more."""
_WORDS = 1024
_VALUE = 0x5EED


def gpu_trouble() -> str | None:
    """Allocate, run a kernel, and read what it wrote, on each GPU that cases use; why that failed, or ``None``."""
    from conformance.cuda import driver

    try:
        for ordinal in range(min(driver.device_count(), MOST_GPUS)):
            _use(ordinal)
    except Exception as error:
        return brief(error)
    return None


def _use(ordinal: int) -> None:
    """Raises ``CudaError``, or ``RuntimeError`` if the kernel's words are not there."""
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
        raise RuntimeError(f"GPU {ordinal} did not write what its kernel was told to")
