"""torchvision's networks are imported without PyTorch's compiler, which still works afterwards."""

import subprocess
import sys

PROGRAM = """
import sys
import torch
from raypipe.models.backbones.from_torchvision import from_torchvision
network = from_torchvision("resnet18").build(2).eval()
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
import torchvision
roi_align = sys.modules["torchvision.ops.roi_align"]
assert roi_align.is_compile_supported("cpu") in (True, False)
assert hasattr(torch._dynamo, "optimize") and sys.modules["torch._dynamo.utils"].__file__
"""


def test_the_compiler_is_imported_at_its_first_use() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
