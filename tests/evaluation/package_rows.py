"""Rows as a package's manifest has them, for two labels and two S/N bins."""

LABELS = ("teff", "mh")
SIGMA = {"teff": 60.0, "mh": 0.06}


def coverage_rows(cells=("all", "giant", "no XP")):
    return [
        {"label": label, "snr": snr, "cell": cell, "stars": 900 if snr == "all" else 450}
        | {"within_68": 0.683 - 0.01 * number, "within_95": 0.95}
        | {"pull_std": 1.05, "pull_mad": 1.01, "bias": 0.1}
        for label in LABELS
        for number, cell in enumerate(cells)
        for snr in (("all", "15-25", ">= 25") if cell == "all" else ("all",))
    ]


def size_rows(sizes=(1, 2, 4, 8)):
    return [
        {"members": members, "label": label, "snr": snr, "stars": 900}
        | {"std": SIGMA[label] * (1 + 0.3 / members), "mad": SIGMA[label]}
        | {"within_68": 0.683, "error": SIGMA[label]}
        for members in sizes
        for label in LABELS
        for snr in ("all", "15-25")
    ]


def attenuation_rows():
    return [
        {"label": label, "snr": snr, "stars": 450, "slope": slope, "slope_debiased": 1.002}
        | {"expected": slope + 0.01, "std": SIGMA[label], "std_debiased": 1.1 * SIGMA[label]}
        | {"poor_stars": 30 if label == "mh" else 0}
        | {"poor_bias": 0.12 if label == "mh" else float("nan")}
        | {"poor_bias_debiased": 0.04 if label == "mh" else float("nan")}
        for label in LABELS
        for snr, slope in (("all", 0.975), ("15-25", 0.95), (">= 25", 0.985))
    ]
