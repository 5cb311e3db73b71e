"""A pretend accelerator: tensors said to be on "cuda" that lie in main memory, and torch's refusals to mix devices.

Within `pretended()` a storage is on the device if it was made or moved there. Views share it, and the result of a
function goes where its arguments are. What CUDA refuses is refused: tensors of two devices in one function, numpy
arrays of tensors on the device, generators of the other device. Only this thread sees the device.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
MAKING = {
    *(torch.arange, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones, torch.zeros, torch.from_numpy),
    *(torch.rand, torch.randint, torch.randn, torch.randperm, torch.fft.fftfreq, torch.fft.rfftfreq),
}
"""Functions whose results lie where `device` says, in main memory without it."""
CONVERTING = {torch.tensor, torch.as_tensor, torch.asarray}
"""Those whose results lie where `device` says, or where the first argument is if that is a tensor."""
MOVING = {Tensor.to, Tensor.cpu, Tensor.type_as}
CROSSING = {Tensor.copy_, Tensor.data.__set__, torch._has_compatible_shallow_copy_type}
"""Those that take tensors of both devices, and leave each where it is."""
STRICT = {torch.cat, torch.concat, torch.stack, torch.einsum, torch.matmul, Tensor.matmul, Tensor.__matmul__}
"""Those that do not even take a single number from main memory."""


class PretendGenerator(torch.Generator):
    """The CPU's, of any device."""

    place: torch.device

    def __new__(cls, device: torch.device | str = CPU) -> Self:
        made = super().__new__(cls, CPU)
        made.place = _device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.place


def _device(given: Any) -> torch.device:
    device = torch.device(given)
    return CUDA if device.type == "cuda" else device


def is_there(tensor: Tensor) -> bool:
    """Whether a tensor is on the pretend device."""
    return tensor.device.type != "meta" and hasattr(tensor.untyped_storage(), "pretend")


def _put(tensor: Tensor) -> Tensor:
    if tensor.device.type != "meta":
        tensor.untyped_storage().pretend = True
    return tensor


class _Pretence(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if is_there(tensor)]
        if func == Tensor.device.__get__:
            return CUDA if there else func(*args)
        if func == Tensor.is_cuda.__get__:
            return bool(there)
        if func in (Tensor.numpy, Tensor.__array__) and there:
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if func in MOVING:
            return _move(func, args, kwargs)
        _refuse_mixed(func, args, tensors, there)
        place = _place(func, args, kwargs, there)
        if place == CUDA and "device" in kwargs:
            kwargs["device"] = CPU
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != place.type:
            raise RuntimeError(f"Expected a '{place}' device type for generator but found '{generator.device}'")
        if func in CONVERTING and isinstance(args[0], Tensor):
            return _moved(args[0], place, func(*args, **kwargs))
        result = func(*args, **kwargs)
        in_place = func in CROSSING or func is Tensor.__setitem__
        return tree_map_only(Tensor, _put, result) if place == CUDA and not in_place else result


def _place(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], there: Sequence[Tensor]) -> torch.device:
    """Where the result of a function lies."""
    if kwargs.get("device") is not None:
        return _device(kwargs["device"])
    if func in MAKING:
        return CPU
    if func in CONVERTING:
        return CUDA if isinstance(args[0], Tensor) and there else CPU
    return CUDA if there else CPU


def _refuse_mixed(func: Any, args: Sequence[Any], tensors: Sequence[Tensor], there: Sequence[Tensor]) -> None:
    """Raise as CUDA does where tensors of both devices meet."""
    outside = [tensor for tensor in tensors if not is_there(tensor)]
    if not there or func in CROSSING:
        return
    if func in (Tensor.__getitem__, Tensor.__setitem__):
        if _is_plain(args[1]):  # a view, and what is set is copied into it
            return
        if is_there(args[0]):  # what says which may lie in main memory
            outside = [each for each in args[2:] if isinstance(each, Tensor) and not is_there(each)]
    if any(tensor.ndim > 0 for tensor in outside) or (outside and func in STRICT):
        name = getattr(func, "__name__", func)
        raise RuntimeError(f"Expected all tensors to be on the same device, found at least two, cuda:0 and cpu: {name}")


def _is_plain(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)


def _move(func: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """What `to` and its like give: the device is told by name, as a device, or by a tensor that is there."""
    place = CPU if func is Tensor.cpu else CUDA if is_there(args[0]) else CPU
    for each in (*args[1:], *kwargs.values()):
        if isinstance(each, Tensor):
            place = CUDA if is_there(each) else CPU
        elif isinstance(each, (str, torch.device)):
            place = _device(each)
    args, kwargs = tree_map_only(
        (str, torch.device), lambda each: CPU if _device(each) == CUDA else each, (args, kwargs)
    )
    return _moved(args[0], place, func(*args, **kwargs))


def _moved(before: Tensor, place: torch.device, after: Tensor) -> Tensor:
    """A tensor as it is on a place, which shares nothing with what is elsewhere."""
    if (place == CUDA) != is_there(before) and after.data_ptr() == before.data_ptr():
        after = after.clone()
    return _put(after) if place == CUDA else after


@contextmanager
def pretended() -> Iterator[None]:
    """Have a pretend device "cuda" for as long as this lasts."""
    with mock.patch.object(torch, "Generator", PretendGenerator), _Pretence():
        yield
