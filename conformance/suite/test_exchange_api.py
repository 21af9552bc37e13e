"""Family ``exchange-api``: the table of C functions that a type may offer in addition to ``__dlpack__`` (row D12)."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import dtypes, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief, show
from conformance.checks.export_outcomes import Answer, at_most, judge, state_of
from conformance.checks.handover_record import Handed, mismatch
from conformance.checks.libraries import REFERENCE, Environment, Pair
from conformance.checks.offers import happens
from conformance.checks.outcomes import Refused, fail
from conformance.checks.steps import Doing
from conformance.protocols import capsule, dlpack, exchange_api
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DELETER, DLManagedTensorVersioned, DLTensor, Tensor
from conformance.protocols.exchange_api import ExchangeAPI
from conformance.protocols.strided import Strided
from conformance.reference.managed import Managed
from conformance.reference.memory import CudaMemory, HostMemory, gather

EXPORT = "managed_tensor_from_py_object_no_sync"
IMPORT = "managed_tensor_to_py_object_no_sync"
BORROW = "dltensor_from_py_object_no_sync"
STREAM = "current_work_stream"
ALLOCATE = "managed_tensor_allocator"
LAYOUTS = layouts("c-order", "fortran", "columns", "scalar", "empty-rows")


def _offering(env: Environment) -> Iterator[Pair]:
    """Yield the pairs with a producer whose array type offers the table."""
    return (p for p in env.exports(Protocol.DLPACK) if p.producer.has(Trait.EXCHANGE_API))


# -- calling the functions


def _table(exchange: Exchange, thing: Any) -> ExchangeAPI:
    """Return the table of the type of ``thing``; fail if the table is malformed."""
    try:
        found = exchange_api.table(type(thing))
    except ValueError as error:
        fail(
            Code.TABLE_MALFORMED, "DLX-01", role=Role.PRODUCER, reason="the type attribute does not hold a valid table",
            expected="a capsule named 'dlpack_exchange_api'", seen=str(error),
        )  # fmt: skip
    assert found is not None, "planned only where the type has the attribute"
    if not found.functions:
        raise Refused(
            f"{exchange.producer.name} offers a table of version {found.version}, which the suite does not support"
        )
    return found


def _call(exchange: Exchange, function: str, call: Any, *arguments: Any) -> None:
    """Call a function of the table with valid arguments. Fail if it raises or returns anything but 0, its code of success."""
    try:
        with exchange.step(Doing.IMPORT if function == IMPORT else Doing.EXPORT, Role.PRODUCER):
            code = call(*arguments)
        seen = f"{code} without an exception"
    except Exception as error:
        code, seen = -1, brief(error)
    if code:
        _failed(function, f"{function} fails", "0", seen)


def _failed(function: str, reason: str, expected: str, seen: str, cited: str = "DLX-06") -> NoReturn:
    """Fail because a function of the table does not do what the header specifies."""
    fail(
        Code.TABLE_FUNCTION_FAILED, cited, role=Role.PRODUCER, reason=reason, expected=expected, seen=seen,
        given=function,
    )  # fmt: skip


def _exported(exchange: Exchange, table: ExchangeAPI, thing: Any) -> Tensor:
    """Return the struct that the table exports for an array. The caller must call its deleter."""
    out = ctypes.c_void_p()
    _call(exchange, EXPORT, exchange_api.FROM_PY(table.functions[EXPORT]), thing, ctypes.byref(out))
    if not out.value:
        _failed(EXPORT, f"{EXPORT} reports success and returns no struct", "a struct", "NULL")
    return _decoded(EXPORT, out.value)


def _decoded(function: str, address: int) -> Tensor:
    """Return the content of a struct; fail if the struct is malformed."""
    try:
        return dlpack.decode(address, dlpack.VERSIONED)
    except dlpack.Malformed as error:
        _failed(function, f"{function} returns a malformed struct", "a struct", str(error))


def _release(tensor: Tensor) -> None:
    if tensor.deleter:
        DELETER(tensor.deleter)(tensor.address)


def _expect_tensor(source: Source, seen: Tensor, exchange: Exchange, function: str) -> None:
    """Fail unless the struct describes the array. The codes are those for the same mistakes in a capsule."""
    width = (seen.bits * seen.lanes + 7) // 8
    strides = tuple(stride * width for stride in seen.strides_or_packed)
    handed = Handed(seen.element0, seen.shape, strides, (seen.code, seen.bits, seen.lanes), None)
    wrong = mismatch(handed, source.dtype, source.view, source.address)
    if wrong is not None:
        fail(
            wrong.code, wrong.clause, role=Role.PRODUCER, reason=f"{wrong.reason}, by {function}",
            expected=wrong.expected, seen=wrong.seen,
        )  # fmt: skip
    device = (exchange.device.dlpack_type, 0)
    if seen.device != device:
        fail(
            Code.WRONG_DEVICE, "DLP-59", role=Role.PRODUCER, reason=f"{function} names a different device than the array's",
            expected=str(device), seen=str(seen.device),
        )  # fmt: skip


# -- the table


@invariant(
    "exchange-api.table",
    producer="DLX-01 DLX-02 DLX-03",
    level=Level.MUST,
    cases=lambda env: every(_offering(env)),
)
def test_table(exchange: Exchange) -> None:
    """A type and its subclasses must offer the same table, with every mandatory function and a chain of ever older tables."""
    thing = exchange.producer.tabled(exchange.source().array)
    table = _table(exchange, thing)
    again = {exchange_api.table(kind).address for kind in (type(thing), *_subclass(type(thing)))}  # type: ignore[union-attr]
    if again != {table.address} or capsule.pointer(getattr(thing, exchange_api.ATTRIBUTE)) != table.address:
        fail(
            Code.TABLE_MALFORMED, "DLX-01", role=Role.PRODUCER, reason="the type offers more than one table",
            expected=f"{table.address:#x} always", seen=", ".join(hex(address) for address in sorted(again)),
        )  # fmt: skip
    missing = [n for n in exchange_api.FUNCTIONS if not table.functions[n] and n not in exchange_api.OPTIONAL]
    if missing:
        fail(
            Code.TABLE_MALFORMED, "DLX-03", role=Role.PRODUCER, reason="functions are missing from the table",
            expected="no NULL but for dltensor_from_py_object_no_sync", seen=f"NULL for {', '.join(missing)}",
        )  # fmt: skip
    older = list(exchange_api.chain(table))
    versions = [each.version for each in (table, *older)]
    if len(older) == exchange_api.MAX_TABLES or versions != sorted(set(versions), reverse=True):
        fail(
            Code.TABLE_MALFORMED, "DLX-02", role=Role.PRODUCER, reason="the versions in the chain of older tables do not decrease, or the chain has no end",
            expected="decreasing versions up to a NULL", seen=str(versions),
        )  # fmt: skip


def _subclass(kind: type[Any]) -> tuple[type[Any], ...]:
    """Return a subclass of the type, or nothing if the type cannot be subclassed."""
    try:
        return (type("Derived", (kind,), {}),)
    except TypeError:
        return ()


# -- its functions


@invariant(
    "exchange-api.export",
    producer="DLX-06 DLP-28 DLP-59 DLP-13 DLP-20",
    level=Level.MUST,
    cases=lambda env: every(_offering(env), layout=LAYOUTS, dtype=dtypes("float32", "bool")),
)
def test_export(exchange: Exchange) -> None:
    """The export function must return a struct that describes the array and keeps its memory until the deleter is called."""
    source = exchange.source()
    thing = exchange.producer.tabled(source.array)
    tensor = _exported(exchange, _table(exchange, thing), thing)
    _expect_tensor(source, tensor, exchange, EXPORT)
    del thing
    source.array = None
    seen = _elements(exchange, tensor)
    if seen != source.values:
        fail(
            Code.RELEASED_EARLY, "DLP-28", role=Role.PRODUCER,
            reason=f"the memory is released with the array, although the struct of {EXPORT} still needs it",
            expected=show(source.values, source.dtype), seen=show(seen, source.dtype),
        )  # fmt: skip
    _release(tensor)


def _elements(exchange: Exchange, tensor: Tensor) -> bytes:
    memory = CudaMemory() if exchange.device is Device.CUDA else HostMemory()
    return gather(memory, tensor.element0, Strided(tensor.shape, tensor.strides_or_packed), (tensor.bits + 7) // 8)


@invariant(
    "exchange-api.holds-nothing",
    producer="DLP-27 DLX-06",
    bugs="I21",
    level=Level.MUST,
    cases=lambda env: every(_offering(env), function=("export", "borrow")),
)
def test_holds_nothing(exchange: Exchange) -> None:
    """An export that is released, or a borrowed description, must not leave a reference to the array behind."""
    thing = exchange.producer.tabled(exchange.source().array)
    table = _table(exchange, thing)
    before = sys.getrefcount(thing)
    for _ in range(20):
        if exchange.option("function") == "borrow":
            _borrowed(exchange, table, thing)
        else:
            _release(_exported(exchange, table, thing))
    if not happens(lambda: sys.getrefcount(thing) <= before):
        borrows = exchange.option("function") == "borrow"
        fail(
            Code.MEMORY_LEAKED, "DLX-06" if borrows else "DLP-27", role=Role.PRODUCER,
            reason=f"{BORROW if borrows else EXPORT} leaves references to the array behind",
            expected=f"{before} references", seen=f"{sys.getrefcount(thing)} after twenty calls",
        )  # fmt: skip


@invariant(
    "exchange-api.borrow",
    producer="DLX-06 DLP-59 DLP-13 DLP-20",
    level=Level.MUST,
    cases=lambda env: every(_offering(env), layout=LAYOUTS, dtype=dtypes("float32", "bool")),
)
def test_borrow(exchange: Exchange) -> None:
    """The borrow function must fill in the caller's struct with the description of the array. A library may omit this function."""
    source = exchange.source()
    thing = exchange.producer.tabled(source.array)
    _expect_tensor(source, _borrowed(exchange, _table(exchange, thing), thing), exchange, BORROW)


