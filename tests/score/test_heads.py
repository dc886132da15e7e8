"""Heads on embeddings against torch's own forward pass, with weights that the tests make."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core.errors import InputError
from pipeline.score.heads import HeadSection, WeightedHead, load
from pipeline.score.network import build

torch = pytest.importorskip("torch")
nn = torch.nn


class Scaled(nn.Module):
    """Keras' normalisation, as CLIP-based-NSFW-Detector ports it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(width) * 0.03)
        self.register_buffer("variance", torch.rand(width) * 1e-3 + 1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.variance.sqrt()


class Nsfw(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.norm = Scaled(widths[0])
        self.count = len(widths) - 1
        for i in range(self.count):
            setattr(self, f"linear_{i + 1}", nn.Linear(widths[i], widths[i + 1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        for i in range(1, self.count):
            x = getattr(self, f"linear_{i}")(x).relu()
        return getattr(self, f"linear_{self.count}")(x).sigmoid()


class Layers(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def aesthetic_v2(width: int = 768) -> nn.Module:
    return Layers(
        *(nn.Linear(width, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2)),
        *(nn.Linear(128, 64), nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1)),
    )


def nsfw_h14() -> nn.Module:
    widths = (1024, 1024, 2048, 1024, 256, 128, 16)
    steps: list[nn.Module] = []
    for before, after in zip(widths, widths[1:]):
        steps += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(0.2)]
    return Layers(*steps[:-2], nn.Linear(16, 1))


def datacomp_nsfw() -> nn.Module:
    net = nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm1d(768, eps=0.0),
            dense=nn.Linear(768, 64),
            relu=nn.ReLU(),
            dense1=nn.Linear(64, 512),
            relu1=nn.ReLU(),
            dense2=nn.Linear(512, 256),
            relu2=nn.ReLU(),
            dense3=nn.Linear(256, 1),
            sigmoid=nn.Sigmoid(),
        )
    )
    with torch.no_grad():
        net.norm.running_mean.normal_(0, 0.03)
        net.norm.running_var.uniform_(1e-4, 1e-3)
        net.norm.weight.uniform_(0.5, 2)
        net.norm.bias.normal_()
    return net


PUBLISHED = {
    "aesthetic_v1 ViT-L/14": ("aesthetic_v1", 768, lambda: nn.Linear(768, 1)),
    "aesthetic_v1 ViT-B/32": ("aesthetic_v1", 512, lambda: nn.Linear(512, 1)),
    "aesthetic_v2": ("aesthetic_v2", 768, aesthetic_v2),
    "nsfw ViT-L/14": ("nsfw", 768, lambda: Nsfw(768, 64, 512, 256, 1)),
    "nsfw ViT-B/32": ("nsfw", 512, lambda: Nsfw(512, 32, 32, 1)),
    "nsfw of DataComp": ("nsfw", 768, datacomp_nsfw),
    "nsfw_h14": ("nsfw_h14", 1024, nsfw_h14),
}


def unit(n: int, width: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def save(net: nn.Module, path: Path) -> str:
    """In each of the forms a user may have."""
    state = net.state_dict()
    plain = {name: tensor.numpy() for name, tensor in state.items()}
    if path.suffix == ".npz":
        np.savez(path, **plain)
    elif path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({n: t.contiguous() for n, t in state.items()}, path)
    elif path.suffix == ".pt":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        torch.save(state, path)
    return str(path)


def forward(net: nn.Module, vectors: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net.eval().double()(torch.from_numpy(vectors).double()).numpy()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".npz"])
@pytest.mark.parametrize("published", PUBLISHED)
def test_published_heads_give_what_torch_gives(published: str, suffix: str, tmp_path: Path) -> None:
    kind, width, make = PUBLISHED[published]
    torch.manual_seed(1)
    net = make()
    path = save(net, tmp_path / f"head{suffix}")
    head = pickle.loads(
        pickle.dumps(WeightedHead("x", HeadSection.model_validate({"path": path, "kind": kind})))
    )
    vectors = unit(50, width)
    (found,) = head.load()(vectors)
    assert found.type == head.fields[0].type and found.null_count == 0
    expected = forward(net, vectors)[:, 0]
    assert expected.std() > 1e-4  # or any constant would do
    assert np.allclose(found.to_numpy(), expected, rtol=1e-4, atol=1e-5)
    (none,) = head.load()(np.empty((0, 0), np.float32))
    assert len(none) == 0 and none.type == found.type


@settings(max_examples=30, deadline=None)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=13),
    dropout=st.booleans(),
    output=st.sampled_from(["raw", "sigmoid", "softmax"]),
    data=st.data(),
)
def test_any_sequence_of_linear_and_relu(widths, dropout, output, data) -> None:
    steps: list[nn.Module] = []
    for before, after in zip(widths, widths[1:]):
        steps += [nn.Linear(before, after), nn.ReLU(), *([nn.Dropout()] if dropout else [])]
    net = nn.Sequential(*steps[: -1 - dropout])
    index = data.draw(st.integers(0, widths[-1] - 1))
    # In any order, as a file may have them.
    names = data.draw(st.permutations(list(net.state_dict())))
    arrays = {name: net.state_dict()[name].numpy() for name in names}
    vectors = unit(7, widths[0], 3)
    raw = torch.from_numpy(forward(net, vectors))
    expected = {"raw": raw, "sigmoid": raw.sigmoid(), "softmax": raw.softmax(1)}[output][:, index]
    found = build(arrays, True, output, index).score(vectors)
    assert found.dtype == np.float32
    assert np.allclose(found, expected.numpy(), atol=1e-5)


