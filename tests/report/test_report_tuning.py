from distcnn.config import Range
from distcnn.report.figures.tuning import _figure, draw_study

SPACES = {
    "learning_rate": Range(low=1e-3, high=1e-1, log=True),
    "batch": (64, 128, 256),
    **dict.fromkeys(("dropout", "noise", "other"), Range(low=0.0, high=1.0)),
}


def first(number):
    return dict(list(SPACES.items())[:number])


def trials(rng, number):
    params = [
        {"learning_rate": 10 ** rng.uniform(-3, -1), "batch": int(rng.choice([64, 128, 256]))}
        | dict.fromkeys(("dropout", "noise", "other"), rng.uniform(0, 1))
        for _ in range(number)
    ]
    return params, list(rng.normal(-1.2, 0.1, number))


def test_a_study_becomes_a_picture_and_always_the_same(rng):
    params, loss = trials(rng, 30)
    one, two = (draw_study(first(2), params, loss) for _ in range(2))
    assert one == two
    assert one.startswith(b"\x89PNG")


def test_one_trial_is_enough(rng):
    assert draw_study(first(1), *trials(rng, 1)).startswith(b"\x89PNG")


def test_a_trial_gone_wrong_does_not_hide_the_others(rng):
    params, loss = trials(rng, 20)
    loss[7] = 1e6
    figure = _figure(SPACES, params, loss)
    for ax in figure.axes[: len(SPACES)]:
        assert ax.get_ylim()[1] < 1
        assert sum(len(line.get_xdata()) for line in ax.lines[:2]) == 20