def _borrowed(exchange: Exchange, table: ExchangeAPI, thing: Any) -> Tensor:
    """Return the content that the borrow function writes to a struct filled with garbage, copied at once."""
    if not table.functions[BORROW]:
        raise Refused(f"{exchange.producer.name} does not offer {BORROW}: it is NULL")
    managed = DLManagedTensorVersioned()
    managed.version.major = 1
    ctypes.memset(ctypes.addressof(managed.dl_tensor), 0xDD, ctypes.sizeof(DLTensor))
    call = exchange_api.BORROW(table.functions[BORROW])
    _call(exchange, BORROW, call, thing, ctypes.addressof(managed.dl_tensor))
    return _decoded(BORROW, ctypes.addressof(managed))


@invariant(
    "exchange-api.import",
    producer="DLX-06",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(_offering(env), layout=layouts("c-order", "fortran", "columns"), dtype=dtypes("float32")),
)
def test_import(exchange: Exchange) -> None:
    """The import function must return an array of the type on the struct's memory. The array must release the struct once, when it dies."""
    source = exchange.make(exchange.library(REFERENCE))
    kind = type(exchange.producer.tabled(exchange.source().array))
    managed = Managed(source.array.table_fields(), source.array)
    table = _table(exchange, exchange.producer.tabled(exchange.source().array))
    out = ctypes.py_object()
    _call(exchange, IMPORT, exchange_api.TO_PY(table.functions[IMPORT]), managed.address, ctypes.byref(out))
    taken = out.value
    # The function returns a new reference in ``out``, and reading ``out.value`` adds another one.
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(taken))
    out.value = None
    view = _using(exchange, partial(exchange.producer.describe, taken), "describing")
    if not isinstance(taken, kind) or view.address != source.address:
        _failed(
            IMPORT, f"{IMPORT} returns a different array than the struct describes",
            f"a {kind.__name__} with element 0 at {source.address:#x}",
            f"a {type(taken).__name__} with element 0 at {view.address:#x}",
        )  # fmt: skip
    seen = _using(exchange, partial(exchange.producer.read, taken), "reading")
    if seen != source.values:
        _failed(
            IMPORT, f"an array from {IMPORT} reads other elements than the struct describes",
            show(source.values, source.dtype), show(seen, source.dtype),
        )  # fmt: skip
    early = managed.deleter_calls
    del taken
    happens(lambda: managed.deleter_calls >= 1)
    _expect_released_once(early, managed.deleter_calls)


