from __future__ import annotations

from mypy.build import build
from mypy.modulefinder import BuildSource
from mypy.nodes import NameExpr
from mypy.options import Options

from session_aware.mypy_plugin._tree import walk

SYNTAX = """
@decorate(a1)
class C(a2, metaclass=a3, key=a4):
    x: int = a5
    def method(self, p=a6, *, q=a7, **r):
        return a8 + (a9 if a10 else a11)
async def f():
    async with a12 as t, a13:
        yield (await a14)
    async for i in a15:
        pass
    else:
        a16
    try:
        a17
    except a18 as e:
        a19
    except (a20, a21):
        raise a22 from a23
    else:
        a24
    finally:
        a25
    while a26:
        a27
    else:
        a28
    if a29:
        a30
    elif a31:
        a32
    else:
        a33
    assert a34, a35
    del a36[a37:a38:a39]
    x = y = a40
    x += a41
    [a42 for u in a43 if a44 if a45]
    {a46: a47 for v in a48}
    {a49, *a50}
    {a51: a52, **a53}
    (a54, [a55])
    lambda z=a56: a57
    not a58
    a59.b.c(a60, *a61, k=a62, **a63)
    (w := a64)
    f"{a65} {a66!r:>{a67}}"
    a68 < a69 <= a70
    a71 and a72 or a73
    match a74:
        case C(x=1) if a75:
            a76
        case [1, 2]:
            a77
    def inner():
        yield from a78
    print(a79 for _ in a80)
    super().m(a81)
    super(a82, a83)
    global g
    a84: a85 = a86
    return
"""


def test_walk_reaches_every_name_of_every_kind_of_syntax() -> None:
    options = Options()
    options.incremental = False
    options.preserve_asts = True
    tree = build([BuildSource(None, "syntax", SYNTAX)], options).files["syntax"]
    names = {node.name for node in walk(tree) if isinstance(node, NameExpr)}
    annotation = "a85"
    assert {f"a{number}" for number in range(1, 87)} - names == {annotation}
