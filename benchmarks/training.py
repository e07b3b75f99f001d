"""Speed of training and inference: the paper's LSTM on 98,000 windows, batch 32, on two cores.

    python benchmarks/training.py [--epochs 4] [--windows 98000] [--batch 32] [--skip-ranks] [--json FILE]

Prints seconds an epoch (the fastest after the first, which compiles and is given apart), and processor seconds, of

- plain Keras: the same network with a softmax, ``compile`` and ``fit`` with Keras's focal loss;
- ``is2ice.classifiers.training.fit``, on one thread and on all;
- the same under ``horovodrun`` with two ranks, and what one collective operation costs; two ranks that take many
  steps alone between two averages of their weights (local SGD, `--every`); and the U-Net with two ranks;

then windows/s of inference, normalisation and softmax included, and of the default model along a track, where each
cell is embedded once. Each is measured in a process of its own, one
after the other. The windows are random numbers of the right shape: speed does not depend on their values.
Published: 9.1 s an epoch on an A100 (the notebook's network), 14.8 s on a T4.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STEPS, FEATURES = 5, 6
TWO = "is2ice, 2 ranks of Horovod"
LOCAL = "is2ice, two replicas, averages every {} steps"
UNET = "U-Net, two replicas"


def windows(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Random windows and classes that depend on the middle segment."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, STEPS, FEATURES)).astype("f4")
    return x, (x[:, 2, 0] > 1.3).astype("i4") + (x[:, 2, 1] > 1.6)


class Clock:
    """Wall-clock and processor seconds of each epoch; the latter do not depend on who else is at work."""

    def __init__(self) -> None:
        self.marks = [(time.perf_counter(), time.process_time())]

    def lap(self, row: object = None) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))

    def result(self) -> dict[str, float]:
        wall, cpu = np.diff(np.array(self.marks), axis=0).T
        return {"first": wall[0], "best": min(wall[1:]), "cpu": min(cpu[1:]), "total": float(sum(wall))}


def plain(n: int, epochs: int, batch: int) -> dict[str, float]:
    """Keras as its guide says."""
    import keras

    from is2ice.classifiers import architectures, losses

    x, y = windows(n)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES)), layers.LSTM(16, activation="elu"), layers.Dropout(0.2)]
    )
    for width in architectures.ARCHITECTURES["lstm"].parameters["dense"]:
        model.add(layers.Dense(width, activation="elu"))
    model.add(layers.Dense(3, activation="softmax"))
    assert model.count_params() == 19_475
    loss = keras.losses.CategoricalFocalCrossentropy(alpha=np.array(losses.ALPHA), gamma=2.0)
    model.compile(keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])
    hot, clock = keras.utils.to_categorical(y, 3), Clock()
    for _ in range(epochs):
        model.fit(x, hot, batch_size=batch, epochs=1, verbose=0)
        clock.lap()
    return clock.result()


def ours(n: int, epochs: int, batch: int, threads: int, every: int = 1) -> dict[str, float]:
    """The package's training, in as many replicas as there are."""
    from is2ice.classifiers import architectures, training
    from is2ice.classifiers.replicas import launched

    if threads == 1:
        training.one_thread()
    replicas = launched(seldom=every > 1)
    model = architectures.build("lstm", STEPS, FEATURES)
    options = {**architectures.ARCHITECTURES["lstm"].training, "epochs": epochs, "batch": batch}
    data, clock = windows(n), Clock()
    done = training.fit(model, data, replicas=replicas, progress=clock.lap, average_every=every, **options)
    cost = 1e3 * collective(replicas, model.count_params()) if replicas.size > 1 else 0.0
    if not replicas.is_root:
        return {}
    return clock.result() | {"collective_ms": cost, "accuracy": done.epochs[-1]["accuracy"]} | done.speed


def unet(epochs: int, tiles: int = 96, size: int = 128, batch: int = 4) -> dict[str, float]:
    """The package's U-Net on random tiles of four bands, in as many replicas as there are, one thread each."""
    from is2ice.classifiers import training, unet
    from is2ice.classifiers.replicas import launched

    training.one_thread()
    replicas = launched(seldom=True)
    rng = np.random.default_rng(0)
    x = rng.random((tiles, size, size, 4), np.float32)
    model, clock = unet.build("default", 4, size), Clock()
    data = x, (x[..., 0] > 0.5).astype("i4")
    done = training.fit(model, data, replicas=replicas, progress=clock.lap, epochs=epochs, batch=batch)
    return clock.result() | {"accuracy": done.epochs[-1]["accuracy"]} | done.speed if replicas.is_root else {}


def collective(replicas, size: int, times: int = 1000) -> float:
    """Seconds of one average over the replicas of as many numbers as there are gradients."""
    import tensorflow as tf

    @tf.function
    def loop(value):
        for _ in tf.range(times):
            value = replicas.average(value)
        return value

    loop(tf.zeros(size)).numpy()
    start = time.perf_counter()
    loop(tf.zeros(size)).numpy()
    return (time.perf_counter() - start) / times


def inference(n: int, threads: int) -> dict[str, float]:
    """Windows/s of each architecture with its own context, best of five."""
    from is2ice.classifiers import architectures, training
    from is2ice.classifiers.neural import Neural

    if threads == 1:
        training.one_thread()
    out = {}
    for name in ("mlp", "lstm", "lstm_notebook", "default"):
        steps = 2 * architectures.ARCHITECTURES[name].context + 1
        x = np.random.default_rng(0).normal(size=(n, steps, FEATURES)).astype("f4")
        norm = {"features": list("abcdef"), "centre": [0.0] * FEATURES, "scale": [1.0] * FEATURES}
        model = Neural(
            architectures.build(name, steps, FEATURES), {"normalisation": norm, "temperature": 1.0}
        )
        model.probabilities(x[:10_000])
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            model.probabilities(x)
            taken.append(time.perf_counter() - start)
        out[f"{name} ({steps} steps)"] = n / min(taken)
    out["default, along a track"] = along(n)
    return out


