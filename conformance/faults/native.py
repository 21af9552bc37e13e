"""Faults of consumers that recognise another library's own type, and of objects that are handed over as they are.

An :class:`~conformance.reference.exporter.Exporter` is the reference's own type; what shows one protocol only is none.
"""

from __future__ import annotations

from typing import Any

from conformance.protocols.dtypes import DLCode, dtype
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

from . import fault

_STATES, _SAME = "native.states", "native.as-protocol"


class ByType(Importer):
    """Reads its partner's own type past both protocols, in order and with an owner: the base of the faults here."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Directly, if the type is known and nothing special is asked for."""
        return super().take_dlpack(source, **requested) if requested or not is_own(source) else self.read(source)

    def take_cai(self, source: Any) -> Imported:
        """The same."""
        return self.read(source) if is_own(source) else super().take_cai(source)

    def read(self, source: Exporter) -> Imported:
        """The array as the protocols give it."""
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
    """Whether an object is of the type itself, or of a class that is not derived with a ``__dlpack__`` of its own."""
    return isinstance(source, Exporter) and type(source).__dlpack__ is Exporter.__dlpack__


@fault(_STATES)
class TypeHidesPending(ByType):
    """An array whose elements are still to be computed is read by its type, as it lies in memory, where the protocols refuse it."""

    def read(self, source: Exporter) -> Imported:
        """As if it were done."""
        was, source.pending = source.pending, False
        try:
            return super().read(source)
        finally:
            source.pending = was


@fault(_STATES)
class TypeHidesOneState(TypeHidesPending):
    """Only the call that takes whatever it knows reads an unfinished array by its type."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """By the protocol."""
        return Importer.take_dlpack(self, source, **requested)

    def take_cai(self, source: Any) -> Imported:
        """By the protocol."""
        return Importer.take_cai(self, source)

    def take_any(self, source: Any) -> Imported:
        """By the type."""
        return self.read(source) if is_own(source) else super().take_any(source)


@fault(_SAME)
class TypeLosesReadOnly(ByType):
    """An array that is read by its type is always writable."""

    def read(self, source: Exporter) -> Imported:
        """Without the flag."""
        taken = super().read(source)
        taken.readonly = False
        return taken


@fault(_SAME)
class TypeLosesTheOffset(ByType):
    """An array that is read by its type begins where the block begins."""

    def read(self, source: Exporter) -> Imported:
        """Without the offset."""
        taken = super().read(source)
        taken.address = source.block.address
        return taken


@fault(_SAME)
class TypeStridesInElements(ByType):
    """Of what is read by its type the strides are taken for bytes, though they count elements."""

    def read(self, source: Exporter) -> Imported:
        """Too short by the size of an element."""
        taken = super().read(source)
        taken.strides = source.view.strides
        return taken


@fault(_SAME)
class TypeTableHasAWrongRow(ByType):
    """Of what is read by its type the elements of ``uint16`` are taken for ``int16``, and all others are right."""

    def read(self, source: Exporter) -> Imported:
        """With a sign."""
        taken = super().read(source)
        taken.dtype = dtype("int16") if taken.dtype.name == "uint16" else taken.dtype
        return taken


@fault(_SAME)
class TypeHidesTheDirection(ByType):
    """Of what is read by its type a negative stride is taken for a positive one."""

    def read(self, source: Exporter) -> Imported:
        """Without the sign."""
        taken = super().read(source)
        taken.strides = tuple(map(abs, taken.strides))
        return taken


@fault(_SAME)
class TypeHasNoScalars(ByType):
    """An array without dimensions that is read by its type becomes a vector of one element."""

    def read(self, source: Exporter) -> Imported:
        """With a dimension."""
        taken = super().read(source)
        if not taken.shape:
            taken.shape, taken.strides = (1,), (taken.dtype.itemsize,)
        return taken


@fault("native.elements")
class DatesAreIntegers(ByType):
    """The elements of an object that is read by its type are numbers, whatever their kind."""

    def read(self, source: Exporter) -> Imported:
        """By their width."""
        taken = super().read(source)
        if taken.dtype.code is DLCode.OPAQUE:
            taken.dtype = dtype("int64")
        return taken


@fault("native.elements")
class ConstructorReadsDates(DatesAreIntegers):
    """Only the call that takes whatever it knows takes dates for numbers of 8 bytes."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """By the protocol."""
        return Importer.take_dlpack(self, source, **requested)

    def take_any(self, source: Any) -> Imported:
        """By the type."""
        return self.read(source) if is_own(source) else super().take_any(source)


@fault(_SAME, "native.calls-agree")
class OwnTypeRefused(Importer):
    """An object is refused by the call for DLPack that is taken behind the protocol, and by the other calls."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """``TypeError`` for the type."""
        if is_own(source):
            raise TypeError(f"cannot convert a {type(source).__name__}")
        return super().take_dlpack(source, **requested)

    def take_any(self, source: Any) -> Imported:
        """By another way."""
        return ByType(self.memory, self.work_stream, self.current).take_any(source)


@fault("native.calls-agree")
class ConstructorKnowsNoReadOnly(Importer):
    """The call that takes whatever it knows refuses a read-only array, which the others take."""

    def take_any(self, source: Any) -> Imported:
        """``ValueError`` for one."""
        if getattr(source, "readonly", False):
            raise ValueError("a read-only array is not supported")
        return super().take_any(source)


@fault("native.unknown-version")
class TypeOfEveryVersion(ByType):
    """The type is read by one layout, whatever version its library tells: in a newer one a field counts in another unit."""

    def read(self, source: Exporter) -> Imported:
        """Strides in elements, as they lie there."""
        taken = super().read(source)
        if not is_known(source):
            taken.strides = source.view.strides
        return taken


@fault("native.unknown-version")
class NewVersionsHidePending(TypeHidesPending):
    """A state of the type is looked for where only the versions have it that are known."""

    def read(self, source: Exporter) -> Imported:
        """As if it were done."""
        return ByType.read(self, source) if is_known(source) else super().read(source)


@fault("native.unknown-version")
class VendorsVersionsEndIt(ByType):
    """A version is taken apart at its points, each part of which is taken for a number."""

    def read(self, source: Exporter) -> Imported:
        """``ValueError`` for others."""
        major, *_ = map(int, source.library_version.split("."))
        return super().read(source) if major == 1 else Importer.take_dlpack(self, source)


def is_known(source: Exporter) -> bool:
    """Whether the library of the type tells the one version that consumers know."""
    return source.library_version == "1.0.0"


@fault("native.stream-argument")
class TypeTakesNoStream(ByType):
    """No stream is refused as ambiguous only behind a protocol: an object that is read by its type is taken without."""

    def take_for(self, source: Any, stream: int | None) -> Imported:
        """As it comes."""
        return self.read(source) if is_own(source) else super().take_for(source, stream)


@fault("native.stream-argument")
class NoStreamIsTheDefault(Importer):
    """No stream is taken for the default stream, whatever is handed over."""

    def take_for(self, source: Any, stream: int | None) -> Imported:
        """-1 stands for it here."""
        return super().take_for(source, -1 if stream is None else stream)


@fault("native.ordering")
class TypeWaitsForNobody(ByType):
    """An array that is read by its type is used before the producer's pending work is done."""

    def follow(self, published: int | None) -> None:
        """Only behind a protocol."""

    def read_cai(self, described: Any) -> Any:
        """A dictionary's stream is followed here, since :meth:`follow` does nothing."""
        interface = super().read_cai(described)
        super().follow(self.published(interface))
        return interface


