"""Arrays whose elements are not simply what lies in memory: lazy, symbolic, compressed, given away.

Each library's own are made here with its documented calls. A builder hands its array to ``use`` and may do so inside
whatever makes the array what it is: a transformation that is being traced, a mode, a level.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance.reference.exporter import Exporter

from .base import Device, Unsupported

Use = Callable[[Any, "bytes | None"], None]
"""Called with the array and its elements in row-major order, ``None`` if it has none that could be exported."""


@dataclass(frozen=True)
class State:
    """``inexpressible``: DLPack has no words for it, so its refusal has a class of its own (DLP-23).

    ``simple``: the array exists by itself, outside of any transformation. ``unresolved``: memory holds the elements as they are before
    a conjugation or a negation that the library has put off. ``private``: the constructor that makes it, where that is none of the
    library's documented calls; empty where users can make such an array.
    """

    library: str
    name: str
    build: Callable[[Any, str, Use], None]
    devices: tuple[Device, ...] = (Device.HOST, Device.CUDA)
    inexpressible: bool = True
    simple: bool = True
    unresolved: bool = False
    private: str = ""


STATES: dict[tuple[str, str], State] = {}


def states(library: str, device: Device, *, simple: bool = False) -> tuple[str, ...]:
    """Names of the states that this library has on this device; only the simple ones, if asked."""
    return tuple(
        s.name for s in STATES.values() if s.library == library and device in s.devices and (s.simple or not simple)
    )


def use_state(library: str, name: str, module: Any, device: str, use: Use, warned: list[str] | None = None) -> None:
    """Make the array and use it; :class:`Unsupported` where this version of the library cannot make it.

    What anybody warns of meanwhile is printed nowhere: it goes into ``warned``, each text once.
    """
    used = []

    def once(array: Any, elements: bytes | None) -> None:
        used.append(name)
        use(array, elements)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            STATES[library, name].build(module, device, once)
        except (AttributeError, NotImplementedError, ImportError, RuntimeError, TypeError) as error:
            if used:
                raise
            raise Unsupported(f"this {library} makes no such array here: {type(error).__name__}: {error}") from error
        finally:
            if warned is not None:
                warned += dict.fromkeys(" ".join(str(each.message).split()) for each in seen)


def _state(library: str, name: str, **facts: Any) -> Callable[[Callable[[Any, str, Use], None]], None]:
    def register(build: Callable[[Any, str, Use], None]) -> None:
        STATES[library, name] = State(library, name, build, **facts)

    return register


def _floats(*values: float) -> bytes:
    return struct.pack(f"={len(values)}f", *values)


# -- the reference


@_state("reference", "pending", devices=(Device.HOST, Device.CUDA, Device.SIMULATED))
def _pending(array: Exporter, device: str, use: Use) -> None:
    """Memory holds what the elements are still to be computed from."""
    array.pending = True
    use(array, None)


# -- PyTorch


@_state("torch", "requires-grad")
def _requires_grad(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([1.0, 2.0, 3.0], device=device, requires_grad=True), _floats(1, 2, 3))


@_state("torch", "graph-node")
def _graph_node(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([1.0, 2.0, 3.0], device=device, requires_grad=True) * 2, _floats(2, 4, 6))


@_state("torch", "conjugate", unresolved=True)
def _conjugate(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([1 + 2j, 3 - 4j], device=device).conj(), _floats(1, -2, 3, 4))


@_state("torch", "negative", unresolved=True, private="torch._neg_view")
def _negative(torch: Any, device: str, use: Use) -> None:
    use(torch._neg_view(torch.tensor([1.0, 2.0, 3.0], device=device)), _floats(-1, -2, -3))


@_state("torch", "conjugate-imaginary", unresolved=True)
def _conjugate_imaginary(torch: Any, device: str, use: Use) -> None:
    """The way to a view that is negated lazily by documented calls alone."""
    use(torch.tensor([1 + 2j, 3 - 4j], device=device).conj().imag, _floats(-2, 4))


@_state("torch", "zero", private="torch._efficientzerotensor")
def _zero(torch: Any, device: str, use: Use) -> None:
    use(torch._efficientzerotensor((3,), device=device), _floats(0, 0, 0))


@_state("torch", "sparse-coo")
def _sparse_coo(torch: Any, device: str, use: Use) -> None:
    use(torch.eye(2, device=device).to_sparse(), _floats(1, 0, 0, 1))


@_state("torch", "sparse-csr")
def _sparse_csr(torch: Any, device: str, use: Use) -> None:
    use(torch.eye(2, device=device).to_sparse_csr(), _floats(1, 0, 0, 1))


@_state("torch", "blocked", devices=(Device.HOST,))
def _blocked(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([[1.0, 2.0]]).to_mkldnn(), _floats(1, 2))


@_state("torch", "quantised")
def _quantised(torch: Any, device: str, use: Use) -> None:
    use(torch.quantize_per_tensor(torch.tensor([0.5, 1.0], device=device), 0.5, 0, torch.qint8), None)


@_state("torch", "nested")
def _nested(torch: Any, device: str, use: Use) -> None:
    parts = [torch.ones(2, device=device), torch.ones(3, device=device)]
    use(torch.nested.nested_tensor(parts), None)


@_state("torch", "meta", devices=(Device.HOST,))
def _meta(torch: Any, device: str, use: Use) -> None:
    use(torch.empty(3, device="meta"), None)


@_state("torch", "fake", private="torch._subclasses.FakeTensorMode")
def _fake(torch: Any, device: str, use: Use) -> None:
    """PyTorch warns of such exports once in a process: here always, so that every result can tell."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with FakeTensorMode():
            use(torch.ones(3, device=device), None)
    finally:
        torch.set_warn_always(always)


