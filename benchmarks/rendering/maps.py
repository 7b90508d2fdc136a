"""Tables of the benchmarks of maps, each made of its newest result."""

from typing import Any

from rendering.tables import markdown, origin

Result = dict[str, Any]
_MB = 1e6


def tsne(result: Result) -> str:
    """What the map of spectra took beside its plan, and the plan of many stars."""
    plan, many, facts = result["plan"], result["plan_of_many"], result["facts"]
    planned = plan["fit_core_s"] + plan["place_core_s"]
    rows = [
        ("core seconds", f"{result['cpu_s']:.0f}", f"{planned:.0f}", _many(many)),
        (
            "most memory [MB]",
            f"{result['memory_bytes'] / _MB:,.0f}",
            f"{plan['memory_bytes'] / _MB:,.0f}",
            f"{many['memory_bytes'] / _MB:,.0f}",
        ),
    ]
    head = ("", f"{plan['fitted']:,} stars, measured", "planned", f"{many['stars']:,}, planned")
    words = (
        "one thread",
        f"{facts['training']:,} training stars",
        f"{100 * facts['unlike_fraction']:.1f} % of the others unlike",
    )
    return "\n\n".join([origin(result, *words), markdown(head, rows)])


def _many(plan: dict[str, Any]) -> str:
    fit, place = plan["fit_core_s"], plan["place_core_s"]
    return f"{fit + place:,.0f} ({fit:,.0f} to fit, {place:,.0f} to place)"


def galaxy(result: Result) -> str:
    """Memory, processor time and what is written, by the number of stars."""
    rows = [
        (
            f"{row['stars']:,}",
            f"{row['used']:,}",
            f"{row['cpu_s']:.0f}",
            f"{row['cpu_us_per_star']:.0f}",
            f"{row['memory_bytes'] / _MB:,.0f}",
            f"{row['written_bytes'] / _MB:,.0f}",
        )
        for row in result["sizes"]
    ]
    head = ("stars", "mapped", "CPU [s]", "CPU [us/star]", "most memory [MB]", "written [MB]")
    words = (
        "one process",
        f"{result['sizes'][0]['memory_before_bytes'] / _MB:,.0f} MB before the first star",
        f"at this growth {result['core_hours_of_release']} core hours for "
        f"{result['release']:,} stars",
    )
    return "\n\n".join([origin(result, *words), markdown(head, rows)])
