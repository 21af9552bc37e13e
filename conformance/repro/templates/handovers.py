"""Hand-overs with pending work on one side. The numbers show whether the other side waited.

A host function that only waits holds the stream, so the result does not depend on durations. The same exchange with an explicit
synchronization is the control.
"""

from __future__ import annotations

from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .common import joined
from .streams import Side, prologue, sides, together, writes_imports

JUDGED = """
told = «told»
handed_over(0)  # the first calls allocate and load, which waits for the device
control = handed_over(HOLD, synchronise=True)
if control != expected:
    print("not decided: even with a synchronisation", control, "was seen, not", expected)
    sys.exit(3)
seen = handed_over(HOLD)
print("control: ", control, "with an explicit synchronisation before")
print("expected:", expected, "which is", told)
print("seen:    ", seen)
sys.exit(0 if seen == expected else 1)
"""
_SETTING = """
OLD, NEW, LAST, HOLD = 1, 2, 3, 0.5  # three numbers to tell apart; seconds
expected = «expected»
write_on, read_on = «writer», «reader»
kept = []  # nothing is freed while a stream is held: that might wait for the device
"""


def _setting(producer: Side, consumer: Side, expected: str, *, writer: str = "", reader: str = "stream") -> str | None:
    writing, reading = writer or producer.stream(), consumer.stream(reader)
    if writing is None or reading is None:
        return None
    return fill(_SETTING, expected=expected, writer=writing.partition("  #")[0], reader=reading.partition("  #")[0])


# -- a write that is pending when the array is handed over

_FORWARD = '''
def handed_over(seconds, synchronise=False):
    """What the consumer reads of an array that its producer has still to write."""
    x = «source»
    into = «target»
    nvidia.cuCtxSynchronize()
    hold(«held», seconds)
    «write»
    if synchronise:
        «synchronise»
    «show»
    «use»
    nvidia.cuCtxSynchronize()
    kept.append((x, y, into))
    return «value»
'''


def _forward(
    case: Case, producer: Side, consumer: Side, how: str, *, show: str = "", shown: str, writer: str = "", before: str = "",
    text: str = _FORWARD, standard: tuple[str, ...] = (), new_streams: bool = False,
) -> Readable | None:  # fmt: skip
    """Return the parts of the script. ``show`` reads the dictionary, ``shown`` is the imported object; ``None`` without such a stream."""
    setting = _setting(producer, consumer, "NEW", writer=writer, reader=dict(case.parameters).get("reader", "stream"))
    if setting is None:
        return None
    code = joined(
        prologue(case, producer, consumer, standard=standard, new_streams=new_streams),
        setting,
        before,
        fill(
            text,
            source=producer.full("OLD"),
            target=consumer.full("0"),
            held=producer.handle("write_on"),
            write=producer.fill("x", "NEW", "write_on"),
            synchronise=producer.synchronise("write_on"),
            show=show,
            use=together(consumer.take(shown, "read_on"), consumer.copy("into", "y", "read_on")),
            value=consumer.value("into"),
        ),
        fill(JUDGED, told='"what the producer had queued before it handed the array over"'),
    )
    return Readable(how, code)


@template("ordering.handover")
def handover(case: Case) -> Readable | None:
    """Return the script, inside or outside the block in which the written stream is current."""
    found = sides(case)
    by_kernel = case.option("call", "import") == "kernel"
    if found is None or (by_kernel and case.consumer != KernelArguments.library):
        return None
    producer, consumer = found
    how = case.option("how") if producer.has_current else ""
    read = f"read the dictionary {how} that stream's block" if how else "publish that stream as far as it can"
    takes = "pass it to a kernel" if by_kernel else "import the array and read it"
    return _forward(
        case,
        producer,
        KernelArguments(consumer.name) if by_kernel else consumer,
        f"Has {_name(case.producer)} write on a stream that is held, {read}, and {_name(case.consumer)} {takes} on "
        "a stream of its own.",
        show=producer.show("write_on") if how == "inside" else "",
        shown="shown" if how == "inside" else producer.shows("write_on"),
        before=KernelArguments.kernel if by_kernel else "",
    )