@_state("torch", "functional", private="torch._to_functional_tensor")
def _functional(torch: Any, device: str, use: Use) -> None:
    use(torch._to_functional_tensor(torch.tensor([1.0, 2.0, 3.0], device=device)), _floats(1, 2, 3))


@_state("torch", "wrapper", private="torch.Tensor._make_wrapper_subclass")
def _wrapper(torch: Any, device: str, use: Use) -> None:
    made = torch.Tensor._make_wrapper_subclass(_wrapper_class(torch), (3,), dtype=torch.float32, device=device)
    use(made, None)


def _wrapper_class(torch: Any) -> Any:
    def dispatch(cls: Any, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(f"{function} of a tensor without storage")

    return type("Wrapper", (torch.Tensor,), {"__torch_dispatch__": classmethod(dispatch)})


@_state("torch", "masked")
def _torch_masked(torch: Any, device: str, use: Use) -> None:
    data, mask = torch.tensor([1.0, 2.0, 3.0], device=device), torch.tensor([True, False, True], device=device)
    use(torch.masked.masked_tensor(data, mask), None)


@_state("torch", "storage-freed")
def _storage_freed(torch: Any, device: str, use: Use) -> None:
    made = torch.ones(3, device=device)
    made.untyped_storage().resize_(0)
    use(made, None)


@_state("torch", "inference", inexpressible=False)
def _inference(torch: Any, device: str, use: Use) -> None:
    with torch.inference_mode():
        made = torch.tensor([1.0, 2.0, 3.0], device=device)
    use(made, _floats(1, 2, 3))


@_state("torch", "batched", simple=False)
def _batched(torch: Any, device: str, use: Use) -> None:
    def body(row: Any) -> Any:
        use(row, None)
        return row

    torch.func.vmap(body)(torch.ones((2, 3), device=device))


@_state("torch", "functionalised", simple=False)
def _functionalised(torch: Any, device: str, use: Use) -> None:
    def body(x: Any) -> Any:
        use(x, _floats(1, 2, 3))
        return x

    torch.func.functionalize(body)(torch.tensor([1.0, 2.0, 3.0], device=device))


@_state("torch", "differentiated", simple=False)
def _differentiated(torch: Any, device: str, use: Use) -> None:
    def body(x: Any) -> Any:
        use(x, _floats(1, 2, 3))
        return x.sum()

    torch.func.grad(body)(torch.tensor([1.0, 2.0, 3.0], device=device))


@_state("torch", "dual", simple=False)
def _dual(torch: Any, device: str, use: Use) -> None:
    import torch.autograd.forward_ad as forward

    with forward.dual_level():
        primal = torch.tensor([1.0, 2.0, 3.0], device=device)
        use(forward.make_dual(primal, torch.ones(3, device=device)), _floats(1, 2, 3))


# -- JAX, on host memory


def _traced(transform: str) -> Callable[[Any, str, Use], None]:
    def build(jax: Any, device: str, use: Use) -> None:
        def body(x: Any) -> Any:
            use(x, None)
            return x.sum()

        getattr(jax, transform)(body)(jax.numpy.ones((2, 3), "float32"))

    return build


for _transform in ("jit", "vmap", "grad"):
    _state("jax", f"traced-by-{_transform}", devices=(Device.HOST,), inexpressible=False, simple=False)(
        _traced(_transform)
    )


@_state("jax", "deleted", devices=(Device.HOST,), inexpressible=False)
def _deleted(jax: Any, device: str, use: Use) -> None:
    made = jax.numpy.ones(3, "float32")
    made.delete()
    use(made, None)


@_state("jax", "donated", devices=(Device.HOST,), inexpressible=False)
def _donated(jax: Any, device: str, use: Use) -> None:
    made = jax.numpy.ones(3, "float32").block_until_ready()
    jax.jit(lambda x: x + 1, donate_argnums=0)(made).block_until_ready()
    use(made, None if made.is_deleted() else _floats(1, 1, 1))


# -- NumPy


@_state("numpy", "masked", devices=(Device.HOST,))
def _masked(numpy: Any, device: str, use: Use) -> None:
    use(numpy.ma.masked_array(numpy.array([1, 2, 3], "float32"), mask=[False, True, False]), None)
