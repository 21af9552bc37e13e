"""Open the GPU memory of another process by its IPC handle, and report the bytes at an offset."""

from __future__ import annotations

import sys

from conformance.cuda import ipc
from conformance.cuda.driver import CudaError

from . import tell


def main(handle: str, offset: int, nbytes: int) -> None:
    """Report the bytes as hexadecimal digits, or the error of the driver."""
    tell(step="the opening of the handle")
    try:
        data = ipc.read(bytes.fromhex(handle), offset, nbytes)
    except CudaError as error:
        tell(error=str(error))
        return
    tell(data=data.hex())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
