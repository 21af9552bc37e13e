"""PyTorch's tensors with memory that does not simply hold their elements: lazy, symbolic, compressed, traced."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import wraps
from typing import Any

from .base import Device
from .special import State, Use

STATES: list[State] = []
MODULES = ("torch._dynamo.utils", "torch._decomp.decompositions_for_jvp")
"""PyTorch imports these modules on the first use of some states, which takes seconds."""
_Build = Callable[[Any, str, Use], None]
"""Gets the module, PyTorch's name of the device, and ``use``."""


def _state(name: str, **facts: Any) -> Callable[[_Build], _Build]:
    def register(build: _Build) -> _Build:
        @wraps(build)
        def built(adapter: Any, device: Device, use: Use) -> None:
            build(adapter.module(), "cuda" if device is Device.CUDA else "cpu", use)

        STATES.append(State(name, built, **facts))
        return build

    return register


def _floats(*values: float) -> bytes:
    return struct.pack(f"={len(values)}f", *values)


@_state("requires-grad")
def _requires_grad(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([1.0, 2.0, 3.0], device=device, requires_grad=True), _floats(1, 2, 3))


@_state("graph-node")
def _graph_node(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([1.0, 2.0, 3.0], device=device, requires_grad=True) * 2, _floats(2, 4, 6))


@_state("parameter")
def _parameter(torch: Any, device: str, use: Use) -> None:
    """Build a parameter with a gradient, as all weights of a model are. It has a class of its own."""
    use(torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0], device=device)), _floats(1, 2, 3))


@_state("frozen-parameter", inexpressible=False)
def _frozen_parameter(torch: Any, device: str, use: Use) -> None:
    """Build a parameter without a gradient, so that only its class is special."""
    use(torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0], device=device), requires_grad=False), _floats(1, 2, 3))


@_state("conjugate", unresolved=True)
def _conjugate(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([1 + 2j, 3 - 4j], device=device).conj(), _floats(1, -2, 3, 4))


@_state("negative", unresolved=True, private="torch._neg_view")
def _negative(torch: Any, device: str, use: Use) -> None:
    use(torch._neg_view(torch.tensor([1.0, 2.0, 3.0], device=device)), _floats(-1, -2, -3))


@_state("conjugate-imaginary", unresolved=True)
def _conjugate_imaginary(torch: Any, device: str, use: Use) -> None:
    """Build a lazily negated view by documented calls alone."""
    use(torch.tensor([1 + 2j, 3 - 4j], device=device).conj().imag, _floats(-2, 4))


@_state("zero", private="torch._efficientzerotensor")
def _zero(torch: Any, device: str, use: Use) -> None:
    use(torch._efficientzerotensor((3,), device=device), _floats(0, 0, 0))


@_state("sparse-coo")
def _sparse_coo(torch: Any, device: str, use: Use) -> None:
    use(torch.eye(2, device=device).to_sparse(), _floats(1, 0, 0, 1))


@_state("sparse-csr")
def _sparse_csr(torch: Any, device: str, use: Use) -> None:
    use(torch.eye(2, device=device).to_sparse_csr(), _floats(1, 0, 0, 1))


@_state("blocked", devices=(Device.HOST,))
def _blocked(torch: Any, device: str, use: Use) -> None:
    use(torch.tensor([[1.0, 2.0]]).to_mkldnn(), _floats(1, 2))


@_state("quantised")
def _quantised(torch: Any, device: str, use: Use) -> None:
    use(torch.quantize_per_tensor(torch.tensor([0.5, 1.0], device=device), 0.5, 0, torch.qint8), None)


@_state("nested", slow=True)
def _nested(torch: Any, device: str, use: Use) -> None:
    parts = [torch.ones(2, device=device), torch.ones(3, device=device)]
    use(torch.nested.nested_tensor(parts), None)


@_state("meta", devices=(Device.HOST,))
def _meta(torch: Any, device: str, use: Use) -> None:
    use(torch.empty(3, device="meta"), None)


@_state("fake", slow=True, private="torch._subclasses.FakeTensorMode")
def _fake(torch: Any, device: str, use: Use) -> None:
    """Build a fake tensor.

    PyTorch warns about its export once in a process; here it warns every time, so that every result has the warning.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with FakeTensorMode():
            use(torch.ones(3, device=device), None)
    finally:
        torch.set_warn_always(always)


@_state("functional", private="torch._to_functional_tensor")
def _functional(torch: Any, device: str, use: Use) -> None:
    use(torch._to_functional_tensor(torch.tensor([1.0, 2.0, 3.0], device=device)), _floats(1, 2, 3))


@_state("wrapper", slow=True, private="torch.Tensor._make_wrapper_subclass")
def _wrapper(torch: Any, device: str, use: Use) -> None:
    made = torch.Tensor._make_wrapper_subclass(_wrapper_class(torch), (3,), dtype=torch.float32, device=device)
    use(made, None)


def _wrapper_class(torch: Any) -> Any:
    def dispatch(cls: Any, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(f"{function} of a tensor without storage")

    return type("Wrapper", (torch.Tensor,), {"__torch_dispatch__": classmethod(dispatch)})


@_state("masked", slow=True, masked=True)
def _torch_masked(torch: Any, device: str, use: Use) -> None:
    data, mask = torch.tensor([1.0, 2.0, 3.0], device=device), torch.tensor([True, False, True], device=device)
    use(torch.masked.masked_tensor(data, mask), None)


@_state("storage-freed")
def _storage_freed(torch: Any, device: str, use: Use) -> None:
    made = torch.ones(3, device=device)
    made.untyped_storage().resize_(0)
    use(made, None)


@_state("inference", inexpressible=False)
def _inference(torch: Any, device: str, use: Use) -> None:
    with torch.inference_mode():
        made = torch.tensor([1.0, 2.0, 3.0], device=device)
    use(made, _floats(1, 2, 3))


@_state("batched", simple=False)
def _batched(torch: Any, device: str, use: Use) -> None:
    def body(row: Any) -> Any:
        use(row, None)
        return row

    torch.func.vmap(body)(torch.ones((2, 3), device=device))


@_state("functionalised", simple=False)
def _functionalised(torch: Any, device: str, use: Use) -> None:
    def body(x: Any) -> Any:
        use(x, _floats(1, 2, 3))
        return x

    torch.func.functionalize(body)(torch.tensor([1.0, 2.0, 3.0], device=device))


@_state("differentiated", slow=True, simple=False)
def _differentiated(torch: Any, device: str, use: Use) -> None:
    def body(x: Any) -> Any:
        use(x, _floats(1, 2, 3))
        return x.sum()

    torch.func.grad(body)(torch.tensor([1.0, 2.0, 3.0], device=device))


@_state("dual", slow=True, simple=False)
def _dual(torch: Any, device: str, use: Use) -> None:
    import torch.autograd.forward_ad as forward

    with forward.dual_level():
        primal = torch.tensor([1.0, 2.0, 3.0], device=device)
        use(forward.make_dual(primal, torch.ones(3, device=device)), _floats(1, 2, 3))
