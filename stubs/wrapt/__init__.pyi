# The part of wrapt that session_aware uses, exactly; tests/test_stubs.py keeps it true to the installed wrapt.
# wrapt's own stubs lose the arguments of what is wrapped in some checkers. The two classes share a base at run time; it
# has no public name, so stubtest would not look at what stands there.
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)

class BoundFunctionWrapper(Generic[_P, _R_co]):
    __wrapped__: Callable[_P, _R_co]
    __name__: str
    _self_wrapper: Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
    _self_instance: Any
    _self_owner: type | None
    _self_parent: FunctionWrapper[..., Any]
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...

class FunctionWrapper(Generic[_P, _R_co]):
    __bound_function_wrapper__: type[BoundFunctionWrapper[..., Any]]
    __wrapped__: Callable[_P, _R_co]
    __qualname__: str
    _self_wrapper: Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
    def __init__(
        self,
        wrapped: Callable[_P, _R_co],
        wrapper: Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any],
        enabled: bool | Callable[[], bool] | None = None,
    ) -> None: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> object: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
