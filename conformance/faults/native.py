"""Faults of fast paths: a consumer recognises another library's type and reads the object without a protocol.

An :class:`~conformance.reference.exporter.Exporter` is the reference library's own type. An object that offers a single protocol is not.
"""

from __future__ import annotations

from typing import Any

from conformance.protocols.dtypes import DLCode, dtype
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

from . import fault

_STATES, _SAME = "native.states", "native.as-protocol"


class ByType(Importer):
    """Base of importers that read the partner's own type without a protocol, with the right order and the right owner."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        return super().take_dlpack(source, **requested) if requested or not is_own(source) else self.read(source)

    def take_cai(self, source: Any) -> Imported:
        return self.read(source) if is_own(source) else super().take_cai(source)

    def read(self, source: Exporter) -> Imported:
        """Return the same import that the protocols give."""
        source.check_pending()
        self.follow(None if source.writer is None else source.writer.handle)
        return Imported(
            self,
            address=source.element0(),
            shape=source.view.shape,
            strides=source.strides_bytes(),
            dtype=source.dtype,
            device=source.device(),
            readonly=source.readonly,
            holder=source,
        )


def is_own(source: Any) -> bool:
    """Return ``True`` for the type itself, and for a subclass that does not override ``__dlpack__``."""
    return isinstance(source, Exporter) and type(source).__dlpack__ is Exporter.__dlpack__


@fault(_STATES)
class TypeHidesPending(ByType):
    """Reads an array in a lazy state by its type, as its memory is, although the protocols refuse it."""

    def read(self, source: Exporter) -> Imported:
        was, source.pending = source.pending, False
        try:
            return super().read(source)
        finally:
            source.pending = was


@fault(_STATES)
class TypeHidesOneState(TypeHidesPending):
    """Reads an array in a lazy state by its type in the constructor that accepts any object."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        return Importer.take_dlpack(self, source, **requested)

    def take_cai(self, source: Any) -> Imported:
        return Importer.take_cai(self, source)

    def take_any(self, source: Any) -> Imported:
        return self.read(source) if is_own(source) else super().take_any(source)


@fault(_SAME)
class TypeLosesReadOnly(ByType):
    """Makes every array that it reads by its type writable."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        taken.readonly = False
        return taken


@fault(_SAME)
class TypeLosesTheOffset(ByType):
    """Reads an array by its type from the start of its block, without the offset."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        taken.address = source.block.address
        return taken


@fault(_SAME)
class TypeStridesInElements(ByType):
    """Reads strides by type as bytes although they count elements."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        taken.strides = source.view.strides
        return taken


@fault(_SAME)
class TypeTableHasAWrongRow(ByType):
    """Reads ``uint16`` as ``int16`` when it reads an array by its type."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        taken.dtype = dtype("int16") if taken.dtype.name == "uint16" else taken.dtype
        return taken


@fault(_SAME)
class TypeHidesTheDirection(ByType):
    """Reads a negative stride as a positive one when it reads an array by its type."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        taken.strides = tuple(map(abs, taken.strides))
        return taken


@fault(_SAME)
class TypeHasNoScalars(ByType):
    """Reads a zero-dimensional array by its type as a vector of one element."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        if not taken.shape:
            taken.shape, taken.strides = (1,), (taken.dtype.itemsize,)
        return taken


@fault("native.elements")
class DatesAreIntegers(ByType):
    """Reads dates and other opaque elements as int64 when it reads an array by its type."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        if taken.dtype.code is DLCode.OPAQUE:
            taken.dtype = dtype("int64")
        return taken


@fault("native.elements")
class ConstructorReadsDates(DatesAreIntegers):
    """Reads dates as int64 in the constructor that accepts any object."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        return Importer.take_dlpack(self, source, **requested)

    def take_any(self, source: Any) -> Imported:
        return self.read(source) if is_own(source) else super().take_any(source)


@fault(_SAME, "native.calls-agree")
class OwnTypeRefused(Importer):
    """Refuses the object itself in ``from_dlpack``, although it accepts the object's capsule and other calls accept the object."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        if is_own(source):
            raise TypeError(f"cannot convert a {type(source).__name__}")
        return super().take_dlpack(source, **requested)

    def take_any(self, source: Any) -> Imported:
        return ByType(self.memory, self.work_stream, self.current).take_any(source)


@fault("native.calls-agree")
class ConstructorKnowsNoReadOnly(Importer):
    """Refuses a read-only array in the constructor that accepts any object, although the other calls accept it."""

    def take_any(self, source: Any) -> Imported:
        if getattr(source, "readonly", False):
            raise ValueError("a read-only array is not supported")
        return super().take_any(source)


@fault("native.unknown-version")
class TypeOfEveryVersion(ByType):
    """Reads a type with one fixed layout, whatever version the library reports."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        if not is_known(source):
            taken.strides = source.view.strides
        return taken


