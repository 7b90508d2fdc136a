"""Members in one pass are the members trained one by one."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

from distcnn import hashing
from distcnn.config import AugmentConfig, NetworkConfig
from distcnn.errors import DeviceError, TrainingError
from distcnn.model import InputSpec, build_network
from distcnn.model.devices import count_gpus, open_device, plan_device
from distcnn.survey import Store
from distcnn.training.data.labelled import summarise_split
from distcnn.training.data.tensors import Scaled
from distcnn.training.loop import checkpoint
from distcnn.training.loop.checkpoint import CHECKPOINT
from distcnn.training.loop.conv_matmul import ByteDropout, convs_as_matmuls, cpu_form
from distcnn.training.loop.member import WEIGHTS, MemberTask, read_member, run_member
from distcnn.training.loop.precision import choose_precision, difference, float32_heads
from distcnn.training.loop.progress import PROGRESS
from distcnn.training.vmap.stacked import ParameterShapes, StackedMembers
from distcnn.training.vmap.trainer import VmapTask, VmapTrainer, run_vmapped

PLAIN = AugmentConfig(noise=0, drop_xp=0, drop_parallax=0, drop_pixels=0)
PRESETS = ("hybrid", "rave2020", "hr15n2023")


@pytest.fixture
def bare(config):
    """No random numbers but those of weights and batches."""
    network = config.network.model_copy(update={"dropout": 0.0})
    return config.model_copy(update={"augment": PLAIN, "network": network, "members": 3})


def tasks(survey, partial, config, numbers=(0, 1, 2)):
    store = Store.open(survey)
    spec = InputSpec.of_survey(store, config.network)
    data = summarise_split(store, spec, config.split).data
    return tuple(MemberTask(survey, partial, n, spec, config, data) for n in numbers)


def weights(task):
    return load_tensors((task.folder / WEIGHTS).read_bytes())


def assert_close(met, expected, tolerance):
    assert set(met) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(met[name], tensor, atol=tolerance, rtol=tolerance, msg=name)


def without_arithmetic(results):
    return [replace(result, arithmetic=None) for result in results]


def test_vmapped_members_are_those_trained_one_by_one(tmp_path, survey, bare):
    alone = tasks(survey, tmp_path / "alone", bare)
    together = tasks(survey, tmp_path / "together", bare)
    expected = [run_member(task) for task in alone]
    met = run_vmapped(VmapTask(together))
    for result, other, one, two in zip(met, expected, together, alone, strict=True):
        assert (result.seed, result.best) == (other.seed, other.best)
        np.testing.assert_allclose(result.epochs, other.epochs, rtol=1e-4, atol=1e-4)
        assert result.digest == hashing.of_bytes((one.folder / WEIGHTS).read_bytes())
        assert_close(weights(one), weights(two), 2e-3)


def test_the_files_left_behind_are_those_of_a_member(tmp_path, survey, config):
    task = VmapTask(tasks(survey, tmp_path, config))
    results = run_vmapped(task)
    assert not task.folder.exists()
    for member, result in zip(task.members, results, strict=True):
        assert {path.name for path in member.folder.iterdir()} == {PROGRESS, WEIGHTS}
        lines = [json.loads(line) for line in (member.folder / PROGRESS).read_text().splitlines()]
        assert [line["epoch"] for line in lines] == list(range(1, config.epochs + 1))
        assert [(line["loss"], line["validation"]) for line in lines] == result.epochs
        assert all(line["stars_per_second"] > 0 for line in lines)
        assert not read_member(member, result.digest).training
        assert result.arithmetic.precision == "float32"


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_pass_resumes_to_identical_weights(tmp_path, survey, config, monkeypatch, after):
    whole = VmapTask(tasks(survey, tmp_path / "whole", config))
    expected = run_vmapped(whole)
    task = VmapTask(tasks(survey, tmp_path / "killed", config))
    epoch = VmapTrainer._epoch

    def dies(group):
        if group.epoch == after:
            raise Killed
        return epoch(group)

    monkeypatch.setattr("distcnn.training.vmap.trainer.MAX_CHECKPOINT_TIME_FRACTION", 1e9)
    monkeypatch.setattr(VmapTrainer, "_epoch", dies)
    with pytest.raises(Killed):
        run_vmapped(task)
    assert checkpoint.load(task.folder / CHECKPOINT) is not None
    monkeypatch.setattr(VmapTrainer, "_epoch", epoch)
    assert without_arithmetic(run_vmapped(task)) == without_arithmetic(expected)
    for member in task.members:
        assert (member.folder / PROGRESS).read_text().count("\n") == config.epochs


def test_members_stop_each_for_itself(tmp_path, survey, bare):
    settings = bare.model_copy(update={"epochs": 30, "patience": 1, "learning_rate": 0.02})
    together = tasks(survey, tmp_path / "together", settings, range(4))
    results = run_vmapped(VmapTask(together))
    lengths = [len(result.epochs) for result in results]
    assert len(set(lengths)) > 1
    for result in results:
        validations = [validation for _, validation in result.epochs]
        assert result.best == int(np.argmin(validations))
        assert result.validation == min(validations)
        assert len(validations) == min(result.best + 2, 30)


def test_one_member_does_not_notice_the_others(tmp_path, survey, bare):
    (alone,) = tasks(survey, tmp_path / "alone", bare, [2])
    together = tasks(survey, tmp_path / "together", bare, [0, 2])
    run_vmapped(VmapTask((alone,)))
    run_vmapped(VmapTask(together))
    assert_close(weights(together[1]), weights(alone), 2e-3)


@pytest.mark.parametrize("preset", PRESETS[1:])
def test_published_networks_can_be_vmapped(tmp_path, survey, config, preset, request):
    if preset == "hr15n2023":
        simple = request.getfixturevalue("simple")
        from simple_survey import build_survey

        survey = build_survey(tmp_path / "wide.zarr", simple, repeat=2)
    settings = config.model_copy(update={"network": NetworkConfig(preset=preset), "epochs": 2})
    results = run_vmapped(VmapTask(tasks(survey, tmp_path / "p", settings, [0, 1])))
    assert all(len(result.epochs) == 2 for result in results)
    assert len({result.digest for result in results}) == 2


def test_a_loss_that_is_not_finite_names_the_member(tmp_path, survey, config):
    settings = config.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"member 0 is .*train\.learning_rate"):
        run_vmapped(VmapTask(tasks(survey, tmp_path, settings, [0, 1])))


def layers_and_inputs(preset, pixels=200, stars=6):
    spec = InputSpec(pixels, 12, ("g", "bp", "rp"), True, "test", ("teff", "logg", "mh"))
    network = build_network(spec, NetworkConfig(preset=preset, width=16, hidden=32), 1)
    generator = torch.Generator().manual_seed(3)
    widths = {"spectrum": pixels, "xp": 12, "scalars": len(spec.features)}
    return network.layers, {
        name: torch.randn(stars, width, generator=generator) for name, width in widths.items()
    }


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("pixels", [200, 209])
def test_the_product_form_gives_what_convolutions_give(preset, pixels):
    layers, inputs = layers_and_inputs(preset, pixels)
    layers.eval()
    products = convs_as_matmuls(copy.deepcopy(layers))
    assert list(products.state_dict()) == list(layers.state_dict())
    assert not any(isinstance(module, torch.nn.Conv1d) for module in products.modules())
    for form in (layers, products):
        sum(output.sin().sum() for output in form(inputs)).backward()
    torch.testing.assert_close(products(inputs), layers(inputs), atol=1e-5, rtol=1e-4)
    gradients = [{n: p.grad for n, p in form.named_parameters()} for form in (products, layers)]
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, atol=1e-4, rtol=1e-3, msg=name)


def test_light_dropout_drops_its_part_and_keeps_the_mean():
    torch.manual_seed(7)
    x = torch.ones(400, 501, requires_grad=True)
    dropout = ByteDropout(0.2)
    y = dropout(x)
    assert float((y == 0).float().mean()) == pytest.approx(0.2, abs=0.005)
    assert float(y.detach().mean()) == pytest.approx(1, abs=0.005)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())
    assert not torch.equal(dropout(x), y)
    assert dropout.eval()(x) is x
    assert ByteDropout(0.0)(x) is x


@pytest.mark.parametrize("preset", PRESETS)
def test_the_form_for_a_cpu_has_no_slow_part_and_the_same_parameters(preset):
    layers, inputs = layers_and_inputs(preset)
    light = cpu_form(copy.deepcopy(layers))
    slow = (torch.nn.Conv1d, torch.nn.Dropout, torch.nn.MaxPool1d)
    assert not any(isinstance(module, slow) for module in light.modules())
    assert list(light.state_dict()) == list(layers.state_dict())
    torch.testing.assert_close(light.eval()(inputs)[0], layers.eval()(inputs)[0])


def test_a_stack_gives_back_the_parameters_it_was_given():
    layers, _ = layers_and_inputs("hybrid")
    states = [
        {name: parameter + shift for name, parameter in layers.named_parameters()}
        for shift in (0.0, 1.0, 2.0)
    ]
    stack = StackedMembers(layers, states, decay=0.1)
    stack.keep([2, 0])
    assert_close(stack.state(stack.rows, 0), {k: v.detach() for k, v in states[2].items()}, 0)
    shapes = ParameterShapes.of(layers)
    assert all(len(shape) > 1 for shape in shapes.weights.values())
    assert set(shapes.weights) | set(shapes.biases) == set(states[0])


def batch_of(inputs):
    spectrum, xp, scalars = inputs.values()
    label = torch.zeros(len(spectrum), 3)
    return Scaled(spectrum, spectrum, xp, scalars, label, label, label, label[:, :1])


def test_bfloat16_is_measured_and_refused_where_it_is_wrong(monkeypatch):
    layers, inputs = layers_and_inputs("hybrid", stars=64)
    layers = float32_heads(convs_as_matmuls(layers))
    worst, part = difference(layers, batch_of(inputs), torch.bfloat16)
    assert 0 < worst < 0.01
    assert 0 < part < 0.05
    monkeypatch.setattr("distcnn.training.loop.precision.is_fast", lambda device: True)
    assert choose_precision(layers, batch_of(inputs))[0] == torch.bfloat16
    assert choose_precision(layers, batch_of(inputs), "float32")[0] == torch.float32
    wrong = {name: value * 1e5 for name, value in inputs.items()}
    precision, why = choose_precision(layers, batch_of(wrong))
    assert precision == torch.float32
    assert "spreads off" in why


def test_a_stack_can_train_in_bfloat16():
    layers, inputs = layers_and_inputs("hybrid", stars=32)
    layers = float32_heads(convs_as_matmuls(layers))
    states = [dict(layers.named_parameters())] * 2
    flat = batch_of(inputs)
    flat.known.fill_(1.0)
    stars = Scaled(*(torch.stack([tensor, tensor]) for tensor in flat.tensors()))
    losses = []
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        stack = StackedMembers(layers, states, decay=0.0, precision=precision)
        stack.rate.fill_(1e-3)
        losses.append(torch.stack([stack.step(stars)[:, 0] for _ in range(5)]))
        assert all(row.dtype == torch.float32 for row in stack.rows)
    assert float(losses[0][-1].sum()) < float(losses[0][0].sum())
    torch.testing.assert_close(losses[1], losses[0], atol=1.0, rtol=0.05)


def test_devices_are_planned_without_waking_one(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert count_gpus(tmp_path) == 2
    for visible, count in (("1", 1), ("", 0), ("0,-1,1", 1), ("GPU-a,GPU-b,GPU-c", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert count_gpus(tmp_path) == count
    assert plan_device("cpu", gpus=4) == plan_device("auto", gpus=0) == "cpu"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert plan_device("auto", gpus=1) == "cuda"
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU.*device to cpu"):
        plan_device("cuda", gpus=0)
    assert not torch.cuda.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path, survey, config):
    assert open_device("auto").type == "cpu"
    with pytest.raises(DeviceError, match=r"the device asked for is cuda, but"):
        open_device("cuda")
