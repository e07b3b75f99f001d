"""Print how well water and thin ice can be told apart from the light of a run alone.

    python benchmarks/physics_overlap.py

Runs of water, nilas and grey ice are drawn from the ranges of :mod:`is2ice.twin.scene.physics` without any simulation
of photons: each has its photon rate and its brightness relative to snow, with the errors of a run of some width. The
best decision that exists, by the shares of both in each cell of rate and brightness, is then scored. A run may be
judged alone; with the brightness of water in its region known (sure water elsewhere); or with all physics of its pass
known. It limits no classifier that sees more: height, flatness and neighbours add to that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from is2ice.twin.scene.physics import RANGES

#: Passes and runs of each; the same where every pass is judged by itself.
MANY, EACH = (1500, 1200), (60, 20_000)
#: Errors of brightness, relative to snow, by width of the run; of the log rate against that of the local ice.
BRIGHTNESS_ERRORS = {"over 150 m": 0.03, "70 to 150 m": 0.06, "30 to 70 m": 0.12, "night": np.inf}
RATE_ERROR = 0.12
#: Albedo of snow, of water and of thin ice from the youngest nilas to the oldest grey ice.
SNOW, WATER, THIN = 0.88, 0.075, (0.14, 0.54)
#: Albedo at which nilas becomes grey ice.
GREY = 0.43
#: Cells of each column, where all passes are judged together and each by itself.
CELLS = 48, 24

F8 = NDArray[np.float64]
Draws = tuple[F8, F8, F8, NDArray[np.bool_]]


def drawn(rng: np.random.Generator, n: tuple[int, int]) -> Draws:
    """Log rate, brightness, brightness of water, and whether it is water, of runs: (passes, runs)."""

    def of(name: str) -> F8:
        return np.array([RANGES[name].draw(rng) for _ in range(n[0])])[:, None]

    water = rng.random(n) < of("lead_water")
    albedo = np.where(water, WATER, rng.uniform(*THIN, n))
    factor = np.where(albedo < GREY, of("nilas_rate"), of("grey_rate"))
    calm = np.exp(rng.uniform(np.log(of("specular_low")), np.log(of("specular_high")), n))
    dark = of("dark_rate") * np.exp(0.5 * of("dark_spread") ** 2)
    rate = np.where(water, np.where(rng.random(n) < of("dark_share"), dark, calm), factor * albedo / SNOW)
    sky = of("sky_share")
    return (
        np.log(rate) + RATE_ERROR * rng.standard_normal(n),
        sky + (1.0 - sky) * albedo / SNOW,
        np.broadcast_to(sky + (1.0 - sky) * WATER / SNOW, n),
        water,
    )


def decided(columns: list[F8], water: NDArray[np.bool_], cells: int) -> tuple[float, float]:
    """Recall of water and of thin ice by the best decision in cells of some columns."""
    cell = np.zeros(water.size, np.int64)
    for a in columns:
        step = np.clip((a - a.min()) / (np.ptp(a) + 1e-12) * cells, 0, cells - 1).astype(np.int64)
        cell = cell * cells + step
    # Half of the draws decide, the others are scored: cells with few runs would flatter.
    half, size = np.arange(water.size) % 2 == 0, int(cell.max()) + 1
    wet, dry = (np.bincount(cell[half], a[half], size) for a in (water, ~water))
    learnt = wet > dry
    hit = learnt[cell[~half]] == water[~half]
    return float(hit[water[~half]].mean()), float(hit[~water[~half]].mean())


def seen(rng: np.random.Generator, draws: Draws, error: float, known: bool) -> list[F8]:
    """Columns that a decision rests on: rate and, by day, brightness, over that of water if that is known."""
    rate, brightness, level, _ = draws
    if not np.isfinite(error):
        return [rate]
    return [rate, brightness - known * level + error * rng.standard_normal(rate.shape)]


def main() -> None:
    rng = np.random.default_rng(1508)
    some, each = (drawn(rng, n) for n in (MANY, EACH))
    print(f"{'recall of water / thin ice':28}{'run alone':>16}{'water known':>16}{'pass known':>16}")
    for name, error in BRIGHTNESS_ERRORS.items():
        rows = []
        for known in (False, True):
            columns = [a.ravel() for a in seen(rng, some, error, known)]
            rows.append(decided(columns, some[-1].ravel(), CELLS[0]))
        columns = seen(rng, each, error, False)
        one = [decided([a[k] for a in columns], each[-1][k], CELLS[1]) for k in range(EACH[0])]
        rows.append(tuple(np.mean(one, axis=0)))
        print(f"{name:28}" + "".join(f"{a:>10.3f} /{b:5.3f}" for a, b in rows))


if __name__ == "__main__":
    main()