def _using(exchange: Exchange, action: Callable[[], Any], what: str) -> Any:
    """Return the result of ``action`` on an array that the table has made; fail if it raises."""
    try:
        with exchange.step(Doing.USE, Role.PRODUCER):
            return action()
    except Exception as error:
        exchange.check_context(error)
        _failed(IMPORT, f"{what} an array from {IMPORT} raises an exception", "a usable array", brief(error))


def _expect_released_once(early: int, calls: int) -> None:
    """Fail unless the array releases the struct once, at its own end."""
    if not early and calls == 1:
        return
    code = Code.RELEASED_EARLY if early else Code.RELEASED_TWICE if calls else Code.NOT_RELEASED
    fail(
        code, "DLX-06", role=Role.PRODUCER,
        reason=f"an array from {IMPORT} does not release its struct exactly once, when it dies",
        expected="no call of the deleter while the array lives, then one", seen=f"{early} calls while it lives, {calls} in total",
        given=f"the struct that {IMPORT} takes over",
    )  # fmt: skip


@invariant(
    "exchange-api.current-stream",
    producer="DLX-04 DLX-06",
    level=Level.MUST,
    cases=lambda env: every(_offering(env)),
)
def test_current_stream(exchange: Exchange) -> None:
    """The current-stream function must return the stream that the library works on. For host memory any answer is valid."""
    thing = exchange.producer.tabled(exchange.source().array)
    out = ctypes.c_void_p(0xDEAD)  # a value that no stream has, to see whether the function writes its answer
    call = exchange_api.CURRENT_STREAM(_table(exchange, thing).functions[STREAM])
    _call(exchange, STREAM, call, exchange.device.dlpack_type, 0, ctypes.byref(out))
    if out.value == 0xDEAD:
        reason = f"{STREAM} reports success and does not write a stream"
        _failed(STREAM, reason, "a handle or NULL", "an untouched argument", "DLX-04")


