"""Codes of failures: a stable name for each way in which a check fails.

Waivers, findings and JUnit reports match codes. A change of the sentences here does not affect them.
"""

from __future__ import annotations

from enum import Enum

from conformance.protocols.clauses import Role


class Facet(str, Enum):
    """Properties of a failure that, besides its library and code, distinguish one cause from another."""

    SIDE = "side"
    """The side of the library: producer or consumer."""
    PROTOCOL = "protocol"
    """The protocol. Libraries implement DLPack and the CUDA Array Interface in different code."""
    STEP = "step"
    """The step that the process was in when it crashed."""
    GIVEN = "given"
    """The special property of the input (:attr:`~conformance.checks.outcomes.Failure.given`)."""


_SIDE = (Facet.SIDE,)
_PROTOCOL = (Facet.SIDE, Facet.PROTOCOL)
_GIVEN = (Facet.SIDE, Facet.GIVEN)
_BOTH = (Facet.SIDE, Facet.PROTOCOL, Facet.GIVEN)
_STEP = (Facet.SIDE, Facet.STEP, Facet.GIVEN)


class Code(str, Enum):
    """A way to fail. The value is the slug in results, findings, waivers and JUnit reports.

    ``cause`` is the slug in the id of a finding. Codes that show the same mistake in different ways share a cause. ``facets`` are the further
    properties that distinguish causes. ``producer`` and ``consumer`` are predicates that follow the name of the accused library.
    """

    cause: str
    facets: tuple[Facet, ...]
    producer: str
    consumer: str

    def __new__(cls, slug: str, facets: tuple[Facet, ...], producer: str, consumer: str = "", cause: str = "") -> Code:
        """Create a member. If one side has no predicate, it uses the other side's."""
        member = str.__new__(cls, slug)
        member._value_ = slug
        member.cause, member.facets = cause or slug, facets
        member.producer, member.consumer = producer or consumer, consumer or producer
        return member

    def says(self, role: Role) -> str:
        """Return the predicate for a library in this role."""
        return self.producer if role is Role.PRODUCER else self.consumer

    # -- the process

    CRASH = ("crash", _STEP, "crashes while it exports {given}", "crashes while it imports {given}")
    HANG = ("hang", _STEP, "hangs while it exports {given}", "hangs while it imports {given}")
    CONTEXT_CORRUPTED = (
        "context-corrupted",
        _STEP,
        "corrupts the CUDA context when it exports {given}",
        "corrupts the CUDA context when it imports {given}",
    )
    PROGRAM_CRASH = ("program-crash", (Facet.GIVEN,), "crashes a new interpreter during {given}")
    PROGRAM_HANG = ("program-hang", (Facet.GIVEN,), "hangs a new interpreter during {given}")

    # -- order of streams

    STALE_READ = (
        "stale-read",
        _PROTOCOL,
        "",
        "reads an imported array before the producer's pending work is done",
        "not-ordered",
    )
    EARLY_WRITE = (
        "early-write",
        _PROTOCOL,
        "",
        "writes an imported array before the producer's pending work is done",
        "not-ordered",
    )
    STREAM_NOT_COVERING = (
        "stream-not-covering",
        _PROTOCOL,
        "publishes a stream that is not ordered after the pending work on the array",
    )
    PENDING_WITHOUT_STREAM = (
        "pending-without-stream",
        _PROTOCOL,
        "publishes no stream while work on the array is pending",
    )
    STREAM_DESTROYED = ("stream-destroyed", _PROTOCOL, "destroys the published stream while the array lives")
    INVALID_STREAM = (
        "invalid-stream",
        _PROTOCOL,
        "publishes a value that is not a valid stream",
        "passes a stream that the protocol does not allow",
    )
    NAMED_STREAM_NOT_ORDERED = (
        "named-stream-not-ordered",
        _PROTOCOL,
        "does not make the consumer's stream wait for the pending work on the array",
    )
    WRONG_STREAM_NAMED = (
        "wrong-stream-named",
        _PROTOCOL,
        "",
        "passes another stream to `__dlpack__` than the one it works on",
        "not-ordered",
    )
    NO_STREAM_NAMED = (
        "no-stream-named",
        _PROTOCOL,
        "",
        "does not pass its stream to `__dlpack__`",
        "not-ordered",
    )
    OVERTAKEN_READ = (
        "overtaken-read",
        _PROTOCOL,
        "",
        "does not order the producer's next write after its own pending read",
    )
    UNINVITED_WAIT = ("uninvited-wait", _PROTOCOL, "makes a stream wait although `stream=-1` requests no wait")
    STREAM_NOT_LEFT = ("stream-not-left", _PROTOCOL, "still depends on the consumer's stream after the export")
    HANDOVER_COST = ("handover-cost", _PROTOCOL, "", "synchronizes in a certain way at the hand-over")
    WRONG_CURRENT_STREAM = ("wrong-current-stream", _SIDE, "reports a stream that is not its current stream")
    COPY_NOT_DONE = ("copy-not-done", _SIDE, "returns a host copy before the copy is done")
    COPY_ON_WRONG_STREAM = (
        "copy-on-wrong-stream",
        _SIDE,
        "makes a requested copy on its own stream, not on the consumer's",
    )
    FREED_IN_FLIGHT = ("freed-in-flight", _PROTOCOL, "reuses memory while work on it is pending")
    OPT_OUT_BY_DEFAULT = ("opt-out-by-default", _SIDE, "does not synchronize by default")
    SWITCH_WITHOUT_EFFECT = ("switch-without-effect", _GIVEN, "ignores its documented switch {given}")
    OTHER_STREAM_CURRENT = ("other-stream-current", _SIDE, "changes the current stream during an exchange")

    # -- capture

    CAPTURE_BROKEN = (
        "capture-broken",
        _PROTOCOL,
        "invalidates a stream capture during an export",
        "invalidates a stream capture during an import",
    )
    CAPTURE_BROKEN_BY_DROP = (
        "capture-broken-by-drop",
        _PROTOCOL,
        "invalidates a stream capture when an import is dropped",
    )
    REPLAY_WRONG = ("replay-wrong", _PROTOCOL, "captures a graph that replays with wrong data")
    READ_NOT_CAPTURED = ("read-not-captured", _PROTOCOL, "", "reads outside of the capture that the write is in")
    UNUSABLE_AFTER_CAPTURE = (
        "unusable-after-capture",
        _PROTOCOL,
        "cannot exchange on a stream after its capture ended",
    )

    # -- memory and layout

    NOT_SHARED = (
        "not-shared",
        _BOTH,
        "exports memory that is not the array's",
        "copies an array that it can share: {given}",
    )
    WRONG_ADDRESS = ("wrong-address", _BOTH, "exports a wrong address for {given}", "reads {given} at a wrong address")
    NULL_ADDRESS = (
        "null-address",
        _SIDE,
        "exports a tensor without memory as elements at address 0",
        "reads a tensor without memory as elements at address 0",
    )
    ADDRESS_FOR_EMPTY = (
        "address-for-empty",
        _PROTOCOL,
        "publishes an address other than 0 for an array without elements",
    )
    UNKNOWN_ADDRESS = (
        "unknown-address",
        _PROTOCOL,
        "publishes an address that is no device memory",
        "accepts an address that is no device memory",
    )
    HOST_ADDRESS = ("host-address", _SIDE, "publishes an array in host memory as device memory")
    VALUES_CHANGED = (
        "values-changed",
        _BOTH,
        "exports wrong elements for {given}",
        "reads wrong elements from {given}",
    )
    SOURCE_CHANGED = (
        "source-changed",
        _BOTH,
        "changes the elements of {given} while it exports it",
        "changes the elements of {given} while it imports it",
    )
    UNRESOLVED_ELEMENTS = (
        "unresolved-elements",
        _SIDE,
        "exports the memory of a lazy conjugate or negative view as if it were resolved",
        "reads the memory of a lazy conjugate or negative view as if it were resolved",
    )
    SHAPE_CHANGED = ("shape-changed", _BOTH, "exports a wrong shape for {given}", "reads a wrong shape from {given}")
    STRIDES_CHANGED = (
        "strides-changed",
        _BOTH,
        "exports wrong strides for {given}",
        "reads wrong strides from {given}",
    )
    STRIDES_MISSING = ("strides-missing", _BOTH, "exports no strides for {given}")
    WRITE_OUTSIDE = ("write-outside", _BOTH, "", "changes memory outside of {given}")
    WRONG_EXTENT = ("wrong-extent", _SIDE, "", "reports a wrong memory range for an import")
    IMPORT_UNUSABLE = ("import-unusable", _BOTH, "", "accepts {given}, but raises when the import is used")
    CONTIGUITY_WRONG = ("contiguity-wrong", _BOTH, "", "is wrong about whether {given} is C-contiguous")

    # -- element types

    DTYPE_CHANGED = (
        "dtype-changed",
        _BOTH,
        "exports {given} as another element type",
        "imports {given} as another element type",
    )
    FIELDS_LOST = ("fields-lost", _SIDE, "", "drops the fields of a structured element type")
    MASK_DROPPED = ("mask-dropped", _SIDE, "", "drops the mask of an array")

    # -- form

    CAPSULE_MALFORMED = ("capsule-malformed", _SIDE, "returns no readable capsule")
    DICTIONARY_MALFORMED = ("dictionary-malformed", _GIVEN, "publishes a malformed `{given}`")
    DEVICE_MALFORMED = ("device-malformed", _SIDE, "returns no pair of integers from `__dlpack_device__`")
    TABLE_MALFORMED = ("table-malformed", _SIDE, "offers a malformed C exchange table")
    TABLE_FUNCTION_FAILED = ("table-function-failed", _GIVEN, "fails in the table function {given}")
    TABLE_SILENT_FAILURE = ("table-silent-failure", _SIDE, "fails in a table function without a Python exception")
    CALLBACK_NOT_CALLED = ("callback-not-called", _SIDE, "does not report an allocation error through the callback")
    ALLOCATION_WRONG = ("allocation-wrong", _SIDE, "allocates another array than the prototype describes")

    # -- accepting and refusing

    NOT_REFUSED = ("not-refused", _GIVEN, "accepts {given}, which it must refuse")
    ILLEGAL_ACCEPTED = ("illegal-accepted", _GIVEN, "accepts {given}, which the protocol forbids")
    REFUSED = ("refused", _GIVEN, "refuses to export {given}", "refuses to import {given}")
    WRONG_EXCEPTION = ("wrong-exception", _GIVEN, "refuses {given} with the wrong kind of exception")
    DEFECT_EXCEPTION = ("defect-exception", _GIVEN, "raises {given} instead of a clean refusal")
    EXCEPTION_REPLACED = ("exception-replaced", _SIDE, "", "replaces the producer's exception")
    EXCEPTION_SWALLOWED = ("exception-swallowed", _SIDE, "", "swallows the producer's exception")
    EXCEPTION_LOST = ("exception-lost", _SIDE, "loses an exception that is in flight when a capsule is destroyed")
    REFUSAL_WITHOUT_REASON = ("refusal-without-reason", _SIDE, "refuses without a message")
    INEXPRESSIBLE_EXPORTED = (
        "inexpressible-exported",
        _GIVEN,
        "exports {given}, which the protocol cannot express",
        "accepts {given}, which the protocol cannot express",
    )
    NATIVE_REFUSED = ("native-refused", _GIVEN, "", "refuses {given}, but accepts it through a protocol")
    CALLS_DISAGREE = ("calls-disagree", _GIVEN, "", "accepts {given} in one call and refuses it in another")
    SUBCLASS_BYPASSED = (
        "subclass-bypassed",
        _SIDE,
        "",
        "does not call the `__dlpack__` that an object's class defines",
    )
    LOOKUP_RAISES = ("lookup-raises", _GIVEN, "raises another exception than AttributeError for {given}")
    STYLE_REFUSED = ("style-refused", _GIVEN, "has no call of the style {given}", "refuses a call of the style {given}")
    STYLE_DIFFERS = ("style-differs", _GIVEN, "", "behaves differently in a call of the style {given}")
    REFUSED_BESIDE_THREADS = (
        "refused-beside-threads",
        _SIDE,
        "refuses an exchange while other threads run, but accepts it in a single thread",
    )

    # -- keywords and versions

    KEYWORD_REFUSED = ("keyword-refused", _GIVEN, "refuses {given}, which the protocol allows")
    OLDER_SIGNATURE = ("older-signature", _SIDE, "has a `__dlpack__` without the keywords of the 2023.12 standard")
    POSITIONAL_CALL = ("positional-call", _SIDE, "", "passes positional arguments to `__dlpack__`")
    OLDER_PRODUCER_REFUSED = (
        "older-producer-refused",
        _GIVEN,
        "",
        "refuses a producer of an earlier standard: {given}",
    )
    VERSION_TOO_NEW = ("version-too-new", _SIDE, "exports a newer struct than the consumer requested")
    VERSION_TOO_OLD = ("version-too-old", _SIDE, "exports an older struct than the consumer can accept")
    LEGACY_REQUESTED = ("legacy-requested", _SIDE, "", "requests legacy capsules only")
    NEWER_MINOR_REFUSED = ("newer-minor-refused", _SIDE, "", "refuses a newer minor version that it can read")
    FLAG_UNDEFINED = ("flag-undefined", _SIDE, "sets an undefined flag")
    PROTOCOL_CHANGES = ("protocol-changes", _SIDE, "", "uses different protocols in repeated calls")

    # -- copies

    COPIED_FLAG_MISSING = ("copied-flag-missing", _GIVEN, "exports a copy without the IS_COPIED flag: {given}")
    COPIED_FLAG_INVENTED = ("copied-flag-invented", _GIVEN, "sets the IS_COPIED flag on shared memory: {given}")
    COPY_SHARED = ("copy-shared", _BOTH, "shares memory although `copy=True` requests a copy: {given}")
    COPY_REFUSED = ("copy-refused", _SIDE, "refuses `copy=True` for a plain array")
    COPY_MADE = ("copy-made", _GIVEN, "copies although `copy=False` forbids it: {given}")
    SHARING_REFUSED = ("sharing-refused", _SIDE, "refuses `copy=False` for an array that it can share")

    # -- devices and contexts

    WRONG_DEVICE = ("wrong-device", _BOTH, "reports a wrong device for {given}")
    DEVICES_DISAGREE = (
        "devices-disagree",
        _GIVEN,
        "reports one device by `__dlpack_device__` and another in the capsule for {given}",
    )
    DEVICE_IGNORED = ("device-ignored", _SIDE, "exports to another device than `dl_device` requests")
    OWN_DEVICE_REFUSED = ("own-device-refused", _SIDE, "refuses the array's own device as `dl_device`")
    WRONG_GPU = ("wrong-gpu", _PROTOCOL, "makes an array on another GPU than requested")
    CONTEXT_CHANGED = ("context-changed", _SIDE, "changes the current CUDA context or GPU in a conversion")
    CONTEXT_CREATED = ("context-created", _SIDE, "creates a CUDA context when it must not")
    WRONG_ACROSS_CONTEXTS = (
        "wrong-across-contexts",
        _PROTOCOL,
        "",
        "cannot read an array of another CUDA context that it accepted",
    )
    WRONG_AFTER_FORK = ("wrong-after-fork", _PROTOCOL, "exchanges wrong data in a forked process")

    # -- read-only

    READONLY_LOST = (
        "readonly-lost",
        _BOTH,
        "exports a read-only array as writable: {given}",
        "imports a read-only array as writable: {given}",
    )
    READONLY_PASSED_ON = ("readonly-passed-on", _SIDE, "exports a read-only import as writable")
    READONLY_INVENTED = (
        "readonly-invented",
        _PROTOCOL,
        "exports a writable array as read-only",
        "imports a writable array as read-only",
    )
    READONLY_WRITTEN = ("readonly-written", _PROTOCOL, "", "writes an array that was handed over as read-only")
    READONLY_REFUSED = ("readonly-refused", _PROTOCOL, "", "refuses a read-only array")

    # -- lifetime

    RELEASED_LATE = ("released-late", (), "keeps memory until {given} is called")
    RELEASED_AFTER_A_WHILE = ("released-after-a-while", _SIDE, "releases memory only a while after its last use")
    NOT_RELEASED = ("not-released", _BOTH, "does not release {given}")
    RELEASED_TWICE = ("released-twice", _BOTH, "releases {given} more than once")
    RELEASED_EARLY = (
        "released-early",
        _PROTOCOL,
        "releases memory while an export still uses it",
        "releases memory while an import still uses it",
    )
    MEMORY_TAKEN_AWAY = ("memory-taken-away", _GIVEN, "frees exported memory on {given}")
    PRODUCER_OVERWRITTEN = (
        "producer-overwritten",
        _GIVEN,
        "",
        "overwrites the producer's memory by {given}",
    )
    DELETER_ARGUMENT_WRONG = (
        "deleter-argument-wrong",
        _SIDE,
        "",
        "calls the deleter with a wrong pointer",
    )
    FREED_WITHOUT_DELETER = ("freed-without-deleter", _SIDE, "", "frees memory that came without a deleter")
    OWNER_NOT_HELD = ("owner-not-held", _PROTOCOL, "", "does not keep the exporting object alive")
    MEMORY_LEAKED = (
        "memory-leaked",
        _BOTH,
        "leaks memory or references at each export",
        "leaks memory or references at each import",
    )
    CAPSULE_NOT_RENAMED = ("capsule-not-renamed", _SIDE, "", "does not rename a capsule to mark it as used")
    CAPSULE_TAKEN_TWICE = ("capsule-taken-twice", _SIDE, "", "accepts one capsule more than once")
    STRUCT_WRITTEN = ("struct-written", _SIDE, "", "writes into the producer's struct")
    EXPORTS_ENTANGLED = ("exports-entangled", _SIDE, "uses one struct for several exports of an array")

    # -- stream objects

    STREAM_PROTOCOL_MISSING = ("stream-protocol-missing", _SIDE, "has streams without `__cuda_stream__`")
    STREAM_PROTOCOL_MALFORMED = (
        "stream-protocol-malformed",
        _SIDE,
        "does not return (0, handle) from `__cuda_stream__`",
    )
    STREAM_REFUSED = ("stream-refused", _GIVEN, "", "refuses a stream that follows the protocol: {given}")
    STREAM_CHANGED = ("stream-changed", _GIVEN, "", "works on another stream than {given}")
    STREAM_NOT_KEPT = ("stream-not-kept", _SIDE, "", "does not leave an imported stream to its owner")

    # -- documents and interpreters

    CLAIM_NOT_KEPT = ("claim-not-kept", _GIVEN, "does not behave as a documentation page says: {given}")
    CLAIM_RAISED = ("claim-raised", _GIVEN, "raises in a documented call: {given}")
    LOCK_ENABLED = ("lock-enabled", _SIDE, "enables the GIL in a free-threaded interpreter")
    IMPORT_ORDER = ("import-order", _GIVEN, "works only in certain import orders: {given}")


BY_SLUG = {code.value: code for code in Code}
"""All codes, keyed by slug."""