def test_more_rows_than_a_batch_are_scored_the_same(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.score.network._BATCH", 16)
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))
    network = build({n: t.numpy() for n, t in net.state_dict().items()}, True, "raw", 0)
    vectors = unit(100, 8)
    assert np.allclose(network.score(vectors), forward(net, vectors)[:, 0], atol=1e-5)


def test_large_outputs_do_not_overflow() -> None:
    arrays = {"weight": np.array([[1e4], [-1e4]], np.float32), "bias": np.zeros(2, np.float32)}
    vectors = np.array([[1.0], [-1.0]], np.float32)
    for output in ("sigmoid", "softmax"):
        assert build(arrays, True, output, 0).score(vectors).tolist() == [1.0, 0.0]


def section(path: object, kind: str = "mlp", **more: object) -> HeadSection:
    return HeadSection.model_validate({"path": str(path), "kind": kind, **more})


@pytest.mark.parametrize("kind", ["aesthetic_v1", "aesthetic_v2", "nsfw", "nsfw_h14"])
def test_absent_weights_are_told_with_key_and_source(kind: str) -> None:
    with pytest.raises(InputError) as told:
        WeightedHead("mine", section("/nowhere/w.pth", kind)).check()
    assert "score.heads.mine.path = '/nowhere/w.pth'" in str(told.value)
    assert "github.com/" in str(told.value)


def test_embeddings_of_another_width_are_refused(tmp_path: Path) -> None:
    path = save(nn.Linear(768, 1), tmp_path / "v1.pth")
    score = WeightedHead("aesthetic", section(path, "aesthetic_v1", model="big")).load()
    with pytest.raises(InputError, match=r"768 numbers, but those of the model 'big' have 512"):
        score(unit(3, 512))


@pytest.mark.parametrize(
    ("make", "kind", "more", "told"),
    [
        (aesthetic_v2, "aesthetic_v1", {}, r"give \[1024, 128, 64, 16, 1\] numbers, not \[1\]"),
        (lambda: nn.Linear(4, 2), "mlp", {"index": 2}, "2 outputs, none is index = 2"),
        (lambda: nn.Linear(4, 2), "mlp", {"index": -1}, "none is index = -1"),
        (lambda: nn.Sequential(nn.Linear(4, 2), nn.Linear(3, 1)), "mlp", {}, "do not follow"),
        (lambda: nn.Conv2d(3, 4, 3), "mlp", {}, "to be linear"),
        (lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 1)), "mlp", {}, "neither a linear"),
        (
            lambda: nn.Sequential(
                nn.Linear(768, 64), nn.Linear(64, 512), nn.Linear(512, 256), nn.Linear(256, 1)
            ),
            "nsfw",
            {},
            "no normalisation",
        ),
    ],
)
def test_other_networks_are_refused(make, kind, more, told, tmp_path: Path) -> None:
    path = save(make(), tmp_path / "head.pth")
    with pytest.raises(InputError, match=told) as error:
        load("x", section(path, kind, **more))
    assert "score.heads.x.path" in str(error.value)


@pytest.mark.parametrize("name", ["junk.pth", "junk.npz", "junk.safetensors", "weights.onnx"])
def test_files_that_are_no_weights_are_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(InputError, match=f"score.heads.x.path = .*{name}"):
        load("x", section(tmp_path / name))


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    np.savez(tmp_path / "evil.npz", weight=np.array([Evil()], object))
    (tmp_path / "ran").unlink(missing_ok=True)
    for file in ("evil.pth", "evil.npz"):
        with pytest.raises(InputError, match="cannot be read"):
            load("x", section(tmp_path / file))
    assert not (tmp_path / "ran").exists()


def test_infinite_weights_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weight=np.full((1, 4), np.nan, np.float32))
    with pytest.raises(InputError, match="not finite"):
        load("x", section(tmp_path / "w.npz"))


def test_identity_is_of_the_weights_not_of_their_path(tmp_path: Path) -> None:
    net = nn.Linear(4, 1)
    one, other = (save(net, tmp_path / name) for name in ("a.npz", "b.npz"))
    identity = [WeightedHead("x", section(path)).check() for path in (one, other)]
    assert identity[0] == identity[1]
    assert json.loads(json.dumps(identity[0])) == identity[0]
    save(nn.Linear(4, 1), tmp_path / "b.npz")
    assert WeightedHead("x", section(other)).check() != identity[0]
    assert WeightedHead("x", section(one, output="raw")).check() != identity[0]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="aesthetic_v2"):
        section("w.pth", "aesthetics")