@invariant(
    "exchange-api.allocate",
    producer="DLX-06",
    level=Level.MUST,
    cases=lambda env: every(_offering(env), wanted=("possible", "impossible")),
)
def test_allocate(exchange: Exchange) -> None:
    """The allocator must return an array like the prototype, or report its error once through the callback."""
    possible = exchange.option("wanted") == "possible"
    table = _table(exchange, exchange.producer.tabled(exchange.source().array))
    shape = (ctypes.c_int64 * 2)(3, 4)
    prototype = DLTensor()
    prototype.device.device_type = exchange.device.dlpack_type
    prototype.ndim, prototype.shape = 2, ctypes.addressof(shape)
    prototype.dtype.code, prototype.dtype.bits, prototype.dtype.lanes = (2 if possible else 200), 32, 1
    reported: list[str] = []
    callback = exchange_api.SET_ERROR(lambda context, kind, message: reported.append(f"{kind!r}: {message!r}"))
    out = ctypes.c_void_p()
    allocate, raised = exchange_api.ALLOCATE(table.functions[ALLOCATE]), ""
    if not possible:
        exchange.special(_IMPOSSIBLE)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            code = allocate(ctypes.addressof(prototype), ctypes.byref(out), None, callback)
    except Exception as error:
        code, raised = -1, brief(error)
    if code:
        _judge_allocation_error(reported, raised)
        if possible:
            raise Refused(f"{exchange.producer.name} does not allocate: {reported[0]}")
        return
    address = out.value or 0
    if not possible:
        fail(
            Code.NOT_REFUSED, "DLX-06", role=Role.PRODUCER, reason=f"{ALLOCATE} reports success for {_IMPOSSIBLE}",
            expected="-1, and one call of the error callback", seen=f"0, and a struct at {address:#x}",
        )  # fmt: skip
    if reported or not address:
        _failed(
            ALLOCATE, f"{ALLOCATE} reports success without an array, or together with an error",
            "a struct, and no call of the error callback",
            f"a struct at {address:#x}, and {len(reported)} calls of the error callback",
        )  # fmt: skip
    _judge_allocated(exchange, _decoded(ALLOCATE, address))


