"""Models of other programs: transformers, ONNX and RobustBench, with stand-ins where the package is not at hand."""

import enum
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raypipe.base.errors import Notice
from raypipe.execution.adapt_network import adapt_network
from raypipe.models.finished_model import open_model
from raypipe.models.foreign.black_box import find_reason
from raypipe.models.foreign.robustbench import open_robustbench

SIZE = 16


class Net(nn.Module):
    """A small convolutional network, as the zoo of another program has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).tanh().mean((2, 3)))  # type: ignore[no-any-return]


def random_images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


class Zoo:
    """RobustBench as far as raypipe uses it."""

    def __init__(self) -> None:
        data = enum.Enum("BenchmarkDataset", {"cifar_10": "cifar10"})
        threats = enum.Enum("ThreatModel", {"Linf": "Linf"})
        self.calls: list[dict[str, str]] = []
        self.zoo, self.utils = types.ModuleType("robustbench.model_zoo"), types.ModuleType("robustbench.utils")
        self.zoo.model_dicts = {data.cifar_10: {threats.Linf: {"Carmon2019": {"model": Net}}}}  # type: ignore[attr-defined]
        self.utils.load_model = self.load  # type: ignore[attr-defined]

    def load(self, **asked: str) -> nn.Module:
        self.calls.append(asked)
        torch.manual_seed(1)
        return Net().train()


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    zoo = Zoo()
    monkeypatch.setitem(sys.modules, "robustbench", types.ModuleType("robustbench"))
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo", zoo.zoo)
    monkeypatch.setitem(sys.modules, "robustbench.utils", zoo.utils)
    return zoo


def test_a_name_of_robustbench_is_loaded_by_its_own_function(zoo: Zoo) -> None:
    model = open_model("robustbench:Carmon2019", ())
    assert zoo.calls == [{"model_name": "Carmon2019", "dataset": "cifar10", "threat_model": "Linf"}]
    assert (model.form, model.network.training) == ("RobustBench model Carmon2019", False)


def test_a_checkpoint_of_robustbench_is_read_without_executing_it(zoo: Zoo, tmp_path: Path) -> None:
    trained = Net()
    state = {f"module.{name}": tensor for name, tensor in trained.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "state.pt")
    model = open_model("robustbench:cifar10/Linf/Carmon2019", (), weights=str(tmp_path / "state.pt"))
    assert zoo.calls == [], "nothing is downloaded"
    with torch.no_grad():
        torch.testing.assert_close(model.network(random_images()), trained(random_images()))
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "part.pt")
    with pytest.raises(ValueError, match="is no state of RobustBench's Carmon2019: 3 of 4 tensors are missing"):
        open_model("robustbench:Carmon2019", (), weights=str(tmp_path / "part.pt"))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("robustbench:Carmon2018", "has no model 'Carmon2018' for cifar10/Linf; did you mean 'Carmon2019'"),
        ("robustbench:mnist/Linf/Carmon2019", "has no data set 'mnist', expected cifar10"),
        ("robustbench:cifar10/L1/Carmon2019", "has no threat model 'L1' for cifar10, expected Linf"),
        ("robustbench:cifar10/Carmon2019", "expected robustbench:NAME, or robustbench:DATASET/THREAT/NAME"),
    ],
)
def test_a_name_that_robustbench_lacks_is_refused(where: str, expected: str, zoo: Zoo) -> None:
    with pytest.raises(ValueError, match=expected):
        open_robustbench(where)


def test_without_robustbench_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo", None)
    with pytest.raises(ValueError, match=r"needs the package robustbench .*pip install robustbench"):
        open_robustbench("robustbench:Carmon2019")


def huggingface_folder(folder: Path, **processor: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", "architectures": ["Net"]}))
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


class Transformer(Net):
    """A model of transformers: its configuration, and an output with a field for the logits."""

    def __init__(self, labels: dict[int, str]) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(id2label=labels, image_size=SIZE)

    def forward(self, pixel_values: Tensor) -> Any:
        return types.SimpleNamespace(logits=super().forward(pixel_values))


def pretend_transformers(monkeypatch: pytest.MonkeyPatch, network: nn.Module, missing: tuple[str, ...] = ()) -> None:
    class AutoModelForImageClassification:
        @staticmethod
        def from_pretrained(folder: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
            if b"git-lfs" in Path(folder, "model.safetensors").read_bytes():
                raise OSError("header too large")
            safe = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
            assert options == safe | {"output_loading_info": True}
            return network, {"missing_keys": missing}

    module, utils = types.ModuleType("transformers"), types.ModuleType("transformers.utils")
    module.AutoModelForImageClassification = AutoModelForImageClassification  # type: ignore[attr-defined]
    utils.logging = types.SimpleNamespace(  # type: ignore[attr-defined]
        is_progress_bar_enabled=lambda: False, disable_progress_bar=lambda: None
    )
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setitem(sys.modules, "transformers.utils", utils)


def test_a_folder_of_transformers_brings_its_normalization_labels_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Transformer({0: "benign", 1: "malignant"})
    pretend_transformers(monkeypatch, network)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    folder = huggingface_folder(tmp_path, do_normalize=True, image_mean=mean, image_std=std, size={"height": SIZE})
    model = open_model(str(folder), ())
    assert (model.form, model.labels, model.size) == ("Transformer", ("benign", "malignant"), SIZE)
    inside = [torch.tensor(each).view(1, 3, 1, 1) for each in (mean, std)]
    with torch.no_grad():
        expected = network((random_images() - inside[0]) / inside[1]).logits
        torch.testing.assert_close(model.network(random_images()), expected)
        raw = open_model(str(folder), (), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        torch.testing.assert_close(raw.network(random_images()), network(random_images()).logits)


HALF = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
PROCESSORS: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "0..1": (HALF, lambda images: (images - 0.5) / 0.25),
    "0..255": (
        {**HALF, "do_rescale": False, "image_mean": [127.5] * 3, "image_std": [63.75] * 3},
        lambda images: (images - 0.5) / 0.25,
    ),
    "-1..1": ({"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True}, lambda each: 2 * each - 1),
    "bytes": ({"do_normalize": False, "do_rescale": False}, lambda images: 255 * images),
    "nothing": ({"do_normalize": False}, lambda images: images),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_network_sees_the_values_that_its_processor_gives(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor, change = PROCESSORS[kind]
    network = Transformer({0: "benign", 1: "malignant"})
    pretend_transformers(monkeypatch, network)
    model = open_model(str(huggingface_folder(tmp_path, **processor)), ())
    with torch.no_grad():
        expected = network(change(random_images())).logits
        torch.testing.assert_close(model.network(random_images()), expected, rtol=1e-4, atol=1e-4)


def test_a_folder_whose_weights_were_not_fetched_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = huggingface_folder(tmp_path)
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    pretend_transformers(monkeypatch, Net())
    with pytest.raises(ValueError, match=r"transformers: model\.safetensors: it is a Git LFS pointer"):
        open_model(str(folder), ())


def test_a_folder_of_transformers_that_cannot_classify_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = huggingface_folder(tmp_path)
    pretend_transformers(monkeypatch, Transformer({0: "LABEL_0", 1: "LABEL_1"}))
    assert open_model(str(folder), ()).labels is None, "numbers are no names"
    pretend_transformers(monkeypatch, Net(), missing=("classifier.weight",))
    with pytest.raises(ValueError, match=r"1 tensors of its Net are missing .*was not trained to classify"):
        open_model(str(folder), ())
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no model\.safetensors; other files of weights can run code"):
        open_model(str(folder), ())
    (folder / "model.safetensors").touch()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'raypipe\[transformers\]'"):
        open_model(str(folder), ())


def write_onnx(file: Path) -> Net:
    """Write a network as the graph of opset 18 that PyTorch's exporter writes: axes as an input, and allowzero."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = Net().eval()
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    constants = [array(value, name) for name, value in state.items()]
    constants += [array(torch.tensor(value).numpy(), name) for name, value in (("axes", [2, 3]), ("shape", [-1, 4]))]
    nodes = [
        helper.make_node("Conv", ["images", "conv.weight", "conv.bias"], ["a"], kernel_shape=[3, 3]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("ReduceMean", ["b", "axes"], ["c"], keepdims=1),
        helper.make_node("Reshape", ["c", "shape"], ["d"], allowzero=1),
        helper.make_node("Gemm", ["d", "head.weight", "head.bias"], ["logits"], transB=1),
    ]
    images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "net", [images], [logits], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(file))
    return net


