"""What a host says of itself. Sent to its Python as text: it needs nothing of distcnn there.

So it is written for any Python 3, without functions and annotations, and imports what may be
missing one by one. It writes one line, which begins with a mark, because shells may greet.
"""

import json
import os
import sys

versions = dict.fromkeys(("distcnn", "dask", "distributed", "numpy", "torch", "zarr"))
problem = ""
for name in versions:
    try:
        from importlib import metadata

        versions[name] = metadata.version(name)
    except Exception as error:
        problem = type(error).__name__ + ": " + str(error)
try:
    # It may be there without having been installed, and installed without being fit.
    import distcnn

    versions["distcnn"] = str(distcnn.__version__)
except Exception as error:
    versions["distcnn"] = None
    problem = type(error).__name__ + ": " + str(error)
interfaces = {"": [""]}
memory = 0
try:
    import psutil

    interfaces.clear()
    memory = psutil.virtual_memory().available
    for name, addresses in psutil.net_if_addrs().items():
        kinds = ("AF_INET", "AF_INET6")
        ours = [one.address.split("%")[0] for one in addresses if one.family.name in kinds]
        interfaces[name] = ours
except ImportError:
    pass
try:
    cores = len(os.sched_getaffinity(0))
except AttributeError:  # not on Linux
    cores = os.cpu_count() or 1
facts = {
    "python": list(sys.version_info[:3]),
    "versions": versions,
    "problem": problem,
    "connection": os.environ.get("SSH_CONNECTION", "").split(),
    "interfaces": interfaces,
    "memory": memory,
    "cores": cores,
}
sys.stdout.write("distcnn-probe: " + json.dumps(facts) + "\n")
