"""Import open_clip where torch is a CPU build and torchvision is not.

torchvision registers shape functions for its compiled operators when it is imported; a torch it
cannot load its binary into does not know those operators, and the import fails. Declaring the two
schemas first is enough: nothing here ever calls them.
"""

from types import ModuleType
from typing import Any

# Source: torchvision 0.28, torchvision/csrc/ops/{nms,quantized/cpu/qnms_kernel}.cpp.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[Any] = []  # a schema lives as long as the library object that declared it


def import_open_clip() -> ModuleType:
    """The open_clip module. Harmless to call again, and where torchvision's operators work."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:  # "operator torchvision::nms does not exist"
        _declare_schemas()
    import open_clip

    return open_clip  # type: ignore[no-any-return]


def _declare_schemas() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    _libraries.append(library)
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