_IMPOSSIBLE = "a prototype of an unknown element type"


def _judge_allocation_error(reported: list[str], raised: str) -> None:
    """Fail unless the allocator reported its error once, through the callback: its callers may not use Python.

    The header also describes a returned NULL (X9), so this failure is only a deviation.
    """
    if raised or len(reported) != 1:
        fail(
            Code.CALLBACK_NOT_CALLED, "DLX-06", role=Role.PRODUCER, level=Level.SHOULD,
            reason=f"{ALLOCATE} does not report its error exactly once through the callback",
            expected="one call of the error callback, and no Python exception",
            seen=f"{len(reported)} calls" + (f", {raised}" if raised else ""),
        )  # fmt: skip


def _judge_allocated(exchange: Exchange, tensor: Tensor) -> None:
    right = (
        (tensor.code, tensor.bits, tensor.lanes, tensor.shape) == (2, 32, 1, (3, 4))
        and tensor.device == (exchange.device.dlpack_type, 0)
        and tensor.element0
    )
    if not right:
        fail(
            Code.ALLOCATION_WRONG, "DLX-06", role=Role.PRODUCER, reason=f"{ALLOCATE} returns an array unlike the prototype",
            expected="float32, shape (3, 4), on the prototype's device", seen=str(tensor),
        )  # fmt: skip
    data = bytes(range(48))
    exchange.poke(tensor.element0, data)
    seen = exchange.peek(tensor.element0, 48)
    if seen != data:
        fail(
            Code.ALLOCATION_WRONG, "DLX-06", role=Role.PRODUCER,
            reason=f"the memory from {ALLOCATE} does not keep the bytes that are written to it",
            expected=data.hex(" "), seen=seen.hex(" "),
        )  # fmt: skip
    _release(tensor)


@invariant(
    "exchange-api.inexpressible",
    producer="DLX-09 DLX-06",
    bugs="I12",
    level=Level.MUST,
    cases=lambda env: every(
        _offering(env),
        state=lambda pair: pair.source.states,
        function=("export", "borrow"),
    ),
)
def test_inexpressible(exchange: Exchange) -> None:
    """The table functions must refuse an array that DLPack cannot express, with -1 and a Python exception.

    If they describe it instead, its memory must hold the elements of the array. The suite only records failures of arrays that need a
    private constructor of the library.
    """
    exchange.with_state(lambda array, elements: _judge_state(exchange, array, elements))


def _judge_state(exchange: Exchange, array: Any, elements: bytes | None) -> None:
    thing = exchange.producer.tabled(array)
    table = _table(exchange, thing)
    borrow = exchange.option("function") == "borrow"
    if borrow and not table.functions[BORROW]:
        raise Refused(f"{exchange.producer.name} does not offer {BORROW}: it is NULL")
    out, managed = ctypes.c_void_p(), DLManagedTensorVersioned()
    managed.version.major = 1
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            if borrow:
                code = exchange_api.BORROW(table.functions[BORROW])(thing, ctypes.addressof(managed.dl_tensor))
            else:
                code = exchange_api.FROM_PY(table.functions[EXPORT])(thing, ctypes.byref(out))
    except Exception as error:
        judge(exchange, Answer(error), elements, "DLX-09")
        return
    if code:
        _judge_silence(exchange, code)
        return
    tensor = _decoded(BORROW if borrow else EXPORT, ctypes.addressof(managed) if borrow else out.value or 0)
    data = _elements(exchange, tensor) if tensor.element0 else b""
    size = Strided(tensor.shape, tensor.strides_or_packed).size
    judge(exchange, Answer(None, tensor.element0, size, data), elements, "DLX-09")


def _judge_silence(exchange: Exchange, code: int) -> None:
    """Fail because a function failed without an exception. Exempt states of the reference, whose functions are Python and cannot set one."""
    if state_of(exchange) not in ReferenceAdapter.states:
        fail(
            Code.TABLE_SILENT_FAILURE, "DLX-06", role=Role.PRODUCER, level=at_most(state_of(exchange)),
            reason="a function of the table fails without a Python exception",
            expected="an exception", seen=f"{code} and nothing else",
        )  # fmt: skip
