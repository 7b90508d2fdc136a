"""The network that distcnn makes of a file of Keras."""

import torch

from distcnn.config import ImportedConfig, ImportedNetwork
from distcnn.model.imported.keras_file import read_keras
from distcnn.model.imported.keras_network import translate
from distcnn.model.imported.layers import ImportedLayers


def network_of(path, scalars=0):
    found = translate(read_keras(path), scalars)
    outputs = [{"label": f"label_{n}"} for n in range(found.layers[-1].shape[0])]
    bands = [{"band": str(n)} for n in range(scalars)]
    meaning = ImportedConfig(outputs=outputs, scalars=bands)
    network = ImportedLayers(ImportedNetwork(meaning=meaning, layers=found.layers)).eval()
    network.load_state_dict(
        {f"steps.{name}": torch.from_numpy(values) for name, values in found.weights.items()}
    )
    return network