class KernelArguments(Side):
    """Return the script for PyCUDA, which passes an object with the array interface directly to a kernel."""

    library = "pycuda"
    kernel = '''
PTX = b"""
.version 6.5
.target sm_70
.address_size 64
.visible .entry copy_words(.param .u64 target, .param .u64 source, .param .u32 count)
{
    .reg .pred %p1;
    .reg .b32 %r<6>;
    .reg .b64 %d<6>;
    ld.param.u64 %d1, [target];
    ld.param.u64 %d2, [source];
    ld.param.u32 %r1, [count];
    cvta.to.global.u64 %d1, %d1;
    cvta.to.global.u64 %d2, %d2;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r2, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r2, %r1;
    @%p1 bra DONE;
    mul.wide.u32 %d3, %r2, 4;
    add.u64 %d4, %d2, %d3;
    ld.global.u32 %r5, [%d4];
    add.u64 %d5, %d1, %d3;
    st.global.u32 [%d5], %r5;
DONE:
    ret;
}
"""
copy_words = pycuda.driver.module_from_buffer(PTX).get_function("copy_words")  # into, from, how many words
'''

    def take(self, shown: str, stream: str) -> str:
        """Return no import."""
        return f"y = {shown}"

    def copy(self, into: str, array: str, stream: str) -> str:
        """Return the kernel's argument, which is the object itself."""
        arguments = f"numpy.uint64(int({into}.ptr)), {array}, numpy.uint32(256)"
        return f"copy_words({arguments}, block=(256, 1, 1), grid=(1, 1), stream={stream})"


def _shown(producer: Side, stream: str) -> str:
    """Return the imported object: read in the stream's block, if the library has one."""
    return "shown" if producer.has_current else producer.shows(stream)


def _name(library: str) -> str:
    return "the script itself" if library == "reference" else library


_ELSEWHERE = "elsewhere = «stream»"


@template("stream.published")
def published(case: Case) -> Readable | None:
    """Return the script in which the script itself waits for the published stream."""
    found = sides(case)
    if found is None or not found[0].has_current:
        return None
    producer, consumer = found
    written = case.option("written")
    foreign = "cupy.cuda.ExternalStream(new_stream())" if (case.producer, written) == ("cupy", "foreign") else None
    writer = foreign or producer.stream(written)
    if writer is None:
        return None
    inside = case.option("read") == "inside"
    where = "that stream" if inside else "another stream"
    return _forward(
        case,
        producer,
        consumer,
        f"Has {case.producer} write on a stream that is held, read the dictionary while {where} is its current one, wait for the "
        "published stream and for nothing else, and read the array.",
        show=producer.show("write_on", current="" if inside else "elsewhere"),
        shown="shown",
        writer=writer,
        before="" if inside else fill(_ELSEWHERE, stream=producer.stream()),
        new_streams=foreign is not None,
    )


@template("crossing.per-thread-published")
def per_thread(case: Case) -> Readable | None:
    """Return the script for the per-thread default stream, number 2, in one thread."""
    if sides(case) is None or case.producer != "reference" or case.option("thread") != "same":
        return None
    producer = Side("reference")
    return _forward(
        case,
        producer,
        Side(case.consumer),
        f"Writes on the per-thread default stream, which is held, publishes it as `stream: 2`, and has {case.consumer} import the "
        "array in the same thread and read it on a stream of its own.",
        shown=producer.shows("write_on"),
        writer="2",
    )


# -- two arrays, two streams

_JOINED = '''
def handed_over(seconds, synchronise=False):
    """What the consumer reads of two arrays that were written on two streams, of which one is held."""
    arrays, taken = [«source» for _ in writers], []
    intos = [«target» for _ in writers]
    nvidia.cuCtxSynchronize()
    hold(«held», seconds)
    for x, stream in zip(arrays, writers):
        «write»
    if synchronise:
        nvidia.cuCtxSynchronize()
    for x, stream in zip(arrays, writers):
        «show»
        «take»
        taken.append(y)
    for y, into in zip(taken, intos):
        «read»
    nvidia.cuCtxSynchronize()
    kept.append((arrays, intos, taken))
    return [«value» for into in intos]
'''


@template("crossing.two-streams")
def two_streams(case: Case) -> Readable | None:
    """Return the script that holds the first or the second of the writing streams."""
    found = sides(case)
    if found is None:
        return None
    producer, consumer = found
    held = case.option("held")
    setting = _setting(producer, consumer, "[NEW, NEW]")
    if setting is None:
        return None
    code = joined(
        prologue(case, producer, consumer),
        setting,
        f"writers = [write_on, {(producer.stream() or '').partition('  #')[0]}]",
        fill(
            _JOINED,
            source=producer.full("OLD"),
            target=consumer.full("0"),
            held=producer.handle(f"writers[{('first', 'second').index(held)}]"),
            write=producer.fill("x", "NEW", "stream"),
            show=producer.show("stream") if producer.has_current else "",
            take=consumer.take(_shown(producer, "stream"), "read_on"),
            read=consumer.copy("into", "y", "read_on"),
            value=consumer.value("into"),
        ),
        fill(JUDGED, told='"what the producer had queued on either stream"'),
    )
    return Readable(
        f"Has {_name(case.producer)} write two arrays on two streams, the {held} of which is held, and {_name(case.consumer)} import both "
        "and read both on one stream of its own.",
        code,
    )


# -- two threads