def test_an_onnx_file_has_gradients_where_it_can_be_converted(tmp_path: Path) -> None:
    pytest.importorskip("onnx2torch")
    net = write_onnx(tmp_path / "net.onnx")
    model = open_model(str(tmp_path / "net.onnx"), (), size=SIZE)
    assert model.form == "ONNX file, converted"
    adapted = adapt_network(model.network, (3, SIZE, SIZE))
    assert adapted.differentiable
    with torch.no_grad():
        torch.testing.assert_close(adapted.network(random_images()), net(random_images()), atol=1e-5, rtol=1e-5)


def test_an_onnx_file_that_cannot_be_converted_is_a_black_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = write_onnx(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    model = open_model(str(tmp_path / "net.onnx"), (), size=SIZE, mean=(0.5, 0.5, 0.5))
    assert model.form == "ONNX file, run by ONNX Runtime, normalized"
    said = r"the model has no gradients, because onnx2torch is not installed .* black-box attacks such as square"
    with pytest.warns(Notice, match=said) as notices:
        adapted = adapt_network(model.network, (3, SIZE, SIZE))
    assert len(notices) == 1
    assert not adapted.differentiable
    with torch.no_grad():
        torch.testing.assert_close(adapted.network(random_images()), net(random_images() - 0.5), atol=1e-5, rtol=1e-5)


def test_a_conversion_with_other_logits_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_onnx(tmp_path / "net.onnx")
    wrong = types.ModuleType("onnx2torch")
    wrong.convert = lambda graph: Net()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnx2torch", wrong)
    model = open_model(str(tmp_path / "net.onnx"), (), size=SIZE)
    assert model.form == "ONNX file, run by ONNX Runtime"
    assert find_reason(model.network) == "the network that onnx2torch makes of it gives other logits"


def test_of_several_outputs_the_logits_are_taken(tmp_path: Path) -> None:
    pytest.importorskip("onnx2torch")
    net, onnx = write_onnx(tmp_path / "net.onnx"), pytest.importorskip("onnx")
    model = onnx.load(str(tmp_path / "net.onnx"))
    model.graph.node.append(onnx.helper.make_node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0))
    (logits,) = model.graph.output
    del model.graph.output[:]
    model.graph.output.extend([onnx.helper.make_tensor_value_info("class", onnx.TensorProto.INT64, ["n"]), logits])
    onnx.save(model, str(tmp_path / "net.onnx"))
    found = open_model(str(tmp_path / "net.onnx"), (), size=SIZE)
    assert found.form == "ONNX file, converted"
    with torch.no_grad():
        torch.testing.assert_close(found.network(random_images()), net(random_images()), atol=1e-5, rtol=1e-5)