@fault("native.ordering")
class TypeWaitsOnTheDefaultStream(ByType):
    """For what is read by its type the default stream waits, whatever stream the import is used on."""

    def read(self, source: Exporter) -> Imported:
        """On another stream."""
        other = ByType(self.memory, 1, self.current)
        taken = ByType.read(other, source)
        taken.importer = self
        return taken


@fault("native.keeps-memory")
class TypeKeepsNothing(ByType):
    """An array that is read by its type does not keep the object."""

    def read(self, source: Exporter) -> Imported:
        """Without a holder."""
        taken = super().read(source)
        taken.holder = None
        return taken


@fault("native.keeps-memory")
class OwnTypeReleasedAtOnce(Importer):
    """The struct of an object that is handed over as it is is released as soon as it has been read."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Back at once."""
        taken = super().take_dlpack(source, **requested)
        if is_own(source):
            taken.release()
        return taken


@fault("native.subclass")
class BaseReadDirectly(ByType):
    """An object of a derived class is read as one of the class that it is derived from."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Whatever its own method says."""
        return self.read(source) if isinstance(source, Exporter) else super().take_dlpack(source, **requested)


@fault("native.subclass")
class BaseMethodCalled(Importer):
    """Of an object of a derived class the ``__dlpack__`` of the base class is called."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Past the override."""
        if isinstance(source, Exporter) and not is_own(source):
            return Exporter.__dlpack__(source, stream=self.stream(), max_version=(1, 3))
        return super().call_dlpack(source, requested)


@fault("native.protocol-lookup")
class LookRaisesRuntimeError(Exporter):
    """A look for the array interface of the host raises ``RuntimeError``."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        raise RuntimeError("not an array of the host")


@fault("native.protocol-lookup")
class LookRaisesKeyError(Exporter):
    """A look for the CUDA Array Interface ends in a ``KeyError`` where the interface has no letter for the elements."""

    def check_cai(self) -> None:
        """By a table that lacks the type."""
        if self.dtype.typestr is None:
            raise KeyError(self.dtype.name)
        super().check_cai()


@fault("native.protocol-lookup")
class LookAtSlicesRaises(Exporter):
    """A look for the host's interface as a capsule raises ``RuntimeError`` for an array that is not contiguous."""

    @property
    def __array_struct__(self) -> Any:
        if self.contiguous:
            raise AttributeError("__array_struct__")
        raise RuntimeError("the array is not contiguous")
