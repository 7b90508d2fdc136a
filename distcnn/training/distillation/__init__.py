"""One network trained to answer as an ensemble does.

``distil`` is the stage, ``student`` the task that trains, ``teacher`` the ensemble with its answers
and the loss, ``agreement`` what the student costs.
"""