def along(n: int) -> float:
    """Windows/s of the default model about the cells of one track."""
    from is2ice.classifiers import architectures
    from is2ice.classifiers.neural import Neural

    context = architectures.ARCHITECTURES["default"].context
    norm = {"features": list("abcdef"), "centre": [0.0] * FEATURES, "scale": [1.0] * FEATURES}
    card = {
        "normalisation": norm,
        "temperature": 1.0,
        "architecture": "default",
        "parameters": {},
        "context": context,
    }
    model = Neural(architectures.build("default", 2 * context + 1, FEATURES), card)
    track = np.random.default_rng(0).normal(size=(n + 2 * context, FEATURES)).astype("f4")
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        model.evaluate(track)
        taken.append(time.perf_counter() - start)
    return n / min(taken[1:])


def child(what: str, args: argparse.Namespace, launcher: list[str] | None = None) -> dict[str, float]:
    """Measure in a process of its own; the last line of its output is the answer."""
    command = [
        *(launcher or []),
        sys.executable,
        __file__,
        "--one",
        what,
        "--windows",
        str(args.windows),
        "--epochs",
        str(args.epochs),
        "--batch",
        str(args.batch),
    ]
    env = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    lines = [line for line in done.stdout.splitlines() if "{" in line]
    if done.returncode or not lines:
        raise SystemExit(f"{what}: {done.stderr[-2000:]}")
    return json.loads(lines[0][lines[0].index("{") :])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=98_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32, help="of each rank")
    parser.add_argument(
        "--every", type=int, nargs="*", default=[64, 512], help="steps between averages of weights"
    )
    parser.add_argument("--skip-ranks", action="store_true")
    parser.add_argument("--skip-inference", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the rows of training there")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        kind, threads, every = [*args.one.split(":"), "1", "1"][:3]
        if kind == "plain":
            measured = plain(args.windows, args.epochs, args.batch)
        elif kind == "ours":
            measured = ours(args.windows, args.epochs, args.batch, int(threads), int(every))
        elif kind == "unet":
            measured = unet(args.epochs)
        else:
            measured = inference(args.windows, int(threads))
        if os.environ.get("HOROVOD_RANK", "0") == "0":
            print(json.dumps(measured), flush=True)
        return
    from is2ice.reports.other_programs import OtherPrograms

    machine = OtherPrograms()
    print(
        f"{args.windows:,} windows of {STEPS} x {FEATURES}, batch {args.batch}; {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}"
    )
    print(f"{'training':44}{'s/epoch':>9}{'first':>8}{'CPU s':>8}{'times plain':>13}")
    run = Path(sys.executable).with_name("horovodrun")
    ranks = run.exists() and not args.skip_ranks
    what: dict[str, tuple[str, int]] = {
        "plain Keras fit": ("plain", 0),
        "is2ice, one thread": ("ours:1", 0),
        "is2ice, all threads": ("ours:0", 0),
        **(
            {"is2ice, 1 rank of Horovod": ("ours:1", 1), TWO: ("ours:1", 2), UNET: ("unet", 2)}
            | {LOCAL.format(k): (f"ours:1:{k}", 2) for k in args.every}
            if ranks
            else {}
        ),
    }
    rows: dict[str, dict[str, float]] = {}
    for name, (kind, size) in what.items():
        launcher = [str(run), "-np", str(size), "--gloo"] if size else None
        row = rows[name] = child(kind, args, launcher)
        times = rows["plain Keras fit"]["best"] / row["best"]
        print(f"{name:44}{row['best']:>9.2f}{row['first']:>8.1f}{row['cpu']:>8.2f}{times:>13.1f}", flush=True)
    two = rows.get(TWO)
    if two is not None:
        steps = args.windows // 2 // args.batch
        cost = two["collective_ms"]
        print(
            f"one average over two ranks of 19,475 numbers: {cost:.2f} ms, {steps * cost / 1e3:.2f} s in the "
            f"{steps:,} steps of an epoch; the rest is that steps are called one by one, not compiled as one loop, and "
            "that both ranks and Horovod's threads share the cores"
        )
        for name, row in rows.items():
            if "alone_s_an_epoch" not in row:
                continue
            print(
                f"{name}: {row['samples_per_s']:,.0f} samples/s, {row['share_in_averages']:.0%} in averages; "
                f"one rank alone {row['alone_s_an_epoch']:.2f} s, both {row['s_an_epoch']:.2f} s: "
                f"{row['alone_s_an_epoch'] / row['s_an_epoch']:.2f} x; accuracy {row['accuracy']:.4f}"
            )
    if args.json is not None:
        about = {"windows": args.windows, "epochs": args.epochs, **machine.state()}
        args.json.write_text(json.dumps({**about, "rows": rows}, indent=1))
    if args.skip_inference:
        return
    print(f"{'inference, windows/s':44}{'one thread':>12}{'all threads':>13}")
    one, all_ = child("inference:1", args), child("inference:0", args)
    for name in one:
        print(f"{name:44}{one[name]:>12,.0f}{all_[name]:>13,.0f}")


if __name__ == "__main__":
    main()