_THREADS = '''
def handed_over(seconds, synchronise=False):
    """What the consumer reads in another thread of an array that its producer has still to write."""
    x = «source»
    into = «target»
    nvidia.cuCtxSynchronize()
    hold(«held», seconds)
    «write»
    if synchronise:
        «synchronise»
    «show»

    def import_and_read():
        «use»
        kept.append((x, y, into))

    other = threading.Thread(target=import_and_read)
    other.start()
    other.join()
    nvidia.cuCtxSynchronize()
    return «value»
'''


@template("crossing.threads")
def threads(case: Case) -> Readable | None:
    """Return the script that reads the dictionary in the writing thread."""
    found = sides(case)
    if found is None or case.consumer not in ("torch", "cupy", "cvcuda"):
        return None
    producer, consumer = found
    return _forward(
        case,
        producer,
        consumer,
        f"Has {_name(case.producer)} write on a stream that is held and read the dictionary there, and {_name(case.consumer)} import it "
        "and read it in another thread.",
        show=producer.show("write_on"),
        shown="shown",
        text=_THREADS,
        standard=("threading",),
    )


# -- a consumer that writes

_OVERWRITING = '''
def handed_over(seconds, synchronise=False):
    """What is found after the consumer has written into an array that its producer still «uses»."""
    x = «source»
    saved = «saved»
    nvidia.cuCtxSynchronize()
    hold(«held», seconds)
    «pending»
    if synchronise:
        «synchronise»
    «show»
    «use»
    nvidia.cuCtxSynchronize()
    kept.append((x, y, saved))
    return «value»
'''


@template("flight.consumer-writes")
def consumer_writes(case: Case) -> Readable | None:
    """Return the script. The producer's pending work is a read or a write."""
    found = sides(case)
    if found is None or not writes_imports(case.consumer):
        return None
    producer, consumer = found
    reads = case.option("pending") == "read"
    setting = _setting(producer, consumer, "OLD" if reads else "LAST")
    if setting is None:
        return None
    pending = producer.copy_own("saved", "x", "write_on") if reads else producer.fill("x", "NEW", "write_on")
    code = joined(
        prologue(case, producer, consumer),
        setting,
        fill(
            _OVERWRITING,
            uses="reads" if reads else "writes",
            source=producer.full("OLD"),
            saved=producer.full("0"),
            held=producer.handle("write_on"),
            pending=pending,
            synchronise=producer.synchronise("write_on"),
            show=producer.show("write_on") if producer.has_current else "",
            use=together(consumer.take(_shown(producer, "write_on"), "read_on"), consumer.fill("y", "LAST", "read_on")),
            value=producer.value("saved" if reads else "x"),
        ),
        fill(
            JUDGED,
            told='"what the producer\'s pending copy had to find"'
            if reads
            else '"what the consumer wrote, after the producer"',
        ),
    )
    return Readable(
        f"Has {_name(case.producer)} {'read' if reads else 'write'} an array on a stream that is held, and {_name(case.consumer)} import it "
        "and overwrite it on a stream of its own.",
        code,
    )


# -- the way back

_BACKWARD = '''
def handed_over(seconds, synchronise=False):
    """What a pending read of the consumer finds in the end, though the producer writes again meanwhile."""
    x = «source»
    into = «target»
    «write»
    «show»
    «use»
    nvidia.cuCtxSynchronize()
    hold(«held», seconds)
    «read»
    if synchronise:
        «synchronise»
    «again»
    nvidia.cuCtxSynchronize()
    kept.append((x, y, into))
    return «value»
'''


@template("ordering.way-back")
def way_back(case: Case) -> Readable | None:
    """Return the script for the producer's next write on its published stream."""
    found = sides(case)
    if found is None or not writes_imports(case.consumer):
        return None
    producer, consumer = found
    setting = _setting(producer, consumer, "NEW")
    if setting is None:
        return None
    code = joined(
        prologue(case, producer, consumer),
        setting,
        fill(
            _BACKWARD,
            source=producer.full("OLD"),
            target=consumer.full("0"),
            write=producer.fill("x", "NEW", "write_on"),
            show=producer.show("write_on") if producer.has_current else "",
            use=together(consumer.take(_shown(producer, "write_on"), "read_on"), consumer.copy("into", "y", "read_on")),
            read=consumer.copy("into", "y", "read_on"),
            held=consumer.handle("read_on"),
            synchronise=consumer.synchronise("read_on"),
            again=producer.fill("x", "LAST", "write_on"),
            value=consumer.value("into"),
        ),
        fill(JUDGED, told='"what was there before the producer wrote again"'),
    )
    return Readable(
        f"Has {_name(case.consumer)} read an import on a stream that is held, and {_name(case.producer)} write the array again on the stream "
        "that it published.",
        code,
    )
