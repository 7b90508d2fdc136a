"""Data-parallel training: ranks of torch DDP, launched as tasks of the cluster in use.

``launch`` asks the cluster for a launcher per worker, all or none; each starts its rank as a
process of its own, ``worker``; ranks find each other by ``rendezvous``.

Why not ``torchrun``, which starts and restarts ranks as well? Of what is here it would replace the
meeting of ranks and the start of a process, some 100 lines of 530, and bring an agent per machine:

- Who takes part is decided by the cluster (Dask workers come and go), and a restart asks it again.
  An elastic agent decides the same by itself, and the two would disagree.
- Its rendezvous over TCP wants an address and a port known beforehand. Ours listens on a free port
  of whichever worker got rank 0 and publishes it in the folder that all share: trainings beside
  each other on one machine never meet.
- When ranks are missing it ends with ``RendezvousTimeoutError``, without saying which. Here the
  missing ranks and their hosts are named.
- A group that was given up and does not know it (a machine that hung and came back) must not write
  over the checkpoint of its successor: ``worker`` asks before every write. An agent has no such
  fence, since to it checkpoints are the script's own affair.
- A rank must end with its launcher, whatever it is doing. Here the end of a pipe says so.
"""
