"""Parity with Captum: the shipped network copied to torch, the same weights, the same pictures."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

from lepton_ref import explain
from lepton_ref.explain.gradients import fashion_model, patient_model, review_model
from lepton_ref.explain.gradients.models import FashionModel

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")
TOL = 1e-5  # the bar, relative to the largest attribution
COUNT = 3


class Apart(torch.nn.Module):
    """The identity, as a tensor of its own.

    Where a ReLU's output is a max-pooling's input, Captum 0.9 hangs the hooks of both on one
    tensor, and the ReLU gets the gradient of before the pooling's rule: its own convergence
    delta is then far from zero. With a copy in between it does what it documents.
    """

    def forward(self, x):
        return x.clone()


def held_apart(copy):
    """The same network with a copy behind each ReLU."""
    nn = torch.nn
    parts = [(m, Apart()) if isinstance(m, nn.ReLU) else (m,) for m in copy]
    return nn.Sequential(*(m for part in parts for m in part))


def lenet(state, dtype):
    """The network of the page vision/classification as a torch module."""
    nn = torch.nn

    def tensor(name):
        return torch.tensor(state[name], dtype=dtype)

    copy = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
    ).to(dtype)  # fmt: skip
    places = {0: "features.0", 3: "features.3", 7: "features.8", 9: "head"}
    for i, path in places.items():
        weight = tensor(f"{path}.weight")
        copy[i].weight.data = weight if i < 7 else weight.T.contiguous()
        copy[i].bias.data = tensor(f"{path}.bias")
    return copy.eval()


@functools.cache
def loaded(name):
    fashion = fashion_model(name)
    fashion.model.astype("float64")
    return fashion, lenet(fashion.model.state(), torch.float64)


@pytest.fixture
def both(engine, rng):
    """Ours in float64, torch's in float64, and pictures with no two equal pixels.

    Over an empty background the four entries of a window tie, and which of them gets the
    gradient is a matter of rounding; a speck of noise settles it.
    """
    fashion, copy = loaded(engine.name)
    x = fashion.x[:COUNT].astype(np.float64) + 0.01 * rng.normal(size=(COUNT, 1, 28, 28))
    return fashion, copy, x


def agrees(found, theirs, tol=TOL):
    theirs = theirs.detach().numpy()
    scale = np.abs(theirs).max()
    assert scale > 0
    assert found.shape == theirs.shape
    assert np.abs(found - theirs).max() <= tol * scale


TARGET = np.array([9, 2, 4])


def quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum tells that it sets hooks
        return call()


def test_saliency_and_gradient_x_input(both):
    fashion, copy, x = both
    t, target = torch.tensor(x), torch.tensor(TARGET)
    theirs = quiet(lambda: captum.Saliency(copy).attribute(t, target, abs=False))
    agrees(explain.saliency(fashion, x, TARGET).values, theirs)
    absolute = quiet(lambda: captum.Saliency(copy).attribute(t, target))
    agrees(explain.saliency(fashion, x, TARGET, absolute=True).values, absolute)
    theirs = quiet(lambda: captum.InputXGradient(copy).attribute(t, target))
    agrees(explain.gradient_x_input(fashion, x, TARGET).values, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("gauss-legendre", "gausslegendre"), ("midpoint", "riemann_middle"), ("left", "riemann_left"),
     ("right", "riemann_right")],
)  # fmt: skip
def test_integrated_gradients(both, rng, ours, theirs):
    """The plain quadrature. (Captum's trapezoid weighs its steps by 1/n instead of 1/(n − 1).)

    Captum holds the weights of the quadrature in float32 even for models in float64.
    """
    fashion, copy, x = both
    baseline = fashion.black + 0.01 * rng.normal(size=x.shape)
    found = explain.integrated_gradients(
        fashion, x, TARGET, baseline=baseline, steps=10, rule=ours, control=False
    )
    oracle = captum.IntegratedGradients(copy).attribute(
        torch.tensor(x), torch.tensor(baseline), torch.tensor(TARGET), n_steps=10, method=theirs
    )
    agrees(found.values, oracle)


def test_smoothgrad_with_the_same_noise(both, monkeypatch):
    fashion, copy, x = both
    samples, seed = 6, 3
    found = explain.smoothgrad(fashion, x, TARGET, samples=samples, std=0.2, seed=seed)
    drawn = np.random.default_rng(seed).standard_normal((samples, *x.shape)) * 0.2
    noise = iter(np.swapaxes(drawn, 0, 1))  # Captum repeats each example, ours the whole batch

    def same(mean, std):
        return torch.tensor(np.concatenate(list(noise)).reshape(std.shape))

    monkeypatch.setattr(torch, "normal", same)
    tunnel = captum.NoiseTunnel(captum.Saliency(copy))
    theirs = quiet(lambda: tunnel.attribute(
        torch.tensor(x), "smoothgrad", nt_samples=samples, stdevs=0.2,
        target=torch.tensor(TARGET), abs=False,
    ))  # fmt: skip
    agrees(found.values, theirs)


@pytest.mark.parametrize("kind", ["black", "another picture"])
def test_deeplift(both, rng, kind):
    """Against each example by itself: in a batch Captum gives all of them the first one's
    gradient where an entry does not change (its issue 1276)."""
    fashion, copy, x = both
    baseline = np.full_like(x, fashion.black) + 0.01 * rng.normal(size=x.shape)
    if kind == "another picture":
        baseline = fashion.x[10 : 10 + COUNT] + 0.01 * rng.normal(size=x.shape)
    found = explain.deeplift(fashion, x, TARGET, baseline=baseline)
    for i in range(COUNT):
        theirs = quiet(lambda i=i: captum.DeepLift(held_apart(copy)).attribute(
            torch.tensor(x[i : i + 1]), torch.tensor(baseline[i : i + 1]), int(TARGET[i])
        ))  # fmt: skip
        agrees(found.values[i : i + 1], theirs)


def test_guided_backpropagation(both):
    fashion, copy, x = both
    theirs = quiet(lambda: captum.GuidedBackprop(copy).attribute(
        torch.tensor(x), torch.tensor(TARGET)
    ))  # fmt: skip
    agrees(explain.guided_backpropagation(fashion, x, TARGET).values, theirs)


@pytest.mark.parametrize(("layer", "index"), [("features.4", 4), ("features.5", 5)])
def test_grad_cam(both, layer, index):
    fashion, copy, x = both
    for positive in (True, False):
        found = explain.grad_cam(fashion, x, TARGET, layer=layer, positive=positive)
        theirs = captum.LayerGradCam(copy, copy[index]).attribute(
            torch.tensor(x), torch.tensor(TARGET), relu_attributions=positive
        )
        agrees(found.settings["map"][:, None], theirs)
        large = captum.LayerAttribution.interpolate(theirs, (28, 28), "bilinear")
        agrees(found.values, large)
    assert explain.grad_cam(fashion, x, TARGET).settings["layer"] == "features.4"


def test_float32_pictures_as_they_are(rng):
    """On the torch engine nothing needs to be settled: the kernels are the same.

    DeepLIFT divides by differences, which in float32 are partly rounding; it is compared above.
    """
    fashion = fashion_model("torch")
    copy, x = lenet(fashion.model.state(), torch.float32), fashion.x[:COUNT]
    black, target = torch.full((COUNT, 1, 28, 28), fashion.black), torch.tensor(TARGET)
    t = torch.tensor(x)
    theirs = quiet(lambda: captum.Saliency(copy).attribute(t, target, abs=False))
    agrees(explain.saliency(fashion, x, TARGET).values, theirs)
    theirs = quiet(lambda: captum.GuidedBackprop(copy).attribute(t, target))
    agrees(explain.guided_backpropagation(fashion, x, TARGET).values, theirs)
    found = explain.integrated_gradients(fashion, x, TARGET, baseline=fashion.black, control=False)
    theirs = captum.IntegratedGradients(copy).attribute(
        t, black, target, n_steps=64, method="riemann_middle"
    )
    agrees(found.values, theirs)


def test_tables_and_reviews(engine):
    """Patients against a torch copy; reviews through their embeddings, on the torch engine."""
    patients = patient_model()
    patients.model.astype("float64")
    state, nn = patients.model.state(), torch.nn
    copy = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    copy = copy.double()
    for i in (0, 2, 4):
        copy[i].weight.data = torch.tensor(state[f"{i}.weight"].T.copy())
        copy[i].bias.data = torch.tensor(state[f"{i}.bias"])
    x = patients.test_x[:5].astype(np.float64)
    found = explain.deeplift(patients, x, 0).values
    agrees(found, quiet(lambda: captum.DeepLift(copy).attribute(torch.tensor(x), target=0)))
    found = explain.integrated_gradients(patients, x, 0, steps=20, control=False).values
    theirs = captum.IntegratedGradients(copy).attribute(
        torch.tensor(x), target=0, n_steps=20, method="riemann_middle"
    )
    agrees(found, theirs)

    text = "not worth the money . it broke after two days"
    ours, on_torch = review_model(), review_model("torch")
    ids = ours.tokens(text)
    found = explain.integrated_gradients(
        ours.given(ids), ours.embed(ids), 0, steps=8, control=False
    ).values
    theirs = captum.IntegratedGradients(on_torch.given(ids)).attribute(
        torch.tensor(on_torch.embed(ids)), target=0, n_steps=8, method="riemann_middle"
    )
    agrees(found, theirs)


def test_the_copy_answers_as_the_model(both):
    fashion, copy, x = both
    assert isinstance(fashion, FashionModel)
    ours = explain.saliency(fashion, x).outputs
    np.testing.assert_allclose(ours, copy(torch.tensor(x)).detach().numpy().max(axis=1), rtol=1e-9)


def test_why_the_copy_is_held_apart(rng):
    """Captum's own check of completeness fails on ReLU, then pooling; ours holds."""
    fashion = fashion_model("numpy")
    fashion.model.astype("float64")
    copy = lenet(fashion.model.state(), torch.float64)
    x = fashion.x[:1].astype(np.float64)
    baseline = fashion.x[10:11].astype(np.float64)

    def delta(network):
        return float(quiet(lambda: captum.DeepLift(network).attribute(
            torch.tensor(x), torch.tensor(baseline), 9, return_convergence_delta=True
        ))[1])  # fmt: skip

    assert abs(delta(copy)) > 0.1
    assert abs(delta(held_apart(copy))) < 1e-10
    assert abs(explain.deeplift(fashion, x, 9, baseline=baseline).gap[0]) < 1e-10
