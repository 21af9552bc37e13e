"""Levels that an exporter or an importer knows at the call of a method, from the object and its arguments alone."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.protocols import cai, capsule, dlpack
from conformance.protocols.dlpack import VERSIONED, DLFlags, Tensor
from conformance.protocols.dtypes import from_typestr
from conformance.protocols.strided import c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported
from conformance.reference.memory import BorrowedBlock

from .levels import ACCESS, ALIGNMENT, COUNT, FORK, OFFSET, PATH, STRIDES, THREAD, WIDTH, State, of_array, of_version

_NOTHING: State = frozenset()
_NEWEST = 8
"""The number of latest exports that are checked for one that is still alive."""
_STRUCTS = 16
"""The number of structs for which a path is stored, which is more than a check keeps alive."""
_REFUSED = "refused_before"
"""The attribute of an exporter that has refused an export."""
_PUBLISHED = "published_before"
"""The attribute that records if the exporter's dictionary was read before the latest read."""


class _Now(threading.local):
    """The work of a thread: the keywords of the current export or import, and the imported array."""

    keywords: dict[str, Any] = {}
    is_capsule = False
    array: State = _NOTHING


class Life:
    """The state of a library in one process: its number of exchanges, the live imports, and the process in which it started.

    ``notes_refusals``: an import after a refused one has the path ``after-refusal`` in place of ``own``.
    """

    def __init__(self, *, notes_refusals: bool = True) -> None:
        self._notes_refusals = notes_refusals
        self.begin()

    def begin(self) -> None:
        """Reset the state. This process is the first one from now on."""
        self.home = os.getpid()
        self.exports = 0
        self.imports = 0
        self.refused = False
        self.now = _Now()
        self._alive: dict[int, weakref.ref[Imported]] = {}
        self._paths: dict[int, State] = {}

    # Counters

    @contextmanager
    def exporting(self, array: Exporter, keywords: dict[str, Any] | None) -> Iterator[None]:
        """Export this array with these keywords within the block. ``None`` stands for a dictionary."""
        before = self.now.keywords, self.now.is_capsule
        self.exports += 1
        self.now.keywords, self.now.is_capsule = keywords or {}, keywords is not None
        if keywords is None:
            vars(array)[_PUBLISHED] = array.log.cai > 0
        try:
            yield
        except Exception:
            vars(array)[_REFUSED] = True
            raise
        finally:
            self.now.keywords, self.now.is_capsule = before

    @contextmanager
    def asking(self, keywords: dict[str, Any]) -> Iterator[None]:
        """Import an array with these keywords within the block."""
        before, self.now.keywords = self.now.keywords, keywords
        try:
            yield
        finally:
            self.now.keywords = before

    @contextmanager
    def importing(self, known: State, struct: int) -> Iterator[None]:
        """Import an array with these levels within the block. ``struct`` is the address of its struct, or 0."""
        before, self.now.array = self.now.array, known
        self.imports += 1
        if struct:
            self._remember(struct, frozenset(level for level in known if level[0] == PATH))
        try:
            yield
        except Exception:
            self.refuse()
            raise
        finally:
            self.now.array = before

    def refuse(self) -> None:
        """Record a refused import."""
        self.refused = self._notes_refusals

    def imported(self, taken: Any) -> None:
        """Record a live import."""
        if isinstance(taken, Imported):
            alive, key = self._alive, id(taken)
            alive[key] = weakref.ref(taken, lambda _: alive.pop(key, None))

    def _living(self) -> Iterator[Imported]:
        """Yield the live imports, from a copy because other threads may import meanwhile."""
        return (taken for reference in list(self._alive.values()) if (taken := reference()) is not None)

    def _remember(self, struct: int, paths: State) -> None:
        """Store the path of a struct. Only the latest are kept, because a growing store would show as a leak."""
        self._paths.pop(struct, None)
        self._paths[struct] = paths
        if len(self._paths) > _STRUCTS:
            del self._paths[next(iter(self._paths))]

    # Levels

    def of_exporter(self, array: Exporter) -> State:
        """Return the levels of an exporter: of its array, of the current request, and of earlier exports."""
        size = array.dtype.itemsize
        strides = array.byte_strides or tuple(s * size for s in array.view.strides)
        known = set(of_array(int(array.dtype.code), array.dtype.bits, array.view.shape, strides))
        is_borrowed = isinstance(array.block, BorrowedBlock)
        begins = array.block.address % ALIGNMENT if is_borrowed else array.view.offset
        known |= {_offset(begins), _access(array.readonly)}
        paths = set()
        if is_borrowed:
            paths.add("reexport")
        elif array.view.size * size < array.block.nbytes:
            paths.add("view")
        if array.log.exports:
            paths.add("second" if any(made.owner is not None for made in array.log.exports[-_NEWEST:]) else "again")
        elif vars(array).get(_PUBLISHED):
            paths.add("second")
        if vars(array).get(_REFUSED):
            paths.add("after-refusal")
        if self.now.is_capsule:
            known |= of_version(_version(self.now.keywords.get("max_version")))
        return self._known(known, paths, self.exports)

    def of_importer(self, argument: Any) -> State:
        """Return the levels of an importer for a method with this first argument: of the array if it is known, and of earlier imports."""
        if isinstance(argument, Tensor):
            return self._of_tensor(argument)
        if isinstance(argument, cai.ArrayInterface):
            return self._of_interface(argument)
        if isinstance(argument, Imported):
            return self._of_import(argument)
        if capsule.is_capsule(argument):
            return self._of_struct(capsule.pointer(argument), capsule.name(argument))
        if isinstance(argument, int) and not isinstance(argument, bool) and argument > ALIGNMENT:
            return self._of_struct(argument, VERSIONED)
        if isinstance(argument, dict) and "typestr" in argument:
            try:
                return self._of_interface(cai.parse(argument))
            except (ValueError, TypeError, KeyError):
                return self.here()
        return self.here() | self.now.array

    def here(self) -> State:
        """Return the levels that do not depend on an array."""
        return self._known(set(), set(), self.imports, is_array=False)

    def _of_struct(self, address: int, name: bytes) -> State:
        try:
            return self._of_tensor(dlpack.decode(address, name))
        except dlpack.Malformed:
            return self.here()

    def _of_tensor(self, tensor: Tensor) -> State:
        size = (tensor.bits + 7) // 8 * max(tensor.lanes, 1)
        known = set(_of_array(tensor.code, tensor.bits, tensor.shape, tensor.strides_or_packed, size))
        known |= of_version(tensor.version)
        known |= {
            _offset(tensor.element0),
            _access(bool((tensor.flags or 0) & DLFlags.READ_ONLY)),
            _strides(tensor.strides),
        }
        remembered = self._paths.get(tensor.address)
        if remembered is not None:
            return self._known(known | remembered, set(), self.imports, is_array=False)
        return self._known(known, self._paths_of(tensor.element0), self.imports)

    def _of_interface(self, interface: cai.ArrayInterface) -> State:
        dtype = from_typestr(interface.typestr)
        size = cai.typestr_bytes(interface.typestr)
        strides = interface.strides or tuple(s * size for s in c_strides(interface.shape))
        if dtype is None:
            known = {level for level in of_array(0, 8 * size, interface.shape, strides) if level[0] in _OF_VIEW}
        else:
            known = set(of_array(int(dtype.code), dtype.bits, interface.shape, strides))
        known |= {_offset(interface.address), _access(interface.readonly), _strides(interface.strides)}
        return self._known(known, self._paths_of(interface.address), self.imports)

    def _of_import(self, taken: Imported) -> State:
        if taken.tensor is not None:
            return self._of_tensor(taken.tensor)
        if taken.interface is not None:
            return self._of_interface(taken.interface)
        dtype = taken.dtype
        known = set(of_array(int(dtype.code), dtype.bits, taken.shape, taken.strides))
        known |= {_offset(taken.address), _access(taken.readonly)}
        return self._known(known, set(), self.imports)

    def _paths_of(self, address: int) -> set[str]:
        paths = {"second"} if any(_address(taken) == address for taken in self._living()) else set()
        return paths | ({"after-refusal"} if self.refused else set())

    def _known(self, known: set[tuple[str, str]], paths: set[str], count: int, *, is_array: bool = True) -> State:
        asked = self.now.keywords.get("copy")
        if asked is not None:
            paths = paths | {"copy" if asked else "shared"}
        if not paths and is_array:
            paths = {"own"}
        known |= {(PATH, path) for path in paths}
        known |= {(COUNT, level) for level in ("2", "100") if count >= int(level)}
        if threading.current_thread() is not threading.main_thread():
            known.add((THREAD, "other"))
        if os.getpid() != self.home:
            known.add((FORK, "child"))
        return frozenset(known)


def _address(taken: Imported) -> int:
    """Return the address of element 0, or 0."""
    if taken.tensor is not None:
        return int(taken.tensor.element0)
    return int(taken.interface.address) if taken.interface is not None else 0


_OF_VIEW = (WIDTH, "layout", "rank", "size")


def _of_array(code: int, bits: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> State:
    return of_array(code, bits, shape, tuple(s * size for s in strides))


def _version(asked: Any) -> tuple[int, int] | None:
    pair = isinstance(asked, tuple) and len(asked) == 2 and all(isinstance(part, int) for part in asked)
    return asked if pair else None


def _offset(begins: int) -> tuple[str, str]:
    return OFFSET, "some" if begins % ALIGNMENT else "0"


def _access(readonly: bool) -> tuple[str, str]:
    return ACCESS, "readonly" if readonly else "writable"


def _strides(strides: Any) -> tuple[str, str]:
    return STRIDES, "none" if strides is None else "given"