@fault("native.unknown-version")
class NewVersionsHidePending(TypeHidesPending):
    """Checks for a lazy state only in the versions of the type that it knows."""

    def read(self, source: Exporter) -> Imported:
        return ByType.read(self, source) if is_known(source) else super().read(source)


@fault("native.unknown-version")
class VendorsVersionsEndIt(ByType):
    """Raises ``ValueError`` for a version with a part that is not a number."""

    def read(self, source: Exporter) -> Imported:
        major, *_ = map(int, source.library_version.split("."))
        return super().read(source) if major == 1 else Importer.take_dlpack(self, source)


def is_known(source: Exporter) -> bool:
    """Return ``True`` if the library of the type reports the only version that consumers know."""
    return source.library_version == "1.0.0"


@fault("native.stream-argument")
class TypeTakesNoStream(ByType):
    """Accepts an object without a stream by its type, although it refuses that as ambiguous by a protocol."""

    def take_for(self, source: Any, stream: int | None) -> Imported:
        return self.read(source) if is_own(source) else super().take_for(source, stream)


@fault("native.stream-argument")
class NoStreamIsTheDefault(Importer):
    """Treats a missing stream as the default stream for every object."""

    def take_for(self, source: Any, stream: int | None) -> Imported:
        return super().take_for(source, -1 if stream is None else stream)


@fault("native.ordering")
class TypeWaitsForNobody(ByType):
    """Does not wait for the producer's pending work when it reads an array by its type."""

    def follow(self, published: int | None) -> None:
        """Skip the wait. :meth:`read_cai` waits for published streams in its place."""

    def read_cai(self, described: Any) -> Any:
        interface = super().read_cai(described)
        super().follow(self.published(interface))
        return interface


@fault("native.ordering")
class TypeWaitsOnTheDefaultStream(ByType):
    """Makes the default stream wait when it reads an array by its type, and not the stream that uses the import."""

    def read(self, source: Exporter) -> Imported:
        other = ByType(self.memory, 1, self.current)
        taken = ByType.read(other, source)
        taken.importer = self
        return taken


@fault("native.keeps-memory")
class TypeKeepsNothing(ByType):
    """Holds no reference to an object that it reads by its type."""

    def read(self, source: Exporter) -> Imported:
        taken = super().read(source)
        taken.holder = None
        return taken


@fault("native.keeps-memory")
class OwnTypeReleasedAtOnce(Importer):
    """Releases the struct of an object as soon as it has read it, if the object is passed itself."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        taken = super().take_dlpack(source, **requested)
        if is_own(source):
            taken.release()
        return taken


@fault("native.subclass")
class BaseReadDirectly(ByType):
    """Reads an object of a subclass by the base class, past its own ``__dlpack__``."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        return self.read(source) if isinstance(source, Exporter) else super().take_dlpack(source, **requested)


@fault("native.subclass")
class BaseMethodCalled(Importer):
    """Calls the base class's ``__dlpack__`` on an object of a subclass."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        if isinstance(source, Exporter) and not is_own(source):
            return Exporter.__dlpack__(source, stream=self.stream(), max_version=(1, 3))
        return super().call_dlpack(source, requested)


@fault("native.protocol-lookup")
class LookRaisesRuntimeError(Exporter):
    """Raises ``RuntimeError`` when ``__array_interface__`` is looked up."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        raise RuntimeError("not an array of the host")


@fault("native.protocol-lookup")
class LookRaisesKeyError(Exporter):
    """Raises ``KeyError`` when ``__cuda_array_interface__`` is looked up and the element type has no typestr."""

    def check_cai(self) -> None:
        if self.dtype.typestr is None:
            raise KeyError(self.dtype.name)
        super().check_cai()


@fault("native.protocol-lookup")
class LookAtSlicesRaises(Exporter):
    """Raises ``RuntimeError`` when ``__array_struct__`` is looked up on an array that is not contiguous."""

    @property
    def __array_struct__(self) -> Any:
        if self.contiguous:
            raise AttributeError("__array_struct__")
        raise RuntimeError("the array is not contiguous")
