# The part of wrapt that session_aware uses, exactly. stubtest keeps it true to the installed wrapt.
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)

class _FunctionWrapperBase(Generic[_P, _R_co]):
    __wrapped__: Callable[_P, _R_co]
    __name__: str
    __qualname__: str
    _self_wrapper: Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
    _self_instance: Any
    _self_owner: type | None
    _self_parent: FunctionWrapper[..., Any] | None
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def __get__(self, instance: object, owner: type | None = ...) -> BoundFunctionWrapper[..., _R_co]: ...

class BoundFunctionWrapper(_FunctionWrapperBase[_P, _R_co]): ...

class FunctionWrapper(_FunctionWrapperBase[_P, _R_co]):
    __bound_function_wrapper__: type[BoundFunctionWrapper[..., Any]]
    def __init__(
        self,
        wrapped: Callable[_P, _R_co],
        wrapper: Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any],
        enabled: bool | Callable[[], bool] | None = ...,
    ) -> None: ...
