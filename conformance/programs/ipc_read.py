"""Open another process's memory by its handle and tell what lies at an offset."""

from __future__ import annotations

import sys

from conformance.cuda import ipc
from conformance.cuda.driver import CudaError

from . import tell


def main(handle: str, offset: int, nbytes: int) -> None:
    """Tell the bytes as hexadecimal digits, or what the driver said instead."""
    tell(step="the opening of the handle")
    try:
        data = ipc.read(bytes.fromhex(handle), offset, nbytes)
    except CudaError as error:
        tell(error=str(error))
        return
    tell(data=data.hex())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
