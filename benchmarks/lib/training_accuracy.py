"""Whether our loop reaches the accuracy of the plain eager one on a real survey store.

Both train the same members (first weights, augmentation, schedule, epochs, best epoch) to the
end; they differ in the form of the layers, in how drop-out draws its numbers, and in batch and
learning rate. Scatter is 1.48 MAD of prediction minus reference on the test split, averaged over
members.
"""

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distcnn.config import TrainConfig
from distcnn.model import InputSpec, Network, build_network, fit_scaling
from distcnn.survey import Store
from distcnn.training import Split
from distcnn.training.data.augment import Augment, SurveyProperties
from distcnn.training.data.labelled import Labelled, read_labelled
from distcnn.training.data.tensors import Scaled, scale_stars
from distcnn.training.loop.conv_matmul import cpu_form
from distcnn.training.loop.fit import mean_loss, train_member
from lib.training_loops import CUSTOM, Eager


def train_eager(
    network: Network,
    train: Scaled,
    held_out: Scaled,
    augment: Augment,
    config: TrainConfig,
    *,
    seed: int,
) -> None:
    """The plain loop to the end; the network is left at its best epoch."""
    epoch = Eager(network, train, config, augment=augment, seed=seed)
    best, weights = float("inf"), network.layers.state_dict()
    for _ in range(config.epochs):
        epoch()
        loss = mean_loss(network, held_out)
        if loss < best:
            best, weights = loss, copy.deepcopy(network.layers.state_dict())
    network.layers.load_state_dict(weights)


def scatter(network: Network, stars: Labelled) -> np.ndarray:
    """1.48 MAD per label, in label units."""
    network.eval()
    with torch.no_grad():
        means = [network(batch)[0] for batch in stars.inputs.batches(1024)]
    residual = torch.cat(means).numpy() - stars.label
    middle = np.nanmedian(residual, axis=0)
    return np.asarray(1.4826 * np.nanmedian(np.abs(residual - middle), axis=0))


def compare_accuracy(path: Path, repeats: int) -> dict[str, Any]:
    """Test scatter per label by both loops, and its ratio with the error of the mean."""
    config, store = TrainConfig(), Store.open(path, "survey")
    spec = InputSpec.of_survey(store, config.network)
    train, held_out, test = (
        read_labelled(store, spec, config.split, part)
        for part in (Split.TRAIN, Split.VALIDATION, Split.TEST)
    )
    facts = SurveyProperties.of(store, train)
    found: dict[str, list[np.ndarray]] = {"eager": [], "ours": []}
    for seed in range(repeats):
        plain = build_network(spec, config.network, seed)
        fit_scaling(plain, train.inputs, train.label)
        mine = copy.deepcopy(plain)
        mine.layers = cpu_form(mine.layers)
        stars, others = scale_stars(plain, train), scale_stars(plain, held_out)
        augment = Augment(config.augment, spec, plain, facts)
        custom = config.model_copy(update=CUSTOM)
        train_eager(plain, stars, others, augment, custom, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            train_member(
                mine,
                stars,
                others,
                augment=augment,
                config=config,
                seed=seed,
                folder=Path(folder),
                on_epoch=lambda line: None,
            )
        found["eager"].append(scatter(plain, test))
        found["ours"].append(scatter(mine, test))
    ratio = np.divide(found["ours"], found["eager"])
    return {
        "stars": {"train": len(train), "test": len(test)},
        "members": repeats,
        "labels": list(spec.labels),
        "scatter_eager": np.mean(found["eager"], axis=0).round(4).tolist(),
        "scatter_ours": np.mean(found["ours"], axis=0).round(4).tolist(),
        "ratio": ratio.mean(axis=0).round(4).tolist(),
        "ratio_all_labels": round(float(ratio.mean()), 4),
        "error_of_ratio_all_labels": round(
            float(ratio.mean(axis=1).std(ddof=min(1, repeats - 1)) / np.sqrt(repeats)), 4
        ),
    }
